"""Batch statistics that are not the same in every channel (part D).

What all samples of a channel share, such as the border that a mean and zero padding leave, is one
draw of the weights in each channel. Where that is a good part of a channel's variance, so is the
variance itself: channels are divided by scales of their own, and E x²/v is not E x²/E v.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoinit.signals.correlated.pairs import (
    Array,
    as_matrix,
    diagonal,
    each_with_each,
    mapped_along,
    products,
)
from autoinit.signals.correlated.state import State

# Below this share of the variance a pattern counts as the same in every channel.
_LEAST_SHARE = 0.02
_MOST_PATTERNS = 8
_STEPS = np.exp(np.linspace(-16.0, 20.0, 361))


def divided_by_own_variance(
    cov_positions: Array, cov_samples: Array, shares: Array, counts: Sequence[int], epsilon: float
) -> list[Array]:
    """Covariances of entries, each divided by the variance of its channel.

    A channel's variance is Σ_j λ_j ξ_j² + rest, with the eigenvalues λ_j of what all samples share
    and standard Gaussians ξ_j.

    Args:
        cov_positions, cov_samples: in one sample and in two, each (pairs…).
        shares: of the positions, flattened: (positions,).
        counts: positions along each axis.
        epsilon: added to the variance.
    """
    variance = float(shares @ diagonal(cov_positions, counts).ravel())
    total = variance + epsilon
    if not float(shares @ diagonal(cov_samples, counts).ravel()) > _LEAST_SHARE * total:
        return [cov_positions / total, cov_samples / total]
    roots = np.sqrt(shares)
    values, vectors = np.linalg.eigh(roots[:, None] * as_matrix(cov_samples, counts) * roots)
    values, vectors = values[::-1][:_MOST_PATTERNS], vectors[:, ::-1][:, :_MOST_PATTERNS]
    kept = values > _LEAST_SHARE * total
    if not kept.any() or not variance > 0:
        return [cov_positions / total, cov_samples / total]
    values, vectors = values[kept], vectors[:, kept].T / roots
    # Pairs that stand for others need not fit together: patterns may seem larger than they are.
    values = values * min(1.0, variance / float(values.sum()))
    common, own = reciprocals(values, max(total - float(values.sum()), 1e-6 * total))
    patterns = [
        products(factor[:, None] * vectors, vectors, counts)
        for factor in (values * own, values * common)
    ]
    # The patterns with their own factors, all else with that of an independent entry.
    scaled = [pairs * common + patterns[0] - patterns[1] for pairs in (cov_positions, cov_samples)]
    left = (1 - common * epsilon) / float(shares @ diagonal(scaled[0], counts).ravel())
    return [pairs * left for pairs in scaled]


def reciprocals(values: Array, rest: float) -> tuple[float, Array]:
    """E 1/T and E ξ_k²/T of T = Σ_j λ_j ξ_j² + rest.

    From 1/T = ∫₀^∞ e^{−sT} ds and E e^{−sλξ²} = (1 + 2sλ)^{−½}, by the trapezoidal rule in log s.
    """
    steps = _STEPS / (float(values.sum()) + rest) * 10
    factors = 1 + 2 * np.multiply.outer(steps, values)
    density = np.exp(-steps * rest) * factors.prod(1) ** -0.5 * steps
    width = np.log(_STEPS[1] / _STEPS[0])
    return float(density.sum() * width), (density[:, None] / factors).sum(0) * width


def fixed_squares(state: State, latent: Array) -> Array:
    """What ρ² changes by where each channel's mean square over the batch is fixed (D).

    x_p² becomes x_p²/T with T the mean square: with S = Cov(x_p², x_q²)/2 and its means M over
    the batch, S_pq − v_p·M_q − v_q·M_p + v_p·v_q·M.
    """
    first, second = each_with_each(state.variances)
    scale = first * second
    squares = latent**2
    if state.notes.correlation_variance is not None:
        squares = squares + np.stack([state.notes.correlation_variance, np.zeros_like(scale)])
    squares = squares * scale
    share = 1 / state.notes.normalized_samples
    average = [axis.over_second for axis in state.axes or ()]
    mean = mapped_along(share * squares[0] + (1 - share) * squares[1], average)
    total = state.average(state.variances)
    mine, theirs = each_with_each(mean)
    change = state.average(mean) * scale / total**2 - (first * theirs + second * mine) / total
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip(np.where(scale > 0, change / scale, 0.0), -1.0, 1.0)
