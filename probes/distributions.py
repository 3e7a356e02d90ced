"""The shape of a tensor's distribution: its tails, its channels, its dead and saturated entries.

Taken from a few samples of N (positions P, channels C), as correlations are: each of these figures
is a mean over many entries, and one more look at all of them would cost as much as the moments do.
Dead channels are looked up in all samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from numpy.typing import NDArray

# Within this share of its range an activation counts as saturated.
_NEAR = 0.01
_ENTRIES = 2**18  # at most so many are looked at, positions apart
_FAR = 1e4  # where a bounded activation has reached its bounds


class Shape(NamedTuple):
    """None where a tensor is too small to tell.

    Attributes:
        kurtosis: E(x − m)⁴/v², 3 for a Gaussian; large where few entries carry the signal.
        channel_variances: the smallest, the median and the largest variance of a channel, each
            around its own mean.
        dead_fraction: share of channels that are zero at every position of every sample.
        saturated_fraction: of a bounded activation, share of entries that lie within 1 % of its
            range from either bound.
    """

    kurtosis: float | None = None
    channel_variances: tuple[float, float, float] | None = None
    dead_fraction: float | None = None
    saturated_fraction: float | None = None


NO_SHAPE = Shape()
ALL_DEAD = Shape(dead_fraction=1.0)


def on_host(
    values: NDArray[Any], few: NDArray[Any], mean: float, variance: float,
    bounds: tuple[float, float] | None = None,
) -> Shape:  # fmt: skip
    """Of a tensor that is finite and not constant.

    Args:
        values: the tensor, channels last.
        few: some samples of it: (samples, positions, channels).
        mean, variance: of the tensor.
        bounds: of the activation that gave it.
    """
    channels = few.shape[-1]
    few = few[:, :: max(few.size // _ENTRIES, 1)]
    table = few.reshape(-1, channels).astype(np.float64)
    squares = np.square(table - mean)
    dead = np.flatnonzero(~few.reshape(-1, channels).any(0))
    if dead.size:
        dead = dead[~values.reshape(-1, channels)[:, dead].any(0)]
    each = np.quantile(table.var(0), [0.0, 0.5, 1.0]) if len(table) > 1 else None
    return Shape(
        float(np.square(squares).mean() / variance**2),
        None if each is None else (float(each[0]), float(each[1]), float(each[2])),
        dead.size / channels,
        None if bounds is None else _saturated(table, *bounds),
    )


def on_device(
    tensor: Any, few: Any, mean: Any, variance: Any, bounds: tuple[float, float] | None = None
) -> list[Any]:
    """The same by Keras's own operations, one number each: six, NaN for what is not known."""
    channels = few.shape[-1]
    table = ops.reshape(few, (-1, channels))
    each = ops.var(table, axis=0)
    kurtosis = ops.mean(ops.square(ops.square(table - mean))) / ops.square(variance)
    dead = ops.all(ops.equal(ops.reshape(tensor, (-1, channels)), 0), axis=0)
    saturated = ops.full((), math.nan)
    if bounds is not None:
        margin = _NEAR * (bounds[1] - bounds[0])
        near = ops.logical_or(table < bounds[0] + margin, table > bounds[1] - margin)
        saturated = ops.mean(ops.cast(near, "float32"))
    return [
        kurtosis, ops.min(each), ops.median(each), ops.max(each),
        ops.mean(ops.cast(dead, "float32")), saturated,
    ]  # fmt: skip


def from_device(numbers: list[float], rows: int) -> Shape:
    """What `on_device` fetched, of a table of so many rows."""
    kurtosis, low, middle, high, dead, saturated = numbers
    each = (low, middle, high) if rows > 1 else None
    return Shape(kurtosis, each, dead, None if math.isnan(saturated) else saturated)


def _saturated(table: NDArray[Any], low: float, high: float) -> float:
    margin = _NEAR * (high - low)
    return float(((table < low + margin) | (table > high - margin)).mean())


def bounds_of(function: Callable[[Any], Any]) -> tuple[float, float] | None:
    """Bounds of an activation that saturates on both sides, such as tanh; None for others."""
    try:
        far = ops.convert_to_tensor(np.array([[-_FAR], [-2 * _FAR], [2 * _FAR], [_FAR]], "float32"))
        values = ops.convert_to_numpy(function(far)).astype(np.float64).ravel()
    except Exception:  # an activation's own code, which may want another shape
        return None
    settled = values.shape == (4,) and values[0] == values[1] and values[2] == values[3]
    if not settled or not np.isfinite(values).all() or values[0] == values[3]:
        return None
    return min(values[0], values[3]), max(values[0], values[3])


def merged(first: tuple[int, Shape], second: tuple[int, Shape]) -> Shape:
    """Of two tensors together, by their numbers of entries; extremes of the channels are kept.

    A channel is dead only where it is so in both: the smaller share bounds that from above.
    """

    def mean(name: str) -> float | None:
        pairs = [(n, getattr(shape, name)) for n, shape in (first, second)]
        known = [(n, value) for n, value in pairs if value is not None]
        total = sum(n for n, _ in known)
        return sum(n * value for n, value in known) / total if total else None

    found = [s.channel_variances for _, s in (first, second) if s.channel_variances is not None]
    dead = [s.dead_fraction for _, s in (first, second) if s.dead_fraction is not None]
    low, middle, high = zip(*found, strict=True) if found else ((), (), ())
    return Shape(
        mean("kurtosis"),
        (min(low), math.fsum(middle) / len(middle), max(high)) if found else None,
        min(dead) if dead else None,
        mean("saturated_fraction"),
    )
