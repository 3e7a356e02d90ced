"""Pooling: order statistics and means of independent Gaussians, exact in one dimension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import layers

from autoinit.estimators.spatial import at_spatial_axes, spatial_sizes
from autoinit.geometry import Windows, windows
from autoinit.graph import Call
from autoinit.registry import Context, rule
from autoinit.signals.signal import Signal


@rule(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D)
def max_pooling(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The largest of K entries (eq. 7 and 8), K being what a window holds besides padding."""
    return at_spatial_axes(call, inputs[0]).maximum_of(_windows(call))


@rule(layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)
def average_pooling(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The mean of K entries: variance v/K. Keras does not count padding."""
    return at_spatial_axes(call, inputs[0]).mean_of(_windows(call))


@rule(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D)
def global_max_pooling(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The largest of all positions."""
    return _pooled(call, at_spatial_axes(call, inputs[0]).maximum_of(_everything(call)))


@rule(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D)
def global_average_pooling(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The mean of all positions."""
    return _pooled(call, at_spatial_axes(call, inputs[0]).mean_of(_everything(call)))


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


def _everything(call: Call) -> tuple[Windows, ...]:
    return tuple(np.arange(size)[None, :] for size in spatial_sizes(call.inputs[0], call.layer))
