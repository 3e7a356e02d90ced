"""The primitives of the paper's signal model, by hand and by seeded Monte Carlo."""

import math

import numpy as np
import pytest

from autoinit.signals.geometry import Taps, windows
from autoinit.signals.independent import IndependentSignal
from autoinit.signals.signal import BiasMoments, KernelMoments

SIGNAL = IndependentSignal.gaussian(0.5, 1.5)
OTHER = IndependentSignal.gaussian(-1.0, 0.25)
THIRD = IndependentSignal.gaussian(2.0, 4.0)


def moments(signal):
    return signal.mean, signal.variance


def sampled(signal, size, seed=0):
    noise = np.random.default_rng(seed).standard_normal(size)
    return signal.mean + math.sqrt(signal.variance) * noise


def test_moments_are_kept():
    assert moments(SIGNAL) == (0.5, 1.5)
    assert SIGNAL.second_moment == 1.75
    assert SIGNAL.finite
    assert not IndependentSignal.gaussian(0.0, math.inf).finite
    assert not IndependentSignal.gaussian(math.nan, 1.0).finite


def test_a_variance_that_rounding_made_negative_is_zero():
    assert IndependentSignal.gaussian(1.0, -1e-18).variance == 0.0


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scales_from_one_end_to_the_other(scale):
    signal = IndependentSignal.gaussian(scale, scale**2)
    assert moments(signal.affine(2.0, 0.0)) == pytest.approx((2 * scale, 4 * scale**2))
    mixed = signal.linear(KernelMoments(3.0, 3.0, 0.0), BiasMoments())
    assert moments(mixed) == pytest.approx((0.0, 6 * scale**2))
    other = signal.with_other_latents()
    assert moments(signal.combine("add", [other])) == pytest.approx((2 * scale, 2 * scale**2))
    # v₁v₂ + v₁m₂² + v₂m₁² = 3 s⁴.
    assert signal.combine("multiply", [other]).variance == pytest.approx(3 * scale**4)
    assert signal.dropout(0.5, 2.0).variance == pytest.approx(3 * scale**2)


def test_map():
    result, converged = SIGNAL.map(lambda x: 3 * x - 1)
    assert converged
    assert moments(result) == pytest.approx((0.5, 13.5))
    _, converged = SIGNAL.map(lambda x: 1 / x)
    assert not converged


def test_affine_with_numbers_and_channels():
    assert moments(SIGNAL.affine(-2.0, 1.0)) == (0.0, 6.0)
    # Channels x + 0 and 3x + 1: means 0.5 and 2.5; within, (1 + 9)/2·1.5; between, 1.
    assert moments(SIGNAL.affine([1.0, 3.0], [0.0, 1.0])) == pytest.approx((1.5, 8.5))


def test_mix_by_hand():
    # Σw² = 5 and Σw = 3 (weights 1 and 2), bias 1: mean 3·0.5 + 1; the variance is 5·1.5.
    kernel = KernelMoments(power=5.0, squared_sum=9.0, total=3.0)
    bias = BiasMoments(mean=1.0, second_moment=1.0, cross=3.0)
    assert moments(SIGNAL.linear(kernel, bias)) == pytest.approx((2.5, 7.5))
    # A kernel of zero mean, fan_in = 2 and E w² = 3: fan_in·E w²·(v + m²), eq. 3 of the paper.
    assert moments(SIGNAL.linear(KernelMoments(6.0, 6.0, 0.0), BiasMoments())) == (0.0, 10.5)


def test_keep_by_hand():
    # Dropout of a half: mean m, second moment 2(v + m²).
    assert moments(SIGNAL.dropout(0.5, 2.0)) == pytest.approx((0.5, 3.25))
    # A quarter becomes −1: mean 0.75·0.5 − 0.25; second moment 0.75·1.75 + 0.25.
    assert moments(SIGNAL.dropout(0.75, 1.0, -1.0)) == pytest.approx((0.125, 1.5625 - 0.125**2))
    assert moments(SIGNAL.dropout(0.0, 0.0)) == (0.0, 0.0)


def test_maximum_of_windows_cut_by_the_border():
    # Three entries, windows of two at stride 2: one holds two entries, the other one.
    axis = windows(3, 2, 2, padding="same")
    standard = IndependentSignal.gaussian(0.0, 1.0)
    mean = (1 / math.sqrt(math.pi) + 0) / 2  # E max² = 1 for both
    assert moments(standard.max_pool((axis,))) == pytest.approx((mean, 1 - mean**2))


def test_maximum_of_windows_shifts_and_scales():
    found = SIGNAL.max_pool((windows(4, 2, 2),))
    expected = (0.5 + math.sqrt(1.5 / math.pi), 1.5 * (1 - 1 / math.pi))
    assert moments(found) == pytest.approx(expected)


def test_mean_of_windows():
    assert moments(SIGNAL.average_pool((windows(6, 3, 3), windows(4, 2, 2)))) == (0.5, 0.25)
    # Windows of 2 and of 1: the mean of 1/2 and 1.
    assert SIGNAL.average_pool((windows(3, 2, 2, padding="same"),)).variance == pytest.approx(1.125)


def test_resample_by_hand():
    # Positions x₁, (x₁ + x₂)/2 and x₂: variances v, v/2, v; the mean stays.
    taps = Taps.of_matrix(np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]))
    assert moments(SIGNAL.linear_map([taps])) == pytest.approx((0.5, 1.5 * 2.5 / 3))
    assert moments(SIGNAL.linear_map([taps, taps])) == pytest.approx((0.5, 1.5 * (2.5 / 3) ** 2))


@pytest.mark.parametrize(
    ("centered", "count", "expected"),
    [
        (True, None, (0.0, 0.75)),  # v/(v + ε)
        (False, None, (0.5 / 1.5, 1.5 / 2.25)),  # x/√(v + m² + ε)
        (True, 1, (0.0, 0.0)),  # a single entry is its own mean
    ],
)
def test_normalise_by_hand(centered, count, expected):
    epsilon = 0.5
    assert moments(SIGNAL.normalize(epsilon, count, centered=centered)) == pytest.approx(expected)


@pytest.mark.parametrize("signal", [SIGNAL, IndependentSignal.gaussian(0.0, 0.7)])
@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize(("epsilon", "count"), [(0.0, 5), (0.3, 3), (2.0, 8)])
def test_normalise_against_monte_carlo(signal, centered, epsilon, count):
    x = sampled(signal, (200_000, count))
    if centered:
        x = x - x.mean(1, keepdims=True)
    y = (x / np.sqrt((x**2).mean(1, keepdims=True) + epsilon))[:, 0]
    found = signal.normalize(epsilon, count, centered=centered)
    assert found.mean == pytest.approx(y.mean(), abs=4 * y.std() / len(y) ** 0.5)
    error = (y**2).std() / len(y) ** 0.5
    assert found.second_moment == pytest.approx((y**2).mean(), abs=4 * error)


@pytest.mark.parametrize("epsilon", [1e-3, 0.0])
def test_normalising_a_constant_gives_zero(epsilon):
    constant = IndependentSignal.gaussian(3.0, 0.0)
    assert moments(constant.normalize(epsilon, None, centered=True)) == (0.0, 0.0)
    assert moments(constant.normalize(epsilon, 4, centered=True)) == (0.0, 0.0)


def test_softmax_does_not_see_the_mean():
    shifted = IndependentSignal.gaussian(100.0, 1.5)
    assert moments(shifted.softmax(4)) == moments(SIGNAL.softmax(4))
    assert SIGNAL.softmax(4).mean == 0.25


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("add", (1.5, 5.75)),
        ("subtract", (0.5 + 1.0 - 2.0, 5.75)),
        ("average", (0.5, 5.75 / 9)),
        # 0.5·(−1)·2; Π(v + m²) − Π m² = 1.75·1.25·8 − 0.25·1·4.
        ("multiply", (-1.0, 16.5)),
    ],
)
def test_combine_by_hand(operation, expected):
    assert moments(SIGNAL.combine(operation, [OTHER, THIRD])) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("operation", "function"),
    [("maximum", np.maximum), ("minimum", np.minimum), ("multiply", np.multiply)],
)
def test_combine_against_monte_carlo(operation, function):
    parts = [sampled(s, 500_000, seed) for seed, s in enumerate((SIGNAL, OTHER, THIRD))]
    values = function(function(parts[0], parts[1]), parts[2])
    found = SIGNAL.combine(operation, [OTHER, THIRD])
    root = len(values) ** 0.5
    assert found.mean == pytest.approx(values.mean(), abs=4 * values.std() / root)
    squares = (values - values.mean()) ** 2
    assert found.variance == pytest.approx(squares.mean(), abs=4 * squares.std() / root)


def test_an_unknown_operation_is_refused():
    with pytest.raises(ValueError, match=r"maximum or minimum.*'divide'"):
        SIGNAL.combine("divide", [OTHER])


def test_dot_by_hand():
    # n·m₁m₂ and n·(v₁v₂ + v₁m₂² + v₂m₁²) = 6·(0.375 + 1.5 + 0.0625).
    assert moments(SIGNAL.dot(OTHER, 6, normalized=False)) == pytest.approx((-3.0, 11.625))
    # Unit vectors in n dimensions, of no preferred direction: variance 1/n.
    centered = IndependentSignal.gaussian(0.0, 9.0)
    assert moments(centered.dot(centered, 6, normalized=True)) == pytest.approx((0.0, 1 / 6))
    # A single entry over its size is its sign: P(x > 0) = Φ(1).
    sign = math.erf(1 / math.sqrt(2))
    one = IndependentSignal.gaussian(2.0, 4.0)
    expected = (sign**2, 1 - sign**4)
    assert moments(one.dot(one, 1, normalized=True)) == pytest.approx(expected, rel=1e-6)


def test_mixture_by_hand():
    # Eq. 15 and 16: C₁ = 3 entries of one, C₂ = 1 of the other.
    found = IndependentSignal.mixture([SIGNAL, OTHER], [3, 1])
    mean = (3 * 0.5 - 1.0) / 4
    assert moments(found) == pytest.approx((mean, (3 * 1.75 + 1.25) / 4 - mean**2))
