"""Functions of distributions, evaluated on the grid on which these are functions of Gaussians.

Functions of one Gaussian are evaluated on the grid; of two independent ones on a plane. Jumps and
poles are looked at between the nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoinit.quadrature import bivariate
from autoinit.signals.correlated.marginals import COARSE, GRID, WEIGHTS
from autoinit.signals.signal import Array

Function = Callable[..., Any]
Points = Callable[[Sequence[float], bool], list[Array]]

_PLANE: Array = WEIGHTS[COARSE] / WEIGHTS[COARSE].sum()
# By the number of variables.
WEIGHTS_OF = {1: WEIGHTS, 2: np.outer(_PLANE, _PLANE)}
NODES: NDArray[np.int64] = np.arange(GRID.size)
# Points between two nodes at which a function with jumps is looked up, on a line and on a plane.
_FINE = {1: 16, 2: 12}
# A jump is so many times as large as the steps on both sides of it together, and more than a share
# of the deviation.
_JUMP, _LEAST_JUMP = 3.0, 0.05
_CENTRAL = 5.0
# What a function's second moment may depend on which of every four points are taken.
_DISAGREEMENT = 0.3
# Of the mean second moment: less, as of a channel that a ReLU leaves next to nothing of, is no
# matter wherever it comes from.
_NEGLIGIBLE = 0.01


def evaluated(
    function: Function, points: Points, rank: int, trimmed: bool
) -> tuple[Array, Array | None, bool]:
    """Values on the grid; of a function with jumps or poles the averages around each node.

    Args:
        function: of the operands.
        points: the operands beside the nodes of the grid, by a part of its step in each variable,
            and whether on parabolas rather than straight lines.
        rank: how many variables there are.
        trimmed: whether values that one entry in a thousand exceeds are cut off there.

    Returns:
        The values; the averages of their squares, where they are averages; and whether the second
        moment is finite, as far as the nodes show.
    """

    def evaluate(*steps: float, curved: bool = False) -> Array:
        given = points(steps, curved)
        found = np.asarray(function(*(each.reshape(-1) for each in given)))
        return found.reshape(given[0].shape)

    raw = evaluate(*(0.0,) * rank)
    values = raw.astype(np.float64)
    if not np.isfinite(values).all():
        # A node may lie right on a pole, or where a logarithm or a denominator is 0.
        values = np.where(np.isfinite(values), values, evaluate(*(0.25,) * rank, curved=True))
    axes = range(-rank, 0)
    converged = raw.dtype == bool or all(
        _is_summable(values, axis, WEIGHTS_OF[rank]) for axis in axes
    )
    if not trimmed and raw.dtype != bool and not any(_has_jump(values, axis) for axis in axes):
        return values, None, converged
    number = _FINE[rank]
    steps = (np.arange(number) + 0.5) / number - 0.5
    places = [tuple(float(steps[each]) for each in at) for at in np.ndindex(*(number,) * rank)]
    bounds = None
    if trimmed:
        some = np.stack([evaluate(*place) for place in places[:: 1 if rank == 1 else number + 1]])
        bounds = _bounds(some.astype(np.float64), WEIGHTS_OF[rank])
    total, squares = np.zeros(values.shape), np.zeros(values.shape)
    for place in places:
        found = evaluate(*place).astype(np.float64)
        if bounds is not None:
            found = bivariate.limited(found, *bounds)
        total += found
        squares += found**2
    return total / len(places), squares / len(places), converged


def without_rounding(rows: Array) -> Array:
    """Where a function is 0 it shall be, for those that divide by it."""
    return np.where(np.abs(rows) > 1e-13 * np.abs(rows).max(initial=0.0), rows, 0.0)


def beside(rows: Array, nodes: NDArray[np.int64], step: float, *, curved: bool = False) -> Array:
    """Functions on the grid between its nodes, on straight lines.

    Args:
        rows: (…, grid).
        nodes: which are looked at.
        step: how far beside each of them, as a part of the distance between two.
    """
    if step == 0.0:
        return rows[..., nodes]
    if curved:
        return _curved(rows, nodes, step)
    places = np.clip(nodes + step * (nodes[1] - nodes[0]), 0, GRID.size - 1)
    low = np.minimum(places.astype(np.int64), GRID.size - 2)
    part = places - low
    return np.asarray((1 - part) * rows[..., low] + part * rows[..., low + 1])


def _curved(rows: Array, nodes: NDArray[np.int64], step: float) -> Array:
    """The same on parabolas: the zeros of a square and of a line differ."""
    middle = np.clip(nodes, 1, GRID.size - 2)
    low, high = rows[..., middle - 1], rows[..., middle + 1]
    here = rows[..., middle]
    return np.asarray(here + step * (high - low) / 2 + step**2 * (high - 2 * here + low) / 2)


def _has_jump(values: Array, axis: int) -> bool:
    values = np.moveaxis(values, axis, -1)
    nodes = GRID if values.shape[-1] == GRID.size else GRID[COARSE]
    central = values[..., np.abs(nodes) < _CENTRAL]
    steps = np.abs(np.diff(central))
    # Over two nodes: what has been averaged around its own jump takes two steps for it.
    double = np.abs(central[..., 3:-1] - central[..., 1:-3])
    around = steps[..., :-3] + steps[..., 3:]
    return bool((double > _JUMP * around + _LEAST_JUMP * central.std()).any())


def _bounds(values: Array, weights: Array) -> tuple[float, float]:
    """What one entry in a thousand exceeds."""
    known = ~np.isnan(values)
    if not known.any():
        return np.nan, np.nan
    order = np.argsort(values[known])
    cumulated = np.cumsum(np.broadcast_to(weights, values.shape)[known][order])
    tails = cumulated[-1] * np.array([bivariate.TRIMMED / 2, 1 - bivariate.TRIMMED / 2])
    places = np.minimum(np.searchsorted(cumulated, tails), order.size - 1)
    low, high = values[known][order][places]
    return float(low), float(high)


def _is_summable(values: Array, axis: int, weights: Array) -> bool:
    """Whether every fourth point gives about the same second moment, whichever one starts with.

    Of a function with a pole, or that outgrows the density, a few points decide it.
    """
    square = values**2 * weights
    if weights.ndim == 2:
        square = square.sum(-1 if axis == -2 else -2)
    sums = np.array([square[..., start::4].sum(-1) for start in range(4)])
    total = sums.sum(0)
    apart = sums.max(0) - sums.min(0)
    counted = np.maximum(total, _NEGLIGIBLE * total.mean())
    return bool(np.isfinite(total).all() and (apart <= _DISAGREEMENT * counted).all())
