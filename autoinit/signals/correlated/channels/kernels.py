"""Kernels whose values are given, on channels of which each is known (L)."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autoinit.signals.correlated.channels.channels import (
    MANY_PAIRS,
    MOST,
    MOST_ENTRIES,
    Channels,
    extended,
)
from autoinit.signals.correlated.channels.paths import Step
from autoinit.signals.geometry import Windows, coverage
from autoinit.signals.signal import Array, KernelMoments

# Multiplications that a kernel may take.
_MOST_OPERATIONS = 1e9


@dataclass(frozen=True)
class Mixed:
    """What given weights make of channels.

    Attributes:
        covariances: of the result, on average over the positions that see what they see.
        taps: m_tu, the means of what each tap reads times its weights, (taps, units).
        step: what covariances with other channels become.
    """

    covariances: Array
    taps: Array
    step: Step


def through(
    channels: Channels, kernel: KernelMoments, spatial: Callable[[Sequence[int]], Array]
) -> Mixed | None:
    """A given kernel applied, or None where it is not one that moves along with the positions.

    Args:
        channels: of what it reads.
        kernel: whose values are known.
        spatial: gives correlations at displacements up to so many along each axis.
    """
    large = max(channels.count, kernel.units) ** 2 > MANY_PAIRS
    values: Array = np.asarray(kernel.values).astype(np.float32 if large else np.float64)
    if large:
        channels = replace(channels, covariances=channels.covariances.astype(np.float32))
    single, units = values.ndim == len(kernel.windows) + 1, values.shape[-1]
    read = 1 if single else values.shape[-2]
    groups = channels.count // read
    if channels.count % read or units > MOST or units % groups:
        return None
    found = [_offsets(windows) for windows in kernel.windows]
    moves = [move for move in found if move is not None]
    if len(moves) < len(found):
        return None
    # (taps, channels, units), or of one channel a unit (taps, units).
    weights = values.reshape(-1, units) if single else values.reshape(-1, read, units)
    if single:
        channels = _repeated(channels, units // groups)
    elif groups > 1:
        weights = _of_groups(weights, groups)
    means = channels.means if single else channels.means[:, None]
    sums = weights * means if single else (weights * means).sum(1)
    if not moves:
        whole = _times_left(weights[0], _times(channels.covariances, weights[0]))
        return Mixed(whole, sums, Step(weights))
    offsets = np.array(list(itertools.product(*(each for each, _, _ in moves))))
    steps = [(step, apart) for _, step, apart in moves]
    seen = _seen(kernel.windows).ravel()
    strides, splits = zip(*steps, strict=True)
    follows = Step(weights, offsets, strides, splits, seen, spatial)
    radii = _radii(channels.count, weights, kernel.windows)
    if not kernel.neighbors:
        radii = [0] * len(radii)
    if not radii:
        shares = [_shares(each, 0)[0] for each in kernel.windows]
        covariances = _without_neighbors(channels, weights, offsets, steps, shares, spatial)
        return Mixed(covariances, sums, follows)
    covariances = _with_neighbors(channels, weights, kernel.windows, offsets, steps, radii, spatial)
    return Mixed(covariances, sums, follows)


def means_of_units(taps: Array, windows: Sequence[Windows]) -> Array:
    """Over positions, from what each tap brings: (taps, units)."""
    return np.asarray(_seen(windows).ravel() @ taps)


def variance_of_means(taps: Array, windows: Sequence[Windows]) -> float:
    """Over positions, on average over units, from what each tap brings: (taps, units)."""
    both: Array = np.ones((1, 1))
    for each in windows:
        both = np.asarray(np.kron(both, coverage(each)), float)
    squares = np.einsum("tu,tu->u", taps, both @ taps)
    return max(float((squares - means_of_units(taps, windows) ** 2).mean()), 0.0)


def _seen(windows: Sequence[Windows]) -> Array:
    """Shares of the positions at which each tap reads real input, (taps…)."""
    return functools.reduce(
        np.multiply.outer, [(each >= 0).mean(0) for each in windows], np.ones(())
    )


def _with_neighbors(
    channels: Channels,
    weights: Array,
    windows: Sequence[Windows],
    offsets: Array,
    steps: Sequence[tuple[int, int]],
    radii: Sequence[int],
    spatial: Callable[[Sequence[int]], Array],
) -> Array:
    """Σ_tt′ f(δ, t, t′)·w_tᵀ·Γ((s·δ + o_t′ − o_t)/u)·w_t′ at displacements δ.

    f is the share of the pairs of positions of which the one reads with t and the other with t′.
    """
    reach = np.ptp(offsets, 0)
    wide = [
        -(-(step * r + int(most)) // apart)
        for (step, apart), r, most in zip(steps, radii, reach, strict=True)
    ]
    every = extended(channels.covariances, spatial(wide))
    shares = [_shares(each, radius) for each, radius in zip(windows, radii, strict=True)]
    taps = list(np.ndindex(*(each.shape[1] for each in windows)))
    right = [_times(every, weight) for weight in weights]
    units = weights.shape[-1]
    result = np.zeros((*(2 * radius + 1 for radius in radii), units, units))
    step, apart = np.array(steps).T
    # All displacements along the last axis together.
    last = step[-1] * np.arange(-radii[-1], radii[-1] + 1)
    for place in np.ndindex(result.shape[:-3]):
        start = step * (np.array([*place, radii[-1]]) - radii)
        for number, (one, weight) in enumerate(zip(taps, weights, strict=True)):
            total = np.zeros((result.shape[-3], *right[0].shape[-2:]))
            for other, (two, products) in enumerate(zip(taps, right, strict=True)):
                share = math.prod(
                    each[d, t, u] for each, d, t, u in zip(shares, place, one, two, strict=False)
                )
                if share:
                    of_last = share * shares[-1][:, one[-1], two[-1]]
                    between = start + offsets[other] - offsets[number]
                    # Where that is no whole number, no pair reads so: the share is 0.
                    *at, _ = between // apart + wide
                    along = (last + between[-1]) // apart[-1] + wide[-1]
                    total += of_last[:, None, None] * products[tuple(at)][along]
            result[place] += _times_left(weight, total)
    return result


def _shares(windows: Windows, radius: int) -> Array:
    """Of pairs of positions of which the first reads with one tap and the second with another."""
    real, size = (windows >= 0).astype(float), len(windows)
    parts = [
        (real[max(-d, 0) : size - max(d, 0)], real[max(d, 0) : size - max(-d, 0)])
        for d in range(-radius, radius + 1)
    ]
    return np.array([first.T @ second / len(first) for first, second in parts])


def _times(covariances: Array, weights: Array) -> Array:
    return covariances * weights if weights.ndim == 1 else covariances @ weights


def _times_left(weights: Array, values: Any) -> Any:
    return weights[:, None] * values if weights.ndim == 1 else weights.T @ values


def _without_neighbors(
    channels: Channels,
    weights: Array,
    offsets: Array,
    steps: Sequence[tuple[int, int]],
    shares: Sequence[Array],
    spatial: Callable[[Sequence[int]], Array],
) -> Array:
    """At the same position only; neighbours correlate alike in all pairs of channels."""
    _, apart = np.array(steps).T
    reach = -(-np.ptp(offsets, 0) // apart)
    between = (offsets[None] - offsets[:, None]) // apart + reach
    related = spatial(reach)[tuple(np.moveaxis(between, -1, 0))]
    for axis, each in enumerate(shares):
        index = np.array([*np.ndindex(*(len(share) for share in shares))])[:, axis]
        related = related * each[np.ix_(index, index)]
    roots, vectors = np.linalg.eigh(related)
    covariances = channels.at_same_position
    result = np.zeros((weights.shape[-1],) * 2)
    for root, vector in zip(roots, vectors.T, strict=True):
        if root > 1e-6 * roots[-1]:
            mixed = np.tensordot(vector, weights, 1)
            result += root * _times_left(mixed, _times(covariances, mixed))
    return result


def _radii(count: int, weights: Array, windows: Sequence[Windows]) -> list[int]:
    """Displacements that are carried along each axis; none where even few would be too many."""
    taps, units, single = len(weights), weights.shape[-1], weights.ndim == 2
    sizes = [len(each) for each in windows]
    for radius in range(max(sizes, default=0) - 1, 0, -1):
        radii = [min(radius, size - 1) for size in sizes]
        carried = math.prod(2 * each + 1 for each in radii)
        entries = carried * taps * max(count * (1 if single else units), units * taps // 4)
        operations = 2 * carried * taps * units * (taps + (1 if single else count + units))
        if (
            carried * max(units, count) ** 2 <= MOST_ENTRIES
            and entries * 2 <= 16 * MOST_ENTRIES
            and operations * units <= _MOST_OPERATIONS
        ):
            return radii
    return []


def _offsets(windows: Windows) -> tuple[Array, int, int] | None:
    """What each tap reads, u·index = s·position + offset: the offsets, s and u.

    s is the stride of a convolution, u that of a transposed one.
    """
    real = windows >= 0
    at = [np.flatnonzero(column)[:2] for column in real.T]
    steps = [
        (int(windows[rows[1], tap] - windows[rows[0], tap]), int(rows[1] - rows[0]))
        for tap, rows in enumerate(at)
        if len(rows) > 1
    ]
    step, apart = max(set(steps), key=steps.count) if steps else (1, 1)
    moved = apart * windows - step * np.arange(len(windows))[:, None]
    offsets = np.where(real, moved, np.iinfo(np.int64).min).max(0)
    seen = real.any(0)
    offsets = np.where(seen, offsets, 0)
    # A tap that reads padding everywhere is as if it were not there.
    fits = bool((~real | (moved == offsets)).all()) and bool(seen.any())
    return (offsets.astype(np.int64), step, apart) if fits else None


def _repeated(channels: Channels, times: int) -> Channels:
    index = np.repeat(np.arange(channels.count), times)
    pairs = channels.covariances[..., index[:, None], index]
    return Channels(channels.means[index], pairs)


def _of_groups(weights: Array, groups: int) -> Array:
    """Kernels of groups of channels as one of all of them: (taps, channels, units)."""
    taps, read, units = weights.shape
    whole = np.zeros((taps, groups, read, groups, units // groups))
    split = weights.reshape(taps, read, groups, -1)
    for group in range(groups):
        whole[:, group, :, group] = split[:, :, group]
    return whole.reshape(taps, groups * read, units)
