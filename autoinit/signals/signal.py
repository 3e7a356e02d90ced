"""What every signal model offers to the rules.

A rule states what a layer does by naming these primitives; each signal model knows what that means
for the figures it carries, and ignores arguments that it has no use for.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray

from autoinit.signals.geometry import Taps, Windows

Array = NDArray[np.float64]
# Numbers for what is equal only to itself.
next_identity = itertools.count().__next__
# So many that what depends on their number vanishes.
MANY = 10**9


@dataclass(frozen=True)
class KernelMoments:
    """What a linear map y = Σᵢ wᵢxᵢ does to second moments, averaged over units and positions.

    Attributes:
        power: E Σᵢ wᵢ², over the inputs that a position really sees.
        squared_sum: E (Σᵢ wᵢ)².
        total: E Σᵢ wᵢ.
        windows: which input positions each tap reads, for each spatial axis; empty where the map
            leaves positions alone.
        channels: that a unit reads at each tap.
        units: how many there are.
        values: where they are known, (taps…, channels, units), or (taps…, units) of a depthwise
            kernel.
        neighbors: whether it is asked for what the result has in common with its neighbours.
    """

    power: float
    squared_sum: float
    total: float
    windows: tuple[Windows, ...] = ()
    channels: int = MANY
    units: int = MANY
    values: Array | None = field(default=None, compare=False, repr=False)
    neighbors: bool = True

    def scaled(self, factor: float) -> KernelMoments:
        """The moments of `factor` times the kernel."""
        square = factor * factor
        return replace(
            self,
            power=self.power * square,
            squared_sum=self.squared_sum * square,
            total=self.total * factor,
            values=None if self.values is None else factor * self.values,
        )


@dataclass(frozen=True)
class BiasMoments:
    """Moments of a bias over units, and with the kernel's sums.

    Attributes:
        mean, second_moment: E b and E b².
        cross: E b·Σᵢ wᵢ.
        values: where they are known, (units,).
    """

    mean: float = 0.0
    second_moment: float = 0.0
    cross: float = 0.0
    values: Array | None = field(default=None, compare=False, repr=False)

    @property
    def variance(self) -> float:
        """Var b over units."""
        return max(self.second_moment - self.mean**2, 0.0)


NO_BIAS = BiasMoments()


@dataclass(frozen=True)
class Masking:
    """What a mask leaves of the entries that a softmax is taken over.

    Attributes:
        seen: how many entries count, at equally frequent positions.
        overlap, overlap_between: Σ of the products of uniform shares at two positions of one
            sample, and of two samples: 1/n where the same n entries count in both.
        samples: of the mask, (samples, positions, entries); None where none are known.
    """

    seen: tuple[int, ...]
    overlap: float
    overlap_between: float
    samples: NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def none(cls, count: int) -> Masking:
        """All entries count."""
        return cls((count,), 1 / count, 1 / count)

    @classmethod
    def of_samples(cls, mask: NDArray[np.bool_]) -> Masking:
        """Of a mask, true where an entry counts: (samples, positions, entries)."""
        numbers = np.maximum(mask.sum(-1), 1)
        shares = mask / numbers[..., None]
        of_samples = shares.mean(1)
        overlap = float((of_samples**2).sum(-1).mean())
        samples = len(shares)
        whole = float((of_samples.mean(0) ** 2).sum())
        between = (samples * whole - overlap) / (samples - 1) if samples > 1 else overlap
        return cls(tuple(int(number) for number in numbers.ravel()), overlap, between, mask)

    @classmethod
    def at_random(cls, count: int, share: float) -> Masking:
        """Entries that count with some probability, the same ones at all positions of a sample."""
        spread = math.sqrt(count * share * (1 - share))
        seen = tuple(max(round(count * share + side * spread), 1) for side in (-1, 1))
        return cls(seen, float(np.mean([1 / number for number in seen])), 1 / count)


@dataclass(frozen=True)
class Lineage:
    """Which layers made a signal, and of which inputs.

    Attributes:
        layers: a number, the same where the same layers read inputs of the same distribution.
        inputs: the inputs' indices.
    """

    layers: int
    inputs: frozenset[int]


def like_samples(first: Lineage | None, second: Lineage | None) -> bool:
    """Whether two signals are the same layers' of different inputs: as two samples are."""
    if first is None or second is None:
        return False
    return first.layers == second.layers and not first.inputs & second.inputs


class TwoMoments:
    """Two moments of a tensor's entries, and what follows from them.

    Attributes:
        mean: E x.
        variance: Var x.
    """

    mean: float
    variance: float

    @property
    def second_moment(self) -> float:
        """E x²."""
        return self.variance + self.mean * self.mean

    @property
    def finite(self) -> bool:
        """Whether both moments are finite numbers."""
        return bool(np.isfinite(self.mean) and np.isfinite(self.variance))


@dataclass(frozen=True)
class Observed(TwoMoments):
    """Figures of a signal, without what it takes to carry it on.

    Attributes:
        mean, variance: over all entries and draws of weights.
        expected_variance: of the entries of one typical draw, around that draw's own mean.
        sample_correlation: of one channel in two samples at one position: at 1, inputs can no
            longer be told apart. None where the model does not carry it.
        position_correlation: of one channel at two positions of one sample, averaged over pairs.
        log_deviation: standard deviation, over draws of the weights, of the logarithm of the
            variance that is measured: where it is large, single draws do not average out.
        chi_1: of a weighted call, the slope at 1 of what the call before it does to
            the correlation of two inputs (`autoinit/signals/phases.py`).
    """

    mean: float
    variance: float
    expected_variance: float
    sample_correlation: float | None = None
    position_correlation: float | None = None
    log_deviation: float | None = None
    chi_1: float | None = None


class Signal(TwoMoments, ABC):
    """An immutable description of the distribution of a tensor's entries.

    Every primitive returns a new signal. Moments are over all entries of the tensor: samples,
    positions and channels.

    Attributes:
        latent_id: equal for signals whose entries are functions of the same Gaussians.
        looks_at_samples: whether `of_samples` tells more of them than their moments.
    """

    latent_id: Hashable
    looks_at_samples: ClassVar[bool] = False

    @property
    def chi_1(self) -> float | None:
        """E[f′(Z)²]/E[f(Z)²] where entries are a function f of Gaussians; None if they are not."""
        return None

    @property
    def lineage(self) -> Lineage | None:
        """As `descended` was told."""
        return None

    def descended(self, lineage: Lineage | None) -> Self:
        """The signal, whose lineage is known from now on."""
        return self

    @property
    def sampled_error(self) -> float | None:
        """Standard error of the variance, where the signal comes from samples."""
        return None

    @property
    def tells_channels_apart(self) -> bool:
        """Whether moments of each channel are known."""
        return False

    def observed(self, channels: int, samples: int) -> Observed:
        """Figures of the signal, and what a measurement of one draw is expected to show.

        Args:
            channels: of the tensor.
            samples: that are measured together.
        """
        return Observed(self.mean, self.variance, self.variance)

    def arrange(self, sizes: Sequence[int]) -> Self:
        """The same entries at other positions: reshaping, permuting."""
        return self

    def repeat(self, sizes: Sequence[int]) -> Self:
        """The same entries at every position of new axes: broadcasting."""
        return self

    def flatten(self) -> Self:
        """Positions become units."""
        return self

    def transpose(self, sizes: Sequence[int], order: Sequence[int]) -> Self:
        """The axes of a sample in another order.

        Args:
            sizes: of these axes, channels last.
            order: for each new axis the old one.
        """
        return self

    def reshape(self, before: Sequence[int], after: Sequence[int]) -> Self:
        """A sample in another shape: row-major sizes, channels last."""
        return self

    def masked(self, logits: Self, masking: Masking) -> Self:
        """The same entries, as logits to which a mask was added.

        Args:
            logits: without the mask.
            masking: what it leaves.
        """
        return self

    def looked_up(self, sizes: Sequence[int], rows: float, table: Array | None = None) -> Self:
        """Entries of a table, of which a row is chosen for each sample and position.

        Args:
            sizes: of the positions.
            rows: how many there are; two choices agree with probability 1/rows.
            table: where it is known, (rows, channels).
        """
        return self

    def never_negative(self) -> Self:
        """The same moments, of entries that are known to be 0 or more."""
        return self

    def of_every_sample(self) -> Self:
        """The same entries in every sample: what depends on no input of the model."""
        return self

    @classmethod
    def of_values(cls, values: Array) -> Self:
        """Entries that are known, the same in every sample; channels are the last axis."""
        return cls.gaussian(float(values.mean()), float(values.var())).of_every_sample()

    @classmethod
    @abstractmethod
    def gaussian(cls, mean: float, variance: float) -> Self:
        """Independent Gaussian entries: data, noise, and results known by their moments only."""

    @classmethod
    def of_samples(cls, mean: float, variance: float, values: Array, groups: int = 1) -> Self:
        """Entries of which samples were measured.

        Args:
            mean, variance: known from more than these samples.
            values: (samples, positions…, channels).
            groups: equal numbers of samples, one after the other, that have nothing in common.
        """
        return cls.gaussian(mean, variance)

    def drawn(self, generator: np.random.Generator, shape: Sequence[int]) -> Array:
        """Samples of the signal: (samples, positions…, channels), single precision."""
        values = generator.standard_normal(tuple(shape), dtype=np.float32)
        values = values * np.float32(math.sqrt(self.variance)) + np.float32(self.mean)
        return cast(Array, values)

    @abstractmethod
    def with_other_latents(self, origin: Hashable = None) -> Self:
        """The same entries at other places than those that they are compared with.

        Args:
            origin: equal for the same move of functions of the same Gaussians; None for a move
                that nothing else makes.
        """

    @abstractmethod
    def map(
        self, function: Callable[..., Any], others: Sequence[Self] = (), *, trimmed: bool = False
    ) -> tuple[Self, bool]:
        """f(x, y, …), entry by entry.

        Operands of the same source are taken together, others as independent.

        Args:
            function: vectorised over arrays of points, one for each operand.
            others: the operands after the first.
            trimmed: whether values that one entry in a thousand exceeds are cut off there, for
                functions that have no moments.

        Returns:
            The signal, and whether the integrals converged.

        Raises:
            ValueError: where the operands have more than two sources.
        """

    @abstractmethod
    def affine(self, scale: Any, offset: Any) -> Self:
        """scale·x + offset, each a number or an array of equally frequent values (channels)."""

    @abstractmethod
    def linear(self, kernel: KernelMoments, bias: BiasMoments) -> Self:
        """Σᵢ wᵢxᵢ + b: dense layers, convolutions, projections."""

    @abstractmethod
    def dropout(
        self,
        probability: float,
        gain: float,
        otherwise: float = 0.0,
        shared: frozenset[str] = frozenset(),
        samples: int = MANY,
    ) -> Self:
        """gain·x with the given probability, else `otherwise`: dropout and zero padding.

        Args:
            probability, gain, otherwise: see above.
            shared: over what entries are kept or lost together: "samples", "positions",
                "channels".
            samples: of a batch.
        """

    @abstractmethod
    def max_pool(self, axes: tuple[Windows, ...]) -> Self:
        """The largest entry of each window."""

    @abstractmethod
    def average_pool(self, axes: tuple[Windows, ...]) -> Self:
        """The mean of the real entries of each window."""

    @abstractmethod
    def linear_map(self, maps: Sequence[Taps]) -> Self:
        """A linear map along each spatial axis: padding, cropping, repetition, interpolation."""

    @abstractmethod
    def normalize(
        self,
        epsilon: float,
        count: int | None,
        *,
        centered: bool,
        samples: int | None = None,
        positions: bool = False,
    ) -> Self:
        """X − mean(x) (where `centered`) over √(mean square + epsilon).

        Args:
            epsilon: added to the mean square.
            count: how many entries the statistics are taken over; None for a great many.
            centered: whether the mean is removed first.
            samples: how many samples the statistics are taken over, with all of their positions,
                per channel; None where they are those of one sample.
            positions: whether statistics of one sample are taken over its positions too.
        """

    @abstractmethod
    def softmax(self, count: int, masking: Masking | None = None) -> Self:
        """Softmax over the channels.

        Args:
            count: how many entries.
            masking: of these; masked ones have a share of 0. None where all count.
        """

    @abstractmethod
    def contract(self, other: Self, labels: tuple[str, str, str], sizes: dict[str, int]) -> Self:
        """Σ x·y over the axes that the result does not have, x and y independent.

        Args:
            other: y.
            labels: a letter for each axis of a sample of x, y and the result, channels last.
            sizes: by letter.
        """

    @abstractmethod
    def combine(self, operation: str, others: Sequence[Self]) -> Self:
        """add, subtract, multiply, average, maximum or minimum with independent signals."""

    @abstractmethod
    def dot(self, other: Self, count: int, *, normalized: bool) -> Self:
        """Σ xᵢyᵢ over `count` pairs; of unit vectors where `normalized`."""

    @classmethod
    @abstractmethod
    def mixture(cls, parts: Sequence[Self], weights: Sequence[float]) -> Self:
        """Channels of `parts` in proportion to `weights`: concatenation."""

    @classmethod
    def either(cls, parts: Sequence[Self], weights: Sequence[float]) -> Self:
        """One of several tensors at each entry, with probabilities in proportion to `weights`."""
        return cls.mixture(parts, weights)

    @classmethod
    def beside(cls, parts: Sequence[Self], sizes: Sequence[Sequence[int]], axis: int) -> Self:
        """Tensors one after the other along an axis of positions.

        Args:
            parts: of which each has its channels at its own positions.
            sizes: of the axes of positions of each.
            axis: one of these.
        """
        return cls.either(parts, [each[axis] for each in sizes])
