"""Sums of products over axes: attention, and dot products (J).

They ask only whether two entries have the same index along an axis: a table of second moments with
two classes for each axis is contracted as the tensors are.
"""

from __future__ import annotations

import math

import numpy as np

from autoinit.signals.correlated.axis_groups import Sizes, is_apart, other_position, same_position
from autoinit.signals.correlated.combination import combined, product
from autoinit.signals.correlated.linear import affine
from autoinit.signals.correlated.marginals import STANDARD
from autoinit.signals.correlated.normalization import over_channels
from autoinit.signals.correlated.positions import axes_of
from autoinit.signals.correlated.reshape import arrange, flatten
from autoinit.signals.correlated.state import Annotations, State
from autoinit.signals.signal import Array


def dot(state: State, other: State, count: int, *, normalized: bool) -> State:
    """The product of two vectors of so many entries."""
    mine, theirs = (
        affine(over_channels(flatten(each), 0.0, count, centered=False), count**-0.5, 0.0)
        if normalized
        else flatten(each)
        for each in (state, other)
    )
    each = combined([mine, theirs], "multiply")
    return State.gaussian(count * each.mean, count * each.variance)


def contract(
    first: State, second: State, labels: tuple[str, str, str], sizes: dict[str, int]
) -> State:
    """Σ x·y over the axes that the result does not have; of independent signals.

    Args:
        first, second: x and y.
        labels: a letter for each axis of a sample of x, y and the result, channels last.
        sizes: by letter.
    """
    tables = [
        _classes(state, tuple(sizes[letter] for letter in letters))
        for state, letters in ((first, labels[0]), (second, labels[1]))
    ]
    summed = [letter for letter in sizes if letter not in labels[2]]
    # Two entries with the same index along a summed axis, or with different ones.
    weights = [np.array([sizes[s], sizes[s] * (sizes[s] - 1.0)]) for s in summed]
    terms = [f"Z{labels[0]}", f"Z{labels[1]}", *summed]  # Z: the sample
    table = np.einsum(f"{','.join(terms)}->Z{labels[2]}", *tables, *weights)
    count = math.prod(sizes[letter] for letter in summed)
    mean = count * first.mean * second.mean
    covariances = table - mean * mean
    if not labels[2]:  # one number for each sample
        covariances = np.stack([covariances, np.zeros(2)], -1)

    axes = axes_of(tuple(sizes[letter] for letter in labels[2][:-1]))
    kinds = np.ix_(*(is_apart(axis) for axis in axes))
    cov_positions, cov_samples, cov_channels, across_between = (
        (covariances[sample][..., channel])[kinds] if axes else covariances[sample, channel]
        for channel in (0, 1)
        for sample in (0, 1)
    )
    notes = Annotations(
        cov_channels=(np.array(cov_channels), np.array(across_between)),
        log_variance=first.notes.log_variance + second.notes.log_variance,
    )
    return State(
        axes, np.full([axis.count for axis in axes], mean), np.array(cov_positions),
        np.array(cov_samples), product(first, second).marginal if count == 1 else STANDARD,
        notes=notes,
    )  # fmt: skip


def _classes(state: State, sizes: Sizes) -> Array:
    """E[x·x′] by whether sample, positions… and channel are the same (0) or different (1)."""
    state = arrange(state, sizes[:-1])
    axes = state.axes or ()
    same = state.cov_positions, state.cov_samples
    apart = state.notes.cov_channels or tuple(map(np.zeros_like, same))
    every = np.array([same, apart]).swapaxes(0, 1) + state.mean_products
    every = np.moveaxis(every, 1, -1)  # sample, pairs…, channel
    for number, axis in enumerate(axes, 1):
        rows = np.array([same_position(axis), other_position(axis)])
        every = np.moveaxis(np.tensordot(rows, every, axes=(1, number)), 0, number)
    return every
