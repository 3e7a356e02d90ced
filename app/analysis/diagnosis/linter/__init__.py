"""The linter: it reads configuration, values and training settings, and runs nothing."""
