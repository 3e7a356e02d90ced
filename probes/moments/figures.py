"""What is kept of a tensor: a few figures of all its entries."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from probes.moments.correlation import Correlations
from probes.moments.distribution import UNKNOWN, Distribution, mean_of_known, merged

Bounds = tuple[float, float] | None


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
        standard_error: of the variance, relative to it: 1.96 of these hold 95 % for other inputs
            (see `probes.moments.precision`). None for fewer than two samples, for whole numbers,
            where entries are all the same or not all finite, and of merged figures.
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
    shape: Distribution = UNKNOWN
    standard_error: float | None = None

    @property
    def mean_square(self) -> float:
        """E x²; infinite where that is beyond the largest number."""
        return self.variance + self.mean * self.mean  # a power of a float raises

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
        rows = [part.count / count for part in (left, right)]
        zero = rows[0] * left.zero_fraction + rows[1] * right.zero_fraction
        finite = rows[0] * left.finite_fraction + rows[1] * right.finite_fraction
        if not right.finite_fraction:
            return Moments(
                count, left.mean, left.variance, left.minimum, left.maximum, zero, finite
            )
        weight = rows[1] * right.finite_fraction / finite
        difference = right.mean - left.mean
        all_finite = left.finite_fraction == right.finite_fraction == 1.0

        def average(name: str) -> float | None:
            pairs = [(part.count, getattr(part, name)) for part in (left, right)]
            return mean_of_known(pairs) if all_finite else None

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
            average("sample_correlation"),
            average("position_correlation"),
            merged((left.count, left.shape), (right.count, right.shape)),
        )

    def with_details(self, found: Correlations, shape: Distribution) -> Moments:
        """The same with what a few samples tell."""
        return replace(
            self,
            sample_correlation=found.samples,
            position_correlation=found.positions,
            shape=shape,
        )


def nothing_finite(count: int, zero_fraction: float = 0.0) -> Moments:
    """Figures of entries none of which is finite, or of none at all."""
    return Moments(count, math.nan, math.nan, math.nan, math.nan, zero_fraction, 0.0)
