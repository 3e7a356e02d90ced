"""Normalizations and softmax that are written out as operations, such as x·rsqrt(mean(x²) + ε).

They are told by what they do, however they are written: the calls between a tensor and where it
meets itself are run on vectors of several lengths, and what they give is held against
normalizations of these, and their softmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from scipy import special

from autoinit.graph.model_graph import Call, ModelGraph, Value, weights_of
from autoinit.propagation.dependence import Region
from autoinit.signals.signal import Array, Signal

# What such calls end in.
_LAST = frozenset({"Divide", "Multiply", "TrueDivide"})
# Calls from a tensor to where it meets itself.
_MOST_CALLS = 12
# Entries of what is tried, of two samples; and of which all are looked at, else some vectors.
_MOST_ENTRIES, _MOST_SEEN = 2**25, 2**22
_SCALES = 1e3, 1.0, 0.1, 1e-2, 1e-3, 1e-4
# How near to one is one; in single precision, and in less.
_NEAR, _NEAR_IN_HALF = 2e-3, 2e-2
# Of what a vector becomes, relative to what ε does nothing to: from where to where it tells ε.
_TOLD_BY = 0.3, 0.95


@dataclass(frozen=True)
class Normalization:
    """a·x/(√(mean(x²) + ε) + e), or of x less its mean: over statistics of one sample.

    Attributes:
        scale: a.
        epsilon: ε.
        added: e.
        centered: whether the mean is taken away.
        count: how many entries the means are taken over.
        positions: whether these are of all positions, not of one.
    """

    scale: float
    epsilon: float
    added: float
    centered: bool
    count: int
    positions: bool

    def applied(self, signal: Signal) -> Signal:
        """What becomes of a signal."""
        # What is added to a length is as much as this, added to its square.
        square = signal.variance if self.centered else signal.second_moment
        epsilon = self.epsilon + self.added * (2 * math.sqrt(square) + self.added)
        normal = signal.normalize(
            epsilon, self.count, centered=self.centered, positions=self.positions
        )
        return normal.affine(self.scale, 0.0)


@dataclass(frozen=True)
class Softmax:
    """exp(x)/Σ exp(x) over the channels.

    Attributes:
        count: of the channels.
    """

    count: int

    def applied(self, signal: Signal) -> Signal:
        """What becomes of a signal."""
        return signal.softmax(self.count)


def tensors_met_again(graph: ModelGraph) -> dict[int, Region]:
    """Where a tensor is multiplied or divided by what was made of it alone, by the call's index.

    The region's first source is that tensor; others are constants.
    """
    makers = graph.producers()
    found = {}
    for call in graph.calls:
        if type(call.layer).__name__ in _LAST and call.placeholder is None:
            region = _region(call, makers)
            if region is not None:
                found[call.index] = region
    return found


def _region(call: Call, makers: Mapping[int, Call]) -> Region | None:
    front = {value.index: value for value in call.inputs if not value.constant}
    if len(front) < 2:
        return None
    calls = {call.index: call}
    while len(front) > 1:
        # What was made last cannot be what the others were made of.
        maker = max((makers[index] for index in front), key=lambda each: each.index)
        reads = [value for value in maker.inputs if not value.constant]
        if not reads or maker.placeholder or weights_of(maker.layer) or len(calls) == _MOST_CALLS:
            return None
        calls[maker.index] = maker
        for value in maker.outputs:
            front.pop(value.index, None)
        front.update((value.index, value) for value in reads)
    (tensor,) = front.values()
    output = call.outputs[0]
    alike = tensor.sample == output.sample and tensor.rows == output.rows == 1
    floats = tensor.dtype.startswith(("float", "bfloat"))
    largest = max(
        value.entries for each in calls.values() for value in (*each.inputs, *each.outputs)
    )
    if not (alike and floats and tensor.channels > 1 and 2 * largest <= _MOST_ENTRIES):
        return None
    order = tuple(calls[index] for index in sorted(calls))
    constants = {value.index: value for each in order for value in each.inputs if value.constant}
    return Region(order, (tensor, *constants.values()))


def written_out(region: Region, known: Mapping[int, Any]) -> Normalization | Softmax | None:
    """What calls do to a tensor, if that is one of these.

    Args:
        region: as `tensors_met_again` gives it.
        known: arrays of the constants, by value index.
    """
    tensor, *constants = region.sources
    if any(value.index not in known for value in constants):
        return None
    near = _NEAR if tensor.dtype in ("float32", "float64") else _NEAR_IN_HALF
    values: Any = np.random.default_rng(0).standard_normal(tensor.sizes(2), np.float32)
    values += np.float32(0.5)
    try:
        found = {
            scale: _seen(_run(region, known, np.float32(scale) * values), tensor)
            for scale in _SCALES
        }
    except Exception:  # a call raises what it likes, of what it cannot take
        return None
    values = _seen(values, tensor)
    if not all(np.isfinite(each).all() for each in found.values()):
        return None
    if np.abs(found[1.0] - special.softmax(values, -1)).max() < near / tensor.channels:
        return Softmax(tensor.channels)
    for group in _groups(tensor):
        for centered in (True,) if group.positions else (False, True):
            rows = np.array([group.of(each) for each in found.values()])
            fitted = _fitted(group.of(values), rows, near, centered=centered)
            if fitted is not None:
                count = rows.shape[-1]
                return Normalization(*fitted, centered, count, group.positions)
    return None


def _seen(values: Any, tensor: Value) -> Array:
    """All of it, or so many of its vectors."""
    if values.size > _MOST_SEEN:
        step = math.ceil(values.size / _MOST_SEEN)
        values = values.reshape(-1, tensor.channels)[::step]
    return np.asarray(values, np.float64)


@dataclass(frozen=True)
class _Group:
    """Entries of two samples that have a mean in common, as vectors: (vectors, entries)."""

    of: Callable[[Array], Array]
    positions: bool


def _groups(tensor: Value) -> list[_Group]:
    channels = tensor.channels
    found = [_Group(lambda x: x.reshape(-1, channels), positions=False)]
    if tensor.entries > channels and 2 * tensor.entries <= _MOST_SEEN:
        found += [
            _Group(lambda x: np.moveaxis(x, -1, 1).reshape(2 * channels, -1), positions=True),
            _Group(lambda x: x.reshape(2, -1), positions=True),
        ]
    return found


def _fitted(
    given: Array, rows: Array, near: float, *, centered: bool
) -> tuple[float, float, float] | None:
    """What makes of vectors what they become, at each of the scales: a, ε and e.

    Args:
        given: (vectors, entries).
        rows: what they become, (scales, vectors, entries).
        near: how far that may be from it.
        centered: whether their means are taken away.
    """
    given = given - centered * given.mean(-1, keepdims=True)
    squares = (given**2).mean(-1)
    units = given / np.sqrt(squares)[:, None]
    factors = (rows * units).mean(-1)
    beside = np.abs(rows - factors[..., None] * units).max((1, 2))
    scale = float(factors[0].mean())
    if not (scale > 0 and (beside <= 5 * near * np.abs(factors).max(1)).all()):
        return None
    shares = factors / scale
    lengths = np.array(_SCALES)[:, None] * np.sqrt(squares)
    tells = (shares > _TOLD_BY[0]) & (shares < _TOLD_BY[1])
    epsilon, added = 0.0, 0.0
    if tells.any():
        epsilon = float(np.median(lengths[tells] ** 2 * (shares[tells] ** -2 - 1)))
        added = float(np.median(lengths[tells] * (1 / shares[tells] - 1)))
    of_square = lengths / np.sqrt(lengths**2 + epsilon)
    of_length = lengths / (lengths + added)
    if np.abs(shares - of_square).max() <= 5 * near:
        return scale, epsilon, 0.0
    return (scale, 0.0, added) if np.abs(shares - of_length).max() <= 5 * near else None


def _run(region: Region, known: Mapping[int, Any], values: Any) -> Any:
    """What the last call gives, in inference, for a tensor of two samples."""
    tensor, *constants = region.sources
    tensors: dict[int, Any] = {value.index: known[value.index] for value in constants}
    tensors[tensor.index] = keras.ops.convert_to_tensor(values, dtype=tensor.dtype)
    for call in region.calls:
        outputs = call.run([tensors[value.index] for value in call.inputs], False, 2)
        tensors |= {value.index: each for value, each in zip(call.outputs, outputs, strict=True)}
    output: Value = region.calls[-1].outputs[0]
    return np.asarray(keras.ops.convert_to_numpy(tensors[output.index]))
