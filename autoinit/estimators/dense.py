"""Dense, EinsumDense and Embedding."""

from __future__ import annotations

from collections.abc import Sequence

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
    """As Dense; summed over the kernel's axes that the output does not have."""
    terms, output = call.layer.equation.replace(" ", "").split("->")
    axes = terms.split(",")[1].replace("...", "")
    summed = tuple(place for place, axis in enumerate(axes) if axis not in output)
    kernel = Kernel(call.layer, "kernel", "kernel", summed_axes=summed)
    return weighted(call, inputs[0], context, kernel, call.layer.bias)


@rule(layers.Embedding)
def embedding(call: Call, inputs: Sequence[Signal], context: Context) -> Outcome:
    """Each output is one entry of the table: its variance is that of the entries."""
    kernel = Kernel(call.layer, "embeddings", "embeddings", summed_axes=())
    one_hot = type(inputs[0]).gaussian(0.0, 1.0)
    return weighted(call, one_hot, context, kernel, None)
