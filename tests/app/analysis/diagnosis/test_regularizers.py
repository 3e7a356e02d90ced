"""Penalties beside which a classifier's loss does not count."""

import json

import pytest
from keras import layers, regularizers

from app.analysis.diagnosis.fault import Consequence
from app.analysis.diagnosis.linter.regularizers import strong_regularizers
from tests.app.analysis.diagnosis.models import chain, dense, read

CROSS = "categorical_crossentropy"


def found(penalties, loss=CROSS, normalized=False):
    parts = []
    for number, penalty in enumerate(penalties):
        parts.append(dense(8, name=f"d{number}", kernel_regularizer=penalty))
        parts += [layers.BatchNormalization()] * normalized + [layers.ReLU()]
    model = chain((4,), *parts, dense(3, "softmax"))
    model.compile("adam", loss)
    compiled = json.loads(json.dumps(model.get_compile_config()))
    return [(f.path, f.consequence) for f in strong_regularizers(read(model), compiled)]


@pytest.mark.parametrize(
    ("penalty", "consequence"),
    [
        (regularizers.L2(0.1), None),
        (regularizers.L2(0.3), Consequence.SERIOUS),
        (regularizers.L2(1.0), Consequence.FATAL),
        (regularizers.L1(0.01), None),
        (regularizers.L1L2(0.03, 0.0), Consequence.FATAL),
        ("l2", None),
        (None, None),
    ],
)
def test_what_digits_were_learnt_with_and_what_not(penalty, consequence):
    expected = [] if consequence is None else [("d0", consequence)]
    assert found([penalty, penalty]) == expected


def test_where_a_strong_penalty_does_no_harm():
    strong = regularizers.L2(1.0)
    assert found([strong, None]) == []
    assert found([strong, strong], "mse") == [("d0", Consequence.NOTE)]  # targets may be large
    assert found([strong, strong], normalized=True) == []


@pytest.mark.parametrize(
    ("penalty", "layers_with_it", "told"),
    [
        (regularizers.L1(0.03), 2, False),
        (regularizers.L1(0.1), 2, True),
        (regularizers.L1(0.1), 1, False),
        (regularizers.L2(0.1), 2, False),
        (regularizers.L2(0.3), 2, True),
    ],
)
def test_penalties_on_what_layers_give(penalty, layers_with_it, told):
    given = [penalty] * layers_with_it + [None] * (2 - layers_with_it)
    parts = [dense(8, "relu", activity_regularizer=each) for each in given]
    model = chain((4,), *parts, dense(3, "softmax"))
    model.compile("adam", CROSS)
    compiled = json.loads(json.dumps(model.get_compile_config()))
    assert [f.remedy for f in strong_regularizers(read(model), compiled)] == (
        ["weaken_regularizer"] if told else []
    )
