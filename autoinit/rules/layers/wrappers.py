"""Layers that hold another layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keras import layers

from autoinit.graph.model_graph import Call, Value
from autoinit.rules.registry import Context, RuleResult, Support, rule
from autoinit.rules.sampling import sample_layer
from autoinit.signals.signal import Signal


@rule(layers.TimeDistributed)
def time_distributed(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """The rule of the wrapped layer, applied to one time step; sampled where it has none."""
    inner = replace(
        call,
        layer=call.layer.layer,
        inputs=tuple(map(_one_step, call.inputs)),
        outputs=tuple(map(_one_step, call.outputs)),
        # The mask and the mode are the wrapper's arguments; not every layer takes a mask.
        arguments=(call.arguments[0], {}),
    )
    registration = context.registry.find(inner.layer)
    if registration is None:
        signals, error = sample_layer(call, inputs, context)
        return RuleResult(signals, Support.SAMPLED, standard_error=error)
    return registration.apply(inner, inputs, context)


def _one_step(value: Value) -> Value:
    return replace(value, shape=(value.shape[0], *value.shape[2:]))
