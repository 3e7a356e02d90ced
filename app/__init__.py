"""What a person touches: the dashboard, the command line, and the jobs behind both."""

__version__ = "0.1.0"
