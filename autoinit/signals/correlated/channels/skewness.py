"""What is not Gaussian of units whose weights are given: their skewness (L).

Trained units sum what goes together, and their third cumulant does not average out: to a Gaussian
of the same mean and variance a ReLU leaves up to a fifth less variance, and two of them a fifth
less in common. Here a sum becomes a function of a Gaussian that has its skewness
(`cumulants.py`), and a function says what skewness it brings.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.channels import Bend, Channels, of_functions
from autoinit.signals.correlated.channels.cumulants import ORDERS, third_cumulants
from autoinit.signals.correlated.channels.entries import between_places, settled, shaped
from autoinit.signals.correlated.marginals import GRID, WEIGHTS
from autoinit.signals.signal import Array

# Less of it changes nothing that is looked at; of more, a sum of many is a rare event.
_LEAST, _MOST = 0.05, 3.0


def is_sum(channels: Channels) -> bool:
    """Whether channels are Gaussian, or skewed as sums are, and no function of such."""
    return channels.bend is None and (channels.functions is None or channels.third is not None)


def bend_of(source: Channels | None, channels: Channels) -> Bend:
    """What makes channels skewed that are functions of others, `source`, if these are sums.

    What is left of a sum's own skewness is not the function's doing: it is taken of Gaussians with
    the sum's means and variances.
    """
    rows = channels.rows()
    own = (rows - channels.means[:, None]) ** 3 @ WEIGHTS
    of_sum = source is not None and is_sum(source)
    deviations = np.sqrt(source.variances) if source is not None else np.zeros(channels.count)
    if of_sum and source is not None and source.functions is not None:
        places = source.means[:, None] + deviations[:, None] * GRID
        every = zip(places, source.functions, rows, strict=True)
        rows = np.array([np.interp(at, *_rising(*each)) for at, *each in every])
    orders, _ = marginals.coefficients(rows)
    orders = orders[:, : ORDERS + 1]
    if not of_sum:
        if channels.lengths is not None:
            # Squares of vectors of one length: none is nearer than what Gaussians would bring.
            orders, own = np.zeros_like(orders), np.zeros_like(own)
        return Bend(orders, own, np.zeros(channels.count), channels.latent_correlations())
    slopes = np.divide(
        orders[:, 1], deviations, out=np.zeros(channels.count), where=deviations > 1e-12
    )
    return Bend(orders, own, slopes)


def _rising(places: Array, values: Array) -> tuple[Array, Array]:
    return (places, values) if places[-1] >= places[0] else (places[::-1], values[::-1])


def skewed(channels: Channels) -> Channels:
    """Sums with the same moments that are functions of Gaussians with their skewness."""
    third = third_cumulants(channels)
    entries = channels.entries
    if entries is None:
        shapes, third = _shapes_of(third, channels.variances**1.5)
        return channels if shapes is None else _with_shapes(channels, shapes, third)
    channels = settled(channels)
    scale, between = between_places(entries)
    shapes, third = _shapes_of(third, scale)
    if shapes is not None:
        relative = np.divide(third, scale, out=np.zeros_like(third), where=scale > 1e-300)
        channels = shaped(channels, shapes, relative)
    shapes, _ = _shapes_of(third + between, channels.variances**1.5)
    return channels if shapes is None else _with_shapes(channels, shapes, third)


def _shapes_of(third: Array, scale: Array) -> tuple[Array | None, Array]:
    """Standardized functions of Gaussians, None where they are these, and what is left of third."""
    skewness = np.divide(third, scale, out=np.zeros_like(third), where=scale > 1e-300)
    if not np.abs(skewness).max(initial=0.0) > _LEAST:
        return None, np.zeros_like(third)
    skewness = np.clip(skewness, -_MOST, _MOST)
    return np.array([_of_skewness(each) for each in skewness]), skewness * scale


def _with_shapes(channels: Channels, shapes: Array, third: Array) -> Channels:
    rows = channels.means[:, None] + np.sqrt(channels.variances)[:, None] * shapes
    return replace(of_functions(channels, rows), third=third)


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
