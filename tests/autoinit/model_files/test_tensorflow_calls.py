"""TensorFlow's functions in code for Keras 3: opened into the operations that they are."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from autoinit.model_files import open_model_file
from autoinit.model_files.tensorflow_calls import record_functions
from autoinit.reading import read_model
from tests.autoinit.graph.test_tracing import outputs_of


@pytest.fixture(autouse=True)
def recorded():
    record_functions(True)


def network(function, shape=(6, 8)):
    """A model of a layer whose code is a dense layer and some function."""

    class Own(layers.Layer):
        def __init__(self):
            super().__init__(name="own")
            self.dense = layers.Dense(8, name="dense")
            self.scale = self.add_weight(shape=(8,), initializer="ones", name="scale")

        def call(self, x):
            return function(self.dense(x) * self.scale)

    data = keras.Input(shape)
    return keras.Model(data, Own()(data))


@pytest.mark.parametrize(
    ("function", "kinds"),
    [
        (tf.nn.relu, ["Relu"]),
        (lambda x: tf.concat([x, tf.square(x)], -1), ["Square", "Concatenate"]),
        (lambda x: tf.reshape(x, [tf.shape(x)[0], -1, 4]), ["Reshape"]),
        (lambda x: tf.reduce_mean(x, axis=[1], keepdims=True), ["Mean"]),
        (lambda x: tf.matmul(x, x, transpose_b=True), ["Swapaxes", "Matmul"]),
        (lambda x: tf.nn.softmax(x / tf.sqrt(8.0)), ["TrueDivide", "Softmax"]),
        (lambda x: tf.math.l2_normalize(x, -1), None),
        (lambda x: tf.split(x, 2, axis=-1)[1] * 2.0, ["Split", "Multiply"]),
        (lambda x: tf.math.top_k(x, 3).values, ["TensorFlowFunction"]),
        (lambda x: tf.where(x > 0.0, x, tf.zeros_like(x)), None),
        (lambda x: tf.einsum("bij,bkj->bik", x, x), ["Einsum"]),
    ],
)
def test_functions_are_recorded_and_compute_the_same(function, kinds):
    model = network(function)
    graph = read_model(model)
    paths = [call.path for call in graph.calls]
    assert "own/dense" in paths
    if kinds is not None:
        found = [type(call.layer).__name__ for call in graph.calls]
        assert found[-len(kinds) :] == kinds
    x = np.random.default_rng(0).standard_normal((3, 6, 8)).astype("float32")
    np.testing.assert_allclose(outputs_of(graph, x)[0], model(x), rtol=1e-5, atol=1e-6)


def test_what_is_not_traced_is_left_to_keras():
    with pytest.raises(ValueError, match="KerasTensor cannot be used"):
        tf.nn.relu(keras.Input((3,)))


def test_a_function_that_is_not_known_leaves_the_layer_closed():
    graph = read_model(network(lambda x: tf.raw_ops.Betainc(a=x, b=x, x=x)))
    assert [call.path for call in graph.calls][1:] == ["own"]


def test_only_what_comes_with_code_is_followed(tmp_path):
    keras.Sequential([keras.Input((3,)), layers.Dense(2)]).save(tmp_path / "model.keras")
    open_model_file(tmp_path / "model.keras")
    assert [call.path for call in read_model(network(tf.nn.relu)).calls][1:] == ["own"]
