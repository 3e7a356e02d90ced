"""What a variational autoencoder draws its code with."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="autoinit")
class GaussianSampling(keras.layers.Layer):
    """A draw from N(mean, exp(log_variance)), of two tensors (Kingma & Welling 2014, eq. 10).

    It stands in for a Lambda or a layer that is not run; of more inputs the first two count.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, *_: Any) -> None:
        """There is nothing to build."""
        self.built = True

    def call(self, inputs: Any) -> Any:
        """`mean + exp(log_variance / 2) · z`, of the mean's shape."""
        mean, log_variance = inputs[0], inputs[1]
        noise = keras.random.normal(
            keras.ops.shape(mean), dtype=mean.dtype, seed=self.seed_generator
        )
        return mean + keras.ops.exp(0.5 * log_variance) * noise

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The mean's."""
        return tuple(input_shape[0])
