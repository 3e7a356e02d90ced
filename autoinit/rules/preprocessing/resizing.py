"""Layers that cut images out or resize them: a linear map along each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from autoinit.graph.model_graph import Call
from autoinit.rules.fallbacks import pass_through
from autoinit.rules.registry import Context, RuleResult, Support, rule
from autoinit.rules.spatial import at_spatial_axes, spatial_sizes
from autoinit.signals.geometry import Taps
from autoinit.signals.signal import Array, Signal


@dataclass(frozen=True)
class _Cut:
    """A part of an axis, which may reach beyond either end.

    Attributes:
        size: positions of the axis.
        start, length: of the part.
    """

    size: int
    start: int
    length: int

    @property
    def matrix(self) -> Array:
        """Ones where a position of the part, (length, size), is one of the axis."""
        return np.eye(self.length, self.size, self.start)


@rule(layers.Resizing)
def resizing(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | Signal:
    """Interpolation along each axis, after cropping or padding to the aspect ratio where asked."""
    layer = call.layer
    sizes, target = spatial_sizes(call.inputs[0], layer), (layer.height, layer.width)
    if len(sizes) != 2:  # Keras takes the batch for the rows of a single image
        return pass_through(call, inputs)
    cuts = [_Cut(size, 0, size) for size in sizes]
    fill = 0.0
    if layer.crop_to_aspect_ratio:
        cuts = _cropped(sizes, target)
    elif layer.pad_to_aspect_ratio:
        cuts, fill = _padded(sizes, target), layer.fill_value
    maps = [
        Taps.of_matrix(
            _interpolation(cut.length, size, layer.interpolation, layer.antialias) @ cut.matrix
        )
        for cut, size in zip(cuts, target, strict=True)
    ]
    # Rows of an interpolation sum to 1: what is padded with zeros around x − fill is fill.
    lowered = at_spatial_axes(call, inputs[0]).affine(1.0, -fill)
    return lowered.linear_map(maps).affine(1.0, fill)


@rule(layers.CenterCrop)
def center_crop(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """The middle; where the image is too small, the largest part of the same shape, resized."""
    layer = call.layer
    sizes, target = spatial_sizes(call.inputs[0], layer), (layer.height, layer.width)
    if len(sizes) != 2:  # Keras takes the batch for the rows of a single image
        return pass_through(call, inputs)
    signal = at_spatial_axes(call, inputs[0])
    if all(size >= kept for size, kept in zip(sizes, target, strict=True)):
        return _middle(signal, sizes, target)
    maps = [
        Taps.of_matrix(_interpolation(cut.length, size) @ cut.matrix)
        for cut, size in zip(_cropped(sizes, target), target, strict=True)
    ]
    return RuleResult((signal.linear_map(maps),), Support.EXACT)


@rule(layers.RandomCrop)
def random_crop(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Training: a part anywhere, which the middle stands for; small images as `CenterCrop`.

    In inference Keras leaves the image as it is, whatever shape the layer declares.
    """
    layer = call.layer
    sizes, target = spatial_sizes(call.inputs[0], layer), (layer.height, layer.width)
    if len(sizes) != 2:  # Keras takes the batch for the rows of a single image
        return pass_through(call, inputs)
    signal = at_spatial_axes(call, inputs[0])
    larger = all(size > kept for size, kept in zip(sizes, target, strict=True))
    if larger or not context.training:
        return _middle(signal, sizes, target)
    # Keras cuts `target` positions out from where the part of the target's shape begins.
    cuts = [
        _Cut(size, cut.start, min(size - cut.start, kept))
        for size, cut, kept in zip(sizes, _cropped(sizes, target), target, strict=True)
    ]
    if tuple(cut.length for cut in cuts) == target:
        maps = [Taps.of_matrix(cut.matrix) for cut in cuts]
        return RuleResult((signal.linear_map(maps),), Support.NEUTRAL)
    maps = [
        Taps.of_matrix(_interpolation(cut.length, size) @ cut.matrix)
        for cut, size in zip(cuts, target, strict=True)
    ]
    return RuleResult((signal.linear_map(maps),), Support.EXACT)


def _middle(signal: Signal, sizes: Sequence[int], target: Sequence[int]) -> RuleResult:
    maps = [
        Taps.of_matrix(_Cut(size, (size - kept) // 2, kept).matrix)
        for size, kept in zip(sizes, target, strict=True)
    ]
    return RuleResult((signal.linear_map(maps),), Support.NEUTRAL)


def _cropped(sizes: Sequence[int], target: Sequence[int]) -> list[_Cut]:
    """The largest part in the middle that has the target's aspect ratio."""
    cuts = []
    for size, wanted in zip(sizes, _wanted(sizes, target), strict=True):
        kept = max(min(size, wanted), 1)
        cuts.append(_Cut(size, (size - kept) // 2, kept))
    return cuts


def _padded(sizes: Sequence[int], target: Sequence[int]) -> list[_Cut]:
    """The smallest area around the image that has the target's aspect ratio, or a row less."""
    cuts = []
    for size, wanted in zip(sizes, _wanted(sizes, target), strict=True):
        before = (max(size, wanted) - size) // 2
        cuts.append(_Cut(size, -before, size + 2 * before))
    return cuts


def _wanted(sizes: Sequence[int], target: Sequence[int]) -> tuple[int, int]:
    """The height that the width asks for, and the width that the height asks for."""
    (height, width), (rows, columns) = sizes, target
    return int(width * rows / columns), int(height * columns / rows)


def _interpolation(
    size: int, output_size: int, interpolation: str = "bilinear", antialias: bool = False
) -> Array:
    """The linear map of an image resize along one axis, of shape (output, input)."""
    resize = layers.Resizing(
        output_size, size, interpolation, antialias=antialias, data_format="channels_last"
    )
    units = np.eye(size, dtype=np.float32)[None, :, :, None]
    return np.asarray(keras.ops.convert_to_numpy(resize(units)), np.float64)[0, :, :, 0]
