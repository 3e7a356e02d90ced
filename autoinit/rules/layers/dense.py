"""Dense, EinsumDense and embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from keras import layers

from autoinit.graph.model_graph import Call
from autoinit.rules.fallbacks import pass_through
from autoinit.rules.kernels import Kernel
from autoinit.rules.projection import project, spelled_out, weighted
from autoinit.rules.registry import Context, RuleResult, rule
from autoinit.signals.signal import Signal


@rule(layers.Dense)
def dense(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Y = Wx + b: variance fan_in·E w²·(v + m²) for weights of zero mean (eq. 3 and 4)."""
    kernel = Kernel(call.layer, "kernel", "kernel", summed_axes=(0,))
    return weighted(call, inputs[0], context, kernel, call.layer.bias)


@rule(layers.EinsumDense)
def einsum_dense(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Fan_in·E w²·(v + m²) as in Dense; fan-in counts the axes that the output does not have."""
    kernel = Kernel(call.layer, "kernel", "kernel", summed_axes=())
    shapes = (0, *call.inputs[0].sample), kernel.shape
    found = spelled_out(call.layer.equation, shapes)
    if found is None:  # Keras itself accepts no other equation
        return pass_through(call, inputs)
    (data, weights), output = found
    labels = data.replace(data[0], ""), weights, output.replace(data[0], "")
    return project(call, inputs[0], context, kernel, labels, call.layer.bias)


@rule(layers.Embedding)
def embedding(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Each output is one entry of the table: its variance is that of the entries."""
    return _looked_up(call, inputs, context)


def _looked_up(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    kernel = Kernel(call.layer, "embeddings", "embeddings", summed_axes=())
    one = type(inputs[0]).gaussian(1.0, 0.0)
    moments, bias, result = context.kernel_moments(call, one, kernel, None)
    table = None if moments.values is None else moments.values.reshape(kernel.shape)
    # Indices that depend on no input are those of positions, each of which has its own row.
    rows = kernel.shape[0] if call.inputs and not call.inputs[0].constant else math.inf
    found = one.linear(moments, bias).looked_up(call.outputs[0].positions, rows, table)
    return replace(result, signals=(found,))


@rule(layers.ReversibleEmbedding)
def reversible_embedding(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """A table that is looked up, or, in reverse, a projection onto its rows.

    With `logit_soft_cap` c the projection, which has the target variance, goes through
    c·tanh(y/c) in the same call, whose output does not.
    """
    args, kwargs = call.arguments
    if not (args[1] if len(args) > 1 else kwargs.get("reverse", False)):
        return _looked_up(call, inputs, context)
    if call.layer.tie_weights:
        kernel = Kernel(call.layer, "embeddings", "embeddings", summed_axes=(1,))
    else:
        kernel = Kernel(call.layer, "reverse_embeddings", "embeddings", summed_axes=(0,))
    result = weighted(call, inputs[0], context, kernel, None)
    cap = call.layer.logit_soft_cap
    if cap is None:
        return result
    capped, _ = cast(Signal, result.signals[0]).map(lambda logits: cap * np.tanh(logits / cap))
    return replace(result, signals=(capped,), at_target=False)
