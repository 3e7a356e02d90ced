"""Correlations between samples and between positions, by both paths."""

import keras
import numpy as np
import pytest

from probes.moments.device import DeviceRecorder
from probes.moments.host import HostRecorder


def of_array(values):
    with HostRecorder() as recorder:
        recorder.record(values)
        return recorder.results()[0]


def recorded(recorder, values):
    with recorder:
        recorder.record(keras.ops.convert_to_tensor(values))
        (figures,) = recorder.results()
    return figures.sample_correlation, figures.position_correlation


def on_host(values):
    return recorded(HostRecorder(), values)


def on_device(values):
    return recorded(DeviceRecorder(), values)


PATHS = pytest.mark.parametrize("measure", [on_host, on_device])


def mixed(samples, positions, channels, seed=0, *, channel=0.0, sample=0.0, weak_border=False):
    """Entries of variance 1 that share an offset per channel, and one per channel and sample."""
    generator = np.random.default_rng(seed)

    def normal(*shape):
        return generator.standard_normal(shape)

    values = (
        channel**0.5 * normal(1, 1, channels)
        + sample**0.5 * normal(samples, 1, channels)
        + max(1 - channel - sample, 0.0) ** 0.5 * normal(samples, positions, channels)
    )
    if weak_border:
        # Means that differ by position are no correlation.
        values += np.where(np.arange(positions) < positions // 2, 3.0, 0.0)[:, None]
    return values.astype(np.float32)


@PATHS
def test_hand_computed_figures(measure):
    # Two samples, positions and channels around a mean of 2: offsets of ±1 by channel, and ±1 by
    # sample. s = 1 and d = 2, v = 2, t = 1: V = 3, B = 2·2 − 3 and D = 2 + 1.
    by_channel, by_sample = np.array([1.0, -1.0]), np.array([1.0, -1.0])[:, None, None]
    values = np.broadcast_to(2.0 + by_channel + by_sample, (2, 2, 2)).astype(np.float32)
    assert measure(values) == pytest.approx((1 / 3, 1.0))


# That a device gives the same figures is tested below: a hundred draws there are for the long run.
@pytest.mark.parametrize("measure", [on_host, pytest.param(on_device, marks=pytest.mark.slow)])
@pytest.mark.parametrize("weak_border", [False, True])
@pytest.mark.parametrize(("channel", "sample"), [(0.0, 0.0), (0.5, 0.0), (0.2, 0.5), (0.9, 0.1)])
@pytest.mark.parametrize(("positions", "channels"), [(9, 8), (40, 24)])
def test_estimates_are_right_on_average(measure, positions, channels, channel, sample, weak_border):
    draws = [
        measure(
            mixed(
                12,
                positions,
                channels,
                seed,
                channel=channel,
                sample=sample,
                weak_border=weak_border,
            )
        )
        for seed in range(100 if channels < 10 else 40)
    ]
    near_expected = channel + sample + (1 - channel - sample) / positions
    for found, expected in zip(np.mean(draws, axis=0), (channel, near_expected), strict=True):
        # The share of channels that are few leans: a ratio's second order.
        lean = 2 * channel**2 * (1 - expected) / (channels - 1)
        assert found == pytest.approx(expected - lean, abs=0.02)


@pytest.mark.parametrize("scale", [1e-30, 1e-13, 1.0, 1e15, 1e35])
@pytest.mark.parametrize("mean", [0.0, 1e3])
def test_both_paths_agree_whatever_the_scale(scale, mean):
    values = mixed(40, 49, 24, channel=0.3, sample=0.2) + np.float32(mean)
    exact = on_host(mixed(40, 49, 24, channel=0.3, sample=0.2))
    values = (values * np.float32(scale)).astype(np.float32)
    assert on_host(values) == pytest.approx(exact, rel=1e-3)
    assert on_device(values) == pytest.approx(exact, rel=1e-3)


@PATHS
@pytest.mark.parametrize("shape", [(4, 7, 5), (4, 64, 3), (3, 13, 600), (4, 5, 6, 7, 2)])
def test_positions_are_added_whole_whatever_their_number(measure, shape):
    values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    entries = values.astype(np.float64).reshape(shape[0], -1, shape[-1])
    channels = shape[-1]
    means = entries.mean(0)
    middle, of_position = means.mean(), means.mean(1, keepdims=True)
    of_means = ((means - of_position) ** 2).mean()
    variance = ((entries - of_position) ** 2).mean() + of_means / (channels - 1)
    near = ((entries.mean(1) - middle) ** 2).mean()
    near += ((means.mean(0) - middle) ** 2).mean() / (channels - 1)
    shared = shape[0] * of_means * channels / (channels - 1) - variance
    expected = shared / (shape[0] - 1) / variance, near / variance
    assert measure(values) == pytest.approx(expected, rel=1e-3, abs=1e-5)


@PATHS
def test_where_inputs_cannot_be_told_apart_the_figure_is_1(measure):
    values = np.broadcast_to(np.random.default_rng(0).standard_normal((1, 6, 8)), (20, 6, 8))
    assert measure(values.astype(np.float32))[0] == pytest.approx(1.0, abs=1e-5)


@PATHS
@pytest.mark.parametrize(
    "values",
    [
        np.ones((1, 5, 4), np.float32),
        np.arange(20.0, dtype=np.float32).reshape(5, 4, 1),
        np.arange(20.0, dtype=np.float32),
        np.zeros((5, 4, 3), np.float32),
        np.arange(60).reshape(5, 4, 3),
        np.array([[[1.0, 2.0], [3.0, np.inf]], [[1.0, 2.0], [5.0, 3.0]]], np.float32),
    ],
    ids=["one sample", "one channel", "one axis", "constant", "whole numbers", "not finite"],
)
def test_what_does_not_tell_has_no_figures(measure, values):
    assert measure(values) == (None, None)


@PATHS
@pytest.mark.parametrize("shape", [(30, 8), (30, 1, 1, 8)])
def test_one_position_has_a_correlation_between_samples_only(measure, shape):
    alike, near = measure(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    assert abs(alike) < 0.2
    assert near is None


def test_few_samples_of_a_large_tensor_tell():
    values = mixed(64, 256, 64, channel=0.4, sample=0.3)
    few, every = of_array(values), of_array(values[:, :16])
    assert few.sample_correlation == pytest.approx(every.sample_correlation, abs=0.02)
    assert few.position_correlation == pytest.approx(0.7, abs=0.1)


def test_batches_are_averaged_and_what_is_not_known_does_not_count():
    values = mixed(40, 12, 16, channel=0.5)
    parts = [of_array(values[:30]), of_array(values[30:])]
    merged = parts[0].merge(parts[1])
    for name in ("sample_correlation", "position_correlation"):
        first, second = (getattr(part, name) for part in parts)
        assert getattr(merged, name) == pytest.approx(0.75 * first + 0.25 * second)
    left_over = parts[0].merge(of_array(values[:1]))
    assert left_over.sample_correlation == pytest.approx(parts[0].sample_correlation)
    values[31] = np.nan
    assert parts[0].merge(of_array(values[30:])).sample_correlation is None
