"""Layers that move, repeat or pad entries."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from autoinit.graph import Call
from autoinit.registry import Context, Outcome, Support, rule
from autoinit.signals.signal import Array, Signal


@rule(
    layers.Flatten, layers.Permute, layers.Reshape, layers.RepeatVector, layers.Identity,
    layers.Cropping1D, layers.Cropping2D, layers.Cropping3D,
    layers.UpSampling1D, layers.UpSampling3D, layers.InputLayer, layers.Masking,
    support=Support.NEUTRAL,
)  # fmt: skip
def moving(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The same entries in other places, once or several times."""
    return inputs[0]


@rule(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
def zero_padding(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """A share z of zeros: mean (1 − z)·m, second moment (1 − z)·(v + m²)."""
    return inputs[0].keep(call.inputs[0].entries / max(call.outputs[0].entries, 1), 1.0)


@rule(layers.UpSampling2D)
def up_sampling(call: Call, inputs: Sequence[Signal], context: Context) -> Outcome | Signal:
    """Repetition leaves the distribution; interpolation mixes neighbours, one matrix per axis."""
    layer = call.layer
    if layer.interpolation == "nearest":
        return Outcome((inputs[0],), Support.NEUTRAL)
    shape = call.inputs[0].shape
    sizes = shape[1:3] if layer.data_format == "channels_last" else shape[2:4]
    matrices = [
        interpolation_matrix(int(size or 1), int(size or 1) * factor, layer.interpolation)
        for size, factor in zip(sizes, layer.size, strict=True)
    ]
    return inputs[0].resample(matrices)


def interpolation_matrix(size: int, output_size: int, interpolation: str) -> Array:
    """The linear map of an image resize along one axis, of shape (output, input)."""
    units = np.eye(size, dtype=np.float32)[None, :, :, None]
    resized = keras.ops.image.resize(
        units, (output_size, size), interpolation=interpolation, data_format="channels_last"
    )
    return np.asarray(keras.ops.convert_to_numpy(resized), np.float64)[0, :, :, 0]
