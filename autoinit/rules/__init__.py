"""The rules, one file per family of layers; importing this package registers them all."""

from autoinit.rules.layers import (
    activation,
    applications,
    augmentation,
    convolution,
    dense,
    encoding,
    merging,
    normalization,
    pooling,
    preprocessing,
    recurrent,
    refused,
    regularization,
    reshaping,
    resizing,
    spectral,
    wrappers,
)
from autoinit.rules.operations import (
    elementwise as operations,
)
from autoinit.rules.operations import (
    products as operations_products,
)
from autoinit.rules.operations import (
    reshaping as operations_reshaping,
)
from autoinit.rules.registry import RULES

__all__ = [
    "RULES",
    "activation",
    "applications",
    "augmentation",
    "convolution",
    "dense",
    "encoding",
    "merging",
    "normalization",
    "operations",
    "operations_products",
    "operations_reshaping",
    "pooling",
    "preprocessing",
    "recurrent",
    "refused",
    "regularization",
    "reshaping",
    "resizing",
    "spectral",
    "wrappers",
]
