"""Entries that change places between positions and channels, and sums of products over axes.

Covariances are those of two entries of one channel, at pairs of positions, and where
`cov_channels` says so those of two different channels. Here the channels become one more axis of
pairs, on which reshaping and transposing are the same for all axes; the last axis is then made the
channels again.

Sums of products (`contracted`) ask only whether two entries have the same index along an axis:
a table of second moments with two classes for each axis is contracted as the tensors are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from autoinit.signals.correlated.combination import product
from autoinit.signals.correlated.marginals import STANDARD
from autoinit.signals.correlated.pairs import each_with_each
from autoinit.signals.correlated.positions import Axis, axes_of
from autoinit.signals.signal import Array, next_identity

if TYPE_CHECKING:
    from autoinit.signals.correlated.state import CorrelatedSignal

Sizes = tuple[int, ...]
# Arrays over pairs of more axes would be too large.
_MOST_AXES = 4


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


def with_ones(signal: CorrelatedSignal, sizes: Sizes) -> CorrelatedSignal:
    """A signal with other axes of one position.

    Args:
        signal: with positions of the same sizes, but for those that are 1.
        sizes: of the positions.
    """
    kept = iter(axis for axis in signal.axes or () if axis.size != 1)
    axes = axes_of(sizes)
    matching = [(next(kept), axis) for axis in axes if axis.size != 1]

    def placed(array: Array, *, pairs: bool) -> Array:
        array = array.reshape([n for n in array.shape if n != 1])
        for number, (old, new) in enumerate(matching):
            array = _as_group(array, number, [old], [new], pairs=pairs)
        return array.reshape([axis.count**2 if pairs else axis.count for axis in axes])

    cov_channels, correlation_variance = signal.cov_channels, signal.correlation_variance
    return replace(
        signal,
        axes=axes,
        means=placed(signal.means, pairs=False),
        cov_positions=placed(signal.cov_positions, pairs=True),
        cov_samples=placed(signal.cov_samples, pairs=True),
        correlation_variance=None
        if correlation_variance is None
        else placed(correlation_variance, pairs=True),
        cov_channels=cov_channels
        and (placed(cov_channels[0], pairs=True), placed(cov_channels[1], pairs=True)),
        parts=tuple((share, part.arrange(sizes)) for share, part in signal.parts),
    )


def transposed(signal: CorrelatedSignal, sizes: Sizes, order: Sequence[int]) -> CorrelatedSignal:
    """A signal with its axes in another order.

    Args:
        signal: with positions of sizes[:-1].
        sizes: of the axes of a sample, channels last.
        order: for each new axis the old one.
    """
    if len(sizes) > _MOST_AXES:
        return signal.arrange([sizes[axis] for axis in order][:-1])
    axes, arrays = _expanded(signal, sizes)
    moved = [array.transpose(order) for array in arrays]
    return _collapsed(signal, tuple(axes[axis] for axis in order), moved)


def regrouped(signal: CorrelatedSignal, before: Sizes, after: Sizes) -> CorrelatedSignal:
    """A signal whose tensor is reshaped.

    Axes that are merged or split keep what two of their entries have in common on average.

    Args:
        signal: with positions of before[:-1].
        before, after: sizes of the axes of a sample, channels last.
    """
    if max(len(before), len(after)) > _MOST_AXES:
        return signal.arrange(after[:-1])
    old_axes, arrays = _expanded(signal, before)
    new_axes = axes_of(after)
    runs = segments(before, after)
    first = len(before)
    for old, new in reversed(runs):
        first -= len(old)
        sources, targets = [old_axes[axis] for axis in old], [new_axes[axis] for axis in new]
        arrays = [
            _as_group(array, first, sources, targets, pairs=number > 0)
            for number, array in enumerate(arrays)
        ]
    return _collapsed(signal, new_axes, arrays)


def contracted(
    first: CorrelatedSignal,
    second: CorrelatedSignal,
    labels: tuple[str, str, str],
    sizes: dict[str, int],
) -> CorrelatedSignal:
    """Σ x·y over the axes that the result does not have; of independent signals.

    Args:
        first, second: x and y.
        labels: a letter for each axis of a sample of x, y and the result, channels last.
        sizes: by letter.
    """
    tables = [
        _classes(signal, tuple(sizes[letter] for letter in letters))
        for signal, letters in ((first, labels[0]), (second, labels[1]))
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
    kinds = np.ix_(*(_is_apart(axis) for axis in axes))
    cov_positions, cov_samples, cov_channels, across_between = (
        (covariances[sample][..., channel])[kinds] if axes else covariances[sample, channel]
        for channel in (0, 1)
        for sample in (0, 1)
    )
    shape = product(first, second).marginal if count == 1 else STANDARD
    return type(first)(
        axes,
        np.full([axis.count for axis in axes], mean),
        np.array(cov_positions),
        np.array(cov_samples),
        shape,
        cov_channels=(np.array(cov_channels), np.array(across_between)),
        log_variance=first.log_variance + second.log_variance,
    )


def _classes(signal: CorrelatedSignal, sizes: Sizes) -> Array:
    """E[x·x′] by whether sample, positions… and channel are the same (0) or different (1)."""
    signal = signal.arrange(sizes[:-1])
    axes = signal.axes or ()
    apart = signal.cov_channels or (
        np.zeros_like(signal.cov_positions),
        np.zeros_like(signal.cov_samples),
    )
    every = (
        np.array([[signal.cov_positions, apart[0]], [signal.cov_samples, apart[1]]])
        + signal.mean_products
    )
    every = np.moveaxis(every, 1, -1)  # sample, pairs…, channel
    for number, axis in enumerate(axes, 1):
        rows = np.array([_same(axis), _apart(axis)])
        every = np.moveaxis(np.tensordot(rows, every, axes=(1, number)), 0, number)
    return every


def _same(axis: Axis) -> Array:
    """Weights that average over pairs of a position with itself: (count²,)."""
    weights = np.zeros((axis.count, axis.count))
    np.fill_diagonal(weights, axis.shares)
    return weights.ravel()


def _apart(axis: Axis) -> Array:
    """Weights that average over pairs of different positions; of one position, with itself."""
    if axis.size < 2:
        return _same(axis)
    number = axis.size
    weights: Array = (number * axis.over_pairs - _same(axis)) / (number - 1)
    return weights


def _is_apart(axis: Axis) -> Array:
    return (~np.eye(axis.count, dtype=bool)).ravel().astype(int)


def _expanded(signal: CorrelatedSignal, sizes: Sizes) -> tuple[tuple[Axis, ...], list[Array]]:
    """Means, and second moments within and between samples, with the channels as last axis."""
    signal = signal.arrange(sizes[:-1])
    old, axes = signal.axes or (), axes_of(sizes)
    means, cov_positions, cov_samples = signal.means, signal.cov_positions, signal.cov_samples
    cov_channels = signal.cov_channels or (np.zeros_like(cov_positions), np.zeros_like(cov_samples))
    pairs = [cov_positions, cov_samples, *cov_channels]
    for number, (source, target) in enumerate(zip(old, axes, strict=False)):
        if source == target:
            continue
        places = target.representatives
        means = np.take(means, source.singles(places), number)
        found = source.pairs(places[:, None], places[None, :]).ravel()
        pairs = [np.take(each, found, number) for each in pairs]
    channel = axes[-1]
    apart = _is_apart(channel).astype(float)
    first, second = each_with_each(means)
    products = (first * second)[..., None]
    whole = [
        np.multiply.outer(same, 1 - apart) + np.multiply.outer(other, apart) + products
        for same, other in ((pairs[0], pairs[2]), (pairs[1], pairs[3]))
    ]
    return axes, [np.repeat(means[..., None], channel.count, -1), *whole]


def _as_group(
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
        same = np.tensordot(same, _same(axis), axes=(first, 0))
        average = np.tensordot(average, axis.over_pairs, axes=(first, 0))
    apart = (number * average - same) / (number - 1) if number > 1 else same
    if not new:
        return same
    alike = np.ones(())
    for axis in new:
        alike = np.multiply.outer(alike, 1.0 - _is_apart(axis))
    alike = alike.reshape((1,) * first + alike.shape + (1,) * (array.ndim - last))
    return np.asarray(same.reshape(rest) * alike + apart.reshape(rest) * (1 - alike))


def _collapsed(
    signal: CorrelatedSignal, axes: tuple[Axis, ...], arrays: Sequence[Array]
) -> CorrelatedSignal:
    """The last axis as channels."""
    means, *moments = arrays
    channel, positions = axes[-1], axes_of(tuple(axis.size for axis in axes[:-1]))
    means = means @ channel.shares
    for number, (source, target) in enumerate(zip(axes[:-1], positions, strict=True)):
        means = _as_group(means, number, [source], [target], pairs=False)
        moments = [_as_group(each, number, [source], [target], pairs=True) for each in moments]
    first, second = each_with_each(means)
    products = first * second
    cov_positions, cov_samples = (each @ _same(channel) - products for each in moments)
    cov_channels = tuple(each @ _apart(channel) - products for each in moments)
    alone = channel.size < 2 or not any(np.any(np.abs(each) > 1e-12) for each in cov_channels)
    return replace(
        signal,
        axes=positions,
        means=means,
        cov_positions=np.asarray(cov_positions),
        cov_samples=np.asarray(cov_samples),
        cov_channels=None if alone else (cov_channels[0], cov_channels[1]),
        stored_marginal=signal.marginal,
        latent_id=next_identity(),
        parts=(),
        centered_second_moments=None,
        correlation_variance=None,
        normalized_samples=0,
        logits=None,
    )
