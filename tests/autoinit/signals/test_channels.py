"""Channels whose weights are given: by hand, and against networks that are run (L)."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy import stats

from autoinit.propagation import Options, input_signals, plan, predict
from autoinit.quadrature.gaussian import softmax_pull
from autoinit.reading import read_model
from autoinit.signals.correlated.channels.channels import Channels
from autoinit.signals.correlated.channels.kernels import through
from autoinit.signals.correlated.marginals import WEIGHTS
from autoinit.signals.correlated.signal import CorrelatedSignal
from autoinit.signals.correlated.state import Annotations
from autoinit.signals.geometry import Taps, windows
from autoinit.signals.signal import NO_BIAS, BiasMoments, KernelMoments

gaussian = CorrelatedSignal.gaussian
RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def _the_same_numbers_in_any_order():
    RNG.bit_generator.state = np.random.default_rng(3).bit_generator.state


def known(signal):
    return signal.state.notes.channels


def kernel(values, *axes):
    values = np.asarray(values, float)
    channels, units = values.shape[len(axes) :] if values.ndim > len(axes) + 1 else (1, 1)
    return KernelMoments(1.0, 1.0, 0.0, axes, channels, units, values)


def test_relu_of_two_channels_by_hand():
    signal = gaussian(0.0, 1.0).arrange(()).affine(np.array([1.0, 2.0]), np.array([1.0, -2.0]))
    assert (signal.mean, signal.variance) == (-0.5, 2.5 + 2.25)
    after, _ = signal.map(lambda x: np.maximum(x, 0.0))
    # E max(N(m, s²), 0) = m·Φ(m/s) + s·φ(m/s).
    means = [
        1 * stats.norm.cdf(1) + stats.norm.pdf(1),
        -2 * stats.norm.cdf(-1) + 2 * stats.norm.pdf(1),
    ]
    squares = [
        2 * stats.norm.cdf(1) + stats.norm.pdf(1),
        8 * stats.norm.cdf(-1) - 4 * stats.norm.pdf(1),
    ]
    assert known(after).means == pytest.approx(means, abs=1e-3)
    assert after.mean == pytest.approx(np.mean(means), abs=1e-3)
    assert after.second_moment == pytest.approx(np.mean(squares), abs=2e-3)


def test_two_channels_that_are_the_same_add_up():
    found = Channels(np.array([1.0, 2.0]), np.array([[1.0, 1.0], [1.0, 1.0]]))
    mixed = through(found, kernel([[1.0], [1.0]]), lambda reach: np.ones(()))
    assert mixed.covariances == pytest.approx(np.array([[4.0]]))  # (x + x), not x + x′
    assert mixed.taps == pytest.approx(np.array([[3.0]]))


def test_a_border_sees_fewer_taps():
    """[1, 1, 1] over three entries of mean 2 with `same`: means 4, 6, 4, variances 2, 3, 2."""
    taps = windows(3, 3, 1, 1, "same")
    signal = gaussian(2.0, 1.0).arrange((3,))
    after = signal.linear(kernel(np.ones((3, 1, 1)), taps), BiasMoments(1.0, 1.0, 0.0, np.ones(1)))
    assert after.state.means == pytest.approx([5.0, 7.0, 5.0])
    assert after.state.variances == pytest.approx([2.0, 3.0, 2.0])
    # Neighbours share two entries, the ends one: 2/√(2·3) on average over pairs of neighbours.
    assert after.state.cov_positions[1] == pytest.approx(2.0, rel=0.05)


def test_a_kernel_that_looks_at_a_difference_sees_no_common_part():
    alike = gaussian(0.0, 1.0).arrange(()).affine(np.array([1.0, -1.0]), 0.0).repeat((2,))
    difference = kernel(np.array([1.0, -1.0])[:, None] * np.ones((2, 2)), windows(2, 2))
    assert alike.linear(difference, NO_BIAS).variance == pytest.approx(0.0, abs=1e-12)


def test_averages_and_the_largest_of_windows():
    values = RNG.standard_normal((200_000, 4))
    values = values + 0.7 * RNG.standard_normal((200_000, 1))
    means, scales = np.array([0.0, 3.0]), np.array([1.0, 0.5])
    start = gaussian(0.0, 1.49).arrange((4,))
    state = start.state.__class__(
        start.state.axes,
        start.state.means,
        np.where(np.eye(4, dtype=bool), 1.49, 0.49).ravel(),
        start.state.cov_samples,
        start.state.marginal,
    )
    signal = CorrelatedSignal(state).affine(scales, means)
    entries = values[..., None] * scales + means
    whole = (np.arange(4)[None, :],)
    for pooled, measured in (
        (signal.average_pool(whole), entries.mean(1)),
        (signal.max_pool(whole), entries.max(1)),
    ):
        assert pooled.variance == pytest.approx(measured.var(), rel=0.02)
        assert known(pooled).means == pytest.approx(measured.mean(0), abs=0.02)
        assert known(pooled).variances == pytest.approx(measured.var(0), rel=0.06)


def test_dropout_and_normalization():
    signal = gaussian(0.0, 1.0).affine(np.array([1.0, 3.0]), np.array([1.0, 0.0]))
    dropped = signal.dropout(0.5, 2.0)
    # E x²/keep − (E x)²: (2·2 − 1, 2·9).
    assert known(dropped).variances == pytest.approx([3.0, 18.0])
    together = signal.normalize(0.0, 2, centered=True)
    assert known(together).means == pytest.approx(np.array([0.5, -0.5]) / np.sqrt(2.75))
    assert together.second_moment == pytest.approx(1.0)
    each = signal.arrange(()).normalize(0.0, None, centered=True, samples=100)
    assert known(each).means == pytest.approx([0.0, 0.0])
    assert known(each).variances == pytest.approx([1.0, 1.0])


def ratios(model, samples=1024, **options):
    """Predicted over measured variance of each layer, of the weights that it has."""
    graph = read_model(model)
    found = predict(graph, input_signals(graph), Options(batch=samples, **options)).estimates()
    x = RNG.standard_normal((samples, *model.input_shape[1:])).astype(np.float32)
    outputs = keras.Model(model.input, [layer.output for layer in model.layers])(x, training=True)
    return {
        layer.name: found[layer.name][1] / np.var(np.asarray(output, np.float64))
        for layer, output in zip(model.layers, outputs, strict=True)
    }


def trained_normalization():
    """Scales and offsets that go together, a clip, a depthwise kernel with a stride."""
    x = keras.Input((16, 16, 3))
    y = layers.Conv2D(24, 3, use_bias=False)(x)
    norm = layers.BatchNormalization()
    y = layers.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=2)(layers.ReLU(4.0)(norm(y)))
    model = keras.Model(x, layers.Conv2D(8, 1)(y))
    gamma = np.tile([0.3, 1.0, 3.0], 8)
    norm.set_weights([gamma, 2.0 - gamma, np.zeros(24), np.ones(24)])
    return model


def biases_that_dominate():
    x = keras.Input((30, 4))
    y = layers.Rescaling(0.01)(x)
    for number in range(3):
        y = layers.Conv1D(12, 3, activation="elu", name=f"conv{number}")(y)
        y = layers.AveragePooling1D(2)(y)
    y = layers.Dense(6)(layers.Flatten()(y))
    model = keras.Model(x, y)
    for number in range(3):
        weights, bias = model.get_layer(f"conv{number}").get_weights()
        bias = RNG.normal(0.1, 0.5, bias.shape)
        model.get_layer(f"conv{number}").set_weights([weights + 0.05, bias])
    return model


def kernels_that_were_fitted():
    """The second kernel reads what the first one wrote: as many times more as it has units."""
    x = keras.Input((12,))
    first, second = layers.Dense(48, activation="tanh", name="first"), layers.Dense(12)
    model = keras.Model(x, second(first(x)))
    weights = RNG.standard_normal((12, 48)) * 0.2
    first.set_weights([weights, RNG.normal(0.0, 0.1, 48)])
    second.set_weights([weights.T, np.zeros(12)])
    return model


def fitted_convolutions():
    """The same along positions, by the transposed kernel."""
    x = keras.Input((10, 10, 2))
    first = layers.Conv2D(16, 3, padding="same", activation="relu")
    second = layers.Conv2D(2, 3, padding="same")
    model = keras.Model(x, second(first(x)))
    weights = RNG.standard_normal((3, 3, 2, 16)) * 0.3
    first.set_weights([weights, RNG.normal(0.0, 0.1, 16)])
    second.set_weights([weights[::-1, ::-1].transpose(0, 1, 3, 2), np.zeros(2)])
    return model


def heads_on_an_axis():
    """Tokens that have something in common, with heads by reshaping and transposing."""
    x = keras.Input((12, 64))
    bias = keras.initializers.RandomNormal(stddev=1.0, seed=4)
    tokens = layers.LayerNormalization()(layers.Dense(64, bias_initializer=bias)(x))

    def heads():
        y = ops.reshape(layers.Dense(64, use_bias=False)(tokens), (-1, 12, 4, 16))
        return ops.transpose(y, (0, 2, 1, 3))

    shares = ops.softmax(ops.matmul(heads(), ops.transpose(heads(), (0, 1, 3, 2))) / 4.0)
    y = ops.transpose(ops.matmul(shares, heads()), (0, 2, 1, 3))
    return keras.Model(x, layers.Dense(32)(ops.reshape(y, (-1, 12, 64))))


def steps_that_are_the_same():
    """A decoder that reads one vector again and again, whose entries have means of their own."""
    x = keras.Input((8, 5))
    bias = keras.initializers.RandomNormal(stddev=1.0, seed=4)
    y = layers.Dense(10, bias_initializer=bias)(layers.LSTM(24)(x))
    y = layers.GRU(24, return_sequences=True)(layers.RepeatVector(9)(y))
    return keras.Model(x, layers.Dense(6)(layers.Bidirectional(layers.LSTM(12))(y)))


def branches_that_undo_their_skips():
    """With borders, strides, a kernel that upsamples, and a gate."""
    x = keras.Input((9, 9, 3))
    y = layers.Conv2D(16, 3, padding="same", activation="relu", name="first")(x)
    z = layers.DepthwiseConv2D(3, padding="same", activation="elu", name="middle")(y)
    z = layers.Conv2D(16, 1, name="last")(z)
    y = layers.Add()([y, z])
    z = layers.Conv2D(16, 3, 2, padding="same")(y)
    y = layers.Add()([layers.Conv2D(16, 1, 2)(y), z])
    y = layers.Conv2DTranspose(8, 3, 2, padding="same", activation="elu")(y)
    gate = layers.Dense(8, "sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(y))
    y = layers.GlobalAveragePooling2D()(layers.Multiply()([y, gate]))
    model = keras.Model(x, y)
    weights = RNG.standard_normal((3, 3, 3, 16)) * 0.3
    model.get_layer("first").set_weights([weights, RNG.normal(0.2, 0.2, 16)])
    shape = (3, 3, 16, 1)
    model.get_layer("middle").set_weights([np.full(shape, 0.1), np.zeros(16)])
    last = RNG.standard_normal((1, 1, 16, 16)) * 0.1 - 0.8 * np.eye(16)
    model.get_layer("last").set_weights([last, np.zeros(16)])
    return model


@pytest.mark.parametrize(
    "build",
    [
        branches_that_undo_their_skips,
        trained_normalization,
        biases_that_dominate,
        kernels_that_were_fitted,
        fitted_convolutions,
        heads_on_an_axis,
        steps_that_are_the_same,
    ],
)
def test_trained_weights_are_predicted(build):
    keras.utils.set_random_seed(5)
    found = ratios(build())
    assert found == pytest.approx(dict.fromkeys(found, 1.0), rel=0.1)


def test_planned_kernels_forget_channels_and_read_what_is_known_before_them():
    keras.utils.set_random_seed(5)
    graph = read_model(trained_normalization())
    result = plan(graph, input_signals(graph), Options())
    (found,) = (x for path, x in result.estimates().items() if path.startswith("depthwise"))
    assert found[1] == pytest.approx(1.0, rel=0.05)


def test_weights_as_they_were_drawn_are_alike():
    """Where no bias and no normalisation tells channels apart, their values are not asked for."""
    x = keras.Input((8,))
    model = keras.Model(x, layers.Dense(4)(layers.BatchNormalization()(layers.Dense(16)(x))))
    graph = read_model(model)
    loaded = []

    def load(variable):
        loaded.append(tuple(variable.shape))
        return np.asarray(variable)

    predict(graph, input_signals(graph), Options(), load=load)
    assert loaded.count((8, 16)) == 1


def test_the_pull_of_a_softmax():
    """Without logits the mean of n Gaussians, with small ones their slope, else the largest."""
    assert softmax_pull(0.0, 50) == pytest.approx(1 / 50, rel=0.03)
    assert softmax_pull(0.1, 1000) == pytest.approx(0.1**2 + 1 / 1000, rel=0.1)
    assert softmax_pull(1e3, 2) == pytest.approx(1.0, rel=0.05)  # E max(z₁, z₂)² = 1


@pytest.mark.parametrize("features", [1, 4])
def test_attention_over_few_features(features):
    """Queries, keys and values of a token are functions of a few numbers."""
    tokens, heads, units = 40, 400, 32
    random = np.random.default_rng(features)
    x = random.standard_normal((8, 1, tokens, features))
    q, k, v = (
        x @ random.standard_normal((1, heads, features, units)) / features**0.5 for _ in range(3)
    )
    logits = q @ k.swapaxes(-1, -2) / units**0.5
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    measured = (shares / shares.sum(-1, keepdims=True)) @ v

    token = gaussian(0.0, 1.0).arrange((tokens,))
    one = KernelMoments(1.0, 1.0, 0.0, (), features, heads * units)
    whole, split = [tokens, heads * units], [tokens, heads, units]
    query, key, value = (token.linear(one, NO_BIAS).reshape(whole, split) for _ in range(3))
    sizes = {"t": tokens, "n": heads, "h": units, "s": tokens}
    found = query.contract(key, ("tnh", "snh", "nts"), sizes).affine(units**-0.5, 0.0)
    found = found.softmax(tokens).contract(value, ("nts", "snh", "tnh"), sizes)
    assert found.variance == pytest.approx(measured.var(), rel=0.15)


def test_skewness_of_sums_of_rectified_gaussians():
    mixing = RNG.standard_normal((6, 4))
    covariances = mixing @ mixing.T
    start = Channels(RNG.standard_normal(6), covariances)
    signal = gaussian(0.0, 1.0).arrange(()).affine(np.ones(6), np.arange(6.0))
    signal = CorrelatedSignal(replace(signal.state, notes=Annotations(channels=start)))
    rectified, _ = signal.map(lambda x: np.maximum(x, 0.0))
    weights = RNG.standard_normal((6, 5))
    weights[:, 1:] = np.abs(weights[:, 1:])  # these add up; of the first something cancels
    mixed = known(rectified.linear(kernel(weights), NO_BIAS))
    drawn = RNG.multivariate_normal(start.means, covariances, 400_000, method="eigh")
    sums = np.maximum(drawn, 0.0) @ weights
    rows = mixed.rows()
    moments = [((rows - mixed.means[:, None]) ** k @ WEIGHTS) for k in (2, 3)]
    found = moments[1] / moments[0] ** 1.5
    assert found == pytest.approx(stats.skew(sums), abs=0.12)
    assert np.abs(found).max() > 0.5
    # And what a ReLU leaves of them, which a Gaussian of the same moments is off from.
    offset = -sums.mean(0) - sums.std(0)
    moved = rectified.linear(kernel(weights), BiasMoments(0.0, 1.0, 0.0, offset))
    after = known(moved.map(lambda x: np.maximum(x, 0.0))[0]).variances
    exact = np.maximum(sums + offset, 0.0).var(0)
    of_gaussians = 0.06820 * sums.var(0)  # Var max(Z − 1, 0)
    assert np.abs(np.log(after / exact)).mean() < 0.3 * np.abs(np.log(of_gaussians / exact)).mean()


def test_one_rectified_gaussian_is_as_skewed_as_it_is():
    signal = gaussian(0.0, 1.0).arrange(()).affine(np.array([1.0, -2.0]), 0.0)
    mixed = known(signal.map(lambda x: np.maximum(x, 0.0))[0].linear(kernel(np.eye(2)), NO_BIAS))
    rows = mixed.rows()
    moments = [((rows - mixed.means[:, None]) ** k @ WEIGHTS) for k in (2, 3)]
    mean = 1 / np.sqrt(2 * np.pi)
    third = 2 * mean - 1.5 * mean + 2 * mean**3  # E x³ − 3 m E x² + 2 m³
    expected = third / (0.5 - mean**2) ** 1.5
    assert moments[1] / moments[0] ** 1.5 == pytest.approx([expected] * 2, rel=0.01)


def test_a_channel_that_relu_leaves_nothing_of_ends_no_integral():
    signal = gaussian(0.0, 1.0).arrange(()).affine(np.ones(2), np.array([0.0, -7.0]))
    after, converged = signal.map(lambda x: np.maximum(x, 0.0))
    assert converged
    mean = 1 / np.sqrt(2 * np.pi) / 2
    assert (after.mean, after.second_moment) == pytest.approx((mean, 0.25), rel=1e-3)


def test_slices_of_channels_are_other_channels():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((48,))
    x = layers.Dense(24, "relu")(inputs)
    model = keras.Model(inputs, x[:, :20] + x[:, 2:22] + x[:, 4:])
    samples = RNG.standard_normal((20_000, 48)).astype(np.float32)
    measured = float(np.var(model.predict(samples, verbose=0)))
    graph = read_model(model)
    predicted = predict(graph, input_signals(graph)).results[-1].signals[0].variance
    assert predicted == pytest.approx(measured, rel=0.25)  # all the same: 2.5 times too large


def uneven(count=2):
    """Sums of three neighbours among six, of two deviations: two at either end see two of three."""
    values = np.array([1.0, 2.0])[:count] * np.ones((3, 1, count))
    return (
        gaussian(0.0, 1.0)
        .arrange((6,))
        .linear(kernel(values, windows(6, 3, 1, 1, "same")), NO_BIAS)
    )


VARIANCES = np.array([2.0, 3.0, 3.0, 3.0, 3.0, 2.0])


def test_a_crop_has_the_moments_of_what_is_left():
    first = Taps.summing(np.array([[0]]), 6)
    (edge,) = (uneven().linear_map([first]),)
    assert known(edge).variances == pytest.approx([2.0, 8.0])
    assert edge.variance == pytest.approx(5.0)
    rectified, _ = uneven().map(lambda x: np.maximum(x, 0.0))
    edge = rectified.linear_map([first])
    assert edge.second_moment == pytest.approx(2.5, rel=1e-3)
    means = np.sqrt([2.0, 8.0]) / np.sqrt(2 * np.pi)
    assert known(edge).means == pytest.approx(means, rel=0.01)


def test_a_square_over_uneven_positions_by_hand():
    """E x⁶ = 15·σ⁶ at each position, not of the mean variance: 24.6 and 18.3 for 2 and 3."""
    after, _ = uneven(1).map(lambda x: x**3)
    assert known(after).variances == pytest.approx([15 * (VARIANCES**3).mean()], rel=1e-3)
    assert after.variance == pytest.approx(15 * (VARIANCES**3).mean(), rel=1e-3)


def test_what_a_relu_leaves_nothing_of_is_nothing_at_every_position():
    after, _ = uneven().map(lambda x: np.maximum(x, 0.0))
    floors, _ = after.map(lambda x: (x > 0) * 1.0)
    assert floors.mean == pytest.approx(0.5, abs=0.01)
    below, _ = after.map(np.floor)
    assert float(known(below).functions.min()) == 0.0


def test_minus_a_signal_has_minus_its_means_at_each_position():
    rectified, _ = uneven().map(lambda x: np.maximum(x, 0.0))
    assert rectified.affine(-1.0, 0.0).state.means == pytest.approx(-rectified.state.means)


@pytest.mark.parametrize("scales", [np.ones(1), np.ones(2)], ids=["alike", "known"])
def test_the_largest_of_uneven_positions(scales):
    """Of six, three of which have three times the deviation of the others."""
    deviations = np.array([1.0, 1.0, 1.0, 3.0, 3.0, 3.0])
    largest = (deviations * RNG.standard_normal((200_000, 6))).max(1)
    signal = gaussian(0.0, 1.0).arrange((6,)).affine(scales, 0.0 * scales)
    signal = signal.linear_map([Taps.of_matrix(np.diag(deviations))])
    found = signal.max_pool((np.arange(6)[None, :],))
    assert found.mean == pytest.approx(largest.mean(), rel=0.03)
    assert found.variance == pytest.approx(largest.var(), rel=0.05)


@pytest.mark.parametrize("sizes", [[(6,), (6,)], [(2,), (6,)]])
def test_halves_along_positions_have_one_mean_for_each_channel(sizes):
    """A share w of N(1, 1) and the rest N(−2, 4): mean 3w − 2, second moment 2w + 8(1 − w)."""
    parts = [
        gaussian(0.0, 1.0).arrange(size).affine(np.array([scale, 2 * scale]), np.array([m, m]))
        for size, scale, m in zip(sizes, (1.0, 2.0), (1.0, -2.0), strict=True)
    ]
    share = sizes[0][0] / (sizes[0][0] + sizes[1][0])
    whole = CorrelatedSignal.beside(parts, sizes, 0)
    channels = whole.state.channels
    assert channels is not None
    assert channels.means == pytest.approx(np.full(2, 3 * share - 2))
    squares = np.array([2 * share + 8 * (1 - share), 5 * share + 20 * (1 - share)])
    assert channels.variances + channels.means**2 == pytest.approx(squares)
    assert whole.second_moment == pytest.approx(squares.mean())


def test_one_of_two_tensors_has_as_many_channels_as_each():
    one = gaussian(0.0, 1.0).arrange(()).affine(np.array([1.0, 2.0]), np.zeros(2))
    either = CorrelatedSignal.either([one, one.affine(3.0, 0.0)], [1.0, 1.0])
    assert either.state.channels is not None
    assert either.state.channels.variances == pytest.approx([5.0, 20.0])
    beside = CorrelatedSignal.mixture([one, one.affine(3.0, 0.0)], [1.0, 1.0])
    assert beside.state.channels is not None
    assert beside.state.channels.count == 4
