"""Layers that move, repeat or pad entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from autoinit.graph import Call, Shape
from autoinit.registry import Context, Outcome, Support, rule
from autoinit.signals.signal import Array, Signal


@rule(layers.Identity, layers.InputLayer, layers.Masking, support=Support.NEUTRAL)
def unchanged(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The same tensor."""
    return inputs[0]


@rule(layers.Flatten, support=Support.NEUTRAL)
def flatten(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """Positions become units."""
    return inputs[0].flatten()


@rule(layers.Permute, layers.Reshape, support=Support.NEUTRAL)
def moving(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The same entries in other places."""
    return inputs[0].arrange(_sizes(call.outputs[0].shape))


@rule(layers.RepeatVector, support=Support.NEUTRAL)
def repeat_vector(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The same entries at every step."""
    return inputs[0].repeat(_sizes(call.outputs[0].shape))


@rule(layers.Cropping1D, layers.Cropping2D, layers.Cropping3D, support=Support.NEUTRAL)
def cropping(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """Some of the entries."""
    ends = _per_axis(call.layer.cropping)
    sizes = _spatial(call)
    kept = [np.eye(n)[low : n - high] for n, (low, high) in zip(sizes, ends, strict=True)]
    return inputs[0].resample(kept)


@rule(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
def zero_padding(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """A share z of zeros: mean (1 − z)·m, second moment (1 − z)·(v + m²)."""
    ends = _per_axis(call.layer.padding)
    sizes = _spatial(call)
    padded = [np.pad(np.eye(n), (end, (0, 0))) for n, end in zip(sizes, ends, strict=True)]
    return inputs[0].resample(padded)


@rule(layers.UpSampling1D, layers.UpSampling3D, support=Support.NEUTRAL)
def repetition(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """Every entry several times."""
    sizes = _spatial(call)
    factors = call.layer.size if len(sizes) > 1 else (call.layer.size,)
    repeated = [np.repeat(np.eye(n), k, 0) for n, k in zip(sizes, factors, strict=True)]
    return inputs[0].resample(repeated)


@rule(layers.UpSampling2D)
def up_sampling(call: Call, inputs: Sequence[Signal], context: Context) -> Outcome | Signal:
    """Repetition leaves the distribution; interpolation mixes neighbours, one matrix per axis."""
    layer = call.layer
    sizes = _spatial(call)
    if layer.interpolation == "nearest":
        repeated = [np.repeat(np.eye(n), k, 0) for n, k in zip(sizes, layer.size, strict=True)]
        return Outcome((inputs[0].resample(repeated),), Support.NEUTRAL)
    matrices = [
        interpolation_matrix(size, size * factor, layer.interpolation)
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


def _spatial(call: Call) -> tuple[int, ...]:
    shape = call.inputs[0].shape
    last = getattr(call.layer, "data_format", "channels_last") == "channels_last"
    return tuple(int(size or 1) for size in (shape[1:-1] if last else shape[2:]))


def _sizes(shape: Shape) -> tuple[int, ...]:
    return tuple(int(size or 1) for size in shape[1:-1])


def _per_axis(ends: Any) -> list[tuple[int, int]]:
    """Pairs of (before, after): layers of one axis have a single pair."""
    return [tuple(ends)] if isinstance(ends[0], int) else [tuple(pair) for pair in ends]
