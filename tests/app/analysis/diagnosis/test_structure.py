"""Faults that a configuration shows, each beside a network that looks like it and has none."""

import keras
import pytest
from keras import layers, ops

from app.analysis.diagnosis.fault import Consequence
from app.analysis.diagnosis.linter.lint import lint_model
from app.analysis.diagnosis.linter.structure import structural
from tests.app.analysis.diagnosis.models import chain, dense, read


def codes(model):
    return {
        f.code: f.path for f in structural(read(model)) if f.consequence is not Consequence.NOTE
    }


def attention():
    given = keras.Input((6, 8))
    query, value = dense(8)(given), dense(8)(given)
    scores = layers.Softmax()(ops.matmul(query, ops.transpose(given, (0, 2, 1))))
    return keras.Model(given, dense(3)(ops.matmul(scores, value)))


def residual(activation):
    given = keras.Input((8,))
    x = dense(8)(given)
    x = layers.Add()([x, dense(8)(layers.Activation(activation)(x))])
    return keras.Model(given, dense(2)(layers.GlobalAveragePooling1D()(layers.Reshape((1, 8))(x))))


def deep(width, count, **options):
    return chain((16,), *[dense(width, "tanh", **options) for _ in range(count)], dense(2))


def around(depth):
    given = keras.Input((4,))
    x = given
    for _ in range(depth):
        x = layers.Add()([x, dense(4, "tanh")(x)])
    return keras.Model(given, dense(2)(x))


def cast():
    given = keras.Input((8, 8, 3), dtype="uint8")
    x = layers.Conv2D(4, 3, activation="relu", name="here")(keras.ops.cast(given, "float32"))
    return keras.Model(given, dense(2)(layers.Flatten()(x)))


def frozen(*learning):
    parts = layers.Conv2D(4, 3, name="here"), layers.BatchNormalization(), layers.ReLU()
    model = chain((8, 8, 3), *parts, layers.Flatten(), dense(2))
    for layer in model.layers:
        layer.trainable = isinstance(layer, learning)
    return model


FAULTY = {
    "softmax over one": (
        "constant_output",
        chain((4,), dense(1), layers.Activation("softmax", name="here")),
    ),
    "fused softmax over one": ("constant_output", chain((4,), dense(1, "softmax", name="here"))),
    "two linear": ("missing_nonlinearity", chain((9,), dense(5, name="here"), dense(4))),
    "linear past dropout": (
        "missing_nonlinearity",
        chain((9, 9, 3), layers.Conv2D(8, 3, name="here"), layers.GlobalAveragePooling2D(),
              layers.Dropout(0.5), dense(4)),
    ),
    "softmax inside": (
        "misplaced_activation", chain((4,), dense(8, "softmax", name="here"), dense(2))
    ),
    "softmax inside, past a normalization": (
        "misplaced_activation",
        chain((8, 8, 3), layers.Conv2D(4, 3, activation="softmax", name="here"),
              layers.BatchNormalization(), layers.MaxPooling2D(), layers.Flatten(), dense(2)),
    ),
    "narrow": ("bottleneck_rank", deep(4, 30)),
    "scaled twice": (
        "unscaled_input",
        chain((8, 8, 1), layers.Rescaling(1 / 255), layers.Rescaling(1 / 255, name="here"),
              layers.Conv2D(4, 3), layers.ReLU()),
    ),
    "bytes": (
        "unscaled_input",
        chain((8, 8, 3), layers.RandomFlip(), layers.Conv2D(4, 3, name="here"), layers.ReLU(),
              dtype="uint8"),
    ),
    "bytes that are cast": ("unscaled_input", cast()),
    "a state by a sigmoid": (
        "misplaced_activation", chain((20, 3), layers.LSTM(4, "sigmoid", name="here"), dense(2))
    ),
    "a state by a sigmoid, both ways": (
        "misplaced_activation",
        chain((20, 3), layers.Bidirectional(layers.SimpleRNN(4, "sigmoid"), name="here"), dense(2)),
    ),
    "normalizations alone": ("nothing_trainable", frozen(layers.BatchNormalization)),
}  # fmt: skip
HEALTHY = {
    "a frozen base": frozen(layers.BatchNormalization, layers.Dense),
    "gates by sigmoids": chain((20, 3), layers.GRU(4), dense(2)),
    "sigmoid over one": chain((4,), dense(1, "sigmoid")),
    "attention": attention(),
    "residual": residual("relu"),
    "factorised on purpose": chain((16,), dense(2), dense(16), layers.ReLU()),
    "batch normalization between": chain(
        (8, 8, 3), layers.Conv2D(4, 1), layers.BatchNormalization(), layers.Conv2D(8, 1)
    ),
    "depthwise and pointwise": chain((8, 8, 3), layers.DepthwiseConv2D(3), layers.Conv2D(8, 1)),
    "a generator": chain(
        (8,),
        dense(48),
        layers.Reshape((4, 4, 3)),
        layers.Conv2DTranspose(4, 3, 2),
        layers.ReLU(),
        layers.Conv2D(1, 3, activation="tanh"),
    ),
    "softmax at the end": chain((4,), dense(8, "relu"), dense(3, "softmax")),
    "wide": deep(64, 30),
    "narrow, orthogonal": deep(4, 30, kernel_initializer="orthogonal"),
    "narrow, residual": around(30),
    "scaled once": chain((8, 8, 1), layers.Rescaling(1 / 127.5, -1), layers.Conv2D(4, 3)),
    "floats that nothing says more of": chain((8, 8, 3), layers.Conv2D(4, 3)),
    "bytes that are cast and divided": keras.Model(
        (given := keras.Input((9,), dtype="uint8")),
        dense(2)(keras.ops.cast(given, "float32") / 255.0),
    ),
    "lookups": chain((8,), layers.Embedding(9, 4), layers.LSTM(4), dense(1), dtype="uint8"),
}


@pytest.mark.parametrize(
    ("more", "bearable"),
    [
        ((), False),
        ((layers.BatchNormalization(), dense(5, "linear")), False),
        ((dense(4, "softmax"),), False),
        ((dense(6, "relu"), dense(4)), True),
        ((layers.MaxPooling1D(2), layers.Flatten(), dense(4)), True),
    ],
    ids=["alone", "all linear", "a linear classifier", "ReLU", "maximum"],
)
def test_a_missing_nonlinearity_is_borne_where_there_are_others(more, bearable):
    stack = (dense(5), dense(5), *more)
    (found,) = [f for f in structural(read(chain((4, 9), *stack))) if f.code.startswith("missing")]
    assert found.bearable is bearable


@pytest.mark.parametrize("name", FAULTY)
def test_faults_are_found_where_they_are(name):
    code, model = FAULTY[name]
    found = codes(model)
    assert set(found) == {code}
    if any(layer.name == "here" for layer in model.layers):
        assert found[code] == "here"


@pytest.mark.parametrize(("steps", "borne"), [(8, True), (16, False), (None, False)])
def test_a_sigmoids_state_forgets_what_came_some_steps_ago(steps, borne):
    model = chain((steps, 3), layers.SimpleRNN(4, "sigmoid"), dense(2))
    (found,) = structural(read(model))
    assert found.bearable is borne


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_accused_that_is_healthy(name):
    assert codes(HEALTHY[name]) == {}


@pytest.mark.parametrize(
    ("hidden", "last", "accused"),
    [
        ("softmax", [layers.Softmax(name="here")], True),
        ("sigmoid", [layers.Dropout(0.1), layers.Activation("softmax", name="here")], True),
        ("linear", [layers.Softmax(name="here")], False),
        ("tanh", [layers.Softmax(name="here")], False),
        ("softmax", [layers.Dropout(0.1)], False),
    ],
)
def test_a_softmax_of_what_is_a_share_already(hidden, last, accused):
    model = chain((4,), dense(8, "relu"), dense(3, hidden, name="first"), *last)
    assert codes(model).get("misplaced_activation") == ("here" if accused else None)


@pytest.mark.parametrize(
    ("frozen", "told"), [((), False), (("first",), False), (("first", "out"), True)]
)
def test_a_model_of_frozen_layers_learns_nothing(frozen, told):
    inputs = keras.Input((4,))
    h = layers.Dropout(0.1)(layers.add([dense(4, "relu", name="first")(inputs), inputs]))
    model = keras.Model(inputs, dense(2, name="out")(h))
    for name in frozen:
        model.get_layer(name).trainable = False
    assert ("nothing_trainable" in codes(model)) is told is (not model.trainable_variables)
    # A model that is frozen as a whole, as a backbone is.
    model.trainable = False
    assert "nothing_trainable" in codes(chain((4,), model))
    assert "nothing_trainable" not in codes(chain((4,), model, dense(2)))
    model.trainable = True
    first = model.get_layer("first")
    first.set_weights([weights + 1.0 for weights in first.get_weights()])
    model.get_layer("out").set_weights([w + 1.0 for w in model.get_layer("out").get_weights()])
    model.trainable = False
    assert "nothing_trainable" not in {fault.code for fault in lint_model(model).faults}


@pytest.mark.parametrize(("rate", "told"), [(0.5, False), (0.9, False), (0.95, True)])
@pytest.mark.parametrize("kind", [layers.Dropout, layers.AlphaDropout])
def test_dropout_of_nearly_everything(kind, rate, told):
    model = chain((4,), dense(8, "relu"), kind(rate, name="here"), dense(2))
    assert codes(model) == ({"dropout_rate": "here"} if told else {})


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([layers.LSTM(4), layers.Dropout(0.1), layers.Activation("sigmoid", name="here")], True),
        ([layers.LSTM(4, activation="relu"), layers.Activation("sigmoid", name="here")], False),
        ([layers.Flatten(), dense(4, "tanh"), layers.Activation("sigmoid", name="here")], True),
        ([layers.Flatten(), dense(4, "tanh"), dense(4, "sigmoid", name="here")], False),
        ([layers.LSTM(4), layers.Activation("tanh", name="here")], False),
    ],
)
def test_a_sigmoid_of_what_is_bounded(parts, told):
    found = codes(chain((5, 3), *parts, dense(2)))
    assert found == ({"misplaced_activation": "here"} if told else {})


@pytest.mark.parametrize(
    ("last", "rate", "consequence"),
    [(None, 0.5, Consequence.SERIOUS), (None, 0.2, Consequence.NOTE),
     ("softmax", 0.5, Consequence.NOTE), (None, 0.0, None)],
)  # fmt: skip
def test_dropout_of_the_answers(last, rate, consequence):
    inner = layers.Dropout(0.5)
    model = chain((4,), dense(8, "relu"), inner, dense(2, last), layers.Dropout(rate, name="here"))
    found = {f.path: f.consequence for f in structural(read(model)) if f.code == "dropout_last"}
    assert found == ({} if consequence is None else {"here": consequence})
