"""Models as strangers make them with Keras 2: one small builder for each thing seen in practice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tf_keras import Input, Model, Sequential, layers, mixed_precision

IMAGE = (16, 16, 3)

Builder = Callable[[], Any]


def teachable_machine() -> Any:
    """A Sequential of Sequentials, the first around a functional MobileNet."""
    inputs = Input(IMAGE)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(inputs)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.Conv2D(16, 1, use_bias=False)(x)
    body = Model(inputs, x, name="model1")
    features = Sequential([body, layers.GlobalAveragePooling2D()], name="sequential_1")
    top = [
        layers.Dense(20, activation="relu", input_shape=(16,)),
        layers.Dense(3, activation="softmax", use_bias=False),
    ]
    return Sequential([features, Sequential(top, name="sequential_3")], name="sequential_4")


def dense_network() -> Any:
    return Sequential(
        [
            layers.Dense(32, activation="relu", input_shape=(12,)),
            layers.Dropout(0.5),
            layers.Dense(16, activation="tanh"),
            layers.Dense(3, activation="softmax"),
        ]
    )


def convolutional_network() -> Any:
    return Sequential(
        [
            layers.Conv2D(8, (3, 3), activation="relu", input_shape=IMAGE),
            layers.MaxPooling2D(),
            layers.Conv2D(16, (3, 3), padding="same"),
            layers.BatchNormalization(),
            layers.LeakyReLU(0.2),
            layers.AveragePooling2D(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def text_lstm() -> Any:
    """An Embedding at the start of a Sequential, which has no InputLayer then."""
    return Sequential(
        [
            layers.Embedding(50, 16, batch_input_shape=(None, 20)),
            layers.LSTM(12, dropout=0.1),
            layers.Dense(4, activation="softmax"),
        ]
    )


def stacked_recurrent() -> Any:
    inputs = Input((10, 6))
    x = layers.GRU(8, return_sequences=True)(inputs)
    x = layers.GRU(8, return_sequences=True, reset_after=False)(x)
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(x)
    x = layers.TimeDistributed(layers.Dense(8, activation="relu"))(x)
    return Model(inputs, layers.Dense(2)(layers.SimpleRNN(8)(x)))


def recurrent_cells() -> Any:
    inputs = Input((10, 6))
    x = layers.RNN(layers.LSTMCell(8), return_sequences=True)(inputs)
    x = layers.RNN(layers.StackedRNNCells([layers.GRUCell(8), layers.SimpleRNNCell(6)]))(x)
    return Model(inputs, layers.Dense(2)(x))


def nested_twice() -> Any:
    """A shared encoder whose blocks are models of their own."""
    inner_input = Input((16,), name="inner_input")
    x = layers.Dense(16, activation="relu", name="inner_dense")(inner_input)
    block = Model(inner_input, layers.Add()([x, inner_input]), name="block")
    middle_input = Input((16,), name="middle_input")
    encoder = Model(middle_input, layers.Dense(8, name="code")(block(middle_input)), name="encoder")
    left, right = Input((16,), name="left"), Input((16,), name="right")
    merged = layers.Concatenate(name="merged")([encoder(left), encoder(right)])
    return Model([left, right], layers.Dense(1, activation="sigmoid", name="score")(merged))


def nested_sequential() -> Any:
    """`Layer "dense" expects 1 input(s), but it received 2`, says Keras 3 on reloading it."""
    head = Sequential([layers.Dense(8, activation="relu"), layers.Dense(4)], name="head")
    inputs = Input((12,))
    return Model(inputs, head(layers.Dense(12)(inputs)))


def concatenation_along_time() -> Any:
    """Concatenate along another axis than the last, in a nested model."""
    a, b = Input((5, 4)), Input((7, 4))
    inner = Model([a, b], layers.Concatenate(axis=1)([a, b]), name="joined")
    first, second = Input((5, 4)), Input((7, 4))
    x = layers.Conv1D(6, 3)(inner([first, second]))
    return Model([first, second], layers.GlobalMaxPooling1D()(x))


def names_with_slashes() -> Any:
    inputs = Input(IMAGE, name="input/image")
    x = layers.Conv2D(8, 3, name="conv1/conv")(inputs)
    x = layers.BatchNormalization(name="conv1/bn")(x)
    x = layers.Activation("relu", name="conv1/relu")(x)
    x = layers.GlobalAveragePooling2D(name="top/pool")(x)
    return Model(inputs, layers.Dense(4, name="top/fc")(x))


def mixed_precision_model() -> Any:
    policy = mixed_precision.Policy("mixed_float16")
    inputs = Input((12,))
    x = layers.Dense(16, activation="relu", dtype=policy)(inputs)
    x = layers.Dense(16, activation="relu", dtype=policy)(x)
    return Model(inputs, layers.Dense(3, dtype="float32")(x))


def thresholded() -> Any:
    return Sequential(
        [
            layers.Dense(16, input_shape=(12,)),
            layers.ThresholdedReLU(0.5),
            layers.Dense(16),
            layers.PReLU(),
            layers.Dense(8),
            layers.ELU(0.7),
            layers.Dense(4),
            layers.Softmax(),
        ]
    )


def arithmetic() -> Any:
    inputs = Input((12,))
    x = layers.Dense(12)(inputs) * 2.0 + 1.0
    y = (x - inputs) / 3.0
    y = tf.nn.relu(-y) + tf.abs(x)
    y = tf.math.sqrt(tf.square(y) + 1e-3)
    return Model(inputs, layers.Dense(4)(y))


def activations_of_tensorflow() -> Any:
    inputs = Input((16,))
    x = inputs
    for function in (
        tf.nn.relu,
        tf.nn.relu6,
        tf.nn.leaky_relu,
        tf.nn.elu,
        tf.nn.selu,
        tf.nn.tanh,
        tf.nn.sigmoid,
        tf.nn.softplus,
        tf.nn.swish,
        tf.nn.gelu,
    ):
        x = function(layers.Dense(16)(x))
    return Model(inputs, tf.nn.softmax(layers.Dense(4)(x)))


def rearrangements() -> Any:
    inputs = Input((6, 8))
    x = layers.Dense(8)(inputs)
    x = tf.transpose(tf.reshape(x, (-1, 8, 6)), (0, 2, 1))
    first, second = tf.split(x, 2, axis=-1)
    x = tf.concat([second, first], axis=-1)
    x = tf.matmul(x, x, transpose_b=True)
    x = tf.squeeze(tf.expand_dims(x, 1), 1)
    means = tf.reduce_mean(x, axis=1)
    sums = tf.reduce_sum(x, axis=[1])
    return Model(inputs, layers.Dense(2)(tf.stack([means, sums], axis=1)))


def slicing() -> Any:
    inputs = Input((10, 6))
    x = layers.Dense(8)(inputs)
    return Model(inputs, layers.Dense(3)(x[:, -1, :4] + x[:, 0, 4:]))


def resizing() -> Any:
    inputs = Input(IMAGE)
    x = layers.Conv2D(8, 3, strides=2, padding="same")(inputs)
    x = tf.image.resize(x, (16, 16))
    x = layers.UpSampling2D(interpolation="bilinear")(x)
    return Model(inputs, layers.Conv2D(4, 1)(x))


def attention_by_hand() -> Any:
    inputs = Input((8, 16))
    queries, keys, values = (layers.Dense(16)(inputs) for _ in range(3))
    scores = tf.nn.softmax(tf.matmul(queries, keys, transpose_b=True) / 4.0)
    return Model(inputs, layers.LayerNormalization()(tf.matmul(scores, values) + inputs))


def transformer() -> Any:
    inputs = Input((8, 16))
    x = layers.MultiHeadAttention(2, 8)(inputs, inputs)
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, inputs]))
    y = layers.Dense(32, activation="gelu")(x)
    return Model(inputs, layers.Add()([layers.Dense(16)(y), x]))


def mobile_blocks() -> Any:
    """Squeeze and excitation, hard swish by hand: MobileNetV3's way."""
    inputs = Input(IMAGE)
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = layers.SeparableConv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.Multiply()([x, layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)])
    squeezed = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(8, 1, activation="hard_sigmoid")(squeezed)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same")(layers.Multiply()([x, gate]))
    return Model(inputs, layers.Cropping2D(4)(x))


def shared_layer() -> Any:
    shared = layers.Dense(8, activation="relu", name="shared")
    a, b = Input((8,)), Input((8,))
    return Model([a, b], layers.Dot(axes=1)([shared(shared(a)), shared(b)]))


def with_a_lambda() -> Any:
    inputs = Input((12,))
    x = layers.Lambda(lambda x: x * 2.0, name="times_two")(layers.Dense(12)(inputs))
    return Model(inputs, layers.Dense(3)(x))


def preprocessing() -> Any:
    inputs = Input((24, 24, 3))
    x = layers.RandomFlip("horizontal")(inputs)
    x = layers.RandomRotation(0.1)(x)
    x = layers.CenterCrop(16, 16)(x)
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(x)
    x = layers.Conv2D(8, 3, kernel_regularizer="l2", kernel_constraint="max_norm")(x)
    x = layers.SpatialDropout2D(0.2)(layers.GaussianNoise(0.1)(x))
    return Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))


BUILDERS: dict[str, Builder] = {
    builder.__name__: builder
    for builder in (
        teachable_machine, dense_network, convolutional_network, text_lstm, stacked_recurrent,
        recurrent_cells, nested_twice, nested_sequential, concatenation_along_time,
        names_with_slashes, mixed_precision_model, thresholded, arithmetic,
        activations_of_tensorflow, rearrangements, slicing, resizing, attention_by_hand,
        transformer, mobile_blocks, shared_layer, with_a_lambda, preprocessing,
    )
}  # fmt: skip
