"""Entries of small maps, each by itself, against samples (M)."""

import keras
import numpy as np
import pytest
from keras import ops

from autoinit.signals.correlated.signal import CorrelatedSignal
from autoinit.signals.geometry import Taps, windows
from autoinit.signals.signal import BiasMoments, KernelMoments

SAMPLES = 40000
SAME = windows(4, 3, 1, 1, "same")
PAIRS = windows(4, 2, 2)


def kernel(values, *axes):
    return KernelMoments(1.0, 1.0, 0.0, axes, *values.shape[-2:], values)


def bias(values):
    return BiasMoments(float(values.mean()), float((values**2).mean()), 0.0, values)


def relu(signal):
    return signal.map(lambda x: np.maximum(x, 0.0))[0]


def known(signal):
    return signal.state.channels


@pytest.fixture
def drawn():
    """A map that is a sum, as predicted and in samples, of which each is of other moments."""
    generator = np.random.default_rng(5)
    values = 0.6 * generator.standard_normal((3, 3, 2, 3)) + 0.2
    offsets = np.array([0.5, -0.5, 0.2])
    inputs = np.array([1.0, -1.0]) + np.array([1.0, 2.0]) * generator.standard_normal(
        (SAMPLES, 4, 4, 2)
    )
    signal = (
        CorrelatedSignal.gaussian(0.0, 1.0)
        .arrange((4, 4))
        .affine(np.array([1.0, 2.0]), np.array([1.0, -1.0]))
        .linear(kernel(values, SAME, SAME), bias(offsets))
    )
    return signal, convolved(inputs, values) + offsets


def convolved(inputs, values):
    inputs, values = inputs.astype(np.float32), values.astype(np.float32)
    return keras.ops.convert_to_numpy(ops.conv(inputs, values, padding="same")).astype(float)


def agrees(signal, samples, tolerance):
    each = known(signal).entries.each
    rows = samples.reshape(len(samples), -1)
    assert each.means == pytest.approx(rows.mean(0), abs=tolerance * rows.std())
    found = np.cov(rows.T)
    assert each.covariances == pytest.approx(found, abs=tolerance * found.diagonal().max())
    assert signal.variance == pytest.approx(samples.var(), rel=tolerance)
    assert signal.mean == pytest.approx(samples.mean(), abs=tolerance * samples.std())


def test_kernels_and_functions_at_borders(drawn):
    signal, samples = drawn
    agrees(signal, samples, 0.03)
    state = signal.state
    assert state.means == pytest.approx(samples.mean((0, -1)), abs=0.03)
    assert state.variances == pytest.approx(samples.var((0, -1)), rel=0.03)
    agrees(relu(signal), np.maximum(samples, 0.0), 0.03)


def test_an_average_over_all_positions(drawn):
    signal, samples = drawn
    average = relu(signal).average_pool((np.arange(4)[None], np.arange(4)[None]))
    assert average.variance == pytest.approx(np.maximum(samples, 0).mean((1, 2)).var(), rel=0.03)


def test_channels_are_averages_of_entries(drawn):
    signal, samples = drawn
    rows = samples.reshape(-1, 3)
    assert known(signal).at_same_position == pytest.approx(np.cov(rows.T), rel=0.03, abs=0.1)
    beside = np.einsum(
        "npqc,npqd->cd", samples[:, :, :-1] - rows.mean(0), samples[:, :, 1:] - rows.mean(0)
    )
    shown = known(signal).covariances
    shown = shown[len(shown) // 2, shown.shape[1] // 2 + 1]
    assert shown == pytest.approx(beside / (SAMPLES * 12), rel=0.05, abs=0.1)


def test_the_largest_of_entries_with_means_of_their_own(drawn):
    signal, samples = drawn
    largest = samples.reshape(-1, 2, 2, 2, 2, 3).max((2, 4))
    agrees(signal.max_pool((PAIRS, PAIRS)), largest, 0.08)
    # Far apart, the largest is one of them; what it has in common is what that one has.
    apart = CorrelatedSignal.gaussian(0.0, 1.0).arrange((2,)).affine(np.ones(1), np.zeros(1))
    taps = windows(2, 2, 1, 1, "causal")
    moved = apart.linear(kernel(np.ones((2, 1, 1)), taps), bias(np.zeros(1)))
    top = moved.max_pool((np.array([[0, 1]]),))
    first = np.random.default_rng(0).standard_normal((SAMPLES, 2))
    summed = np.stack([first[:, 0], first.sum(1)], 1)
    assert top.variance == pytest.approx(summed.max(1).var(), rel=0.03)


def test_branches_of_one_map(drawn):
    signal, samples = drawn
    values = 0.5 * np.random.default_rng(6).standard_normal((3, 3, 3, 3))
    branch = relu(signal).linear(kernel(values, SAME, SAME), bias(np.zeros(3)))
    made = convolved(np.maximum(samples, 0.0), values)
    agrees(signal.combine("add", [branch]), samples + made, 0.03)
    both = CorrelatedSignal.mixture([signal, branch], [3, 3])
    found = known(both).entries.each
    rows = np.concatenate([samples, made], -1).reshape(SAMPLES, -1)
    assert found.covariances == pytest.approx(np.cov(rows.T), abs=0.04 * rows.var(0).max())


def test_maps_along_axes_and_units_in_a_row(drawn):
    signal, samples = drawn
    twice = Taps.summing(np.arange(4).repeat(2)[:, None], 4)
    raised = relu(signal).linear_map([twice, twice])
    rectified = np.maximum(samples, 0.0)
    agrees(raised, rectified.repeat(2, 1).repeat(2, 2), 0.03)
    units = relu(signal).flatten()
    rows = rectified.reshape(SAMPLES, -1)
    assert known(units).means == pytest.approx(rows.mean(0), abs=0.05)
    assert units.variance == pytest.approx(rows.var(), rel=0.03)
    back = units.reshape((48,), (4, 4, 3))
    agrees(back, rectified, 0.03)


def test_positions_and_channels_change_places(drawn):
    """Kernels over positions, as of an MLP-Mixer."""
    signal, samples = drawn
    rows = np.maximum(samples, 0.0).reshape(SAMPLES, 16, 3)
    values = 0.3 * np.random.default_rng(7).standard_normal((16, 5)) + 0.1
    units = relu(signal).reshape((4, 4, 3), (16, 3)).transpose((16, 3), (1, 0))
    agrees(units, rows.transpose(0, 2, 1), 0.03)
    mixed = units.linear(kernel(values), bias(np.zeros(5)))
    agrees(mixed, rows.transpose(0, 2, 1) @ values, 0.03)


def test_positions_of_one_length_each():
    """Squares go against each other; what two positions have in common does too."""
    generator = np.random.default_rng(8)
    values = generator.standard_normal((3, 6, 12))
    taps, scales = windows(4, 3, 1, 1, "same"), np.linspace(1.0, 2.0, 6)
    signal = CorrelatedSignal.gaussian(0.0, 1.0).arrange((4,)).affine(scales, np.zeros(6))
    inputs = scales * generator.standard_normal((SAMPLES, 4, 6))
    rows = convolved(inputs, values)
    rows = rows - rows.mean(-1, keepdims=True)
    rows = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + 1e-3)
    made = signal.linear(kernel(values, taps), bias(np.zeros(12)))
    normal = made.normalize(1e-3, 12, centered=True)
    agrees(normal, rows, 0.1)
    squares = normal.map(np.square)[0]
    found = known(squares).entries.each.covariances
    expected = np.cov((rows**2).reshape(SAMPLES, -1).T)
    assert found == pytest.approx(expected, abs=0.2 * expected.diagonal().max())
    # The mean of a position's squares is 1, and its variance nothing but for what orders leave.
    gaussian = 2 * known(normal).entries.each.covariances ** 2
    blocks = [np.sum(each) / 144 for each in (gaussian[:12, :12], found[:12, :12])]
    assert abs(blocks[1]) < 0.15 * blocks[0]


def test_maps_that_are_large_keep_to_averages():
    signal = (
        CorrelatedSignal.gaussian(0.0, 1.0).arrange((32, 32)).affine(np.ones(4), np.arange(4.0))
    )
    assert known(signal).entries is None
