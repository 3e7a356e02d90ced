"""Entries that are lost at random: one by one, or over samples, positions or channels together."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.functions import dropped
from autoinit.signals.correlated.known import agreeing
from autoinit.signals.correlated.operations.reshape import of_both
from autoinit.signals.correlated.pairs import at_diagonal, each_with_each
from autoinit.signals.correlated.state import OF_BRANCH, State
from autoinit.signals.signal import MANY, next_identity


def dropout(
    state: State,
    probability: float,
    gain: float,
    otherwise: float = 0.0,
    shared: frozenset[str] = frozenset(),
    samples: int = MANY,
) -> State:
    """As `Signal.dropout`."""
    kept, lost = probability, 1 - probability
    variances = kept * gain**2 * state.variances
    variances = variances + kept * lost * (gain * state.means - otherwise) ** 2
    first, second = each_with_each(gain * state.means - otherwise)
    cov_positions, cov_samples = (
        # Either both are kept or neither is, or each by itself.
        kept * (gain**2 * pairs + lost * first * second) if together else (kept * gain) ** 2 * pairs
        for pairs, together in (
            (state.cov_positions, "positions" in shared),
            (state.cov_samples, {"positions", "samples"} <= shared),
        )
    )
    values = gain * state.overall()
    none = np.full((len(values), 1), otherwise)
    weights = np.append(kept * marginals.WEIGHTS, lost)
    functions = marginals.quantiles(np.hstack([values, none]), weights)
    if {"positions", "channels"} <= shared and "samples" not in shared and otherwise == 0:
        # Whole samples are dropped: E q² / (E q)² = 1/kept, where a batch has any at all.
        number = lost * samples
        log_variance = -math.log(max(kept, 1e-3)) * number / (1 + number)
        second_moments = state.marginal.second_moments
        changed = marginals.with_log_variance(second_moments, log_variance)
        functions = np.sqrt(changed / second_moments)[:, None] * state.marginal.functions
    pull = state.notes.pull
    if pull is not None:
        # Of attention: two shares of a position are kept or not, each by itself.
        pull = pull[0], (kept * gain) ** 2 * pull[1], *pull[2:]
    channels = state.channels if otherwise == 0 and not (shared & {"samples", "channels"}) else None
    if channels is not None:
        known = dropped(channels, kept, gain, alike="positions" in shared)
        notes = state.notes.keep(*OF_BRANCH, pull=pull)
        result = replace(state, means=kept * gain * state.means, notes=notes)
        result = replace(
            result,
            cov_positions=at_diagonal(cov_positions, variances),
            cov_samples=cov_samples,
            stored_marginal=marginals.standardized(functions),
            latent_id=next_identity(),
        )
        return agreeing(result, (kept * gain) ** 2 * channels.shared, known)
    across = of_both(state.notes.cov_channels, lambda each: (kept * gain) ** 2 * each)
    return State(
        state.axes,
        kept * gain * state.means + lost * otherwise,
        at_diagonal(cov_positions, variances),
        cov_samples,
        marginals.standardized(functions),
        notes=state.notes.keep(*OF_BRANCH, cov_channels=across, pull=pull),
    )
