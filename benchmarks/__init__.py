"""Programs that print figures: `python -m benchmarks`, or one of its modules."""
