"""Shares of attention: logits, their masks, and the softmax over them (K)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from autoinit.quadrature import gaussian
from autoinit.signals.correlated.channels import shares_of
from autoinit.signals.correlated.known import agreeing, channels_of
from autoinit.signals.correlated.pairs import at_diagonal, diagonal, each_with_each
from autoinit.signals.correlated.state import OF_BRANCH, State
from autoinit.signals.signal import Masking

# Of a direction in the variance of tokens, below which their lengths are taken as alike.
_LEAST_PART = 1 / 32


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
    known = channels_of(state) if masking is None else None
    products = state.notes.products if masking is None else None
    masking = masking or Masking.none(count)
    common = (
        state.average(diagonal(state.notes.cov_channels[0], state.means.shape))
        if state.notes.cov_channels
        else 0.0
    )
    deviation = math.sqrt(max(state.variance - common, 0.0))
    mean, square = gaussian.masked_softmax(deviation, count, masking.seen)
    pulled = 0.0
    if state.notes.source is not None:
        _, part, alike_in_length = state.notes.source
        square, pulled = _of_features(deviation, count, masking, part, alike_in_length)
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
    notes = state.notes.keep(
        *OF_BRANCH,
        cov_channels=(cov_channels[0], cov_channels[1]),
        products=products and replace(products, shares=True),
    )
    if state.notes.source is not None:
        notes = replace(notes, pull=(state.notes.source[0], pulled, alike[0], alike[1]))
    result = State(
        state.axes,
        np.full_like(state.means, mean),
        at_diagonal(cov_positions, variances),
        cov_samples,
        state.marginal,
        notes=notes,
    )
    if known is None or known.count != count:
        return result
    shared = result.average(diagonal(cov_samples, state.means.shape))
    return agreeing(replace(result, stored_marginal=None), shared, shares_of(known))


def _of_features(
    deviation: float, count: int, masking: Masking, part: float, alike: bool
) -> tuple[float, float]:
    """E p², and what values gain that come from the same tensor as the keys, over their variance.

    Logits xᵀBy of tokens of n = 1/`part` features have deviations over y that differ between
    heads, and between tokens, unless these are all of one length (`alike`). A value correlates with
    the logit by its own direction's part of the variance: of that, Σ p·v takes E (Σ p_s z_s)² in
    place of E Σ p².
    """
    square = gained = 0.0
    seen = max(round(sum(masking.seen) / len(masking.seen)), 1)
    scales, weights = np.ones(1), np.ones(1)
    if part > _LEAST_PART:
        scales, weights = gaussian.scales_of_products(round(1 / part, 3), alike)
    for scale, weight in zip(scales, weights, strict=True):
        # Rounded, so that what is sampled is looked up the next time.
        each = float(f"{deviation * scale:.2g}")
        once = gaussian.masked_softmax(deviation * scale, count, masking.seen)[1]
        square += weight * once
        gained += weight * part * (gaussian.softmax_pull(each, seen) - count * once)
    return float(square), float(gained)
