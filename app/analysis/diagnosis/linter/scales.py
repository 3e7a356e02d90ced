"""Kernels drawn on a scale that is not one for their activation and number of inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from app.analysis.diagnosis.fault import Fault
from app.analysis.diagnosis.linter.architecture import (
    NORMALIZERS,
    PASSING,
    RECURRENT,
    Architecture,
    LayerStep,
    kernel_shape,
)
from app.analysis.diagnosis.linter.constraints import held
from app.analysis.diagnosis.linter.initializers import (
    counts_inputs,
    initial_variance,
    initializer_of,
    own_initializer,
)
from app.analysis.diagnosis.measured.signals import EXPLODED, VANISHED
from app.text.formatting import number

# A kernel whose fan-in times variance is off by more than this does not fit its activation, if what
# has gone before is off by the other factor with it.
_OFF, _LEVEL_OFF = 4.0, 10.0
_BRANCH = 12  # steps of a residual branch, at most
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()

_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leakyrelu": lambda x: np.where(x > 0, x, 0.2 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: 1.0507 * np.where(x > 0, x, 1.67326 * np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * 0.5 * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-np.clip(x, -700, 700))),
    "swish": lambda x: x / (1 + np.exp(-np.clip(x, -700, 700))),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-np.clip(x, -700, 700))),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "exponential": lambda x: np.exp(np.minimum(x, 300)),
    "exp": lambda x: np.exp(np.minimum(x, 300)),
    "sin": np.sin,
    "cos": np.cos,
    "linear": lambda x: x,
}

# Of these a large argument is a high frequency, chosen on purpose.
_PERIODIC = frozenset({"sin", "cos"})
# Fan-in times variance that keeps a signal before this activation; 1 for the others.
_NEEDED = {
    "relu": 2.0, "relu6": 2.0, "leakyrelu": 1.9, "elu": 1.5, "gelu": 2.0, "silu": 2.0, "swish": 2.0,
    "mish": 2.0,
}  # fmt: skip


def power(architecture: Architecture, step: LayerStep) -> float | None:
    """Fan-in times variance: by what a fresh kernel multiplies a mean square."""
    shape = kernel_shape(architecture, step)
    if shape is None or len(shape) < 2:
        return None
    variance = initial_variance(own_initializer(step), shape)
    if variance is None:
        return None
    taps, channels = math.prod(shape[:-2]), shape[-2]
    if step.is_depthwise:
        return variance * taps
    if step.class_name.endswith("Transpose"):
        strides = step.config.get("strides", 1)
        strides = math.prod(strides) if isinstance(strides, list | tuple) else int(strides)
        return variance * max(taps / max(strides, 1), 1.0) * shape[-1]
    if step.class_name.startswith("Separable"):
        depthwise = initial_variance(initializer_of(step, "depthwise_initializer"), shape)
        units = step.channels or 1
        pointwise = initial_variance(
            initializer_of(step, "pointwise_initializer"), (channels * shape[-1], units)
        )
        if depthwise is None or pointwise is None:
            return None
        return depthwise * taps * pointwise * channels * shape[-1]
    return variance * taps * channels


def second_moment(function: str, square: float) -> float | None:
    """E f(√q·z)² for a standard normal z; None for a function that is not known."""
    known = _FUNCTIONS.get(function.replace("_", ""))
    if known is None:
        return None
    with np.errstate(all="ignore"):
        return float(_WEIGHTS @ np.square(known(math.sqrt(square) * _NODES)))


class _Level(NamedTuple):
    """What is known of the output of a step.

    Attributes:
        square: the mean square of what began as 1; None where it cannot be told.
        begun: whether a kernel came before.
        start: the kernel from which on all are off to the same side, and by how much.
    """

    square: float | None = 1.0
    begun: bool = False
    start: tuple[LayerStep, float] | None = None


class _Scale(NamedTuple):
    """What is off: a kernel, or all of a stretch where each is a little off.

    Attributes:
        step: the kernel, or the first of the stretch.
        power: what the kernel, or one of the stretch, does to the mean square.
        off: that beside what it should be.
        level: of the signal at the end of the stretch.
    """

    step: LayerStep
    power: float
    off: float
    level: float | None = None


def unfit_scales(architecture: Architecture) -> Iterator[Fault]:
    """Kernels whose scale is not one for their activation and number of inputs."""
    levels: list[_Level] = []
    at_fault: dict[int, _Scale] = {}
    for step in architecture.steps:
        known = [levels[i] for i in step.inputs if levels[i].square is not None]
        before = max(known, key=lambda level: level.square or 0.0, default=_Level(None))
        if not step.inputs or step.class_name in NORMALIZERS | RECURRENT | {"Embedding"}:
            begun = step.class_name in RECURRENT or (bool(step.inputs) and before.begun)
            levels.append(_Level(begun=begun))
        elif step.is_kernel:
            levels.append(_behind_kernel(architecture, step, before, at_fault))
        else:
            levels.append(before._replace(square=_square_behind(step, before, known)))
    if at_fault:
        yield _scale_fault(list(at_fault.values()))


def _square_behind(step: LayerStep, before: _Level, known: Sequence[_Level]) -> float | None:
    """The mean square behind a step without a kernel."""
    square = before.square
    if step.class_name in ("Add", "Subtract") and len(step.inputs) > 1 and step.activation is None:
        return sum(level.square or 0.0 for level in known) if known else None
    if step.class_name in ("Rescaling", "Normalization") and not before.begun:
        return 1.0
    if square is None:
        return None
    if step.activation is not None:
        return second_moment(step.activation, square)
    if step.class_name == "Dropout":
        rate = step.config.get("rate", 0.0)
        return square / (1 - rate) if isinstance(rate, int | float) and 0 <= rate < 1 else square
    factor = _factor(step)
    if factor is not None:
        return square * factor
    return square if _keeps(step) else None


def _behind_kernel(
    architecture: Architecture, step: LayerStep, before: _Level, at_fault: dict[int, _Scale]
) -> _Level:
    """What comes out of a kernel, which is put down where it is at fault."""
    own, start = power(architecture, step), before.start
    if own is None or before.square is None:
        return _Level(None, True, start)
    square = own * before.square
    function, factor, normalized = _behind(architecture.following(step))
    if factor is None:
        return _Level(None, True, start)
    if normalized or function in _PERIODIC:
        return _Level(square, True, start)
    off = own * factor / _NEEDED.get(function.replace("_", ""), 1.0)
    level = square * factor
    if start is None or (off > 1) != (start[1] > 1):
        start = step, off
    if (off > 1) == (level > 1):
        # A small head is one on purpose, where nothing else is small.
        head = off < 1 and before.begun and not at_fault and _is_head(architecture, step)
        added = _is_added(architecture, step)
        # What counts the inputs is at fault where its small factors pile up.
        piled = level >= EXPLODED or level <= 1 / VANISHED
        if _is_off(step, off, level) and not (head or added):
            at_fault.setdefault(step.index, _Scale(step, own, off))
        elif piled and function in _NEEDED and abs(math.log(off)) > 0.2 and not (added and off < 1):
            first = start[0]
            begins = at_fault.get(first.index)
            if begins is None or begins.level is not None:  # the stretch goes on
                at_fault[first.index] = _Scale(first, own, off, level)
    return _Level(square, True, start)


def _is_off(step: LayerStep, off: float, level: float) -> bool:
    """Whether a kernel by itself is off: one whose initializer does not count what it reads."""
    blind = (
        not counts_inputs(own_initializer(step))
        or step.is_depthwise
        or step.class_name.startswith("Separable")
    )
    away = not 1 / _LEVEL_OFF < level < _LEVEL_OFF
    return blind and away and max(off, 1 / max(off, 1e-300)) > _OFF


def _is_added(architecture: Architecture, step: LayerStep) -> bool:
    """Whether it stands in a branch that is added to what goes round it: small there is fine."""
    for after in islice(architecture.following(step), _BRANCH):
        if len(after.inputs) > 1:
            return after.class_name in ("Add", "Subtract", "Average")
    return False


def _is_head(architecture: Architecture, step: LayerStep) -> bool:
    """Whether nothing but activations comes after a kernel."""
    after = list(architecture.following(step))
    ends = (after or [step])[-1].index in architecture.output_set
    return ends and not any(each.is_kernel for each in after)


_NAMES = {
    f"{who}{how}": f"{who.capitalize()} {how}"
    for who in ("glorot", "he", "lecun") for how in ("uniform", "normal")
}  # fmt: skip


def _scale_fault(found: list[_Scale]) -> Fault:
    step, own, off, level = found[0]
    name, config = own_initializer(step)
    drawn = {"randomnormal": "N(0, {:g})", "truncatednormal": "a truncated N(0, {:g})"}.get(name)
    how = drawn.format(config.get("stddev", 0.05)) if drawn else _NAMES.get(name, name)
    if step.is_depthwise:
        why = (
            f"{how} counts the inputs of all channels, and each unit of a depthwise kernel reads "
            "one of them"
        )
    elif counts_inputs((name, config)):
        why = f"{how} does not make up for what the activation takes away"
    else:
        why = f"{how} does not go by the number of inputs"
    several = f" ({len(found):,} layers)" if len(found) > 1 else ""
    side = "large" if off > 1 else "small"
    times = f"by {number(own)}, which is {number(max(off, 1 / off))} times too {side}"
    if level is None:
        said = (
            f"The kernel of {step.path!r} is drawn too {side}{several}: {why}. It multiplies the "
            f"signal's mean square {times}."
        )
    else:
        said = (
            f"From {step.path!r} on kernels are drawn too {side}: {why}. One of them multiplies "
            f"the signal's mean square {times}; together they turn 1 into {number(level)}."
        )
    return Fault("init_vs_activation", step.path, step.class_name, said, "autoinit_helps")


def _behind(steps: Iterator[LayerStep]) -> tuple[str, float | None, bool]:
    """What a kernel's output meets: its activation, the fixed factor before it, a reset.

    The factor is None where it cannot be told.
    """
    factor: float | None = 1.0
    for step in steps:
        if step.class_name in NORMALIZERS:
            return "linear", factor, True
        if step.activation is not None:
            return step.activation, factor, False
        own = _factor(step)
        if own is not None and factor is not None:
            factor *= own
        elif step.is_kernel or len(step.inputs) != 1 or step.class_name in PASSING:
            break
        elif not _keeps(step):
            return "linear", None, False
    return "linear", factor, False


def _factor(step: LayerStep) -> float | None:
    """The square of the fixed number that a step multiplies by; None if it does not."""
    if step.class_name == "Rescaling":
        scale = step.config.get("scale")
        return float(scale) ** 2 if isinstance(scale, int | float) else None
    if step.class_name in ("Multiply", "Divide", "TrueDivide"):
        multiplies = step.class_name == "Multiply"
        # Of a quotient the first operand is what is divided, the number 1 of 1/x say.
        numbers = list(_numbers(step.entry.get("inbound_nodes"), 0 if multiplies else 1))
        if len(numbers) == 1 and numbers[0]:
            return numbers[0] ** (2 if multiplies else -2)
    return None


def _numbers(nodes: Any, first: int) -> Iterator[float]:
    """Numbers that stand beside tensors in the arguments of an operation, from one of them on."""
    for node in nodes if isinstance(nodes, list) else ():
        if isinstance(node, Mapping):
            values = [*(node.get("args") or ())[first:], *(node.get("kwargs") or {}).values()]
        else:  # of Keras 2: a reference, and behind it the arguments by name
            values = list(node[3].values()) if _has_arguments(node) else []
        for value in values:
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield float(value)


def _has_arguments(node: Any) -> bool:
    return isinstance(node, list) and len(node) == 4 and isinstance(node[3], Mapping)


_KEEPING = frozenset([
    "InputLayer", "Concatenate", "Average", "Maximum", "Minimum", "MaxPooling1D", "MaxPooling2D",
    "MaxPooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "Cast", "Add",
    "Subtract", "Activation",
])  # fmt: skip


def _keeps(step: LayerStep) -> bool:
    """Whether a step leaves the size of a signal about as it is."""
    return step.class_name in _KEEPING | PASSING


# Σ log(1 + fan-in · mean² / variance) over kernels that follow each other with ReLUs between: by
# how much the sum of all inputs outweighs what else a unit tells of them. Classifiers of digits: up
# to 10.5 (two layers of U(0, 0.05), two of mean and deviation 0.05, four of mean 0.02 and deviation
# 0.1) gained 95 to 98 %; from 16.7 on (four of mean and deviation 0.05, four and five of
# U(0, 0.05)) 8 to 30 %.
_ONE_SUM = 13.0


def kernels_with_a_mean(architecture: Architecture) -> Iterator[Fault]:
    """Kernels of one sign, layer after layer: all units come to the same sum of all inputs.

    As drawn, or as a constraint leaves them: `NonNeg` on three layers of ReLU bore 95 and 77 %, on
    four 29 and 0 %, on six 2 and 0 %.
    """
    piled: list[tuple[float, int]] = []  # the logarithm, and the first kernel, at each step
    for step in architecture.steps:
        before = max((piled[index] for index in step.inputs), default=(0.0, step.index))
        if step.is_kernel:
            share = _mean_share(architecture, step)
            before = (before[0] + math.log1p(share), before[1] if before[0] else step.index)
        elif step.class_name in NORMALIZERS | RECURRENT or step.activation not in _ONE_SIDED:
            before = (0.0, step.index)
        piled.append(before)
        if before[0] >= _ONE_SUM and step.is_kernel and not _is_head(architecture, step):
            first = architecture.steps[before[1]]
            kernel = architecture.values(first)["kernel"]
            constrained = not np.array_equal(held(first, kernel), kernel)
            yield Fault(
                "constraint" if constrained else "kernel_mean",
                first.path,
                first.class_name,
                f"From {first.path!r} to {step.path!r} kernels "
                + ("are held by a constraint at" if constrained else "are drawn about")
                + " a mean that is not 0: layer after layer all units come nearer to one and the "
                "same sum of the inputs.",
                "loosen_constraint" if constrained else "redraw_random",
            )
            return


# What lets a sum of positive terms through as it is.
_ONE_SIDED = frozenset({None, "linear", "relu", "leaky_relu"})


def _mean_share(architecture: Architecture, step: LayerStep) -> float:
    """Fan-in · mean² / variance of a kernel that is there; 0 for those of random signs."""
    kernel = architecture.values(step).get("kernel")
    if kernel is None or step.channels == 1 or step.class_name.endswith("Transpose"):
        return 0.0
    kernel = np.asarray(held(step, np.asarray(kernel)), np.float64)
    fan_in, variance = kernel.size // kernel.shape[-1], float(kernel.var())
    # A constant kernel is told as one; the mean of few random entries is not 0 either.
    mean = max(float(kernel.mean()) ** 2 - 9.0 * variance / kernel.size, 0.0)
    return fan_in * mean / variance if variance > 0.0 else 0.0


def selu_without_lecun(architecture: Architecture) -> Iterator[Fault]:
    """SELU keeps mean 0 and variance 1 with LeCun's initializer only (Klambauer et al. 2017)."""
    wrong = []
    for step in architecture.kernels():
        readers = [architecture.steps[i] for i in architecture.readers[step.index]]
        if any(reader.activation == "selu" for reader in readers):
            name, config = own_initializer(step)
            lecun = name.startswith("lecun") or (
                name == "variancescaling"
                and config.get("scale", 1.0) == 1.0
                and config.get("mode", "fan_in") == "fan_in"
            )
            if not lecun and name:
                wrong.append((step, name))
    if len(wrong) > 1:
        step, name = wrong[0]
        yield Fault(
            "init_vs_activation",
            step.path,
            step.class_name,
            f"{len(wrong):,} layers before SELU draw their kernels by {name}, first {step.path!r}: "
            "SELU keeps mean 0 and variance 1 with lecun_normal, and with AlphaDropout in place of "
            "Dropout.",
            "autoinit_helps",
        )
