import math

import keras
import numpy as np
import pytest
from keras import initializers, layers, ops
from scipy import special

from autoinit.propagation import input_signals, predict
from autoinit.reading import read_model
from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import check_given_weights, last_signal, predicted
from tests.contracts.cases import NORMALIZATION, SHIFTED, case


def channels(*values):
    return lambda shape, dtype=None: ops.convert_to_tensor(values, dtype)


# γ = (1, 3) and β = (0, 2) on entries of mean 0 and second moment q: mean 1, variance 5q + 1.
TWO_CHANNELS = {"gamma_initializer": channels(1.0, 3.0), "beta_initializer": channels(0.0, 2.0)}

# Input of mean 0.5 and variance 1.5.
HAND = [
    (case(layers.BatchNormalization, "training: v/(v + ε)", (9, 4), epsilon=0.5, moments=SHIFTED),
     0.0, 0.75),
    (case(layers.BatchNormalization, "γ and β", (9, 2), epsilon=0.5, moments=SHIFTED,
          **TWO_CHANNELS), 1.0, 4.75),
    # (x − 0.3)/√(3.5 + 0.5).
    (case(layers.BatchNormalization, "inference", (9, 4), epsilon=0.5, training=False,
          moving_mean_initializer=initializers.Constant(0.3),
          moving_variance_initializer=initializers.Constant(3.5), moments=SHIFTED), 0.1, 0.375),
    # Deviation √(1.5 + 0.5) over the held 1, and the mean over it: (x − m)/√2·√2 + m.
    (case(layers.BatchNormalization, "renormalised", (9, 4), epsilon=0.5, renorm=True,
          moments=SHIFTED), 0.5, 1.5),
    (case(layers.BatchNormalization, "renormalised, clipped", (9, 4), epsilon=0.5, renorm=True,
          renorm_clipping={"rmax": 1.0, "dmax": 0.25}, moments=SHIFTED), 0.25, 0.75),
    # Around their own mean two entries are ±d, d² = v·χ²/2 with one degree of freedom:
    # E d²/(d² + ε) = 1 − √(πc/2)·e^{c/2}·erfc(√(c/2)), c = 2ε/v.
    (case(layers.LayerNormalization, "two entries", (2,), epsilon=0.75, moments=SHIFTED),
     0.0, 1 - math.sqrt(math.pi / 2) * special.erfcx(math.sqrt(0.5))),
    # Three are like two of zero mean: χ² with two degrees, 1 − c·e^c·E₁(c), c = 3ε/(2v).
    (case(layers.LayerNormalization, "three entries", (3,), epsilon=1.0, moments=SHIFTED),
     0.0, 1 - math.e * special.exp1(1.0)),
    (case(layers.LayerNormalization, "γ and β", (2,), epsilon=1e-14, moments=SHIFTED,
          **TWO_CHANNELS), 1.0, 6.0),
    (case(layers.GroupNormalization, "three entries", (3, 4), groups=4, epsilon=1.0,
          moments=SHIFTED), 0.0, 1 - math.e * special.exp1(1.0)),
    # One position, a group for each channel: every entry is its own mean.
    (case(layers.GroupNormalization, "one entry", (1, 4), groups=-1), 0.0, 0.0),
    # Two entries of zero mean: χ² with two degrees, c = ε/v.
    (case(layers.RMSNormalization, "two entries", (2,), epsilon=1.5, moments=((0.0, 1.5),)),
     0.0, 1 - math.e * special.exp1(1.0)),
    # A single entry over its size is its sign: 2Φ(m/s) − 1.
    (case(layers.RMSNormalization, "one entry", (5, 1), epsilon=1e-12, moments=((1.0, 1.0),)),
     math.erf(math.sqrt(0.5)), 1 - math.erf(math.sqrt(0.5)) ** 2),
    # x/‖x‖: the squares of n entries add up to 1.
    (case(layers.UnitNormalization, "four entries", (4,), moments=((0.0, 9.0),)), 0.0, 0.25),
    (case(layers.UnitNormalization, "axis 1", (5, 4), axis=1, moments=((0.0, 9.0),)), 0.0, 0.2),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    expected = pytest.approx((mean, variance), rel=1e-5, abs=1e-7)
    assert (signal.mean, signal.variance) == expected


@pytest.mark.parametrize("variance", [1e-60, 1e-3, 1e60])
def test_batch_normalization_restores_any_scale(variance):
    scaled = case(layers.BatchNormalization, "", (4,), moments=((0.0, variance),))
    expected = variance / (variance + 1e-3)
    assert last_signal(scaled).variance == pytest.approx(expected, rel=1e-9)


def frozen(x):
    layer = layers.BatchNormalization()
    layer.trainable = False
    return layer(x)


@pytest.mark.parametrize("training", [True, False])
def test_a_frozen_layer_uses_its_moving_statistics(training):
    signal = last_signal(
        case(layers.BatchNormalization, "", (4,), build=frozen, training=training, moments=SHIFTED)
    )
    assert (signal.mean, signal.variance) == pytest.approx((0.5, 1.5), rel=2e-3)


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`:UserWarning")
def test_rms_scaling_is_approximate():
    # Keras divides by the deviation, which varies from sample to sample, and leaves the mean.
    scaled = case(layers.LayerNormalization, "", (1000,), rms_scaling=True, moments=SHIFTED)
    outcome = predicted(scaled).results[-1]
    assert outcome.support is Support.APPROXIMATE
    data = 0.5 + math.sqrt(1.5) * np.random.default_rng(0).standard_normal((500, 1000))
    measured = ops.convert_to_numpy(scaled.model()([data]))
    signal = outcome.signals[0]
    expected = pytest.approx((measured.mean(), measured.var()), rel=0.01)
    assert (signal.mean, signal.variance) == expected


def test_a_layer_normalized_over_positions_is_one_group_for_each_channel():
    """What a channel's positions have in common is taken away: on average they go apart."""
    found = []
    for normalization in (
        layers.LayerNormalization(axis=[1, 2], epsilon=1e-3),
        layers.GroupNormalization(-1, epsilon=1e-3),
    ):
        stack = [layers.Conv2D(8, 3), layers.ReLU(), normalization]
        graph = read_model(keras.Sequential([keras.Input((8, 8, 3)), *stack]), training=True)
        found.append(predict(graph, input_signals(graph)).results[-1].signals[0])
    one, other = found
    assert one.position_correlation == pytest.approx(0.0, abs=1e-6)
    assert one.sample_correlation == pytest.approx(0.0, abs=0.01)
    assert (one.mean, one.variance) == pytest.approx((other.mean, other.variance), abs=0.02)


@pytest.mark.parametrize("case", NORMALIZATION, ids=str)
def test_real_layer(case):
    check_given_weights(case)
