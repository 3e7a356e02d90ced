"""Layers at a model's entrance that rescale its data."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from autoinit.graph.model_graph import Call
from autoinit.rules.registry import Context, rule
from autoinit.signals.signal import Signal


@rule(layers.Rescaling)
def rescaling(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """scale·x + offset: mean scale·m + offset, variance scale²·v."""
    return inputs[0].affine(call.layer.scale, call.layer.offset)


@rule(layers.Normalization)
def normalization(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """(x − mean)/√variance with the statistics that the layer holds, or its inverse."""
    mean, variance = (
        np.asarray(context.load(statistic), np.float64)
        for statistic in (call.layer.mean, call.layer.variance)
    )
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    if call.layer.invert:
        return inputs[0].affine(deviation, mean)
    return inputs[0].affine(1 / deviation, -mean / deviation)
