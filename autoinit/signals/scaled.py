"""Signals beyond the range of floating point: a power of 2 is carried apart.

The moments of a deep network's signals leave the range of numbers long before its layers end: x is
2^exponent·y, and y has moments that can be multiplied with each other. Primitives that are
homogeneous work on y; those that are not bring what they add, compare or divide by to its scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from autoinit.signals.correlated.signal import CorrelatedSignal
from autoinit.signals.independent import IndependentSignal
from autoinit.signals.signal import (
    MANY,
    Array,
    BiasMoments,
    KernelMoments,
    Masking,
    Observed,
    Signal,
)

# Second moments whose products are numbers.
_LEAST, _MOST = 1e-100, 1e100
# Powers of 2 by which an addend or an epsilon may exceed the signal and leave something of it.
_FAR = 100
# Powers of 2 at which functions are evaluated, in double and in single precision: beyond it they
# are taken to be powers of their argument, as all but transcendental functions are there.
_REACHES = (500, 100)
_PROBES: Array = np.linspace(-3.0, 3.0, 61)
_STEP = 32


def exponent_of(*values: Any) -> int:
    """The power of 2 next to the largest of some numbers; 0 where that is 0 or not finite."""
    largest = max((float(np.abs(value).max()) for value in values), default=0.0)
    return math.frexp(largest)[1] if math.isfinite(largest) else 0


def times_power(signal: Signal, exponent: int) -> Signal:
    """2^exponent·x, in steps whose squares are numbers."""
    left = min(max(exponent, -2200), 2200)
    while left:
        step = min(max(left, -200), 200)
        signal = signal.affine(2.0**step, 0.0)
        left -= step
    return signal


def _exponent(signal: Signal) -> int:
    return exponent_of(signal.mean, math.sqrt(signal.variance)) if signal.finite else 0


def _power(value: float, exponent: int) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.ldexp(value, min(max(exponent, -9_999), 9_999)))  # it takes a C long


def _same_scale(name: str) -> Callable[..., Any]:
    """A primitive of which 2·x makes twice of what x makes."""

    def passed_on(self: ScaledSignal, *args: Any, **kwargs: Any) -> Any:
        return self.of(getattr(self.inner, name)(*args, **kwargs), self.exponent)

    return passed_on


@dataclass(frozen=True, eq=False)
class ScaledSignal(Signal):
    """2^exponent times a signal of the same model.

    Attributes:
        inner: the signal whose moments are numbers.
        exponent: of 2.
        model: class of `inner`.
    """

    inner: Signal
    exponent: int = 0
    model: ClassVar[type[Signal]]

    @classmethod
    def of(cls, inner: Signal, exponent: int = 0) -> Self:
        """A signal, and a power of 2; what leaves the range goes into the power."""
        if inner.finite and inner.second_moment and not _LEAST < inner.second_moment < _MOST:
            shift = _exponent(inner)
            return cls(times_power(inner, -shift), exponent + shift)
        return cls(inner, exponent)

    def plain(self) -> Signal:
        """The signal without a power, where it needs none."""
        if not self.exponent or not self.inner.second_moment:
            return self.inner
        # Its second moment is squared to compare it.
        if abs(2 * self._magnitude) < math.log2(_MOST) - 2:
            return times_power(self.inner, self.exponent)
        return self

    @property
    def _magnitude(self) -> int:
        return self.exponent + _exponent(self.inner)

    def _at(self, exponent: int) -> Any:
        """The signal over 2^exponent."""
        return times_power(self.inner, self.exponent - exponent)

    def _beside(self, values: Any) -> int:
        """The power at which the signal meets some numbers: its own, unless they are far larger."""
        own, theirs = self._magnitude, exponent_of(values)
        return theirs if np.any(values) and theirs - own > _FAR else own

    # These are asked for as attributes, which may be assigned to; here they follow from both parts.
    @property
    def mean(self) -> float:  # type: ignore[override]
        return _power(self.inner.mean, self.exponent)

    @property
    def variance(self) -> float:  # type: ignore[override]
        return _power(self.inner.variance, 2 * self.exponent)

    @property
    def finite(self) -> bool:
        return bool(self.inner.finite)

    @property
    def latent_id(self) -> Hashable:  # type: ignore[override]
        return self.inner.latent_id

    @property
    def chi_1(self) -> float | None:
        return self.inner.chi_1

    @property
    def tells_channels_apart(self) -> bool:
        return self.inner.tells_channels_apart

    def observed(self, channels: int, samples: int) -> Observed:
        found: Observed = self.inner.observed(channels, samples)
        return replace(
            found,
            mean=self.mean,
            variance=self.variance,
            expected_variance=_power(found.expected_variance, 2 * self.exponent),
        )

    arrange = _same_scale("arrange")
    repeat = _same_scale("repeat")
    flatten = _same_scale("flatten")
    transpose = _same_scale("transpose")
    reshape = _same_scale("reshape")
    never_negative = _same_scale("never_negative")
    of_every_sample = _same_scale("of_every_sample")
    with_other_latents = _same_scale("with_other_latents")
    max_pool = _same_scale("max_pool")
    average_pool = _same_scale("average_pool")
    linear_map = _same_scale("linear_map")

    def looked_up(self, sizes: Sequence[int], rows: float, table: Array | None = None) -> Self:
        return self.of(self.inner.looked_up(sizes, rows), self.exponent)

    @classmethod
    def gaussian(cls, mean: float, variance: float) -> Self:
        return cls.of(cls.model.gaussian(mean, variance))

    @classmethod
    def of_values(cls, values: Array) -> Self:
        return cls.of(cls.model.of_values(values))

    @classmethod
    def mixture(cls, parts: Sequence[Self], weights: Sequence[float]) -> Self:
        top = _largest(parts)
        return cls.of(cls.model.mixture([part._at(top) for part in parts], weights), top)

    @classmethod
    def either(cls, parts: Sequence[Self], weights: Sequence[float]) -> Self:
        top = _largest(parts)
        return cls.of(cls.model.either([part._at(top) for part in parts], weights), top)

    @classmethod
    def beside(cls, parts: Sequence[Self], sizes: Sequence[Sequence[int]], axis: int) -> Self:
        top = _largest(parts)
        return cls.of(cls.model.beside([part._at(top) for part in parts], sizes, axis), top)

    def masked(self, logits: Self, masking: Masking) -> Self:
        return self.of(self._bounded().masked(logits._bounded(), masking))

    def softmax(self, count: int, masking: Masking | None = None) -> Self:
        return self.of(self._bounded().softmax(count, masking))

    def _bounded(self) -> Any:
        """The signal itself, or one that a softmax cannot tell from it."""
        return self._at(self.exponent - min(max(self.exponent, -300), 300))

    def map(
        self, function: Callable[..., Any], others: Sequence[Self] = (), *, trimmed: bool = False
    ) -> tuple[Self, bool]:
        operands = (self, *others)
        powers = [each._magnitude for each in operands]
        scaled, exponent = _in_range(function, powers)
        first, *rest = (each._at(power) for each, power in zip(operands, powers, strict=True))
        inner, converged = first.map(scaled, rest, trimmed=trimmed)
        return self.of(inner, exponent), converged

    def affine(self, scale: Any, offset: Any) -> Self:
        power = self._beside(offset)
        offset = np.ldexp(np.asarray(offset, float), -power)
        return self.of(self._at(power).affine(scale, offset), power)

    def linear(self, kernel: KernelMoments, bias: BiasMoments) -> Self:
        power = self._beside(math.sqrt(bias.second_moment))
        bias = BiasMoments(
            _power(bias.mean, -power),
            _power(bias.second_moment, -2 * power),
            _power(bias.cross, -power),
            None if bias.values is None else np.ldexp(bias.values, -power),
        )
        return self.of(self._at(power).linear(kernel, bias), power)

    def dropout(
        self,
        probability: float,
        gain: float,
        otherwise: float = 0.0,
        shared: frozenset[str] = frozenset(),
        samples: int = MANY,
    ) -> Self:
        power = self._beside(otherwise)
        otherwise = _power(otherwise, -power)
        return self.of(
            self._at(power).dropout(probability, gain, otherwise, shared, samples), power
        )

    def normalize(
        self,
        epsilon: float,
        count: int | None,
        *,
        centered: bool,
        samples: int | None = None,
        positions: bool = False,
    ) -> Self:
        own = self._magnitude
        # Beside an epsilon that is much larger, dividing by its root is all that there is.
        power = max(own, (exponent_of(epsilon) - _FAR) // 2) if epsilon else own
        inner = self._at(own).normalize(
            _power(epsilon, -2 * power),
            count,
            centered=centered,
            samples=samples,
            positions=positions,
        )
        return self.of(inner, own - power)

    def contract(self, other: Self, labels: tuple[str, str, str], sizes: dict[str, int]) -> Self:
        first, second = self._magnitude, other._magnitude
        inner = self._at(first).contract(other._at(second), labels, sizes)
        return self.of(inner, first + second)

    def combine(self, operation: str, others: Sequence[Self]) -> Self:
        every = (self, *others)
        powers = [each._magnitude for each in every]
        if operation != "multiply":
            powers = [_largest(every)] * len(every)
        first, *rest = (each._at(power) for each, power in zip(every, powers, strict=True))
        total = sum(powers) if operation == "multiply" else powers[0]
        return self.of(first.combine(operation, rest), total)

    def dot(self, other: Self, count: int, *, normalized: bool) -> Self:
        first, second = self._magnitude, other._magnitude
        inner = self._at(first).dot(other._at(second), count, normalized=normalized)
        return self.of(inner, 0 if normalized else first + second)


class ScaledIndependent(ScaledSignal):
    """Of the paper's model."""

    model = IndependentSignal


class ScaledCorrelated(ScaledSignal):
    """Of the correlated model."""

    model = CorrelatedSignal


_CLASSES: dict[type[Signal], type[ScaledSignal]] = {
    each.model: each for each in (ScaledIndependent, ScaledCorrelated)
}


def scaled(signal: Signal) -> ScaledSignal:
    """A signal, with what leaves the range of floating point carried apart."""
    return signal if isinstance(signal, ScaledSignal) else _CLASSES[type(signal)].of(signal)


def settled(signal: Signal) -> Signal:
    """A signal as it is, where its moments are in range; else with a power carried apart."""
    if not isinstance(signal, ScaledSignal):
        with np.errstate(over="ignore", invalid="ignore"):
            if _LEAST < signal.second_moment < _MOST or not signal.finite:
                return signal
        signal = scaled(signal)
    return signal.plain()


def alike(signals: Sequence[Signal]) -> list[Signal]:
    """Signals that can meet: all with a power apart, if one of them has one."""
    if any(isinstance(each, ScaledSignal) for each in signals):
        return [scaled(each) for each in signals]
    return list(signals)


def _largest(signals: Sequence[ScaledSignal]) -> int:
    known = [each._magnitude for each in signals if each.inner.finite and each.inner.second_moment]
    return max(known, default=0)


def _in_range(
    function: Callable[..., Any], powers: Sequence[int]
) -> tuple[Callable[..., Any], int]:
    """A function of 2^power·x, …, over a power of 2 that brings its values near 1; and that power.

    Args:
        function: of the operands.
        powers: of 2, one for each operand.
    """
    top = max(powers)
    for reach in _REACHES:
        near = min(max(top, -reach), reach)

        def evaluate(*points: Any, near: int = near, less: int = 0) -> Any:
            moved = [
                np.ldexp(point, power - top + near - less)
                for point, power in zip(points, powers, strict=True)
            ]
            return np.asarray(function(*moved))

        with np.errstate(all="ignore"):
            values, nearer = (
                evaluate(*(_PROBES for _ in powers), less=less)
                for less in (0, int(math.copysign(_STEP, near)))
            )
        if values.dtype != np.float32:
            break
    if not np.issubdtype(values.dtype, np.floating):
        return evaluate, 0
    own, before = (
        exponent_of(each[np.isfinite(each)]) if np.isfinite(each).any() else 0
        for each in (values, nearer)
    )
    degree = round((own - before) / math.copysign(_STEP, near))
    if abs(own) <= _STEP and not (top - near) * degree:
        return evaluate, 0

    def brought_near(*points: Any) -> Any:
        return np.ldexp(evaluate(*points), -own)

    return brought_near, own + degree * (top - near)
