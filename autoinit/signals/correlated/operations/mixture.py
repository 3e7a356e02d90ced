"""Channels of different origin in one tensor: concatenations, whose parts stay known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from autoinit.signals.correlated.channels.functions import mixed
from autoinit.signals.correlated.operations.reshape import arrange
from autoinit.signals.correlated.pairs import each_with_each
from autoinit.signals.correlated.state import Annotations, State
from autoinit.signals.signal import Array


def mixture(parts: Sequence[State], weights: Sequence[float]) -> State:
    """As `Signal.mixture`; the distribution is mixed once it is asked for."""
    found = [
        (weight * share, inner)
        for part, weight in zip(parts, weights, strict=True)
        for share, inner in (part.notes.parts or ((1.0, part),))
    ]
    sizes = next((part.sizes for _, part in found if part.axes is not None), ())
    total = sum(weight for weight, _ in found)
    shares = [(weight / total, arrange(part, sizes)) for weight, part in found]
    if len(shares) == 1:
        return shares[0][1]
    means = sum(share * part.means for share, part in shares)
    first, second = each_with_each(np.asarray(means))
    cov_positions, cov_samples = (
        sum(
            share * (pairs + part.mean_products)
            for (share, part), pairs in zip(shares, each, strict=True)
        )
        - first * second
        for each in (
            [part.cov_positions for _, part in shares],
            [part.cov_samples for _, part in shares],
        )
    )
    log_variance = sum(share**2 * part.notes.log_variance for share, part in shares)
    return State(
        shares[0][1].axes,
        np.asarray(means),
        np.asarray(cov_positions),
        np.asarray(cov_samples),
        None,
        notes=Annotations(
            parts=tuple(shares),
            log_variance=log_variance,
            given_kernels=all(part.notes.given_kernels for _, part in shares),
        ),
    )


def either(states: Sequence[State], weights: Sequence[float]) -> State:
    """As `Signal.either`."""
    whole = mixture(states, weights)
    if not whole.notes.parts:
        return whole
    notes = replace(whole.notes, parts=())
    found = replace(whole, stored_marginal=whole.marginal, notes=notes)
    return with_channels_of(found, states, np.array(weights) / sum(weights))


def with_channels_of(state: State, parts: Sequence[State], shares: Array) -> State:
    """A state whose channels are those of one of several others at each entry."""
    known = mixed([part.channels for part in parts], shares)
    if known is None:
        return state
    return replace(state, notes=replace(state.notes, channels=known, known_channels=True))


def by_parts(state: State, operation: Callable[[State], State]) -> State:
    """An operation on each part of a concatenation."""
    shares = state.notes.parts
    return mixture([operation(part) for _, part in shares], [share for share, _ in shares])


def shares_of_same_parts(states: Sequence[State]) -> list[float]:
    """Shares of the parts where all are functions of one and the same concatenation, or none."""
    found = [[(share, part.latent_id) for share, part in state.notes.parts] for state in states]
    return [share for share, _ in found[0]] if all(each == found[0] for each in found) else []
