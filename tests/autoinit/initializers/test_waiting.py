"""A `kernel_initializer` that follows what is before its layer, held against AutoInit's plan."""

import keras
import numpy as np
import pytest
from keras import layers

from autoinit import AutoInit, AutoInitializer


def network(initializer=AutoInitializer):
    """Convolutions of several kinds, a residual branch, an attention, a head by He."""
    inputs = keras.Input((12, 12, 8))
    x = first = layers.Conv2D(32, 3, activation="relu", kernel_initializer=initializer())(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=initializer())(x)
    x = layers.Conv2D(32, 1, kernel_initializer=initializer())(layers.ELU()(x))
    x = layers.Reshape((100, 32))(layers.Add()([first, x]))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 16, kernel_initializer=initializer())(x, x)])
    x = layers.Dense(64, "tanh", kernel_initializer="he_normal")(x)
    return keras.Model(inputs, layers.Dense(64, kernel_initializer=initializer())(x))


@pytest.fixture(scope="module")
def built():
    keras.utils.set_random_seed(0)
    return network()


def test_scales_are_those_of_the_plan_of_the_whole_model(built):
    scales = AutoInit().plan(built).scales
    assert len(scales) == 9
    for each in scales[:-2]:
        drawn = np.asarray(each.kernel.variable).std()
        assert drawn == pytest.approx(each.standard_deviation, rel=0.1), each.path
    # The last layer reads what He's kernel gives: tanh of a variance of 2 E x², not of 1.
    gained = scales[-1].standard_deviation / np.asarray(scales[-1].kernel.variable).std()
    assert gained > 1.1


def test_what_is_left_is_a_plain_model_but_for_layers_that_hold_others(built, tmp_path):
    named = [layer for layer in built.layers if "AutoInitializer" in str(layer.get_config())]
    assert [type(layer).__name__ for layer in named] == ["MultiHeadAttention"]
    assert all(len(layer._inbound_nodes) == 1 for layer in built.layers)
    built.save(tmp_path / "model.keras")
    opened = keras.models.load_model(tmp_path / "model.keras")
    assert all(np.array_equal(a, b) for a, b in zip(built.weights, opened.weights, strict=True))


def test_one_of_a_sequential_model_waits_for_its_input():
    keras.utils.set_random_seed(0)
    initializer = AutoInitializer(input_variance=4.0, signal_variance=0.5)
    stack = [
        layers.Dense(300, kernel_initializer=initializer),
        layers.ReLU(),
        layers.TimeDistributed(layers.Dense(300, kernel_initializer=initializer)),
    ]
    model = keras.Sequential(stack)
    model(np.zeros((2, 5, 200), "float32"))
    assert model.layers[0].kernel.numpy().var() * 200 * 4.0 == pytest.approx(0.5, rel=0.02)
    of_relu = model.layers[2].layer.kernel.numpy().var() * 300 * 0.25  # E max(0, z)², Var z = 0.5
    assert of_relu == pytest.approx(0.5, rel=0.02)


def test_one_for_all_kernels_of_a_layer():
    keras.utils.set_random_seed(0)
    one = AutoInitializer()
    layer = layers.SeparableConv2D(64, 3, depthwise_initializer=one, pointwise_initializer=one)
    model = keras.Model(x := keras.Input((9, 9, 32)), layer(x))
    planned = [each.standard_deviation for each in AutoInit().plan(model).scales]
    drawn = [kernel.numpy().std() for kernel in (layer.depthwise_kernel, layer.pointwise_kernel)]
    assert drawn == pytest.approx(planned, rel=0.1)
    assert "AutoInitializer" not in str(layer.get_config())


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(300, kernel_initializer=AutoInitializer("uniform"))

    def call(self, x):
        return self.dense(keras.ops.relu(x))


def test_without_a_graph_a_layer_reads_numbers_of_variance_1():
    keras.utils.set_random_seed(0)
    alone = layers.Dense(300, kernel_initializer=AutoInitializer())
    alone.build((None, 200))
    assert alone.kernel.numpy().var() * 200 == pytest.approx(1.0, rel=0.02)
    own = Own()
    with pytest.warns(UserWarning, match="cannot be followed"):
        keras.Model(x := keras.Input((200,)), own(x))
    assert own.dense.kernel.numpy().var() * 200 == pytest.approx(1.0, rel=0.02)


def test_it_is_kept_in_configurations():
    given = AutoInitializer("orthogonal", 0.5, {"x": 1.0}, 2.0, seed=3)
    layer = layers.Dense(4, kernel_initializer=given)
    again = layers.Dense.from_config(layer.get_config()).kernel_initializer
    assert again.get_config() == given.get_config()
    assert np.array_equal(again((4, 4)), given((4, 4)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distribution": "normal"}, "distribution must be one of"),
        ({"signal_variance": 0.0}, "signal_variance must be positive"),
    ],
)
def test_wrong_arguments_get_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        AutoInitializer(**options)
