"""Verdicts on what the rules predict, before a sample is drawn."""

import pytest
from keras import initializers, layers

from app.analysis.diagnosis.diagnose import foreseen
from app.analysis.diagnosis.linter.lint import lint_model
from app.analysis.diagnosis.verdict import Word
from autoinit.propagation import input_signals, predict
from autoinit.reading import read_model
from tests.app.analysis.diagnosis.models import chain


def relu_chain(depth, initializer):
    parts = [layers.Dense(64, "relu", kernel_initializer=initializer) for _ in range(depth)]
    return chain((64,), *parts, layers.Dense(10, kernel_initializer="lecun_normal"))


def verdict(model, series="default", disabled=()):
    graph = read_model(model)
    return foreseen(
        graph, lint_model(model), predict(graph, input_signals(graph)), series, disabled
    )


@pytest.mark.parametrize(
    ("initializer", "word", "cause"),
    [
        ("he_normal", Word.TRAINS, None),
        ("random_normal", Word.CANNOT, "signal_vanishes"),
        (initializers.RandomNormal(stddev=1.0), Word.CANNOT, "signal_explodes"),
        # Beyond what single precision holds: it would be no number.
        (initializers.RandomNormal(stddev=1e4), Word.CANNOT, "not_finite"),
    ],
    ids=["he", "small", "large", "beyond"],
)
def test_a_chain_is_judged_by_its_predicted_signals(initializer, word, cause):
    found = verdict(relu_chain(12, initializer))
    assert found.verdict is word
    assert (cause in found.causes) if cause else not found.causes
    if word is Word.TRAINS:
        assert found.reason.endswith("gradients have to be measured.")


@pytest.mark.parametrize(
    ("optimizer", "word"), [("sgd", Word.CANNOT), ("adam", Word.UNKNOWN), (None, Word.CANNOT)]
)
def test_gradients_are_waited_for_where_they_decide(optimizer, word):
    parts = [layers.Dense(64, "tanh", kernel_initializer="random_normal") for _ in range(12)]
    model = chain((64,), *parts, layers.Dense(10, kernel_initializer="lecun_normal"))
    if optimizer is not None:
        model.compile(optimizer, "mse")
    found = verdict(model)
    assert (found.verdict, "signal_vanishes" in found.causes) == (word, True)
    assert found.reason.endswith("has to be measured.") is (word is Word.UNKNOWN)


def test_inputs_that_are_no_longer_told_apart_are_foreseen():
    parts = [layers.Dense(64, "sigmoid") for _ in range(9)]
    assert "correlation_collapse" in verdict(chain((64,), *parts, layers.Dense(1))).causes


def test_what_is_switched_off_does_not_count():
    model = relu_chain(12, "random_normal")
    off = ("signal_vanishes", "init_vs_activation", "correlation_collapse")
    assert verdict(model, disabled=off).verdict is Word.TRAINS


@pytest.mark.parametrize(
    ("activation", "initializer", "remedy"),
    [
        ("selu", "lecun_normal", "keep_init"),
        ("selu", "glorot_uniform", "autoinit_helps"),
        ("relu", "he_normal", "none_needed"),
    ],
)
def test_selu_is_right_with_lecuns_kernels(activation, initializer, remedy):
    wide = layers.Dense(128, activation, kernel_initializer=initializer)
    narrow = layers.Dense(64, activation, kernel_initializer=initializer)
    head = layers.Dense(3, kernel_initializer="lecun_normal")
    assert verdict(chain((64,), wide, narrow, head)).remedy == remedy
