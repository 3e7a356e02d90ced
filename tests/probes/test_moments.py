"""Moments by both paths, against double precision."""

import math

import keras
import numpy as np
import pytest

from probes.moments.device import DeviceRecorder
from probes.moments.distribution import Distribution
from probes.moments.figures import Moments
from probes.moments.host import HostRecorder


def of_array(values):
    with HostRecorder() as recorder:
        recorder.record(values)
        return recorder.results()[0]


def recorded(recorder, values):
    with recorder:
        recorder.record(keras.ops.convert_to_tensor(values))
        (figures,) = recorder.results()
    return figures


def on_host(values):
    return recorded(HostRecorder(), values)


def on_device(values):
    return recorded(DeviceRecorder(), values)


PATHS = pytest.mark.parametrize("measure", [on_host, on_device])


def noise(size=100_003, seed=0):
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


@PATHS
def test_hand_computed_figures(measure):
    figures = measure(np.array([0.0, 2.0, 4.0, 0.0], np.float32))
    assert figures == Moments(4, 1.5, 2.75, 0.0, 4.0, 0.5, 1.0)


@PATHS
@pytest.mark.parametrize("exponent", [-30, -15, 0, 15, 35])
def test_variances_from_1e_minus_60_to_1e_plus_70_are_figures(measure, exponent):
    values = (noise() * np.float32(10.0**exponent)).astype(np.float32)
    exact = values.astype(np.float64)
    figures = measure(values)
    assert figures.variance == pytest.approx(exact.var(), rel=1e-4)
    assert figures.mean == pytest.approx(exact.mean(), abs=1e-6 * exact.std())
    assert figures.minimum == exact.min()
    assert figures.maximum == exact.max()


@PATHS
@pytest.mark.parametrize("mean", [1e2, 1e4])
def test_a_large_mean_does_not_cancel_the_variance(measure, mean):
    values = (noise() + np.float32(mean)).astype(np.float32)
    figures = measure(values)
    assert figures.variance == pytest.approx(values.astype(np.float64).var(), rel=1e-3)
    assert figures.mean == pytest.approx(mean, rel=1e-4)


@PATHS
def test_what_is_not_finite_is_counted_and_left_out(measure):
    values = noise(1000)
    values[:100] = np.inf
    values[100:150] = np.nan
    values[150:170] = -np.inf
    values[170:200] = 0.0
    figures = measure(values)
    rest = values[170:].astype(np.float64)
    assert figures.finite_fraction == pytest.approx(0.83)
    assert figures.zero_fraction == pytest.approx(0.03)
    assert figures.variance == pytest.approx(rest.var(), rel=1e-5)
    assert figures.mean == pytest.approx(rest.mean(), abs=1e-6)
    assert (figures.minimum, figures.maximum) == (rest.min(), rest.max())


@PATHS
def test_nothing_finite_and_nothing_but_zeros(measure):
    lost = measure(np.full(10, np.nan, np.float32))
    assert lost.finite_fraction == 0.0
    assert math.isnan(lost.variance)
    dead = measure(np.zeros(10, np.float32))
    assert dead == Moments(10, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0)


@PATHS
@pytest.mark.parametrize("dtype", ["int32", "bool", "float16"])
def test_other_dtypes(measure, dtype):
    values = np.array([0, 1, 1, 0, 1], dtype)
    figures = measure(values)
    assert figures.mean == pytest.approx(0.6)
    assert figures.variance == pytest.approx(0.24)


@pytest.mark.parametrize("spoil", [False, True])
@pytest.mark.parametrize("cut", [1, 500, 999])
def test_merging_parts_gives_the_whole(cut, spoil):
    values = noise(1000) + np.float32(3.0)
    if spoil:
        values[:600] = np.inf
        values[700:750] = 0.0
    whole, merged = of_array(values), of_array(values[:cut]).merge(of_array(values[cut:]))
    assert merged.count == whole.count
    for name in ("mean", "variance", "minimum", "maximum", "zero_fraction", "finite_fraction"):
        assert getattr(merged, name) == pytest.approx(getattr(whole, name), rel=1e-5), name


def flattened(figures, scale=1.0):
    """All figures that there are, of entries divided by a scale."""
    shape = figures.shape
    low, middle, high = shape.channel_variances or (None, None, None)
    found = {
        "mean": (figures.mean, scale),
        "variance": (figures.variance, scale**2),
        "minimum": (figures.minimum, scale),
        "maximum": (figures.maximum, scale),
        "zeros": (figures.zero_fraction, 1),
        "finite": (figures.finite_fraction, 1),
        "samples": (figures.sample_correlation, 1),
        "positions": (figures.position_correlation, 1),
        "kurtosis": (shape.kurtosis, 1),
        "low": (low, scale**2),
        "middle": (middle, scale**2),
        "high": (high, scale**2),
        "dead": (shape.dead_fraction, 1),
        "saturated": (shape.saturated_fraction, 1),
    }
    return {name: value / unit for name, (value, unit) in found.items() if value is not None}


def in_batches(recorder, values, size, bounds=None, last=False):
    with recorder() as each:
        for start in range(0, len(values), size):
            each.record(keras.ops.convert_to_tensor(noise(7)))  # of another call
            part = keras.ops.convert_to_tensor(values[start : start + size])
            each.record(part, bounds, "call", last=last and start + size >= len(values))
        results = each.results()
    assert len(results) == 1 + -(-len(values) // size)
    return results[1]


RECORDERS = pytest.mark.parametrize("recorder", [HostRecorder, DeviceRecorder])


@RECORDERS
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e15])
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((40, 24), 7),
        ((40, 24), 10),
        ((40, 24), 16),
        ((40, 24), 1),
        ((40, 4, 5, 24), 7),
        ((40, 30, 100), 7),
        ((40, 30, 100), 16),
        ((40, 40, 50, 24), 8),
        ((40, 40, 50, 24), 16),
        ((40, 40, 50, 24), 39),
    ],
)
def test_figures_do_not_depend_on_how_samples_are_split(recorder, shape, size, scale):
    normal = np.random.default_rng(0).standard_normal
    # Samples and channels have something in common; samples drift from batch to batch.
    each = (-1, *[1] * (len(shape) - 1))
    values = normal(shape) + normal(shape[-1:]) + normal(shape[0]).reshape(each)
    values += np.linspace(-1, 1, shape[0]).reshape(each)
    values = np.tanh(np.maximum(values, 0.0))
    values[..., 3] = 0.0  # dead
    values[:-1, ..., 5] = 0.0  # speaks up in the last sample
    values = (values * scale).astype(np.float32)
    bounds = (-scale, scale)
    whole = in_batches(recorder, values, len(values), bounds)
    parts = in_batches(recorder, values, size, bounds)
    assert parts.count == whole.count == values.size
    expected = flattened(whole, scale)
    assert len(expected) == (13 if len(shape) == 2 else 14)
    assert flattened(parts, scale) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    dead = (values == 0.0).reshape(-1, shape[-1]).all(0).mean()
    assert whole.shape.dead_fraction == pytest.approx(dead)
    assert dead > 0.0


@pytest.mark.parametrize("size", [1, 7, 16, 40])
def test_both_recorders_see_the_same_in_batches_announced_or_not(size):
    values = np.random.default_rng(1).gamma(2.0, size=(40, 9, 24)).astype(np.float32) - 1.0
    host, device = (in_batches(kind, values, size) for kind in (HostRecorder, DeviceRecorder))
    assert flattened(host) == pytest.approx(flattened(device), rel=1e-4, abs=1e-6)
    for kind, figures in ((HostRecorder, host), (DeviceRecorder, device)):
        announced = in_batches(kind, values, size, last=True)
        assert flattened(announced) == pytest.approx(flattened(figures), rel=1e-5, abs=1e-6)


@RECORDERS
def test_batches_of_fewer_than_8_large_samples_tell_by_the_first_of_them(recorder):
    values = np.random.default_rng(0).standard_normal((12, 50, 100)).astype(np.float32)
    parts = in_batches(recorder, values, 5)
    first = in_batches(recorder, values[:5], 5)
    assert parts.shape.kurtosis == pytest.approx(first.shape.kurtosis, rel=1e-5)
    alone = in_batches(recorder, values, 1)
    assert alone.variance == pytest.approx(parts.variance, rel=1e-5)
    assert alone.sample_correlation is None
    assert alone.shape == Distribution(dead_fraction=0.0)


@RECORDERS
def test_one_batch_that_is_not_finite_leaves_the_moments_only(recorder):
    values = np.random.default_rng(0).standard_normal((30, 9, 8)).astype(np.float32)
    values[25, 3, 2] = np.inf
    figures = in_batches(recorder, values, 10)
    assert figures.finite_fraction == pytest.approx(1 - 1 / values.size)
    assert figures.shape == Distribution()
    assert figures.sample_correlation is None


@RECORDERS
def test_what_is_recorded_again_has_the_same_figures(recorder):
    with recorder() as each:
        each.record(keras.ops.convert_to_tensor(noise(100)), None, "first")
        each.record(keras.ops.convert_to_tensor(noise(100, 1)), None, "second")
        each.again("third", "first")
        first, second, third = each.results()
    assert first == third != second


@RECORDERS
def test_a_recorder_of_nothing_has_no_results(recorder):
    with recorder() as each:
        assert each.results() == []


def test_a_large_tensor_summed_by_several_threads():
    values = noise(3_000_017)
    values[2_999_999] = 40.0
    values[:50_000] = 0.0
    figures, exact = on_host(values), values.astype(np.float64)
    assert figures.variance == pytest.approx(exact.var(), rel=1e-5)
    assert figures.mean == pytest.approx(exact.mean(), abs=1e-6)
    assert figures.maximum == 40.0
    assert figures.zero_fraction == pytest.approx(50_000 / values.size)
