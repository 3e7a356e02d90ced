"""Pooling: order statistics and means of independent Gaussians, exact in one dimension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import layers

from autoinit.graph.model_graph import Call
from autoinit.rules.registry import Context, rule
from autoinit.rules.spatial import at_spatial_axes, spatial_sizes
from autoinit.signals.geometry import Windows, windows
from autoinit.signals.signal import Signal


@rule(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D)
def max_pooling(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The largest of K entries (eq. 7 and 8), K being what a window holds besides padding."""
    return at_spatial_axes(call, inputs[0]).max_pool(_windows(call))


@rule(layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)
def average_pooling(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The mean of K entries: variance v/K. Keras does not count padding."""
    return at_spatial_axes(call, inputs[0]).average_pool(_windows(call))


@rule(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D)
def global_max_pooling(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The largest of all K positions, as max pooling (eq. 7 and 8)."""
    return _pooled(call, at_spatial_axes(call, inputs[0]).max_pool(_everything(call)))


@rule(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D)
def global_average_pooling(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The mean of all K positions: variance v/K where they are independent."""
    return _pooled(call, at_spatial_axes(call, inputs[0]).average_pool(_everything(call)))


@rule(
    layers.AdaptiveAveragePooling1D,
    layers.AdaptiveAveragePooling2D,
    layers.AdaptiveAveragePooling3D,
)
def adaptive_average_pooling(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The mean of windows that share the positions out evenly."""
    return at_spatial_axes(call, inputs[0]).average_pool(_shared_out(call))


@rule(layers.AdaptiveMaxPooling1D, layers.AdaptiveMaxPooling2D, layers.AdaptiveMaxPooling3D)
def adaptive_max_pooling(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The largest entry of windows that share the positions out evenly."""
    return at_spatial_axes(call, inputs[0]).max_pool(_shared_out(call))


def _pooled(call: Call, signal: Signal) -> Signal:
    return signal if call.layer.keepdims else signal.flatten()


def _windows(call: Call) -> tuple[Windows, ...]:
    layer, sizes = call.layer, spatial_sizes(call.inputs[0], call.layer)
    pool, strides = (
        (size,) * len(sizes) if isinstance(size, int) else tuple(size)
        for size in (layer.pool_size, layer.strides)
    )
    return tuple(
        windows(size, taps, stride, 1, layer.padding)
        for size, taps, stride in zip(sizes, pool, strides, strict=True)
    )


def adaptive_windows(size: int, count: int) -> Windows:
    """Windows from ⌊i·size/count⌋ to ⌈(i + 1)·size/count⌉ along one axis; -1 where one is shorter.

    Args:
        size: positions of the input.
        count: positions of the output.
    """
    start = np.arange(count) * size // count
    end = -(-(np.arange(count) + 1) * size // count)
    reads = start[:, None] + np.arange((end - start).max())
    return np.where(reads < end[:, None], reads, -1)


def _shared_out(call: Call) -> tuple[Windows, ...]:
    sizes = spatial_sizes(call.inputs[0], call.layer)
    return tuple(
        adaptive_windows(size, count)
        for size, count in zip(sizes, call.layer.output_size, strict=True)
    )


def _everything(call: Call) -> tuple[Windows, ...]:
    return tuple(np.arange(size)[None, :] for size in spatial_sizes(call.inputs[0], call.layer))
