"""Moments of kernels against the definition: every unit at every position, one by one."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from autoinit.rules.kernels import Kernel, bias_moments
from autoinit.signals.geometry import transposed_windows, windows


def kernel_of(values, summed_axes, tap_axes=(), axes=(), output_axes=()):
    layer = SimpleNamespace(kernel=values)
    return Kernel(layer, "kernel", "kernel", summed_axes, tap_axes, axes, output_axes)


def load(variable):
    return variable


def by_definition(values, summed_axes, tap_axes=(), axes=()):
    """E Σw², E (Σw)² and E Σw, and Σw itself: (positions, units)."""
    order = [*tap_axes, *summed_axes]
    order += [axis for axis in range(values.ndim) if axis not in order]
    taps = [values.shape[axis] for axis in tap_axes]
    fan_in = math.prod(values.shape[axis] for axis in summed_axes)
    table = values.transpose(order).reshape((*taps, fan_in, -1))
    power, sums = [], []
    for position in itertools.product(*(range(len(axis)) for axis in axes)):
        seen = np.zeros((fan_in, table.shape[-1]))
        squares = np.zeros_like(seen)
        for tap in itertools.product(*map(range, taps)):
            inside = all(w[p, t] >= 0 for w, p, t in zip(axes, position, tap, strict=True))
            seen += inside * table[tap]
            squares += inside * table[tap] ** 2
        power.append(squares.sum(0))
        sums.append(seen.sum(0))
    sums = np.array(sums)
    return np.mean(power), (sums**2).mean(), sums.mean(), sums


SAME = windows(4, 3, padding="same")
STRIDED = windows(6, 4, 2, padding="same")
DILATED = windows(4, 3, dilation=3, padding="same")
TRANSPOSED = transposed_windows(4, 9, 3, 2)
GEOMETRIES = {
    "dense": ((6, 4), (0,), (), ()),
    "one axis": ((3, 6, 4), (1,), (0,), (SAME,)),
    "two axes": ((3, 4, 6, 5), (2,), (0, 1), (SAME, STRIDED)),
    "depthwise": ((3, 3, 6, 2), (), (0, 1), (SAME, DILATED)),
    "transposed": ((3, 5, 6), (2,), (0,), (TRANSPOSED,)),
    "three axes": ((3, 4, 3, 2, 3), (3,), (0, 1, 2), (SAME, STRIDED, DILATED)),
    "embedding": ((7, 5), (), (), ()),
    "heads": ((6, 3, 4), (0,), (), ()),
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_actual_moments(geometry):
    shape, summed_axes, tap_axes, axes = geometry
    generator = np.random.default_rng(0)
    values = generator.normal(0.2, 1.0, shape)
    power, squared_sum, total, sums = by_definition(values, summed_axes, tap_axes, axes)
    bias = generator.normal(0.5, 1.0, sums.shape[1])
    if not tap_axes:
        bias = bias.reshape([shape[a] for a in range(len(shape)) if a not in summed_axes])
    moments, bias_found = kernel_of(values, summed_axes, tap_axes, axes).actual(load, bias.ravel())
    found = (moments.power, moments.squared_sum, moments.total)
    assert found == pytest.approx((power, squared_sum, total))
    assert bias_found.cross == pytest.approx((sums * bias.ravel()).mean())


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_drawn_moments_are_those_of_drawn_kernels(geometry, centered):
    shape, summed_axes, tap_axes, axes = geometry
    kernel = kernel_of(np.zeros(shape), summed_axes, tap_axes, axes)
    generator = np.random.default_rng(0)
    table = []
    for _ in range(100):
        values = generator.standard_normal(shape)
        if centered and kernel.fan_in > 1:  # as the constraint does it: mean 0, mean square 1
            values -= values.mean(kernel.fan_in_axes, keepdims=True)
            values /= np.sqrt((values**2).mean(kernel.fan_in_axes, keepdims=True))
        table.append(by_definition(values, summed_axes, tap_axes, axes)[:3])
    moments = kernel.drawn(centered=centered)
    expected = np.array([moments.power, moments.squared_sum, moments.total])
    error = np.std(table, 0, ddof=1) / math.sqrt(len(table))
    assert (np.abs(np.mean(table, 0) - expected) <= 4.5 * error + 1e-9).all()


def test_a_centred_kernel_cancels_the_mean_where_nothing_is_cut_off():
    moments = kernel_of(np.zeros((3, 6, 4)), (1,), (0,), (windows(9, 3),)).drawn(centered=True)
    assert moments.power == pytest.approx(18.0)
    assert moments.squared_sum == pytest.approx(0.0, abs=1e-9)


def test_a_single_weight_has_no_mean_to_remove():
    moments = kernel_of(np.zeros((7, 5)), ()).drawn(centered=True)
    assert (moments.power, moments.squared_sum) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("shape", "summed", "taps", "fan_in"),
    [
        ((6, 4), (0,), (), 6),  # dense
        ((3, 5, 6, 4), (2,), (0, 1), 90),  # 3·5 taps of 6 channels
        ((3, 5, 6, 2), (), (0, 1), 15),  # depthwise: taps alone
        ((7, 5), (), (), 1),  # embedding
    ],
)
def test_fan_in(shape, summed, taps, fan_in):
    assert kernel_of(np.zeros(shape), summed, taps).fan_in == fan_in


@pytest.mark.parametrize(
    ("output_axes", "bias_shape", "equation"),
    [
        ((None, 1, 2), (3, 4), "cd,cd->"),  # over all units
        ((None, 2, 1), (4, 3), "cd,dc->"),  # in another order than the kernel's axes
        ((None, 1, 2), (3, 1), "cd,cz->"),  # over the first of them
        ((None, 1, None, 2), (5, 4), "cd,bd->"),  # over positions and the last of them
    ],
)
def test_bias_beside_the_units_that_it_belongs_to(output_axes, bias_shape, equation):
    generator = np.random.default_rng(0)
    values, bias = generator.normal(size=(6, 3, 4)), generator.normal(size=bias_shape)
    _, moments = kernel_of(values, (0,), output_axes=output_axes).actual(load, bias)
    # Σ over every pair that meets, by einsum, divided by how often that is.
    meetings = 12 * {"cd,bd->": 5}.get(equation, 1)
    assert moments.cross == pytest.approx(np.einsum(equation, values.sum(0), bias) / meetings)


def test_bias_moments_by_hand():
    moments = bias_moments(np.array([1.0, 3.0]), load)
    assert (moments.mean, moments.second_moment, moments.variance) == (2.0, 5.0, 1.0)
    assert bias_moments(None, load).second_moment == 0.0


def test_single_precision_kernels_are_summed_in_double():
    values = np.full((1_000_000, 1), 0.1, np.float32)
    moments, _ = kernel_of(values, (0,)).actual(load)
    assert moments.total == pytest.approx(1e6 * float(np.float32(0.1)), rel=1e-12)
