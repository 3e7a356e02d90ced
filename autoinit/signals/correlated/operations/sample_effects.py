"""What differs from sample to sample, from channel to channel, and from draw to draw (H and I).

Without it a signal's samples all have the same second moment, its channels the same correlations,
and its draws of weights the same everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.known import participation
from autoinit.signals.correlated.marginals import GRID, Marginal
from autoinit.signals.correlated.pairs import Array, diagonal, each_with_each, mapped_along
from autoinit.signals.correlated.positions import SpatialMap, maps_along
from autoinit.signals.correlated.state import Annotations, State
from autoinit.signals.geometry import Taps
from autoinit.signals.signal import MANY, KernelMoments, Observed

# By how much second moments within a channel vary more than those of Gaussian entries: measured on
# depthwise convolutions of EfficientNetB0, whose entries have heavy tails.
_HEAVY = 2.0
# Channels beyond which a unit's inputs are many.
_FEW = 4


def observed(state: State, channels: int, samples: int) -> Observed:
    """One draw's mean is random itself, and takes its part of the variance (see `Signal`)."""
    channels = MANY if state.notes.known_channels else max(channels, 1)
    shared = max(state.over_batch(state.cov_positions, state.cov_samples, samples), 0.0) / channels
    if state.notes.cov_channels:
        across = max(state.over_batch(*state.notes.cov_channels, samples), 0.0)
        shared += across * (1 - 1 / channels)
    expected = max(state.variance - shared, 0.0)
    total = state.average(state.variances)
    if not total > 0:
        return Observed(state.mean, state.variance, expected)
    log_variance = math.log1p(mean_square_variance(state, state.mean, samples) / channels)
    alike = state.average(diagonal(state.cov_samples, state.means.shape))
    # One channel that is known has no other channels' means to be compared with.
    alone = state.notes.channels is not None and state.notes.channels.count == 1
    return Observed(
        state.mean,
        state.variance,
        expected * math.exp(-log_variance / 2),
        sample_correlation=None if alone else alike / total,
        position_correlation=state.over_pairs(state.cov_positions) / total,
        log_deviation=math.sqrt(state.notes.log_variance + log_variance),
    )


def mean_square_variance(state: State, center: float, samples: int = MANY) -> float:
    """Var (mean of (x − centre)²) over (E (x − centre)²)², for one channel of a batch (I).

    The linear part of a square correlates as the entries do, the rest as their squares.
    """
    total = state.average(state.variances)
    squares = (state.overall() - center) ** 2
    mean = (squares @ marginals.WEIGHTS)[:, None]
    square = mean.mean() ** 2
    if not (total > 0 and square > 0):
        return 0.0
    every = float(((squares - mean) ** 2 @ marginals.WEIGHTS).mean())
    linear = min(float((squares @ (marginals.WEIGHTS * GRID)).mean() ** 2), every)
    cov_positions, cov_samples = state.cov_positions / total, state.cov_samples / total
    alike = max(state.over_batch(cov_positions, cov_samples, samples), 0.0)
    alike_squares = state.over_batch(cov_positions**2, cov_samples**2, samples)
    return float((linear * alike + (every - linear) * alike_squares) / square)


def after_linear(state: State, kernel: KernelMoments, sums: State) -> tuple[Marginal, Annotations]:
    """A random linear map keeps the samples' second moments, up to the draw of its weights (H).

    Given the inputs, the second moment of sample n averages over units the squares of Gaussians
    that correlate over positions: over units, its share of that of all samples varies by
    2·mean(ρ_s² − ρ_b²)/units, with correlations within a sample and between two.

    Args:
        state: that the kernel reads.
        kernel: of the map.
        sums: of second moments over the taps, as its covariances.
    """
    every, centered = state.second_moments()
    if state.notes.centered_second_moments is not None:
        centered = state.notes.centered_second_moments
    same, other = (sums.over_pairs(pairs**2) for pairs in (sums.cov_positions, sums.cov_samples))
    total = sums.average(diagonal(sums.cov_positions, sums.means.shape))
    square = total * total * kernel.units
    noise = 2 * max(same - other, 0.0) / square if square > 0 else 0.0
    noise += _from_related_channels(state)
    before = marginals.log_variance(every)
    private = state.notes.private_share * before + noise
    return marginals.gaussian_samples(marginals.with_log_variance(every, noise)), Annotations(
        centered_second_moments=marginals.with_log_variance(centered, noise),
        private_share=private / (before + noise) if before + noise else 0.0,
    )


def _from_related_channels(state: State) -> float:
    """Relative variance of Σ_c x_c² over samples, beyond that of channels without relation (H).

    Of Gaussians with the covariances Γ it is 2·tr Γ²/(tr Γ)².
    """
    known = state.channels
    if known is None or not known.variance > 0:
        return 0.0
    excess = participation(state, known.count) - 1 / known.count
    within = (state.cov_positions - known.shared) / known.variance
    part = known.variance / float((known.variances + known.means**2).mean())
    return 2 * max(excess, 0.0) * min(state.over_pairs(within**2), 1.0) * part**2


def correlation_variance_after(
    state: State,
    kernel: KernelMoments,
    taps: Sequence[Taps],
    maps: Sequence[SpatialMap],
    covariances: Array,
) -> Array | None:
    """Units with few inputs have correlations of their own: one smooths, the other does not.

    Over kernels, the covariance of two positions is Σ_tt′ w_t w_t′ C_{p+t,q+t′}, less what all
    samples share: its variance is the sum of squares of C, and the correlation's is (1 − ρ²)²
    of it (H).
    """
    if kernel.channels > _FEW or not maps:
        return None
    every = [m.pairs for m in maps_along(taps, state.axes or ())]
    squares = mapped_along((state.cov_positions - state.cov_samples) ** 2, every)
    variances = diagonal(covariances, [m.output.count for m in maps])
    first, second = each_with_each(np.maximum(variances, 0.0))
    scale = first * second
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations = np.where(scale > 0, covariances**2 / scale, 1.0)
        spread = np.where(scale > 0, squares / (scale * kernel.channels), 0.0)
    left = np.clip(1 - correlations, 0.0, 1.0)
    return np.asarray(np.minimum(left**2 * spread, left))


def balanced(state: State, second_moments: Array, share: float) -> Array:
    """A channel that one sample dominates is divided by that sample's second moment (H).

    In a channel, that of a sample varies by 2·mean_pq ρ² around that of the sample.

    Args:
        state: that is normalized over a batch.
        second_moments: of its samples, (nodes of samples,).
        share: of one sample in the batch.
    """
    total = state.average(state.variances)
    if len(second_moments) == 1 or not total * total > 0:
        return second_moments
    alike = state.over_pairs((state.cov_positions - state.cov_samples) ** 2) / (total * total)
    if state.notes.correlation_variance is not None:
        alike += state.over_pairs(state.notes.correlation_variance)
    variance = _HEAVY * (state.notes.channel_variance + 2 * alike)
    relative = second_moments / second_moments.mean()
    return np.asarray(relative / (1 + variance * share * relative))


def shared_with(state: State, other: State) -> Array:
    """The entries, (nodes of samples, grid), whose samples differ as far as the other's do.

    A gate that comes out of a few units has little in common with what it is a gate of: what
    these units' weights make of a sample is noise to the other operand.
    """
    rows = state.overall()
    if state.notes.private_share <= other.notes.private_share:
        return rows
    second_moments = rows**2 @ marginals.WEIGHTS
    mean = second_moments.mean()
    relative = second_moments / mean if mean > 0 else np.ones(len(rows))
    shared = math.sqrt(1 - state.notes.private_share)
    return np.asarray(rows * (relative ** ((shared - 1) / 2))[:, None])


def summed_log_variance(state: State, other: State) -> float:
    """Of the sum of two second moments; their draws are taken as independent."""
    mine, theirs = state.second_moment, other.second_moment
    if not mine + theirs > 0:
        return 0.0
    share = mine / (mine + theirs)
    return share**2 * state.notes.log_variance + (1 - share) ** 2 * other.notes.log_variance
