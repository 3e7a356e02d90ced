"""Weights that no gradient ever reaches, whatever their values: a step function is in the way."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.measured.series import Measured, fault_of
from app.analysis.diagnosis.roles import name_of
from autoinit.graph.model_graph import Call, ModelGraph
from probes.segments import trainable

# Constant between jumps. What gives whole numbers or truth values, such as argmax, is, too.
_STEPS = frozenset(["round", "rint", "floor", "ceil", "trunc", "sign", "heaviside", "floordivide"])
_STOP = "stopgradient"


def unreached(measured: Measured) -> Iterator[Fault]:
    """Weights all of whose ways to the outputs lead through a step function.

    Not where a gradient was measured all the same: a function may have one of its own. Where it is
    held back by name and other weights learn, as those of a target network do not, it is a note.
    """
    graph = measured.graph
    open_, behind = _open(graph)
    learning = [call for call in graph.calls if call.index in behind and trainable(call)]
    reached = {id(v) for call in learning if call.index in open_ for v in trainable(call)}
    reached |= {
        id(v)
        for call in learning
        if measured.updates and measured.updates[call.index]
        for v in trainable(call)
    }
    lost = [c for c in learning if not any(id(v) in reached for v in trainable(c))]
    if not lost:
        return
    way = _first_in_the_way(graph, lost[-1])
    if way is None:
        return
    every = not reached
    on_purpose = name_of(type(way.layer)) == _STOP and not every
    what = "no gradient comes back through it" if _is_stop(way) else "its slope is 0 or none"
    layers = "no layer" if every else f"{len({c.path for c in lost}):,} layers before it never"
    yield fault_of(
        measured,
        "no_gradient",
        way,
        f"{way.path!r} is the only way from {lost[-1].path!r} to the output, and {what}: "
        + (f"{layers} ever learns." if every else f"{layers} learn."),
        "let_gradient_through",
        Consequence.FATAL if every else Consequence.NOTE if on_purpose else Consequence.SERIOUS,
    )


def _is_stop(call: Call) -> bool:
    return name_of(type(call.layer)) == _STOP


def _is_step(call: Call) -> bool:
    return name_of(type(call.layer)) in _STEPS or _is_stop(call)


def _open(graph: ModelGraph) -> tuple[set[int], set[int]]:
    """Calls to whose outputs a gradient comes back, and calls that outputs depend on at all."""
    producers = graph.producers()
    open_ = {
        producers[value.index].index
        for value in graph.outputs
        if keras.backend.is_float_dtype(value.dtype)
    }
    behind = {producers[value.index].index for value in graph.outputs}
    for call in reversed(graph.calls):
        for value in call.inputs:
            source = producers[value.index].index
            if call.index in behind:
                behind.add(source)
            passes = keras.backend.is_float_dtype(value.dtype) and not _is_step(call)
            if call.index in open_ and passes:
                open_.add(source)
    return open_, behind


def _first_in_the_way(graph: ModelGraph, start: Call) -> Call | None:
    """The first step function behind a call."""
    reads = {value.index for value in start.outputs}
    for call in graph.calls[start.index + 1 :]:
        if any(value.index in reads for value in call.inputs):
            floats = any(keras.backend.is_float_dtype(value.dtype) for value in call.outputs)
            if _is_step(call) or not floats:
                return call
            reads.update(value.index for value in call.outputs)
    return None
