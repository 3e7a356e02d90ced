"""`keras.ops` operations in a functional model, told apart by class name.

What an operation does is found out by trying it: one that treats entries one by one is evaluated
at the quadrature's points, constants and all; one that moves entries, or maps them linearly, by
what it does to chosen tensors. Only what that cannot tell has a rule by name; the rest is sampled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from autoinit.graph.model_graph import Call
from autoinit.rules.fallbacks import pass_through
from autoinit.rules.functions import is_elementwise, mapped, on_points
from autoinit.rules.operations.linear import linear
from autoinit.rules.operations.moving import moved
from autoinit.rules.operations.named import NAMED
from autoinit.rules.operations.signs import KEEPING, PICKING, WINDOWS, reads_one
from autoinit.rules.registry import Context, RuleResult, Support, rule
from autoinit.rules.sampling import sample_operation
from autoinit.signals.signal import Signal

_ARITHMETIC = {
    "Add": "add", "Subtract": "subtract", "Multiply": "multiply",
    "Maximum": "maximum", "Minimum": "minimum", "Fmax": "maximum", "Fmin": "minimum",
}  # fmt: skip
# These compare a difference with nothing.
_COMPARING = frozenset({"Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual"})


@rule(keras.Operation)
def operation(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Element-wise operations by quadrature, linear ones by their matrix; others by sampling.

    Operands that are functions of the same tensor are taken together, others as independent.
    """
    if not inputs:
        return pass_through(call, [])
    try:
        found = _by_trying(call, inputs, context)
    except Exception:  # what it was tried on is not what it takes, and it may raise anything
        found = None
    found = found or _sampled(call, inputs, context)
    if all(value.index in context.never_negative for value in call.inputs):
        # A Gaussian of a mean of squares may reach below 0, the mean never does.
        told = tuple(each for each in found.findings if each.code != "undefined_values")
        found = replace(found, findings=told)
    return found


def _by_trying(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """None for what is not told by a few tensors."""
    name = type(call.layer).__name__
    if name in KEEPING:
        return RuleResult((inputs[0].repeat(call.outputs[0].positions),), Support.NEUTRAL)
    if name in NAMED:
        result = NAMED[name](call, inputs, context)
        if result is not None:
            return _as_result(result)
    # A slice may leave the few points as they are that a function is tried on.
    never = name in PICKING or name in WINDOWS
    found = None if never else _entry_by_entry(name, call, inputs, context)
    if found is None and reads_one(call):
        found = moved(call, inputs[0]) or _of_channels(call, inputs[0], context)
        found = found or linear(call, inputs[0])
    if found is None and name in PICKING:
        signals = (
            inputs[0].arrange(value.positions).with_other_latents() for value in call.outputs
        )
        found = RuleResult(tuple(signals), Support.NEUTRAL)
    return found


def _as_result(result: RuleResult | Signal) -> RuleResult:
    return result if isinstance(result, RuleResult) else RuleResult((result,), Support.EXACT)


def _entry_by_entry(
    name: str, call: Call, inputs: Sequence[Signal], context: Context
) -> RuleResult | None:
    """Of one tensor, or of several with two sources between them; None for anything else."""
    values = list({value.index: value for value in call.inputs}.values())
    if len(call.outputs) != 1 or _has_more_entries(call):
        return None
    function = _function(call, [value.index for value in values], context)
    if not is_elementwise(function, len(values)):
        return None
    operands = _operands(call, inputs)
    sources = {signal.latent_id for signal in operands}
    if name in ("Where", "Select") and len(sources) == 3 and len(values) == 3:
        share = min(max(operands[0].mean, 0.0), 1.0)
        if share in (0.0, 1.0):
            return _as_result(operands[1 if share else 2])
        return _as_result(type(operands[0]).either(operands[1:], [share, 1 - share]))
    if len(sources) > 2:
        return None
    if len(operands) == 2 and len(sources) == 2 and len(call.inputs) == 2:
        if name in _ARITHMETIC:
            return _as_result(operands[0].combine(_ARITHMETIC[name], operands[1:]))
        if name in _COMPARING:
            difference = operands[0].combine("subtract", operands[1:])
            return mapped(call, [difference], lambda x: function(x, keras.ops.zeros_like(x)))
    return mapped(call, operands, function)


def _has_more_entries(call: Call) -> bool:
    """Whether the output has more than operands that are broadcast: it is not tried on numbers."""
    try:
        most = math.prod(np.broadcast_shapes(*(value.sample for value in call.inputs)))
    except ValueError:
        return True
    return math.prod(call.outputs[0].sample) > most


def _operands(call: Call, inputs: Sequence[Signal]) -> list[Signal]:
    """Each tensor's signal once; what is broadcast meets other entries than its own."""
    found = {value.index: signal for value, signal in zip(call.inputs, inputs, strict=True)}
    shapes = {value.index: value.sample for value in call.inputs}
    whole = call.outputs[0].sample
    apart = len({signal.latent_id for signal in found.values()}) == len(found)
    # Beside a whole tensor, one of another source stays what it is: a gate, or a length.
    apart = apart and whole in shapes.values()
    return [
        signal
        if apart or shapes[index] == whole or len(found) == 1
        else signal.with_other_latents()
        for index, signal in found.items()
    ]


def _function(call: Call, indices: Sequence[int], context: Context) -> Callable[..., Any]:
    """The operation as a function of its different tensors, in the order of `indices`.

    Points are numbers. A truth value among the operands chooses, as in `where`: a probability, by
    as much.
    """
    truths = [value.index for value in call.inputs if value.dtype == "bool"]
    chooses = len(truths) == 1 and call.outputs[0].dtype != "bool"

    def run(by_index: dict[int, Any]) -> Any:
        return call.run([by_index[value.index] for value in call.inputs], context.training)[0]

    def function(*points: Any) -> Any:
        by_index = dict(zip(indices, points, strict=True))
        truth = {index: by_index[index] > 0.5 for index in truths}
        if not chooses:
            return run({**by_index, **truth})
        (index,) = truths
        share = by_index[index]
        yes, no = (
            run({**by_index, index: keras.ops.full_like(share, value, dtype="bool")})
            for value in (True, False)
        )
        yes, no = (keras.ops.cast(each, share.dtype) for each in (yes, no))
        mixed = share * yes + (1 - share) * no
        return keras.ops.where(share >= 1, yes, keras.ops.where(share <= 0, no, mixed))

    return function


def _of_channels(call: Call, signal: Signal, context: Context) -> RuleResult | None:
    """Arithmetic with constants of several values: per channel, or a table of positions."""
    value = call.inputs[0]
    if len(call.outputs) != 1 or call.outputs[0].sample != value.sample:
        return None
    shape = value.sizes(3)
    evaluate = on_points(_function(call, [value.index], context))
    points = np.random.default_rng(0).standard_normal(shape)
    try:
        offset, one, values = (evaluate(x) for x in (np.zeros(shape), np.ones(shape), points))
    except Exception:  # shapes, or dtypes, that only fit the model's own tensors
        return None
    if not offset.shape == one.shape == values.shape == shape:
        return None
    scale = one - offset
    if not np.allclose(scale * points + offset, values, rtol=1e-4):
        return None
    channels = (1, *(1 for _ in value.positions), -1)
    alike = [
        np.allclose(each, each.reshape(-1, shape[-1])[0].reshape(channels))
        for each in (scale, offset)
    ]
    if all(alike):
        return RuleResult((signal.affine(scale, offset),), Support.EXACT)
    scaled = signal.combine("multiply", [type(signal).of_values(scale[0])])
    return RuleResult((scaled.combine("add", [type(signal).of_values(offset[0])]),), Support.EXACT)


def _sampled(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Through the operation itself, with Gaussian inputs; where it runs on these."""
    found = sample_operation(call, inputs, context)
    if found is None:
        return pass_through(call, inputs)
    signals, error = found
    return RuleResult(signals, Support.SAMPLED, standard_error=error)
