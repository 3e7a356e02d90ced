"""What a person touches: the dashboard, the command line, and the jobs behind both."""

import os

__version__ = "0.1.0"

# Streamlit runs a page in threads that end. Where Arrow is first used in one of them, the allocator
# that it brings crashes the process in the next (apache/arrow issue 50908); the system's does not.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
