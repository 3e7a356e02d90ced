"""What differs from sample to sample, from channel to channel, and from draw to draw (H and I).

Without this room a signal's samples all have the same energy, its channels the same correlations,
and its draws of weights the same everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.marginals import GRID
from autoinit.signals.correlated.pairs import Array, diagonal, each_with_each, mapped_along
from autoinit.signals.correlated.positions import SpatialMap
from autoinit.signals.geometry import Taps
from autoinit.signals.signal import MANY, KernelMoments

if TYPE_CHECKING:
    from autoinit.signals.correlated.state import CorrelatedSignal

# By how much energies within a channel scatter more than those of Gaussian entries: measured on
# depthwise convolutions of EfficientNetB0, whose entries have heavy tails.
_HEAVY = 2.0
# Channels beyond which a unit's inputs are many.
_FEW = 4


def mean_square_variance(signal: CorrelatedSignal, centre: float, samples: int = MANY) -> float:
    """Var (mean of (x − centre)²) over (E (x − centre)²)², for one channel of a batch (I).

    The linear part of a square correlates as the entries do, the rest as their squares.
    """
    total = signal.average(signal.variances)
    squares = (signal.overall() - centre) ** 2
    mean = (squares @ marginals.WEIGHTS)[:, None]
    if not (total > 0 and mean.mean() > 0):
        return 0.0
    every = float(((squares - mean) ** 2 @ marginals.WEIGHTS).mean())
    linear = min(float((squares @ (marginals.WEIGHTS * GRID)).mean() ** 2), every)
    cov_positions, cov_samples = signal.cov_positions / total, signal.cov_samples / total
    alike = max(signal.over_batch(cov_positions, cov_samples, samples), 0.0)
    alike_squares = signal.over_batch(cov_positions**2, cov_samples**2, samples)
    return float((linear * alike + (every - linear) * alike_squares) / mean.mean() ** 2)


def second_moments_after(
    signal: CorrelatedSignal,
    kernel: KernelMoments,
    moments: Sequence[Array],
    result: CorrelatedSignal,
) -> dict[str, Any]:
    """A random linear map keeps the samples' energies, up to the draw of its weights (H).

    Given the inputs, the energy of sample n averages over units the squares of Gaussians that
    correlate over positions: over units, its share of the energy of all samples scatters by
    2·mean(ρ_s² − ρ_b²)/units, with correlations within a sample and between two.
    """
    every, centered = signal.second_moments()
    centered = (
        centered if signal.centered_second_moments is None else signal.centered_second_moments
    )
    same, other = (result.over_pairs(pairs**2) for pairs in moments)
    total = result.average(diagonal(moments[0], result.means.shape))
    noise = 2 * max(same - other, 0.0) / (total * total * kernel.units) if total > 0 else 0.0
    energies = marginals.with_log_variance(every, noise)
    before = marginals.log_variance(every)
    return {
        "stored_marginal": marginals.gaussian_samples(energies),
        "centered_second_moments": marginals.with_log_variance(centered, noise),
        "private_share": (signal.private_share * before + noise) / (before + noise)
        if before + noise
        else 0.0,
    }


def correlation_variance_after(
    signal: CorrelatedSignal, kernel: KernelMoments, maps: Sequence[SpatialMap], covariances: Array
) -> Array | None:
    """Units with few inputs have correlations of their own: one smooths, the other does not.

    Over kernels, the covariance of two positions is Σ_tt′ w_t w_t′ C_{p+t,q+t′}, less what all
    samples share: its variance is the sum of squares of C, and the correlation's is (1 − ρ²)²
    of it (H).
    """
    if kernel.channels > _FEW or not maps:
        return None
    counts = [
        Taps.summing(windows, axis.size)
        for windows, axis in zip(kernel.windows, signal.axes or (), strict=True)
    ]
    every = [m.pairs for m in signal.applied(counts)]
    squares = mapped_along((signal.cov_positions - signal.cov_samples) ** 2, every)
    variances = diagonal(covariances, [m.output.count for m in maps])
    first, second = each_with_each(np.maximum(variances, 0.0))
    scale = first * second
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations = np.where(scale > 0, covariances**2 / scale, 1.0)
        spread = np.where(scale > 0, squares / (scale * kernel.channels), 0.0)
    left = np.clip(1 - correlations, 0.0, 1.0)
    return np.asarray(np.minimum(left**2 * spread, left))


def balanced(signal: CorrelatedSignal, energies: Array, share: float) -> Array:
    """A channel that one sample dominates is divided by that sample's energy (H).

    In a channel, the energy of a sample scatters by 2·mean_pq ρ² around that of the sample.
    """
    total = signal.average(signal.variances)
    if len(energies) == 1 or not total > 0:
        return energies
    alike = signal.over_pairs((signal.cov_positions - signal.cov_samples) ** 2) / (total * total)
    if signal.correlation_variance is not None:
        alike += signal.over_pairs(signal.correlation_variance)
    scatter = _HEAVY * (signal.channel_variance + 2 * alike)
    relative = energies / energies.mean()
    return np.asarray(relative / (1 + scatter * share * relative))


def shared_with(signal: CorrelatedSignal, other: CorrelatedSignal) -> Array:
    """The entries, with energies of samples only as far as they go with the other operand's.

    A gate that comes out of a few units has little in common with what it is a gate of: what
    these units' weights make of a sample is noise to the other operand.
    """
    rows = signal.overall()
    if signal.private_share <= other.private_share:
        return rows
    energies = rows**2 @ marginals.WEIGHTS
    relative = energies / energies.mean() if energies.mean() > 0 else np.ones(len(rows))
    shared = math.sqrt(1 - signal.private_share)
    return np.asarray(rows * (relative ** ((shared - 1) / 2))[:, None])


def summed_log_variance(signal: CorrelatedSignal, other: CorrelatedSignal) -> float:
    """Of two energies that are added; their draws are taken as independent."""
    mine, theirs = signal.second_moment, other.second_moment
    if not mine + theirs > 0:
        return 0.0
    share = mine / (mine + theirs)
    return share**2 * signal.log_variance + (1 - share) ** 2 * other.log_variance
