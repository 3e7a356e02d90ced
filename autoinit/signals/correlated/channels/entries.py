"""Every entry of a small map by itself: a mean of its own, and what any two have in common (M).

On a small map most positions lie at a border, and each sees its own taps: what channels have in
common, and what an average over positions leaves, is not what positions that are alike would have.
Here each entry is a channel; `Channels` over positions follow from averages.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from autoinit.quadrature import gaussian
from autoinit.signals.correlated.channels.channels import (
    Bend,
    Channels,
    Entries,
    Lengths,
    MadeOf,
    central,
    correlations,
    extended,
    of_functions,
    of_rows,
    with_moments,
)
from autoinit.signals.correlated.channels.paths import Common, Step
from autoinit.signals.correlated.marginals import GRID, WEIGHTS
from autoinit.signals.geometry import Taps, Windows
from autoinit.signals.signal import Array

# Entries of which all pairs are carried.
MOST = 2048
# Of which single precision does.
_MANY = 512
# Entries of a window that correlate by no more, and numbers of them that are more than one.
_MOST_ALIKE, _LEAST_NUMBER = 0.999, 1.05
# Of the grid, where a largest entry is looked at, and of what all entries of a window share.
_EVERY = 4
_NODES, _SHARES = np.polynomial.hermite_e.hermegauss(15)
_SHARES = _SHARES / _SHARES.sum()
# First Hermite coefficients of functions on the grid.
_SLOPES: Array = GRID * WEIGHTS


@dataclass(frozen=True, eq=False)
class LengthsOfEntries(Lengths):
    """`Lengths` where positions are told apart: t of two of them, r of an entry with a position.

    Attributes:
        total: t, (positions, positions).
        each: r, (entries, positions).
        factors: of both, (positions, positions).
    """

    factors: Array = field(default_factory=lambda: np.ones((1, 1)))

    @classmethod
    def at(cls, covariances: Array, places: int) -> LengthsOfEntries:
        """Of entries whose squares are 1 on average at each of the positions."""
        count = len(covariances) // places
        squares = covariances.reshape(places, count, places, count) ** 2
        blocks = squares.sum((1, 3), dtype=float)
        traces = np.diagonal(covariances).reshape(places, count).sum(1)
        directions = traces**2 / np.maximum(np.diagonal(blocks), 1e-300)
        roots = np.sqrt(directions / (directions + 2))
        none = np.zeros((len(covariances), places))
        factors = np.multiply.outer(roots, roots)
        found = cls(covariances, 2 * blocks / count**2, none, 1.0, factors)
        return found.seen(np.diagonal(covariances))

    def read(self, step: Step, variances: Array) -> LengthsOfEntries:
        """Of sums of these entries."""
        common = step.applied(self.common.T, np.zeros((1, 0)), (), ()).T
        return replace(self, common=common).seen(variances)

    def seen(self, variances: Array) -> LengthsOfEntries:
        """Of entries of these variances."""
        places = len(self.total)
        count = self.common.shape[1] // places
        squares = self.common.reshape(len(self.common), places, count) ** 2
        sums = 2 * squares.sum(-1, dtype=float) / count
        scale = np.broadcast_to(variances[:, None], sums.shape)
        each = np.divide(sums, scale, out=np.zeros_like(sums), where=scale > 1e-12)
        return replace(self, each=each)

    def scatter(self) -> Array:
        """Relative covariances of squares beyond those of Gaussians, (entries, entries)."""
        places = len(self.total)
        index = np.repeat(np.arange(places), len(self.each) // places)
        others = self.each[:, index]
        pairs = index[:, None], index
        found = self.factors[pairs] * (self.total[pairs] - others - others.T)
        return _precise(found, len(self.each))


def are_few(sizes: Sequence[int], channels: int) -> bool:
    """Whether each entry of a map may be known by itself."""
    return math.prod(sizes) > 1 and math.prod(sizes) * channels <= MOST


def spread(
    channels: Channels, sizes: Sequence[int], spatial: Array, means: Array, deviations: Array
) -> Entries:
    """Entries of channels of which averages over positions are known.

    Args:
        channels: of the map.
        sizes: of its spatial axes.
        spatial: correlation of two entries of a channel at each displacement, from −size + 1 on.
        means: of the positions, less their mean, (positions,).
        deviations: of the positions, relative to the whole, (positions,).
    """
    places = math.prod(sizes)
    scales = np.repeat(deviations, channels.count)
    every = (means[:, None] + channels.means).ravel()
    covariances = between_all(channels.covariances, sizes, spatial)
    covariances *= scales[:, None].astype(covariances.dtype)
    covariances *= scales.astype(covariances.dtype)
    found = Channels(every, covariances)
    if channels.functions is not None:
        shapes = channels.functions - channels.means[:, None]
        rows = every[:, None] + scales[:, None] * np.tile(shapes, (places, 1))
        latent = between_all(channels.latent_correlations(), sizes, spatial)
        third = channels.third
        found = replace(
            found,
            functions=rows,
            latent=latent,
            third=None if third is None else scales**3 * np.tile(third, places),
        )
    return Entries(found, tuple(sizes))


def between_all(known: Array, sizes: Sequence[int], spatial: Array) -> Array:
    """Covariances of all entries of a map, from those of its channels by displacement.

    Args:
        known: of channels, as `Channels.covariances`.
        sizes, spatial: as `spread` takes them.

    Returns:
        (entries, entries), the positions in a row with the channels of each.
    """
    size = math.prod(sizes) * known.shape[-1]
    at = np.indices(sizes).reshape(len(sizes), -1)
    apart = at[:, None, :] - at[:, :, None] + (np.array(sizes) - 1)[:, None, None]
    pairs = _precise(extended(known, spatial), size)[tuple(apart)]
    return np.asarray(pairs.transpose(0, 2, 1, 3).reshape(size, size))


def _precise(values: Array, count: int) -> Array:
    return values.astype(np.float32) if count > _MANY else values


def settled(channels: Channels) -> Channels:
    """Means, covariances and functions as they are on average over the entries."""
    entries = channels.entries
    if entries is None:
        return channels
    places, count = entries.places, channels.count
    every = entries.each
    means = every.means.reshape(places, count)
    mean = means.mean(0)
    covariances = _averaged_over_places(entries, means - mean, channels.covariances.shape[:-2])
    found = replace(channels, means=mean, covariances=covariances)
    if every.bend is not None and channels.bend is not None:
        found = replace(found, bend=_averaged_bend(every.bend, places, channels.bend))
    if channels.functions is not None:
        before = channels.functions @ WEIGHTS
        variances = channels.functions**2 @ WEIGHTS - before**2
        rows = with_moments(channels.functions, before, variances, mean, found.variances)
        found = replace(found, functions=rows)
    return replace(found, entries=replace(entries, each=replace(every, bend=None)))


def _averaged_over_places(entries: Entries, away: Array, lead: Sequence[int]) -> Array:
    sizes, (places, count) = entries.sizes, away.shape
    pairs = entries.each.covariances.reshape(places, count, places, count)
    radii = [size // 2 for size in lead] if lead else [0] * len(sizes)
    numbers = np.arange(places).reshape(sizes)
    total = np.zeros((*(2 * radius + 1 for radius in radii), count, count))
    shape = total.shape[:-2]
    for at in itertools.product(*(range(size) for size in shape)):
        opposite = tuple(size - 1 - place for place, size in zip(at, shape, strict=True))
        if opposite < at:
            total[at] = total[opposite].T
            continue
        apart = [place - radius for place, radius in zip(at, radii, strict=True)]
        steps = list(zip(apart, sizes, strict=True))
        if any(abs(step) >= size for step, size in steps):
            continue
        first = numbers[tuple(slice(max(-s, 0), size - max(s, 0)) for s, size in steps)].ravel()
        other = numbers[tuple(slice(max(s, 0), size - max(-s, 0)) for s, size in steps)].ravel()
        summed = np.zeros((count, count))
        for one, two in zip(first, other, strict=True):
            summed += pairs[one, :, two]
        total[at] = (summed + away[first].T @ away[other]) / len(first)
    return total if lead else central(total)


def _averaged_bend(each: Bend, places: int, bend: Bend) -> Bend:
    def mean(values: Array) -> Array:
        return np.asarray(values.reshape(places, -1, *values.shape[1:]).mean(0))

    return replace(bend, orders=mean(each.orders), own=mean(each.own), slopes=mean(each.slopes))


def shaped(channels: Channels, shapes: Array, third: Array | None) -> Channels:
    """Entries that are functions of a channel's shape: standardized, (channels, grid).

    Args:
        channels: of all entries' channels.
        shapes: of the entries of each channel.
        third: of the entries of each channel, relative to their variances.
    """
    entries = channels.entries
    if entries is None:
        return channels
    each, places = entries.each, entries.places
    deviations = np.sqrt(each.variances)
    rows = each.means[:, None] + deviations[:, None] * np.tile(shapes, (places, 1))
    found = of_functions(replace(each, latent=None), rows)
    if third is not None:
        found = replace(found, third=deviations**3 * np.tile(third, places))
    return replace(channels, entries=replace(entries, each=found))


def between_places(entries: Entries) -> tuple[Array, Array]:
    """Of each channel: Σ v^(3/2) over positions, and what these add to its third moment."""
    each = entries.each
    variances = each.variances.reshape(entries.places, -1)
    away = each.means.reshape(entries.places, -1)
    away = away - away.mean(0)
    return (variances**1.5).mean(0), (3 * variances * away + away**3).mean(0)


def read_through(windows: Sequence[Windows], sizes: Sequence[int]) -> NDArray[np.int64]:
    """Which position of a map each tap reads at each position: (taps, positions); −1 for none."""
    found = np.zeros((1, 1), np.int64)
    for each, size in zip(windows, sizes, strict=True):
        one, two = found[:, :, None, None], each.T[None, None]
        both = np.where((one >= 0) & (two >= 0), one * size + two, -1)
        found = both.transpose(0, 2, 1, 3).reshape(len(found) * each.shape[1], -1)
    return found


def mapped_along_axes(channels: Channels, maps: Sequence[Taps]) -> Entries | None:
    """After a linear map along each axis; those that only change places keep their functions."""
    entries = channels.entries
    if entries is None or entries.sizes != tuple(taps.size for taps in maps):
        return None
    reads = read_through([taps.reads for taps in maps], entries.sizes)
    amounts: Array = np.ones((1, 1))
    for taps in maps:
        both = amounts[:, None, :, None] * taps.weights.T[None, :, None, :]
        amounts = both.reshape(len(amounts) * taps.weights.shape[1], -1)
    weights = np.ones((len(reads), channels.count))
    step = Step(weights, reads=reads, amounts=amounts[..., None])
    found = through_step(entries, step, [len(taps.reads) for taps in maps])
    each = entries.each
    moved = all(taps.moves for taps in maps) and bool(amounts.all())
    if found is None or not moved or each.functions is None:
        return found
    at = np.arange(each.count).reshape(entries.places, -1)[reads[0]].ravel()
    placed = replace(
        found.each,
        functions=each.functions[at],
        latent=each.latent_correlations()[np.ix_(at, at)],
        third=None if each.third is None else each.third[at],
    )
    return replace(found, each=placed)


def through_step(
    entries: Entries, step: Step, sizes: Sequence[int], offset: Array | float = 0.0
) -> Entries | None:
    """What a linear layer makes of entries.

    Args:
        entries: that it reads.
        step: what it does.
        sizes: of the positions of the result.
        offset: of each channel of the result.
    """
    places, units = math.prod(sizes), step.weights.shape[-1]
    each = entries.each
    if places * units > MOST:
        return None
    if step.weights.ndim == 2:
        step = replace(step, read=each.count // entries.places)
    none = np.zeros((1, 0))
    half = step.applied(each.covariances.T, none, (), ())
    covariances = step.applied(half.T, none, (), ())
    covariances = (covariances + covariances.T) / 2
    means = step.applied(each.means[None], none, (), ())[0]
    means = means + np.tile(np.broadcast_to(offset, (units,)), places)
    if places * units <= _MANY:
        covariances = covariances.astype(float)
    found = Channels(means, covariances, made_of=each.followed_by(step))
    at_same_position = len(step.weights) == 1 and tuple(sizes) == entries.sizes
    if isinstance(each.lengths, LengthsOfEntries) and each.functions is None and at_same_position:
        found = replace(found, lengths=each.lengths.read(step, found.variances))
    return Entries(found, tuple(sizes))


def of_one_length(entries: Entries, epsilon: float, *, centered: bool) -> Entries | None:
    """Each position divided by its own length, taken as its mean."""
    each, places = entries.each, entries.places
    count = each.count // places
    matrix = np.eye(count) - (1 / count if centered else 0.0)
    step = Step(matrix[None], reads=np.arange(places)[None])
    found = through_step(entries, step, entries.sizes)
    if found is None:
        return None
    squares = (found.each.means**2 + found.each.variances).reshape(places, count).mean(1)
    scale = 1 / np.sqrt(np.maximum(squares + epsilon, 1e-300))
    divided = replace(step, amounts=np.broadcast_to(scale[:, None], (1, places, 1)))
    found = through_step(entries, divided, entries.sizes)
    if found is None:
        return None
    lengths = LengthsOfEntries.at(found.each.covariances, places)
    return replace(found, each=replace(found.each, lengths=lengths, of_one_length=True))


def transposed(entries: Entries, sizes: Sequence[int], order: Sequence[int]) -> Channels:
    """With the axes of a sample, channels last, in another order."""
    each = entries.each
    at = np.arange(each.count).reshape(sizes).transpose(order).ravel()
    placed = Channels(
        each.means[at],
        each.covariances[np.ix_(at, at)],
        None if each.functions is None else each.functions[at],
        None if each.latent is None else each.latent[np.ix_(at, at)],
        each.followed_by(Step(np.ones((1, 1)), reads=at[None])),
        third=None if each.third is None else each.third[at],
    )
    *places, count = (sizes[axis] for axis in order)
    nothing = Channels(np.zeros(count), np.zeros((count, count)))
    return settled(replace(nothing, entries=Entries(placed, tuple(places))))


def together(first: Channels, second: Channels, sign: float, *, related: bool) -> Entries | None:
    """Entries of a sum.

    Args:
        first, second: the terms.
        sign: of the second.
        related: whether the terms are known to be made of the same.
    """
    one, two = first.entries, second.entries
    if one is None or two is None or one.sizes != two.sizes:
        return None
    common = Common().between(one.each, two.each, ())
    if related and common is None:
        return None
    covariances = one.each.covariances + two.each.covariances
    if common is not None:
        covariances = covariances + sign * (common + common.T)
    ones = np.ones((1, one.each.count))
    made_of = one.each.followed_by(Step(ones)) + two.each.followed_by(Step(sign * ones))
    means = one.each.means + sign * two.each.means
    return Entries(Channels(means, covariances, made_of=made_of), one.sizes)


def beside(parts: Sequence[Channels], *, related: bool) -> Entries | None:
    """Entries of a concatenation along the channels."""
    known = [part.entries for part in parts]
    every = [each for each in known if each is not None]
    if len(every) < len(known) or len({each.sizes for each in every}) > 1:
        return None
    places, counts = every[0].places, [part.count for part in parts]
    total = sum(counts)
    if places * total > MOST:
        return None
    ends = list(itertools.accumulate(counts))
    at = [
        (np.arange(places)[:, None] * total + np.arange(end - count, end)).ravel()
        for end, count in zip(ends, counts, strict=True)
    ]
    size = places * total
    covariances = _precise(np.zeros((size, size)), size)
    means = np.zeros(size)
    shaped = any(each.each.functions is not None for each in every)
    latent = np.zeros_like(covariances) if shaped else None
    functions = np.zeros((size, GRID.size)) if shaped else None
    for place, each in zip(at, every, strict=True):
        covariances[np.ix_(place, place)] = each.each.covariances
        means[place] = each.each.means
        if latent is not None and functions is not None:
            latent[np.ix_(place, place)] = each.each.latent_correlations()
            functions[place] = each.each.rows()
    common, meet = Common(), False
    for (one, first), (two, second) in itertools.combinations(zip(at, every, strict=True), 2):
        pairs = common.between(first.each, second.each, ())
        if pairs is None:
            continue
        meet = True
        covariances[np.ix_(one, two)] = pairs
        covariances[np.ix_(two, one)] = pairs.T
        if latent is not None and functions is not None:
            slopes = np.multiply.outer(functions[one] @ _SLOPES, functions[two] @ _SLOPES)
            with np.errstate(divide="ignore", invalid="ignore"):
                linear = np.nan_to_num(pairs / slopes, posinf=0.0, neginf=0.0)
            linear = np.clip(linear, -1.0, 1.0)
            latent[np.ix_(one, two)] = linear
            latent[np.ix_(two, one)] = linear.T
    if related and not meet:
        return None
    made_of: MadeOf = ()
    for end, count, each in zip(ends, counts, every, strict=True):
        weights = np.eye(total)[None, end - count : end]
        made_of += each.each.followed_by(Step(weights, reads=np.arange(places)[None]))
    found = Channels(means, covariances, functions, latent, made_of)
    return Entries(found, every[0].sizes)


def largest(entries: Entries, windows: Sequence[Windows]) -> Entries:
    """The largest entry of each window, whose entries have distributions of their own.

    With their Gaussians √ρ·U + √(1 − ρ)·V_i it is below x with ∫ Π Φ((z_i(x) − √ρ·u)/√(1 − ρ)),
    and what it has in common with others is what the entry has that is the largest; to the second
    order, Σ (PCP)_ij²·a/(n − 1) of covariances C, with P = 1 − 1/n and a·r² for C = r·1.
    """
    each = entries.each
    reads = read_through(windows, entries.sizes)
    taps, places = reads.shape
    count = each.count // entries.places
    latent = each.latent_correlations()
    inner = _within_windows(latent, reads, count)
    values, chances = _of_largest(each.rows(), reads, inner)
    step = Step(np.ones((taps, count)), reads=reads, amounts=chances)
    effective = 1 / np.maximum((chances**2).sum(0), 1e-12)
    middle = _of_maxima(step, latent, effective, inner)
    variances = np.maximum(np.diagonal(middle), 1e-12)
    correlated = correlations(middle, variances).astype(latent.dtype)
    np.fill_diagonal(correlated, 1.0)
    means = values @ WEIGHTS
    found = of_rows(values, means, np.maximum(values**2 @ WEIGHTS - means**2, 0.0), correlated)
    slopes, rising = each.rows() @ _SLOPES, (values @ _SLOPES) / np.sqrt(variances)
    slopes = slopes.reshape(entries.places, count)[np.maximum(reads, 0)]
    amounts = chances * rising.reshape(places, count)
    amounts = np.divide(amounts, slopes, out=np.zeros_like(amounts), where=slopes > 1e-9)
    made_of = each.followed_by(replace(step, amounts=amounts))
    return Entries(replace(found, made_of=made_of), tuple(len(each) for each in windows))


def _of_maxima(step: Step, latent: Array, numbers: Array, inner: Array) -> Array:
    """Covariances of the largest of Gaussians.

    Args:
        step: averages over windows, by the chance that each is the largest.
        latent: correlations of the Gaussians.
        numbers: of entries that may be the largest, (positions, channels).
        inner: correlation within a window, (positions, channels).
    """
    none = np.zeros((1, 0))

    def averaged(values: Array) -> Array:
        return np.asarray(step.applied(values.T, none, (), ()))

    half = averaged(latent)
    middle = averaged(half)
    rows = averaged(half**2)
    apart = np.maximum(averaged(averaged(latent**2)) - rows - rows.T + middle**2, 0.0)
    whole = [gaussian.covariance_of_maxima(number) for number in range(2, len(step.weights) + 2)]
    kinds = np.arange(2, len(step.weights) + 2)
    squares = [square * n * n / (n - 1) for n, (square, _) in zip(kinds, whole, strict=True)]
    scale = np.interp(numbers, kinds, squares) / (1 - inner)
    scale = np.sqrt(scale * (numbers > _LEAST_NUMBER)).ravel()
    found = middle + np.multiply.outer(scale, scale) * apart
    spread = [gaussian.maximum_of(int(n))[1] for n in (1, *kinds)]
    variances = inner + (1 - inner) * np.interp(numbers, (1, *kinds), spread)
    np.fill_diagonal(found, np.maximum(variances.ravel(), 1e-12))
    return np.asarray(found)


def _within_windows(latent: Array, reads: NDArray[np.int64], count: int) -> Array:
    """Correlation of two entries of a window on average, (positions, channels)."""
    blocks = latent.reshape(-1, count, len(latent) // count, count)
    total = np.zeros((reads.shape[1], count))
    every, number = np.arange(count), np.zeros(reads.shape[1])
    for one, two in itertools.combinations(reads, 2):
        both = (one >= 0) & (two >= 0)
        found = blocks[one[:, None], every, two[:, None], every]
        total += np.where(both[:, None], found, 0.0)
        number += both
    return np.clip(total / np.maximum(number, 1)[:, None], 0.0, _MOST_ALIKE)


def _of_largest(rows: Array, reads: NDArray[np.int64], inner: Array) -> tuple[Array, Array]:
    """The largest as a function of a Gaussian, and with what chance each is the largest.

    Args:
        rows: of the entries, (entries, grid).
        reads: (taps, positions).
        inner: correlation within a window, (positions, channels).

    Returns:
        (entries of the result, grid) and (taps, positions, channels).
    """
    places, count = inner.shape
    rows = np.sort(rows).reshape(-1, count, GRID.size)
    values = np.empty((places, count, GRID.size))
    chances = np.zeros((len(reads), places, count))
    for place in range(places):
        at = reads[reads[:, place] >= 0, place]
        for channel in range(count):
            window = rows[at, channel]
            levels = window[:, ::_EVERY].max(0)
            below = np.array([_gaussian_below(row, levels) for row in window])
            related = inner[place, channel]
            shared = math.sqrt(related) * _NODES[:, None, None]
            under = special.ndtr((below - shared) / math.sqrt(1 - related))
            whole = under.prod(1)
            reached = special.ndtri(np.clip(_SHARES @ whole, 1e-16, 1 - 1e-16))
            values[place, channel] = np.interp(GRID, reached, levels)
            middle = (under[..., 1:] + under[..., :-1]) / 2
            others = middle.prod(1)[:, None] / np.maximum(middle, 1e-300)
            tops = _SHARES @ (np.diff(under) * others).sum(-1)
            sums = max(float(tops.sum()), 1e-300)
            chances[reads[:, place] >= 0, place, channel] = tops / sums
    return values.reshape(-1, GRID.size), chances


def _gaussian_below(row: Array, levels: Array) -> Array:
    """Up to which value of its Gaussian a rising function is not above some levels."""
    place = np.clip(np.searchsorted(row, levels, "right"), 1, GRID.size - 1)
    low, high = row[place - 1], row[place]
    part = np.divide(levels - low, high - low, out=np.ones_like(levels), where=high > low)
    return np.asarray(GRID[place - 1] + np.clip(part, 0.0, 1.0) * (GRID[1] - GRID[0]))
