import keras
import numpy as np
import pytest
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from autoinit.propagation import Options, input_signals, predict
from autoinit.reading import read_model
from autoinit.rules import RULES
from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import check_given_weights, last_signal
from tests.contracts.cases import APPLICATIONS, PAIR, SHIFTED, case


def two_channels(x):
    layer = LayerScale(1.0, 2)
    result = layer(x)
    layer.gamma.assign([1.0, 3.0])
    return result


# Inputs of mean 0.5 and variance 1.5, and of mean −1 and variance 0.4.
HAND = [
    (case(LayerScale, "one for all", (5, 4), init_values=0.2, projection_dim=4, moments=SHIFTED),
     0.1, 0.06),
    # Means 0.5 and 1.5; variances 1.5 and 13.5.
    (case(LayerScale, "two channels", (5, 2), build=two_channels, moments=SHIFTED), 1.0, 7.75),
    (case(CustomScaleLayer, "half", (5, 4), (5, 4), scale=0.5, moments=PAIR), 0.0, 1.6),
    (case(CustomScaleLayer, "x + x/2", (5, 4), moments=SHIFTED,
          build=lambda x: CustomScaleLayer(0.5)([x, x])), 0.75, 3.375),
    # Half of the samples are doubled: second moment 2·1.75.
    (case(StochasticDepth, "half", (5, 4), drop_path_rate=0.5, moments=SHIFTED), 0.5, 3.25),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("case", APPLICATIONS, ids=str)
def test_real_layer(case):
    check_given_weights(case)


def test_a_whole_sample_that_is_dropped_lets_its_positions_go_together():
    inputs = keras.Input((8, 4))
    x = StochasticDepth(0.5)(inputs)
    graph = read_model(keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(x)))
    result = predict(graph, input_signals(graph, 1.0, 0.8), Options())
    # A mean over 8 positions of mean 1 and variance 0.1, all zero in every other sample.
    assert result.results[-1].signals[0].variance == pytest.approx(2 * 1.1 - 1)


@pytest.mark.parametrize(
    "name",
    [
        "MobileNetV3Small",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("ConvNeXtTiny", "InceptionResNetV2")
        ),
    ],
)
def test_every_call_of_a_published_network_has_a_rule(name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3))
    calls = [call for call in read_model(model).calls if not call.is_input]
    assert {call.class_name for call in calls if RULES.of_call(call) is None} == set()


def test_nothing_is_dropped_in_inference():
    unchanged = case(StochasticDepth, "", (5, 4), drop_path_rate=0.5, training=False)
    graph = read_model(unchanged.model())
    result = predict(graph, input_signals(graph), Options(training=False))
    assert result.results[-1].support is Support.NEUTRAL
    data = np.ones((3, 5, 4), "float32")
    np.testing.assert_array_equal(unchanged.model()([data], training=False), data)
