"""Operations that move or repeat entries: reshaping, transposing, repeating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from autoinit.graph.model_graph import Call, Value
from autoinit.rules.operations.named import NAMED
from autoinit.rules.registry import Context, RuleResult, Support
from autoinit.rules.spatial import reshaped
from autoinit.signals.geometry import Taps
from autoinit.signals.signal import Signal

# Sizes that tell axes apart.
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23)


def reshaping(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Reshape, Squeeze, ExpandDims, Ravel and their kin."""
    (after,) = call.outputs
    return RuleResult((reshaped(inputs[0], call.inputs[0], after),), Support.NEUTRAL)


def transposing(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Transpose, Swapaxes and Moveaxis."""
    (before,), (after,) = call.inputs, call.outputs
    order = _order(call.layer, before)
    if not before.constant:
        if order[0] != 0 or before.rows != after.rows:
            return RuleResult((inputs[0].arrange(after.positions),), Support.NEUTRAL)
        order = [axis - 1 for axis in order[1:]]
    return RuleResult((inputs[0].transpose(before.sample, order),), Support.NEUTRAL)


def _order(operation: Any, before: Value) -> list[int]:
    """For each axis of the output the input's, the batch axis counted."""
    sizes = _PRIMES[: len(before.shape)]
    tensor = keras.KerasTensor(sizes)
    return [sizes.index(size) for size in operation.compute_output_spec(tensor).shape]


def repeating(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Repeat and Tile: along axes of positions, position by position."""
    (before,), (after,) = call.inputs, call.outputs
    name, signal = type(call.layer).__name__, inputs[0]
    even = len(before.sample) == len(after.sample) and before.rows == after.rows
    if not even or any(new % old for old, new in zip(before.sample, after.sample, strict=True)):
        return RuleResult((signal.repeat(after.positions),), Support.NEUTRAL)
    taps = []
    for old, new in zip(before.positions, after.positions, strict=True):
        each = np.arange(old)
        reads = np.repeat(each, new // old) if name == "Repeat" else np.tile(each, new // old)
        taps.append(Taps.summing(reads[:, None], old))
    return RuleResult((signal.arrange(before.positions).linear_map(taps),), Support.NEUTRAL)


NAMED.update(
    dict.fromkeys(("Reshape", "Squeeze", "ExpandDims", "Ravel"), reshaping)
    | dict.fromkeys(("Transpose", "Swapaxes", "Moveaxis"), transposing)
    | dict.fromkeys(("Repeat", "Tile"), repeating)
)
