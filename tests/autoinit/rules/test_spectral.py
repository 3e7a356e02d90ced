import math

import numpy as np
import pytest
from keras import layers

from autoinit.rules.layers.spectral import largest_singular_value
from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import check_given_weights, last_signal, predicted
from tests.contracts.cases import SHIFTED, SPECTRAL, case


def normalised(layer, *weights, **arguments):
    """Builds a model of a wrapped layer that holds these weights."""

    def build(x):
        outputs = layers.SpectralNormalization(layer, **arguments)(x)
        layer.set_weights([np.asarray(values, np.float32) for values in weights])
        return outputs

    return build


def dense(*weights, **arguments):
    return normalised(layers.Dense(2, use_bias=len(weights) > 1), *weights, **arguments)


ONES = np.ones((3, 2))
# Input of mean 0.5 and variance 1.5. Of a matrix of rank 1 a single iteration finds the
# singular value: √6 of six ones.
HAND = [
    (case(layers.SpectralNormalization, "ones", (3,), moments=SHIFTED, build=dense(ONES)),
     1.5 / math.sqrt(6), 0.75),
    (case(layers.SpectralNormalization, "their scale does not matter", (3,), moments=SHIFTED,
          build=dense(7 * ONES)), 1.5 / math.sqrt(6), 0.75),
    (case(layers.SpectralNormalization, "the bias stays", (3,), moments=SHIFTED,
          build=dense(ONES, [2, 2])), 1.5 / math.sqrt(6) + 2, 0.75),
    (case(layers.SpectralNormalization, "inference", (3,), moments=SHIFTED, training=False,
          build=dense(ONES)), 1.5, 4.5),
    # Units ¾x₁ and x₂: means 0.375 and 0.5, second moments 9/16·1.75 and 1.75.
    (case(layers.SpectralNormalization, "singular values 3 and 4", (2,), moments=SHIFTED,
          build=dense([[3, 0], [0, 4]], power_iterations=60)),
     0.4375, 1.75 * 25 / 32 - 0.4375**2),
    (case(layers.SpectralNormalization, "zeros", (3,), moments=SHIFTED,
          build=dense(0 * ONES, [1, 3])), 2.0, 1.0),
    # Of the pre-activation N(0, ½) the positive half: √(1/4π), and ¼ less the square of it.
    (case(layers.SpectralNormalization, "fused relu", (3,),
          build=normalised(layers.Dense(2, "relu", use_bias=False), ONES)),
     math.sqrt(1 / (4 * math.pi)), 0.25 - 1 / (4 * math.pi)),
    # Entries of 1, divided by 2 and cast to the type of the integers.
    (case(layers.SpectralNormalization, "integers look up integers", (5,), input_dtype="int32",
          build=normalised(layers.Embedding(2, 2), np.ones((2, 2)))), 0.0, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance), rel=1e-5, abs=1e-9)


def test_many_iterations_find_the_largest_singular_value():
    generator = np.random.default_rng(1)
    kernel = generator.standard_normal((3, 3, 4, 8))
    start = generator.standard_normal((1, 8))
    expected = np.linalg.svd(kernel.reshape(36, 8), compute_uv=False)[0]
    assert largest_singular_value(kernel, start, 200) == pytest.approx(expected)
    assert largest_singular_value(kernel, start, 1) < expected


def test_there_is_no_scale_to_plan_and_a_finding_says_so():
    result = predicted(SPECTRAL[0], planned=True)
    assert not result.scales
    assert not any(outcome.weighted for outcome in result.results)
    assert [finding.code for finding in result.findings] == ["keeps_initializer"]
    assert "largest singular value" in result.findings[0].message


def test_a_layer_without_a_rule_is_passed_through():
    class Own(layers.Dense):
        def call(self, inputs):
            return inputs @ self.kernel

    own = case(layers.SpectralNormalization, "", (3,), build=lambda x: wrapped(x, Own(2)))
    outcome = predicted(own).results[-1]
    assert outcome.support is Support.PASS_THROUGH
    assert outcome.findings[0].code == "unsupported_layer"


def wrapped(x, layer):
    return layers.SpectralNormalization(layer)(x)


@pytest.mark.parametrize("case", SPECTRAL, ids=str)
def test_real_layer(case):
    check_given_weights(case)
