"""Integrals over Gaussians: everything a rule needs from probability, and no Keras.

Notation: Z is a standard normal variable, φ its density, Φ its distribution function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from autoinit.quadrature.gauss_kronrod import (
    GAUSS,
    KRONROD,
    NODES,
    REACHES,
    Array,
    panels,
    symmetric,
)

Function = Callable[[Array], NDArray[np.floating]]

_EDGES = symmetric(REACHES)
_MOST_PANELS = 32_000
_LENGTHS = 6  # nodes over the lengths of random vectors
_PULLED = 2**18  # entries that a softmax's pull is sampled with
_WIDE = 200.0  # deviations of a softmax's entries beyond which its limit is close


@dataclass(frozen=True)
class FunctionMoments:
    """Mean and variance of a function of a Gaussian.

    Attributes:
        mean, variance: may be infinite or NaN where the integral is.
        converged: False where adaptive quadrature did not reach its tolerance, as for a function
            that is not integrable.
    """

    mean: float
    variance: float
    converged: bool = True


def moments(function: Function, mean: float, standard_deviation: float) -> FunctionMoments:
    """Mean and variance of f(X) for X ~ N(mean, standard_deviation²), by adaptive quadrature.

    E f(X) = ∫ f(x) p(x) dx and Var f(X) = ∫ f(x)² p(x) dx − (E f)²
    (Bingham & Miikkulainen 2021, eq. 5 and 6). Gauss–Kronrod panels are halved where the 7- and
    the 15-point rule disagree; all panels of a level are evaluated in one call of `function`.

    Args:
        function: vectorised over an array of points; any shape-preserving callable.
        mean, standard_deviation: of the Gaussian. A zero deviation gives f(mean) and 0.

    Returns:
        `FunctionMoments`; the error relative to E|f| and E f² is about 1e-9 (1e-6 where `function`
        computes in single precision).
    """
    if not (np.isfinite(mean) and np.isfinite(standard_deviation)):
        return FunctionMoments(np.nan, np.nan, converged=False)
    with np.errstate(all="ignore"):
        if standard_deviation == 0.0:
            return FunctionMoments(float(np.asarray(function(np.full(2, mean)))[0]), 0.0)
        return _adaptive_moments(function, mean, standard_deviation)


def _adaptive_moments(
    function: Function, mean: float, standard_deviation: float
) -> FunctionMoments:
    # Activations are seldom smooth at zero: a panel's edge there spares the search for the kink.
    zero = -mean / standard_deviation
    edges = np.unique(np.append(_EDGES, zero)) if abs(zero) < 38 else _EDGES
    left, right = edges[:-1], edges[1:]
    values: list[Array] = []
    weights: list[Array] = []
    first = second = 0.0
    converged = True
    for _ in range(60):
        half = (right - left) / 2
        z = (left + half)[:, None] + half[:, None] * NODES
        x = mean + standard_deviation * z
        raw = np.asarray(function(x.ravel()))
        tolerance = 1e-9 if raw.dtype == np.float64 else 1e-6
        y = raw.astype(np.float64).reshape(x.shape)
        density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        # f·√p squared instead of f²·p: the square of a large f would overflow first.
        root = np.where(density > 0, y * np.sqrt(density), 0.0)
        absolute, square = np.abs(root) * np.sqrt(density), root * root
        signed = root * np.sqrt(density)
        error_first = np.abs(signed @ (KRONROD - GAUSS)) * half
        error_second = np.abs(square @ (KRONROD - GAUSS)) * half
        first_here, second_here = (absolute @ KRONROD) * half, (square @ KRONROD) * half
        total_first, total_second = first + first_here.sum(), second + second_here.sum()
        share = tolerance / 16
        bad = (error_first > share * total_first) | (error_second > share * total_second)
        bad &= np.isfinite(error_second) & (half > 1e-13)
        enough = (
            error_first.sum() <= tolerance * total_first
            and error_second.sum() <= tolerance * total_second
        )
        if enough or not bad.any() or bad.sum() * 2 > _MOST_PANELS:
            converged = bool(enough)
            bad[:] = False
        good = ~bad
        first, second = first + first_here[good].sum(), second + second_here[good].sum()
        values.append(y[good].ravel())
        weights.append((density * KRONROD * half[:, None])[good].ravel())
        if not bad.any():
            break
        middle = left + half
        left, right = (
            np.concatenate([left[bad], middle[bad]]),
            np.concatenate([middle[bad], right[bad]]),
        )
    else:
        converged = False
    y, weight = np.concatenate(values), np.concatenate(weights)
    inside = weight > 0
    y, weight = y[inside], weight[inside]
    weight = weight / weight.sum()
    expectation = float(weight @ y)
    root = (y - expectation) * np.sqrt(weight)
    return FunctionMoments(expectation, float(root @ root), converged)


@functools.lru_cache(maxsize=256)
def maximum_of(count: int) -> tuple[float, float]:
    """Mean and variance of the largest of `count` independent standard normals.

    Its density is count·φ(z)·Φ(z)^(count−1): one integral instead of the `count` nested ones of
    Bingham & Miikkulainen 2021, eq. 7 and 8.
    """
    if count == 1:
        return 0.0, 1.0
    z, weight = _line(-9.0, 12.0)
    log_density = np.log(count) - 0.5 * z * z - 0.5 * np.log(2 * np.pi)
    log_density = log_density + (count - 1) * special.log_ndtr(z)
    weight = weight * np.exp(log_density)
    weight /= weight.sum()
    mean = float(weight @ z)
    return mean, float(weight @ (z - mean) ** 2)


@functools.lru_cache(maxsize=256)
def covariance_of_maxima(count: int) -> tuple[float, float]:
    """Of the largest of n pairs of standard normals that correlate by r: r/n + a·r² + b·r³.

    r/n is exact for small r; at r = 1 it is the variance of the largest, and at −1 minus the
    covariance of the largest and the smallest, whose joint density is
    n(n − 1)·φ(x)·φ(y)·(Φ(x) − Φ(y))^(n−2).

    Returns:
        a and b.
    """
    mean, variance = maximum_of(count)
    z = np.linspace(-9.0, 9.0, 601)
    chances, density = special.ndtr(z), np.exp(-z * z / 2)
    between = np.maximum(chances[:, None] - chances, 0.0) ** (count - 2)
    joint = np.tril(np.outer(density, density) * between, -1)
    extremes = float(z @ joint @ z / joint.sum()) + mean * mean
    return (variance - extremes) / 2, (variance + extremes) / 2 - 1 / count


def maximum(means: Sequence[float], variances: Sequence[float]) -> tuple[float, float]:
    """Mean and variance of the largest of independent Gaussians with the given moments.

    P(max ≤ x) = Π Φ((x − mᵢ)/sᵢ), whose density is Σᵢ φᵢ Π_{j≠i} Φⱼ.
    """
    m, s = np.asarray(means, float), np.sqrt(np.asarray(variances, float))
    if not (np.isfinite(m).all() and np.isfinite(s).all()):
        return np.nan, np.nan
    # Around the largest mean a narrow operand is resolved; elsewhere it is as good as constant.
    largest = m.max()
    m = m - largest
    random = s > 1e-13 * np.abs(m)
    floor = m[~random].max(initial=-np.inf)
    m, s = m[random], s[random]
    if not m.size:
        return float(largest), 0.0
    reach = np.append(m[:, None] + s[:, None] * np.linspace(-12, 12, 97), floor)
    edges = np.unique(reach[np.isfinite(reach)])
    points, half = panels(edges)
    x, weight = points.ravel(), (half * KRONROD).ravel()
    z = (x - m[:, None]) / s[:, None]
    log_cdf = np.maximum(special.log_ndtr(z), -1e300)
    log_pdf = -0.5 * z * z - 0.5 * np.log(2 * np.pi) - np.log(s)[:, None]
    density = np.exp(log_pdf + log_cdf.sum(0) - log_cdf).sum(0) * weight
    # A constant among the operands collects the mass of everything below it.
    density = density / density.sum()
    x = np.maximum(x, floor)
    mean = float(density @ x)
    return float(largest) + mean, float(density @ (x - mean) ** 2)


def softmax(standard_deviation: float, count: int) -> tuple[float, float]:
    """Mean and variance of one output of a softmax over `count` independent N(m, s²) entries.

    By symmetry the mean is 1/n. With X = e^{sZ} and 1/S² = ∫₀^∞ t e^{−tS} dt the second moment
    is ∫ A(u) B(u)^{n−1} du, where u = log t, A = E[(tX)² e^{−tX}] and B = E[e^{−tX}] are
    convolutions of e^{2w−exp(w)} and e^{−exp(w)} with the density of sZ.
    """
    mean = 1.0 / count
    if count == 1 or standard_deviation == 0.0:
        return mean, 0.0
    if not np.isfinite(standard_deviation):
        return mean, np.nan
    if standard_deviation < 0.01:
        # The series to s⁴, which n·y = 1 + d + (d² − D)/2 + … gives, d the deviation from the
        # entries' mean and D the mean of d²: the next term is smaller by a factor s⁴.
        first = standard_deviation**2 * (1 - mean)
        square = standard_deviation**4 * (1 - mean**2)
        return mean, mean**2 * (first + (7 * first**2 - 5 * square) / 4)
    if standard_deviation > _WIDE:
        # Nearly one-hot: what is missing to the second moment 1/n falls off as 1/s.
        _, wide = softmax(_WIDE, count)
        missing = (mean - mean**2 - wide) * _WIDE / standard_deviation
        return mean, mean - mean**2 - missing
    step = min(0.05, standard_deviation / 6)
    reach = int(np.ceil(10 * standard_deviation / step))
    z = np.arange(-reach, reach + 1) * step
    kernel = np.exp(-0.5 * (z / standard_deviation) ** 2)
    kernel /= kernel.sum()
    low = -40.0 - np.log(count) - 20 * standard_deviation
    w = np.arange(low, 8.0 + 20 * standard_deviation, step)
    u = w[reach : w.size - reach]
    size = _fast_length(w.size + kernel.size - 1)
    spectrum = np.fft.rfft(kernel, size)

    def expectation(function: Array) -> Array:  # E f(w + sZ), by convolution
        full: Array = np.fft.irfft(np.fft.rfft(function, size) * spectrum, size)
        inner = full[kernel.size - 1 : w.size]
        return np.asarray(inner, dtype=np.float64)

    twice = 2 * standard_deviation**2
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squared = expectation(np.exp(2 * w - np.exp(w)))
        # Where A is small its digits are lost; A(u) = e^{2u + 2s²} B(u + 2s²) keeps them.
        tilted = np.exp(2 * u + twice) * expectation(np.exp(-np.exp(w + twice)))
        squared = np.where(u < -twice, tilted, squared)
        # B is close to 1 where it matters: 1 − B keeps its digits, B does not.
        lacking = expectation(-np.expm1(-np.exp(w)))
    power = np.exp((count - 1) * np.log1p(-np.clip(lacking, 0.0, 1.0 - 1e-16)))
    second = float(step * (squared @ power))
    return mean, max(second - mean**2, 0.0)


def _fast_length(size: int) -> int:
    return 1 << (size - 1).bit_length()


def shrinkage(mean: float, variance: float, epsilon: float, count: int) -> float:
    """E[V/(V + epsilon)] where V is the mean square of `count` entries of N(mean, variance).

    The second moment of an entry that was divided by √(V + epsilon), as normalisation layers do.
    From (V + epsilon)^{−1} = ∫₀^∞ e^{−t(V + epsilon)} dt, as in `direction`.
    """
    second = variance + mean * mean
    if count == 0 or second == 0.0:
        return 0.0
    u, weight = _line(-46.0, 46.0)
    t = np.exp(u) / (second + epsilon)
    rate = t / count
    spread = 1.0 + 2.0 * rate * variance
    log_one = -rate * mean * mean / spread - 0.5 * np.log(spread)
    square = variance / spread + (mean / spread) ** 2
    return float(weight @ (t * square * np.exp(count * log_one - t * epsilon)))


def direction(mean: float, variance: float, count: int, epsilon: float) -> tuple[float, float]:
    """E[u₁] and E[u₁u₂] of u = x/√(mean(x²) + epsilon) for `count` independent N(mean, variance).

    From R^{−1/2} = π^{−1/2} ∫₀^∞ t^{−1/2} e^{−tR} dt and R^{−1} = ∫₀^∞ e^{−tR} dt, with the closed
    forms of E[e^{−tx²}] and E[x e^{−tx²}].
    """
    second = variance + mean * mean
    if mean == 0.0 or second == 0.0:
        return 0.0, 0.0
    scale = second + epsilon
    u, weight = _line(-46.0, 46.0)
    t = np.exp(u) / scale
    rate = t / count
    spread = 1.0 + 2.0 * rate * variance
    log_one = -rate * mean * mean / spread - 0.5 * np.log(spread)
    first = mean / spread
    log_tail = -t * epsilon
    one = weight @ (np.sqrt(t / np.pi) * first * np.exp(count * log_one + log_tail))
    two = weight @ (t * first * first * np.exp(count * log_one + log_tail)) if count > 1 else 0.0
    return float(one), float(two)


@functools.lru_cache(maxsize=8)
def _line(low: float, high: float) -> tuple[Array, Array]:
    """Gauss–Kronrod points and weights on [low, high], panels of width one eighth."""
    points, half = panels(np.arange(low, high + 1e-9, 0.125))
    return points.ravel(), (half * KRONROD).ravel()


def masked_softmax(deviation: float, count: int, seen: Sequence[int]) -> tuple[float, float]:
    """Mean and second moment of a softmax over `count` Gaussians, some of which are masked.

    Args:
        deviation: of the Gaussians.
        count: how many there are.
        seen: how many count, in equally frequent rows.
    """
    numbers, times = np.unique(np.asarray(seen), return_counts=True)
    square = 0.0
    for number, share in zip(numbers, times / times.sum(), strict=True):
        mean, variance = softmax(deviation, max(int(number), 1))
        square += share * number / count * (variance + mean * mean)
    return 1.0 / count, float(square)


@functools.lru_cache(4096)
def softmax_pull(deviation: float, count: int) -> float:
    """E (Σ p_s z_s)² of standard Gaussians z and their own shares p = softmax(deviation·z).

    Sampled with a fixed seed, to about a percent.
    """
    draws = min(max(_PULLED // count, 64), 4096)
    z = np.random.default_rng(count).standard_normal((draws, count))
    shares = np.exp(deviation * (z - z.max(1, keepdims=True)))
    return float(np.mean(((shares * z).sum(1) / shares.sum(1)) ** 2))


@functools.lru_cache(256)
def scales_of_products(features: float, alike: bool) -> tuple[Array, Array]:
    """Nodes and weights of √(G·G′), G and G′ the mean squares of so many Gaussians.

    The deviation of xᵀBy over y, for random x and B: tokens, unless they are `alike`, and heads
    differ in it.
    """
    nodes, weights = special.roots_genlaguerre(_LENGTHS, features / 2 - 1)
    squares, weights = 2 * nodes / features, weights / weights.sum()
    if not alike:
        squares = np.multiply.outer(squares, squares).ravel()
        weights = np.multiply.outer(weights, weights).ravel()
    return np.sqrt(squares), weights
