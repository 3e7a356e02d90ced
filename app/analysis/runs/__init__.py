"""Trainings that are watched: figures of each layer over time, and what is found in them."""
