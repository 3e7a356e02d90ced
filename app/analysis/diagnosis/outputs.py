"""Models with several outputs: what keeps one of them from learning leaves the others alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.measured.series import layer_path
from autoinit.graph.model_graph import ModelGraph

# Of these every layer that has them is known; and none spoils the loss of the others, as NaN does.
_OF_AN_OUTPUT = frozenset({"output_activation_vs_loss", "constant_output", "zero_kernel"})


def by_outputs(graph: ModelGraph, faults: Sequence[Fault]) -> list[Fault]:
    """What is fatal to some outputs only is no more than serious for the model, and says so."""
    if len(graph.outputs) < 2:
        return list(faults)
    producers = graph.producers()
    names = {value.index: layer_path(producers[value.index]) for value in graph.outputs}
    reached = _outputs_behind(graph)
    affected: dict[Fault, set[int]] = {}
    for fault in faults:
        if fault.consequence is Consequence.FATAL:
            places = (fault.path, *fault.others)
            found = [reached[call.index] for call in graph.calls if layer_path(call) in places]
            known = bool(found) and fault.code in _OF_AN_OUTPUT
            affected[fault] = set().union(*found) if known else set(names)
    result = []
    for fault in faults:
        series = (None, fault.series or "uploaded")
        gone = set().union(*(behind for each, behind in affected.items() if each.series in series))
        spared = [name for index, name in names.items() if index not in gone]
        if fault in affected and spared:
            told = ", ".join(map(repr, spared))
            several = "outputs {} do" if len(spared) > 1 else "output {} does"
            fault = replace(
                fault,
                message=f"{fault.message} The {several.format(told)} not depend on it.",
                consequence=Consequence.SERIOUS,
            )
        result.append(fault)
    return result


def _outputs_behind(graph: ModelGraph) -> list[set[int]]:
    """For each call the indices of the outputs that depend on it."""
    outputs = {value.index for value in graph.outputs}
    behind: list[set[int]] = [set() for _ in graph.calls]
    producers = graph.producers()
    for call in reversed(graph.calls):
        behind[call.index] |= {value.index for value in call.outputs} & outputs
        for value in call.inputs:
            behind[producers[value.index].index] |= behind[call.index]
    return behind
