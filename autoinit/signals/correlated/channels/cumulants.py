"""Third cumulants of sums, from all that they were made of (L).

A unit sums what functions such as ReLU leave of Gaussians that correlate, and these Gaussians are
sums themselves, whose third cumulants pass a function as far as it rises. So a sum's cumulant is
one of sums over several layers: of each function on the way, with the weights that all paths from
there to the sum come to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoinit.signals.correlated.channels.channels import Bend, Channels, central, extended
from autoinit.signals.correlated.channels.paths import Spatial, Step
from autoinit.signals.signal import Array

# Hermite polynomials that are kept.
ORDERS = 4
# Weights relative to the largest that count, and functions on the way that are looked through.
_LEAST_WEIGHT, _DEPTH = 0.05, 2
# Multiplications that it may take, inputs of which directions are found, and how many of these.
_MOST_OPERATIONS, _MOST_INPUTS, _DIRECTIONS = 2e7, 320, 16


def third_cumulants(channels: Channels) -> Array:
    """Of each channel, (channels,); 0 where nothing is known of what it was made of."""
    return _Cumulants(channels).found


def of_sums(weights: Array, found: Array, own: Array, latent: Array) -> Array:
    """Third cumulants of Σ w·f(Z).

    Of normalized Hermite polynomials of three Gaussians E h_i·h_j′·h_k″ is √C(k, i)·ρ_13^i·ρ_23^j
    for k = i + j, and 2√2·ρ_12·ρ_13·ρ_23 where all are of order 2; these are kept. What each f has
    by itself is exact.

    Args:
        weights: (inputs, units).
        found: Hermite coefficients of the functions, (inputs, orders + 1).
        own: third cumulants of the functions, (inputs,).
        latent: correlations of the Gaussians, (inputs, inputs).
    """
    inputs, units = weights.shape
    own = own.copy()
    total = np.zeros(units)
    read, power = {}, np.ones_like(latent)
    for order in range(1, ORDERS):
        power = power * latent
        read[order] = power @ (weights * found[:, order, None])
    for i, j in ((i, j) for i in read for j in read if i <= j and i + j <= ORDERS):
        times = 3 * (1 + (i < j)) * math.sqrt(math.comb(i + j, i))
        total += times * (weights * found[:, i + j, None] * read[i] * read[j]).sum(0)
        own -= times * found[:, i] * found[:, j] * found[:, i + j]
    if inputs <= _MOST_INPUTS:
        roots, vectors = np.linalg.eigh(latent)
        number = min(_DIRECTIONS, inputs)
        factors = vectors[:, -number:] * np.sqrt(np.maximum(roots[-number:], 0.0))
        bent = weights * found[:, 2, None]
        within = np.einsum("id,iu,ie->ude", factors, bent, factors, optimize=True)
        total += 2 * math.sqrt(2) * np.einsum("ude,ued->u", within @ within, within)
        own -= 2 * math.sqrt(2) * found[:, 2] ** 3 * (factors**2).sum(1) ** 3
    return np.asarray(total + weights.T**3 @ own)


@dataclass(frozen=True)
class _Reads:
    """What sums read of some channels, at offsets from their own position.

    Attributes:
        source: the channels.
        weights: by offset, (channels, sums), or where each sum reads one channel (sums,).
        index: which channel each sum reads, where that is one; else None.
        depth: of functions on the way.
        spatial: correlations by displacement, as `Step` has them.
    """

    source: Channels
    weights: dict[tuple[int, ...], Array]
    index: NDArray[np.intp] | None
    depth: int
    spatial: Spatial

    def whole(self) -> _Reads:
        """With weights of all channels."""
        if self.index is None:
            return self
        sums = np.arange(len(self.index))
        weights = {}
        for offset, each in self.weights.items():
            weights[offset] = np.zeros((self.source.count, len(sums)))
            weights[offset][self.index, sums] = each
        return replace(self, weights=weights, index=None)

    def pruned(self) -> _Reads:
        """Without what reads so little that its third power is nothing; what overflows stays."""
        sizes = {offset: float(np.abs(each).max()) for offset, each in self.weights.items()}
        least = _LEAST_WEIGHT * max(sizes.values(), default=0.0)
        weights = {at: each for at, each in self.weights.items() if not sizes[at] < least}
        return replace(self, weights=weights)

    def along(self, rank: int) -> _Reads:
        """With offsets along so many axes; the same position is that along all of them."""
        weights = {offset or (0,) * rank: each for offset, each in self.weights.items()}
        return replace(self, weights=weights)

    def through(self, source: Channels, step: Step) -> _Reads | None:
        """What they read of the channels that these were made of; None where that is not known."""
        if step.reads is not None or any(split != 1 for split in step.splits):
            return None
        rank = step.offsets.shape[1]
        found: dict[tuple[int, ...], Array] = {}
        single = step.weights.ndim == 2
        times = step.weights.shape[-1] // source.count
        for offset, mine in self.weights.items():
            if offset and rank not in (0, len(offset)):
                return None
            start = np.array(offset or (0,) * rank, int)
            for weights, beside, share in zip(step.weights, step.offsets, step.shares, strict=True):
                # Of positions without a tap a sum's third power has so much less.
                weights = np.cbrt(share) * weights
                if self.index is not None:
                    part = mine * (weights[self.index] if single else weights[:, self.index])
                elif single:
                    part = (weights[:, None] * mine).reshape(source.count, times, -1).sum(1)
                else:
                    part = weights @ mine
                moved = start * (step.strides or 1) + beside if rank else offset
                at = tuple(int(each) for each in moved)
                found[at] = found[at] + part if at in found else part
        index = self.index // times if single and self.index is not None else None
        return _Reads(source, found, index, self.depth, step.spatial or self.spatial)


class _Cumulants:
    """Third cumulants of sums, from all that they were made of.

    A function f of Gaussians has the cumulants of `of_sums`; what its Gaussians were made of passes
    it as far as f rises, E f′, and so on.
    """

    def __init__(self, channels: Channels) -> None:
        self.found = np.zeros(channels.count)
        self._left = _MOST_OPERATIONS
        self._pending: dict[int, _Reads] = {}
        every = np.arange(channels.count)
        begin = _Reads(channels, {(): np.ones(channels.count)}, every, 0, None)
        self._through_steps(begin)
        while self._pending:
            # Whatever reads a tensor was made later.
            self._take(self._pending.pop(max(self._pending)).pruned())

    def _through_steps(self, reads: _Reads) -> None:
        for source, step in reads.source.made_of:
            taps = len(step.weights) * len(reads.weights)
            self._left -= taps * source.count * reads.source.count * len(self.found)
            found = reads.through(source, step) if self._left > 0 else None
            if found is not None:
                self._add(found)

    def _add(self, reads: _Reads) -> None:
        before = self._pending.get(reads.source.identity)
        if before is not None:
            reads, before = reads.whole(), before.whole()
            rank = max(len(offset) for each in (reads, before) for offset in each.weights)
            reads, before = reads.along(rank), before.along(rank)
            weights = dict(before.weights)
            for offset, each in reads.weights.items():
                weights[offset] = weights[offset] + each if offset in weights else each
            depth = min(reads.depth, before.depth)
            reads = replace(reads, weights=weights, depth=depth)
        self._pending[reads.source.identity] = reads

    def _take(self, reads: _Reads) -> None:
        if reads.source.samples is not None:
            self.found += _of_samples(reads.source.samples, reads.whole())
            return
        bend = reads.source.bend
        if bend is None:
            self._through_steps(reads)
            return
        own, source = bend.own, None
        if bend.latent is None and reads.source.made_of and reads.depth + 1 < _DEPTH:
            ((source, _),) = reads.source.made_of
            if source.third is not None:
                own = own - bend.slopes**3 * source.third
        self.found += self._of_bend(reads, bend, own)
        if source is not None and source.made_of:
            further = reads.through(source, Step(bend.slopes[None]))
            if further is not None:
                self._add(replace(further, depth=reads.depth + 1))

    def _of_bend(self, reads: _Reads, bend: Bend, own: Array) -> Array:
        rows = np.array([*reads.weights.values()])  # (taps, sums), or (taps, channels, sums)
        taps, operations = len(rows), rows.size * math.prod(rows.shape[:-1])
        if operations > self._left or (bend.latent is None and not reads.source.made_of):
            # What each function has by itself.
            own = own[:, None] if reads.index is None else own[reads.index]
            return np.asarray((rows**3 * own).reshape(-1, len(self.found)).sum(0))
        self._left -= operations
        pairs = self._latent(reads, bend)  # taps, taps, channels, channels
        if reads.index is None:
            rows = rows.reshape(-1, len(self.found))
            whole = pairs.transpose(0, 2, 1, 3).reshape(len(rows), -1)
            return of_sums(rows, np.tile(bend.orders, (taps, 1)), np.tile(own, taps), whole)
        found = [
            of_sums(row[:, None], bend.orders[[c] * taps], own[[c] * taps], pairs[..., c, c])
            for row, c in zip(rows.T, reads.index, strict=True)
        ]
        return np.concatenate(found)

    def _latent(self, reads: _Reads, bend: Bend) -> Array:
        values = bend.latent
        if values is None:
            ((source, _),) = reads.source.made_of
            values = source.latent_correlations()
        offsets = np.array([*reads.weights], int).reshape(len(reads.weights), -1)
        if not offsets.shape[1] or len(offsets) == 1:
            return central(values)[None, None]
        if values.ndim == 2:
            values = values[(None,) * offsets.shape[1]]
        reach = np.ptp(offsets, 0)
        have = [size // 2 for size in values.shape[:-2]]
        if any(each > most for each, most in zip(reach, have, strict=True)):
            near = reads.spatial
            sizes = tuple(2 * int(each) + 1 for each in reach)
            beyond = np.zeros(sizes) if near is None else near(reach)
            values = extended(values, beyond)
        middle = np.array([size // 2 for size in values.shape[:-2]], int)
        apart = offsets[None] - offsets[:, None] + middle
        return np.asarray(values[tuple(np.moveaxis(apart, -1, 0))])


def _of_samples(samples: Array, reads: _Reads) -> Array:
    """As measured; 0 where windows do not fit between the positions."""
    sizes = samples.shape[1:-1]
    offsets = np.array([*reads.weights], int).reshape(len(reads.weights), -1)
    total: Array = np.zeros(())
    if offsets.shape[1] != len(sizes):
        if len(offsets) > 1:
            return np.zeros(next(iter(reads.weights.values())).shape[1])
        return _third(samples.reshape(-1, samples.shape[-1]) @ next(iter(reads.weights.values())))
    for offset, weights in zip(
        offsets - offsets.min(0, initial=0), reads.weights.values(), strict=True
    ):
        if any(at >= size for at, size in zip(offset, sizes, strict=True)):
            return np.zeros(weights.shape[1])
        total = total + samples[(slice(None), *offset)] @ weights
    return _third(total)


def _third(values: Array) -> Array:
    return np.asarray(((values - values.mean(0)) ** 3).mean(0))
