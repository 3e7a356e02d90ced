"""Dropout and noise: identity in inference; in training, what Keras does today."""

from __future__ import annotations

from collections.abc import Sequence

from keras import layers

from autoinit.graph.model_graph import Call
from autoinit.rules.registry import Context, RuleResult, Support, rule
from autoinit.signals.signal import Signal

# SELU's constants, as alpha dropout has them (Klambauer et al. 2017).
_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805
_SPATIAL = (layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D)


@rule(layers.Dropout, *_SPATIAL)
def dropout(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | Signal:
    """Zero with probability `rate`, else x/(1 − rate): mean m, second moment (v + m²)/(1 − rate).

    Keras rescales in spatial dropout as well. A noise shape drops entries together, which leaves
    the distribution of one entry as it is, and what entries have in common.
    """
    if not _active(call, context):
        return RuleResult((inputs[0],), Support.NEUTRAL)
    return dropped(inputs[0], call.layer.rate, context, _together(call))


def dropped(
    signal: Signal, rate: float, context: Context, shared: frozenset[str] = frozenset()
) -> Signal:
    """Zero with probability `rate`, else x/(1 − rate).

    Args:
        signal: x.
        rate: below 1, or everything is zero.
        context: of the pass.
        shared: what is dropped together, as `Signal.dropout` takes it.
    """
    gain = 1 / (1 - rate) if rate < 1 else 0.0
    return signal.dropout(1 - rate, gain, shared=shared, samples=context.batch)


def _together(call: Call) -> frozenset[str]:
    """Over what the noise is the same: the axes where its shape is 1."""
    if isinstance(call.layer, _SPATIAL):
        return frozenset({"positions"})
    last = len(call.inputs[0].shape) - 1
    names = {0: "samples", last: "channels"}
    sizes = enumerate(call.layer.noise_shape or ())
    return frozenset(names.get(axis, "positions") for axis, size in sizes if size == 1)


@rule(layers.AlphaDropout)
def alpha_dropout(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | Signal:
    """α' = −αλ with probability `rate`, then the affine map that keeps mean 0 and variance 1."""
    rate = call.layer.rate
    if not _active(call, context):
        return RuleResult((inputs[0],), Support.NEUTRAL)
    floor = -_ALPHA * _SCALE
    scale = ((1 - rate) * (1 + rate * floor**2)) ** -0.5
    kept = inputs[0].dropout(1 - rate, 1.0, otherwise=floor, shared=_together(call))
    return kept.affine(scale, -scale * floor * rate)


@rule(layers.GaussianNoise)
def gaussian_noise(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | Signal:
    """X + N(0, stddev²) in training: variance v + stddev²."""
    if not (context.training and call.layer.stddev > 0):
        return RuleResult((inputs[0],), Support.NEUTRAL)
    noise = type(inputs[0]).gaussian(0.0, call.layer.stddev**2)
    return inputs[0].combine("add", [noise])


@rule(layers.GaussianDropout)
def gaussian_dropout(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | Signal:
    """x·N(1, rate/(1 − rate)) in training: mean m, second moment (v + m²)/(1 − rate)."""
    rate = call.layer.rate
    if not _active(call, context):
        return RuleResult((inputs[0],), Support.NEUTRAL)
    noise = type(inputs[0]).gaussian(1.0, rate / (1 - rate))
    return inputs[0].combine("multiply", [noise])


@rule(layers.ActivityRegularization, support=Support.NEUTRAL)
def activity_regularization(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """The same tensor; what it adds goes to the loss."""
    return inputs[0]


def _active(call: Call, context: Context) -> bool:
    return context.training and call.layer.rate > 0
