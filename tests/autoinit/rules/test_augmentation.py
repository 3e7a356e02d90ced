import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import predicted
from tests.contracts.case import case
from tests.contracts.data_cases import AUGMENTATION, BRIGHT, IMAGE, UNIT

BATCHES, SIZE = 16, 32
ERRORS = 6  # of sixteen batches

# Images of mean 0.5 and variance 0.04.
HAND = [
    (case(layers.RandomInvert, "always", IMAGE, factor=(1.0, 1.0), moments=((0.3, 0.01),), **UNIT),
     0.7, 0.01),
    # The weights of red, green and blue.
    (case(layers.RandomGrayscale, "always", IMAGE, factor=1.0, moments=BRIGHT),
     0.5, 0.04 * (0.2989**2 + 0.587**2 + 0.114**2)),
    # λ of the distribution Beta(a, a) has variance 1/(8a + 4); one image of 32 meets itself.
    (case(layers.MixUp, "weights of 0 to 1", IMAGE, alpha=1.0, moments=BRIGHT),
     0.5, 0.04 * (2 / 3 + 1 / 3 / 32)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    outcome = predicted(case, samples=512).results[-1]
    assert outcome.support is Support.SAMPLED
    assert outcome.signals[0].variance == pytest.approx(variance, abs=5 * outcome.standard_error)
    assert outcome.signals[0].mean == pytest.approx(mean, abs=0.005)


RANDOM = [case for case in AUGMENTATION if case.kind.__name__.startswith("Random")]


@pytest.mark.parametrize(
    "kind", sorted({case.kind for case in RANDOM}, key=str), ids=lambda kind: kind.__name__
)
def test_nothing_is_random_in_inference(kind):
    found = next(case for case in RANDOM if case.kind is kind)
    still = replace(found, shapes=(IMAGE,), training=False, moments=BRIGHT)
    outcome = predicted(still).results[-1]
    assert outcome.support is Support.NEUTRAL
    signal = outcome.signals[0]
    assert (signal.mean, signal.variance) == pytest.approx(BRIGHT[0])
    images = np.random.default_rng(1).random((4, *IMAGE), dtype=np.float32)
    outputs = keras.ops.convert_to_numpy(still.model()([images], training=False))
    np.testing.assert_array_equal(outputs, images)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", [layers.RandomFlip, layers.MixUp], ids=lambda kind: kind.__name__)
def test_labels_beside_images_have_a_signal_of_their_own(kind, training):
    both = case(
        kind,
        "with labels",
        IMAGE,
        (5,),
        moments=(*BRIGHT, (0.2, 0.16)),
        training=training,
        build=lambda x, y: list(kind()({"images": x, "labels": y}).values()),
    )
    images, labels = predicted(both, samples=2048).results[-1].signals
    assert (images.mean, labels.mean) == pytest.approx((0.5, 0.2), abs=0.02)
    mixed = training and kind is layers.MixUp
    # λ of Beta(0.2, 0.2) has variance 1/5.6.
    share = 0.5 + 2 / 5.6 if mixed else 1.0
    assert images.variance == pytest.approx(0.04 * share, rel=0.05)
    assert labels.variance == pytest.approx(0.16 * share, rel=0.08)


@pytest.mark.parametrize("case", AUGMENTATION, ids=str)
def test_real_layer(case):
    """One prediction, whose own error counts; these layers are too slow for one per batch."""
    outcome = predicted(case, samples=BATCHES * SIZE).results[-1]
    model = case.model()
    generator = np.random.default_rng(1)
    (mean, variance), (shape,) = case.moments[0], case.shapes
    measured = []
    for _ in range(BATCHES):
        data = generator.normal(mean, math.sqrt(variance), (SIZE, *shape)).astype("float32")
        values = keras.ops.convert_to_numpy(model([data], training=case.training)).astype(float)
        measured.append((values.mean(), values.var()))
    means, variances = np.array(measured).T
    error = variances.std(ddof=1) / math.sqrt(BATCHES)
    # The standard error of a neutral prediction is 0; variances within batches miss that of means.
    error = math.hypot(error, outcome.standard_error or 0.0) * ERRORS + means.var()
    signal = outcome.signals[0]
    assert signal.variance == pytest.approx(variances.mean(), abs=error)
    assert signal.mean == pytest.approx(
        means.mean(), abs=ERRORS * math.sqrt(2) * means.std(ddof=1) / math.sqrt(BATCHES)
    )
