"""Kernels of zeros: those that no gradient ever reaches, and those that are zero on purpose."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from app.analysis.diagnosis.fault import Consequence, Fault, layers_have
from app.analysis.diagnosis.linter.architecture import (
    NORMALIZERS,
    RECURRENT,
    Architecture,
    LayerStep,
)
from app.analysis.diagnosis.linter.initializers import initializer_of, own_initializer

_PATIENCE = 50  # rounds of training after which zero kernels that still open count as open
_KERNELS = ("kernel", "depthwise_kernel", "embeddings")


def _is_zero(architecture: Architecture, step: LayerStep, name: str = "kernel") -> bool:
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


def zero_faults(architecture: Architecture) -> Iterator[Fault]:
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
            Consequence.FATAL,
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
            Consequence.NOTE,
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
