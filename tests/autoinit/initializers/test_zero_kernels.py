"""Kernels of zeros: kept where they are on purpose, drawn where no gradient reaches them."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from autoinit import AutoInit
from autoinit.arrays import as_array
from autoinit.graph.zeros import zeros_on_purpose
from autoinit.manifest import variables_as_data
from autoinit.propagation import input_signals, plan, predict
from autoinit.reading import read_model


def zeros(units, *arguments, **named):
    return layers.Dense(units, *arguments, kernel_initializer="zeros", **named)


class LowRank(layers.Layer):
    """W x + B (A x), where B starts at zero."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 16), name="w")
        self.a = self.add_weight(shape=(shape[-1], 4), name="a")
        self.b = self.add_weight(shape=(4, 16), initializer="zeros", name="b")

    def call(self, x):
        return ops.matmul(x, self.w) + ops.matmul(ops.matmul(x, self.a), self.b)


def residual(last="linear"):
    x = keras.Input((16,))
    branch = zeros(16, last, name="zero")(layers.Dense(16, "relu")(x))
    return keras.Model(x, layers.Dense(4)(layers.Add(name="sum")([x, branch])))


def chain(*parts):
    return keras.Sequential([keras.Input((16,)), *parts], name="sequential")


def modulated():
    x, given = keras.Input((16,)), keras.Input((16,))
    gate = zeros(16, name="zero")(layers.Dense(16, "silu")(given))
    x2 = layers.Add()([x, layers.Multiply()([layers.Dense(16)(x), gate])])
    return keras.Model([x, given], layers.Dense(4)(x2))


def adapted():
    x = keras.Input((16,))
    return keras.Model(x, layers.Dense(4)(LowRank(name="low_rank")(x)))


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (residual, ["zero/kernel"]),
        (lambda: residual("tanh"), ["zero/kernel"]),
        (lambda: residual("relu"), []),
        (modulated, ["zero/kernel"]),
        (adapted, ["low_rank/b"]),
        (lambda: chain(layers.Dense(8, "relu"), zeros(3, "softmax", name="zero")), ["zero/kernel"]),
        (lambda: chain(layers.Dense(8, "relu"), zeros(3, "relu")), []),
        (lambda: chain(zeros(8, "tanh"), layers.Dense(3)), []),
        (lambda: chain(zeros(8, "relu"), zeros(8, "relu"), zeros(3)), []),
        (lambda: chain(layers.Dense(8), layers.PReLU(), layers.Dense(3)), []),
    ],
)
def test_which_are_on_purpose(make, kept):
    model = make()
    found = zeros_on_purpose(read_model(model), as_array)
    assert [v.path.removeprefix("sequential/") for v in model.weights if id(v) in found] == kept


def test_they_are_kept_and_predicted_to_give_nothing():
    model = residual()
    graph = read_model(model)
    planned = plan(graph, input_signals(graph))
    places = {call.path: call.index for call in graph.calls}
    assert planned.results[places["zero"]].signals[0].variance == 0
    assert planned.results[places["sum"]].signals[0].variance == pytest.approx(1)
    assert planned.results[places["zero"]].weighted
    assert not planned.results[places["zero"]].at_target
    started = AutoInit({"seed": 0}).initialize_model(model)
    assert not np.any(started.get_layer("zero").kernel)
    said = variables_as_data(model, planned.scales, "truncated_normal", 0)
    assert [e["status"] for e in said if e["variable"] == "zero/kernel"] == ["kept"]
    other = AutoInit({"seed": 0, "zero_kernels": "replace"}).initialize_model(model)
    assert np.std(other.get_layer("zero").kernel) > 0.1


def test_one_that_was_trained_starts_at_zero_again():
    model = residual()
    model.get_layer("zero").kernel.assign(np.ones((16, 16)))
    started = AutoInit({"seed": 0}).initialize_model(model)
    assert not np.any(started.get_layer("zero").kernel)
    graph = read_model(started)
    (zero,) = [call for call in graph.calls if call.path == "zero"]
    after = predict(graph, input_signals(graph))
    assert after.results[zero.index].signals[0].variance == 0


def test_a_value_that_is_none():
    with pytest.raises(ValueError, match="keep, replace"):
        AutoInit({"zero_kernels": "drop"})
