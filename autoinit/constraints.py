"""The constraint behind `constrain_weights`: kernels keep zero mean and their scale in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="autoinit")
class CenteredUnitNorm(keras.constraints.Constraint):
    """Keep each unit's weights at mean 0 and a given root mean square.

    w ← s·(w − mean(w))/rms(w − mean(w)), over the axes that the unit sums over. Centered weight
    normalization (Huang et al. 2017), with the norm that AutoInit chose in place of 1.

    Args:
        standard_deviation: root mean square of each unit's weights.
        axis: the kernel's axes that a unit sums over.

    Example:
        >>> from autoinit import CenteredUnitNorm
        >>> kernel = CenteredUnitNorm(0.5, axis=[0])([[1.0], [3.0]])  # (fan_in, units)
        >>> [round(float(weight), 4) for weight in kernel[:, 0]]
        [-0.5, 0.5]
    """

    def __init__(self, standard_deviation: float, axis: Sequence[int]) -> None:
        self.standard_deviation = float(standard_deviation)
        self.axis = [int(place) for place in axis]

    def __call__(self, w: Any) -> Any:
        """The nearest kernel that satisfies the constraint, up to scale."""
        centered = w - keras.ops.mean(w, axis=self.axis, keepdims=True)
        square = keras.ops.mean(keras.ops.square(centered), axis=self.axis, keepdims=True)
        return (
            self.standard_deviation
            * centered
            / keras.ops.sqrt(square + keras.config.epsilon() ** 2)
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"standard_deviation": self.standard_deviation, "axis": self.axis}
