"""Convolutional networks for 32x32 colour images and ten classes."""

from typing import TYPE_CHECKING, Annotated, Literal

from sample_models.arguments import Interval

if TYPE_CHECKING:
    import keras

Activation = Literal[
    "relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus", "leaky_relu"
]
DropoutRate = Annotated[float, Interval(0, 0.9)]


def all_cnn_c(
    activation: Activation = "relu",
    dropout: DropoutRate = 0.5,
    width: Annotated[int, Interval(4, 96)] = 96,
) -> "keras.Model":
    """Build All-CNN-C, with Keras's default Glorot uniform weights (1,369,738 parameters).

    Activations are layers of their own, so that each is a point of the plot beside its
    convolution. As in the source, the third 3x3 convolution of 192 filters is not padded, and the
    ten class scores pass through the activation before they are averaged.

    Args:
        activation: after every convolution.
        dropout: the rate after each convolution of stride 2. The input is dropped at 0.2 as in the
            source, whatever the rate; with a rate of 0 the network has no dropout at all.
        width: filters of the first convolutions, and half as many as the later ones have.

    Reference: Springenberg et al. 2015, "Striving for Simplicity", table 1 and section 3.2;
    Bingham & Miikkulainen, section 4.
    """
    import keras
    from keras import layers

    # filters, kernel size, stride, padding
    convolutions = [
        (width, 3, 1, "same"),
        (width, 3, 1, "same"),
        (width, 3, 2, "same"),
        (2 * width, 3, 1, "same"),
        (2 * width, 3, 1, "same"),
        (2 * width, 3, 2, "same"),
        (2 * width, 3, 1, "valid"),
        (2 * width, 1, 1, "same"),
        (10, 1, 1, "same"),
    ]
    inputs = x = keras.Input((32, 32, 3), name="image")
    if dropout > 0:
        x = layers.Dropout(0.2, name="input_dropout")(x)
    for index, (filters, size, stride, padding) in enumerate(convolutions, start=1):
        name = f"conv{index}"
        x = layers.Conv2D(filters, size, stride, padding, name=name)(x)
        x = layers.Activation(activation, name=f"{name}_{activation}")(x)
        if stride == 2 and dropout > 0:
            x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    outputs = layers.Softmax(name="softmax")(x)
    return keras.Model(inputs, outputs, name="all_cnn_c")


def vgg_like(
    width: Annotated[int, Interval(4, 64)] = 32, dropout: DropoutRate = 0.5
) -> "keras.Model":
    """Build the thirteen convolutions of VGG-16 with max pooling and a head of three Dense layers.

    Activations are fused into their layers, as in most networks of practice.

    Args:
        width: filters of the first stage; VGG-16 itself has 64. The head has eight times as many
            units, because images of 32x32 leave nothing for its 4,096.
        dropout: the rate in the head.

    Reference: Simonyan & Zisserman 2015, "Very Deep Convolutional Networks", configuration D.
    """
    import keras
    from keras import layers

    stages = [(width, 2), (2 * width, 2), (4 * width, 3), (8 * width, 3), (8 * width, 3)]
    inputs = x = keras.Input((32, 32, 3), name="image")
    for stage, (filters, depth) in enumerate(stages, start=1):
        for index in range(1, depth + 1):
            name = f"stage{stage}_conv{index}"
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for index in (1, 2):
        x = layers.Dense(8 * width, activation="relu", name=f"dense{index}")(x)
        x = layers.Dropout(dropout, name=f"dense{index}_dropout")(x)
    outputs = layers.Dense(10, activation="softmax", name="classes")(x)
    return keras.Model(inputs, outputs, name="vgg_like")


def densenet_like(growth_rate: Annotated[int, Interval(4, 32)] = 12) -> "keras.Model":
    """Build three dense blocks of four layers, with average pooling between them.

    Each layer's output is concatenated to its input; each transition halves channels and sides.

    Args:
        growth_rate: filters that each layer adds.

    Reference: Huang et al. 2017, "Densely Connected Convolutional Networks".
    """
    import keras
    from keras import layers

    def convolution(
        x: "keras.KerasTensor", filters: int, size: int, name: str
    ) -> "keras.KerasTensor":
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        return layers.Conv2D(filters, size, padding="same", use_bias=False, name=name)(x)

    inputs = keras.Input((32, 32, 3), name="image")
    x = layers.Conv2D(2 * growth_rate, 3, padding="same", use_bias=False, name="conv0")(inputs)
    for block in (1, 2, 3):
        for index in (1, 2, 3, 4):
            name = f"block{block}_conv{index}"
            grown = convolution(x, growth_rate, 3, name)
            x = layers.Concatenate(name=f"block{block}_concat{index}")([x, grown])
        if block < 3:
            x = convolution(x, x.shape[-1] // 2, 1, f"transition{block}_conv")
            x = layers.AveragePooling2D(2, name=f"transition{block}_pool")(x)
    x = layers.BatchNormalization(name="final_bn")(x)
    x = layers.ReLU(name="final_relu")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    outputs = layers.Dense(10, activation="softmax", name="classes")(x)
    return keras.Model(inputs, outputs, name="densenet_like")
