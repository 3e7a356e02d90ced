"""AlexNet's local response normalization: a layer that Keras does not have."""

from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="sample_models")
class LocalResponseNormalization(layers.Layer):
    """Divide each channel by the energy of its neighbours, y = x / (k + a sum x^2)^b.

    Args:
        window: channels that are summed over, centred on the one that is divided.
        bias: k.
        alpha: a.
        beta: b.

    Reference: Krizhevsky, Sutskever & Hinton 2012, section 3.3; their constants are the defaults.
    """

    def __init__(
        self,
        window: int = 5,
        bias: float = 2.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.window, self.bias, self.alpha, self.beta = window, bias, alpha, beta

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Divide the inputs, channels last, by their neighbours' energy."""
        channels = inputs.shape[-1]
        before = self.window // 2
        padding = [(0, 0)] * (len(inputs.shape) - 1) + [(before, self.window - 1 - before)]
        squares = ops.pad(ops.square(inputs), padding)
        energy = sum(squares[..., shift : shift + channels] for shift in range(self.window))
        return inputs / ops.power(self.bias + self.alpha * energy, self.beta)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what the constructor takes."""
        return {
            **super().get_config(),
            "window": self.window,
            "bias": self.bias,
            "alpha": self.alpha,
            "beta": self.beta,
        }
