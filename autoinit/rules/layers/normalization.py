"""Normalisation layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import layers

from autoinit.graph.model_graph import Call
from autoinit.rules.registry import Context, RuleResult, Support, rule
from autoinit.signals.signal import Signal


@rule(layers.BatchNormalization)
def batch_normalization(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """In training, γ·(x − m)/√(v + ε) + β with the batch's own moments; else the moving ones."""
    layer = call.layer
    gamma, beta = _scale_and_offset(layer, context)
    if context.training and layer.trainable:
        if layer.renorm:
            scale, offset = _renormalization(layer, inputs[0], context)
            gamma, beta = gamma * scale, gamma * offset + beta
        normalized = inputs[0].normalize(layer.epsilon, None, centered=True, samples=context.batch)
        return normalized.affine(gamma, beta)
    deviation = np.sqrt(_load(context, layer.moving_variance) + layer.epsilon)
    scale = gamma / deviation
    return inputs[0].affine(scale, beta - scale * _load(context, layer.moving_mean))


def _renormalization(layer: Any, signal: Signal, context: Context) -> tuple[Any, Any]:
    """Batch renormalisation's r and d (Ioffe 2017), from the statistics held to the batch's own."""
    held = np.maximum(_load(context, layer.renorm_stddev), math.sqrt(layer.epsilon))
    clipping = layer.renorm_clipping
    r = math.sqrt(signal.variance + layer.epsilon) / held
    d = (signal.mean - _load(context, layer.renorm_mean)) / held
    bound = clipping.get("dmax", math.inf)
    return (
        np.clip(r, clipping.get("rmin", 0.0), clipping.get("rmax", math.inf)),
        np.clip(d, -bound, bound),
    )


@rule(layers.LayerNormalization)
def layer_normalization(
    call: Call, inputs: Sequence[Signal], context: Context
) -> RuleResult | Signal:
    """γ·(x − mean)/√(variance + ε) + β over the layer's axes."""
    layer = call.layer
    gamma, beta = _scale_and_offset(layer, context)
    if layer.rms_scaling:
        # Keras divides by the deviation and leaves the mean: as for a great many entries.
        scale = gamma / math.sqrt(inputs[0].variance + layer.epsilon)
        return RuleResult((inputs[0].affine(scale, 0.0),), Support.APPROXIMATE)
    axes, rank = _axes(layer.axis), len(call.inputs[0].shape)
    # Over all positions of a channel it is a group normalization of such groups.
    positions = {axis % rank for axis in axes} == set(range(1, rank - 1))
    count = _count(call, layer.axis)
    normalized = inputs[0].normalize(layer.epsilon, count, centered=True, positions=positions)
    return normalized.affine(gamma, beta)


@rule(layers.GroupNormalization)
def group_normalization(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """γ·(x − mean)/√(variance + ε) + β over the positions and channels of a group."""
    layer = call.layer
    gamma, beta = _scale_and_offset(layer, context)
    channels = call.inputs[0].shape[layer.axis] or 1
    groups = channels if layer.groups == -1 else layer.groups
    count = max(call.inputs[0].entries // groups, 1)
    normalized = inputs[0].normalize(layer.epsilon, count, centered=True, positions=True)
    return normalized.affine(gamma, beta)


@rule(layers.RMSNormalization)
def rms_normalization(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """scale·x/√(mean(x²) + ε), the mean taken over the layer's axes."""
    layer = call.layer
    count = _count(call, layer.axis)
    scale = _load(context, layer.scale)
    return inputs[0].normalize(layer.epsilon, count, centered=False).affine(scale, 0.0)


@rule(layers.UnitNormalization)
def unit_normalization(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """x/‖x‖ over n entries: second moment 1/n."""
    count = _count(call, call.layer.axis)
    return inputs[0].normalize(0.0, count, centered=False).affine(1 / math.sqrt(count), 0.0)


def _count(call: Call, axis: Any) -> int:
    return math.prod(call.inputs[0].shape[place] or 1 for place in _axes(axis))


def _axes(axis: Any) -> Sequence[int]:
    return axis if isinstance(axis, (list, tuple)) else [axis]


def _scale_and_offset(layer: Any, context: Context) -> tuple[Any, Any]:
    gamma = _load(context, layer.gamma) if layer.gamma is not None else 1.0
    beta = _load(context, layer.beta) if layer.beta is not None else 0.0
    return gamma, beta


def _load(context: Context, variable: Any) -> Any:
    return np.asarray(context.load(variable), np.float64)
