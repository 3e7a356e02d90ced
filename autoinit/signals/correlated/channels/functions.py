"""Functions of channels: normalized, added, multiplied, dropped, and their softmax (L)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.channels import (
    MOST,
    Channels,
    Lengths,
    MadeOf,
    central,
    extended,
    of_functions,
    of_rows,
    of_samples,
    set_diagonal,
)
from autoinit.signals.correlated.channels.entries import beside as entries_beside
from autoinit.signals.correlated.channels.entries import of_one_length, settled, shaped, together
from autoinit.signals.correlated.channels.paths import Common, Step, turned
from autoinit.signals.correlated.channels.skewness import bend_of, is_sum, skewed
from autoinit.signals.correlated.grid import NODES, beside, evaluated, without_rounding
from autoinit.signals.correlated.marginals import GRID, WEIGHTS
from autoinit.signals.signal import Array

# v·∂/∂v of the mean of a function of N(m, v), and v²·∂²/∂v² of it.
_RISES: Array = (GRID**2 - 1) / 2 * WEIGHTS
_CURVATURES: Array = (GRID**4 - 6 * GRID**2 + 3) / 4 * WEIGHTS
# Nodes of the distribution of a sum.
_FEW = slice(40, 281, 6)
# First Hermite coefficients of functions on the grid.
_SLOPES: Array = GRID * WEIGHTS

# Correlation of two Gaussians up to which they make a plane.
_MOST_RELATED = 0.999
# Entries of the samples that shares are averaged over.
_SAMPLED = 2**18


def mapped(
    function: Callable[..., Any], operands: Sequence[Channels], trimmed: bool
) -> tuple[Channels, bool]:
    """f(x, y, …) of functions of the same Gaussians, channel by channel."""
    rows = [without_rounding(each.rows()) for each in operands]

    def points(steps: Sequence[float], curved: bool) -> list[Array]:
        return [beside(each, NODES, steps[0], curved=curved) for each in rows]

    values, squares, converged = evaluated(function, points, 1, trimmed)
    squares = values**2 if squares is None else squares
    means, seconds = values @ WEIGHTS, squares @ WEIGHTS
    lengths = operands[0].lengths
    if lengths is not None:
        scatter = lengths.scatter()
        own = np.diagonal(central(scatter)) / 2
        means, seconds = (
            moments + own * (of @ _CURVATURES)
            for moments, of in ((means, values), (seconds, squares))
        )
    variances = np.maximum(seconds - means**2, 0.0)
    latent = operands[0].latent_correlations()
    found = of_rows(values, means, variances, latent)
    if lengths is not None:
        rising = values @ _RISES
        near = scatter if scatter.ndim == found.covariances.ndim else central(scatter)
        beyond = near * np.multiply.outer(rising, rising)
        inner = (
            found.covariances if beyond.ndim == found.covariances.ndim else found.at_same_position
        )
        inner += beyond
        set_diagonal(found.covariances, variances)
    place = next((n for n, each in enumerate(operands) if is_sum(each)), 0)
    first, slopes = rows[place] @ _SLOPES, values @ _SLOPES
    slopes = np.divide(slopes, first, out=np.zeros_like(first), where=np.abs(first) > 1e-12)
    made_of = operands[place].followed_by(Step(slopes[None]))
    found = replace(found, made_of=made_of, lengths=lengths)
    found = replace(found, bend=bend_of(operands[place], found))
    entries = [each.entries for each in operands]
    known = [each.each for each in entries if each is not None]
    if len(known) == len(operands) and entries[0] is not None:
        each, _ = mapped(function, known, trimmed)
        found = settled(replace(found, entries=replace(entries[0], each=each)))
    return found, converged


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
    variances = np.diagonal(central(covariances))
    total = float((means**2 + variances).mean()) + epsilon
    if not total > 0:
        return channels
    matrix = np.eye(channels.count) - (1 / channels.count if centered else 0.0)
    made_of = channels.followed_by(Step(matrix[None] / math.sqrt(total)))
    means, covariances = means / math.sqrt(total), covariances / total
    lengths = Lengths.of(covariances)
    found = Channels(means, covariances, made_of=made_of, of_one_length=True, lengths=lengths)
    entries = channels.entries and of_one_length(channels.entries, epsilon, centered=centered)
    return settled(replace(found, entries=entries))


def shares_of(channels: Channels) -> Channels:
    """exp(x)/Σ exp(x) over the channels at a position, averaged over samples of them."""
    count = max(_SAMPLED // channels.count, 1024)
    values = np.random.default_rng(0).standard_normal((count // 2, channels.count))
    values = channels.drawn(np.concatenate([values, -values]))
    shares = np.exp(values - values.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return of_samples(shares.reshape(2, -1, channels.count).swapaxes(0, 1))


def mixed(parts: Sequence[Channels | None], shares: Array) -> Channels | None:
    """Channels whose entries are those of one of several tensors, each with its share."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or len({part.count for part in known}) > 1:
        return None
    means = np.asarray(sum(share * part.means for share, part in zip(shares, known, strict=True)))
    covariances = -np.multiply.outer(means, means)
    for share, part in zip(shares, known, strict=True):
        covariances += share * (part.at_same_position + np.multiply.outer(part.means, part.means))
    weights = np.multiply.outer(shares, WEIGHTS).ravel()
    rows = marginals.quantiles(np.hstack([part.rows() for part in known]), weights)
    return of_functions(Channels(means, covariances), rows)


def joined(parts: Sequence[Channels | None]) -> Channels | None:
    """Those of a concatenation, whose parts may have been made of the same channels."""
    known = [part for part in parts if part is not None]
    total = sum(part.count for part in known)
    if len(known) < len(parts) or total > MOST:
        return None
    sizes = [part.covariances.shape[:-2] for part in known]
    if len({len(each) for each in sizes}) > 1:
        known, sizes = [part.without_neighbors() for part in known], [()]
    half = [min(each) // 2 for each in zip(*sizes, strict=True)]
    lead = tuple(2 * each + 1 for each in half)
    ends = list(itertools.accumulate(part.count for part in known))
    places = [slice(end - part.count, end) for end, part in zip(ends, known, strict=True)]

    def blocks(arrays: Sequence[Array]) -> Array:
        whole = np.zeros((*lead, total, total))
        for place, array in zip(places, arrays, strict=True):
            inner = [
                slice(size // 2 - each, size // 2 + each + 1)
                for size, each in zip(array.shape, half, strict=False)
            ]
            whole[..., place, place] = array[tuple(inner)]
        return whole

    covariances, common, meet = blocks([part.covariances for part in known]), Common(), False
    for (one, first), (other, second) in itertools.combinations(zip(places, known, strict=True), 2):
        between = common.between(first, second, half)
        if between is not None:
            meet = True
            covariances[..., one, other] = between
            covariances[..., other, one] = turned(between)
    made_of: MadeOf = ()
    for place, part in zip(places, known, strict=True):
        made_of += part.followed_by(Step(np.eye(total)[None, place]))
    means = np.concatenate([part.means for part in known])
    entries = entries_beside(known, related=meet)
    found = settled(Channels(means, covariances, made_of=made_of, entries=entries))
    if all(part.functions is None for part in known):
        return found
    found = replace(found, functions=np.concatenate([part.rows() for part in known]))
    latent = blocks([part.latent_correlations() for part in known])
    if meet:
        whole = of_functions(found, found.rows()).latent_correlations()
        for one, other in itertools.permutations(places, 2):
            latent[..., one, other] = whole[..., one, other]
    return replace(found, latent=latent)


def added(first: Channels | None, second: Channels | None, sign: float) -> Channels | None:
    """The sum of two, which may have been made of the same channels."""
    if first is None or second is None or first.count != second.count:
        return None
    if first.covariances.shape != second.covariances.shape:
        first, second = first.without_neighbors(), second.without_neighbors()
    total = first.covariances + second.covariances
    common = Common().between(first, second, [size // 2 for size in total.shape[:-2]])
    if common is not None:
        total = total + sign * common
        total += sign * turned(common)
    ones = np.ones((1, first.count))
    made_of = first.followed_by(Step(ones)) + second.followed_by(Step(sign * ones))
    entries = together(first, second, sign, related=common is not None)
    found = Channels(first.means + sign * second.means, total, made_of=made_of, entries=entries)
    if is_sum(first) and is_sum(second):
        return skewed(found)
    beside = np.zeros(found.count) if common is None else np.diagonal(central(common))
    rows = _summed_rows(first, second, sign, beside)
    if entries is None:
        return of_functions(found, rows)
    found = settled(found)
    shapes = rows - (rows @ WEIGHTS)[:, None]
    shapes = shapes / np.sqrt(np.maximum(shapes**2 @ WEIGHTS, 1e-300))[:, None]
    rows = found.means[:, None] + np.sqrt(found.variances)[:, None] * shapes
    return of_functions(shaped(found, shapes, None), rows)


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


def of_two(
    function: Callable[[Any, Any], Any],
    first: Channels,
    second: Channels,
    spatial: Callable[[Sequence[int]], Array],
) -> Channels | None:
    """f(x, y) of two that may have been made of the same channels: a gate, a length that divides.

    Moments of a channel are those of f on the plane of both Gaussians; covariances are taken to
    the first order in x, in y and in both, with E ∂f/∂x and so on (Stein's lemma), which is exact
    for a product of Gaussians.

    Args:
        function: of arrays.
        first, second: x and y; one of a single channel meets all channels of the other.
        spatial: of the second, as `through` takes it.
    """
    count = max(first.count, second.count)
    if {first.count, second.count} - {1, count}:
        return None
    reach = [size // 2 for size in first.covariances.shape[:-2]]
    theirs = second.covariances
    if theirs.ndim < first.covariances.ndim:
        theirs = extended(theirs, spatial(reach))
    common = Common().between(first, second, reach)
    together = np.zeros(()) if common is None else common
    beside = np.zeros(count)
    if common is not None:
        beside = beside + np.diagonal(np.broadcast_to(central(common), (count, count)))
    rows, others = (np.broadcast_to(each.rows(), (count, GRID.size)) for each in (first, second))
    mine, other = rows @ _SLOPES, others @ _SLOPES
    scale = mine * other
    related = np.divide(beside, scale, out=np.zeros(count), where=np.abs(scale) > 1e-300)
    related = np.clip(related, -_MOST_RELATED, _MOST_RELATED)[:, None, None]
    left = np.sqrt(1 - related**2)
    one, two = GRID[_FEW, None], GRID[_FEW]
    places = related * one + left * two
    values = np.array([np.interp(at, GRID, row) for at, row in zip(places, others, strict=True)])
    values = np.asarray(function(rows[:, _FEW, None], values), float)
    weights = np.outer(WEIGHTS[_FEW], WEIGHTS[_FEW]) / WEIGHTS[_FEW].sum() ** 2
    if not np.isfinite(values).all():
        return None

    def expected(of: Any) -> Array:
        return np.asarray((values * of * weights).sum((-1, -2)))

    means, ups, downs, both = (expected(of) for of in (1.0, one, two, one * two))
    left, related = left[:, 0, 0], related[:, 0, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.nan_to_num(downs / (left * other), posinf=0.0, neginf=0.0)
        slopes = np.nan_to_num((ups - along * other * related) / mine, posinf=0.0, neginf=0.0)
        bends = np.nan_to_num(both / (left * scale), posinf=0.0, neginf=0.0)
    total = np.multiply.outer(slopes, slopes) * first.covariances
    total = total + np.multiply.outer(along, along) * theirs
    total = total + np.multiply.outer(bends, bends) * first.covariances * theirs
    if common is not None:
        crossed = np.multiply.outer(slopes, along) * together
        total = total + crossed + turned(crossed)
        total = total + np.multiply.outer(bends, bends) * together * turned(together)
    set_diagonal(total, np.maximum(expected(values) - means**2, 0.0))
    made_of = first.followed_by(Step(_of_one(first, slopes)))
    made_of += second.followed_by(Step(_of_one(second, along)))
    found = Channels(means, total, made_of=made_of)
    # A gate that hardly varies leaves a distribution as it is.
    shaped = first.functions is not None and first.count == count
    return of_functions(found, first.rows()) if shaped else found


def _of_one(channels: Channels, slopes: Array) -> Array:
    """Weights of a step from these channels, of which all read one if it is alone."""
    return slopes[None] if channels.count == len(slopes) else slopes[None, None]


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
        central(covariances)[index, index] += squares * _central_row(own)
    made_of = channels.followed_by(Step(np.full((1, channels.count), kept * gain)))
    entries = channels.entries
    if entries is not None:
        each = dropped(entries.each, kept, gain, alike=False)
        entries = None if alike else replace(entries, each=each)
    means = kept * gain * channels.means
    return Channels(means, covariances, made_of=made_of, entries=entries)


def _central_row(values: Array) -> Array:
    return np.asarray(values[tuple(size // 2 for size in values.shape[:-1])])
