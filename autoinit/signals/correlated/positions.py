"""Positions of a tensor: a few that stand for all, and what spatial operations do to pairs of them.

Second moments of two entries, E[x_p x_q], depend on where both are: padding makes borders
different, and neighbours share what was computed from the same input. Along an axis, positions at
either border, adjacent ones in the middle and one far from these stand for all; a pair of real
positions is represented by a pair with the same displacement, or by one that is far apart.

Every linear spatial operation is then one matrix per axis on such pairs (SIGNAL_MODEL, part C).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoinit.signals.geometry import Taps, Windows

Array = NDArray[np.float64]
Places = NDArray[np.int64]

# Positions kept at each border and in the middle: fewer where there are more axes, because pairs
# of positions are counted in their number to the power of twice the axes.
_KEPT = {1: (4, 4), 2: (3, 3)}
_KEPT_OF_MANY = (1, 2)
# Positions of a long axis, and pairs of reads of one operation, that are looked at one by one.
_LOOKED_AT = 256
_MOST_READS = 2_000_000
_FEWEST_TAPS = 16


@dataclass(frozen=True)
class Axis:
    """One spatial axis.

    Attributes:
        size: number of real positions.
        border: how many are kept at each end.
        center: how many adjacent ones are kept in the middle.
    """

    size: int
    border: int
    center: int

    @property
    def is_whole(self) -> bool:
        """Whether every position stands for itself."""
        return self.size <= 2 * self.border + self.center + 1

    @property
    def count(self) -> int:
        """Number of representatives."""
        return min(self.size, 2 * self.border + self.center + 1)

    @cached_property
    def representatives(self) -> Places:
        """The real positions that stand for all."""
        if self.is_whole:
            return np.arange(self.size)
        first = max((self.size - self.center) // 2, self.border)
        far = self.size - self.border - 1
        kept: Places = np.r_[
            np.arange(self.border),
            np.arange(first, first + self.center),
            far,
            np.arange(self.size - self.border, self.size),
        ]
        return kept

    @cached_property
    def shares(self) -> Array:
        """Fraction of the real positions that each representative stands for."""
        if self.is_whole:
            return np.full(self.count, 1 / max(self.size, 1))
        numbers = np.ones(self.count)
        # The far one lies beside a border, and is there for pairs that lie apart.
        numbers[self.border : -self.border - 1] = (self.size - 2 * self.border - 1) / self.center
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
        border, center = self.border, self.center
        far, last = border + center, self.count - 1
        at_border = high < border
        near = apart < center
        other_end = high >= self.size - border
        i = np.select([at_border, near, low < border], [low, border, low], border)
        j = np.select(
            [at_border, near, other_end], [high, border + apart, last - (self.size - 1 - high)], far
        )
        opposite = np.arange(self.count)
        opposite[:border] = last - np.arange(border)
        opposite[-border:] = np.arange(border)[::-1]
        # `far` lies next to the right border: seen from there, the centre is far.
        seen = np.where((j == far) & (i < border), border, opposite[j])
        i, j = np.where(mirrored, seen, i), np.where(mirrored, opposite[i], j)
        swapped = a > b
        return np.asarray(np.where(swapped, j, i) * self.count + np.where(swapped, i, j))

    def singles(self, positions: Any) -> Places:
        """Indices of the representatives of real positions."""
        return np.asarray(self.pairs(positions, positions) // self.count)

    @cached_property
    def looked_at(self) -> Places:
        """Real positions that represented ones are averaged over: all, or many of a long axis."""
        if self.size <= _LOOKED_AT:
            return np.arange(self.size)
        run, middle = _LOOKED_AT // 4, self.size // 2
        ends = np.arange(run), np.arange(self.size - run, self.size)
        return np.asarray(np.r_[ends[0], np.arange(middle - run, middle + run), ends[1]])

    @cached_property
    def over_pairs(self) -> Array:
        """Weights that average over all pairs of real positions: (count²,)."""
        second = np.arange(self.size)
        total = np.zeros(self.count**2)
        number = np.bincount(self.singles(second), minlength=self.count)
        chosen = np.bincount(self.singles(self.looked_at), minlength=self.count)
        for first in self.looked_at:
            kind = self.singles(first)
            found = np.bincount(self.pairs(first, second), minlength=self.count**2)
            total += found * number[kind] / chosen[kind]
        return np.asarray(total / self.size**2)

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


@lru_cache(4096)
def summed_windows(taps: Taps, source: Axis, rank: int) -> SpatialMap:
    """Sums over windows whose taps have independent weights of variance 1.

    Two outputs share a tap's weight: E[y_p y_q] = Σ_t E[x_{p+t} x_{q+t}] over the taps that read
    real input for both.

    Args:
        taps: what the windows read, with weights of 1, or 0 for padding.
        source: the axis that they read.
        rank: number of spatial axes.
    """
    output = _axis(len(taps.reads), rank)
    every = output.looked_at
    taps = taps.at(every)
    real, reads = taps.weights, taps.reads
    both = real[:, None, :] * real[None, :, :]
    pairs = _pairs_for_all(output, source, every, reads[:, None, :], reads[None, :, :], both)
    return SpatialMap(pairs, _singles_for_all(output, source, every, taps), output)


@lru_cache(4096)
def applied_along(taps: Taps, source: Axis, rank: int) -> SpatialMap:
    """A given linear map: E[y_p y_q] = Σ_ab A_pa A_qb E[x_a x_b].

    Args:
        taps: the map.
        source: the axis that it is applied to.
        rank: number of spatial axes.
    """
    output = _axis(len(taps.reads), rank)
    width = taps.reads.shape[1]
    # Of wide windows few outputs are looked at, and of the first of two some reads.
    wide = len(output.looked_at) ** 2 * width * _FEWEST_TAPS > _MOST_READS
    every = output.representatives if wide else output.looked_at
    taps, number = taps.at(every), len(every)
    some = taps.thinned(max(_MOST_READS // max(number * number * width, 1), _FEWEST_TAPS))
    both = some.weights[:, None, :, None] * taps.weights[None, :, None, :]
    first, second = np.broadcast_arrays(some.reads[:, None, :, None], taps.reads[None, :, None, :])
    shape = (number, number, -1)
    pairs = _pairs_for_all(
        output, source, every, first.reshape(shape), second.reshape(shape), both.reshape(shape)
    )
    return SpatialMap(pairs, _singles_for_all(output, source, every, taps), output)


def maps_along(maps: Sequence[Taps], axes: Sequence[Axis]) -> list[SpatialMap]:
    """Given linear maps, one for each axis."""
    return [applied_along(taps, axis, len(axes)) for taps, axis in zip(maps, axes, strict=True)]


def _pairs_for_all(
    output: Axis, source: Axis, every: Places, first: Places, second: Places, weights: Array
) -> Array:
    """What representative pairs of the output read: (output pairs, input pairs).

    Each reads the average of what all pairs read that it stands for: means over all positions, and
    over all pairs, stay what they are.

    Args:
        output, source: the axes.
        every: the output positions that are looked at.
        first, second: input positions that pairs of them read,
            (positions, positions, taps).
        weights: of these.
    """
    width = source.count**2
    kept = np.searchsorted(every, output.representatives)
    target = output.pairs(every[:, None], every[None, :])
    found = source.pairs(first, second)
    sums = _summed(target[..., None] * width + found, weights, output.count**2, width)
    number = np.bincount(target.ravel(), minlength=output.count**2)
    # Pairs that stand for none but themselves, and middle positions, which stand for each other.
    own = np.arange(output.count**2).reshape(output.count, output.count)[..., None] * width
    inside = np.ix_(kept, kept)
    alone = _summed(own + found[inside], weights[inside], output.count**2, width)
    maps = np.where(number[:, None] > 0, sums / np.maximum(number, 1)[:, None], alone)
    diagonal = output.pairs(output.representatives, output.representatives)
    maps[np.arange(output.count) * (output.count + 1)] = maps[diagonal]
    return np.asarray(maps)


def _singles_for_all(output: Axis, source: Axis, every: Places, taps: Taps) -> Array:
    """The same for positions: (output, input)."""
    target = output.singles(every)
    place = target[:, None] * source.count + source.singles(taps.reads)
    sums = _summed(place, taps.weights, output.count, source.count)
    number = np.maximum(np.bincount(target, minlength=output.count), 1)
    return np.asarray((sums / number[:, None])[output.singles(output.representatives)])


def _summed(places: Places, weights: Array, rows: int, columns: int) -> Array:
    found = np.bincount(places.ravel(), weights.ravel(), rows * columns)
    return np.asarray(found.reshape(rows, columns))


def window_pairs(windows: Windows, source: Axis, rank: int) -> Array:
    """For each output, how often each pair of positions lies in its window: (output, pairs)."""
    output = _axis(len(windows), rank)
    taps = Taps.summing(windows, source.size).at(output.representatives)
    some = taps.thinned(max(_MOST_READS // max(taps.reads.size, 1), 16))
    width = source.count**2
    found = source.pairs(some.reads[:, :, None], taps.reads[:, None, :])
    weights = some.weights[:, :, None] * taps.weights[:, None, :]
    places = np.arange(output.count)[:, None, None] * width + found
    return _summed(places, weights, output.count, width)
