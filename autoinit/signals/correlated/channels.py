"""Channels whose weights are given: a mean of their own, and what any two have in common (L).

Random weights make channels exchangeable, and their means over channels are all that matters.
Trained ones do not: a normalisation's β and γ, a bias and a kernel that was fitted to its inputs
give every channel moments of its own, and the next kernel depends on just these. Expectations are
over data alone here, and positions are taken as alike.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from autoinit.quadrature import gaussian
from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.grid import NODES, beside, evaluated, without_rounding
from autoinit.signals.correlated.marginals import GRID, WEIGHTS
from autoinit.signals.correlated.paths import LONGEST, Path, Step, together
from autoinit.signals.geometry import Taps, Windows, coverage
from autoinit.signals.signal import Array, KernelMoments, next_identity

# Channels of which all pairs are carried: more would take longer than to measure them. Flattened
# ones are met by one or two layers of a network.
MOST, MOST_FLATTENED = 256, 2048
# Covariances of entries at different positions that are carried, and what a kernel may take.
_MOST_ENTRIES = 2**19
_MOST_OPERATIONS = 1e9
# Pairs from which on single precision and a few orders do: correlations of channels are small.
_MANY_PAIRS = 2**18
_FEW_ORDERS = 6
# Into so many groups of similar ones channels are taken together at each position.
_GROUPS = 8
# Nodes of the distribution of a sum.
_FEW = slice(40, 281, 6)
# First Hermite coefficients of functions on the grid.
_SLOPES: Array = GRID * WEIGHTS
# Entries of the samples that shares are averaged over.
_SAMPLED = 2**18


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
        path: what they were made of.
        of_one_length: whether each position's entries were divided by their own length.
        identity: of these very channels.
    """

    means: Array
    covariances: Array
    functions: Array | None = None
    latent: Array | None = None
    path: Path = ()
    of_one_length: bool = False
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
        return _central(self.covariances)

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
        return _correlations(self.covariances, self.variances)

    def without_neighbours(self) -> Channels:
        """What is known of entries at the same position."""
        latent = None if self.latent is None else _central(self.latent)
        return replace(self, covariances=self.at_same_position, latent=latent)

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

    def followed_by(self, step: Step) -> Path:
        """The path to what a layer makes of them."""
        # Without what led to each, or all layers before would be kept.
        alone = replace(self, functions=None, latent=None, path=())
        return (*self.path[1 - LONGEST :], (alone, step))

    def scaled(self, factor: float) -> Channels:
        """√factor times what is beside the means, and the same functions of it."""
        path = self.path
        if path:
            *before, (source, step) = path
            path = (*before, (source, step.scaled(math.sqrt(factor))))
        return Channels(self.means, factor * self.covariances, path=path)

    def groups(self) -> Array:
        """Rows of groups of channels that are alike, (groups, grid), all of about one size."""
        rows, deviations = self.rows(), np.sqrt(self.variances)
        order = np.lexsort((deviations, self.means / np.where(deviations > 0, deviations, 1.0)))
        parts = np.array_split(order, min(_GROUPS, self.count))
        return np.array([rows[part].mean(0) for part in parts])

    def drawn(self, values: Array) -> Array:
        """Entries of these distributions, at one position.

        Args:
            values: independent standard Gaussians, (…, channels).
        """
        latent = values @ root(_central(self.latent_correlations()))
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
        products = np.multiply.outer(factor, factor)
        functions = self.functions
        if functions is not None:
            functions = factor[:, None] * functions + np.reshape(offset, (-1, 1))
        means = factor * self.means + offset
        path = self.followed_by(Step(factor[None]))
        return Channels(means, products * self.covariances, functions, self.latent, path)


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


def joined(parts: Sequence[Channels | None]) -> Channels | None:
    """Those of a concatenation; what channels of different parts have in common is not known."""
    known = [part for part in parts if part is not None]
    total = sum(part.count for part in known)
    if len(known) < len(parts) or total > MOST:
        return None
    lead = {part.covariances.shape[:-2] for part in known}
    shape = lead.pop() if len(lead) == 1 else ()

    def blocks(arrays: Sequence[Array]) -> Array:
        whole, first = np.zeros((*shape, total, total)), 0
        for array in arrays:
            last = first + array.shape[-1]
            whole[..., first:last, first:last] = array if shape else _central(array)
            first = last
        return whole

    plain = all(part.functions is None for part in known)
    return Channels(
        np.concatenate([part.means for part in known]),
        blocks([part.covariances for part in known]),
        None if plain else np.concatenate([part.rows() for part in known]),
        None if plain else blocks([part.latent_correlations() for part in known]),
    )


def mapped(
    function: Callable[..., Any], operands: Sequence[Channels], trimmed: bool
) -> tuple[Channels, bool]:
    """f(x, y, …) of functions of the same Gaussians, channel by channel."""
    rows = [without_rounding(each.rows()) for each in operands]

    def points(steps: Sequence[float], curved: bool) -> list[Array]:
        return [beside(each, NODES, steps[0], curved=curved) for each in rows]

    values, squares, converged = evaluated(function, points, 1, trimmed)
    squares = values**2 if squares is None else squares
    means = values @ WEIGHTS
    variances = np.maximum(squares @ WEIGHTS - means**2, 0.0)
    latent = operands[0].latent_correlations()
    found = of_rows(values, means, variances, latent)
    first, slopes = rows[0] @ _SLOPES, values @ _SLOPES
    slopes = np.divide(slopes, first, out=np.zeros_like(first), where=np.abs(first) > 1e-12)
    return replace(found, path=operands[0].followed_by(Step(slopes[None]))), converged


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
    orders = found.shape[1] - 1 if latent.size <= _MANY_PAIRS else _FEW_ORDERS
    if np.count_nonzero(latent) > len(values):
        for order in range(orders, 0, -1):
            total += np.multiply.outer(found[:, order], found[:, order])
            total *= latent
    if latent.size <= _MANY_PAIRS:
        beyond = np.sqrt(rest)
        total += np.multiply.outer(beyond, beyond) * marginals.beyond_orders(latent)
    _set_diagonal(total, variances)
    return Channels(means, total, values, latent)


def normalized(channels: Channels, epsilon: float) -> Channels:
    """Each by its own mean and variance."""
    scale = 1 / np.sqrt(np.maximum(channels.variances + epsilon, 1e-300))
    return channels.affine(scale, -scale * channels.means)


def normalized_together(channels: Channels, epsilon: float, *, centered: bool) -> Channels:
    """All by the mean and the mean square over channels at each position, taken as its mean."""
    means, covariances = channels.means, channels.covariances
    if centered:
        means = means - means.mean()
        covariances = covariances - covariances.mean(-1, keepdims=True)
        covariances = covariances - covariances.mean(-2, keepdims=True)
    variances = np.diagonal(_central(covariances))
    total = float((means**2 + variances).mean()) + epsilon
    if not total > 0:
        return channels
    matrix = np.eye(channels.count) - (1 / channels.count if centered else 0.0)
    path = channels.followed_by(Step(matrix[None] / math.sqrt(total)))
    return Channels(means / math.sqrt(total), covariances / total, path=path, of_one_length=True)


def shares_of(channels: Channels) -> Channels:
    """exp(x)/Σ exp(x) over the channels at a position, averaged over samples of them."""
    count = max(_SAMPLED // channels.count, 1024)
    values = np.random.default_rng(0).standard_normal((count // 2, channels.count))
    values = channels.drawn(np.concatenate([values, -values]))
    shares = np.exp(values - values.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    means = shares.mean(0)
    shares -= means
    return Channels(means, shares.T @ shares / len(shares))


def added(first: Channels | None, second: Channels | None, sign: float) -> Channels | None:
    """The sum of two, which may have been made of the same channels."""
    if first is None or second is None or first.count != second.count:
        return None
    if first.covariances.shape != second.covariances.shape:
        first, second = first.without_neighbours(), second.without_neighbours()
    total = first.covariances + second.covariances
    lead = total.ndim - 2
    common = together(first, second, [size // 2 for size in total.shape[:-2]])
    if common is not None:
        total = total + sign * common
        total += sign * np.flip(common, tuple(range(lead))).swapaxes(-1, -2)
    found = Channels(first.means + sign * second.means, total)
    if first.functions is None and second.functions is None:
        return found
    beside = np.zeros(found.count) if common is None else np.diagonal(_central(common))
    return _of_functions(found, _summed_rows(first, second, sign, beside))


def _summed_rows(first: Channels, second: Channels, sign: float, common: Array) -> Array:
    """Sums as functions of one Gaussian each: those with their distributions, (channels, grid).

    Args:
        first, second: of the terms.
        sign: of the second.
        common: the terms' covariances, (channels,).
    """
    rows, others = first.rows(), sign * second.rows()
    slopes = (rows @ _SLOPES) * (others @ _SLOPES)
    related = np.divide(sign * common, slopes, out=np.zeros(first.count), where=slopes != 0)
    weights = np.outer(WEIGHTS[_FEW], WEIGHTS[_FEW]).ravel()
    result = np.empty_like(rows)
    for n, each in enumerate(np.clip(related, -1.0, 1.0)):
        latent = each * GRID[_FEW, None] + math.sqrt(1 - each * each) * GRID[_FEW]
        values = rows[n, _FEW, None] + np.interp(latent, GRID, others[n])
        result[n] = marginals.quantiles(values.reshape(1, -1), weights)[0]
    return result


def _of_functions(channels: Channels, rows: Array) -> Channels:
    """Channels that are given functions of Gaussians, whose correlations follow from their own."""
    centered = rows - (rows @ WEIGHTS)[:, None]
    deviations = np.sqrt(np.maximum(centered**2 @ WEIGHTS, 1e-300))
    scale = np.sqrt(channels.variances) / deviations
    rows = channels.means[:, None] + scale[:, None] * centered
    found, _ = marginals.coefficients(rows)
    products = [np.multiply.outer(found[:, k], found[:, k]) for k in range(_FEW_ORDERS + 1)]
    latent = np.zeros_like(channels.covariances)
    # Σ_k a_k b_k ρ^k = Cov, by Newton's method from 0.
    for _ in range(3):
        total, slope = np.zeros_like(latent), np.zeros_like(latent)
        for order in range(_FEW_ORDERS, 0, -1):
            slope = slope * latent + order * products[order]
            total = (total + products[order]) * latent
        step = np.divide(channels.covariances - total, slope, out=total * 0.0, where=slope != 0)
        latent = np.clip(latent + step, -1.0, 1.0)
    _set_diagonal(latent, np.ones(channels.count))
    return replace(channels, functions=rows, latent=latent)


def multiplied(
    first: Channels, second: Channels, spatial: Callable[[Sequence[int]], Array]
) -> Channels:
    """The product of two that have nothing in common.

    Args:
        first, second: of the factors.
        spatial: of the second, as `through` takes it.
    """
    reach = [size // 2 for size in first.covariances.shape[:-2]]
    theirs = second.covariances
    if theirs.ndim < first.covariances.ndim:
        theirs = extended(theirs, spatial(reach))
    mine = np.multiply.outer(first.means, first.means)
    others = np.multiply.outer(second.means, second.means)
    total = first.covariances * (theirs + others) + mine * theirs
    path = first.followed_by(Step(second.means[None]))
    return Channels(first.means * second.means, total, path=path)


def dropped(channels: Channels, kept: float, gain: float, *, alike: bool) -> Channels:
    """Each entry kept with a probability, and else 0.

    Args:
        channels: of the tensor.
        kept, gain: the probability, and the factor of what is kept.
        alike: whether a channel is lost at all positions together.
    """
    covariances = (kept * gain) ** 2 * channels.covariances
    squares = kept * (1 - kept) * gain**2
    own = np.diagonal(channels.covariances, axis1=-2, axis2=-1) + channels.means**2
    index = np.arange(channels.count)
    if alike:
        covariances[..., index, index] += squares * own
    else:
        _central(covariances)[index, index] += squares * _central_row(own)
    path = channels.followed_by(Step(np.full((1, channels.count), kept * gain)))
    return Channels(kept * gain * channels.means, covariances, path=path)


def flattened(
    channels: Channels, sizes: Sequence[int], spatial: Array, means: Array, deviations: Array
) -> Channels:
    """Every channel at every position as a channel.

    Args:
        channels: of the tensor.
        sizes: of its spatial axes.
        spatial: correlation of two entries of a channel at each displacement, from −size + 1 on.
        means: of the positions, less their mean, (positions,).
        deviations: of the positions, relative to the whole, (positions,).
    """
    places = math.prod(sizes)
    wide = extended(channels.covariances, spatial)
    at = np.indices(sizes).reshape(len(sizes), -1)
    apart = at[:, None, :] - at[:, :, None] + (np.array(sizes) - 1)[:, None, None]
    pairs = wide[tuple(apart)]  # positions, positions, channels, channels
    pairs = pairs * np.multiply.outer(deviations, deviations)[..., None, None]
    whole = pairs.transpose(0, 2, 1, 3).reshape((places * channels.count,) * 2)
    return Channels((means[:, None] + channels.means).ravel(), whole)


def unflattened(channels: Channels, sizes: Sequence[int]) -> Channels:
    """Units as channels at positions, over which moments are taken, too.

    Args:
        channels: of the units.
        sizes: of the spatial axes and of the channels.
    """
    *places, count = sizes
    means = channels.means.reshape(-1, count)
    away = means - means.mean(0)
    pairs = channels.at_same_position.reshape(len(means), count, len(means), count)
    pairs = pairs.swapaxes(1, 2) + np.einsum("pc,qd->pqcd", away, away)
    at = np.indices(places).reshape(len(places), -1)
    apart = at[:, None, :] - at[:, :, None] + (np.array(places) - 1)[:, None, None]
    total = np.zeros((*(2 * size - 1 for size in places), count, count))
    number = np.zeros(total.shape[:-2])
    np.add.at(total, tuple(apart), pairs)
    np.add.at(number, tuple(apart), 1.0)
    return Channels(means.mean(0), total / number[..., None, None])


def averaged(
    channels: Channels, maps: Sequence[tuple[int, int, int]], spatial: Callable[..., Array]
) -> Array:
    """Covariances of averages over windows.

    Args:
        channels: of the entries.
        maps: along each axis how many entries a window has, how far apart two windows are, and
            how many windows there are.
        spatial: as `through` takes it.
    """
    known = channels.covariances
    have = [size // 2 for size in known.shape[:-2]] or [0] * len(maps)
    known = known if known.ndim > 2 else known[(None,) * len(maps)]
    matrices, reach = [], []
    for (taps, step, number), half in zip(maps, have, strict=True):
        radius = min(number - 1, max(half - taps + 1, 0) // step)
        most = max(step * radius + taps - 1, half)
        apart = np.arange(-most, most + 1) - step * np.arange(-radius, radius + 1)[:, None]
        matrices.append(np.maximum(taps - np.abs(apart), 0) / taps**2)
        reach.append(most)
    beyond = np.asarray(spatial(reach)).copy()
    beyond[
        tuple(slice(most - half, most + half + 1) for most, half in zip(reach, have, strict=True))
    ] = 0.0
    result = known
    for axis, (matrix, most, half) in enumerate(zip(matrices, reach, have, strict=True)):
        inner = matrix[:, most - half : most + half + 1]
        result = np.moveaxis(np.tensordot(inner, result, (1, axis)), 0, axis)
        beyond = np.moveaxis(np.tensordot(matrix, beyond, (1, axis)), 0, axis)
    return result + np.multiply.outer(beyond, channels.at_same_position)


def largest_of(
    channels: Channels,
    maps: Sequence[tuple[int, int, int]] | None,
    top: Array,
    number: int,
    spatial: Callable[[Sequence[int]], Array],
) -> Channels:
    """The largest entry of windows.

    The Gaussians of a window are √ρ·U + √(1 − ρ)·V_i, and what two channels have in common at the
    same position beyond what they have at two is in common to their V (as in `pooling`).

    Args:
        channels: of the entries.
        maps, spatial: as `averaged` takes them; None for other windows.
        top: the largest of the Gaussians as a function of one, on the grid.
        number: of the entries of a window.
    """
    rows = np.sort(channels.rows())
    latent = channels.latent_correlations()
    tops = [top] * channels.count
    if maps is not None and latent.ndim > 2 and number > 1:
        of_windows = averaged(replace(channels, covariances=latent), maps, spatial)
        inner = (number * np.diagonal(_central(of_windows)) - 1) / (number - 1)
        tops = [marginals.largest(number, round(50 * max(each, 0.0)) / 50) for each in inner]
    values = np.array([np.interp(top, GRID, row) for top, row in zip(tops, rows, strict=True)])
    means = values @ WEIGHTS
    if maps is None or number < 2:
        latent = _central(latent)
    else:
        here = _central(latent)
        latent = averaged(replace(channels, covariances=latent), maps, spatial)
        middle = _central(latent)
        own = (here - middle) * number / (number - 1)
        middle += own * (gaussian.maximum_of(number)[1] - 1 / number)
        latent = _correlations(latent, np.maximum(np.diagonal(middle), 1e-12))
    return of_rows(values, means, np.maximum(values**2 @ WEIGHTS - means**2, 0.0), latent)


def extended(covariances: Array, spatial: Array) -> Array:
    """Covariances over more displacements: those that are not known as far as entries correlate.

    Args:
        covariances: (displacements…, channels, channels).
        spatial: correlations by displacement, an odd number along each axis.
    """
    wide = np.multiply.outer(spatial, _central(covariances))
    rank = covariances.ndim - 2
    if rank:
        inner, place = [], []
        for have, want in zip(covariances.shape, spatial.shape, strict=False):
            half = min(have, want) // 2
            inner.append(slice(have // 2 - half, have // 2 + half + 1))
            place.append(slice(want // 2 - half, want // 2 + half + 1))
        wide[tuple(place)] = covariances[tuple(inner)]
    return wide


@dataclass(frozen=True)
class Mixed:
    """What given weights make of channels.

    Attributes:
        covariances: of the result, on average over the positions that see what they see.
        taps: m_tu, the means of what each tap reads times its weights, (taps, units).
        step: what covariances with other channels become.
    """

    covariances: Array
    taps: Array
    step: Step


def through(
    channels: Channels, kernel: KernelMoments, spatial: Callable[[Sequence[int]], Array]
) -> Mixed | None:
    """A given kernel applied, or None where it is not one that moves along with the positions.

    Args:
        channels: of what it reads.
        kernel: whose values are known.
        spatial: gives correlations at displacements up to so many along each axis.
    """
    large = max(channels.count, kernel.units) ** 2 > _MANY_PAIRS
    values: Array = np.asarray(kernel.values).astype(np.float32 if large else np.float64)
    if large:
        channels = replace(channels, covariances=channels.covariances.astype(np.float32))
    single, units = values.ndim == len(kernel.windows) + 1, values.shape[-1]
    read = 1 if single else values.shape[-2]
    groups = channels.count // read
    if channels.count % read or units > MOST or units % groups:
        return None
    found = [_offsets(windows) for windows in kernel.windows]
    moves = [move for move in found if move is not None]
    if len(moves) < len(found):
        return None
    # (taps, channels, units), or of one channel a unit (taps, units).
    weights = values.reshape(-1, units) if single else values.reshape(-1, read, units)
    if single:
        channels = _repeated(channels, units // groups)
    elif groups > 1:
        weights = _of_groups(weights, groups)
    means = channels.means if single else channels.means[:, None]
    sums = weights * means if single else (weights * means).sum(1)
    if not moves:
        whole = _times_left(weights[0], _times(channels.covariances, weights[0]))
        return Mixed(whole, sums, Step(weights))
    offsets = np.array(list(itertools.product(*(each for each, _, _ in moves))))
    steps = [(step, apart) for _, step, apart in moves]
    seen = _seen(kernel.windows).ravel()
    follows = Step(weights, offsets, [step for step, _ in steps], seen, spatial)
    radii = _radii(channels.count, weights, kernel.windows)
    if not radii:
        shares = [_shares(each, 0)[0] for each in kernel.windows]
        covariances = _without_neighbours(channels, weights, offsets, steps, shares, spatial)
        return Mixed(covariances, sums, follows)
    covariances = _with_neighbours(
        channels, weights, kernel.windows, offsets, steps, radii, spatial
    )
    return Mixed(covariances, sums, follows)


def means_of_units(taps: Array, windows: Sequence[Windows]) -> Array:
    """Over positions, from what each tap brings: (taps, units)."""
    return np.asarray(_seen(windows).ravel() @ taps)


def variance_of_means(taps: Array, windows: Sequence[Windows]) -> float:
    """Over positions, on average over units, from what each tap brings: (taps, units)."""
    both: Array = np.ones((1, 1))
    for each in windows:
        both = np.asarray(np.kron(both, coverage(each)), float)
    squares = np.einsum("tu,tu->u", taps, both @ taps)
    return max(float((squares - means_of_units(taps, windows) ** 2).mean()), 0.0)


def _seen(windows: Sequence[Windows]) -> Array:
    """Shares of the positions at which each tap reads real input, (taps…)."""
    return functools.reduce(
        np.multiply.outer, [(each >= 0).mean(0) for each in windows], np.ones(())
    )


def _with_neighbours(
    channels: Channels,
    weights: Array,
    windows: Sequence[Windows],
    offsets: Array,
    steps: Sequence[tuple[int, int]],
    radii: Sequence[int],
    spatial: Callable[[Sequence[int]], Array],
) -> Array:
    """Σ_tt′ f(δ, t, t′)·w_tᵀ·Γ((s·δ + o_t′ − o_t)/u)·w_t′ at displacements δ.

    f is the share of the pairs of positions of which the one reads with t and the other with t′.
    """
    reach = np.ptp(offsets, 0)
    wide = [
        -(-(step * r + int(most)) // apart)
        for (step, apart), r, most in zip(steps, radii, reach, strict=True)
    ]
    every = extended(channels.covariances, spatial(wide))
    shares = [_shares(each, radius) for each, radius in zip(windows, radii, strict=True)]
    taps = list(np.ndindex(*(each.shape[1] for each in windows)))
    right = [_times(every, weight) for weight in weights]
    units = weights.shape[-1]
    result = np.zeros((*(2 * radius + 1 for radius in radii), units, units))
    step, apart = np.array(steps).T
    # All displacements along the last axis together.
    last = step[-1] * np.arange(-radii[-1], radii[-1] + 1)
    for place in np.ndindex(result.shape[:-3]):
        start = step * (np.array([*place, radii[-1]]) - radii)
        for number, (one, weight) in enumerate(zip(taps, weights, strict=True)):
            total = np.zeros((result.shape[-3], *right[0].shape[-2:]))
            for other, (two, products) in enumerate(zip(taps, right, strict=True)):
                share = math.prod(
                    each[d, t, u] for each, d, t, u in zip(shares, place, one, two, strict=False)
                )
                if share:
                    of_last = share * shares[-1][:, one[-1], two[-1]]
                    between = start + offsets[other] - offsets[number]
                    # Where that is no whole number, no pair reads so: the share is 0.
                    *at, _ = between // apart + wide
                    along = (last + between[-1]) // apart[-1] + wide[-1]
                    total += of_last[:, None, None] * products[tuple(at)][along]
            result[place] += _times_left(weight, total)
    return result


def _shares(windows: Windows, radius: int) -> Array:
    """Of pairs of positions of which the first reads with one tap and the second with another."""
    real, size = (windows >= 0).astype(float), len(windows)
    parts = [
        (real[max(-d, 0) : size - max(d, 0)], real[max(d, 0) : size - max(-d, 0)])
        for d in range(-radius, radius + 1)
    ]
    return np.array([first.T @ second / len(first) for first, second in parts])


def _times(covariances: Array, weights: Array) -> Array:
    return covariances * weights if weights.ndim == 1 else covariances @ weights


def _times_left(weights: Array, values: Any) -> Any:
    return weights[:, None] * values if weights.ndim == 1 else weights.T @ values


def _without_neighbours(
    channels: Channels,
    weights: Array,
    offsets: Array,
    steps: Sequence[tuple[int, int]],
    shares: Sequence[Array],
    spatial: Callable[[Sequence[int]], Array],
) -> Array:
    """At the same position only; neighbours correlate alike in all pairs of channels."""
    _, apart = np.array(steps).T
    reach = -(-np.ptp(offsets, 0) // apart)
    between = (offsets[None] - offsets[:, None]) // apart + reach
    related = spatial(reach)[tuple(np.moveaxis(between, -1, 0))]
    for axis, each in enumerate(shares):
        index = np.array([*np.ndindex(*(len(share) for share in shares))])[:, axis]
        related = related * each[np.ix_(index, index)]
    roots, vectors = np.linalg.eigh(related)
    covariances = channels.at_same_position
    result = np.zeros((weights.shape[-1],) * 2)
    for root, vector in zip(roots, vectors.T, strict=True):
        if root > 1e-6 * roots[-1]:
            mixed = np.tensordot(vector, weights, 1)
            result += root * _times_left(mixed, _times(covariances, mixed))
    return result


def _radii(count: int, weights: Array, windows: Sequence[Windows]) -> list[int]:
    """Displacements that are carried along each axis; none where even few would be too many."""
    taps, units, single = len(weights), weights.shape[-1], weights.ndim == 2
    sizes = [len(each) for each in windows]
    for radius in range(max(sizes, default=0) - 1, 0, -1):
        radii = [min(radius, size - 1) for size in sizes]
        carried = math.prod(2 * each + 1 for each in radii)
        entries = carried * taps * max(count * (1 if single else units), units * taps // 4)
        operations = 2 * carried * taps * units * (taps + (1 if single else count + units))
        if (
            carried * max(units, count) ** 2 <= _MOST_ENTRIES
            and entries * 2 <= 16 * _MOST_ENTRIES
            and operations * units <= _MOST_OPERATIONS
        ):
            return radii
    return []


def _offsets(windows: Windows) -> tuple[Array, int, int] | None:
    """What each tap reads, u·index = s·position + offset: the offsets, s and u.

    s is the stride of a convolution, u that of a transposed one.
    """
    real = windows >= 0
    at = [np.flatnonzero(column)[:2] for column in real.T]
    steps = [
        (int(windows[rows[1], tap] - windows[rows[0], tap]), int(rows[1] - rows[0]))
        for tap, rows in enumerate(at)
        if len(rows) > 1
    ]
    step, apart = max(set(steps), key=steps.count) if steps else (1, 1)
    moved = apart * windows - step * np.arange(len(windows))[:, None]
    offsets = np.where(real, moved, np.iinfo(np.int64).min).max(0)
    seen = real.any(0)
    offsets = np.where(seen, offsets, 0)
    # A tap that reads padding everywhere is as if it were not there.
    fits = bool((~real | (moved == offsets)).all()) and bool(seen.any())
    return (offsets.astype(np.int64), step, apart) if fits else None


def _repeated(channels: Channels, times: int) -> Channels:
    index = np.repeat(np.arange(channels.count), times)
    pairs = channels.covariances[..., index[:, None], index]
    return Channels(channels.means[index], pairs)


def _of_groups(weights: Array, groups: int) -> Array:
    """Kernels of groups of channels as one of all of them: (taps, channels, units)."""
    taps, read, units = weights.shape
    whole = np.zeros((taps, groups, read, groups, units // groups))
    split = weights.reshape(taps, read, groups, -1)
    for group in range(groups):
        whole[:, group, :, group] = split[:, :, group]
    return whole.reshape(taps, groups * read, units)


def root(matrix: Array) -> Array:
    """The symmetric square root of a covariance matrix."""
    roots, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(roots, 0.0))) @ vectors.T)


def _central(covariances: Array) -> Array:
    """A view at no displacement."""
    place = tuple(size // 2 for size in covariances.shape[:-2])
    return np.asarray(covariances[place])


def window_of(taps: Taps) -> tuple[int, int, int] | None:
    """Entries of a window, how far apart two are and how many there are; None for other maps."""
    number, count = taps.reads.shape
    firsts = taps.reads[:, 0]
    step = int(firsts[1] - firsts[0]) if number > 1 else 1
    beside = firsts[0] + step * np.arange(number)[:, None] + np.arange(count)
    alike = np.array_equal(beside, taps.reads) and np.allclose(taps.weights, 1 / count)
    return (count, step, number) if alike and step > 0 else None


def _central_row(values: Array) -> Array:
    return np.asarray(values[tuple(size // 2 for size in values.shape[:-1])])


def _set_diagonal(covariances: Array, variances: Array) -> None:
    index = np.arange(len(variances))
    _central(covariances)[index, index] = variances


def _correlations(covariances: Array, variances: Array) -> Array:
    deviations = np.sqrt(variances)
    scale = np.multiply.outer(deviations, deviations)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip(np.where(scale > 0, covariances / scale, 0.0), -1.0, 1.0)
