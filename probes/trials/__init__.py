"""Short trainings: what a network learns in some steps, from which weights, at which rate."""
