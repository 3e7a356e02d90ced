"""The correlated signal model: the primitives that rules name, on states (`state.py`)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autoinit.signals.correlated.known import channels_of
from autoinit.signals.correlated.operations import (
    attention,
    combination,
    elementwise,
    normalization,
    pooling,
    products,
    reshape,
    sample_effects,
    samples,
)
from autoinit.signals.correlated.operations import dropout as dropouts
from autoinit.signals.correlated.operations import linear as maps_of
from autoinit.signals.correlated.operations.mixture import mixture
from autoinit.signals.correlated.state import State
from autoinit.signals.geometry import Taps, Windows
from autoinit.signals.signal import (
    MANY,
    Array,
    BiasMoments,
    KernelMoments,
    Lineage,
    Masking,
    Observed,
    Signal,
)


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
        channels, _ = reshape.units_of(self.state)
        return None if channels is None else channels.standard_error

    @property
    def tells_channels_apart(self) -> bool:
        return channels_of(self.state) is not None

    def observed(self, channels: int, samples: int) -> Observed:
        return sample_effects.observed(self.state, channels, samples)

    @classmethod
    def gaussian(cls, mean: float, variance: float) -> CorrelatedSignal:
        return cls(State.gaussian(mean, variance))

    @classmethod
    def of_values(cls, values: Array) -> CorrelatedSignal:
        return cls(reshape.of_values(values))

    @classmethod
    def of_samples(
        cls, mean: float, variance: float, values: Array, groups: int = 1
    ) -> CorrelatedSignal:
        return cls(samples.of_samples(mean, variance, values, groups))

    def drawn(self, generator: np.random.Generator, shape: Sequence[int]) -> Array:
        values = samples.drawn(self.state, generator, shape)
        return super().drawn(generator, shape) if values is None else values.astype(np.float32)

    @classmethod
    def mixture(
        cls, parts: Sequence[CorrelatedSignal], weights: Sequence[float]
    ) -> CorrelatedSignal:
        return cls(mixture([part.state for part in parts], weights))

    def arrange(self, sizes: Sequence[int]) -> CorrelatedSignal:
        return CorrelatedSignal(reshape.arrange(self.state, sizes))

    def repeat(self, sizes: Sequence[int]) -> CorrelatedSignal:
        return CorrelatedSignal(reshape.repeat(self.state, sizes))

    def flatten(self) -> CorrelatedSignal:
        return CorrelatedSignal(reshape.flatten(self.state))

    def transpose(self, sizes: Sequence[int], order: Sequence[int]) -> CorrelatedSignal:
        return CorrelatedSignal(reshape.transpose(self.state, tuple(sizes), order))

    def reshape(self, before: Sequence[int], after: Sequence[int]) -> CorrelatedSignal:
        return CorrelatedSignal(reshape.reshape(self.state, tuple(before), tuple(after)))

    def of_every_sample(self) -> CorrelatedSignal:
        return CorrelatedSignal(reshape.of_every_sample(self.state))

    def looked_up(
        self, sizes: Sequence[int], rows: float, table: Array | None = None
    ) -> CorrelatedSignal:
        return CorrelatedSignal(reshape.looked_up(self.state, sizes, rows, table))

    def masked(self, logits: CorrelatedSignal, masking: Masking) -> CorrelatedSignal:
        return CorrelatedSignal(attention.masked(self.state, logits.state, masking))

    def softmax(self, count: int, masking: Masking | None = None) -> CorrelatedSignal:
        return CorrelatedSignal(attention.softmax(self.state, count, masking))

    def with_other_latents(self, origin: Hashable = None) -> CorrelatedSignal:
        return CorrelatedSignal(maps_of.with_other_latents(self.state, origin))

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

    def affine(self, scale: Any, offset: Any) -> CorrelatedSignal:
        return CorrelatedSignal(maps_of.affine(self.state, scale, offset))

    def linear(self, kernel: KernelMoments, bias: BiasMoments) -> CorrelatedSignal:
        return CorrelatedSignal(maps_of.linear(self.state, kernel, bias))

    def linear_map(self, maps: Sequence[Taps]) -> CorrelatedSignal:
        return CorrelatedSignal(maps_of.linear_map(self.state, maps))

    def dropout(
        self,
        probability: float,
        gain: float,
        otherwise: float = 0.0,
        shared: frozenset[str] = frozenset(),
        samples: int = MANY,
    ) -> CorrelatedSignal:
        return CorrelatedSignal(
            dropouts.dropout(self.state, probability, gain, otherwise, shared, samples)
        )

    def max_pool(self, axes: tuple[Windows, ...]) -> CorrelatedSignal:
        return CorrelatedSignal(pooling.max_pool(self.state, axes))

    def average_pool(self, axes: tuple[Windows, ...]) -> CorrelatedSignal:
        return CorrelatedSignal(pooling.average_pool(self.state, axes))

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

    def dot(self, other: CorrelatedSignal, count: int, *, normalized: bool) -> CorrelatedSignal:
        return CorrelatedSignal(products.dot(self.state, other.state, count, normalized=normalized))

    def contract(
        self, other: CorrelatedSignal, labels: tuple[str, str, str], sizes: dict[str, int]
    ) -> CorrelatedSignal:
        return CorrelatedSignal(products.contract(self.state, other.state, labels, sizes))
