"""Layers that the networks of `keras.applications` bring with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoinit.graph.keras_internals import CustomScaleLayer, LayerScale, StochasticDepth
from autoinit.graph.model_graph import Call
from autoinit.rules.layers.regularization import dropped
from autoinit.rules.registry import Context, RuleResult, Support, rule
from autoinit.signals.signal import Signal


@rule(LayerScale)
def layer_scale(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """γ·x, a γ for each channel (ConvNeXt)."""
    return inputs[0].affine(np.asarray(context.load(call.layer.gamma), np.float64), 0.0)


@rule(CustomScaleLayer)
def scaled_residual(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """X + scale·y (Inception-ResNet); a tensor added to itself is scaled."""
    scale = call.layer.scale
    if call.inputs[0] == call.inputs[1]:
        return inputs[0].affine(1.0 + scale, 0.0)
    return inputs[0].combine("add", [inputs[1].affine(scale, 0.0)])


@rule(StochasticDepth)
def stochastic_depth(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | Signal:
    """Whole samples zero with probability `rate`, the others x/(1 − rate) (ConvNeXt)."""
    rate = call.layer.drop_path_rate
    if not (context.training and rate > 0):
        return RuleResult((inputs[0],), Support.NEUTRAL)
    return dropped(inputs[0], rate, context, frozenset({"positions", "channels"}))
