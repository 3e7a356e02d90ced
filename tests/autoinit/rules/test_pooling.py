import math

import pytest
from keras import layers

from autoinit.quadrature.gaussian import maximum_of
from tests.autoinit.rules.checks import check_given_weights, last_signal
from tests.contracts.cases import POOLING, SHIFTED, case

TWO = (1 / math.sqrt(math.pi), 1 - 1 / math.pi)  # the larger of two standard normals


def shifted(mean, variance):
    # Of entries with mean 0.5 and variance 1.5.
    return 0.5 + math.sqrt(1.5) * mean, 1.5 * variance


HAND = [
    (case(layers.MaxPooling1D, "pairs", (4, 3), moments=SHIFTED), *shifted(*TWO)),
    # Three entries: a pair and a single one. E max² is 1 for both.
    (case(layers.MaxPooling1D, "a pair and one", (3, 2), padding="same"),
     TWO[0] / 2, 1 - TWO[0] ** 2 / 4),
    (case(layers.MaxPooling2D, "1 by 2", (3, 4, 2), pool_size=(1, 2), moments=SHIFTED),
     *shifted(*TWO)),
    (case(layers.MaxPooling2D, "channels first", (2, 3, 4), pool_size=(1, 2), moments=SHIFTED,
          data_format="channels_first"), *shifted(*TWO)),
    (case(layers.MaxPooling3D, "8", (2, 2, 2, 2), moments=SHIFTED), *shifted(*maximum_of(8))),
    (case(layers.GlobalMaxPooling1D, "2", (2, 5), moments=SHIFTED), *shifted(*TWO)),
    (case(layers.GlobalMaxPooling2D, "6", (2, 3, 5), moments=SHIFTED), *shifted(*maximum_of(6))),
    (case(layers.GlobalMaxPooling3D, "12", (2, 3, 2, 5), moments=SHIFTED),
     *shifted(*maximum_of(12))),
    # v/K.
    (case(layers.AveragePooling1D, "3", (9, 2), pool_size=3, moments=SHIFTED), 0.5, 0.5),
    # A pair and a single one: the mean of v/2 and v; padding is not counted.
    (case(layers.AveragePooling1D, "a pair and one", (3, 2), pool_size=2, padding="same",
          moments=SHIFTED), 0.5, 1.125),
    (case(layers.AveragePooling2D, "6", (6, 6, 2), pool_size=(2, 3), moments=SHIFTED), 0.5, 0.25),
    (case(layers.AveragePooling3D, "8", (2, 2, 2, 2), pool_size=2, moments=SHIFTED), 0.5, 1.5 / 8),
    # Windows 01 and 12, of 3 positions.
    (case(layers.AdaptiveMaxPooling1D, "pairs that overlap", (3, 2), output_size=2,
          moments=SHIFTED), *shifted(*TWO)),
    (case(layers.AdaptiveMaxPooling2D, "6", (4, 3, 2), output_size=(2, 1), moments=SHIFTED),
     *shifted(*maximum_of(6))),
    (case(layers.AdaptiveMaxPooling3D, "8", (2, 2, 2, 2), output_size=1, moments=SHIFTED),
     *shifted(*maximum_of(8))),
    # Windows 0, 01, 1, 2, 23, 3: four of one entry and two of a pair.
    (case(layers.AdaptiveAveragePooling1D, "4 into 6", (4, 2), output_size=6, moments=SHIFTED),
     0.5, 1.5 * 5 / 6),
    (case(layers.AdaptiveAveragePooling2D, "channels first", (2, 3, 4), output_size=2,
          moments=SHIFTED, data_format="channels_first"), 0.5, 1.5 / 4),
    (case(layers.AdaptiveAveragePooling3D, "12", (2, 3, 2, 5), output_size=1, moments=SHIFTED),
     0.5, 0.125),
    (case(layers.GlobalAveragePooling1D, "7", (7, 2), moments=SHIFTED), 0.5, 1.5 / 7),
    (case(layers.GlobalAveragePooling2D, "channels first", (2, 3, 5), moments=SHIFTED,
          data_format="channels_first"), 0.5, 0.1),
    (case(layers.GlobalAveragePooling3D, "30", (3, 5, 2, 2), moments=SHIFTED), 0.5, 0.05),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance))


@pytest.mark.parametrize("case", POOLING, ids=str)
def test_real_layer(case):
    check_given_weights(case)
