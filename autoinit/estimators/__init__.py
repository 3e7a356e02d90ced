"""The rules, one file per family of layers; importing this package registers them all."""

from autoinit.estimators import (
    activation,
    applications,
    convolution,
    dense,
    merging,
    normalization,
    operations,
    pooling,
    preprocessing,
    recurrent,
    regularization,
    reshaping,
    wrappers,
)
from autoinit.registry import RULES

__all__ = [
    "RULES",
    "activation",
    "applications",
    "convolution",
    "dense",
    "merging",
    "normalization",
    "operations",
    "pooling",
    "preprocessing",
    "recurrent",
    "regularization",
    "reshaping",
    "wrappers",
]
