"""Regularizers so strong that kernels shrink to nothing, whatever there is to learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from app.analysis.diagnosis.fault import Consequence, Fault, layers_have
from app.analysis.diagnosis.linter.architecture import NORMALIZERS, Architecture, LayerStep
from app.analysis.diagnosis.linter.compiled.losses import BINARY, CATEGORICAL, losses_of

# Classifiers of digits with two to four penalized kernels (dense ones of 64 and 512 units, and
# convolutions), by Adam and by SGD with momentum: with L2 of 0.1 they were right for 84 to 93 % of
# the digits, with 0.3 for 8 to 79 %, with 1 for 8 %, which is chance; with L1 of 0.01 for 90 to
# 93 %, with 0.03 for 8 %. Where one kernel alone was penalized they learnt all the same.
_STRONG = {"l2": 0.3, "l1": 0.03}
_HOPELESS = {"l2": 1.0, "l1": 0.03}
# Of what two layers of 64 ReLUs give: with L1 of 0.03 and L2 of 0.1 98 and 95 % were right beyond
# chance, with L1 of 0.1 11 %, with L2 of 0.3 and 1 31 and 2 %; with one such layer of two 98 %.
_STRONG_OF_ACTIVITY = {"l2": 0.3, "l1": 0.1}
_AT_LEAST = 2


def strong_regularizers(
    architecture: Architecture, compiled: Mapping[str, Any] | None
) -> Iterator[Fault]:
    """Penalties on kernels beside which the loss of a classifier does not count.

    Not where a normalization follows, to which the size of a kernel is nothing. The size of other
    losses is that of the targets: regressions whose targets deviate by 0.7 gained 71 to 78 % with
    L2 of 0.03, up to 31 % with 0.1, nothing from 0.3 on (squared and absolute errors, Huber's);
    with targets ten times as large 88 % with 1, and nothing with 10. There it is a note.
    """
    losses = [name for name, _ in losses_of(compiled, architecture).values()]
    if not losses:
        return
    of_classes = all(name in CATEGORICAL | BINARY for name in losses)
    if not of_classes:
        for fault in _of_kernels(architecture, _FOR_TARGETS):
            yield replace(fault, consequence=Consequence.NOTE)
        return
    yield from _of_kernels(architecture)
    active = [
        (step, kind, strength)
        for step in architecture.kernels()
        for kind, strength in _penalties(step, "activity_regularizer").items()
        if strength >= _STRONG_OF_ACTIVITY[kind]
    ]
    if len(active) >= _AT_LEAST:
        step, kind, strength = active[0]
        yield Fault(
            "regularizer",
            step.path,
            step.class_name,
            f"{layers_have(len(active))} a penalty on what they give as strong as that of "
            f"{step.path!r}, {kind.upper()} of {strength:g}: the loss is least where that is 0.",
            "weaken_regularizer",
        )


# Targets about 1 in size, of which nothing is stored.
_FOR_TARGETS = " Unless targets are far larger than 1."


def _of_kernels(architecture: Architecture, unless: str = "") -> Iterator[Fault]:
    """Penalties on kernels themselves."""
    found = [
        (step, kind, strength)
        for step in architecture.kernels()
        if not _is_normalized(architecture, step)
        for kind, strength in _penalties(step, _of_kernel(step)).items()
        if strength >= _STRONG[kind]
    ]
    if len({step.index for step, _, _ in found}) < _AT_LEAST:
        return
    step, kind, strength = max(found, key=lambda each: each[2] / _STRONG[each[1]])
    yield Fault(
        "regularizer",
        step.path,
        step.class_name,
        f"{layers_have(len(found))} kernels with a penalty as strong as that of {step.path!r}, "
        f"{kind.upper()} of {strength:g}: it draws them to 0 faster than the loss moves them."
        + unless,
        "weaken_regularizer",
        Consequence.FATAL if strength >= _HOPELESS[kind] else Consequence.SERIOUS,
    )


def _of_kernel(step: LayerStep) -> str:
    return "depthwise_regularizer" if step.is_depthwise else "kernel_regularizer"


def _penalties(step: LayerStep, name: str) -> dict[str, float]:
    """Strengths of a penalty, by `l1` and `l2`."""
    entry = step.config.get(name)
    config = entry.get("config") if isinstance(entry, Mapping) else None
    if not isinstance(config, Mapping):
        return {}
    return {
        kind: float(value)
        for kind in _STRONG
        if isinstance(value := config.get(kind), int | float) and not isinstance(value, bool)
    }


def _is_normalized(architecture: Architecture, step: LayerStep) -> bool:
    readers = [architecture.steps[index] for index in architecture.readers[step.index]]
    return bool(readers) and all(reader.class_name in NORMALIZERS for reader in readers)
