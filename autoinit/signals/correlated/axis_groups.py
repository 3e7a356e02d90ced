"""Axes of an array over positions or pairs merged, split, averaged over and moved."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autoinit.signals.correlated.positions import Axis
from autoinit.signals.signal import Array

Sizes = tuple[int, ...]


def segments(before: Sizes, after: Sizes) -> list[tuple[list[int], list[int]]]:
    """Which axes of a reshaped tensor come from which: the shortest runs of equal products.

    Args:
        before, after: sizes in row-major order, of the same product.

    Returns:
        Pairs of axis numbers, in order.
    """
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        old: list[int] = []
        new: list[int] = []
        left = right = 1
        while True:
            if not old and i < len(before):
                old.append(i)
                left *= before[i]
                i += 1
            elif not new and j < len(after):
                new.append(j)
                right *= after[j]
                j += 1
            elif left < right and i < len(before):
                old.append(i)
                left *= before[i]
                i += 1
            elif right < left and j < len(after):
                new.append(j)
                right *= after[j]
                j += 1
            else:
                break
            # An axis of one entry stands by itself.
            if left == right == 1 and (old or new):
                break
        found.append((old, new))
    return found


def same_position(axis: Axis) -> Array:
    """Weights that average over pairs of a position with itself: (count²,)."""
    weights = np.zeros((axis.count, axis.count))
    np.fill_diagonal(weights, axis.shares)
    return weights.ravel()


def other_position(axis: Axis) -> Array:
    """Weights that average over pairs of different positions; of one position, with itself."""
    if axis.size < 2:
        return same_position(axis)
    number = axis.size
    weights: Array = (number * axis.over_pairs - same_position(axis)) / (number - 1)
    return weights


def is_apart(axis: Axis) -> Array:
    """1 for pairs of different positions, else 0: (count²,)."""
    return (~np.eye(axis.count, dtype=bool)).ravel().astype(int)


def as_group(
    array: Array, first: int, old: Sequence[Axis], new: Sequence[Axis], *, pairs: bool
) -> Array:
    """Axes `first`, … of an array over positions or pairs, in place of others."""
    if list(old) == list(new):
        return array
    last = first + len(old)
    if len(old) == len(new) == 1:
        (source,), (target,) = old, new
        places = target.representatives
        chosen = (
            source.pairs(places[:, None], places[None, :]).ravel()
            if pairs
            else source.singles(places)
        )
        return np.take(array, chosen, first)
    rest = array.shape[:first] + (1,) * len(new) + array.shape[last:]
    if not pairs:
        for axis in old:
            array = np.tensordot(array, axis.shares, axes=(first, 0))
        wanted = array.shape[:first] + tuple(axis.count for axis in new) + array.shape[first:]
        return np.broadcast_to(array.reshape(rest), wanted)
    number = math.prod(axis.size for axis in old)
    same = average = array
    for axis in old:
        same = np.tensordot(same, same_position(axis), axes=(first, 0))
        average = np.tensordot(average, axis.over_pairs, axes=(first, 0))
    apart = (number * average - same) / (number - 1) if number > 1 else same
    if not new:
        return same
    alike = np.ones(())
    for axis in new:
        alike = np.multiply.outer(alike, 1.0 - is_apart(axis))
    alike = alike.reshape((1,) * first + alike.shape + (1,) * (array.ndim - last))
    return np.asarray(same.reshape(rest) * alike + apart.reshape(rest) * (1 - alike))
