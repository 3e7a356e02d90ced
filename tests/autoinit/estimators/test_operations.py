import math

import keras
import numpy as np
import pytest
from keras import ops

from autoinit.propagate import input_signals, predict
from autoinit.reading import read_model
from autoinit.registry import Support
from tests.autoinit.estimators.checks import check_given_weights, last_signal, predicted
from tests.contracts.cases import OPERATIONS, PAIR, SHIFTED, case


def operation(name, build, *shapes):
    moments = PAIR if len(shapes) == 2 else SHIFTED
    return case(keras.Operation, name, *shapes, build=build, moments=moments)


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
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("build", [
    lambda x: ops.transpose(x, (0, 2, 1)), lambda x: x[:, 1:], lambda x: ops.split(x, 2, -1)[0],
    lambda x: ops.reshape(x, (-1, 12)), lambda x: ops.expand_dims(x, 1), lambda x: ops.flip(x, 1),
    lambda x: ops.repeat(x, 2, 1), lambda x: ops.concatenate([x, x], 1),
])  # fmt: skip
def test_moving_entries_is_neutral(build):
    outcome = predicted(operation("", build, (3, 4))).outcomes[-1]
    assert outcome.support is Support.NEUTRAL
    assert (outcome.signals[0].mean, outcome.signals[0].variance) == (0.5, 1.5)


@pytest.mark.parametrize("build", [
    lambda x: ops.mean(x, 0, keepdims=True),  # over the batch
    lambda x: ops.cumsum(x, 1),
    lambda x: ops.sort(x, 1),
    lambda x: ops.where(x > 0.3, x, 0.0),  # the condition is another tensor
    lambda x: x ** np.array([1.0, 2.0, 3.0, 4.0]),  # no straight line per channel
])  # fmt: skip
def test_what_no_rule_describes_is_passed_through(build, caplog):
    result = predicted(operation("", build, (3, 4)))
    outcome = result.outcomes[-1]
    assert outcome.support is Support.PASS_THROUGH
    assert result.findings[-1].code == "unsupported_layer"
    assert "No LayerOutputDistributionEstimator found for layer" in caplog.text


@pytest.mark.parametrize("case", OPERATIONS, ids=str)
def test_real_layer(case):
    check_given_weights(case)


def test_functions_of_positive_numbers_have_a_value_where_a_gaussian_has_none():
    """sqrt(x² + 0.1): positive by its making, but not by its mean and variance."""
    norm = operation("norm", lambda x: ops.sqrt(ops.square(x) + 0.1), (4,))
    outcome = predicted(norm).outcomes[-1]
    assert outcome.support is Support.APPROXIMATE
    # E √|N(1.85, 6)| by simulation.
    values = np.sqrt(np.abs(np.random.default_rng(0).normal(1.85, math.sqrt(6.0), 10**6)))
    assert outcome.signals[0].mean == pytest.approx(values.mean(), rel=0.01)
    assert outcome.signals[0].variance == pytest.approx(values.var(), rel=0.02)


def test_truth_values_do_not_spoil_what_follows():
    chosen = operation("mask", lambda x: ops.any(ops.not_equal(x, 0.0), -1), (3, 4))
    outcomes = predicted(chosen).outcomes
    assert {outcome.support for outcome in outcomes[1:]} == {Support.APPROXIMATE}
    assert not any(outcome.tainted for outcome in outcomes)
    assert outcomes[-1].signals[0].mean == 0.5


def test_a_mean_over_channels_leaves_what_positions_have_in_common():
    """The mean of a broadcast tensor is one number at all positions, however many there are."""
    inputs = keras.Input((1, 8))
    wide = ops.broadcast_to(inputs, (1, 6, 8))
    graph = read_model(keras.Model(inputs, ops.mean(ops.mean(wide, -1, keepdims=True), 1)))
    outcomes = predict(graph, input_signals(graph, 0.0, 4.0)).outcomes
    assert [o.signals[0].variance for o in outcomes[-2:]] == pytest.approx([0.5, 0.5])
    assert outcomes[-2].signals[0].position_correlation == pytest.approx(1.0)


def test_a_mean_over_one_axis_leaves_the_other():
    inputs = keras.Input((5, 4, 8))
    rows = ops.mean(inputs, 2)
    graph = read_model(keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(rows)))
    outcomes = predict(graph, input_signals(graph, 1.0, 4.0)).outcomes
    assert [o.signals[0].variance for o in outcomes[-2:]] == pytest.approx([1.0, 0.2])
