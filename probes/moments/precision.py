"""How sure a measured variance is: its standard error, from how samples differ from each other.

Entries of one sample go together, and so do the samples of a batch that a normalisation has made
its statistics of. What is left out at a time is a whole sample, or a whole batch, and the variance
of the others taken again: the jackknife (Efron & Stein 1981, "The jackknife estimate of variance"),
of the logarithm, since the variance of few samples is skewed. With V₍ᵢ₎ without unit i of n,

    s² = (n − 1)/n · Σ (log V₍ᵢ₎ − mean)²

Of few units s is itself not sure: it is multiplied by t/1.96, with Student's t of n − 1 degrees of
freedom, so that 1.96 of these standard errors hold 95 % whatever the number of units is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

PRECISION = 0.02  # relative standard error that is asked for where nobody says another
NORMAL = 1.96  # standard errors that 95 % of a Gaussian lie within
# Batches from which on they are the units behind a normalisation over the batch; with fewer,
# samples are, which are made alike there: the error is then rather too large.
_BATCHES = 4

# Of some samples, one column each: means, and variances around them.
Rows = NDArray[np.float64]


def standard_error(batches: Sequence[Rows], mixed: bool) -> float | None:
    """The standard error of the variance of all entries, relative to that variance.

    Args:
        batches: of shape (2, samples): means and variances of each sample's entries.
        mixed: whether a sample depends on the others of its batch.

    Returns:
        None for fewer than two samples, and where all entries are the same; infinity where all but
        one sample are.
    """
    means, variances = np.concatenate(batches, axis=1)
    variances = variances + np.square(means - means.mean())
    total = variances.mean()
    if len(means) < 2 or not (total > 0.0 and math.isfinite(total)):
        return None
    means = means - means.mean()
    sizes = np.ones(len(means))
    if mixed and len(batches) >= _BATCHES:
        starts = np.cumsum([0, *(rows.shape[1] for rows in batches)])[:-1]
        means, variances, sizes = (
            np.add.reduceat(each, starts) for each in (means, variances, sizes)
        )
    return _jackknife(means, variances, sizes)


def over_draws(errors: Sequence[float | None]) -> float | None:
    """Of the geometric mean of some draws' variances, whose inputs are independent."""
    known = [error for error in errors if error is not None]
    return math.hypot(*known) / len(known) if known and len(known) == len(errors) else None


def _jackknife(sums: Rows, squares: Rows, sizes: Rows) -> float:
    """Of units of so many samples: sums of their means, and of mean squares, around the mean."""
    units, left = len(sizes), sizes.sum() - sizes
    without = (squares.sum() - squares) / left - np.square(sums / left)
    smallest = without.min()
    if not smallest > 0.0:
        return math.inf
    logarithms = np.log(without)
    scatter = np.square(logarithms - logarithms.mean()).sum()
    wider = float(stdtrit(units - 1, 0.975)) / NORMAL
    return wider * math.sqrt((units - 1) / units * scatter)
