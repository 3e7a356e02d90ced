"""A network with a layer of its own, for which no rule is written."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def custom_layer() -> "keras.Model":
    """Build a small CNN with a custom layer in the middle, made of operations of Keras."""
    import keras
    from keras import layers

    # The class needs Keras to be defined, and this module must not import it.
    from sample_models.local_response_normalization import LocalResponseNormalization

    inputs = keras.Input((32, 32, 3), name="image")
    x = layers.Conv2D(32, 5, padding="same", activation="relu", name="conv1")(inputs)
    x = layers.MaxPooling2D(2, name="pool1")(x)
    x = LocalResponseNormalization(name="local_response")(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, name="pool2")(x)
    x = layers.Flatten(name="flatten")(x)
    outputs = layers.Dense(10, activation="softmax", name="classes")(x)
    return keras.Model(inputs, outputs, name="custom_layer")
