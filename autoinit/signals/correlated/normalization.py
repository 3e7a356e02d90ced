"""Statistics taken away: of a batch, of groups of channels, of a position, of logits (D)."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from autoinit.quadrature import gaussian
from autoinit.signals.correlated import marginals
from autoinit.signals.correlated import sample_effects as fluctuations
from autoinit.signals.correlated.pairs import (
    at_diagonal,
    diagonal,
    each_with_each,
    mapped_along,
)
from autoinit.signals.correlated.statistics import divided_by_own_variance
from autoinit.signals.signal import MANY, Masking

if TYPE_CHECKING:
    from autoinit.signals.correlated.state import CorrelatedSignal


def over_batch(signal: CorrelatedSignal, epsilon: float, samples: int) -> CorrelatedSignal:
    """A channel's mean over samples and positions is removed, with all that they share (D)."""
    if signal.parts:
        # Channels of different origin have statistics of their own.
        parts = [over_batch(part, epsilon, samples) for _, part in signal.parts]
        whole = signal.mixture(parts, [share for share, _ in signal.parts])
        return replace(whole, stored_marginal=whole.marginal, parts=())
    signal = signal if signal.axes is not None else signal.arrange(())
    return _without_mean(signal, 1 / samples, 1 - 1 / samples, epsilon)


def over_group(signal: CorrelatedSignal, epsilon: float, count: int) -> CorrelatedSignal:
    """The mean over all positions of some channels of one sample is removed."""
    signal = signal if signal.axes is not None else signal.arrange(())
    places = math.prod(axis.size for axis in signal.axes or ())
    channels = max(count / places, 1.0)
    result = _without_mean(signal, 1 / channels, 0.0, epsilon)
    free = signal.variance * (count - 1) / count
    return _with_variance(result, gaussian.shrinkage(0.0, free, epsilon, min(count, MANY) - 1))


def _without_mean(
    signal: CorrelatedSignal, inner: float, outer: float, epsilon: float
) -> CorrelatedSignal:
    """X less a mean of covariance `inner`·within + `outer`·between, over its scale."""
    axes, cov_positions, cov_samples = signal.axes or (), signal.cov_positions, signal.cov_samples
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
        covariances.append(pairs - first - second + signal.average(mean))
    if batch:
        # What is left of the mean is exactly nothing.
        left = inner * signal.over_pairs(covariances[0])
        left += outer * signal.over_pairs(covariances[1])
        covariances = [pairs - left for pairs in covariances]
    means = signal.means - signal.mean
    variances = np.maximum(diagonal(covariances[0], means.shape), 0.0)
    total = signal.average(variances + means * means) + epsilon
    scale = 1 / total if total > 0 else 0.0
    scaled = [pairs * scale for pairs in covariances]
    if not batch:
        shape = signal.marginal.of_equal_samples(centered=True)
    else:
        if signal.marginal.is_gaussian and total > 0:
            shares = functools.reduce(np.multiply.outer, [a.shares for a in axes], np.array(1.0))
            scaled = divided_by_own_variance(
                covariances[0], covariances[1], shares.ravel(), means.shape, epsilon
            )
        shape = signal.marginal
        if signal.centered_second_moments is not None:
            shape = marginals.gaussian_samples(
                fluctuations.balanced(signal, signal.centered_second_moments, inner)
            )
    result = signal.with_new_source(
        means=means * math.sqrt(scale),
        cov_positions=scaled[0],
        cov_samples=scaled[1],
        stored_marginal=shape,
    )
    fixed = round(1 / inner) if batch and signal.marginal.is_gaussian and total > 0 else 0
    return replace(
        result,
        correlation_variance=signal.correlation_variance,
        log_variance=0.0,
        normalized_samples=fixed,
        latent_is_gaussian=signal.latent_is_gaussian,
    )


def over_channels(
    signal: CorrelatedSignal, epsilon: float, count: int, *, centered: bool
) -> CorrelatedSignal:
    """Over the channels of one position: their mean is the expectation, and scales divide."""
    free = (count - 1) / count if centered else 1.0
    means = np.zeros_like(signal.means) if centered else signal.means
    totals = free * signal.variances + means * means + epsilon
    deviations = np.sqrt(np.where(totals > 0, totals, 1.0))
    first, second = each_with_each(deviations)
    scale = free / (first * second)
    result = signal.with_new_source(
        log_variance=0.0,
        means=means / deviations,
        cov_positions=signal.cov_positions * scale,
        cov_samples=signal.cov_samples * scale,
        stored_marginal=signal.marginal.of_equal_samples(centered=centered),
    )
    # Statistics over a few entries scatter: taken as those of independent Gaussian entries.
    free *= signal.variance
    if centered:
        return _with_variance(result, gaussian.shrinkage(0.0, free, epsilon, count - 1))
    mean, _ = gaussian.direction(signal.mean, free, count, epsilon)
    moved = replace(result, means=result.means * (mean / result.mean if result.mean else 1.0))
    square = gaussian.shrinkage(signal.mean, free, epsilon, count)
    return _with_variance(moved, max(square - mean * mean, 0.0))


def _with_variance(signal: CorrelatedSignal, variance: float) -> CorrelatedSignal:
    """All covariances scaled to a given variance; the means stay."""
    scale = variance / signal.variance if signal.variance > 0 else 0.0
    return replace(
        signal, cov_positions=signal.cov_positions * scale, cov_samples=signal.cov_samples * scale
    )


def softmax(
    signal: CorrelatedSignal, count: int, masking: Masking | None = None
) -> CorrelatedSignal:
    """What all logits of a position have in common drops out.

    The covariance of two positions is that of log-normal variables, exact for small logits.
    """
    if signal.logits is not None:
        return softmax(signal.logits[0], count, signal.logits[1])
    masking = masking or Masking.none(count)
    common = (
        signal.average(diagonal(signal.cov_channels[0], signal.means.shape))
        if signal.cov_channels
        else 0.0
    )
    deviation = math.sqrt(max(signal.variance - common, 0.0))
    mean, square = gaussian.masked_softmax(deviation, count, masking.seen)
    first, second = each_with_each(signal.deviations)
    scale = first * second
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = [
            np.clip(np.where(scale > 0, pairs / scale, 0.0), 0.0, 1.0)
            for pairs in (signal.cov_positions, signal.cov_samples)
        ]
    powers = [
        overlap / count * (square * count / overlap) ** correlation
        for overlap, correlation in zip(
            (masking.overlap, masking.overlap_between), alike, strict=True
        )
    ]
    cov_positions, cov_samples = (power - mean**2 for power in powers)
    # The shares of a position sum to 1.
    cov_channels = [
        (1 / count - power) / (count - 1) - mean**2 if count > 1 else power - mean**2
        for power in powers
    ]
    cov_positions = at_diagonal(
        cov_positions, np.full(signal.means.shape, max(square - mean**2, 0.0))
    )
    return signal.with_new_source(
        means=np.full_like(signal.means, mean),
        cov_positions=cov_positions,
        cov_samples=cov_samples,
        cov_channels=(cov_channels[0], cov_channels[1]),
    )
