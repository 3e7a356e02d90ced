"""Moments of tensors in the CPU's memory.

Such a tensor is viewed as a NumPy array. Squares of entries of 1e-38 or 1e+38, which no float32
can hold, are taken in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoinit.arrays import as_array
from probes.moments import correlation, distribution
from probes.moments.correlation import Correlations
from probes.moments.distribution import UNKNOWN, Distribution
from probes.moments.figures import Bounds, Moments, nothing_finite
from probes.moments.precision import Rows, standard_error
from probes.moments.recorder import UNTOLD, FirstAxis, Recorder, recorded_shape, rows_of
from probes.moments.sums import (
    Sums,
    joined,
    mean_and_variance,
    row_moments,
    silent_columns,
    sums_of,
)


class HostRecorder(Recorder):
    """Moments of tensors in the CPU's memory, summed in a thread while the framework goes on.

    The framework leaves about half a core of two idle. One tensor is summed at a time, and a call's
    is done before the next call's is taken: that call mostly reads it, and would keep it anyway.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def record(
        self,
        tensor: Any,
        bounds: Bounds = None,
        key: Hashable = None,
        *,
        last: bool = False,
        samples: FirstAxis = UNTOLD,
    ) -> None:
        """Take a tensor's moments: see `Recorder.record`."""
        known = self._figures.setdefault(object() if key is None else key, _OnHost(bounds))
        values = as_array(tensor).astype(np.float32, copy=False).reshape(recorded_shape(tensor))
        self._wait()
        self._pending = self._thread.submit(known.add, values, last or key is None, samples)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def standard_errors(self) -> dict[Hashable, float | None]:
        """Of the variances: see `Recorder.standard_errors`."""
        self._wait()
        return {key: figures.standard_error() for key, figures in self._figures.items()}

    def results(self) -> list[Moments]:
        """Of all tensors or keys, in the order of their first recording."""
        self._wait()
        return [figures.moments() for figures in self._figures.values()]


class _OnHost:
    """The figures of one tensor, whose samples come batch by batch."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._moments: Moments | None = None
        self._samples = self._channels = 0
        self._silent: NDArray[np.intp] | None = None  # channels that were zero so far
        self._few: list[NDArray[np.float32]] = []
        self._looked: tuple[Correlations, Distribution] | None = None
        self._rows: list[Rows] = []  # mean and variance of each sample, by batch
        self._mixed = False

    def add(self, values: NDArray[np.float32], last: bool, samples: FirstAxis = UNTOLD) -> None:
        """Take samples, positions, channels; `last` where no more follow."""
        flat = values.reshape(-1)
        wanted = correlation.enough(values.shape)
        few = 0
        if wanted and self._looked is None:
            few = min(len(values), wanted.samples - sum(map(len, self._few)))
        row = rows_of(values.shape, samples)
        each = math.prod(values.shape[1:])
        entries, cut = few * each, each if row else 0
        first = sums_of(flat[:entries], cut)
        sums = joined([first, sums_of(flat[entries:], cut)])
        moments = _of_sums(flat, sums)
        self._moments = moments if self._moments is None else self._moments.merge(moments)
        if row and moments.finite_fraction == 1.0:
            sums = sums._replace(by_row=sums.by_row.reshape(2, samples.number, -1).sum(2))
            self._rows.append(row_moments(flat, row, sums, moments.mean, moments.variance))
            self._mixed = samples.mixed
        if not wanted:
            return
        self._samples += len(values)
        self._channels = wanted.channels
        table = values.reshape(-1, wanted.channels)
        self._silent = silent_columns(table, self._silent) if sums.zeros else np.empty(0, np.intp)
        if not few:
            return
        shaped = values[:few].reshape(few, wanted.positions, wanted.channels)
        if not self._few and (last or few == wanted.samples or not wanted.collected):
            self._looked = _look(shaped, first, self._bounds)
        else:
            self._few.append(shaped.copy())
            if last or sum(map(len, self._few)) == wanted.samples:
                self._look_at_few()

    def standard_error(self) -> float | None:
        """Of the variance so far, relative to it."""
        if not self._rows or self._moments is None or self._moments.finite_fraction < 1.0:
            return None
        return standard_error(self._rows, self._mixed)

    def moments(self) -> Moments:
        """Of all samples."""
        if self._moments is None:
            raise ValueError("No tensor was recorded.")
        moments = replace(self._moments, standard_error=self.standard_error())
        if self._silent is None or self._samples < 2 or moments.finite_fraction < 1.0:
            return moments
        if self._looked is None:
            self._look_at_few()
        found, shape = self._looked or (Correlations(), UNKNOWN)
        shape = shape._replace(dead_fraction=self._silent.size / self._channels)
        return moments.with_details(found, shape)

    def _look_at_few(self) -> None:
        few = np.concatenate(self._few)
        self._few.clear()
        self._looked = _look(few, sums_of(few.reshape(-1)), self._bounds)


def _of_sums(flat: NDArray[np.float32], sums: Sums) -> Moments:
    """Moments of entries of which the sums are known."""
    if not flat.size:
        return nothing_finite(0)
    zero_fraction = sums.zeros / flat.size
    if not math.isfinite(sums.largest):
        return _of_unruly(flat, zero_fraction)
    mean, variance = mean_and_variance(flat, sums)
    return Moments(flat.size, mean, variance, sums.minimum, sums.maximum, zero_fraction, 1.0)


def _look(
    few: NDArray[np.float32], sums: Sums, bounds: Bounds
) -> tuple[Correlations, Distribution]:
    """What the first samples tell: (samples, positions, channels), of which the sums are known."""
    if len(few) < 2 or not math.isfinite(sums.largest):
        return Correlations(), UNKNOWN
    mean, variance = mean_and_variance(few.reshape(-1), sums)
    if not variance > 0.0:
        return Correlations(), UNKNOWN
    squares = correlation.on_host(few if sums.safe else few.astype(np.float64))
    found = correlation.solve(few.shape, variance, squares)
    return found, distribution.on_host(few, mean, variance, bounds)


def _of_unruly(flat: NDArray[np.float32], zero_fraction: float) -> Moments:
    finite = flat[np.isfinite(flat)]
    share = finite.size / flat.size
    if not finite.size:
        return nothing_finite(flat.size, zero_fraction)
    part = _of_sums(finite, sums_of(finite))
    return replace(part, count=flat.size, zero_fraction=zero_fraction, finite_fraction=share)
