"""What takes the moments of tensors, one after the other."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any, NamedTuple, Self

from keras.backend import is_float_dtype

from probes.moments.figures import Bounds, Moments


class FirstAxis(NamedTuple):
    """What a tensor's first axis holds.

    Attributes:
        number: of samples; each may have several rows, one after the other.
        mixed: whether they depend on each other, as behind a normalisation over the batch.
    """

    number: int = 0
    mixed: bool = False


UNTOLD = FirstAxis()


class Recorder(ABC):
    """Moments of tensors by keys; a context manager, which lets go of what it holds."""

    def __init__(self) -> None:
        self._figures: dict[Hashable, Any] = {}

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *exception: object) -> None:
        """Let go."""

    @abstractmethod
    def record(
        self,
        tensor: Any,
        bounds: Bounds = None,
        key: Hashable = None,
        *,
        last: bool = False,
        samples: FirstAxis = UNTOLD,
    ) -> None:
        """Take a tensor's moments.

        Args:
            tensor: of any shape, the samples first.
            bounds: of the activation that gave it, where it has some.
            key: tensors of one key are the batches of one, whose figures do not depend on how the
                samples were split. What needs few samples is taken from the first of them, over
                all batches where a tensor is small; where it is large, from the first batch, which
                must have 8 for that. None: a tensor of its own.
            last: whether no more batches of the key follow, so that nothing need be kept for them.
            samples: that the tensor holds, for the standard error of the variance.
        """

    @abstractmethod
    def standard_errors(self) -> dict[Hashable, float | None]:
        """Of the variances by keys, relative to them, of what was recorded so far."""

    @abstractmethod
    def results(self) -> list[Moments]:
        """Of all tensors or keys, in the order of their first recording."""

    def again(self, key: Hashable, of: Hashable) -> None:
        """A tensor whose figures are those of another, all batches of it."""
        self._figures[key] = self._figures[of]

    def by_key(self) -> dict[Hashable, Moments]:
        """The same as `results` by the keys."""
        return dict(zip(self._figures, self.results(), strict=True))


def rows_of(shape: tuple[int, ...], samples: FirstAxis) -> int:
    """Entries of each sample of a recorded tensor; 0 where it does not tell samples apart."""
    if not samples.number or len(shape) < 2 or 0 in shape or shape[0] % samples.number:
        return 0
    return math.prod(shape) // samples.number


def recorded_shape(tensor: Any) -> tuple[int, ...]:
    """A tensor's own shape; whole numbers, such as indices, are one row of entries."""
    shape = tuple(tensor.shape)
    return shape if is_float_dtype(tensor.dtype) else (math.prod(shape),)
