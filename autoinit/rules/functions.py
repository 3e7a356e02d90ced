"""Functions of entries: whether they treat each on its own, and what they make of signals."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from autoinit.arrays import double_precision
from autoinit.findings import Finding
from autoinit.graph.model_graph import Call
from autoinit.quadrature import bivariate
from autoinit.rules.registry import RuleResult, Support
from autoinit.signals.signal import Signal

# Stands in for 0 where a function has no value there.
_SMALLEST = 1e-6
# Share of a signal's entries without a value from which on a person should know.
_MISSING = 0.1
# At which a function is looked at to see whether it is bounded.
_POINTS = 20_001
# Keras's own, which need not be tried in every pass.
KNOWN_ELEMENTWISE = frozenset(
    getattr(keras.activations, name)
    for name in (
        "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu",
        "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu",
        "sigmoid", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus", "sparse_sigmoid",
        "squareplus", "tanh", "tanh_shrink",
    )
)  # fmt: skip


def mapped(call: Call, operands: Sequence[Signal], function: Callable[..., Any]) -> RuleResult:
    """RuleResult of an element-wise function of one or more tensors.

    A function of positive numbers only, such as a logarithm, is one of x's size: values that are
    positive by their making may have Gaussians that reach below 0. Of a function that is not
    integrable, such as 1/x, the values that one entry in a thousand exceeds are cut off.
    """
    evaluate = on_points(function)
    first, *others = operands
    result, converged = first.map(evaluate, others)
    if converged and result.finite:
        return RuleResult((result,))
    if not all(signal.finite for signal in operands):
        return RuleResult((result,), Support.APPROXIMATE)
    if not others and _is_bounded(evaluate, first):
        # A fast oscillation, of which no grid sees every turn: its averages between the nodes.
        return RuleResult((first.map(evaluate, trimmed=True)[0],), Support.APPROXIMATE)
    of_size = partial(_of_size, evaluate)
    missing = first.map(partial(_has_no_value, evaluate), others)[0].mean
    result, converged = first.map(of_size, others)
    if not (converged and result.finite):
        result, _ = first.map(of_size, others, trimmed=True)
        finding = not_integrable(call)
        return RuleResult((result,), Support.APPROXIMATE, findings=(finding,))
    findings = (_undefined(call, missing),) if missing > _MISSING else ()
    return RuleResult((result,), Support.APPROXIMATE, findings=findings)


def _is_bounded(function: Callable[..., Any], signal: Signal) -> bool:
    """Whether the largest of many values is hardly beyond what one in a hundred exceeds.

    Of a function with a pole, or that outgrows the density, it is far beyond.
    """
    points = signal.mean + math.sqrt(signal.variance) * bivariate.quantiles(_POINTS)
    with np.errstate(all="ignore"):
        sizes = np.abs(np.asarray(function(points), np.float64))
    return bool(np.isfinite(sizes).all() and sizes.max() <= 1.01 * np.quantile(sizes, 0.99))


def not_integrable(call: Call) -> Finding:
    """Of a call whose output has no finite variance."""
    message = (
        f"The output of {call.path!r} ({call.class_name}) has no finite variance for the signal "
        "that reaches it; for the figures after it, values that one entry in a thousand exceeds "
        "are cut off. Keep its input away from where it grows without bound: add a small number "
        "to a denominator, bound an exponent."
    )
    return Finding("not_integrable", call.path, call.class_name, message)


def _undefined(call: Call, share: float) -> Finding:
    message = (
        f"{call.path!r} ({call.class_name}) has no value for about {share:.0%} of the entries that "
        "reach it, such as a square root of negative numbers; the figures are those of their "
        "absolute values. Bound its input."
    )
    return Finding("undefined_values", call.path, call.class_name, message)


def _of_size(function: Callable[..., Any], *operands: Any) -> Any:
    """The function, with the sizes of operands where it has no value, one after the other."""
    values = function(*operands)
    changed = list(operands)
    for place, operand in enumerate(operands):
        if not np.isnan(values).any():
            break
        changed[place] = np.maximum(np.abs(operand), _SMALLEST)
        values = np.where(np.isnan(values), function(*changed), values)
    return values


def _has_no_value(function: Callable[..., Any], *operands: Any) -> Any:
    return np.isnan(function(*operands)).astype(np.float64)


def on_points(function: Callable[..., Any]) -> Callable[..., Any]:
    """A backend function as one over NumPy arrays, in double precision where it accepts that."""
    dtype = "float64"

    def evaluate(*points: Any) -> Any:
        nonlocal dtype
        try:
            with double_precision():
                tensors = (keras.ops.convert_to_tensor(each, dtype=dtype) for each in points)
                return np.asarray(keras.ops.convert_to_numpy(function(*tensors)))
        except Exception:  # a function with constants of its own dtype raises what it likes
            if dtype == "float32":
                raise
            dtype = "float32"
            return evaluate(*points)

    return evaluate


def is_elementwise(function: Callable[..., Any], operands: int = 1) -> bool:
    """Whether a function treats each entry on its own: no softmax, no gated unit."""
    if operands == 1 and isinstance(function, Hashable) and function in KNOWN_ELEMENTWISE:
        return True
    try:
        return _is_elementwise(function, operands)
    except Exception:  # a function that needs other shapes raises what it likes
        return False


def _is_elementwise(function: Callable[..., Any], operands: int) -> bool:
    first = np.array([[-2.0, -0.7, 0.3], [1.1, 2.6, -1.4], [0.6, -0.2, 1.7]])
    points = [np.roll(first, place, (0, 1)) * (1 + place / 3) for place in range(operands)]
    evaluate = on_points(function)
    together = np.asarray(evaluate(*points))
    if together.shape != first.shape:
        return False
    # No reversal and no roll is the same after two rows, and two columns, have changed places.
    swapped = np.ix_([1, 0, 2], [1, 0, 2])
    alone = np.asarray(evaluate(*(each[swapped] for each in points)))[swapped]
    # What is summed over columns, or over rows, is another where there are fewer.
    halves = [
        [np.asarray(evaluate(*(each[part] for each in points))) for part in parts]
        for parts in ((np.s_[:, :1], np.s_[:, 1:]), (np.s_[:1], np.s_[1:]))
    ]
    apart = [np.concatenate(each, axis) for each, axis in zip(halves, (1, 0), strict=True)]
    return all(np.allclose(together, each, equal_nan=True) for each in (alone, *apart))
