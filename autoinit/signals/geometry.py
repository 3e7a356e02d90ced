"""Which input positions an output position sees, one spatial axis at a time.

Convolutions, transposed convolutions and pooling share one description: an integer array of shape
(output positions, taps) that holds the input position a tap reads, or -1 where it reads padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Windows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Taps:
    """A linear map along one axis, by what each output position reads.

    Attributes:
        reads: input positions, (output positions, taps).
        weights: of these; 0 where a tap reads padding.
        size: positions of the input.
    """

    reads: Windows
    weights: NDArray[np.float64]
    size: int

    @classmethod
    def summing(cls, axis_windows: Windows, size: int) -> Taps:
        """Sums of the real inputs of windows; of a single tap, moves and padding."""
        return cls(np.maximum(axis_windows, 0), (axis_windows >= 0).astype(float), size)

    @classmethod
    def averaging(cls, axis_windows: Windows, size: int) -> Taps:
        """Means of the real inputs of windows."""
        sums = cls.summing(axis_windows, size)
        return cls(sums.reads, sums.weights / sums.weights.sum(1, keepdims=True), size)

    @classmethod
    def of_matrix(cls, matrix: NDArray[np.float64]) -> Taps:
        """Of a matrix, (output, input)."""
        taps = max(int((matrix != 0).sum(1).max(initial=0)), 1)
        reads = np.argsort(matrix == 0, axis=1, kind="stable")[:, :taps]
        return cls(reads, np.take_along_axis(matrix, reads, 1), matrix.shape[1])

    @property
    def moves(self) -> bool:
        """Whether every output is one input, or nothing."""
        return self.reads.shape[1] == 1 and bool(np.isin(self.weights, (0.0, 1.0)).all())

    @property
    def _key(self) -> tuple[object, ...]:
        return self.reads.shape, self.size, self.reads.tobytes(), self.weights.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Taps) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def at(self, outputs: NDArray[np.int64]) -> Taps:
        """Some of the output positions."""
        return Taps(self.reads[outputs], self.weights[outputs], self.size)

    def central(self, most: int) -> Taps:
        """At most so many output positions, those in the middle."""
        first = max(len(self.reads) - most, 0) // 2
        return self.at(np.arange(first, min(first + most, len(self.reads))))

    def thinned(self, most: int) -> Taps:
        """At most about so many taps: all near either end, and some between that stand for all."""
        taps, ends = self.reads.shape[1], most // 4
        if taps <= most:
            return self
        inner = np.unique(np.linspace(ends, taps - ends - 1, most - 2 * ends).astype(int))
        kept = np.r_[np.arange(ends), inner, np.arange(taps - ends, taps)]
        weights = self.weights[:, kept].copy()
        weights[:, ends : len(kept) - ends] *= (taps - 2 * ends) / len(inner)
        return Taps(self.reads[:, kept], weights, self.size)


def windows(
    size: int, taps: int, stride: int = 1, dilation: int = 1, padding: str = "valid"
) -> Windows:
    """Windows of a convolution or pooling along one axis.

    Args:
        size: positions of the input.
        taps: positions of the kernel.
        stride, dilation: steps of the window and within it.
        padding: `valid`, `same` or `causal`, as in Keras.

    Returns:
        Array of shape (output positions, taps); -1 marks padding.

    Raises:
        ValueError: for another padding.
    """
    reach = (taps - 1) * dilation + 1
    if padding == "valid":
        before, count = 0, (size - reach) // stride + 1
    elif padding == "same":
        count = -(-size // stride)
        before = max((count - 1) * stride + reach - size, 0) // 2
    elif padding == "causal":
        before, count = reach - 1, (size - 1) // stride + 1
    else:
        raise ValueError(f"padding must be 'valid', 'same' or 'causal'. Received: {padding!r}")
    index = np.arange(max(count, 0))[:, None] * stride + np.arange(taps) * dilation - before
    return np.where((index >= 0) & (index < size), index, -1)


def transposed_windows(
    size: int,
    output_size: int,
    taps: int,
    stride: int = 1,
    dilation: int = 1,
    padding: str = "valid",
) -> Windows:
    """Windows of a transposed convolution: which inputs, through which taps, reach an output.

    It is the adjoint of the convolution that maps `output_size` to `size` positions.
    """
    reach = (taps - 1) * dilation + 1
    before = max((size - 1) * stride + reach - output_size, 0) // 2 if padding == "same" else 0
    offset = np.arange(output_size)[:, None] + before - np.arange(taps) * dilation
    index = offset // stride
    inside = (offset % stride == 0) & (index >= 0) & (index < size)
    return np.where(inside, index, -1)


def coverage(axis_windows: Windows) -> NDArray[np.float64]:
    """Share of output positions at which both of two taps read real input: (taps, taps)."""
    inside = (axis_windows >= 0).astype(float)
    both: NDArray[np.float64] = inside.T @ inside / max(len(inside), 1)
    return both


def counts(axes: tuple[Windows, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many real inputs a window holds, over all its axes.

    Returns:
        The distinct numbers of inputs and the share of output positions that has each.
    """
    number, share = np.ones(1, np.int64), np.ones(1)
    for axis_windows in axes:
        seen, times = np.unique((axis_windows >= 0).sum(1), return_counts=True)
        number = np.outer(number, seen).ravel()
        share = np.outer(share, times / times.sum()).ravel()
    distinct, place = np.unique(number, return_inverse=True)
    return distinct, np.bincount(place, weights=share).astype(np.float64)
