"""What a network gives before it makes probabilities of it, which losses are computed from."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from autoinit.graph.model_graph import Call, ModelGraph, Value, innermost

LIKELIHOODS = ("categorical", "bernoulli", "gaussian")
# Activations that make probabilities of logits, and what of; as functions, layers and operations of
# `keras.ops`, which have no public classes.
_TO_PROBABILITIES = {
    keras.activations.softmax: "categorical", keras.activations.log_softmax: "categorical",
    keras.activations.sigmoid: "bernoulli", "Softmax": "categorical",
    "LogSoftmax": "categorical", "Sigmoid": "bernoulli",
}  # fmt: skip


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
    return likelihood_of(graph, output) != "gaussian"


def likelihood_of(graph: ModelGraph, output: Value) -> str:
    """What an output's last activation says that it tells, a member of `LIKELIHOODS`."""
    return _likelihood(graph.producers()[output.index])


def likelihoods_of(graph: ModelGraph, outputs: Iterable[Value]) -> dict[int, str]:
    """The same of some outputs, by the indices of their logits."""
    return {logits_of(graph, [each])[0].index: likelihood_of(graph, each) for each in outputs}


def _logits(call: Call, output: Value) -> Value:
    return output if _likelihood(call) == "gaussian" else call.inputs[0]


def _likelihood(call: Call) -> str:
    layer = innermost(call.layer)
    is_activation = call.part == "activation" or isinstance(layer, keras.layers.Activation)
    key = call.activation if is_activation else type(layer).__name__
    return _TO_PROBABILITIES.get(key, "gaussian")
