"""Backend tensors as NumPy arrays."""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def as_array(tensor: Any) -> NDArray[Any]:
    """A tensor's or a variable's values; a view where they lie in the CPU's memory."""
    if keras.backend.backend() == "tensorflow":
        # TensorFlow's own conversion copies; its tensors' buffers can be viewed as they are.
        if isinstance(tensor, keras.Variable) and hasattr(tensor.value, "read_value"):
            tensor = tensor.value.read_value()  # Keras's own conversion copies a variable, too
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
