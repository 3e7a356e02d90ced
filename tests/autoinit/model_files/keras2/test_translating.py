"""Whole models: nested, shared, with several inputs and outputs, with parts that are not run."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from autoinit.errors import ModelFileError
from autoinit.graph.placeholders import OpaqueActivation
from autoinit.initializers.cloning import clone_with_weights
from autoinit.initializers.drawing import draw_configured_weights
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.keras2 import verification
from autoinit.model_files.keras2.building import build_keras2
from autoinit.model_files.keras2.own_layers import Opaque
from autoinit.model_files.keras2.translation import translate
from autoinit.model_files.keras2.wrappers import Keras2Layer
from autoinit.propagation import Options, input_signals, plan, predict
from autoinit.reading import read_model
from autoinit.rules.registry import Support
from tests.autoinit.model_files.keras2.models import (
    assert_same,
    classes,
    data_for,
    outputs,
    randomise,
    reread,
    translated,
)

layers = tf_keras.layers


def block(name: str, units: int = 4) -> Any:
    first = layers.Dense(4, activation="relu", input_shape=(4,), name="first")
    return tf_keras.Sequential([first, layers.Dense(units, name="last")], name=name)


def test_models_nested_three_deep_that_are_shared_and_share() -> None:
    inner = block("inner")
    data = tf_keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    middle = tf_keras.Model(data, shared(inner(shared(data))), name="middle")
    data = tf_keras.Input((4,))
    outer = tf_keras.Model(data, layers.Add()([middle(data), inner(middle(data))]), name="outer")
    data = tf_keras.Input((4,))
    model = randomise(tf_keras.Model(data, [outer(data), inner(data)]))
    result = translate(model)
    assert_same(model, result.model, data_for(model))
    assert result.native
    paths = [call.path for call in read_model(result.model).calls]
    assert "outer/middle/inner/first/relu" in paths
    assert len(result.variables) == len(model.weights) == 6


def test_inputs_and_outputs_in_dictionaries() -> None:
    inputs = {"b": tf_keras.Input((4,), name="b"), "a": tf_keras.Input((3,), name="a")}
    inner_outputs = {"y": layers.Dense(2)(inputs["a"]), "x": layers.ReLU()(inputs["b"])}
    inner = tf_keras.Model(inputs, inner_outputs, name="inner")
    narrow, wide = tf_keras.Input((3,), name="narrow"), tf_keras.Input((4,), name="wide")
    results = inner({"a": narrow, "b": wide})
    model = randomise(tf_keras.Model([narrow, wide], {"one": results["x"], "two": results["y"]}))
    result = translate(model)
    assert set(result.model.output) == {"one", "two"}
    assert_same(model, result.model, data_for(model))
    alone = translate(inner)
    assert set(alone.model.input) == {"a", "b"}
    assert_same(inner, alone.model, data_for(inner))


def test_a_model_that_returns_what_it_was_given() -> None:
    data, other = tf_keras.Input((4,)), tf_keras.Input((2,))
    model = tf_keras.Model([data, other], [data, layers.Dense(2)(data), data])
    assert_same(model, translate(model).model, data_for(model))


def test_a_sequential_model_stays_one() -> None:
    model = tf_keras.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 3), name="conv/1"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(4),
            block("block"),
        ],
        name="body",
    )
    result = translated(model)
    assert isinstance(result.model, keras.Sequential)
    assert result.model.layers[0].name == "conv_1"
    assert result.native


def test_ancillary_layers_do_not_come_along() -> None:
    data = tf_keras.Input((6,))
    hidden = layers.Dense(4)(data)
    model = tf_keras.Model(data, layers.Dense(2)(hidden))
    model.add_loss(tf.reduce_mean(layers.Dense(1)(hidden)))
    again = reread(randomise(model))
    result = translate(again)
    assert len(again.weights) == 6
    assert classes(result.model) == ["Dense", "Dense"]
    assert_same(again, result.model, data_for(again))


def test_pairs_name_every_layer_and_variable_once() -> None:
    sequence = tf_keras.Input((5, 4))
    hidden = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(sequence)
    hidden = layers.TimeDistributed(block("block", 3), input_shape=(5, 6))(
        layers.Dense(4)(hidden) * 2.0
    )
    model = randomise(tf_keras.Model(sequence, hidden))
    result = translate(model)
    assert {id(old) for old, _ in result.variables} == {id(weight) for weight in model.weights}
    assert len(result.variables) == len(model.weights)
    kinds = [(type(old).__name__, type(new).__name__) for old, new in result.layers]
    assert kinds.count(("LSTM", "LSTM")) == 2
    assert kinds.count(("Dense", "Dense")) == 3
    assert ("TFOpLambda", "Multiply") in kinds
    assert ("InputLayer", "InputLayer") in kinds
    assert len({id(old) for old, _ in result.layers}) == len(result.layers)


def transfer(frozen: bool = False) -> Any:
    data = tf_keras.Input((4,))
    hidden = layers.Dropout(0.5)(layers.BatchNormalization()(layers.Dense(4)(data)))
    base = tf_keras.Model(data, hidden, name="base")
    base.trainable = not frozen
    data = tf_keras.Input((4,))
    return randomise(tf_keras.Model(data, layers.Dense(2)(base(data, training=False))))


def test_a_body_that_was_called_in_inference_stays_in_inference() -> None:
    """Keras's own recipe for transfer learning; Keras 3 would put the model's mode first."""
    model = reread(transfer())
    result = translate(model)
    assert_same(model, result.model, data_for(model), training=True)
    assert not result.native
    assert result.difference is not None
    graph = read_model(result.model)
    trained = predict(graph, input_signals(graph), Options(training=True))
    rested = predict(graph, input_signals(graph), Options(training=False))
    assert trained.estimates() == rested.estimates()
    assert {outcome.support for outcome in trained.results} <= {Support.EXACT, Support.NEUTRAL}


def test_frozen_weights_stay_frozen() -> None:
    result = translate(transfer(frozen=True))
    frozen = {pair[1].name for pair in result.layers if not pair[1].trainable}
    assert any("batch_normalization" in name for name in frozen)
    assert len(result.model.trainable_variables) == 2
    assert "BatchNormalization" not in str(result.findings)  # a frozen one is never in training


def test_a_layer_that_is_called_in_two_modes_is_reported() -> None:
    data = tf_keras.Input((4,))
    dropout = layers.Dropout(0.5, name="both")
    model = tf_keras.Model(data, layers.Add()([dropout(data, training=False), dropout(data)]))
    result = translate(model)
    assert [finding.path for finding in result.findings][-1] == "both"
    assert result.findings[-1].code == "translation_differs"


def test_dropout_that_is_always_on_is_not_compared() -> None:
    data = tf_keras.Input((200,))
    model = tf_keras.Model(data, layers.Dropout(0.5)(data, training=True))
    result = translate(model)
    assert (outputs(result.model, data_for(model))[0] == 0).mean() == pytest.approx(0.5, abs=0.1)
    assert result.difference is None
    assert not result.native
    assert "could not be checked" in result.findings[-1].message


def test_a_layer_that_is_not_run() -> None:
    data = tf_keras.Input((4,))
    hidden = Opaque("Lambda", "it holds code", evidence={"declared": [3]}, name="code")(data)
    inner = tf_keras.Model(data, layers.Dense(2)(hidden), name="inner")
    data = tf_keras.Input((4,))
    two = Opaque("Split", "why", outputs=2)(inner(data))
    model = tf_keras.Model(data, layers.Add()(two))
    config = model.get_config()
    for part in config["layers"]:
        part.pop("module"), part.pop("registered_name")
    again = build_keras2({"class_name": "Functional", "config": config}, {}, Budgets())
    result = translate(again)
    graph = read_model(result.model)
    assert [call.class_name for call in graph.calls] == [
        "InputLayer",
        "Lambda",
        "Dense",
        "Split",
        "Add",
    ]
    assert graph.calls[1].outputs[0].shape == (None, 3)
    assert result.difference is None
    assert not result.native


def test_an_activation_that_is_not_run() -> None:
    data = tf_keras.Input((4,))
    model = tf_keras.Model(data, layers.Dense(2, activation=OpaqueActivation("f", "why"))(data))
    result = translate(model)
    graph = read_model(result.model)
    assert [call.path for call in graph.calls][1:] == [
        "dense",
        "dense/f",
    ] or graph.behind_placeholders()
    assert not result.native


def mixed_bag() -> Any:
    """One of everything that Keras 3 has no equal of."""
    data = tf_keras.Input((6, 4))
    hidden = layers.LocallyConnected1D(3, 2)(data)
    hidden = layers.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True)(hidden)
    hidden = layers.Dense(3, activation="hard_sigmoid")(hidden)
    hidden = tf.concat([hidden, tf.zeros([tf.shape(hidden)[0], 1, 3])], 1)
    hidden = layers.BatchNormalization(axis=[1, 2])(tf.math.erfc(hidden))
    return randomise(tf_keras.Model(data, hidden))


def test_what_has_no_equal_is_copied_drawn_and_saved_like_the_rest(tmp_path: Any) -> None:
    model = mixed_bag()
    result = translate(model)
    data = data_for(model)
    assert_same(model, result.model, data)
    assert [finding.code for finding in result.findings] == ["not_convertible"]
    copy = clone_with_weights(result.model)
    assert_same(model, copy, data)
    result.model.save(tmp_path / "model.keras")
    assert_same(model, keras.saving.load_model(tmp_path / "model.keras"), data)
    assert draw_configured_weights(read_model(copy), seed=1) == ()
    assert np.abs(outputs(copy, data)[0] - outputs(result.model, data)[0]).max() > 0.01
    assert_same(model, result.model, data)


def test_a_wrapped_layer_brings_no_code_with_it() -> None:
    code = {"class_name": "Lambda", "config": {"name": "l", "function": ["4wEA", None, None]}}
    with pytest.raises(ModelFileError, match="asks for a 'Lambda'"):
        Keras2Layer(code)


def test_layers_that_keras_2_runs_share_their_variables() -> None:
    data = tf_keras.Input((6, 4))
    model = tf_keras.Model(data, layers.LocallyConnected1D(3, 2)(data))
    result = translate(model)
    result.model.layers[-1].weights[0].assign(np.ones((5, 8, 3)))
    assert model.weights[0].numpy().min() == 1.0


def test_a_custom_layer_is_run_by_keras_2() -> None:
    class Scale(layers.Layer):
        def build(self, shape: Any) -> None:
            self.scale = self.add_weight("scale", (shape[-1],), initializer="ones")

        def call(self, inputs: Any) -> Any:
            return inputs * self.scale

    data = tf_keras.Input((4,))
    model = randomise(tf_keras.Model(data, layers.Dense(2)(Scale()(data))))
    result = translate(model)
    assert classes(result.model) == ["Keras2Layer", "Dense"]
    copy = clone_with_weights(result.model)
    assert_same(model, copy, data_for(model))


def test_common_operations_have_rules() -> None:
    """Attention by hand, hard-swish, squeeze and excitation, positions, pixel shuffling."""
    words = tf_keras.Input((6,), dtype="int32")
    hidden = layers.Embedding(9, 8)(words) + np.linspace(-1, 1, 48).reshape(6, 8)
    query, key, value = tf.split(layers.Dense(24)(hidden), 3, axis=-1)
    scores = tf.matmul(query, key, transpose_b=True) / tf.math.sqrt(
        tf.cast(tf.shape(key)[-1], tf.float32)
    )
    hidden = hidden + tf.matmul(tf.nn.softmax(scores), value)
    hidden = hidden * tf.nn.relu6(hidden + 3.0) * (1 / 6)
    heads = tf.transpose(tf.reshape(hidden, [tf.shape(hidden)[0], 6, 2, 4]), [0, 2, 1, 3])
    pooled = tf.reduce_mean(heads, axis=[1, 2])
    gate = tf.sigmoid(layers.Dense(4)(pooled))
    image = tf.image.resize(tf.expand_dims(heads, -1)[..., 0] * gate[:, None, None, :], [4, 12])
    model = randomise(
        tf_keras.Model(
            words, [hidden[:, 0], image, tf.pad(image, [[0, 0]] + [[1, 1]] * 2 + [[0, 0]])]
        )
    )
    result = translate(reread(model))
    assert result.native
    graph = read_model(result.model)
    outcomes = plan(graph, input_signals(graph)).results
    without = [
        call.class_name
        for call, outcome in zip(graph.calls, outcomes, strict=True)
        if outcome.support is Support.PASS_THROUGH
    ]
    assert without == []


def test_sizes_that_depend_on_the_input_are_asked_at_run_time() -> None:
    data = tf_keras.Input((None, 6))
    shape = tf.shape(data)
    split = tf.reshape(data, [shape[0], shape[1], 2, 3])
    model = tf_keras.Model(data, [split, tf.reshape(split, [-1, shape[1] * 6])])
    result = translate(reread(model))
    for length in (3, 7):
        array = np.arange(2.0 * length * 6, dtype=np.float32).reshape(2, length, 6)
        assert_same(model, result.model, [array])
    calls = read_model(result.model).calls
    assert [call.outputs[0].shape for call in calls[1:]] == [(None, 32, 2, 3), (None, 192)]


def test_a_difference_is_found() -> None:
    data = tf_keras.Input((6,))
    model = randomise(
        tf_keras.Model(data, layers.Activation("hard_sigmoid")(layers.Dense(4)(data)))
    )
    result = translate(model)
    assert result.difference == pytest.approx(0, abs=1e-6)
    for layer in result.model.layers:
        if isinstance(layer, keras.layers.Activation):
            layer.activation = keras.activations.hard_sigmoid
    difference, tolerance = verification.compare(model, result.model)
    assert difference > 0.01 > tolerance


def test_a_translation_that_differs_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "autoinit.model_files.keras2.translation.compare", lambda *models: (0.3, 1e-4)
    )
    data = tf_keras.Input((6,))
    result = translate(tf_keras.Model(data, layers.Dense(4)(data)))
    assert not result.native
    assert result.difference == 0.3
    assert [finding.code for finding in result.findings] == [
        "translation_differs",
        "not_convertible",
    ]


def test_rounding_that_a_model_amplifies_is_no_difference() -> None:
    data = tf_keras.Input((50,))
    hidden = data
    for _ in range(40):
        hidden = tf.sin(
            layers.Dense(50, kernel_initializer=tf_keras.initializers.RandomNormal(0, 3))(hidden)
        )
    model = tf_keras.Model(data, hidden)
    other = translate(model).model
    weights = [weight * (1 + 1e-7) for weight in other.get_weights()]
    other.set_weights(weights)
    difference, tolerance = verification.compare(model, other)
    assert tolerance > 0.1 or difference < tolerance


def test_large_models_are_not_compared() -> None:
    data = tf_keras.Input((3000, 3000, 3))
    model = tf_keras.Model(data, layers.Conv2D(64, 7, padding="same")(data))
    result = translate(model)
    assert result.difference is None
    assert not result.native
    assert "take too long" in result.findings[0].message


def test_integer_inputs_are_valid_indices() -> None:
    words = tf_keras.Input((4,))  # Keras 2 took floats for indices
    model = randomise(tf_keras.Model(words, layers.Embedding(3, 2, mask_zero=True)(words)))
    assert translate(model).native


APPLICATIONS = {
    "MobileNet": 32, "MobileNetV2": 32, "MobileNetV3Small": 32, "EfficientNetB0": 32,
    "EfficientNetV2B0": 32, "ResNet50": 32, "ResNet50V2": 32, "DenseNet121": 32, "InceptionV3": 75,
    "Xception": 71, "NASNetMobile": 32, "ConvNeXtTiny": 32, "RegNetX002": 32, "ResNetRS50": 32,
    "VGG16": 32, "InceptionResNetV2": 75,
}  # fmt: skip
QUICK = ("MobileNet",)


# tf_keras says so of an initialiser of TensorFlow's, while it writes EfficientNetV2 down.
@pytest.mark.filterwarnings("ignore:The `keras.initializers.serialize")
@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in APPLICATIONS
    ],
)
def test_a_network_of_keras_applications(name: str) -> None:
    size = APPLICATIONS[name]
    original = getattr(tf_keras.applications, name)(weights=None, input_shape=(size, size, 3))
    model = reread(original)
    result = translate(model)
    assert result.native
    assert result.difference is not None
    assert result.difference < 1e-4
    assert len(result.variables) == len(original.weights)
    assert result.model.count_params() == original.count_params()
    graph = read_model(result.model)
    outcomes = plan(graph, input_signals(graph)).results
    without = {
        call.class_name
        for call, outcome in zip(graph.calls, outcomes, strict=True)
        if outcome.support is Support.PASS_THROUGH
    }
    assert without == set()
