"""Activation functions and layers: quadrature of the function itself, whatever it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers

from autoinit.graph.model_graph import Call
from autoinit.rules.functions import is_elementwise, mapped
from autoinit.rules.masks import masking_of
from autoinit.rules.registry import Context, RuleResult, Support, rule
from autoinit.rules.sampling import sample_function
from autoinit.signals.signal import Masking, Signal


@rule(layers.Activation)
def activation(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Moments of f(x) by adaptive quadrature (eq. 5 and 6).

    Softmax exactly; other functions of several entries by sampling.
    """
    function = call.activation
    if function is keras.activations.linear:
        return RuleResult((inputs[0],), Support.NEUTRAL)
    if function is keras.activations.softmax:
        return _softmax(call, inputs[0], (-1,))
    if is_elementwise(function):
        return mapped(call, inputs, function)
    moments, error = sample_function(function, call.inputs[0].shape, inputs[0], context.seed)
    return RuleResult((moments,), Support.SAMPLED, standard_error=error)


@rule(layers.ReLU, layers.LeakyReLU, layers.ELU)
def activation_layer(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Moments of f(x) by adaptive quadrature (eq. 5 and 6), f being the layer itself."""
    return mapped(call, inputs, call.layer.call)


@rule(layers.PReLU)
def prelu(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """max(x, 0) + α·min(x, 0), α varying over units.

    The output is linear in α: two values with the mean and the variance of α give its first two
    moments exactly.
    """
    alpha = np.asarray(context.load(call.layer.alpha), np.float64)
    slopes = {alpha.mean() - alpha.std(), alpha.mean() + alpha.std()}
    parts = [inputs[0].map(partial(_leaky, slope))[0] for slope in slopes]
    return type(inputs[0]).either(parts, [1.0] * len(parts))


def _leaky(slope: float, x: Any) -> Any:
    return np.where(x > 0, x, slope * x)


@rule(layers.Softmax)
def softmax_layer(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Mean 1/n; second moment from 1/S² = ∫₀^∞ t e^{−tS} dt. Masked entries have a share of 0."""
    args, kwargs = call.arguments
    mask = args[1] if len(args) > 1 else kwargs.get("mask")
    axis = call.layer.axis
    axes = tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)
    return _softmax(
        call, inputs[0], axes, masking_of(mask, call, inputs, context, _count(call, axes))
    )


def _softmax(
    call: Call, signal: Signal, axes: tuple[int, ...], masking: Masking | None = None
) -> RuleResult:
    # Logits of a classifier are in clusters, of which means, covariances and skewness tell little.
    support = Support.APPROXIMATE if signal.tells_channels_apart else None
    return RuleResult((signal.softmax(_count(call, axes), masking),), support)


def _count(call: Call, axes: tuple[int, ...]) -> int:
    return math.prod(call.inputs[0].shape[axis] or 1 for axis in axes)
