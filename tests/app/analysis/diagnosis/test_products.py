"""Products upon products: figures made up, and closed forms of what they amplify."""

import keras
import pytest
from keras import layers

from autoinit import check
from autoinit.initializers.autoinit import AutoInit
from tests.app.analysis.diagnosis.models import dense
from tests.app.analysis.diagnosis.test_measured import faults, moments


def stacked(count, function=None, between=None, twice=False):
    """Products p0, p1, … of what two kernels give, or of one with itself."""
    x = given = keras.Input((8,))
    for n in range(count):
        one = dense(8)(x)
        x = layers.Multiply(name=f"p{n}")([one, one if twice else dense(8, function)(x)])
        x = between(x) if between else x
    return keras.Model(given, dense(3, "softmax")(x))


def told(model, deviations):
    """What is said where a sample's mean square deviates so, beside the mean, at each product."""
    figures = {}
    for n, deviation in enumerate(deviations):
        each = moments()
        samples = each.count / 8  # entries of a sample
        figures[f"p{n}"] = each.__class__(
            **{**each.__dict__, "standard_error": deviation / samples**0.5}
        )
    found = faults(model, figures).get("gradient_differs")
    return None if found is None else (found.path, found.remedy, found.message)


@pytest.mark.parametrize(
    ("deviations", "known"),
    [
        # 2⁶ = 64, and of 1 + d² what is left without the largest step: 64 is too little, and
        # 64 · (1 + 9) / (1 + 1) = 320, not.
        ([0.0] * 6, False),
        ([0.0] * 8, True),  # 256
        ([1.0, 1.0, 1.0, 1.0, 1.0, 3.0], False),  # the largest step is the last
        ([1.0, 1.5, 2.0, 2.5, 2.8, 3.0], True),
        ([1.0, 20.0, 20.0], False),  # 8 · (1 + 400) / (401 / 2) = 16
        ([1.0, 4.0, 20.0], False),  # 8 · 401 / (401 / 17) = 136
        ([2.0, 6.0, 20.0], True),  # 8 · 401 / (401 / 37) = 296
    ],
)
def test_products_amplify_and_a_few_inputs_outweigh_the_others(deviations, known):
    found = told(stacked(len(deviations)), deviations)
    assert (found is not None) is known
    if found is not None:
        assert found[:2] == ("p0", "add_normalisation")


def test_a_product_with_itself_amplifies_twice_as_much():
    assert told(stacked(3), [0.0] * 3) is None
    path, _, message = told(stacked(4, twice=True), [0.0] * 4)
    assert path == "p0"
    assert "what two inputs differ by grows by 16 beside the signal" in message  # √4⁴


@pytest.mark.parametrize(
    "form", [{"function": "sigmoid"}, {"between": layers.LayerNormalization()}]
)
def test_gates_amplify_nothing_and_normalizations_begin_anew(form):
    assert told(stacked(12, **form), [0.5] * 12) is None


@pytest.mark.parametrize(
    ("count", "function", "word"), [(6, None, "will struggle"), (3, "tanh", "trains")]
)
def test_with_autoinits_weights(count, function, word):
    """Six of two linear kernels gained nothing, three by tanh 96 and 99 %."""
    keras.utils.set_random_seed(count)
    x = given = keras.Input((64,))
    x = dense(64)(x)
    for _ in range(count):
        x = layers.Multiply()([dense(64, "relu" if function else None)(x), dense(64, function)(x)])
    model = AutoInit().initialize_model(keras.Model(given, dense(10, "softmax")(x)))
    model.compile("adam", "sparse_categorical_crossentropy")
    assert check(model, verbose=False).verdicts["uploaded"].verdict == word
