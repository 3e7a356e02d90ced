"""What every signal model offers to the rules.

A rule states what a layer does by naming these primitives; each signal model knows what that means
for the figures it carries, and ignores arguments that it has no use for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from autoinit.geometry import Taps, Windows

Array = NDArray[np.float64]
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
    """

    power: float
    squared_sum: float
    total: float
    windows: tuple[Windows, ...] = ()
    channels: int = MANY
    units: int = MANY

    def scaled(self, factor: float) -> KernelMoments:
        """The moments of `factor` times the kernel."""
        square = factor * factor
        return replace(
            self, power=self.power * square, squared_sum=self.squared_sum * square,
            total=self.total * factor,
        )  # fmt: skip


@dataclass(frozen=True)
class BiasMoments:
    """Moments of a bias over units, and with the kernel's sums.

    Attributes:
        mean, second_moment: E b and E b².
        cross: E b·Σᵢ wᵢ.
    """

    mean: float = 0.0
    second_moment: float = 0.0
    cross: float = 0.0

    @property
    def variance(self) -> float:
        """Var b over units."""
        return max(self.second_moment - self.mean**2, 0.0)


NO_BIAS = BiasMoments()


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
        return self.variance + self.mean**2

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
        spread: standard deviation, over draws of the weights, of the logarithm of the variance
            that is measured: where it is large, single draws do not average out.
        correlation_slope: of a weighted call, the slope at 1 of what the call before it does to
            the correlation of two inputs (`autoinit/signals/phases.py`).
    """

    mean: float
    variance: float
    expected_variance: float
    sample_correlation: float | None = None
    position_correlation: float | None = None
    spread: float | None = None
    correlation_slope: float | None = None


class Signal(TwoMoments, ABC):
    """An immutable description of the distribution of a tensor's entries.

    Every primitive returns a new signal. Moments are over all entries of the tensor: samples,
    positions and channels.
    """

    @property
    def correlation_slope(self) -> float | None:
        """E[f′(Z)²]/E[f(Z)²] where entries are a function f of Gaussians; None if they are not."""
        return None

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

    @classmethod
    @abstractmethod
    def gaussian(cls, mean: float, variance: float) -> Self:
        """Independent Gaussian entries: data, noise, and results known by their moments only."""

    @abstractmethod
    def map(self, function: Callable[[Any], Any]) -> tuple[Self, bool]:
        """f(x), entry by entry.

        Args:
            function: vectorised over arrays of points.

        Returns:
            The signal, and whether the integrals converged.
        """

    @abstractmethod
    def affine(self, scale: Any, offset: Any) -> Self:
        """scale·x + offset, each a number or an array of equally frequent values (channels)."""

    @abstractmethod
    def mix(self, kernel: KernelMoments, bias: BiasMoments) -> Self:
        """Σᵢ wᵢxᵢ + b: dense layers, convolutions, projections."""

    @abstractmethod
    def keep(
        self, probability: float, gain: float, otherwise: float = 0.0,
        shared: frozenset[str] = frozenset(), samples: int = MANY,
    ) -> Self:  # fmt: skip
        """gain·x with the given probability, else `otherwise`: dropout and zero padding.

        Args:
            probability, gain, otherwise: see above.
            shared: over what entries are kept or lost together: "samples", "positions",
                "channels".
            samples: of a batch.
        """

    @abstractmethod
    def maximum_of(self, axes: tuple[Windows, ...]) -> Self:
        """The largest entry of each window."""

    @abstractmethod
    def mean_of(self, axes: tuple[Windows, ...]) -> Self:
        """The mean of the real entries of each window."""

    @abstractmethod
    def resample(self, maps: Sequence[Taps]) -> Self:
        """A linear map along each spatial axis: padding, cropping, repetition, interpolation."""

    @abstractmethod
    def normalise(
        self, epsilon: float, count: int | None, *, centred: bool,
        samples: int | None = None, positions: bool = False,
    ) -> Self:  # fmt: skip
        """X − mean(x) (where `centred`) over √(mean square + epsilon).

        Args:
            epsilon: added to the mean square.
            count: how many entries the statistics are taken over; None for a great many.
            centred: whether the mean is removed first.
            samples: how many samples the statistics are taken over, with all of their positions,
                per channel; None where they are those of one sample.
            positions: whether statistics of one sample are taken over its positions too.
        """

    @abstractmethod
    def softmax(self, count: int) -> Self:
        """Softmax over `count` entries."""

    @abstractmethod
    def combine(self, operation: str, others: Sequence[Self]) -> Self:
        """add, subtract, multiply, average, maximum or minimum with independent signals."""

    @abstractmethod
    def dot(self, other: Self, count: int, *, normalised: bool) -> Self:
        """Σ xᵢyᵢ over `count` pairs; of unit vectors where `normalised`."""

    @classmethod
    @abstractmethod
    def mixture(cls, parts: Sequence[Self], weights: Sequence[float]) -> Self:
        """Entries drawn from `parts` in proportion to `weights`: concatenation."""
