import math
import tracemalloc

import keras
import numpy as np
import pytest
from keras import layers, ops

from autoinit.propagation import Options, input_signals, predict
from autoinit.reading import read_model
from autoinit.rules.registry import Support
from autoinit.signals import SIGNAL_MODELS
from tests.autoinit.rules.checks import check_given_weights, last_signal, predicted, signals_for
from tests.contracts.cases import OPERATIONS, PAIR, SHIFTED, case


def operation(name, build, *shapes):
    moments = PAIR if len(shapes) == 2 else SHIFTED
    return case(keras.Operation, name, *shapes, build=build, moments=moments)


# P(x > y), of a difference with mean 1.5 and variance 1.9.
LARGER = 0.5 * math.erfc(-1.5 / math.sqrt(2 * 1.9))

# Inputs: means 0.5 and −1; variances 1.5 and 0.4; second moments 1.75 and 1.4.
HAND = [
    (operation("2x + 1", lambda x: x * 2 + 1, (4,)), 2.0, 6.0),
    (operation("x·x", lambda x: x * x, (4,)), 1.75, 6.0),  # Var X² = 2v² + 4m²v
    (operation("x + x", lambda x: x + x, (4,)), 1.0, 6.0),
    (operation("x − x", lambda x: x - x, (4,)), 0.0, 0.0),
    (operation("x + y", lambda x, y: x + y, (4,), (4,)), -0.5, 1.9),
    (operation("x − y", lambda x, y: x - y, (4,), (4,)), 1.5, 1.9),
    (operation("x·y", lambda x, y: x * y, (4,), (4,)), -0.5, 2.2),
    (operation("x@y", lambda x, y: x @ y, (2, 6), (6, 3)), -3.0, 13.2),
    # Two entries of the first for six of the second.
    (operation("concatenate", lambda x, y: ops.concatenate([x, y], -1), (2,), (6,)),
     -0.625, (1.75 + 3 * 1.4) / 4 - 0.625**2),
    (operation("stack", lambda x, y: ops.stack([x, y], 1), (4,), (4,)),
     -0.25, (1.75 + 1.4) / 2 - 0.0625),
    (operation("concatenate with itself", lambda x: ops.concatenate([x, x], -1), (4,)), 0.5, 1.5),
    # Scales 1 and 3: mean 2·0.5; second moment (1 + 9)/2·1.75.
    (operation("per channel", lambda x: x * np.array([1.0, 3.0]), (5, 2)), 1.0, 7.75),
    (operation("less per channel", lambda x: ops.subtract(np.array([1.0, 3.0]), x), (5, 2)),
     1.5, 1.5 + 1.0),
    (operation("mean", lambda x: ops.mean(x, (1, -1)), (3, 5)), 0.5, 0.1),
    (operation("sum", lambda x: ops.sum(x, 1), (3, 5)), 1.5, 4.5),
    (operation("max", lambda x: ops.max(x, 1), (2, 5)),
     0.5 + math.sqrt(1.5 / math.pi), 1.5 * (1 - 1 / math.pi)),
    (operation("min", lambda x: ops.min(x, 1), (2, 5)),
     0.5 - math.sqrt(1.5 / math.pi), 1.5 * (1 - 1 / math.pi)),
    # E e⁻ʸ = e^{1 + 0.2}, E e⁻²ʸ = e^{2 + 0.8}.
    (operation("x/eʸ", lambda x, y: x / ops.exp(y), (4,), (4,)),
     0.5 * math.exp(1.2), 1.75 * math.exp(2.8) - 0.25 * math.exp(2.4)),
    (operation("x > 0.5", lambda x: x > 0.5, (4,)), 0.5, 0.25),
    (operation("x > y", lambda x, y: x > y, (4,), (4,)), LARGER, LARGER * (1 - LARGER)),
    (operation("both", lambda x, y: ops.logical_and(x > 0.5, y < -1.0), (4,), (4,)),
     0.25, 0.1875),
    (operation("±1", lambda x: ops.where(x > 0.5, 1.0, -1.0), (4,)), 0.0, 1.0),
    (operation("y or 2", lambda x, y: ops.where(x > 0.5, y, 2.0), (4,), (4,)),
     0.5, (1.4 + 4) / 2 - 0.25),
    (operation("any of 3", lambda x: ops.any(x > 0.5, -1), (5, 3)), 7 / 8, 7 / 64),
    (operation("all of 3", lambda x: ops.all(x > 0.5, -1), (5, 3)), 1 / 8, 7 / 64),
    (operation("how many of 4", lambda x: ops.count_nonzero(x > 0.5, -1), (5, 4)), 2.0, 1.0),
    # v/K times χ² of K − 1 degrees, which has the mean K − 1 and the variance 2(K − 1).
    (operation("variance", lambda x: ops.var(x, -1), (3, 5)), 1.2, 0.72),
    # Of ±1 the kurtosis is 1.
    (operation("variance of ±1", lambda x: ops.var(ops.where(x > 0.5, 1.0, -1.0), -1), (3, 5)),
     0.8, 0.064),
    (operation("half a distance", lambda x: ops.std(x, -1), (3, 2)),
     math.sqrt(1.5 / math.pi), 0.75 * (1 - 2 / math.pi)),
    (operation("product", lambda x: ops.prod(x, -1), (5, 3)), 0.125, 1.75**3 - 0.125**2),
    (operation("largest place", lambda x: ops.argmax(x, -1), (3, 5)), 2.0, 2.0),
    (operation("one of 5", lambda x: ops.one_hot(ops.argmax(x, -1), 5), (3, 5)), 0.2, 0.16),
    # Half of the entries are zeros, or twos.
    (operation("zeros", lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0))), (2, 5)),
     0.25, 0.875 - 0.0625),
    (operation("twos", lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0)), constant_values=2.0),
               (2, 5)), 1.25, 0.875 + 2 - 1.25**2),
    (operation("three of four", ops.tril, (2, 2)), 0.375, 0.75 * 1.75 - 0.375**2),
    # x₁ and x₁ + x₂.
    (operation("cumulated", lambda x: ops.cumsum(x, 1), (2, 5)), 0.75, (1.75 + 4) / 2 - 0.75**2),
    (operation("difference", lambda x: ops.diff(x, axis=1), (3, 5)), 0.0, 3.0),
    (operation("trace", lambda x: ops.trace(x, axis1=1, axis2=2), (3, 3)), 1.5, 4.5),
    (operation("x₁ + 2x₂", lambda x: ops.conv(x, np.array([[[1.0]], [[2.0]]], "float32")),
               (6, 1)), 1.5, 7.5),
    (operation("pairs", lambda x: ops.average_pool(x, 2, 2), (6, 3)), 0.5, 0.75),
    (operation("largest of pairs", lambda x: ops.max_pool(x, 2), (6, 3)),
     0.5 + math.sqrt(1.5 / math.pi), 1.5 * (1 - 1 / math.pi)),
    (operation("with others", lambda x: x + ops.flip(x, 1), (6, 5)), 1.0, 3.0),
    (operation("halves", lambda x: (lambda a, b: a * b)(*ops.split(x, 2, -1)), (6, 4)),
     0.25, 1.75**2 - 0.0625),
    (operation("unit of positions", lambda x: ops.normalize(x - 0.5, -2) * ops.sqrt(6.0), (6, 4)),
     0.0, 1.0),
    (operation("unit", lambda x: ops.normalize(x - 0.5) * ops.sqrt(4.0), (6, 4)), 0.0, 1.0),
]  # fmt: skip

# What a tensor has in common with functions of it: E x = 0.5, E x² = 1.75, Cov(x, x²) = 2mv = 1.5
# and Var x² = 6. |x| has the second moment of x.
FOLDED = 0.5 * math.erf(0.5 / math.sqrt(3.0)) + math.sqrt(3 / math.pi) * math.exp(-0.25 / 3)
TOGETHER = [
    (operation("x·(1 − x)", lambda x: x * (1 - x), (4,)), -1.25, 4.5),
    (operation("x + x²", lambda x: x + ops.square(x), (4,)), 2.25, 10.5),
    (operation("x² − x", lambda x: ops.square(x) - x, (4,)), 1.25, 4.5),
    (operation("x·sign x", lambda x: x * ops.sign(x), (4,)), FOLDED, 1.75 - FOLDED**2),
    (operation("x + |x| − 2relu", lambda x: x + ops.abs(x) - 2 * ops.relu(x), (4,)), 0.0, 0.0),
    (operation("x/x²·x", lambda x: x / (1 + ops.square(x)) * (1 + x**2), (4,)), 0.5, 1.5),
    (operation("a chain", lambda x: ops.sqrt(ops.square(2 * x + 1)) - ops.abs(2 * x + 1), (4,)),
     0.0, 0.0),
    (operation("a part", lambda x: x[:, :2] * ops.sign(x)[:, :2], (4,)),
     FOLDED, 1.75 - FOLDED**2),
    (operation("not a part", lambda x: x[:, :2] * x[:, 2:], (4,)), 0.25, 1.75**2 - 0.0625),
    (operation("Add", lambda x: layers.Add()([x, ops.square(x)]), (4,)), 2.25, 10.5),
    (operation("Average", lambda x: layers.Average()([x, ops.square(x)]), (4,)), 1.125, 2.625),
    (operation("Subtract", lambda x: layers.Subtract()([ops.square(x), x]), (4,)), 1.25, 4.5),
    (operation("Multiply", lambda x: layers.Multiply()([x, 1 - x]), (4,)), -1.25, 4.5),
    (operation("Maximum", lambda x: layers.Maximum()([x, -x]), (4,)), FOLDED, 1.75 - FOLDED**2),
    (operation("Minimum", lambda x: layers.Minimum()([x, -x]), (4,)), -FOLDED, 1.75 - FOLDED**2),
    # x(1 + y): 1.75·E(1 + y)².
    (operation("gated", lambda x, y: x * y + x, (4,), (4,)), 0.0, 0.7),
    (operation("gated by layers", lambda x, y: layers.Add()([x, layers.Multiply()([y, x])]),
               (4,), (4,)), 0.0, 0.7),
    # One factor is of the same tensor, one is not: (x + x²)·y.
    (operation("and another", lambda x, y: layers.Multiply()([x, y, 1 - x]), (4,), (4,)),
     1.25, (4.5 + 1.25**2) * 1.4 - 1.25**2),
]  # fmt: skip


@pytest.mark.parametrize("signal_model", SIGNAL_MODELS)
@pytest.mark.parametrize(("case", "mean", "variance"), TOGETHER, ids=str)
def test_functions_of_the_same_tensor_are_taken_together(case, mean, variance, signal_model):
    graph = read_model(case.model())
    signals = signals_for(case, graph, signal_model)
    signal = predict(graph, signals, Options()).results[-1].signals[0]
    # Single precision; kinks on a grid.
    assert signal.mean == pytest.approx(mean, rel=2e-3, abs=2e-3)
    assert signal.variance == pytest.approx(variance, rel=2e-3, abs=1e-6)


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda x: ops.sqrt(ops.mean(ops.square(x), 1)), False),
        (lambda x: ops.sqrt(ops.mean(ops.power(x, 2), 1) + 0.0), False),
        (lambda x: ops.sqrt(ops.sum(x * x, 1) / 3), False),
        (lambda x: ops.sqrt(ops.mean(x * ops.square(x), 1)), True),
        (lambda x: ops.sqrt(ops.square(x) - 1.0), True),
    ],
    ids=["mean of squares", "of powers", "of products", "of cubes", "less one"],
)
def test_a_root_of_what_is_never_negative_has_a_value(function, told):
    x = keras.Input((3, 4))
    graph = read_model(keras.Model(x, function(x)))
    codes = {finding.code for finding in predict(graph, input_signals(graph)).findings}
    assert ("undefined_values" in codes) == told


def test_a_matrix_is_found_in_pieces():
    x = keras.Input((30, 20, 10))
    model = keras.Model(x, OwnOperation(lambda x: ops.sum(x[:, ::7] * 2.0, (1, 2, 3)), ())(x))
    graph = read_model(model)
    tracemalloc.start()
    (_, result) = predict(graph, input_signals(graph), Options()).results
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.support is not Support.SAMPLED
    assert result.signals[0].variance == pytest.approx(4 * 5 * 200, rel=1e-3)
    assert peak < 250e6  # 6,000 unit vectors of 6,000 numbers are 288 MB


class OwnOperation(keras.Operation):
    """One that nothing is known of."""

    def __init__(self, function, shape=None):
        super().__init__()
        self.function, self.shape = function, shape

    def call(self, x):
        return self.function(x)

    def compute_output_spec(self, x):
        shape = x.shape if self.shape is None else (x.shape[0], *self.shape)
        return keras.KerasTensor(shape, x.dtype)


def refused(x):
    raise MemoryError("no such points")


@pytest.mark.parametrize(
    ("function", "support"),
    [
        (lambda x: x / ops.sqrt(ops.sum(x * x, -2, keepdims=True)), Support.SAMPLED),
        (lambda x: x - ops.max(x, 1, keepdims=True), Support.SAMPLED),
        (refused, Support.PASS_THROUGH),
    ],
    ids=["norm of positions", "less the largest", "cannot be run"],
)
def test_an_operation_that_nothing_is_known_of_never_ends_the_pass(function, support):
    x = keras.Input((7, 5))
    model = keras.Model(x, OwnOperation(function)(x))
    (_, result) = predict(read_model(model), input_signals(read_model(model)), Options()).results
    assert result.support is support
    if function is not refused and support is Support.SAMPLED:
        assert result.signals[0].finite


@pytest.mark.parametrize(
    "build",
    [
        lambda x: ops.transpose(x, (0, 2, 1)),
        lambda x: x[:, 1:],
        lambda x: ops.split(x, 2, -1)[0],
        lambda x: ops.reshape(x, (-1, 12)),
        lambda x: ops.expand_dims(x, 1),
        lambda x: ops.flip(x, 1),
        lambda x: ops.repeat(x, 2, 1),
        lambda x: ops.concatenate([x, x], 1),
        lambda x: ops.roll(x, 1, 2),
        lambda x: ops.unstack(x, axis=1)[0],
        lambda x: ops.flip(x, 0),
        lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0)), "reflect"),
        lambda x: ops.rot90(x, 1, (1, 2)),
        lambda x: ops.take(x, [2, 0], axis=1),
        lambda x: ops.array_split(x, 3, 2)[0],
        lambda x: ops.diagonal(x, axis1=1, axis2=2),
        lambda x: ops.hstack([x, x]),
    ],
)
def test_moving_entries_is_neutral(build):
    outcome = predicted(operation("", build, (3, 4))).results[-1]
    assert outcome.support is Support.NEUTRAL
    assert (outcome.signals[0].mean, outcome.signals[0].variance) == (0.5, 1.5)


@pytest.mark.parametrize("signal_model", SIGNAL_MODELS)
def test_channels_of_zeros_are_joined_like_others(signal_model):
    """The shortcut of a residual network without weights: every sample has the same zeros."""

    data = keras.Input((8, 8, 3))
    x = layers.Conv2D(12, 3, padding="same", activation="relu")(data)[:, ::2, ::2]

    def last(shortcut):
        graph = read_model(keras.Model(data, shortcut(x)))
        result = predict(graph, input_signals(graph, signal_model=signal_model))
        return result.results[-1].signals[0]

    padded = last(lambda x: ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, 8))))
    joined = last(lambda x: ops.concatenate([x, 0.0 * x[..., :8]], -1))
    for figure in ("mean", "variance", "sample_correlation", "position_correlation"):
        assert getattr(padded, figure) == pytest.approx(getattr(joined, figure), abs=1e-9)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: ops.mean(x, 0, keepdims=True),  # over the batch
        lambda x: ops.sort(x, 1),
        lambda x: x ** np.array([1.0, 2.0, 3.0, 4.0]),  # no straight line per channel
        lambda x: ops.logsumexp(x, -1),
        lambda x: ops.det(x[:, :, :3]),
    ],
)
def test_what_no_rule_describes_is_sampled(build):
    result = predicted(operation("", build, (3, 4)))
    outcome = result.results[-1]
    assert outcome.support is Support.SAMPLED
    assert outcome.standard_error < 0.1 * outcome.signals[0].variance
    assert not result.findings


def test_a_mean_over_the_batch_is_sampled_with_as_many_samples():
    mean = operation("mean", lambda x: ops.mean(x, 0, keepdims=True), (3, 40))
    outcome = predicted(mean, batch=32).results[-1]
    assert outcome.signals[0].variance == pytest.approx(1.5 / 32, rel=0.05)


def test_what_cannot_be_run_on_gaussians_is_passed_through(caplog):
    result = predicted(operation("", ops.cholesky, (3, 3)))
    outcome = result.results[-1]
    assert outcome.support is Support.PASS_THROUGH
    assert result.findings[-1].code == "unsupported_layer"
    assert "No LayerOutputDistributionEstimator found for layer" in caplog.text


@pytest.mark.parametrize("signal_model", SIGNAL_MODELS)
@pytest.mark.parametrize(
    "build",
    [
        lambda x, y: 1 / x,
        lambda x, y: x / y,
        lambda x, y: ops.exp(ops.square(x)),
        pytest.param(
            lambda x, y: ops.tan(y),
            marks=pytest.mark.skipif(
                keras.backend.backend() == "jax",
                reason="Keras computes tan in single precision on JAX: it ends before the poles do",
            ),
        ),
        lambda x, y: ops.floor_divide(y, x),
        lambda x, y: ops.abs(x) ** (3 * y),
    ],
)
def test_what_has_no_variance_is_cut_off_and_told(build, signal_model):
    case = operation("", build, (4,), (4,))
    graph = read_model(case.model())
    result = predict(graph, signals_for(case, graph, signal_model))
    outcome, finding = result.results[-1], result.findings[-1]
    assert outcome.support is Support.APPROXIMATE
    assert finding.code == "not_integrable"
    assert finding.path == graph.calls[-1].path
    assert "has no finite variance" in finding.message
    assert outcome.signals[0].finite


@pytest.mark.parametrize("signal_model", SIGNAL_MODELS)
def test_where_it_is_cut_off(signal_model):
    """1/Z at the 2000th part of each tail: at 1/z with P(0 < Z < z) = 0.0005."""
    inverse = case(keras.Operation, "1/Z", (4,), build=lambda x: 1 / x)
    graph = read_model(inverse.model())
    result = predict(graph, signals_for(inverse, graph, signal_model))
    z = 0.0005 * math.sqrt(2 * math.pi)
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    # ∫ φ(t)/t² dt = φ(z)/z − P(Z > z), on either side; and what was cut off.
    expected = 2 * (density / z - 0.4995) + 0.001 / z**2
    assert result.results[-1].signals[0].variance == pytest.approx(expected, rel=0.05)


def test_what_has_no_value_is_told():
    result = predicted(operation("", lambda x: ops.log(x), (4,)))
    assert result.results[-1].support is Support.APPROXIMATE
    assert result.findings[-1].code == "undefined_values"
    assert "about 34% of the entries" in result.findings[-1].message  # Φ(−0.5/√1.5)
    assert result.results[-1].signals[0].finite


@pytest.mark.parametrize("case", OPERATIONS, ids=str)
def test_real_layer(case):
    check_given_weights(case)


def test_functions_of_a_concatenation_are_taken_together_part_by_part():
    """Swish of two tensors that lie side by side; the paper's model takes them as one Gaussian."""

    def swish_of_both(x, y):
        both = ops.concatenate([x, y], -1)
        return both * ops.sigmoid(both)

    whole = operation("", swish_of_both, (15,), (5,))
    graph = read_model(whole.model())
    signal = predict(graph, signals_for(whole, graph, "correlated")).results[-1].signals[0]
    generator = np.random.default_rng(0)
    parts = [
        generator.normal(0.5, math.sqrt(1.5), 3 * 10**6),
        generator.normal(-1.0, math.sqrt(0.4), 10**6),
    ]
    values = np.concatenate(parts)
    values = values / (1 + np.exp(-values))
    assert signal.mean == pytest.approx(values.mean(), rel=0.01)
    assert signal.variance == pytest.approx(values.var(), rel=0.01)


@pytest.mark.parametrize("signal_model", SIGNAL_MODELS)
def test_chains_are_one_function(signal_model):
    """sqrt(x² + 0.1): positive by its making, though not by its mean and variance."""
    norm = operation("norm", lambda x: ops.sqrt(ops.square(x) + 0.1), (4,))
    graph = read_model(norm.model())
    outcome = predict(graph, signals_for(norm, graph, signal_model)).results[-1]
    assert outcome.support is Support.EXACT
    values = np.sqrt(np.random.default_rng(0).normal(0.5, math.sqrt(1.5), 10**6) ** 2 + 0.1)
    assert outcome.signals[0].mean == pytest.approx(values.mean(), rel=0.003)
    assert outcome.signals[0].variance == pytest.approx(values.var(), rel=0.01)


@pytest.mark.slow
def test_long_chains_start_anew():
    """A composed function is evaluated through all of its parts: 2⁴⁰ of them were too many."""
    inputs = x = keras.Input((4,))
    for _ in range(40):
        x = x - 0.5 * ops.tanh(x)
    graph = read_model(keras.Model(inputs, x))
    outcomes = predict(graph, input_signals(graph, signal_model="independent")).results
    assert all(outcome.signals[0].finite for outcome in outcomes)
    assert outcomes[-1].signals[0].variance < 1e-6


def test_masks_are_probabilities():
    chosen = operation("mask", lambda x: ops.any(ops.greater(x, 0.5), -1), (3, 4))
    outcomes = predicted(chosen).results
    assert not any(outcome.tainted for outcome in outcomes)
    assert outcomes[-2].signals[0].mean == pytest.approx(0.5)
    assert outcomes[-1].signals[0].mean == pytest.approx(15 / 16)


def test_a_mean_over_channels_leaves_what_positions_have_in_common():
    """The mean of a broadcast tensor is one number at all positions, however many there are."""
    inputs = keras.Input((1, 8))
    wide = ops.broadcast_to(inputs, (1, 6, 8))
    graph = read_model(keras.Model(inputs, ops.mean(ops.mean(wide, -1, keepdims=True), 1)))
    outcomes = predict(graph, input_signals(graph, 0.0, 4.0)).results
    assert [o.signals[0].variance for o in outcomes[-2:]] == pytest.approx([0.5, 0.5])
    assert outcomes[-2].signals[0].position_correlation == pytest.approx(1.0)


def test_a_mean_over_one_axis_leaves_the_other():
    inputs = keras.Input((5, 4, 8))
    rows = ops.mean(inputs, 2)
    graph = read_model(keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(rows)))
    outcomes = predict(graph, input_signals(graph, 1.0, 4.0)).results
    assert [o.signals[0].variance for o in outcomes[-2:]] == pytest.approx([1.0, 0.2])
