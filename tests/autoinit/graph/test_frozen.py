"""Frozen layers: which they are, and that planning and drawing leave them alone."""

import re

import keras
import numpy as np
import pytest
from keras import layers

from app.analysis.diagnosis.linter.weights import frozen_weights
from autoinit import AutoInit
from autoinit.graph.frozen import frozen_calls, frozen_variables, is_frozen, settled_values
from autoinit.initializers.drawing import draw_configured_weights
from autoinit.propagation import Options, input_signals, plan
from autoinit.reading import read_model
from autoinit.signals.independent import IndependentSignal


def chain(*parts, shape=(4,), **options):
    return keras.Sequential([keras.Input(shape, name="data"), *parts], **options)


def frozen_paths(model):
    frozen = frozen_variables(read_model(model))
    return {
        f"{layer.name}/{variable.name}"
        for layer in model.layers
        for variable in layer.weights
        if id(variable) in frozen
    }


def test_a_layers_own_flag():
    model = chain(
        layers.Dense(4, name="a", trainable=False),
        layers.BatchNormalization(name="free"),
        layers.BatchNormalization(name="b", trainable=False),
    )
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    assert frozen_paths(model) == {"a/kernel", "a/bias", *(f"b/{name}" for name in names)}
    assert [call.path for call in frozen_calls(read_model(model))] == ["a", "b"]


def test_a_nested_models_flag_holds_for_what_is_in_it():
    inner = chain(layers.Dense(4, name="in"), name="inner")
    middle_input = keras.Input((4,))
    middle = keras.Model(middle_input, inner(middle_input), name="middle")
    model = chain(middle, layers.Dense(2, name="head"))
    middle.trainable = False
    inner.layers[0].trainable = True  # as Keras has it, the model around it wins
    graph = read_model(model)
    assert [call.path for call in frozen_calls(graph)] == ["middle/inner/in"]
    model.trainable = False
    model.get_layer("head").trainable = True
    assert [call.path for call in frozen_calls(read_model(model))] == ["middle/inner/in", "head"]


def test_in_wrappers_each_layer_counts():
    two = layers.Bidirectional(layers.LSTM(3), name="two")
    steps = layers.TimeDistributed(layers.Dense(2), name="steps")
    model = chain(steps, two, shape=(5, 4))
    steps.layer.trainable = two.forward_layer.trainable = False
    frozen = frozen_variables(read_model(model))
    assert {id(weight) for weight in steps.weights + two.forward_layer.weights} == frozen
    _, first, second = read_model(model).calls
    assert is_frozen(first, frozen)
    assert not is_frozen(second, frozen)


def test_a_shared_layer_is_frozen_if_it_is_so_in_each_use():
    dense = layers.Dense(4, name="shared")
    inner = chain(dense, name="inner")
    data = keras.Input((4,), name="data")
    model = keras.Model(data, dense(inner(data)))
    inner.trainable = False
    dense.trainable = True
    assert not frozen_variables(read_model(model))
    dense.trainable = False
    assert frozen_variables(read_model(model)) == {id(weight) for weight in dense.weights}


def transfer_model():
    """A body whose kernel is ten times what it was, frozen, under a head."""
    body = layers.Dense(64, name="body", trainable=False)
    model = chain(body, layers.ReLU(), layers.Dense(32, name="head"), shape=(50,))
    body.kernel.assign(body.kernel * 10.0)
    return model


def test_the_planner_leaves_frozen_kernels_and_goes_by_the_signal_that_they_give():
    model = transfer_model()
    graph = read_model(model)
    signals = input_signals(graph)
    result = plan(graph, signals, Options(keep_frozen=True))
    assert [found.path for found in result.scales] == ["head"]
    power = float(np.square(model.get_layer("body").kernel).sum(0).mean())
    body = result.results[1]
    assert body.weighted
    assert body.signals[0].variance == pytest.approx(power, rel=1e-5)
    # Half the second moment is left by the ReLU.
    assert result.scales[0].standard_deviation == pytest.approx((2 / (64 * power)) ** 0.5, rel=1e-4)
    assert [found.path for found in plan(graph, signals).scales] == ["body", "head"]


def test_a_frozen_kernel_may_be_used_twice():
    dense = layers.Dense(4, name="shared", trainable=False)
    data = keras.Input((4,), name="data")
    graph = read_model(keras.Model(data, dense(layers.ReLU()(dense(data)))))
    result = plan(graph, input_signals(graph), Options(keep_frozen=True))
    assert not result.scales
    assert not result.findings


def test_measured_signals_take_the_place_of_the_rules():
    graph = read_model(transfer_model())
    known = {graph.calls[2].outputs[0].index: IndependentSignal.gaussian(3.0, 1.0)}
    result = plan(graph, input_signals(graph), Options(keep_frozen=True), known=known)
    assert result.scales[0].standard_deviation == pytest.approx((1 / (64 * 10)) ** 0.5)
    assert str(result.results[2].support) == "sampled"


def test_settled_is_what_depends_on_frozen_weights_alone():
    data = keras.Input((4,), name="data")
    body = layers.Dense(4, name="body", trainable=False)(data)
    noisy = layers.Dropout(0.5, name="noisy")(body)
    fresh = layers.Dense(4, name="fresh")(data)
    late = layers.Dense(4, name="late", trainable=False)(fresh)
    model = keras.Model(data, layers.Add(name="sum")([noisy, late]))
    graph = read_model(model)
    frozen = frozen_variables(graph)
    settled = settled_values(graph, frozen, {id(model.get_layer("fresh").kernel)})
    paths = {call.path for call in graph.calls if call.outputs[0].index in settled}
    assert paths == {"body", "noisy"}


def test_drawing_afresh_keeps_what_is_to_be_kept():
    model = chain(
        layers.Dense(4, name="a", trainable=False),
        layers.Bidirectional(layers.LSTM(2), name="two"),
        shape=(5, 4),
    )
    model.get_layer("two").backward_layer.trainable = False
    graph = read_model(model)
    frozen = frozen_variables(graph)
    for weight in model.weights:
        weight.assign(keras.ops.full(weight.shape, 7.0))
    assert not draw_configured_weights(graph, 0, frozen)
    for weight in model.weights:
        kept = np.all(keras.ops.convert_to_numpy(weight) == 7.0)
        assert kept == (id(weight) in frozen), weight.path


@pytest.mark.parametrize("keep", [True, False])
def test_the_library_keeps_them_when_asked(keep):
    model = transfer_model()
    kernel = keras.ops.convert_to_numpy(model.get_layer("body").kernel)
    new = AutoInit({"keep_frozen": keep, "seed": 1}).initialize_model(model)
    assert np.array_equal(new.get_layer("body").kernel, kernel) == keep
    assert not np.array_equal(new.get_layer("head").kernel, model.get_layer("head").kernel)
    noise = np.random.default_rng(0).standard_normal((500, 50), dtype=np.float32)
    assert float(np.var(keras.ops.convert_to_numpy(new(noise)))) == pytest.approx(1.0, rel=0.2)


def test_a_configuration_brings_no_weights_to_keep():
    model = transfer_model()
    new = AutoInit({"keep_frozen": True, "seed": 1}).initialize_model(model.to_json())
    assert float(np.var(new.get_layer("body").kernel)) == pytest.approx(1 / 50, rel=0.1)


def test_a_copy_is_frozen_like_its_original():
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, layers.Dense(4, name="in")(inner_input), name="inner")
    model = chain(inner)
    inner.trainable = False
    inner.layers[1].trainable = True
    new = AutoInit({"keep_frozen": True}).initialize_model(model)
    assert not new.get_layer("inner").trainable
    assert new.get_layer("inner").get_layer("in").trainable
    np.testing.assert_array_equal(new.get_weights()[0], model.get_weights()[0])


def test_a_wrong_value_is_refused():
    with pytest.raises(ValueError, match=r"keep_frozen.*True or False"):
        AutoInit({"keep_frozen": "yes"})


@pytest.mark.parametrize(
    ("came", "keep", "freeze", "code", "words"),
    [
        (
            True,
            True,
            1,
            "frozen_kept",
            "1 layer is frozen .* and keeps the weights .*: 'd0'. AutoInit",
        ),
        (True, True, 7, "frozen_kept", "7 layers are frozen.*'d0', .*'d4' and 2 more. AutoInit"),
        (True, False, 1, "frozen_redrawn", r"1 layer is frozen.*: 'd0'\. .*--keep-frozen"),
        (False, True, 1, "nothing_to_keep", "No weights came"),
        (True, True, 0, "nothing_to_keep", "No layer of the model is frozen"),
    ],
)
def test_what_became_of_them_is_told(came, keep, freeze, code, words):
    model = chain(*(layers.Dense(4, name=f"d{i}", trainable=i >= freeze) for i in range(8)))
    finding = frozen_weights(read_model(model), came=came, keep=keep)
    assert finding.code == code
    assert re.search(words, finding.message)


@pytest.mark.parametrize(("came", "freeze"), [(False, 1), (True, 0)])
def test_where_there_is_nothing_to_tell_nothing_is_told(came, freeze):
    scaler = layers.Normalization(mean=[0.0] * 4, variance=[1.0] * 4, trainable=False)
    model = chain(scaler, *(layers.Dense(4, trainable=i >= freeze) for i in range(2)))
    assert frozen_weights(read_model(model), came=came, keep=False) is None
