"""Distributions as functions of a standard Gaussian, on a fixed grid.

An entry is x = g(Z). Two entries whose Gaussians correlate by ρ have the covariance
Σ_{k≥1} a_k b_k ρ^k with the Hermite coefficients a_k = E[g(Z)·He_k(Z)/√k!] (Daniely et al. 2016;
parts A and B of `docs/signal-model.md`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]


class ByOrder(Protocol):
    """An array for each order."""

    def __getitem__(self, order: int, /) -> Any: ...


# A kink between two nodes costs about a tenth of the square of the step, 0.05.
GRID: Array = np.linspace(-8.0, 8.0, 321)
_DENSITY: Array = np.exp(-np.square(GRID) / 2)
WEIGHTS: Array = _DENSITY / _DENSITY.sum()
_MIDDLES: Array = np.exp(-np.square(GRID[1:] + GRID[:-1]) / 8)
_BETWEEN: Array = _MIDDLES / _MIDDLES.sum()
_PROBABILITIES: Array = special.ndtr(GRID)
# A coarser grid, for functions of two variables.
COARSE = slice(40, 281, 3)
_ORDERS = 24
# The power that stands for all higher orders together.
_BEYOND = _ORDERS + 8
# Nodes of the quadrature over samples, where samples differ: at equidistant quantiles.
SAMPLES = 8
_QUANTILES: Array = special.ndtri((np.arange(SAMPLES) + 0.5) / SAMPLES)
_NORMAL: Array = _QUANTILES / _QUANTILES.std()
# Below this variance of the logarithm of their second moments, samples count as alike.
_LEAST_SCATTER = 3e-4
_CORRELATIONS: Array = np.concatenate([np.linspace(-1, 0.9, 96), np.linspace(0.9, 1, 61)[1:]])


def _hermite() -> Array:
    rows = [np.ones_like(GRID), GRID]
    for order in range(2, _ORDERS + 1):
        rows.append((GRID * rows[-1] - math.sqrt(order - 1) * rows[-2]) / math.sqrt(order))
    return np.array(rows)


_PROJECTIONS: Array = (_hermite() * WEIGHTS).T
_ON_PLANE: Array = _hermite()[:, COARSE].T


@dataclass(frozen=True, eq=False)
class Marginal:
    """The distribution of an entry with mean 0 and variance 1, in samples that may differ.

    Samples of a batch may differ in their second moments: where they do, an entry is a mixture of
    equally frequent functions of Z, in order of these (part H).

    Attributes:
        functions: of Z on the grid, a row for each quadrature node over samples: (1 or `SAMPLES`,
            grid).
        is_gaussian: whether each of them is a multiple of Z.
    """

    functions: Array
    is_gaussian: bool = False

    @cached_property
    def means(self) -> Array:
        """E x in each node."""
        return self.functions @ WEIGHTS

    @cached_property
    def second_moments(self) -> Array:
        """E x² at each node."""
        return self.functions**2 @ WEIGHTS

    def scaled(self, factors: Array) -> Marginal:
        """Each node times a factor of its own."""
        return Marginal(factors[:, None] * self.functions, self.is_gaussian)

    def of_equal_samples(self, *, centered: bool) -> Marginal:
        """Where every sample is normalised by itself, less its mean if `centered`."""
        if self.is_gaussian:
            return STANDARD
        means = self.means[:, None] if centered else 0.0
        scales = np.sqrt(np.maximum(self.second_moments[:, None] - np.square(means), 1e-300))
        return standardized((self.functions - means) / scales)


STANDARD = Marginal(GRID[None], is_gaussian=True)


def gaussian_samples(second_moments: Array) -> Marginal:
    """Gaussian entries in samples of given second moments, whose mean becomes 1."""
    if (
        not len(second_moments)
        or not second_moments.mean() > 0
        or not np.isfinite(second_moments).all()
    ):
        return STANDARD
    return STANDARD.scaled(np.sqrt(second_moments / second_moments.mean()))


@lru_cache(maxsize=64)
def gamma(shape: float) -> Marginal:
    """The Gamma distribution of a shape: of a mean of squares, where these are Gaussian's."""
    with np.errstate(under="ignore"):
        low = special.gammaincinv(shape, special.ndtr(np.minimum(GRID, 0.0)))
        high = special.gammainccinv(shape, special.ndtr(-np.maximum(GRID, 0.0)))
    return standardized(np.where(GRID < 0, low, high)[None])


def log_variance(second_moments: Array) -> float:
    """Variance of the logarithms."""
    return float(_logarithms(second_moments).var())


def _logarithms(second_moments: Array) -> Array:
    mean = second_moments.mean()
    relative = second_moments / mean if mean > 0 else np.ones_like(second_moments)
    return np.asarray(np.log(np.maximum(relative, 1e-12)))


def with_log_variance(second_moments: Array, variance: float) -> Array:
    """Relative second moments whose logarithms scatter by `variance` more, in the same order."""
    logarithms = _logarithms(second_moments)
    before = float(logarithms.var())
    if before + variance < _LEAST_SCATTER:
        return np.ones(1)
    if before < _LEAST_SCATTER:
        logarithms, before = _NORMAL, 1.0
        widened = math.sqrt(variance) * logarithms
    else:
        widened = math.sqrt(1 + variance / before) * (logarithms - logarithms.mean())
    wider = np.exp(widened - widened.max())
    return np.asarray(wider / wider.mean())


def moments(functions: Array) -> tuple[Array, Array]:
    """Means and variances of functions on the grid, (…, nodes, grid)."""
    mean = (functions @ WEIGHTS).mean(-1)
    return mean, np.maximum(((functions - mean[..., None, None]) ** 2 @ WEIGHTS).mean(-1), 0.0)


def standardized(functions: Array) -> Marginal:
    """Functions on the grid with mean 0 and variance 1; the identity for a constant."""
    mean, variance = moments(functions)
    if not variance > 0:
        return STANDARD
    return Marginal((functions - mean) / math.sqrt(variance))


def coefficients(functions: Array) -> tuple[Array, Array]:
    """Hermite coefficients (…, orders + 1), and the variance of what lies beyond them (…)."""
    found = functions @ _PROJECTIONS
    rest = functions**2 @ WEIGHTS - (found**2).sum(-1)
    return found, np.maximum(rest, 0.0)


def squared_derivative(functions: Array) -> float:
    """E g′(Z)², from differences between the nodes, which take kinks as they are."""
    slopes = np.diff(functions) / np.diff(GRID)
    return float((slopes**2 @ _BETWEEN).mean())


def covariances(products: ByOrder, beyond: Array, latent: Array) -> Array:
    """Cov f(Z), g(Z′) = Σ_{k≥1} a_k b_k ρ^k for latent correlations ρ.

    Args:
        products: a_k·b_k for each order k up to `_ORDERS`, each (…).
        beyond: the same for all higher orders together, (…).
        latent: correlations of Z and Z′, (…).
    """
    total = products[_ORDERS] * latent
    for order in range(_ORDERS - 1, 0, -1):
        total += products[order]
        total *= latent
    return np.asarray(total + beyond * beyond_orders(latent))


def beyond_orders(latent: Array) -> Array:
    """The power of a correlation that stands for all orders beyond those that are kept."""
    return np.asarray(np.clip(latent, 0.0, 1.0) ** _BEYOND)


def curvatures(products: ByOrder, latent: Array) -> Array:
    """Σ_{k≥2} k(k − 1)·a_k b_k ρ^{k−2}: what a correlation that differs between channels adds."""
    total = np.zeros_like(latent)
    for order in range(_ORDERS, 1, -1):
        total = total * latent + order * (order - 1) * products[order]
    return total


def latent_correlations(correlations: Array, marginal: Marginal) -> Array:
    """Correlations of the Gaussians behind entries g(Z), from those of the entries.

    Args:
        correlations: (2, …), of entries of one sample and of two.
        marginal: the distribution of the entries.
    """
    if marginal is STANDARD:
        return np.clip(correlations, -1.0, 1.0)
    found, rest = coefficients(marginal.functions)
    same = (found**2).mean(0), rest.mean(0), found[:, 0].var()
    other = found.mean(0) ** 2, np.sqrt(rest).mean() ** 2, 0.0
    latent = [
        _inverted(given, *case) for given, case in zip(correlations, (same, other), strict=True)
    ]
    return np.stack(latent)


def correlations_in(correlations: Array, functions: Array | None) -> Array:
    """The same within channels, which are functions, (channels, grid), or Gaussian (None)."""
    if functions is None:
        return np.clip(correlations, -1.0, 1.0)
    found, rest = coefficients(functions)
    total = float(((found[:, 1:] ** 2).sum(1) + rest).mean())
    if not total > 0:
        return np.clip(correlations, -1.0, 1.0)
    return _inverted(correlations, (found**2).mean(0) / total, float(rest.mean()) / total, 0.0)


def _inverted(correlations: Array, products: Array, beyond: float, least: float) -> Array:
    table = covariances(products, np.asarray(beyond), _CORRELATIONS) + least
    if not table[-1] > 0:
        return np.clip(correlations, -1.0, 1.0)
    # Even functions have a minimum at 0; what lies below is out of reach.
    rising = np.maximum.accumulate(table) + np.arange(len(table)) * 1e-13
    return np.interp(correlations, rising, _CORRELATIONS)


def quantiles(values: Array, weights: Array) -> Array:
    """The increasing functions of Z that have the distributions of weighted values.

    Args:
        values: (nodes, values).
        weights: (values,).
    """
    return np.array([_quantiles(row, weights) for row in values])


def _quantiles(values: Array, weights: Array) -> Array:
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order])
    middles = (cumulated - weights[order] / 2) / cumulated[-1]
    return np.interp(_PROBABILITIES, middles, values[order])


def combined(function: Callable[[Any, Any], Any], first: Array, second: Array) -> Array:
    """The distribution of a function of two independent variables, sample by sample."""
    weights = np.outer(WEIGHTS[COARSE], WEIGHTS[COARSE]).ravel()
    values = function(first[:, COARSE, None], second[:, None, COARSE])
    return quantiles(values.reshape(len(values), -1), weights)


def plane_covariances(weighted: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """Σ c_jk²·ρʲ·σᵏ over the Hermite coefficients of f(Z, Z′), without that of the mean.

    Args:
        weighted: f times the weights, (nodes, first, second), on the coarse grid.
        first, second: latent correlations of the two variables, each (2, pairs…), within a sample
            and between samples.

    Returns:
        The covariances within a sample and between samples.
    """
    found = np.einsum("tij,ia,jb->tab", weighted, _ON_PLANE, _ON_PLANE, optimize=True)
    same, other = (found**2).mean(0), found.mean(0) ** 2
    # What a sample's second moment does to its mean is shared by all of its entries.
    same[0, 0] -= other[0, 0]
    other[0, 0] = 0.0
    within, between = (
        np.asarray(np.polynomial.polynomial.polyval2d(rho, sigma, power))
        for rho, sigma, power in zip(first, second, (same, other), strict=True)
    )
    return within, between


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
    common, own = math.sqrt(correlation) * GRID, math.sqrt(1 - correlation) * top
    return np.asarray(combined(np.add, common[None], own[None])[0])
