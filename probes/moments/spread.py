"""How the variance of a call differs from draw to draw of weights and inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Figures of a variance over independent draws.

    Attributes:
        median, low, high: the median, the 10th and the 90th percentile, interpolated linearly
            between neighbouring draws (Hyndman & Fan 1996, definition 7). A draw that overflows
            counts as infinite.
        mean: over the draws; infinite where one of them is.
        standard_error: of the mean; None for a single draw, and where the mean is infinite.
    """

    median: float
    low: float
    high: float
    mean: float
    standard_error: float | None


def spread_of(variances: Sequence[float]) -> Spread | None:
    """The spread of some draws' variances; None of no draws.

    Args:
        variances: one per draw; NaN and infinity are those that overflowed.

    Example:
        >>> from probes import spread_of
        >>> spread_of([1.0, 2.0, 4.0]).median
        2.0
    """
    if not variances:
        return None
    draws = sorted(value if math.isfinite(value) else math.inf for value in variances)
    mean = math.fsum(draws) / len(draws)
    error = None
    if len(draws) > 1 and math.isfinite(mean):
        squares = math.fsum((value - mean) ** 2 for value in draws)
        error = math.sqrt(squares / (len(draws) - 1) / len(draws))
    return Spread(_quantile(draws, 0.5), _quantile(draws, 0.1), _quantile(draws, 0.9), mean, error)


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    rest = place - below
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    # Not low + rest * (high - low), which has no value between two infinities.
    return low if rest == 0.0 or low == high else (1 - rest) * low + rest * high
