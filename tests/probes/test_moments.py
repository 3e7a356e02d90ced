"""Moments by both paths, against double precision."""

import math

import keras
import numpy as np
import pytest

from probes.moments import DeviceRecorder, HostRecorder, Moments, of_array


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
