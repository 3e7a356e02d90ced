"""Stretches of a network over which a figure grows or falls more than over any other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.analysis.result import Call

# A signal that changes by more on its way explodes or vanishes: the factor that the paper's
# figure 3 takes as the limit of what is stable.
STABLE_FACTOR = 100.0
_LEAST_CHANGE = 10.0  # a signal that was large or small from the start does neither
_LARGEST_EXPONENT = 700.0  # of a float


@dataclass(frozen=True)
class Stretch:
    """A stretch of calls.

    Attributes:
        start, end: the calls.
        steps: weighted calls from one to the other.
        first, last: the figure there.
    """

    start: Call
    end: Call
    steps: int
    first: float
    last: float

    @property
    def factor(self) -> float:
        """By which the figure grows, or falls: at least 1."""
        return math.exp(min(abs(math.log(self.last) - math.log(self.first)), _LARGEST_EXPONENT))

    @property
    def rate(self) -> float:
        """The same for each step."""
        return float(self.factor ** (1 / max(self.steps, 1)))


def largest_change(figures: Sequence[tuple[Call, float]], sign: int) -> Stretch | None:
    """The stretch over which positive figures grow most (sign 1), or fall most (sign -1)."""
    best, found, lowest = 0.0, None, 0
    heights = [sign * math.log(figure) for _, figure in figures]
    for place, height in enumerate(heights):
        if height < heights[lowest]:
            lowest = place
        if height - heights[lowest] > best:
            best, found = height - heights[lowest], (lowest, place)
    if found is None:
        return None
    (first, low), (last, high) = figures[found[0]], figures[found[1]]
    return Stretch(first, last, found[1] - found[0], low, high)


def signal_stretch(
    variances: Sequence[tuple[Call, float]], target: float, sign: int
) -> Stretch | None:
    """Where the signal explodes (1) or vanishes (-1), if it does, in the order of execution.

    Args:
        variances: above 0, of weighted calls. What underflows to 0 has no logarithm: the last
            figure above it is the end of the stretch.
        target: the variance that AutoInit aims at.
        sign: which of the two.
    """
    figures = [figure for _, figure in variances]
    beyond = (
        max(figures, default=target) > target * STABLE_FACTOR
        if sign > 0
        else min(figures, default=target) < target / STABLE_FACTOR
    )
    found = largest_change(variances, sign) if beyond else None
    return found if found is not None and found.factor >= _LEAST_CHANGE else None
