import math

import pytest
from keras import initializers, layers

from tests.autoinit.rules.checks import (
    check_given_weights,
    check_planned_weights,
    last_signal,
    predicted,
)
from tests.contracts.cases import CONVOLUTION, SHIFTED, case

ONES = {"kernel_initializer": "ones", "use_bias": False}
DEPTHWISE_ONES = {"depthwise_initializer": "ones", "use_bias": False}

# Input of mean 0.5 and variance 1.5. With kernels of ones, a position that sees n entries has
# mean n·m and variance n·v; the mean of n² less that of n, squared, is the spread of positions.
HAND = [
    # 3 taps on 3 positions see 2, 3 and 2.
    (case(layers.Conv1D, "same", (3, 1), filters=2, kernel_size=3, padding="same", moments=SHIFTED,
          **ONES), 0.5 * 7 / 3, 1.5 * 7 / 3 + 0.25 * (17 / 3 - 49 / 9)),
    # Windows −1 0 1, 1 2 3, 3 4 −: 2, 3 and 2 again.
    (case(layers.Conv1D, "same, stride 2", (5, 1), filters=2, kernel_size=3, strides=2,
          padding="same", moments=SHIFTED, **ONES),
     0.5 * 7 / 3, 1.5 * 7 / 3 + 0.25 * (17 / 3 - 49 / 9)),
    # 1, 1, 2 and 2 of 2 taps that are 2 apart.
    (case(layers.Conv1D, "causal, dilation 2", (4, 1), filters=2, kernel_size=2, dilation_rate=2,
          padding="causal", moments=SHIFTED, **ONES), 0.5 * 1.5, 1.5 * 1.5 + 0.25 * 0.25),
    # 2 taps of the 3 channels of a group: 6 everywhere.
    (case(layers.Conv1D, "groups", (4, 6), filters=4, kernel_size=2, groups=2, moments=SHIFTED,
          **ONES), 3.0, 9.0),
    # On 2×2 positions 3×3 taps see 4 everywhere, of 5 channels.
    (case(layers.Conv2D, "a small map", (2, 2, 5), filters=2, kernel_size=3, padding="same",
          moments=SHIFTED, **ONES), 10.0, 30.0),
    (case(layers.Conv2D, "a small map, channels first", (5, 2, 2), filters=2, kernel_size=3,
          padding="same", data_format="channels_first", moments=SHIFTED, **ONES), 10.0, 30.0),
    (case(layers.Conv3D, "one position", (1, 1, 1, 5), filters=2, kernel_size=3, padding="same",
          moments=SHIFTED, **ONES), 2.5, 7.5),
    # Depthwise: taps alone, however many channels.
    (case(layers.DepthwiseConv1D, "valid", (4, 6), kernel_size=3, depth_multiplier=2,
          moments=SHIFTED, **DEPTHWISE_ONES), 1.5, 4.5),
    (case(layers.DepthwiseConv2D, "valid", (4, 4, 6), kernel_size=(2, 3), moments=SHIFTED,
          **DEPTHWISE_ONES), 3.0, 9.0),
    # Transposed, stride 2: 3 taps of 2 entries fall on 5 positions, two of them on the middle one.
    (case(layers.Conv1DTranspose, "valid, stride 2", (2, 1), filters=2, kernel_size=3, strides=2,
          moments=SHIFTED, **ONES), 0.6, 1.8 + 0.25 * (1.6 - 1.44)),
    # Stride 3 with 2 taps: every third position is empty.
    (case(layers.Conv1DTranspose, "valid, gaps", (2, 1), filters=2, kernel_size=2, strides=3,
          moments=SHIFTED, **ONES), 0.5 * 2 / 3, 1.0 + 0.25 * (2 / 3 - 4 / 9)),
    # Stride and taps agree: one entry of 5 channels everywhere.
    (case(layers.Conv2DTranspose, "stride 2, 2 taps", (3, 3, 5), filters=2, kernel_size=2,
          strides=2, moments=SHIFTED, **ONES), 2.5, 7.5),
    (case(layers.Conv3DTranspose, "stride 2, 2 taps", (2, 2, 2, 5), filters=2, kernel_size=2,
          strides=2, moments=SHIFTED, **ONES), 2.5, 7.5),
    # 3 (or 9) taps of ones, then 4 channels of a half.
    (case(layers.SeparableConv1D, "no incoming mean", (5, 4), filters=2, kernel_size=3,
          use_bias=False, depthwise_initializer="ones",
          pointwise_initializer=initializers.Constant(0.5)), 0.0, 3 * 4 * 0.25),
    (case(layers.SeparableConv2D, "no incoming mean", (5, 5, 4), filters=2, kernel_size=3,
          use_bias=False, depthwise_initializer="ones",
          pointwise_initializer=initializers.Constant(0.5)), 0.0, 9 * 4 * 0.25),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance))


# 1/√(fan_in·(v + m²)), the second moment being 1.75; fan-in counts the taps that are seen.
PLANS = [
    (case(layers.Conv1D, "same: 7/3 taps, 4 channels", (3, 4), filters=2, kernel_size=3,
          padding="same", moments=SHIFTED), [7 / 3 * 4 * 1.75]),
    (case(layers.Conv2D, "one position: 1 tap of 9", (1, 1, 4), filters=2, kernel_size=3,
          padding="same", moments=SHIFTED), [4 * 1.75]),
    (case(layers.Conv2D, "groups: 9 taps, 6/3 channels", (5, 5, 6), filters=9, kernel_size=3,
          groups=3, moments=SHIFTED), [18 * 1.75]),
    (case(layers.Conv3D, "valid: 8 taps, 2 channels", (3, 3, 3, 2), filters=9, kernel_size=2,
          moments=SHIFTED), [16 * 1.75]),
    (case(layers.DepthwiseConv1D, "3 taps", (5, 6), kernel_size=3, depth_multiplier=2,
          moments=SHIFTED), [3 * 1.75]),
    (case(layers.DepthwiseConv2D, "9 taps", (5, 5, 6), kernel_size=3, moments=SHIFTED),
     [9 * 1.75]),
    # The pointwise kernel sees 6·2 channels of mean 0 and variance 1.
    (case(layers.SeparableConv1D, "3 taps, then 12 channels", (5, 6), filters=2, kernel_size=3,
          depth_multiplier=2, moments=SHIFTED), [3 * 1.75, 12.0]),
    (case(layers.SeparableConv2D, "9 taps, then 6 channels", (5, 5, 6), filters=2, kernel_size=3,
          moments=SHIFTED), [9 * 1.75, 6.0]),
    (case(layers.Conv1DTranspose, "6/5 taps, 4 channels", (2, 4), filters=2, kernel_size=3,
          strides=2, moments=SHIFTED), [6 / 5 * 4 * 1.75]),
    (case(layers.Conv2DTranspose, "1 tap, 5 channels", (3, 3, 5), filters=2, kernel_size=2,
          strides=2, moments=SHIFTED), [5 * 1.75]),
    (case(layers.Conv3DTranspose, "1 tap, 5 channels", (2, 2, 2, 5), filters=2, kernel_size=2,
          strides=2, moments=SHIFTED), [5 * 1.75]),
]  # fmt: skip


@pytest.mark.parametrize(("case", "incoming"), PLANS, ids=str)
def test_planned_scale_by_hand(case, incoming):
    result = predicted(case, planned=True)
    deviations = [plan.standard_deviation for plan in result.scales]
    assert deviations == pytest.approx([1 / math.sqrt(second) for second in incoming])
    signal = result.results[-1].signals[0]
    assert (signal.mean, signal.variance) == pytest.approx((0.0, 1.0), abs=1e-12)


@pytest.mark.parametrize("case", CONVOLUTION, ids=str)
def test_given_weights(case):
    check_given_weights(case)


@pytest.mark.parametrize("case", CONVOLUTION, ids=str)
def test_planned_weights(case):
    check_planned_weights(case)
