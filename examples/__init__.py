"""What one can do with it: scripts to read, and to run."""
