"""Averages, and the largest entries of windows (A and B)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from autoinit.quadrature import gaussian
from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.channels import Channels
from autoinit.signals.correlated.channels.entries import largest, settled
from autoinit.signals.correlated.channels.positions import largest_of
from autoinit.signals.correlated.known import agreeing, spatial_correlations
from autoinit.signals.correlated.marginals import GRID, STANDARD
from autoinit.signals.correlated.operations.elementwise import (
    at_uneven_positions,
    grouped,
    of_functions,
    variance_of_means,
)
from autoinit.signals.correlated.operations.linear import linear_map
from autoinit.signals.correlated.operations.reshape import arrange
from autoinit.signals.correlated.pairs import at_diagonal, diagonal, each_with_each, mapped_along
from autoinit.signals.correlated.positions import Axis, SpatialMap, maps_along, window_pairs
from autoinit.signals.correlated.state import State
from autoinit.signals.geometry import Taps, Windows
from autoinit.signals.signal import Array, next_identity

# Of a deviation, by which entries at different positions may differ and count as alike.
_ALIKE = 0.01


def average_pool(state: State, axes: tuple[Windows, ...]) -> State:
    """Averages keep what is shared and divide the rest (B)."""
    sizes = state.sizes
    if state.axes is None or len(sizes) != len(axes):
        sizes = tuple(int(windows.max()) + 1 for windows in axes)
    averages = [Taps.averaging(each, size) for each, size in zip(axes, sizes, strict=True)]
    return linear_map(arrange(state, sizes), averages)


def max_pool(state: State, axes: tuple[Windows, ...]) -> State:
    """The largest of equicorrelated entries, in each window with its own correlation (A).

    The Gaussians of a window are √ρ·U + √(1 − ρ)·V_i: the largest has the variance
    ρ + (1 − ρ)·Var max V, and two windows share U as their entries do, and V where they
    overlap.
    """
    if state.axes is None or len(state.axes) != len(axes):
        return max_pool(arrange(state, [int(windows.max()) + 1 for windows in axes]), axes)
    rank = len(axes)
    known = state.channels
    cov_positions, cov_samples = state.latent_in_channels(known) if known else state.latent()
    averages = [
        Taps.averaging(windows, axis.size) for windows, axis in zip(axes, state.axes, strict=True)
    ]
    maps = maps_along(averages, state.axes)
    output = tuple(m.output for m in maps)
    numbers = np.array(1.0)
    for windows, axis in zip(axes, output, strict=True):
        number = (windows[axis.representatives] >= 0).sum(1)
        numbers = np.multiply.outer(numbers, number.astype(float))
    inside = [window_pairs(w, axis, rank) for w, axis in zip(axes, state.axes, strict=True)]
    pairs = np.maximum(numbers * (numbers - 1), 1.0)
    counts = state.means.shape
    alone = [
        mapped_along(diagonal(each, counts), [m.singles for m in maps])
        for each in (cov_positions, cov_samples)
    ]
    apart = [
        np.where(numbers > 1, (mapped_along(each, inside) - numbers * own) / pairs, own)
        for each, own in zip((cov_positions, cov_samples), alone, strict=True)
    ]
    correlation = np.clip(apart[0], 0.0, 1.0)
    spread = np.vectorize(lambda number: gaussian.maximum_of(int(number))[1])(numbers)

    itself = at_diagonal(np.zeros_like(cov_positions), np.ones(counts))
    same = mapped_along(itself, [m.pairs for m in maps])  # entries of both windows / K²
    scale = _root_product(correlation + (1 - correlation) * spread)
    scale = np.where(scale > 0, scale, 1.0)
    # What an entry has of its own, by its excess over its neighbours, the largest has too.
    latent = np.stack(
        [
            (
                mapped_along(each, [m.pairs for m in maps])
                + own * same * (_root_product(spread * numbers) - 1)
            )
            / scale
            for each, own in (
                (cov_positions, _root_product(1 - correlation)),
                (cov_samples, _root_product(np.clip(alone[1] - apart[1], 0.0, 1.0))),
            )
        ]
    )

    if known is not None:
        return _of_channels(
            state, known, output, numbers, correlation, same, latent, maps, averages, axes
        )
    functions = _in_windows(np.sort(state.functions()), maps)
    for place in np.ndindex(numbers.shape):
        top = marginals.largest(int(numbers[place]), round(float(correlation[place]), 2))
        for node, row in enumerate(functions[place]):
            functions[(*place, node)] = np.interp(top, GRID, row)
    latent_id = ("max_pool", state.identity, *(windows.tobytes() for windows in axes))
    frame = State(output, np.zeros(numbers.shape), same, same, STANDARD)
    notes = state.notes.keep("log_variance")
    return of_functions(frame, functions, np.clip(latent, -1.0, 1.0), latent_id, notes)


def _of_channels(
    state: State,
    known: Channels,
    output: tuple[Axis, ...],
    numbers: Array,
    correlation: Array,
    same: Array,
    latent: Array,
    maps: Sequence[SpatialMap],
    averages: Sequence[Taps],
    axes: tuple[Windows, ...],
) -> State:
    """Of channels that are known, and of groups of them at each position."""
    functions = _in_windows(np.sort(grouped(state, known)), maps)
    tops = [
        marginals.largest(int(number), round(float(apart), 2))
        for number, apart in zip(numbers.flat, correlation.flat, strict=True)
    ]
    for top, place in zip(tops, np.ndindex(numbers.shape), strict=True):
        for group, row in enumerate(functions[place]):
            functions[(*place, group)] = np.interp(top, GRID, row)
    frame = State(output, np.zeros(numbers.shape), same, same, STANDARD)
    notes = state.notes.keep("log_variance", "latent_is_gaussian", "given_kernels")
    result = of_functions(
        frame, functions, np.clip(latent, -1.0, 1.0), next_identity(), notes, of_channels=True
    )
    typical = marginals.largest(
        round(float(result.average(numbers))), round(float(result.average(correlation)), 2)
    )
    shared = variance_of_means(functions)
    spatial = functools.partial(spatial_correlations, state, known.shared)
    number = round(float(result.average(numbers)))
    found = largest_of(known, averages, typical, number, spatial)
    entries = known.entries
    if entries is not None and entries.sizes == state.sizes:
        found = settled(replace(found, entries=largest(entries, axes)))
    else:
        alike = [np.interp(typical, GRID, row) for row in np.sort(known.groups())]
        found = at_uneven_positions(found, result, functions, np.array(alike))
    return agreeing(replace(result, stored_marginal=None), shared, found)


def _in_windows(rising: Array, maps: Sequence[SpatialMap]) -> Array:
    """Distributions of an entry of each window, whatever its position.

    Args:
        rising: at each position, (positions…, rows, grid).
        maps: averages over the windows, along each axis.
    """
    average = rising
    for axis, each in enumerate(maps):
        average = np.moveaxis(np.tensordot(each.singles, average, (1, axis)), 0, axis)
    scale = math.sqrt(float((rising**2 @ marginals.WEIGHTS).mean()))
    if float(np.ptp(rising, tuple(range(len(maps)))).max()) <= _ALIKE * scale:
        return average
    for place in np.ndindex(average.shape[:-2]):
        shares = [each.singles[at] for each, at in zip(maps, place, strict=True)]
        window = np.ix_(*(np.flatnonzero(each) for each in shares))
        weights = functools.reduce(np.multiply.outer, shares, np.ones(()))[window].ravel()
        rows = rising[window].reshape(len(weights), *rising.shape[-2:]).swapaxes(0, 1)
        every = np.multiply.outer(weights, marginals.WEIGHTS).ravel()
        average[place] = marginals.quantiles(rows.reshape(len(rows), -1), every)
    return average


def _root_product(values: Array) -> Array:
    first, second = each_with_each(np.sqrt(np.maximum(values, 0.0)))
    return np.asarray(first * second)
