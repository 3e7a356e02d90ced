"""How alike the entries of a channel are: in two samples, and at two positions.

Entries x(n, p, c) of N samples, P positions and C channels, which are alike but for chance, as
channels of random weights are. With m_p the mean at a position, the figures asked for are

    B = mean_p Cov of x(n, p, c) and x(n′, p, c): two samples at one position,
    D = the mean over all pairs of positions of Cov of x(n, p, c) and x(n, q, c): one sample,

both over V = mean_p Var x(n, p, c). What stands in the way is that m_p is known from the same C
channels only, and that a mean over N samples keeps 1/N of what varies with them. With a(p, c) the
mean over samples, y(n, c) that over positions, z(c) that over both and m that over all,

    s = mean (a − m_p)²    E s = (1 − 1/C)·(B + (V − B)/N)
    v = mean (x − m_p)²    E v = V − E s/(C − 1)
    d = mean (y − m)²      E d = D − E t/(C − 1)        t = mean (z − m)²

which are solved for B, V and D.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from numpy.typing import NDArray

# Where positions and channels are many, few samples tell, and cost little.
_SAMPLES = 8
_ENTRIES = 2**15  # of smaller tensors
_LANES = 512  # entries that are added at once, where channels are few


class Correlations(NamedTuple):
    """B/V and D/V; None where the tensor's shape or its entries do not tell."""

    samples: float | None = None
    positions: float | None = None


class Squares(NamedTuple):
    """Mean squares of means of a tensor's entries, around the mean of all.

    Attributes:
        over_samples: mean (a − m)².
        over_positions: d.
        over_both: t.
        over_channels: mean (m_p − m)².
    """

    over_samples: float
    over_positions: float
    over_both: float
    over_channels: float


class Enough(NamedTuple):
    """How much of a tensor to look at.

    Attributes:
        samples: how many of the first, over all batches.
        positions, channels: all of them.
        collected: whether the samples are so small that they can be kept until there are enough.
    """

    samples: int
    positions: int
    channels: int
    collected: bool


def enough(shape: tuple[int, ...]) -> Enough | None:
    """How much to look at of tensors of a shape; None where nothing can be compared."""
    if len(shape) < 2 or shape[-1] < 2 or 0 in shape:
        return None
    positions = math.prod(shape[1:-1])
    each = positions * shape[-1]
    samples = max(_SAMPLES, _ENTRIES // each)
    return Enough(samples, positions, shape[-1], samples * each <= _ENTRIES)


def solve(taken: tuple[int, int, int], variance: float, squares: Squares) -> Correlations:
    """B/V and D/V of (samples, positions, channels), from the variance of these entries."""
    samples, positions, channels = taken
    lost = 1 / (channels - 1)
    of_means = squares.over_samples - squares.over_channels
    total = variance - squares.over_channels + lost * of_means
    if not total > 0.0:
        return Correlations()
    alike = (samples * (1 + lost) * of_means / total - 1) / (samples - 1)
    near = (squares.over_positions + lost * squares.over_both) / total
    # Chance and rounding may take what is all alike beyond 1.
    return Correlations(min(alike, 1.0), min(near, 1.0) if positions > 1 else None)


def on_host(values: NDArray[Any]) -> Squares:
    """Of (samples, positions, channels), whose squares their precision can hold."""
    _, positions, channels = values.shape
    means = np.add.reduce(values, axis=0) / len(values)
    middle = np.add.reduce(means, axis=None) / means.size
    means -= middle
    if positions == 1:
        return Squares(mean_square(means), 0.0, 0.0, 0.0)
    return Squares(
        mean_square(means),
        mean_square(_over_positions(values) - middle),
        mean_square(_over_positions(means[None])),
        mean_square(np.einsum("pc->p", means) / channels),
    )


def on_device(values: Any) -> list[Any]:
    """The same by Keras's own operations; one number each."""
    means = ops.mean(values, axis=0)
    middle = ops.mean(means)
    means = means - middle
    parts = (
        means,
        ops.mean(values, axis=1) - middle,
        ops.mean(means, axis=0),
        ops.mean(means, axis=1),
    )
    return [ops.mean(ops.square(part)) for part in parts]


def mean_square(values: NDArray[Any]) -> float:
    """NumPy adds in pairs, which costs single precision little."""
    return float(np.add.reduce(np.square(values), axis=None)) / values.size


def _over_positions(values: NDArray[Any]) -> NDArray[Any]:
    """Means over the middle axis, several positions at once: NumPy is slow on short rows."""
    samples, positions, channels = values.shape
    together = max(min(_LANES // channels, math.isqrt(positions)), 1)
    whole = positions - positions % together
    lanes = values[:, :whole].reshape(samples, -1, together * channels).sum(1)
    sums: NDArray[Any] = lanes.reshape(samples, together, channels).sum(1)
    sums += values[:, whole:].sum(1)
    sums /= positions
    return sums
