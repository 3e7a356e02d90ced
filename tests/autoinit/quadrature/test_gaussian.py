import math

import numpy as np
import pytest
from scipy import integrate, special

from autoinit.quadrature import gaussian

ROOT = math.sqrt(2 * math.pi)


def density(z):
    return math.exp(-z * z / 2) / ROOT


def below(z):
    return float(special.ndtr(z))


def relu(x):
    return np.maximum(x, 0.0)


def relu_moments(m, s):
    # ∫₀^∞ x p(x) dx and ∫₀^∞ x² p(x) dx, by parts.
    a = m / s
    mean = m * below(a) + s * density(a)
    return mean, (m * m + s * s) * below(a) + m * s * density(a) - mean**2


def clip_moments(m, s, low, high):
    a, b = (low - m) / s, (high - m) / s
    inside = below(b) - below(a)
    mean = low * below(a) + high * below(-b) + m * inside + s * (density(a) - density(b))
    second = low**2 * below(a) + high**2 * below(-b) + (m * m + s * s) * inside
    second += 2 * m * s * (density(a) - density(b)) + s * s * (a * density(a) - b * density(b))
    return mean, second - mean**2


@pytest.mark.parametrize(
    ("function", "m", "s", "mean", "variance"),
    [
        (relu, 0.0, 1.0, 1 / ROOT, 1 / 2 - 1 / (2 * math.pi)),
        (relu, -1.3, 0.7, *relu_moments(-1.3, 0.7)),
        (relu, 5.0, 0.2, *relu_moments(5.0, 0.2)),
        (np.abs, 0.0, 1.0, math.sqrt(2 / math.pi), 1 - 2 / math.pi),
        # The log-normal distribution.
        (np.exp, 0.3, 0.8, math.exp(0.62), math.expm1(0.64) * math.exp(1.24)),
        # A step away from every edge of a panel: a Bernoulli variable.
        (
            lambda x: np.where(x > 0.37, 1.0, 0.0),
            0.0,
            1.0,
            below(-0.37),
            below(-0.37) * below(0.37),
        ),
        (lambda x: np.clip(x, 0.0, 6.0), 2.0, 3.0, *clip_moments(2.0, 3.0, 0.0, 6.0)),
        (lambda x: np.clip(x, -1.0, 0.4), 0.1, 1.5, *clip_moments(0.1, 1.5, -1.0, 0.4)),
        # E X² = m² + s²; Var X² = 2s⁴ + 4m²s².
        (np.square, 0.5, 2.0, 4.25, 36.0),
        # Re E e^{iX} = e^{−s²/2} cos m, and cos² x = (1 + cos 2x)/2.
        (
            np.cos,
            1.0,
            0.5,
            math.exp(-0.125) * math.cos(1),
            (1 + math.exp(-0.5) * math.cos(2)) / 2 - math.exp(-0.25) * math.cos(1) ** 2,
        ),
        # E ln|Z| = −(γ + ln 2)/2 and Var ln|Z| = π²/8, from the moments of χ² with one degree.
        (
            lambda x: np.log(np.abs(x)),
            0.0,
            1.0,
            -(np.euler_gamma + math.log(2)) / 2,
            math.pi**2 / 8,
        ),
        # A sigmoid is 1/2 on average by symmetry, its variance that of a softmax over two: below.
        (lambda x: 3.0 - 2.0 * x, 0.5, 1.5, 2.0, 9.0),
        (lambda x: np.full_like(x, 7.0), 0.5, 1.5, 7.0, 0.0),
    ],
)
def test_moments_in_closed_form(function, m, s, mean, variance):
    result = gaussian.moments(function, m, s)
    assert result.converged
    assert result.mean == pytest.approx(mean, rel=1e-8)
    assert result.variance == pytest.approx(variance, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("variance", [1e-60, 1e-20, 1e-3, 1e20, 1e60])
def test_relu_scales_with_its_input(variance):
    result = gaussian.moments(relu, 0.0, math.sqrt(variance))
    assert result.converged
    assert result.mean == pytest.approx(math.sqrt(variance) / ROOT, rel=1e-9)
    assert result.variance == pytest.approx(variance * (1 / 2 - 1 / (2 * math.pi)), rel=1e-9)


@pytest.mark.parametrize(
    ("function", "s", "variance"),
    [
        (np.tanh, 1e-30, 1e-60),  # linear at zero
        (np.tanh, 1e30, 1.0),  # ±1
        (np.square, 1e30, 2e120),
        (lambda x: np.clip(x, 0.0, 6.0), 1e30, 9.0),  # 0 or 6, half of the time each
    ],
)
def test_moments_at_extreme_scales(function, s, variance):
    result = gaussian.moments(function, 0.0, s)
    assert result.converged
    assert result.variance == pytest.approx(variance, rel=1e-8)


def test_without_spread_the_function_is_taken_at_the_mean():
    assert gaussian.moments(np.exp, 0.5, 0.0) == gaussian.FunctionMoments(math.exp(0.5), 0.0, True)


def test_single_precision_functions_converge():
    result = gaussian.moments(lambda x: np.tanh(x.astype(np.float32)), 0.0, 1.0)
    exact = gaussian.moments(np.tanh, 0.0, 1.0)
    assert result.converged
    assert result.variance == pytest.approx(exact.variance, rel=1e-6)


@pytest.mark.parametrize(
    ("function", "m"),
    [
        (lambda x: 1 / x, 0.0),
        (lambda x: 1 / x, 0.4),
        (lambda x: x**-2, 0.0),
        (lambda x: np.exp(x**2), 0.0),
    ],
)
def test_functions_that_are_not_integrable_do_not_converge(function, m):
    assert not gaussian.moments(function, m, 1.0).converged


@pytest.mark.parametrize(("m", "s"), [(math.inf, 1.0), (0.0, math.inf), (math.nan, 1.0)])
def test_moments_of_what_is_not_finite_are_unknown(m, s):
    result = gaussian.moments(relu, m, s)
    assert math.isnan(result.mean)
    assert math.isnan(result.variance)
    assert not result.converged


@pytest.mark.parametrize("function", [np.tanh, special.expit, relu, np.sin])
def test_moments_against_monte_carlo(function):
    values = function(0.4 + 1.7 * np.random.default_rng(0).standard_normal(1_000_000))
    result = gaussian.moments(function, 0.4, 1.7)
    deviation = values.std()
    assert result.mean == pytest.approx(values.mean(), abs=4 * deviation / 1000)
    error = ((values - values.mean()) ** 2).std() / 1000
    assert result.variance == pytest.approx(deviation**2, abs=4 * error)


@pytest.mark.parametrize(
    ("count", "mean", "variance"),
    [
        (1, 0.0, 1.0),
        (2, 1 / math.sqrt(math.pi), 1 - 1 / math.pi),
        (3, 3 / (2 * math.sqrt(math.pi)), 1 + math.sqrt(3) / (2 * math.pi) - 9 / (4 * math.pi)),
        # Order statistics of Harter 1961, and Teichroew 1956.
        (4, 1.0293753730, 0.4917152369),
        (5, 1.1629644736, 0.4475340690),
    ],
)
def test_largest_of_standard_normals(count, mean, variance):
    assert gaussian.maximum_of(count) == pytest.approx((mean, variance), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("count", [9, 200, 12_544, 10**6])
def test_largest_of_many(count):
    # E max = ∫₀^∞ 1 − Φⁿ dz − ∫₋∞⁰ Φⁿ dz: nothing in common with the density.
    top, _ = integrate.quad(lambda z: -math.expm1(count * special.log_ndtr(z)), 0, 20, limit=400)
    bottom, _ = integrate.quad(lambda z: math.exp(count * special.log_ndtr(z)), -20, 0)
    assert gaussian.maximum_of(count)[0] == pytest.approx(top - bottom, rel=1e-7)


def clark(m, v, n, w):
    # Clark 1961, "The greatest of a finite set of random variables", eq. 2 and 3.
    t = math.sqrt(v + w)
    a = (m - n) / t
    mean = m * below(a) + n * below(-a) + t * density(a)
    second = (m * m + v) * below(a) + (n * n + w) * below(-a) + (m + n) * t * density(a)
    return mean, second - mean**2


@pytest.mark.parametrize(
    "moments",
    [
        (0.0, 1.0, 0.0, 1.0),
        (1.0, 2.0, -0.5, 0.1),
        (5.0, 1e-6, 5.0, 1e6),
        (0.0, 1e60, 0.0, 1e-60),
        (0.0, 1e60, 0.0, 1e60),
        (0.0, 1e-60, 0.0, 2e-60),
        # One operand is a constant, or nearly one.
        (0.3, 0.0, 0.0, 1.0),
        (0.3, 1e-40, 0.0, 1.0),
        (0.0, 1.0, 1.0, 1e-40),
        (0.0, 1.0, -1.0, 1e-40),
        (0.0, 1e20, 3.7, 0.0),
    ],
)
def test_larger_of_two_gaussians(moments):
    m, v, n, w = moments
    assert gaussian.maximum([m, n], [v, w]) == pytest.approx(clark(*moments), rel=1e-8)
    assert gaussian.maximum([n, m], [w, v]) == pytest.approx(clark(*moments), rel=1e-8)


def test_largest_of_several_gaussians():
    # Three of a kind are the order statistic; a fourth far below changes nothing.
    mean, variance = gaussian.maximum_of(3)
    found = gaussian.maximum([1.0, 1.0, 1.0, -99.0], [4.0, 4.0, 4.0, 4.0])
    assert found == pytest.approx((1 + 2 * mean, 4 * variance), rel=1e-9)


def test_largest_of_constants():
    assert gaussian.maximum([1.0, 3.0, -2.0], [0.0, 0.0, 0.0]) == (3.0, 0.0)


def test_largest_of_what_is_not_finite_is_unknown():
    assert np.isnan(gaussian.maximum([0.0, math.nan], [1.0, 1.0])).all()


def softmax_of_two(s):
    # One output is the logistic function of a difference, which is N(0, 2s²).
    width = math.sqrt(2) * s
    settings = {"limit": 400, "epsabs": 0, "epsrel": 1e-11}
    if s < 1:
        return integrate.quad(
            lambda z: (special.expit(width * z) - 0.5) ** 2 * density(z), -12, 12, **settings
        )[0]
    # (σ − 1/2)² = 1/4 − σ(1 − σ), which is narrow beside a wide Gaussian.
    missing, _ = integrate.quad(
        lambda d: special.expit(d) * special.expit(-d) * density(d / width) / width,
        -60,
        60,
        **settings,
    )
    return 0.25 - missing


@pytest.mark.parametrize("s", [1e-6, 1e-3, 0.0099, 0.0101, 0.1, 1.0, 3.0, 30.0, 199.0, 201.0, 1e4])
def test_softmax_of_two(s):
    mean, variance = gaussian.softmax(s, 2)
    assert mean == 0.5
    assert variance == pytest.approx(softmax_of_two(s), rel=1e-7)


@pytest.mark.parametrize("s", [0.005, 0.0101, 0.03])
@pytest.mark.parametrize("count", [3, 10, 1000, 50_000])
def test_softmax_of_small_entries(s, count):
    # Twice differentiable in s at 0: n²·Var = s²(1 − 1/n) + O(s⁴), with 1/2 s⁴ among many.
    mean, variance = gaussian.softmax(s, count)
    first = s**2 * (1 - mean)
    series = first + (7 * first**2 - 5 * s**4 * (1 - mean**2)) / 4
    assert variance / mean**2 == pytest.approx(series, rel=2e-6)


@pytest.mark.parametrize("s", [0.1, 1.0])
def test_softmax_over_very_many(s):
    # The sum hardly varies: n times an output is log-normal with mean 1.
    mean, variance = gaussian.softmax(s, 1_000_000)
    assert variance / mean**2 == pytest.approx(math.expm1(s * s), rel=2e-5)


@pytest.mark.parametrize(("s", "count"), [(0.7, 3), (1.5, 10), (4.0, 5), (2.0, 100)])
def test_softmax_against_monte_carlo(s, count):
    entries = s * np.random.default_rng(0).standard_normal((1_000_000 // count, count))
    squares = (special.softmax(entries, axis=1) ** 2).mean(1)
    error = squares.std() / math.sqrt(len(squares))
    mean, variance = gaussian.softmax(s, count)
    assert variance + mean**2 == pytest.approx(squares.mean(), abs=4 * error)


@pytest.mark.parametrize(
    ("s", "count", "expected"),
    [(2.0, 1, (1.0, 0.0)), (0.0, 5, (0.2, 0.0)), (1e12, 4, (0.25, 0.1875))],
)
def test_softmax_at_its_limits(s, count, expected):
    assert gaussian.softmax(s, count) == pytest.approx(expected, rel=1e-9)


def test_softmax_of_what_is_not_finite_is_unknown():
    assert math.isnan(gaussian.softmax(math.inf, 3)[1])


@pytest.mark.parametrize("share", [1e-6, 0.1, 1.0, 10.0, 1e6])
def test_shrinkage_of_a_single_square(share):
    # E[Z²/(Z² + c)] = 1 − √(πc/2)·e^{c/2}·erfc(√(c/2)).
    expected = 1 - math.sqrt(math.pi * share / 2) * special.erfcx(math.sqrt(share / 2))
    assert gaussian.shrinkage(0.0, 1.0, share, 1) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("share", [1e-3, 1.0, 50.0])
def test_shrinkage_of_two_squares(share):
    # χ² with two degrees is exponential: 1 − c·e^c·E₁(c), c = share for the mean of two squares.
    expected = 1 - share * special.exp1(share) * math.exp(share)
    assert gaussian.shrinkage(0.0, 1.0, share, 2) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0.0, 0.0, 0.1, 5), 0.0),
        ((0.0, 1.0, 0.1, 0), 0.0),
        ((0.0, 3.0, 0.0, 5), 1.0),
        ((2.0, 0.0, 1.0, 5), 0.8),  # a constant: m²/(m² + ε)
        ((1.0, 2.0, 1.0, 10**7), 0.75),  # a great many: (v + m²)/(v + m² + ε)
        ((0.0, 1e-60, 1e-3, 8), 1e-57),  # far below ε: v/ε
        ((0.0, 1e60, 1e-3, 8), 1.0),
    ],
)
def test_shrinkage_at_its_limits(arguments, expected):
    assert gaussian.shrinkage(*arguments) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("m", "v", "epsilon", "count"), [(0.5, 1.5, 0.2, 4), (-1.0, 0.3, 1.0, 2)])
def test_normalised_entries_against_monte_carlo(m, v, epsilon, count):
    x = m + math.sqrt(v) * np.random.default_rng(0).standard_normal((400_000, count))
    u = x / np.sqrt((x**2).mean(1, keepdims=True) + epsilon)
    first, cross = gaussian.direction(m, v, count, epsilon)
    for expected, values in (
        (first, u[:, 0]),
        (cross, u[:, 0] * u[:, 1]),
        (gaussian.shrinkage(m, v, epsilon, count), u[:, 0] ** 2),
    ):
        assert expected == pytest.approx(values.mean(), abs=4 * values.std() / len(u) ** 0.5)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0.0, 1.0, 4, 0.1), (0.0, 0.0)),  # symmetric
        ((3.0, 0.0, 4, 7.0), (0.75, 0.5625)),  # a constant: m/√(m² + ε)
        ((0.6, 4.0, 1, 0.0), (2 * below(0.3) - 1, 0.0)),  # the sign of a single entry
    ],
)
def test_direction_in_closed_form(arguments, expected):
    assert gaussian.direction(*arguments) == pytest.approx(expected, rel=1e-8)
