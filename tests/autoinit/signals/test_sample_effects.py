"""What differs from sample to sample, from channel to channel and from draw to draw."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy import integrate, stats

from autoinit.propagation import Options, input_signals, plan
from autoinit.reading import read_model
from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.operations.statistics import reciprocals
from autoinit.signals.correlated.positions import applied_along, axes_of
from autoinit.signals.correlated.signal import CorrelatedSignal
from autoinit.signals.correlated.state import Annotations
from autoinit.signals.geometry import Taps, windows
from autoinit.signals.phases import phase
from autoinit.signals.signal import NO_BIAS, KernelMoments
from tests.autoinit.draws import measured_variances

layers = keras.layers
WHOLE_SAMPLES = frozenset({"positions", "channels"})


def silu(x):
    return x / (1 + np.exp(-x))


def with_log_variance(variance, sizes=(6,)):
    """Gaussian entries in samples whose second moments' logarithms scatter."""
    second_moments = marginals.with_log_variance(np.ones(1), variance)
    state = CorrelatedSignal.gaussian(0.0, 1.0).arrange(sizes).state
    marginal = marginals.gaussian_samples(second_moments)
    return CorrelatedSignal(replace(state, stored_marginal=marginal))


def scatter(signal):
    return marginals.log_variance(signal.state.second_moments()[0])


def test_dropping_whole_samples_scatters_their_energies():
    """E q² / (E q)² = 1/kept: the logarithm of a log-normal energy has variance −log kept."""
    dropped = with_log_variance(0.1).dropout(0.8, 1 / 0.8, shared=WHOLE_SAMPLES)
    assert scatter(dropped) == pytest.approx(0.1 - math.log(0.8), rel=1e-6)
    assert dropped.variance == pytest.approx(1 / 0.8)
    # In a batch of four, on average 0.8 samples are dropped: often none is.
    seldom = with_log_variance(0.1).dropout(0.8, 1 / 0.8, shared=WHOLE_SAMPLES, samples=4)
    assert scatter(seldom) == pytest.approx(0.1 - math.log(0.8) * 0.8 / 1.8, rel=1e-6)


def test_what_is_dropped_together_stays_correlated():
    """Positions that are kept together: E k² x_p x_q = gain²·kept·E x_p x_q."""
    (axis,) = axes_of((6,))
    pair = axis.pairs(1, 4)
    constant = CorrelatedSignal.gaussian(2.0, 0.0).arrange((6,))
    together = constant.dropout(0.5, 2.0, shared=frozenset({"positions"}))
    assert together.state.cov_positions[pair] == pytest.approx(4.0)  # (0 or 4, equally often)
    assert constant.dropout(0.5, 2.0).state.cov_positions[pair] == pytest.approx(0.0)
    assert together.state.cov_samples[pair] == pytest.approx(0.0)


@pytest.mark.parametrize(
    "variance", [pytest.param(each, marks=pytest.mark.slow) for each in (0.02, 0.3, 1.0)]
)
def test_a_function_changes_the_energies_of_samples(variance):
    """Each sample by the integral over its own Gaussian."""
    signal = with_log_variance(variance)
    second_moments = signal.state.second_moments()[0]
    expected = [
        integrate.quad(
            lambda x, scale=scale: silu(x) ** 2 * stats.norm(0, scale).pdf(x), -30, 30, limit=200
        )[0]
        for scale in np.sqrt(second_moments)
    ]
    after, _ = signal.map(silu)
    assert after.state.second_moments()[0] == pytest.approx(np.array(expected), rel=2e-3)
    # Larger samples have larger means: all entries of a sample share that.
    means = [
        integrate.quad(lambda x, s=s: silu(x) * stats.norm(0, s).pdf(x), -30, 30, limit=200)[0]
        for s in np.sqrt(second_moments)
    ]
    (axis,) = after.state.axes
    assert after.state.cov_positions[axis.pairs(0, 3)] == pytest.approx(np.var(means), rel=0.01)
    assert after.state.cov_samples[axis.pairs(0, 3)] == pytest.approx(0.0, abs=1e-9)


def test_few_units_scatter_the_energies_of_samples():
    """Over 8 units of independent samples, 2/8; the pre-activations keep what they had."""
    kernel = KernelMoments(1.0, 1.0, 0.0, channels=50, units=8)
    signal = with_log_variance(0.1, ()).linear(kernel, NO_BIAS)
    assert scatter(signal) == pytest.approx(0.1 + 2 / 8, rel=1e-6)


def test_a_unit_of_one_channel_smooths_or_does_not():
    """Monte Carlo over kernels: the correlation of neighbours differs between channels."""
    size, taps = 8, windows(8, 3)
    kernel = KernelMoments(3.0, 3.0, 0.0, (taps,), channels=1, units=64)
    signal = CorrelatedSignal.gaussian(0.0, 1.0).arrange((size,)).linear(kernel, NO_BIAS)
    (axis,) = signal.state.axes
    weights = np.random.default_rng(0).standard_normal((200_000, 3))
    products = (weights[:, 1:] * weights[:, :-1]).sum(1), weights[:, 2] * weights[:, 0]
    for distance, product in zip((1, 2), products, strict=True):
        correlations = product / (weights**2).sum(1)
        found = float(signal.state.notes.correlation_variance[axis.pairs(2, 2 + distance)])
        assert signal.state.cov_positions[axis.pairs(2, 2 + distance)] == pytest.approx(0.0)
        # The expansion to second order takes Σw² as its mean.
        assert found == pytest.approx((product / 3).var(), rel=0.02)
        assert found == pytest.approx(correlations.var(), rel=0.7)
    # E relu-like functions see it: a square's covariance is 2·E ρ².
    squared, _ = signal.map(np.square)
    expected = (
        2
        * float(signal.state.notes.correlation_variance[axis.pairs(2, 3)])
        * float(signal.state.variances[2]) ** 2
    )
    assert squared.state.cov_positions[axis.pairs(2, 3)] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("values", "rest"), [([0.5, 0.2], 0.3), ([0.9, 0.05], 0.05)])
def test_reciprocals_of_sums_of_squares_by_simulation(values, rest):
    squares = np.random.default_rng(0).standard_normal((1_000_000, 2)) ** 2
    totals = squares @ values + rest
    common, own = reciprocals(np.array(values), rest)
    assert common == pytest.approx((1 / totals).mean(), rel=0.01)
    assert own == pytest.approx((squares / totals[:, None]).mean(0), rel=0.01)
    # Σ λ_k E ξ_k²/T + rest·E 1/T = 1.
    assert common * rest + own @ values == pytest.approx(1.0, rel=1e-5)


def test_batch_normalisation_fixes_the_mean_square_of_a_channel():
    """x² over a batch has no variance left, however much its samples have in common."""
    size, samples = 40, 128
    taps = windows(size, 3, padding="same")
    kernel = KernelMoments(3 - 2 / size, 3 - 2 / size, 0.0, (taps,))
    signal = CorrelatedSignal.gaussian(1.0, 0.1).arrange((size,)).linear(kernel, NO_BIAS)
    normalised = signal.normalize(0.0, None, centered=True, samples=samples)
    squared, _ = normalised.map(np.square)
    unfixed = replace(normalised.state, notes=Annotations())
    left, before = (
        square.state.over_batch(square.state.cov_positions, square.state.cov_samples, samples)
        for square in (squared, CorrelatedSignal(unfixed).map(np.square)[0])
    )
    assert before > 0.005
    assert abs(left) < 0.15 * before


def test_the_typical_draw_of_a_narrow_network_is_below_the_mean():
    """Inputs that are all the same: 6 relu units carry a mean square that scatters by 5/6."""
    same = CorrelatedSignal.gaussian(0.0, 1.0).arrange(()).of_every_sample()
    hidden, _ = same.map(lambda x: np.maximum(x, 0.0))
    after = hidden.linear(KernelMoments(2.0, 2.0, 0.0, channels=6, units=50), NO_BIAS)
    generator = np.random.default_rng(0)
    second_moments = (np.maximum(generator.standard_normal((100_000, 6)), 0.0) ** 2).mean(1)
    # Of E x⁴/(E x²)² − 1 = 5, all of it is shared by the samples.
    assert after.variance == pytest.approx((1 + 5 / 6) ** -0.5, rel=1e-3)
    assert after.state.notes.log_variance == pytest.approx(math.log(1 + 5 / 6), rel=1e-3)
    assert after.variance == pytest.approx(2 * np.median(second_moments), rel=0.15)


@pytest.mark.parametrize(
    ("function", "slope"),
    [(lambda x: np.maximum(x, 0.0), 1.0), (lambda x: x, 1.0), (np.square, 4 / 3)],
)
def test_the_slope_of_correlations_by_hand(function, slope):
    """E f′²/E f²: relu ½/½, the identity 1, the square E 4Z²/E Z⁴."""
    signal, _ = CorrelatedSignal.gaussian(0.0, 1.0).map(function)
    assert signal.chi_1 == pytest.approx(slope, rel=2e-3)
    assert [phase(0.5), phase(1.01), phase(1.3)] == ["ordered", "critical", "chaotic"]


def test_the_slope_is_that_of_the_correlation_map():
    """tanh: the correlation of two inputs at 0.999 leaves 1 as the slope says."""
    signal, _ = CorrelatedSignal.gaussian(0.0, 1.0).map(np.tanh)
    first = np.random.default_rng(0).standard_normal(4_000_000)
    second = 0.999 * first + math.sqrt(1 - 0.999**2) * np.random.default_rng(1).standard_normal(
        4_000_000
    )
    x, y = np.tanh(first), np.tanh(second)
    left = ((x - y) ** 2).mean() / 2 / (x * x).mean()
    assert left / 0.001 == pytest.approx(signal.chi_1, rel=0.02)
    assert CorrelatedSignal.gaussian(0.0, 1.0).dropout(0.5, 2.0).chi_1 is None


def test_long_axes_are_thinned_and_keep_their_means():
    """An average over 40,000 positions: what is shared stays, the rest is divided."""
    size = 40_000
    (axis,) = axes_of((size,))
    everything = applied_along(Taps.averaging(np.arange(size)[None], size), axis, 1)
    alone = np.zeros(axis.count**2)
    alone[np.arange(axis.count) * (axis.count + 1)] = 1.0
    assert everything.pairs @ np.ones(axis.count**2) == pytest.approx(np.ones(1))
    assert everything.pairs @ alone == pytest.approx(np.array([1 / size]), rel=0.02)
    assert axis.over_pairs @ alone == pytest.approx(1 / size, rel=0.02)
    pooled = applied_along(Taps.averaging(np.arange(size).reshape(-1, 500), size), axis, 1)
    assert pooled.pairs[0] @ alone == pytest.approx(1 / 500, rel=0.02)


@pytest.mark.slow
def test_a_gated_network_with_stochastic_depth_by_measurement():
    """Squeeze-and-excite blocks with a skip and whole samples dropped, over 8 draws."""
    inputs = keras.Input((16, 16, 3), name="in")
    x = layers.Conv2D(32, 3, padding="same", use_bias=False)(inputs)
    x = layers.BatchNormalization()(x)
    for block in range(4):
        y = layers.Conv2D(96, 1, use_bias=False)(x)
        y = layers.Activation("silu")(layers.BatchNormalization()(y))
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
        y = layers.Activation("silu")(layers.BatchNormalization()(y))
        gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
        gate = layers.Conv2D(24, 1, activation="silu")(gate)
        gate = layers.Conv2D(96, 1, activation="sigmoid")(gate)
        y = layers.Multiply()([y, gate])
        y = layers.BatchNormalization()(layers.Conv2D(32, 1, use_bias=False)(y))
        y = layers.Dropout(0.1, noise_shape=(None, 1, 1, 1), name=f"drop-{block}")(y)
        x = layers.Add()([x, y])
    graph = read_model(keras.Model(inputs, x))
    planned = plan(graph, input_signals(graph), Options(batch=32))
    logarithms = np.log(measured_variances(graph, planned.scales, 8, 32))
    measured, error = np.mean(logarithms, 0), np.std(logarithms, 0, ddof=1) / math.sqrt(8)
    predicted = np.log([o.signals[0].expected_variance for o in planned.results])
    off = np.abs(predicted - measured)
    assert (off < np.maximum(math.log(1.1), 2.4 * error)).mean() > 0.85
    assert np.quantile(off, 0.9) < math.log(1.3)
