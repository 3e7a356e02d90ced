"""A network that is no chain: several inputs and outputs, a nested model, shared layers."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def multi_input() -> "keras.Model":
    """Build a network that compares two images and classifies the first with the help of features.

    The image encoder is a model of its own and is used twice, as is the Dense layer after it.
    """
    import keras
    from keras import layers

    encoder = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="conv1"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="conv2"),
            layers.GlobalAveragePooling2D(name="average"),
        ],
        name="encoder",
    )
    projection = layers.Dense(64, activation="tanh", name="projection")

    first = keras.Input((32, 32, 3), name="first_image")
    second = keras.Input((32, 32, 3), name="second_image")
    features = keras.Input((12,), name="features")

    first_code = projection(encoder(first))
    second_code = projection(encoder(second))
    difference = layers.Subtract(name="difference")([first_code, second_code])
    similarity = layers.Dense(1, activation="sigmoid", name="similarity")(difference)

    feature_code = layers.Dense(64, activation="relu", name="feature_code")(features)
    joined = layers.Concatenate(name="joined")([first_code, feature_code])
    hidden = layers.Dense(64, activation="relu", name="hidden")(joined)
    category = layers.Dense(10, activation="softmax", name="category")(hidden)
    return keras.Model([first, second, features], [category, similarity], name="multi_input")
