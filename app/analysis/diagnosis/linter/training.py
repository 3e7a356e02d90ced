"""What values show of training: whether there was any, and statistics that do not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.analysis.diagnosis.fault import Fault
from app.analysis.diagnosis.linter.architecture import Architecture, LayerStep
from app.analysis.diagnosis.linter.initializers import initializer_of
from app.text.formatting import number


def is_trained(architecture: Architecture) -> bool:
    """Whether the values have seen training: biases or statistics that start fixed have moved."""
    starting = moved = 0
    for step in architecture.steps:
        values = architecture.values(step)
        for name in ("bias", "beta"):
            if name in values and initializer_of(step, f"{name}_initializer")[0] == "zeros":
                starting += 1
                moved += not np.array_equal(values[name], _first_bias(step, values[name]))
    return starting > 0 and moved * 2 > starting


def _first_bias(step: LayerStep, values: NDArray[Any]) -> NDArray[Any]:
    """Zeros, but the ones that LSTM layers have for their forget gate, the second of four."""
    first = np.zeros_like(values)
    if step.config.get("unit_forget_bias"):
        units = values.size // 4
        first[..., units : 2 * units] = 1.0
    return first


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
