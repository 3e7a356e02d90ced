"""Signals times kernels: what every weighted layer's rule ends with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from autoinit.graph.model_graph import Call
from autoinit.rules.kernels import Kernel
from autoinit.rules.registry import Context, RuleResult
from autoinit.signals.signal import Signal

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def weighted(call: Call, signal: Signal, context: Context, kernel: Kernel, bias: Any) -> RuleResult:
    """Mix a signal with one kernel, given or still to be drawn (eq. 3 and 4).

    Args:
        call: the weighted call.
        signal: what reaches the kernel.
        context: decides where the kernel comes from.
        kernel: which axes are summed, which positions are seen.
        bias: the bias variable, or None.
    """
    moments, bias_moments, result = context.kernel_moments(call, signal, kernel, bias)
    return replace(result, signals=(signal.linear(moments, bias_moments),))


def project(
    call: Call,
    signal: Signal,
    context: Context,
    kernel: Kernel,
    labels: tuple[str, str, str],
    bias: Any = None,
) -> RuleResult:
    """An input times a kernel, summed over the axes that the output does not have (eq. 3, 4).

    Args:
        call: the weighted call.
        signal: of its input.
        context: of the pass.
        kernel: to be drawn; its `summed_axes` are set here.
        labels: a letter for each axis of a sample of the input, of the kernel, and of a sample of
            the output.
        bias: the bias variable, or None.
    """
    data, weights, output = labels
    sizes = dict(zip(weights, kernel.shape, strict=True))
    sizes |= dict(zip(data, call.inputs[0].sample, strict=True))
    lost = [letter for letter in data if letter not in weights and letter not in output]
    kept = [letter for letter in data if letter in output and letter not in weights]
    shared = [letter for letter in data if letter in weights]
    units = [letter for letter in weights if letter in output]
    leading = [*lost, *kept, *shared]
    signal = signal.transpose([sizes[x] for x in data], [data.index(x) for x in leading])
    count, places = math.prod(sizes[x] for x in lost), [sizes[x] for x in kept]
    inputs = math.prod(sizes[x] for x in shared)
    if lost:
        signal = signal.reshape([sizes[x] for x in leading], [count, *places, inputs])
        windows = [np.arange(count)[None, :], *(np.arange(size)[:, None] for size in places)]
        signal = signal.average_pool(tuple(windows)).affine(count, 0.0).arrange(places)
    else:
        signal = signal.reshape([sizes[x] for x in leading], [*places, inputs])
    summed = tuple(weights.index(x) for x in [*shared, *weights] if x not in output)
    summed = tuple(dict.fromkeys(summed))
    placed = tuple(weights.index(letter) if letter in weights else None for letter in output)
    kernel = replace(kernel, summed_axes=summed, output_axes=placed)
    result = weighted(call, signal, context, kernel, bias)
    (mixed,) = result.signals
    split = [*places, *(sizes[x] for x in units)]
    mixed = cast(Signal, mixed).reshape([*places, math.prod(split[len(places) :])], split)
    arranged = [*kept, *units]
    return replace(result, signals=(mixed.transpose(split, [arranged.index(x) for x in output]),))


def spelled_out(subscripts: str, shapes: Sequence[Sequence[int]]) -> tuple[list[str], str] | None:
    """An equation of two operands with letters in place of dots; None for another one.

    Args:
        subscripts: `ab,bc->ac`, as `einsum` takes it.
        shapes: of the operands.
    """
    subscripts = subscripts.replace(" ", "")
    if "->" not in subscripts:
        return None
    terms, output = subscripts.split("->")
    operands = terms.split(",")
    if len(operands) != 2 or any(
        len(set(term)) != len(term) for term in operands if "." not in term
    ):
        return None
    free = [letter for letter in LETTERS if letter not in subscripts]
    longest = max(
        len(shape) - len(term.replace("...", ""))
        for term, shape in zip(operands, shapes, strict=True)
    )
    dots = "".join(free[:longest])

    def spelled(term: str, rank: int) -> str:
        missing = rank - len(term.replace("...", ""))
        return term.replace("...", dots[len(dots) - missing :] if missing else "")

    spelled_terms = [spelled(t, len(s)) for t, s in zip(operands, shapes, strict=True)]
    return spelled_terms, output.replace("...", dots)
