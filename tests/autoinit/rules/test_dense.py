import math

import numpy as np
import pytest
from keras import initializers, layers

from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import (
    check_given_weights,
    check_planned_weights,
    last_signal,
    predicted,
)
from tests.contracts.cases import DENSE, SHIFTED, case


def holding(layer, *weights):
    """Builds a model of a layer that holds these weights."""

    def build(x):
        outputs = layer(x)
        layer.set_weights([np.asarray(values, np.float32) for values in weights])
        return outputs

    return build


def in_reverse(*tables, **arguments):
    """Builds a model of a projection onto the rows of these tables."""

    def build(x):
        layer = layers.ReversibleEmbedding(*np.shape(tables[0]), **arguments)
        outputs = layer(x, reverse=True)
        layer.set_weights([np.asarray(values, np.float32) for values in tables])
        return outputs

    return build


TWO = initializers.Constant(2.0)
# Input of mean 0.5 and variance 1.5: its second moment is 1.75.
HAND = [
    # y = x₁ + x₂ + x₃ + 2.
    (case(layers.Dense, "ones", (3,), units=2, kernel_initializer="ones", bias_initializer=TWO,
          moments=SHIFTED), 3.5, 4.5),
    # Units x and 3x: mean (0.5 + 1.5)/2; second moment (1 + 9)/2·1.75.
    (case(layers.Dense, "units of two sizes", (1,), moments=SHIFTED,
          build=holding(layers.Dense(2, use_bias=False), [[1, 3]])), 1.0, 7.75),
    # Units x + 1 and 3x − 1: means 1.5 and 0.5, variances 1.5 and 13.5.
    (case(layers.Dense, "biases that go with the kernel", (1,), moments=SHIFTED,
          build=holding(layers.Dense(2), [[1, 3]], [1, -1])), 1.0, 7.75),
    # The same units, their biases one for each: kernel axes (input, c, d), bias over c.
    (case(layers.EinsumDense, "a bias for each head", (1,), moments=SHIFTED,
          build=holding(layers.EinsumDense("ab,bcd->acd", (2, 1), bias_axes="c"),
                        [[[1], [3]]], [[1], [-1]])), 1.0, 7.75),
    # y = 2·(x₁ + x₂ + x₃): mean 3, variance 4·4.5.
    (case(layers.EinsumDense, "positions summed", (3, 1), moments=SHIFTED, equation="abc,cd->ad",
          output_shape=(4,), kernel_initializer=TWO), 3.0, 18.0),
    # Table 1, 2, 3, 4, each as often: (16 − 1)/12.
    (case(layers.Embedding, "a table", (5,), input_dtype="int32",
          build=holding(layers.Embedding(2, 2), [[1, 2], [3, 4]])), 2.5, 1.25),
    (case(layers.ReversibleEmbedding, "a table", (5,), input_dtype="int32",
          build=holding(layers.ReversibleEmbedding(2, 2), [[1, 2], [3, 4]])), 2.5, 1.25),
    # Logits x₁ + 2x₂ and 3x₁ + 4x₂: means 1.5 and 3.5, variances 5·1.5 and 25·1.5.
    (case(layers.ReversibleEmbedding, "onto its rows", (2,), moments=SHIFTED,
          build=in_reverse([[1, 2], [3, 4]])), 2.5, 22.5 + 1.0),
    # Logits x₁ + 3x₂ and 2x₁ + 4x₂: means 2 and 3, variances 10·1.5 and 20·1.5.
    (case(layers.ReversibleEmbedding, "onto a table of its own", (2,), moments=SHIFTED,
          build=in_reverse([[0, 0], [0, 0]], [[1, 2], [3, 4]], tie_weights=False)),
     2.5, 22.5 + 0.25),
    # tanh bounds by 0.1 what is nearly always large: a sign.
    (case(layers.ReversibleEmbedding, "capped", (1,), moments=((0.0, 1.0),),
          build=in_reverse([[1e6]], logit_soft_cap=0.1)), 0.0, 0.01),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance))


PLANS = [
    # 1/√(fan_in·(v + m²)).
    (case(layers.Dense, "fan-in 8", (8,), units=3, moments=SHIFTED), {}, 1 / math.sqrt(14)),
    (case(layers.Dense, "target 4", (8,), units=3, moments=SHIFTED), {"signal_variance": 4.0},
     2 / math.sqrt(14)),
    # Centred kernels cancel the mean: fan_in·v.
    (case(layers.Dense, "centred", (8,), units=3, moments=SHIFTED), {"centered": True},
     1 / math.sqrt(12)),
    # Biases ±0.5 have variance 0.25; the kernel gives the rest.
    (case(layers.Dense, "biases", (8,), moments=SHIFTED,
          build=holding(layers.Dense(2), np.ones((8, 2)), [0.5, -0.5])), {},
     math.sqrt(0.75 / 14)),
    (case(layers.EinsumDense, "two axes summed", (5, 3, 4), equation="abcd,cde->abe",
          output_shape=(None, 6)), {}, 1 / math.sqrt(12)),
    # Σ over 5 positions: variance 5v, mean 5m; then 12 channels.
    (case(layers.EinsumDense, "positions summed", (5, 12), equation="abc,cd->ad",
          output_shape=(8,), moments=SHIFTED), {}, 1 / math.sqrt(12 * (7.5 + 6.25))),
    (case(layers.Embedding, "fan-in 1", (5,), input_dim=9, output_dim=4, input_dtype="int32"), {},
     1.0),
    (case(layers.ReversibleEmbedding, "fan-in 2", (2,), moments=SHIFTED,
          build=in_reverse([[1, 2], [3, 4]])), {}, 1 / math.sqrt(3.5)),
    (case(layers.Embedding, "not centred", (5,), input_dim=9, output_dim=4, input_dtype="int32"),
     {"centered": True}, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("case", "options", "deviation"), PLANS, ids=str)
def test_planned_scale_by_hand(case, options, deviation):
    result = predicted(case, planned=True, **options)
    (found,) = result.scales
    assert found.standard_deviation == pytest.approx(deviation)
    target = options.get("signal_variance", 1.0)
    signal = result.results[-1].signals[0]
    assert (signal.mean, signal.variance) == pytest.approx((0.0, target), abs=1e-12)


def test_a_bias_above_the_target_is_reported():
    build = holding(layers.Dense(2), np.ones((8, 2)), [2.0, -2.0])
    result = predicted(case(layers.Dense, "", (8,), build=build), planned=True)
    assert [finding.code for finding in result.findings] == ["bias_exceeds_target"]
    assert "variance 4, the target is 1" in result.findings[0].message
    # The kernel is drawn as if there were no bias: both add up.
    assert result.results[-1].signals[0].variance == pytest.approx(5.0)


@pytest.mark.parametrize("moments", [(0.0, 0.0), (0.0, math.inf), (math.nan, 1.0)])
def test_where_no_weights_reach_the_target_the_initialiser_stays(moments):
    unreachable = case(layers.Dense, "", (8,), units=3, moments=(moments,))
    result = predicted(unreachable, planned=True)
    assert not result.scales
    assert [finding.code for finding in result.findings] == ["keeps_initializer"]


def test_a_fused_activation_follows_a_call_of_variance_one():
    fused = case(layers.Dense, "", (8,), units=3, activation="relu", moments=SHIFTED)
    _, linear, relu = predicted(fused, planned=True).results
    assert (linear.weighted, relu.weighted) == (True, False)
    assert linear.signals[0].variance == pytest.approx(1.0)
    assert relu.signals[0].mean == pytest.approx(1 / math.sqrt(2 * math.pi))
    assert linear.support is relu.support is Support.EXACT


@pytest.mark.parametrize("case", DENSE, ids=str)
def test_given_weights(case):
    check_given_weights(case)


@pytest.mark.parametrize("case", DENSE, ids=str)
def test_planned_weights(case):
    check_planned_weights(case)
