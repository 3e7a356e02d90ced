"""Plain layers' calls straight on TensorFlow's kernels for the CPU, in place of by way of Keras.

On its way to a kernel Keras converts, checks and names what it is given, and makes functions that
it may not need: 40 µs for an activation, 350 for a convolution, longer than a small one takes. Here
nothing but the same kernel runs, so that figures are the same to the last bit. Batch normalisation
is the exception: Keras writes it as seven operations, which take three times as long as
TensorFlow's own kernel for it, and six times with their gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from autoinit.arrays import as_array
from autoinit.graph.keras_internals import get_keras_mask
from autoinit.graph.model_graph import Call, TensorRef


def by_kernel(call: Call, tensors: Sequence[Any], training: bool) -> Any:
    """What a call gives, computed by a kernel alone; moving statistics stay as they are.

    Args:
        call: of a graph.
        tensors: one for each of its inputs, in their order.
        training: mode of the model.

    Returns:
        None where that is the layer's own business: what Keras does beside has an effect, or it
        would say better what is wrong.
    """
    way = _WAYS.get(type(call.layer))
    if way is None or call.part == "activation" or call.retrace is not None:
        return None
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    layer = call.layer
    plain = (
        tf.executing_eagerly()
        and layer.compute_dtype == layer.variable_dtype == "float32"
        and layer.activity_regularizer is None
        and getattr(layer, "quantization_mode", None) is None
        and all(_is_plain(tensor) for tensor in tensors)
    )
    if not plain:
        return None
    try:
        return way(call, tensors, training)
    except Exception:  # Keras's way raises it again, in its words
        return None


def _is_plain(tensor: Any) -> bool:
    return bool(
        tensor.dtype == "float32"
        and "CPU" in tensor.device
        and get_keras_mask(tensor) is None
        and tensor.shape.num_elements()
    )


def _normalized(call: Call, tensors: Sequence[Any], training: bool) -> Any:
    """None, too, for statistics that single precision cannot hold."""
    import tensorflow as tf

    (x,), layer = tensors, call.layer
    last = layer.axis in (-1, len(x.shape) - 1)
    if not (training and layer.trainable and last) or layer.synchronized or call.part != "whole":
        return None
    channels = x.shape[-1:]
    found = tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(x, (-1, 1, 1, channels[0])),
        scale=layer.gamma.value if layer.scale else tf.ones(channels),
        offset=layer.beta.value if layer.center else tf.zeros(channels),
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
        is_training=True,
    )
    known = np.isfinite(as_array(found.batch_variance)).all()
    return tf.reshape(found.y, x.shape) if known else None


def _convolved(call: Call, tensors: Sequence[Any], training: bool) -> Any:
    """None, too, where the kernel is a sum, or another compiler has to do it."""
    import tensorflow as tf

    (x,), layer = tensors, call.layer
    kernel, linear = layer.kernel, keras.activations.linear
    apart = call.part == "linear" or layer.activation in (None, linear)
    known = isinstance(kernel, keras.Variable) and layer.padding in ("same", "valid")
    if not (apart and known) or layer.groups > 1 or layer.data_format != "channels_last":
        return None
    y = tf.nn.conv2d(
        x, kernel.value, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate
    )
    if not y.shape.num_elements():
        return None
    return tf.nn.bias_add(y, layer.bias.value) if layer.use_bias else y


def _called(call: Call, tensors: Sequence[Any], training: bool) -> Any:
    """None, too, where the call has other arguments, or an activation is left to another one."""
    args, kwargs = call.arguments
    if (
        call.part != "whole"
        or len(args) != 1
        or any(value is not None for value in kwargs.values())
    ):
        return None
    by_value = {value.index: tensor for value, tensor in zip(call.inputs, tensors, strict=True)}
    (given,) = args
    if isinstance(given, TensorRef):
        return call.layer.call(by_value[given.value])
    return call.layer.call([by_value[each.value] for each in given])


# Of exactly these classes: what others add to them is not known.
_Way = Callable[[Call, Sequence[Any], bool], Any]
_WAYS: dict[type, _Way] = {
    layers.BatchNormalization: _normalized,
    layers.Conv2D: _convolved,
    **dict.fromkeys(
        (
            layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ZeroPadding2D,
            layers.MaxPooling2D, layers.AveragePooling2D, layers.GlobalAveragePooling2D,
            layers.Add, layers.Multiply, layers.Concatenate, layers.DepthwiseConv2D, layers.Dense,
        ),
        _called,
    ),
}  # fmt: skip
