"""What is known of a tensor, in the correlated model: distributions and covariances.

Every expectation is over data *and* over the weights' distribution, which makes the channels of a
tensor exchangeable. A state holds the distribution of an entry, the mean at each position, and
the covariances of two entries of one channel: in the same sample (at two positions) and in
different samples. What a channel has in common over all samples, such as the offset that a
non-zero mean gives it, is a covariance between samples. Letters refer to `docs/signal-model.md`.

Operations are functions of states, in `operations/`. An array over *pairs* has one
array axis of length count² for each spatial axis, count being its representative positions.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.channels import Channels
from autoinit.signals.correlated.channels.functions import joined
from autoinit.signals.correlated.marginals import STANDARD, Marginal
from autoinit.signals.correlated.pairs import Array, diagonal, each_with_each
from autoinit.signals.correlated.positions import Axis
from autoinit.signals.signal import Lineage, Masking, TwoMoments, next_identity

# What most operations keep: it is about the branch that led here, not about these entries.
OF_BRANCH = (
    "source",
    "direction",
    "known_channels",
    "given_kernels",
    "private_share",
    "channel_variance",
    "log_variance",
)


@dataclass(frozen=True, eq=False)
class Logits:
    """What sums of products were made of, which attention may take shares of.

    Attributes:
        operands: queries and keys.
        labels: letters of the axes of these and of the result.
        sizes: by letter.
        scale: of the sums.
        shares: whether the softmax was taken.
        mask: that left out entries, (samples, positions, entries).
    """

    operands: tuple[State, State]
    labels: tuple[str, str, str]
    sizes: Mapping[str, int]
    scale: float = 1.0
    shares: bool = False
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Annotations:
    """What may be known beyond the covariances; a new signal has none that is not handed on.

    Attributes:
        parts: of a concatenation: (share of the channels, state).
        cov_channels: covariances of two channels, over positions and over samples, each (pairs…);
            None where they have none.
        logits: what the entries are but for a mask that was added to them, and the mask.
        latent_is_gaussian: whether the entries are the very function of Gaussians that `marginal`
            says.
        centered_second_moments: of samples, at the quadrature's nodes over them, (1 or `SAMPLES`,),
            without what all samples of a channel share; None where they are `marginal`'s (H).
        correlation_variance: variance over channels of the correlations over positions, (pairs…)
            (H).
        normalized_samples: over which each channel's second moment was made the same, or 0 (D).
        source: the tensor that a kernel read to make these entries, how much of its channels'
            variance one direction has (1/n for n channels that are alike), and whether all of its
            positions have the same length.
        direction: what part of the channels' variance one direction has, where it is more than that
            of independent channels.
        of_one_length: whether each position was divided by its own length.
        pull: of shares of attention, what their keys came from, what a value of the same tensor
            has more of because of that, as a part of its variance, and how that correlates over
            positions and samples, each (pairs…) (K).
        known_channels: whether channels differ by parameters that are known: their mean is then
            no draw.
        given_kernels: whether the kernels that made the channels were given: what they have in
            common is then no average over draws.
        private_share: of the variance of the logarithms of the samples' second moments, what
            comes from weights which only this branch has seen (H).
        channel_variance: relative variance, over samples, of a channel's second moment around its
            sample's, as far as it comes from the channel before (H).
        channels: what is known of each channel, where its weights are given (L).
        split: the same where channels lie on several axes, as heads do, and on which axes of a
            sample, the last one counted.
        products: what logits, or shares of attention, were made of, where channels are known (L).
        lineage: of the layers that made it; None for what was scaled since.
        log_variance: variance, over draws of the weights, of the logarithm of what the signal's
            second moment is in one draw (I).
    """

    parts: tuple[tuple[float, State], ...] = ()
    cov_channels: tuple[Array, Array] | None = None
    logits: tuple[State, Masking] | None = None
    latent_is_gaussian: bool = False
    centered_second_moments: Array | None = None
    correlation_variance: Array | None = None
    normalized_samples: int = 0
    source: tuple[Hashable, float, bool] | None = None
    direction: float = 0.0
    of_one_length: bool = False
    pull: tuple[Hashable, float, Array, Array] | None = None
    known_channels: bool = False
    given_kernels: bool = False
    channels: Channels | None = None
    split: tuple[Channels, tuple[int, ...]] | None = None
    products: Logits | None = None
    private_share: float = 0.0
    channel_variance: float = 0.0
    lineage: Lineage | None = None
    log_variance: float = 0.0

    def keep(self, *names: str, **new: Any) -> Annotations:
        """Those of these names, and new ones; all else is forgotten."""
        return Annotations(**({name: getattr(self, name) for name in names} | new))


@dataclass(frozen=True, eq=False)
class State(TwoMoments):
    """What is known of a tensor's entries x(sample, position, channel).

    Attributes:
        axes: the spatial axes; None for a tensor without a known shape, whose entries are all
            independent.
        means: at the representative positions, (count₁, count₂, …).
        cov_positions: covariances of two positions of one sample, (pairs…).
        cov_samples: the same for two positions in different samples, (pairs…).
        stored_marginal: `marginal`, or None where it is to be mixed from the parts once it is
            asked for.
        latent_id: equal for functions of the same Gaussians: what x and f(x) share.
        notes: what else is known.
        identity: of these very entries.
    """

    axes: tuple[Axis, ...] | None
    means: Array
    cov_positions: Array
    cov_samples: Array
    stored_marginal: Marginal | None
    latent_id: Hashable = field(default_factory=next_identity)
    notes: Annotations = Annotations()
    identity: int = field(init=False, default_factory=next_identity)

    @classmethod
    def gaussian(cls, mean: float, variance: float) -> State:
        """Independent Gaussian entries."""
        arrays = np.array(float(mean)), np.array(max(float(variance), 0.0)), np.array(0.0)
        return cls(None, *arrays, STANDARD, notes=Annotations(latent_is_gaussian=True))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Real positions along each axis."""
        return tuple(axis.size for axis in self.axes or ())

    @cached_property
    def channels(self) -> Channels | None:
        """What is known of each channel, in a concatenation too."""
        parts = [part.channels for _, part in self.notes.parts]
        if self.notes.channels is not None or not parts or None in parts:
            return self.notes.channels
        return joined(parts)

    @cached_property
    def marginal(self) -> Marginal:
        """The entries' standardized distribution, a function of Z."""
        if self.stored_marginal is None and self.notes.channels is not None:
            rows = self.notes.channels.groups().reshape(1, -1)
            every = np.tile(marginals.WEIGHTS, rows.size // len(marginals.WEIGHTS))
            return marginals.standardized(marginals.quantiles(rows, every))
        return self.stored_marginal or _mixed(self.notes.parts)

    @cached_property
    def variances(self) -> Array:
        """At the representative positions, (count₁, count₂, …)."""
        return np.maximum(diagonal(self.cov_positions, self.means.shape), 0.0)

    # Both are asked for as attributes, which may be assigned to; here they follow from the arrays.
    @cached_property
    def mean(self) -> float:  # type: ignore[override]
        """Over all positions."""
        return self.average(self.means)

    @cached_property
    def variance(self) -> float:  # type: ignore[override]
        """Over positions too: where they have different means, these count."""
        centered = self.means - self.mean
        return self.average(self.variances + centered * centered)

    @property
    def chi_1(self) -> float | None:
        """As `Signal.chi_1`."""
        functions = self.overall()
        second = float((functions**2 @ marginals.WEIGHTS).mean())
        if not (self.notes.latent_is_gaussian and second > 0):
            return None
        return marginals.squared_derivative(functions) / second

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
        """At the representative positions, (count₁, count₂, …)."""
        return np.sqrt(self.variances)

    @property
    def mean_products(self) -> Array:
        """m_p·m_q, (pairs…)."""
        first, second = each_with_each(self.means)
        return first * second

    def functions(self) -> Array:
        """The entries at each position as functions of Z: (positions…, nodes of samples, grid)."""
        deviations = self.deviations[..., None, None]
        return self.means[..., None, None] + deviations * self.marginal.functions

    def overall(self) -> Array:
        """The entries of all positions together as functions of Z: (nodes of samples, grid)."""
        scale = math.sqrt(self.average(self.variances))
        return self.average(self.means) + scale * self.marginal.functions

    def second_moments(self) -> tuple[Array, Array]:
        """E x² and E (x − m)², m a channel's mean, each (nodes of samples,) (H)."""
        means, deviations = self.means, self.deviations
        first, second = self.marginal.means, self.marginal.second_moments
        spread = self.average(self.variances) * second
        away = means - self.mean
        with_mean = self.average(means**2) + 2 * self.average(means * deviations) * first
        without = self.average(away**2) + 2 * self.average(away * deviations) * first
        return with_mean + spread, without + spread

    def latent(self) -> Array:
        """Correlations of the Gaussians behind the entries: (2, pairs…), one sample and two."""
        both = np.stack([self.cov_positions, self.cov_samples])
        return marginals.latent_correlations(self._correlations(both), self.marginal)

    def latent_of_others(self) -> Array:
        """The same of entries of two channels, for which `cov_channels` are known."""
        both = self._correlations(np.stack(self.notes.cov_channels or ()))
        # None of them is an entry with itself: as those of two samples are looked up.
        return np.stack(
            [marginals.latent_correlations(both[[n, n]], self.marginal)[1] for n in (0, 1)]
        )

    def latent_in_channels(self, channels: Channels) -> Array:
        """The same of `latent` less the channels' means, each of which is known."""
        both = np.stack([self.cov_positions, self.cov_samples]) - channels.shared
        correlations = self._correlations(both, channels.shared)
        return marginals.correlations_in(correlations, channels.functions)

    def _correlations(self, covariances: Array, shared: float = 0.0) -> Array:
        first, second = each_with_each(np.sqrt(np.maximum(self.variances - shared, 0.0)))
        scale = first * second
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(scale > 0, covariances / scale, 0.0)


def _mixed(shares: Sequence[tuple[float, State]]) -> Marginal:
    """The distribution of the parts of a concatenation together, each with its share."""
    parts = [part for _, part in shares]
    means = np.array([part.average(part.means) for part in parts])
    variances = np.array([part.average(part.variances) for part in parts])
    weights = np.array([share for share, _ in shares])
    near = np.ptp(means) ** 2 + np.ptp(variances) < 1e-6 * max(variances.max(), 1e-300)
    if near and all(part.marginal.is_gaussian for part in parts):
        if all(part.marginal is STANDARD for part in parts):
            return STANDARD
        second_moments = [part.marginal.second_moments for part in parts]
        return marginals.gaussian_samples(weights @ np.array(np.broadcast_arrays(*second_moments)))
    values = np.broadcast_arrays(*(part.overall() for part in parts))
    every = np.concatenate([share * marginals.WEIGHTS for share in weights])
    return marginals.standardized(marginals.quantiles(np.hstack(values), every))
