"""The paper's figures: each runs at a toy scale, and its table judges what it should."""

import math

import keras
import pandas as pd
import pytest

from benchmarks.paper import tables
from benchmarks.paper.__main__ import FIGURES
from benchmarks.paper.experiments import AUTOINIT, DEFAULT, NORMALIZED, PLAIN, PLUS
from benchmarks.paper.functions import generated, is_hopeless, text, values
from benchmarks.paper.networks import Course, narrow_tanh
from probes.trials.training import Score, Trainer


@pytest.fixture(scope="module")
def measured():
    """Frames by what measured them: three figures are of the same."""
    return {}


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_measured_compared_and_drawn(name, measured, monkeypatch):
    # What a step of training does is tested below; to trace it for each network takes seconds.
    monkeypatch.setattr(Trainer, "train", lambda self, rate, steps, seed=0: ([2.3], rate > 0.1))
    monkeypatch.setattr(Trainer, "judge", lambda self: Score(0.5, 0.02, 1.0))
    figure = FIGURES[name]
    if figure.measure not in measured:
        measured[figure.measure] = figure.measure(**figure.toy)
    frame = measured[figure.measure]
    rows = list(figure.compare(frame))
    assert rows or name in ("7b", "8")
    assert tables.table(iter(rows)).startswith("| | paper | here | agrees |")
    assert len(figure.draw(frame).data) > 0


def test_a_course_learns_and_starts_anew_and_tells_chance_where_it_diverges():
    course = Course(narrow_tanh(1, size=64), optimizer=keras.optimizers.Adam())
    assert course.trained("glorot", 0.01, 60, 0) > 0.5
    assert course.trained("glorot", 0.0, 60, 0) < 0.3
    rates = []
    course.trained("glorot", lambda done: rates.append(done) or 1e-3, 25, 0)
    assert rates == [0.0, 0.4, 0.8]
    chance = course.trainer.task.largest_class
    assert course.trained("glorot", math.inf, 10, 0) == chance


def test_functions_are_the_same_for_the_same_seed_and_all_different():
    trees = generated(60, seed=3)
    assert trees == generated(80, seed=3)[:60]
    assert len(set(trees)) == 60
    assert trees != generated(60, seed=4)


def test_a_function_is_written_as_it_is_computed():
    tree = ("max", ("+", ("id", "x"), ("1", "x")), ("1/", "x"))
    assert text(tree) == "max((x + 1), 1/(x))"
    assert values(tree, [2.0, 0.5, -4.0]).tolist() == [3.0, 2.0, -0.25]
    assert not is_hopeless(tree)
    assert is_hopeless(("-", "x", ("id", "x"))), "constant"
    assert is_hopeless(("^", "x", ("tanh", "x"))), "no value for negative numbers"


def of_functions(**accuracies):
    relu = [(0, "relu(x)", DEFAULT, 0.8)]
    rows = [
        (number, "f", scheme, accuracy)
        for scheme, each in zip((DEFAULT, AUTOINIT, PLUS), accuracies.values(), strict=True)
        for number, accuracy in enumerate(each, 1)
    ]
    return pd.DataFrame(relu + rows, columns=["number", "function", "scheme", "accuracy"])


def test_functions_that_fail_and_that_are_better_than_relu_are_counted():
    frame = of_functions(
        default=[0.1] * 6 + [0.7] * 4, autoinit=[0.1] * 4 + [0.9] * 6, plus=[0.1] + [0.95] * 9
    )
    failed, better, _, above_default = tables.of_functions(frame)
    assert failed[2:] == ("6, 4, 1", True)
    assert better[2:] == ("0, 6, 9", True)
    assert above_default[3]
    first, *_ = tables.of_distributions(frame)
    assert first[2].startswith("D = 0.600")
    assert not first[3], "the paper's is 0.105"
    swapped = of_functions(default=[0.9] * 9 + [0.1], autoinit=[0.1] * 10, plus=[0.1] * 10)
    assert not any(row[3] for row in tables.of_functions(swapped) if "worse" not in row[0])


def test_rates_agree_where_the_default_stops_early_and_autoinit_goes_on():
    rows = [
        ("ResNet-56", DEFAULT, 1e-4, 0.5),
        ("ResNet-56", DEFAULT, 1e-2, 0.1),
        ("ResNet-56", AUTOINIT, 1e-4, 0.1),
        ("ResNet-56", AUTOINIT, 1e-2, 0.8),
        ("ResNet-164", DEFAULT, 1e-4, 0.4),
        ("ResNet-164", AUTOINIT, 1e-4, 0.1),
    ]
    frame = pd.DataFrame(rows, columns=["network", "scheme", "rate", "accuracy"])
    assert [row[3] for row in tables.of_learning_rates(frame)] == [True, True, False, False]


def test_what_overflows_and_what_stays_is_told_apart():
    def chain(normalization, scheme, variances):
        return [
            ("ResNet-812", normalization, scheme, place, False, True, each)
            for place, each in enumerate(variances)
        ]

    rows = [
        *chain(PLAIN, DEFAULT, [1.0, 1e20, 1e69]),
        *chain(PLAIN, AUTOINIT, [1.0, 2.0, 3.0]),
        *chain(NORMALIZED, DEFAULT, [1.0, 2.0, 4.0, 9.0]),
        *chain(NORMALIZED, AUTOINIT, [1.0, 2.0, 3.0, 4.0]),
    ]
    columns = ["network", "normalization", "scheme", "depth", "weighted", "adds", "variance"]
    found = list(tables.of_signals_of_resnets(pd.DataFrame(rows, columns=columns)))
    assert [row[3] for row in found] == [True, True, True]
    assert found[0][2] == "largest 1.0e+69, beyond single precision"
