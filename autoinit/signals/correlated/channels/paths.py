"""What a tensor's channels have in common with those of one that they were made of (L).

Of Cov(z, x) a layer that makes y of x leaves Cov(z, y): a kernel sums it as it sums x, and a
function of Gaussians scales it by the ratio of the first Hermite coefficients, E f′ for a Gaussian
x (Stein's lemma). Where two branches of one tensor meet again, that gives their covariance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from autoinit.signals.signal import Array

# Layers of a branch that are kept, and multiplications that its covariance with another may take.
LONGEST = 16
_MOST_OPERATIONS = 2e9


@dataclass(frozen=True, eq=False)
class Step:
    """What one layer does to covariances with the channels that it reads.

    Attributes:
        weights: of each tap, (taps, channels, units), or of one channel a unit, (taps, units).
        offsets: of what the taps read beside the position that it is for, (taps, axes).
        strides: along the axes.
        shares: of the positions at which a tap reads real input, (taps,).
        spatial: gives correlations of what is read at displacements up to so many along each axis.
    """

    weights: Array
    offsets: Array = field(default_factory=lambda: np.zeros((1, 0), int))
    strides: Sequence[int] = ()
    shares: Array = field(default_factory=lambda: np.ones(1))
    spatial: Callable[[Sequence[int]], Array] | None = None

    def scaled(self, factor: float) -> Step:
        """With `factor` times the weights."""
        return replace(self, weights=factor * self.weights)

    def reach(self, apart: Array) -> Array:
        """How far away it reads, in positions of z, of which so many lie between two of x."""
        return np.abs(self.offsets).max(0) * apart if self.offsets.size else 0 * apart

    def applied(self, values: Array, apart: Array) -> Array:
        """Cov(z, y) of Cov(z, x).

        Args:
            values: (displacements…, channels of z, channels of x).
            apart: positions of z between two of x, along each axis.
        """
        single = self.weights.ndim == 2
        if single and self.weights.shape[1] > values.shape[-1]:
            values = np.repeat(values, self.weights.shape[1] // values.shape[-1], -1)
        reach = self.reach(apart)
        sizes = np.array(values.shape[:-2], int) - 2 * reach
        offsets = self.offsets if self.offsets.size else np.zeros((1, len(apart)), int)
        total = np.zeros(())
        for weights, offset, share in zip(self.weights, offsets, self.shares, strict=True):
            begin = reach + offset * apart
            part = values[tuple(slice(b, b + n) for b, n in zip(begin, sizes, strict=True))]
            total = total + share * (part * weights if single else part @ weights)
        return total


# Layers on the way to some channels, each with those that it read.
Path = tuple[tuple["Source", Step], ...]


class Source(Protocol):
    """Channels, as far as what was made of them needs to know."""

    @property
    def identity(self) -> int:
        """Of these very channels."""

    @property
    def path(self) -> Path:
        """What they were made of."""

    def around(
        self, reach: Sequence[int], spatial: Callable[[Sequence[int]], Array] | None
    ) -> Array | None:
        """Covariances at displacements up to so many along each axis; None where not known."""


def together(first: Source, second: Source, radii: Sequence[int]) -> Array | None:
    """Covariances of the one at a position with the other beside it, if both come of one tensor.

    Args:
        first, second: at the same positions.
        radii: displacements along each axis that are asked for.

    Returns:
        (displacements…, channels, channels), or None where no common tensor is known.
    """
    ways = _from_common(first, second)
    if ways is None:
        return None
    source, *steps = ways
    spatial = next((step.spatial for way in steps for step in way if step.spatial), None)
    rank = max(len(radii), *(len(step.strides) for way in steps for step in way), 0)
    if any(len(step.strides) not in (0, rank) for way in steps for step in way):
        return None
    (mine, apart), (theirs, others) = (_extent(way, rank) for way in steps)
    if (apart != others).any():
        return None
    wide = mine + theirs + apart * np.array(radii or [0] * rank, int)
    values = source.around(wide, spatial)
    if values is None or _operations(steps, values) > _MOST_OPERATIONS:
        return None
    values = _followed(values, steps[0])
    turned = np.flip(values, tuple(range(rank))).swapaxes(-1, -2)  # of the first with the source
    values = _followed(turned, steps[1])
    every = tuple(slice(None, None, int(each)) for each in apart)
    result = values[every] if radii else values[(0,) * rank]
    return np.asarray(result, float)


def _from_common(first: Source, second: Source) -> tuple[Source, list[Step], list[Step]] | None:
    """The last channels that both were made of, and the layers from there to each."""
    mine, theirs = ([*(x for x, _ in each.path), each] for each in (first, second))
    places = {each.identity: place for place, each in enumerate(theirs)}
    for place, each in reversed(list(enumerate(mine))):
        if each.identity in places:
            paths = first.path[place:], second.path[places[each.identity] :]
            one, other = ([step for _, step in path] for path in paths)
            return each, one, other
    return None


def _extent(steps: Sequence[Step], rank: int) -> tuple[Array, Array]:
    """How far some layers read along each axis, and what one position is in the end."""
    reach, apart = np.zeros(rank, int), np.ones(rank, int)
    for step in steps:
        reach = reach + step.reach(apart)
        apart = apart * np.array(step.strides or [1] * rank, int)
    return reach, apart


def _followed(values: Array, steps: Sequence[Step]) -> Array:
    apart = np.ones(values.ndim - 2, int)
    for step in steps:
        values = step.applied(values, apart)
        apart = apart * np.array(step.strides or [1] * len(apart), int)
    return values


def _operations(ways: Sequence[Sequence[Step]], values: Array) -> float:
    """Multiplications, at most: as if no layer read less than the first."""
    entries = math.prod(values.shape[:-1])
    return sum(entries * math.prod(step.weights.shape) for way in ways for step in way)
