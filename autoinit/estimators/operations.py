"""`keras.ops` operations in a functional model, told apart by class name.

An operation on one tensor that treats its entries one by one needs no rule of its own: it is
evaluated at the quadrature's points, constants and all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from autoinit.estimators.activation import is_elementwise, mapped, on_points
from autoinit.geometry import Windows
from autoinit.graph import Call
from autoinit.registry import Context, Outcome, Support, pass_through, rule
from autoinit.signals.signal import NO_BIAS, KernelMoments, Signal

_MOVING = frozenset({
    "BroadcastTo", "Cast", "Copy", "ExpandDims", "Flip", "GetItem", "Moveaxis", "Ravel", "Repeat",
    "Reshape", "Roll", "Split", "Squeeze", "StopGradient", "Swapaxes", "Tile", "Transpose",
})  # fmt: skip
_REPEATING = frozenset({"BroadcastTo", "ExpandDims", "Repeat", "Tile"})
_JOINING = frozenset({"Concatenate", "Stack"})
_ARITHMETIC = {
    "Add": "add", "Subtract": "subtract", "Multiply": "multiply",
    "Maximum": "maximum", "Minimum": "minimum",
}  # fmt: skip


@rule(keras.Operation)
def operation(call: Call, inputs: Sequence[Signal], context: Context) -> Outcome:
    """Element-wise operations by quadrature, arithmetic by eq. 11, 13 and 14.

    Also joining, reductions over axes other than the batch, products of matrices, and arithmetic
    with constants of several values, per channel. Different tensors are taken as independent, and
    truth values as even odds.
    """
    name = type(call.layer).__name__
    if not inputs:
        return pass_through(call, [])
    if all(value.dtype == "bool" for value in call.outputs):
        # Masks and comparisons: what they choose is not followed, and they spoil nothing.
        odds = type(inputs[0]).gaussian(0.5, 0.25)
        return Outcome((odds,) * len(call.outputs), Support.APPROXIMATE)
    if len({value.index for value in call.inputs}) > 1:
        return _of_several(name, call, inputs)
    if name in _MOVING or name in _JOINING:
        return Outcome(_placed(name, call, inputs[0]), Support.NEUTRAL)
    reduced = _reduction(name, call, inputs[0])
    if reduced is not None:
        return Outcome((reduced,), Support.EXACT)

    def function(tensor: Any) -> Any:
        return call.run([tensor] * len(inputs), context.training)[0]

    if len(call.outputs) == 1 and is_elementwise(function):
        return mapped(inputs[0], function)
    line = _as_line(function, call)
    if line is not None:
        return Outcome((inputs[0].affine(*line),), Support.EXACT)
    return pass_through(call, inputs)


def _placed(name: str, call: Call, signal: Signal) -> tuple[Signal, ...]:
    """The same entries at the outputs' positions."""
    place = signal.repeat if name in _REPEATING else signal.arrange
    return tuple(place(value.positions) for value in call.outputs)


def _as_line(function: Callable[[Any], Any], call: Call) -> tuple[Any, Any] | None:
    """Scale and offset of arithmetic with constants of several values, as per channel."""
    shape = (3, *(size or 1 for size in call.inputs[0].shape[1:]))
    if len(call.outputs) != 1 or call.outputs[0].shape[1:] != shape[1:]:
        return None
    evaluate = on_points(function)
    points = np.random.default_rng(0).standard_normal(shape)
    try:
        offset, one, values = (evaluate(x) for x in (np.zeros(shape), np.ones(shape), points))
    except Exception:  # shapes, or dtypes, that only fit the model's own tensors
        return None
    scale = one - offset
    straight = values.shape == shape and np.allclose(scale * points + offset, values, rtol=1e-4)
    return (scale, offset) if straight else None


def _of_several(name: str, call: Call, inputs: Sequence[Signal]) -> Outcome:
    if name in _ARITHMETIC and len(inputs) == 2:
        return Outcome((inputs[0].combine(_ARITHMETIC[name], inputs[1:]),), Support.EXACT)
    if name in _JOINING:
        mixed = type(inputs[0]).mixture(inputs, [value.entries for value in call.inputs])
        return Outcome((mixed,), Support.EXACT)
    if name == "Matmul" and len(inputs) == 2:
        count = call.inputs[0].shape[-1] or 1
        return Outcome((inputs[0].dot(inputs[1], count, normalised=False),), Support.EXACT)
    return pass_through(call, inputs)


def _reduction(name: str, call: Call, signal: Signal) -> Signal | None:
    if name not in ("Mean", "Sum", "Max", "Min", "Softmax"):
        return None
    shape = call.inputs[0].shape
    axis = call.layer.axis
    axes = (
        range(len(shape)) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    )
    places = {place % len(shape) for place in axes}
    if 0 in places:
        return None
    count = math.prod(shape[place] or 1 for place in places)
    if name == "Softmax":
        return signal.softmax(count)
    channels = len(shape) - 1
    windows = _reduced(call, places)
    if name in ("Max", "Min"):
        if channels in places:
            # Channels are like positions that have nothing in common.
            signal, windows = signal.flatten().arrange((count,)), (np.arange(count)[None, :],)
        if name == "Max":
            return signal.maximum_of(windows)
        return signal.affine(-1.0, 0.0).maximum_of(windows).affine(-1.0, 0.0)
    mean = signal.mean_of(windows) if places - {channels} else signal
    if channels in places:
        mean = mean.mix(KernelMoments(1 / (shape[channels] or 1), 1.0, 1.0), NO_BIAS)
    return mean if name == "Mean" else mean.affine(count, 0.0)


def _reduced(call: Call, places: set[int]) -> tuple[Windows, ...]:
    """One window over each spatial axis among the places; the others stay."""
    return tuple(
        np.arange(size)[None, :] if place in places else np.arange(size)[:, None]
        for place, size in enumerate(call.inputs[0].positions, 1)
    )
