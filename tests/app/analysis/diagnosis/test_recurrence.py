"""Recurrences that grow, measured through their cells."""

import keras
import numpy as np
import pytest
from keras import layers

from app.analysis.diagnosis.measured.recurrence import recurrent_growth
from autoinit.reading import read_model


def growing(layer, shape=(16, 8)):
    data = keras.Input(shape)
    model = keras.Model(data, layer(data))
    before = [np.asarray(variable) for variable in model.variables]
    found = list(recurrent_growth(read_model(model), "default"))
    assert all(np.array_equal(old, new) for old, new in zip(before, model.variables, strict=True))
    return [fault.code for fault in found]


def exploding():
    return layers.SimpleRNNCell(8, activation="exponential")


@pytest.mark.parametrize(
    "layer",
    [
        layers.SimpleRNN(8, activation="exponential"),
        layers.RNN(exploding()),
        layers.RNN([exploding(), layers.LSTMCell(4)]),
        layers.Bidirectional(layers.RNN(exploding())),
        layers.SimpleRNN(8, activation="exponential", unroll=True, go_backwards=True),
        layers.SimpleRNN(8, activation="exponential", return_sequences=True, return_state=True),
    ],
    ids=["simple", "cell", "stacked", "bidirectional", "unrolled", "states"],
)
def test_an_exponential_recurrence_grows(layer):
    assert growing(layer) == ["recurrent_growth"]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.LSTM(32, activation="relu"), (16, 8)),
        (layers.SimpleRNN(32, activation="relu"), (16, 8)),
        (layers.GRU(16), (16, 8)),
        (layers.RNN(layers.GRUCell(8)), (16, 8)),
        (layers.ConvLSTM2D(4, 3, activation="relu"), (4, 6, 6, 1)),
    ],
    ids=["relu lstm", "relu", "gru", "bounded cell", "convolution"],
)
def test_what_does_not_grow_is_not_accused(layer, shape):
    assert growing(layer, shape) == []


def test_one_inside_another_layer_and_one_behind_a_mask_are_found():
    inside = layers.TimeDistributed(layers.SimpleRNN(8, activation="exponential"))
    assert growing(inside, (3, 16, 8)) == ["recurrent_growth"]
    words = keras.Input((16,), dtype="int32")
    masked = layers.Embedding(4, 8, mask_zero=True)(words)
    model = keras.Model(words, layers.SimpleRNN(8, activation="exponential")(masked))
    found = recurrent_growth(read_model(model), "default")
    assert [fault.code for fault in found] == ["recurrent_growth"]


@pytest.mark.parametrize(
    "layer",
    [
        layers.SimpleRNN(8, activation="relu", dropout=0.2, recurrent_dropout=0.2),
        layers.RNN([layers.SimpleRNNCell(8, activation="relu", dropout=0.2), layers.GRUCell(4)]),
    ],
    ids=["simple", "stacked"],
)
def test_what_was_looked_at_runs_with_other_numbers_of_samples(layer):
    """A cell keeps its dropout's mask between steps: none of ours may stay."""
    data = keras.Input((16, 8))
    model = keras.Model(data, layer(data))
    list(recurrent_growth(read_model(model), "default"))
    assert model(np.zeros((3, 16, 8), np.float32), training=True).shape[0] == 3
