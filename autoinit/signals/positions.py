"""Positions of a tensor: a few that stand for all, and what spatial operations do to pairs of them.

Second moments of two entries, E[x_p x_q], depend on where both are: padding makes borders
different, and neighbours share what was computed from the same input. Along an axis, positions at
either border, adjacent ones in the middle and one far from these stand for all; a pair of real
positions is represented by a pair with the same displacement, or by one that is far apart.

Every linear spatial operation is then one matrix per axis on such pairs (SIGNAL_MODEL, part C).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoinit.geometry import Windows

Array = NDArray[np.float64]
Places = NDArray[np.int64]

# Positions kept at each border and in the middle: fewer where there are more axes, because pairs
# of positions are counted in their number to the power of twice the axes.
_KEPT = {1: (4, 4), 2: (3, 3)}
_KEPT_OF_MANY = (1, 2)


@dataclass(frozen=True)
class Axis:
    """One spatial axis.

    Attributes:
        size: number of real positions.
        border: how many are kept at each end.
        centre: how many adjacent ones are kept in the middle.
    """

    size: int
    border: int
    centre: int

    @property
    def is_whole(self) -> bool:
        """Whether every position stands for itself."""
        return self.size <= 2 * self.border + self.centre + 1

    @property
    def count(self) -> int:
        """Number of representatives."""
        return min(self.size, 2 * self.border + self.centre + 1)

    @cached_property
    def representatives(self) -> Places:
        """The real positions that stand for all."""
        if self.is_whole:
            return np.arange(self.size)
        first = max((self.size - self.centre) // 2, self.border)
        far = self.size - self.border - 1
        kept: Places = np.r_[
            np.arange(self.border), np.arange(first, first + self.centre), far,
            np.arange(self.size - self.border, self.size),
        ]  # fmt: skip
        return kept

    @cached_property
    def shares(self) -> Array:
        """Fraction of the real positions that each representative stands for."""
        if self.is_whole:
            return np.full(self.count, 1 / max(self.size, 1))
        numbers = np.ones(self.count)
        numbers[self.border : -self.border] = (self.size - 2 * self.border) / (self.centre + 1)
        return numbers / self.size

    def pairs(self, first: Any, second: Any) -> Places:
        """Indices of the representative pairs, i·count + j, of pairs of real positions."""
        a, b = np.broadcast_arrays(np.asarray(first), np.asarray(second))
        if self.is_whole:
            return np.asarray(a * self.count + b)
        low, high = np.minimum(a, b), np.maximum(a, b)
        # A pair that lies nearer to the right end is looked at from there.
        mirrored = self.size - 1 - high < low
        low = np.where(mirrored, self.size - 1 - high, low)
        apart = np.abs(a - b)
        high = low + apart
        border, centre = self.border, self.centre
        far, last = border + centre, self.count - 1
        at_border = high < border
        # Moved by one towards the border, rather than out of its reach.
        moved = ~at_border & (low < border) & (apart < border) & (low - (border - 1 - apart) <= 1)
        near = apart < centre
        other_end = high >= self.size - border
        i = np.select(
            [at_border, moved, near, low < border], [low, border - 1 - apart, border, low], border
        )
        j = np.select(
            [at_border, moved, near, other_end],
            [high, border - 1, border + apart, last - (self.size - 1 - high)],
            far,
        )
        opposite = np.arange(self.count)
        opposite[:border] = last - np.arange(border)
        opposite[-border:] = np.arange(border)[::-1]
        i, j = np.where(mirrored, opposite[j], i), np.where(mirrored, opposite[i], j)
        swapped = a > b
        return np.asarray(np.where(swapped, j, i) * self.count + np.where(swapped, i, j))

    def singles(self, positions: Any) -> Places:
        """Indices of the representatives of real positions."""
        return np.asarray(self.pairs(positions, positions) // self.count)

    @cached_property
    def over_pairs(self) -> Array:
        """Weights that average over all pairs of real positions: (count²,)."""
        every = np.arange(self.size)
        found = self.pairs(every[:, None], every[None, :]).ravel()
        return np.asarray(np.bincount(found, minlength=self.count**2) / self.size**2)

    @cached_property
    def over_second(self) -> Array:
        """For each representative, the average over a second position: (count, count²)."""
        found = self.pairs(self.representatives[:, None], np.arange(self.size)[None, :])
        rows = [np.bincount(row, minlength=self.count**2) for row in found]
        return np.array(rows) / self.size


def axes_of(sizes: tuple[int, ...]) -> tuple[Axis, ...]:
    """The spatial axes of a tensor."""
    return tuple(_axis(int(size), len(sizes)) for size in sizes)


@lru_cache(4096)
def _axis(size: int, rank: int) -> Axis:
    return Axis(size, *_KEPT.get(rank, _KEPT_OF_MANY))


@dataclass(frozen=True)
class SpatialMap:
    """What an operation along one axis does.

    Attributes:
        pairs: on second moments of pairs: (output pairs, input pairs).
        singles: on means: (output, input).
        output: the axis that it leads to.
    """

    pairs: Array
    singles: Array
    output: Axis


_maps: dict[tuple[Any, ...], SpatialMap] = {}
_MOST_MAPS = 4096


def summed_windows(windows: Windows, source: Axis, rank: int) -> SpatialMap:
    """Sums over windows whose taps have independent weights of variance 1.

    Two outputs share a tap's weight: E[y_p y_q] = Σ_t E[x_{p+t} x_{q+t}] over the taps that read
    real input for both.

    Args:
        windows: input positions by output position and tap, -1 for padding.
        source: the axis that they read.
        rank: number of spatial axes.
    """
    key = ("windows", source, rank, windows.shape, windows.tobytes())
    if key not in _maps:
        output = _axis(len(windows), rank)
        rows = windows[output.representatives]
        first, second = rows[:, None, :], rows[None, :, :]
        real = (first >= 0) & (second >= 0)
        found = source.pairs(np.maximum(first, 0), np.maximum(second, 0))
        pairs = _counted(found, real, source.count**2).reshape(output.count**2, -1)
        singles = _counted(source.singles(np.maximum(rows, 0)), rows >= 0, source.count)
        _remember(key, SpatialMap(pairs, singles, output))
    return _maps[key]


def applied_matrix(matrix: Array, source: Axis, rank: int) -> SpatialMap:
    """A given linear map: E[y_p y_q] = Σ_ab A_pa A_qb E[x_a x_b].

    Args:
        matrix: (output, input).
        source: the axis that it is applied to.
        rank: number of spatial axes.
    """
    key = ("matrix", source, rank, matrix.shape, matrix.tobytes())
    if key not in _maps:
        output = _axis(len(matrix), rank)
        rows = matrix[output.representatives]
        read = [np.flatnonzero(row) for row in rows]
        pairs = np.zeros((output.count, output.count, source.count**2))
        singles = np.zeros((output.count, source.count))
        for p, first in enumerate(read):
            np.add.at(singles[p], source.singles(first), rows[p, first])
            for q, second in enumerate(read):
                found = source.pairs(first[:, None], second[None, :])
                np.add.at(pairs[p, q], found, np.outer(rows[p, first], rows[q, second]))
        _remember(key, SpatialMap(pairs.reshape(output.count**2, -1), singles, output))
    return _maps[key]


def window_pairs(windows: Windows, source: Axis, rank: int) -> Array:
    """For each output, how often each pair of positions lies in its window: (output, pairs)."""
    rows = windows[_axis(len(windows), rank).representatives]
    first, second = rows[:, :, None], rows[:, None, :]
    real = (first >= 0) & (second >= 0)
    found = source.pairs(np.maximum(first, 0), np.maximum(second, 0))
    return _counted(found.reshape(len(rows), -1), real.reshape(len(rows), -1), source.count**2)


def averaging(windows: Windows, size: int) -> Array:
    """The matrix that takes the mean of the real entries of each window: (output, size)."""
    matrix = np.zeros((len(windows), size))
    rows, taps = np.nonzero(windows >= 0)
    np.add.at(matrix, (rows, windows[rows, taps]), 1.0)
    return np.asarray(matrix / matrix.sum(1, keepdims=True))


def _counted(found: Places, real: NDArray[np.bool_], number: int) -> Array:
    """How often each of `number` indices stands in the last axis of `found`, where `real`."""
    flat, kept = found.reshape(-1, found.shape[-1]), real.reshape(-1, real.shape[-1])
    rows = [np.bincount(row[keep], minlength=number) for row, keep in zip(flat, kept, strict=True)]
    return np.array(rows, float).reshape(*found.shape[:-1], number)


def _remember(key: tuple[Any, ...], made: SpatialMap) -> None:
    if len(_maps) >= _MOST_MAPS:
        _maps.clear()
    _maps[key] = made
