"""Constraints that hold kernels so small that nothing of a signal is left, whatever is learnt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.analysis.diagnosis.fault import Consequence, Fault, layers_have
from app.analysis.diagnosis.linter.architecture import (
    NORMALIZERS,
    Architecture,
    LayerStep,
    kernel_shape,
)
from app.analysis.diagnosis.linter.compiled.own_objects import constraint
from app.text.formatting import number
from autoinit.arrays import as_array

# What constraints leave of the mean square of kernels that fit their inputs (variance 1 / fan-in),
# multiplied along a path. Classifiers of digits, two layers of 64 ReLUs, by Adam and by SGD with
# momentum, with norms of columns of 0.01 to 1 in all layers, in the hidden ones and in the last:
# from 9·10⁻⁴ on they were right for 72 to 100 % beyond chance, with 7·10⁻⁴ for 56 and 59 %, with
# 10⁻⁴ for 50 to 60 %; with 10⁻⁶ and less for 0 to 12 %.
_LITTLE, _NOTHING = 5e-4, 2e-6
_MOST_ENTRIES = 2**20


def small_norms(architecture: Architecture) -> Iterator[Fault]:
    """Norms that a constraint keeps so small, along the path that loses least by them."""
    left: list[tuple[float, tuple[int, ...]]] = []  # the logarithm, and the kernels that are held
    for step in architecture.steps:
        before = max((left[index] for index in step.inputs), default=(0.0, ()))
        readers = [architecture.steps[index] for index in architecture.readers[step.index]]
        normalized = step.class_name in NORMALIZERS or any(
            reader.class_name in NORMALIZERS for reader in readers
        )
        share = _share_left(architecture, step) if step.is_kernel and not normalized else 1.0
        if share < 1.0:
            log = math.log(share) if share > 0.0 else -math.inf
            before = (before[0] + log, (*before[1], step.index))
        left.append((0.0, ()) if normalized else before)
    least, kernels = min((left[index] for index in architecture.outputs), default=(0.0, ()))
    if least <= math.log(_LITTLE):
        first = architecture.steps[kernels[0]]
        yield Fault(
            "constraint",
            first.path,
            first.class_name,
            f"{layers_have(len(kernels))} a constraint that holds the kernel, first "
            f"{first.path!r}: no more than {number(math.exp(least))} of the signal's mean square "
            "gets to the output, whatever is learnt.",
            "loosen_constraint",
            Consequence.FATAL if least <= math.log(_NOTHING) else Consequence.SERIOUS,
        )


def held(step: LayerStep, kernel: NDArray[Any]) -> NDArray[Any]:
    """A kernel as its constraint leaves it."""
    name = "depthwise_constraint" if step.is_depthwise else "kernel_constraint"
    entry = step.config.get(name)
    found = constraint(entry) if isinstance(entry, str | Mapping) else None
    return kernel if found is None else np.asarray(as_array(found(kernel)))


def _share_left(architecture: Architecture, step: LayerStep) -> float:
    """What a constraint leaves of the mean square of a kernel that fits its inputs."""
    shape = kernel_shape(architecture, step)
    if shape is None or len(shape) < 2 or math.prod(shape) > _MOST_ENTRIES:
        return 1.0
    inputs = math.prod(shape[:-2]) * (1 if step.is_depthwise else shape[-2])
    drawn = np.random.default_rng(0).normal(0.0, max(inputs, 1) ** -0.5, shape)
    kernel = drawn.astype(np.float32)
    left = held(step, kernel)
    if left is kernel:
        return 1.0
    return min(float(np.mean(np.square(left)) / np.mean(np.square(kernel))), 1.0)
