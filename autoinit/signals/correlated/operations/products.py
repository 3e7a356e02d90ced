"""Sums of products over axes: attention, and dot products (J).

They ask only whether two entries have the same index along an axis: a table of second moments with
two classes for each axis is contracted as the tensors are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from autoinit.signals.correlated.axis_groups import Sizes, is_apart, other_position, same_position
from autoinit.signals.correlated.channels.channels import Channels
from autoinit.signals.correlated.marginals import STANDARD
from autoinit.signals.correlated.operations.attention import weighed_tokens
from autoinit.signals.correlated.operations.combination import combined, product
from autoinit.signals.correlated.operations.linear import affine
from autoinit.signals.correlated.operations.normalization import over_channels
from autoinit.signals.correlated.operations.reshape import arrange, flatten, units_of, with_units
from autoinit.signals.correlated.positions import axes_of
from autoinit.signals.correlated.state import Annotations, Logits, State
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
    known = _of_known_units((first, second), labels, sizes, tables)
    if known is not None:
        mean, table = known
    source, direction, log_variance = None, 0.0, 0.0
    if first.notes.source and second.notes.source and summed:
        source = second.notes.source if first.notes.source[0] == second.notes.source[0] else None
    if source is not None and first.notes.pull is not None:
        # Of few features: what a head makes of them is one draw of their product.
        heads = math.prod(sizes[x] for x in labels[2] if x in labels[0] and x in labels[1])
        direction = source[1] / heads
        log_variance = math.log1p(2 * direction)
    pulled = _pulled((first, second), labels, tables[1])
    table = table if pulled is None else table + math.exp(-log_variance / 2) * pulled
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
        log_variance=first.notes.log_variance + second.notes.log_variance + log_variance,
        source=source,
        direction=direction,
        products=known and Logits((first, second), labels, sizes),
    )
    result = State(
        axes,
        np.full([axis.count for axis in axes], mean),
        np.array(cov_positions),
        np.array(cov_samples),
        product(first, second).marginal if count == 1 else STANDARD,
        notes=notes,
    )
    return _with_weighed_units(result, (first, second), labels, sizes, tables)


def _pulled(
    operands: tuple[State, State], labels: tuple[str, str, str], values: Array
) -> Array | None:
    """What shares of attention give beyond unrelated weights, where keys and values are related.

    Args:
        operands: shares and values.
        labels: as `contract` takes them.
        values: second moments of the values by class.
    """
    pull, source = operands[0].notes.pull, operands[1].notes.source
    kept, summed = labels[0][:-1], labels[0][-1]
    lost = [letter for letter in labels[1] if letter not in labels[2]]
    if pull is None or source is None or pull[0] != source[0]:
        return None
    if lost != [summed] or any(letter not in labels[2] for letter in kept):
        return None
    own = values[(0,) * values.ndim]
    other = values[(0, *(int(letter == summed) for letter in labels[1]))]
    every = np.array(pull[2:])
    for number, axis in enumerate(operands[0].axes or (), 1):
        rows = np.array([same_position(axis), other_position(axis)])
        every = np.moveaxis(np.tensordot(rows, every, axes=(1, number)), 0, number)
    units = [letter for letter in labels[2] if letter not in kept]
    # Two channels of a value have nothing in common but by chance.
    terms = [f"Z{kept}", *units]
    found = np.einsum(
        f"{','.join(terms)}->Z{labels[2]}", every, *([np.array([1.0, 0.0])] * len(units))
    )
    return np.asarray(pull[1] * max(own - other, 0.0) * found)


def _of_known_units(
    operands: tuple[State, State],
    labels: tuple[str, str, str],
    sizes: dict[str, int],
    tables: Sequence[Array],
) -> tuple[float, Array] | None:
    """Mean and second moments by class where x and y are summed over channels that are known.

    At two positions, a channel's covariance is that at one as far as positions correlate.
    """
    found = [units_of(state) for state in operands]
    letters = [
        [term[place] for place in places if place < len(term)]
        for (_, places), term in zip(found, labels, strict=False)
    ]
    summed = [letter for letter in sizes if letter not in labels[2]]
    count = math.prod(sizes[letter] for letter in letters[0])
    channels = [each for each, _ in found if each is not None and each.count == count]
    if len(channels) < 2 or letters[0] != letters[1] or not set(summed) <= set(letters[0]):
        return None
    index = np.unravel_index(np.arange(count), [sizes[letter] for letter in letters[0]])
    heads = [at for letter, at in zip(letters[0], index, strict=True) if letter in labels[2]]
    if len(heads) > 1:
        return None
    alike = heads[0][:, None] == heads[0] if heads else np.ones((count, count), bool)
    number = int(heads[0].max()) + 1 if heads else 1
    pairs = np.array([number, max(number * (number - 1), 1)], float)
    moments = [
        (each.at_same_position, np.multiply.outer(each.means, each.means)) for each in channels
    ]
    # Σ over units of products of covariances or of means of x with those of y, by head.
    sums = np.array(
        [
            [
                [(one * other)[alike].sum(), (one * other)[~alike].sum()] / pairs
                for other in moments[1]
            ]
            for one in moments[0]
        ]
    )
    related = []
    for each, term, table in zip(channels, labels, tables, strict=False):
        known = float((each.means**2).mean())
        at_one_unit = table[(slice(None), *(0 if x in letters[0] else slice(None) for x in term))]
        first = at_one_unit.ravel()[0] - known
        correlations = (at_one_unit - known) / first if first > 0 else np.zeros_like(at_one_unit)
        related.append(np.stack([correlations, np.ones_like(correlations)]))
    rest = [[x for x in term if x not in letters[0]] for term in labels[:2]]
    head = next((x for x in letters[0] if x in labels[2]), "")
    result = np.einsum(
        f"XZ{''.join(rest[0])},YZ{''.join(rest[1])},XY{head or 'W'}->Z{labels[2]}",
        related[0],
        related[1],
        sums if head else sums[..., :1],
    )
    mean = float((channels[0].means * channels[1].means).sum()) / number
    return mean, np.asarray(result)


def _with_weighed_units(
    state: State,
    operands: tuple[State, State],
    labels: tuple[str, str, str],
    sizes: dict[str, int],
    tables: Sequence[Array],
) -> State:
    """What is known of y's channels, where x weighs y's positions (K).

    Entries of y at two positions have the covariance of their channels as far as positions
    correlate; and heads, an axis that x has too, have weights of their own.
    """
    channels, places = units_of(operands[1])
    letters = [labels[1][place] for place in places]
    weighed = [letter for letter in labels[1] if letter not in letters]
    if (
        channels is None
        or len(weighed) != 1
        or weighed[0] in labels[2]
        or any(letter not in labels[2] for letter in letters)
        or math.prod(sizes[letter] for letter in letters) != channels.count
    ):
        return state
    place, count = labels[1].index(weighed[0]) + 1, sizes[weighed[0]]
    squares = [
        float(tables[1][(0, *(n * (at == place) for at in range(1, tables[1].ndim)))])
        for n in (0, 1)
    ]
    known = float((channels.means**2).mean())
    related = (squares[1] - known) / (squares[0] - known) if squares[0] > known else 0.0
    at = np.unravel_index(np.arange(channels.count), [sizes[letter] for letter in letters])
    apart = np.zeros((channels.count,) * 2, int)
    for letter, index in zip(letters, at, strict=True):
        if letter in labels[0]:
            apart |= index[:, None] != index
    # E x·x′ of one position of y and of two, within a head and between two.
    moments = np.array(
        [
            [
                tables[0][
                    (
                        0,
                        *(
                            n if x == weighed[0] else (head if x in letters else 0)
                            for x in labels[0]
                        ),
                    )
                ]
                for head in (0, 1)
            ]
            for n in (0, 1)
        ]
    )
    own, other = count * moments[0][apart], count * (count - 1) * moments[1][apart]
    mean = count * operands[0].mean
    products = np.multiply.outer(channels.means, channels.means)
    total = own + other
    pull, source = operands[0].notes.pull, operands[1].notes.source
    if pull is not None and source is not None and pull[0] == source[0]:
        own = own + np.where(apart, 0.0, pull[1] * (1 - related))
    covariances = (own + other * related) * channels.at_same_position
    covariances = covariances + (total - mean * mean) * products
    found = Channels(mean * channels.means, covariances)
    logits = operands[0].notes.products
    if logits is not None and logits.shares and labels[0][-1] == weighed[0]:
        sampled = weighed_tokens(logits, operands[1], labels, sizes, related)
        if sampled is not None:
            state, found = _as_in_channels(state, sampled), sampled
    return with_units(state, found, tuple(labels[2].index(letter) for letter in letters))


def _as_in_channels(state: State, channels: Channels) -> State:
    """A state with the mean and the variance of all entries of some channels."""
    whole = channels.variance + channels.shared
    factor = whole / state.variance if state.variance > 0 else 0.0
    return replace(
        state,
        means=np.full_like(state.means, channels.means.mean()),
        cov_positions=factor * state.cov_positions,
        cov_samples=factor * state.cov_samples,
    )


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
