"""Trials: one network, trained for some steps from several initialisations, at several rates."""
