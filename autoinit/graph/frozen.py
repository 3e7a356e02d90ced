"""Frozen weights: what `trainable=False` keeps from being trained, and what may be kept here too.

This is transfer learning's case: a pretrained body under a new head.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from autoinit.graph.keras_internals import layers_in, own_variables
from autoinit.graph.model_graph import Call, ModelGraph, Parameter, weights_of


def frozen_variables(graph: ModelGraph) -> frozenset[int]:
    """Identities (`id`) of the weights of frozen layers, statistics included.

    A layer is frozen by its own `trainable=False`, or by that of a wrapper or model around it. One
    that is used several times is frozen if it is so in each use.
    """
    frozen: set[int] = set()
    free: set[int] = set()
    for call in graph.calls:
        for layer, is_frozen in _parts(call):
            (frozen if is_frozen else free).update(map(id, own_weights(layer)))
    return frozenset(frozen - free)


def frozen_calls(graph: ModelGraph) -> tuple[Call, ...]:
    """The first call of each layer that has weights, all of them frozen."""
    frozen = frozen_variables(graph)
    first = {id(call.layer): call for call in reversed(graph.calls)}
    return tuple(
        call for call in graph.calls if call is first[id(call.layer)] and is_frozen(call, frozen)
    )


def is_frozen(call: Call, frozen: frozenset[int]) -> bool:
    """Whether a call applies weights, all of which are among the frozen ones."""
    weights = () if call.part == "activation" else weights_of(call.layer)
    return bool(weights) and all(id(variable) in frozen for variable in weights)


def settled_values(
    graph: ModelGraph, frozen: frozenset[int], drawn: Collection[int]
) -> frozenset[int]:
    """Indices of the values that depend on frozen weights, and on none that are drawn.

    Args:
        graph: of the model.
        frozen: identities of the frozen variables.
        drawn: identities of those that AutoInit draws.
    """
    settled: set[int] = set()
    fresh: set[int] = set()
    for call in graph.calls:
        own = {id(variable) for variable in weights_of(call.layer)}
        read = {value.index for value in call.inputs}
        written = {value.index for value in call.outputs}
        if read & fresh or not own.isdisjoint(drawn):
            fresh |= written
        elif read & settled or own & frozen:
            settled |= written
    return frozenset(settled)


def _parts(call: Call) -> Iterator[tuple[Any, bool]]:
    """A call's layer and all that it holds, each with whether it is frozen there."""
    waiting = [(call.layer, call.frozen)]
    while waiting:
        layer, is_frozen = waiting.pop()
        if isinstance(layer, Parameter):
            yield layer, is_frozen or not layer.trainable
        parts = layers_in(layer, deep=False)
        if not parts:
            continue  # operations have no weights
        is_frozen = is_frozen or not layer.trainable
        yield layer, is_frozen
        waiting += [(part, is_frozen) for part in parts[1:]]


def own_weights(layer: Any) -> list[Any]:
    """A layer's variables without those of the layers that it holds."""
    if isinstance(layer, Parameter):
        return layer.weights
    trained, others = own_variables(layer)
    return [*trained, *others]
