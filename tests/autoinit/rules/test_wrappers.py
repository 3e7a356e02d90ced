import math

import keras
import pytest
from keras import layers

from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import (
    check_given_weights,
    check_planned_weights,
    last_signal,
    predicted,
)
from tests.contracts.cases import SHIFTED, WRAPPERS, case


def each_step(layer):
    return lambda x: layers.TimeDistributed(layer)(x)


# Input of mean 0.5 and variance 1.5: what the wrapped layer's rule gives for one time step.
HAND = [
    (case(layers.TimeDistributed, "dense of ones", (4, 3), moments=SHIFTED,
          build=each_step(layers.Dense(2, kernel_initializer="ones"))), 1.5, 4.5),
    # Over 3 entries, not over 4 steps.
    (case(layers.TimeDistributed, "softmax", (4, 3), moments=((0.0, 0.0),),
          build=each_step(layers.Softmax())), 1 / 3, 0.0),
    (case(layers.TimeDistributed, "pooling", (4, 5, 3), moments=SHIFTED,
          build=each_step(layers.GlobalAveragePooling1D())), 0.5, 0.3),
    (case(layers.TimeDistributed, "twice", (2, 4, 5, 3), moments=SHIFTED,
          build=each_step(layers.TimeDistributed(layers.GlobalAveragePooling1D()))), 0.5, 0.3),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance))


@pytest.mark.parametrize(
    "wrap", [each_step, lambda layer: each_step(layers.TimeDistributed(layer))]
)
def test_a_fused_activation_is_a_call_of_its_own(wrap):
    shape = (2, 4, 8)
    fused = case(layers.TimeDistributed, "", shape, build=wrap(layers.Dense(3, activation="relu")))
    result = predicted(fused, planned=True)
    assert [call.path.rsplit("/")[-1] for call in result.graph.calls[2:]] == ["relu"]
    _, linear, relu = result.results
    assert linear.weighted
    assert linear.signals[0].variance == pytest.approx(1.0)
    assert relu.signals[0].mean == pytest.approx(1 / math.sqrt(2 * math.pi), rel=1e-5)


def test_a_layer_without_a_rule_is_sampled():
    model = keras.Sequential([layers.Input((6,)), layers.Dense(5, "tanh")])
    outcome = predicted(case(layers.TimeDistributed, "", (3, 6), build=each_step(model)))
    assert outcome.results[-1].support is Support.SAMPLED
    assert outcome.results[-1].standard_error > 0


@pytest.mark.parametrize("case", WRAPPERS, ids=str)
def test_given_weights(case):
    check_given_weights(case)


@pytest.mark.parametrize("case", [case for case in WRAPPERS if case.weighted], ids=str)
def test_planned_weights(case):
    check_planned_weights(case)
