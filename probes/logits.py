"""What a network gives before it makes probabilities of it, which losses are computed from."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from autoinit.graph.model_graph import Call, ModelGraph, Value, innermost

# Activations that make probabilities of logits.
_TO_PROBABILITIES = (
    keras.activations.softmax, keras.activations.log_softmax, keras.activations.sigmoid,
)  # fmt: skip


def logits_of(graph: ModelGraph, outputs: Iterable[Value]) -> tuple[Value, ...]:
    """What a softmax, log-softmax or sigmoid reads in place of what it gives; others as they are.

    A saturated softmax has no gradient, while that of cross entropy, by its logits, has.
    """
    producers = graph.producers()
    before = [_logits(producers[value.index], value) for value in outputs]
    # Logits that are an output themselves are there already.
    return tuple({value.index: value for value in before}.values())


def makes_probabilities(graph: ModelGraph, output: Value) -> bool:
    """Whether a softmax, log-softmax or sigmoid gives an output."""
    return _makes_probabilities(graph.producers()[output.index])


def _logits(call: Call, output: Value) -> Value:
    return call.inputs[0] if _makes_probabilities(call) else output


def _makes_probabilities(call: Call) -> bool:
    layer = innermost(call.layer)
    if call.part == "activation" or isinstance(layer, keras.layers.Activation):
        return call.activation in _TO_PROBABILITIES
    # The layer, and the operations of `keras.ops`, which have no public classes.
    return type(layer).__name__ in ("Softmax", "LogSoftmax", "Sigmoid")
