"""Functions of the entries of one or several signals (A, B and E).

Operands that are functions of the same Gaussians are evaluated on the same grid; of two different
latents on a plane, with Hermite coefficients in both variables.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.channels import Channels, is_rectified
from autoinit.signals.correlated.channels.functions import mapped as channels_of_functions
from autoinit.signals.correlated.channels.functions import of_two
from autoinit.signals.correlated.grid import (
    NODES,
    WEIGHTS_OF,
    Function,
    beside,
    evaluated,
    without_rounding,
)
from autoinit.signals.correlated.known import agreeing, spatial_correlations, uneven
from autoinit.signals.correlated.marginals import COARSE, WEIGHTS
from autoinit.signals.correlated.operations import sample_effects
from autoinit.signals.correlated.operations.mixture import mixture, shares_of_same_parts
from autoinit.signals.correlated.operations.reshape import of_same_positions
from autoinit.signals.correlated.operations.statistics import fixed_squares
from autoinit.signals.correlated.pairs import (
    MeanProducts,
    as_matrix,
    as_pairs,
    at_diagonal,
    diagonal,
)
from autoinit.signals.correlated.state import OF_BRANCH, Annotations, State
from autoinit.signals.signal import Array


def apply(function: Function, states: Sequence[State], *, trimmed: bool) -> tuple[State, bool]:
    """As `Signal.map`: f∘g on the grid; the Gaussians behind the entries stay as they are.

    Raises:
        ValueError: where the operands have more than two latents.
    """
    operands = of_same_positions(states)
    shared = shares_of_same_parts(operands)
    if shared:
        results = [
            apply(function, each, trimmed=trimmed)
            for each in zip(*([part for _, part in op.notes.parts] for op in operands), strict=True)
        ]
        whole = mixture([state for state, _ in results], shared)
        return whole, all(converged for _, converged in results)
    latents = dict.fromkeys(each.latent_id for each in operands)
    known = [op.channels for op in operands if op.channels is not None]
    alike = len(known) == len(operands) and len({each.count for each in known}) == 1
    if len(latents) == 1 and alike:
        return _of_channels(function, operands, known, trimmed)
    if len(latents) > 2:
        raise ValueError(f"operands must have two sources at most. Received: {len(latents)}")
    if len(latents) == 1:
        return _of_one(function, operands, trimmed)
    result, converged = _of_two(function, operands, trimmed)
    if len(operands) == 2 and len(known) == 2 and not trimmed:
        result = of_known(function, result, *operands)
    return result, converged


def of_known(function: Function, result: State, state: State, other: State) -> State:
    """A function of two tensors with what is known of its channels."""
    every = [state, other]
    pairs = [(n, each, each.channels) for n, each in enumerate(every)]
    # The one with more positions comes first.
    pairs.sort(key=lambda each: -each[2].covariances.ndim if each[2] else 0)
    (place, _, first), (_, gate, second) = pairs
    if first is None or second is None:
        return result
    spatial = partial(spatial_correlations, gate, second.shared)
    ordered = function if place == 0 else lambda x, y: function(y, x)
    found = of_two(ordered, first, second, spatial)
    if found is None:
        return result
    shared = result.average(diagonal(result.cov_samples, result.means.shape))
    return agreeing(replace(result, stored_marginal=None), shared, found)


def of_functions(
    state: State,
    functions: Array,
    latent: Array,
    latent_id: Hashable,
    notes: Annotations,
    *,
    of_channels: bool = False,
) -> State:
    """Entries that are given functions of Gaussians with given correlations (A and B).

    Args:
        state: whose entries go in.
        functions: (positions…, nodes of samples, grid).
        latent: correlations of the Gaussians, (2, pairs…), in one sample and in two.
        latent_id, notes: of the result.
        of_channels: whether the nodes are not samples' but channels'.
    """
    counts = functions.shape[:-2]
    found, rest = marginals.coefficients(functions.reshape(-1, *functions.shape[-2:]))
    means, variances = marginals.moments(functions)
    # By order, node of the samples and position.
    found, rest = found.transpose(2, 1, 0), np.sqrt(rest).T[None]
    number = found.shape[1]
    average, average_rest = found.mean(1, keepdims=True), rest.mean(1, keepdims=True)
    if of_channels:
        average, average_rest = found, rest
    same, other = MeanProducts(found), MeanProducts(average)
    beyond, beyond_other = MeanProducts(rest)[0], MeanProducts(average_rest)[0]

    def over_pairs(of: Callable[[Array], Array], latent: Array) -> Array:
        return as_pairs(of(as_matrix(latent, counts)), counts)

    cov_positions = over_pairs(partial(marginals.covariances, same, beyond), latent[0])
    cov_samples = over_pairs(partial(marginals.covariances, other, beyond_other), latent[1])
    if state.notes.cov_channels is not None and not of_channels:
        # Two channels are two entries, whatever their samples.
        across = [
            over_pairs(partial(marginals.covariances, one, beyond_other), each)
            for one, each in zip((same, other), state.latent_of_others(), strict=True)
        ]
        notes = replace(notes, cov_channels=(across[0], across[1]))
    if state.notes.correlation_variance is not None:
        curvatures = over_pairs(partial(marginals.curvatures, same), latent[0])
        cov_positions += 0.5 * curvatures * state.notes.correlation_variance
    if state.notes.normalized_samples:
        change = fixed_squares(state, latent)
        cov_positions += as_pairs(same[2], counts) * change
        cov_samples += as_pairs(other[2], counts) * change
    if number > 1:
        # What a sample's second moment does to its mean is shared by all of its entries.
        means_of_all = MeanProducts(found[:1].mean(1, keepdims=True))
        apart = as_pairs(same[0] - means_of_all[0], counts)
        cov_positions += apart
        if of_channels:
            cov_samples += apart
    common = functions - means[..., None, None]
    for axis in state.axes or ():
        common = np.tensordot(axis.shares, common, axes=(0, 0))
    return State(
        state.axes,
        means,
        at_diagonal(cov_positions, variances),
        cov_samples,
        marginals.standardized(common),
        latent_id,
        notes,
    )


def _of_one(function: Function, operands: Sequence[State], trimmed: bool) -> tuple[State, bool]:
    first = operands[0]
    rows = [without_rounding(each.functions()) for each in operands]

    def points(steps: Sequence[float], curved: bool) -> list[Array]:
        every = [beside(each, NODES, steps[0], curved=curved) for each in rows]
        return list(np.broadcast_arrays(*every))

    values, squares, converged = evaluated(function, points, 1, trimmed)
    notes = first.notes.keep(*OF_BRANCH, "latent_is_gaussian")
    result = of_functions(first, values, first.latent(), first.latent_id, notes)
    if squares is not None:
        before = result.average(result.variances)
        variances = np.maximum((squares @ WEIGHTS).mean(-1) - result.means**2, 0.0)
        result = replace(result, cov_positions=at_diagonal(result.cov_positions, variances))
        # Functions stay what they are: what lies between their nodes is in the variance alone.
        left = before / max(result.average(variances), np.finfo(float).tiny)
        factor = np.full(len(result.marginal.functions), np.sqrt(min(left, 1.0)))
        result = replace(result, stored_marginal=result.marginal.scaled(factor))
    return result, converged


def _of_channels(
    function: Function, operands: Sequence[State], known: Sequence[Channels], trimmed: bool
) -> tuple[State, bool]:
    """Of channels that are known: each by itself, and a few groups of them for the positions."""
    first, before = operands[0], known[0]
    after, converged = channels_of_functions(function, known, trimmed)
    rows = [without_rounding(grouped(*each)) for each in zip(operands, known, strict=True)]

    def points(steps: Sequence[float], curved: bool) -> list[Array]:
        return [beside(each, NODES, steps[0], curved=curved) for each in rows]

    values, _, _ = evaluated(function, points, 1, trimmed)
    if first.axes and after.entries is None:
        rows = [without_rounding(each.groups()) for each in known]
        after = at_uneven_positions(
            after, first, values, evaluated(function, points, 1, trimmed)[0]
        )
    notes = first.notes.keep(*OF_BRANCH, "latent_is_gaussian")
    latent = first.latent_in_channels(before)
    result = of_functions(first, values, latent, first.latent_id, notes, of_channels=True)
    shared = variance_of_means(values)
    result = replace(result, stored_marginal=None)
    return agreeing(result, shared, after), converged


def at_uneven_positions(
    channels: Channels, state: State, functions: Array, typical: Array
) -> Channels:
    """What is not linear makes other moments of positions that differ than of all together.

    Args:
        channels: after a function of all positions together.
        state: with the positions of the result.
        functions: of groups of channels at each of these, (positions…, groups, grid).
        typical: of the same groups at all positions together, (groups, grid).
    """
    means, squares = functions @ WEIGHTS, functions**2 @ WEIGHTS
    for axis in state.axes or ():
        means, squares = (np.tensordot(axis.shares, each, (0, 0)) for each in (means, squares))
    usual = typical @ WEIGHTS
    before = float((typical**2 @ WEIGHTS - usual**2).mean())
    factor = max(float((squares - means**2).mean()), 0.0) / before if before > 0 else 1.0
    return channels.moved(float((means - usual).mean()), factor)


def variance_of_means(functions: Array) -> float:
    """Over groups of channels, of functions (positions…, groups, grid)."""
    return float((functions @ WEIGHTS).reshape(-1, functions.shape[-2]).mean(0).var())


def grouped(state: State, channels: Channels) -> Array:
    """Groups of channels at the representative positions: (positions…, groups, grid)."""
    rows = channels.groups()
    means = (rows @ WEIGHTS)[:, None]
    spread, relative = (each[..., None, None] for each in uneven(state))
    centered = spread * (means - channels.means.mean()) + relative * (rows - means)
    placed = state.means[..., None, None] + centered
    # What a ReLU left nothing of is nothing at every position.
    same_sign = np.where(placed * rows > 0, placed, 0.0)
    return np.where(is_rectified(rows), same_sign, placed)


def never_negative(state: State) -> State:
    """Sums of what is never below 0: Gamma where they were taken for Gaussian, as squares' are."""
    variance = state.average(state.variances)
    known = state.channels is not None or not state.marginal.is_gaussian
    if known or not (state.mean > 0 and variance > 0):
        return state
    return replace(state, stored_marginal=marginals.gamma(state.mean**2 / variance))


def _of_two(function: Function, operands: Sequence[State], trimmed: bool) -> tuple[State, bool]:
    """Of two independent Gaussians; positions are taken as alike."""
    by_latent = {each.latent_id: each for each in reversed(operands)}
    one, two = (by_latent[latent] for latent in dict.fromkeys(each.latent_id for each in operands))
    rows = [without_rounding(each.overall()) for each in operands]
    firsts = [each.latent_id == one.latent_id for each in operands]

    def points(steps: Sequence[float], curved: bool) -> list[Array]:
        lines = [
            beside(row, NODES[COARSE], steps[0], curved=curved)[:, :, None]
            if first
            else beside(row, NODES[COARSE], steps[1], curved=curved)[:, None, :]
            for row, first in zip(rows, firsts, strict=True)
        ]
        return [np.ascontiguousarray(each) for each in np.broadcast_arrays(*lines)]

    values, squares, converged = evaluated(function, points, 2, trimmed)
    weights = WEIGHTS_OF[2]
    squares = values**2 if squares is None else squares
    mean = float((values * weights).sum((-1, -2)).mean())
    variance = max(float((squares * weights).sum((-1, -2)).mean()) - mean * mean, 0.0)
    cov_positions, cov_samples = marginals.plane_covariances(
        values * weights, one.latent(), two.latent()
    )
    marginal = marginals.quantiles(values.reshape(len(values), -1), weights.ravel())
    result = State(
        one.axes,
        np.full_like(one.means, mean),
        at_diagonal(cov_positions, np.full(one.means.shape, variance)),
        cov_samples,
        marginals.standardized(marginal),
        notes=Annotations(
            log_variance=sample_effects.summed_log_variance(one, two),
            given_kernels=one.notes.given_kernels or two.notes.given_kernels,
        ),
    )
    return result, converged
