"""Normalizations that take all away, whose statistics stand still, or with a bias before them."""

import keras
import numpy as np
import pytest
from keras import layers

from app.analysis.diagnosis.fault import Consequence
from app.analysis.diagnosis.linter.normalizations import of_normalizations
from autoinit import check
from tests.app.analysis.diagnosis.models import chain, dense, read


def found(model):
    return {f.code: f.consequence for f in of_normalizations(read(model))}


@pytest.mark.parametrize(
    ("shape", "layer", "told"),
    [
        ((6, 1), layers.LayerNormalization(), True),
        ((6, 1), layers.LayerNormalization(axis=(1, 2)), False),
        ((6, 2), layers.LayerNormalization(), False),
        ((1, 1, 8), layers.GroupNormalization(-1), True),
        ((1, 1, 8), layers.GroupNormalization(8), True),
        ((1, 1, 8), layers.GroupNormalization(4), False),
        ((2, 1, 8), layers.GroupNormalization(-1), False),
        ((8,), layers.GroupNormalization(8), True),
        ((6, 1), layers.UnitNormalization(), False),
        ((6, 1), layers.BatchNormalization(), False),
    ],
    ids=str,
)
def test_what_is_taken_from_itself_is_zero(shape, layer, told):
    model = chain(shape, layer, layers.Flatten(), dense(3))
    assert (found(model).get("constant_output") is Consequence.FATAL) is told
    x = np.random.default_rng(0).standard_normal((16, *shape))
    assert bool(np.ptp(model.predict(x, verbose=0), axis=0).max() < 1e-6) is told


def test_what_goes_round_it_learns():
    given = keras.Input((6, 1))
    x = layers.Add()([given, layers.LayerNormalization()(given)])
    assert found(keras.Model(given, dense(3)(x))) == {"constant_output": Consequence.NOTE}


def test_the_remedy_is_no_draw_of_weights():
    parts = layers.LayerNormalization(), layers.Conv1D(8, 3, activation="relu"), layers.Flatten()
    verdict = check(chain((9, 1), *parts, dense(3, "softmax")), verbose=False).verdicts["uploaded"]
    assert (verdict.verdict, verdict.remedy) == ("cannot train", "drop_normalization")


@pytest.mark.parametrize(("momentum", "moves"), [(0.99, True), (0.0, True), (1.0, False)])
def test_statistics_that_never_move(momentum, moves):
    model = chain((4,), dense(4, use_bias=False), layers.BatchNormalization(momentum=momentum))
    assert ("train_inference_mismatch" not in found(model)) is moves
    before = model.layers[-1].moving_variance.numpy()
    model(np.random.default_rng(0).standard_normal((64, 4)), training=True)
    assert bool(np.any(model.layers[-1].moving_variance.numpy() != before)) is moves


def test_notes_are_no_faults():
    model = chain((4,), dense(4), layers.Dropout(0.5), layers.BatchNormalization())
    assert found(model) == {"dropout_before_normalization": Consequence.NOTE}
    model = chain((4,), dense(4), layers.BatchNormalization())
    assert found(model) == {"bias_before_normalization": Consequence.NOTE}
