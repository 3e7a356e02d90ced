"""Kernels scaled by what is measured behind them, held against passes that they have not seen."""

import keras
import numpy as np
import pytest
from keras import layers

from autoinit import AutoInit
from autoinit.initializers.calibration import Fed, calibrate
from autoinit.reading import read_model
from probes import probe_model


def calibrated(model, scheme="calibrated", **more):
    keras.utils.set_random_seed(0)
    return AutoInit({"seed": 0}, scheme=scheme, **more).initialize_model(model)


def chain(depth, function, width=48, **options):
    return keras.Sequential(
        [keras.Input((width,)), *(layers.Dense(width, function, **options) for _ in range(depth))]
    )


def variances(model, seed=7, **more):
    """Of the calls with a kernel, before their activation, on inputs of another seed."""
    probe = probe_model(model, 64, seed=seed, **more)
    names = [layer.name for layer in model.layers if getattr(layer, "kernel", None) is not None]
    return [probe[name].variance for name in names]


@pytest.mark.parametrize("function", ["relu", "tanh", "sigmoid"])
def test_every_kernel_of_a_deep_chain_gives_the_target(function):
    assert all(0.8 < each < 1.25 for each in variances(calibrated(chain(12, function))))


def test_biases_are_counted_with_what_kernels_give():
    deviation = keras.initializers.RandomNormal(stddev=0.6, seed=1)
    model = calibrated(chain(4, "relu", 200, bias_initializer=deviation))
    assert np.asarray(model.layers[0].bias).std() == pytest.approx(0.6, rel=0.1)
    assert variances(model) == pytest.approx(np.ones(4), rel=0.15)


def test_a_bias_that_exceeds_the_target_is_told_and_its_kernel_stays():
    model = chain(1, None, bias_initializer=keras.initializers.RandomNormal(stddev=3.0, seed=1))
    graph = read_model(model)
    plans = AutoInit().plan(model).scales
    (before, _) = model.get_weights()
    scaled, (finding,) = calibrate(graph, plans, 1.0, Fed())
    assert scaled == {}
    assert "its bias alone has a variance of" in finding.message
    assert np.array_equal(before, model.get_weights()[0])


def test_a_kernel_of_several_uses_gets_the_mean_of_the_logarithms():
    shared = layers.Dense(64, "relu", name="shared")
    inputs = keras.Input((64,))
    x = inputs
    for _ in range(3):
        x = shared(x)
    model = calibrated(keras.Model(inputs, layers.Dense(32, name="last")(x)))
    probe = probe_model(model, 128, seed=3)
    uses = [probe[f"shared{which}"].variance for which in ("", ":2", ":3")]
    assert np.log(uses).mean() == pytest.approx(0.0, abs=0.6)
    assert probe["last"].variance == pytest.approx(1.0, rel=0.2)


def test_batch_normalizations_get_the_statistics_of_what_they_receive():
    layer = layers.BatchNormalization(name="norm")
    model = keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.Rescaling(2.0, 3.0),
            layers.Conv2D(16, 3),
            layer,
            layers.ReLU(),
            layers.Conv2D(8, 3, name="behind"),
        ]
    )
    new = calibrated(model)
    in_training, in_inference = (
        variances(new, training=training)[-1] for training in (True, False)
    )
    assert in_inference == pytest.approx(in_training, rel=0.2)
    assert variances(model, training=False)[-1] != pytest.approx(in_training, rel=0.2)


def test_centred_kernels_keep_inputs_apart_where_they_would_become_alike():
    alike = probe_model(calibrated(chain(30, "sigmoid")), 32, seed=2)
    apart = probe_model(calibrated(chain(30, "sigmoid"), "centred"), 32, seed=2)
    assert alike.moments[-1].sample_correlation > 0.99
    assert apart.moments[-1].sample_correlation < 0.9


def test_real_data_take_the_place_of_noise():
    model = chain(3, "relu")
    graph, plans = read_model(model), AutoInit().plan(model).scales
    data = np.random.default_rng(0).gamma(2.0, 30.0, (64, 48)).astype("float32")
    name = graph.inputs[0].path
    calibrate(graph, plans, 1.0, Fed(data={name: data}))
    fresh = np.random.default_rng(1).gamma(2.0, 30.0, (64, 48)).astype("float32")
    probe = probe_model(model, 64, input_data={name: fresh})
    found = [probe[layer.name].variance for layer in model.layers]
    assert found == pytest.approx(np.ones(3), rel=0.2)


def test_layers_of_several_kernels_and_masks_that_are_handed_on():
    inputs = keras.Input((9,), dtype="int32")
    x = layers.Embedding(50, 24, mask_zero=True, name="words")(inputs)
    outputs = [layers.LSTM(8, name="state")(layers.Dense(16, name="each")(x))]
    x = layers.MultiHeadAttention(3, 8, name="attention")(*[layers.Embedding(50, 24)(inputs)] * 2)
    outputs.append(layers.SeparableConv1D(32, 3, padding="same", name="separable")(x))
    new = calibrated(keras.Model(inputs, outputs))
    probe = probe_model(new, 64, seed=4)
    for name in ("attention/query", "attention/attention_output", "separable", "each"):
        assert probe[name].variance == pytest.approx(1.0, rel=0.25)


def test_half_precision_and_a_shared_bias_are_no_trouble():
    policy = keras.DTypePolicy("mixed_float16")
    shared = layers.Dense(48, "relu", name="shared", dtype=policy)
    inputs = keras.Input((48,))
    x = shared(shared(layers.Dense(48, "relu", name="first", dtype=policy)(inputs)))
    new = calibrated(keras.Model(inputs, layers.Dense(48, name="last", dtype=policy)(x)), "centred")
    probe = probe_model(new, 64, seed=3)
    for name in ("first", "last"):
        assert probe[name].variance == pytest.approx(1.0, rel=0.25)
    assert not np.any(new.get_layer("shared").bias)
