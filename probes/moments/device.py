"""Moments of tensors on an accelerator, computed where they lie.

A float32 tensor may hold entries of 1e-38 or 1e+38, whose squares no float32 can hold: entries are
centered and divided by the largest, so that only the scale, kept apart, is extreme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

import numpy as np
from keras import ops
from keras.backend import backend
from numpy.typing import NDArray

from probes.moments import correlation, distribution
from probes.moments.correlation import Correlations, Squares
from probes.moments.distribution import UNKNOWN
from probes.moments.figures import Bounds, Moments, nothing_finite
from probes.moments.precision import standard_error
from probes.moments.recorder import UNTOLD, FirstAxis, Recorder, recorded_shape, rows_of

_BASIC = 7  # numbers of a tensor that `summarized` gives


class DeviceRecorder(Recorder):
    """Moments of tensors on an accelerator: a few numbers each, fetched in one transfer."""

    def __exit__(self, *exception: object) -> None:
        self._figures.clear()

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
        known = self._figures.setdefault(object() if key is None else key, _OnDevice(bounds))
        known.add(ops.reshape(tensor, recorded_shape(tensor)), last or key is None, samples)

    def record_summary(self, summary: Any, count: int, key: Hashable) -> None:
        """Take what `summarized` gave first for a tensor of so many entries, as one row of them."""
        self._figures.setdefault(key, _OnDevice(None)).add_summary(summary, count)

    def standard_errors(self) -> dict[Hashable, float | None]:
        """Of the variances: see `Recorder.standard_errors`."""
        different = {id(figures): figures for figures in self._figures.values()}
        fetched = _fetched({key: figures.of_batches() for key, figures in different.items()})
        found = {key: different[key].standard_error(numbers) for key, numbers in fetched.items()}
        return {key: found[id(figures)] for key, figures in self._figures.items()}

    def results(self) -> list[Moments]:
        """Of all tensors or keys, in the order of their first recording."""
        different = {id(figures): figures for figures in self._figures.values()}
        fetched = _fetched({key: figures.numbers() for key, figures in different.items()})
        found = {key: different[key].moments(numbers) for key, numbers in fetched.items()}
        return [found[id(figures)] for figures in self._figures.values()]


def _fetched(pieces: dict[int, list[Any]]) -> dict[int, NDArray[np.float64]]:
    """Vectors by key, joined and fetched in one transfer."""
    if not pieces:
        return {}
    together = ops.concatenate([piece for each in pieces.values() for piece in each])
    fetched = np.asarray(ops.convert_to_numpy(together), np.float64)
    found, start = {}, 0
    for key, each in pieces.items():
        stop = start + sum(piece.shape[0] for piece in each)
        found[key] = fetched[start:stop]
        start = stop
    return found


class _OnDevice:
    """The figures of one tensor by Keras's own operations: the numbers stay where they are."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._counts: list[int] = []  # entries of each batch
        self._basic: list[Any] = []
        self._samples = 0
        self._speaks: Any = None  # by channel, whether it was not zero
        self._few: list[Any] = []
        self._looked: Any = None
        self._taken = (0, 0, 0)
        self._rows: list[Any] = []  # mean and variance of each sample, by batch
        self._row_counts: list[int] = []
        self._mixed = False

    def add(self, tensor: Any, last: bool, samples: FirstAxis = UNTOLD) -> None:
        """Take samples, positions, channels; `last` where no more follow."""
        shape = tuple(tensor.shape)
        summary, deviation = summarized(tensor)
        self.add_summary(summary, math.prod(shape))
        if rows_of(shape, samples):
            self._rows.append(_by_sample(ops.reshape(deviation, (samples.number, -1))))
            self._row_counts.append(samples.number)
            self._mixed = samples.mixed
        wanted = correlation.enough(shape)
        if not wanted:
            return
        self._samples += shape[0]
        table = ops.reshape(tensor, (-1, wanted.channels))
        speaks = ops.any(ops.not_equal(table, 0), axis=0)
        self._speaks = speaks if self._speaks is None else ops.logical_or(self._speaks, speaks)
        missing = wanted.samples - self._taken[0]
        if missing < 1 or self._looked is not None:
            return
        taken = min(shape[0], missing)
        self._taken = self._taken[0] + taken, wanted.positions, wanted.channels
        form = (taken, wanted.positions, wanted.channels)
        if not self._few and (last or taken == wanted.samples or not wanted.collected):
            few = ops.reshape(deviation[: math.prod(form)], form)
            self._looked = _look_on_device(few, summary[2], summary[3], self._bounds)
        else:
            # PyTorch's slices hold on to what they were cut from.
            few = ops.copy(ops.cast(tensor[:taken], "float32"))
            self._few.append(ops.reshape(few, form))
            if last or self._taken[0] == wanted.samples:
                self._look_at_few()

    def add_summary(self, summary: Any, count: int) -> None:
        """Take what is known of so many entries."""
        self._counts.append(count)
        self._basic.append(summary)

    def of_batches(self) -> list[Any]:
        """Vectors of all that `standard_error` needs."""
        return [*self._basic, *self._rows]

    def standard_error(self, numbers: NDArray[np.float64]) -> float | None:
        """Of the variance so far, relative to it, from the fetched numbers of batches."""
        count = len(self._counts)
        if not self._rows or len(self._rows) < count:
            return None
        batches = numbers[: _BASIC * count].reshape(-1, _BASIC)
        scales, means, shares = batches[:, 2], batches[:, 3], batches[:, 6]
        if not (shares == 1.0).all():
            return None
        largest, start, rows = scales.max(), _BASIC * count, []
        for scale, mean, samples in zip(scales / largest, means, self._row_counts, strict=True):
            own, square = numbers[start : start + 2 * samples].reshape(2, -1)
            rows.append(np.stack([(own + mean) * scale, np.maximum(square, 0.0) * scale**2]))
            start += 2 * samples
        return standard_error(rows, self._mixed)

    def numbers(self) -> list[Any]:
        """Vectors of all that `moments` needs."""
        if self._looked is None and self._few:
            self._look_at_few()
        pieces = self.of_batches()
        if self._looked is not None and self._speaks is not None:
            dead = ops.mean(ops.cast(ops.logical_not(self._speaks), "float32"))
            pieces += [self._looked, ops.reshape(dead, (1,))]
        return pieces

    def moments(self, numbers: NDArray[np.float64]) -> Moments:
        """Of all samples, from the fetched numbers."""
        batches = numbers[: _BASIC * len(self._counts)].reshape(-1, _BASIC)
        parts = [_of_summary(*pair) for pair in zip(self._counts, batches, strict=True)]
        moments = parts[0]
        for part in parts[1:]:
            moments = moments.merge(part)
        moments = replace(moments, standard_error=self.standard_error(numbers))
        rest = numbers[batches.size + 2 * sum(self._row_counts) :].tolist()
        if not rest or self._samples < 2 or moments.finite_fraction < 1.0:
            return moments
        scale, variance, *looked, dead = rest
        found, shape = Correlations(), UNKNOWN
        if self._taken[0] > 1 and variance > 0.0:
            cut = len(Squares._fields)
            found = correlation.solve(self._taken, variance, Squares(*looked[:cut]))
            shape = distribution.from_device(looked[cut:], scale)
        return moments.with_details(found, shape._replace(dead_fraction=dead))

    def _look_at_few(self) -> None:
        few = ops.concatenate(self._few)
        self._few.clear()
        summary, deviation = summarized(few)
        deviation = ops.reshape(deviation, few.shape)
        self._looked = _look_on_device(deviation, summary[2], summary[3], self._bounds)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """By JAX as a whole, once for each shape; it would compile each operation for each shape."""
    if backend() != "jax":
        return function
    import jax

    compiled: Callable[..., Any] = jax.jit(function)
    return compiled


@_compiled
def summarized(tensor: Any) -> tuple[Any, Any]:
    """What is known of all entries, on the device.

    Returns:
        [minimum, maximum, scale, mean, variance, zeros, finite]: mean and variance are of entries
        divided by `scale`, the largest absolute value; zeros and finite are shares.
        All entries, divided by the scale, around a mean of nearly 0.
    """
    x = ops.reshape(ops.cast(tensor, "float32"), (-1,))
    finite = ops.isfinite(x)
    # The mean of ones may be rounded; that of zeros is not.
    share = 1.0 - ops.mean(ops.cast(ops.logical_not(finite), "float32"))
    known = ops.where(finite, x, 0.0)
    number = ops.maximum(share, 1e-30)
    scale = ops.max(ops.abs(known))
    # No more than 1e37: XLA multiplies by the inverse, which must not underflow.
    scale = ops.minimum(ops.where(scale > 0, scale, 1.0), 1e37)
    scaled = known / scale
    mean = ops.mean(scaled) / number
    deviation = ops.where(finite, scaled - mean, 0.0)
    # What rounding left of the mean is taken out of the variance again.
    left = ops.mean(deviation) / number
    variance = ops.mean(ops.square(deviation)) / number - ops.square(left)
    infinite = ops.full_like(x, float("inf"))
    summary = ops.stack(
        [
            ops.min(ops.where(finite, x, infinite)),
            ops.max(ops.where(finite, x, -infinite)),
            scale,
            mean + left,
            variance,
            ops.mean(ops.cast(x == 0, "float32")),
            share,
        ]
    )
    return summary, deviation


@_compiled
def _by_sample(deviation: Any) -> Any:
    """[means…, variances…] of the rows of a table, one after the other."""
    means = ops.mean(deviation, axis=1, keepdims=True)
    variances = ops.mean(ops.square(deviation - means), axis=1)
    return ops.concatenate([ops.reshape(means, (-1,)), variances])


@_compiled
def _look_on_device(few: Any, scale: Any, mean: Any, bounds: Bounds) -> Any:
    """[scale, variance, squares…, shape…] of the first samples, of which the mean was taken out."""
    left = ops.mean(few)
    few = few - left
    variance = ops.mean(ops.square(few))
    around = None if bounds is None else [bound / scale - mean - left for bound in bounds]
    numbers = correlation.on_device(few) + distribution.on_device(few, variance, around)
    return ops.stack([scale, variance, *numbers])


def _of_summary(count: int, summary: NDArray[np.float64]) -> Moments:
    minimum, maximum, scale, mean, variance, zeros, finite = summary.tolist()
    if minimum > maximum:  # no entry is finite, of which rounding may leave a share
        return nothing_finite(count, zeros)
    return Moments(count, mean * scale, variance * scale * scale, minimum, maximum, zeros, finite)
