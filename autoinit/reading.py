"""Reading a model with the rules at hand: what has a rule is a call, the rest is opened."""

from __future__ import annotations

from typing import Any

from autoinit.errors import GraphError
from autoinit.graph.model_graph import ModelGraph
from autoinit.graph.paths import shortened
from autoinit.graph.reading import read_graph
from autoinit.rules import RULES
from autoinit.rules.registry import Registry


def read_model(
    model: Any, unknown_size: int = 32, *, registry: Registry = RULES, training: bool = True
) -> ModelGraph:
    """Read the graph of a Keras 3 model.

    Args:
        model: a built model: `Functional`, `Sequential`, or a subclass whose `call` can be opened.
        unknown_size: size taken for axes that the model leaves open (other than the batch).
        registry: layers with a rule in it are calls; others are opened where that is possible.
        training: mode in which layers are opened.

    Raises:
        GraphError: where there is no graph to read: a model that was never built, or a subclass
            that cannot be opened; and where a layer does not accept the sizes that were taken.
    """
    graph = read_graph(
        model,
        unknown_size,
        has_rule=lambda layer: registry.find(layer) is not None,
        training=training,
    )
    for call in graph.inputs:
        if 0 in call.outputs[0].shape[1:]:
            raise GraphError(
                f"Input {shortened(call.path)!r} has the shape {call.outputs[0].shape}, which holds"
                " no number: give it a size."
            )
    return graph
