"""Whether a translation computes what its original computes: both are run on one small batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from autoinit.errors import GraphError
from autoinit.graph.keras_internals import inputs_structure, layers_in
from autoinit.graph.model_graph import ModelGraph
from autoinit.graph.shapes import all_activations, work
from autoinit.reading import read_model

# What one pass may take: multiplications, bytes, and steps of recurrent layers.
_MULTIPLICATIONS, _BYTES, _STEPS = 10**11, 2**31, 2000
_UNKNOWN_SIZE = 32
# Relative difference that rounding alone may make in each arithmetic, and a step within rounding.
_TOLERANCES = {"float64": 1e-6, "float32": 1e-4, "float16": 0.05, "bfloat16": 0.2}
_STEP = {"float64": 1e-12, "float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}
_AMPLIFIED = 20


class NotComparedError(Exception):
    """The two models cannot be run side by side; the text ends a sentence that says so."""


def compare(model: Any, translated: Any) -> tuple[float, float]:
    """The largest relative difference between two models' outputs in inference, and its tolerance.

    A deep model may amplify rounding: the tolerance is then what a change of the input in its last
    digits makes.

    Args:
        model: of tf_keras.
        translated: of Keras 3, with the same weights.

    Raises:
        NotComparedError: they are too large, or cannot be run.
    """
    graph = _readable(translated)
    inputs = _inputs(graph, _samples(graph))
    arithmetic = _coarsest(translated)
    expected = _outputs(model, inputs, "tf_keras")
    difference = _difference(expected, _outputs(translated, inputs, "Keras 3"))
    tolerance = _TOLERANCES[arithmetic]
    if difference > tolerance:
        nearby = [_moved(array, _STEP[arithmetic]) for array in inputs]
        rounding = _difference(expected, _outputs(model, nearby, "tf_keras"))
        tolerance = max(tolerance, _AMPLIFIED * rounding)
    return difference, tolerance


def _readable(model: Any) -> ModelGraph:
    try:
        graph = read_model(model, _UNKNOWN_SIZE)
    except GraphError as error:
        raise NotComparedError(str(error).rstrip(".")) from error
    if graph.behind_placeholders():
        raise NotComparedError("a part of it is not run")
    return graph


def _samples(graph: ModelGraph) -> int:
    """How many samples go through: two if they fit, or one."""
    multiplications, steps = work(graph)
    for samples in (2, 1):
        if (
            samples * multiplications <= _MULTIPLICATIONS
            and steps <= _STEPS
            and all_activations(graph, samples) <= _BYTES
        ):
            return samples
    raise NotComparedError("a single pass would take too long")


def _coarsest(model: Any) -> str:
    """The arithmetic with the fewest digits among a model's layers."""
    used = {layer.compute_dtype for layer in layers_in(model)}
    return max(
        (name for name in _TOLERANCES if name in used),
        key=_TOLERANCES.__getitem__,
        default="float32",
    )


def _inputs(graph: ModelGraph, samples: int) -> list[Any]:
    generator = np.random.default_rng(0)
    sizes = graph.vocabulary()
    arrays = []
    for call in graph.inputs:
        (value,) = call.outputs
        shape = tuple(size or samples for size in value.shape)
        if value.dtype == "string":
            arrays.append(generator.choice(np.array(["a", "b", "a b", "c"], object), shape))
        elif value.index in sizes or not keras.backend.is_float_dtype(value.dtype):
            indices = generator.integers(0, sizes.get(value.index, 2), shape)
            arrays.append(indices.astype(value.dtype))
        else:
            arrays.append(generator.standard_normal(shape).astype(np.float32))
    return arrays


def _moved(array: Any, step: float) -> Any:
    if array.dtype != np.float32:
        return array
    noise = np.random.default_rng(1).standard_normal(array.shape, np.float32)
    return array * (1 + np.float32(step) * noise)


def _outputs(model: Any, arrays: Sequence[Any], runner: str) -> list[Any]:
    tensors = [
        tf.cast(tf.convert_to_tensor(array), tensor.dtype)
        if array.dtype != object
        else tf.convert_to_tensor(array)
        for array, tensor in zip(arrays, model.inputs, strict=True)
    ]
    _forget(model)
    try:
        results = model(_like_inputs(model, tensors), training=False)
        return [np.asarray(result) for result in tf.nest.flatten(results)]
    except MemoryError:
        raise
    except Exception as error:  # any layer's code runs here, and may raise anything
        detail = " ".join(str(error).split())[:120]
        raise NotComparedError(f"{runner} cannot run it here ({detail})") from error
    finally:
        _forget(model)


def _forget(model: Any) -> None:
    """Puts the states of stateful layers back to their start."""
    for layer in layers_in(model):
        if getattr(layer, "stateful", False):
            for name in ("reset_state", "reset_states"):
                getattr(layer, name, lambda: None)()


def _like_inputs(model: Any, tensors: list[Any]) -> Any:
    structure = inputs_structure(model)
    if structure is None:
        return tensors[0]
    return tf.nest.pack_sequence_as(structure, tensors)


def _difference(expected: Sequence[Any], found: Sequence[Any]) -> float:
    return max(map(_relative, expected, found), default=0.0)


def _relative(expected: Any, found: Any) -> float:
    if expected.shape != found.shape:
        return math.inf
    if expected.dtype.kind not in "fV" and expected.dtype.name != "bfloat16":
        return float(np.mean(expected != found)) if expected.size else 0.0
    one, other = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(one)
    if (finite != np.isfinite(other)).any():
        return math.inf
    if not finite.any():
        return 0.0
    scale = np.abs(one[finite]).max()
    return float(np.abs(one[finite] - other[finite]).max() / (scale or 1.0))
