"""Weight initialisation: which weights, from which distribution, into which model."""
