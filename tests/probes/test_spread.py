"""The spread of a variance over draws, and the draws themselves."""

import math
import random

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.initializers.drawing import draw_configured_weights
from autoinit.randomness import derived
from autoinit.reading import read_model
from probes import forward, probe_model
from probes.devices import Device, find_device
from probes.moments.spread import Spread, spread_of
from probes.passing import Pass


def test_hand_computed_spread():
    # The percentiles lie 0.4 beyond the first of four gaps, and as far before the last.
    found = spread_of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert found.median == 3.0
    assert (found.low, found.high) == pytest.approx((1.4, 4.6))
    assert found.mean == 3.0
    assert found.standard_error == pytest.approx(math.sqrt(2.5 / 5))


def test_quantiles_are_numpys():
    draws = np.random.default_rng(0).lognormal(size=17)
    found = spread_of(draws.tolist())
    assert (found.low, found.median, found.high) == pytest.approx(
        np.quantile(draws, [0.1, 0.5, 0.9])
    )


def test_the_standard_error_shrinks_with_the_number_of_draws():
    generator = np.random.default_rng(0)
    means = [spread_of(generator.normal(3, 1, 25).tolist()) for _ in range(400)]
    typical = np.mean([found.standard_error for found in means])
    assert np.std([found.mean for found in means]) == pytest.approx(typical, rel=0.1)


def test_one_draw_has_no_error_and_none_no_spread():
    assert spread_of([2.0]) == Spread(2.0, 2.0, 2.0, 2.0, None)
    assert spread_of([]) is None


@pytest.mark.parametrize("lost", [math.inf, math.nan])
def test_a_draw_that_overflows_is_infinite(lost):
    found = spread_of([1.0, lost, 3.0, 2.0])
    assert (found.median, found.high) == (2.5, math.inf)
    assert found.mean == math.inf
    assert found.standard_error is None
    assert spread_of([lost, lost]) == Spread(math.inf, math.inf, math.inf, math.inf, None)


def network():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="conv")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Dropout(0.3, name="drop")(x)
    return keras.Model(inputs, layers.Dense(5, name="dense")(layers.Flatten()(x)))


def state(model):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.variables]


def assert_same(before, after):
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_one_seed_measures_the_model_as_it_is():
    model = network()
    model.get_layer("dense").kernel.assign(model.get_layer("dense").kernel * 100.0)
    probe = probe_model(model, 32)
    assert probe["dense"].variance > 100.0
    assert probe.draws == (probe.moments,)
    assert probe.spread("dense") == spread_of([probe["dense"].variance])


def test_draws_are_those_of_weights_drawn_one_by_one():
    model, seed = network(), 3
    probe = probe_model(model, 32, seed, seeds=3)
    assert probe.moments == probe.draws[0]
    graph = read_model(model)
    for draw, figures in enumerate(probe.draws):
        each = seed if draw == 0 else derived(seed, draw)
        draw_configured_weights(graph, each)
        assert probe_model(graph, 32, each).moments == figures
    variances = [
        draw[probe.graph.calls.index(call(probe, "dense"))].variance for draw in probe.draws
    ]
    assert len(set(variances)) == 3
    assert probe.spread("dense") == spread_of(variances)


def call(probe, path):
    return next(call for call in probe.graph.calls if call.path == path)


def test_the_models_own_weights_are_back_afterwards():
    model = network()
    model.get_layer("bn").moving_mean.assign(np.arange(8.0))
    before, python = state(model), random.getstate()
    probe_model(model, 16, seeds=3)
    assert_same(before, state(model))
    assert random.getstate() == python


def test_and_after_an_error_too(monkeypatch):
    model = network()
    before, run, seen = state(model), Pass.run, []

    def failing(*arguments):
        seen.append(1)
        if len(seen) == 2:
            raise RuntimeError("on purpose")
        run(*arguments)

    monkeypatch.setattr(Pass, "run", failing)
    with pytest.raises(RuntimeError, match="on purpose"):
        probe_model(model, 16, seeds=3)
    assert_same(before, state(model))


def test_a_draw_that_overflows_widens_the_spread():
    inputs = keras.Input((4,))
    wide = keras.initializers.RandomUniform(0.0, 1e38)
    x = layers.Dense(4, kernel_initializer=wide, name="first")(inputs)
    outputs = layers.Dense(4, kernel_initializer=wide, name="second")(x)
    probe = probe_model(keras.Model(inputs, outputs), 64, seeds=3)
    assert probe.spread("second").median == math.inf


def test_calls_that_were_not_measured_have_no_spread():
    probe = probe_model(network(), 8, seeds=2)
    with pytest.raises(KeyError, match="nowhere"):
        probe.spread("nowhere")


def test_fewer_than_one_seed_are_refused():
    with pytest.raises(ValueError, match=r"seeds must be at least 1. Received: 0"):
        probe_model(network(), seeds=0)


def test_progress_of_several_draws_goes_up_to_the_end():
    seen = []
    probe_model(network(), 8, seeds=3, progress=seen.append)
    assert seen == sorted(seen)
    assert 0.8 < seen[-1] <= 1.0


@pytest.mark.parametrize("count", [2, 3])
def test_several_devices_share_the_draws_and_give_the_same_figures(count, monkeypatch):
    model = network()
    before = state(model)
    alone = probe_model(model, 32, seeds=5)
    name = find_device("cpu").name
    used, seen = [], []
    placed = forward.placed_on

    def placed_on(device):
        used.append(device.name)
        return placed(Device("cpu", name))

    devices = tuple(Device("cpu", f"{name} {number}") for number in range(count))
    monkeypatch.setattr(forward, "devices_of", lambda choice: devices)
    monkeypatch.setattr(forward, "placed_on", placed_on)
    shared = probe_model(model, 32, seeds=5, progress=seen.append)
    assert {device.name for device in devices} == set(used)
    assert shared.draws == alone.draws
    assert seen == sorted(seen)
    assert_same(before, state(model))


def test_a_bare_graphs_draws_run_on_the_first_device(monkeypatch):
    graph = read_model(network())
    alone = probe_model(graph, 16, seeds=2)
    first = find_device("cpu")
    devices = (first, Device("cpu", "never", 1))
    monkeypatch.setattr(forward, "devices_of", lambda choice: devices)
    assert probe_model(graph, 16, seeds=2).draws == alone.draws
