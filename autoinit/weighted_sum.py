"""A sum whose coefficients keep the variance: residual networks with it do not grow with depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="autoinit")
class WeightedSum(keras.layers.Layer):
    """Σᵢ cᵢ·xᵢ of tensors of one shape, with a coefficient for each.

    The coefficients are 1 to begin with, which makes it `keras.layers.Add`; `AutoInit` sets all of
    them to √(target/Var Σᵢ xᵢ). They stay constant in training unless `trainable_coefficients`.

    Args:
        trainable_coefficients: whether training changes them.

    Example:
        >>> import keras
        >>> from autoinit import AutoInit, WeightedSum
        >>> x = keras.Input((64,))
        >>> total = WeightedSum(name="sum")([x, keras.layers.Dense(64)(x)])
        >>> model = AutoInit({"seed": 0}).initialize_model(keras.Model(x, total))
        >>> [round(float(c), 2) for c in model.get_layer("sum").coefficients.numpy()]  # √(1/2)
        [0.71, 0.71]
    """

    def __init__(self, trainable_coefficients: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.trainable_coefficients = trainable_coefficients
        self.supports_masking = True

    def build(self, input_shape: Sequence[Any]) -> None:
        """Make the coefficients.

        Raises:
            ValueError: for a single tensor, or tensors of different shapes.
        """
        shapes = [tuple(shape) for shape in input_shape if isinstance(shape, (list, tuple))]
        if len(shapes) < 2 or len({shape[1:] for shape in shapes}) > 1:
            raise ValueError(
                f"WeightedSum {self.name!r} adds two tensors or more of one shape. Received "
                f"shapes: {input_shape}"
            )
        self.coefficients = self.add_weight(
            shape=(len(shapes),),
            initializer="ones",
            trainable=self.trainable_coefficients,
            name="coefficients",
        )

    def call(self, inputs: Sequence[Any]) -> Any:
        """The weighted sum.

        Args:
            inputs: tensors of one shape.
        """
        coefficients = keras.ops.unstack(keras.ops.cast(self.coefficients, self.compute_dtype))
        total = coefficients[0] * inputs[0]
        for coefficient, tensor in zip(coefficients[1:], inputs[1:], strict=True):
            total = total + coefficient * tensor
        return total

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        """That of each of the inputs."""
        return input_shape[0]

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """None: the masks of several tensors are not joined."""

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        own = {"trainable_coefficients": self.trainable_coefficients}
        return {**super().get_config(), **own}
