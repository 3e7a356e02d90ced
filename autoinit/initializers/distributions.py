"""Keras initialisers of a given standard deviation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from scipy import stats

# Keras cuts its truncated normal at two deviations and does not correct its `stddev` for it.
_TRUNCATION = float(stats.truncnorm(-2, 2).std())


def _truncated_normal(deviation: float, shape: tuple[int, ...], seed: int | None) -> Any:
    return keras.initializers.TruncatedNormal(0.0, deviation / _TRUNCATION, seed=seed)


def _untruncated_normal(deviation: float, shape: tuple[int, ...], seed: int | None) -> Any:
    return keras.initializers.RandomNormal(0.0, deviation, seed=seed)


def _uniform(deviation: float, shape: tuple[int, ...], seed: int | None) -> Any:
    limit = math.sqrt(3.0) * deviation
    return keras.initializers.RandomUniform(-limit, limit, seed=seed)


def _orthogonal(deviation: float, shape: tuple[int, ...], seed: int | None) -> Any:
    # A matrix of r rows and c columns with orthonormal rows or columns has squares that sum to
    # min(r, c): each entry's second moment is 1/max(r, c).
    if len(shape) < 2:
        return _truncated_normal(deviation, shape, seed)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    return keras.initializers.Orthogonal(deviation * math.sqrt(max(rows, columns)), seed=seed)


DISTRIBUTIONS: dict[str, Callable[[float, tuple[int, ...], int | None], Any]] = {
    "truncated_normal": _truncated_normal,
    "untruncated_normal": _untruncated_normal,
    "uniform": _uniform,
    "orthogonal": _orthogonal,
}


def make_initializer(
    distribution: str, standard_deviation: float, shape: tuple[int, ...], seed: int | None
) -> Any:
    """A Keras initialiser whose entries have mean 0 and the given standard deviation.

    Args:
        distribution: a key of `DISTRIBUTIONS`.
        standard_deviation: of the entries, after truncation.
        shape: of the kernel.
        seed: an integer, or None to leave it to Keras.
    """
    return DISTRIBUTIONS[distribution](standard_deviation, shape, seed)
