"""Backend tensors as NumPy arrays."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

_PART = 2**16  # entries that stay in a core's cache in double precision


def as_array(tensor: Any) -> NDArray[Any]:
    """A tensor's or a variable's values; a view where they lie in the CPU's memory."""
    if keras.backend.backend() == "tensorflow":
        # TensorFlow's own conversion copies; its tensors' buffers can be viewed as they are.
        if isinstance(tensor, keras.Variable) and hasattr(tensor.value, "read_value"):
            tensor = tensor.value.read_value()  # Keras's own conversion copies a variable, too
        if not hasattr(tensor, "__array__"):
            tensor = keras.ops.convert_to_tensor(tensor)
        return np.asarray(tensor if hasattr(tensor, "__array__") else tensor.numpy())
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def double_precision() -> contextlib.AbstractContextManager[Any]:
    """Inside the block every backend computes in double precision where it is asked to.

    JAX would take single precision for double otherwise, and warn each time.
    """
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    double: contextlib.AbstractContextManager[None] = jax.enable_x64(True)
    return double


def mean_and_deviation(values: NDArray[Any]) -> tuple[float, float]:
    """Of all entries, in double precision; part by part, without a copy of all of them."""
    flat, size = values.reshape(-1), max(values.size, 1)
    parts = [flat[start : start + _PART] for start in range(0, flat.size, _PART)]
    with np.errstate(invalid="ignore", over="ignore"):  # of entries that are not finite
        mean = sum(float(part.sum(dtype=np.float64)) for part in parts) / size
        squares = sum(float(np.square(part - np.float64(mean)).sum()) for part in parts)
    return mean, math.sqrt(squares / size) if squares >= 0.0 else math.nan


def singular_share(shape: Sequence[int]) -> float:
    """The norm of a kernel of independent entries beside its largest singular value.

    Args:
        shape: of the kernel, the last axis its units.
    """
    inputs, units = math.prod(shape[:-1]), shape[-1]
    return math.sqrt(inputs * units) / (math.sqrt(inputs) + math.sqrt(units))
