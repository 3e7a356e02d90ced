"""Activations, initialisers, regularisers and constraints of Keras 2 as those of Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from autoinit.graph.keras_internals import activations2 as activations
from autoinit.graph.placeholders import OpaqueActivation


class NoEqualError(Exception):
    """A part of a layer has no equal in Keras 3: the layer itself has to run."""


@keras.saving.register_keras_serializable(package="autoinit")
def hard_sigmoid(x: Any) -> Any:
    """Keras 2's: max(0, min(1, 0.2·x + 0.5)). Keras 3's has the slope 1/6."""
    return keras.ops.clip(x * 0.2 + 0.5, 0.0, 1.0)


@keras.saving.register_keras_serializable(package="autoinit")
def gelu_by_tanh(x: Any) -> Any:
    """GELU by its approximation, which is the default of TensorFlow Addons."""
    return keras.activations.gelu(x, approximate=True)


@keras.saving.register_keras_serializable(package="autoinit")
def lisht(x: Any) -> Any:
    """x·tanh(x), of TensorFlow Addons."""
    return x * keras.ops.tanh(x)


@keras.saving.register_keras_serializable(package="autoinit")
def snake(x: Any) -> Any:
    """X + sin²(x), of TensorFlow Addons."""
    return x + keras.ops.square(keras.ops.sin(x))


@keras.saving.register_keras_serializable(package="autoinit")
def rrelu(x: Any) -> Any:
    """Of TensorFlow Addons, as it is when it draws nothing: the mean of its slopes, 1/8 to 1/3."""
    return keras.activations.leaky_relu(x, negative_slope=11 / 48)


# Functions of TensorFlow Addons with the arguments that they have as activations.
ADDONS: dict[str, Callable[..., Any]] = {
    "gelu": gelu_by_tanh,
    "hardshrink": keras.activations.hard_shrink,
    "lisht": lisht,
    "mish": keras.activations.mish,
    "rrelu": rrelu,
    "snake": snake,
    "softshrink": keras.activations.soft_shrink,
    "sparsemax": keras.activations.sparsemax,
    "tanhshrink": keras.activations.tanh_shrink,
}
_OURS = (gelu_by_tanh, lisht, rrelu, snake)

_SAME_NAME = (
    "elu", "exponential", "gelu", "leaky_relu", "linear", "log_softmax", "mish", "relu", "relu6",
    "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh",
)  # fmt: skip
# A name may stand for another function than the attribute of that name.
_ACTIVATIONS: dict[Any, Callable[..., Any]] = {
    function: getattr(keras.activations, name)
    for name in _SAME_NAME
    for function in (getattr(activations, name), activations.get(name))
} | {activations.hard_sigmoid: hard_sigmoid}


def activation(function: Any) -> Any:
    """The Keras 3 function that computes the same.

    Raises:
        NoEqualError: there is none.
    """
    if function is None:
        return None
    of_keras3 = str(getattr(function, "__module__", "")).startswith("keras.")
    if isinstance(function, OpaqueActivation) or of_keras3 or function in _OURS:
        return function
    try:
        return _ACTIVATIONS[function]
    except (KeyError, TypeError):  # a TypeError where it cannot be hashed
        raise NoEqualError(f"the activation {function!r}") from None


def of_same_class(made: Any, module: Any) -> Any:
    """The initialiser, regulariser or constraint of Keras 3 that does the same.

    Args:
        made: of Keras 2, or None.
        module: where Keras 3 has its own.

    Raises:
        NoEqualError: there is none.
    """
    if made is None:
        return None
    name = type(made).__name__.removesuffix("V2")
    equal = getattr(module, name, None)
    if type(made).__module__.partition(".")[0] not in ("tensorflow", "tf_keras") or equal is None:
        raise NoEqualError(name)
    return equal(**plain(made.get_config()))


def plain(value: Any) -> Any:
    """A configuration in lists, tuples, dictionaries and numbers of Python's own."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value)) if type(value) is tuple else [*map(plain, value)]
    if isinstance(value, tf.Tensor):
        value = value.numpy()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, tf.TensorShape):
        return tuple(value)
    return value.name if isinstance(value, tf.DType) else value
