import numpy as np
import pytest
from keras import layers

from tests.autoinit.rules.checks import check_given_weights, last_signal
from tests.contracts.cases import PREPROCESSING, SHIFTED, case


def adapted(x):
    layer = layers.Normalization()
    layer.adapt(np.array([[0.0, 10.0], [2.0, 14.0]]))  # means 1 and 12, variances 1 and 4
    return layer(x)


# Input of mean 0.5 and variance 1.5.
HAND = [
    (case(layers.Rescaling, "numbers", (4,), scale=2.0, offset=-1.0, moments=SHIFTED), 0.0, 6.0),
    # Bytes of 0 to 255, as an image model expects them: uniform entries have variance 255²/12.
    (case(layers.Rescaling, "bytes", (4,), scale=1 / 127.5, offset=-1.0,
          moments=((127.5, 255**2 / 12),)), 0.0, 1 / 3),
    # (x − 1)/1 and (x − 3)/2: means −0.5 and −1.25; variances 1.5 and 0.375.
    (case(layers.Normalization, "two channels", (5, 2), mean=[1.0, 3.0], variance=[1.0, 4.0],
          moments=SHIFTED), -0.875, 0.9375 + 0.375**2),
    # x·1 + 1 and x·2 + 3: means 1.5 and 4; variances 1.5 and 6.
    (case(layers.Normalization, "inverted", (5, 2), mean=[1.0, 3.0], variance=[1.0, 4.0],
          invert=True, moments=SHIFTED), 2.75, 3.75 + 1.25**2),
    # Over both features mean 2 and variance 2.5 + 1, as the input has: each is the one adapted to.
    (case(layers.Normalization, "as adapted", (5, 2), mean=[1.0, 3.0], variance=[1.0, 4.0],
          moments=((2.0, 3.5),)), 0.0, 1.0),
    # Means of data −0.5 and −11.5/2; variances 1.5 and 0.375.
    (case(layers.Normalization, "adapted", (2,), build=adapted, moments=SHIFTED),
     -3.125, 0.9375 + 2.625**2),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("case", PREPROCESSING, ids=str)
def test_real_layer(case):
    check_given_weights(case)
