"""What is true of others' architectures: `python -m benchmarks.menagerie`."""
