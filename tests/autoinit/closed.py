"""A layer that cannot be opened, for tests of what happens then."""

import keras
import tensorflow as tf
from keras import layers


@keras.saving.register_keras_serializable(package="tests")
class Closed(layers.Layer):
    """Returns its input times a factor, by a function that symbolic tensors cannot enter."""

    def __init__(self, factor=1.0, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs):
        return tf.identity(inputs) * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
