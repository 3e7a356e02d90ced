"""The weights of a linear map as a rule describes them, and their moments.

A rule says which axes of the kernel are summed over and which input positions each tap reads; from
this follow the moments of the kernel that the model has, or of one that is still to be drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autoinit.signals.geometry import Windows, coverage
from autoinit.signals.signal import Array, BiasMoments, KernelMoments

Loader = Callable[[Any], Array]


@dataclass(frozen=True)
class Kernel:
    """One kernel of one layer.

    Attributes:
        layer: the layer that holds it.
        attribute: its name there: `kernel`, `depthwise_kernel`, `embeddings`.
        configured: what the layer calls it in `…_initializer` and `…_constraint`.
        summed_axes: axes of the kernel that a unit sums over, besides the taps.
        tap_axes: the kernel's spatial axes.
        windows: for each tap axis, which input position each tap reads.
        output_axes: where the bias may have other axes than the units: for each axis of the
            output, the kernel's axis that it comes from, or None.
        constant: whether all entries are one number, which is set and not drawn.
    """

    layer: Any
    attribute: str
    configured: str
    summed_axes: tuple[int, ...]
    tap_axes: tuple[int, ...] = ()
    windows: tuple[Windows, ...] = ()
    output_axes: tuple[int | None, ...] = ()
    constant: bool = False

    @property
    def variable(self) -> Any:
        """The Keras variable."""
        # With low-rank adapters the public attribute is a sum, and the variable stands behind it.
        behind = getattr(self.layer, f"_{self.attribute}", None)
        return getattr(self.layer, self.attribute) if behind is None else behind

    @property
    def shape(self) -> tuple[int, ...]:
        """The kernel's shape."""
        return tuple(int(size) for size in self.variable.shape)

    @property
    def fan_in_axes(self) -> tuple[int, ...]:
        """All axes that a unit sums over."""
        return tuple(sorted((*self.summed_axes, *self.tap_axes)))

    @property
    def fan_in(self) -> int:
        """Number of connections into a unit, padding not considered."""
        return math.prod(self.shape[axis] for axis in self.fan_in_axes)

    @property
    def channels(self) -> int:
        """Number of inputs of a unit at each tap."""
        return math.prod(self.shape[axis] for axis in self.summed_axes)

    @property
    def units(self) -> int:
        """Number of units."""
        return math.prod(self.shape) // self.fan_in

    def _coverages(self) -> list[Array]:
        return [coverage(axis_windows) for axis_windows in self.windows]

    def drawn(self, *, centered: bool) -> KernelMoments:
        """Expected moments of a kernel with independent entries of zero mean and unit variance.

        Under `same` padding a position near the border sees fewer taps: `power` counts the
        average number that it sees. `centred` removes each unit's own mean, so that what is left
        of an incoming mean is what the border cuts off.
        """
        channels = self.channels
        covers = self._coverages()
        seen = channels * math.prod(float(np.trace(cover)) for cover in covers)
        if not centered or self.fan_in == 1:  # a single weight has no mean to remove
            return self._moments(seen, seen, 0.0)
        seen_squared = channels**2 * math.prod(float(cover.sum()) for cover in covers)
        left = (self.fan_in * seen - seen_squared) / (self.fan_in - 1)
        return self._moments(seen, max(left, 0.0), 0.0)

    def _moments(self, power: float, squared_sum: float, total: float) -> KernelMoments:
        return KernelMoments(
            power, squared_sum, total, self.windows, self.channels, max(self.units, 1)
        )

    def actual(
        self, load: Loader, bias: Any = None, *, values: bool = False
    ) -> tuple[KernelMoments, BiasMoments]:
        """Moments of the kernel as it is, and of the bias (None for a layer without) beside it.

        Args:
            load: gives the values of a variable as a NumPy array.
            bias: the variable.
            values: whether the moments come with the values themselves.
        """
        loaded = load(self.variable)
        sums, squares = self._reduced(loaded)
        covers = self._coverages()
        unit_sums = cross = sums
        for axis, cover in enumerate(covers):
            squares = np.tensordot(np.diag(cover), squares, axes=(0, 0))
            unit_sums = np.tensordot(np.diag(cover), unit_sums, axes=(0, 0))
            cross = np.moveaxis(np.tensordot(cover, cross, axes=(1, axis)), 0, axis)
        taps = tuple(range(sums.ndim - 1))
        moments = self._moments(
            float(squares), float((cross * sums).sum(taps).mean()), float(unit_sums.mean())
        )
        offsets = bias_moments(bias, load, self._as_in_output(unit_sums))
        offset = None if bias is None else np.asarray(load(bias), np.float64).ravel()
        # One of another shape adds to positions, too.
        by_unit = offset is None or offset.size == self.units
        if values and by_unit:
            moments = replace(moments, values=self._by_unit(loaded))
            offsets = replace(offsets, values=offset)
        return moments, offsets

    def _by_unit(self, values: Array) -> Array:
        """As (taps…, inputs of a unit, units); without inputs where each unit has a single one."""
        order = [*self.tap_axes, *self.summed_axes]
        order += [axis for axis in range(values.ndim) if axis not in order]
        taps = [self.shape[axis] for axis in self.tap_axes]
        inputs = [self.channels] if self.summed_axes else []
        return values.transpose(order).reshape(*taps, *inputs, -1)

    def _as_in_output(self, units: Array) -> Array:
        if not self.output_axes:
            return units
        axes = [axis for axis in self.output_axes if axis is not None]
        ordered = units.reshape([self.shape[axis] for axis in sorted(axes)])
        ordered = ordered.transpose([sorted(axes).index(axis) for axis in axes])
        return ordered.reshape([1 if a is None else self.shape[a] for a in self.output_axes])

    def _reduced(self, values: Array) -> tuple[Array, Array]:
        """Sums over `summed_axes`, (taps…, units), and mean over units of the sums of squares."""
        # Accumulated in double precision without a double-precision copy of the kernel.
        sums = values.sum(self.summed_axes, dtype=np.float64) if self.summed_axes else values
        squared = np.square(values)
        squares = squared.sum(self.summed_axes, dtype=np.float64) if self.summed_axes else squared
        left = [axis for axis in range(values.ndim) if axis not in self.summed_axes]
        order = [left.index(axis) for axis in self.tap_axes]
        units = [place for place in range(len(left)) if place not in order]
        shape = tuple(self.shape[axis] for axis in self.tap_axes)
        sums = sums.transpose(order + units).reshape((*shape, -1)).astype(np.float64)
        squares = squares.transpose(order + units).reshape((*shape, -1)).mean(-1, dtype=np.float64)
        return sums, squares


def bias_moments(bias: Any, load: Loader, unit_sums: Array | None = None) -> BiasMoments:
    """Moments of a bias variable (None for a layer without) over units.

    Args:
        bias: the variable.
        load: gives its values.
        unit_sums: Σᵢ wᵢ of each unit, where the kernel is known; broadcast with the bias.
    """
    if bias is None:
        return BiasMoments()
    values = np.asarray(load(bias), np.float64)
    cross = 0.0 if unit_sums is None else float((values * unit_sums).mean())
    return BiasMoments(float(values.mean()), float((values**2).mean()), cross)
