"""NaN and infinite weights: found wherever they are, told once, with what becomes of them."""

import keras
import numpy as np
import pytest
from keras import layers

from app.analysis.diagnosis.linter.weights import weights_not_finite
from autoinit.propagation import input_signals, plan, predict
from autoinit.reading import read_model


def network(dtype="float32"):
    data = keras.Input((6,), name="data")
    dense = layers.Dense(4, activation="relu", name="dense", dtype=dtype)(data)
    normal = layers.BatchNormalization(name="normal")(dense)
    return keras.Model(data, layers.Dense(2, name="head")(normal))


def spoil(variable, *values):
    array = np.array(keras.ops.convert_to_numpy(variable), np.float32)
    array.flat[: len(values)] = values
    variable.assign(array)


def findings(model, drawn=()):
    return list(weights_not_finite(read_model(model), drawn))


def test_sound_weights_have_no_finding():
    model = network()
    spoil(model.get_layer("dense").kernel, 3e38, 3e38, -3e38)  # whose sum is no float32
    assert findings(model) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_each_layer_is_told_with_counts(dtype):
    model = network(keras.DTypePolicy(dtype))
    dense, normal = model.get_layer("dense"), model.get_layer("normal")
    spoil(dense.kernel, np.nan, np.inf, -np.inf)
    spoil(dense.bias, np.nan)
    spoil(normal.moving_variance, np.inf)
    first, second = findings(model, {id(dense.kernel)})
    assert (first.code, first.path, first.class_name) == ("weights_not_finite", "dense", "Dense")
    assert "3 of 24 in 'kernel', 1 of 4 in 'bias'." in first.message
    assert "AutoInit draws 'kernel' anew and leaves the others as they came" in first.message
    assert second.path == "normal"
    assert "1 of 4 in 'moving_variance'. AutoInit leaves them as they came" in second.message


def test_what_is_drawn_anew_is_mended():
    model = network()
    kernel = model.get_layer("dense").kernel
    spoil(kernel, np.nan)
    (found,) = findings(model, {id(kernel)})
    assert found.message.endswith("1 of 24 in 'kernel'. AutoInit draws them anew.")


def test_a_shared_layer_is_told_once():
    data = keras.Input((4,), name="data")
    dense = layers.Dense(4, name="dense")
    model = keras.Model(data, dense(dense(data)))
    spoil(dense.kernel, np.nan)
    assert [found.path for found in findings(model)] == ["dense"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["kernel", "bias"])
def test_a_prediction_is_not_made_of_what_is_not_finite(name, value):
    model = network()
    spoil(getattr(model.get_layer("dense"), name), value)
    graph = read_model(model)
    outcomes = predict(graph, input_signals(graph)).results
    assert [outcome.signals[0].finite for outcome in outcomes] == [True] + [False] * 4


@pytest.mark.parametrize("name", ["kernel", "bias"])
def test_autoinit_draws_kernels_as_if_they_were_sound(name):
    sound, spoilt = network(), network()
    spoil(getattr(spoilt.get_layer("dense"), name), np.nan)
    scales = []
    for model in (sound, spoilt):
        graph = read_model(model)
        result = plan(graph, input_signals(graph))
        scales.append([found.standard_deviation for found in result.scales])
    assert len(scales[0]) == 2
    assert scales[0] == scales[1]
