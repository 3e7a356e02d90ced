"""The last activation against the loss, over a table of what people combine."""

import json

import keras
import pytest
from keras import losses

from app.analysis.diagnosis.fault import Consequence
from app.analysis.diagnosis.linter.compiled.losses import classifies, output_faults
from tests.app.analysis.diagnosis.models import chain, dense, read

LOGITS = losses.CategoricalCrossentropy(from_logits=True)
BINARY_LOGITS = losses.BinaryCrossentropy(from_logits=True)
FATAL = [
    ("softmax", 1, "binary_crossentropy"), ("relu", 5, "categorical_crossentropy"),
    (None, 5, "sparse_categorical_crossentropy"), ("tanh", 5, "categorical_crossentropy"),
    ("log_softmax", 5, "sparse_categorical_crossentropy"),
    ("sigmoid", 1, "categorical_crossentropy"), (None, 1, "sparse_categorical_crossentropy"),
    (None, 1, LOGITS),
]  # fmt: skip
SERIOUS = [
    ("relu", 1, "binary_crossentropy"), (None, 1, "binary_crossentropy"),
    ("tanh", 1, losses.BinaryCrossentropy()), ("sigmoid", 5, "categorical_crossentropy"),
    ("softplus", 5, "categorical_crossentropy"), ("softmax", 5, LOGITS),
    ("sigmoid", 1, BINARY_LOGITS), ("relu", 5, LOGITS), ("linear", 2, "kl_divergence"),
    ("sigmoid", 3, "kl_divergence"),
    ("tanh", 1, "poisson"),
]  # fmt: skip
RIGHT = [
    ("sigmoid", 1, "binary_crossentropy"), ("sigmoid", 5, "binary_crossentropy"),
    ("softmax", 5, "categorical_crossentropy"), ("softmax", 5, losses.CategoricalCrossentropy()),
    (None, 5, LOGITS), ("log_softmax", 5, LOGITS),
    (None, 1, BINARY_LOGITS), (None, 3, "mse"), ("relu", 1, "mse"),
    ("sigmoid", 3, "mse"), ("tanh", 1, "hinge"), ("exponential", 1, "poisson"),
    ("softmax", 3, "kl_divergence"), ("softmax", 2, "binary_crossentropy"), (None, 3, "huber"),
]  # fmt: skip


def found(activation, units, loss):
    model = chain((4,), dense(8, "relu"), dense(units, activation, name="out"))
    model.compile("sgd", loss)
    compiled = json.loads(json.dumps(model.get_compile_config()))
    return list(output_faults(read(model), compiled))


@pytest.mark.parametrize(
    ("activation", "units", "loss", "consequence"),
    [(*row, Consequence.FATAL) for row in FATAL] + [(*row, Consequence.SERIOUS) for row in SERIOUS],
)
def test_what_cannot_give_what_the_loss_expects(activation, units, loss, consequence):
    (fault,) = found(activation, units, loss)
    assert fault.consequence is consequence
    assert fault.path == "out"
    assert fault.remedy == "change_last_activation"


@pytest.mark.parametrize(("activation", "units", "loss"), RIGHT)
def test_what_goes_together(activation, units, loss):
    assert not found(activation, units, loss)


@pytest.mark.parametrize(("before", "faulty"), [("relu", True), ("sigmoid", True), ("tanh", False)])
def test_a_sigmoid_of_what_is_never_negative(before, faulty):
    model = chain((4,), dense(8, "relu"), dense(1, before), keras.layers.Activation("sigmoid"))
    model.compile("sgd", "binary_crossentropy")
    compiled = json.loads(json.dumps(model.get_compile_config()))
    messages = [fault.message for fault in output_faults(read(model), compiled)]
    assert any("0.5 and more" in message for message in messages) is faulty


@pytest.mark.parametrize(("before", "faulty"), [("relu", True), ("tanh", False), (None, False)])
def test_a_softmax_of_relus(before, faulty):
    model = chain((4,), dense(8, "relu"), dense(3, before), keras.layers.Activation("softmax"))
    model.compile("sgd", "categorical_crossentropy")
    compiled = json.loads(json.dumps(model.get_compile_config()))
    found = [fault.consequence for fault in output_faults(read(model), compiled)]
    assert found == [Consequence.SERIOUS] * faulty


def test_a_normalization_behind_the_last_activation():
    norm = keras.layers.BatchNormalization(name="out")
    model = chain((4,), dense(8, "relu"), dense(3, "softmax"), norm)
    model.compile("sgd", "categorical_crossentropy")
    compiled = json.loads(json.dumps(model.get_compile_config()))
    (fault,) = output_faults(read(model), compiled)
    assert (fault.path, fault.consequence) == ("out", Consequence.SERIOUS)


def test_each_output_has_its_own_loss():
    given = keras.Input((4,))
    model = keras.Model(
        given, {"a": dense(3, "softmax", name="a")(given), "b": dense(3, "relu", name="b")(given)}
    )
    model.compile("sgd", {"a": "categorical_crossentropy", "b": "categorical_crossentropy"})
    compiled = json.loads(json.dumps(model.get_compile_config()))
    assert [fault.path for fault in output_faults(read(model), compiled)] == ["b"]


def test_settings_of_keras_2_and_none_at_all():
    model = chain((4,), dense(3, "relu", name="out"))
    (fault,) = output_faults(read(model), {"loss": "categorical_crossentropy", "metrics": None})
    assert fault.path == "out"
    assert not list(output_faults(read(model), None))
    assert not list(output_faults(read(model), {"loss": None}))


@pytest.mark.parametrize(
    ("activation", "loss", "classes"),
    [
        ("softmax", "categorical_crossentropy", True), (None, LOGITS, True),
        ("sigmoid", "mse", False), (None, "mse", False),
        ("softmax", None, True), (None, None, False),
    ],
)  # fmt: skip
def test_outputs_are_classes_by_their_losses_or_without_one_by_their_activations(
    activation, loss, classes
):
    model = chain((4,), dense(8, "relu"), dense(3, activation, name="out"))
    compiled = None
    if loss is not None:
        model.compile("sgd", loss)
        compiled = json.loads(json.dumps(model.get_compile_config()))
    assert classifies(compiled, read(model)) is classes
