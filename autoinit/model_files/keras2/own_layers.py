"""Layers of tf_keras that are ours: placeholders, what does not work as it is today, and Addons.

Those of TensorFlow Addons, which is no longer made, are written anew from what they are documented
to compute, with its names and the order of its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
import tf_keras

from autoinit.graph import keras_internals as internals
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
    """`autoinit.stand_ins.GaussianSampling` for tf_keras."""

    def call(self, inputs: Any) -> Any:
        """`mean + exp(log_variance / 2) · z`, of the mean's shape."""
        mean, log_variance = inputs[0], inputs[1]
        return mean + tf.exp(0.5 * log_variance) * tf.random.normal(tf.shape(mean))


class InstanceNormalization(tf_keras.layers.GroupNormalization):
    """Of Addons: as many groups as there are channels."""

    def __init__(self, groups: int = -1, **options: Any) -> None:
        super().__init__(groups=groups, **options)


class GELU(tf_keras.layers.Layer):
    """Of Addons: the activation, by default by its approximation."""

    def __init__(self, approximate: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.approximate = approximate
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """The activation."""
        return tf.nn.gelu(inputs, self.approximate)


class Sparsemax(tf_keras.layers.Layer):
    """Of Addons: the activation along an axis."""

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """The activation."""
        return keras.activations.sparsemax(inputs, axis=self.axis)


class WeightNormalization(tf_keras.layers.Wrapper):
    """Of Addons: a layer whose kernel is `g·v/‖v‖`, for each of its units.

    Args:
        layer: which has `v` for its kernel; of a recurrent one it is the recurrent kernel.
        data_init: whether the first batch in training sets `g`. Such a layer has a copy.
    """

    def __init__(self, layer: Any, data_init: bool = True, **options: Any) -> None:
        super().__init__(layer, **options)
        self.data_init = data_init

    @property
    def _is_recurrent(self) -> bool:
        return isinstance(self.layer, tf_keras.layers.RNN)

    @property
    def _holder(self) -> Any:
        return self.layer.cell if self._is_recurrent else self.layer

    @property
    def kernel_and_norms(self) -> tuple[Any, Any]:
        """The variables `v` and `g`."""
        return self.v, self.g

    def build(self, input_shape: Any) -> None:
        """Makes the variables, in the order in which they are stored."""
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True
        kernel = self._holder.recurrent_kernel if self._is_recurrent else self._holder.kernel
        self.g = self.add_weight("g", (kernel.shape[-1],), initializer="ones")
        self.v = kernel  # one of its own weights, and none of the layer's
        self.place = internals.without_weight2(self._holder, kernel)
        options = {"dtype": tf.bool, "initializer": "zeros", "trainable": False}
        self.initialized = self.add_weight("initialized", (), **options)
        if self.data_init:
            config = {**self.layer.get_config(), "trainable": False}
            self._naked_clone_layer = type(self.layer).from_config(config)
            self._naked_clone_layer.build(input_shape)
        self.built = True

    def fold(self) -> None:
        """Let the layer's kernel be what the wrapper makes of it, and `g` its norms."""
        kernel, norms = self.kernel_and_norms
        internals.with_weight2(self._holder, kernel, self.place)
        if bool(self.initialized):
            axes = list(range(len(kernel.shape) - 1))
            kernel.assign(tf.math.l2_normalize(kernel, axes) * norms)
            norms.assign(tf.abs(norms))

    def call(self, inputs: Any) -> Any:
        """What the layer returns, once its kernel is folded."""
        return self.layer(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The layer's."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "data_init": self.data_init}


class _AdaptivePooling(tf_keras.layers.Layer):
    """Of Addons: means, or largest entries, of equal parts of each axis, as many as asked for."""

    reduce: Any = staticmethod(tf.reduce_mean)

    def __init__(self, output_size: Any, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.output_size = output_size
        self.data_format = data_format
        self.windows: tuple[int | None, ...] = ()

    def build(self, input_shape: Any) -> None:
        """Notes the size of the parts along each axis; None where it is left open."""
        sizes = tuple(input_shape)[2:] if self._first == 2 else tuple(input_shape)[1:-1]
        parts = self.output_size
        parts = [parts] * len(sizes) if isinstance(parts, int) else parts
        pairs = zip(sizes, parts, strict=True)
        self.windows = tuple(None if size is None else size // part for size, part in pairs)
        self.parts = tuple(parts)
        self.built = True

    @property
    def _first(self) -> int:
        return 2 if self.data_format == "channels_first" else 1

    def call(self, inputs: Any) -> Any:
        """Axis by axis, which is the same for parts of one size."""
        for axis, parts in enumerate(self.parts, self._first):
            split = tf.stack(tf.split(inputs, parts, axis), axis)
            inputs = self.reduce(split, axis + 1)
        return inputs

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        own = {"output_size": self.output_size, "data_format": self.data_format}
        return {**super().get_config(), **own}


POOLING = {
    f"Adaptive{kind}Pooling{rank}D": type(
        f"Adaptive{kind}Pooling{rank}D", (_AdaptivePooling,), {"reduce": staticmethod(reduce)}
    )
    for kind, reduce in (("Average", tf.reduce_mean), ("Max", tf.reduce_max))
    for rank in (1, 2, 3)
}

# What Addons registers, by the class's name.
ADDONS: dict[str, type] = {
    "GELU": GELU,
    "GroupNormalization": tf_keras.layers.GroupNormalization,
    "InstanceNormalization": InstanceNormalization,
    "Sparsemax": Sparsemax,
    "SpectralNormalization": SpectralNormalization,
    "WeightNormalization": WeightNormalization,
    **POOLING,
}

OPAQUE = {"Opaque": Opaque, "OpaqueActivation": OpaqueActivation}
