"""Layers that join several signals. Different tensors are taken as independent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from keras import layers

from autoinit.graph.model_graph import Call
from autoinit.rules.kernels import Kernel
from autoinit.rules.registry import Context, RuleResult, Support, rule
from autoinit.signals.signal import Signal
from autoinit.weighted_sum import WeightedSum


@rule(layers.Add)
def add(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """Means and variances add (eq. 11); a tensor added to itself is scaled."""
    return _sum(call, inputs)


@rule(layers.Average)
def average(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The sum over the number of operands (eq. 12)."""
    return _sum(call, inputs).affine(1 / len(inputs), 0.0)


@rule(layers.Subtract)
def subtract(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """Means subtract, variances add (eq. 13); a tensor less itself is zero."""
    if call.inputs[0] == call.inputs[1]:
        return type(inputs[0]).gaussian(0.0, 0.0)
    return inputs[0].combine("subtract", inputs[1:])


@rule(layers.Multiply)
def multiply(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """Second moments multiply (eq. 14); a tensor times itself is a power of it."""
    parts = [
        signal if times == 1 else signal.map(partial(_power, times))[0]
        for signal, times in _distinct(call, inputs)
    ]
    return parts[0].combine("multiply", parts[1:])


@rule(layers.Maximum)
def maximum(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The largest of independent Gaussians, by the product of their distribution functions."""
    parts = [signal for signal, _ in _distinct(call, inputs)]
    return parts[0].combine("maximum", parts[1:]) if len(parts) > 1 else parts[0]


@rule(layers.Minimum)
def minimum(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The smallest of independent Gaussians, as minus the largest of the negatives."""
    parts = [signal for signal, _ in _distinct(call, inputs)]
    return parts[0].combine("minimum", parts[1:]) if len(parts) > 1 else parts[0]


@rule(layers.Dot)
def dot(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | Signal:
    """A sum of n products; of unit vectors' entries where the layer normalises."""
    axes = call.layer.axes
    axis = axes if isinstance(axes, int) else axes[0]
    count = call.inputs[0].shape[axis] or 1
    product = inputs[0].dot(inputs[1], count, normalized=call.layer.normalize)
    if call.inputs[0] != call.inputs[1] or len(call.inputs[0].shape) > 2:
        return product
    if call.layer.normalize:
        return type(inputs[0]).gaussian(1.0, 0.0)
    squares, _ = inputs[0].map(np.square)
    length = squares.average_pool((np.arange(count)[None, :],)).affine(count, 0.0)
    # Squares of channels that are known go together.
    apart = inputs[0].tells_channels_apart
    return RuleResult((length,), Support.APPROXIMATE if apart else Support.EXACT)


@rule(layers.Concatenate)
def concatenate(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """Along channels a mixture in proportion to the numbers of entries (eq. 15 and 16)."""
    return joined(call, inputs, call.layer.axis)


def joined(call: Call, inputs: Sequence[Signal], axis: int) -> Signal:
    """Different tensors one after the other along an axis, the samples' being the first."""
    output = call.outputs[0]
    place = axis % len(output.shape) - 1
    sizes = [value.positions for value in call.inputs]
    if 0 <= place < len(output.positions):
        alike = all(len(each) == len(output.positions) for each in sizes)
        rows = any(value.rows != 1 for value in call.inputs)
        if alike and not rows and sum(each[place] for each in sizes) == output.positions[place]:
            return type(inputs[0]).beside(inputs, sizes, place)
    if place < len(output.positions):
        return type(inputs[0]).either(inputs, [value.entries for value in call.inputs])
    return type(inputs[0]).mixture(inputs, [value.entries for value in call.inputs])


@rule(WeightedSum)
def weighted_sum(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Σ cᵢxᵢ; AutoInit sets all cᵢ to √(target/Var Σ xᵢ)."""
    total = inputs[0].combine("add", inputs[1:])
    kernel = Kernel(call.layer, "coefficients", "coefficients", summed_axes=(), constant=True)
    moments, _, result = context.kernel_moments(call, total.affine(1.0, -total.mean), kernel, None)
    given = np.asarray(context.load(call.layer.coefficients), np.float64)
    if not np.isclose(moments.power, (given**2).mean()):  # set anew
        given = np.full(len(given), math.sqrt(moments.power))
    scaled = [
        signal.affine(coefficient, 0.0) for signal, coefficient in zip(inputs, given, strict=True)
    ]
    return replace(result, signals=(scaled[0].combine("add", scaled[1:]),))


def _sum(call: Call, inputs: Sequence[Signal]) -> Signal:
    parts = [signal.affine(times, 0.0) for signal, times in _distinct(call, inputs)]
    return parts[0].combine("add", parts[1:])


def _power(exponent: int, x: Any) -> Any:
    return x**exponent


def _distinct(call: Call, inputs: Sequence[Signal]) -> list[tuple[Signal, int]]:
    """Each operand once, with how often it stands in the call."""
    times = Counter(value.index for value in call.inputs)
    signals = {value.index: signal for value, signal in zip(call.inputs, inputs, strict=True)}
    return [(signals[index], number) for index, number in times.items()]
