"""What became of each variable, and whether that is still so."""

import math

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.arrays import mean_and_deviation
from autoinit.initializers.distributions import make_initializer
from autoinit.initializers.drawing import apply_plans
from autoinit.manifest import differing, variables_as_data
from autoinit.propagation import input_signals, plan
from autoinit.reading import read_model


@pytest.fixture
def drawn():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")(inputs)
    x = layers.Flatten()(layers.BatchNormalization(name="norm")(x))
    model = keras.Model(inputs, layers.Dense(4, name="head")(x))
    graph = read_model(model)
    plans = plan(graph, input_signals(graph)).scales
    apply_plans(plans, "uniform", 7)
    frozen = frozenset({id(model.get_layer("norm").gamma)})
    return model, {"variables": variables_as_data(model, plans, "uniform", 7, frozen)}


def test_every_variable_is_listed_with_what_became_of_it(drawn):
    model, manifest = drawn
    entries = {entry["variable"]: entry for entry in manifest["variables"]}
    assert list(entries) == [variable.path for variable in model.weights]
    kernel = entries["conv/kernel"]
    assert (kernel["status"], kernel["call"], kernel["fan_in"]) == ("drawn", "conv", 27)
    # Taps on 8 positions under `same` padding: (2 + 6·3 + 2)/8 on each axis.
    assert kernel["effective_fan_in"] == pytest.approx(3 * 2.75**2)
    assert kernel["scale"] == pytest.approx((3 * 2.75**2) ** -0.5, rel=1e-6)
    assert kernel["standard_deviation"] == pytest.approx(kernel["scale"], rel=0.2)
    assert (kernel["shape"], kernel["dtype"]) == ([3, 3, 3, 6], "float32")
    assert entries["norm/gamma"]["status"] == "frozen"
    assert entries["norm/beta"]["status"] == "kept"
    assert "scale" not in entries["head/bias"]


def test_a_kernel_can_be_drawn_again_from_its_entry(drawn):
    model, manifest = drawn
    (entry,) = (e for e in manifest["variables"] if e["variable"] == "head/kernel")
    shape = tuple(entry["shape"])
    again = make_initializer(entry["distribution"], entry["scale"], shape, entry["seed"])
    values = keras.ops.convert_to_numpy(again(shape, dtype=entry["dtype"]))
    kernel = keras.ops.convert_to_numpy(model.get_layer("head").kernel)
    np.testing.assert_array_equal(values, kernel)


def test_what_was_changed_since_is_named(drawn, tmp_path):
    model, manifest = drawn
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert differing(manifest, loaded) == []
    bias = loaded.get_layer("head").bias
    bias.assign(keras.ops.ones_like(bias))
    assert differing(manifest, loaded) == ["head/bias"]
    other = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    with pytest.raises(ValueError, match="do not belong together"):
        differing(manifest, other)


def test_mean_and_deviation_are_those_of_double_precision():
    values = np.random.default_rng(0).normal(100.0, 1e-3, (300, 301)).astype(np.float32)
    exact = values.astype(np.float64)
    assert mean_and_deviation(values) == pytest.approx((exact.mean(), exact.std()), rel=1e-9)
    values[0, 0] = np.nan
    assert all(map(math.isnan, mean_and_deviation(values)))
    assert mean_and_deviation(np.full((2, 2), 3)) == (3.0, 0.0)
