"""A layer that cannot be opened, for tests of what happens then."""

import importlib

import keras
from keras import layers

# Functions of the frameworks themselves that return what they are given.
_IDENTITIES = {
    "tensorflow": ("tensorflow.experimental.numpy", "copy"),
    "jax": ("jax.numpy", "copy"),
    "torch": ("torch", "clone"),
}


@keras.saving.register_keras_serializable(package="tests")
class Closed(layers.Layer):
    """Returns its input times a factor, by a function that symbolic tensors cannot enter.

    Nor is it one of those that are recorded as operations in code that came with a file.
    """

    def __init__(self, factor=1.0, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs):
        module, name = _IDENTITIES[keras.backend.backend()]
        return getattr(importlib.import_module(module), name)(inputs) * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
