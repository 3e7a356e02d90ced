"""Dropout upon dropout, along the paths of a graph."""

import keras
import pytest
from keras import layers

from tests.app.analysis.diagnosis.models import chain, dense
from tests.app.analysis.diagnosis.test_measured import faults


def dropped(model):
    found = faults(model, {})
    assert all(fault.series is None for fault in found.values() if fault.code == "dropout_rate")
    return {code: fault.remedy for code, fault in found.items() if code == "dropout_rate"}


@pytest.mark.parametrize(
    ("rate", "count", "units", "told"),
    [
        (0.8, 3, 64, True),  # 0.5 units
        (0.5, 6, 64, True),  # 1 unit
        (0.7, 3, 64, False),  # 1.7
        (0.8, 3, 512, False),
        (0.5, 6, 512, False),
        (0.1, 12, 64, False),
    ],
)
def test_dropout_upon_dropout_leaves_nothing_of_few_units(rate, count, units, told):
    parts = [p for _ in range(count) for p in (dense(units, "relu"), layers.Dropout(rate))]
    found = dropped(chain((64,), *parts, dense(3, "softmax")))
    assert found == ({"dropout_rate": "lower_rate"} if told else {})


@pytest.mark.parametrize(
    ("drop", "count", "told"),
    [
        (layers.Dropout, 8, False),  # 4 of 8 x 8 positions and 16 channels
        (layers.Dropout, 10, True),  # 1
        (layers.SpatialDropout2D, 3, False),  # 2 of 16 channels
        (layers.SpatialDropout2D, 4, True),  # 1
    ],
)
def test_of_convolutions_positions_count_where_they_are_dropped_one_by_one(drop, count, told):
    parts = []
    for _ in range(count):
        parts += [layers.Conv2D(16, 3, padding="same"), layers.BatchNormalization()]
        parts += [layers.ReLU(), drop(0.5)]
    model = chain((8, 8, 1), *parts, layers.Flatten(), dense(3, "softmax"))
    assert bool(dropped(model)) is told


def test_what_goes_round_dropout_is_kept():
    x = given = keras.Input((16,))
    for _ in range(6):
        x = layers.Add()([x, layers.Dropout(0.5)(dense(16, "relu")(x))])
    assert not dropped(keras.Model(given, dense(3, "softmax")(x)))
