"""Pre-activation residual networks for 32x32 colour images and ten classes."""

from typing import TYPE_CHECKING

from sample_models.arguments import WrongArgumentError

if TYPE_CHECKING:
    import keras


def resnet(depth: int, block: str, batch_normalization: bool) -> "keras.Model":
    """Build a pre-activation ResNet with He normal weights.

    Three stages of n units each at 16, 32 and 64 filters (four times as many leave a bottleneck);
    the first unit of stages 2 and 3 has stride 2. Where the number of channels changes, the
    shortcut is a 1x1 convolution of the unit's pre-activation; elsewhere it is the identity.

    Args:
        depth: layers on the longest path: 6n + 2 with basic blocks, 9n + 2 with bottlenecks.
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1).
        batch_normalization: before every ReLU; without it, the convolutions have biases.

    Reference: He et al. 2016, "Identity Mappings in Deep Residual Networks";
    Bingham & Miikkulainen, section 5.
    """
    import keras
    from keras import layers

    kernel_sizes = {"basic": (3, 3), "bottleneck": (1, 3, 1)}[block]
    expansion = {"basic": 1, "bottleneck": 4}[block]
    units, remainder = divmod(depth - 2, 3 * len(kernel_sizes))
    if units < 1 or remainder:
        raise WrongArgumentError(
            f"A ResNet of {block} blocks has {3 * len(kernel_sizes)}n + 2 layers. "
            f"Received: depth={depth}."
        )

    def convolution(
        x: "keras.KerasTensor", filters: int, size: int, stride: int, name: str
    ) -> "keras.KerasTensor":
        return layers.Conv2D(
            filters,
            size,
            stride,
            "same",
            use_bias=not batch_normalization,
            kernel_initializer="he_normal",
            name=name,
        )(x)

    def activation(x: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
        if batch_normalization:
            x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    def unit(x: "keras.KerasTensor", filters: int, stride: int, name: str) -> "keras.KerasTensor":
        residual = activation(x, f"{name}_preact1")
        shortcut, channels = x, filters * expansion
        if x.shape[-1] != channels:
            shortcut = convolution(residual, channels, 1, stride, f"{name}_shortcut")
        widths = [filters] * (len(kernel_sizes) - 1) + [channels]
        for index, (width, size) in enumerate(zip(widths, kernel_sizes, strict=True), start=1):
            if index > 1:
                residual = activation(residual, f"{name}_preact{index}")
            step = stride if index == 1 else 1
            residual = convolution(residual, width, size, step, f"{name}_conv{index}")
        # Keras walks the graph by recursion, inputs in order: the shortcut first keeps it shallow.
        return layers.Add(name=f"{name}_add")([shortcut, residual])

    inputs = keras.Input((32, 32, 3), name="image")
    x = convolution(inputs, 16, 3, 1, "conv0")
    for stage, filters in enumerate((16, 32, 64), start=1):
        for index in range(1, units + 1):
            stride = 2 if stage > 1 and index == 1 else 1
            x = unit(x, filters, stride, f"stage{stage}_block{index}")
    x = activation(x, "final")
    x = layers.GlobalAveragePooling2D(name="average")(x)
    outputs = layers.Dense(
        10, activation="softmax", kernel_initializer="he_normal", name="classes"
    )(x)
    suffix = "" if batch_normalization else "_nobn"
    return keras.Model(inputs, outputs, name=f"resnet_{depth}{suffix}")
