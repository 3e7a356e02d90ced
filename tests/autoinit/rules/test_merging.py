import math

import keras
import pytest
from keras import layers, ops

from autoinit.propagation import input_signals, predict
from autoinit.reading import read_model
from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import check_given_weights, last_signal, predicted
from tests.contracts.cases import MERGING, PAIR, SHIFTED, TRIPLE, case


def of_one(layer):
    """Builds a model that gives a layer the same tensor twice."""
    return lambda x: layer()([x, x])


def twice_and_another(layer):
    return lambda x, y: layer()([x, y, x])


# Inputs: means 0.5, −1 and 0.2; variances 1.5, 0.4 and 3; second moments 1.75, 1.4 and 3.04.
HAND = [
    (case(layers.Add, "three", (4,), (4,), (4,), moments=TRIPLE), -0.3, 4.9),
    # 2x + y.
    (case(layers.Add, "twice", (4,), (4,), moments=PAIR, build=twice_and_another(layers.Add)),
     0.0, 6.4),
    (case(layers.Average, "three", (4,), (4,), (4,), moments=TRIPLE), -0.1, 4.9 / 9),
    (case(layers.Average, "of itself", (4,), moments=SHIFTED, build=of_one(layers.Average)),
     0.5, 1.5),
    (case(layers.Subtract, "two", (4,), (4,), moments=PAIR), 1.5, 1.9),
    (case(layers.Subtract, "itself", (4,), moments=SHIFTED, build=of_one(layers.Subtract)),
     0.0, 0.0),
    (case(layers.Multiply, "two", (4,), (4,), moments=PAIR), -0.5, 1.75 * 1.4 - 0.25),
    # E X² = 1.75 and Var X² = 2v² + 4m²v.
    (case(layers.Multiply, "square", (4,), moments=SHIFTED, build=of_one(layers.Multiply)),
     1.75, 6.0),
    (case(layers.Maximum, "alike", (4,), (4,), moments=SHIFTED),
     0.5 + math.sqrt(1.5 / math.pi), 1.5 * (1 - 1 / math.pi)),
    (case(layers.Maximum, "with itself", (4,), moments=SHIFTED, build=of_one(layers.Maximum)),
     0.5, 1.5),
    (case(layers.Minimum, "alike", (4,), (4,), moments=SHIFTED),
     0.5 - math.sqrt(1.5 / math.pi), 1.5 * (1 - 1 / math.pi)),
    # n·m₁m₂ and n·(1.75·1.4 − 0.25).
    (case(layers.Dot, "6 products", (6,), (6,), axes=1, moments=PAIR), -3.0, 13.2),
    (case(layers.Dot, "6 products, matrices", (2, 6), (6, 3), axes=(2, 1), moments=PAIR),
     -3.0, 13.2),
    # Unit vectors of no preferred direction: 1/n.
    (case(layers.Dot, "unit vectors", (6,), (6,), axes=1, normalize=True), 0.0, 1 / 6),
    # n·E X² and n·Var X².
    (case(layers.Dot, "itself", (6,), moments=SHIFTED, build=of_one(lambda: layers.Dot(axes=1))),
     10.5, 36.0),
    (case(layers.Dot, "itself, of unit length", (6,), moments=SHIFTED,
          build=of_one(lambda: layers.Dot(axes=1, normalize=True))), 1.0, 0.0),
    # One entry of the first for three of the second.
    (case(layers.Concatenate, "1 and 3", (2, 1), (2, 3), moments=PAIR),
     -0.625, (1.75 + 3 * 1.4) / 4 - 0.625**2),
    (case(layers.Concatenate, "axis 1", (1, 2), (3, 2), axis=1, moments=PAIR),
     -0.625, (1.75 + 3 * 1.4) / 4 - 0.625**2),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance), rel=1e-7, abs=1e-12)


def test_rows_with_themselves_are_sampled():
    """Two rows of 6 entries: of each four products two are squared lengths, of mean 6 and E 48."""
    outer = case(layers.Dot, "", (2, 6), build=of_one(lambda: layers.Dot(axes=(2, 2))))
    result = predicted(outer).results[-1]
    assert result.support is Support.SAMPLED
    assert result.signals[0].mean == pytest.approx(3.0, rel=0.05)
    assert result.signals[0].variance == pytest.approx((48 + 6) / 2 - 9, rel=0.05)


@pytest.mark.parametrize("case", MERGING, ids=str)
def test_real_layer(case):
    check_given_weights(case)


@pytest.mark.parametrize(
    "join",
    [layers.Concatenate(axis=1), lambda tensors: ops.concatenate(tensors, axis=-2)],
    ids=["layer", "operation"],
)
def test_the_token_of_a_class_is_the_same_for_every_sample(join):
    data = keras.Input((9, 4))
    token = layers.Dense(6)(ops.ones_like(data[:, :1]))
    tokens = join([token, layers.Dense(6)(data)])
    for place, correlation in ((0, 1.0), (1, 0.0)):
        graph = read_model(keras.Model(data, tokens[:, place]))
        (read,) = predict(graph, input_signals(graph)).results[-1].signals
        assert read.sample_correlation == pytest.approx(correlation, abs=1e-6)
