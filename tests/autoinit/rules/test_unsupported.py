"""What becomes of layers that have no rule and cannot be opened."""

import keras
import numpy as np
import pytest
from keras import layers

from autoinit import AutoInit
from autoinit.errors import UnsupportedLayerError
from autoinit.propagation import Options, input_signals, predict
from autoinit.reading import read_model
from autoinit.signals import SIGNAL_MODELS
from tests.autoinit.closed import Closed


class Counting(Closed):
    """Cannot be made again from its configuration, and remembers how often it ran."""

    def __init__(self, threshold, **options):
        super().__init__(3.0, **options)
        self.threshold = threshold

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)
        super().build(shape)

    def call(self, inputs):
        self.count.assign_add(1.0)
        return super().call(inputs)


class Unrunnable(Closed):
    def call(self, inputs):
        raise RuntimeError("only on the original machine")

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)


def outcomes(layer, unsupported, signal_model="correlated"):
    graph = read_model(keras.Sequential([keras.Input((50,)), layer, layers.ReLU(name="after")]))
    options = Options(unsupported=unsupported)
    return predict(graph, input_signals(graph, signal_model=signal_model), options)


@pytest.mark.parametrize("signal_model", SIGNAL_MODELS)
@pytest.mark.parametrize("kind", [Closed, Counting])
def test_a_layer_without_a_rule_is_sampled(kind, signal_model):
    layer = kind(3.0)
    result = outcomes(layer, "sample", signal_model)
    sampled = result.results[1]
    assert str(sampled.support) == "sampled"
    assert sampled.signals[0].variance == pytest.approx(9.0, abs=4 * sampled.standard_error)
    assert 0 < sampled.standard_error < 0.1
    assert not result.results[2].tainted
    (finding,) = result.findings
    assert finding.code == "sampled_layer"
    assert "Monte Carlo through the layer itself" in finding.message
    if kind is Counting:
        assert float(layer.count.numpy()) == 0.0


def test_a_layer_that_cannot_be_run_is_passed_through_all_the_same():
    result = outcomes(Unrunnable(), "sample")
    assert str(result.results[1].support) == "pass_through"
    assert result.results[2].tainted


def test_a_layer_without_a_rule_may_be_an_error():
    with pytest.raises(UnsupportedLayerError, match=r"\(Closed\), and it cannot be opened"):
        outcomes(Closed(name="closed"), "error")
    assert all(str(o.support) != "pass_through" for o in outcomes(layers.ReLU(), "error").results)


def test_the_option_is_one_of_three():
    with pytest.raises(ValueError, match="must be one of pass_through, sample, error"):
        AutoInit({"unsupported": "guess"})
    model = keras.Sequential([keras.Input((50,)), Closed(2.0), layers.Dense(64, name="dense")])
    new = AutoInit({"unsupported": "sample", "seed": 0}).initialize_model(model)
    x = np.random.default_rng(0).standard_normal((500, 50)).astype("float32")
    assert np.var(new(x)) == pytest.approx(1.0, rel=0.1)
