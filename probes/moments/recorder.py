"""What takes the moments of tensors, one after the other."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any, Self

from keras.backend import is_float_dtype

from probes.moments.figures import Bounds, Moments


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
        self, tensor: Any, bounds: Bounds = None, key: Hashable = None, *, last: bool = False
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
        """

    @abstractmethod
    def results(self) -> list[Moments]:
        """Of all tensors or keys, in the order of their first recording."""

    def again(self, key: Hashable, of: Hashable) -> None:
        """A tensor whose figures are those of another, all batches of it."""
        self._figures[key] = self._figures[of]

    def by_key(self) -> dict[Hashable, Moments]:
        """The same as `results` by the keys."""
        return dict(zip(self._figures, self.results(), strict=True))


def recorded_shape(tensor: Any) -> tuple[int, ...]:
    """A tensor's own shape; whole numbers, such as indices, are one row of entries."""
    shape = tuple(tensor.shape)
    return shape if is_float_dtype(tensor.dtype) else (math.prod(shape),)
