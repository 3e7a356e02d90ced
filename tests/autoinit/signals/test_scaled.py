"""Signals from 10⁻³⁰⁰ to 10³⁰⁰ and beyond: every primitive, in both models."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoinit.signals import SIGNAL_MODELS
from autoinit.signals.geometry import Taps, windows
from autoinit.signals.scaled import ScaledSignal, alike, scaled, settled
from autoinit.signals.signal import NO_BIAS, BiasMoments, KernelMoments, Masking

MODELS = pytest.mark.parametrize("model", SIGNAL_MODELS.values(), ids=SIGNAL_MODELS)
# Powers of 2: 10⁻⁶⁰⁰ to 10⁶⁰⁰.
EXPONENTS = st.integers(-2000, 2000)
AXES = (windows(6, 2, 2, 1, "valid"),)
KERNEL = KernelMoments(2.0, 3.0, 0.5, (), 8, 4)
SMALL = 1e-12


def relu(x):
    return np.maximum(x, 0.0)


# By name: what it does, of (x, y), and the degree in which it is homogeneous, of both together.
HOMOGENEOUS = {
    "arrange": (lambda x, y: x.arrange((6,)), 1),
    "repeat": (lambda x, y: x.repeat((2,)), 1),
    "flatten": (lambda x, y: x.flatten(), 1),
    "transpose": (lambda x, y: x.transpose((6, 4), (1, 0)), 1),
    "reshape": (lambda x, y: x.reshape((6, 4), (24,)), 1),
    "looked_up": (lambda x, y: x.looked_up((6,), 10.0), 1),
    "of_every_sample": (lambda x, y: x.of_every_sample(), 1),
    "with_other_latents": (lambda x, y: x.with_other_latents(), 1),
    "relu": (lambda x, y: x.map(relu)[0], 1),
    "square": (lambda x, y: x.map(np.square)[0], 2),
    "sign": (lambda x, y: x.map(np.sign)[0], 0),
    "map of two": (lambda x, y: x.map(np.maximum, [y])[0], 1),
    "affine": (lambda x, y: x.affine(-3.0, 0.0), 1),
    "affine by channel": (lambda x, y: x.affine(np.array([1.0, -3.0]), 0.0), 1),
    "linear": (lambda x, y: x.linear(KERNEL, NO_BIAS), 1),
    "dropout": (lambda x, y: x.dropout(0.5, 2.0), 1),
    "max_pool": (lambda x, y: x.arrange((6,)).max_pool(AXES), 1),
    "average_pool": (lambda x, y: x.arrange((6,)).average_pool(AXES), 1),
    "linear_map": (lambda x, y: x.linear_map([Taps.averaging(*AXES, 6)]), 1),
    "normalize": (lambda x, y: x.normalize(0.0, 16, centered=True), 0),
    "normalize a batch": (lambda x, y: x.normalize(0.0, None, centered=True, samples=32), 0),
    "normalize a group": (lambda x, y: x.normalize(0.0, 64, centered=True, positions=True), 0),
    "divide by the norm": (lambda x, y: x.normalize(0.0, 16, centered=False), 0),
    "contract": (lambda x, y: x.contract(y, ("ab", "bc", "ac"), {"a": 2, "b": 3, "c": 4}), 2),
    "add": (lambda x, y: x.combine("add", [y]), 1),
    "add itself": (lambda x, y: x.combine("add", [x.map(relu)[0]]), 1),
    "subtract": (lambda x, y: x.combine("subtract", [y]), 1),
    "average": (lambda x, y: x.combine("average", [y]), 1),
    "maximum": (lambda x, y: x.combine("maximum", [y]), 1),
    "minimum": (lambda x, y: x.combine("minimum", [y]), 1),
    "multiply": (lambda x, y: x.combine("multiply", [y]), 2),
    "multiply by itself": (lambda x, y: x.combine("multiply", [x.map(relu)[0]]), 2),
    "dot": (lambda x, y: x.dot(y, 8, normalized=False), 2),
    "cosine": (lambda x, y: x.dot(y, 8, normalized=True), 0),
    "mixture": (lambda x, y: type(x).mixture([x, y], [1.0, 2.0]), 1),
    "beside": (lambda x, y: type(x).beside([x, y], [(4,), (4,)], 0), 1),
}
OTHERS = {
    "tanh": lambda x, y: x.map(np.tanh)[0],
    "softplus": lambda x, y: x.map(lambda z: np.logaddexp(z, 0.0))[0],
    "single precision": lambda x, y: x.map(lambda z: relu(z.astype(np.float32)))[0],
    "comparison": lambda x, y: x.map(lambda z: z > 0)[0],
    "cut off": lambda x, y: x.map(lambda z: 1 / z, trimmed=True)[0],
    "function of two": lambda x, y: x.map(lambda a, b: a * np.tanh(b), [y])[0],
    "offset": lambda x, y: x.affine(2.0, 1.0),
    "offsets": lambda x, y: x.affine(np.array([1.0, 2.0]), np.array([0.0, 1.0])),
    "bias": lambda x, y: x.linear(KERNEL, BiasMoments(0.5, 1.0, 0.2)),
    "padding": lambda x, y: x.dropout(0.5, 1.0, 1.0),
    "normalize": lambda x, y: x.normalize(1e-3, 16, centered=True),
    "normalize a batch": lambda x, y: x.normalize(1e-3, None, centered=True, samples=32),
    "softmax": lambda x, y: x.softmax(8),
    "masked softmax": lambda x, y: x.masked(y, Masking.at_random(8, 0.5)).softmax(8),
    "add": lambda x, y: x.combine("add", [y]),
    "multiply": lambda x, y: x.combine("multiply", [y]),
    "maximum": lambda x, y: x.combine("maximum", [y]),
    "mixture": lambda x, y: type(x).mixture([x, y], [1.0, 2.0]),
    "contract": lambda x, y: x.contract(y, ("ab", "bc", "ac"), {"a": 2, "b": 3, "c": 4}),
    "dot": lambda x, y: x.dot(y, 8, normalized=False),
}


def pair(model, first, second):
    kinds = [scaled(model.gaussian(*moments)) for moments in ((0.5, 1.5), (-1.0, 0.25))]
    return [
        type(each).of(each.inner, power) for each, power in zip(kinds, (first, second), strict=True)
    ]


def moments_at(signal, exponent):
    """Mean and deviation over 2^exponent."""
    inner = scaled(signal)._at(exponent)
    return inner.mean, math.sqrt(inner.variance)


@MODELS
@pytest.mark.parametrize("name", HOMOGENEOUS)
@given(exponent=EXPONENTS)
@settings(max_examples=8, deadline=None)
def test_homogeneous_primitives_keep_the_scale(model, name, exponent):
    operation, degree = HOMOGENEOUS[name]
    plain = operation(*pair(model, 0, 0))
    result = operation(*pair(model, exponent, exponent))
    expected, found = moments_at(plain, 0), moments_at(result, degree * exponent)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@MODELS
@pytest.mark.parametrize("name", OTHERS)
@given(first=EXPONENTS, second=EXPONENTS)
@settings(max_examples=8, deadline=None)
def test_no_primitive_falls_over(model, name, first, second):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        result = OTHERS[name](*pair(model, first, second))
        assert result.finite
        assert settled(result).observed(4, 32).mean is not None


@MODELS
@pytest.mark.parametrize("name", HOMOGENEOUS | OTHERS)
def test_in_range_a_power_apart_changes_nothing(model, name):
    operation = {**{key: op for key, (op, _) in HOMOGENEOUS.items()}, **OTHERS}[name]
    plain = operation(model.gaussian(0.5, 1.5), model.gaussian(-1.0, 0.25))
    found = settled(operation(*pair(model, 0, 0)))
    assert type(found) is model
    assert moments_at(found, 0) == pytest.approx(moments_at(plain, 0), rel=1e-6, abs=1e-12)


@MODELS
def test_what_an_addend_hides_is_gone(model):
    tiny, huge = pair(model, -1500, 1500)
    total = tiny.combine("add", [huge])
    assert moments_at(total, 1500) == pytest.approx((-1.0, 0.5))
    assert settled(tiny.affine(1.0, 3.0)).mean == 3.0
    assert settled(tiny.linear(KERNEL, BiasMoments(1.0, 2.0))).variance == pytest.approx(1.0)
    # Nothing but the root of epsilon divides it.
    small = tiny.normalize(4.0, None, centered=True, samples=1000)
    assert moments_at(small, -1500)[1] == pytest.approx(math.sqrt(1.5) / 2, rel=1e-3)
    # A step: half of the entries are 1, half are −1.
    assert settled(huge.affine(1.0, 0.0).map(np.tanh)[0]).mean == pytest.approx(
        math.erf(-1 / 0.5 / math.sqrt(2)), abs=1e-3
    )
    assert settled(tiny.map(np.exp)[0]).mean == pytest.approx(1.0)


@MODELS
def test_figures_beyond_floating_point(model):
    tiny, huge = pair(model, -1500, 1500)
    assert (tiny.mean, tiny.variance, huge.mean, huge.variance) == (0.0, 0.0, -math.inf, math.inf)
    assert tiny.finite
    assert huge.finite
    assert huge.observed(4, 32).variance == math.inf
    repeatedly_squared = pair(model, -(2**70), 2**70)
    assert [signal.variance for signal in repeatedly_squared] == [0.0, math.inf]


@MODELS
def test_only_what_leaves_the_range_is_carried_apart(model):
    inside, outside = model.gaussian(0.0, 1e90), model.gaussian(0.0, 1e-110)
    assert settled(inside) is inside
    assert isinstance(settled(outside), ScaledSignal)
    assert settled(outside).variance == pytest.approx(1e-110)
    zero = model.gaussian(0.0, 0.0)
    assert settled(zero) is zero
    assert alike([inside, zero]) == [inside, zero]
    assert all(isinstance(each, ScaledSignal) for each in alike([inside, settled(outside)]))
    assert type(settled(settled(outside).affine(1e55, 0.0))) is model
