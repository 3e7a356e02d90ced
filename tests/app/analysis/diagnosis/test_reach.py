"""Weights behind a step function, beside what a step of training does to them."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from autoinit import check
from tests.app.analysis.diagnosis.models import dense


@keras.saving.register_keras_serializable("tests")
class Straight(layers.Layer):
    """A sign whose gradient goes straight through, as binarized networks have."""

    def call(self, x):
        return x + ops.stop_gradient(ops.sign(x) - x)


# What stands between two kernels, or behind the last; the word.
BETWEEN = {
    "nothing": (lambda x: x, "trains"),
    "argmax": (lambda x: ops.one_hot(ops.argmax(x, -1), 8), "will struggle"),
    "a threshold": (lambda x: ops.cast(x > 0.0, "float32"), "will struggle"),
    "sign": (ops.sign, "will struggle"),
    "straight through": (lambda x: Straight()(x), "trains"),
    "beside it": (lambda x: ops.concatenate([x, ops.round(x)], -1), "trains"),
    "a mask": (lambda x: ops.where(x > 0.0, x, 0.0), "trains"),
    "held back by name": (ops.stop_gradient, "trains"),
}


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("name", BETWEEN)
def test_what_comes_before_a_step_function_never_learns(name):
    between, word = BETWEEN[name]
    given = keras.Input((8,))
    first, last = dense(8, "tanh", name="first"), dense(2, name="last")
    model = keras.Model(given, last(dense(8, "relu")(between(first(given)))))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    result = check(model, verbose=False)
    verdict = result.verdicts["uploaded"]
    learns = word == "trains" and name != "held back by name"
    assert verdict.verdict == word
    assert any(f.code == "no_gradient" for f in result.findings) is not learns
    if word != "trains":
        assert (verdict.causes[0], verdict.remedy) == ("no_gradient", "let_gradient_through")
    before, rng = first.kernel.numpy(), np.random.default_rng(0)
    model.fit(rng.standard_normal((32, 8)), rng.standard_normal((32, 2)), verbose=0)
    assert bool(np.any(first.kernel.numpy() != before)) is learns


@pytest.mark.parametrize("last", [ops.round, lambda x: ops.cast(x > 0.5, "float32")])
def test_a_step_function_behind_all_ends_it(last):
    given = keras.Input((8,))
    model = keras.Model(given, last(dense(1, "sigmoid")(dense(8, "relu")(given))))
    verdict = check(model, verbose=False).verdicts["uploaded"]
    assert (verdict.verdict, verdict.causes[0]) == ("cannot train", "no_gradient")
    assert "no layer ever learns" in verdict.reason
