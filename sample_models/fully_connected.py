"""Networks of Dense layers."""

from typing import TYPE_CHECKING, Annotated

from sample_models.arguments import Interval

if TYPE_CHECKING:
    import keras


def deep_tanh_mlp(
    depth: Annotated[int, Interval(1, 1000)] = 30, width: Annotated[int, Interval(1, 512)] = 256
) -> "keras.Model":
    """Build a chain of Dense layers with tanh, where signals die out slowly.

    Args:
        depth: hidden layers.
        width: units of the input and of each hidden layer.
    """
    import keras
    from keras import layers

    inputs = x = keras.Input((width,), name="features")
    for index in range(1, depth + 1):
        x = layers.Dense(width, activation="tanh", name=f"dense{index}")(x)
    outputs = layers.Dense(10, activation="softmax", name="classes")(x)
    return keras.Model(inputs, outputs, name="deep_tanh_mlp")
