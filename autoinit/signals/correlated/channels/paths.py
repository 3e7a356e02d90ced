"""What two tensors' channels have in common, where both were made of the same ones (L).

Of Cov(z, x) a layer that makes y of x leaves Cov(z, y): a kernel sums it as it sums x, and a
function of Gaussians scales it by the ratio of the first Hermite coefficients, E f′ for a Gaussian
x (Stein's lemma). Sums and concatenations add what each operand gives. Where branches of one
tensor meet again, that gives their covariance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autoinit.signals.signal import Array

# Layers before some channels that are kept, and multiplications that covariances may take.
LONGEST = 24
_MOST_OPERATIONS = 2e9

Spatial = Callable[[Sequence[int]], Array] | None
Reach = tuple[int, ...]
Spacing = tuple[Fraction, ...]


@dataclass(frozen=True, eq=False)
class Step:
    """What one layer does to covariances with the channels that it reads.

    Output position p reads the positions i with u·i = s·p + offset, of the input.

    Attributes:
        weights: of each tap, (taps, channels, units), or of one channel a unit, (taps, units).
        offsets: of what the taps read, (taps, axes).
        strides: s, along the axes.
        splits: u, along the axes; of a layer with more positions than its input.
        shares: of the positions at which a tap reads real input, (taps,).
        spatial: gives correlations of what is read at displacements up to so many along each axis.
        reads: of entries that are known one by one, positions in a row with the channels of each:
            which position each tap reads at each position, (taps, positions), or −1.
        amounts: factors of these, (taps, positions, channels).
        read: how many channels entries have, where a unit reads one of them.
    """

    weights: Array
    offsets: Array = field(default_factory=lambda: np.zeros((1, 0), int))
    strides: Sequence[int] = ()
    splits: Sequence[int] = ()
    shares: Array = field(default_factory=lambda: np.ones(1))
    spatial: Spatial = None
    reads: NDArray[np.int64] | None = None
    amounts: Array | None = None
    read: int = 0

    def scaled(self, factor: float) -> Step:
        """With `factor` times the weights."""
        return replace(self, weights=factor * self.weights)

    def applied(self, values: Array, starts: Array, sizes: Reach, every: Reach) -> Array:
        """Cov(z, y) of Cov(z, x).

        Args:
            values: (displacements…, channels of z, channels of x).
            starts: first displacement that each tap reads, (taps, axes).
            sizes: displacements of the result along each axis.
            every: so many displacements of the values lie between two of the result.
        """
        if self.reads is not None:
            return self._of_entries(values, self.reads)
        single = self.weights.ndim == 2
        if single and self.weights.shape[1] > values.shape[-1]:
            values = np.repeat(values, self.weights.shape[1] // values.shape[-1], -1)
        total = None
        taps = self.weights * self.shares.reshape(-1, *(1,) * (self.weights.ndim - 1))
        for weights, start in zip(taps.astype(values.dtype, copy=False), starts, strict=True):
            places = [
                slice(begin, begin + (size - 1) * apart + 1, apart)
                for begin, size, apart in zip(start, sizes, every, strict=True)
            ]
            part = values[tuple(places)]
            read = part * weights if single else part @ weights
            total = read if total is None else total + read
        return np.zeros(()) if total is None else total

    def _of_entries(self, values: Array, reads: NDArray[np.int64]) -> Array:
        # Entries first: what a position reads is then a few blocks of rows.
        rows = len(values)
        channels = (self.weights.ndim == 2 and self.read) or self.weights.shape[1]
        every = np.ascontiguousarray(values.T).reshape(-1, channels, rows)
        if self.weights.ndim == 2:
            return self._of_single_entries(every, reads).reshape(-1, rows).T
        units = self.weights.shape[-1]
        total = np.zeros((reads.shape[1], units, rows), every.dtype)
        for place, at in enumerate(reads.T):
            real = np.flatnonzero(at >= 0)
            weights = self.weights[real]
            if self.amounts is not None:
                weights = weights * self.amounts[real, place, :, None]
            weights = weights.reshape(-1, units).T.astype(every.dtype, order="C")
            np.matmul(weights, every[at[real]].reshape(-1, rows), out=total[place])
        return total.reshape(-1, rows).T

    def _of_single_entries(self, every: Array, reads: NDArray[np.int64]) -> Array:
        channels, rows = every.shape[1:]
        units = self.weights.shape[1]
        total = np.zeros((reads.shape[1], units, rows), every.dtype)
        for tap, at in enumerate(reads):
            real = np.flatnonzero(at >= 0)
            weights = np.broadcast_to(self.weights[tap], (len(real), units))
            if self.amounts is not None:
                amounts = np.broadcast_to(self.amounts[tap, real], (len(real), channels))
                weights = weights * np.repeat(amounts, units // channels, -1)
            part = every[at[real]]
            if units > channels:
                part = np.repeat(part, units // channels, 1)
            part *= weights[..., None].astype(part.dtype)
            total[real] += part
        return total


class Source(Protocol):
    """Channels, as far as what was made of them needs to know."""

    @property
    def identity(self) -> int:
        """Of these very channels; what is made later has a larger one."""

    @property
    def count(self) -> int:
        """How many channels there are."""

    @property
    def made_of(self) -> Sequence[tuple[Source, Step]]:
        """What they are the sum of: of these channels, by these steps."""

    def around(self, reach: Sequence[int], spatial: Spatial) -> Array | None:
        """Covariances at displacements up to so many along each axis; None where not known."""


class Common:
    """Covariances of some channels with others; those that were met are not worked out again."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], Array | None] = {}
        self._left = _MOST_OPERATIONS

    def between(self, first: Source, second: Source, radii: Sequence[int]) -> Array | None:
        """Of the one at a position with the other beside it, both at the same positions.

        Args:
            first, second: the channels.
            radii: displacements along each axis that are asked for.

        Returns:
            (displacements…, channels, channels), or None where no common tensor is known.
        """
        spacing = (Fraction(1),) * len(radii)
        return self._of(first, second, tuple(radii), (spacing, spacing), None)

    def _of(
        self,
        first: Source,
        second: Source,
        reach: Reach,
        spacings: tuple[Spacing, Spacing],
        spatial: Spatial,
    ) -> Array | None:
        """At displacements that are multiples of the smaller spacing."""
        if first.identity == second.identity:
            return first.around(reach, spatial) if spacings[0] == spacings[1] else None
        if first.identity > second.identity:  # the later one was made of the earlier
            mirrored = self._of(second, first, reach, spacings[::-1], spatial)
            return None if mirrored is None else turned(mirrored)
        key = (first.identity, second.identity, reach, spacings)
        if key not in self._found:
            found = [
                self._through(first, source, step, reach, spacings, step.spatial or spatial)
                for source, step in second.made_of
            ]
            known = [each for each in found if each is not None]
            self._found[key] = sum(known[1:], known[0]) if known else None
        return self._found[key]

    def _through(
        self,
        first: Source,
        source: Source,
        step: Step,
        reach: Reach,
        spacings: tuple[Spacing, Spacing],
        spatial: Spatial,
    ) -> Array | None:
        """Of the first channels with what a step makes of others."""
        rank = len(step.strides)
        if rank and not reach:
            spacing = (Fraction(1),) * rank
            found = self._through(first, source, step, (0,) * rank, (spacing, spacing), spatial)
            return None if found is None else found[(0,) * rank]
        if rank not in (0, len(reach)):
            return None
        mine, theirs = spacings
        ones = [1] * len(reach)
        strides, splits = step.strides or ones, step.splits or ones
        units = [each / stride for each, stride in zip(theirs, strides, strict=True)]
        read = tuple(unit * split for unit, split in zip(units, splits, strict=True))
        every, moves = [], []
        for one, before, after, unit in zip(mine, theirs, read, units, strict=True):
            grid = min(one, after)
            every.append(min(one, before) / grid)
            moves.append(unit / grid)
        if any(each.denominator > 1 for each in (*every, *moves)):
            return None  # the taps of two phases that do not meet
        apart = tuple(int(each) for each in every)
        offsets = step.offsets if rank else np.zeros((len(step.weights), len(reach)), int)
        offsets = offsets * np.array([int(each) for each in moves], int)
        margin = np.abs(offsets).max(0)
        wide = tuple(r * a + int(m) for r, a, m in zip(reach, apart, margin, strict=True))
        sizes = tuple(2 * each + 1 for each in reach)
        entries = math.prod(sizes) * first.count
        self._left -= entries * step.weights.size
        if self._left < 0 or math.prod(2 * w + 1 for w in wide) * first.count > _MOST_OPERATIONS:
            return None
        values = self._of(first, source, wide, (mine, read), spatial)
        return None if values is None else step.applied(values, margin + offsets, sizes, apart)


def turned(covariances: Array) -> Array:
    """Those of two tensors the other way round: at opposite displacements, and transposed."""
    return np.flip(covariances, tuple(range(covariances.ndim - 2))).swapaxes(-1, -2)
