import pytest
from keras import layers

from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import check_given_weights, last_signal, predicted
from tests.contracts.cases import RESIZING, SHIFTED, case

# Two positions become a, ¾a + ¼b, ¼a + ¾b, b: squares add up to 1, 10/16, 10/16, 1.
DOUBLED = 13 / 16
# In inference real images keep their size: only the battery's case has one shape in both modes.
RANDOM = [
    case(layers.RandomCrop, "smaller", (7, 6, 4), height=4, width=3, moments=SHIFTED),
    case(layers.RandomCrop, "channels first", (4, 7, 6), height=4, width=3, moments=SHIFTED,
         data_format="channels_first"),
    case(layers.RandomCrop, "larger", (2, 4, 5), height=4, width=4, moments=SHIFTED),
]  # fmt: skip

# Input of mean 0.5, variance 1.5 and second moment 1.75.
HAND = [
    (case(layers.Resizing, "one axis doubled", (2, 3, 4), height=4, width=3, moments=SHIFTED),
     0.5, 1.5 * DOUBLED),
    (case(layers.Resizing, "one axis halved", (4, 3, 4), height=2, width=3, moments=SHIFTED),
     0.5, 0.75),
    (case(layers.Resizing, "nearest", (2, 3, 4), height=5, width=4, interpolation="nearest",
          moments=SHIFTED), 0.5, 1.5),
    (case(layers.Resizing, "cropped", (2, 4, 3), height=2, width=2, crop_to_aspect_ratio=True,
          moments=SHIFTED), 0.5, 1.5),
    # A row of twos above and below: half of the entries.
    (case(layers.Resizing, "padded", (2, 4, 3), height=4, width=4, pad_to_aspect_ratio=True,
          fill_value=2.0, moments=SHIFTED), 1.25, 0.875 + 2.0 - 1.25**2),
    (case(layers.CenterCrop, "the middle", (4, 4, 3), height=2, width=3, moments=SHIFTED),
     0.5, 1.5),
    # The middle 2 × 2 doubled.
    (case(layers.CenterCrop, "too small", (2, 4, 3), height=4, width=4, moments=SHIFTED),
     0.5, 1.5 * DOUBLED**2),
    (case(layers.RandomCrop, "a part", (5, 5, 3), height=3, width=2, moments=SHIFTED), 0.5, 1.5),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance))


def test_a_part_of_an_image_is_neutral_and_a_resized_one_is_not():
    smaller, _, larger = (predicted(case).results[-1].support for case in RANDOM)
    assert (smaller, larger) == (Support.NEUTRAL, Support.EXACT)
    crops = [case for case in RESIZING if case.kind is layers.CenterCrop]
    supports = [predicted(case).results[-1].support for case in crops]
    assert supports == [Support.NEUTRAL, Support.EXACT]


@pytest.mark.parametrize("kind", [layers.Resizing, layers.CenterCrop, layers.RandomCrop])
def test_a_tensor_that_is_no_batch_of_images_is_passed_through(kind):
    outcome = predicted(case(kind, "", (8, 8), height=4, width=4)).results[-1]
    assert outcome.support is Support.PASS_THROUGH


@pytest.mark.parametrize("case", RESIZING + RANDOM, ids=str)
def test_real_layer(case):
    check_given_weights(case)
