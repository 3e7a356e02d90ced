"""Arrays over pairs of positions: for each spatial axis, one array axis of length count²."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    """Σ_j first(j, p)·second(j, q) for every pair of positions, (count₁², count₂², …).

    Args:
        first, second: (j, positions), the positions of all axes in a row.
        counts: positions along each axis.
    """
    return as_pairs(first.T @ second, counts)


def as_matrix(pairs: Array, counts: Sequence[int]) -> Array:
    """Values of pairs as a matrix over the positions of all axes in a row."""
    rank, total = len(counts), math.prod(counts)
    split = pairs.reshape([count for each in counts for count in (each, each)])
    order = [2 * axis + place for place in (0, 1) for axis in range(rank)]
    return split.transpose(order).reshape(total, total)


def as_pairs(matrix: Array, counts: Sequence[int]) -> Array:
    """What `as_matrix` takes: (count₁², count₂², …)."""
    rank = len(counts)
    order = [axis + place for axis in range(rank) for place in (0, rank)]
    split = matrix.reshape((*counts, *counts)).transpose(order)
    return split.reshape([count * count for count in counts])


@dataclass(frozen=True, eq=False)
class MeanProducts:
    """The means over j of a_k(j, p)·a_k(j, q), as a matrix of the positions p and q for each k.

    One k at a time, which a core's cache holds: for all of them together most of the time would go
    into memory.

    Attributes:
        values: a, (k, j, positions).
    """

    values: Array

    def __getitem__(self, k: int) -> Array:
        rows = self.values[k]
        if len(rows) == 1:
            return np.asarray(rows.T * rows)
        return np.asarray(rows.T @ rows / len(rows))


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
