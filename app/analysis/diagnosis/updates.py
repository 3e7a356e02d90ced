"""How fast training would change each kernel: its gradient beside its own size."""

from __future__ import annotations

from autoinit.graph.model_graph import ModelGraph
from probes.gradients import Gradients, variables_by_path
from probes.segments import trainable


def update_ratios(graph: ModelGraph, gradients: Gradients | None) -> list[float | None]:
    """For each call the update ratio of its kernel; the least of several kernels'.

    Args:
        graph: the calls.
        gradients: as they were measured; None where they could not be.

    Returns:
        Root mean squares of a sample's gradient beside those of the kernels; None for a call
        without a trainable kernel, and for one that no gradient reaches.
    """
    if gradients is None:
        return [None] * len(graph.calls)
    found = {
        id(variable): gradients.update_ratios[path]
        for path, variable in variables_by_path(graph).items()
        if path in gradients.update_ratios
    }
    # An activation of a layer's own is a call of the layer, and has no kernel.
    own = ((() if call.part == "activation" else trainable(call)) for call in graph.calls)
    ratios = ([found.get(id(variable)) for variable in variables] for variables in own)
    return [min((r for r in each if r is not None), default=None) for each in ratios]
