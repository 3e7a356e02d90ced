"""Sums over the entries of an array in the CPU's memory.

NumPy sums several times faster than the framework's own operations; single precision's sums of
short rows are added in double, which takes over where single would not do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Entries summed in single precision before double takes over. Short enough, too, for the dot
# products to stay in this thread: BLAS's own threads wait in a loop and starve the framework's.
_ROW = 256
# Entries that stay in a core's cache while they are summed. So many rows of them that NumPy lets
# other threads run meanwhile, which for 500 and fewer it does not.
_PART = 512 * _ROW
_ONES = np.ones(_ROW, np.float32)
_ZERO = np.float32(0)
_SAFE = (1e-12, 1e12)  # largest absolute values whose squares single precision sums well


class Sums(NamedTuple):
    """What is summed over all entries, in one look at them.

    `by_row` has the sums and the sums of squares of each row, where rows were asked for.
    """

    zeros: int
    minimum: float  # NaN if any entry is
    maximum: float
    total: float
    square: float
    by_row: NDArray[np.float64]

    @property
    def largest(self) -> float:
        """Absolute value; not finite if any entry is not."""
        return max(-self.minimum, self.maximum)

    @property
    def safe(self) -> bool:
        """Whether single precision sums the squares well."""
        return _SAFE[0] < self.largest < _SAFE[1]


def joined(parts: Sequence[Sums]) -> Sums:
    """Of several arrays together."""
    # NumPy's extremes, not Python's, which lose a NaN.
    zeros, minima, maxima, totals, squares, by_row = zip(*parts, strict=True)
    extremes = float(np.min(minima)), float(np.max(maxima))
    return Sums(sum(zeros), *extremes, sum(totals), sum(squares), np.concatenate(by_row, axis=1))


def sums_of(flat: NDArray[np.float32], row: int = 0) -> Sums:
    """Sums over an array: of short pieces in single, of their sums in double precision.

    Part by part, so that all but the first look at a part find it in the core's cache.

    Args:
        flat: all entries.
        row: entries of each row whose own sums are wanted; 0 for none.
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
        by_row = _by_row(flat, row, totals, squares) if row else np.empty((2, 0))
    # NumPy's extremes, not Python's, which lose a NaN.
    extremes = float(np.min(lowest)), float(np.max(highest))
    return Sums(int(zeros), *extremes, float(total), float(square), by_row)


def _by_row(
    flat: NDArray[np.float32], row: int, totals: NDArray[np.float32], squares: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Sums and sums of squares of each row, from those of pieces that rows may cut in two."""
    count = flat.size // row
    if row < 4 * _ROW:
        table = flat.reshape(count, row).astype(np.float64)
        return np.stack([table.sum(1), np.vecdot(table, table)])
    bounds = np.arange(count + 1) * row
    piece, cut = bounds // _ROW, bounds % _ROW
    before = np.zeros((2, len(totals) + 1))
    np.cumsum(totals, out=before[0, 1:], dtype=np.float64)
    np.cumsum(squares, out=before[1, 1:], dtype=np.float64)
    up_to = before[:, piece]
    for number in np.flatnonzero(cut):
        start = piece[number] * _ROW
        part = flat[start : start + cut[number]].astype(np.float64)
        up_to[:, number] += part.sum(), part @ part
    return np.diff(up_to, axis=1)


def _centered_square(flat: NDArray[np.float32], mean: float) -> float:
    total = 0.0
    for start in range(0, flat.size, _PART):
        part = flat[start : start + _PART].astype(np.float64) - mean
        total += float(np.square(part, out=part).sum())
    return total


def mean_and_variance(flat: NDArray[np.float32], sums: Sums) -> tuple[float, float]:
    """Of finite entries; in double precision where the sums would not do."""
    mean = sums.total / flat.size
    variance = sums.square / flat.size - mean * mean
    return (mean, variance) if _do(sums, mean, variance) else _in_double(flat)


def _do(sums: Sums, mean: float, variance: float) -> bool:
    """Whether single precision's sums give mean and variance well enough."""
    return sums.largest == 0.0 or (sums.safe and variance > 1e-3 * mean * mean)


def _in_double(flat: NDArray[np.float32]) -> tuple[float, float]:
    mean = float(flat.mean(dtype=np.float64))
    return mean, _centered_square(flat, mean) / flat.size


def row_moments(
    flat: NDArray[np.float32], row: int, sums: Sums, mean: float, variance: float
) -> NDArray[np.float64]:
    """Mean and variance of each row of finite entries, two lines; of all, they are known.

    In double precision where the sums would not do.
    """
    if _do(sums, mean, variance):
        means, squares = sums.by_row / row
        return np.stack([means, np.maximum(squares - np.square(means), 0.0)])
    found = np.empty((2, flat.size // row))
    for number in range(found.shape[1]):
        found[:, number] = _in_double(flat[number * row : (number + 1) * row])
    return found


def silent_columns(table: NDArray[np.float32], among: NDArray[np.intp] | None) -> NDArray[np.intp]:
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
