"""Shares of attention: logits, their masks, and the softmax over them (K)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from autoinit.quadrature import gaussian
from autoinit.signals.correlated.pairs import at_diagonal, diagonal, each_with_each
from autoinit.signals.correlated.state import OF_BRANCH, State
from autoinit.signals.signal import Masking


def masked(state: State, logits: State, masking: Masking) -> State:
    """As `Signal.masked`."""
    return replace(state, notes=replace(state.notes, logits=(logits, masking)))


def softmax(state: State, count: int, masking: Masking | None = None) -> State:
    """What all logits of a position have in common drops out.

    The covariance of two positions is that of log-normal variables, exact for small logits.
    """
    if state.notes.logits is not None:
        logits, masking = state.notes.logits
        return softmax(logits, count, masking)
    masking = masking or Masking.none(count)
    common = (
        state.average(diagonal(state.notes.cov_channels[0], state.means.shape))
        if state.notes.cov_channels
        else 0.0
    )
    deviation = math.sqrt(max(state.variance - common, 0.0))
    mean, square = gaussian.masked_softmax(deviation, count, masking.seen)
    first, second = each_with_each(state.deviations)
    scale = first * second
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = [
            np.clip(np.where(scale > 0, pairs / scale, 0.0), 0.0, 1.0)
            for pairs in (state.cov_positions, state.cov_samples)
        ]
    powers = [
        overlap / count * (square * count / overlap) ** correlation
        for overlap, correlation in zip(
            (masking.overlap, masking.overlap_between), alike, strict=True
        )
    ]
    cov_positions, cov_samples = (power - mean**2 for power in powers)
    # The shares of a position sum to 1.
    cov_channels = [
        (1 / count - power) / (count - 1) - mean**2 if count > 1 else power - mean**2
        for power in powers
    ]
    variances = np.full(state.means.shape, max(square - mean**2, 0.0))
    notes = state.notes.keep(*OF_BRANCH, cov_channels=(cov_channels[0], cov_channels[1]))
    return State(
        state.axes, np.full_like(state.means, mean), at_diagonal(cov_positions, variances),
        cov_samples, state.marginal, notes=notes,
    )  # fmt: skip
