"""Operations that map entries linearly, found out by what they do to unit vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from autoinit.graph.model_graph import Call, Value
from autoinit.rules.registry import RuleResult, Support
from autoinit.signals.geometry import Taps
from autoinit.signals.signal import Array, BiasMoments, KernelMoments, Signal

# Numbers that are computed to find a matrix, and entries of one that is kept.
_MOST_COMPUTED = 2**30
_MOST_KEPT = 2**24
_MOST_AT_ONCE = 2**22  # numbers of one piece of it
_TOLERANCE = 1e-4

Map = Callable[[Array], Array]


def linear(call: Call, signal: Signal) -> RuleResult | None:
    """Σ over positions, one matrix along each axis, or else over all entries.

    In the second case entries are taken as independent of each other.

    Returns:
        None for an operation that is not linear, or too large to try.
    """
    value = call.inputs[0]
    if len(call.outputs) != 1 or not value.dtype.startswith(("float", "bfloat")):
        return None
    output = call.outputs[0]
    if value.rows != output.rows or value.constant or output.constant:
        return None

    def function(tensor: Array) -> Array:
        given = keras.ops.convert_to_tensor(np.asarray(tensor, np.float32))
        (result,) = call.run([given] * len(call.inputs), training=False, batch=len(tensor))
        return np.asarray(keras.ops.convert_to_numpy(result), np.float64)

    try:
        if not _is_linear(function, value):
            return None
        found = _along_axes(function, signal, value, output)
        return found or _as_matrix(function, signal, value, output)
    except Exception:  # whatever it raises: it is sampled then, or passed through
        return None


def _is_linear(function: Map, value: Value) -> bool:
    """Whether it is for three tensors; most operations that are not show it in one of them."""
    one, two, nothing = np.random.default_rng(1).standard_normal((3, *value.sizes(1)))
    nothing = 0.0 * nothing
    first, second, offset = function(one), function(two), function(nothing)
    expected = 2 * (first - offset) - 3 * (second - offset) + offset
    return _close(function(2 * one - 3 * two), expected)


def _close(measured: Array, expected: Array) -> bool:
    atol = _TOLERANCE * float(np.sqrt((expected**2).mean())) if expected.size else 0.0
    return bool(np.allclose(measured, expected, rtol=_TOLERANCE, atol=atol))


def _along_axes(function: Map, signal: Signal, value: Value, output: Value) -> RuleResult | None:
    """Channel by channel, a matrix along each spatial axis; zeros may become another constant."""
    rank, channels = len(value.positions), value.sample[-1] if value.sample else 0
    if not rank or len(output.positions) != rank or output.sample[-1] != channels:
        return None
    numbers = value.entries * sum(value.positions)
    if value.rows != 1 or numbers + output.entries * sum(value.positions) > _MOST_COMPUTED:
        return None
    zeros = function(np.zeros(value.sizes(1)))
    if zeros.shape != output.sizes(1):
        return None
    border = float(zeros.flat[np.abs(zeros).argmax()]) if zeros.size else 0.0

    def centered(tensor: Array) -> Array:
        return function(tensor + border) - border

    if np.abs(centered(np.zeros(value.sizes(1)))).max(initial=0.0) > _TOLERANCE * abs(border):
        return None
    matrices = []
    for axis, size in enumerate(value.positions):
        lines = [_responses(centered, value, axis, place) for place in range(size)]
        responses = np.stack(lines)  # (inputs, outputs, other places)
        strongest = int(np.abs(responses).sum((0, 1)).argmax())
        matrices.append(responses[:, :, strongest].T)
    random = np.random.default_rng(0).standard_normal(value.sizes(2))
    measured = centered(random)
    expected = random
    for axis, matrix in enumerate(matrices, 1):
        expected = np.moveaxis(np.tensordot(matrix, expected, (1, axis)), 0, axis)
    scale = _ratio(measured, expected)
    if not _close(measured, scale * expected):
        return None
    matrices[0] = _rounded(scale * matrices[0])
    maps = [Taps.of_matrix(_rounded(matrix)) for matrix in matrices]
    moved = signal.arrange(value.positions)
    if border:
        moved = moved.affine(1.0, -border)
    moved = moved.linear_map(maps)
    return RuleResult((moved.affine(1.0, border) if border else moved,), Support.EXACT)


def _responses(function: Map, value: Value, axis: int, place: int) -> Array:
    """To ones at one position of an axis: (outputs along the axis, all other places)."""
    tensor = np.zeros(value.sizes(1))
    np.moveaxis(tensor, axis + 1, 0)[place] = 1.0
    found = np.moveaxis(function(tensor), axis + 1, 0)
    return found.reshape(len(found), -1)


def _ratio(measured: Array, expected: Array) -> float:
    square = float((expected**2).sum())
    return float((measured * expected).sum()) / square if square > 0 else 0.0


def _rounded(matrix: Array) -> Array:
    """Without what single precision leaves where there is nothing."""
    return np.where(np.abs(matrix) > 1e-6 * np.abs(matrix).max(initial=0.0), matrix, 0.0)


def _as_matrix(function: Map, signal: Signal, value: Value, output: Value) -> RuleResult | None:
    """Any other linear map: sums over rows of its matrix, as of a dense layer's kernel."""
    entries, results = math.prod(value.sample), math.prod(output.sample)
    computed = entries * max(entries, results)
    if value.rows != 1 or not 0 < entries * results <= _MOST_KEPT or computed > _MOST_COMPUTED:
        return None
    offset = function(np.zeros(value.sizes(1)))
    if offset.shape != output.sizes(1):
        return None
    step = max(_MOST_AT_ONCE // max(entries, results), 1)
    matrix = np.concatenate(
        [
            function(np.eye(min(step, entries - start), entries, start).reshape(-1, *value.sample))
            for start in range(0, entries, step)
        ]
    ).reshape(entries, results) - offset.reshape(results)
    random = np.random.default_rng(0).standard_normal(value.sizes(2))
    measured = function(random).reshape(2, results)
    expected = random.reshape(2, entries) @ matrix + offset.reshape(results)
    if not _close(measured, expected):
        return None
    sums, constants = matrix.sum(0), offset.reshape(results)
    kernel = KernelMoments(
        float((matrix**2).sum(0).mean()), float((sums**2).mean()), float(sums.mean())
    )
    bias = BiasMoments(
        float(constants.mean()), float((constants**2).mean()), float((constants * sums).mean())
    )
    alone = all(size == 1 for size in value.positions)
    support = Support.EXACT if alone else Support.APPROXIMATE
    mixed: Any = signal.flatten().linear(kernel, bias)
    return RuleResult((mixed,), support)
