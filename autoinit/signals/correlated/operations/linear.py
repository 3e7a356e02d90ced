"""Linear maps: by random weights, of each channel by itself, and over positions (B, C, F)."""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.channels.channels import Channels, Lengths, exchangeable
from autoinit.signals.correlated.channels.entries import mapped_along_axes, settled
from autoinit.signals.correlated.channels.positions import averaged, read_by
from autoinit.signals.correlated.channels.skewness import skewed
from autoinit.signals.correlated.known import (
    agreeing,
    by_given_kernel,
    participation,
    spatial_correlations,
)
from autoinit.signals.correlated.marginals import GRID, STANDARD, Marginal
from autoinit.signals.correlated.operations import sample_effects
from autoinit.signals.correlated.operations.mixture import by_parts
from autoinit.signals.correlated.operations.reshape import arrange, of_both
from autoinit.signals.correlated.pairs import diagonal, each_with_each, mapped_along
from autoinit.signals.correlated.positions import SpatialMap, maps_along, summed_windows
from autoinit.signals.correlated.state import Annotations, State
from autoinit.signals.geometry import Taps
from autoinit.signals.signal import Array, BiasMoments, KernelMoments, next_identity


@dataclass(frozen=True)
class _Read:
    """What kernels of one form make of a state, whatever their scale.

    Attributes:
        sums: of second moments over the taps that two positions share, in one sample and in two, as
            a state of the output's positions.
        seen: how many taps read real input, on average.
        log_variance: of second moments over draws, as `Annotations.log_variance`.
        marginal, notes: of the result; its source and its own `log_variance` are not among these.
    """

    sums: State
    seen: float
    log_variance: float
    marginal: Marginal
    notes: Annotations


def linear(state: State, kernel: KernelMoments, bias: BiasMoments) -> State:
    """Second moments are summed over the taps that two positions share (C)."""
    if kernel.windows and (state.axes is None or len(state.axes) != len(kernel.windows)):
        state = arrange(state, [int(windows.max()) + 1 for windows in kernel.windows])
    axes = state.axes or ()
    taps = tuple(
        Taps.summing(windows, axis.size)
        for windows, axis in zip(kernel.windows, axes, strict=False)
    )
    maps = [summed_windows(each, axis, len(axes)) for each, axis in zip(taps, axes, strict=False)]
    source = (
        None
        if kernel.windows
        else (state.identity, participation(state, kernel.channels), state.notes.of_one_length)
    )
    given = by_given_kernel(state, kernel, bias, maps)
    if given is not None:
        return replace(given, notes=replace(given.notes, source=source))
    read = _read(state, kernel, taps, maps)
    power = kernel.power / read.seen if read.seen else 0.0
    # Given weights have sums of their own, besides their squares.
    mean = kernel.total * state.mean + bias.mean
    common = (
        (kernel.squared_sum - kernel.power) * state.mean * state.mean
        + 2 * state.mean * bias.cross
        + bias.second_moment
        - mean * mean
    )
    power *= math.exp(-read.log_variance / 2)
    log_variance = state.notes.log_variance + read.log_variance
    return State(
        read.sums.axes,
        np.full_like(read.sums.means, mean),
        power * read.sums.cov_positions + common,
        power * read.sums.cov_samples + common,
        read.marginal,
        notes=replace(read.notes, source=source, log_variance=log_variance),
    )


def _read(
    state: State, kernel: KernelMoments, taps: Sequence[Taps], maps: Sequence[SpatialMap]
) -> _Read:
    first, second = (
        mapped_along(pairs + state.mean_products, [m.pairs for m in maps])
        for pairs in (state.cov_positions, state.cov_samples)
    )
    axes = tuple(m.output for m in maps) or state.axes or ()
    sums = State(axes, np.zeros([axis.count for axis in axes]), first, second, STANDARD)
    # The typical draw of the weights before has a smaller second moment than the mean of draws.
    inputs = kernel.units if kernel.channels == 1 else kernel.channels
    log_variance = math.log1p(sample_effects.mean_square_variance(state, 0.0) / inputs)
    # And a few units that read few directions are a few draws.
    log_variance += math.log1p(2 * state.notes.direction / kernel.units)
    marginal, effects = sample_effects.after_linear(state, kernel, sums)
    notes = replace(
        effects,
        latent_is_gaussian=True,
        channel_variance=(
            sample_effects.mean_square_variance(state, state.mean, 1) / kernel.channels
        ),
        correlation_variance=sample_effects.correlation_variance_after(
            state, kernel, taps, maps, first - second
        ),
    )
    seen = math.prod(float((windows >= 0).sum(1).mean()) for windows in kernel.windows)
    return _Read(sums, seen, log_variance, marginal, notes)


def affine(state: State, scale: Any, offset: Any) -> State:
    """Over channels: Q → E[a²]·Q + E[ab]·(m_p + m_q) + E[b²] (F)."""
    a, b = np.broadcast_arrays(np.asarray(scale, float), np.asarray(offset, float))
    alike = a.size == 1
    known = _channels_after(state, a.ravel(), b.ravel())
    if known is not None:
        before, channels = known
        notes = replace(
            state.notes, parts=(), logits=None, cov_channels=None, split=None, lineage=None
        )
        latent_id = state.latent_id if alike else next_identity()
        means = math.copysign(1.0, a.mean()) * state.means
        moved = replace(state, means=means, notes=notes, latent_id=latent_id, stored_marginal=None)
        return agreeing(moved, before, channels)
    if state.notes.parts and alike:
        return by_parts(state, lambda part: affine(part, scale, offset))
    first, second = each_with_each(state.means)
    means = a.mean() * state.means + b.mean()
    new_first, new_second = each_with_each(means)
    # Channels that are scaled and moved differently have this in common with themselves.
    offsets = (
        (a * a).mean() * first * second
        + (a * b).mean() * (first + second)
        + (b * b).mean()
        - new_first * new_second
    )
    power, split, made = (a * a).mean(), state.notes.split, state.notes.products
    across = of_both(state.notes.cov_channels, lambda each: power * each) if alike else None
    return replace(
        state,
        means=means,
        cov_positions=power * state.cov_positions + offsets,
        cov_samples=power * state.cov_samples + offsets,
        stored_marginal=state.marginal.scaled(-np.ones(1)) if a.mean() < 0 else state.marginal,
        latent_id=state.latent_id if alike else next_identity(),
        notes=replace(
            state.notes,
            parts=(),
            logits=None,
            lineage=None,
            cov_channels=across,
            split=(split[0].affine(a, b), split[1]) if split and alike else None,
            products=replace(made, scale=made.scale * float(a.mean())) if made and alike else None,
            known_channels=state.notes.known_channels or bool(np.ptp(a) or np.ptp(b)),
        ),
    )


def _channels_after(state: State, scale: Array, offset: Array) -> tuple[float, Channels] | None:
    """The variance of the channels' means before, and what is known of each then."""
    channels = state.channels
    if channels is not None and scale.size in (1, channels.count):
        return channels.shared, channels.affine(scale, offset)
    if channels is None and (np.ptp(scale) or np.ptp(offset)) and not state.notes.parts:
        alike = exchangeable(scale.size, state.mean, state.variance)
        if alike is not None and state.notes.of_one_length and alike.variance > 0:
            alike = replace(alike, lengths=Lengths.of(alike.covariances / alike.variance))
        return None if alike is None else (0.0, alike.affine(scale, offset))
    return None


def linear_map(state: State, maps: Sequence[Taps]) -> State:
    """Linear maps along the axes; the entries move or are averaged."""
    if state.axes is None or len(maps) != len(state.axes):
        state = arrange(state, [taps.size for taps in maps])
    moves = maps_along(maps, state.axes or ())
    # The same operation on the same tensor gives the same tensor.
    latent_id: Hashable = ("linear_map", state.identity, *maps)
    result = State(
        tuple(m.output for m in moves),
        mapped_along(state.means, [m.singles for m in moves]),
        mapped_along(state.cov_positions, [m.pairs for m in moves]),
        mapped_along(state.cov_samples, [m.pairs for m in moves]),
        STANDARD,
        latent_id,
        state.notes.keep("log_variance", "given_kernels"),
    )
    same = all(taps.moves for taps in maps)
    channels = state.channels
    if channels is not None:
        return _mapped_channels(state, channels, result, maps)
    return replace(result, stored_marginal=state.marginal if same else _averaged(state, result))


def _mapped_channels(
    state: State, channels: Channels, result: State, maps: Sequence[Taps]
) -> State:
    """Means as far as entries are read, and covariances as those over positions say."""
    spatial = functools.partial(spatial_correlations, state, channels.shared)
    step = read_by(maps, np.ones(channels.count), spatial)
    entries = mapped_along_axes(channels, maps)
    made_of = channels.followed_by(step) if step else ()
    whole = all(np.allclose(taps.weights.sum(1), 1.0) for taps in maps)
    if whole and channels.covariances.ndim > 2:
        covariances = averaged(channels, maps, spatial)
        found = Channels(channels.means, covariances, made_of=made_of, entries=entries)
        if all(taps.moves for taps in maps) and channels.functions is not None:
            latent = averaged(
                replace(channels, covariances=channels.latent_correlations()), maps, spatial
            )
            functions = channels.functions
            found = replace(found, functions=functions, latent=latent, third=channels.third)
        moves = all(taps.moves for taps in maps)
        if entries is not None:
            found = settled(found) if moves else skewed(found)
            return agreeing(result, channels.shared, found)
        if moves:
            return _at_some_positions(state, channels, result, found)
        return agreeing(result, channels.shared, skewed(found))
    share = result.mean / state.mean if abs(state.mean) > 1e-9 * math.sqrt(state.variance) else 1.0
    found = channels.affine(np.array(share), np.array(0.0))
    left = result.variance - found.shared
    factor = max(left, 0.0) / found.variance if found.variance > 0 else 0.0
    found = Channels(found.means, factor * found.at_same_position, made_of=made_of)
    if entries is not None:
        found = settled(replace(found, entries=entries))
        return agreeing(replace(result, stored_marginal=None), found.shared, found)
    notes = replace(result.notes, channels=found, known_channels=True)
    return replace(result, stored_marginal=None, notes=notes)


def _at_some_positions(state: State, channels: Channels, result: State, found: Channels) -> State:
    """Channels at some of their positions, which may have other moments than all together."""
    shared, alone = result.average(diagonal(result.cov_samples, result.means.shape)), []
    for each, common in ((state, channels.shared), (result, shared)):
        away = each.means - each.mean
        alone.append(each.average(each.variances + away * away) - common)
    before, after = alone
    factor = max(after, 0.0) / before if before > 0 else 1.0
    spread = math.sqrt(max(shared, 0.0) / channels.shared) if channels.shared > 0 else 1.0
    return agreeing(result, shared, found.moved(result.mean - state.mean, factor, spread))


def _averaged(state: State, mean: State) -> Marginal:
    """What the entries of a window share keeps its distribution, the rest turns Gaussian.

    The mean of a sample is shared by all of its entries.
    """
    marginal = state.marginal
    if marginal is STANDARD:
        return STANDARD
    before = state.average(state.variances)
    left = mean.average(mean.variances) / before if before > 0 else 0.0
    means, functions = marginal.means[:, None], marginal.functions
    common = float((means**2).mean())
    shared = min(max((left - common) / (1 - common), 0.0), 1.0) if common < 1 else 0.0
    parts = math.sqrt(shared) * (functions - means), math.sqrt(1 - shared) * GRID
    scales = np.sqrt(np.maximum(marginal.second_moments[:, None] - means**2, 0.0))
    if marginal.is_gaussian:
        return marginal
    rest = marginals.combined(np.add, parts[0], scales * parts[1])
    return marginals.standardized(means + math.sqrt(shared) * rest)


def with_other_latents(state: State, origin: Hashable = None) -> State:
    """As `Signal.with_other_latents`."""
    latent_id = next_identity() if origin is None else ("other latents", origin)
    parts = tuple(
        (share, with_other_latents(part, (latent_id, part.latent_id)))
        for share, part in state.notes.parts
    )
    # Other channels than those of which something may be known.
    notes = replace(state.notes, parts=parts, channels=None, split=None)
    return replace(state, latent_id=latent_id, notes=notes, stored_marginal=state.marginal)
