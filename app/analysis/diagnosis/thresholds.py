"""From where on a figure is worth a finding: all of them, in one place."""

# A signal that changes by more on its way explodes or vanishes: the factor that the paper's
# figure 3 takes as the limit of what is stable.
STABLE_FACTOR = 100.0
LEAST_CHANGE = 10.0  # a signal that was large or small from the start does not explode or vanish
# A gradient is spread over as many entries as pooling has averaged: its limits are wider.
GRADIENT_FACTOR = 1000.0
# Shares of dead channels and of saturated entries that a person should know of.
DEAD, SATURATED = 0.25, 0.5
ALIKE = 0.99  # correlation at which inputs are no longer told apart
# Of float16 (IEEE 754 binary16): the largest number, and the smallest above 0.
HALF_LARGEST, HALF_SMALLEST = 65504.0, 2.0**-24
# Standard deviation of a logarithm from which a call is not self-averaging: one draw in three lies
# a fifth or more from the typical one.
SCATTERED = 0.2
# Python's default limit of 1,000 frames, less those of the loader itself.
PLAIN_DEPTH = 900
# How far an input may be from the one that the network's own scaling expects: its mean in standard
# deviations, and the factor between the variances.
INPUT_MEAN_OFF, INPUT_VARIANCE_OFF = 2.0, 10.0
