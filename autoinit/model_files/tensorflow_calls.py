"""TensorFlow's functions in code for Keras 3, recorded as the operations that they are.

Keras 3 takes none of its own symbolic tensors in a function of TensorFlow. Code for its TensorFlow
backend calls them all the same, and runs; while such code is traced, TensorFlow asks here.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import keras
import tensorflow as tf
from keras import KerasTensor

from autoinit.graph.keras_internals import compute_output_spec, get_canonical_name_for_symbol
from autoinit.graph.tracing import is_tracing
from autoinit.model_files.keras2.operations import expression_of
from autoinit.model_files.keras2.symbols import ALIASES, ROWS
from autoinit.model_files.keras2.vocabulary import TF_SYMBOLS
from autoinit.model_files.keras2.wrappers import TensorFlowFunction

_Dispatcher: Any = tf.__internal__.dispatch.GlobalOpDispatcher


class _Recorder(_Dispatcher):
    """What TensorFlow turns to where its function fails on some argument."""

    wanted = False

    def handle(self, op: Any, args: Any, kwargs: Any) -> Any:
        """The operation that a function is, on symbolic tensors; `NOT_SUPPORTED` for others."""
        tensors = [
            each for each in tf.nest.flatten((args, kwargs)) if isinstance(each, KerasTensor)
        ]
        if not (self.wanted and tensors and is_tracing()):
            return self.NOT_SUPPORTED
        symbol = get_canonical_name_for_symbol(op, add_prefix_to_v1_names=True)
        bound = inspect.signature(op).bind(*args, **kwargs).arguments
        extra = bound.pop("kwargs", {})
        arguments = {n: v for n, v in {**bound, **extra}.items() if n != "name"}
        if symbol in ("shape", "compat.v1.shape"):  # while layers are traced, sizes are known
            return list(tensors[0].shape)
        arguments = tf.nest.map_structure(_plain, arguments)
        made = _by_row(symbol, arguments, compute_output_spec(op, *args, **kwargs))
        if made is not None:
            return made
        if symbol not in TF_SYMBOLS:
            return self.NOT_SUPPORTED
        given: list[Any] = []
        return TensorFlowFunction(expression_of(symbol, arguments, given))(*given)


def _plain(value: Any) -> Any:
    """A constant as numbers."""
    return value.numpy() if isinstance(value, tf.Tensor) else value


def _by_row(symbol: str, arguments: Any, expected: Any) -> Any:
    """The result by `keras.ops`; None where that does not express the call."""
    row = ROWS.get(ALIASES.get(symbol, symbol))
    if row is None:
        return None
    outputs = keras.tree.flatten(expected)
    if "output" in inspect.signature(row).parameters:
        arguments = {**arguments, "output": tuple(outputs[0].shape)}
    try:
        made = row(**arguments)
    except Exception:  # a row, or Keras, refuses as it likes
        return None
    found = keras.tree.flatten(made)
    alike = [(tuple(each.shape), each.dtype) for each in found] == [
        (tuple(each.shape), each.dtype) for each in outputs
    ]
    return made if alike else None


@functools.cache
def _recorder() -> _Recorder:
    recorder = _Recorder()
    recorder.register()  # which nothing undoes
    return recorder


def record_functions(wanted: bool) -> None:
    """Whether functions are recorded from now on, in code that is traced."""
    _recorder().wanted = wanted
