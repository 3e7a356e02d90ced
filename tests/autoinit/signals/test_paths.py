"""Branches of one tensor that meet again: by hand (L)."""

import keras
import numpy as np
import pytest
from scipy import stats

from autoinit.propagation import Options, input_signals, predict
from autoinit.reading import read_model
from autoinit.rules.registry import Support
from autoinit.signals.correlated.channels.channels import Channels
from autoinit.signals.correlated.channels.positions import unflattened
from autoinit.signals.correlated.signal import CorrelatedSignal
from autoinit.signals.geometry import Taps, transposed_windows, windows
from autoinit.signals.signal import NO_BIAS, KernelMoments, Masking

SCALES, MEANS = np.array([1.0, 2.0, 0.5]), np.array([0.5, -1.0, 2.0])
WEIGHTS = np.array([[0.5, -1.0, 0.2], [0.3, -0.4, 0.0], [1.0, 0.6, -0.9]])


def start(*sizes):
    """Independent entries of different variances."""
    return CorrelatedSignal.gaussian(0.0, 1.0).arrange(sizes).affine(SCALES, MEANS)


def by(signal, weights, *axes):
    weights = np.asarray(weights, float)
    channels, units = weights.shape[-2:] if weights.ndim > len(axes) + 1 else (1, weights.shape[-1])
    return signal.linear(KernelMoments(1.0, 1.0, 0.0, axes, channels, units, weights), NO_BIAS)


def covariances(signal):
    known: Channels = signal.state.notes.channels
    return known.at_same_position


def test_a_branch_that_undoes_its_skip():
    """x + xW has the covariance (1 + W)ᵀΓ(1 + W), and x − x nothing."""
    x = start()
    both = np.eye(3) + WEIGHTS
    assert covariances(x.combine("add", [by(x, WEIGHTS)])) == pytest.approx(
        both.T @ np.diag(SCALES**2) @ both
    )
    undone = x.combine("add", [by(by(x, WEIGHTS), -np.linalg.inv(WEIGHTS))])
    assert covariances(undone) == pytest.approx(np.zeros((3, 3)), abs=1e-9)
    assert covariances(x.combine("subtract", [by(x, np.eye(3))])) == pytest.approx(
        np.zeros((3, 3)), abs=1e-9
    )


def test_a_function_leaves_its_mean_slope():
    """Cov(x, relu(xW)) = Cov(x, xW)·Φ(m/s) (Stein), and dropout what it keeps."""
    x = start()
    inner = by(x, WEIGHTS)
    branch = inner.map(lambda z: np.maximum(z, 0.0))[0].dropout(0.8, 1 / 0.8)
    deviations = np.sqrt(np.diag(covariances(inner)))
    slopes = stats.norm.cdf(MEANS @ WEIGHTS / deviations)
    common = np.diag(SCALES**2) @ WEIGHTS * slopes
    expected = np.diag(SCALES**2) + covariances(branch) + common + common.T
    assert covariances(x.combine("add", [branch])) == pytest.approx(expected, abs=2e-3)


def test_both_branches_may_have_kernels_and_strides():
    """Σ_t w_t x(2p + t), t from −1 to 1, and 2·x(2p): at one position they share t = 0."""
    x = start(9).affine(1.0, -MEANS)
    taps = np.stack([0.1 * WEIGHTS, WEIGHTS, -WEIGHTS])
    shortcut = by(x, 2 * np.eye(3)[None], windows(9, 1, 2, 1, "valid"))
    branch = by(x, taps[:, :, ::-1], windows(9, 3, 2, 1, "same"))
    found = shortcut.combine("add", [branch]).state.notes.channels
    common = 2 * np.diag(SCALES**2) @ taps[1][:, ::-1]
    alone = [each.state.notes.channels.covariances for each in (shortcut, branch)]
    middle = len(alone[0]) // 2
    assert found.at_same_position == pytest.approx(
        alone[0][middle] + alone[1][middle] + common + common.T
    )
    # The next position's shortcut reads two further on.
    assert found.covariances[middle + 1] == pytest.approx(
        alone[0][middle + 1] + alone[1][middle + 1], abs=1e-9
    )


def test_a_product_with_an_independent_gate():
    """E x²·E g² − (E x·E g)², channel by channel; the gate's mean scales what a branch leaves."""
    x, gate = start(4), start().affine(1.0, 1.0)
    product = x.combine("multiply", [gate.repeat((4,))])
    means = MEANS + 1
    expected = (SCALES**2 + MEANS**2) * (SCALES**2 + means**2) - (MEANS * means) ** 2
    assert np.diag(covariances(product)) == pytest.approx(expected)
    whole = x.combine("add", [product])
    assert np.diag(covariances(whole)) == pytest.approx(
        SCALES**2 + expected + 2 * means * SCALES**2
    )


def test_shares_of_two_channels():
    """Softmax of two is the sigmoid of their difference."""
    x = CorrelatedSignal.gaussian(0.0, 1.0).affine(np.array([1.0, 2.0]), np.array([0.5, -1.0]))
    found = x.softmax(2).state.notes.channels
    z = 1.5 + np.sqrt(5.0) * stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    share = 1 / (1 + np.exp(-z))
    assert found.means == pytest.approx([share.mean(), 1 - share.mean()], abs=2e-3)
    assert found.covariances == pytest.approx(share.var() * np.array([[1, -1], [-1, 1]]), rel=0.01)


def test_rows_of_a_table_that_is_known():
    table = np.array([[1.0, 0.0], [3.0, 0.0], [1.0, 4.0], [3.0, 4.0]])
    found = CorrelatedSignal.gaussian(2.0, 2.5).looked_up((5,), 4.0, table)
    assert found.state.notes.channels.means == pytest.approx([2.0, 2.0])
    assert covariances(found) == pytest.approx(np.diag([1.0, 4.0]))
    assert found.variance == pytest.approx(2.5)
    # Two tokens are independent of each other: that channels have a mean is all that they share.
    assert found.state.cov_positions[1] == pytest.approx(0.0, abs=1e-12)


def test_units_that_become_positions():
    """Moments of a channel are over positions, too: means 1 and 3 at two of them add 1."""
    found = Channels(np.array([1.0, 5.0, 3.0, 5.0]), np.diag([1.0, 2.0, 3.0, 4.0]) + 0.5)
    moved = unflattened(found, (2, 2))
    assert moved.means == pytest.approx([2.0, 5.0])
    assert moved.at_same_position == pytest.approx(np.array([[3.5, 0.5], [0.5, 3.5]]))
    assert moved.covariances[2] == pytest.approx(np.array([[0.5 - 1.0, 0.5], [0.5, 0.5]]))


def test_the_sum_of_a_rectified_channel_and_what_undoes_it():
    """relu(u) − u/2 is |u|/2: it keeps its shape, and so the next function's moments."""
    x = CorrelatedSignal.gaussian(0.0, 1.0).arrange(()).affine(np.array([1.0, 3.0]), 0.0)
    positive = x.map(lambda z: np.maximum(z, 0.0))[0]
    half = by(x, -0.5 * np.eye(2))
    found = positive.combine("add", [half])
    assert found.state.notes.channels.means == pytest.approx(
        np.array([0.5, 1.5]) * np.sqrt(2 / np.pi), rel=1e-3
    )
    # A Gaussian of these moments would have 13 % of its entries below 0.
    negative = found.map(lambda z: np.minimum(z, 0.0))[0]
    assert abs(negative.mean) < 0.02 * found.mean


def test_the_largest_of_channels_that_correlate_differently_over_positions():
    """A blurred channel's windows hold nearly one value, an even kernel's none in common."""
    taps = windows(10, 3, 1, 1, "valid")
    weights = np.array([[0.6, 0.0], [0.6, 1.0], [0.6, 0.0]])
    x = CorrelatedSignal.gaussian(0.0, 1.0).arrange((10,)).affine(1.0, np.array([0.0, 1.0]))
    largest = by(x, weights, taps).max_pool((windows(8, 2, 2),)).state.notes.channels
    # E max of two Gaussians: s·√((1 − ρ)/π).
    expected = [0.6 * np.sqrt(3) * np.sqrt((1 - 2 / 3) / np.pi), 1 + 1 / np.sqrt(np.pi)]
    assert largest.means == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((1, 6, 6), bool),
        np.tri(6, dtype=bool)[None],  # of a decoder
        np.arange(6) < np.array([6, 3, 2, 5])[:, None, None],  # of sequences that were padded
    ],
    ids=["none", "causal", "padding"],
)
def test_attention_over_tokens_that_are_known(mask):
    """softmax(q·k)·v of queries, keys and values that a trained layer makes of the same tokens."""
    random, tokens, heads, units = np.random.default_rng(1), 6, 2, 3
    maps = [random.standard_normal((4, heads * units)) * scale for scale in (1.5, 1.0, 1.0)]
    x = random.standard_normal((20_000, tokens, 4)) * np.array([1.0, 2.0, 0.5, 1.0])
    q, k, v = ((x @ each).reshape(-1, tokens, heads, units) for each in maps)
    logits = 0.5 * np.einsum("ztnh,zsnh->znts", q, k)
    logits[
        ~np.broadcast_to(np.resize(mask, (len(x), *mask.shape[1:]))[:, None], logits.shape)
    ] = -99
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    measured = np.einsum("znts,zsnh->ztnh", shares / shares.sum(-1, keepdims=True), v)

    token = CorrelatedSignal.gaussian(0.0, 1.0).arrange((tokens,))
    token = token.affine(np.array([1.0, 2.0, 0.5, 1.0]), 0.0)
    whole, split = [tokens, heads * units], [tokens, heads, units]
    query, key, value = (by(token, each).reshape(whole, split) for each in maps)
    sizes = {"t": tokens, "n": heads, "h": units, "s": tokens}
    found = query.contract(key, ("tnh", "snh", "nts"), sizes).affine(0.5, 0.0)
    masking = None if mask.all() else Masking.of_samples(mask)
    found = found.softmax(tokens, masking).contract(value, ("nts", "snh", "tnh"), sizes)
    assert found.variance == pytest.approx(measured.var(), rel=0.03)
    merged = found.reshape(split, whole)
    assert merged.state.notes.channels.variances == pytest.approx(
        measured.reshape(-1, heads * units).var(0), rel=0.1
    )
    # What it has in common with the tokens that it reads.
    skip = by(token, maps[2])
    together = skip.combine("add", [merged])
    expected = (v + measured).reshape(-1, heads * units).var(0)
    assert together.state.notes.channels.variances == pytest.approx(expected, rel=0.1)


def test_parts_of_a_concatenation_have_in_common_what_they_were_made_of():
    """Cov(x, xW) = ΓW; a kernel on both knows it, and what is joined later too."""
    x = start()
    both = CorrelatedSignal.mixture([x, by(x, WEIGHTS)], [3, 3])
    common = np.diag(SCALES**2) @ WEIGHTS
    assert both.state.channels.at_same_position[:3, 3:] == pytest.approx(common)
    undone = by(both, np.concatenate([WEIGHTS, -np.eye(3)]))
    assert covariances(undone) == pytest.approx(np.zeros((3, 3)), abs=1e-9)
    again = undone.combine("add", [x])
    assert covariances(again) == pytest.approx(np.diag(SCALES**2))


def test_skips_around_a_smaller_map():
    """Means of two positions, and their largest, repeated beside them: half of Γ is in common."""
    x = by(start(8).affine(1.0, -MEANS), np.eye(3)[None], windows(8, 1))
    pairs = (windows(8, 2, 2),)
    repeated = [Taps(np.repeat(np.arange(4), 2)[:, None], np.ones((8, 1)), 4)]
    for pooled in (x.average_pool(pairs), x.max_pool(pairs)):
        raised = pooled.linear_map(repeated)
        found = CorrelatedSignal.mixture([raised, x], [3, 3]).state.channels
        middle = len(found.covariances) // 2
        half = 0.5 * np.diag(SCALES**2)
        assert found.covariances[middle, :3, 3:] == pytest.approx(half, rel=0.01)
        # One further, of seven pairs of neighbours four are of the same pair.
        for beside in (middle - 1, middle + 1):
            assert found.covariances[beside, :3, 3:] == pytest.approx(4 / 7 * half, rel=0.01)
        # So are two repeated ones.
        alone = raised.state.channels.covariances[len(raised.state.channels.covariances) // 2 + 1]
        own = pooled.state.channels.at_same_position
        assert alone == pytest.approx(4 / 7 * own, rel=0.01, abs=1e-9)


def test_a_kernel_of_strides_and_a_transposed_one_meet_their_input_again():
    """y(2p) = x(2p)·V·W, and 0 between: half of the positions have ΓVW in common with x."""
    x = start(8)
    inner = by(x, WEIGHTS[None], windows(8, 1, 2))
    raised = by(inner, 2 * np.eye(3)[None], transposed_windows(4, 8, 1, 2))
    found = raised.combine("add", [x]).state.channels
    alone = [each.state.channels.at_same_position for each in (raised, x)]
    common = np.diag(SCALES**2) @ WEIGHTS
    assert found.at_same_position == pytest.approx(alone[0] + alone[1] + common + common.T)


@pytest.mark.parametrize(("size", "known"), [(4, True), (1000, False)])
def test_repeated_twice_from_different_phases_is_known_of_a_small_map(size, known):
    x = by(start(size), np.eye(3)[None], windows(size, 1))
    places = np.repeat(np.arange(size), 2)[:, None]
    repeated = [Taps(places, np.ones((2 * size, 1)), size)]
    one, other = (by(x, each[None], windows(size, 1)) for each in (WEIGHTS, np.eye(3)))
    both = CorrelatedSignal.mixture([one.linear_map(repeated), other.linear_map(repeated)], [3, 3])
    expected = WEIGHTS.T @ np.diag(SCALES**2) if known else np.zeros((3, 3))
    assert both.state.channels.at_same_position[:3, 3:] == pytest.approx(expected)


def test_what_is_sampled_says_so_with_its_error():
    """Shares of softmax over channels that are known, and nothing that is made of them."""
    x = CorrelatedSignal.gaussian(0.0, 1.0).affine(np.array([1.0, 2.0]), np.array([0.5, -1.0]))
    shares = x.softmax(2)
    assert x.sampled_error is None
    # Of so many independent pairs, whose squares scatter by about as much as they are.
    assert 0 < shares.sampled_error < 0.01 * shares.variance
    assert by(shares, np.eye(2)).sampled_error is None

    inputs = keras.Input((3,))
    bias = keras.initializers.Constant([0.5, -1.0])
    logits = keras.layers.Dense(2, bias_initializer=bias)(inputs)
    shares = keras.layers.Softmax()(logits)
    model = keras.Model(inputs, keras.layers.Reshape((2, 1))(shares))
    graph = read_model(model)
    dense, softmax, reshape = predict(graph, input_signals(graph), Options()).results[1:]
    # The logits may be less Gaussian than a standard error would tell.
    assert (dense.support, softmax.support) == (Support.EXACT, Support.APPROXIMATE)
    assert reshape.support is not Support.SAMPLED
