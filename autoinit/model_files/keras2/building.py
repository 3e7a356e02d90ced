"""From a checked Keras 2 configuration to a tf_keras model, without drawing a weight."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
import tf_keras

from autoinit.errors import ModelFileError
from autoinit.graph import keras_internals as internals
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.keras2.configurations import normalise
from autoinit.model_files.keras2.connecting import MODELS
from autoinit.model_files.keras2.placeholders import OPAQUE
from autoinit.model_files.keras2.repairs import SpectralNormalization
from autoinit.model_files.rebuilding import require_orthogonal

# Layers of Keras 2 that tf_keras's reader does not know by name, or only in part.
_UNLISTED = {
    "CustomScaleLayer": internals.CustomScaleLayer2,
    "LayerScale": internals.LayerScale2,
    "SpectralNormalization": SpectralNormalization,
    "StochasticDepth": internals.StochasticDepth2,
}


def build_keras2(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any], budgets: Budgets
) -> Any:
    """The tf_keras model that a configuration describes, not compiled.

    Weights whose initialisers draw are zero; the others, such as BatchNormalization's, are as
    configured.

    Args:
        config: `{"class_name": …, "config": …}` of a model of any Keras 2, checked.
        custom_objects: tf_keras classes and functions of the operator's, by name.
        budgets: parameters are counted before each is allocated.

    Raises:
        ModelFileError: the parameters exceed a budget, the layers do not connect, or the
            configuration is not a model's.
    """
    custom = {**_UNLISTED, **OPAQUE, **MODELS, **custom_objects}
    with _counted_and_zero(budgets), tf_keras.utils.custom_object_scope(custom):
        model = tf_keras.layers.deserialize(
            normalise(dict(config), custom_objects), use_legacy_format=True
        )
    if not isinstance(model, tf_keras.Model):
        raise ModelFileError(
            "not_a_model",
            f"The file holds a {type(model).__name__}, not a model. "
            "Save the whole model with model.save('model.keras').",
        )
    return model


@contextmanager
def _counted_and_zero(budgets: Budgets) -> Iterator[None]:
    """Counts the entries of variables before they are allocated, and leaves draws out."""
    total = 0

    def create(next_creator: Any, **arguments: Any) -> Any:
        nonlocal total
        draw, shape = arguments.get("initial_value"), arguments.get("shape")
        if shape is not None and tf.TensorShape(shape).is_fully_defined():
            shape = tuple(tf.TensorShape(shape))
            total += math.prod(shape)
            budgets.require("parameters", total, "The model")
            if isinstance(draw, functools.partial) and hasattr(draw.func, "seed"):
                if isinstance(draw.func, tf_keras.initializers.Orthogonal) and shape:
                    # Not drawn here, but whoever draws the model's weights anew will.
                    require_orthogonal(shape, budgets)
                zeros = functools.partial(tf.zeros, shape, draw.keywords.get("dtype", tf.float32))
                arguments["initial_value"] = zeros
        return next_creator(**arguments)

    with tf.variable_creator_scope(create):
        yield
