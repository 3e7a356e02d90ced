"""Moments of a tensor, computed where it lies.

A float32 tensor may hold entries of 1e-38 or 1e+38, whose squares no float32 can hold. On an
accelerator entries are centred and divided by the largest, so that only the scale, kept apart,
is extreme; on a CPU the tensor is viewed as a NumPy array, which sums it several times faster than
the framework's own operations do, and double precision takes over where single would not do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

_ROW = 4096  # entries summed in single precision before double takes over
_SAFE = (1e-12, 1e12)  # largest absolute values whose squares single precision sums well


@dataclass(frozen=True)
class Moments:
    """Figures of all entries of a tensor; moments and extremes are those of the finite ones.

    Attributes:
        count: number of entries.
        mean, variance: NaN where no entry is finite.
        minimum, maximum: likewise.
        zero_fraction: share of entries equal to zero.
        finite_fraction: share of entries that are finite.
    """

    count: int
    mean: float
    variance: float
    minimum: float
    maximum: float
    zero_fraction: float
    finite_fraction: float

    def merge(self, other: Moments) -> Moments:
        """Figures of both tensors' entries together (Chan, Golub & LeVeque 1979)."""
        if not self.finite_fraction * self.count:
            left, right = other, self
        else:
            left, right = self, other
        count = self.count + other.count
        share = [part.count / count for part in (left, right)]
        zero = sum(s * part.zero_fraction for s, part in zip(share, (left, right), strict=True))
        finite = sum(s * part.finite_fraction for s, part in zip(share, (left, right), strict=True))
        if not right.finite_fraction:
            return Moments(
                count, left.mean, left.variance, left.minimum, left.maximum, zero, finite
            )
        weight = share[1] * right.finite_fraction / finite
        difference = right.mean - left.mean
        return Moments(
            count,
            left.mean + weight * difference,
            (1 - weight) * left.variance
            + weight * right.variance
            + weight * (1 - weight) * difference**2,
            min(left.minimum, right.minimum),
            max(left.maximum, right.maximum),
            zero,
            finite,
        )


class Pending:
    """Moments that a device may still be computing; `result` waits for them."""

    def __init__(self, tensor: Any, on_host: bool) -> None:
        self.count = math.prod(tensor.shape)
        self._moments = of_array(_as_array(tensor)) if on_host else None
        self.summary = None if on_host else _summary(tensor)

    def result(self, summary: NDArray[np.floating] | None = None) -> Moments:
        """The figures.

        Args:
            summary: the fetched values of `self.summary`, for tensors on an accelerator.
        """
        if self._moments is not None:
            return self._moments
        assert summary is not None  # a caller's slip, no user's
        return _from_summary(self.count, np.asarray(summary, np.float64))


def fetch(pending: list[Pending]) -> list[Moments]:
    """All results, in one transfer from the device."""
    waiting = [item.summary for item in pending if item.summary is not None]
    fetched = iter(ops.convert_to_numpy(ops.stack(waiting)) if waiting else ())
    return [item.result(None if item.summary is None else next(fetched)) for item in pending]


def _as_array(tensor: Any) -> NDArray[np.float32]:
    # TensorFlow's own conversion copies; its tensors' buffers can be viewed as they are.
    direct = keras.backend.backend() == "tensorflow" and hasattr(tensor, "__array__")
    array = np.asarray(tensor if direct else ops.convert_to_numpy(tensor))
    return array.astype(np.float32, copy=False)


def of_array(values: NDArray[np.float32]) -> Moments:
    """Moments of a single-precision array; row sums in single, their sums in double precision."""
    flat = values.reshape(-1)
    count = flat.size
    if not count:
        return Moments(0, math.nan, math.nan, math.nan, math.nan, 0.0, 0.0)
    zero_fraction = np.count_nonzero(flat == 0) / count
    minimum, maximum = float(flat.min()), float(flat.max())  # NaN if any entry is
    largest = max(-minimum, maximum)
    if not math.isfinite(largest):
        return _of_unruly(flat, zero_fraction)
    if largest == 0.0:
        return Moments(count, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0)
    whole = count - count % _ROW
    rows = flat[:whole].reshape(-1, _ROW)
    rest = flat[whole:].astype(np.float64)
    if _SAFE[0] < largest < _SAFE[1]:
        ones = np.ones(_ROW, np.float32)
        mean = (float((rows @ ones).sum(dtype=np.float64)) + rest.sum()) / count
        square = float(np.vecdot(rows, rows).sum(dtype=np.float64)) + rest @ rest
        variance = square / count - mean * mean
        if variance > 1e-3 * mean * mean:
            return Moments(count, mean, variance, minimum, maximum, zero_fraction, 1.0)
    mean = float(flat.mean(dtype=np.float64))
    variance = _centred_square(flat, mean) / count
    return Moments(count, mean, variance, minimum, maximum, zero_fraction, 1.0)


def _centred_square(flat: NDArray[np.float32], mean: float) -> float:
    total = 0.0
    for start in range(0, flat.size, 1 << 16):  # double-precision copies of a part at a time
        part = flat[start : start + (1 << 16)].astype(np.float64) - mean
        total += float(part @ part)
    return total


def _of_unruly(flat: NDArray[np.float32], zero_fraction: float) -> Moments:
    finite = flat[np.isfinite(flat)]
    share = finite.size / flat.size
    if not finite.size:
        return Moments(flat.size, math.nan, math.nan, math.nan, math.nan, zero_fraction, 0.0)
    part = of_array(finite)
    return Moments(
        flat.size, part.mean, part.variance, part.minimum, part.maximum, zero_fraction, share
    )


def _summary(tensor: Any) -> Any:
    """[minimum, maximum, scale, mean, variance, zeros, finite], on the device.

    Mean and variance are of entries divided by `scale`, the largest absolute value; the last two
    are shares.
    """
    x = ops.reshape(ops.cast(tensor, "float32"), (-1,))
    finite = ops.isfinite(x)
    share = ops.mean(ops.cast(finite, "float32"))
    known = ops.where(finite, x, 0.0)
    number = ops.maximum(share, 1e-30)
    scale = ops.max(ops.abs(known))
    scale = ops.where(scale > 0, scale, 1.0)
    scaled = known / scale
    mean = ops.mean(scaled) / number
    deviation = ops.where(finite, scaled - mean, 0.0)
    # What rounding left of the mean is taken out of the variance again.
    left = ops.mean(deviation) / number
    variance = ops.mean(ops.square(deviation)) / number - ops.square(left)
    infinite = ops.full_like(x, float("inf"))
    return ops.stack([
        ops.min(ops.where(finite, x, infinite)), ops.max(ops.where(finite, x, -infinite)),
        scale, mean + left, variance, ops.mean(ops.cast(x == 0, "float32")), share,
    ])  # fmt: skip


def _from_summary(count: int, summary: NDArray[np.float64]) -> Moments:
    minimum, maximum, scale, mean, variance, zeros, finite = summary.tolist()
    if not finite:
        return Moments(count, math.nan, math.nan, math.nan, math.nan, zeros, 0.0)
    return Moments(count, mean * scale, variance * scale * scale, minimum, maximum, zeros, finite)


def summarise(tensor: Any) -> Moments:
    """Moments of one tensor by the accelerator's path, wherever it lies."""
    item = Pending(tensor, on_host=False)
    return fetch([item])[0]


def lies_on_host(device: str) -> bool:
    """Whether a device's memory is the CPU's."""
    return device == "cpu" or keras.backend.backend() == "numpy"
