"""Weights that are equal: of the units of a layer, and of several layers."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.linter.architecture import (
    RECURRENT,
    Architecture,
    LayerStep,
    Weights,
    kernel_shape,
)
from app.analysis.diagnosis.linter.initializers import initializer_of, own_initializer

# Square matrices by these are the same whichever units change places.
_ALIKE = {"ones", "zeros", "constant", "identity", "identityinitializer"}


def symmetric_units(architecture: Architecture) -> Iterator[Fault]:
    """Kernels whose units all start with the same weights.

    They get the same gradient for ever where the kernels that read them are constant, too. Others
    tell them apart from the first step on: of classifiers of digits with two hidden layers, those
    with one constant kernel gained 92 to 99 %, those with two or three in a row 13 to 36 %.
    """
    found: list[LayerStep] = []
    single: list[LayerStep] = []  # of one unit there is none to be like, but it may weigh all alike
    for step in architecture.steps:
        if not (step.is_kernel or step.class_name in RECURRENT):
            continue
        if step.is_depthwise or not step.trainable:
            continue
        values = architecture.values(step)
        if step.channels == 1:
            alike = _inputs_alike(values) if "kernel" in values else _drawn_alike(step)
        else:
            alike = _units_alike(step, values) if "kernel" in values else _drawn_alike(step)
        if alike:
            (single if step.channels == 1 else found).append(step)
    for steps, series in _by_series(found):
        drawn = {} if series == "autoinit" else {step.index: step for step in (*steps, *single)}
        stuck = [step for step in steps if _read_alike(architecture, step, drawn)]
        step = (stuck or steps)[0]
        several = f", and so do those of {len(steps) - 1:,} more layers" if len(steps) > 1 else ""
        yield Fault(
            "symmetric_kernel",
            step.path,
            step.class_name,
            f"All units of {step.path!r} start with the same weights{several}: "
            + (
                "they get the same gradient, and stay one unit for ever."
                if stuck
                else "they begin as one unit, which only the kernels behind take apart."
            ),
            "redraw_random",
            # Two layers of gates that stay one unit each learn some 70 % all the same.
            Consequence.FATAL if any(each.is_kernel for each in stuck) else Consequence.SERIOUS,
            series,
            bearable=not stuck,
        )


def _read_alike(
    architecture: Architecture, step: LayerStep, symmetric: Mapping[int, LayerStep]
) -> bool:
    """Whether all kernels that read a step's units weigh them alike, and nothing else parts them.

    Args:
        symmetric: steps whose own units start alike, by index.
    """
    waiting, met = list(architecture.readers[step.index]), False
    if step.index in architecture.output_set:
        return False  # targets tell its units apart
    while waiting:
        after = architecture.steps[waiting.pop()]
        if after.is_kernel or after.class_name in RECURRENT:
            met = True
            if after.index not in symmetric or not _inputs_alike(architecture.values(after)):
                return False
        elif after.index in architecture.output_set or "Dropout" in after.class_name:
            return False
        else:
            waiting += architecture.readers[after.index]
    return met


def _inputs_alike(values: Weights) -> bool:
    """Whether a kernel's inputs could change places; so it is where a constant will be drawn."""
    kernel = values.get("kernel")
    return kernel is None or not np.ptp(kernel, axis=-2).any()


def _by_series(steps: Sequence[LayerStep]) -> Iterator[tuple[list[LayerStep], str | None]]:
    """Steps of the file's weights, and those that AutoInit leaves to their initializers."""
    recurrent = [step for step in steps if step.class_name in RECURRENT]
    yield from (
        (list(each), name) for each, name in ((steps, None), (recurrent, "autoinit")) if each
    )


def _drawn_alike(step: LayerStep) -> bool:
    """The same, of what the initializers will draw."""
    name, config = own_initializer(step)
    constant = name == "ones" or (name == "constant" and bool(config.get("value", 0.0)))
    if step.class_name not in RECURRENT:
        return constant
    return constant and initializer_of(step, "recurrent_initializer")[0] in _ALIKE


def _units_alike(step: LayerStep, values: Weights) -> bool:
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


def equal_kernels(architecture: Architecture) -> Iterator[Fault]:
    """Kernels of several layers that are equal, by one seed or one initializer object.

    Nine networks on digits (ReLU and tanh, 4 to 20 layers, convolutions of 6 and 11, with batch
    normalization and without) gained 86 to 100 %: what such kernels do to signals is measured.
    """
    groups: dict[Any, dict[str, LayerStep]] = defaultdict(dict)
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
            bearable=True,
        )
