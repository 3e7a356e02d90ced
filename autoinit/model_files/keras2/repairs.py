"""tf_keras layers that do not work as they are with the TensorFlow of today."""

from __future__ import annotations

from typing import Any

import tf_keras


class SpectralNormalization(tf_keras.layers.SpectralNormalization):
    """The layer, without the specification of its input: tf_keras takes that from Keras 3."""

    @property
    def input_spec(self) -> None:
        """None: any input."""

    @input_spec.setter
    def input_spec(self, value: Any) -> None:
        pass
