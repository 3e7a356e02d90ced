"""States of samples that were measured, and samples of states: in and out of a sampled layer.

What a recurrent layer returns correlates over its steps, and a second one sums over them: fed with
independent steps it would return far too little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from autoinit.signals.correlated.channels.channels import (
    MOST,
    MOST_ENTRIES,
    Channels,
    central,
    of_functions,
    root,
)
from autoinit.signals.correlated.known import agreeing, uneven
from autoinit.signals.correlated.marginals import GRID, STANDARD
from autoinit.signals.correlated.operations.linear import affine
from autoinit.signals.correlated.operations.reshape import flatten
from autoinit.signals.correlated.pairs import Array, as_matrix, diagonal, each_with_each, products
from autoinit.signals.correlated.positions import Axis, axes_of
from autoinit.signals.correlated.state import Annotations, State

# Of the variance: covariances below it are what so many samples leave of none.
_NOTHING = 0.01
# Entries of a sample of which each pair has a covariance of its own.
_MOST_UNITS = 1024


def of_samples(mean: float, variance: float, values: Array, groups: int = 1) -> State:
    """Covariances over positions and over samples as they are in samples.

    Args:
        mean, variance: known from more than these samples.
        values: (samples, positions…, channels).
        groups: equal numbers of samples, one after the other, that have nothing in common.
    """
    samples, *sizes, channels = values.shape
    known = _channels(mean, variance, values)
    samples, channels = samples // groups, channels * groups
    if samples < 2 or not (math.isfinite(variance) and variance > 0):
        return State.gaussian(mean, variance)
    axes = axes_of(tuple(sizes))
    variances = np.square(values - values.mean()).mean((0, -1), dtype=np.float64)
    for place, axis in enumerate(axes, 1):
        values = np.take(values, axis.representatives, place)
    counts = [axis.count for axis in axes]
    rows = np.moveaxis(values.astype(np.float64), -1, 0).reshape(channels, samples, -1)
    rows = rows - rows.mean((0, 1))
    same = products(
        rows.reshape(channels * samples, -1), rows.reshape(channels * samples, -1), counts
    )
    total = products(rows.sum(1), rows.sum(1), counts)
    cov_positions = same / (channels * samples)
    cov_samples = (total - same) / (channels * samples * (samples - 1))
    typical = float(diagonal(cov_positions, counts).mean())
    if not typical > 0:
        return State.gaussian(mean, variance)
    # A representative has the variance that those it stands for have on average.
    for place, axis in enumerate(axes):
        variances = _averaged(variances, axis, place)
    with np.errstate(divide="ignore", invalid="ignore"):
        scales = np.nan_to_num(np.sqrt(variances / diagonal(cov_positions, counts)), posinf=0.0)
    first, second = each_with_each(scales)
    cov_positions, cov_samples = first * second * cov_positions, first * second * cov_samples
    cov_samples = np.where(np.abs(cov_samples) < _NOTHING * typical, 0.0, cov_samples)
    state = State(
        axes,
        np.zeros(counts),
        cov_positions,
        cov_samples,
        STANDARD,
        notes=Annotations(latent_is_gaussian=True),
    )
    state = affine(state, math.sqrt(variance / state.variance), mean)
    return state if known is None else agreeing(state, known.shared, known)


def _channels(mean: float, variance: float, values: Array) -> Channels | None:
    """What samples tell of each channel of a layer whose weights are given."""
    *places, count = values.shape[1:]
    if not 1 < count <= MOST:
        return None
    rows = values.reshape(-1, count).astype(np.float64)
    means = rows.mean(0)
    centered = (rows - means).reshape(len(values), -1, count)
    if len(places) == 1 and (2 * places[0] - 1) * count**2 <= MOST_ENTRIES:
        covariances = np.array([_beside(centered, apart) for apart in range(places[0])])
        covariances = np.concatenate([covariances[:0:-1].swapaxes(-1, -2), covariances])
    else:
        covariances = np.einsum("npc,npd->cd", centered, centered, optimize=True) / len(rows)
    total = float(np.trace(central(covariances))) / count + float(means.var())
    if not total > 0:
        return None
    scale = math.sqrt(variance / total)
    return Channels(
        mean + scale * (means - means.mean()),
        scale**2 * covariances,
        samples=(scale * (values - means)).astype(np.float32),
    )


def _beside(values: Array, apart: int) -> Array:
    """Covariances of channels at a position with these so many positions after it."""
    first, second = values[:, : values.shape[1] - apart], values[:, apart:]
    pairs = len(values) * first.shape[1]
    return np.asarray(np.einsum("npc,npd->cd", first, second, optimize=True) / pairs)


def _averaged(values: Array, axis: Axis, place: int) -> Array:
    """Averages over the positions that each representative of an axis stands for."""
    kinds = axis.singles(np.arange(axis.size))
    shares = np.stack([kinds == kind for kind in axis.singles(axis.representatives)]).astype(float)
    shares /= shares.sum(1, keepdims=True)
    return np.moveaxis(np.tensordot(shares, values, (1, place)), 0, place)


def entries_of(state: State) -> Channels | None:
    """All entries of a sample as channels, each with each; None where they are too many.

    Channels may remember for longer or shorter, over positions.
    """
    known, counts = state.channels, state.means.shape
    if known is None or not counts or math.prod(state.sizes) * known.count > _MOST_UNITS:
        return None
    units = flatten(state).channels
    if known.functions is None or units is None:
        return units
    rows = _at_positions(state, known, known.functions.T).reshape(len(GRID), -1).T
    if units.bend is not None:
        return replace(units, functions=rows, latent=units.bend.latent)
    return of_functions(units, rows)


def _at_positions(state: State, known: Channels, values: Array) -> Array:
    """Entries of channels, (samples, …, channels), as they are at each real position.

    Returns:
        (samples, positions…, channels).
    """
    counts = state.means.shape
    places = np.ix_(*(axis.singles(np.arange(axis.size)) for axis in state.axes or ()))
    spread, relative, means = (
        np.expand_dims(each[places] if counts else each, -1)
        for each in (*uneven(state), state.means)
    )
    if values.ndim <= len(counts) + 1:
        values = np.expand_dims(values, tuple(range(1, len(counts) + 1)))
    away = spread * (known.means - known.means.mean())
    placed = means + away + relative * (values - known.means)
    return np.where(values == 0.0, 0.0, placed)  # what a ReLU left nothing of


def drawn(
    state: State, generator: Generator, shape: Sequence[int], entries: Callable[[], Channels | None]
) -> Array | None:
    """Samples with a state's distribution; None for Gaussians that have nothing in common.

    Covariances are taken as products over the axes.

    Args:
        state: to draw from.
        generator: of the numbers.
        shape: (samples, positions…, channels).
        entries: gives `entries_of` the state.
    """
    counts = state.means.shape
    known = state.channels
    if known is not None and known.count == shape[-1] and state.sizes == tuple(shape[1:-1]):
        return _of_channels(state, known, generator, shape, entries)
    if not state.marginal.is_gaussian and state.sizes == tuple(shape[1:-1]):
        return _of_functions(state, generator, shape)
    shared = state.average(diagonal(state.cov_samples, counts))
    apart = state.cov_positions - state.cov_samples
    own = state.average(diagonal(apart, counts))
    matrix = as_matrix(apart, counts)
    alike = bool(np.any(matrix - np.diag(np.diag(matrix)))) or abs(shared) > _NOTHING * own
    if not alike or state.sizes != tuple(shape[1:-1]) or not own >= 0:
        return None
    values = generator.standard_normal(shape)
    values = _with_covariances(state, values, apart, own)
    if state.marginal.is_gaussian and len(state.marginal.functions) > 1:
        # Samples differ in their second moments, less what all of them share.
        moments = generator.choice(
            state.marginal.second_moments, (shape[0],) + (1,) * (len(shape) - 1)
        )
        values = values * np.sqrt(np.maximum((moments * (own + shared) - shared) / own, 0.0))
    if shared > _NOTHING * own:
        common = generator.standard_normal((1, *shape[1:]))
        values = values + _with_covariances(state, common, state.cov_samples, shared)
    return np.asarray(values + state.mean)


def _of_functions(state: State, generator: Generator, shape: Sequence[int]) -> Array:
    """Functions of Gaussians that correlate, in each sample one of those that samples may have."""
    counts, nodes = state.means.shape, state.marginal.functions
    within, between = state.latent()
    own, shared = (
        state.average(np.maximum(diagonal(pairs, counts), 0.0))
        for pairs in (within - between, between)
    )
    values = _with_covariances(state, generator.standard_normal(shape), within - between, own)
    if shared > _NOTHING * own:
        common = generator.standard_normal((1, *shape[1:]))
        values = values + _with_covariances(state, common, between, shared)
    chosen = generator.integers(len(nodes), size=shape[0])
    for node, function in enumerate(nodes):
        values[chosen == node] = np.interp(values[chosen == node], GRID, function)
    places = np.ix_(*(axis.singles(np.arange(axis.size)) for axis in state.axes or ()))
    means, deviations = (
        np.expand_dims(each[places] if counts else each, -1)
        for each in (state.means, state.deviations)
    )
    return np.asarray(means + deviations * values)


def _of_channels(
    state: State,
    known: Channels,
    generator: Generator,
    shape: Sequence[int],
    entries: Callable[[], Channels | None],
) -> Array:
    """Samples that there are, or else Gaussian ones with the channels' moments."""
    counts = state.means.shape
    samples, *sample = shape
    kept = known.samples
    # Repeated or pooled, they are other samples of the same channels.
    if kept is not None and list(kept.shape[1:]) == sample and len(kept) >= samples:
        return np.asarray(known.means + generator.choice(kept, samples, replace=False))
    values = generator.standard_normal(shape)
    every = entries()
    if every is not None:
        return every.drawn(values.reshape(samples, -1)).reshape(values.shape)
    within = state.cov_positions - known.shared
    typical = state.average(diagonal(within, counts))
    if typical > 0:
        values = _with_covariances(state, values, within, typical) / math.sqrt(typical)
    return _at_positions(state, known, known.drawn(values))


def _with_covariances(state: State, values: Array, pairs: Array, variance: float) -> Array:
    """Independent entries of variance 1 as ones with these covariances."""
    if not variance > 0:
        return np.zeros_like(values)
    for place, axis in enumerate(state.axes or ()):
        every = np.arange(axis.size)
        along = _along(state, pairs, place)
        matrix = along[axis.pairs(every[:, None], every[None, :])] / variance
        values = np.moveaxis(np.tensordot(root(matrix), values, (1, place + 1)), 0, place + 1)
    return math.sqrt(variance) * values


def _along(state: State, pairs: Array, place: int) -> Array:
    """Covariances of positions that differ along one axis only, averaged over the others."""
    for other, axis in enumerate(state.axes or ()):
        if other != place:
            same = np.take(pairs, np.arange(axis.count) * (axis.count + 1), other)
            pairs = np.average(same, other, axis.shares, keepdims=True)
    return pairs.reshape(-1)
