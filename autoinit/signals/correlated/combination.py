"""Signals that meet: sums, products, extremes, dot products and concatenations (E, G and H)."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autoinit.signals.correlated import (
    elementwise as mapping,
)
from autoinit.signals.correlated import (
    marginals,
)
from autoinit.signals.correlated import (
    sample_effects as fluctuations,
)
from autoinit.signals.correlated.marginals import STANDARD, Marginal
from autoinit.signals.correlated.normalization import over_channels
from autoinit.signals.correlated.pairs import each_with_each
from autoinit.signals.signal import Array

if TYPE_CHECKING:
    from autoinit.signals.correlated.state import CorrelatedSignal

_OPERATIONS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def combined(signals: Sequence[CorrelatedSignal], operation: str) -> CorrelatedSignal:
    """As `Signal.combine`, of the first signal and the others."""
    first, *others = signals
    if operation == "average":
        return combined(signals, "add").affine(1 / len(signals), 0.0)
    if operation not in _OPERATIONS:
        raise ValueError(
            f"operation must be one of average, {', '.join(_OPERATIONS)}. Received: {operation!r}"
        )
    if operation == "subtract" and len(others) > 1:
        return combined([first, *(other.affine(-1.0, 0.0) for other in others)], "add")
    # Functions of the same Gaussians meet first: what comes of two sources has a new one.
    order = list(dict.fromkeys(signal.latent_id for signal in signals))
    ordered = sorted(signals, key=lambda signal: order.index(signal.latent_id))
    groups = [list(group) for _, group in itertools.groupby(ordered, _source_of)]
    together = [functools.reduce(lambda x, y: _of_two(operation, x, y), group) for group in groups]
    return functools.reduce(lambda x, y: _of_two(operation, x, y), together)


def _of_two(operation: str, signal: CorrelatedSignal, other: CorrelatedSignal) -> CorrelatedSignal:
    first, second = at_same_positions(signal, other)
    function = _OPERATIONS[operation]
    found = first.logits or second.logits
    if operation == "add" and found:
        behind = [each.logits[0] if each.logits else each for each in (first, second)]
        plain = [replace(each, logits=None) for each in (first, second)]
        whole = _of_two("add", *plain)
        return replace(whole, logits=(_of_two("add", *behind), found[1]))
    if first.latent_id == second.latent_id or mapping.shares_of_same_parts((first, second)):
        # Functions of the same Gaussians are taken together, exactly (E).
        return first.map(function, [second])[0]
    if operation in ("add", "subtract"):
        return _sum(first, second, 1.0 if operation == "add" else -1.0)
    if operation == "multiply":
        return product(first, second)
    x, y = np.broadcast_arrays(first.overall(), second.overall())
    return _extreme(first, second, marginals.combined(function, x, y))


def _sum(signal: CorrelatedSignal, other: CorrelatedSignal, sign: float) -> CorrelatedSignal:
    return type(signal)(
        signal.axes,
        signal.means + sign * other.means,
        signal.cov_positions + other.cov_positions,
        signal.cov_samples + other.cov_samples,
        _summed_marginal(signal, other, sign),
        log_variance=fluctuations.summed_log_variance(signal, other),
        cov_channels=_added(signal.cov_channels, other.cov_channels),
    )


def _summed_marginal(signal: CorrelatedSignal, other: CorrelatedSignal, sign: float) -> Marginal:
    if signal.marginal is STANDARD and other.marginal is STANDARD:
        return STANDARD
    first, second = (signal.average(signal.variances) for signal in (signal, other))
    if signal.marginal.is_gaussian and other.marginal.is_gaussian:
        mine, theirs = signal.marginal.second_moments, other.marginal.second_moments
        return marginals.gaussian_samples(first * mine + second * theirs)
    x, y = np.broadcast_arrays(
        math.sqrt(first) * signal.marginal.functions,
        sign * math.sqrt(second) * other.marginal.functions,
    )
    return marginals.standardized(marginals.combined(np.add, x, y))


def product(signal: CorrelatedSignal, other: CorrelatedSignal) -> CorrelatedSignal:
    """Second moments multiply, pair by pair (G), and so do the samples' energies (H)."""
    x, y = np.broadcast_arrays(
        fluctuations.shared_with(signal, other), fluctuations.shared_with(other, signal)
    )
    first, second = (rows**2 @ marginals.WEIGHTS for rows in (x, y))
    apart = float(first.mean() * second.mean())
    more = float((first * second).mean()) / apart if apart > 0 else 1.0
    mine, theirs = signal.mean_products, other.mean_products
    cov_positions, cov_samples = (
        share * (a + mine) * (b + theirs) - mine * theirs
        for share, a, b in (
            (more, signal.cov_positions, other.cov_positions),
            (1.0, signal.cov_samples, other.cov_samples),
        )
    )
    return type(signal)(
        signal.axes,
        signal.means * other.means,
        cov_positions,
        cov_samples,
        marginals.standardized(marginals.combined(np.multiply, x, y)),
        log_variance=signal.log_variance + other.log_variance,
    )


def _extreme(
    signal: CorrelatedSignal, other: CorrelatedSignal, functions: Array
) -> CorrelatedSignal:
    """Correlations of a maximum are taken as the mean of those of the operands."""
    mean, variance = marginals.moments(functions)
    cov_positions, cov_samples = (
        variance
        * 0.5
        * sum(
            pairs / max(each.average(each.variances), np.finfo(float).tiny)
            for pairs, each in zip(both, (signal, other), strict=True)
        )
        for both in (
            (signal.cov_positions, other.cov_positions),
            (signal.cov_samples, other.cov_samples),
        )
    )
    return type(signal)(
        signal.axes,
        np.full_like(signal.means, mean),
        cov_positions,
        cov_samples,
        marginals.standardized(functions),
        log_variance=fluctuations.summed_log_variance(signal, other),
    )


def dot(
    signal: CorrelatedSignal, other: CorrelatedSignal, count: int, *, normalized: bool
) -> CorrelatedSignal:
    """The product of two vectors of so many entries."""
    mine, theirs = (
        over_channels(each.flatten(), 0.0, count, centered=False).affine(count**-0.5, 0.0)
        if normalized
        else each.flatten()
        for each in (signal, other)
    )
    each = combined([mine, theirs], "multiply")
    return signal.gaussian(count * each.mean, count * each.variance)


def mixture(parts: Sequence[CorrelatedSignal], weights: Sequence[float]) -> CorrelatedSignal:
    """As `Signal.mixture`; the distribution is mixed once it is asked for."""
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
    cov_positions, cov_samples = (
        sum(
            share * (pairs + part.mean_products)
            for (share, part), pairs in zip(shares, each, strict=True)
        )
        - first * second
        for each in (
            [part.cov_positions for _, part in shares],
            [part.cov_samples for _, part in shares],
        )
    )
    return type(shares[0][1])(
        axes,
        np.asarray(means),
        np.asarray(cov_positions),
        np.asarray(cov_samples),
        None,
        parts=tuple(shares),
        log_variance=sum(share**2 * part.log_variance for share, part in shares),
    )


def _source_of(signal: CorrelatedSignal) -> Hashable:
    return signal.latent_id


def mixed_marginal(shares: Sequence[tuple[float, CorrelatedSignal]]) -> Marginal:
    """Of the parts of a concatenation together, each with its share."""
    means, variances = (
        np.array(
            [
                signal.average(values)
                for signal, values in zip([part for _, part in shares], each, strict=True)
            ]
        )
        for each in ([p.means for _, p in shares], [p.variances for _, p in shares])
    )
    weights = np.array([share for share, _ in shares])
    near = np.ptp(means) ** 2 + np.ptp(variances) < 1e-6 * max(variances.max(), 1e-300)
    if near and all(part.marginal.is_gaussian for _, part in shares):
        if all(part.marginal is STANDARD for _, part in shares):
            return STANDARD
        energies = [part.marginal.second_moments for _, part in shares]
        return marginals.gaussian_samples(weights @ np.array(np.broadcast_arrays(*energies)))
    values = np.broadcast_arrays(*(part.overall() for _, part in shares))
    every = np.concatenate([share * marginals.WEIGHTS for share in weights])
    return marginals.standardized(marginals.quantiles(np.hstack(values), every))


def _added(first: tuple[Array, Array] | None, second: tuple[Array, Array] | None) -> Any:
    if first is None or second is None:
        return first or second
    return first[0] + second[0], first[1] + second[1]


def at_same_positions(
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


def of_same_positions(signals: Sequence[CorrelatedSignal]) -> list[CorrelatedSignal]:
    """The same for any number of them."""
    placed = list(signals)
    for other in range(1, len(placed)):
        placed[0], placed[other] = at_same_positions(placed[0], placed[other])
    return [placed[0], *(at_same_positions(placed[0], each)[1] for each in placed[1:])]
