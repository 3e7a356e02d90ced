"""Losses that have one value whatever the targets, or whatever is answered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.linter.architecture import Architecture, LayerStep
from app.analysis.diagnosis.linter.compiled import own_objects
from app.analysis.diagnosis.linter.compiled.losses import BINARY, CATEGORICAL, by_outputs
from app.analysis.diagnosis.linter.structure import last_of
from autoinit.arrays import as_array

# How many answers are tried, of how many classes at the most.
_ANSWERS, _MOST_UNITS = 8, 1000
# What counts as no change of a loss, beside its size.
_STILL = 1e-5
# The most that another target may change a loss, beside what all answers and targets do. With label
# smoothing of 0.9 classifiers of digits were right for 98 to 100 % beyond chance, with 0.99 for 22
# to 48 %, with 0.999 and 1 for 0 to 10 %.
_LITTLE = 1e-2


def losses_without_targets(
    architecture: Architecture, compiled: Mapping[str, Any] | None
) -> Iterator[Fault]:
    """A stored loss, tried on answers and targets at random: what is learnt must show in it."""
    weights = _weights(compiled)
    last = last_of(architecture)
    for place, (index, entry) in enumerate(by_outputs(compiled, architecture).items()):
        step, activation = last[index]
        weight = weights[place] if place < len(weights) else 1.0
        what = "has a weight of 0" if weight == 0.0 else _fault_of(entry, step, activation)
        if what is not None:
            yield Fault(
                "loss_without_targets",
                step.path,
                step.class_name,
                f"The loss of {step.path!r} {what}: nothing is learnt by it.",
                "change_loss",
                # Others may be what is learnt; of one alone, nothing is.
                Consequence.FATAL if len(last) == 1 else Consequence.NOTE,
            )


def _fault_of(entry: Any, step: LayerStep, activation: LayerStep | None) -> str | None:
    """What a loss does not go by; None where it goes by both, and where it cannot be tried."""
    loss, units = own_objects.loss(entry), step.channels
    if type(loss).__name__ not in _OF_SAMPLES or units is None or units > _MOST_UNITS:
        return None
    function = activation.activation if activation is not None else None
    if units == 1 and (function == "softmax" or type(loss).__name__.lower() in CATEGORICAL):
        return None  # whatever its arguments, which `losses` tells
    answers = np.random.default_rng(0).standard_normal((_ANSWERS, 1, units))
    if function == "softmax":
        answers = np.exp(answers) / np.exp(answers).sum(-1, keepdims=True)
    elif function == "sigmoid":
        answers = 1.0 / (1.0 + np.exp(-answers))
    first, second = (
        np.array([float(as_array(loss(target, answer))) for answer in answers])
        for target in _targets(type(loss).__name__, units)
    )
    if not np.all(np.isfinite([first, second])):
        return None
    moved = [float(np.ptp(each)) > _STILL * float(np.max(np.abs(each))) for each in (first, second)]
    if not any(moved):
        return "is the same whatever the answer"
    if not all(moved) and type(loss).__name__.lower() in BINARY:
        return "is the same whatever the answer for one of two classes"
    by_targets = float(np.max(np.abs(first - second))) / float(np.ptp([first, second]))
    return "is nearly the same whatever the target" if by_targets <= _LITTLE else None


# Losses of one sample, whose targets are classes or numbers.
_OF_SAMPLES = frozenset([
    "CategoricalCrossentropy", "SparseCategoricalCrossentropy", "CategoricalFocalCrossentropy",
    "BinaryCrossentropy", "BinaryFocalCrossentropy", "MeanSquaredError", "MeanAbsoluteError",
    "Huber", "LogCosh", "KLDivergence", "Poisson", "Hinge", "SquaredHinge", "CategoricalHinge",
    "Dice", "Tversky",
])  # fmt: skip


def _targets(name: str, units: int) -> list[Any]:
    """Two targets of one sample that differ."""
    if name.startswith("Sparse"):
        return [np.array([[0]]), np.array([[units - 1]])]
    return (
        [np.eye(units)[:1], np.eye(units)[-1:]]
        if units > 1
        else [np.zeros((1, 1)), np.ones((1, 1))]
    )


def _weights(compiled: Mapping[str, Any] | None) -> list[float]:
    """Weights of the losses, as far as they stand in the order of the outputs."""
    stored = (compiled or {}).get("loss_weights")
    if isinstance(stored, list | tuple):
        return [float(each) if isinstance(each, int | float) else math.nan for each in stored]
    return [float(stored)] if isinstance(stored, int | float) else []
