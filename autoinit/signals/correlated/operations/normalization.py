"""Statistics taken away: of a batch, of groups of channels, of a position (D)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from autoinit.quadrature import gaussian
from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.functions import normalized, normalized_together
from autoinit.signals.correlated.known import agreeing
from autoinit.signals.correlated.operations import sample_effects
from autoinit.signals.correlated.operations.mixture import by_parts
from autoinit.signals.correlated.operations.reshape import arrange
from autoinit.signals.correlated.operations.statistics import divided_by_own_variance
from autoinit.signals.correlated.pairs import at_diagonal, diagonal, each_with_each, mapped_along
from autoinit.signals.correlated.state import OF_BRANCH, State
from autoinit.signals.signal import MANY, Array


def over_batch(state: State, epsilon: float, samples: int) -> State:
    """A channel's mean over samples and positions is removed, with all that they share (D)."""
    known = state.channels
    if state.notes.parts and known is None:
        # Channels of different origin have statistics of their own.
        whole = by_parts(state, lambda part: over_batch(part, epsilon, samples))
        return replace(whole, stored_marginal=whole.marginal, notes=replace(whole.notes, parts=()))
    state = arrange(state, ()) if state.axes is None else state
    result = _without_mean(state, 1 / samples, 1 - 1 / samples, epsilon)
    if known is None:
        return result
    return agreeing(replace(result, stored_marginal=None), 0.0, normalized(known, epsilon))


def over_group(state: State, epsilon: float, count: int) -> State:
    """The mean over all positions of some channels of one sample is removed."""
    state = arrange(state, ()) if state.axes is None else state
    places = math.prod(axis.size for axis in state.axes or ())
    channels = max(count / places, 1.0)
    result = _without_mean(state, 1 / channels, 0.0, epsilon)
    free = state.variance * (count - 1) / count
    return _with_variance(result, gaussian.shrinkage(0.0, free, epsilon, min(count, MANY) - 1))


def _without_mean(state: State, inner: float, outer: float, epsilon: float) -> State:
    """X less a mean of covariance `inner`·within + `outer`·between, over its scale."""
    axes, cov_positions, cov_samples = state.axes or (), state.cov_positions, state.cov_samples
    batch = outer > 0
    average = [axis.over_second for axis in axes]
    removed = [
        mapped_along(inner * own + outer * other, average)
        for own, other in (
            [(cov_positions, cov_samples)] * 2
            if batch
            else [(cov_positions, cov_positions), (cov_samples, cov_samples)]
        )
    ]
    covariances = []
    for pairs, mean in zip((cov_positions, cov_samples), removed, strict=True):
        first, second = each_with_each(mean)
        covariances.append(pairs - first - second + state.average(mean))
    if batch:
        # What is left of the mean is exactly nothing.
        left = inner * state.over_pairs(covariances[0])
        left += outer * state.over_pairs(covariances[1])
        covariances = [pairs - left for pairs in covariances]
    means = state.means - state.mean
    variances = np.maximum(diagonal(covariances[0], means.shape), 0.0)
    total = state.average(variances + means * means) + epsilon
    scale = 1 / total if total > 0 else 0.0
    scaled = [pairs * scale for pairs in covariances]
    marginal, normalized = state.marginal, 0
    if not batch:
        marginal = marginal.of_equal_samples(centered=True)
    else:
        if marginal.is_gaussian and total > 0:
            shares = functools.reduce(np.multiply.outer, [a.shares for a in axes], np.array(1.0))
            scaled = divided_by_own_variance(
                covariances[0], covariances[1], shares.ravel(), means.shape, epsilon
            )
            normalized = round(1 / inner)
        if state.notes.centered_second_moments is not None:
            marginal = marginals.gaussian_samples(
                sample_effects.balanced(state, state.notes.centered_second_moments, inner)
            )
    notes = state.notes.keep(
        *OF_BRANCH,
        "latent_is_gaussian",
        "correlation_variance",
        log_variance=0.0,
        normalized_samples=normalized,
    )
    return State(axes, means * math.sqrt(scale), scaled[0], scaled[1], marginal, notes=notes)


def over_channels(state: State, epsilon: float, count: int, *, centered: bool) -> State:
    """Over the channels of one position: their mean is what they share, and scales divide."""
    if centered and state.notes.cov_channels is not None and state.channels is None:
        state = _without_common(state)
    free = (count - 1) / count if centered else 1.0
    means = np.zeros_like(state.means) if centered else state.means
    totals = free * state.variances + means * means + epsilon
    deviations = np.sqrt(np.where(totals > 0, totals, 1.0))
    first, second = each_with_each(deviations)
    scale = free / (first * second)
    result = State(
        state.axes,
        means / deviations,
        state.cov_positions * scale,
        state.cov_samples * scale,
        state.marginal.of_equal_samples(centered=centered),
        notes=state.notes.keep(*OF_BRANCH, log_variance=0.0, of_one_length=True),
    )
    known = state.channels
    if known is not None and known.count == count:
        after = normalized_together(known, epsilon, centered=centered)
        shared = known.shared * float(scale.mean())
        return agreeing(replace(result, stored_marginal=None), shared, after)
    # Statistics over a few entries scatter: taken as those of independent Gaussian entries.
    variances = free * state.variances
    if centered:
        squares = _at_each(gaussian.shrinkage, means, variances, epsilon, count - 1)
        return _with_variances(result, squares)
    directed = _at_each(_mean_of_direction, means, variances, epsilon, count)
    squares = _at_each(gaussian.shrinkage, means, variances, epsilon, count)
    moved = replace(result, means=directed)
    return _with_variances(moved, np.maximum(squares - directed**2, 0.0))


def _mean_of_direction(mean: float, variance: float, epsilon: float, count: int) -> float:
    return gaussian.direction(mean, variance, count, epsilon)[0]


def _at_each(
    of: Callable[[float, float, float, int], float],
    means: Array,
    variances: Array,
    epsilon: float,
    count: int,
) -> Array:
    """A function of the mean and the variance at each position; positions that agree ask once."""
    both = np.stack([means.ravel(), variances.ravel()], -1)
    largest = float(np.abs(both).max(initial=0.0))
    both = both.round(9 - math.ceil(math.log10(largest)) if largest > 0 else 0)
    kinds, place = np.unique(both, axis=0, return_inverse=True)
    values = np.array([of(float(mean), float(var), epsilon, count) for mean, var in kinds])
    return np.asarray(values[place.ravel()].reshape(means.shape))


def _with_variances(state: State, variances: Array) -> State:
    """Covariances scaled to given variances of the positions; the means stay."""
    before = state.variances
    factors = np.divide(variances, before, out=np.zeros_like(before), where=before > 0)
    first, second = each_with_each(np.sqrt(factors))
    scale = first * second
    return replace(
        state, cov_positions=state.cov_positions * scale, cov_samples=state.cov_samples * scale
    )


def _without_common(state: State) -> State:
    """What two channels have in common is in their mean, too."""
    common = state.notes.cov_channels or ()
    pairs = (state.cov_positions, state.cov_samples)
    within, between = (each - shared for each, shared in zip(pairs, common, strict=True))
    variances = np.maximum(diagonal(within, state.means.shape), 0.0)
    return replace(
        state,
        cov_positions=at_diagonal(within, variances),
        cov_samples=between,
        stored_marginal=state.marginal,
        notes=replace(state.notes, parts=(), cov_channels=None),
    )


def _with_variance(state: State, variance: float) -> State:
    """All covariances scaled to a given variance; the means stay."""
    scale = variance / state.variance if state.variance > 0 else 0.0
    return replace(
        state, cov_positions=state.cov_positions * scale, cov_samples=state.cov_samples * scale
    )
