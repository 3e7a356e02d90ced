"""Signals that meet: sums, products and extremes (E, G and H)."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.functions import added
from autoinit.signals.correlated.known import agreeing, exchangeable_of
from autoinit.signals.correlated.marginals import STANDARD, Marginal
from autoinit.signals.correlated.operations import sample_effects
from autoinit.signals.correlated.operations.attention import masked
from autoinit.signals.correlated.operations.elementwise import apply, of_known
from autoinit.signals.correlated.operations.linear import affine
from autoinit.signals.correlated.operations.mixture import shares_of_same_parts
from autoinit.signals.correlated.operations.reshape import at_same_positions
from autoinit.signals.correlated.pairs import diagonal
from autoinit.signals.correlated.state import Annotations, State
from autoinit.signals.signal import Array, like_samples

_OPERATIONS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def combined(states: Sequence[State], operation: str) -> State:
    """As `Signal.combine`, of the first state and the others."""
    first, *others = states
    if operation == "average":
        return affine(combined(states, "add"), 1 / len(states), 0.0)
    if operation not in _OPERATIONS:
        raise ValueError(
            f"operation must be one of average, {', '.join(_OPERATIONS)}. Received: {operation!r}"
        )
    if operation == "subtract" and len(others) > 1:
        return combined([first, *(affine(other, -1.0, 0.0) for other in others)], "add")
    # Functions of the same Gaussians meet first: what comes of two sources has a new one.
    order = list(dict.fromkeys(state.latent_id for state in states))
    ordered = sorted(states, key=lambda state: order.index(state.latent_id))
    groups = [list(group) for _, group in itertools.groupby(ordered, lambda state: state.latent_id)]
    together = [functools.reduce(lambda x, y: _of_two(operation, x, y), group) for group in groups]
    return functools.reduce(lambda x, y: _of_two(operation, x, y), together)


def _of_two(operation: str, state: State, other: State) -> State:
    first, second = at_same_positions(state, other)
    function = _OPERATIONS[operation]
    found = first.notes.logits or second.notes.logits
    if operation == "add" and found:
        behind = [each.notes.logits[0] if each.notes.logits else each for each in (first, second)]
        plain = [replace(each, notes=replace(each.notes, logits=None)) for each in (first, second)]
        whole = _of_two("add", *plain)
        return masked(whole, _of_two("add", *behind), found[1])
    if first.latent_id == second.latent_id or shares_of_same_parts((first, second)):
        # Functions of the same Gaussians are taken together, exactly (E).
        return apply(function, (first, second), trimmed=False)[0]
    if operation in ("add", "subtract"):
        return _sum(first, second, 1.0 if operation == "add" else -1.0)
    if operation == "multiply":
        return product(first, second)
    x, y = np.broadcast_arrays(first.overall(), second.overall())
    return _extreme(first, second, marginals.combined(function, x, y))


def _sum(state: State, other: State, sign: float) -> State:
    across = _added(state.notes.cov_channels, other.notes.cov_channels)
    common = state.cov_samples + other.cov_samples
    # What two uses of the same layers have in common is what two samples have.
    alike = sign if _are_uses(state, other) else 0.0
    if across:
        across = across[0] + alike * across[1], (1 + alike) * across[1]
    notes = Annotations(
        log_variance=sample_effects.summed_log_variance(state, other),
        cov_channels=across,
        given_kernels=state.notes.given_kernels or other.notes.given_kernels,
    )
    result = State(
        state.axes,
        state.means + sign * other.means,
        state.cov_positions + other.cov_positions + alike * common,
        (1 + alike) * common,
        _summed_marginal(state, other, sign),
        notes=notes,
    )
    known = state.channels, other.channels
    count = next((each.count for each in known if each is not None), 0)
    if not count:
        return result
    every = [
        found or exchangeable_of(each, count)
        for found, each in zip(known, (state, other), strict=True)
    ]
    both = added(every[0], every[1], sign)
    if both is None:
        return result
    shared = sum(each.shared for each in every if each is not None)
    return agreeing(replace(result, stored_marginal=None), shared, both)


def _are_uses(state: State, other: State) -> bool:
    """Whether the same layers made both, of which no more than averages over channels is known."""
    return like_samples(state.notes.lineage, other.notes.lineage) and state.channels is None


def _summed_marginal(state: State, other: State, sign: float) -> Marginal:
    if state.marginal is STANDARD and other.marginal is STANDARD:
        return STANDARD
    first, second = (each.average(each.variances) for each in (state, other))
    if state.marginal.is_gaussian and other.marginal.is_gaussian:
        mine, theirs = state.marginal.second_moments, other.marginal.second_moments
        return marginals.gaussian_samples(first * mine + second * theirs)
    x, y = np.broadcast_arrays(
        math.sqrt(first) * state.marginal.functions,
        sign * math.sqrt(second) * other.marginal.functions,
    )
    return marginals.standardized(marginals.combined(np.add, x, y))


def product(state: State, other: State) -> State:
    """Second moments multiply, pair by pair (G), and so do the samples' (H)."""
    x, y = np.broadcast_arrays(
        sample_effects.shared_with(state, other), sample_effects.shared_with(other, state)
    )
    first, second = (rows**2 @ marginals.WEIGHTS for rows in (x, y))
    apart = float(first.mean() * second.mean())
    more = float((first * second).mean()) / apart if apart > 0 else 1.0
    mine, theirs = state.mean_products, other.mean_products
    # Of two uses of the same layers as of Gaussians.
    common = state.cov_samples if _are_uses(state, other) else np.zeros_like(state.cov_samples)
    related = common**2 + 2 * mine * common
    cov_positions, cov_samples = (
        share * (a + mine) * (b + theirs) - mine * theirs + related
        for share, a, b in (
            (more, state.cov_positions, other.cov_positions),
            (1.0, state.cov_samples, other.cov_samples),
        )
    )
    result = State(
        state.axes,
        state.means * other.means + diagonal(common, state.means.shape),
        cov_positions,
        cov_samples,
        marginals.standardized(marginals.combined(np.multiply, x, y)),
        notes=Annotations(
            log_variance=state.notes.log_variance + other.notes.log_variance,
            given_kernels=state.notes.given_kernels or other.notes.given_kernels,
        ),
    )
    return of_known(np.multiply, result, state, other)


def _extreme(state: State, other: State, functions: Array) -> State:
    """Correlations of a maximum are taken as the mean of those of the operands."""
    mean, variance = marginals.moments(functions)
    cov_positions, cov_samples = (
        variance
        * 0.5
        * sum(
            pairs / max(each.average(each.variances), np.finfo(float).tiny)
            for pairs, each in zip(both, (state, other), strict=True)
        )
        for both in (
            (state.cov_positions, other.cov_positions),
            (state.cov_samples, other.cov_samples),
        )
    )
    return State(
        state.axes,
        np.full_like(state.means, mean),
        cov_positions,
        cov_samples,
        marginals.standardized(functions),
        notes=Annotations(log_variance=sample_effects.summed_log_variance(state, other)),
    )


def _added(
    first: tuple[Array, Array] | None, second: tuple[Array, Array] | None
) -> tuple[Array, Array] | None:
    if first is None or second is None:
        return first or second
    return first[0] + second[0], first[1] + second[1]
