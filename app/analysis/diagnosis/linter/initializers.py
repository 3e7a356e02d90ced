"""The initializers of a configuration: what they are called, and the variance that they draw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from app.analysis.diagnosis.linter.architecture import LayerStep

_TRUNCATED = 0.7737  # variance of a standard normal cut off at 2


def initializer_of(
    step: LayerStep, name: str = "kernel_initializer"
) -> tuple[str, Mapping[str, Any]]:
    """Name, lower case without underscores, and arguments of an initializer."""
    entry = step.config.get(name)
    config: Any = {}
    if isinstance(entry, Mapping):
        config, entry = entry.get("config") or {}, entry.get("class_name")
    return str(entry or "").lower().replace("_", ""), config if isinstance(config, Mapping) else {}


def own_initializer(step: LayerStep) -> tuple[str, Mapping[str, Any]]:
    """The initializer of a step's kernel: name and arguments."""
    name = "depthwise_initializer" if step.is_depthwise else "kernel_initializer"
    return initializer_of(step, name)


def initial_variance(
    initializer: tuple[str, Mapping[str, Any]], shape: tuple[int, ...]
) -> float | None:
    """Mean square of the entries that an initializer draws; None for one that is not known."""
    name, config = initializer
    taps = math.prod(shape[:-2])
    fan_in, fan_out = taps * shape[-2], taps * shape[-1]

    def given(key: str, default: float) -> float:
        value = config.get(key, default)
        return float(value) if isinstance(value, int | float) else default

    if name in ("randomnormal", "normal"):
        return given("stddev", 0.05) ** 2 + given("mean", 0.0) ** 2
    if name == "truncatednormal":
        return _TRUNCATED * given("stddev", 0.05) ** 2 + given("mean", 0.0) ** 2
    if name in ("randomuniform", "uniform"):
        low, high = given("minval", -0.05), given("maxval", 0.05)
        return (high - low) ** 2 / 12 + ((high + low) / 2) ** 2
    if name in ("orthogonal", "orthogonalinitializer"):
        return given("gain", 1.0) ** 2 / max(fan_in, shape[-1])
    scale, mode = {
        "glorotuniform": (1.0, "fan_avg"),
        "glorotnormal": (1.0, "fan_avg"),
        "heuniform": (2.0, "fan_in"),
        "henormal": (2.0, "fan_in"),
        "lecununiform": (1.0, "fan_in"),
        "lecunnormal": (1.0, "fan_in"),
        "variancescaling": (given("scale", 1.0), str(config.get("mode", "fan_in"))),
    }.get(name, (0.0, ""))
    fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    return scale / max(fans[mode], 1.0) if mode in fans else None


def counts_inputs(initializer: tuple[str, Mapping[str, Any]]) -> bool:
    """Whether an initializer goes by the number of inputs."""
    return initializer[0].startswith(("glorot", "he", "lecun", "variancescaling", "orthogonal"))
