"""Every network that can be built is analysed, initialised, saved and loaded."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from autoinit import AutoInit
from autoinit.propagation import Options, input_signals, predict
from autoinit.reading import read_model
from probes import probe_model
from tests.random_networks.networks import network, recipes

_SETTINGS = {
    "deadline": None, "derandomize": True, "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}  # fmt: skip


def check(model, folder):
    graph = read_model(model)
    result = predict(graph, input_signals(graph), Options(samples=512))
    for call, outcome in zip(graph.calls, result.results, strict=True):
        assert str(outcome.support) != "pass_through", (call.path, call.class_name)
        assert np.isfinite([outcome.signals[0].mean, outcome.signals[0].variance]).all(), call.path
        assert outcome.signals[0].variance >= 0
    config = {"seed": 0, "recurrent_monte_carlo_samples": 512}
    new = AutoInit(config).initialize_model(model)
    probe = probe_model(new, 16)
    assert all(moments is None or np.isfinite(moments.mean) for moments in probe.moments)
    new.save(folder / "model.keras")
    again = keras.models.load_model(folder / "model.keras")
    x = np.random.default_rng(0).standard_normal((3, *model.input_shape[1:])).astype("float32")
    np.testing.assert_allclose(again(x), new(x), rtol=1e-4, atol=1e-5)


@given(recipe=recipes)
@settings(max_examples=8, **_SETTINGS)
def test_random_networks(recipe, tmp_path):
    check(network(recipe), tmp_path)


@pytest.mark.slow
@given(recipe=recipes)
@settings(max_examples=200, **_SETTINGS)
def test_two_hundred_random_networks(recipe, tmp_path):
    check(network(recipe), tmp_path)
