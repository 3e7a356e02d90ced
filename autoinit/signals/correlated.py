"""The correlated signal model: distributions, and covariances between positions and samples.

Every expectation is over data *and* over the weights' distribution, which makes the channels of a
tensor exchangeable. A signal carries the distribution of an entry, the mean at each position, and
the covariances of two entries of one channel: in the same sample (at two positions) and in
different samples. What a channel has in common over all samples, such as the offset that a
non-zero mean gives it, is a covariance between samples. The letters A to G refer to
`docs/signal-model.md`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from autoinit import gaussian
from autoinit.geometry import Taps, Windows
from autoinit.signals import arrangement, fluctuations, mapping, marginals
from autoinit.signals.marginals import GRID, STANDARD, Marginal
from autoinit.signals.pairs import at_diagonal, diagonal, each_with_each, mapped_along, products
from autoinit.signals.positions import (
    Axis,
    SpatialMap,
    applied_along,
    axes_of,
    summed_windows,
    window_pairs,
)  # fmt: skip
from autoinit.signals.signal import (
    MANY,
    Array,
    BiasMoments,
    KernelMoments,
    Masking,
    Observed,
    Signal,
)
from autoinit.signals.statistics import divided_by_own_variance, fixed_squares

_next_identity = itertools.count().__next__
_OPERATIONS = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "maximum": np.maximum,
    "minimum": np.minimum,
}  # fmt: skip


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
        stored_shape: `shape`, or None where it is to be mixed from `parts` once it is asked for.
        source: equal for signals that are functions of the same Gaussians: what x and f(x) share.
        parts: of a concatenation: (share of the channels, signal).
        given: whether channels differ by parameters that are known: their mean is then no draw.
        centred: energies of typical samples without what all samples of a channel share, where
            these are not those of `shape` (H).
        unevenness: variance over channels of the correlations `within` (H).
        normalised: samples over which each channel's energy has been made the same, or 0 (D).
        noise: share of the scatter of the samples' energies that comes from weights which
            only this branch has seen (H).
        own: variance, over samples, of a channel's energy around its sample's, relative, as far as
            it comes from the channel before (H).
        direct: whether the entries are the very function of Gaussians that `shape` says.
        scatter: variance, over draws of the weights, of the logarithm of what the signal's
            energy is in one draw (I).
        across: covariances of two channels, within a sample and between samples, as in `within`;
            None where they have none.
        logits: what the entries are but for a mask that was added to them, and the mask.
    """

    axes: tuple[Axis, ...] | None
    means: Array
    within: Array
    between: Array
    stored_shape: Marginal | None
    source: Hashable = field(default_factory=_next_identity)
    parts: tuple[tuple[float, CorrelatedSignal], ...] = ()
    given: bool = False
    centred: Array | None = None
    unevenness: Array | None = None
    normalised: int = 0
    noise: float = 0.0
    own: float = 0.0
    direct: bool = False
    scatter: float = 0.0
    across: tuple[Array, Array] | None = None
    logits: tuple[CorrelatedSignal, Masking] | None = None
    identity: int = field(init=False, default_factory=_next_identity)

    # What is read off.

    @cached_property
    def shape(self) -> Marginal:
        """The entries' standardised distribution, a function of Z."""
        return _mixed_shape(self.parts) if self.stored_shape is None else self.stored_shape

    @cached_property
    def variances(self) -> Array:
        """At the representative positions."""
        return np.maximum(diagonal(self.within, self.means.shape), 0.0)

    # Both are asked for as attributes, which may be assigned to; here they follow from the arrays.
    @cached_property
    def mean(self) -> float:  # type: ignore[override]
        return self.average(self.means)

    @cached_property
    def variance(self) -> float:  # type: ignore[override]
        """Over positions too: where they have different means, these count."""
        centred = self.means - self.mean
        return self.average(self.variances + centred * centred)

    @property
    def correlation_slope(self) -> float | None:
        functions = self.overall()
        second = float((functions**2 @ marginals.WEIGHTS).mean())
        if not (self.direct and second > 0):
            return None
        return marginals.squared_derivative(functions) / second

    def observed(self, channels: int, samples: int) -> Observed:
        """One draw's mean is random itself, and takes its part of the variance (see `Signal`)."""
        channels = MANY if self.given else max(channels, 1)
        shared = max(self.over_batch(self.within, self.between, samples), 0.0) / channels
        if self.across:
            shared += max(self.over_batch(*self.across, samples), 0.0) * (1 - 1 / channels)
        expected = max(self.variance - shared, 0.0)
        total = self.average(self.variances)
        if not total > 0:
            return Observed(self.mean, self.variance, expected)
        scatter = math.log1p(fluctuations.square_scatter(self, self.mean, samples) / channels)
        return Observed(
            self.mean, self.variance, expected * math.exp(-scatter / 2),
            sample_correlation=self.average(diagonal(self.between, self.means.shape)) / total,
            position_correlation=self.over_pairs(self.within) / total,
            spread=math.sqrt(self.scatter + scatter),
        )  # fmt: skip

    def over_batch(self, within: Array, between: Array, samples: int) -> float:
        """Mean over all pairs of entries of a channel, in a batch of so many samples."""
        same, other = self.over_pairs(within), self.over_pairs(between)
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
    def _deviations(self) -> Array:
        return np.sqrt(self.variances)

    @property
    def _products(self) -> Array:
        """m_p·m_q."""
        first, second = each_with_each(self.means)
        return first * second

    def functions(self) -> Array:
        """The entries at each position as functions of Z: (positions…, typical samples, grid)."""
        deviations = self._deviations[..., None, None]
        return self.means[..., None, None] + deviations * self.shape.functions

    def overall(self) -> Array:
        """The entries of all positions together as functions of Z: (typical samples, grid)."""
        scale = math.sqrt(self.average(self.variances))
        return self.average(self.means) + scale * self.shape.functions

    def energies(self) -> tuple[Array, Array]:
        """E x² in each typical sample, and E (x − m)² where m is a channel's mean (H)."""
        means, deviations = self.means, self._deviations
        first, second = self.shape.means, self.shape.second_moments
        spread = self.average(self.variances) * second
        away = means - self.mean
        with_mean = self.average(means**2) + 2 * self.average(means * deviations) * first
        without = self.average(away**2) + 2 * self.average(away * deviations) * first
        return with_mean + spread, without + spread

    def latent(self) -> Array:
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
            None, np.array(float(mean)), np.array(max(float(variance), 0.0)), np.array(0.0),
            STANDARD, direct=True,
        )  # fmt: skip

    @classmethod
    def of_values(cls, values: Array) -> CorrelatedSignal:
        """Two positions have in common what the channels' means over positions do."""
        signal = cls.gaussian(float(values.mean()), float(values.var()))
        places = math.prod(values.shape[:-1])
        if places > 1:
            shared = values.reshape(places, -1).mean(0).var()
            apart = (places * float(shared) - signal.variance) / (places - 1)
            signal = signal.arrange(values.shape[:-1])._with_others(apart)
        return replace(signal.of_every_sample(), given=True, direct=False)

    def _with_others(self, covariance: float) -> CorrelatedSignal:
        """The same covariance between any two positions of a sample."""
        counts = self.means.shape
        within = np.full_like(self.within, covariance)
        return replace(self, within=at_diagonal(within, self.variances.reshape(counts)))

    def masked(self, logits: CorrelatedSignal, masking: Masking) -> CorrelatedSignal:
        return replace(self, logits=(logits, masking))

    def looked_up(self, sizes: Sequence[int], rows: float) -> CorrelatedSignal:
        table = self.arrange(())
        signal = self._spread(tuple(sizes), table)._with_others(table.variance / rows)
        return replace(signal, between=np.full_like(signal.within, table.variance / rows))

    def of_every_sample(self) -> CorrelatedSignal:
        return replace(self, between=self.within)

    def from_functions(self, functions: Array, latent: Array, source: Hashable) -> CorrelatedSignal:
        """Entries that are given functions of Gaussians with given correlations (A and B)."""
        counts = functions.shape[:-2]
        found, rest = marginals.coefficients(functions.reshape(-1, *functions.shape[-2:]))
        means, variances = marginals.moments(functions)
        # By order, typical sample and position.
        found, rest = found.transpose(2, 1, 0), np.sqrt(rest).T
        typical = len(rest)
        average, average_rest = found.mean(1, keepdims=True), rest.mean(0, keepdims=True)
        same = products(found, found, counts) / typical
        within = marginals.covariances(same, products(rest, rest, counts) / typical, latent[0])
        other = products(average, average, counts) if typical > 1 else same
        beyond = products(average_rest, average_rest, counts)
        between = marginals.covariances(other, beyond, latent[1])
        if self.unevenness is not None:
            within += 0.5 * marginals.curvatures(same, latent[0]) * self.unevenness
        if self.normalised:
            change = fixed_squares(self, latent)
            within += same[2] * change
            between += other[2] * change
        if typical > 1:
            # What a sample's energy does to its mean is shared by all of its entries.
            within += same[0] - products(average[0], average[0], counts)
        common = functions - means[..., None, None]
        for axis in self.axes or ():
            common = np.tensordot(axis.shares, common, axes=(0, 0))
        return replace(
            self, means=means, within=at_diagonal(within, variances), between=between,
            stored_shape=marginals.standardised(common), source=source, parts=(), centred=None,
            unevenness=None, normalised=0, across=None, logits=None,
        )  # fmt: skip

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
            signal, axes=axes, means=np.full(counts, float(signal.means)),
            within=at_diagonal(nothing, np.full(counts, float(signal.within))),
            between=at_diagonal(nothing, np.full(counts, float(signal.between))),
            stored_shape=signal.shape, source=_next_identity(), parts=(), unevenness=None,
            normalised=0, across=None, logits=None,
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
        signal = self.arrange((1,) * missing + mine)
        axes = axes_of(sizes)
        counts, pairs = [a.count for a in axes], [a.count**2 for a in axes]
        return replace(
            signal, axes=axes, means=np.broadcast_to(signal.means, counts),
            within=np.broadcast_to(signal.within, pairs),
            between=np.broadcast_to(signal.between, pairs),
            across=_both(signal.across, lambda each: np.broadcast_to(each, pairs)),
            stored_shape=self.shape, parts=(), unevenness=None, normalised=0,
        )  # fmt: skip

    def flatten(self) -> CorrelatedSignal:
        if not self.axes:
            return replace(self, axes=())
        alike = diagonal(self.between, self.means.shape)
        centred = (self.means - self.mean) ** 2
        return CorrelatedSignal(
            (), np.array(self.mean), np.array(self.variance),
            np.array(self.average(alike + centred)), self.shape, scatter=self.scatter,
        )  # fmt: skip

    # What layers do.

    def elsewhere(self, origin: Hashable = None) -> CorrelatedSignal:
        source = _next_identity() if origin is None else ("elsewhere", origin)
        parts = tuple((share, part.elsewhere((source, part.source))) for share, part in self.parts)
        return replace(self, source=source, parts=parts)

    def map(
        self,
        function: Callable[..., Any],
        others: Sequence[CorrelatedSignal] = (),
        *,
        trimmed: bool = False,
    ) -> tuple[CorrelatedSignal, bool]:
        """f∘g on the grid; the Gaussians behind the entries stay as they are (A and B)."""
        operands = _of_same_positions((self, *others))
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
            (a * a).mean() * first * second + (a * b).mean() * (first + second) + (b * b).mean()
            - new_first * new_second
        )  # fmt: skip
        power = (a * a).mean()
        shape = self.shape
        if a.mean() < 0:
            shape = shape.scaled(np.array([-1.0]))
        return replace(
            self, means=means, within=power * self.within + offsets,
            between=power * self.between + offsets, stored_shape=shape,
            source=self.source if alike else _next_identity(), parts=(),
            given=self.given or bool(np.ptp(a) or np.ptp(b)),
            across=_both(self.across, lambda each: power * each) if alike else None,
            logits=None,
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
            (kernel.squared_sum - kernel.power) * signal.mean * signal.mean
            + 2 * signal.mean * bias.cross + bias.second_moment - mean * mean
        )  # fmt: skip
        moments = [
            mapped_along(pairs + signal._products, [m.pairs for m in maps])
            for pairs in (signal.within, signal.between)
        ]
        output = tuple(m.output for m in maps) or axes
        means = np.full([axis.count for axis in output], mean)
        # The typical draw of the weights before has less energy than the mean of all draws.
        inputs = kernel.units if kernel.channels == 1 else kernel.channels
        scatter = math.log1p(fluctuations.square_scatter(signal, 0.0) / inputs)
        power *= math.exp(-scatter / 2)
        within, between = (power * pairs + common for pairs in moments)
        result = CorrelatedSignal(
            output, means, within, between, STANDARD, scatter=signal.scatter + scatter, direct=True
        )
        return replace(
            result,
            unevenness=fluctuations.unevenness_after(signal, kernel, maps, moments[0] - moments[1]),
            own=fluctuations.square_scatter(signal, signal.mean, 1) / kernel.channels,
            **fluctuations.energies_after(signal, kernel, moments, result),
        )

    def keep(
        self, probability: float, gain: float, otherwise: float = 0.0,
        shared: frozenset[str] = frozenset(), samples: int = MANY,
    ) -> CorrelatedSignal:  # fmt: skip
        kept, lost = probability, 1 - probability
        variances = kept * gain**2 * self.variances
        variances = variances + kept * lost * (gain * self.means - otherwise) ** 2
        first, second = each_with_each(gain * self.means - otherwise)
        within, between = (
            # Either both are kept or neither is, or each by itself.
            kept * (gain**2 * pairs + lost * first * second) if together
            else (kept * gain) ** 2 * pairs
            for pairs, together in (
                (self.within, "positions" in shared),
                (self.between, {"positions", "samples"} <= shared),
            )
        )  # fmt: skip
        values = gain * self.overall()
        dropped = np.full((len(values), 1), otherwise)
        shape = marginals.standardised(
            marginals.quantiles(
                np.hstack([values, dropped]), np.append(kept * marginals.WEIGHTS, lost)
            )
        )
        if {"positions", "channels"} <= shared and "samples" not in shared and otherwise == 0:
            # Whole samples are dropped: E q² / (E q)² = 1/kept, where a batch has any at all.
            number = lost * samples
            scatter = -math.log(max(kept, 1e-3)) * number / (1 + number)
            energies = marginals.scattered(self.shape.second_moments, scatter)
            shape = marginals.standardised(
                np.sqrt(energies / self.shape.second_moments)[:, None] * self.shape.functions
            )
        return self._with(
            means=kept * gain * self.means + lost * otherwise,
            within=at_diagonal(within, variances), between=between, stored_shape=shape,
            across=_both(self.across, lambda each: (kept * gain) ** 2 * each),
        )  # fmt: skip

    def _with(self, **changes: Any) -> CorrelatedSignal:
        """A signal that shares no Gaussians with this one."""
        changes.setdefault("stored_shape", self.shape)
        changes.setdefault("across", None)
        changes.setdefault("logits", None)
        return replace(
            self,
            source=_next_identity(),
            parts=(),
            centred=None,
            unevenness=None,
            normalised=0,
            direct=False,
            **changes,
        )

    def resample(self, maps: Sequence[Taps]) -> CorrelatedSignal:
        sizes = [taps.size for taps in maps]
        signal = self
        if self.axes is None or len(maps) != len(self.axes):
            signal = self.arrange(sizes)
        moves = signal.applied(maps)
        result = CorrelatedSignal(
            tuple(m.output for m in moves),
            mapped_along(signal.means, [m.singles for m in moves]),
            mapped_along(signal.within, [m.pairs for m in moves]),
            mapped_along(signal.between, [m.pairs for m in moves]),
            STANDARD,
            # The same operation on the same tensor gives the same tensor.
            ("resample", self.identity, *(taps.key for taps in maps)),
            scatter=signal.scatter,
        )
        same = all(taps.moves for taps in maps)
        return replace(
            result, stored_shape=signal.shape if same else signal._averaged_shape(result)
        )

    def applied(self, maps: Sequence[Taps]) -> list[SpatialMap]:
        """Linear maps, one for each axis, on pairs of positions."""
        axes = self.axes or ()
        return [applied_along(taps, axis, len(axes)) for taps, axis in zip(maps, axes, strict=True)]

    def _averaged_shape(self, mean: CorrelatedSignal) -> Marginal:
        """What the entries of a window share keeps its distribution, the rest turns Gaussian.

        The mean of a typical sample is shared by all of its entries.
        """
        if self.shape is STANDARD:
            return STANDARD
        before = self.average(self.variances)
        left = mean.average(mean.variances) / before if before > 0 else 0.0
        means, functions = self.shape.means[:, None], self.shape.functions
        common = float((means**2).mean())
        shared = min(max((left - common) / (1 - common), 0.0), 1.0) if common < 1 else 0.0
        parts = math.sqrt(shared) * (functions - means), math.sqrt(1 - shared) * GRID
        scales = np.sqrt(np.maximum(self.shape.second_moments[:, None] - means**2, 0.0))
        if self.shape.gaussian:
            return self.shape
        rest = marginals.combined(np.add, parts[0], scales * parts[1])
        return marginals.standardised(means + math.sqrt(shared) * rest)

    def mean_of(self, axes: tuple[Windows, ...]) -> CorrelatedSignal:
        """Averages keep what is shared and divide the rest (B)."""
        sizes = [axis.size for axis in self.axes or ()]
        if len(sizes) != len(axes) or self.axes is None:
            sizes = [int(windows.max()) + 1 for windows in axes]
        averages = [Taps.averaging(each, size) for each, size in zip(axes, sizes, strict=True)]
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
        within, between = self.latent()
        averages = [
            Taps.averaging(windows, axis.size)
            for windows, axis in zip(axes, self.axes, strict=True)
        ]
        maps = self.applied(averages)
        output = tuple(m.output for m in maps)
        numbers = np.array(1.0)
        for windows, axis in zip(axes, output, strict=True):
            number = (windows[axis.representatives] >= 0).sum(1)
            numbers = np.multiply.outer(numbers, number.astype(float))
        inside = [window_pairs(w, axis, rank) for w, axis in zip(axes, self.axes, strict=True)]
        pairs = np.maximum(numbers * (numbers - 1), 1.0)
        counts = self.means.shape
        alone = [
            mapped_along(diagonal(each, counts), [m.singles for m in maps])
            for each in (within, between)
        ]
        apart = [
            np.where(numbers > 1, (mapped_along(each, inside) - numbers * own) / pairs, own)
            for each, own in zip((within, between), alone, strict=True)
        ]
        correlation = np.clip(apart[0], 0.0, 1.0)
        spread = np.vectorize(lambda number: gaussian.maximum_of(int(number))[1])(numbers)

        itself = at_diagonal(np.zeros_like(within), np.ones(counts))
        same = mapped_along(itself, [m.pairs for m in maps])  # entries of both windows / K²
        scale = _root_product(correlation + (1 - correlation) * spread)
        scale = np.where(scale > 0, scale, 1.0)
        # What an entry has of its own, by its excess over its neighbours, the largest has too.
        latent = np.stack([
            (
                mapped_along(each, [m.pairs for m in maps])
                + own * same * (_root_product(spread * numbers) - 1)
            ) / scale
            for each, own in (
                (within, _root_product(1 - correlation)),
                (between, _root_product(np.clip(alone[1] - apart[1], 0.0, 1.0))),
            )
        ])  # fmt: skip

        means = mapped_along(self.means, [m.singles for m in maps])
        deviations = np.sqrt(mapped_along(self.variances, [m.singles for m in maps]))
        rising = np.sort(self.shape.functions)
        functions = np.empty((*means.shape, *rising.shape))
        for place in np.ndindex(means.shape):
            top = marginals.largest(int(numbers[place]), round(float(correlation[place]), 2))
            for typical, row in enumerate(rising):
                functions[(*place, typical)] = np.interp(top, GRID, row)
        functions = means[..., None, None] + deviations[..., None, None] * functions
        frame = CorrelatedSignal(output, means, same, same, STANDARD, scatter=self.scatter)
        source = ("maximum", self.identity, *(windows.tobytes() for windows in axes))
        return frame.from_functions(functions, np.clip(latent, -1.0, 1.0), source)

    def normalise(
        self, epsilon: float, count: int | None, *, centred: bool,
        samples: int | None = None, positions: bool = False,
    ) -> CorrelatedSignal:  # fmt: skip
        if samples is not None:
            return self._normalise_batch(epsilon, samples)
        if positions:
            return self._normalise_group(epsilon, count or MANY)
        return self._normalise_channels(epsilon, count or MANY, centred)

    def _normalise_batch(self, epsilon: float, samples: int) -> CorrelatedSignal:
        """A channel's mean over samples and positions is removed, with all that they share (D)."""
        if self.parts:
            # Channels of different origin have statistics of their own.
            parts = [part._normalise_batch(epsilon, samples) for _, part in self.parts]
            whole = self.mixture(parts, [share for share, _ in self.parts])
            return replace(whole, stored_shape=whole.shape, parts=())
        signal = self if self.axes is not None else self.arrange(())
        return signal._without_mean(
            1 / samples, 1 - 1 / samples, signal.within, signal.between, epsilon
        )

    def _normalise_group(self, epsilon: float, count: int) -> CorrelatedSignal:
        """The mean over all positions of some channels of one sample is removed."""
        signal = self if self.axes is not None else self.arrange(())
        places = math.prod(axis.size for axis in signal.axes or ())
        channels = max(count / places, 1.0)
        result = signal._without_mean(1 / channels, 0.0, signal.within, signal.between, epsilon)
        free = signal.variance * (count - 1) / count
        return result._with_variance(gaussian.shrinkage(0.0, free, epsilon, min(count, MANY) - 1))

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
            covariances.append(pairs - first - second + self.average(mean))
        if batch:
            # What is left of the mean is exactly nothing.
            left = inner * self.over_pairs(covariances[0])
            left += outer * self.over_pairs(covariances[1])
            covariances = [pairs - left for pairs in covariances]
        means = self.means - self.mean
        variances = np.maximum(diagonal(covariances[0], means.shape), 0.0)
        total = self.average(variances + means * means) + epsilon
        scale = 1 / total if total > 0 else 0.0
        scaled = [pairs * scale for pairs in covariances]
        if not batch:
            shape = self.shape.of_equal_samples(centred=True)
        else:
            if self.shape.gaussian and total > 0:
                shares = functools.reduce(
                    np.multiply.outer, [a.shares for a in axes], np.array(1.0)
                )
                scaled = divided_by_own_variance(
                    covariances[0], covariances[1], shares.ravel(), means.shape, epsilon
                )
            shape = self.shape
            if self.centred is not None:
                shape = marginals.gaussian_samples(fluctuations.balanced(self, self.centred, inner))
        result = self._with(
            means=means * math.sqrt(scale), within=scaled[0], between=scaled[1],
            stored_shape=shape,
        )  # fmt: skip
        fixed = round(1 / inner) if batch and self.shape.gaussian and total > 0 else 0
        return replace(
            result, unevenness=self.unevenness, scatter=0.0, normalised=fixed, direct=self.direct
        )

    def _normalise_channels(self, epsilon: float, count: int, centred: bool) -> CorrelatedSignal:
        """Over the channels of one position: their mean is the expectation, and scales divide."""
        free = (count - 1) / count if centred else 1.0
        means = np.zeros_like(self.means) if centred else self.means
        totals = free * self.variances + means * means + epsilon
        deviations = np.sqrt(np.where(totals > 0, totals, 1.0))
        first, second = each_with_each(deviations)
        scale = free / (first * second)
        result = self._with(
            scatter=0.0, means=means / deviations, within=self.within * scale,
            between=self.between * scale, stored_shape=self.shape.of_equal_samples(centred=centred),
        )  # fmt: skip
        # Statistics over a few entries scatter: taken as those of independent Gaussian entries.
        free *= self.variance
        if centred:
            return result._with_variance(gaussian.shrinkage(0.0, free, epsilon, count - 1))
        mean, _ = gaussian.direction(self.mean, free, count, epsilon)
        moved = replace(result, means=result.means * (mean / result.mean if result.mean else 1.0))
        square = gaussian.shrinkage(self.mean, free, epsilon, count)
        return moved._with_variance(max(square - mean * mean, 0.0))

    def _with_variance(self, variance: float) -> CorrelatedSignal:
        """All covariances scaled to a given variance; the means stay."""
        scale = variance / self.variance if self.variance > 0 else 0.0
        return replace(self, within=self.within * scale, between=self.between * scale)

    def softmax(self, count: int, masking: Masking | None = None) -> CorrelatedSignal:
        """What all logits of a position have in common drops out.

        The covariance of two positions is that of log-normal variables, exact for small logits.
        """
        if self.logits is not None:
            return self.logits[0].softmax(count, self.logits[1])
        masking = masking or Masking.none(count)
        common = self.average(diagonal(self.across[0], self.means.shape)) if self.across else 0.0
        deviation = math.sqrt(max(self.variance - common, 0.0))
        mean, square = gaussian.masked_softmax(deviation, count, masking.seen)
        first, second = each_with_each(self._deviations)
        scale = first * second
        with np.errstate(divide="ignore", invalid="ignore"):
            alike = [
                np.clip(np.where(scale > 0, pairs / scale, 0.0), 0.0, 1.0)
                for pairs in (self.within, self.between)
            ]
        powers = [
            overlap / count * (square * count / overlap) ** correlation
            for overlap, correlation in zip(
                (masking.overlap, masking.overlap_between), alike, strict=True
            )
        ]
        within, between = (power - mean**2 for power in powers)
        # The shares of a position sum to 1.
        across = [
            (1 / count - power) / (count - 1) - mean**2 if count > 1 else power - mean**2
            for power in powers
        ]
        within = at_diagonal(within, np.full(self.means.shape, max(square - mean**2, 0.0)))
        return self._with(
            means=np.full_like(self.means, mean), within=within, between=between,
            across=(across[0], across[1]),
        )  # fmt: skip

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
        if operation == "average":
            return self.combine("add", others).affine(1 / (1 + len(others)), 0.0)
        if operation not in _OPERATIONS:
            raise ValueError(
                f"operation must be one of average, {', '.join(_OPERATIONS)}. "
                f"Received: {operation!r}"
            )
        if operation == "subtract" and len(others) > 1:
            return self.combine("add", [other.affine(-1.0, 0.0) for other in others])
        # Functions of the same Gaussians meet first: what comes of two sources has a new one.
        order = list(dict.fromkeys(signal.source for signal in (self, *others)))
        signals = sorted((self, *others), key=lambda signal: order.index(signal.source))
        groups = [list(group) for _, group in itertools.groupby(signals, _source_of)]
        together = [
            functools.reduce(lambda x, y: x._combined(operation, y), group) for group in groups
        ]
        return functools.reduce(lambda x, y: x._combined(operation, y), together)

    def _combined(self, operation: str, other: CorrelatedSignal) -> CorrelatedSignal:
        first, second = _at_same_positions(self, other)
        function = _OPERATIONS[operation]
        found = first.logits or second.logits
        if operation == "add" and found:
            behind = [each.logits[0] if each.logits else each for each in (first, second)]
            plain = [replace(each, logits=None) for each in (first, second)]
            whole = plain[0]._combined("add", plain[1])
            return replace(whole, logits=(behind[0]._combined("add", behind[1]), found[1]))
        if first.source == second.source or mapping.shares_of_same_parts((first, second)):
            # Functions of the same Gaussians are taken together, exactly (E).
            return first.map(function, [second])[0]
        if operation in ("add", "subtract"):
            return first._sum(second, 1.0 if operation == "add" else -1.0)
        if operation == "multiply":
            return first._product(second)
        x, y = np.broadcast_arrays(first.overall(), second.overall())
        return first._extreme(second, marginals.combined(function, x, y))

    def _sum(self, other: CorrelatedSignal, sign: float) -> CorrelatedSignal:
        return CorrelatedSignal(
            self.axes, self.means + sign * other.means, self.within + other.within,
            self.between + other.between, self._summed_shape(other, sign),
            scatter=self.summed_scatter(other), across=_added(self.across, other.across),
        )  # fmt: skip

    def summed_scatter(self, other: CorrelatedSignal) -> float:
        """Of two energies that are added; their draws are taken as independent."""
        mine, theirs = self.second_moment, other.second_moment
        if not mine + theirs > 0:
            return 0.0
        share = mine / (mine + theirs)
        return share**2 * self.scatter + (1 - share) ** 2 * other.scatter

    def _summed_shape(self, other: CorrelatedSignal, sign: float) -> Marginal:
        if self.shape is STANDARD and other.shape is STANDARD:
            return STANDARD
        first, second = (signal.average(signal.variances) for signal in (self, other))
        if self.shape.gaussian and other.shape.gaussian:
            mine, theirs = self.shape.second_moments, other.shape.second_moments
            return marginals.gaussian_samples(first * mine + second * theirs)
        x, y = np.broadcast_arrays(
            math.sqrt(first) * self.shape.functions,
            sign * math.sqrt(second) * other.shape.functions,
        )
        return marginals.standardised(marginals.combined(np.add, x, y))

    def _product(self, other: CorrelatedSignal) -> CorrelatedSignal:
        """Second moments multiply, pair by pair (G), and so do the samples' energies (H)."""
        x, y = np.broadcast_arrays(
            fluctuations.going_with(self, other), fluctuations.going_with(other, self)
        )
        first, second = (rows**2 @ marginals.WEIGHTS for rows in (x, y))
        apart = float(first.mean() * second.mean())
        more = float((first * second).mean()) / apart if apart > 0 else 1.0
        mine, theirs = self._products, other._products
        within, between = (
            share * (a + mine) * (b + theirs) - mine * theirs
            for share, a, b in (
                (more, self.within, other.within), (1.0, self.between, other.between)
            )
        )  # fmt: skip
        return CorrelatedSignal(
            self.axes, self.means * other.means, within, between,
            marginals.standardised(marginals.combined(np.multiply, x, y)),
            scatter=self.scatter + other.scatter,
        )  # fmt: skip

    def _extreme(self, other: CorrelatedSignal, combined: Array) -> CorrelatedSignal:
        """Correlations of a maximum are taken as the mean of those of the operands."""
        mean, variance = marginals.moments(combined)
        within, between = (
            variance * 0.5 * sum(
                pairs / max(signal.average(signal.variances), np.finfo(float).tiny)
                for pairs, signal in zip(both, (self, other), strict=True)
            )
            for both in ((self.within, other.within), (self.between, other.between))
        )  # fmt: skip
        return CorrelatedSignal(
            self.axes, np.full_like(self.means, mean), within, between,
            marginals.standardised(combined), scatter=self.summed_scatter(other),
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
            axes, np.asarray(means), np.asarray(within), np.asarray(between), None,
            parts=tuple(shares), scatter=sum(share**2 * part.scatter for share, part in shares),
        )  # fmt: skip


def _source_of(signal: CorrelatedSignal) -> Hashable:
    return signal.source


def _mixed_shape(shares: Sequence[tuple[float, CorrelatedSignal]]) -> Marginal:
    means, variances = (
        np.array([signal.average(values) for signal, values in zip(
            [part for _, part in shares], each, strict=True)])
        for each in ([p.means for _, p in shares], [p.variances for _, p in shares])
    )  # fmt: skip
    weights = np.array([share for share, _ in shares])
    near = np.ptp(means) ** 2 + np.ptp(variances) < 1e-6 * max(variances.max(), 1e-300)
    if near and all(part.shape.gaussian for _, part in shares):
        if all(part.shape is STANDARD for _, part in shares):
            return STANDARD
        energies = [part.shape.second_moments for _, part in shares]
        return marginals.gaussian_samples(weights @ np.array(np.broadcast_arrays(*energies)))
    values = np.broadcast_arrays(*(part.overall() for _, part in shares))
    every = np.concatenate([share * marginals.WEIGHTS for share in weights])
    return marginals.standardised(marginals.quantiles(np.hstack(values), every))


def _both(pair: tuple[Array, Array] | None, function: Callable[[Array], Array]) -> Any:
    return None if pair is None else (function(pair[0]), function(pair[1]))


def _added(first: tuple[Array, Array] | None, second: tuple[Array, Array] | None) -> Any:
    if first is None or second is None:
        return first or second
    return first[0] + second[0], first[1] + second[1]


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


def _of_same_positions(signals: Sequence[CorrelatedSignal]) -> list[CorrelatedSignal]:
    placed = list(signals)
    for other in range(1, len(placed)):
        placed[0], placed[other] = _at_same_positions(placed[0], placed[other])
    return [placed[0], *(_at_same_positions(placed[0], each)[1] for each in placed[1:])]
