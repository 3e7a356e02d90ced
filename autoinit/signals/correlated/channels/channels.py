"""Channels whose weights are given: a mean of their own, and what any two have in common (L).

Random weights make channels exchangeable, and their means over channels are all that matters.
Trained ones do not: a normalisation's β and γ, a bias and a kernel that was fitted to its inputs
give every channel moments of its own, and the next kernel depends on just these. Expectations are
over data alone here, and positions are taken as alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.paths import LONGEST, Step
from autoinit.signals.correlated.marginals import GRID
from autoinit.signals.signal import Array, next_identity

# Channels of which all pairs are carried: more would take longer than to measure them. Flattened
# ones are met by one or two layers of a network.
MOST, MOST_FLATTENED = 256, 2048
# Covariances of entries at different positions that are carried.
MOST_ENTRIES = 2**19
# Pairs from which on single precision and a few orders do: correlations of channels are small.
MANY_PAIRS = 2**18
FEW_ORDERS = 6
# More than these, each with all, would take too much memory for as many layers.
_MANY_ALONE = 1024
# Into so many groups of similar ones channels are taken together at each position.
_GROUPS = 8


MadeOf = tuple[tuple["Channels", Step], ...]


@dataclass(frozen=True, eq=False)
class Bend:
    """What a function does to Gaussian channels beyond scaling them: where skewness comes from.

    Attributes:
        orders: Hermite coefficients of the function of each channel, (channels, orders + 1).
        own: third central moments of the values, (channels,).
        slopes: of the function on average, E f′, (channels,).
        latent: correlations of the Gaussians, as `Channels.latent`; None where these are the
            channels that it is a function of, `made_of`.
    """

    orders: Array
    own: Array
    slopes: Array
    latent: Array | None = None


@dataclass(frozen=True, eq=False)
class Lengths:
    """Of entries that were divided by their length: their squares go against each other.

    With q the mean of the n squares at a position, z²/q has to first order the relative covariances
    Cov(z_u²/q, z_v²/q′)/(v_u·v_v) = Cov(z_u², z_v²)/(v_u·v_v) + t − r_u − r_v′, with
    t = Cov(q, q′) and r_u = Cov(z_u²/v_u, q′) = 2·Σ_b M_ub²/(n·v_u), M the covariances with the
    entries. At displacements, as `Channels.covariances`.

    Attributes:
        common: M, (…, channels, entries).
        total: t, (…).
        each: r, (…, channels).
        factor: of r and t, for d directions that are alike: d/(d + 2), with which it is exact.
    """

    common: Array
    total: Array
    each: Array
    factor: float

    @classmethod
    def of(cls, covariances: Array) -> Lengths:
        """Of entries whose squares are 1 on average, with these covariances."""
        squares, count = (covariances**2).sum((-1, -2)), covariances.shape[-1]
        here = central(covariances)
        directions = float(np.trace(here)) ** 2 / max(float((here**2).sum()), 1e-300)
        factor = directions / (directions + 2)
        found = cls(covariances, factor * 2 * squares / count**2, np.zeros(count), factor)
        return found.seen(np.diagonal(here))

    def through(self, weights: Array, variances: Array) -> Lengths:
        """Of sums: weights (channels, sums), variances (sums,)."""
        return replace(self, common=weights.T @ self.common).seen(variances)

    def seen(self, variances: Array) -> Lengths:
        """Of entries of these variances."""
        squares = 2 * self.factor * (self.common**2).sum(-1) / self.common.shape[-1]
        each = np.divide(squares, variances, out=np.zeros_like(squares), where=variances > 1e-12)
        return replace(self, each=each)

    def scatter(self) -> Array:
        """Relative covariances of squares beyond those of Gaussians, (…, channels, channels)."""
        others = np.flip(self.each, tuple(range(self.total.ndim)))
        return self.total[..., None, None] - self.each[..., None] - others[..., None, :]


@dataclass(frozen=True, eq=False)
class Entries:
    """Entries of a map, each of which is known.

    Attributes:
        each: as a channel, the positions in a row with the channels of each.
        sizes: of the spatial axes.
    """

    each: Channels
    sizes: tuple[int, ...]

    @property
    def places(self) -> int:
        """How many positions there are."""
        return math.prod(self.sizes)


@dataclass(frozen=True, eq=False)
class Channels:
    """Moments of a tensor's channels over samples and positions.

    Attributes:
        means: (channels,).
        covariances: of each channel at a position with each one at a position beside it, (…,
            channels, channels): an axis of 2·radius + 1 displacements for each spatial axis, or
            none where only entries at the same position are known.
        functions: of a standard Gaussian on the grid that the entries are, (channels, grid); None
            where they are Gaussian.
        latent: correlations of these Gaussians, as `covariances`; None where they are those of the
            entries.
        made_of: channels that they are the sum of, and the steps from these.
        bend: where they are a function of Gaussians, what it does to them.
        third: third central moments of sums, (channels,): they are functions of Gaussians that
            have these, and no others.
        standard_error: of the variance of all channels together, where it was sampled.
        samples: that they were measured of, less the means: (samples, positions…, channels).
        of_one_length: whether each position's entries were divided by their own length.
        lengths: what it does to their squares if they, or what they are functions of, were.
        entries: of a small map, each by itself: what is known of the channels are averages of it.
        identity: of these very channels.
    """

    means: Array
    covariances: Array
    functions: Array | None = None
    latent: Array | None = None
    made_of: MadeOf = ()
    bend: Bend | None = None
    third: Array | None = None
    samples: Array | None = None
    of_one_length: bool = False
    standard_error: float | None = None
    lengths: Lengths | None = None
    entries: Entries | None = None
    identity: int = field(default_factory=next_identity)

    @property
    def count(self) -> int:
        """How many channels there are."""
        return len(self.means)

    @property
    def shared(self) -> float:
        """Variance over channels of their means."""
        return float(self.means.var())

    @cached_property
    def at_same_position(self) -> Array:
        """(channels, channels)."""
        return central(self.covariances)

    @cached_property
    def variances(self) -> Array:
        """(channels,)."""
        return np.maximum(np.diagonal(self.at_same_position), 0.0)

    @property
    def variance(self) -> float:
        """Mean over channels of their variances."""
        return float(self.variances.mean())

    def rows(self) -> Array:
        """Entries as functions of standard Gaussians: (channels, grid)."""
        if self.functions is not None:
            return self.functions
        return self.means[:, None] + np.sqrt(self.variances)[:, None] * GRID

    def latent_correlations(self) -> Array:
        """Of the Gaussians behind the entries, as `covariances`."""
        if self.latent is not None:
            return self.latent
        return correlations(self.covariances, self.variances)

    def without_neighbors(self) -> Channels:
        """What is known of entries at the same position."""
        latent = None if self.latent is None else central(self.latent)
        return replace(self, covariances=self.at_same_position, latent=latent, entries=None)

    def around(
        self, reach: Sequence[int], spatial: Callable[[Sequence[int]], Array] | None
    ) -> Array | None:
        """Covariances at displacements up to so many along each axis; None where not known."""
        lead = self.covariances.shape[:-2]
        if len(lead) not in (0, len(reach)):
            return None if any(reach) else self.at_same_position[(None,) * len(reach)]
        half = [size // 2 for size in lead] or [0] * len(reach)
        if all(most <= have for most, have in zip(reach, half, strict=True)):
            inner = [slice(h - r, h + r + 1) for r, h in zip(reach, half, strict=True)]
            return self.covariances[tuple(inner if lead else [None] * len(reach))]
        return None if spatial is None else extended(self.covariances, spatial(reach))

    def followed_by(self, step: Step) -> MadeOf:
        """What a layer's channels are made of, if it reads these."""
        return ((_recent(self), step),)

    def scaled(self, factor: float) -> Channels:
        """√factor times what is beside the means, and the same functions of it."""
        made_of = tuple((source, step.scaled(math.sqrt(factor))) for source, step in self.made_of)
        return Channels(
            self.means, factor * self.covariances, made_of=made_of, lengths=self.lengths
        )

    def moved(self, shift: float, factor: float, spread: float = 1.0) -> Channels:
        """Entries at other positions, or at uneven ones: of other moments on the whole.

        Args:
            shift: is added to the mean of all.
            factor: of the covariances.
            spread: of the means' deviations from that of all.
        """
        center, deviation = float(self.means.mean()), math.sqrt(factor)
        means = center + shift + spread * (self.means - center)
        functions = self.functions
        if functions is not None:
            functions = with_moments(
                functions, self.means, self.variances, means, factor * self.variances
            )
        made_of = tuple((source, step.scaled(deviation)) for source, step in self.made_of)
        covariances = factor * self.covariances
        return replace(
            self, means=means, covariances=covariances, functions=functions, made_of=made_of
        )

    def groups(self) -> Array:
        """Rows of groups of channels that are alike, (groups, grid), all of about one size."""
        rows, deviations = self.rows(), np.sqrt(self.variances)
        order = np.lexsort((deviations, self.means / np.where(deviations > 0, deviations, 1.0)))
        parts = np.array_split(order, min(_GROUPS, self.count))
        return np.array([rows[part].mean(0) for part in parts])

    @cached_property
    def _latent_root(self) -> Array:
        found = root(central(self.latent_correlations()))
        # Correlations that no Gaussians have leave some with another variance than 1.
        return np.asarray(found / np.maximum(np.sqrt((found**2).sum(0)), 1e-300))

    def drawn(self, values: Array) -> Array:
        """Entries of these distributions, at one position.

        Args:
            values: independent standard Gaussians, (…, channels).
        """
        latent = values @ self._latent_root
        rows = self.functions
        if rows is not None:
            columns = [np.interp(latent[..., n], GRID, row) for n, row in enumerate(rows)]
            return np.stack(columns, -1)
        found = self.means + np.sqrt(self.variances) * latent
        if self.of_one_length:
            length = math.sqrt(float((self.means**2 + self.variances).sum()))
            found *= length / np.maximum(np.sqrt((found**2).sum(-1, keepdims=True)), 1e-300)
        return np.asarray(found)

    def affine(self, scale: Array, offset: Array) -> Channels:
        """a·x + b with numbers, or with one for each channel."""
        factor = np.broadcast_to(scale, (self.count,))
        products = np.multiply.outer(factor, factor).astype(self.covariances.dtype, copy=False)
        functions = self.functions
        if functions is not None:
            functions = factor[:, None] * functions + np.reshape(offset, (-1, 1))
        means = factor * self.means + offset
        made_of = self.followed_by(Step(factor[None]))
        third = None if self.third is None else factor**3 * self.third
        covariances = products * self.covariances
        lengths = self.lengths and replace(
            self.lengths, common=factor[:, None] * self.lengths.common
        )
        found = Channels(means, covariances, functions, self.latent, made_of, third=third)
        entries = self.entries
        if entries is not None:
            every = np.tile(factor, entries.places)
            offsets = np.tile(np.broadcast_to(offset, (self.count,)), entries.places)
            entries = replace(entries, each=entries.each.affine(every, offsets))
        return replace(found, lengths=lengths, entries=entries)


def with_moments(
    functions: Array, means: Array, variances: Array, new_means: Array, new_variances: Array
) -> Array:
    """Functions of other moments, (channels, grid): moved and scaled.

    What a ReLU left nothing of is nothing anywhere: these are scaled by their second moments.
    """
    before = np.maximum(means**2 + variances, 1e-300)
    scales = np.sqrt((new_means**2 + new_variances) / before)[:, None]
    deviations = np.sqrt(new_variances / np.maximum(variances, 1e-300))[:, None]
    moved = new_means[:, None] + deviations * (functions - means[:, None])
    return np.where(is_rectified(functions), scales * functions, moved)


def is_rectified(functions: Array) -> Array:
    """Whether functions of one sign are zero in places, (…, grid), as (…, 1)."""
    one_sign = (functions >= 0).all(-1) | (functions <= 0).all(-1)
    return np.asarray((one_sign & ((functions == 0).sum(-1) > 1))[..., None])


def of_samples(values: Array) -> Channels:
    """Means and covariances of independent samples, (samples, …, channels)."""
    rows = values.reshape(-1, values.shape[-1])
    means = rows.mean(0)
    squares = ((values - means.mean()) ** 2).reshape(len(values), -1).mean(1)
    error = float(squares.std()) / math.sqrt(len(values))
    centered = rows - means
    return Channels(means, centered.T @ centered / len(rows), standard_error=error)


def _recent(channels: Channels) -> Channels:
    """Without functions, or what more than `LONGEST` layers lie behind: all would be kept."""
    near: dict[int, Channels] = {}
    front = [channels]
    for _ in range(LONGEST if channels.count <= _MANY_ALONE else LONGEST // 3):
        near |= {each.identity: each for each in front}
        front = [source for each in front for source, _ in each.made_of]
        front = [source for source in front if source.identity not in near]
    copies: dict[int, Channels] = {}
    for identity in sorted(near):
        each = near[identity]
        made_of = [(copies.get(source.identity), step) for source, step in each.made_of]
        copies[identity] = replace(
            each,
            functions=None,
            latent=None,
            entries=None,
            made_of=tuple((source, step) for source, step in made_of if source is not None),
        )
    return copies[channels.identity]


def exchangeable(count: int, mean: float, variance: float, others: float = 0.0) -> Channels | None:
    """Channels of which nothing is known but what they have in common.

    Args:
        count: how many there are.
        mean, variance: of each.
        others: covariance of two of them.
    """
    if not count <= MOST:
        return None
    covariances = np.full((count, count), others)
    np.fill_diagonal(covariances, variance)
    return Channels(np.full(count, mean), covariances)


def of_rows(values: Array, means: Array, variances: Array, latent: Array) -> Channels:
    """Channels that are given functions of Gaussians (as B).

    Args:
        values: of the functions on the grid, (channels, grid).
        means, variances: of these, (channels,).
        latent: correlations of the Gaussians, (…, channels, channels).
    """
    found, rest = marginals.coefficients(values)
    found = found.astype(latent.dtype)
    total = np.zeros_like(latent)
    # Of channels that have nothing in common only what is beside the diagonal of a matrix is 0.
    orders = found.shape[1] - 1 if latent.size <= MANY_PAIRS else FEW_ORDERS
    if np.count_nonzero(latent) > len(values):
        for order in range(orders, 0, -1):
            total += np.multiply.outer(found[:, order], found[:, order])
            total *= latent
    if latent.size <= MANY_PAIRS:
        beyond = np.sqrt(rest)
        total += np.multiply.outer(beyond, beyond) * marginals.beyond_orders(latent)
    set_diagonal(total, variances)
    return Channels(means, total, values, latent)


def of_functions(channels: Channels, rows: Array) -> Channels:
    """Channels that are given functions of Gaussians, whose correlations follow from their own."""
    centered = rows - (rows @ marginals.WEIGHTS)[:, None]
    deviations = np.sqrt(np.maximum(centered**2 @ marginals.WEIGHTS, 1e-300))
    scale = np.sqrt(channels.variances) / deviations
    rows = channels.means[:, None] + scale[:, None] * centered
    found, _ = marginals.coefficients(rows)
    found = found.astype(channels.covariances.dtype)
    latent = np.zeros_like(channels.covariances)
    # Σ_k a_k b_k ρ^k = Cov, by Newton's method from 0; of many pairs the first order does.
    few = latent.size <= MANY_PAIRS // 4
    orders = range(FEW_ORDERS if few else 1, 0, -1)
    products = {order: np.multiply.outer(found[:, order], found[:, order]) for order in orders}
    for _ in range(3 if few else 1):
        total, slope = np.zeros_like(latent), np.zeros_like(latent)
        for order in orders:
            slope = slope * latent + order * products[order]
            total = (total + products[order]) * latent
        step = np.divide(channels.covariances - total, slope, out=total * 0.0, where=slope != 0)
        latent = np.clip(latent + step, -1.0, 1.0)
    set_diagonal(latent, np.ones(channels.count))
    return replace(channels, functions=rows, latent=latent)


def extended(covariances: Array, spatial: Array) -> Array:
    """Covariances over more displacements: those that are not known as far as entries correlate.

    Args:
        covariances: (displacements…, channels, channels).
        spatial: correlations by displacement, an odd number along each axis.
    """
    wide = np.multiply.outer(spatial, central(covariances))
    rank = covariances.ndim - 2
    if rank:
        inner, place = [], []
        for have, want in zip(covariances.shape, spatial.shape, strict=False):
            half = min(have, want) // 2
            inner.append(slice(have // 2 - half, have // 2 + half + 1))
            place.append(slice(want // 2 - half, want // 2 + half + 1))
        wide[tuple(place)] = covariances[tuple(inner)]
    return wide


def root(matrix: Array) -> Array:
    """The symmetric square root of a covariance matrix."""
    roots, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(roots, 0.0))) @ vectors.T)


def central(covariances: Array) -> Array:
    """A view at no displacement."""
    place = tuple(size // 2 for size in covariances.shape[:-2])
    return np.asarray(covariances[place])


def set_diagonal(covariances: Array, variances: Array) -> None:
    """In place, at no displacement."""
    index = np.arange(len(variances))
    central(covariances)[index, index] = variances


def correlations(covariances: Array, variances: Array) -> Array:
    """Of channels of these variances; 0 where one does not vary."""
    deviations = np.sqrt(variances)
    scale = np.multiply.outer(deviations, deviations)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip(np.where(scale > 0, covariances / scale, 0.0), -1.0, 1.0)
