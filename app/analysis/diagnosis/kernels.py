"""What a file's kernels and initializers show by themselves: scales, zeros, copies, training."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from app.analysis.diagnosis.architecture import (
    NORMALIZERS,
    PASSING,
    RECURRENT,
    Architecture,
    Step,
    Weights,
    kernel_shape,
)
from app.analysis.diagnosis.fault import Fault, Severity, found_by, layers_have
from app.analysis.diagnosis.measured import EXPLODED, VANISHED
from app.text.formatting import number

# A kernel whose fan-in times variance is off by more than this does not fit its activation, if what
# has gone before is off by the other factor with it.
_OFF, _LEVEL_OFF = 4.0, 10.0
_BRANCH = 12  # steps of a residual branch, at most
_PATIENCE = 50  # rounds of training after which zero kernels that still open count as open
_TRUNCATED = 0.7737  # variance of a standard normal cut off at 2
_KERNELS = ("kernel", "depthwise_kernel", "embeddings")
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


def initial(architecture: Architecture) -> Iterator[Fault]:
    """All faults of the kernels that a training would start from."""
    yield from found_by((_zero, _symmetric, _equal, _scales, _selu), architecture)


def initializer_of(step: Step, name: str = "kernel_initializer") -> tuple[str, Mapping[str, Any]]:
    """Name, lower case without underscores, and arguments of an initializer."""
    entry = step.config.get(name)
    config: Any = {}
    if isinstance(entry, Mapping):
        config, entry = entry.get("config") or {}, entry.get("class_name")
    return str(entry or "").lower().replace("_", ""), config if isinstance(config, Mapping) else {}


def own_initializer(step: Step) -> tuple[str, Mapping[str, Any]]:
    """The initializer of a step's kernel: name and arguments."""
    name = "depthwise_initializer" if step.is_depthwise else "kernel_initializer"
    return initializer_of(step, name)


def initial_variance(
    initializer: tuple[str, Mapping[str, Any]], shape: tuple[int, ...]
) -> float | None:
    """Mean square of the entries that an initializer draws; None for one that is not known."""
    name, config = initializer
    taps = math.prod(shape[:-2])
    fan_in, fan_out = taps * shape[-2], taps * shape[-1]

    def given(key: str, default: float) -> float:
        value = config.get(key, default)
        return float(value) if isinstance(value, int | float) else default

    if name in ("randomnormal", "normal"):
        return given("stddev", 0.05) ** 2 + given("mean", 0.0) ** 2
    if name == "truncatednormal":
        return _TRUNCATED * given("stddev", 0.05) ** 2 + given("mean", 0.0) ** 2
    if name in ("randomuniform", "uniform"):
        low, high = given("minval", -0.05), given("maxval", 0.05)
        return (high - low) ** 2 / 12 + ((high + low) / 2) ** 2
    if name in ("orthogonal", "orthogonalinitializer"):
        return given("gain", 1.0) ** 2 / max(fan_in, shape[-1])
    scale, mode = {
        "glorotuniform": (1.0, "fan_avg"),
        "glorotnormal": (1.0, "fan_avg"),
        "heuniform": (2.0, "fan_in"),
        "henormal": (2.0, "fan_in"),
        "lecununiform": (1.0, "fan_in"),
        "lecunnormal": (1.0, "fan_in"),
        "variancescaling": (given("scale", 1.0), str(config.get("mode", "fan_in"))),
    }.get(name, (0.0, ""))
    fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    return scale / max(fans[mode], 1.0) if mode in fans else None


def _counts_inputs(initializer: tuple[str, Mapping[str, Any]]) -> bool:
    return initializer[0].startswith(("glorot", "he", "lecun", "variancescaling", "orthogonal"))


def power(architecture: Architecture, step: Step) -> float | None:
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


def _scales(architecture: Architecture) -> Iterator[Fault]:
    """Kernels whose scale is not one for their activation and number of inputs."""
    squares: list[float | None] = []
    started: list[bool] = []
    first: list[tuple[Step, float, float] | None] = []  # that is off, in each stretch
    at_fault: dict[int, _Scale] = {}
    for step in architecture.steps:
        known = [i for i in step.inputs if squares[i] is not None]
        main = max(known, key=lambda i: squares[i] or 0.0, default=None)
        square = squares[main] if main is not None else None
        begun = started[main] if main is not None else False
        start = first[main] if main is not None else None
        if not step.inputs or step.class_name in NORMALIZERS | RECURRENT | {"Embedding"}:
            square, begun, start = 1.0, False, None
        elif step.is_kernel:
            own = power(architecture, step)
            square = None if own is None or square is None else own * square
            if own is not None and square is not None:
                behind = architecture.following(step)
                function, factor, normalized = _behind(behind)
                if factor is None:
                    square = None
                elif not normalized and function not in _PERIODIC:
                    off = own * factor / _NEEDED.get(function.replace("_", ""), 1.0)
                    level = square * factor
                    if start is None or (off > 1) != (start[2] > 1):
                        start = (step, own, off)
                    fixed = not _counts_inputs(own_initializer(step)) or step.is_depthwise
                    fixed = fixed or step.class_name.startswith("Separable")
                    # What counts the inputs is at fault where its small factors pile up.
                    piled = level >= EXPLODED or level <= 1 / VANISHED
                    same = (off > 1) == (level > 1)
                    wrong = max(off, 1 / max(off, 1e-300)) > _OFF
                    away = not 1 / _LEVEL_OFF < level < _LEVEL_OFF
                    meant = _is_added(architecture, step) or (
                        # A small head is one on purpose, where nothing else is small.
                        off < 1 and begun and not at_fault and _is_head(architecture, step)
                    )
                    if fixed and wrong and same and away and not meant:
                        at_fault.setdefault(step.index, _Scale(step, own, off))
                    elif piled and same and function in _NEEDED and abs(math.log(off)) > 0.2:
                        begins = at_fault.get(start[0].index)
                        if begins is None or begins.level is not None:  # the stretch goes on
                            at_fault[start[0].index] = _Scale(start[0], own, off, level)
            begun = True
        elif step.activation is not None:
            square = None if square is None else second_moment(step.activation, square)
        elif step.class_name == "Dropout":
            rate = step.config.get("rate", 0.0)
            if square is not None and isinstance(rate, int | float) and 0 <= rate < 1:
                square = square / (1 - rate)
        elif step.class_name in ("Add", "Subtract") and len(step.inputs) > 1:
            square = sum(squares[i] or 0.0 for i in known) if known else None
        elif step.class_name in ("Rescaling", "Normalization") and not begun:
            square = 1.0
        elif (factor := _factor(step)) is not None:
            square = None if square is None else square * factor
        elif not _keeps(step):
            square = None
        squares.append(square)
        started.append(begun)
        first.append(start)
    if at_fault:
        yield _scale_fault(list(at_fault.values()))


def _is_added(architecture: Architecture, step: Step) -> bool:
    """Whether it stands in a branch that is added to what goes round it: small there is fine."""
    for after in islice(architecture.following(step), _BRANCH):
        if len(after.inputs) > 1:
            return after.class_name in ("Add", "Subtract", "Average")
    return False


def _is_head(architecture: Architecture, step: Step) -> bool:
    """Whether nothing but activations comes after a kernel."""
    after = list(architecture.following(step))
    ends = (after or [step])[-1].index in architecture.output_set
    return ends and not any(each.is_kernel for each in after)


_NAMES = {
    f"{who}{how}": f"{who.capitalize()} {how}"
    for who in ("glorot", "he", "lecun") for how in ("uniform", "normal")
}  # fmt: skip


class _Scale(NamedTuple):
    """What is off: a kernel, or all of a stretch where each is a little off.

    Attributes:
        step: the kernel, or the first of the stretch.
        power: what the kernel, or one of the stretch, does to the mean square.
        off: that beside what it should be.
        level: of the signal at the end of the stretch.
    """

    step: Step
    power: float
    off: float
    level: float | None = None


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
    elif _counts_inputs((name, config)):
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


def _behind(steps: Iterator[Step]) -> tuple[str, float | None, bool]:
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


def _factor(step: Step) -> float | None:
    """The square of the fixed number that a step multiplies by; None if it does not."""
    if step.class_name == "Rescaling":
        scale = step.config.get("scale")
        return float(scale) ** 2 if isinstance(scale, int | float) else None
    if step.class_name in ("Multiply", "Divide", "TrueDivide"):
        numbers = list(_numbers(step.entry.get("inbound_nodes")))
        if len(numbers) == 1 and numbers[0]:
            return numbers[0] ** 2 if step.class_name == "Multiply" else numbers[0] ** -2
    return None


def _numbers(nodes: Any) -> Iterator[float]:
    """Numbers that stand beside tensors in the arguments of an operation."""
    for node in nodes if isinstance(nodes, list) else ():
        if isinstance(node, Mapping):
            values = [*(node.get("args") or ()), *(node.get("kwargs") or {}).values()]
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


def _keeps(step: Step) -> bool:
    """Whether a step leaves the size of a signal about as it is."""
    return step.class_name in _KEEPING | PASSING


def _selu(architecture: Architecture) -> Iterator[Fault]:
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


# Zeros.


def _is_zero(architecture: Architecture, step: Step, name: str = "kernel") -> bool:
    values = architecture.values(step)
    stored = [values[n] for n in (_KERNELS if name == "kernel" else (name,)) if n in values]
    if stored:
        return not any(np.any(each) for each in stored)
    named = (
        own_initializer(step) if name == "kernel" else initializer_of(step, f"{name}_initializer")
    )
    return named[0] == "zeros" or (named[0] == "constant" and not named[1].get("value", 0.0))


_ZERO_AT_ZERO = frozenset([
    "relu", "relu6", "leakyrelu", "elu", "selu", "gelu", "silu", "swish", "tanh", "sin", "linear",
    "softsign", "mish", "prelu",
])  # fmt: skip
_BLOCKING_AT_ZERO = frozenset({"relu", "relu6"})


def zero_kernels(architecture: Architecture) -> frozenset[int]:
    """Steps whose kernel is zero."""
    return frozenset(s.index for s in architecture.kernels() if _is_zero(architecture, s))


def _zero(architecture: Architecture) -> Iterator[Fault]:
    """Zero kernels that no gradient will ever reach.

    One that is zero on purpose, as the last of a residual branch or of the network, gets a gradient
    at once or in the step after; what does not change however long one waits is at fault.
    """
    zero = {s.index for s in architecture.kernels() if _is_zero(architecture, s) and s.trainable}
    stuck = set(zero)
    biased = {
        s.index
        for s in architecture.kernels()
        if s.config.get("use_bias", True) and not _is_zero(architecture, s, "bias")
    }
    for _ in range(_PATIENCE):
        nothing = _nothing_arrives(architecture, stuck, biased)
        reached = _gradient_arrives(architecture, stuck, nothing)
        learned = {
            i
            for i in stuck
            if i in reached and not all(nothing[j] for j in architecture.steps[i].inputs)
        }
        moved = {
            s.index
            for s in architecture.kernels()
            if s.index in reached and s.config.get("use_bias", True) and s.index not in biased
        }
        stuck -= learned
        biased |= moved
        if not (stuck and (learned or moved)):
            break
    else:
        stuck = set()  # they open one after the other
    if stuck:
        step = architecture.steps[min(stuck)]
        yield Fault(
            "zero_kernel",
            step.path,
            step.class_name,
            f"{layers_have(len(stuck))} kernels of zeros that no gradient can ever change, first "
            f"{step.path!r}: nothing arrives there, and nothing comes back.",
            "redraw_random",
            Severity.FATAL,
        )
    kept = zero - stuck
    if kept:
        step = architecture.steps[min(kept)]
        yield Fault(
            "zero_on_purpose",
            step.path,
            step.class_name,
            f"{layers_have(len(kept))} a kernel of zeros, first {step.path!r}, which gradients "
            "reach: a start on purpose, as at the end of a residual branch.",
            "keep_zero_init",
            Severity.NOTE,
        )


def _nothing_arrives(architecture: Architecture, zero: set[int], biased: set[int]) -> list[bool]:
    """For each step whether its output is zero whatever the input."""
    found: list[bool] = []
    for step in architecture.steps:
        before = [found[i] for i in step.inputs]
        if not before:
            found.append(False)
        elif step.is_kernel:
            found.append((step.index in zero or all(before)) and step.index not in biased)
        elif step.activation is not None:
            found.append(all(before) and step.activation.replace("_", "") in _ZERO_AT_ZERO)
        elif step.class_name in ("Multiply", "Dot", "Matmul"):
            found.append(any(before))
        else:
            found.append(all(before) and step.class_name not in NORMALIZERS | RECURRENT)
    return found


def _gradient_arrives(architecture: Architecture, zero: set[int], nothing: list[bool]) -> set[int]:
    """Steps to whose output a gradient comes back."""
    reached = set(architecture.outputs)
    for step in reversed(architecture.steps):
        if step.index not in reached or step.index in zero:
            continue
        if step.activation in _BLOCKING_AT_ZERO and nothing[step.inputs[0]]:
            continue
        reached.update(step.inputs)
    return reached


# Copies.

# Square matrices by these are the same whichever units change places.
_ALIKE = {"ones", "zeros", "constant", "identity", "identityinitializer"}


def _symmetric(architecture: Architecture) -> Iterator[Fault]:
    """Kernels whose units all start with the same weights: they get the same gradient for ever."""
    found = []
    for step in architecture.steps:
        if not (step.is_kernel or step.class_name in RECURRENT):
            continue
        if step.is_depthwise or not step.trainable or step.channels == 1:
            continue
        values = architecture.values(step)
        if _units_alike(step, values) if "kernel" in values else _drawn_alike(step):
            found.append(step)
    for steps, series in _by_series(found):
        step = steps[0]
        yield Fault(
            "symmetric_kernel",
            step.path,
            step.class_name,
            f"All units of {step.path!r} start with the same weights"
            + (f", and so do those of {len(steps) - 1:,} more layers" if len(steps) > 1 else "")
            + ": they get the same gradient, and stay one unit for ever.",
            "redraw_random",
            Severity.FATAL,
            series,
        )


def _by_series(steps: Sequence[Step]) -> Iterator[tuple[list[Step], str | None]]:
    """Steps of the file's weights, and those that AutoInit leaves to their initializers."""
    recurrent = [step for step in steps if step.class_name in RECURRENT]
    yield from (
        (list(each), name) for each, name in ((steps, None), (recurrent, "autoinit")) if each
    )


def _drawn_alike(step: Step) -> bool:
    """The same, of what the initializers will draw."""
    name, config = own_initializer(step)
    constant = name == "ones" or (name == "constant" and bool(config.get("value", 0.0)))
    if step.class_name not in RECURRENT:
        return constant
    return constant and initializer_of(step, "recurrent_initializer")[0] in _ALIKE


def _units_alike(step: Step, values: Weights) -> bool:
    """Whether any two units could change places, and nothing would be different."""
    kernel = np.asarray(values["kernel"])
    if step.class_name.endswith("Transpose"):
        kernel = np.moveaxis(kernel, -2, -1)
    back, gates = values.get("recurrent_kernel"), 1
    if back is not None:
        back = np.asarray(back)
        gates = kernel.shape[-1] // back.shape[-2]
        # By gate, a unit's own share and what comes from the others.
        back = np.moveaxis(back.reshape(*back.shape[:-1], gates, -1), -3, -2)
        own = np.eye(back.shape[-1], dtype=bool)
        if any(np.ptp(back[..., part], axis=-1).any() for part in (own, ~own) if part.any()):
            return False
    bias = np.asarray(values.get("bias", np.zeros(kernel.shape[-1])))
    both = [each.reshape(*each.shape[:-1], gates, -1) for each in (kernel, bias)]
    alike = not any(np.ptp(each, axis=-1).any() for each in both)
    return alike and both[0].shape[-1] > 1 and bool(kernel.any())


def _equal(architecture: Architecture) -> Iterator[Fault]:
    """Kernels of several layers that are equal, by one seed or one initializer object."""
    groups: dict[Any, dict[str, Step]] = defaultdict(dict)
    for step in architecture.steps:
        if not step.is_kernel and step.class_name not in RECURRENT:
            continue
        values = architecture.values(step)
        kernel = values.get("kernel", values.get("depthwise_kernel"))
        if kernel is not None:
            kernel = np.ascontiguousarray(kernel)
            if kernel.size < 4 or np.ptp(kernel) == 0:
                continue
            key: Any = kernel.shape, hashlib.sha256(kernel.tobytes()).digest()
        else:
            name, config = own_initializer(step)
            seed, shape = config.get("seed"), kernel_shape(architecture, step)
            if not isinstance(seed, int) or shape is None or isinstance(seed, bool):
                continue
            key = name, seed, shape
        groups[key][step.path] = step
    equal = [list(group.values()) for group in groups.values() if len(group) > 1]
    for group, series in _by_series(max(equal, key=len)) if equal else ():
        if len(group) < 2:
            continue
        step = group[0]
        yield Fault(
            "shared_seed",
            step.path,
            step.class_name,
            f"The kernels of {len(group):,} layers are equal, {step.path!r} and "
            f"{group[1].path!r} first: one seed, or one initializer object, draws them all. What "
            "is known of random networks does not hold for them.",
            "reseed",
            series=series,
        )


# Training.


def is_trained(architecture: Architecture) -> bool:
    """Whether the values have seen training: biases or statistics that start fixed have moved."""
    starting = moved = 0
    for step in architecture.steps:
        values = architecture.values(step)
        for name in ("bias", "beta"):
            if name in values and initializer_of(step, f"{name}_initializer")[0] == "zeros":
                starting += 1
                moved += bool(np.any(values[name]))
    return starting > 0 and moved * 2 > starting


def statistics_mismatch(
    architecture: Architecture, received: Mapping[str, tuple[float, float]]
) -> Iterator[Fault]:
    """Stored moving statistics with which inference is another network than training.

    Args:
        architecture: with values.
        received: by path of a batch normalization, the mean and the variance of its input.
    """
    for step in architecture.steps:
        if step.class_name != "BatchNormalization" or step.path not in received:
            continue
        values = architecture.values(step)
        if not {"moving_mean", "moving_variance"} <= values.keys():
            continue
        mean, variance = (np.asarray(values[f"moving_{n}"], float) for n in ("mean", "variance"))
        if not np.any(mean) and np.all(variance == 1):
            continue  # as they start
        own_mean, own_variance = received[step.path]
        epsilon = float(step.config.get("epsilon", 1e-3) or 0.0)
        with np.errstate(all="ignore"):
            squares = (own_variance + (own_mean - mean) ** 2) / (variance + epsilon)
        typical = float(np.median(squares))
        stale = not math.isfinite(typical) or not 1e-4 < typical < 1e4
        lowest = float(np.min(variance))
        if lowest + epsilon < 0:
            message = (
                f"The moving variance of {step.path!r} is negative (down to {number(lowest)}): in "
                "inference its output is no number."
            )
        elif stale and own_variance > 0:
            message = (
                f"The moving statistics of {step.path!r} do not fit what it receives (mean "
                f"{number(own_mean)}, variance {number(own_variance)}): in inference its output "
                f"has a mean square of {number(typical)} in place of 1."
            )
        else:
            continue
        yield Fault(
            "train_inference_mismatch", step.path, step.class_name, message, "fix_statistics"
        )
        return
