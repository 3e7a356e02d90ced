"""`python -m app`: the command line."""

import signal
import sys

from app.cli import main as command_line


def main() -> int:
    """Runs the command line as a program of its own; returns the exit status."""
    # `timeout` and service managers end a program by SIGTERM: leave as by an exception, so that
    # the worker is killed and its temporary folder removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return command_line.main()


if __name__ == "__main__":
    sys.exit(main())
