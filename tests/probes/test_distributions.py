"""Kurtosis, variances of channels, dead channels and saturation, by both paths."""

import math
import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

from probes import probe_model
from probes.moments.device import DeviceRecorder
from probes.moments.distribution import UNKNOWN, Distribution, bounds_of, histogram_of
from probes.moments.host import HostRecorder


def recorded(recorder, values, bounds=None):
    with recorder:
        recorder.record(ops.convert_to_tensor(values), bounds)
        (figures,) = recorder.results()
    return figures


PATHS = pytest.mark.parametrize("recorder", [HostRecorder, DeviceRecorder])


@PATHS
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e15])
def test_hand_computed_figures(recorder, scale):
    """Two channels, −1 1 −1 1 and −3 3 −3 3, and one that is zero."""
    table = np.array([[-1, -3, 0], [1, 3, 0], [-1, -3, 0], [1, 3, 0]], np.float32)
    figures = recorded(recorder(), table * np.float32(scale))
    variance = 40 / 12
    assert figures.shape.kurtosis == pytest.approx((4 * 1 + 4 * 81) / 12 / variance**2, rel=1e-4)
    square = scale * scale
    assert figures.shape.channel_variances == pytest.approx((0, square, 9 * square), rel=1e-4)
    assert figures.shape.dead_fraction == pytest.approx(1 / 3)
    assert figures.shape.saturated_fraction is None


@PATHS
@pytest.mark.parametrize(
    ("name", "kurtosis"), [("normal", 3.0), ("uniform", 1.8), ("laplace", 6.0)]
)
def test_kurtosis_of_known_distributions(recorder, name, kurtosis):
    values = getattr(np.random.default_rng(0), name)(size=(64, 40, 32)).astype(np.float32)
    assert recorded(recorder(), values).shape.kurtosis == pytest.approx(kurtosis, rel=0.06)


@PATHS
def test_a_channel_that_speaks_up_in_the_last_sample_is_not_dead(recorder):
    values = np.random.default_rng(0).standard_normal((5000, 4)).astype(np.float32)
    values[:, 1] = 0.0
    values[:, 2] = 0.0
    values[-1, 2] = 1.0
    assert recorded(recorder(), values).shape.dead_fraction == pytest.approx(1 / 4)


@PATHS
def test_a_tensor_of_zeros_is_dead(recorder):
    assert recorded(recorder(), np.zeros((9, 4), np.float32)).shape == Distribution(
        dead_fraction=1.0
    )


@PATHS
def test_saturation(recorder):
    x = np.random.default_rng(0).standard_normal((64, 8, 32)).astype(np.float32)
    values = np.tanh(10 * x)
    expected = (np.abs(values) > math.sqrt(0.9)).mean()
    found = recorded(recorder(), values, (-1.0, 1.0)).shape.saturated_fraction
    assert found == pytest.approx(expected, abs=0.01)


@PATHS
def test_small_tensors_and_whole_numbers_have_no_shape(recorder):
    for values in (np.ones((1, 5), np.float32), np.arange(6).reshape(3, 2)):
        assert recorded(recorder(), values).shape == UNKNOWN


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (ops.tanh, (-1.0, 1.0)),
        (ops.sigmoid, (0.0, 1.0)),
        (ops.hard_sigmoid, (0.0, 1.0)),
        (lambda x: ops.clip(x, -2.0, 3.0), (-2.0, 3.0)),
        (lambda x: -ops.tanh(x), (-1.0, 1.0)),
        (ops.relu, None),
        (ops.relu6, (0.0, 6.0)),
        (ops.softmax, None),
        (ops.sin, None),
        (lambda x: x.missing, None),
        (ops.softsign, None),
    ],
)
def test_bounds_are_found_by_looking_far(function, expected):
    assert bounds_of(function) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("function", [keras.activations.softmax, keras.activations.log_softmax])
def test_nothing_is_said_while_bounds_are_looked_for(function):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        assert bounds_of(function) is None
    assert said == []


def test_a_probe_tells_dead_units_and_saturation():
    model = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(50, name="first"),
            layers.Activation("tanh", name="saturated"),
            layers.Dense(40, activation="relu", name="second"),
        ]
    )
    model.get_layer("first").kernel.assign(model.get_layer("first").kernel * 100.0)
    bias = np.zeros(40, np.float32)
    bias[:10] = -1e3
    model.get_layer("second").bias.assign(bias)
    probe = probe_model(model, 256)
    assert probe["saturated"].shape.saturated_fraction > 0.9
    assert probe["second/relu"].shape.dead_fraction == pytest.approx(0.25, abs=0.06)
    assert probe["first"].shape.kurtosis == pytest.approx(3.0, rel=0.5)
    assert probe["first"].shape.saturated_fraction is None
    low, middle, high = probe["first"].shape.channel_variances
    assert low < middle < high


def test_shapes_of_batches_are_that_of_all_samples():
    model = keras.Sequential([keras.Input((16,)), layers.Dense(30, activation="relu", name="d")])
    whole = probe_model(model, 512)["d/relu"].shape
    parts = probe_model(model, 512, memory_limit=16 * 4 * 100)["d/relu"].shape
    assert parts.kurtosis == pytest.approx(whole.kurtosis, rel=1e-5)
    assert parts.channel_variances == pytest.approx(whole.channel_variances, rel=1e-5)
    assert parts.dead_fraction == whole.dead_fraction


@PATHS
def test_a_channel_that_hardly_varies_keeps_its_small_variance(recorder):
    values = np.random.default_rng(0).standard_normal((500, 3)).astype(np.float32)
    values[:, 0] = 2.0 + 1e-4 * values[:, 0]
    expected = values.astype(np.float64).var(0).min()
    found = recorded(recorder(), values).shape.channel_variances
    assert found[0] == pytest.approx(expected, rel=1e-2)


def test_a_histogram_counts_entries_between_the_smallest_and_the_largest():
    values = np.random.default_rng(0).standard_normal((64, 10, 12), dtype=np.float32)
    found = histogram_of(values)
    assert (found.low, found.high) == (values.min(), values.max())
    assert sum(found.counts) == values.size
    assert np.argmax(found.counts) == pytest.approx(20, abs=4)
    expected, _ = np.histogram(values.astype(np.float64), 40)
    assert np.abs(np.array(found.counts) - expected).max() <= 1
    large = histogram_of(np.array([-3e38, 3e38, 0.0], np.float32))
    assert (large.counts[0], large.counts[20], large.counts[39]) == (1, 1, 1)
    assert histogram_of(np.ones(7, np.float32)).counts[0] == 7
    # Of many entries some are counted.
    assert sum(histogram_of(np.zeros(10**6, np.float32)).counts) < 2**14


def test_a_histogram_counts_all_channels_alike():
    values = np.zeros((8, 4096, 16), np.float32) + np.arange(16, dtype=np.float32)
    counts = np.array(histogram_of(values).counts)
    assert (counts > 0).sum() == 16
    assert counts[counts > 0] == pytest.approx(counts.sum() / 16, rel=0.05)


def test_a_probe_leaves_a_histogram_of_each_call():
    inputs = keras.Input((12,))
    model = keras.Model(inputs, layers.Dense(8, activation="relu", name="dense")(inputs))
    found = probe_model(model, 100)["dense/relu"].shape.histogram
    assert found.low == 0.0
    assert found.counts[0] > 0.4 * sum(found.counts)
