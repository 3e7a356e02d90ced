"""Inputs that are drawn a block of samples at a time, as many as it takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoinit.graph.input_moments import PerInput
from autoinit.graph.model_graph import ModelGraph
from autoinit.randomness import derived
from autoinit.running.inputs import Data, check_data, chosen_rows, draw_inputs
from probes.batching import MOST, Samples


class Blocks:
    """Samples for a graph's inputs: those of the first block are drawn with the seed itself.

    Args:
        graph: the model.
        samples: how many in all, or `auto`.
        size: of a block.
        seed, mean, variance, data: as for `draw_inputs`. Of data, no sample is taken twice if there
            are enough; with `auto` no more are asked for than there are.

    Attributes:
        size: of a block.
        goals: numbers of samples, at each of which one may stop.
    """

    def __init__(
        self,
        graph: ModelGraph,
        samples: Samples,
        size: int,
        seed: int,
        mean: PerInput,
        variance: PerInput,
        data: Data,
    ) -> None:
        self.size = size
        self._graph, self._seed, self._mean, self._variance = graph, seed, mean, variance
        self._data = {name: np.asarray(array) for name, array in data.items()}
        most = min([MOST, *map(len, self._data.values())])
        self.goals = [*_doublings(size, most)] if samples == "auto" else [samples]
        self._rows: NDArray[np.int64] | None = None
        if data and self.goals != [size]:
            check_data(graph, self._data)
            self._rows = chosen_rows(self._data, self.goals[-1], seed)

    def batches(self, together: int) -> int:
        """How many there will be at least, where so many go through together; 1 if only one."""
        if self.goals == [self.size] and together >= self.size:
            return 1
        return max(math.ceil(self.goals[0] / together), 2)

    def inputs(self, start: int, samples: int) -> dict[int, NDArray[Any]]:
        """Arrays by value index, from the beginning of a block on; blocks one after the other."""
        stop = start + samples
        parts = [self._block(at, min(self.size, stop - at)) for at in range(start, stop, self.size)]
        if len(parts) == 1:
            return parts[0]
        return {index: np.concatenate([part[index] for part in parts]) for index in parts[0]}

    def _block(self, start: int, samples: int) -> dict[int, NDArray[Any]]:
        data, number = self._data, start // self.size
        if self._rows is not None:
            rows = self._rows[start : start + samples]
            data = {name: array[rows] for name, array in data.items()}
        seed = derived(self._seed, number, 2) if number else self._seed
        return draw_inputs(self._graph, samples, seed, self._mean, self._variance, data)


def _doublings(size: int, most: int) -> Iterator[int]:
    """A block, twice as many, and so on up to the most; always the block."""
    samples = size
    while samples <= max(size, most):
        yield samples
        samples *= 2
