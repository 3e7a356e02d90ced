"""Layers at a model's entrance that rescale its data."""

from __future__ import annotations

import math
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


# An input is the one that a Normalization was adapted to where its mean is off by no more standard
# deviations than this, and its variance by no larger factor.
_MEAN_OFF, _VARIANCE_OFF = 0.5, 2.0


@rule(layers.Normalization)
def normalization(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """(x − mean)/√variance with the statistics that the layer holds, or its inverse.

    An input of the mean and variance that these statistics have over all features, each of which
    has its own, is taken to be the one that the layer was adapted to: each feature by itself.
    """
    mean, variance = (
        np.asarray(context.load(statistic), np.float64)
        for statistic in (call.layer.mean, call.layer.variance)
    )
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    if call.layer.invert:
        return inputs[0].affine(deviation, mean)
    center, spread = float(mean.mean()), math.sqrt(float(variance.mean() + mean.var()))
    off = inputs[0].variance / spread**2 if spread > 0.0 else 0.0
    adapted = (
        abs(inputs[0].mean - center) <= _MEAN_OFF * spread
        and 1 / _VARIANCE_OFF <= off <= _VARIANCE_OFF
    )
    if adapted:
        mean, deviation = np.asarray(center), np.asarray(spread)
    return inputs[0].affine(1 / deviation, -mean / deviation)
