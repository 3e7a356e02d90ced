"""Linear maps over positions, and the largest entries of windows (A and B)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from autoinit.quadrature import gaussian
from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.marginals import GRID, STANDARD, Marginal
from autoinit.signals.correlated.pairs import (
    at_diagonal,
    diagonal,
    each_with_each,
    mapped_along,
)
from autoinit.signals.correlated.positions import window_pairs
from autoinit.signals.geometry import Taps, Windows
from autoinit.signals.signal import Array

if TYPE_CHECKING:
    from autoinit.signals.correlated.state import CorrelatedSignal


def resampled(signal: CorrelatedSignal, maps: Sequence[Taps]) -> CorrelatedSignal:
    """Linear maps along the axes; the entries move or are averaged."""
    if signal.axes is None or len(maps) != len(signal.axes):
        signal = signal.arrange([taps.size for taps in maps])
    moves = signal.applied(maps)
    result = type(signal)(
        tuple(m.output for m in moves),
        mapped_along(signal.means, [m.singles for m in moves]),
        mapped_along(signal.cov_positions, [m.pairs for m in moves]),
        mapped_along(signal.cov_samples, [m.pairs for m in moves]),
        STANDARD,
        # The same operation on the same tensor gives the same tensor.
        ("resample", signal.identity, *(taps.key for taps in maps)),
        log_variance=signal.log_variance,
    )
    same = all(taps.moves for taps in maps)
    return replace(
        result, stored_marginal=signal.marginal if same else _averaged_marginal(signal, result)
    )


def _averaged_marginal(signal: CorrelatedSignal, mean: CorrelatedSignal) -> Marginal:
    """What the entries of a window share keeps its distribution, the rest turns Gaussian.

    The mean of a typical sample is shared by all of its entries.
    """
    if signal.marginal is STANDARD:
        return STANDARD
    before = signal.average(signal.variances)
    left = mean.average(mean.variances) / before if before > 0 else 0.0
    means, functions = signal.marginal.means[:, None], signal.marginal.functions
    common = float((means**2).mean())
    shared = min(max((left - common) / (1 - common), 0.0), 1.0) if common < 1 else 0.0
    parts = math.sqrt(shared) * (functions - means), math.sqrt(1 - shared) * GRID
    scales = np.sqrt(np.maximum(signal.marginal.second_moments[:, None] - means**2, 0.0))
    if signal.marginal.is_gaussian:
        return signal.marginal
    rest = marginals.combined(np.add, parts[0], scales * parts[1])
    return marginals.standardized(means + math.sqrt(shared) * rest)


def maximum(signal: CorrelatedSignal, axes: tuple[Windows, ...]) -> CorrelatedSignal:
    """The largest of equicorrelated entries, in each window with its own correlation (A).

    The Gaussians of a window are √ρ·U + √(1 − ρ)·V_i: the largest has the variance
    ρ + (1 − ρ)·Var max V, and two windows share U as their entries do, and V where they
    overlap.
    """
    if signal.axes is None or len(signal.axes) != len(axes):
        return maximum(signal.arrange([int(windows.max()) + 1 for windows in axes]), axes)
    rank = len(axes)
    cov_positions, cov_samples = signal.latent()
    averages = [
        Taps.averaging(windows, axis.size) for windows, axis in zip(axes, signal.axes, strict=True)
    ]
    maps = signal.applied(averages)
    output = tuple(m.output for m in maps)
    numbers = np.array(1.0)
    for windows, axis in zip(axes, output, strict=True):
        number = (windows[axis.representatives] >= 0).sum(1)
        numbers = np.multiply.outer(numbers, number.astype(float))
    inside = [window_pairs(w, axis, rank) for w, axis in zip(axes, signal.axes, strict=True)]
    pairs = np.maximum(numbers * (numbers - 1), 1.0)
    counts = signal.means.shape
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
    latent = np.stack([
        (
            mapped_along(each, [m.pairs for m in maps])
            + own * same * (_root_product(spread * numbers) - 1)
        ) / scale
        for each, own in (
            (cov_positions, _root_product(1 - correlation)),
            (cov_samples, _root_product(np.clip(alone[1] - apart[1], 0.0, 1.0))),
        )
    ])  # fmt: skip

    means = mapped_along(signal.means, [m.singles for m in maps])
    deviations = np.sqrt(mapped_along(signal.variances, [m.singles for m in maps]))
    rising = np.sort(signal.marginal.functions)
    functions = np.empty((*means.shape, *rising.shape))
    for place in np.ndindex(means.shape):
        top = marginals.largest(int(numbers[place]), round(float(correlation[place]), 2))
        for typical, row in enumerate(rising):
            functions[(*place, typical)] = np.interp(top, GRID, row)
    functions = means[..., None, None] + deviations[..., None, None] * functions
    frame = type(signal)(output, means, same, same, STANDARD, log_variance=signal.log_variance)
    source = ("maximum", signal.identity, *(windows.tobytes() for windows in axes))
    return frame.from_functions(functions, np.clip(latent, -1.0, 1.0), source)


def _root_product(values: Array) -> Array:
    first, second = each_with_each(np.sqrt(np.maximum(values, 0.0)))
    return np.asarray(first * second)
