"""`WeightedSum`, and residual networks whose additions are wrapped."""

import keras
import numpy as np
import pytest
from keras import layers

from autoinit import AutoInit, WeightedSum, wrap_addition
from autoinit.model_files import open_model_file
from autoinit.propagation import input_signals, predict
from autoinit.reading import read_model
from autoinit.signals import SIGNAL_MODELS
from probes import probe_model


def residual(depth=16, units=64):
    data = keras.Input((units,), name="data")
    x = data
    for index in range(depth):
        y = layers.Dense(units, name=f"dense{index}")(x)
        x = layers.Add(name=f"sum{index}")([x, layers.ReLU()(y)])
    return keras.Model(data, x)


def variances(model):
    probe = probe_model(model, 256)
    return [probe[path].variance for path in probe if path.startswith("sum")]


def test_it_is_a_sum_to_begin_with_and_is_saved(tmp_path):
    model = residual(3)
    wrapped = wrap_addition(model)
    x = np.random.default_rng(0).standard_normal((5, 64)).astype("float32")
    np.testing.assert_allclose(wrapped(x), model(x), rtol=1e-5)
    assert [type(layer).__name__ for layer in wrapped.layers].count("WeightedSum") == 3
    assert not any(isinstance(layer, WeightedSum) for layer in model.layers)
    new = AutoInit({"seed": 0}).initialize_model(wrapped)
    new.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(x), new(x), rtol=1e-5)
    opened = open_model_file(tmp_path / "model.keras").model
    np.testing.assert_allclose(opened(x), new(x), rtol=1e-5)


@pytest.mark.parametrize("signal_model", SIGNAL_MODELS)
def test_a_residual_network_with_it_does_not_grow_with_depth(signal_model):
    config = {"seed": 0, "signal_model": signal_model}
    plain = variances(AutoInit(config).initialize_model(residual()))
    held = variances(AutoInit(config).initialize_model(wrap_addition(residual())))
    assert plain[-1] > 5 * plain[0]
    assert max(held) < 2.5
    assert np.median(held) == pytest.approx(1.0, rel=0.4)


@pytest.mark.parametrize("signal_model", SIGNAL_MODELS)
def test_given_coefficients_by_hand(signal_model):
    """2·x₁ − 3·x₂ of means 0.5 and variances 1.5: mean −0.5, variance (4 + 9)·1.5."""
    tensors = [keras.Input((8,)), keras.Input((8,))]
    layer = WeightedSum()
    model = keras.Model(tensors, layer(tensors))
    layer.coefficients.assign([2.0, -3.0])
    graph = read_model(model)
    outcome = predict(graph, input_signals(graph, 0.5, 1.5, signal_model)).results[-1]
    assert outcome.weighted
    assert outcome.signals[0].mean == pytest.approx(-0.5)
    assert outcome.signals[0].variance == pytest.approx(19.5)


def test_it_adds_tensors_of_one_shape():
    with pytest.raises(ValueError, match="tensors or more of one shape"):
        WeightedSum()([keras.Input((3,)), keras.Input((4,))])
    assert not WeightedSum().trainable_weights
    tensors = [keras.Input((3,)), keras.Input((3,))]
    layer = WeightedSum(trainable_coefficients=True)
    layer(tensors)
    assert len(layer.trainable_weights) == 1
    assert WeightedSum.from_config(layer.get_config()).trainable_coefficients
