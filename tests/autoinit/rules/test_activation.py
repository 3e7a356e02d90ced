import math

import keras
import numpy as np
import pytest
from keras import initializers, layers, ops
from scipy import special

from autoinit.rules.functions import KNOWN_ELEMENTWISE, _is_elementwise
from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import check_given_weights, last_signal, predicted
from tests.contracts.cases import ACTIVATION, SHIFTED, case

HALF_NORMAL = 1 / math.sqrt(2 * math.pi)  # E max(Z, 0)
RELU = (HALF_NORMAL, 0.5 - HALF_NORMAL**2)


def leaky(slope):
    # max(Z, 0) + slope·min(Z, 0): each half has second moment 1/2.
    mean = (1 - slope) * HALF_NORMAL
    return mean, (1 + slope**2) / 2 - mean**2


# Of a standard normal Z.
HAND = [
    ("relu", *RELU),
    ("leaky_relu", *leaky(0.2)),
    ("linear", 0.0, 1.0),
    # Log-normal.
    ("exponential", math.exp(0.5), math.expm1(1.0) * math.e),
    # Its constants are chosen so that (0, 1) is a fixed point (Klambauer et al. 2017).
    ("selu", 0.0, 1.0),
    # E ZΦ(Z) = E φ(Z), by parts; E Z²Φ(Z)² = 1/3 + 1/(2√3·π), by parts twice.
    ("gelu", 1 / (2 * math.sqrt(math.pi)),
     1 / 3 + 1 / (2 * math.sqrt(3) * math.pi) - 1 / (4 * math.pi)),
    # ELU: max(Z, 0) + (e^Z − 1)[Z < 0], with E e^{kZ}[Z < 0] = e^{k²/2}Φ(−k).
    ("elu", HALF_NORMAL + math.exp(0.5) * special.ndtr(-1) - 0.5,
     0.5 + math.exp(2) * special.ndtr(-2) - 2 * math.exp(0.5) * special.ndtr(-1) + 0.5
     - (HALF_NORMAL + math.exp(0.5) * special.ndtr(-1) - 0.5) ** 2),
    # clip(Z, −1, 1): E Z²[|Z| < 1] = 1 − 2Φ(−1) − 2φ(1), and 2Φ(−1) beyond.
    ("hard_tanh", 0.0, 1 - 2 * HALF_NORMAL * math.exp(-0.5)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "mean", "variance"), HAND)
def test_functions_by_hand(name, mean, variance):
    signal = last_signal(case(layers.Activation, name, (4,), activation=name))
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance), rel=1e-5, abs=1e-6)


LAYERS = [
    (case(layers.ReLU, "plain", (4,)), *RELU),
    (case(layers.LeakyReLU, "slope 0.3", (4,)), *leaky(0.3)),
    (case(layers.ReLU, "threshold 0, ceiling 0", (4,), max_value=0.0), 0.0, 0.0),
    # Slopes 0 and 1, each for half of the entries: half of them ReLU, half the identity.
    (case(layers.PReLU, "slopes 0 and 1", (2,),
          alpha_initializer=lambda shape, dtype=None: ops.convert_to_tensor([0.0, 1.0])),
     HALF_NORMAL / 2, 0.75 - HALF_NORMAL**2 / 4),
    (case(layers.PReLU, "slope 0.3", (4,), alpha_initializer=initializers.Constant(0.3)),
     *leaky(0.3)),
    # Over a single entry a softmax is 1; over many with one of them far ahead, one-hot.
    (case(layers.Softmax, "one entry", (3, 1)), 1.0, 0.0),
    (case(layers.Softmax, "one-hot", (4,), moments=((0.0, 1e24),)), 0.25, 0.1875),
    (case(layers.Activation, "softmax without spread", (4,), activation="softmax",
          moments=((3.0, 0.0),)), 0.25, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), LAYERS, ids=str)
def test_layers_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("case", ACTIVATION, ids=str)
def test_real_layer(case):
    check_given_weights(case)


@pytest.mark.parametrize(
    ("function", "support"),
    [
        ("tanh", Support.EXACT),
        ("softmax", Support.EXACT),
        ("linear", Support.NEUTRAL),
        ("log_softmax", Support.SAMPLED),
        ("glu", Support.SAMPLED),
        (lambda x: ops.sum(x, -1, keepdims=True) * x, Support.SAMPLED),
        (lambda x: 1.0 / x, Support.APPROXIMATE),  # not integrable
    ],
)
def test_support(function, support):
    result = predicted(case(layers.Activation, "", (4,), activation=function))
    assert result.results[-1].support is support


def test_an_activation_that_is_a_layer_is_called():
    fused = case(
        layers.Dense,
        "",
        (4,),
        build=lambda x: layers.Dense(3, activation=layers.LeakyReLU(negative_slope=0.3))(x),
    )
    signal = last_signal(fused, planned=True)
    assert (signal.mean, signal.variance) == pytest.approx(leaky(0.3), rel=1e-6)


def test_functions_with_single_precision_constants_are_evaluated():
    shift = ops.convert_to_tensor(np.float32(2.0))
    signal = last_signal(
        case(layers.Activation, "", (4,), activation=lambda x: keras.ops.add(x, shift))
    )
    assert (signal.mean, signal.variance) == pytest.approx((2.0, 1.0), rel=1e-5)


def test_functions_of_the_whole_sample_see_it():
    # Over 3·5 entries, of which the last axis alone has 5: the mean is 1/15.
    def softmax(x):
        exponentials = ops.exp(x)
        return exponentials / ops.sum(exponentials, axis=(1, 2), keepdims=True)

    function = case(layers.Activation, "", (3, 5), activation=softmax, moments=SHIFTED)
    assert last_signal(function).mean == pytest.approx(1 / 15, rel=1e-4)


@pytest.mark.parametrize("function", sorted(KNOWN_ELEMENTWISE, key=lambda each: each.__name__))
def test_what_is_known_to_be_elementwise_is(function):
    assert _is_elementwise(function, 1)
    assert getattr(keras.activations, function.__name__) is function
