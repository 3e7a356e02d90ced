"""Entries that change places: between positions, and between positions and channels.

Covariances are those of two entries of one channel, at pairs of positions, and where
`cov_channels` says so those of two different channels. Here the channels become one more axis of
pairs, on which reshaping and transposing are the same for all axes; the last axis is then made the
channels again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from autoinit.signals.correlated.axis_groups import (
    Sizes,
    as_group,
    is_apart,
    other_position,
    same_position,
    segments,
)
from autoinit.signals.correlated.channels.channels import MOST, MOST_FLATTENED, Channels, Entries
from autoinit.signals.correlated.channels.entries import are_few, settled, transposed
from autoinit.signals.correlated.channels.positions import flattened, of_entries, unflattened
from autoinit.signals.correlated.known import agreeing, spatial_correlations
from autoinit.signals.correlated.pairs import at_diagonal, diagonal, each_with_each
from autoinit.signals.correlated.positions import Axis, axes_of
from autoinit.signals.correlated.state import OF_BRANCH, Annotations, State
from autoinit.signals.signal import Array

# Arrays over pairs of more axes would be too large; of more, channels may be those of heads.
_MOST_AXES, _FEW_AXES = 4, 2


def of_both(
    pair: tuple[Array, Array] | None, function: Callable[[Array], Array]
) -> tuple[Array, Array] | None:
    """The same for covariances over positions and over samples, where there are any."""
    return None if pair is None else (function(pair[0]), function(pair[1]))


def arrange(state: State, sizes: Sequence[int]) -> State:
    """As `Signal.arrange`."""
    sizes = tuple(sizes)
    if state.axes is None:
        return _with_means(spread(state, sizes), state.channels)
    if state.sizes == sizes:
        return state
    if [size for size in state.sizes if size != 1] == [size for size in sizes if size != 1]:
        return _with_ones(state, sizes)
    # Other units at other positions: with weights of their own, they do not correlate.
    return spread(flatten(state), sizes)


def spread(state: State, sizes: Sizes) -> State:
    """A signal without positions, at positions with nothing in common."""
    axes = axes_of(sizes)
    counts = tuple(axis.count for axis in axes)
    nothing = np.zeros([count**2 for count in counts])
    cov_positions, cov_samples = (
        at_diagonal(nothing, np.full(counts, float(each)))
        for each in (state.cov_positions, state.cov_samples)
    )
    return State(
        axes,
        np.full(counts, float(state.means)),
        cov_positions,
        cov_samples,
        state.marginal,
        notes=state.notes.keep(*OF_BRANCH, "latent_is_gaussian", "centered_second_moments"),
    )


def _with_means(state: State, known: Channels | None) -> State:
    """Positions that have nothing in common but their channels' means, where these are known."""
    if known is None:
        return state
    shared = np.full_like(state.cov_positions, known.shared)
    beside = at_diagonal(np.ones_like(shared), np.zeros_like(state.means)) * shared
    return replace(
        state,
        cov_positions=state.cov_positions + beside,
        cov_samples=state.cov_samples + beside,
        stored_marginal=None,
        notes=replace(state.notes, channels=known.without_neighbors(), known_channels=True),
    )


def flatten(state: State) -> State:
    """Positions become units."""
    if not state.axes:
        return replace(state, axes=())
    alike = diagonal(state.cov_samples, state.means.shape)
    centered = (state.means - state.mean) ** 2
    shared = state.average(alike + centered)
    arrays = np.array(state.mean), np.array(state.variance), np.array(shared)
    result = State(
        (), *arrays, state.marginal, notes=state.notes.keep("log_variance", "given_kernels")
    )
    known = state.channels
    places = math.prod(state.sizes)
    if known is None or state.axes is None or places * known.count > MOST_FLATTENED:
        return result
    if places == 1:
        # The same entries, whatever they were made of.
        alone = known.without_neighbors()
        return agreeing(replace(result, stored_marginal=None), known.shared, alone)
    entries = known.entries
    if entries is not None and entries.sizes == state.sizes:
        return agreeing(result, float(shared), of_entries(entries))
    kinds = [axis.singles(np.arange(axis.size)) for axis in state.axes]
    every = np.ix_(*kinds)
    deviations = np.sqrt(np.maximum(state.variances - known.shared, 0.0))
    typical = math.sqrt(known.variance)
    relative = deviations[every].ravel() / typical if typical > 0 else np.ones(places)
    spatial = spatial_correlations(state, known.shared, [size - 1 for size in state.sizes])
    means = (state.means - state.mean)[every].ravel()
    units = flattened(known, state.sizes, spatial, means, relative)
    return agreeing(result, float(shared), units)


def repeat(state: State, sizes: Sequence[int]) -> State:
    """The same entries at every position of the axes that are new or of size 1."""
    sizes = tuple(sizes)
    if state.axes is None:
        return arrange(state, sizes)
    missing = len(sizes) - len(state.sizes)
    fits = missing >= 0 and all(
        size in (1, wanted) for size, wanted in zip(state.sizes, sizes[missing:], strict=True)
    )
    if state.sizes == sizes or not fits:
        return arrange(state, sizes)
    marginal, state = state.marginal, arrange(state, (1,) * missing + state.sizes)
    axes = axes_of(sizes)
    counts, pairs = [axis.count for axis in axes], [axis.count**2 for axis in axes]
    known = state.channels
    notes = state.notes.keep(
        *OF_BRANCH,
        "latent_is_gaussian",
        "centered_second_moments",
        "logits",
        channels=None if known is None else known.without_neighbors(),
        cov_channels=of_both(state.notes.cov_channels, lambda each: np.broadcast_to(each, pairs)),
    )
    return State(
        axes,
        np.broadcast_to(state.means, counts),
        np.broadcast_to(state.cov_positions, pairs),
        np.broadcast_to(state.cov_samples, pairs),
        marginal,
        state.latent_id,
        notes,
    )


def at_same_positions(first: State, second: State) -> tuple[State, State]:
    """Two operands at the positions of their result: sizes of 1 are repeated."""
    if first.axes is None and second.axes is None:
        return arrange(first, ()), arrange(second, ())
    longest = max(len(first.sizes), len(second.sizes))
    padded = [(1,) * (longest - len(each.sizes)) + each.sizes for each in (first, second)]
    sizes = tuple(map(max, *padded))
    return repeat(first, sizes), repeat(second, sizes)


def of_same_positions(states: Sequence[State]) -> list[State]:
    """The same for any number of them."""
    placed = list(states)
    for other in range(1, len(placed)):
        placed[0], placed[other] = at_same_positions(placed[0], placed[other])
    return [placed[0], *(at_same_positions(placed[0], each)[1] for each in placed[1:])]


def of_every_sample(state: State) -> State:
    """The same entries in every sample."""
    notes = replace(state.notes, channels=None, split=None)
    return replace(state, cov_samples=state.cov_positions, notes=notes)


def of_values(values: Array) -> State:
    """Two positions have in common what the channels' means over positions do."""
    state = State.gaussian(float(values.mean()), float(values.var()))
    places = math.prod(values.shape[:-1])
    if places > 1:
        shared = values.reshape(places, -1).mean(0).var()
        apart = (places * float(shared) - state.variance) / (places - 1)
        state = _with_others(arrange(state, values.shape[:-1]), apart)
    return replace(of_every_sample(state), notes=Annotations(known_channels=True))


def looked_up(state: State, sizes: Sequence[int], rows: float, table: Array | None = None) -> State:
    """As `Signal.looked_up`."""
    entries = arrange(state, ())
    alike = entries.variance / rows
    found = _with_others(spread(entries, tuple(sizes)), alike)
    found = replace(found, cov_samples=np.full_like(found.cov_positions, alike))
    if table is None or not alike or not table.shape[-1] <= MOST:
        return found
    means = table.mean(0)
    centered = table - means
    channels = Channels(means, centered.T @ centered / len(table))
    return agreeing(replace(found, stored_marginal=None), alike, channels)


def _with_others(state: State, covariance: float) -> State:
    """The same covariance between any two positions of a sample."""
    variances = state.variances.reshape(state.means.shape)
    alike = np.full_like(state.cov_positions, covariance)
    return replace(state, cov_positions=at_diagonal(alike, variances))


def _with_ones(state: State, sizes: Sizes) -> State:
    """A signal with other axes of one position.

    Args:
        state: with positions of the same sizes, but for those that are 1.
        sizes: of the positions.
    """
    kept = iter(axis for axis in state.axes or () if axis.size != 1)
    axes = axes_of(sizes)
    matching = [(next(kept), axis) for axis in axes if axis.size != 1]

    def placed(array: Array, *, pairs: bool) -> Array:
        array = array.reshape([n for n in array.shape if n != 1])
        for number, (old, new) in enumerate(matching):
            array = as_group(array, number, [old], [new], pairs=pairs)
        return array.reshape([axis.count**2 if pairs else axis.count for axis in axes])

    def moved(array: Array) -> Array:
        return placed(array, pairs=True)

    notes, variance = state.notes, state.notes.correlation_variance
    notes = replace(
        notes,
        correlation_variance=None if variance is None else moved(variance),
        cov_channels=of_both(notes.cov_channels, moved),
        parts=tuple((share, arrange(part, sizes)) for share, part in notes.parts),
        channels=notes.channels and _resized(notes.channels, sizes),
        split=None,
    )
    return replace(
        state,
        axes=axes,
        means=placed(state.means, pairs=False),
        notes=notes,
        cov_positions=moved(state.cov_positions),
        cov_samples=moved(state.cov_samples),
    )


def _resized(channels: Channels, sizes: Sizes) -> Channels:
    entries = channels.entries
    found = channels.without_neighbors()
    return replace(found, entries=entries and replace(entries, sizes=sizes))


def transpose(state: State, sizes: Sequence[int], order: Sequence[int]) -> State:
    """A signal with its axes in another order.

    Args:
        state: with positions of sizes[:-1].
        sizes: of the axes of a sample, channels last.
        order: for each new axis the old one.
    """
    if list(order) == sorted(order) or len(sizes) > _MOST_AXES:
        return arrange(state, [sizes[axis] for axis in order][:-1])
    axes, arrays = _expanded(state, tuple(sizes))
    moved = [array.transpose(order) for array in arrays]
    result = _collapsed(state, tuple(axes[axis] for axis in order), moved)
    channels, places = units_of(state)
    result = with_units(result, channels, tuple(order.index(place) for place in places))
    entries = None if channels is None else channels.entries
    if entries is None or len(sizes) > _FEW_AXES or sizes[order[-1]] > MOST:
        return result
    found = transposed(entries, sizes, order)
    notes = replace(result.notes, given_kernels=True)
    return agreeing(replace(result, stored_marginal=None, notes=notes), found.shared, found)


def reshape(state: State, before: Sequence[int], after: Sequence[int]) -> State:
    """A signal whose tensor is reshaped.

    Axes that are merged or split keep what two of their entries have in common on average.

    Args:
        state: with positions of before[:-1].
        before, after: sizes of the axes of a sample, channels last.
    """
    # A single number for a sample has no axis: it is its only channel.
    before, after = tuple(before) or (1,), tuple(after) or (1,)
    old, new = ([size for size in sizes[:-1] if size != 1] for sizes in (before, after))
    if before[-1] == after[-1] and old == new:
        return arrange(arrange(state, before[:-1]), after[:-1])
    if max(len(before), len(after)) > _MOST_AXES:
        return arrange(state, after[:-1])
    old_axes, arrays = _expanded(state, before)
    new_axes = axes_of(after)
    runs = segments(before, after)
    first = len(before)
    for come, become in reversed(runs):
        first -= len(come)
        sources, targets = [old_axes[axis] for axis in come], [new_axes[axis] for axis in become]
        arrays = [
            as_group(array, first, sources, targets, pairs=number > 0)
            for number, array in enumerate(arrays)
        ]
    result = _collapsed(state, new_axes, arrays)
    channels, places = units_of(state)
    if channels is not None and len(before) == 1:
        known = unflattened(channels, after)
        if are_few(after[:-1], known.count):
            each = channels.without_neighbors()
            known = replace(known, entries=Entries(each, after[:-1]))
        return agreeing(replace(result, stored_marginal=None), known.shared, known)
    entries = None if channels is None else channels.entries
    if channels is not None and entries is not None and before[-1] == after[-1]:
        placed = replace(entries, sizes=after[:-1])
        known = settled(replace(channels.without_neighbors(), entries=placed))
        return agreeing(replace(result, stored_marginal=None), known.shared, known)
    return with_units(result, channels, _moved(places, runs))


def units_of(state: State) -> tuple[Channels | None, tuple[int, ...]]:
    """What is known of each channel, and on which axes of a sample they lie, channels last."""
    if state.notes.split is not None:
        return state.notes.split
    return state.channels, (len(state.axes or ()),)


def with_units(state: State, channels: Channels | None, places: tuple[int, ...]) -> State:
    """A state with what is known of each channel; none where they lie on no axes of their own."""
    if channels is None or not places:
        return state
    channels = channels.without_neighbors()
    if places == (len(state.axes or ()),):
        return agreeing(replace(state, stored_marginal=None), channels.shared, channels)
    return replace(state, notes=replace(state.notes, split=(channels, places)))


def _moved(places: tuple[int, ...], runs: Sequence[tuple[list[int], list[int]]]) -> tuple[int, ...]:
    """Axes of the channels after a reshape; none where they are mixed with positions."""
    found: list[int] = []
    left = list(places)
    while left:
        come, become = next(run for run in runs if left[0] in run[0])
        if left[: len(come)] != come:
            return ()
        found += become
        left = left[len(come) :]
    return tuple(found)


def _expanded(state: State, sizes: Sizes) -> tuple[tuple[Axis, ...], list[Array]]:
    """Means, and second moments within and between samples, with the channels as last axis."""
    state = arrange(state, sizes[:-1])
    old, axes = state.axes or (), axes_of(sizes)
    means, pairs = state.means, [state.cov_positions, state.cov_samples]
    pairs += state.notes.cov_channels or map(np.zeros_like, tuple(pairs))
    for number, (source, target) in enumerate(zip(old, axes, strict=False)):
        if source == target:
            continue
        places = target.representatives
        means = np.take(means, source.singles(places), number)
        found = source.pairs(places[:, None], places[None, :]).ravel()
        pairs = [np.take(each, found, number) for each in pairs]
    channel = axes[-1]
    apart = is_apart(channel).astype(float)
    first, second = each_with_each(means)
    products = (first * second)[..., None]
    whole = [
        np.multiply.outer(same, 1 - apart) + np.multiply.outer(other, apart) + products
        for same, other in ((pairs[0], pairs[2]), (pairs[1], pairs[3]))
    ]
    return axes, [np.repeat(means[..., None], channel.count, -1), *whole]


def _collapsed(state: State, axes: tuple[Axis, ...], arrays: Sequence[Array]) -> State:
    """The last axis as channels."""
    means, *moments = arrays
    channel, positions = axes[-1], axes_of(tuple(axis.size for axis in axes[:-1]))
    means = means @ channel.shares
    for number, (source, target) in enumerate(zip(axes[:-1], positions, strict=True)):
        means = as_group(means, number, [source], [target], pairs=False)
        moments = [as_group(each, number, [source], [target], pairs=True) for each in moments]
    first, second = each_with_each(means)
    products = first * second
    cov_positions, cov_samples = (each @ same_position(channel) - products for each in moments)
    cov_channels = tuple(each @ other_position(channel) - products for each in moments)
    alone = channel.size < 2 or not any(np.any(np.abs(each) > 1e-12) for each in cov_channels)
    across = None if alone else (cov_channels[0], cov_channels[1])
    return State(
        positions,
        means,
        np.asarray(cov_positions),
        np.asarray(cov_samples),
        state.marginal,
        notes=state.notes.keep(*OF_BRANCH, "latent_is_gaussian", cov_channels=across),
    )
