"""States whose channels are known (L): the two are brought to agree, and a kernel is applied."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from autoinit.signals.correlated.channels import entries as every_entry
from autoinit.signals.correlated.channels.channels import Channels, Entries, exchangeable
from autoinit.signals.correlated.channels.kernels import means_of_units, through, variance_of_means
from autoinit.signals.correlated.channels.paths import Step
from autoinit.signals.correlated.channels.skewness import is_sum, skewed
from autoinit.signals.correlated.pairs import (
    as_matrix,
    as_pairs,
    at_diagonal,
    diagonal,
    each_with_each,
    mapped_along,
    products,
)
from autoinit.signals.correlated.positions import Axis, SpatialMap
from autoinit.signals.correlated.state import Annotations, State
from autoinit.signals.signal import Array, BiasMoments, KernelMoments


def exchangeable_of(state: State, count: int) -> Channels | None:
    """So many channels of which no more is known than a state says."""
    apart = state.notes.cov_channels
    others = state.average(diagonal(apart[0], state.means.shape)) if apart else 0.0
    return exchangeable(count, state.mean, state.variance, others)


def participation(state: State, count: int) -> float:
    """What part of the channels' variance one direction has, tr Γ²/(tr Γ)²: 1/n of n alike."""
    known = state.channels
    if known is None or not known.variance > 0:
        return 1 / count
    total = known.count * known.variance
    return float((known.at_same_position**2).sum()) / total**2


def agreeing(state: State, shared: float, channels: Channels) -> State:
    """A state with the mean and the variance of its channels, whose positions are as they were.

    Args:
        state: of the tensor.
        shared: what is in its covariances of the channels' means.
        channels: of the same tensor.
    """
    away = state.means - state.mean
    before = state.average(state.variances - shared + away * away)
    factor = max(channels.variance / before, 0.0) if before > 0 else 0.0
    cov_positions, cov_samples = (
        factor * (pairs - shared) + channels.shared
        for pairs in (state.cov_positions, state.cov_samples)
    )
    # A position of constants has no variance, but for rounding.
    variances = np.maximum(diagonal(cov_positions, state.means.shape), 0.0)
    cov_positions = at_diagonal(cov_positions, variances)
    entries = channels.entries
    if entries is not None and entries.sizes == state.sizes and state.axes:
        return _of_entries(state, channels, entries)
    channels = replace(channels, entries=None)
    result = replace(
        state,
        means=float(channels.means.mean()) + math.sqrt(factor) * away,
        cov_positions=cov_positions,
        cov_samples=cov_samples,
        notes=replace(state.notes, channels=channels, known_channels=True),
    )
    return _spread(_with_neighbors(result, channels))


def _of_entries(state: State, channels: Channels, entries: Entries) -> State:
    """With means and covariances over positions as they are on average over channels."""
    axes, places, count = state.axes or (), entries.places, channels.count
    every = np.ix_(*(axis.representatives for axis in axes))
    chosen = np.arange(places).reshape(entries.sizes)[every].ravel()
    counts = [axis.count for axis in axes]
    rows = entries.each.means.reshape(places, count)[chosen]
    means = rows.mean(1)
    pairs = entries.each.covariances.reshape(places, count, places, count)
    own = np.zeros((len(chosen),) * 2)
    for channel in range(count):
        own += pairs[:, channel, :, channel][np.ix_(chosen, chosen)]
    common = rows @ rows.T / count - np.multiply.outer(means, means)
    within = as_pairs(own / count, counts)
    shared = as_pairs(common, counts)
    means = means.reshape(counts)
    result = replace(
        state,
        means=means,
        cov_positions=at_diagonal(
            within + shared, np.maximum(diagonal(within + shared, counts), 0.0)
        ),
        cov_samples=shared,
        notes=replace(state.notes, channels=channels, known_channels=True),
    )
    if all(axis.is_whole for axis in axes):
        return result
    # Those in the middle stand for others, and the whole is known.
    means = result.means + (float(channels.means.mean()) - result.mean)
    away = result.average((means - result.mean) ** 2)
    left = result.average(result.variances)
    factor = (channels.variance + channels.shared - away) / left if left > 0 else 1.0
    factor = max(factor, 0.0)
    return replace(
        result,
        means=means,
        cov_positions=factor * result.cov_positions,
        cov_samples=factor * result.cov_samples,
    )


def _spread(state: State) -> State:
    """With each entry known by itself, where they are few."""
    known = state.notes.channels
    if (
        known is None
        or not state.notes.given_kernels
        or known.lengths is not None
        or known.samples is not None
        or not every_entry.are_few(state.sizes, known.count)
    ):
        return state
    channels = replace(known, entries=entries_of(state, known))
    return replace(state, notes=replace(state.notes, channels=channels))


def entries_of(state: State, known: Channels) -> Entries:
    """Of a small map, of which averages over positions are known."""
    kinds = [axis.singles(np.arange(axis.size)) for axis in state.axes or ()]
    every = np.ix_(*kinds)
    deviations = np.sqrt(np.maximum(state.variances - known.shared, 0.0))[every].ravel()
    typical = math.sqrt(known.variance)
    relative = deviations / typical if typical > 0 else np.ones_like(deviations)
    spatial = spatial_correlations(state, known.shared, [size - 1 for size in state.sizes])
    means = (state.means - state.mean)[every].ravel()
    return every_entry.spread(known, state.sizes, spatial, means, relative)


def uneven(state: State) -> tuple[Array, Array]:
    """How large the channels' means and what is beside them are at each position, on average 1."""
    variances = state.variances
    shared = np.clip(diagonal(state.cov_samples, state.means.shape), 0.0, variances)
    found = []
    for squares in (shared, variances - shared):
        whole = state.average(squares)
        alike = not whole > 1e-12 * state.variance
        found.append(np.ones_like(squares) if alike else np.sqrt(squares / whole))
    return found[0], found[1]


def _with_neighbors(state: State, channels: Channels) -> State:
    """Neighbours correlate as they do in the channels, where that is known."""
    axes = state.axes or ()
    lead = channels.covariances.shape[:-2]
    if len(lead) != len(axes) or not axes or not channels.variance > 0:
        return state
    each = np.diagonal(channels.covariances, axis1=-2, axis2=-1).mean(-1) / channels.variance
    places, near = [], []
    for axis, size in zip(axes, lead, strict=True):
        apart = (axis.representatives - axis.representatives[:, None]).ravel()
        near.append(np.abs(apart) <= size // 2)
        places.append(np.clip(apart + size // 2, 0, size - 1))
    chosen = np.ix_(*(np.flatnonzero(each) for each in near))
    found = each[np.ix_(*(place[these] for place, these in zip(places, near, strict=True)))]
    first, second = each_with_each(np.sqrt(np.maximum(state.variances - channels.shared, 0.0)))
    within = state.cov_positions - channels.shared
    within[chosen] = np.clip(found, -1.0, 1.0) * (first * second)[chosen]
    if all(axis.is_whole for axis in axes):
        within = _of_some_entries(within, state.means.shape)
    # At a position that a border tells apart, channels' means may differ by less than on average.
    first, second = each_with_each(state.deviations)
    within = np.clip(within + channels.shared, -first * second, first * second)
    return replace(state, cov_positions=at_diagonal(within, state.variances))


def _of_some_entries(pairs: Array, counts: Sequence[int]) -> Array:
    """The nearest covariances that entries can have, with the same variances."""
    roots, vectors = np.linalg.eigh(as_matrix(pairs, counts))
    if roots[0] >= 0:
        return pairs
    rows = np.sqrt(np.maximum(roots, 0.0))[:, None] * vectors.T
    deviations = np.sqrt(np.maximum(diagonal(pairs, counts), 0.0).ravel())
    rows = rows * deviations / np.maximum(np.sqrt((rows**2).sum(0)), 1e-300)
    return products(rows, rows, counts)


def spatial_correlations(state: State, shared: float, reach: Sequence[int]) -> Array:
    """Of two entries of a channel, amid the positions, by displacement: from −reach to reach.

    Args:
        state: with positions.
        shared: the part of the covariances that channels have as their means.
        reach: along each axis.
    """
    first, second, inside = [], [], []
    for axis, most in zip(state.axes or (), reach, strict=True):
        apart = np.arange(-int(most), int(most) + 1)
        fits = np.abs(apart) < axis.size
        inner = np.clip(apart, 1 - axis.size, axis.size - 1)
        one = axis.size // 2 - inner // 2
        one = np.clip(one, np.maximum(-inner, 0), axis.size - 1 - np.maximum(inner, 0))
        two = one + inner
        first.append(axis.pairs(one, one))
        second.append((axis.pairs(one, two), axis.pairs(two, two)))
        inside.append(fits)
    pairs = state.cov_positions - shared
    ones, others, twos = (
        pairs[np.ix_(*each)]
        for each in (first, [pair for pair, _ in second], [pair for _, pair in second])
    )
    scale = np.sqrt(np.maximum(ones, 0.0) * np.maximum(twos, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(scale > 0, others / scale, 0.0)
    return np.asarray(np.clip(found, -1.0, 1.0) * functools.reduce(np.multiply.outer, inside))


def by_given_kernel(
    state: State, kernel: KernelMoments, bias: BiasMoments, maps: Sequence[SpatialMap]
) -> State | None:
    """A kernel whose values are known, on channels of which each is known; None where it cannot be.

    Args:
        state: of what it reads.
        kernel, bias: with their values.
        maps: what the kernel's windows do to positions.
    """
    if kernel.values is None:
        return None
    known = state.channels
    away = state.means - state.mean
    if (
        known is None
        or known.count % kernel.channels
        or (known.count != kernel.channels and not kernel.windows)
    ):
        if kernel.values.ndim == len(kernel.windows) + 1:
            return None
        known = exchangeable_of(state, kernel.channels)
    if known is None:
        return None
    shared = known.shared
    bare = replace(state, notes=Annotations())  # it is kept as long as what comes of it
    mixed = through(known, kernel, functools.partial(spatial_correlations, bare, shared))
    if mixed is None:
        return None
    output = tuple(m.output for m in maps) or state.axes
    counts = [axis.count for axis in output or ()]
    offset = bias.values if bias.values is not None else np.zeros(1)
    # The mean of each unit at each position, by the taps that it sees there.
    seen = [
        windows[axis.representatives] >= 0
        for windows, axis in zip(kernel.windows, output or (), strict=False)
    ]
    placed = mixed.taps.reshape(*(each.shape[1] for each in seen), -1)
    for axis, each in enumerate(seen):
        placed = np.moveaxis(np.tensordot(each.astype(float), placed, (1, axis)), 0, axis)
    by_unit = np.broadcast_to(placed + offset, (*counts, placed.shape[-1]))
    rows = by_unit.reshape(-1, by_unit.shape[-1]).T
    means = rows.mean(0).reshape(counts)
    first, second = each_with_each(means)
    common = products(rows, rows, counts) / len(rows) - first * second
    first, second = each_with_each(away)
    within = [
        mapped_along(pairs - shared + first * second, [m.pairs for m in maps])
        for pairs in (state.cov_positions, state.cov_samples)
    ]
    found = Channels(
        means_of_units(mixed.taps, kernel.windows) + offset,
        mixed.covariances,
        made_of=known.followed_by(mixed.step),
    )
    if known.lengths and is_sum(known) and len(mixed.taps) == 1 and mixed.step.weights.ndim == 3:
        lengths = known.lengths.through(mixed.step.weights[0], found.variances)
        found = replace(found, lengths=lengths)
    frame = State(output, means, within[0], within[1], None)
    before = frame.average(frame.variances)
    # Windows read borders less often than the rest, and their variances differ.
    alike = state.average(state.variances - shared + away * away)
    alike *= math.prod(float((windows >= 0).sum(1).mean()) for windows in kernel.windows)
    found = found.scaled(before / alike if alike > 0 else 1.0)
    power = found.variance / before if before > 0 else 0.0
    cov_positions, cov_samples = (power * each + common for each in within)
    notes = Annotations(
        latent_is_gaussian=True,
        known_channels=True,
        given_kernels=True,
        log_variance=state.notes.log_variance,
    )
    result = replace(frame, cov_positions=cov_positions, cov_samples=cov_samples, notes=notes)
    # What borders do to a channel's mean belongs to its variance over positions.
    left = 1 + variance_of_means(mixed.taps, kernel.windows) / max(found.variance, 1e-300)
    found = replace(found, covariances=left * found.covariances)
    entries = _entries_through(state, known, kernel, mixed.step.weights, offset, output)
    channels = skewed(replace(found, entries=entries))
    return agreeing(result, found.shared, channels)


def _entries_through(
    state: State,
    known: Channels,
    kernel: KernelMoments,
    weights: Array,
    offset: Array,
    output: Sequence[Axis] | None,
) -> Entries | None:
    """What a kernel makes of entries that are known one by one."""
    sizes = tuple(axis.size for axis in output or ())
    units = weights.shape[-1]
    if not every_entry.are_few(sizes, units):
        return None
    entries, few = known.entries, every_entry.are_few(state.sizes, known.count)
    if entries is None and known.lengths is None and known.samples is None and few:
        entries = entries_of(state, known)
    if entries is None or entries.sizes != state.sizes:
        return None
    if kernel.windows:
        reads = every_entry.read_through(kernel.windows, entries.sizes)
    else:
        reads = np.arange(entries.places)[None]
    return every_entry.through_step(entries, Step(weights, reads=reads), sizes, offset)
