"""What became of each variable of a model: enough to do it again, and to check that it was done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoinit.arrays import as_array, mean_and_deviation
from autoinit.errors import SettingsError
from autoinit.randomness import derived
from autoinit.rules.registry import KernelScale


def variables_as_data(
    model: Any,
    plans: Sequence[KernelScale],
    distribution: str,
    seed: int,
    kept: frozenset[int] = frozenset(),
) -> list[dict[str, Any]]:
    """One entry for each variable of a model whose kernels were drawn by these plans.

    Args:
        model: with the weights in place.
        plans: as `apply_plans` was given them.
        distribution: a key of `DISTRIBUTIONS`.
        seed: of all draws.
        kept: identities of variables that stayed as they were because their layers are frozen.

    Returns:
        For each variable its `variable` (path), `shape`, `dtype`, `status` (`drawn`, `set` to one
        number, `frozen` or `kept`), `mean`, `standard_deviation` and `sha256` (of its bytes, in C
        order, little endian). Of those that were drawn also the `call` that they were planned for,
        `fan_in`, `effective_fan_in`, `scale` (the standard deviation that was planned),
        `distribution` and `seed`.
    """
    planned = {id(plan.kernel.variable): (place, plan) for place, plan in enumerate(plans)}
    entries = []
    for variable in model.weights:
        status = "frozen" if id(variable) in kept else "kept"
        how: dict[str, Any] = {}
        if id(variable) in planned:
            place, plan = planned[id(variable)]
            kernel = plan.kernel
            status = "set" if kernel.constant else "drawn"
            how = {
                "call": plan.path,
                "fan_in": kernel.fan_in,
                "effective_fan_in": kernel.drawn(centered=False).power,
                "scale": plan.standard_deviation,
            }
            if status == "drawn":
                how |= {"distribution": distribution, "seed": derived(seed, place)}
        entries.append({**_of(variable), "status": status, **how})
    return entries


def differing(manifest: Mapping[str, Any], model: Any) -> list[str]:
    """The variables of a model that are not what a manifest says, by their paths.

    Args:
        manifest: with `variables`, as `variables_as_data` gives them.
        model: with the variables in the same order.

    Raises:
        ValueError: where the model has another number of variables.

    Example:
        >>> import keras
        >>> from autoinit.manifest import differing
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> other = {"variables": [{"variable": "dense/kernel", "sha256": "0" * 64}]}
        >>> differing(other, model)
        ['dense/kernel']
    """
    listed = manifest["variables"]
    if len(listed) != len(model.weights):
        raise SettingsError(
            f"The manifest lists {len(listed)} variables, the model has {len(model.weights)}: they "
            "do not belong together."
        )
    return [
        entry["variable"]
        for entry, variable in zip(listed, model.weights, strict=True)
        if entry["sha256"] != _digest(as_array(variable))
    ]


def _of(variable: Any) -> dict[str, Any]:
    values = as_array(variable)
    known = values.size and values.dtype.kind in "fiu"
    mean, deviation = mean_and_deviation(values) if known else (None, None)
    return {
        "variable": variable.path,
        "shape": list(values.shape),
        "dtype": str(values.dtype),
        "mean": _figure(mean),
        "standard_deviation": _figure(deviation),
        "sha256": _digest(values),
    }


def _digest(values: Any) -> str:
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(np.ascontiguousarray(little).tobytes()).hexdigest()


def _figure(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
