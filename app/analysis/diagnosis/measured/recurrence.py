"""Recurrences whose state grows from step to step: measured at three lengths."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.roles import BOUNDED_FUNCTIONS, name_of
from app.text.formatting import number
from autoinit.graph.model_graph import Call, ModelGraph, innermost

_LENGTHS = (8, 16, 32)
_SAMPLES = 8
# By how much the mean square of the state may grow while the number of steps doubles.
_GROWTH = 10.0


def recurrent_growth(graph: ModelGraph, series: str, seed: int = 0) -> Iterator[Fault]:
    """Recurrent layers with an unbounded activation whose last state grows with the steps."""
    seen: set[int] = set()
    for call in graph.calls:
        # Beside the sequence there may be states and a mask.
        sequences = bool(call.inputs) and len(call.inputs[0].sample) >= 2
        for layer in _recurrent_layers(innermost(call.layer)) if sequences else ():
            if id(layer) in seen or not _unbounded(layer) or not layer.built:
                continue
            seen.add(id(layer))
            squares = _squares(layer, call, seed)
            if squares is None or not _grows(squares):
                continue
            told = ", ".join(
                number(square) if math.isfinite(square) else "beyond floating point"
                for square in squares
            )
            steps = ", ".join(map(str, _LENGTHS[: len(squares)]))
            yield Fault(
                "recurrent_growth",
                call.path,
                call.class_name,
                f"The state of {call.path!r} grows from step to step: after {steps} steps its "
                f"mean square is {told}. Its activation, {_unbounded(layer)}, has no "
                "bound.",
                "bound_recurrence",
                Consequence.FATAL,
                series,
            )
            break  # one direction says what is wrong with both


def _grows(squares: list[float]) -> bool:
    if not all(map(math.isfinite, squares)):
        return True
    return len(squares) > 1 and squares[-1] > _GROWTH ** (len(squares) - 1) * squares[0]


def _recurrent_layers(layer: Any) -> Iterator[Any]:
    if isinstance(layer, layers.Bidirectional):
        yield layer.forward_layer
        yield layer.backward_layer
    elif isinstance(layer, layers.RNN):
        yield layer


def _unbounded(layer: Any) -> str:
    """The first activation of its cells that has no bound, or nothing."""
    if not hasattr(layer, "cell") or hasattr(layer.cell, "kernel_size"):  # no convolutions
        return ""
    functions = (
        getattr(cell, "activation", None) for cell in getattr(layer.cell, "cells", [layer.cell])
    )
    names = (name_of(function) for function in functions if function is not None)
    return next((name for name in names if name not in BOUNDED_FUNCTIONS), "")


def _squares(layer: Any, call: Call, seed: int) -> list[float] | None:
    """Mean squares of the last state after each number of steps, for Gaussian input."""
    features = call.inputs[0].sample[-1]
    generator = np.random.default_rng(seed)
    data = generator.standard_normal((_SAMPLES, _LENGTHS[-1], features)).astype("float32")
    cell = layer.cell
    found = []
    try:
        states = cell.get_initial_state(batch_size=_SAMPLES)
        states = states if isinstance(states, (list, tuple)) else [states]
        for step in range(_LENGTHS[-1]):
            output, states = cell(keras.ops.convert_to_tensor(data[:, step]), states)
            if step + 1 in _LENGTHS:
                values = keras.ops.convert_to_numpy(output).astype(np.float64)
                with np.errstate(all="ignore"):
                    found.append(float(np.mean(values**2)))
    except (TypeError, ValueError):  # a cell of another protocol
        return None
    finally:
        _forget_dropout(cell)
    return [value if math.isfinite(value) else math.inf for value in found]


def _forget_dropout(cell: Any) -> None:
    """Let go of the masks that a cell keeps between steps, which are of so many samples."""
    for each in getattr(cell, "cells", [cell]):
        if isinstance(each, layers.Layer) and hasattr(each, "reset_dropout_mask"):
            each.reset_dropout_mask()
            each.reset_recurrent_dropout_mask()
