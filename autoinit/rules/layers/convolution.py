"""Convolutions: plain, depthwise, separable and transposed, in one to three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keras import layers

from autoinit.graph.model_graph import Call
from autoinit.rules.kernels import Kernel
from autoinit.rules.projection import weighted
from autoinit.rules.registry import Context, RuleResult, rule
from autoinit.rules.spatial import at_spatial_axes, spatial_sizes
from autoinit.signals.geometry import Windows, transposed_windows, windows
from autoinit.signals.signal import NO_BIAS, Signal


@rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def convolution(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """A dense layer with sparse connections; with groups, fan-in is that of one group.

    Positions near the border of a padded map see fewer taps: the average number counts.
    """
    rank = call.layer.rank
    kernel = Kernel(call.layer, "kernel", "kernel", (rank,), tuple(range(rank)), _windows(call))
    return weighted(call, at_spatial_axes(call, inputs[0]), context, kernel, call.layer.bias)


@rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """A convolution with one input channel per unit: fan-in is the number of taps."""
    rank = call.layer.rank
    kernel = Kernel(call.layer, "kernel", "depthwise", (), tuple(range(rank)), _windows(call))
    return weighted(call, at_spatial_axes(call, inputs[0]), context, kernel, call.layer.bias)


@rule(layers.SeparableConv1D, layers.SeparableConv2D)
def separable(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """A depthwise convolution, then a pointwise one; both keep the variance at its target."""
    rank = call.layer.rank
    depthwise_kernel = Kernel(
        call.layer, "depthwise_kernel", "depthwise", (), tuple(range(rank)), _windows(call)
    )
    signal = at_spatial_axes(call, inputs[0])
    first, _, result = context.kernel_moments(call, signal, depthwise_kernel, None)
    between = signal.linear(first, NO_BIAS)
    pointwise_kernel = Kernel(call.layer, "pointwise_kernel", "pointwise", (*range(rank), rank))
    last = weighted(call, between, context, pointwise_kernel, call.layer.bias)
    return replace(
        last, scales=result.scales + last.scales, findings=result.findings + last.findings
    )


@rule(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def transposed(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """The adjoint of a convolution: an output position sees the taps that the stride leaves it."""
    layer, rank = call.layer, call.layer.rank
    sizes = zip(
        spatial_sizes(call.inputs[0], layer),
        spatial_sizes(call.outputs[0], layer),
        layer.kernel_size,
        layer.strides,
        layer.dilation_rate,
        strict=True,
    )
    axes = tuple(
        transposed_windows(size, output, taps, stride, dilation, layer.padding)
        for size, output, taps, stride, dilation in sizes
    )
    kernel = Kernel(layer, "kernel", "kernel", (rank + 1,), tuple(range(rank)), axes)
    return weighted(call, at_spatial_axes(call, inputs[0]), context, kernel, layer.bias)


def _windows(call: Call) -> tuple[Windows, ...]:
    layer = call.layer
    sizes = zip(
        spatial_sizes(call.inputs[0], layer),
        layer.kernel_size,
        layer.strides,
        layer.dilation_rate,
        strict=True,
    )
    return tuple(
        windows(size, taps, stride, dilation, layer.padding)
        for size, taps, stride, dilation in sizes
    )
