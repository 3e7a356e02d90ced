"""Layers that move, repeat or pad entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from autoinit.graph.model_graph import Call, Shape
from autoinit.rules.registry import Context, RuleResult, Support, rule
from autoinit.rules.spatial import at_spatial_axes, reshaped, spatial_sizes
from autoinit.signals.geometry import Taps
from autoinit.signals.signal import Array, Signal


@rule(layers.Identity, layers.InputLayer, layers.Masking, support=Support.NEUTRAL)
def unchanged(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The same tensor."""
    return inputs[0]


@rule(layers.Flatten, support=Support.NEUTRAL)
def flatten(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The same entries; positions become units."""
    return inputs[0].flatten()


@rule(layers.Reshape, support=Support.NEUTRAL)
def reshape(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The same entries in another shape."""
    return reshaped(inputs[0], call.inputs[0], call.outputs[0])


@rule(layers.Permute, support=Support.NEUTRAL)
def permute(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The same entries with the axes in another order."""
    return inputs[0].transpose(call.inputs[0].sample, [axis - 1 for axis in call.layer.dims])


@rule(layers.RepeatVector, support=Support.NEUTRAL)
def repeat_vector(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The same entries at every step."""
    return inputs[0].repeat(_sizes(call.outputs[0].shape))


@rule(layers.Cropping1D, layers.Cropping2D, layers.Cropping3D, support=Support.NEUTRAL)
def cropping(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """Some of the entries, which are distributed like all."""
    ends = _per_axis(call.layer.cropping)
    sizes = spatial_sizes(call.inputs[0], call.layer)
    kept = [
        Taps.summing(np.arange(low, size - high)[:, None], size)
        for size, (low, high) in zip(sizes, ends, strict=True)
    ]
    return at_spatial_axes(call, inputs[0]).linear_map(kept)


@rule(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
def zero_padding(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """A share z of zeros: mean (1 − z)·m, second moment (1 − z)·(v + m²)."""
    ends = _per_axis(call.layer.padding)
    sizes = spatial_sizes(call.inputs[0], call.layer)
    padded = [
        Taps.summing(np.pad(np.arange(size), end, constant_values=-1)[:, None], size)
        for size, end in zip(sizes, ends, strict=True)
    ]
    return at_spatial_axes(call, inputs[0]).linear_map(padded)


@rule(layers.UpSampling1D, layers.UpSampling3D, support=Support.NEUTRAL)
def repetition(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """Every entry several times: the same mean and variance."""
    sizes = spatial_sizes(call.inputs[0], call.layer)
    factors = call.layer.size if len(sizes) > 1 else (call.layer.size,)
    return at_spatial_axes(call, inputs[0]).linear_map(_repeated(sizes, factors))


@rule(layers.UpSampling2D)
def up_sampling(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | Signal:
    """Repetition leaves the distribution; interpolation mixes neighbours, one matrix per axis."""
    layer = call.layer
    sizes = spatial_sizes(call.inputs[0], call.layer)
    if layer.interpolation == "nearest":
        repeated = at_spatial_axes(call, inputs[0]).linear_map(_repeated(sizes, layer.size))
        return RuleResult((repeated,), Support.NEUTRAL)
    mixed = [
        Taps.of_matrix(interpolation_matrix(size, size * factor, layer.interpolation))
        for size, factor in zip(sizes, layer.size, strict=True)
    ]
    return at_spatial_axes(call, inputs[0]).linear_map(mixed)


def interpolation_matrix(size: int, output_size: int, interpolation: str) -> Array:
    """The linear map of an image resize along one axis, of shape (output, input)."""
    units = np.eye(size, dtype=np.float32)[None, :, :, None]
    resized = keras.ops.image.resize(
        units, (output_size, size), interpolation=interpolation, data_format="channels_last"
    )
    return np.asarray(keras.ops.convert_to_numpy(resized), np.float64)[0, :, :, 0]


def _repeated(sizes: Sequence[int], factors: Sequence[int]) -> list[Taps]:
    return [
        Taps.summing(np.repeat(np.arange(size), factor)[:, None], size)
        for size, factor in zip(sizes, factors, strict=True)
    ]


def _sizes(shape: Shape) -> tuple[int, ...]:
    return tuple(int(size or 1) for size in shape[1:-1])


def _per_axis(ends: Any) -> list[tuple[int, int]]:
    """Pairs of (before, after): layers of one axis have a single pair."""
    return [tuple(ends)] if isinstance(ends[0], int) else [tuple(pair) for pair in ends]
