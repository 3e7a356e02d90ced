"""The paper's signal model: mean and variance of independent Gaussian entries.

Formulas are those of Bingham & Miikkulainen 2021, appendix A. Where the paper's holds for a zero
mean only (dropout, padding), the general one stands here and `docs/rules.md` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoinit import gaussian
from autoinit.geometry import Taps, Windows, counts
from autoinit.signals.signal import BiasMoments, KernelMoments, Signal


@dataclass(frozen=True)
class IndependentSignal(Signal):
    """Mean and variance of a tensor whose entries are taken as independent and Gaussian."""

    mean: float
    variance: float

    @classmethod
    def gaussian(cls, mean: float, variance: float) -> IndependentSignal:
        return cls(float(mean), max(float(variance), 0.0))

    @classmethod
    def _from_second_moment(cls, mean: float, second_moment: float) -> IndependentSignal:
        return cls.gaussian(mean, second_moment - mean * mean)

    @property
    def _deviation(self) -> float:
        return math.sqrt(self.variance)

    def map(self, function: Callable[[Any], Any]) -> tuple[IndependentSignal, bool]:
        """Eq. 5 and 6, by adaptive quadrature."""
        result = gaussian.moments(function, self.mean, self._deviation)
        return IndependentSignal(result.mean, result.variance), result.converged

    def affine(self, scale: Any, offset: Any) -> IndependentSignal:
        a, b = np.broadcast_arrays(np.asarray(scale, float), np.asarray(offset, float))
        mean = a.mean() * self.mean + b.mean()
        # Variance over entries: within a channel, and of the channels' means around theirs.
        within = (a * a).mean() * self.variance
        between = (a * self.mean + b).var()
        return IndependentSignal.gaussian(mean, within + between)

    def mix(self, kernel: KernelMoments, bias: BiasMoments) -> IndependentSignal:
        """v·Σw² + m²·(Σw)², the paper's fan_in·Var(w)·(v + m²) for a kernel of zero mean."""
        mean = kernel.total * self.mean + bias.mean
        second = (
            kernel.power * self.variance
            + kernel.squared_sum * self.mean**2
            + 2 * self.mean * bias.cross
            + bias.second_moment
        )
        return self._from_second_moment(mean, second)

    def keep(
        self, probability: float, gain: float, otherwise: float = 0.0,
        shared: frozenset[str] = frozenset(), samples: int = 1,
    ) -> IndependentSignal:  # fmt: skip
        kept, lost = probability, 1 - probability
        mean = kept * gain * self.mean + lost * otherwise
        within = kept * gain * gain * self.variance
        return IndependentSignal.gaussian(
            mean, within + kept * lost * (gain * self.mean - otherwise) ** 2
        )

    def maximum_of(self, axes: tuple[Windows, ...]) -> IndependentSignal:
        """Eq. 7 and 8 by order statistics; windows cut by the border hold fewer entries."""
        numbers, shares = counts(axes)
        parts = []
        for number in numbers:
            mean, variance = gaussian.maximum_of(int(number))
            parts.append(self.affine_moments(mean, variance))
        return self.mixture(parts, shares.tolist())

    def affine_moments(self, mean: float, variance: float) -> IndependentSignal:
        """M + s·Y for a standardised Y with the given moments."""
        return IndependentSignal.gaussian(
            self.mean + self._deviation * mean, self.variance * variance
        )

    def mean_of(self, axes: tuple[Windows, ...]) -> IndependentSignal:
        """Eq. 7 and 8: the mean of K independent entries has variance v/K."""
        numbers, shares = counts(axes)
        return IndependentSignal.gaussian(
            self.mean, self.variance * float((shares / numbers).sum())
        )

    def resample(self, maps: Sequence[Taps]) -> IndependentSignal:
        gain = math.prod(float((taps.weights**2).sum(1).mean()) for taps in maps)
        total = math.prod(float(taps.weights.sum(1).mean()) for taps in maps)
        square = math.prod(float((taps.weights.sum(1) ** 2).mean()) for taps in maps)
        return self.mix(KernelMoments(gain, square, total), BiasMoments())

    def normalise(
        self, epsilon: float, count: int | None, *, centred: bool,
        samples: int | None = None, positions: bool = False,
    ) -> IndependentSignal:  # fmt: skip
        if centred:
            if count is None:
                total = self.variance + epsilon
                second = self.variance / total if total > 0 else 0.0
            else:
                # Around their own mean, n entries are like n − 1 that have a mean of zero.
                free = self.variance * (count - 1) / count
                second = gaussian.shrinkage(0.0, free, epsilon, count - 1)
            return IndependentSignal.gaussian(0.0, second)
        if count is None:
            scale = 1.0 / math.sqrt(self.second_moment + epsilon)
            return self.affine(scale, 0.0)
        mean, _ = gaussian.direction(self.mean, self.variance, count, epsilon)
        second = gaussian.shrinkage(self.mean, self.variance, epsilon, count)
        return self._from_second_moment(mean, second)

    def softmax(self, count: int) -> IndependentSignal:
        return IndependentSignal.gaussian(*gaussian.softmax(self._deviation, count))

    def combine(self, operation: str, others: Sequence[IndependentSignal]) -> IndependentSignal:
        signals = [self, *others]
        means = [signal.mean for signal in signals]
        variances = [signal.variance for signal in signals]
        match operation:
            case "add":  # eq. 11
                return IndependentSignal.gaussian(sum(means), sum(variances))
            case "average":  # eq. 12
                number = len(signals)
                return IndependentSignal.gaussian(sum(means) / number, sum(variances) / number**2)
            case "subtract":  # eq. 13
                return IndependentSignal.gaussian(means[0] - sum(means[1:]), sum(variances))
            case "multiply":  # eq. 14
                mean, variance = means[0], variances[0]
                for other_mean, other_variance in zip(means[1:], variances[1:], strict=True):
                    # v₁v₂ + v₁m₂² + v₂m₁²: a product's variance without a difference of squares.
                    variance = (
                        variance * (other_variance + other_mean**2) + other_variance * mean**2
                    )
                    mean *= other_mean
                return IndependentSignal.gaussian(mean, variance)
            case "maximum":
                return IndependentSignal.gaussian(*gaussian.maximum(means, variances))
            case "minimum":
                mean, variance = gaussian.maximum([-mean for mean in means], variances)
                return IndependentSignal.gaussian(-mean, variance)
        raise ValueError(f"operation must be add, average, subtract, multiply, maximum or minimum. "
                         f"Received: {operation!r}")  # fmt: skip

    def dot(self, other: IndependentSignal, count: int, *, normalised: bool) -> IndependentSignal:
        if not normalised:
            product = self.combine("multiply", [other])
            return IndependentSignal.gaussian(count * product.mean, count * product.variance)
        first = [gaussian.direction(s.mean, s.variance, count, 0.0) for s in (self, other)]
        # Unit vectors are u/√n: n terms of means, n squares and n(n−1) cross products.
        mean = first[0][0] * first[1][0]
        second = 1.0 / count + (count - 1) / count * first[0][1] * first[1][1]
        return self._from_second_moment(mean, second)

    @classmethod
    def mixture(
        cls, parts: Sequence[IndependentSignal], weights: Sequence[float]
    ) -> IndependentSignal:
        """Eq. 15 and 16."""
        weight = np.asarray(weights, float) / np.sum(weights)
        means = np.array([part.mean for part in parts])
        mean = float(weight @ means)
        within = float(weight @ np.array([part.variance for part in parts]))
        return cls.gaussian(mean, within + float(weight @ (means - mean) ** 2))
