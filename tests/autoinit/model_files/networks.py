"""One network in both Kerases, with whatever makes the places of weights hard to tell."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

SEQUENCE, IMAGE, TOKENS, OUTPUTS = (6, 5), (6, 6, 3), (4,), 3


def rich(kind: Any) -> Any:
    """Nested models two deep, shared layers, wrappers, frozen layers, normalisation, attention.

    Args:
        kind: `keras` or `tf_keras`.
    """
    layers = kind.layers
    sequence = kind.Input(SEQUENCE, name="sequence")
    image = kind.Input(IMAGE, name="image")
    tokens = kind.Input(TOKENS, name="tokens", dtype="int32")
    stepwise = layers.TimeDistributed(layers.Dense(7, name="step"), name="stepwise")(sequence)
    read = layers.Bidirectional(layers.LSTM(4), name="both_ways")(stepwise)
    x = layers.SeparableConv2D(4, 3, name="separable")(image)
    x = layers.Conv2D(4, 3, name="frozen_conv", trainable=False)(x)
    x = layers.DepthwiseConv2D(2, name="depthwise")(x)
    x = layers.Conv2DTranspose(3, 2, name="transposed")(x)
    x = layers.BatchNormalization(name="normalised")(x)
    seen = layers.Dense(8, name="seen")(layers.GlobalAveragePooling2D(name="pooled")(x))
    x = layers.Embedding(11, 8, name="embedded")(tokens)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    said = layers.GlobalAveragePooling1D(name="averaged")(x)
    x = nested(kind)(layers.Add(name="added")([read, seen, said]))
    shared = layers.Dense(8, name="shared")
    return kind.Model([sequence, image, tokens], _head(kind)(shared(shared(x))), name="rich")


def nested(kind: Any) -> Any:
    """A model that calls a nested one twice."""
    layers = kind.layers
    inner_input = kind.Input((8,), name="inner_input")
    x = layers.Dense(8, "relu", name="hidden")(inner_input)
    inner = kind.Model(inner_input, layers.BatchNormalization(name="steadied")(x), name="inner")
    outer_input = kind.Input((8,), name="outer_input")
    x = layers.Dense(8, name="last")(inner(inner(outer_input)))
    return kind.Model(outer_input, x, name="outer")


def _head(kind: Any) -> Any:
    layers = kind.layers
    return kind.Sequential(
        [
            layers.InputLayer((8,), name="head_input"),
            layers.Dense(5, name="first"),
            layers.Dense(OUTPUTS, name="second", trainable=False),
        ],
        name="head",
    )


def small(kind: Any) -> Any:
    """Two layers of one class, and two more of it in a nested model."""
    layers = kind.layers
    inner = [layers.InputLayer((5,)), layers.Dense(4, name="c"), layers.Dense(2, name="d")]
    given = kind.Input((3,), name="given")
    x = layers.Dense(5, name="b")(layers.Dense(3, name="a")(given))
    return kind.Model(given, kind.Sequential(inner, name="inner")(x), name="small")


def shuffled(model: Any, seed: int = 0) -> Any:
    """The model, with other weights in every place; variances stay positive."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(np.abs(generator.normal(0.5, 0.2, tuple(weight.shape))) + 0.05)
    return model


def anew(model: Any, kind: Any, seed: int = 5) -> Any:
    """The same model, made again from its configuration, with weights that are not its own."""
    made = kind.models.model_from_json(model.to_json())
    made.compiled = False
    return shuffled(made, seed)


def trained(model: Any, kind: Any, optimizer: Any = "adam") -> Any:
    """Compiled, and one step of its optimizer on: no tracing of the network for a random step."""
    model.compile(optimizer, kind.losses.MeanSquaredError())
    weights = model.trainable_variables
    steps = [tf.fill(weight.shape, tf.cast(0.5, weight.dtype)) for weight in weights]
    model.optimizer.apply_gradients(zip(steps, weights, strict=True))
    return model


def saved(model: Any, path: Path) -> Path:
    """Save a model, past the advice to take another format."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(path)
    finally:
        logger.setLevel(level)
    return path


def values(variables: Any) -> list[Any]:
    """The values of variables of either Keras."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
