import keras
import pytest
from keras import layers

from autoinit.propagation import input_signals, predict
from autoinit.reading import read_model
from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import check_given_weights, last_signal, predicted
from tests.contracts.cases import REGULARIZATION, SHIFTED, case

# Klambauer et al. 2017: what alpha dropout sets a unit to, −λα.
FLOOR = -1.0507009873554805 * 1.6732632423543772

# Input of mean 0.5, variance 1.5 and second moment 1.75.
HAND = [
    # Kept with 3/5 and divided by it: mean m, second moment 1.75·5/3.
    (case(layers.Dropout, "0.4", (4,), rate=0.4, moments=SHIFTED), 0.5, 1.75 / 0.6 - 0.25),
    (case(layers.Dropout, "zero mean: the paper's v/(1 − rate)", (4,), rate=0.4), 0.0, 1 / 0.6),
    (case(layers.Dropout, "everything", (4,), rate=1.0, moments=SHIFTED), 0.0, 0.0),
    (case(layers.SpatialDropout1D, "0.5", (3, 4), rate=0.5, moments=SHIFTED), 0.5, 3.25),
    (case(layers.SpatialDropout2D, "0.5", (3, 2, 4), rate=0.5, moments=SHIFTED), 0.5, 3.25),
    (case(layers.SpatialDropout3D, "0.5", (3, 2, 2, 4), rate=0.5, moments=SHIFTED), 0.5, 3.25),
    # It keeps mean 0 and variance 1 whatever the rate.
    (case(layers.AlphaDropout, "standardised", (4,), rate=0.3), 0.0, 1.0),
    # A variance of 0 at the floor stays there: the floor shifted and scaled.
    (case(layers.AlphaDropout, "at the floor", (4,), rate=0.5, moments=((FLOOR, 0.0),)),
     FLOOR * 0.5 * (0.5 * (1 + 0.5 * FLOOR**2)) ** -0.5, 0.0),
    (case(layers.GaussianNoise, "0.5", (4,), stddev=0.5, moments=SHIFTED), 0.5, 1.75),
    # Times N(1, 1/3): second moment 1.75·4/3.
    (case(layers.GaussianDropout, "0.25", (4,), rate=0.25, moments=SHIFTED),
     0.5, 1.75 * 4 / 3 - 0.25),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance), abs=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dropout(0.4),
        layers.SpatialDropout1D(0.4),
        layers.AlphaDropout(0.4),
        layers.GaussianNoise(0.4),
        layers.GaussianDropout(0.4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_in_inference_they_do_nothing(layer):
    idle = case(type(layer), "", (3, 4), build=layer, training=False, moments=SHIFTED)
    outcome = predicted(idle).results[-1]
    assert outcome.support is Support.NEUTRAL
    assert (outcome.signals[0].mean, outcome.signals[0].variance) == (0.5, 1.5)


@pytest.mark.parametrize("case", REGULARIZATION, ids=str)
def test_real_layer(case):
    check_given_weights(case)


# Eight positions of mean 1 and variance 0.8, whose mean has variance 0.1. Half of the channels
# are doubled, half are zero: second moment 2·1.1. Alone, each position has (2·1.8 − 1)/8.
# Alpha dropout: a²·(0.1/2 + (1 − f)²/4), a² = 1/(0.5·(1 + 0.5·f²)).
TOGETHER = [
    (layers.SpatialDropout1D(0.5), 1.2),
    (layers.Dropout(0.5, noise_shape=(None, 1, None)), 1.2),
    (layers.Dropout(0.5), 2.6 / 8),
    (layers.AlphaDropout(0.5, noise_shape=(None, 1, None)),
     (0.05 + (1 - FLOOR) ** 2 / 4) / (0.5 * (1 + 0.5 * FLOOR**2))),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "variance"), TOGETHER)
def test_positions_that_are_dropped_together_do_not_average_out(layer, variance):
    inputs = keras.Input((8, 4))
    graph = read_model(keras.Model(inputs, layers.GlobalAveragePooling1D()(layer(inputs))))
    result = predict(graph, input_signals(graph, 1.0, 0.8))
    assert result.results[-1].signals[0].variance == pytest.approx(variance)
