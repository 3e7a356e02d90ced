"""Variables that a forward pass changes: states, statistics, and what noise is drawn by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from autoinit.arrays import as_array
from autoinit.graph.keras_internals import layers_in, own_variables, seed_generators


def changing_variables(layers: Iterable[Any]) -> list[Any]:
    """Variables that running the layers may change, in an order that noise is seeded by."""
    changing: list[Any] = []
    for layer in layers:
        for part in layers_in(layer):
            changing += own_variables(part)[1]
            # A stateful recurrent layer's, which Keras does not list among a layer's variables.
            states = keras.tree.flatten(getattr(part, "states", None))
            changing += [v for v in states if isinstance(v, keras.Variable)]
            if isinstance(part, keras.layers.SpectralNormalization):
                changing.append(part.kernel)  # divided by its norm in each step of training
            changing += [generator.state for generator in seed_generators(part)]
    return changing


def values_of(variables: Iterable[Any]) -> list[tuple[Any, NDArray[Any]]]:
    """Variables and copies of what they hold."""
    return [(v, as_array(v).copy()) for v in variables]


def put_values_back(kept: Iterable[tuple[Any, NDArray[Any]]]) -> None:
    """Give variables what they held, as far as they hold something else: to look costs less."""
    for variable, values in kept:
        if not _holds(variable, values):
            variable.assign(values)


def _holds(variable: Any, values: NDArray[Any]) -> bool:
    try:
        held = as_array(variable)
    except TypeError:  # what JAX followed left its symbol
        return False
    return np.array_equal(held, values, equal_nan=values.dtype.kind == "f")
