"""The correlated signal model: the primitives that rules name, on states (`state.py`)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from autoinit.signals.correlated.channels.channels import Channels
from autoinit.signals.correlated.operations import (
    attention,
    combination,
    elementwise,
    normalization,
    pooling,
    products,
    sample_effects,
    samples,
)
from autoinit.signals.correlated.operations import dropout as dropouts
from autoinit.signals.correlated.operations import linear as maps_of
from autoinit.signals.correlated.operations import reshape as reshapes
from autoinit.signals.correlated.operations.beside import beside
from autoinit.signals.correlated.operations.mixture import either, mixture
from autoinit.signals.correlated.state import State
from autoinit.signals.signal import MANY, Array, Lineage, Observed, Signal


def _of_states(function: Callable[..., State]) -> Callable[..., Any]:
    """The primitive that a function of states is."""

    def applied(self: CorrelatedSignal, *given: Any, **named: Any) -> CorrelatedSignal:
        states = (each.state if isinstance(each, CorrelatedSignal) else each for each in given)
        return CorrelatedSignal(function(self.state, *states, **named))

    return applied


@dataclass(frozen=True, eq=False)
class CorrelatedSignal(Signal):
    """Distributions, and covariances between positions and samples.

    Attributes:
        state: what is known of the tensor.
    """

    state: State
    looks_at_samples = True

    # These are asked for as attributes, which may be assigned to; here they are the state's.
    @property
    def mean(self) -> float:  # type: ignore[override]
        return self.state.mean

    @property
    def variance(self) -> float:  # type: ignore[override]
        return self.state.variance

    @property
    def latent_id(self) -> Hashable:  # type: ignore[override]
        return self.state.latent_id

    @property
    def chi_1(self) -> float | None:
        return self.state.chi_1

    @property
    def lineage(self) -> Lineage | None:
        return self.state.notes.lineage

    def descended(self, lineage: Lineage | None) -> CorrelatedSignal:
        notes = replace(self.state.notes, lineage=lineage)
        return CorrelatedSignal(replace(self.state, notes=notes))

    @property
    def sampled_error(self) -> float | None:
        channels, _ = reshapes.units_of(self.state)
        return None if channels is None else channels.standard_error

    @property
    def tells_channels_apart(self) -> bool:
        return self.state.channels is not None

    def observed(self, channels: int, samples: int) -> Observed:
        return sample_effects.observed(self.state, channels, samples)

    @classmethod
    def gaussian(cls, mean: float, variance: float) -> CorrelatedSignal:
        return cls(State.gaussian(mean, variance))

    @classmethod
    def of_values(cls, values: Array) -> CorrelatedSignal:
        return cls(reshapes.of_values(values))

    @classmethod
    def of_samples(
        cls, mean: float, variance: float, values: Array, groups: int = 1
    ) -> CorrelatedSignal:
        return cls(samples.of_samples(mean, variance, values, groups))

    @cached_property
    def _entries(self) -> Channels | None:
        return samples.entries_of(self.state)

    def drawn(self, generator: np.random.Generator, shape: Sequence[int]) -> Array:
        values = samples.drawn(self.state, generator, shape, lambda: self._entries)
        return super().drawn(generator, shape) if values is None else values.astype(np.float32)

    @classmethod
    def mixture(
        cls, parts: Sequence[CorrelatedSignal], weights: Sequence[float]
    ) -> CorrelatedSignal:
        return cls(mixture([part.state for part in parts], weights))

    @classmethod
    def either(
        cls, parts: Sequence[CorrelatedSignal], weights: Sequence[float]
    ) -> CorrelatedSignal:
        return cls(either([part.state for part in parts], weights))

    @classmethod
    def beside(
        cls, parts: Sequence[CorrelatedSignal], sizes: Sequence[Sequence[int]], axis: int
    ) -> CorrelatedSignal:
        return cls(beside([part.state for part in parts], sizes, axis))

    arrange = _of_states(reshapes.arrange)
    repeat = _of_states(reshapes.repeat)
    flatten = _of_states(reshapes.flatten)
    transpose = _of_states(reshapes.transpose)
    reshape = _of_states(reshapes.reshape)
    never_negative = _of_states(elementwise.never_negative)
    of_every_sample = _of_states(reshapes.of_every_sample)
    looked_up = _of_states(reshapes.looked_up)
    masked = _of_states(attention.masked)
    softmax = _of_states(attention.softmax)
    with_other_latents = _of_states(maps_of.with_other_latents)
    affine = _of_states(maps_of.affine)
    linear = _of_states(maps_of.linear)
    linear_map = _of_states(maps_of.linear_map)
    dropout = _of_states(dropouts.dropout)
    max_pool = _of_states(pooling.max_pool)
    average_pool = _of_states(pooling.average_pool)
    dot = _of_states(products.dot)
    contract = _of_states(products.contract)

    def map(
        self,
        function: Callable[..., Any],
        others: Sequence[CorrelatedSignal] = (),
        *,
        trimmed: bool = False,
    ) -> tuple[CorrelatedSignal, bool]:
        operands = [self.state, *(other.state for other in others)]
        state, converged = elementwise.apply(function, operands, trimmed=trimmed)
        return CorrelatedSignal(state), converged

    def normalize(
        self,
        epsilon: float,
        count: int | None,
        *,
        centered: bool,
        samples: int | None = None,
        positions: bool = False,
    ) -> CorrelatedSignal:
        if samples is not None:
            state = normalization.over_batch(self.state, epsilon, samples)
        elif positions:
            state = normalization.over_group(self.state, epsilon, count or MANY)
        else:
            count = count or MANY
            state = normalization.over_channels(self.state, epsilon, count, centered=centered)
        return CorrelatedSignal(state)

    def combine(self, operation: str, others: Sequence[CorrelatedSignal]) -> CorrelatedSignal:
        every = [self.state, *(other.state for other in others)]
        return CorrelatedSignal(combination.combined(every, operation))
