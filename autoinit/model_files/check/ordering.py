"""How many calls a configuration's layers make, and whether they can be made in any order."""

from __future__ import annotations

import math
from typing import Any

from autoinit.errors import ModelFileError
from autoinit.graph.paths import shortened
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.check.config_tree import LayerEntry, Model, in_order
from autoinit.model_files.check.connections import Connections, nodes_of
from autoinit.model_files.read.hdf5 import quoted

# A layer's name, and a place among its calls.
LayerCall = tuple[str, int]


# Of SpectralNormalization, AugMix, RandAugment and TextVectorization.
_REPEATING = ("power_iterations", "num_chains", "chain_depth", "num_ops", "ngrams")


def require_counts(outermost: LayerEntry, budgets: Budgets) -> None:
    """Hold layers, and calls of layers, to their budgets.

    A nested model's calls count once for each of its own: doubled thirty times in a row, one layer
    makes a billion.

    Raises:
        ModelFileError: `over_budget`.
    """
    places = list(in_order(outermost))
    budgets.require("layers", len(places) - 1, "The model")
    calls: dict[LayerEntry, int] = {}
    for place in reversed(places):
        inner = sum(calls[layer] for model in place.models for layer in model.places)
        calls[place] = max(len(nodes_of(place.entry)), 1) * (inner if place.models else 1)
    budgets.require("calls", calls[outermost], "The model")


def require_repetitions(config: Any, budgets: Budgets) -> None:
    """Hold the arguments by which a layer does something over and over to their budget.

    Raises:
        ModelFileError: `over_budget`.
    """
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            given = {name: _largest(value[name]) for name in _REPEATING if name in value}
            what = ", ".join(f"{name}={times:.6g}" for name, times in given.items())
            budgets.require("repetitions", math.prod(given.values()), f"{what} of a layer")
            # Keras makes a list of as many before it looks anything up.
            unknown = _largest(value.get("num_oov_indices"))
            budgets.require("json_nodes", unknown, f"num_oov_indices={unknown:.6g} of a layer")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _largest(value: Any) -> float:
    """Of a number or a list of numbers, and at least 1."""
    values = value if isinstance(value, list) else [value]
    return max((1, *(each for each in values if isinstance(each, int | float))))


def require_order(outermost: LayerEntry, keras: int) -> None:
    """See to it that a graph's layers read what is there, and none its own results.

    Raises:
        ModelFileError: `bad_configuration`.
    """
    for place in in_order(outermost):
        for model in place.models:
            if model.returned is not None:
                layers = [(layer.name, layer.entry) for layer in model.places]
                _require_order(Connections(layers, model.returned, keras), model)


def _require_order(connections: Connections, model: Model) -> None:
    models = {place.name for place in model.places if place.models}
    calls = {(name, index): read for name, index, read in connections.calls()}
    calls |= {(place.name, 0): [] for place in model.places if place.class_name == "InputLayer"}
    waiting: dict[LayerCall, int] = {}
    readers: dict[LayerCall, list[LayerCall]] = {}

    def source(read: LayerCall) -> LayerCall:
        name, node = read
        # A nested model's first call counts as its second where its own making is the first.
        found = (name, max(node - 1, 0) if name in models else node)
        if found not in calls:
            what = f"call {node + 1:,} of layer {quoted(shortened(name))}, which there is not"
            raise _out_of_order(model, f"reads {what}")
        return found

    for read in connections.returned_calls():
        source(read)
    for call, reads in calls.items():
        sources = {source(read) for read in reads}
        waiting[call] = len(sources)
        for found in sources:
            readers.setdefault(found, []).append(call)
    ready = [call for call, count in waiting.items() if count == 0]
    while ready:
        call = ready.pop()
        del waiting[call]
        for reader in readers.get(call, ()):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                ready.append(reader)
    if waiting:
        name, _ = next(iter(waiting))
        raise _out_of_order(model, f"goes round in a circle at layer {quoted(shortened(name))}")


def _out_of_order(model: Model, what: str) -> ModelFileError:
    return ModelFileError(
        "bad_configuration",
        f"The graph of model {quoted(model.place.call)} {what}: no such model can be built."
        if model.place.call
        else f"The model's graph {what}: no such model can be built.",
    )
