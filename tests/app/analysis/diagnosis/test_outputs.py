"""Models with several outputs, some of which cannot learn."""

from dataclasses import replace

import keras
import pytest

from app.analysis.diagnosis.fault import Consequence
from app.analysis.diagnosis.outputs import by_outputs
from autoinit import check
from tests.app.analysis.diagnosis.models import dense
from tests.app.analysis.diagnosis.test_flow import roles_of
from tests.app.analysis.diagnosis.test_verdict import fault


def two_heads(first, second):
    given = keras.Input((8,))
    trunk = dense(16, "relu", name="trunk")(given)
    model = keras.Model(given, [first(trunk), second(trunk)])
    model.compile("adam", ["categorical_crossentropy", "mse"])
    return model


def dead(name):
    def head(x):
        zeros = {"kernel_initializer": "zeros"}
        return dense(1, name=name, **zeros)(dense(4, "relu", name=f"{name}_hidden", **zeros)(x))

    return head


def classes(x):
    return dense(3, "softmax", name="classes")(x)


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize(
    "second", [dead("amount"), lambda x: dense(1, "softmax", name="amount")(x)]
)
def test_an_output_that_cannot_learn_leaves_the_other_alone(second):
    verdict = check(two_heads(classes, second), verbose=False).verdicts["uploaded"]
    assert verdict.verdict == "will struggle"
    assert "The output 'classes' does not depend on it." in verdict.reason


def test_where_no_output_can_learn_the_model_cannot():
    verdict = check(two_heads(dead("first"), dead("second")), verbose=False).verdicts["uploaded"]
    assert verdict.verdict == "cannot train"
    assert "does not depend" not in verdict.reason


def test_what_is_lost_in_the_trunk_or_is_no_number_is_lost_for_all():
    graph, _ = roles_of(two_heads(classes, lambda x: dense(1, name="amount")(x)))
    for code, path in (
        ("constant_output", "trunk"),
        ("not_finite", "amount"),
        ("zero_kernel", "?"),
    ):
        given = [replace(fault(code, Consequence.FATAL, None), path=path)]
        assert by_outputs(graph, given) == given
