"""Networks as tutorials and books have them, in small: each is known to learn as it is.

Stacks, graphs and models within models; several inputs and outputs; sizes that stay open; words,
images, sequences, points and tables.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import Model, Sequential, layers, ops

TUTORIALS: dict[str, Callable[[], Model]] = {}


def tutorial(build: Callable[[], Model]) -> Callable[[], Model]:
    """Registers a network by its name."""
    TUTORIALS[build.__name__] = build
    return build


def compiled(model: Model, loss: str, optimizer: str = "adam") -> Model:
    model.compile(optimizer, loss)
    return model


@tutorial
def words_by_convolutions() -> Model:
    stack = [
        layers.Embedding(500, 32),
        layers.Dropout(0.5),
        layers.Conv1D(32, 7, strides=3, activation="relu"),
        layers.GlobalMaxPooling1D(),
        layers.Dense(32, "relu"),
        layers.Dense(1, "sigmoid"),
    ]
    return compiled(Sequential([keras.Input((None,), dtype="int64"), *stack]), "bce")


@tutorial
def words_in_both_directions() -> Model:
    stack = [
        layers.Embedding(500, 32, mask_zero=True),
        layers.Bidirectional(layers.LSTM(16, return_sequences=True)),
        layers.Bidirectional(layers.LSTM(8)),
        layers.Dense(16, "relu"),
        layers.Dense(1, "sigmoid"),
    ]
    return compiled(Sequential([keras.Input((None,)), *stack]), "bce")


@tutorial
def characters() -> Model:
    stack = [
        layers.Embedding(65, 32),
        layers.GRU(64, return_sequences=True),
        layers.Dense(65, "softmax"),
    ]
    model = Sequential([keras.Input((None,)), *stack])
    return compiled(model, "sparse_categorical_crossentropy")


@tutorial
def sequence_to_sequence() -> Model:
    source, target = keras.Input((None, 20)), keras.Input((None, 24))
    _, *state = layers.LSTM(32, return_state=True)(source)
    y, *_ = layers.LSTM(32, return_sequences=True, return_state=True)(target, initial_state=state)
    model = Model([source, target], layers.Dense(24, "softmax")(y))
    return compiled(model, "categorical_crossentropy", "rmsprop")


@tutorial
def addition() -> Model:
    stack = [
        layers.LSTM(32),
        layers.RepeatVector(4),
        layers.LSTM(32, return_sequences=True),
        layers.Dense(12, "softmax"),
    ]
    return compiled(Sequential([keras.Input((7, 12)), *stack]), "categorical_crossentropy")


@tutorial
def weather_residual() -> Model:
    x = keras.Input((24, 19))
    y = layers.LSTM(32, return_sequences=True)(x)
    return compiled(
        Model(x, layers.Add()([x, layers.Dense(19, kernel_initializer="zeros")(y)])), "mse"
    )


@tutorial
def stock_prices() -> Model:
    stack = []
    for rows in (True, True, False):
        stack += [layers.LSTM(24, return_sequences=rows), layers.Dropout(0.2)]
    return compiled(Sequential([keras.Input((30, 1)), *stack, layers.Dense(1)]), "mse")


@tutorial
def masked_numbers() -> Model:
    stack = [layers.Masking(0.0), layers.LSTM(32), layers.Dense(3, "softmax")]
    return compiled(Sequential([keras.Input((None, 6)), *stack]), "categorical_crossentropy")


@tutorial
def wavenet() -> Model:
    stack = [
        layers.Conv1D(20, 2, padding="causal", activation="relu", dilation_rate=rate)
        for rate in (1, 2, 4, 8) * 2
    ]
    return compiled(Sequential([keras.Input((None, 1)), *stack, layers.Conv1D(14, 1)]), "mse")


@tutorial
def anomalies_of_series() -> Model:
    down = [layers.Conv1D(n, 7, 2, padding="same", activation="relu") for n in (32, 16)]
    up = [layers.Conv1DTranspose(n, 7, 2, padding="same", activation="relu") for n in (16, 32)]
    last = layers.Conv1DTranspose(1, 7, padding="same")
    return compiled(Sequential([keras.Input((48, 1)), *down, *up, last]), "mse")


@tutorial
def images_of_any_size() -> Model:
    stack = [
        layers.Rescaling(1 / 255),
        layers.Conv2D(16, 3, activation="relu"),
        layers.Conv2D(32, 3, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(5, "softmax"),
    ]
    model = Sequential([keras.Input((None, None, 3)), *stack])
    return compiled(model, "sparse_categorical_crossentropy")


@tutorial
def super_resolution() -> Model:
    x = inputs = keras.Input((None, None, 1))
    for filters, size in ((64, 5), (64, 3), (32, 3)):
        x = layers.Conv2D(
            filters, size, padding="same", activation="relu", kernel_initializer="orthogonal"
        )(x)
    return compiled(Model(inputs, layers.Conv2DTranspose(1, 3, 3, padding="same")(x)), "mse")


@tutorial
def autoencoder_of_models() -> Model:
    down = [layers.Conv2D(n, 3, 2, padding="same", activation="relu") for n in (16, 8)]
    up = [layers.Conv2DTranspose(n, 3, 2, padding="same", activation="relu") for n in (8, 16)]
    last = layers.Conv2D(1, 3, padding="same", activation="sigmoid")
    encoder = Sequential([keras.Input((12, 12, 1)), *down])
    decoder = Sequential([keras.Input((3, 3, 8)), *up, last])
    return compiled(Sequential([keras.Input((12, 12, 1)), encoder, decoder]), "mse")


@tutorial
def segmentation() -> Model:
    x = inputs = keras.Input((16, 16, 3))
    kept = []
    for filters in (16, 32):
        x = layers.BatchNormalization()(layers.SeparableConv2D(filters, 3, padding="same")(x))
        x = layers.Activation("relu")(x)
        kept.append(x)
        x = layers.MaxPooling2D()(x)
    for filters in (32, 16):
        x = layers.Conv2DTranspose(filters, 3, 2, padding="same", activation="relu")(x)
        x = layers.Concatenate()([x, kept.pop()])
    x = layers.Conv2D(3, 1, activation="softmax")(x)
    return compiled(Model(inputs, x), "sparse_categorical_crossentropy")


@tutorial
def paintings_by_one_initializer() -> Model:
    """pix2pix: one initializer object, whose kernels of one shape are equal, draws all."""
    draw = keras.initializers.RandomNormal(0.0, 0.02)
    x = inputs = keras.Input((16, 16, 3))
    kept = []
    for filters, normalized in ((32, False), (32, True), (32, True)):
        x = layers.Conv2D(filters, 4, 2, padding="same", use_bias=False, kernel_initializer=draw)(x)
        x = layers.LeakyReLU()(layers.BatchNormalization()(x) if normalized else x)
        kept.append(x)
    for skip in kept[1::-1]:
        x = layers.Conv2DTranspose(
            32, 4, 2, padding="same", use_bias=False, kernel_initializer=draw
        )(x)
        x = layers.Concatenate()([layers.ReLU()(layers.BatchNormalization()(x)), skip])
    x = layers.Conv2DTranspose(3, 4, 2, "same", kernel_initializer=draw, activation="tanh")(x)
    return Model(inputs, x)


@tutorial
def vision_transformer() -> Model:
    inputs = keras.Input((24, 24, 3))
    x = layers.Reshape((16, 32))(layers.Conv2D(32, 6, 6)(inputs))
    x = x + layers.Embedding(16, 32)(ops.expand_dims(ops.arange(16), 0))
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.MultiHeadAttention(4, 16, dropout=0.1)(y, y)
        y = layers.Dense(64, "gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
        x = x + layers.Dense(32, "gelu")(y)
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(x))
    return compiled(Model(inputs, layers.Dense(10, "softmax")(x)), "categorical_crossentropy")


@tutorial
def mixer() -> Model:
    inputs = keras.Input((16, 16, 3))
    x = layers.Reshape((16, 32))(layers.Conv2D(32, 4, 4)(inputs))
    for _ in range(2):
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        y = layers.Dense(16)(layers.Dense(16, "gelu")(y))
        x = x + layers.Permute((2, 1))(y)
        x = x + layers.Dense(32)(layers.Dense(32, "gelu")(layers.LayerNormalization()(x)))
    x = layers.Dense(10, "softmax")(layers.GlobalAveragePooling1D()(x))
    return compiled(Model(inputs, x), "sparse_categorical_crossentropy")


@tutorial
def small_gpt() -> Model:
    inputs = keras.Input((20,), dtype="int32")
    x = layers.Embedding(200, 32)(inputs) + layers.Embedding(20, 32)(ops.arange(20))
    y = layers.MultiHeadAttention(2, 32)(x, x, use_causal_mask=True)
    x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dropout(0.1)(y))
    y = layers.Dense(32)(layers.Dense(64, "relu")(x))
    x = layers.LayerNormalization(epsilon=1e-6)(x + y)
    model = Model(inputs, layers.Dense(200, "softmax")(x))
    return compiled(model, "sparse_categorical_crossentropy")


@tutorial
def films() -> Model:
    user, film = (keras.Input((1,), dtype="int32") for _ in range(2))
    liked = [
        layers.Flatten()(layers.Embedding(100, 16, embeddings_initializer="he_normal")(each))
        for each in (user, film)
    ]
    biases = [layers.Flatten()(layers.Embedding(100, 1)(each)) for each in (user, film)]
    x = layers.Dot(1)(liked) + biases[0] + biases[1]
    return compiled(Model([user, film], layers.Activation("sigmoid")(x)), "bce")


@tutorial
def patients() -> Model:
    numbers = [keras.Input((1,)) for _ in range(3)]
    kinds = [keras.Input((1,), dtype="int64") for _ in range(2)]
    known = [layers.Normalization(mean=50.0, variance=100.0)(each) for each in numbers]
    known += [layers.CategoryEncoding(5, output_mode="one_hot")(each) for each in kinds]
    x = layers.Dropout(0.5)(layers.Dense(32, "relu")(layers.Concatenate()(known)))
    return compiled(Model([*numbers, *kinds], layers.Dense(1, "sigmoid")(x)), "bce")


@tutorial
def wide_and_deep() -> Model:
    x = keras.Input((8,))
    deep = layers.Dense(30, "relu")(layers.Dense(30, "relu")(x))
    return compiled(Model(x, layers.Dense(1)(layers.Concatenate()([x, deep]))), "mse", "sgd")


@tutorial
def captions() -> Model:
    image, words = keras.Input((256,)), keras.Input((12,))
    seen = layers.Dense(64, "relu")(layers.Dropout(0.5)(image))
    read = layers.LSTM(64)(layers.Embedding(300, 64, mask_zero=True)(words))
    x = layers.Dense(64, "relu")(layers.Add()([seen, read]))
    model = Model([image, words], layers.Dense(300, "softmax")(x))
    return compiled(model, "categorical_crossentropy")


@tutorial
def twins() -> Model:
    x = given = keras.Input((14, 14, 1))
    for filters in (4, 16):
        x = layers.AveragePooling2D(2)(layers.Conv2D(filters, 3, activation="tanh")(x))
    tower = Model(given, layers.Dense(10, "tanh")(layers.BatchNormalization()(layers.Flatten()(x))))
    one, two = keras.Input((14, 14, 1)), keras.Input((14, 14, 1))
    squares = ops.sum(ops.square(tower(one) - tower(two)), axis=1, keepdims=True)
    x = layers.BatchNormalization()(ops.sqrt(ops.maximum(squares, 1e-7)))
    return compiled(Model([one, two], layers.Dense(1, "sigmoid")(x)), "bce", "rmsprop")


@tutorial
def encoder_of_a_vae() -> Model:
    x = inputs = keras.Input((16, 16, 1))
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
    x = layers.Dense(16, "relu")(layers.Flatten()(x))
    return Model(inputs, [layers.Dense(2, name="mean")(x), layers.Dense(2, name="log_var")(x)])


@tutorial
def actor_and_critic() -> Model:
    x = keras.Input((4,))
    common = layers.Dense(128, "relu")(x)
    return Model(x, [layers.Dense(2, "softmax")(common), layers.Dense(1)(common)])


@tutorial
def points() -> Model:
    x = inputs = keras.Input((64, 3))
    for filters in (32, 64):
        x = layers.BatchNormalization(momentum=0.0)(layers.Conv1D(filters, 1)(x))
        x = layers.Activation("relu")(x)
    x = layers.Dropout(0.3)(layers.Dense(32, "relu")(layers.GlobalMaxPooling1D()(x)))
    model = Model(inputs, layers.Dense(10, "softmax")(x))
    return compiled(model, "sparse_categorical_crossentropy")


@tutorial
def forecasts_by_residuals() -> Model:
    rest = inputs = keras.Input((24,))
    told = []
    for _ in range(3):
        x = layers.Dense(64, "relu")(layers.Dense(64, "relu")(rest))
        rest = layers.Subtract()([rest, layers.Dense(24)(x)])
        told.append(layers.Dense(6)(x))
    return compiled(Model(inputs, layers.Add()(told)), "mae")


@tutorial
def tables_by_gates() -> Model:
    x = inputs = keras.Input((13,))
    x = layers.Dense(32)(x)
    for _ in range(2):
        y = layers.Dense(32)(layers.Dense(32, "elu")(x))
        x = layers.LayerNormalization()(x + layers.Dense(32)(y) * layers.Dense(32, "sigmoid")(y))
    return compiled(Model(inputs, layers.Dense(1)(x)), "mse")


@tutorial
def passengers() -> Model:
    """Kernels of U(-0.05, 0.05) are too small, which Adam makes good."""
    stack = [layers.Dense(n, "relu", kernel_initializer="uniform") for n in (16, 8)]
    last = layers.Dense(1, "sigmoid", kernel_initializer="uniform")
    return compiled(Sequential([keras.Input((7,)), *stack, last]), "bce")
