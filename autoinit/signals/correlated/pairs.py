"""Arrays over pairs of positions: for each spatial axis, one array axis of length count²."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def each_with_each(values: Array) -> tuple[Array, Array]:
    """Values at the first and at the second position of every pair.

    Args:
        values: at positions, of shape (count₁, count₂, …).

    Returns:
        Two arrays of shape (count₁², count₂², …).
    """
    counts = values.shape
    full = [count for each in counts for count in (each, each)]
    flat = [count * count for count in counts]
    first = values.reshape([n for count in counts for n in (count, 1)])
    second = values.reshape([n for count in counts for n in (1, count)])
    return np.broadcast_to(first, full).reshape(flat), np.broadcast_to(second, full).reshape(flat)


def products(first: Array, second: Array, counts: Sequence[int]) -> Array:
    """Σ_j first(j, p)·second(j, q) for every pair of positions.

    Args:
        first, second: (…, j, positions), the positions of all axes in a row.
        counts: positions along each axis.

    Returns:
        (…, count₁², count₂², …).
    """
    outer = first.shape[:-2]
    shape = (*outer, *(count * count for count in counts))
    if first.shape[-2] == 1:  # nothing to sum: in the order of the result at once
        left = first.reshape([*outer, *(n for count in counts for n in (count, 1))])
        right = second.reshape([*outer, *(n for count in counts for n in (1, count))])
        return np.asarray(left * right).reshape(shape)
    matrix = np.swapaxes(first, -1, -2) @ second
    rank, lead = len(counts), len(outer)
    order = [lead + axis + place for axis in range(rank) for place in (0, rank)]
    split = matrix.reshape((*outer, *counts, *counts)).transpose([*range(lead), *order])
    return split.reshape(shape)


def as_matrix(pairs: Array, counts: Sequence[int]) -> Array:
    """Values of pairs as a matrix over the positions of all axes in a row."""
    rank, total = len(counts), math.prod(counts)
    split = pairs.reshape([count for each in counts for count in (each, each)])
    order = [2 * axis + place for place in (0, 1) for axis in range(rank)]
    return split.transpose(order).reshape(total, total)


def diagonal(pairs: Array, counts: Sequence[int]) -> Array:
    """The values of pairs of a position with itself: (count₁, count₂, …)."""
    return pairs[_with_itself(counts)] if counts else pairs


def at_diagonal(pairs: Array, values: Array) -> Array:
    """A copy in which pairs of a position with itself have other values."""
    if not values.shape:
        return np.array(values)
    changed = np.array(pairs)
    changed[_with_itself(values.shape)] = values
    return changed


def mapped_along(values: Array, matrices: Sequence[Array]) -> Array:
    """Apply one matrix, (output, input), along each axis."""
    for axis, matrix in enumerate(matrices):
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        # As (before, input, after): no axis has to be moved.
        flat = values.reshape(math.prod(before), matrix.shape[1], math.prod(after))
        values = (matrix @ flat).reshape(*before, len(matrix), *after)
    return values


def _with_itself(counts: Sequence[int]) -> tuple[NDArray[np.intp], ...]:
    return np.ix_(*[np.arange(count) * (count + 1) for count in counts])
