import numpy as np
import pytest
from keras import layers

from autoinit.rules.layers.reshaping import interpolation_matrix
from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import check_given_weights, last_signal, predicted
from tests.contracts.cases import RESHAPING, SHIFTED, case

# Input of mean 0.5, variance 1.5 and second moment 1.75; z zeros in a hundred give mean
# (1 − z)·0.5 and second moment (1 − z)·1.75.
HAND = [
    # 6 of 10 positions.
    (case(layers.ZeroPadding1D, "4 of 10", (6, 2), padding=2, moments=SHIFTED),
     0.3, 0.6 * 1.75 - 0.09),
    # 4·6 of 6·8.
    (case(layers.ZeroPadding2D, "half", (4, 6, 2), padding=1, moments=SHIFTED),
     0.25, 0.875 - 0.0625),
    (case(layers.ZeroPadding2D, "half, channels first", (2, 4, 6), padding=1, moments=SHIFTED,
          data_format="channels_first"), 0.25, 0.875 - 0.0625),
    # 2³ of 4³: the paper's v·(1 − z) holds for a mean of zero.
    (case(layers.ZeroPadding3D, "7 of 8, zero mean", (2, 2, 2, 2), padding=1), 0.0, 0.125),
    # Two positions become a, ¾a + ¼b, ¼a + ¾b, b: squares add up to 1, 10/16, 10/16, 1.
    (case(layers.UpSampling2D, "bilinear along one axis", (2, 1, 3), size=(2, 1),
          interpolation="bilinear", moments=SHIFTED), 0.5, 1.5 * 13 / 16),
    (case(layers.UpSampling2D, "bilinear along both", (2, 2, 3), interpolation="bilinear",
          moments=SHIFTED), 0.5, 1.5 * (13 / 16) ** 2),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance))


MOVING = [
    case for case in RESHAPING
    if case.arguments.get("interpolation", "nearest") == "nearest"
    and not case.kind.__name__.startswith("ZeroPadding")
]  # fmt: skip


@pytest.mark.parametrize("case", MOVING, ids=str)
def test_moving_entries_is_neutral(case):
    outcome = predicted(case).results[-1]
    assert outcome.support is Support.NEUTRAL
    assert (outcome.signals[0].mean, outcome.signals[0].variance) == (0.5, 1.5)


def test_interpolation_matrix_by_hand():
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_allclose(interpolation_matrix(2, 4, "bilinear"), expected, atol=1e-6)


@pytest.mark.parametrize("case", RESHAPING, ids=str)
def test_real_layer(case):
    check_given_weights(case)
