"""The stored optimizer: whether its learning rate fits the kernels that it would change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.linter.architecture import NORMALIZERS, Architecture, kernel_shape
from app.analysis.diagnosis.linter.compiled.losses import BINARY, CATEGORICAL, losses_of
from app.analysis.diagnosis.linter.initializers import initial_variance, own_initializer
from app.analysis.diagnosis.linter.structure import last_of
from app.text.formatting import number
from autoinit.arrays import singular_share

# Optimizers whose first step is their rate in each entry, however small the gradient is.
_ADAPTIVE = frozenset({"adam", "adamw", "nadam", "adamax", "rmsprop", "lion"})
_USUAL = {"sgd": 0.01} | dict.fromkeys(_ADAPTIVE, 1e-3)
# What the first step may change of the kernels' size (the median over kernels): by SGD, and by
# optimizers that adapt. Classifiers of digits learnt best where it was 0.01 to 0.2; beyond these
# limits few learnt anything. Normalized kernels grow until they fit (`benchmarks/rates.py`).
_TOO_FAST, _TOO_FAST_ADAPTIVE, _TOO_FAST_NORMALIZED, _TOO_SLOW = 1.0, 0.5, 5.0, 1e-6
_GOOD, _GOOD_ADAPTIVE = 0.05, 0.01
# Of the kernel that a step changes most, where a gradient grows on its way back: a hundred layers
# of SELU learnt with 0.02, and nothing with 0.2.
_LITTLE = 0.1
# Largest singular values that a step moves, in shares of themselves, all kernels together.
_FAR = 5.0
# That anyone trains with.
_SMALLEST_RATE, _LARGEST_RATE = 1e-7, 10.0


@dataclass(frozen=True)
class Optimizer:
    """What was stored of an optimizer.

    Attributes:
        name: its class.
        rate: the largest learning rate that it begins with.
        momentum: of SGD.
        clips: whether gradients are clipped.
        value, norm: the largest entry and the largest norm of a kernel's gradient that is left.
        lasting: to how many steps at the rate all steps together come; infinite without a schedule
            that ends.
        decay: the share of a kernel that a rate of 1 would take away in each step.
    """

    name: str
    rate: float
    momentum: float = 0.0
    clips: bool = False
    value: float = math.inf
    norm: float = math.inf
    lasting: float = math.inf
    decay: float = 0.0

    @property
    def is_adaptive(self) -> bool:
        """Whether its first step does not go by the size of the gradient."""
        return self.name.lower() in _ADAPTIVE

    @property
    def is_plain(self) -> bool:
        """Whether it is gradient descent without momentum."""
        return self.name.lower() == "sgd" and self.momentum == 0.0


def optimizer_of(compiled: Mapping[str, Any] | None) -> Optimizer | None:
    """The stored optimizer, as far as it is one of Keras whose rate is known.

    Args:
        compiled: the settings as stored: `compile_config` of Keras 3, `training_config` of Keras 2.
    """
    stored = (compiled or {}).get("optimizer") or (compiled or {}).get("optimizer_config")
    if isinstance(stored, str):
        rate = _USUAL.get(stored.lower())
        return None if rate is None else Optimizer(stored, rate)
    if not isinstance(stored, Mapping) or ">" in str(stored.get("registered_name")):
        return None
    config = stored.get("config")
    config = config if isinstance(config, Mapping) else {}
    name = str(stored.get("class_name"))
    if name == "LossScaleOptimizer":
        return optimizer_of({"optimizer": config.get("inner_optimizer")})
    rate = _largest_rate(config.get("learning_rate", config.get("lr")))
    if name.lower() not in _USUAL or rate is None:
        return None
    clips = any(config.get(key) for key in ("clipnorm", "clipvalue", "global_clipnorm"))
    momentum = _largest_rate(config.get("momentum")) or 0.0
    norms = [_number(config.get(key)) for key in ("clipnorm", "global_clipnorm")]
    return Optimizer(
        name,
        rate,
        momentum if 0.0 <= momentum < 1.0 else 0.0,
        clips,
        _number(config.get("clipvalue")) or math.inf,
        min(filter(None, norms), default=math.inf),
        _lasting(config.get("learning_rate", config.get("lr"))),
        _number(config.get("weight_decay")) or 0.0,
    )


def largest_rate(entry: Any) -> float | None:
    """The largest rate that an optimizer begins with, as it is stored; Keras's own without one."""
    if isinstance(entry, str):
        return _USUAL.get(entry.lower(), 1e-3)
    config = entry.get("config") if isinstance(entry, Mapping) else None
    if not isinstance(config, Mapping):
        return None
    return _largest_rate(config.get("learning_rate", config.get("lr")))


def _number(stored: Any) -> float | None:
    is_number = isinstance(stored, int | float) and not isinstance(stored, bool)
    return float(stored) if is_number else None


def _lasting(stored: Any) -> float:
    """To how many steps at the first rate all steps of a schedule come, as far as it ends."""
    config = stored.get("config") if isinstance(stored, Mapping) else None
    if not isinstance(stored, Mapping) or not isinstance(config, Mapping):
        return math.inf
    steps = _number(config.get("decay_steps"))
    if steps is None or steps <= 0.0:
        return math.inf
    kind, share = stored.get("class_name"), _number(config.get("decay_rate"))
    if kind == "ExponentialDecay" and share is not None and 0.0 <= share < 1.0:
        # Σ share^(t / steps); of a staircase each term counts as often as it is wide.
        each = steps if config.get("staircase") else 1.0
        return each / (1.0 - float(share ** (each / steps)))
    if kind == "CosineDecay" and not config.get("alpha"):
        return (steps + (_number(config.get("warmup_steps")) or 0.0)) / 2.0
    power = _number(config.get("power")) or 1.0
    if kind == "PolynomialDecay" and config.get("end_learning_rate") == 0 and power > 0.0:
        return math.inf if config.get("cycle") else steps / (power + 1.0)
    return math.inf


def _largest_rate(stored: Any) -> float | None:
    """A rate as it is stored; of a schedule the largest that its arguments name."""
    if isinstance(stored, Mapping):
        config = stored.get("config")
        config = config if isinstance(config, Mapping) else {}
        names = ("initial_learning_rate", "warmup_target", "values")
        given = [config.get(name) for name in names]
        given = [each for one in given for each in (one if isinstance(one, list) else [one])]
        rates = (rate for each in given if (rate := _largest_rate(each)) is not None)
        return max(rates, default=None)
    is_number = isinstance(stored, int | float) and not isinstance(stored, bool)
    return float(stored) if is_number else None


def adaptive_rate(architecture: Architecture, optimizer: Optimizer) -> Iterator[Fault]:
    """A rate beside the sizes of the kernels, where the first step is the rate itself."""
    if optimizer.rate <= 0.0 or not math.isfinite(optimizer.rate):
        yield _fault(f"{optimizer.name} has a rate of {optimizer.rate:g}: nothing is learnt by it.")
    elif optimizer.is_adaptive:
        sizes = [
            size for step in architecture.kernels() if (size := kernel_size(architecture, step))
        ]
        if sizes:
            size = median(sizes)
            usual = _TOO_FAST_ADAPTIVE
            yield from _judged(architecture, optimizer, 1 / size, usual, _GOOD_ADAPTIVE)


# Steps at the full rate, of an optimizer that adapts: classifiers of digits by Adam at 0.001 were
# right for 19 and 26 % beyond chance where all steps together come to 5 and 8, for 58 and 60 %
# where they come to 25, for 99 % without an end.
_FEWEST_STEPS = 12.0
# The share of a kernel's size that clipping lets a step change. By SGD at 0.01 such classifiers
# were right for 6 % beyond chance with gradients clipped to entries of 10⁻⁵ and norms of 10⁻³, for
# 8 % with norms of 10⁻² (a share of 1.3·10⁻⁵), and for 42 % with norms of 0.1.
_CLIPPED = 3e-5
# The share of a kernel that each step takes away. By AdamW at 0.001 they were right for 99 % beyond
# chance with 0.001, for 75 % with 0.01, for 13 and 8 % with 0.03 and 0.1.
_TAKEN = 0.03


def settings_of_steps(architecture: Architecture, optimizer: Optimizer) -> Iterator[Fault]:
    """Settings beside the rate that leave nothing: of its steps, of gradients, of the kernels."""
    if optimizer.is_adaptive and optimizer.rate * optimizer.decay >= _TAKEN:
        yield _fault(
            f"Each step of {optimizer.name} takes {optimizer.rate * optimizer.decay:.2g} of the "
            f"kernels away (a weight_decay of {optimizer.decay:g} at a rate of "
            f"{optimizer.rate:g}), and gives them less than that.",
            remedy="weaken_decay",
        )
    if optimizer.is_adaptive and optimizer.lasting < _FEWEST_STEPS:
        yield _fault(
            f"The rate of {optimizer.name} falls to nothing in a few steps: all of them together "
            f"come to {optimizer.lasting:.2g} at the full rate. Schedules count steps, each of a "
            "batch, and not epochs.",
            remedy="longer_schedule",
        )
    if optimizer.is_adaptive or not optimizer.clips:
        return
    changes = []
    for step in architecture.kernels():
        size, shape = kernel_size(architecture, step), kernel_shape(architecture, step)
        if size and shape:
            left = min(optimizer.value, optimizer.norm / math.sqrt(math.prod(shape)))
            changes.append(optimizer.rate * left / (1.0 - optimizer.momentum) / size)
    if changes and median(changes) < _CLIPPED:
        yield _fault(
            f"Gradients are clipped to so little that a step of {optimizer.name} at its rate of "
            f"{optimizer.rate:g} changes kernels by {number(median(changes))} of their size at the "
            "most.",
            remedy="clip_less",
        )


def learns_by_steps(architecture: Architecture, optimizer: Optimizer) -> bool:
    """Whether an optimizer's steps, which do not go by the size of gradients, are small enough.

    A step of the rate in each entry moves a kernel's largest singular value by up to
    rate / σ · √(mn) / (√m + √n) of itself. Where kernels are too small for the signal, Adam learnt
    with a sum of 2.4 or less over the layers (chains of ReLU, 64 to 512 units wide, by Glorot and
    N(0, 0.02)); VGG16 at 32 × 32 (11) did not learn.
    """
    sizes = [(kernel_size(architecture, step), step) for step in architecture.kernels()]
    shapes = [(size, kernel_shape(architecture, step)) for size, step in sizes if size]
    moved = sum(optimizer.rate / size * singular_share(shape) for size, shape in shapes if shape)
    return optimizer.is_adaptive and moved <= _FAR


def _is_normalized(architecture: Architecture) -> bool:
    return any(step.class_name in NORMALIZERS for step in architecture.steps)


def kernel_size(architecture: Architecture, step: Any) -> float | None:
    """The root mean square of a step's kernel, or of one that fits its inputs if that is larger.

    Smaller ones grow to it in some steps, which is no harm: branches of N(0, 10⁻⁴) learn by Adam.
    """
    values = architecture.values(step)
    kernel = values.get("kernel", values.get("depthwise_kernel"))
    shape = kernel_shape(architecture, step)
    if shape is None or len(shape) < 2:
        return None
    inputs = math.prod(shape[:-2]) * (1 if step.is_depthwise else shape[-2])
    square = (
        float(np.mean(np.square(kernel, dtype=np.float64)))
        if kernel is not None
        else initial_variance(own_initializer(step), shape)
    )
    return None if square is None else math.sqrt(max(square, 1 / max(inputs, 1)))


def descent_rate(
    architecture: Architecture,
    optimizer: Optimizer,
    ratios: Sequence[float | None],
    scale: float | None,
    series: str,
) -> Iterator[Fault]:
    """A rate of plain gradient descent beside measured update ratios.

    Args:
        architecture: of the model.
        optimizer: that was stored.
        ratios: update ratios of the kernels, for a gradient of variance 1 at the outputs.
        scale: the size that the loss gives that gradient; None where it is not known.
        series: whose ratios these are.
    """
    known = [ratio for ratio in ratios if ratio]
    if optimizer.is_adaptive or optimizer.rate <= 0.0 or not known or scale is None:
        return
    if optimizer.clips:
        return
    each = median(known) * scale / (1.0 - optimizer.momentum)
    yield from _judged(architecture, optimizer, each, _TOO_FAST, _GOOD, series)


def takes_small_steps(
    optimizer: Optimizer, ratios: Sequence[float | None], scale: float | None
) -> bool:
    """Whether a step of gradient descent changes even the kernel that it changes most by little.

    Args:
        optimizer, ratios, scale: as for `descent_rate`.
    """
    known = [ratio for ratio in ratios if ratio]
    if optimizer.is_adaptive or not known or scale is None:
        return False
    return max(known) * scale * optimizer.rate / (1.0 - optimizer.momentum) <= _LITTLE


def unscaled_descent(
    optimizer: Optimizer, data: float, slope: float, bend: float | None, series: str
) -> Iterator[Fault]:
    """A rate of plain gradient descent that is too large for the curvature that data make.

    Args:
        optimizer: that was stored.
        data: mean square of what the first kernel receives.
        slope: squared norm of the gradient of an output's entry for all weights, all entries
            together.
        bend: the loss's curvature for one of them, beside their number; None where not known.
        series: whose weights these are.
    """
    if bend is None or optimizer.is_adaptive or optimizer.clips or not math.isfinite(slope):
        return
    steps = optimizer.rate / (1.0 - optimizer.momentum) * bend * slope
    if steps < _UNSTABLE:
        return
    yield Fault(
        "unscaled_input",
        "",
        "",
        f"Data with a mean square of {number(data)} go in as they are. For these a step of "
        f"{optimizer.name} at its rate of {optimizer.rate:g} is {number(steps)} times as large as "
        "one that the loss's curvature bears: the loss grows, or is NaN.",
        "scale_input",
        Consequence.SERIOUS,
        series,
    )


# Rate times curvature beyond which descent leaps away: 2 for a quadratic; networks flee into
# flatter regions up to some 10 (mean squared error), and where a softmax or a sigmoid bounds the
# slope, to 200: classifiers of digits whose inputs were up to 255 times too large were right for
# 93 to 97 % at 26 to 80, for 88 and 57 % at 260 and 290, for 8 % from 380 on.
_BOUNDED_SLOPE, _OPEN_SLOPE = 200.0, 10.0
_OF_SIGMOID = 0.25  # its slope at 0
_UNSTABLE = 1.0


def curvature(
    architecture: Architecture, compiled: Mapping[str, Any] | None, entries: int, units: int
) -> float | None:
    """A loss's curvature for an entry of the output, beside what descent bears; None if not known.

    Args:
        architecture, compiled, entries, units: as for `gradient_scale`.
    """
    losses = losses_of(compiled, architecture)
    if len(losses) != 1:
        return None
    ((name, _),) = losses.values()
    if name in CATEGORICAL:
        return (1 - 1 / units) / entries / entries / _BOUNDED_SLOPE
    if name in BINARY:
        return 0.25 / entries / entries / _BOUNDED_SLOPE
    if name in ("mse", "meansquarederror"):
        through = _let_through(architecture, units)
        return 2.0 * through * through / entries / entries / _OPEN_SLOPE
    return None


def _let_through(architecture: Architecture, units: int) -> float:
    """The slope of the last activation, where outputs begin."""
    (activation,) = (last for _, last in last_of(architecture).values())
    function = activation.activation if activation is not None else None
    return {"sigmoid": _OF_SIGMOID, "softmax": 1 / units}.get(function or "", 1.0)


def gradient_scale(
    architecture: Architecture, compiled: Mapping[str, Any] | None, entries: int, units: int
) -> float | None:
    """Root mean square of what the loss's gradient is at each entry of the output, about.

    Errors are taken to be of size 1, and probabilities to be equal.

    Args:
        architecture: of the model.
        compiled: the stored settings.
        entries: of the output, for a sample.
        units: of its last axis.

    Returns:
        None for several outputs, and for losses whose gradient is not known.
    """
    losses = losses_of(compiled, architecture)
    if len(losses) != 1:
        return None
    ((name, _),) = losses.values()
    if name in CATEGORICAL:
        return math.sqrt(units) / entries
    if name in BINARY:
        return 0.5 / entries
    slope = {"mse": 2.0, "meansquarederror": 2.0, "mae": 1.0, "meanabsoluteerror": 1.0}.get(name)
    if slope is None:
        return None
    # Ratios are of the gradient before the last activation: what it lets through, times its error.
    through = _let_through(architecture, units)
    error = 0.5 if through == _OF_SIGMOID else through**0.5
    return slope * through * error / entries


def _judged(
    architecture: Architecture,
    optimizer: Optimizer,
    each: float,
    usual: float,
    good: float,
    series: str | None = None,
) -> Iterator[Fault]:
    """What a rate says, by the change that a rate of 1 would make."""
    normalized = _is_normalized(architecture)
    most = _TOO_FAST_NORMALIZED if normalized else usual
    change = optimizer.rate * each
    if not math.isfinite(change) or _TOO_SLOW < change < most:
        return
    size = f"{number(change)} times" if change >= 1.0 else f"{number(change)} of"
    told = (
        f"At its rate of {optimizer.rate:g} the first step of {optimizer.name} changes the kernels "
        f"by about {size} their size"
    )
    # Kernels that are normalized grow until the rate fits.
    consequence = Consequence.NOTE if normalized else Consequence.SERIOUS
    # Where gradients vanish or explode no rate makes up for it.
    if not _SMALLEST_RATE <= good / each <= _LARGEST_RATE:
        return
    what = (
        "training leaps away from where it starts"
        if change >= most
        else "training hardly moves in a million steps"
    )
    yield _fault(f"{told}: {what}. A rate to begin with is {good / each:.1g}.", consequence, series)


def _fault(
    message: str,
    consequence: Consequence = Consequence.SERIOUS,
    series: str | None = None,
    remedy: str = "change_rate",
) -> Fault:
    return Fault("learning_rate", "", "", message, remedy, consequence, series)
