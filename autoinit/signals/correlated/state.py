"""The correlated signal model: distributions, and covariances between positions and samples.

Every expectation is over data *and* over the weights' distribution, which makes the channels of a
tensor exchangeable. A signal carries the distribution of an entry, the mean at each position, and
the covariances of two entries of one channel: in the same sample (at two positions) and in
different samples. What a channel has in common over all samples, such as the offset that a
non-zero mean gives it, is a covariance between samples. The letters A to G refer to
`docs/signal-model.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from autoinit.signals.correlated import (
    combination,
    marginals,
    pooling,
)
from autoinit.signals.correlated import (
    elementwise as mapping,
)
from autoinit.signals.correlated import (
    normalization as normalisation,
)
from autoinit.signals.correlated import (
    reshape as arrangement,
)
from autoinit.signals.correlated import (
    sample_effects as fluctuations,
)
from autoinit.signals.correlated.marginals import STANDARD, Marginal
from autoinit.signals.correlated.pairs import (
    at_diagonal,
    diagonal,
    each_with_each,
    mapped_along,
    products,
)
from autoinit.signals.correlated.positions import (
    Axis,
    SpatialMap,
    applied_along,
    axes_of,
    summed_windows,
)
from autoinit.signals.correlated.statistics import fixed_squares
from autoinit.signals.geometry import Taps, Windows
from autoinit.signals.signal import (
    MANY,
    Array,
    BiasMoments,
    KernelMoments,
    Masking,
    Observed,
    Signal,
    next_identity,
)


@dataclass(frozen=True, eq=False)
class CorrelatedSignal(Signal):
    """What is known of a tensor's entries x(sample, position, channel).

    Attributes:
        axes: the spatial axes; None for a tensor without a known shape, whose entries are all
            independent.
        means: at the representative positions, one array axis per spatial axis.
        cov_positions: covariances of two positions of one sample; the pairs of an axis are one
            array axis of length count².
        cov_samples: the same for two positions in different samples.
        stored_marginal: `marginal`, or None where it is to be mixed from `parts` once it is asked
            for.
        latent_id: equal for signals that are functions of the same Gaussians: what x and f(x)
            share.
        parts: of a concatenation: (share of the channels, signal).
        known_channels: whether channels differ by parameters that are known: their mean is then
            no draw.
        centered_second_moments: of samples (the quadrature nodes over them) without what all
            samples of a channel share, where these are not those of `marginal` (H).
        correlation_variance: variance over channels of the correlations over positions (H).
        normalized_samples: over which each channel's second moment was made the same, or 0 (D).
        private_share: of the variance of the logarithms of the samples' second moments, what
            comes from weights which only this branch has seen (H).
        channel_variance: relative variance, over samples, of a channel's second moment around its
            sample's, as far as it comes from the channel before (H).
        latent_is_gaussian: whether the entries are the very function of Gaussians that `marginal`
            says.
        log_variance: variance, over draws of the weights, of the logarithm of what the signal's
            second moment is in one draw (I).
        cov_channels: covariances of two channels, over positions and over samples, as in
            `cov_positions` and `cov_samples`; None where they have none.
        logits: what the entries are but for a mask that was added to them, and the mask.
    """

    axes: tuple[Axis, ...] | None
    means: Array
    cov_positions: Array
    cov_samples: Array
    stored_marginal: Marginal | None
    latent_id: Hashable = field(default_factory=next_identity)
    parts: tuple[tuple[float, CorrelatedSignal], ...] = ()
    known_channels: bool = False
    centered_second_moments: Array | None = None
    correlation_variance: Array | None = None
    normalized_samples: int = 0
    private_share: float = 0.0
    channel_variance: float = 0.0
    latent_is_gaussian: bool = False
    log_variance: float = 0.0
    cov_channels: tuple[Array, Array] | None = None
    logits: tuple[CorrelatedSignal, Masking] | None = None
    identity: int = field(init=False, default_factory=next_identity)

    # What is read off.

    @cached_property
    def marginal(self) -> Marginal:
        """The entries' standardized distribution, a function of Z."""
        return (
            combination.mixed_marginal(self.parts)
            if self.stored_marginal is None
            else self.stored_marginal
        )

    @cached_property
    def variances(self) -> Array:
        """At the representative positions."""
        return np.maximum(diagonal(self.cov_positions, self.means.shape), 0.0)

    # Both are asked for as attributes, which may be assigned to; here they follow from the arrays.
    @cached_property
    def mean(self) -> float:  # type: ignore[override]
        return self.average(self.means)

    @cached_property
    def variance(self) -> float:  # type: ignore[override]
        """Over positions too: where they have different means, these count."""
        centered = self.means - self.mean
        return self.average(self.variances + centered * centered)

    @property
    def chi_1(self) -> float | None:
        functions = self.overall()
        second = float((functions**2 @ marginals.WEIGHTS).mean())
        if not (self.latent_is_gaussian and second > 0):
            return None
        return marginals.squared_derivative(functions) / second

    def observed(self, channels: int, samples: int) -> Observed:
        """One draw's mean is random itself, and takes its part of the variance (see `Signal`)."""
        channels = MANY if self.known_channels else max(channels, 1)
        shared = max(self.over_batch(self.cov_positions, self.cov_samples, samples), 0.0) / channels
        if self.cov_channels:
            shared += max(self.over_batch(*self.cov_channels, samples), 0.0) * (1 - 1 / channels)
        expected = max(self.variance - shared, 0.0)
        total = self.average(self.variances)
        if not total > 0:
            return Observed(self.mean, self.variance, expected)
        scatter = math.log1p(fluctuations.mean_square_variance(self, self.mean, samples) / channels)
        return Observed(
            self.mean,
            self.variance,
            expected * math.exp(-scatter / 2),
            sample_correlation=self.average(diagonal(self.cov_samples, self.means.shape)) / total,
            position_correlation=self.over_pairs(self.cov_positions) / total,
            log_deviation=math.sqrt(self.log_variance + scatter),
        )

    def over_batch(self, cov_positions: Array, cov_samples: Array, samples: int) -> float:
        """Mean over all pairs of entries of a channel, in a batch of so many samples."""
        same, other = self.over_pairs(cov_positions), self.over_pairs(cov_samples)
        return same / samples + (1 - 1 / samples) * other

    def average(self, values: Array) -> float:
        """Mean over real positions of values at the representative ones."""
        for axis in reversed(self.axes or ()):
            values = values @ axis.shares
        return float(values)

    def over_pairs(self, pairs: Array) -> float:
        """Mean over all pairs of real positions."""
        for axis in reversed(self.axes or ()):
            pairs = pairs @ axis.over_pairs
        return float(pairs)

    @property
    def deviations(self) -> Array:
        return np.sqrt(self.variances)

    @property
    def mean_products(self) -> Array:
        """m_p·m_q."""
        first, second = each_with_each(self.means)
        return first * second

    def functions(self) -> Array:
        """The entries at each position as functions of Z: (positions…, typical samples, grid)."""
        deviations = self.deviations[..., None, None]
        return self.means[..., None, None] + deviations * self.marginal.functions

    def overall(self) -> Array:
        """The entries of all positions together as functions of Z: (typical samples, grid)."""
        scale = math.sqrt(self.average(self.variances))
        return self.average(self.means) + scale * self.marginal.functions

    def second_moments(self) -> tuple[Array, Array]:
        """E x² in each typical sample, and E (x − m)² where m is a channel's mean (H)."""
        means, deviations = self.means, self.deviations
        first, second = self.marginal.means, self.marginal.second_moments
        spread = self.average(self.variances) * second
        away = means - self.mean
        with_mean = self.average(means**2) + 2 * self.average(means * deviations) * first
        without = self.average(away**2) + 2 * self.average(away * deviations) * first
        return with_mean + spread, without + spread

    def latent(self) -> Array:
        """Correlations of the Gaussians behind the entries: (2, pairs…), within and between."""
        first, second = each_with_each(self.deviations)
        scale = first * second
        both = np.stack([self.cov_positions, self.cov_samples])
        with np.errstate(divide="ignore", invalid="ignore"):
            correlations = np.where(scale > 0, both / scale, 0.0)
        return marginals.latent_correlations(correlations, self.marginal)

    # How signals are made.

    @classmethod
    def gaussian(cls, mean: float, variance: float) -> CorrelatedSignal:
        return cls(
            None,
            np.array(float(mean)),
            np.array(max(float(variance), 0.0)),
            np.array(0.0),
            STANDARD,
            latent_is_gaussian=True,
        )

    @classmethod
    def of_values(cls, values: Array) -> CorrelatedSignal:
        """Two positions have in common what the channels' means over positions do."""
        signal = cls.gaussian(float(values.mean()), float(values.var()))
        places = math.prod(values.shape[:-1])
        if places > 1:
            shared = values.reshape(places, -1).mean(0).var()
            apart = (places * float(shared) - signal.variance) / (places - 1)
            signal = signal.arrange(values.shape[:-1])._with_others(apart)
        return replace(signal.of_every_sample(), known_channels=True, latent_is_gaussian=False)

    def _with_others(self, covariance: float) -> CorrelatedSignal:
        """The same covariance between any two positions of a sample."""
        counts = self.means.shape
        cov_positions = np.full_like(self.cov_positions, covariance)
        return replace(
            self, cov_positions=at_diagonal(cov_positions, self.variances.reshape(counts))
        )

    def masked(self, logits: CorrelatedSignal, masking: Masking) -> CorrelatedSignal:
        return replace(self, logits=(logits, masking))

    def looked_up(self, sizes: Sequence[int], rows: float) -> CorrelatedSignal:
        table = self.arrange(())
        signal = self._spread(tuple(sizes), table)._with_others(table.variance / rows)
        return replace(
            signal, cov_samples=np.full_like(signal.cov_positions, table.variance / rows)
        )

    def of_every_sample(self) -> CorrelatedSignal:
        return replace(self, cov_samples=self.cov_positions)

    def from_functions(
        self, functions: Array, latent: Array, latent_id: Hashable
    ) -> CorrelatedSignal:
        """Entries that are given functions of Gaussians with given correlations (A and B)."""
        counts = functions.shape[:-2]
        found, rest = marginals.coefficients(functions.reshape(-1, *functions.shape[-2:]))
        means, variances = marginals.moments(functions)
        # By order, typical sample and position.
        found, rest = found.transpose(2, 1, 0), np.sqrt(rest).T
        typical = len(rest)
        average, average_rest = found.mean(1, keepdims=True), rest.mean(0, keepdims=True)
        same = products(found, found, counts) / typical
        cov_positions = marginals.covariances(
            same, products(rest, rest, counts) / typical, latent[0]
        )
        other = products(average, average, counts) if typical > 1 else same
        beyond = products(average_rest, average_rest, counts)
        cov_samples = marginals.covariances(other, beyond, latent[1])
        if self.correlation_variance is not None:
            cov_positions += 0.5 * marginals.curvatures(same, latent[0]) * self.correlation_variance
        if self.normalized_samples:
            change = fixed_squares(self, latent)
            cov_positions += same[2] * change
            cov_samples += other[2] * change
        if typical > 1:
            # What a sample's energy does to its mean is shared by all of its entries.
            cov_positions += same[0] - products(average[0], average[0], counts)
        common = functions - means[..., None, None]
        for axis in self.axes or ():
            common = np.tensordot(axis.shares, common, axes=(0, 0))
        return replace(
            self,
            means=means,
            cov_positions=at_diagonal(cov_positions, variances),
            cov_samples=cov_samples,
            stored_marginal=marginals.standardized(common),
            latent_id=latent_id,
            parts=(),
            centered_second_moments=None,
            correlation_variance=None,
            normalized_samples=0,
            cov_channels=None,
            logits=None,
        )

    def arrange(self, sizes: Sequence[int]) -> CorrelatedSignal:
        sizes = tuple(sizes)
        if self.axes is None:
            return self._spread(sizes, self)
        mine = tuple(axis.size for axis in self.axes)
        if mine == sizes:
            return self
        if [size for size in mine if size != 1] == [size for size in sizes if size != 1]:
            return arrangement.with_ones(self, sizes)
        # Other units at other positions: with weights of their own, they do not correlate.
        return self._spread(sizes, self.flatten())

    @staticmethod
    def _spread(sizes: tuple[int, ...], signal: CorrelatedSignal) -> CorrelatedSignal:
        """A signal without positions, at positions with nothing in common."""
        axes = axes_of(sizes)
        counts = tuple(axis.count for axis in axes)
        nothing = np.zeros([count**2 for count in counts])
        return replace(
            signal,
            axes=axes,
            means=np.full(counts, float(signal.means)),
            cov_positions=at_diagonal(nothing, np.full(counts, float(signal.cov_positions))),
            cov_samples=at_diagonal(nothing, np.full(counts, float(signal.cov_samples))),
            stored_marginal=signal.marginal,
            latent_id=next_identity(),
            parts=(),
            correlation_variance=None,
            normalized_samples=0,
            cov_channels=None,
            logits=None,
        )

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
        signal = self.arrange((1,) * missing + mine)
        axes = axes_of(sizes)
        counts, pairs = [a.count for a in axes], [a.count**2 for a in axes]
        return replace(
            signal,
            axes=axes,
            means=np.broadcast_to(signal.means, counts),
            cov_positions=np.broadcast_to(signal.cov_positions, pairs),
            cov_samples=np.broadcast_to(signal.cov_samples, pairs),
            cov_channels=_both(signal.cov_channels, lambda each: np.broadcast_to(each, pairs)),
            stored_marginal=self.marginal,
            parts=(),
            correlation_variance=None,
            normalized_samples=0,
        )

    def flatten(self) -> CorrelatedSignal:
        if not self.axes:
            return replace(self, axes=())
        alike = diagonal(self.cov_samples, self.means.shape)
        centered = (self.means - self.mean) ** 2
        return CorrelatedSignal(
            (),
            np.array(self.mean),
            np.array(self.variance),
            np.array(self.average(alike + centered)),
            self.marginal,
            log_variance=self.log_variance,
        )

    # What layers do.

    def with_other_latents(self, origin: Hashable = None) -> CorrelatedSignal:
        latent_id = next_identity() if origin is None else ("other latents", origin)
        parts = tuple(
            (share, part.with_other_latents((latent_id, part.latent_id)))
            for share, part in self.parts
        )
        return replace(self, latent_id=latent_id, parts=parts)

    def map(
        self,
        function: Callable[..., Any],
        others: Sequence[CorrelatedSignal] = (),
        *,
        trimmed: bool = False,
    ) -> tuple[CorrelatedSignal, bool]:
        """f∘g on the grid; the Gaussians behind the entries stay as they are (A and B)."""
        operands = combination.of_same_positions((self, *others))
        shared = mapping.shares_of_same_parts(operands)
        if shared:
            results = [
                each[0].map(function, each[1:], trimmed=trimmed)
                for each in zip(*([part for _, part in op.parts] for op in operands), strict=True)
            ]
            whole = self.mixture([signal for signal, _ in results], shared)
            return whole, all(converged for _, converged in results)
        return mapping.mapped(function, operands, trimmed)

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
            (a * a).mean() * first * second
            + (a * b).mean() * (first + second)
            + (b * b).mean()
            - new_first * new_second
        )
        power = (a * a).mean()
        shape = self.marginal
        if a.mean() < 0:
            shape = shape.scaled(np.array([-1.0]))
        return replace(
            self,
            means=means,
            cov_positions=power * self.cov_positions + offsets,
            cov_samples=power * self.cov_samples + offsets,
            stored_marginal=shape,
            latent_id=self.latent_id if alike else next_identity(),
            parts=(),
            known_channels=self.known_channels or bool(np.ptp(a) or np.ptp(b)),
            cov_channels=_both(self.cov_channels, lambda each: power * each) if alike else None,
            logits=None,
        )

    def linear(self, kernel: KernelMoments, bias: BiasMoments) -> CorrelatedSignal:
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
            (kernel.squared_sum - kernel.power) * signal.mean * signal.mean
            + 2 * signal.mean * bias.cross
            + bias.second_moment
            - mean * mean
        )
        moments = [
            mapped_along(pairs + signal.mean_products, [m.pairs for m in maps])
            for pairs in (signal.cov_positions, signal.cov_samples)
        ]
        output = tuple(m.output for m in maps) or axes
        means = np.full([axis.count for axis in output], mean)
        # The typical draw of the weights before has less energy than the mean of all draws.
        inputs = kernel.units if kernel.channels == 1 else kernel.channels
        scatter = math.log1p(fluctuations.mean_square_variance(signal, 0.0) / inputs)
        power *= math.exp(-scatter / 2)
        cov_positions, cov_samples = (power * pairs + common for pairs in moments)
        result = CorrelatedSignal(
            output,
            means,
            cov_positions,
            cov_samples,
            STANDARD,
            log_variance=signal.log_variance + scatter,
            latent_is_gaussian=True,
        )
        return replace(
            result,
            correlation_variance=fluctuations.correlation_variance_after(
                signal, kernel, maps, moments[0] - moments[1]
            ),
            channel_variance=fluctuations.mean_square_variance(signal, signal.mean, 1)
            / kernel.channels,
            **fluctuations.second_moments_after(signal, kernel, moments, result),
        )

    def dropout(
        self,
        probability: float,
        gain: float,
        otherwise: float = 0.0,
        shared: frozenset[str] = frozenset(),
        samples: int = MANY,
    ) -> CorrelatedSignal:
        kept, lost = probability, 1 - probability
        variances = kept * gain**2 * self.variances
        variances = variances + kept * lost * (gain * self.means - otherwise) ** 2
        first, second = each_with_each(gain * self.means - otherwise)
        cov_positions, cov_samples = (
            # Either both are kept or neither is, or each by itself.
            kept * (gain**2 * pairs + lost * first * second)
            if together
            else (kept * gain) ** 2 * pairs
            for pairs, together in (
                (self.cov_positions, "positions" in shared),
                (self.cov_samples, {"positions", "samples"} <= shared),
            )
        )
        values = gain * self.overall()
        dropped = np.full((len(values), 1), otherwise)
        shape = marginals.standardized(
            marginals.quantiles(
                np.hstack([values, dropped]), np.append(kept * marginals.WEIGHTS, lost)
            )
        )
        if {"positions", "channels"} <= shared and "samples" not in shared and otherwise == 0:
            # Whole samples are dropped: E q² / (E q)² = 1/kept, where a batch has any at all.
            number = lost * samples
            scatter = -math.log(max(kept, 1e-3)) * number / (1 + number)
            energies = marginals.with_log_variance(self.marginal.second_moments, scatter)
            shape = marginals.standardized(
                np.sqrt(energies / self.marginal.second_moments)[:, None] * self.marginal.functions
            )
        return self.with_new_source(
            means=kept * gain * self.means + lost * otherwise,
            cov_positions=at_diagonal(cov_positions, variances),
            cov_samples=cov_samples,
            stored_marginal=shape,
            cov_channels=_both(self.cov_channels, lambda each: (kept * gain) ** 2 * each),
        )

    def with_new_source(self, **changes: Any) -> CorrelatedSignal:
        """A signal that shares no Gaussians with this one."""
        changes.setdefault("stored_marginal", self.marginal)
        changes.setdefault("cov_channels", None)
        changes.setdefault("logits", None)
        return replace(
            self,
            latent_id=next_identity(),
            parts=(),
            centered_second_moments=None,
            correlation_variance=None,
            normalized_samples=0,
            latent_is_gaussian=False,
            **changes,
        )

    def linear_map(self, maps: Sequence[Taps]) -> CorrelatedSignal:
        return pooling.resampled(self, maps)

    def applied(self, maps: Sequence[Taps]) -> list[SpatialMap]:
        """Linear maps, one for each axis, on pairs of positions."""
        axes = self.axes or ()
        return [applied_along(taps, axis, len(axes)) for taps, axis in zip(maps, axes, strict=True)]

    def average_pool(self, axes: tuple[Windows, ...]) -> CorrelatedSignal:
        """Averages keep what is shared and divide the rest (B)."""
        sizes = [axis.size for axis in self.axes or ()]
        if len(sizes) != len(axes) or self.axes is None:
            sizes = [int(windows.max()) + 1 for windows in axes]
        averages = [Taps.averaging(each, size) for each, size in zip(axes, sizes, strict=True)]
        return self.arrange(sizes).linear_map(averages)

    def max_pool(self, axes: tuple[Windows, ...]) -> CorrelatedSignal:
        return pooling.maximum(self, axes)

    def normalize(
        self,
        epsilon: float,
        count: int | None,
        *,
        centered: bool,
        samples: int | None = None,
        positions: bool = False,
    ) -> CorrelatedSignal:
        if samples is not None:
            return normalisation.over_batch(self, epsilon, samples)
        if positions:
            return normalisation.over_group(self, epsilon, count or MANY)
        return normalisation.over_channels(self, epsilon, count or MANY, centered=centered)

    def softmax(self, count: int, masking: Masking | None = None) -> CorrelatedSignal:
        return normalisation.softmax(self, count, masking)

    def transpose(self, sizes: Sequence[int], order: Sequence[int]) -> CorrelatedSignal:
        return arrangement.transposed(self, tuple(sizes), order)

    def reshape(self, before: Sequence[int], after: Sequence[int]) -> CorrelatedSignal:
        old, new = ([size for size in sizes[:-1] if size != 1] for sizes in (before, after))
        if before[-1] == after[-1] and old == new:
            return self.arrange(before[:-1]).arrange(after[:-1])
        return arrangement.regrouped(self, tuple(before), tuple(after))

    def contract(
        self, other: CorrelatedSignal, labels: tuple[str, str, str], sizes: dict[str, int]
    ) -> CorrelatedSignal:
        return arrangement.contracted(self, other, labels, sizes)

    def combine(self, operation: str, others: Sequence[CorrelatedSignal]) -> CorrelatedSignal:
        return combination.combined((self, *others), operation)

    def dot(self, other: CorrelatedSignal, count: int, *, normalized: bool) -> CorrelatedSignal:
        return combination.dot(self, other, count, normalized=normalized)

    @classmethod
    def mixture(
        cls, parts: Sequence[CorrelatedSignal], weights: Sequence[float]
    ) -> CorrelatedSignal:
        return combination.mixture(parts, weights)


def _both(pair: tuple[Array, Array] | None, function: Callable[[Array], Array]) -> Any:
    return None if pair is None else (function(pair[0]), function(pair[1]))
