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
    gammas = _zero_gammas(architecture)
    stuck = zero | gammas
    moving = [s for s in architecture.steps if s.is_kernel or s.index in gammas]
    biased = {s.index for s in moving if _has_bias(s) and not _is_zero(architecture, s, _bias(s))}
    for _ in range(_PATIENCE):
        nothing = _nothing_arrives(architecture, stuck, biased)
        reached = _gradient_arrives(architecture, stuck, nothing)
        learned = {
            i
            for i in stuck
            if i in reached and not all(nothing[j] for j in architecture.steps[i].inputs)
        }
        moved = {
            s.index for s in moving if s.index in reached and _has_bias(s) and s.index not in biased
        }
        stuck -= learned
        biased |= moved
        if not (stuck and (learned or moved)):
            break
    else:
        stuck = set()  # they open one after the other
    for found, code, what, remedy in (
        (stuck & zero, "zero_kernel", "kernels", "redraw_random"),
        (stuck & gammas, "zero_gamma", "a gamma", "start_at_one"),
    ):
        if found:
            joined = "and" if code == "zero_kernel" else "or"
            first, *others = (architecture.steps[index] for index in sorted(found))
            yield Fault(
                code,
                first.path,
                first.class_name,
                f"{layers_have(len(found))} {what} of zeros that no gradient can ever change, "
                f"first {first.path!r}: nothing arrives there, {joined} nothing comes back.",
                remedy,
                Consequence.FATAL,
                others=tuple(step.path for step in others),
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


def _zero_gammas(architecture: Architecture) -> set[int]:
    """Normalizations that multiply by zeros, which training may change."""
    return {
        step.index
        for step in architecture.steps
        if step.class_name in NORMALIZERS
        and step.trainable
        and step.config.get("scale", True) is not False
        and ("gamma" in architecture.values(step) or "gamma_initializer" in step.config)
        and _is_zero(architecture, step, "gamma")
    }


def _bias(step: LayerStep) -> str:
    return "bias" if step.is_kernel else "beta"


def _has_bias(step: LayerStep) -> bool:
    return step.config.get("use_bias" if step.is_kernel else "center", True) is not False


def _nothing_arrives(architecture: Architecture, zero: set[int], biased: set[int]) -> list[bool]:
    """For each step whether its output is zero whatever the input."""
    found: list[bool] = []
    for step in architecture.steps:
        before = [found[i] for i in step.inputs]
        if not before:
            found.append(False)
        elif step.is_kernel or step.index in zero:
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
