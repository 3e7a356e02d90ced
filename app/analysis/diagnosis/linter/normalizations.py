"""Normalizations: of what, over how many entries, and what stands before them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from app.analysis.diagnosis.fault import Consequence, Fault, found_by, layers_have
from app.analysis.diagnosis.linter.architecture import Architecture, LayerStep


def of_normalizations(architecture: Architecture) -> Iterator[Fault]:
    """All faults of normalizations that a configuration shows."""
    yield from found_by((_over_one_entry, _still, _after_bias_or_dropout), architecture)


def _over_one_entry(architecture: Architecture) -> Iterator[Fault]:
    """One number less itself is 0, whatever the input was.

    Where a way leads round it, the others learn all the same.
    """
    found = [step for step in architecture.steps if _entries(step) == 1]
    if found:
        step = found[0]
        yield Fault(
            "constant_output",
            step.path,
            step.class_name,
            f"{step.path!r} normalizes over a single entry: taken from itself it is 0, for every "
            "input.",
            "drop_normalization",
            Consequence.NOTE if _goes_round(architecture, found) else Consequence.FATAL,
        )


def _entries(step: LayerStep) -> int | None:
    """Over how many entries a step takes a mean away; None where nothing tells."""
    if step.class_name not in ("LayerNormalization", "GroupNormalization"):
        return None
    built = step.entry.get("build_config")
    shape = (built.get("input_shape") if isinstance(built, dict) else None) or [None]
    axis = step.config.get("axis", -1)
    if step.class_name == "LayerNormalization":
        axes = axis if isinstance(axis, list | tuple) else [axis]
        return _product([step.channels_in] if list(axes) == [-1] else [shape[i] for i in axes])
    groups = step.config.get("groups", 32)
    others = _product(n for i, n in enumerate(shape) if i not in (0, axis % len(shape)))
    return None if others is None else others * (1 if groups == -1 else shape[axis] // groups)


def _product(sizes: Iterable[int | None]) -> int | None:
    known = list(sizes)
    return None if None in known else math.prod(size or 0 for size in known)


def _goes_round(architecture: Architecture, found: list[LayerStep]) -> bool:
    """Whether an input reaches an output by none of some steps."""
    cut = {step.index for step in found}
    reached: set[int] = set()
    for step in architecture.steps:
        if step.index in cut:
            continue
        if step.class_name == "InputLayer" or not reached.isdisjoint(step.inputs):
            reached.add(step.index)
    return not reached.isdisjoint(architecture.outputs)


def _still(architecture: Architecture) -> Iterator[Fault]:
    """Moving statistics that never move: inference goes by those that they begin with."""
    found = [
        step
        for step in architecture.steps
        if step.class_name in ("BatchNormalization", "SyncBatchNormalization")
        and isinstance(step.config.get("momentum"), int | float)
        and step.config["momentum"] >= 1.0
        and step.trainable
    ]
    if found:
        yield Fault(
            "train_inference_mismatch",
            found[0].path,
            found[0].class_name,
            f"{layers_have(len(found))} moving statistics that never move, first "
            f"{found[0].path!r}: momentum is the share of the old ones that is kept, and 1 keeps "
            "all of it. In inference it is another network.",
            "lower_momentum",
        )


def _after_bias_or_dropout(architecture: Architecture) -> Iterator[Fault]:
    """A bias that batch normalization takes away again; dropout that shifts its statistics."""
    biased, dropped = [], []
    for step in architecture.steps:
        if step.class_name != "BatchNormalization" or not step.inputs:
            continue
        before = architecture.steps[step.inputs[0]]
        if before.is_kernel and before.config.get("use_bias", False):
            biased.append(before)
        if before.class_name == "Dropout" and before.config.get("rate"):
            dropped.append(before)
    if biased:
        yield Fault(
            "bias_before_normalization",
            biased[0].path,
            biased[0].class_name,
            f"{layers_have(len(biased))} a bias that the batch normalization behind takes away "
            f"again, first {biased[0].path!r}: use_bias=False saves it.",
            "none_needed",
            Consequence.NOTE,
        )
    if dropped:
        yield Fault(
            "dropout_before_normalization",
            dropped[0].path,
            dropped[0].class_name,
            f"Dropout stands before batch normalization at {dropped[0].path!r}: the statistics of "
            "training are not those of inference. Put it behind the last normalization.",
            "none_needed",
            Consequence.NOTE,
        )
