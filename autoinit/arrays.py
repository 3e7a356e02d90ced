"""Backend tensors as NumPy arrays."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def as_array(tensor: Any) -> NDArray[Any]:
    """A tensor's or a variable's values; a view where they lie in the CPU's memory."""
    if keras.backend.backend() == "tensorflow":
        # TensorFlow's own conversion copies; its tensors' buffers can be viewed as they are.
        tensor = keras.ops.convert_to_tensor(tensor)
        return np.asarray(tensor if hasattr(tensor, "__array__") else tensor.numpy())
    return np.asarray(keras.ops.convert_to_numpy(tensor))
