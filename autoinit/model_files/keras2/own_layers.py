"""Layers of tf_keras that are ours: placeholders, and one that does not work as it is today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from autoinit.graph.placeholders import OpaqueActivation, inferred_shapes


class Opaque(tf_keras.layers.Layer):
    """Holds the place of a layer that is not run: it has an output shape, and no output.

    Args:
        original: class name of the layer that it stands for.
        reason: why that is not run.
        outputs: how many tensors it returns.
        evidence: see `inferred_shapes`.
    """

    def __init__(
        self,
        original: str,
        reason: str,
        outputs: int = 1,
        evidence: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.original = original
        self.reason = reason
        self.outputs = outputs
        self.evidence = evidence or {}

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Tensors without values, while a graph is built.

        Raises:
            RuntimeError: on values.
        """
        tensors = [t for t in tf.nest.flatten((inputs, args, kwargs)) if tf.is_tensor(t)]
        if tf.executing_eagerly():
            raise RuntimeError(
                f"Layer {self.name!r} ({self.original}) is opaque: it cannot be run."
            )
        shapes = inferred_shapes(tuple(tensors[0].shape), self.evidence, self.outputs)
        results = [
            tf.raw_ops.Placeholder(dtype=self.compute_dtype, shape=shape) for shape in shapes
        ]
        return results[0] if self.outputs == 1 else results

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        own = {
            "original": self.original,
            "reason": self.reason,
            "outputs": self.outputs,
            "evidence": dict(self.evidence),
        }
        return {**super().get_config(), **own}


class SpectralNormalization(tf_keras.layers.SpectralNormalization):
    """The layer, without the specification of its input: tf_keras takes that from Keras 3."""

    @property
    def input_spec(self) -> None:
        """None: any input."""

    @input_spec.setter
    def input_spec(self, value: Any) -> None:
        pass


class GaussianSampling(tf_keras.layers.Layer):
    """`autoinit.gaussian_sampling.GaussianSampling` for tf_keras."""

    def call(self, inputs: Any) -> Any:
        """`mean + exp(log_variance / 2) · z`, of the mean's shape."""
        mean, log_variance = inputs[0], inputs[1]
        return mean + tf.exp(0.5 * log_variance) * tf.random.normal(tf.shape(mean))


OPAQUE = {"Opaque": Opaque, "OpaqueActivation": OpaqueActivation}
