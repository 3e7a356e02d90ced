"""Models from configurations: what Keras would do too often is done once, with the same outcome."""

import json
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.model_files.budgets import Budgets
from autoinit.model_files.rebuilding import rebuild_keras3


def chain(depth: int) -> Any:
    return keras.Sequential([keras.Input((3,)), *(layers.Dense(3, "tanh") for _ in range(depth))])


def without_input() -> Any:
    model = keras.Sequential([layers.Dense(4), layers.Dense(2)])
    model.build((None, 3))
    return model


def nested() -> Any:
    inner = keras.Sequential([layers.Dense(4), layers.BatchNormalization()])
    return keras.Sequential([keras.Input((5, 3)), layers.TimeDistributed(inner), layers.Flatten()])


def never_built() -> Any:
    return keras.Sequential([layers.Dense(4)])


def rebuilt(model: Any) -> Any:
    config = keras.saving.serialize_keras_object(model)
    return rebuild_keras3(config, {}, Budgets())


@pytest.mark.parametrize("build", [lambda: chain(4), without_input, nested])
def test_a_stack_is_as_keras_makes_it(build: Any) -> None:
    model = build()
    made = rebuilt(model)
    assert type(made) is keras.Sequential
    assert made.built
    assert made.get_config() == model.get_config()
    made.set_weights(model.get_weights())
    data = np.random.default_rng(0).standard_normal((2, *model.input_shape[1:]), np.float32)
    np.testing.assert_array_equal(made(data), model(data))
    made.add(layers.Dense(2))
    assert made(data).shape[-1] == 2


def test_an_empty_and_an_unbuilt_stack() -> None:
    assert rebuilt(keras.Sequential()).layers == []
    assert not rebuilt(never_built()).built


def test_each_layer_is_called_a_few_times_however_long_the_stack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = chain(40)
    calls = []
    before = layers.Dense.compute_output_spec
    monkeypatch.setattr(
        layers.Dense,
        "compute_output_spec",
        lambda layer, *given, **named: calls.append(layer) or before(layer, *given, **named),
    )
    unpatched = keras.Sequential.__dict__["from_config"]
    rebuilt(model)
    assert 40 <= len(calls) <= 80
    assert keras.Sequential.__dict__["from_config"] is unpatched


def test_the_range_that_random_shear_records_is_taken_again():
    layer = keras.layers.RandomShear(0.2)
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert rebuild_keras3(saved, {}, Budgets()).x_factor == layer.x_factor
