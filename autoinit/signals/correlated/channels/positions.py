"""Channels over positions: averages and largest entries of windows, and flattened maps (L)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from autoinit.quadrature import gaussian
from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.channels import (
    Channels,
    central,
    correlations,
    extended,
    of_rows,
)
from autoinit.signals.correlated.marginals import GRID, WEIGHTS
from autoinit.signals.geometry import Taps
from autoinit.signals.signal import Array


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
    places = math.prod(sizes)
    wide = extended(channels.covariances, spatial)
    at = np.indices(sizes).reshape(len(sizes), -1)
    apart = at[:, None, :] - at[:, :, None] + (np.array(sizes) - 1)[:, None, None]
    pairs = wide[tuple(apart)]  # positions, positions, channels, channels
    pairs = pairs * np.multiply.outer(deviations, deviations)[..., None, None]
    whole = pairs.transpose(0, 2, 1, 3).reshape((places * channels.count,) * 2)
    return Channels((means[:, None] + channels.means).ravel(), whole)


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
    channels: Channels, maps: Sequence[tuple[int, int, int]], spatial: Callable[..., Array]
) -> Array:
    """Covariances of averages over windows.

    Args:
        channels: of the entries.
        maps: along each axis how many entries a window has, how far apart two windows are, and
            how many windows there are.
        spatial: as `through` takes it.
    """
    known = channels.covariances
    have = [size // 2 for size in known.shape[:-2]] or [0] * len(maps)
    known = known if known.ndim > 2 else known[(None,) * len(maps)]
    matrices, reach = [], []
    for (taps, step, number), half in zip(maps, have, strict=True):
        radius = min(number - 1, max(half - taps + 1, 0) // step)
        most = max(step * radius + taps - 1, half)
        apart = np.arange(-most, most + 1) - step * np.arange(-radius, radius + 1)[:, None]
        matrices.append(np.maximum(taps - np.abs(apart), 0) / taps**2)
        reach.append(most)
    beyond = np.asarray(spatial(reach)).copy()
    beyond[
        tuple(slice(most - half, most + half + 1) for most, half in zip(reach, have, strict=True))
    ] = 0.0
    result = known
    for axis, (matrix, most, half) in enumerate(zip(matrices, reach, have, strict=True)):
        inner = matrix[:, most - half : most + half + 1]
        result = np.moveaxis(np.tensordot(inner, result, (1, axis)), 0, axis)
        beyond = np.moveaxis(np.tensordot(matrix, beyond, (1, axis)), 0, axis)
    return result + np.multiply.outer(beyond, channels.at_same_position)


def largest_of(
    channels: Channels,
    maps: Sequence[tuple[int, int, int]] | None,
    top: Array,
    number: int,
    spatial: Callable[[Sequence[int]], Array],
) -> Channels:
    """The largest entry of windows.

    The Gaussians of a window are √ρ·U + √(1 − ρ)·V_i, and what two channels have in common at the
    same position beyond what they have at two is in common to their V (as in `pooling`).

    Args:
        channels: of the entries.
        maps, spatial: as `averaged` takes them; None for other windows.
        top: the largest of the Gaussians as a function of one, on the grid.
        number: of the entries of a window.
    """
    rows = np.sort(channels.rows())
    latent = channels.latent_correlations()
    tops = [top] * channels.count
    if maps is not None and latent.ndim > 2 and number > 1:
        of_windows = averaged(replace(channels, covariances=latent), maps, spatial)
        inner = (number * np.diagonal(central(of_windows)) - 1) / (number - 1)
        tops = [marginals.largest(number, round(50 * max(each, 0.0)) / 50) for each in inner]
    values = np.array([np.interp(top, GRID, row) for top, row in zip(tops, rows, strict=True)])
    means = values @ WEIGHTS
    if maps is None or number < 2:
        latent = central(latent)
    else:
        here = central(latent)
        latent = averaged(replace(channels, covariances=latent), maps, spatial)
        middle = central(latent)
        own = (here - middle) * number / (number - 1)
        middle += own * (gaussian.maximum_of(number)[1] - 1 / number)
        latent = correlations(latent, np.maximum(np.diagonal(middle), 1e-12))
    return of_rows(values, means, np.maximum(values**2 @ WEIGHTS - means**2, 0.0), latent)


def window_of(taps: Taps) -> tuple[int, int, int] | None:
    """Entries of a window, how far apart two are and how many there are; None for other maps."""
    number, count = taps.reads.shape
    firsts = taps.reads[:, 0]
    step = int(firsts[1] - firsts[0]) if number > 1 else 1
    beside = firsts[0] + step * np.arange(number)[:, None] + np.arange(count)
    alike = np.array_equal(beside, taps.reads) and np.allclose(taps.weights, 1 / count)
    return (count, step, number) if alike and step > 0 else None
