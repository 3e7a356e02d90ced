"""Spectral normalisation: the wrapped layer's rule, its kernel divided by a singular value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from keras import layers

from autoinit.findings import Finding
from autoinit.graph.model_graph import Call
from autoinit.rules.fallbacks import pass_through
from autoinit.rules.kernels import Kernel
from autoinit.rules.registry import Context, KernelSource, RuleResult, Support, rule
from autoinit.signals.signal import Array, BiasMoments, KernelMoments, Signal


@rule(layers.SpectralNormalization)
def spectral_normalization(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Training: as the wrapped layer with W/σ, σ from the power iterations of one step.

    The kernel keeps its configured initialiser: from the first step on nothing is left of its
    scale, and σ = 1 is what the layer is for.
    """
    layer = call.layer
    inner = replace(call, layer=layer.layer)
    registration = context.registry.find(inner.layer)
    if registration is None:
        return pass_through(call, inputs)
    divisor = 1.0
    if context.training:
        divisor = largest_singular_value(
            context.load(layer.kernel), context.load(layer.vector_u), layer.power_iterations
        )
    given = replace(context, kernel_moments=_divided(context, divisor))
    result = registration.apply(inner, inputs, given)
    if getattr(inner.layer, "activation", None) is not None:
        result = _activated(replace(inner, part="activation"), result, context)
    signal = result.signals[0]
    if not call.inputs[0].dtype.startswith(("float", "bfloat")):
        # Keras casts the output to the input's type: rows of a table that integers look up, too.
        signal = cast(Signal, signal).map(np.trunc)[0]
    return replace(result, signals=(signal,), findings=(*result.findings, _keeps(call)))


def _activated(part: Call, result: RuleResult, context: Context) -> RuleResult:
    """The wrapped layer's own activation, which stays inside the wrapper's call."""
    registration = context.registry.of_call(part)
    assert registration is not None
    activated = registration.apply(part, result.signals, context)
    if activated.support is Support.NEUTRAL:
        return result
    return replace(activated, findings=(*result.findings, *activated.findings))


def _keeps(call: Call) -> Finding:
    message = (
        f"{call.path!r} divides its kernel by its largest singular value at each step of training: "
        "no scale of it would last, and its configured initialiser stays."
    )
    return Finding("keeps_initializer", call.path, call.class_name, message)


def _divided(context: Context, divisor: float) -> KernelSource:
    """Reads the kernel that there is, over `divisor`; nothing is drawn."""

    def kernel_moments(
        call: Call, signal: Signal, kernel: Kernel, bias: Any
    ) -> tuple[KernelMoments, BiasMoments, RuleResult]:
        moments, offsets = kernel.actual(context.load, bias)
        offsets = replace(offsets, cross=offsets.cross / divisor)
        return moments.scaled(1 / divisor), offsets, RuleResult(())

    return kernel_moments


def largest_singular_value(kernel: Array, start: Array, iterations: int) -> float:
    """What power iterations make of a kernel's largest singular value; 1 for one of zeros.

    Args:
        kernel: any shape, units last.
        start: (1, units), where the iterations begin.
        iterations: at least 1.
    """
    matrix = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])
    right = np.asarray(start, np.float64).ravel()
    for _ in range(iterations):
        left = _unit(matrix @ right)
        right = _unit(left @ matrix)
    return float(left @ matrix @ right) or 1.0


def _unit(vector: Array) -> Array:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
