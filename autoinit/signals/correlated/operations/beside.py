"""Tensors one after the other along an axis of positions, such as the token of a class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoinit.signals.correlated import marginals
from autoinit.signals.correlated.marginals import Marginal
from autoinit.signals.correlated.operations.mixture import either, with_channels_of
from autoinit.signals.correlated.operations.reshape import arrange
from autoinit.signals.correlated.pairs import mapped_along
from autoinit.signals.correlated.positions import Axis, axes_of, maps_along
from autoinit.signals.correlated.state import Annotations, State
from autoinit.signals.geometry import Taps


def beside(parts: Sequence[State], sizes: Sequence[Sequence[int]], axis: int) -> State:
    """As `Signal.beside`; `either`, where positions of several parts have one representative."""
    parts = [arrange(part, each) for part, each in zip(parts, sizes, strict=True)]
    lengths = np.array([part.sizes[axis] for part in parts])
    total, ends = int(lengths.sum()), np.cumsum(lengths)
    whole = (*parts[0].sizes[:axis], total, *parts[0].sizes[axis + 1 :])
    if not _are_told_apart(axes_of(whole)[axis], ends[:-1]):
        return either(parts, lengths.tolist())
    # Each among zeros, and these together: parts have nothing in common.
    arrays = []
    for part, end, length in zip(parts, ends, lengths, strict=True):
        places = np.arange(total) - (end - length)
        reads = [np.arange(size) for size in part.sizes]
        reads[axis] = np.where((places >= 0) & (places < length), places, -1)
        taps = [Taps.summing(r[:, None], n) for r, n in zip(reads, part.sizes, strict=True)]
        moves = maps_along(taps, part.axes or ())
        arrays.append([
            mapped_along(part.means, [m.singles for m in moves]),
            mapped_along(part.cov_positions, [m.pairs for m in moves]),
            mapped_along(part.cov_samples, [m.pairs for m in moves]),
        ])  # fmt: skip
    shares = lengths / total
    marginal = _of_all([part.marginal for part in parts], shares)
    means, cov_positions, cov_samples = (
        np.asarray(sum(each)) for each in zip(*arrays, strict=True)
    )
    gaussian = all(part.notes.latent_is_gaussian and part.marginal is marginal for part in parts)
    logs = [part.notes.log_variance for part in parts]
    notes = Annotations(latent_is_gaussian=gaussian, log_variance=float(shares**2 @ logs))
    found = State(axes_of(whole), means, cov_positions, cov_samples, marginal, notes=notes)
    return with_channels_of(found, parts, shares)


def _are_told_apart(axis: Axis, borders: np.ndarray) -> bool:
    """Whether no representative stands for positions on both sides of one of these borders."""
    at_an_end = (borders <= axis.border) | (borders >= axis.size - axis.border)
    return axis.is_whole or bool(at_an_end.all())


def _of_all(kinds: Sequence[Marginal], shares: np.ndarray) -> Marginal:
    """The distribution of entries of several parts, of which each is standardized."""
    if all(kind is kinds[0] for kind in kinds):
        return kinds[0]
    values = np.broadcast_arrays(*(kind.functions for kind in kinds))
    weights = np.concatenate([share * marginals.WEIGHTS for share in shares])
    return marginals.standardized(marginals.quantiles(np.hstack(values), weights))
