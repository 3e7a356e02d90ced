"""The paper's signal model: mean and variance of independent Gaussian entries.

Functions of one tensor's entries are known as such: a chain of them is one function, and operands
that have such a tensor in common are taken together.

Formulas are those of Bingham & Miikkulainen 2021, appendix A. Where the paper's holds for a zero
mean only (dropout, padding), the general one stands here and `docs/rules.md` says so.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from autoinit.quadrature import bivariate, gaussian
from autoinit.signals.geometry import Taps, Windows, counts
from autoinit.signals.signal import BiasMoments, KernelMoments, Masking, Signal, next_identity

# How many functions one evaluation may go through; longer chains start anew, as Gaussians.
_LONGEST = 64
_OPERATIONS = {
    "add": np.add, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum,
}  # fmt: skip


@dataclass(frozen=True)
class _Origin:
    """What entries are a function of.

    Attributes:
        mean, deviation: of the Gaussian.
        function: of its values.
        length: how many functions it is made of.
    """

    mean: float
    deviation: float
    function: Callable[[Any], Any]
    length: int


@dataclass(frozen=True)
class IndependentSignal(Signal):
    """Mean and variance of a tensor whose entries are taken as independent and Gaussian.

    Attributes:
        mean, variance: of the entries.
        latent_id: equal for functions of the same entries.
        origin: the function; None for Gaussian entries.
    """

    mean: float
    variance: float
    latent_id: Hashable = field(default_factory=next_identity, compare=False, repr=False)
    origin: _Origin | None = field(default=None, compare=False, repr=False)

    @classmethod
    def gaussian(cls, mean: float, variance: float) -> IndependentSignal:
        return cls(float(mean), max(float(variance), 0.0))

    @classmethod
    def _from_second_moment(cls, mean: float, second_moment: float) -> IndependentSignal:
        return cls.gaussian(mean, second_moment - mean * mean)

    @property
    def _deviation(self) -> float:
        return math.sqrt(self.variance)

    @property
    def _from(self) -> _Origin:
        return self.origin or _Origin(self.mean, self._deviation, lambda points: points, 0)

    def with_other_latents(self, origin: Hashable = None) -> IndependentSignal:
        latent_id = next_identity() if origin is None else ("other latents", origin)
        return replace(self, latent_id=latent_id)

    def map(
        self,
        function: Callable[..., Any],
        others: Sequence[IndependentSignal] = (),
        *,
        trimmed: bool = False,
    ) -> tuple[IndependentSignal, bool]:
        """Eq. 5 and 6 by quadrature, over the Gaussians that the operands are functions of."""
        operands = (self, *others)
        origins = {each.latent_id: each._from for each in operands}
        sources = list(origins)
        if len(sources) > 2:
            raise ValueError(f"operands must have two sources at most. Received: {len(sources)}")

        def composed(*points: Any) -> Any:
            at = dict(zip(sources, points, strict=True))
            values = [np.asarray(each._from.function(at[each.latent_id])) for each in operands]
            result = np.asarray(function(*values))
            # What has passed through single precision is known to that, whatever its type.
            single = any(each.dtype == np.float32 for each in values)
            return result.astype(np.float32) if single else result

        evaluated: Callable[..., Any] = composed
        gaussians = [(each.mean, each.deviation) for each in origins.values()]
        if trimmed:
            low, high = bivariate.limits(composed, gaussians)

            def evaluated(*points: Any) -> Any:
                return bivariate.limited(composed(*points), low, high)

        if len(sources) == 2:
            result = bivariate.moments_of_two(evaluated, *gaussians)
            return IndependentSignal(result.mean, result.variance), result.converged
        result = gaussian.moments(evaluated, *gaussians[0])
        signal = IndependentSignal(result.mean, result.variance)
        length = 1 + sum(each._from.length for each in operands)
        if length <= _LONGEST and signal.finite:
            origin = _Origin(*gaussians[0], evaluated, length)
            signal = replace(signal, latent_id=sources[0], origin=origin)
        return signal, result.converged

    def affine(self, scale: Any, offset: Any) -> IndependentSignal:
        a, b = np.broadcast_arrays(np.asarray(scale, float), np.asarray(offset, float))
        mean = a.mean() * self.mean + b.mean()
        # Variance over entries: within a channel, and of the channels' means around theirs.
        within = (a * a).mean() * self.variance
        between = (a * self.mean + b).var()
        result = IndependentSignal.gaussian(mean, within + between)
        before = self._from
        if a.size > 1 or before.length >= _LONGEST:
            return result
        one, other = float(a.flat[0]), float(b.flat[0])
        return replace(
            result,
            latent_id=self.latent_id,
            origin=_Origin(
                before.mean,
                before.deviation,
                lambda points: one * before.function(points) + other,
                before.length + 1,
            ),
        )

    def linear(self, kernel: KernelMoments, bias: BiasMoments) -> IndependentSignal:
        """v·Σw² + m²·(Σw)², the paper's fan_in·Var(w)·(v + m²) for a kernel of zero mean."""
        mean = kernel.total * self.mean + bias.mean
        second = (
            kernel.power * self.variance
            + kernel.squared_sum * self.mean * self.mean
            + 2 * self.mean * bias.cross
            + bias.second_moment
        )
        return self._from_second_moment(mean, second)

    def dropout(
        self,
        probability: float,
        gain: float,
        otherwise: float = 0.0,
        shared: frozenset[str] = frozenset(),
        samples: int = 1,
    ) -> IndependentSignal:
        kept, lost = probability, 1 - probability
        mean = kept * gain * self.mean + lost * otherwise
        within = kept * gain * gain * self.variance
        return IndependentSignal.gaussian(
            mean, within + kept * lost * np.square(gain * self.mean - otherwise)
        )

    def max_pool(self, axes: tuple[Windows, ...]) -> IndependentSignal:
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

    def average_pool(self, axes: tuple[Windows, ...]) -> IndependentSignal:
        """Eq. 7 and 8: the mean of K independent entries has variance v/K."""
        numbers, shares = counts(axes)
        return IndependentSignal.gaussian(
            self.mean, self.variance * float((shares / numbers).sum())
        )

    def linear_map(self, maps: Sequence[Taps]) -> IndependentSignal:
        if all(taps.moves and taps.weights.all() for taps in maps):
            return self.with_other_latents()
        gain = math.prod(float((taps.weights**2).sum(1).mean()) for taps in maps)
        total = math.prod(float(taps.weights.sum(1).mean()) for taps in maps)
        square = math.prod(float((taps.weights.sum(1) ** 2).mean()) for taps in maps)
        return self.linear(KernelMoments(gain, square, total), BiasMoments())

    def normalize(
        self,
        epsilon: float,
        count: int | None,
        *,
        centered: bool,
        samples: int | None = None,
        positions: bool = False,
    ) -> IndependentSignal:
        if centered:
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

    def softmax(self, count: int, masking: Masking | None = None) -> IndependentSignal:
        seen = masking.seen if masking else (count,)
        mean, square = gaussian.masked_softmax(self._deviation, count, seen)
        return self._from_second_moment(mean, square)

    def contract(
        self, other: IndependentSignal, labels: tuple[str, str, str], sizes: dict[str, int]
    ) -> IndependentSignal:
        count = math.prod(size for letter, size in sizes.items() if letter not in labels[2])
        product = self.combine("multiply", [other])
        return IndependentSignal.gaussian(count * product.mean, count * product.variance)

    def combine(self, operation: str, others: Sequence[IndependentSignal]) -> IndependentSignal:
        match operation:
            case "average":  # eq. 12
                return self.combine("add", others).affine(1 / (1 + len(others)), 0.0)
            case "subtract":  # eq. 13
                return self.combine("add", [other.affine(-1.0, 0.0) for other in others])
        if operation not in _OPERATIONS:
            raise ValueError(
                "operation must be add, average, subtract, multiply, maximum or "
                f"minimum. Received: {operation!r}"
            )
        by_source: dict[Hashable, list[IndependentSignal]] = {}
        for signal in (self, *others):
            by_source.setdefault(signal.latent_id, []).append(signal)
        signals = [_together(operation, group) for group in by_source.values()]
        if len(signals) == 1:
            return signals[0]
        means = [signal.mean for signal in signals]
        variances = [signal.variance for signal in signals]
        if operation == "add":  # eq. 11
            return IndependentSignal.gaussian(sum(means), sum(variances))
        if operation == "multiply":  # eq. 14
            mean, variance = means[0], variances[0]
            for other_mean, other_variance in zip(means[1:], variances[1:], strict=True):
                # v₁v₂ + v₁m₂² + v₂m₁²: a product's variance without a difference of squares.
                second = other_variance + other_mean * other_mean
                variance = variance * second + other_variance * (mean * mean)
                mean *= other_mean
            return IndependentSignal.gaussian(mean, variance)
        if operation == "maximum":
            return IndependentSignal.gaussian(*gaussian.maximum(means, variances))
        mean, variance = gaussian.maximum([-mean for mean in means], variances)
        return IndependentSignal.gaussian(-mean, variance)

    def dot(self, other: IndependentSignal, count: int, *, normalized: bool) -> IndependentSignal:
        if not normalized:
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


def _together(operation: str, signals: Sequence[IndependentSignal]) -> IndependentSignal:
    """An operation on functions of the same entries, exactly."""

    def function(*values: Any) -> Any:
        return functools.reduce(_OPERATIONS[operation], values)

    return signals[0] if len(signals) == 1 else signals[0].map(function, signals[1:])[0]
