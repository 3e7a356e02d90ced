"""Reshaping, transposing and sums of products of correlated signals, counted out by hand.

Second moments of the tensors here depend on whether two entries have the same position and the same
channel; each pair of entries is followed to where it goes.
"""

import math

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.propagation import input_signals, predict
from autoinit.reading import read_model
from autoinit.signals.correlated.axis_groups import segments
from autoinit.signals.correlated.pairs import at_diagonal
from autoinit.signals.correlated.positions import axes_of
from autoinit.signals.correlated.signal import CorrelatedSignal
from autoinit.signals.correlated.state import Annotations, State
from probes.forward import probe_model

MEAN = 0.5
# Covariances: [same or another sample][same or another channel][same or another position].
COVARIANCES = np.array([[[1.0, 0.3], [0.25, 0.1]], [[0.2, 0.15], [0.05, 0.02]]])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((4, 6), (4, 2, 3), [([0], [0]), ([1], [1, 2])]),
        ((14, 14, 32), (196, 32), [([0, 1], [0]), ([2], [1])]),
        ((4, 1, 6), (4, 6), [([0], [0]), ([1], []), ([2], [1])]),
        ((5,), (5, 1), [([0], [0]), ([], [1])]),
        ((8, 4), (4, 8), [([0, 1], [0, 1])]),
        ((4, 6), (24,), [([0, 1], [0])]),
    ],
)
def test_axes_of_a_reshaped_tensor_come_from_the_shortest_runs(before, after, expected):
    assert segments(before, after) == expected


def signal(sizes):
    """A signal with these covariances."""
    made = CorrelatedSignal.gaussian(MEAN, 1.0).arrange(sizes[:-1]).state
    counts = [axis.count for axis in axes_of(tuple(sizes[:-1]))]
    pairs = [count**2 for count in counts]
    within, across, between, across_between = (
        at_diagonal(np.full(pairs, other), np.full(counts, same))
        for sample in COVARIANCES
        for same, other in sample
    )
    notes = Annotations(cov_channels=(across, across_between))
    return CorrelatedSignal(
        State(made.axes, made.means, within, between, made.marginal, notes=notes)
    )


def moments(sizes):
    """Second moments of all pairs of entries: (2, entries, entries), within and between samples."""
    places, channels = math.prod(sizes[:-1]), sizes[-1]
    place, channel = np.divmod(np.arange(places * channels), channels)
    other_place = (place[:, None] != place[None]).astype(int)
    other_channel = (channel[:, None] != channel[None]).astype(int)
    return COVARIANCES[:, other_channel, other_place] + MEAN**2


def classes(table, sizes):
    """Means of second moments: [sample][same or another channel][same or another position]."""
    places, channels = math.prod(sizes[:-1]), sizes[-1]
    place, channel = np.divmod(np.arange(places * channels), channels)
    alike = place[:, None] == place[None], channel[:, None] == channel[None]
    found = np.full((2, 2, 2), np.nan)
    for sample, c, p in np.ndindex(2, 2, 2):
        chosen = (alike[0] != p) & (alike[1] != c)
        if chosen.any():
            found[sample, c, p] = table[sample][chosen].mean()
    return found


def predicted(found, sizes):
    """The same of a signal."""
    axes, places = found.state.axes, math.prod(sizes[:-1])
    apart = found.state.notes.cov_channels or (
        np.zeros_like(found.state.cov_positions),
        np.zeros_like(found.state.cov_samples),
    )
    table = np.full((2, 2, 2), np.nan)
    arrays = [[found.state.cov_positions, apart[0]], [found.state.cov_samples, apart[1]]]
    for sample, c in np.ndindex(2, 2):
        pairs = arrays[sample][c] + found.mean**2
        same = pairs
        for axis in reversed(axes):
            itself = np.zeros((axis.count, axis.count))
            np.fill_diagonal(itself, axis.shares)
            same = same @ itself.ravel()
        table[sample, c, 0] = same
        if places > 1:
            table[sample, c, 1] = (places * found.state.over_pairs(pairs) - same) / (places - 1)
    if sizes[-1] == 1:
        table[:, 1] = np.nan
    return table


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((6, 24), (6, 4, 6)),
        ((6, 4, 6), (6, 24)),
        ((3, 4, 6), (12, 6)),
        ((12, 6), (3, 4, 6)),
        ((12, 1, 6), (12, 6)),
        ((12, 6), (72,)),
        ((40, 4), (8, 5, 4)),
        ((6,), (2, 3)),
        ((6,), (6, 1)),
        ((30, 2), (30, 1, 2)),
    ],
)
def test_a_reshaped_signal(before, after):
    found = signal(before).reshape(before, after)
    expected = classes(moments(before), after)
    np.testing.assert_allclose(predicted(found, after), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("sizes", "order"),
    [
        ((6, 24), (1, 0)),
        ((3, 8, 4), (1, 0, 2)),
        ((3, 4, 5), (0, 2, 1)),
        ((3, 4, 5), (2, 0, 1)),
        ((40, 3), (1, 0)),
    ],
)
def test_a_transposed_signal(sizes, order):
    found = signal(sizes).transpose(sizes, order)
    places = np.arange(math.prod(sizes)).reshape(sizes).transpose(order).ravel()
    moved = moments(sizes)[:, places][:, :, places]
    after = tuple(sizes[axis] for axis in order)
    np.testing.assert_allclose(predicted(found, after), classes(moved, after), atol=1e-9)


def test_reshaping_and_back_leaves_what_positions_have_in_common():
    first = signal((14, 14, 8))
    again = first.reshape((14, 14, 8), (196, 8)).reshape((196, 8), (14, 14, 8))
    assert again.variance == pytest.approx(first.variance)
    assert again.state.over_pairs(again.state.cov_positions) == pytest.approx(
        first.state.over_pairs(first.state.cov_positions)
    )


@pytest.mark.parametrize(
    ("labels", "sizes"),
    [
        (("tnh", "snh", "nts"), {"t": 3, "n": 2, "h": 4, "s": 5}),
        (("nts", "snh", "tnh"), {"n": 2, "t": 3, "s": 5, "h": 4}),
        (("th", "hs", "ts"), {"t": 3, "h": 4, "s": 5}),
        (("h", "h", ""), {"h": 6}),
        (("tc", "tc", "c"), {"t": 5, "c": 4}),
        (("tc", "sd", "tsd"), {"t": 2, "c": 3, "s": 4, "d": 3}),
    ],
)
def test_sums_of_products(labels, sizes):
    """E[Σx·y·Σx′·y′] of independent x and y is a sum over all pairs of their second moments."""
    shapes = [tuple(sizes[letter] for letter in each) for each in labels]
    found = signal(shapes[0]).contract(signal(shapes[1]), labels[:3], sizes)
    first, second = (moments(shape).reshape(2, *shape, *shape) for shape in shapes[:2])
    primed = [each.upper() for each in labels]
    equation = f"Z{labels[0]}{primed[0]},Z{labels[1]}{primed[1]}->Z{labels[2]}{primed[2]}"
    table = np.einsum(equation, first, second).reshape(2, math.prod(shapes[2]), -1)
    after = shapes[2] or (1,)
    summed = math.prod(size for letter, size in sizes.items() if letter not in labels[2])
    assert found.mean == pytest.approx(summed * MEAN**2)
    np.testing.assert_allclose(predicted(found, after), classes(table, after), rtol=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_units_that_become_positions_keep_what_their_samples_have_in_common(seed):
    """A generator's beginning: each unit's own mean, of its kernel and of its bias."""
    keras.utils.set_random_seed(seed)
    stack = [layers.Dense(32, "relu"), layers.Dense(256, bias_initializer="normal")]
    after = [layers.Reshape((4, 4, 16)), layers.ReLU(), layers.Conv2DTranspose(8, 3, 2)]
    graph = read_model(keras.Sequential([keras.Input((16,)), *stack, *after]))
    found = predict(graph, input_signals(graph))
    measured = probe_model(graph, 256)
    for result, moments in list(zip(found.results, measured.moments, strict=True))[-3:]:
        signal = result.signals[0]
        assert moments.sample_correlation > 0.15
        assert signal.sample_correlation == pytest.approx(moments.sample_correlation, abs=0.04)
        assert signal.position_correlation == pytest.approx(moments.position_correlation, abs=0.06)


def test_a_normalization_over_channels_takes_off_what_they_share():
    """(C − A)/(1 − 0.25) with A of two channels: of two positions, of two samples, of both."""
    state = signal((4, 50)).normalize(0.0, 50, centered=True).state
    (within, between), shared = COVARIANCES[:, 0], COVARIANCES[:, 1]
    expected = [(within - shared[0]) / 0.75, (between - shared[1]) / 0.75]
    for pairs, (same, other) in zip(
        (state.cov_positions, state.cov_samples), expected, strict=True
    ):
        assert pairs.reshape(4, 4)[0, :2] == pytest.approx([same, other], rel=0.01)


@pytest.mark.parametrize(("before", "after"), [((), (1,)), ((1,), ()), ((), (1, 1))])
def test_a_single_number_for_a_sample_is_its_only_channel(before, after):
    """As of what `Reshape((1,))` makes of a column of numbers."""
    whole = signal((1,))
    found = whole.reshape(before, after)
    assert (found.mean, found.variance) == (whole.mean, whole.variance)
