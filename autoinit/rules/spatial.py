"""Positions: a call's spatial axes, wherever its layer has the channels, and their shapes."""

from __future__ import annotations

import math
from typing import Any

from autoinit.graph.model_graph import Call, Value
from autoinit.signals.signal import Signal


def spatial_sizes(value: Value, layer: Any) -> tuple[int, ...]:
    """Sizes of a tensor's spatial axes."""
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return tuple(int(size or 1) for size in (value.shape[1:-1] if last else value.shape[2:]))


def at_spatial_axes(call: Call, signal: Signal) -> Signal:
    """The signal of a call's input along its spatial axes; elsewhere channels come last."""
    return signal.arrange(spatial_sizes(call.inputs[0], call.layer))


def reshaped(signal: Signal, before: Value, after: Value) -> Signal:
    """The same entries in row-major order, in another shape."""
    if math.prod(before.sample) != math.prod(after.sample) or before.rows != after.rows:
        return signal.arrange(after.positions)  # entries move to or from the batch axis
    return signal.reshape(before.sample, after.sample)
