"""Moments of a tensor, computed where it lies.

A float32 tensor may hold entries of 1e-38 or 1e+38, whose squares no float32 can hold. On an
accelerator entries are centred and divided by the largest, so that only the scale, kept apart,
is extreme; on a CPU the tensor is viewed as a NumPy array, which sums it several times faster than
the framework's own operations do, and double precision takes over where single would not do.
"""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from keras import ops
from keras.backend import is_float_dtype
from numpy.typing import NDArray

from autoinit.arrays import as_array
from probes import correlations, distributions
from probes.correlations import Correlations, Squares
from probes.distributions import ALL_DEAD, NO_SHAPE, Shape, merged

# Entries summed in single precision before double takes over. Short enough, too, for the dot
# products to stay in this thread: BLAS's own threads wait in a loop and starve the framework's.
_ROW = 4096
_PART = 32 * _ROW  # entries that stay in a core's cache while they are summed
_ONES = np.ones(_ROW, np.float32)
_SHAPE = 6  # numbers of a distribution's shape
Bounds = tuple[float, float] | None
_SAFE = (1e-12, 1e12)  # largest absolute values whose squares single precision sums well


@dataclass(frozen=True)
class Moments:
    """Figures of all entries of a tensor; moments and extremes are those of the finite ones.

    Attributes:
        count: number of entries.
        mean, variance: NaN where no entry is finite.
        minimum, maximum: likewise.
        zero_fraction: share of entries equal to zero.
        finite_fraction: share of entries that are finite.
        sample_correlation: of one channel in two samples at one position: at 1 the network no
            longer tells inputs apart. None for fewer than two samples or channels, for whole
            numbers, and where entries are all the same or not all finite.
        position_correlation: of one channel at two positions of one sample, averaged over pairs.
            None, too, where there is one position only.
        shape: of the distribution; of nothing that correlations are not known of.
    """

    count: int
    mean: float
    variance: float
    minimum: float
    maximum: float
    zero_fraction: float
    finite_fraction: float
    sample_correlation: float | None = None
    position_correlation: float | None = None
    shape: Shape = NO_SHAPE

    def merge(self, other: Moments) -> Moments:
        """Figures of both tensors' entries together (Chan, Golub & LeVeque 1979).

        Correlations are averaged: what the samples of one have in common with those of the other
        is not known, and in training mode they went through apart.
        """
        if not self.finite_fraction * self.count:
            left, right = other, self
        else:
            left, right = self, other
        count = self.count + other.count
        share = [part.count / count for part in (left, right)]
        zero = sum(s * part.zero_fraction for s, part in zip(share, (left, right), strict=True))
        finite = sum(s * part.finite_fraction for s, part in zip(share, (left, right), strict=True))
        if not right.finite_fraction:
            return Moments(
                count, left.mean, left.variance, left.minimum, left.maximum, zero, finite
            )
        pair = (left.count, left.shape), (right.count, right.shape)
        weight = share[1] * right.finite_fraction / finite
        difference = right.mean - left.mean
        return Moments(
            count,
            left.mean + weight * difference,
            (1 - weight) * left.variance
            + weight * right.variance
            + weight * (1 - weight) * difference**2,
            min(left.minimum, right.minimum),
            max(left.maximum, right.maximum),
            zero,
            finite,
            *_averages(left, right),
            merged(*pair),
        )


def _averages(left: Moments, right: Moments) -> Correlations:
    if left.finite_fraction < 1.0 or right.finite_fraction < 1.0:
        return Correlations()
    found = []
    for name in ("sample_correlation", "position_correlation"):
        pairs = [(part.count, getattr(part, name)) for part in (left, right)]
        known = [(count, value) for count, value in pairs if value is not None]
        total = sum(count for count, _ in known)
        found.append(sum(count * value for count, value in known) / total if known else None)
    return Correlations(*found)


class HostRecorder:
    """Moments of tensors in the CPU's memory, summed while the framework computes the next one.

    Two threads share the work: much of a small operation is the framework's own Python, which
    leaves a core idle. No more than one tensor waits, so that none is kept alive for long.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._moments: list[Future[Moments]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def record(self, tensor: Any, bounds: Bounds = None) -> None:
        """Take a tensor's moments.

        Args:
            tensor: of any shape.
            bounds: of the activation that gave it, where it has some.
        """
        if self._moments:
            self._moments[-1].result()
        self._moments.append(self._thread.submit(_of_tensor, tensor, bounds))

    def results(self) -> list[Moments]:
        """Of all tensors, in the order of recording."""
        return [moments.result() for moments in self._moments]


class DeviceRecorder:
    """Moments of tensors on an accelerator: a few numbers each, fetched in one transfer."""

    def __init__(self) -> None:
        self._shapes: list[tuple[int, ...]] = []
        self._summaries: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._summaries.clear()

    def record(self, tensor: Any, bounds: Bounds = None) -> None:
        """Take a tensor's moments, as `HostRecorder` does."""
        shape = _shape(tensor)
        self._shapes.append(shape)
        self._summaries.append(_summary(ops.reshape(tensor, shape), bounds))

    def results(self) -> list[Moments]:
        """Of all tensors, in the order of recording."""
        fetched = ops.convert_to_numpy(ops.stack(self._summaries))
        return [
            _from_summary(shape, np.asarray(summary, np.float64))
            for shape, summary in zip(self._shapes, fetched, strict=True)
        ]


Recorder = HostRecorder | DeviceRecorder


def _shape(tensor: Any) -> tuple[int, ...]:
    """A tensor's own shape; whole numbers, such as indices, are one row of entries."""
    shape = tuple(tensor.shape)
    return shape if is_float_dtype(tensor.dtype) else (math.prod(shape),)


def _of_tensor(tensor: Any, bounds: Bounds) -> Moments:
    values = as_array(tensor).astype(np.float32, copy=False).reshape(_shape(tensor))
    return of_array(values, bounds)


def of_array(values: NDArray[np.float32], bounds: Bounds = None) -> Moments:
    """Moments of a single-precision array: samples, positions, channels.

    Args:
        values: the array.
        bounds: of the activation that gave it, where it has some.
    """
    flat = values.reshape(-1)
    count = flat.size
    if not count:
        return Moments(0, math.nan, math.nan, math.nan, math.nan, 0.0, 0.0)
    sums = _sums(flat)
    zero_fraction = sums.zeros / count
    largest = max(-sums.minimum, sums.maximum)
    if not math.isfinite(largest):
        return _of_unruly(flat, zero_fraction)
    mean = sums.total / count
    variance = sums.square / count - mean * mean
    safe = _SAFE[0] < largest < _SAFE[1]
    if not (safe and variance > 1e-3 * mean * mean) and largest > 0.0:
        mean = float(flat.mean(dtype=np.float64))
        variance = _centred_square(flat, mean) / count
    found, shape = Correlations(), NO_SHAPE
    taken = correlations.enough(values.shape)
    if taken and variance > 0.0:
        few = values[: taken[0]].reshape(taken)
        squares = correlations.on_host(few if safe else few.astype(np.float64))
        found = correlations.solve(taken, variance, squares)
        shape = distributions.on_host(values, few, mean, variance, bounds)
    elif taken and largest == 0.0:
        shape = ALL_DEAD
    return Moments(
        count, mean, variance, sums.minimum, sums.maximum, zero_fraction, 1.0, *found, shape
    )


class _Sums(NamedTuple):
    zeros: int
    minimum: float  # NaN if any entry is
    maximum: float
    total: float
    square: float


def _sums(flat: NDArray[np.float32]) -> _Sums:
    """Sums over an array: of rows in single, of their sums in double precision.

    Part by part, so that all but the first look at a part find it in the core's cache.
    """
    whole = flat.size - flat.size % _ROW
    rows, rest = flat[:whole].reshape(-1, _ROW), flat[whole:]
    totals, squares = np.empty((2, len(rows)), np.float32)
    is_zero = np.empty(min(_PART, whole), np.bool_)
    extremes: list[np.float32] = []
    zeros = np.count_nonzero(rest == 0)
    with np.errstate(all="ignore"):  # what overflows here is summed again in double precision
        for start in range(0, whole, _PART):
            part = flat[start : min(start + _PART, whole)]
            first, last = start // _ROW, (start + part.size) // _ROW
            np.vecdot(rows[first:last], _ONES, out=totals[first:last])
            np.vecdot(rows[first:last], rows[first:last], out=squares[first:last])
            extremes += (np.minimum.reduce(part), np.maximum.reduce(part))
            zeros += np.count_nonzero(np.equal(part, 0, out=is_zero[: part.size]))
        if rest.size:
            extremes += (rest.min(), rest.max())
        left = rest.astype(np.float64)
        total = totals.sum(dtype=np.float64) + left.sum()
        square = squares.sum(dtype=np.float64) + left @ left
    # NumPy's extremes, not Python's, which lose a NaN.
    return _Sums(
        int(zeros), float(np.min(extremes)), float(np.max(extremes)), float(total), float(square)
    )


def _centred_square(flat: NDArray[np.float32], mean: float) -> float:
    total = 0.0
    for start in range(0, flat.size, _PART):
        part = flat[start : start + _PART].astype(np.float64) - mean
        total += float(np.square(part, out=part).sum())
    return total


def _of_unruly(flat: NDArray[np.float32], zero_fraction: float) -> Moments:
    finite = flat[np.isfinite(flat)]
    share = finite.size / flat.size
    if not finite.size:
        return Moments(flat.size, math.nan, math.nan, math.nan, math.nan, zero_fraction, 0.0)
    part = of_array(finite)
    return Moments(
        flat.size, part.mean, part.variance, part.minimum, part.maximum, zero_fraction, share
    )


def _summary(tensor: Any, bounds: Bounds) -> Any:
    """[minimum, maximum, scale, mean, variance, zeros, finite, squares…, shape…], on the device.

    Mean, variance and squares are of entries divided by `scale`, the largest absolute value; zeros
    and finite are shares.
    """
    x = ops.reshape(ops.cast(tensor, "float32"), (-1,))
    finite = ops.isfinite(x)
    share = ops.mean(ops.cast(finite, "float32"))
    known = ops.where(finite, x, 0.0)
    number = ops.maximum(share, 1e-30)
    scale = ops.max(ops.abs(known))
    scale = ops.where(scale > 0, scale, 1.0)
    scaled = known / scale
    mean = ops.mean(scaled) / number
    deviation = ops.where(finite, scaled - mean, 0.0)
    # What rounding left of the mean is taken out of the variance again.
    left = ops.mean(deviation) / number
    variance = ops.mean(ops.square(deviation)) / number - ops.square(left)
    infinite = ops.full_like(x, float("inf"))
    squares = [ops.zeros(())] * len(Squares._fields)
    shape = [ops.zeros(())] * _SHAPE
    taken = correlations.enough(tuple(tensor.shape))
    if taken:
        few = ops.reshape(deviation[: math.prod(taken)], taken)
        squares = correlations.on_device(few)
        around = None if bounds is None else tuple(bound / scale - mean for bound in bounds)
        shape = distributions.on_device(tensor, few, left, variance, around)
    return ops.stack([
        ops.min(ops.where(finite, x, infinite)), ops.max(ops.where(finite, x, -infinite)),
        scale, mean + left, variance, ops.mean(ops.cast(x == 0, "float32")), share, *squares,
        *shape,
    ])  # fmt: skip


def _from_summary(shape: tuple[int, ...], summary: NDArray[np.float64]) -> Moments:
    minimum, maximum, scale, mean, variance, zeros, finite, *rest = summary.tolist()
    squares, numbers = rest[:-_SHAPE], rest[-_SHAPE:]
    count = math.prod(shape)
    if not finite:
        return Moments(count, math.nan, math.nan, math.nan, math.nan, zeros, 0.0)
    found, distribution = Correlations(), NO_SHAPE
    taken = correlations.enough(shape)
    if taken and finite == 1.0 and variance > 0.0:
        found = correlations.solve(taken, variance, Squares(*squares))
        numbers[1:4] = [each * scale * scale for each in numbers[1:4]]
        distribution = distributions.from_device(numbers, math.prod(taken[:2]))
    elif taken and zeros == 1.0:
        distribution = ALL_DEAD
    return Moments(
        count, mean * scale, variance * scale * scale, minimum, maximum, zeros, finite, *found,
        distribution,
    )  # fmt: skip
