"""Random activation functions, as computation graphs of unary and binary operators.

The search space is that of Bingham & Miikkulainen 2021, section 7 (PANGAEA, Bingham & Miikkulainen
2020), written with `keras.ops`: once as the function of an `Activation`, once as calls of their own
in a functional model.
"""

import random

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy import special

from autoinit.propagation import Options, input_signals, plan, predict
from autoinit.quadrature import gaussian
from autoinit.reading import read_model
from autoinit.rules.functions import on_points
from autoinit.rules.registry import Support
from autoinit.signals import SIGNAL_MODELS
from sample_models import build

UNARY = {
    "0": ops.zeros_like, "1": ops.ones_like, "x": lambda x: x, "−x": lambda x: -x, "|x|": ops.abs,
    "1/x": lambda x: 1 / x, "x²": ops.square, "eˣ": ops.exp, "eˣ−1": ops.expm1, "erf": ops.erf,
    "sigmoid": ops.sigmoid, "tanh": ops.tanh, "arctan": ops.arctan, "arcsinh": ops.arcsinh,
    "sinh": ops.sinh, "cosh": ops.cosh, "sin": ops.sin, "cos": ops.cos, "relu": ops.relu,
    "elu": ops.elu, "selu": ops.selu, "softplus": ops.softplus, "softsign": ops.softsign,
    "swish": ops.silu, "hard_sigmoid": ops.hard_sigmoid,
}  # fmt: skip
BINARY = {
    "+": ops.add, "−": ops.subtract, "×": ops.multiply, "÷": ops.divide, "^": ops.power,
    "max": ops.maximum, "min": ops.minimum,
}  # fmt: skip
FUNCTIONS = 200
FAST = 40  # of them
DEEPEST = 3
SAMPLES = 2**19
ERRORS = 4
TELLING = {"not_integrable", "undefined_values"}
# Steps of the grid: relative to the second moment, besides the standard errors.
ROUNDING = {"independent": 1e-5, "correlated": 5e-3}


def draw(generator, depth=DEEPEST):
    """A function of one tensor, and how it is written."""
    if depth == 0 or generator.random() < 0.15:
        return (lambda x: x), "x"
    if generator.random() < 0.5:
        name = generator.choice(list(UNARY))
        inner, text = draw(generator, depth - 1)
        return (lambda x: UNARY[name](inner(x))), f"{name}({text})"
    name = generator.choice(list(BINARY))
    (first, one), (second, two) = draw(generator, depth - 1), draw(generator, depth - 1)
    return (lambda x: BINARY[name](first(x), second(x))), f"({one} {name} {two})"


DRAWN = [draw(random.Random(seed)) for seed in range(FUNCTIONS)]
EACH = [
    pytest.param(function, id=f"{seed}: {text}", marks=[] if seed < FAST else pytest.mark.slow)
    for seed, (function, text) in enumerate(DRAWN)
]


def predictions(function):
    """By form and signal model: the last signal, and the codes of what is told."""
    found = {}
    inputs = keras.Input((4,))
    # A model returns no tensor that was put into it.
    written = layers.Identity()(function(inputs))
    for form, outputs in ("layer", layers.Activation(function)(inputs)), ("calls", written):
        graph = read_model(keras.Model(inputs, outputs))
        for name in SIGNAL_MODELS:
            result = predict(graph, input_signals(graph, signal_model=name))
            codes = {finding.code for finding in result.findings}
            told = [o for o in result.results if o.support is Support.APPROXIMATE]
            assert bool(told) >= bool(codes), "what is told of a call is that it is approximate"
            found[form, name] = result.results[-1].signals[0], codes
    return found


@pytest.mark.parametrize("function", EACH)
def test_moments_are_those_of_real_values_or_are_told_to_be_none(function):
    evaluate = on_points(function)
    expected = gaussian.moments(evaluate, 0.0, 1.0)
    for (form, name), (signal, codes) in predictions(function).items():
        assert codes <= TELLING
        if not codes:
            assert signal.finite
            check(function, evaluate, expected, signal, ROUNDING[name])
        elif form == "layer" and name == "independent":
            assert not (
                expected.converged and np.isfinite([expected.mean, expected.variance]).all()
            )


def check(function, evaluate, expected, signal, rounding):
    """Within four standard errors of what a million values say.

    The standard error of a variance needs the fourth moment, by the same quadrature: a sample of
    heavy tails underestimates its own. Where there is none, or so large a one that a few values
    decide everything, the prediction is held against the quadrature, and that against the sample
    after both have been cut off at the same bounds: of bounded values every moment is known.
    """

    def fourth(x):
        return (np.asarray(evaluate(x), np.float64) - expected.mean) ** 2

    with np.errstate(all="ignore"):
        squares = gaussian.moments(fourth, 0.0, 1.0)
        values = evaluate(np.random.default_rng(0).standard_normal(SAMPLES)).astype(np.float64)
        second = expected.variance + expected.mean**2
        heavy = not squares.converged or squares.variance > SAMPLES / 1000 * second**2
    if heavy:
        low, high = np.quantile(values, [0.001, 0.999])
        cut = gaussian.moments(lambda x: np.clip(evaluate(x), low, high), 0.0, 1.0)
        values = np.clip(values, low, high)
        error = np.array([values.std(), (values**2).std()]) / np.sqrt(SAMPLES)
        measured = np.array([values.mean(), (values**2).mean()])
        quadrature = np.array([cut.mean, cut.variance + cut.mean**2])
        assert (np.abs(measured - quadrature) <= ERRORS * error + 1e-6 * measured[1]).all()
        # The grid ends at eight deviations, and knows no oscillations without end.
        exactly = 2e-3 if rounding < 1e-3 else 0.2
        root = second**0.5
        assert signal.mean == pytest.approx(expected.mean, rel=exactly, abs=exactly / 10 * root)
        assert signal.second_moment == pytest.approx(second, rel=exactly)
        return
    error = np.sqrt(np.array([expected.variance, squares.variance]) / SAMPLES)
    away = np.abs([values.mean() - signal.mean, values.var() - signal.variance])
    tolerance = rounding * np.array([np.sqrt(second), second])
    assert (away <= ERRORS * error + tolerance + 1e-12).all()


def test_most_functions_of_the_search_space_have_moments():
    known = [gaussian.moments(on_points(function), 0.0, 1.0) for function, _ in DRAWN]
    finite = [each.converged and np.isfinite([each.mean, each.variance]).all() for each in known]
    assert 0.5 < np.mean(finite) < 0.95


def test_the_function_of_figure_5b():
    """σ(|x| − arctan x) with its parameters at 1, against E f by another rule."""

    def function(x):
        return ops.sigmoid(ops.abs(x) - ops.arctan(x))

    z, weight = special.roots_hermitenorm(180)
    values, weight = 1 / (1 + np.exp(np.arctan(z) - np.abs(z))), weight / weight.sum()
    mean = weight @ values
    for signal, codes in predictions(function).values():
        assert not codes
        assert signal.mean == pytest.approx(mean, rel=2e-3)
        assert signal.variance == pytest.approx(weight @ values**2 - mean**2, rel=1e-2)


def all_cnn_c(function):
    """The network of the paper's section 7, with another activation."""

    def replaced(layer):
        if isinstance(layer, layers.Activation):
            return layers.Activation(function, name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(build("all-cnn-c"), clone_function=replaced)


NETWORK_FAST = (0, 1, 2, 4)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(
            function, id=f"{seed}: {text}", marks=[] if seed in NETWORK_FAST else pytest.mark.slow
        )
        for seed, (function, text) in enumerate(DRAWN)
    ],
)
def test_all_cnn_c(function):
    """Each weighted call reaches variance 1, or it is told why not."""
    graph = read_model(all_cnn_c(function))
    for name in SIGNAL_MODELS:
        result = plan(graph, input_signals(graph, signal_model=name), Options())
        codes = {finding.code for finding in result.findings}
        assert codes <= TELLING | {"keeps_initializer"}
        for call, outcome in zip(graph.calls, result.results, strict=True):
            if outcome.weighted and not codes:
                assert outcome.signals[0].variance == pytest.approx(1.0), call.path
            assert outcome.signals[0].finite or codes
