"""Bounded functions have moments, however fast they turn."""

import keras
import numpy as np
import pytest

from autoinit.propagation import input_signals, predict
from autoinit.reading import read_model


@pytest.mark.parametrize("signal_model", ["correlated", "independent"])
@pytest.mark.parametrize("frequency", [3.0, 30.0, 250.0, 1000.0])
def test_waves(signal_model, frequency):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.sin(frequency * inputs))
    graph = read_model(model)
    result = predict(graph, input_signals(graph, signal_model=signal_model))
    assert not result.findings
    signal = result.results[-1].signals[0]
    # Between two nodes of the correlated model's grid a fast wave may turn by whole rounds.
    known_to = 0.05 if signal_model == "correlated" else 1e-4
    # E sin²(ωZ) = (1 − e^{−2ω²})/2
    assert signal.variance == pytest.approx((1 - np.exp(-2 * frequency**2)) / 2, rel=known_to)
    assert signal.mean == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("signal_model", ["correlated", "independent"])
def test_poles_are_still_told(signal_model):
    inputs = keras.Input((4,))
    graph = read_model(keras.Model(inputs, keras.ops.reciprocal(inputs)))
    result = predict(graph, input_signals(graph, signal_model=signal_model))
    assert [finding.code for finding in result.findings] == ["not_integrable"]
