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


def _logits(call: Call, output: Value) -> Value:
    layer = innermost(call.layer)
    if call.part == "activation" or isinstance(layer, keras.layers.Activation):
        makes_probabilities = call.activation in _TO_PROBABILITIES
    else:
        # The layer, and the operations of `keras.ops`, which have no public classes.
        makes_probabilities = type(layer).__name__ in ("Softmax", "LogSoftmax", "Sigmoid")
    return call.inputs[0] if makes_probabilities else output
