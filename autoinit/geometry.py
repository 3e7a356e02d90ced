"""Which input positions an output position sees, one spatial axis at a time.

Convolutions, transposed convolutions and pooling share one description: an integer array of shape
(output positions, taps) that holds the input position a tap reads, or -1 where it reads padding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Windows = NDArray[np.int64]


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
