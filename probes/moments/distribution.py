"""The shape of a tensor's distribution: its tails, its channels, its dead and saturated entries.

Taken from a few samples of N (positions P, channels C), as correlations are: each of these figures
is a mean over many entries, and one more look at all of them would cost as much as the moments do.
Whether channels are dead is looked up in all samples, by the recorders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from numpy.typing import NDArray

# Within this share of its range from a bound an activation counts as saturated: there the slope of
# tanh and sigmoid is below a tenth of its largest.
_NEAR = (1 - math.sqrt(0.9)) / 2
_BINS, _BINNED = 40, 2**13  # of a histogram: bins, and entries that are counted
_ENTRIES = 2**17  # at most so many are looked at, positions apart
_LANES = 512  # entries that are added at once
_FAR = 1e4  # where a bounded activation has reached its bounds


class Histogram(NamedTuple):
    """Counts of entries in equal bins between `low` and `high`, the smallest and the largest."""

    low: float
    high: float
    counts: tuple[int, ...]


class Distribution(NamedTuple):
    """None where a tensor is too small to tell.

    Attributes:
        kurtosis: E(x − m)⁴/v², 3 for a Gaussian; large where few entries carry the signal.
        channel_variances: the smallest, the median and the largest variance of a channel, each
            around its own mean.
        dead_fraction: share of channels that are zero at every position of every sample.
        saturated_fraction: of a bounded activation, share of entries that lie within 2.6 % of
            its range from either bound.
        histogram: of some entries; on the CPU only.
    """

    kurtosis: float | None = None
    channel_variances: tuple[float, float, float] | None = None
    dead_fraction: float | None = None
    saturated_fraction: float | None = None
    histogram: Histogram | None = None


UNKNOWN = Distribution()


def on_host(
    few: NDArray[Any], mean: float, variance: float, bounds: tuple[float, float] | None = None
) -> Distribution:
    """Of a few samples that are finite and not constant; dead channels are another's business.

    Args:
        few: (samples, positions, channels).
        mean, variance: of these.
        bounds: of the activation that gave them.
    """
    few = few[:, :: max(few.size // _ENTRIES, 1)]
    table = few.reshape(-1, few.shape[-1])
    # Divided by the deviation, so that single precision holds the fourth powers too.
    deviation = math.sqrt(variance)
    scaled = np.subtract(table, mean, dtype=few.dtype)
    scaled /= deviation
    means = _over_rows(scaled)
    squares = np.square(scaled)
    of_channels = (_over_rows(squares) - means**2) * variance
    # The difference of what single precision added says nothing of those that hardly vary.
    still = np.flatnonzero(of_channels < 1e-4 * variance)
    of_channels[still] = table[:, still].var(0, dtype=np.float64)
    ordered = np.sort(of_channels).tolist()
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return Distribution(
        float(np.add.reduce(np.square(squares), axis=None)) / squares.size,
        (ordered[0], middle, ordered[-1]),
        None,
        None if bounds is None else _saturated(table, *bounds),
        histogram_of(table),
    )


def histogram_of(values: NDArray[Any]) -> Histogram:
    """Of some entries of (…, channels), at equal distances; they are finite."""
    flat = values.reshape(-1)
    step = max(flat.size // _BINNED, 1)
    while math.gcd(step, values.shape[-1]) > 1:  # or some channels would never be counted
        step += 1
    entries = flat[::step].astype(np.float64)
    low, high = float(entries.min()), float(entries.max())
    # What is all the same but for entries that are passed over has one bin.
    places = (entries - low) * (_BINS / (high - low)) if high > low else np.zeros_like(entries)
    counts = np.bincount(np.minimum(places.astype(np.intp), _BINS - 1), minlength=_BINS)
    return Histogram(low, high, tuple(counts.tolist()))


def _over_rows(table: NDArray[Any]) -> NDArray[np.float64]:
    """Means of the columns, several rows at once: NumPy is slow on short ones."""
    rows, columns = table.shape
    together = max(min(_LANES // columns, math.isqrt(rows)), 1)
    whole = rows - rows % together
    lanes = np.add.reduce(table[:whole].reshape(-1, together * columns), axis=0)
    sums = lanes.reshape(together, columns).sum(0, dtype=np.float64)
    sums += table[whole:].sum(0, dtype=np.float64)
    return np.asarray(sums / rows)


def on_device(few: Any, variance: Any, bounds: Sequence[Any] | None = None) -> list[Any]:
    """The same by Keras's own operations, one number each: five, NaN for what is not known.

    Args:
        few: (samples, positions, channels), around a mean of 0.
        variance: of these.
        bounds: of the activation that gave them, on the same scale.
    """
    table = ops.reshape(few, (-1, few.shape[-1]))
    each = ops.var(table, axis=0)
    kurtosis = ops.mean(ops.square(ops.square(few))) / ops.square(variance)
    saturated = ops.full((), math.nan)
    if bounds is not None:
        margin = _NEAR * (bounds[1] - bounds[0])
        near = ops.logical_or(few < bounds[0] + margin, few > bounds[1] - margin)
        saturated = ops.mean(ops.cast(near, "float32"))
    return [kurtosis, ops.min(each), ops.median(each), ops.max(each), saturated]


def from_device(numbers: Sequence[float], scale: float) -> Distribution:
    """What `on_device` gave for entries that had been divided by a scale."""
    kurtosis, *each, saturated = numbers
    low, middle, high = (variance * scale * scale for variance in each)
    return Distribution(
        kurtosis, (low, middle, high), None, None if math.isnan(saturated) else saturated
    )


def _saturated(table: NDArray[Any], low: float, high: float) -> float:
    margin = _NEAR * (high - low)
    return float(((table < low + margin) | (table > high - margin)).mean())


def bounds_of(function: Callable[[Any], Any]) -> tuple[float, float] | None:
    """Bounds of an activation that saturates on both sides, such as tanh; None for others."""
    try:
        # Two channels that are the same: Keras warns of a softmax over one.
        far = np.array([-_FAR, -2 * _FAR, 2 * _FAR, _FAR], np.float32)[:, None].repeat(2, axis=1)
        table = ops.convert_to_numpy(function(ops.convert_to_tensor(far))).astype(np.float64)
        values = table[:, 0] if table.shape == far.shape else np.empty(0)
    except Exception:  # an activation's own code, which may want another shape
        return None
    settled = values.shape == (4,) and values[0] == values[1] and values[2] == values[3]
    if not settled or not np.isfinite(values).all() or values[0] == values[3]:
        return None
    return min(values[0], values[3]), max(values[0], values[3])


def merged(first: tuple[int, Distribution], second: tuple[int, Distribution]) -> Distribution:
    """Of two tensors together, by their numbers of entries; extremes of the channels are kept.

    A channel is dead only where it is so in both: the smaller share bounds that from above.
    """

    def mean(name: str) -> float | None:
        return mean_of_known([(n, getattr(shape, name)) for n, shape in (first, second)])

    found = [s.channel_variances for _, s in (first, second) if s.channel_variances is not None]
    dead = [s.dead_fraction for _, s in (first, second) if s.dead_fraction is not None]
    low, middle, high = zip(*found, strict=True) if found else ((), (), ())
    return Distribution(
        mean("kurtosis"),
        (min(low), math.fsum(middle) / len(middle), max(high)) if found else None,
        min(dead) if dead else None,
        mean("saturated_fraction"),
    )


def mean_of_known(pairs: Iterable[tuple[int, float | None]]) -> float | None:
    """Mean of the values that are known, each weighted by a number of entries."""
    known = [(n, value) for n, value in pairs if value is not None]
    total = sum(n for n, _ in known)
    return sum(n * value for n, value in known) / total if total else None
