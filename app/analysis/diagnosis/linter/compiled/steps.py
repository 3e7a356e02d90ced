"""What the stored optimizer makes of a gradient: it is run, on two numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import keras
import numpy as np

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.linter.architecture import Architecture
from app.analysis.diagnosis.linter.compiled import own_objects
from app.analysis.diagnosis.linter.compiled.optimizers import kernel_size, largest_rate
from app.text.formatting import number
from autoinit.arrays import as_array

_STEPS = 5
# By how much of themselves kernels change in a step, at the most, where training is slow, and
# where it hardly moves.
# Classifiers of digits (two layers of 64 ReLUs) were right, after 400 and after 4,000 steps, for 7
# and 16 % beyond chance at 8·10⁻⁶ (Adam at 10⁻⁶), for 7 and 21 % at 1.2·10⁻⁵ (Adadelta's own);
# for 16 and 79 % at 8·10⁻⁵ (Adam at 10⁻⁵), 8 and 40 % at 7·10⁻⁵ (SGD at 10⁻⁴), 19 and 92 % at
# 1.2·10⁻⁴ (Adam with an epsilon of 1), 40 and 93 % at 7·10⁻⁴ (SGD at 10⁻³).
# Tens of thousands of steps learn with these all the same: Keras's own IRNN (RMSprop at 10⁻⁶,
# 10⁻⁵) is right for 93 % after 900 epochs.
_SLOW, _STALLED = 2e-5, 2e-6
# Where gradients are smaller, it is told of them, and the settings may be as they are.
_LEAST = 1e-4


def stalled_steps(
    architecture: Architecture,
    compiled: Mapping[str, Any] | None,
    ratios: Sequence[float | None],
    scale: float | None,
    series: str,
) -> Iterator[Fault]:
    """Settings with which an optimizer does not move, whatever they are called.

    Such as Adam's with an epsilon far above gradients, Adadelta's rate of Keras's default,
    gradients that are accumulated for longer than anyone trains, averages that overwrite weights.

    Args:
        architecture: of the model.
        compiled: the stored settings.
        ratios: update ratios of the kernels, for a gradient of variance 1 at the outputs.
        scale: the size that the loss gives that gradient; None where it is not known.
        series: whose ratios these are.
    """
    entry = stored_optimizer(compiled)
    sizes = [size for step in architecture.kernels() if (size := kernel_size(architecture, step))]
    known = [ratio for ratio in ratios if ratio]
    # Of plain descent measured gradients tell more (`optimizers.descent_rate`).
    if entry is None or _name(entry).lower() == "sgd" or not sizes or not known or scale is None:
        return
    size = median(sizes)
    gradient = max(median(known) * scale * size, _LEAST)
    change = change_of_a_step(entry, size, gradient)
    if change is not None and change < _SLOW:
        slow = change >= _STALLED
        what = "learning takes tens of thousands of steps" if slow else "training hardly moves"
        yield Fault(
            "learning_rate",
            "",
            "",
            f"As it is set {_name(entry)} changes kernels by {number(change)} of their size in a "
            f"step, of gradients of {number(gradient)}: {what}.",
            "default_optimizer",
            Consequence.NOTE if slow else Consequence.SERIOUS,
            series,
        )


def change_of_a_step(entry: Any, size: float, gradient: float) -> float | None:
    """By how much of its size an optimizer changes a number in a step, once it has begun.

    The gradient is the same in all steps, which is the most that it could do. Of two numbers, with
    gradients of opposite signs, so that a decay of both is left out.

    Args:
        entry: as it is stored, of an optimizer of Keras.
        size: of the numbers.
        gradient: its size.

    Returns:
        None for an optimizer that cannot be run so.
    """
    rate = largest_rate(entry)
    if rate is None or not math.isfinite(gradient):
        return None
    # A step goes by the mean over so many batches, which is the same gradient here.
    config = entry.get("config") if isinstance(entry, Mapping) else None
    given = config if isinstance(config, Mapping) else {}
    batches = given.get("gradient_accumulation_steps") or 1
    # Averages of squares begin at 0, and take far longer to come up than there are steps here.
    shorter = {"beta_2": 0.5} if "beta_2" in given else {}
    optimizer = own_objects.optimizer(entry, rate, gradient_accumulation_steps=None, **shorter)
    if optimizer is None:
        return None
    numbers = keras.Variable(np.full(2, size), dtype="float32")
    given = keras.ops.convert_to_tensor(np.array([gradient, -gradient], np.float32))
    optimizer.build([numbers])
    apart = []
    for _ in range(2):
        for _ in range(_STEPS):
            optimizer.apply([given], [numbers])
        first, second = as_array(numbers)
        apart.append(float(second) - float(first))
    return abs(apart[1] - apart[0]) / 2.0 / _STEPS / batches / size


def stored_optimizer(compiled: Mapping[str, Any] | None) -> str | Mapping[str, Any] | None:
    """The entry of an optimizer of Keras; None where there is none."""
    entry = (compiled or {}).get("optimizer") or (compiled or {}).get("optimizer_config")
    if isinstance(entry, Mapping) and entry.get("class_name") == "LossScaleOptimizer":
        config = entry.get("config")
        inner = config.get("inner_optimizer") if isinstance(config, Mapping) else None
        return stored_optimizer({"optimizer": inner})
    return entry if isinstance(entry, str | Mapping) else None


def _name(entry: str | Mapping[str, Any]) -> str:
    return entry if isinstance(entry, str) else str(entry.get("class_name"))
