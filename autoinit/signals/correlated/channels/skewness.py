"""What is not Gaussian of units whose weights are given: their skewness (L).

A unit sums what functions such as ReLU leave of Gaussians that correlate. Trained units sum what
goes together, and their third cumulant does not average out: to a Gaussian of the same mean and
variance a ReLU leaves up to a fifth less variance, and two of them a fifth less in common.
"""

from __future__ import annotations

import math

import numpy as np

from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.channels import Channels, of_functions
from autoinit.signals.correlated.marginals import GRID, WEIGHTS
from autoinit.signals.signal import Array

# Less of it changes nothing that is looked at; of more, a sum of many is a rare event.
_LEAST, _MOST = 0.05, 3.0
# Hermite polynomials that are kept.
_ORDERS = 4
# Multiplications that it may take, inputs of which directions are found, and how many of these.
_MOST_OPERATIONS, _MOST_INPUTS, _DIRECTIONS = 1e8, 320, 32


def of_sums(weights: Array, rows: Array, latent: Array) -> Array | None:
    """Third cumulants of Σ w·f(Z); None where they would take too long.

    Of normalized Hermite polynomials of three Gaussians E h_i·h_j′·h_k″ is √C(k, i)·ρ_13^i·ρ_23^j
    for k = i + j, and 2√2·ρ_12·ρ_13·ρ_23 where all are of order 2; these are kept. What each f has
    by itself is exact.

    Args:
        weights: (inputs, units).
        rows: of the functions on the grid, (inputs, grid).
        latent: correlations of the Gaussians, (inputs, inputs).
    """
    inputs, units = weights.shape
    if inputs**2 * units > _MOST_OPERATIONS:
        return None
    found, _ = marginals.coefficients(rows)
    own = (rows - found[:, :1]) ** 3 @ WEIGHTS
    total = np.zeros(units)
    read, power = {}, np.ones_like(latent)
    for order in range(1, _ORDERS):
        power = power * latent
        read[order] = power @ (weights * found[:, order, None])
    for i, j in ((i, j) for i in read for j in read if i <= j and i + j <= _ORDERS):
        times = 3 * (1 + (i < j)) * math.sqrt(math.comb(i + j, i))
        total += times * (weights * found[:, i + j, None] * read[i] * read[j]).sum(0)
        own -= times * found[:, i] * found[:, j] * found[:, i + j]
    if inputs <= _MOST_INPUTS:
        roots, vectors = np.linalg.eigh(latent)
        number = min(_DIRECTIONS, inputs)
        factors = vectors[:, -number:] * np.sqrt(np.maximum(roots[-number:], 0.0))
        bent = weights * found[:, 2, None]
        within = np.einsum("id,iu,ie->ude", factors, bent, factors, optimize=True)
        total += 2 * math.sqrt(2) * np.einsum("ude,ued->u", within @ within, within)
        own -= 2 * math.sqrt(2) * found[:, 2] ** 3 * (factors**2).sum(1) ** 3
    return np.asarray(total + weights.T**3 @ own)


def skewed(channels: Channels, skewness: Array) -> Channels:
    """Channels with the same moments that are functions of Gaussians with this skewness.

    Args:
        channels: that are taken as Gaussian.
        skewness: of each, (channels,).
    """
    if not np.abs(skewness).max(initial=0.0) > _LEAST:
        return channels
    shapes = np.array([_of_skewness(each) for each in np.clip(skewness, -_MOST, _MOST)])
    rows = channels.means[:, None] + np.sqrt(channels.variances)[:, None] * shapes
    return of_functions(channels, rows)


def _of_skewness(skewness: float) -> Array:
    """A shifted log-normal variable of mean 0 and variance 1 as a function of a Gaussian."""
    size = abs(skewness)
    if size < 1e-3:
        return GRID
    root = (1 + size**2 / 2 + size * math.sqrt(1 + size**2 / 4)) ** (1 / 3)
    square = root + 1 / root - 1  # (w + 2)²(w − 1) = skewness², with w = exp s²
    deviation = math.sqrt(math.log(square))
    values = np.exp(deviation * np.copysign(1.0, skewness) * GRID) / math.sqrt(square) - 1
    values = np.copysign(1.0, skewness) * values / math.sqrt(square - 1)
    return np.asarray(values)
