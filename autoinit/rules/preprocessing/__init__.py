"""Layer class → rule, of the layers at a model's entrance: a file for each family."""
