"""Small tf_keras models with weights that show mistakes, and both Kerases' outputs side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from autoinit.model_files.budgets import Budgets
from autoinit.model_files.keras2.building import build_keras2
from autoinit.model_files.keras2.translation import Translation, translate


def around(layer: Any, shapes: Sequence[Any], dtype: str = "float32") -> Any:
    """A model of one layer, called on its inputs: one, or a list of them."""
    inputs = [tf_keras.Input(shape, dtype=dtype) for shape in shapes]
    return tf_keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))


def randomise(model: Any, seed: int = 0) -> Any:
    """Weights of which none is zero, one, or of zero mean; variances are positive."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if not variable.dtype.is_floating or not variable.shape.is_fully_defined():
            continue
        name = variable.name.rpartition("/")[2]
        values = generator.normal(0.1, 0.4, variable.shape)
        positive = any(part in name for part in ("variance", "gamma", "stddev"))
        variable.assign(np.abs(values) + 0.5 if positive else values)
    return model


def reread(model: Any) -> Any:
    """The same model from its configuration, with the same weights."""
    made = build_keras2(json.loads(model.to_json()), {}, Budgets())
    made.set_weights(model.get_weights())
    return made


def translated(model: Any, **options: Any) -> Translation:
    """The translation of a model that was written down and read again."""
    return translate(reread(randomise(model)), **options)


def data_for(model: Any, samples: int = 3, integers: int = 0, seed: int = 1) -> list[Any]:
    """An array for each input; open sizes are 5."""
    generator = np.random.default_rng(seed)
    arrays = []
    for tensor in model.inputs:
        shape = [size or (5 if place else samples) for place, size in enumerate(tensor.shape)]
        if tensor.dtype == tf.string:
            words = np.array(["a", "b", "c d", "e"], object)
            arrays.append(tf.constant(generator.choice(words, shape)))
        elif integers or not tensor.dtype.is_floating:
            arrays.append(generator.integers(0, integers or 4, shape).astype(tensor.dtype.name))
        else:
            arrays.append(generator.normal(0.2, 1.0, shape).astype(tensor.dtype.name))
    return arrays


def outputs(model: Any, arrays: Sequence[Any], training: bool = False) -> list[Any]:
    """What a model of either Keras returns, flat; stateful layers start anew."""
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False):
            getattr(layer, "reset_state", layer.reset_states)()
    is_old = isinstance(model, tf_keras.Model)
    structure = model._nested_inputs if is_old else getattr(model, "_inputs_struct", None)
    given = arrays[0] if structure is None else tf.nest.pack_sequence_as(structure, [*arrays])
    return [np.asarray(leaf) for leaf in tf.nest.flatten(model(given, training=training))]


def assert_same(
    model: Any, twin: Any, arrays: Sequence[Any], training: bool = False, rtol: float = 1e-5
) -> None:
    """Both models give the same numbers, to rounding."""
    expected, found = (outputs(one, arrays, training) for one in (model, twin))
    assert len(expected) == len(found)
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape
        if one.dtype.kind in "fV":
            # A few integer layers of Keras 3 return integers where their own symbols say floats.
            assert one.dtype == other.dtype or other.dtype.kind == "i"
            one, other = one.astype(np.float64), other.astype(np.float64)
            scale = max(np.abs(one).max(initial=0.0), 1e-6)
            np.testing.assert_allclose(other, one, rtol=rtol, atol=rtol * scale)
        else:
            np.testing.assert_array_equal(other, one)


def classes(model: Any) -> list[str]:
    """Class names of a Keras 3 model's layers and operations, without inputs."""
    parts = model.layers if isinstance(model, keras.Sequential) else model.operations
    found = [type(part).__name__ for part in parts]
    return [name for name in found if name != "InputLayer"]


def saved_and_loaded(model: keras.Model, path: Any) -> keras.Model:
    """A model from the `.keras` file that it was written to."""
    model.save(path)
    return keras.saving.load_model(path)


def is_of_keras_only(model: keras.Model) -> bool:
    """Whether a model's file opens where nothing but Keras is installed."""
    return "autoinit" not in model.to_json()
