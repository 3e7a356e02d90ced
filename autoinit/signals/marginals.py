"""Distributions as functions of a standard Gaussian, on a fixed grid.

An entry is x = g(Z). Two entries whose Gaussians correlate by ρ have the covariance
Σ_{k≥1} a_k b_k ρ^k with the Hermite coefficients a_k = E[g(Z)·He_k(Z)/√k!] (Daniely et al. 2016;
SIGNAL_MODEL, parts A and B).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

# A kink between two nodes costs about a tenth of the square of the step, 0.05.
GRID: Array = np.linspace(-8.0, 8.0, 321)
_DENSITY: Array = np.exp(-np.square(GRID) / 2)
WEIGHTS: Array = _DENSITY / _DENSITY.sum()
_PROBABILITIES: Array = special.ndtr(GRID)
# A coarser grid, for functions of two variables.
_COARSE = slice(40, 281, 3)
_ORDERS = 24
# The power that stands for all higher orders together.
_BEYOND = _ORDERS + 8
_CORRELATIONS: Array = np.concatenate([np.linspace(-1, 0.9, 96), np.linspace(0.9, 1, 61)[1:]])


def _hermite() -> Array:
    rows = [np.ones_like(GRID), GRID]
    for order in range(2, _ORDERS + 1):
        rows.append((GRID * rows[-1] - math.sqrt(order - 1) * rows[-2]) / math.sqrt(order))
    return np.array(rows)


_PROJECTIONS: Array = (_hermite() * WEIGHTS).T


def moments(functions: Array) -> tuple[Array, Array]:
    """Means and variances of functions on the grid, which is the last axis."""
    mean = functions @ WEIGHTS
    return mean, np.maximum((functions - mean[..., None]) ** 2 @ WEIGHTS, 0.0)


def standardised(function: Array) -> Array:
    """A function on the grid with mean 0 and variance 1; the identity for a constant."""
    mean, variance = moments(function)
    if not variance > 0:
        return GRID
    return np.asarray((function - mean) / math.sqrt(variance))


def coefficients(functions: Array) -> tuple[Array, Array]:
    """Hermite coefficients (…, orders + 1), and the variance of what lies beyond them (…)."""
    found = functions @ _PROJECTIONS
    rest = functions**2 @ WEIGHTS - (found**2).sum(-1)
    return found, np.maximum(rest, 0.0)


def covariances(first: Any, second: Any, latent: Array) -> Array:
    """Cov f(Z), g(Z′) for latent correlations.

    Args:
        first, second: coefficients of f and g as (list of arrays by order, array beyond them),
            each of which broadcasts with `latent`.
        latent: correlations of Z and Z′.
    """
    (a, a_rest), (b, b_rest) = first, second
    total = a[_ORDERS] * b[_ORDERS] * latent
    for order in range(_ORDERS - 1, 0, -1):
        total = (total + a[order] * b[order]) * latent
    beyond: Array = np.sqrt(a_rest * b_rest) * np.clip(latent, 0.0, 1.0) ** _BEYOND
    return np.asarray(total + beyond)


def latent_correlations(correlations: Array, function: Array) -> Array:
    """Correlations of the Gaussians behind entries g(Z), from those of the entries."""
    if function is GRID:
        return np.clip(correlations, -1.0, 1.0)
    found, rest = coefficients(function)
    table = covariances((found, rest), (found, rest), _CORRELATIONS)
    if not table[-1] > 0:
        return np.clip(correlations, -1.0, 1.0)
    # Even functions have a minimum at 0; what lies below is out of reach.
    rising = np.maximum.accumulate(table / table[-1]) + np.arange(len(table)) * 1e-13
    return np.interp(correlations, rising, _CORRELATIONS)


def quantiles(values: Array, weights: Array) -> Array:
    """The increasing function of Z that has the distribution of weighted values."""
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order])
    middles = (cumulated - weights[order] / 2) / cumulated[-1]
    return np.interp(_PROBABILITIES, middles, values[order])


def combined(function: Callable[[Any, Any], Any], first: Array, second: Array) -> Array:
    """The distribution of a function of two independent variables."""
    weights = np.outer(WEIGHTS[_COARSE], WEIGHTS[_COARSE]).ravel()
    return quantiles(function(first[_COARSE, None], second[None, _COARSE]).ravel(), weights)


@lru_cache(4096)
def largest(count: int, correlation: float) -> Array:
    """The largest of `count` standard Gaussians that correlate alike, as a function of Z.

    Z_i = √ρ·U + √(1 − ρ)·V_i; the largest V has the distribution function Φ^count.
    """
    if count <= 1 or correlation > 0.995:
        return GRID
    # −log of the tail of Φ^{1/count}, exact in the upper tail where it matters.
    log_probabilities = special.log_ndtr(GRID) / count
    top = -special.ndtri(np.clip(-np.expm1(log_probabilities), 1e-300, 1.0))
    top = np.where(np.isfinite(top), top, GRID)
    if correlation < 0.005:
        return np.asarray(top)
    return combined(np.add, math.sqrt(correlation) * GRID, math.sqrt(1 - correlation) * top)
