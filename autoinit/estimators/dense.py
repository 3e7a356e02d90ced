"""Dense, EinsumDense and Embedding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from keras import layers

from autoinit.estimators.weighted import weighted
from autoinit.graph import Call
from autoinit.kernels import Kernel
from autoinit.registry import Context, Outcome, rule
from autoinit.signals.signal import Signal


@rule(layers.Dense)
def dense(call: Call, inputs: Sequence[Signal], context: Context) -> Outcome:
    """Y = Wx + b: variance fan_in·E w²·(v + m²) for weights of zero mean (eq. 3 and 4)."""
    kernel = Kernel(call.layer, "kernel", "kernel", summed_axes=(0,))
    return weighted(call, inputs[0], context, kernel, call.layer.bias)


@rule(layers.EinsumDense)
def einsum_dense(call: Call, inputs: Sequence[Signal], context: Context) -> Outcome:
    """As Dense; summed over the axes that the output does not have."""
    terms, output = call.layer.equation.split("->")
    data, axes = terms.split(",")
    summed = tuple(place for place, axis in enumerate(axes) if axis not in output)
    elided = [None] * (len(call.outputs[0].shape) - len(output.replace("...", "")))
    units = [axes.index(axis) if axis in axes else None for axis in output.replace("...", "")]
    placed = units + elided if output.endswith("...") else elided + units
    kernel = Kernel(call.layer, "kernel", "kernel", summed_axes=summed, output_axes=tuple(placed))
    signal = _summed(call, inputs[0], data, axes + output)
    return weighted(call, signal, context, kernel, call.layer.bias)


def _summed(call: Call, signal: Signal, data: str, kept: str) -> Signal:
    """The signal, summed over the input's axes that neither the kernel nor the output has."""
    names = data.replace("...", "")
    shape = call.inputs[0].shape
    sizes = shape[-len(names) :] if data.startswith("...") else shape[: len(names)]
    lost = [size or 1 for name, size in zip(names, sizes, strict=True) if name not in kept]
    count = math.prod(lost)
    return signal.mean_of((np.arange(count)[None, :],)).affine(count, 0.0) if lost else signal


@rule(layers.Embedding)
def embedding(call: Call, inputs: Sequence[Signal], context: Context) -> Outcome:
    """Each output is one entry of the table: its variance is that of the entries."""
    kernel = Kernel(call.layer, "embeddings", "embeddings", summed_axes=())
    one = type(inputs[0]).gaussian(1.0, 0.0)
    return weighted(call, one, context, kernel, None)
