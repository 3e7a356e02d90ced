"""The correlated signal model: distributions, and covariances between positions and samples.

Every expectation is over data *and* over the weights' distribution, which makes the channels of a
tensor exchangeable. A signal carries the distribution of an entry, the mean at each position, and
the covariances of two entries of one channel: in the same sample (at two positions) and in
different samples. What a channel has in common over all samples, such as the offset that a
non-zero mean gives it, is a covariance between samples. The letters A to G refer to
`docs/signal-model.md`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from autoinit import gaussian
from autoinit.geometry import Windows
from autoinit.signals import marginals
from autoinit.signals.marginals import GRID
from autoinit.signals.pairs import at_diagonal, diagonal, each_with_each, mapped_along
from autoinit.signals.positions import (
    Axis,
    SpatialMap,
    applied_matrix,
    averaging,
    axes_of,
    summed_windows,
    window_pairs,
)  # fmt: skip
from autoinit.signals.signal import Array, BiasMoments, KernelMoments, Observed, Signal

_next_identity = itertools.count().__next__
_OPERATIONS = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "maximum": np.maximum,
    "minimum": np.minimum,
}  # fmt: skip
# Statistics over "a great many" entries.
_MANY = 10**9


@dataclass(frozen=True, eq=False)
class CorrelatedSignal(Signal):
    """What is known of a tensor's entries x(sample, position, channel).

    Attributes:
        axes: the spatial axes; None for a tensor without a known shape, whose entries are all
            independent.
        means: at the representative positions, one array axis per spatial axis.
        within: covariances of two positions of one sample; the pairs of an axis are one array
            axis of length count².
        between: the same for two positions in different samples.
        shape: the entries' standardised distribution, a function of Z on the grid.
        source: equal for signals that are functions of the same Gaussians: what x and f(x) share.
        parts: of a concatenation: (share of the channels, signal).
        given: whether channels differ by parameters that are known: their mean is then no draw.
    """

    axes: tuple[Axis, ...] | None
    means: Array
    within: Array
    between: Array
    shape: Array
    source: Hashable = field(default_factory=_next_identity)
    parts: tuple[tuple[float, CorrelatedSignal], ...] = ()
    given: bool = False
    identity: int = field(init=False, default_factory=_next_identity)

    # What is read off.

    @cached_property
    def variances(self) -> Array:
        """At the representative positions."""
        return np.maximum(diagonal(self.within, self.means.shape), 0.0)

    @cached_property
    def mean(self) -> float:  # type: ignore[override]
        return self._average(self.means)

    @cached_property
    def variance(self) -> float:  # type: ignore[override]
        """Over positions too: where they have different means, these count."""
        centred = self.means - self.mean
        return self._average(self.variances + centred * centred)

    def observed(self, channels: int, samples: int) -> Observed:
        """One draw's mean is random itself, and takes its part of the variance (see `Signal`)."""
        channels = _MANY if self.given else max(channels, 1)
        shared = self._over_pairs(self.within) / samples
        shared += (1 - 1 / samples) * self._over_pairs(self.between)
        expected = max(self.variance - max(shared, 0.0) / channels, 0.0)
        total = self._average(self.variances)
        if not total > 0:
            return Observed(self.mean, self.variance, expected)
        alike = self._average(diagonal(self.between, self.means.shape)) / total
        positions = self._over_pairs(self.within) / total
        return Observed(self.mean, self.variance, expected, alike, positions)

    def _average(self, values: Array) -> float:
        for axis in reversed(self.axes or ()):
            values = values @ axis.shares
        return float(values)

    def _over_pairs(self, pairs: Array) -> float:
        for axis in reversed(self.axes or ()):
            pairs = pairs @ axis.over_pairs
        return float(pairs)

    @property
    def _deviations(self) -> Array:
        return np.sqrt(self.variances)

    @property
    def _products(self) -> Array:
        """m_p·m_q."""
        first, second = each_with_each(self.means)
        return first * second

    def _functions(self) -> Array:
        """The entries at each position as functions of Z: (positions…, grid)."""
        return self.means[..., None] + self._deviations[..., None] * self.shape

    def _latent(self) -> Array:
        """Correlations of the Gaussians behind the entries: (2, pairs…), within and between."""
        first, second = each_with_each(self._deviations)
        scale = first * second
        both = np.stack([self.within, self.between])
        with np.errstate(divide="ignore", invalid="ignore"):
            correlations = np.where(scale > 0, both / scale, 0.0)
        return marginals.latent_correlations(correlations, self.shape)

    # How signals are made.

    @classmethod
    def gaussian(cls, mean: float, variance: float) -> CorrelatedSignal:
        return cls(
            None, np.array(float(mean)), np.array(max(float(variance), 0.0)), np.array(0.0), GRID
        )

    def _from_functions(
        self, functions: Array, latent: Array, source: Hashable
    ) -> CorrelatedSignal:
        """Entries that are given functions of Gaussians with given correlations (A and B)."""
        found, rest = marginals.coefficients(functions)
        means, variances = marginals.moments(functions)
        orders = [each_with_each(found[..., order]) for order in range(found.shape[-1])]
        beyond = each_with_each(rest)
        both = marginals.covariances(
            ([first for first, _ in orders], beyond[0]),
            ([second for _, second in orders], beyond[1]),
            latent,
        )
        common = functions - means[..., None]
        for axis in self.axes or ():
            common = np.tensordot(axis.shares, common, axes=(0, 0))
        return replace(
            self, means=means, within=at_diagonal(both[0], variances), between=both[1],
            shape=marginals.standardised(common), source=source, parts=(),
        )  # fmt: skip

    def arrange(self, sizes: Sequence[int]) -> CorrelatedSignal:
        sizes = tuple(sizes)
        if self.axes is None:
            return self._spread(sizes, self)
        mine = tuple(axis.size for axis in self.axes)
        if mine == sizes:
            return self
        if [size for size in mine if size != 1] == [size for size in sizes if size != 1]:
            axes = axes_of(sizes)
            pairs = [axis.count**2 for axis in axes]
            return replace(
                self, axes=axes, means=self.means.reshape([axis.count for axis in axes]),
                within=self.within.reshape(pairs), between=self.between.reshape(pairs),
                parts=tuple((share, part.arrange(sizes)) for share, part in self.parts),
            )  # fmt: skip
        # Other units at other positions: with weights of their own, they do not correlate.
        return self._spread(sizes, self.flatten())

    @staticmethod
    def _spread(sizes: tuple[int, ...], signal: CorrelatedSignal) -> CorrelatedSignal:
        """A signal without positions, at positions with nothing in common."""
        axes = axes_of(sizes)
        counts = tuple(axis.count for axis in axes)
        nothing = np.zeros([count**2 for count in counts])
        return replace(
            signal, axes=axes, means=np.full(counts, float(signal.means)),
            within=at_diagonal(nothing, np.full(counts, float(signal.within))),
            between=at_diagonal(nothing, np.full(counts, float(signal.between))),
            source=_next_identity(), parts=(),
        )  # fmt: skip

    def repeat(self, sizes: Sequence[int]) -> CorrelatedSignal:
        """The same entries at every position of the axes that are new or of size 1."""
        sizes = tuple(sizes)
        if self.axes is None:
            return self.arrange(sizes)
        mine = tuple(axis.size for axis in self.axes)
        missing = len(sizes) - len(mine)
        fits = missing >= 0 and all(
            size in (1, wanted) for size, wanted in zip(mine, sizes[missing:], strict=True)
        )
        if mine == sizes or not fits:
            return self.arrange(sizes)
        axes = axes_of(sizes)
        counts, pairs = [a.count for a in axes], [a.count**2 for a in axes]
        ones = (1,) * missing
        return replace(
            self, axes=axes,
            means=np.broadcast_to(self.means.reshape(ones + self.means.shape), counts),
            within=np.broadcast_to(self.within.reshape(ones + self.within.shape), pairs),
            between=np.broadcast_to(self.between.reshape(ones + self.between.shape), pairs),
            parts=(),
        )  # fmt: skip

    def flatten(self) -> CorrelatedSignal:
        if not self.axes:
            return replace(self, axes=())
        alike = diagonal(self.between, self.means.shape)
        centred = (self.means - self.mean) ** 2
        return CorrelatedSignal(
            (), np.array(self.mean), np.array(self.variance),
            np.array(self._average(alike + centred)), self.shape,
        )  # fmt: skip

    # What layers do.

    def map(self, function: Callable[[Any], Any]) -> tuple[CorrelatedSignal, bool]:
        """f∘g on the grid; the Gaussians behind the entries stay as they are (A and B)."""
        if self.parts:
            parts = [part.map(function)[0] for _, part in self.parts]
            return self.mixture(parts, [share for share, _ in self.parts]), True
        points = self._functions()
        values = np.asarray(function(points.reshape(-1)), np.float64).reshape(points.shape)
        return self._from_functions(values, self._latent(), self.source), True

    def affine(self, scale: Any, offset: Any) -> CorrelatedSignal:
        """Over channels: Q → E[a²]·Q + E[ab]·(m_p + m_q) + E[b²] (F)."""
        a, b = np.broadcast_arrays(np.asarray(scale, float), np.asarray(offset, float))
        alike = a.size == 1
        if self.parts and alike:
            parts = [part.affine(scale, offset) for _, part in self.parts]
            return self.mixture(parts, [share for share, _ in self.parts])
        first, second = each_with_each(self.means)
        means = a.mean() * self.means + b.mean()
        new_first, new_second = each_with_each(means)
        # Channels that are scaled and moved differently have this in common with themselves.
        offsets = (
            (a * a).mean() * first * second + (a * b).mean() * (first + second) + (b * b).mean()
            - new_first * new_second
        )  # fmt: skip
        power = (a * a).mean()
        turned = a.mean() < 0 and self.shape is not GRID
        return replace(
            self, means=means, within=power * self.within + offsets,
            between=power * self.between + offsets, shape=-self.shape if turned else self.shape,
            source=self.source if alike else _next_identity(), parts=(),
            given=self.given or bool(np.ptp(a) or np.ptp(b)),
        )  # fmt: skip

    def mix(self, kernel: KernelMoments, bias: BiasMoments) -> CorrelatedSignal:
        """Second moments are summed over the taps that two positions share (C)."""
        signal = self
        if kernel.windows and (self.axes is None or len(self.axes) != len(kernel.windows)):
            signal = self.arrange([int(windows.max()) + 1 for windows in kernel.windows])
        axes = signal.axes or ()
        maps = [
            summed_windows(windows, axis, len(axes))
            for windows, axis in zip(kernel.windows, axes, strict=False)
        ]
        seen = math.prod(float((windows >= 0).sum(1).mean()) for windows in kernel.windows)
        power = kernel.power / seen if seen else 0.0
        # Given weights have sums of their own, besides their squares.
        mean = kernel.total * signal.mean + bias.mean
        common = (
            (kernel.squared_sum - kernel.power) * signal.mean**2
            + 2 * signal.mean * bias.cross + bias.second_moment - mean * mean
        )  # fmt: skip
        products = signal._products
        within, between = (
            power * mapped_along(pairs + products, [m.pairs for m in maps]) + common
            for pairs in (signal.within, signal.between)
        )
        output = tuple(m.output for m in maps) or axes
        means = np.full([axis.count for axis in output], mean)
        return CorrelatedSignal(output, means, within, between, GRID)

    def keep(self, probability: float, gain: float, otherwise: float = 0.0) -> CorrelatedSignal:
        kept, lost = probability, 1 - probability
        variances = kept * gain**2 * self.variances
        variances = variances + kept * lost * (gain * self.means - otherwise) ** 2
        centre, scale = self._average(self.means), math.sqrt(self._average(self.variances))
        values = np.append(gain * (centre + scale * self.shape), otherwise)
        shape = marginals.quantiles(values, np.append(kept * marginals.WEIGHTS, lost))
        return replace(
            self, means=kept * gain * self.means + lost * otherwise,
            within=at_diagonal((kept * gain) ** 2 * self.within, variances),
            between=(kept * gain) ** 2 * self.between, shape=marginals.standardised(shape),
            source=_next_identity(), parts=(),
        )  # fmt: skip

    def resample(self, matrices: Sequence[Array]) -> CorrelatedSignal:
        signal = self if self.axes is not None else self.arrange([m.shape[1] for m in matrices])
        if len(matrices) != len(signal.axes or ()):
            signal = signal.arrange([m.shape[1] for m in matrices])
        maps = signal._applied(matrices)
        moved = all(((m == 0) | (m == 1)).all() and m.sum(1).max() <= 1 for m in matrices)
        result = CorrelatedSignal(
            tuple(m.output for m in maps),
            mapped_along(signal.means, [m.singles for m in maps]),
            mapped_along(signal.within, [m.pairs for m in maps]),
            mapped_along(signal.between, [m.pairs for m in maps]),
            signal.shape,
            # The same operation on the same tensor gives the same tensor.
            ("resample", self.identity, *(matrix.tobytes() for matrix in matrices)),
        )
        return result if moved else replace(result, shape=signal._averaged_shape(result))

    def _applied(self, matrices: Sequence[Array]) -> list[SpatialMap]:
        axes = self.axes or ()
        return [
            applied_matrix(matrix, axis, len(axes))
            for matrix, axis in zip(matrices, axes, strict=True)
        ]

    def _averaged_shape(self, mean: CorrelatedSignal) -> Array:
        """What the entries of a window share keeps its distribution, the rest turns Gaussian."""
        if self.shape is GRID:
            return GRID
        before = self._average(self.variances)
        shared = mean._average(mean.variances) / before if before > 0 else 0.0
        shared = min(max(shared, 0.0), 1.0)
        parts = math.sqrt(shared) * self.shape, math.sqrt(1 - shared) * GRID
        return marginals.standardised(marginals.combined(np.add, *parts))

    def mean_of(self, axes: tuple[Windows, ...]) -> CorrelatedSignal:
        """Averages keep what is shared and divide the rest (B)."""
        sizes = [axis.size for axis in self.axes or ()]
        if len(sizes) != len(axes) or self.axes is None:
            sizes = [int(windows.max()) + 1 for windows in axes]
        averages = [averaging(windows, size) for windows, size in zip(axes, sizes, strict=True)]
        return self.arrange(sizes).resample(averages)

    def maximum_of(self, axes: tuple[Windows, ...]) -> CorrelatedSignal:
        """The largest of equicorrelated entries, in each window with its own correlation (A).

        The Gaussians of a window are √ρ·U + √(1 − ρ)·V_i: the largest has the variance
        ρ + (1 − ρ)·Var max V, and two windows share U as their entries do, and V where they
        overlap.
        """
        if self.axes is None or len(self.axes) != len(axes):
            return self.arrange([int(windows.max()) + 1 for windows in axes]).maximum_of(axes)
        rank = len(axes)
        within, between = self._latent()
        averages = [
            averaging(windows, axis.size) for windows, axis in zip(axes, self.axes, strict=True)
        ]
        maps = self._applied(averages)
        output = tuple(m.output for m in maps)
        numbers = np.array(1.0)
        for windows, axis in zip(axes, output, strict=True):
            number = (windows[axis.representatives] >= 0).sum(1)
            numbers = np.multiply.outer(numbers, number.astype(float))
        inside = [window_pairs(w, axis, rank) for w, axis in zip(axes, self.axes, strict=True)]
        pairs = np.maximum(numbers * (numbers - 1), 1.0)
        correlation = (mapped_along(within, inside) - numbers) / pairs
        correlation = np.clip(np.where(numbers > 1, correlation, 1.0), 0.0, 1.0)
        spread = np.vectorize(lambda number: gaussian.maximum_of(int(number))[1])(numbers)

        itself = at_diagonal(np.zeros_like(within), np.ones(self.means.shape))
        same = mapped_along(itself, [m.pairs for m in maps])  # entries of both windows / K²
        own = _root_product(1 - correlation)
        scale = _root_product(correlation + (1 - correlation) * spread)
        scale = np.where(scale > 0, scale, 1.0)
        common = mapped_along(within, [m.pairs for m in maps]) - own * same
        latent = np.stack([
            (common + own * same * _root_product(spread * numbers)) / scale,
            mapped_along(between, [m.pairs for m in maps]) / scale,
        ])  # fmt: skip

        means = mapped_along(self.means, [m.singles for m in maps])
        deviations = np.sqrt(mapped_along(self.variances, [m.singles for m in maps]))
        rising = np.sort(self.shape)
        functions = np.empty((*means.shape, len(GRID)))
        for place in np.ndindex(means.shape):
            top = marginals.largest(int(numbers[place]), round(float(correlation[place]), 2))
            functions[place] = means[place] + deviations[place] * np.interp(top, GRID, rising)
        frame = CorrelatedSignal(output, means, same, same, GRID)
        source = ("maximum", self.identity, *(windows.tobytes() for windows in axes))
        return frame._from_functions(functions, np.clip(latent, -1.0, 1.0), source)

    def normalise(
        self, epsilon: float, count: int | None, *, centred: bool,
        samples: int | None = None, positions: bool = False,
    ) -> CorrelatedSignal:  # fmt: skip
        if samples is not None:
            return self._normalise_batch(epsilon, samples)
        if positions:
            return self._normalise_group(epsilon, count or _MANY)
        return self._normalise_channels(epsilon, count or _MANY, centred)

    def _normalise_batch(self, epsilon: float, samples: int) -> CorrelatedSignal:
        """A channel's mean over samples and positions is removed, with all that they share (D)."""
        if self.parts:
            # Channels of different origin have statistics of their own.
            parts = [part._normalise_batch(epsilon, samples) for _, part in self.parts]
            return replace(self.mixture(parts, [share for share, _ in self.parts]), parts=())
        signal = self if self.axes is not None else self.arrange(())
        return signal._without_mean(
            1 / samples, 1 - 1 / samples, signal.within, signal.between, epsilon
        )

    def _normalise_group(self, epsilon: float, count: int) -> CorrelatedSignal:
        """The mean over all positions of some channels of one sample is removed."""
        signal = self if self.axes is not None else self.arrange(())
        places = math.prod(axis.size for axis in signal.axes or ())
        channels = max(count / places, 1.0)
        return signal._without_mean(1 / channels, 0.0, signal.within, signal.between, epsilon)

    def _without_mean(
        self, inner: float, outer: float, within: Array, between: Array, epsilon: float
    ) -> CorrelatedSignal:
        """X less a mean of covariance `inner`·within + `outer`·between, over its scale."""
        axes = self.axes or ()
        batch = outer > 0
        average = [axis.over_second for axis in axes]
        removed = [
            mapped_along(inner * own + outer * other, average)
            for own, other in (
                [(within, between)] * 2 if batch else [(within, within), (between, between)]
            )
        ]
        covariances = []
        for pairs, mean in zip((within, between), removed, strict=True):
            first, second = each_with_each(mean)
            covariances.append(pairs - first - second + self._average(mean))
        if batch:
            # What is left of the mean is exactly nothing.
            left = inner * self._over_pairs(covariances[0])
            left += outer * self._over_pairs(covariances[1])
            covariances = [pairs - left for pairs in covariances]
        means = self.means - self.mean
        variances = np.maximum(diagonal(covariances[0], means.shape), 0.0)
        total = self._average(variances + means * means) + epsilon
        scale = 1 / total if total > 0 else 0.0
        return replace(
            self, means=means * math.sqrt(scale), within=covariances[0] * scale,
            between=covariances[1] * scale, source=_next_identity(), parts=(),
        )  # fmt: skip

    def _normalise_channels(self, epsilon: float, count: int, centred: bool) -> CorrelatedSignal:
        """Over the channels of one position: their mean is the expectation, and scales divide."""
        free = (count - 1) / count if centred else 1.0
        means = np.zeros_like(self.means) if centred else self.means
        totals = free * self.variances + means * means + epsilon
        deviations = np.sqrt(np.where(totals > 0, totals, 1.0))
        first, second = each_with_each(deviations)
        scale = free / (first * second)
        return replace(
            self, means=means / deviations, within=self.within * scale,
            between=self.between * scale, source=_next_identity(), parts=(),
        )  # fmt: skip

    def softmax(self, count: int) -> CorrelatedSignal:
        mean, variance = gaussian.softmax(math.sqrt(self.variance), count)
        first, second = each_with_each(self._deviations)
        scale = first * second
        with np.errstate(divide="ignore", invalid="ignore"):
            within, between = (
                np.where(scale > 0, variance * pairs / scale, 0.0)
                for pairs in (self.within, self.between)
            )
        return replace(
            self, means=np.full_like(self.means, mean), within=within, between=between,
            source=_next_identity(), parts=(),
        )  # fmt: skip

    def combine(self, operation: str, others: Sequence[CorrelatedSignal]) -> CorrelatedSignal:
        if operation == "average":
            return self.combine("add", others).affine(1 / (1 + len(others)), 0.0)
        if operation not in _OPERATIONS:
            raise ValueError(
                f"operation must be one of average, {', '.join(_OPERATIONS)}. "
                f"Received: {operation!r}"
            )
        result = self
        for other in others:
            result = result._combined(operation, other)
        return result

    def _combined(self, operation: str, other: CorrelatedSignal) -> CorrelatedSignal:
        first, second = _at_same_positions(self, other)
        function = _OPERATIONS[operation]
        if first.source == second.source:
            # Functions of the same Gaussians are taken together, exactly (E).
            values = function(first._functions(), second._functions())
            return first._from_functions(values, first._latent(), first.source)
        if operation in ("add", "subtract"):
            return first._sum(second, 1.0 if operation == "add" else -1.0)
        x, y = (
            signal._average(signal.means)
            + math.sqrt(signal._average(signal.variances)) * signal.shape
            for signal in (first, second)
        )
        combined = marginals.combined(function, x, y)
        if operation == "multiply":
            return first._product(second, marginals.standardised(combined))
        return first._extreme(second, combined)

    def _sum(self, other: CorrelatedSignal, sign: float) -> CorrelatedSignal:
        shape = GRID
        if self.shape is not GRID or other.shape is not GRID:
            x = math.sqrt(self._average(self.variances)) * self.shape
            y = sign * math.sqrt(other._average(other.variances)) * other.shape
            shape = marginals.standardised(marginals.combined(np.add, x, y))
        return CorrelatedSignal(
            self.axes, self.means + sign * other.means, self.within + other.within,
            self.between + other.between, shape,
        )  # fmt: skip

    def _product(self, other: CorrelatedSignal, shape: Array) -> CorrelatedSignal:
        """Second moments multiply, pair by pair (G)."""
        mine, theirs = self._products, other._products
        within, between = (
            (a + mine) * (b + theirs) - mine * theirs
            for a, b in ((self.within, other.within), (self.between, other.between))
        )
        return CorrelatedSignal(self.axes, self.means * other.means, within, between, shape)

    def _extreme(self, other: CorrelatedSignal, combined: Array) -> CorrelatedSignal:
        """Correlations of a maximum are taken as the mean of those of the operands."""
        mean, variance = marginals.moments(combined)
        within, between = (
            variance * 0.5 * sum(
                pairs / max(signal._average(signal.variances), np.finfo(float).tiny)
                for pairs, signal in zip(both, (self, other), strict=True)
            )
            for both in ((self.within, other.within), (self.between, other.between))
        )  # fmt: skip
        return CorrelatedSignal(
            self.axes, np.full_like(self.means, mean), within, between,
            marginals.standardised(combined),
        )  # fmt: skip

    def dot(self, other: CorrelatedSignal, count: int, *, normalised: bool) -> CorrelatedSignal:
        mine, theirs = (
            signal.flatten()._normalise_channels(0.0, count, False).affine(count**-0.5, 0.0)
            if normalised
            else signal.flatten()
            for signal in (self, other)
        )
        product = mine.combine("multiply", [theirs])
        return self.gaussian(count * product.mean, count * product.variance)

    @classmethod
    def mixture(
        cls, parts: Sequence[CorrelatedSignal], weights: Sequence[float]
    ) -> CorrelatedSignal:
        found = [
            (weight * share, inner)
            for part, weight in zip(parts, weights, strict=True)
            for share, inner in (part.parts or ((1.0, part),))
        ]
        axes = next((part.axes for _, part in found if part.axes is not None), ())
        sizes = [axis.size for axis in axes]
        total = sum(weight for weight, _ in found)
        shares = [(weight / total, part.arrange(sizes)) for weight, part in found]
        if len(shares) == 1:
            return shares[0][1]
        means = sum(share * part.means for share, part in shares)
        first, second = each_with_each(np.asarray(means))
        within, between = (
            sum(share * (pairs + part._products) for (share, part), pairs in zip(
                shares, each, strict=True)) - first * second
            for each in (
                [part.within for _, part in shares], [part.between for _, part in shares],
            )
        )  # fmt: skip
        return cls(
            axes, np.asarray(means), np.asarray(within), np.asarray(between), _mixed_shape(shares),
            parts=tuple(shares),
        )  # fmt: skip


def _mixed_shape(shares: Sequence[tuple[float, CorrelatedSignal]]) -> Array:
    places = {(part.mean, part.variance) for _, part in shares}
    if len(places) == 1 and all(part.shape is GRID for _, part in shares):
        return GRID
    values = [
        part._average(part.means) + math.sqrt(part._average(part.variances)) * part.shape
        for _, part in shares
    ]
    weights = [share * marginals.WEIGHTS for share, _ in shares]
    mixed = marginals.quantiles(np.concatenate(values), np.concatenate(weights))
    return marginals.standardised(mixed)


def _root_product(values: Array) -> Array:
    first, second = each_with_each(np.sqrt(np.maximum(values, 0.0)))
    return np.asarray(first * second)


def _at_same_positions(
    first: CorrelatedSignal, second: CorrelatedSignal
) -> tuple[CorrelatedSignal, CorrelatedSignal]:
    """Two operands at the positions of their result: sizes of 1 are repeated."""
    if first.axes is None and second.axes is None:
        return first.arrange(()), second.arrange(())
    mine, theirs = (tuple(axis.size for axis in signal.axes or ()) for signal in (first, second))
    longest = max(len(mine), len(theirs))
    padded = [(1,) * (longest - len(sizes)) + sizes for sizes in (mine, theirs)]
    sizes = tuple(map(max, *padded))
    return first.repeat(sizes), second.repeat(sizes)
