"""Moments of a tensor, computed where it lies.

A float32 tensor may hold entries of 1e-38 or 1e+38, whose squares no float32 can hold. On an
accelerator entries are centred and divided by the largest, so that only the scale, kept apart,
is extreme; on a CPU the tensor is viewed as a NumPy array, which sums it several times faster than
the framework's own operations do, and double precision takes over where single would not do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from keras import ops
from keras.backend import backend, is_float_dtype
from numpy.typing import NDArray

from autoinit.arrays import as_array
from probes.moments import correlations, distributions
from probes.moments.correlations import Correlations, Squares
from probes.moments.distributions import NO_SHAPE, Shape, merged

# Entries summed in single precision before double takes over. Short enough, too, for the dot
# products to stay in this thread: BLAS's own threads wait in a loop and starve the framework's.
_ROW = 256
# Entries that stay in a core's cache while they are summed. So many rows of them that NumPy lets
# other threads run meanwhile, which for 500 and fewer it does not.
_PART = 512 * _ROW
_ONES = np.ones(_ROW, np.float32)
_ZERO = np.float32(0)
_BASIC = 7  # numbers of a tensor that `summarised` gives
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

        Correlations and the shape are averaged: what the samples of one have in common with those
        of the other is not known. A recorder that is given a `key` sees the samples themselves.
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
    """Moments of tensors in the CPU's memory, summed in a thread while the framework goes on.

    The framework leaves about half a core of two idle. One tensor is summed at a time, and a call's
    is done before the next call's is taken: that call mostly reads it, and would keep it anyway.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None
        self._figures: dict[Hashable, _OnHost] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def record(
        self, tensor: Any, bounds: Bounds = None, key: Hashable = None, *, last: bool = False
    ) -> None:
        """Take a tensor's moments.

        Args:
            tensor: of any shape, the samples first.
            bounds: of the activation that gave it, where it has some.
            key: tensors of one key are the batches of one, whose figures do not depend on how the
                samples were split. What needs few samples is taken from the first of them, over
                all batches where a tensor is small; where it is large, from the first batch, which
                must have 8 for that. None: a tensor of its own.
            last: whether no more batches of the key follow, so that nothing need be kept for them.
        """
        known = self._figures.setdefault(object() if key is None else key, _OnHost(bounds))
        values = as_array(tensor).astype(np.float32, copy=False).reshape(_shape(tensor))
        self._wait()
        self._pending = self._thread.submit(known.add, values, last or key is None)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def again(self, key: Hashable, of: Hashable) -> None:
        """A tensor whose figures are those of another, all batches of it."""
        self._figures[key] = self._figures[of]

    def results(self) -> list[Moments]:
        """Of all tensors or keys, in the order of their first recording."""
        self._wait()
        return [figures.moments() for figures in self._figures.values()]

    def by_key(self) -> dict[Hashable, Moments]:
        """The same by the keys."""
        return dict(zip(self._figures, self.results(), strict=True))


class DeviceRecorder:
    """Moments of tensors on an accelerator: a few numbers each, fetched in one transfer."""

    def __init__(self) -> None:
        self._figures: dict[Hashable, _OnDevice] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._figures.clear()

    def record(
        self, tensor: Any, bounds: Bounds = None, key: Hashable = None, *, last: bool = False
    ) -> None:
        """Take a tensor's moments, as `HostRecorder` does."""
        known = self._figures.setdefault(object() if key is None else key, _OnDevice(bounds))
        known.add(ops.reshape(tensor, _shape(tensor)), last or key is None)

    def record_summary(self, summary: Any, count: int, key: Hashable) -> None:
        """Take what `summarised` gave first for a tensor of so many entries, as one row of them."""
        self._figures.setdefault(key, _OnDevice(None)).add_summary(summary, count)

    def again(self, key: Hashable, of: Hashable) -> None:
        """A tensor whose figures are those of another, all batches of it."""
        self._figures[key] = self._figures[of]

    def results(self) -> list[Moments]:
        """Of all tensors or keys, in the order of their first recording."""
        different = {id(figures): figures for figures in self._figures.values()}
        pieces = {key: figures.numbers() for key, figures in different.items()}
        if not pieces:
            return []
        together = ops.concatenate([piece for each in pieces.values() for piece in each])
        fetched = np.asarray(ops.convert_to_numpy(together), np.float64)
        found, start = {}, 0
        for key, each in pieces.items():
            stop = start + sum(piece.shape[0] for piece in each)
            found[key] = different[key].moments(fetched[start:stop])
            start = stop
        return [found[id(figures)] for figures in self._figures.values()]

    def by_key(self) -> dict[Hashable, Moments]:
        """The same by the keys."""
        return dict(zip(self._figures, self.results(), strict=True))


Recorder = HostRecorder | DeviceRecorder


def _shape(tensor: Any) -> tuple[int, ...]:
    """A tensor's own shape; whole numbers, such as indices, are one row of entries."""
    shape = tuple(tensor.shape)
    return shape if is_float_dtype(tensor.dtype) else (math.prod(shape),)


class _OnHost:
    """The figures of one tensor, whose samples come batch by batch."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._moments: Moments | None = None
        self._samples = self._channels = 0
        self._silent: NDArray[np.intp] | None = None  # channels that were zero so far
        self._few: list[NDArray[np.float32]] = []
        self._looked: tuple[Correlations, Shape] | None = None

    def add(self, values: NDArray[np.float32], last: bool) -> None:
        """Take samples, positions, channels; `last` where no more follow."""
        flat = values.reshape(-1)
        wanted = correlations.enough(values.shape)
        few = 0
        if wanted and self._looked is None:
            few = min(len(values), wanted.samples - sum(map(len, self._few)))
        entries = few * math.prod(values.shape[1:])
        first = _sums(flat[:entries])
        sums = _joined([first, _sums(flat[entries:])])
        moments = _of_sums(flat, sums)
        self._moments = moments if self._moments is None else self._moments.merge(moments)
        if not wanted:
            return
        self._samples += len(values)
        self._channels = wanted.channels
        table = values.reshape(-1, wanted.channels)
        self._silent = _silent(table, self._silent) if sums.zeros else np.empty(0, np.intp)
        if not few:
            return
        shaped = values[:few].reshape(few, wanted.positions, wanted.channels)
        if not self._few and (last or few == wanted.samples or not wanted.collected):
            self._looked = _look(shaped, first, self._bounds)
        else:
            self._few.append(shaped.copy())
            if last or sum(map(len, self._few)) == wanted.samples:
                self._look_at_few()

    def moments(self) -> Moments:
        """Of all samples."""
        if self._moments is None:
            raise ValueError("No tensor was recorded.")
        if self._silent is None or self._samples < 2 or self._moments.finite_fraction < 1.0:
            return self._moments
        if self._looked is None:
            self._look_at_few()
        found, shape = self._looked or _NOT_LOOKED
        shape = shape._replace(dead_fraction=self._silent.size / self._channels)
        return _completed(self._moments, found, shape)

    def _look_at_few(self) -> None:
        few = np.concatenate(self._few)
        self._few.clear()
        self._looked = _look(few, _sums(few.reshape(-1)), self._bounds)


_NOT_LOOKED = Correlations(), NO_SHAPE


def _completed(moments: Moments, found: Correlations, shape: Shape) -> Moments:
    return replace(
        moments, sample_correlation=found.samples, position_correlation=found.positions,
        shape=shape,
    )  # fmt: skip


def of_array(values: NDArray[np.float32], bounds: Bounds = None) -> Moments:
    """Moments of a single-precision array: samples, positions, channels.

    Args:
        values: the array.
        bounds: of the activation that gave it, where it has some.
    """
    figures = _OnHost(bounds)
    figures.add(values, last=True)
    return figures.moments()


def _of_sums(flat: NDArray[np.float32], sums: _Sums) -> Moments:
    """Moments of entries of which the sums are known."""
    if not flat.size:
        return Moments(0, math.nan, math.nan, math.nan, math.nan, 0.0, 0.0)
    zero_fraction = sums.zeros / flat.size
    if not math.isfinite(sums.largest):
        return _of_unruly(flat, zero_fraction)
    mean, variance = _mean_and_variance(flat, sums)
    return Moments(flat.size, mean, variance, sums.minimum, sums.maximum, zero_fraction, 1.0)


def _mean_and_variance(flat: NDArray[np.float32], sums: _Sums) -> tuple[float, float]:
    """Of finite entries; in double precision where the sums would not do."""
    mean = sums.total / flat.size
    variance = sums.square / flat.size - mean * mean
    if not (sums.safe and variance > 1e-3 * mean * mean) and sums.largest > 0.0:
        mean = float(flat.mean(dtype=np.float64))
        variance = _centred_square(flat, mean) / flat.size
    return mean, variance


def _look(few: NDArray[np.float32], sums: _Sums, bounds: Bounds) -> tuple[Correlations, Shape]:
    """What the first samples tell: (samples, positions, channels), of which the sums are known."""
    if len(few) < 2 or not math.isfinite(sums.largest):
        return _NOT_LOOKED
    mean, variance = _mean_and_variance(few.reshape(-1), sums)
    if not variance > 0.0:
        return _NOT_LOOKED
    squares = correlations.on_host(few if sums.safe else few.astype(np.float64))
    found = correlations.solve(few.shape, variance, squares)
    return found, distributions.on_host(few, mean, variance, bounds)


def _silent(table: NDArray[np.float32], among: NDArray[np.intp] | None) -> NDArray[np.intp]:
    """Columns that are zero in all rows: all, or some of those that were so in earlier ones.

    Most speak up in the first rows: more of them are looked at for ever fewer columns.
    """
    silent = np.arange(table.shape[1]) if among is None else among
    start, size = 0, 64
    while silent.size and start < len(table):
        rows = table[start : start + size]
        rows = rows if silent.size == table.shape[1] else rows[:, silent]
        silent = silent[~rows.any(0)]
        start, size = start + size, 8 * size
    return silent


class _Sums(NamedTuple):
    zeros: int
    minimum: float  # NaN if any entry is
    maximum: float
    total: float
    square: float

    @property
    def largest(self) -> float:
        """Absolute value; not finite if any entry is not."""
        return max(-self.minimum, self.maximum)

    @property
    def safe(self) -> bool:
        """Whether single precision sums the squares well."""
        return _SAFE[0] < self.largest < _SAFE[1]


def _joined(parts: Sequence[_Sums]) -> _Sums:
    """NumPy's extremes, not Python's, which lose a NaN."""
    zeros, minima, maxima, totals, squares = zip(*parts, strict=True)
    return _Sums(
        sum(zeros), float(np.min(minima)), float(np.max(maxima)), sum(totals), sum(squares)
    )


def _sums(flat: NDArray[np.float32]) -> _Sums:
    """Sums over an array: of rows in single, of their sums in double precision.

    Part by part, so that all but the first look at a part find it in the core's cache.
    """
    whole = flat.size - flat.size % _ROW
    rows, rest = flat[:whole].reshape(-1, _ROW), flat[whole:]
    totals, squares = np.empty((2, len(rows)), np.float32)
    is_zero = np.empty(min(_PART, whole), np.bool_)
    lowest: list[Any] = [math.inf]
    highest: list[Any] = [-math.inf]
    zeros = np.count_nonzero(rest == 0)
    with np.errstate(all="ignore"):  # what overflows here is summed again in double precision
        for start in range(0, whole, _PART):
            part = flat[start : min(start + _PART, whole)]
            first, last = start // _ROW, (start + part.size) // _ROW
            np.vecdot(rows[first:last], _ONES, out=totals[first:last])
            np.vecdot(rows[first:last], rows[first:last], out=squares[first:last])
            lowest.append(np.minimum.reduce(part))
            highest.append(np.maximum.reduce(part))
            if not (lowest[-1] > 0.0 or highest[-1] < 0.0):
                zeros += np.count_nonzero(np.equal(part, _ZERO, out=is_zero[: part.size]))
        if rest.size:
            lowest.append(rest.min())
            highest.append(rest.max())
        left = rest.astype(np.float64)
        total = totals.sum(dtype=np.float64) + left.sum()
        square = squares.sum(dtype=np.float64) + left @ left
    # NumPy's extremes, not Python's, which lose a NaN.
    return _Sums(
        int(zeros), float(np.min(lowest)), float(np.max(highest)), float(total), float(square)
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
    part = _of_sums(finite, _sums(finite))
    return replace(part, count=flat.size, zero_fraction=zero_fraction, finite_fraction=share)


class _OnDevice:
    """The same as `_OnHost` by Keras's own operations: the numbers stay where they are."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._counts: list[int] = []  # entries of each batch
        self._basic: list[Any] = []
        self._samples = 0
        self._speaks: Any = None  # by channel, whether it was not zero
        self._few: list[Any] = []
        self._looked: Any = None
        self._taken = (0, 0, 0)

    def add(self, tensor: Any, last: bool) -> None:
        """Take samples, positions, channels; `last` where no more follow."""
        shape = tuple(tensor.shape)
        summary, deviation = summarised(tensor)
        self.add_summary(summary, math.prod(shape))
        wanted = correlations.enough(shape)
        if not wanted:
            return
        self._samples += shape[0]
        table = ops.reshape(tensor, (-1, wanted.channels))
        speaks = ops.any(ops.not_equal(table, 0), axis=0)
        self._speaks = speaks if self._speaks is None else ops.logical_or(self._speaks, speaks)
        missing = wanted.samples - self._taken[0]
        if missing < 1 or self._looked is not None:
            return
        taken = min(shape[0], missing)
        self._taken = self._taken[0] + taken, wanted.positions, wanted.channels
        form = (taken, wanted.positions, wanted.channels)
        if not self._few and (last or taken == wanted.samples or not wanted.collected):
            few = ops.reshape(deviation[: math.prod(form)], form)
            self._looked = _look_on_device(few, summary[2], summary[3], self._bounds)
        else:
            # PyTorch's slices hold on to what they were cut from.
            few = ops.copy(ops.cast(tensor[:taken], "float32"))
            self._few.append(ops.reshape(few, form))
            if last or self._taken[0] == wanted.samples:
                self._look_at_few()

    def add_summary(self, summary: Any, count: int) -> None:
        """Take what is known of so many entries."""
        self._counts.append(count)
        self._basic.append(summary)

    def numbers(self) -> list[Any]:
        """Vectors of all that `moments` needs."""
        if self._looked is None and self._few:
            self._look_at_few()
        pieces = list(self._basic)
        if self._looked is not None and self._speaks is not None:
            dead = ops.mean(ops.cast(ops.logical_not(self._speaks), "float32"))
            pieces += [self._looked, ops.reshape(dead, (1,))]
        return pieces

    def moments(self, numbers: NDArray[np.float64]) -> Moments:
        """Of all samples, from the fetched numbers."""
        batches = numbers[: _BASIC * len(self._counts)].reshape(-1, _BASIC)
        parts = [_of_summary(*pair) for pair in zip(self._counts, batches, strict=True)]
        moments = parts[0]
        for part in parts[1:]:
            moments = moments.merge(part)
        rest = numbers[batches.size :].tolist()
        if not rest or self._samples < 2 or moments.finite_fraction < 1.0:
            return moments
        scale, variance, *looked, dead = rest
        found, shape = _NOT_LOOKED
        if self._taken[0] > 1 and variance > 0.0:
            cut = len(Squares._fields)
            found = correlations.solve(self._taken, variance, Squares(*looked[:cut]))
            shape = distributions.from_device(looked[cut:], scale)
        return _completed(moments, found, shape._replace(dead_fraction=dead))

    def _look_at_few(self) -> None:
        few = ops.concatenate(self._few)
        self._few.clear()
        summary, deviation = summarised(few)
        deviation = ops.reshape(deviation, few.shape)
        self._looked = _look_on_device(deviation, summary[2], summary[3], self._bounds)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """By JAX as a whole, once for each shape; it would compile each operation for each shape."""
    if backend() != "jax":
        return function
    import jax

    compiled: Callable[..., Any] = jax.jit(function)
    return compiled


@_compiled
def summarised(tensor: Any) -> tuple[Any, Any]:
    """What is known of all entries, on the device.

    Returns:
        [minimum, maximum, scale, mean, variance, zeros, finite]: mean and variance are of entries
        divided by `scale`, the largest absolute value; zeros and finite are shares.
        All entries, divided by the scale, around a mean of nearly 0.
    """
    x = ops.reshape(ops.cast(tensor, "float32"), (-1,))
    finite = ops.isfinite(x)
    # The mean of ones may be rounded; that of zeros is not.
    share = 1.0 - ops.mean(ops.cast(ops.logical_not(finite), "float32"))
    known = ops.where(finite, x, 0.0)
    number = ops.maximum(share, 1e-30)
    scale = ops.max(ops.abs(known))
    # No more than 1e37: XLA multiplies by the inverse, which must not underflow.
    scale = ops.minimum(ops.where(scale > 0, scale, 1.0), 1e37)
    scaled = known / scale
    mean = ops.mean(scaled) / number
    deviation = ops.where(finite, scaled - mean, 0.0)
    # What rounding left of the mean is taken out of the variance again.
    left = ops.mean(deviation) / number
    variance = ops.mean(ops.square(deviation)) / number - ops.square(left)
    infinite = ops.full_like(x, float("inf"))
    summary = ops.stack([
        ops.min(ops.where(finite, x, infinite)), ops.max(ops.where(finite, x, -infinite)),
        scale, mean + left, variance, ops.mean(ops.cast(x == 0, "float32")), share,
    ])  # fmt: skip
    return summary, deviation


@_compiled
def _look_on_device(few: Any, scale: Any, mean: Any, bounds: Bounds) -> Any:
    """[scale, variance, squares…, shape…] of the first samples, of which the mean was taken out."""
    left = ops.mean(few)
    few = few - left
    variance = ops.mean(ops.square(few))
    around = None if bounds is None else [bound / scale - mean - left for bound in bounds]
    numbers = correlations.on_device(few) + distributions.on_device(few, variance, around)
    return ops.stack([scale, variance, *numbers])


def _of_summary(count: int, summary: NDArray[np.float64]) -> Moments:
    minimum, maximum, scale, mean, variance, zeros, finite = summary.tolist()
    if minimum > maximum:  # no entry is finite, of which rounding may leave a share
        return Moments(count, math.nan, math.nan, math.nan, math.nan, zeros, 0.0)
    return Moments(count, mean * scale, variance * scale * scale, minimum, maximum, zeros, finite)
