"""Channels over positions: averages and largest entries of windows, and flattened maps (L)."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from autoinit.quadrature import gaussian
from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.channels import (
    MOST_ENTRIES,
    Bend,
    Channels,
    Entries,
    central,
    correlations,
    of_rows,
)
from autoinit.signals.correlated.channels.entries import between_all
from autoinit.signals.correlated.channels.paths import Step
from autoinit.signals.correlated.channels.skewness import bend_of
from autoinit.signals.correlated.marginals import GRID, WEIGHTS
from autoinit.signals.geometry import Taps
from autoinit.signals.signal import Array

# Positions of a map that are looked at, its taps, and outputs for one input.
_LOOKED_AT, _MOST_TAPS, _MOST_SPLITS = 64, 256, 8
# Units of a flattened map whose functions are remembered, all pairs of them.
_MOST_BENT = 1024
# Of the positions, which move alike.
_MOSTLY = 0.8


def flattened(
    channels: Channels, sizes: Sequence[int], spatial: Array, means: Array, deviations: Array
) -> Channels:
    """Every channel at every position as a channel.

    Args:
        channels: of the tensor.
        sizes: of its spatial axes.
        spatial: correlation of two entries of a channel at each displacement, from −size + 1 on.
        means: of the positions, less their mean, (positions,).
        deviations: of the positions, relative to the whole, (positions,).
    """
    scales = np.repeat(deviations, channels.count)
    whole = between_all(channels.covariances, sizes, spatial) * np.multiply.outer(scales, scales)
    found = Channels((means[:, None] + channels.means).ravel(), whole)
    if channels.functions is None or found.count > _MOST_BENT:
        return found
    bend = bend_of(None, channels)
    latent = between_all(channels.latent_correlations(), sizes, spatial)
    orders = np.multiply.outer(deviations, bend.orders).reshape(found.count, -1)
    own = np.multiply.outer(deviations**3, bend.own).ravel()
    return replace(found, bend=Bend(orders, own, np.zeros(found.count), latent))


def of_entries(entries: Entries) -> Channels:
    """Units that are the entries, in a row."""
    each = replace(entries.each, lengths=None, of_one_length=False)
    if each.functions is None or each.third is not None:
        return each
    if each.count > _MOST_BENT:
        return replace(each, functions=None, latent=None)
    return replace(each, bend=bend_of(None, each))


def unflattened(channels: Channels, sizes: Sequence[int]) -> Channels:
    """Units as channels at positions, over which moments are taken, too.

    Args:
        channels: of the units.
        sizes: of the spatial axes and of the channels.
    """
    *places, count = sizes
    means = channels.means.reshape(-1, count)
    away = means - means.mean(0)
    pairs = channels.at_same_position.reshape(len(means), count, len(means), count)
    pairs = pairs.swapaxes(1, 2) + np.einsum("pc,qd->pqcd", away, away)
    at = np.indices(places).reshape(len(places), -1)
    apart = at[:, None, :] - at[:, :, None] + (np.array(places) - 1)[:, None, None]
    total = np.zeros((*(2 * size - 1 for size in places), count, count))
    number = np.zeros(total.shape[:-2])
    np.add.at(total, tuple(apart), pairs)
    np.add.at(number, tuple(apart), 1.0)
    return Channels(means.mean(0), total / number[..., None, None])


def averaged(
    channels: Channels, maps: Sequence[Taps], spatial: Callable[[Sequence[int]], Array]
) -> Array:
    """Covariances after a linear map along each axis, on average over the pairs of positions.

    Args:
        channels: of the entries.
        maps: along each axis, whose weights sum to 1 at each position.
        spatial: as `through` takes it.
    """
    known = channels.covariances
    have = [size // 2 for size in known.shape[:-2]] or [0] * len(maps)
    known = known if known.ndim > 2 else known[(None,) * len(maps)]
    most = (MOST_ENTRIES // channels.count**2) ** (1 / max(len(maps), 1))
    matrices = [
        _pairs(taps.central(_LOOKED_AT), half, round(most) // 2)
        for taps, half in zip(maps, have, strict=True)
    ]
    reach = [matrix.shape[1] // 2 for matrix in matrices]
    beyond = np.asarray(spatial(reach)).copy()
    inner = [slice(far - half, far + half + 1) for far, half in zip(reach, have, strict=True)]
    beyond[tuple(inner)] = 0.0
    result = known
    for axis, (matrix, near) in enumerate(zip(matrices, inner, strict=True)):
        result = np.moveaxis(np.tensordot(matrix[:, near], result, (1, axis)), 0, axis)
        beyond = np.moveaxis(np.tensordot(matrix, beyond, (1, axis)), 0, axis)
    return result + np.multiply.outer(beyond, channels.at_same_position)


def _pairs(taps: Taps, half: int, most: int) -> Array:
    """How often two outputs beside each other read inputs that are so far apart.

    Args:
        taps: of the map.
        half: displacements of inputs that are known; of outputs that need no others are told.
        most: displacements of outputs.

    Returns:
        (displacements of outputs, displacements of inputs).
    """
    number = len(taps.reads)
    found: list[tuple[Array, Array]] = []
    for apart in range(min(number - 1, most) + 1):
        first, second = slice(0, number - apart), slice(apart, number)
        between = taps.reads[second, None, :] - taps.reads[first, :, None]
        weights = taps.weights[second, None, :] * taps.weights[first, :, None]
        real = weights != 0
        if found and np.abs(between[real]).max(initial=0) > half:
            break
        found.append((between[real], weights[real] / (number - apart)))
    far = max(half, *(int(np.abs(between).max(initial=0)) for between, _ in found))
    rows = [np.bincount(between + far, weights, 2 * far + 1) for between, weights in found]
    return np.array([each[::-1] for each in rows[:0:-1]] + rows)


def read_by(
    maps: Sequence[Taps], scales: Array, spatial: Callable[[Sequence[int]], Array]
) -> Step | None:
    """The step of a linear map along each axis; None where it does not move along the positions.

    Args:
        maps: along each axis.
        scales: of the channels' covariances with others, (channels,).
        spatial: as `through` takes it.
    """
    found = [_moved(taps) for taps in maps]
    moves = [each for each in found if each is not None]
    if len(moves) < len(found) or math.prod(len(each) for each, *_ in moves) > _MOST_TAPS:
        return None
    offsets = np.array(list(itertools.product(*(each for each, *_ in moves))))
    amounts, shares = (
        functools.reduce(np.multiply.outer, [each[n] for each in moves], np.ones(())).ravel()
        for n in (1, 2)
    )
    strides, splits = [each[3] for each in moves], [each[4] for each in moves]
    weights = np.multiply.outer(amounts, scales)
    return Step(weights, offsets, strides, splits, shares, spatial)


def _moved(taps: Taps) -> tuple[Array, Array, Array, int, int] | None:
    """What a map reads, as `Step` says it: offsets, their weights and shares, s and u."""
    reads, real, number = taps.reads, taps.weights != 0, len(taps.reads)
    whole = real.all(1)
    for split in range(1, min(_MOST_SPLITS, number - 1) + 1):
        both = whole[split:] & whole[:-split]
        moves, times = np.unique((reads[split:, 0] - reads[:-split, 0])[both], return_counts=True)
        if len(moves) and moves[times.argmax()] > 0 and times.max() > _MOSTLY * times.sum():
            stride = int(moves[times.argmax()])
            break
    else:
        if number > 1:
            return None
        stride = split = 1
    offsets = split * reads - stride * np.arange(number)[:, None]
    every, place, times = np.unique(offsets[real], return_inverse=True, return_counts=True)
    amounts = np.bincount(place, taps.weights[real]) / times
    return every, amounts, times / number, stride, split


def largest_of(
    channels: Channels,
    maps: Sequence[Taps],
    top: Array,
    number: int,
    spatial: Callable[[Sequence[int]], Array],
) -> Channels:
    """The largest entry of windows.

    The Gaussians of a window are √ρ·U + √(1 − ρ)·V_i, and what two channels have in common at the
    same position beyond what they have at two is in common to their V (as in `pooling`).

    Args:
        channels: of the entries.
        maps, spatial: as `averaged` takes them.
        top: the largest of the Gaussians as a function of one, on the grid.
        number: of the entries of a window.
    """
    rows = np.sort(channels.rows())
    latent = channels.latent_correlations()
    tops = [top] * channels.count
    if latent.ndim > 2 and number > 1:
        of_windows = averaged(replace(channels, covariances=latent), maps, spatial)
        inner = (number * np.diagonal(central(of_windows)) - 1) / (number - 1)
        tops = [marginals.largest(number, round(50 * max(each, 0.0)) / 50) for each in inner]
    values = np.array([np.interp(top, GRID, row) for top, row in zip(tops, rows, strict=True)])
    means = values @ WEIGHTS
    if number > 1:
        here = central(latent)
        latent = averaged(replace(channels, covariances=latent), maps, spatial)
        middle = central(latent)
        own = (here - middle) * number / (number - 1)
        # The average has the linear part of what two maxima have in common.
        related = correlations(own, np.maximum(np.diagonal(own), 1e-12))
        square, cube = gaussian.covariance_of_maxima(number)
        middle += own * related * (square + cube * related)
        latent = correlations(latent, np.maximum(np.diagonal(middle), 1e-12))
    found = of_rows(values, means, np.maximum(values**2 @ WEIGHTS - means**2, 0.0), latent)
    # Each entry is the largest as often: E f′(max V)/E f′(V) of what it has in common with others.
    rising, slopes = np.gradient(rows, GRID, axis=1), rows @ (GRID * WEIGHTS)
    risen = [np.interp(top, GRID, row) @ WEIGHTS for top, row in zip(tops, rising, strict=True)]
    slopes = np.divide(risen, slopes, out=np.zeros(len(slopes)), where=slopes > 1e-12)
    step = read_by(maps, slopes, spatial)
    made_of = () if step is None else channels.followed_by(step)
    return replace(found, made_of=made_of, bend=bend_of(None, found))
