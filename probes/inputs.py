"""Inputs for a probe: Gaussian noise, or valid random indices where integers are wanted."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from autoinit.graph import ModelGraph

# NumPy's names where they are others. The words that a text input gets are numbers.
_DTYPES: dict[str, Any] = {"bool": bool, "string": str}


def draw_inputs(
    graph: ModelGraph, samples: int, seed: int, mean: float = 0.0, variance: float = 1.0
) -> dict[int, np.ndarray[Any, Any]]:
    """An array for each of a graph's inputs, by value index.

    Args:
        graph: the model.
        samples: size of the batch axis.
        seed: the same seed gives the same inputs.
        mean, variance: of Gaussian inputs. Integer inputs, and those that an embedding looks up,
            are uniform over the valid indices (over 0 and 1 where nothing tells).
    """
    generator = np.random.default_rng(seed)
    vocabulary = graph.vocabulary()
    arrays: dict[int, np.ndarray[Any, Any]] = {}
    for call in graph.inputs:
        (value,) = call.outputs
        shape = tuple(size or 1 for size in (samples, *value.shape[1:]))
        integers = not keras.backend.is_float_dtype(value.dtype)
        if integers or value.index in vocabulary:
            indices = generator.integers(0, vocabulary.get(value.index, 2), shape)
            arrays[value.index] = indices.astype(_DTYPES.get(value.dtype, value.dtype))
        else:
            noise = generator.standard_normal(shape, dtype=np.float32)
            scaled = noise * np.float32(math.sqrt(variance)) + np.float32(mean)
            arrays[value.index] = scaled
    return arrays
