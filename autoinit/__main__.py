"""`python -m autoinit`, or `autoinit` where it is installed: the command line."""

import sys

from app.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
