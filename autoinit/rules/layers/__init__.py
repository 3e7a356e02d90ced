"""Layer class → rule: a file for each family."""
