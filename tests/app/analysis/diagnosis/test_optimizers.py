"""The stored learning rate beside the kernels: by the file alone, and by measured gradients."""

import json

import keras
import numpy as np
import pytest
from keras import layers, optimizers
from keras.optimizers import schedules

from app.analysis.comparison import compare
from app.analysis.diagnosis.linter.compiled.optimizers import (
    Optimizer,
    curvature,
    learns_by_steps,
    optimizer_of,
    takes_small_steps,
)
from app.analysis.diagnosis.linter.lint import lint_model
from app.analysis.settings import Settings
from autoinit import check
from tests.app.analysis.diagnosis.models import chain, dense, read

WARM = schedules.CosineDecay(0.0, 1000, warmup_target=0.2, warmup_steps=10)
STEPS = schedules.PiecewiseConstantDecay([10, 20], [0.1, 0.5, 0.01])


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("adam", Optimizer("Adam", 0.001)),
        (optimizers.SGD(0.5, momentum=0.9), Optimizer("SGD", 0.5, 0.9)),
        (optimizers.SGD(WARM), Optimizer("SGD", 0.2)),
        (optimizers.AdamW(STEPS, global_clipnorm=1.0), Optimizer("AdamW", 0.5, clips=True)),
        (optimizers.Adagrad(0.5), None),
    ],
)
def test_what_is_stored_of_an_optimizer(optimizer, expected):
    model = chain((4,), dense(2))
    model.compile(optimizer, "mse")
    stored = json.loads(json.dumps(model.get_compile_config()))
    found = optimizer_of(stored)
    if expected is not None:
        assert found.rate == pytest.approx(expected.rate)
        found = Optimizer(found.name, expected.rate, found.momentum, found.clips)
    assert found == expected


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (
            {"optimizer_config": {"class_name": "SGD", "config": {"lr": 3, "momentum": 0.5}}},
            Optimizer("SGD", 3.0, 0.5),
        ),
        ({"optimizer": "rmsprop"}, Optimizer("rmsprop", 0.001)),
        ({"optimizer": {"class_name": "SGD", "config": {"learning_rate": [1]}}}, None),
        ({"optimizer": {"class_name": "SGD", "config": 3}}, None),
        (
            {
                "optimizer": {
                    "class_name": "Adam",
                    "registered_name": "mine>Adam",
                    "config": {"learning_rate": 9.0},
                }
            },
            None,
        ),
        ({}, None),
        (None, None),
    ],
)
def test_of_old_files_and_of_odd_ones(stored, expected):
    assert optimizer_of(stored) == expected


def classifier(optimizer, loss="sparse_categorical_crossentropy"):
    keras.utils.set_random_seed(0)
    he = {"activation": "relu", "kernel_initializer": "he_normal"}
    model = chain(
        (64,), layers.Dense(64, **he), layers.Dense(64, **he), layers.Dense(10, "softmax")
    )
    model.compile(optimizer, loss)
    return model


# Its kernels have entries of about 0.17; trained on digits, it learns nothing at the rates that are
# told, and 0.96 to 0.98 of them at those that are not (benchmarks/rates.py).
@pytest.mark.parametrize(
    ("rate", "told"), [(1.0, True), (0.3, True), (0.03, False), (0.001, False), (1e-9, True)]
)
def test_a_rate_of_adam_is_held_against_the_kernels(rate, told):
    found = [
        f for f in lint_model(classifier(optimizers.Adam(rate))).faults if f.code == "learning_rate"
    ]
    assert len(found) == told
    assert all("A rate to begin with is 0.002." in fault.message for fault in found)


@pytest.mark.parametrize(("size", "rate", "told"), [(1e-4, 1e-3, False), (1e-4, 0.1, True)])
def test_small_kernels_may_grow(size, rate, told):
    """A thousandth of 1/√64 a step, however small the kernels are."""
    drawn = keras.initializers.RandomNormal(stddev=size)
    model = chain((64,), layers.Dense(64, "relu", kernel_initializer=drawn), dense(3, "softmax"))
    model.compile(optimizers.Adam(rate), "sparse_categorical_crossentropy")
    assert ("learning_rate" in {f.code for f in lint_model(model).faults}) is told


def test_a_rate_of_nothing_learns_nothing():
    (fault,) = lint_model(classifier(optimizers.SGD(0.0))).faults
    assert "nothing is learnt" in fault.message


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        (optimizers.SGD(3.0), True),
        (optimizers.SGD(1.0, momentum=0.9), True),
        (optimizers.SGD(0.1), False),
        (optimizers.SGD(10.0, clipnorm=1.0), False),
        (optimizers.SGD(1e-8), True),
    ],
)
def test_a_rate_of_descent_is_held_against_measured_gradients(optimizer, told):
    comparison = compare(classifier(optimizer), Settings(samples=8), uploaded=False)
    found = [f for f in comparison.diagnosis.faults if f.code == "learning_rate"]
    assert len(found) == told
    verdict = comparison.diagnosis.verdicts["default"]
    assert verdict.verdict == ("will struggle" if told else "trains")
    assert not told or verdict.remedy == "change_rate"


@pytest.mark.parametrize(
    ("size", "momentum", "told"), [(20.0, 0.0, False), (150.0, 0.0, True), (60.0, 0.9, True)]
)
def test_descent_on_data_that_are_not_scaled(size, momentum, told):
    """Trained on digits 20 times too large 95 % are right; 100 times, or 30 with momentum, few."""
    model = classifier(optimizers.SGD(0.01, momentum=momentum))
    data = size * np.random.default_rng(0).standard_normal((32, 64)).astype("float32")
    verdict = check(model, data, verbose=False).verdicts["uploaded"]
    assert (verdict.verdict, verdict.remedy) == (
        "will struggle" if told else "trains",
        "scale_input",
    )


@pytest.mark.parametrize(
    ("last", "loss", "expected"),
    [
        ("softmax", "categorical_crossentropy", 0.9 / 100 / 200),
        ("sigmoid", "binary_crossentropy", 0.25 / 100 / 200),
        ("linear", "mse", 2.0 / 100 / 10),
        ("sigmoid", "mse", 2.0 / 16 / 100 / 10),
        ("linear", "huber", None),
    ],
)
def test_the_curvature_of_losses(last, loss, expected):
    """Of ten outputs, beside what descent bears: 200 with a bounded slope, else 10."""
    model = chain((4,), dense(10, last))
    model.compile("sgd", loss)
    found = curvature(read(model), json.loads(json.dumps(model.get_compile_config())), 10, 10)
    assert found == (None if expected is None else pytest.approx(expected))


def test_weights_that_were_trained_are_past_their_first_rate():
    model = classifier(optimizers.Adam(1.0))
    for layer in model.layers:
        layer.bias.assign(layer.bias + 0.1)
    assert not [f for f in lint_model(model).faults if f.code == "learning_rate"]


def test_where_gradients_vanish_no_rate_is_recommended():
    small = keras.initializers.RandomNormal(stddev=0.01, seed=1)
    stack = [layers.Dense(32, "tanh", kernel_initializer=small) for _ in range(12)]
    model = keras.Sequential([keras.Input((32,)), *stack, layers.Dense(4, "softmax")])
    model.compile(optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    found = compare(model, Settings(samples=8), uploaded=True).diagnosis
    codes = {fault.code for fault in found.faults}
    assert "gradient_vanishes" in codes or "signal_vanishes" in codes
    assert "learning_rate" not in codes, "one of 1e13 would be no advice"


@pytest.mark.parametrize(
    ("optimizer", "width", "depth", "small"),
    [
        # 0.001 of entries of deviation 1/16, times 256 / 32: 0.128 a layer.
        (Optimizer("Adam", 1e-3), 256, 20, True),
        (Optimizer("Adam", 1e-3), 256, 60, False),
        (Optimizer("Adam", 1e-2), 256, 20, False),
        (Optimizer("SGD", 1e-3), 256, 1, False),
    ],
)
def test_steps_move_wide_and_deep_networks_further(optimizer, width, depth, small):
    model = chain((width,), *[dense(width, "relu") for _ in range(depth)])
    assert learns_by_steps(read(model), optimizer) is small


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        (schedules.ExponentialDecay(1e-3, 5, 0.5), 10),
        (schedules.ExponentialDecay(1e-3, 5, 0.5, staircase=True), 5),
        (schedules.ExponentialDecay(1e-3, 100, 0.96), 2500),
        (schedules.CosineDecay(1e-3, 10), 5),
        (schedules.CosineDecay(0.0, 10, warmup_target=1e-3, warmup_steps=30), 35),
        (schedules.CosineDecay(1e-3, 10, alpha=0.1), None),
        (schedules.PolynomialDecay(1e-3, 20, 0.0, power=2.0), 7),
        (schedules.PolynomialDecay(1e-3, 20), None),
        (schedules.InverseTimeDecay(1e-3, 1, 1.0), None),
    ],
)
def test_a_schedule_that_ends_is_held_against_the_steps_that_it_leaves(schedule, steps):
    model = classifier(optimizers.Adam(schedule))
    optimizer = optimizer_of(json.loads(json.dumps(model.get_compile_config())))
    largest = max(float(schedule(step)) for step in range(100))
    summed = sum(float(schedule(step)) / largest for step in range(500 if steps else 0))
    if steps is None:
        assert optimizer.lasting == np.inf
    elif steps < 500:
        assert optimizer.lasting == pytest.approx(summed, abs=1.0)
    told = [f.remedy for f in lint_model(model).faults if f.code == "learning_rate"]
    assert told == (["longer_schedule"] if steps is not None and steps < 12 else [])


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        (optimizers.SGD(0.01, clipvalue=1e-5), True),
        (optimizers.SGD(0.01, clipnorm=1e-3), True),
        (optimizers.SGD(0.01, global_clipnorm=1e-3), True),
        (optimizers.SGD(0.01, clipnorm=1.0), False),
        (optimizers.Adam(0.001, clipnorm=1e-3), False),
    ],
)
def test_gradients_that_are_clipped_to_nothing(optimizer, told):
    faults = lint_model(classifier(optimizer)).faults
    assert [f.remedy for f in faults] == (["clip_less"] if told else [])


@pytest.mark.parametrize(("decay", "told"), [(0.004, False), (10.0, False), (30.0, True)])
def test_a_decay_that_takes_more_than_steps_give(decay, told):
    faults = lint_model(classifier(optimizers.AdamW(1e-3, weight_decay=decay))).faults
    assert [f.remedy for f in faults] == (["weaken_decay"] if told else [])


@pytest.mark.parametrize(
    ("optimizer", "small"),
    [
        (Optimizer("SGD", 0.01), True),  # 20 · 0.5 · 0.01 = 0.1
        (Optimizer("SGD", 0.011), False),
        (Optimizer("SGD", 0.001, 0.9), True),
        (Optimizer("SGD", 0.01, 0.9), False),
        (Optimizer("Adam", 1e-6), False),
    ],
)
def test_small_steps_are_those_of_the_kernel_that_moves_most(optimizer, small):
    assert takes_small_steps(optimizer, [1.0, None, 20.0], 0.499) is small
    assert not takes_small_steps(optimizer, [], 0.499)
    assert not takes_small_steps(optimizer, [20.0], None)


@pytest.mark.parametrize(("rate", "word"), [(1e-3, "trains"), (0.1, "will struggle")])
def test_a_hundred_layers_of_selu_learn_by_small_steps(rate, word):
    """As in a book, by SGD at 0.001; figures of 2,700 and 25 are beyond what others bear."""
    keras.utils.set_random_seed(1)
    lecun = {"activation": "selu", "kernel_initializer": "lecun_normal"}
    hidden = [layers.Dense(100, **lecun) for _ in range(100)]
    model = chain((64,), *hidden, dense(10, "softmax"))
    model.compile(optimizers.SGD(rate), "sparse_categorical_crossentropy")
    assert check(model, verbose=False).verdicts["uploaded"].verdict == word
