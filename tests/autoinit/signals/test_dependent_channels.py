"""What channels have in common beyond covariances, against Monte Carlo (L)."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy import stats

from autoinit import check
from autoinit.propagation import Options, input_signals, predict
from autoinit.quadrature.gaussian import covariance_of_maxima
from autoinit.reading import read_model
from autoinit.signals.correlated.channels.channels import Channels
from autoinit.signals.correlated.channels.cumulants import third_cumulants
from autoinit.signals.correlated.channels.functions import mapped, normalized_together, of_two
from autoinit.signals.correlated.channels.paths import Step
from autoinit.signals.correlated.channels.skewness import skewed

SAMPLES = 400_000


def relu(x):
    return np.maximum(x, 0.0)


def weighed(channels, weights):
    """Sums with given weights."""
    covariances = weights.T @ channels.covariances @ weights
    made_of = channels.followed_by(Step(weights[None]))
    return Channels(channels.means @ weights, covariances, made_of=made_of)


def test_skewness_of_sums_over_several_layers():
    """Of 12 rectified sums of 12 rectified sums of 3 Gaussians, which all go together."""
    random = np.random.default_rng(0)
    first, second, third = (
        random.standard_normal(shape) / 3 + 0.1 for shape in ((3, 12), (12, 12), (12, 40))
    )
    x = Channels(np.zeros(3), np.eye(3))
    y, _ = mapped(relu, [skewed(weighed(x, first))], trimmed=False)
    y, _ = mapped(relu, [skewed(weighed(y, second))], trimmed=False)
    sums = weighed(y, third)
    found = third_cumulants(sums) / sums.variances**1.5
    drawn = relu(relu(random.standard_normal((SAMPLES, 3)) @ first) @ second) @ third
    exact = stats.skew(drawn)
    # All but the rarest: one whose terms cancel.
    assert np.median(np.abs(exact)) > 0.8
    assert np.median(np.abs(found - exact)) < 0.12 * np.median(np.abs(exact))


def test_a_sum_of_branches_is_as_skewed_as_they_are_together():
    """x − relu(x) is −relu(−x): what both paths bring is added before its third power."""
    x = Channels(np.zeros(1), np.eye(1))
    y, _ = mapped(relu, [x], trimmed=False)
    twice = weighed(y, np.eye(1))
    made_of = twice.followed_by(Step(-np.ones((1, 1)))) + y.followed_by(Step(2 * np.ones((1, 1))))
    assert third_cumulants(Channels(y.means, y.covariances, made_of=made_of)) == pytest.approx(
        third_cumulants(twice)
    )


@pytest.mark.parametrize("count", [2, 4, 9])
@pytest.mark.parametrize("correlation", [-0.8, 0.3, 0.8])
def test_covariance_of_maxima(count, correlation):
    random = np.random.default_rng(1)
    x, y = random.standard_normal((2, SAMPLES // 2, count))
    y = correlation * x + np.sqrt(1 - correlation**2) * y
    square, cube = covariance_of_maxima(count)
    found = correlation / count + square * correlation**2 + cube * correlation**3
    assert found == pytest.approx(np.cov(x.max(1), y.max(1))[0, 1], abs=0.02)


def _spatial(reach):
    return np.ones([2 * int(each) + 1 for each in reach])


def test_a_gate_that_was_made_of_what_it_opens():
    """E of x·sigmoid(2x + e), and its variance: independent factors would have no mean."""
    random = np.random.default_rng(2)
    start = Channels(np.zeros(2), np.array([[1.0, 0.4], [0.4, 1.0]]))
    gate = weighed(start, np.array([[2.0, 0.0], [0.5, 1.0]]))
    gate, _ = mapped(lambda x: 1 / (1 + np.exp(-x)), [gate], trimmed=False)
    found = of_two(np.multiply, start, gate, _spatial)
    x = random.multivariate_normal([0, 0], start.covariances, SAMPLES)
    drawn = x / (1 + np.exp(-x @ np.array([[2.0, 0.0], [0.5, 1.0]])))
    assert found.means == pytest.approx(drawn.mean(0), rel=0.02)
    assert found.variances == pytest.approx(drawn.var(0), rel=0.03)
    assert found.covariances[0, 1] == pytest.approx(np.cov(drawn.T)[0, 1], rel=0.25)


def test_channels_over_their_mean():
    """One channel meets all: x over the mean of x's."""
    random = np.random.default_rng(3)
    start = Channels(np.array([2.0, 3.0, 4.0]), np.diag([0.1, 0.2, 0.1]) + 0.05)
    mean = weighed(start, np.full((3, 1), 1 / 3))
    found = of_two(np.divide, start, mean, _spatial)
    x = random.multivariate_normal(start.means, start.covariances, SAMPLES)
    drawn = x / x.mean(1, keepdims=True)
    assert found.means == pytest.approx(drawn.mean(0), rel=0.01)
    assert found.variances == pytest.approx(drawn.var(0), rel=0.1)
    assert found.covariances == pytest.approx(np.cov(drawn.T), abs=0.1 * drawn.var())


def test_squares_of_vectors_of_one_length():
    """They are less heavy-tailed than those of Gaussians, and go against each other."""
    random = np.random.default_rng(4)
    start = Channels(np.zeros(6), np.eye(6))
    unit = normalized_together(start, 0.0, centered=False)
    squares, _ = mapped(np.square, [unit], trimmed=False)
    x = random.standard_normal((SAMPLES, 6))
    exact = np.cov((x**2 / (x**2).mean(1, keepdims=True)).T)
    assert squares.means == pytest.approx(np.ones(6), rel=1e-3)
    assert squares.variances == pytest.approx(np.diag(exact), rel=0.02)  # of Gaussians: 2
    assert squares.covariances[0, 1] == pytest.approx(exact[0, 1], rel=0.02)  # 0


def _ratio(model, samples):
    """Predicted over measured variance of each call, by its class."""
    graph = read_model(model)
    results = predict(graph, input_signals(graph), Options(batch=samples)).results
    random = np.random.default_rng(5)
    tensors, found = {}, {}
    for call, result in zip(graph.calls, results, strict=True):
        if call.is_input:
            x = random.standard_normal(call.outputs[0].sizes(samples))
            outputs = [keras.ops.convert_to_tensor(x, "float32")]
        else:
            outputs = call.run([tensors[each.index] for each in call.inputs], True, samples)
        tensors |= {each.index: x for each, x in zip(call.outputs, outputs, strict=True)}
        measured = np.var(np.asarray(outputs[0], np.float64))
        found[call.path] = result.signals[0].variance / measured
    return found


def _unlike_each_other(model):
    """Biases, and kernels, that tell channels apart."""
    random = np.random.default_rng(6)
    for layer in model.layers:
        layer.set_weights(
            [
                x + 0.3 * random.standard_normal(x.shape).astype("float32")
                for x in layer.get_weights()
            ]
        )
    return model


@pytest.mark.parametrize("norm", [True, False])
def test_global_response_normalization(norm):
    """ConvNeXt V2: y·(‖y‖/mean ‖y‖) + y, with lengths over the positions."""
    keras.utils.set_random_seed(7)
    inputs = keras.Input((4, 4, 12))
    y = layers.Dense(24, "gelu")(layers.LayerNormalization()(inputs))
    if norm:
        length = ops.norm(y, axis=(1, 2), keepdims=True)
    else:
        length = ops.sqrt(ops.sum(ops.square(y), (1, 2), keepdims=True))
    y = y * (length / ops.mean(length, -1, keepdims=True)) + y
    found = _ratio(_unlike_each_other(keras.Model(inputs, layers.Dense(8)(y))), 4096)
    (mean,) = (path for path in found if path.startswith("mean"))
    assert found.pop(mean) == pytest.approx(1.0, rel=0.4)  # of what adds up to nearly the same
    assert found == pytest.approx(dict.fromkeys(found, 1.0), rel=0.12)


def test_recurrent_layers_after_another():
    """What the first one's units have in common over steps differs from unit to unit."""
    keras.utils.set_random_seed(8)
    inputs = keras.Input((12, 4))
    x = layers.LSTM(16, return_sequences=True)(inputs)
    x = layers.Dense(12, "relu")(layers.LSTM(16)(x))
    found = _ratio(_unlike_each_other(keras.Model(inputs, layers.Dense(6)(x))), 4096)
    assert found == pytest.approx(dict.fromkeys(found, 1.0), rel=0.06)


def test_a_recurrent_layer_after_what_repeats_another():
    """Its steps are equal: other sequences than those that the first one returned."""
    keras.utils.set_random_seed(9)
    inputs = keras.Input((12, 4))
    x = layers.RepeatVector(6)(layers.LSTM(16)(inputs))
    x = layers.Dense(12, "relu")(layers.LSTM(16, return_sequences=True)(x))
    found = _ratio(_unlike_each_other(keras.Model(inputs, layers.Dense(6)(x))), 4096)
    assert found == pytest.approx(dict.fromkeys(found, 1.0), rel=0.1)


def test_channels_that_overflow_are_predicted_all_the_same():
    """Exponentials of exponentials: their moments are beyond floating point."""
    keras.utils.set_random_seed(10)
    stack = [layers.Dense(8, "exponential") for _ in range(6)]
    model = keras.Sequential([keras.Input((8,)), *stack, layers.Dense(2)])
    result = check(model, verbose=False)
    assert result.verdicts["uploaded"].verdict == "cannot train"
