"""The correlated model: each part by a value worked out by hand, and by simulation."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy import integrate, stats

from autoinit.propagation import Options, input_signals, plan
from autoinit.reading import read_model
from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.marginals import GRID, STANDARD
from autoinit.signals.correlated.positions import axes_of, summed_windows
from autoinit.signals.correlated.signal import CorrelatedSignal
from autoinit.signals.correlated.state import State
from autoinit.signals.geometry import Taps, windows
from autoinit.signals.signal import NO_BIAS, BiasMoments, KernelMoments
from tests.autoinit.draws import measured_variances

layers = keras.layers


def relu(x):
    return np.maximum(x, 0.0)


def gaussian(mean=0.0, variance=1.0, sizes=()):
    return CorrelatedSignal.gaussian(mean, variance).arrange(sizes)


def shared(variance, within, between=0.0, sizes=(4,), mean=0.0):
    """Gaussian entries, of which those of a channel correlate alike everywhere."""
    own = gaussian(mean, variance - within, sizes)
    sample = gaussian(0.0, within - between).repeat(sizes)
    channel = CorrelatedSignal.gaussian(0.0, between)
    channel = State(
        (), channel.state.means, channel.state.cov_positions, np.array(between), STANDARD
    )
    sample = State((), np.array(0.0), np.array(within - between), np.array(0.0), STANDARD)
    others = [CorrelatedSignal(each).repeat(sizes) for each in (sample, channel)]
    return own.combine("add", others)


def within(signal, first, second):
    """Covariance of two real positions on a single axis."""
    (axis,) = signal.state.axes
    return float(signal.state.cov_positions[axis.pairs(first, second)])


def test_moments_on_the_grid_are_those_of_the_integrals():
    signal, _ = gaussian(0.3, 2.0).map(np.tanh)
    density = stats.norm(0.3, math.sqrt(2.0)).pdf
    mean = integrate.quad(lambda x: np.tanh(x) * density(x), -12, 12)[0]
    second = integrate.quad(lambda x: np.tanh(x) ** 2 * density(x), -12, 12)[0]
    assert signal.mean == pytest.approx(mean, abs=1e-6)
    assert signal.variance == pytest.approx(second - mean**2, rel=1e-6)


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.3, 0.9, 0.99])
def test_covariance_after_relu_is_the_arc_cosine_kernel(correlation):
    """Cho and Saul 2009: E relu(Z)relu(Z′) = (√(1 − ρ²) + ρ(π − arccos ρ)) / 2π."""
    signal, _ = shared(1.0, max(correlation, 0.0)).map(relu)
    if correlation < 0:
        found, rest = marginals.coefficients(relu(GRID))
        covariance = marginals.covariances(found * found, rest, np.array(correlation))
    else:
        covariance = within(signal, 0, 1)
    product = (math.sqrt(1 - correlation**2) + correlation * (math.pi - math.acos(correlation))) / (
        2 * math.pi
    )
    assert float(covariance) == pytest.approx(product - 1 / (2 * math.pi), abs=2e-4)


def test_two_functions_after_each_other_are_their_composition():
    signal, _ = shared(1.0, 0.4).map(relu)
    twice, _ = signal.map(np.tanh)
    once, _ = shared(1.0, 0.4).map(lambda x: np.tanh(relu(x)))
    assert twice.variance == pytest.approx(once.variance, rel=1e-9)
    assert within(twice, 0, 1) == pytest.approx(within(once, 0, 1), rel=1e-3)


def test_a_padded_convolution_sees_fewer_taps_at_its_borders():
    size = 9
    three = windows(size, 3, padding="same")
    kernel = KernelMoments(5.0 * (3 - 2 / size), 5.0 * (3 - 2 / size), 0.0, (three,))
    signal = gaussian(0.0, 2.0, (size,)).linear(kernel, NO_BIAS)
    # Five channels, taps of variance 1: 3·5·2 inside, 2·5·2 at either end.
    assert signal.state.variances[[0, -1]] == pytest.approx(20.0)
    assert signal.state.variances[4] == pytest.approx(30.0)
    assert signal.variance == pytest.approx((7 * 30 + 2 * 20) / 9)
    assert within(signal, 3, 4) == 0.0


def test_neighbours_share_what_their_inputs_share():
    """E y_p y_q = Σ_t E x_{p+t} x_{q+t}: with a mean of 1, each shared tap adds 1."""
    size = 30
    three = windows(size, 3, padding="same")
    kernel = KernelMoments(3 - 2 / size, 3 - 2 / size, 0.0, (three,))
    signal = gaussian(1.0, 0.5, (size,)).linear(kernel, NO_BIAS)
    assert within(signal, 15, 15) == pytest.approx(3 * 1.5)
    assert within(signal, 15, 16) == pytest.approx(3.0)
    assert within(signal, 0, 1) == pytest.approx(2.0)
    assert within(signal, 0, 29) == pytest.approx(1.0)
    assert float(signal.state.cov_samples[signal.state.axes[0].pairs(15, 15)]) == pytest.approx(3.0)


def test_an_average_keeps_what_is_shared_and_divides_the_rest():
    signal = shared(1.0, 0.4, sizes=(6, 6))
    both = (windows(6, 2, 2), windows(6, 3, 3))
    pooled = signal.average_pool(both)
    assert pooled.variance == pytest.approx(0.4 + 0.6 / 6)
    assert [axis.size for axis in pooled.state.axes] == [3, 2]
    everything = (np.arange(6)[None, :],) * 2
    assert signal.average_pool(everything).flatten().variance == pytest.approx(0.4 + 0.6 / 36)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_the_largest_of_correlated_entries_by_simulation(correlation):
    generator = np.random.default_rng(0)
    common = generator.standard_normal((400_000, 1))
    own = generator.standard_normal((400_000, 8))
    entries = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own
    first, second = relu(entries[:, :4]).max(1), relu(entries[:, 4:]).max(1)
    signal, _ = shared(1.0, correlation, sizes=(8,)).map(relu)
    pooled = signal.max_pool((windows(8, 4, 4),))
    assert pooled.mean == pytest.approx(first.mean(), rel=0.01)
    assert pooled.variance == pytest.approx(first.var(), rel=0.02)
    assert within(pooled, 0, 1) == pytest.approx(np.cov(first, second)[0, 1], abs=0.015)


def test_batch_normalisation_removes_what_all_samples_of_a_channel_share():
    # v = 0.5 of its own + 0.3 of the sample + 0.2 of the channel.
    signal = shared(1.0, 0.5, 0.2, sizes=(5,), mean=3.0)
    normalised = signal.normalize(0.0, None, centered=True, samples=4)
    assert normalised.mean == pytest.approx(0.0, abs=1e-12)
    assert normalised.variance == pytest.approx(1.0)
    # The mean over 4 samples of 5 positions takes 0.5/20 + 0.3/4 of what is left.
    own, sample = 0.5, 0.3
    left = own * (1 - 1 / 20) + sample * (1 - 1 / 4)
    expected = (sample * (1 - 1 / 4) - own / 20) / left
    assert within(normalised, 0, 4) == pytest.approx(expected)


def test_a_product_of_functions_of_one_tensor_is_taken_jointly():
    signal = gaussian(0.2, 1.5, (3,))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    gate, _ = signal.map(sigmoid)
    product = signal.combine("multiply", [gate])
    swish, _ = signal.map(lambda x: x * sigmoid(x))
    assert product.mean == pytest.approx(swish.mean)
    assert product.variance == pytest.approx(swish.variance)
    assert signal.combine("subtract", [signal]).variance == pytest.approx(0.0, abs=1e-12)
    other = gaussian(0.2, 1.5, (3,))
    assert signal.combine("subtract", [other]).variance == pytest.approx(3.0)


def test_the_same_pooling_twice_is_the_same_tensor():
    signal = gaussian(0.0, 1.0, (6,))
    pooled = [signal.average_pool((windows(6, 3, 1, padding="same"),)) for _ in range(2)]
    assert pooled[0].combine("subtract", [pooled[1]]).variance == pytest.approx(0.0, abs=1e-12)


def test_offsets_of_channels_are_shared_by_all_samples():
    signal = gaussian(1.0, 2.0, (4,)).affine(np.array([1.0, 3.0]), np.array([-1.0, 1.0]))
    # Means by channel 0 and 4; variances 2 and 18.
    assert signal.mean == pytest.approx(2.0)
    assert signal.variance == pytest.approx(10.0 + 4.0)
    assert within(signal, 0, 3) == pytest.approx(4.0)
    assert float(signal.state.cov_samples[signal.state.axes[0].pairs(0, 0)]) == pytest.approx(4.0)


def test_a_gate_is_shared_by_the_positions():
    gate = gaussian(0.5, 0.1)
    product = gaussian(0.0, 1.0, (4,)).combine("multiply", [gate])
    assert product.variance == pytest.approx(0.35)
    assert within(product, 0, 1) == pytest.approx(0.0)
    offset = gaussian(1.0, 0.0, (4,)).combine("multiply", [gate])
    assert within(offset, 0, 1) == pytest.approx(0.1)


def test_parts_of_a_concatenation_are_normalised_apart():
    small, large = gaussian(0.0, 0.01, (4,)), gaussian(5.0, 9.0, (4,))
    joined = CorrelatedSignal.mixture([small, large], [1, 3])
    assert joined.mean == pytest.approx(3.75)
    normalised = joined.normalize(0.0, None, centered=True, samples=64)
    assert normalised.mean == pytest.approx(0.0, abs=1e-12)
    assert normalised.variance == pytest.approx(1.0)


@pytest.mark.parametrize("length", [5, 40])
def test_a_token_before_others_keeps_its_moments(length):
    token, others = shared(3.0, 3.0, 3.0, (1,), mean=2.0), gaussian(0.0, 1.0, (length,))
    joined = CorrelatedSignal.beside([token, others], [(1,), (length,)], 0)
    assert joined.state.sizes == (length + 1,)
    assert joined.mean == pytest.approx(2.0 / (length + 1))
    share = 1 / (length + 1)
    assert joined.variance == pytest.approx(3 * share + 1 - share + 4 * share * (1 - share))
    assert joined.state.means[:2] == pytest.approx([2.0, 0.0])
    assert joined.state.variances[:2] == pytest.approx([3.0, 1.0])
    assert within(joined, 0, 1) == pytest.approx(0.0)
    first = joined.linear_map([Taps.summing(np.array([[0]]), length + 1)])
    assert first.mean == pytest.approx(2.0)
    assert first.state.cov_positions == pytest.approx(3.0)
    assert first.state.cov_samples == pytest.approx(3.0)


@pytest.mark.parametrize("centered", [True, False])
def test_each_position_is_divided_by_its_own_length(centered):
    """A token of zeros stays zeros, and one whose variance is that of epsilon becomes a half."""
    deviations, means = np.array([0.0, 0.1, 1.0, 2.0]), np.array([0.0, 0.0, 3.0, 0.0])
    signal = gaussian(0.0, 1.0, (4,)).linear_map([Taps.of_matrix(np.diag(deviations))])
    signal = CorrelatedSignal(replace(signal.state, means=means))
    found = signal.normalize(0.01, 8, centered=centered)
    rows = means[:, None] + deviations[:, None] * np.random.default_rng(0).standard_normal(
        (100_000, 4, 8)
    )
    rows = rows - centered * rows.mean(-1, keepdims=True)
    rows = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + 0.01)
    assert found.state.means == pytest.approx(rows.mean((0, 2)), abs=0.005)
    assert found.state.variances == pytest.approx(rows.var((0, 2)), rel=0.01)
    assert found.variance == pytest.approx(rows.var(), rel=0.01)


def test_long_tensors_beside_each_other_are_a_mixture():
    """Positions in the middle have one representative, of whichever tensor they are."""
    low, high = gaussian(-1.0, 1.0, (20,)), gaussian(3.0, 1.0, (60,))
    joined = CorrelatedSignal.beside([low, high], [(20,), (60,)], 0)
    mixture = CorrelatedSignal.mixture([low, high], [1, 3])
    for figure in ("means", "cov_positions", "cov_samples"):
        assert getattr(joined.state, figure) == pytest.approx(getattr(mixture.state, figure))


def test_a_bias_of_given_weights_is_an_offset_of_the_channel():
    bias = BiasMoments(mean=0.5, second_moment=1.25)
    signal = gaussian(0.0, 1.0, (3,)).linear(KernelMoments(2.0, 2.0, 0.0), bias)
    assert signal.mean == pytest.approx(0.5)
    assert signal.variance == pytest.approx(2.0 + 1.0)
    assert within(signal, 0, 1) == pytest.approx(1.0)


def test_what_one_draw_shows_lacks_the_variance_of_its_mean():
    # Eight units that hardly vary with the sample: their common mean takes 1/8.
    signal = shared(1.0, 1.0, 1.0, sizes=())
    observed = signal.observed(channels=8, samples=16)
    # The square of a Gaussian has twice the variance of its mean: eight scatter by log(1 + 2/8).
    assert observed.log_deviation == pytest.approx(math.sqrt(math.log(1.25)))
    assert observed.expected_variance == pytest.approx(7 / 8 * 1.25**-0.5)
    assert observed.variance == pytest.approx(1.0)
    assert observed.sample_correlation == pytest.approx(1.0)


@pytest.mark.parametrize("size", [1, 5, 7, 10, 11, 24, 112])
def test_representative_positions_stand_for_all(size):
    for rank in (1, 2, 3):
        axis = axes_of((size,) * rank)[0]
        assert axis.shares.sum() == pytest.approx(1.0)
        assert axis.over_pairs.sum() == pytest.approx(1.0)
        assert axis.over_second.sum(1) == pytest.approx(np.ones(axis.count))
        every = np.arange(size)
        pairs = axis.pairs(every[:, None], every[None, :])
        i, j = pairs // axis.count, pairs % axis.count
        assert (j == i.T).all()  # (b, a) is (a, b) turned round
        assert (np.diag(i) == np.diag(j)).all()
        kept = axis.representatives
        assert (axis.singles(kept) == np.arange(axis.count))[: axis.border].all()
        near = np.abs(every[:, None] - every[None, :]) < min(axis.center, axis.border)
        assert (np.abs(kept[i] - kept[j]) == np.abs(every[:, None] - every[None, :]))[near].all()


def test_a_map_of_windows_is_its_matrix():
    axis = axes_of((7,))[0]
    taps = windows(7, 3, 2, padding="same")
    found = summed_windows(Taps.summing(taps, 7), axis, 1)
    expected = [[(row == place).sum() for place in range(7)] for row in taps]
    assert found.singles == pytest.approx(np.array(expected))
    assert found.output.size == 4


def conv_block(x, filters, activation, pooling=None):
    x = layers.Conv2D(filters, 3, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation(activation)(x)
    return pooling(x) if pooling else x


def plain():
    x = inputs = keras.Input((16, 16, 3))
    for _ in range(3):
        x = layers.Conv2D(48, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(40)(x))


def normalised():
    x = inputs = keras.Input((16, 16, 3))
    x = conv_block(x, 48, "relu", layers.MaxPooling2D(3, 2, "same"))
    y = conv_block(x, 48, "silu")
    x = layers.Add()([x, y])
    x = layers.Concatenate()([conv_block(x, 32, "gelu"), layers.AveragePooling2D(3, 1, "same")(x)])
    x = conv_block(x, 64, "tanh", layers.GlobalAveragePooling2D())
    return keras.Model(inputs, layers.Dense(40)(x))


@pytest.mark.parametrize("build", [plain, normalised], ids=["plain", "normalised"])
def test_whole_networks_run_as_predicted(build):
    """The mean over draws of weights, within 10 % at every call."""
    graph = read_model(build())
    samples, draws = 24, 12
    signals = input_signals(graph, signal_model="correlated")
    found = plan(graph, signals, Options(batch=samples))
    table = measured_variances(graph, found.scales, draws, samples)
    for call, outcome, column in zip(graph.calls, found.results, table.T, strict=True):
        error = 3 * column.std(ddof=1) / math.sqrt(draws)
        predicted = outcome.signals[0].expected_variance
        assert abs(predicted - column.mean()) < 0.1 * predicted + error, call.path
