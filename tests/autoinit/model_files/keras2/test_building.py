"""Configurations as Keras 2.0 to 2.15 wrote them, by hand; and what they may ask for."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import tf_keras

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.check.checking import check
from autoinit.model_files.keras2.building import build_keras2
from autoinit.model_files.keras2.configurations import normalized
from autoinit.model_files.keras2.translation import translate
from tests.autoinit.model_files.configurations import Keras2, record_of
from tests.autoinit.model_files.keras2.models import (
    assert_same,
    classes,
    data_for,
    outputs,
    randomise,
)

GLOROT = {
    "class_name": "VarianceScaling",
    "config": {"distribution": "uniform", "mode": "fan_avg", "scale": 1.0, "seed": None},
}
ZEROS: dict[str, Any] = {"class_name": "Zeros", "config": {}}


def built(config: Any, **budgets: Any) -> Any:
    return build_keras2(config, {}, Budgets(**budgets))


def entry(kind: str, name: str, *inbound: Any, **config: Any) -> dict[str, Any]:
    """A layer of a functional configuration."""
    return {
        "class_name": kind,
        "name": name,
        "config": {"name": name, **config},
        "inbound_nodes": list(inbound),
    }


def source(name: str, *shape: int | None) -> dict[str, Any]:
    return entry(
        "InputLayer", name, batch_input_shape=[None, *shape], dtype="float32", sparse=False
    )


def dense(name: str, units: int, *inbound: Any, **config: Any) -> dict[str, Any]:
    return entry(
        "Dense",
        name,
        *inbound,
        units=units,
        activation="linear",
        use_bias=True,
        kernel_initializer=GLOROT,
        bias_initializer=ZEROS,
        **config,
    )


def functional(
    layers: list[Any], inputs: list[str], outputs: list[str], kind: str = "Model"
) -> dict[str, Any]:
    return {
        "class_name": kind,
        "config": {
            "name": "network",
            "layers": layers,
            "input_layers": [[name, 0, 0] for name in inputs],
            "output_layers": [[name, 0, 0] for name in outputs],
        },
    }


def of_one_layer(layer: dict[str, Any], *shape: int | None) -> Any:
    """A model as Keras 2.2 wrote it around one layer."""
    data = source("data", *shape)
    reader = {**layer, "inbound_nodes": [[["data", 0, 0, {}]]]}
    return built(functional([data, reader], ["data"], [layer["name"]]))


# Keras 2.0.6: the configuration of a Sequential model is a list, and an Embedding is first in it.
SEQUENTIAL_2_0 = {
    "class_name": "Sequential",
    "keras_version": "2.0.6",
    "backend": "tensorflow",
    "config": [
        {"class_name": "Embedding", "config": {
            "name": "embedding_1", "trainable": True, "batch_input_shape": [None, 10],
            "dtype": "int32", "input_dim": 50, "output_dim": 8, "mask_zero": False,
            "input_length": 10, "activity_regularizer": None, "embeddings_constraint": None,
            "embeddings_initializer": {"class_name": "RandomUniform", "config": {
                "maxval": 0.05, "minval": -0.05, "seed": None}},
            "embeddings_regularizer": None,
        }},
        {"class_name": "LSTM", "config": {
            "name": "lstm_1", "trainable": True, "return_sequences": False, "go_backwards": False,
            "stateful": False, "unroll": False, "implementation": 0, "units": 4,
            "activation": "tanh", "recurrent_activation": "hard_sigmoid", "use_bias": True,
            "kernel_initializer": GLOROT, "unit_forget_bias": True, "dropout": 0.2,
            "recurrent_initializer": {"class_name": "Orthogonal", "config": {
                "gain": 1.0, "seed": None}},
            "bias_initializer": ZEROS, "kernel_regularizer": None, "recurrent_dropout": 0.2,
            "recurrent_regularizer": None, "bias_regularizer": None, "activity_regularizer": None,
            "kernel_constraint": None, "recurrent_constraint": None, "bias_constraint": None,
        }},
        {"class_name": "Dropout", "config": {"name": "dropout_1", "trainable": True, "rate": 0.5}},
        {"class_name": "Dense", "config": {
            "name": "dense_1", "trainable": True, "units": 1, "activation": "sigmoid",
            "use_bias": True, "kernel_initializer": GLOROT, "bias_initializer": ZEROS,
            "kernel_regularizer": None, "bias_regularizer": None, "activity_regularizer": None,
            "kernel_constraint": None, "bias_constraint": None,
        }},
    ],
}  # fmt: skip


def test_a_sequential_list_of_keras_2_0_with_an_embedding() -> None:
    model = randomise(built(SEQUENTIAL_2_0))
    result = translate(model)
    assert classes(result.model) == ["Embedding", "LSTM", "Dropout", "Dense"]
    assert_same(model, result.model, data_for(model, integers=50))
    # Keras 2's hard sigmoid is a function of ours.
    assert not result.native
    assert "lstm_1" in result.findings[0].message


def test_a_functional_model_of_keras_2_2_with_a_nested_one_two_deep() -> None:
    innermost = functional(
        [source("a", 3), dense("b/kernel", 3, [["a", 0, 0, {}]])], ["a"], ["b/kernel"]
    )
    middle = functional(
        [
            source("c", 3),
            {
                **innermost,
                "name": "inner",
                "inbound_nodes": [[["c", 0, 0, {}]], [["inner", 1, 0, {}]]],
            },
        ],
        ["c"],
        ["inner"],
    )
    middle["config"]["output_layers"] = [["inner", 2, 0]]
    outer = functional(
        [
            source("d", 3),
            {**middle, "name": "middle", "inbound_nodes": [[["d", 0, 0, {}]]]},
            dense("e", 2, [["middle", 1, 0, {}]]),
        ],
        ["d"],
        ["e"],
    )
    model = randomise(built(outer))
    result = translate(model)
    assert result.native
    assert_same(model, result.model, data_for(model))
    assert [pair[1].name for pair in result.layers if "b" in pair[1].name] == ["b_kernel"]


def test_names_stay_different_without_their_slashes() -> None:
    layers = [
        source("x", 3),
        dense("a/b", 3, [["x", 0, 0, {}]]),
        dense("a_b", 3, [["a/b", 0, 0, {}]]),
    ]
    model = randomise(built(functional(layers, ["x"], ["a_b"])))
    result = translate(model)
    assert [layer.name for layer in result.model.layers] == ["x", "a_b", "a_b_1"]
    assert_same(model, result.model, data_for(model))


def test_layers_in_any_order() -> None:
    layers = [dense(f"d{i}", 2, [[f"d{i - 1}" if i else "x", 0, 0]]) for i in range(30)]
    model = built(functional([*reversed(layers), source("x", 2)], ["x"], ["d29"], "Functional"))
    assert [layer.name for layer in model.layers][:3] == ["x", "d0", "d1"]


def test_a_layer_that_reads_its_own_output_between_others() -> None:
    layers = [
        source("x", 2),
        dense("a", 2, [["x", 0, 0]], [["b", 0, 0]]),
        dense("b", 2, [["a", 0, 0]], [["a", 1, 0]]),
    ]
    config = functional(layers, ["x"], ["b"])
    config["config"]["output_layers"] = [["b", 1, 0]]
    model = randomise(built(config))
    assert_same(model, translate(model).model, data_for(model))


@pytest.mark.parametrize(
    "layers",
    [
        [source("x", 2), dense("a", 2, [["b", 0, 0]]), dense("b", 2, [["a", 0, 0]])],
        [source("x", 2), dense("a", 2, [["a", 0, 0]]), dense("b", 2, [["a", 0, 0]])],
        [source("x", 2), dense("b", 2, [["nobody", 0, 0]])],
        [source("x", 2), dense("b", 2, [["x", 0, 5]])],
        [source("x", 2), dense("a", 2, [["x", 0, 0]]), dense("b", 2, [["a", 7, 0]])],
    ],
    ids=["circle", "itself", "missing", "output", "call"],
)
def test_calls_that_cannot_be_made_are_refused(layers: list[Any]) -> None:
    with pytest.raises(ModelFileError, match="never made") as caught:
        built(functional(layers, ["x"], ["b"]))
    assert caught.value.code == "bad_configuration"


def test_a_call_on_numbers_alone_is_refused() -> None:
    """It would run at once, whatever memory it takes."""
    fill = entry(
        "TFOpLambda", "fill", ["_CONSTANT_VALUE", -1, [10**11], {"value": 1.0}], function="fill"
    )
    with pytest.raises(ModelFileError, match="reads no tensor") as caught:
        built(functional([source("x", 2), fill], ["x"], ["fill"]))
    assert caught.value.code == "bad_configuration"


@pytest.mark.parametrize(
    "layer",
    [
        entry("Lambda", "l", function=["4wEA", None, None], function_type="lambda"),
        entry("TFOpLambda", "t", function="io.read_file"),
        entry("SlicingOpLambda", "t", function="py_function"),
        entry("TimeDistributed", "t", layer={"class_name": "Lambda", "config": {}}),
        entry("Dense", "d", units=1, kernel_initializer={"class_name": "Lambda", "config": {}}),
        entry("ResidualWrapper", "r", cell={"class_name": "GRUCell", "config": {"units": 2}}),
    ],
    ids=lambda layer: str(layer["config"].get("function", layer["class_name"]))[:30],
)
def test_what_was_not_checked_is_not_made(layer: Any) -> None:
    with pytest.raises(ModelFileError, match="is no part of Keras 2") as caught:
        of_one_layer(layer, 5, 3)
    assert caught.value.code == "bad_configuration"


def test_parameters_are_counted_before_they_are_allocated() -> None:
    layers = [source("x", 10**6), dense("wide", 10**6, [["x", 0, 0]])]
    with pytest.raises(ModelFileError, match="1,000,000,000,000 parameters") as caught:
        built(functional(layers, ["x"], ["wide"]))
    assert caught.value.code == "over_budget"


def test_parameters_of_many_layers_are_counted_together() -> None:
    layers = [dense(f"d{i}", 10, [[f"d{i - 1}" if i else "x", 0, 0]]) for i in range(10)]
    config = functional([source("x", 10), *layers], ["x"], ["d9"])
    assert built(config, parameters=1100).count_params() == 1100
    with pytest.raises(ModelFileError, match=r"1,100 parameters.*AUTOINIT_MAX_PARAMETERS"):
        built(config, parameters=1099)


def test_orthogonal_draws_have_a_budget() -> None:
    initializer = {"class_name": "Orthogonal", "config": {"gain": 1.0, "seed": None}}
    layer = dense("d", 8, [["x", 0, 0]]) | {}
    layer["config"]["kernel_initializer"] = initializer
    config = functional([source("x", 8), layer], ["x"], ["d"])
    with pytest.raises(ModelFileError, match="8 × 8"):
        built(config, orthogonal_operations=511)
    assert built(config, orthogonal_operations=512)


def test_weights_that_would_be_drawn_are_zero_and_the_others_as_configured() -> None:
    inputs = tf_keras.Input((4, 4, 3))
    hidden = tf_keras.layers.BatchNormalization()(tf_keras.layers.Conv2D(2, 3)(inputs))
    original = tf_keras.Model(
        inputs, tf_keras.layers.LSTM(2)(tf_keras.layers.Reshape((4, 2))(hidden))
    )
    model = built(json.loads(original.to_json()))
    values = {variable.name.split("/", 1)[1]: variable.numpy() for variable in model.weights}
    assert {name for name, value in values.items() if not value.any()} >= {
        "kernel:0",
        "lstm_cell/kernel:0",
        "lstm_cell/recurrent_kernel:0",
        "moving_mean:0",
    }
    assert values["gamma:0"].tolist() == values["moving_variance:0"].tolist() == [1, 1]
    assert values["lstm_cell/bias:0"].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]  # the forget gate's


def test_keras3_layers_draw_where_no_weights_came() -> None:
    inputs = tf_keras.Input((6,))
    original = tf_keras.Model(inputs, tf_keras.layers.Dense(50)(inputs))
    model = built(json.loads(original.to_json()))
    assert not outputs(translate(model).model, data_for(model))[0].any()
    result = translate(model, draw=True)
    kernel = result.variables[0][1].numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / 56), rel=0.2)
    assert result.difference is not None
    assert result.difference < 1e-6
    assert_same(model, result.model, data_for(model))


QUIRKS = {
    "a mixed-precision policy": (
        entry("Dense", "d", units=2, dtype={"class_name": "Policy", "config": {
            "name": "mixed_float16"}}), (3,)),
    "a policy with a loss scale": (
        entry("Dense", "d", units=2, dtype={"class_name": "PolicyV1", "config": {
            "name": "mixed_float16", "loss_scale": "dynamic"}}), (3,)),
    "an old softmax": (entry("Activation", "a", activation="softmax_v2"), (3,)),
    "relu6 by name": (entry("Activation", "a", activation="relu6"), (3,)),
    "an array": (entry("LeakyReLU", "l", alpha={"type": "ndarray", "value": 0.25}), (3,)),
    "a tuple": (entry("Conv1D", "c", filters=2, kernel_size={
        "class_name": "__tuple__", "items": [2]}), (5, 3)),
    "batch normalisation of TensorFlow 1": (
        entry("BatchNormalizationV1", "b", axis={"class_name": "ListWrapper", "items": [3]},
              momentum=0.9, epsilon=0.001, center=True, scale=True), (4, 4, 2)),
    "batch normalisation of TensorFlow 2.0": (entry("BatchNormalizationV2", "b", axis=[-1]), (5,)),
    "several replicas": (entry("SyncBatchNormalization", "b"), (5,)),
    "no data format": (entry("MaxPooling2D", "m", pool_size=[2, 2], data_format=None), (4, 4, 2)),
    "an LSTM of CuDNN": (entry("CuDNNLSTM", "l", units=2, unit_forget_bias=True), (5, 3)),
    "a GRU of CuDNN": (entry("CuDNNGRU", "g", units=2), (5, 3)),
    "an old alias": (entry("Convolution2D", "c", filters=2, kernel_size=[2, 2]), (4, 4, 2)),
    "an initialiser by name": (
        entry("Dense", "d", units=2, kernel_initializer="he_normal"), (3,)),
    "a normal scaling": (
        entry("Dense", "d", units=2, kernel_initializer={
            "class_name": "VarianceScaling", "config": {
                "distribution": "normal", "mode": "fan_in", "scale": 2.0, "seed": None}}), (3,)),
    "an initialiser of TensorFlow 1": (
        entry("Dense", "d", units=2, bias_initializer={"class_name": "ZerosV2", "config": {}},
              kernel_initializer={"class_name": "GlorotUniformV2", "config": {"seed": 3}}), (3,)),
    "a regulariser with both norms": (
        entry("Dense", "d", units=2, kernel_regularizer={"class_name": "L1L2", "config": {
            "l1": 0.0, "l2": 0.01}}), (3,)),
    "a constraint by its old name": (
        entry("Dense", "d", units=2, kernel_constraint={"class_name": "MaxNorm", "config": {
            "max_value": 2, "axis": 0}}), (3,)),
    "an old upsampling": (entry("UpSampling2D", "u", size=[2, 2]), (3, 3, 2)),
    "padding in nested lists": (entry("ZeroPadding2D", "z", padding=[[1, 0], [0, 2]]), (3, 3, 2)),
    "categories of TensorFlow 2.4": (
        entry("CategoryEncoding", "c", max_tokens=4, output_mode="binary"), (3,)),
    "a wrapped layer": (
        entry("TimeDistributed", "t", layer={"class_name": "Dense", "config": {
            "name": "dense", "units": 2, "activation": "relu"}}), (5, 3)),
    "both directions": (
        entry("Bidirectional", "b", merge_mode="concat", layer={"class_name": "GRU", "config": {
            "name": "gru", "units": 2, "implementation": 0,
            "recurrent_activation": "hard_sigmoid"}}), (5, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", QUIRKS)
def test_a_quirk_of_old_files(name: str) -> None:
    layer, shape = QUIRKS[name]
    model = randomise(of_one_layer(layer, *shape))
    result = translate(model)
    rtol = 1e-2 if "float16" in str(layer) else 1e-5
    integers = 4 if "categories" in name else 0
    assert_same(model, result.model, data_for(model, integers=integers), rtol=rtol)
    assert "Keras2Layer" not in classes(result.model)


def test_a_gru_that_does_not_say_so_resets_before() -> None:
    model = of_one_layer(entry("GRU", "g", units=2), 5, 3)
    assert [tuple(weight.shape) for weight in model.weights] == [(3, 6), (2, 6), (6,)]
    model = of_one_layer(entry("GRU", "g", units=2, reset_after=True), 5, 3)
    assert tuple(model.weights[2].shape) == (2, 6)


def test_mixed_precision_carries_over() -> None:
    policy = {"class_name": "Policy", "config": {"name": "mixed_float16"}}
    model = of_one_layer(entry("Dense", "d", units=2, dtype=policy), 3)
    twin = translate(model).model.layers[-1]
    assert (twin.compute_dtype, twin.variable_dtype) == ("float16", "float32")


def test_a_keras_2_12_archive_has_modules_everywhere() -> None:
    """As `model.save("model.keras")` of Keras 2.12 to 2.15 writes it."""

    def of(module: str, kind: str, config: Any, **more: Any) -> dict[str, Any]:
        return {
            "module": module,
            "class_name": kind,
            "config": config,
            "registered_name": None,
            **more,
        }

    def to(name: str, **more: Any) -> list[Any]:
        return [[[name, 0, 0, more]]]

    layers = [
        of(
            "keras.layers",
            "InputLayer",
            {
                "batch_input_shape": [None, 4],
                "dtype": "float32",
                "sparse": False,
                "ragged": False,
                "name": "x",
            },
            name="x",
            inbound_nodes=[],
        ),
        of(
            "keras.layers",
            "Dense",
            {
                "name": "d",
                "trainable": True,
                "dtype": "float32",
                "units": 3,
                "use_bias": True,
                "activation": {
                    "module": "builtins",
                    "class_name": "function",
                    "config": "relu",
                    "registered_name": "function",
                },
                "kernel_initializer": of("keras.initializers", "HeNormal", {"seed": None}),
                "kernel_regularizer": of("keras.regularizers", "L2", {"l2": 0.01}),
            },
            build_config={"input_shape": [None, 4]},
            name="d",
            inbound_nodes=to("x"),
        ),
        of(
            "keras.src.layers.core.tf_op_layer",
            "TFOpLambda",
            {
                "name": "tf.math.multiply",
                "trainable": True,
                "dtype": "float32",
                "function": "math.multiply",
            },
            name="tf.math.multiply",
            inbound_nodes=[
                [
                    "d",
                    0,
                    0,
                    {
                        "y": {
                            "class_name": "__tensor__",
                            "config": {"value": [1.0, 2.0, 3.0], "dtype": "float32"},
                        },
                        "name": None,
                    },
                ]
            ],
        ),
    ]
    layers[2]["registered_name"] = "TFOpLambda"
    config = functional(layers, ["x"], ["tf.math.multiply"], "Functional")
    config |= {"module": "keras.src.engine.functional", "registered_name": "Functional"}
    model = randomise(built(config))
    result = translate(model)
    assert classes(result.model) == ["Dense", "Multiply"]
    assert result.native
    assert_same(model, result.model, data_for(model))


def test_a_sequential_archive_that_was_built_by_calling_it() -> None:
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "registered_name": None,
        "config": {
            "name": "s",
            "layers": [
                {
                    "module": "keras.layers",
                    "class_name": "Dense",
                    "registered_name": None,
                    "config": {"name": "d", "units": 2},
                    "build_config": {"input_shape": [None, 3]},
                }
            ],
        },
        "build_config": {"input_shape": [None, 3]},
    }
    model = randomise(built(config))
    result = translate(model)
    assert type(result.model).__name__ == "Sequential"
    assert_same(model, result.model, data_for(model))


def test_a_model_without_an_input_shape_is_refused() -> None:
    config = {
        "class_name": "Sequential",
        "config": {
            "name": "s",
            "layers": [{"class_name": "Dense", "config": {"name": "d", "units": 2}}],
        },
    }
    with pytest.raises(ModelFileError, match="Call it once on data") as caught:
        translate(built(config))
    assert caught.value.code == "no_graph"


def test_a_bare_layer_is_no_model() -> None:
    with pytest.raises(ModelFileError, match="holds a Dense, not a model") as caught:
        built({"class_name": "Dense", "config": {"units": 2}})
    assert caught.value.code == "not_a_model"


FLOAT, INTEGER = {"type": "DT_FLOAT"}, {"type": "DT_INT32"}


def node(
    operation: str, shape: Any, twin: str, *constants: Any, batch: Any = None, **attributes: Any
) -> Any:
    """A model around a `TensorFlowOpLayer` as tf.keras 2.1 to 2.3 wrote it.

    `constants` are its inputs, with None for the tensor; attributes are as in protocol buffers.
    """
    constants = constants or (None,)
    given = {str(i): value for i, value in enumerate(constants) if value is not None}
    definition = {
        "name": "n",
        "op": operation,
        "input": [f"in{i}" for i in range(len(constants))],
        "attr": {"T": FLOAT, **attributes},
    }
    definition["attr"] = {name: value for name, value in definition["attr"].items() if value}
    layer = entry(
        "TensorFlowOpLayer",
        "tf_op_layer_n",
        [[["x", 0, 0, {}]]],
        trainable=True,
        dtype="float32",
        node_def=definition,
        constants=given,
    )
    data = source("x", *shape)
    data["config"]["batch_input_shape"][0] = batch
    return functional([data, layer], ["x"], ["tf_op_layer_n"]), twin


NODES = [
    node("Mul", (3,), "Multiply", None, 2.5),
    node("AddV2", (3,), "Add", 2.5, None),
    node("Relu", (3,), "Relu"),
    node("LeakyRelu", (3,), "LeakyRelu", alpha={"f": 0.3}),
    node("Reshape", (2, 3), "Reshape", None, [-1, 6], Tshape=INTEGER),
    node("Transpose", (2, 3), "Transpose", None, [0, 2, 1], Tperm=INTEGER),
    node("Mean", (2, 3), "Mean", None, [1], keep_dims={"b": True}, Tidx=INTEGER),
    node("Squeeze", (2, 1), "Squeeze", squeeze_dims={"list": {"i": ["-1"]}}),
    node("ExpandDims", (3,), "ExpandDims", None, 1, Tdim=INTEGER),
    node("StridedSlice", (2, 3), "GetItem", None, [0, 1], [0, 2], [1, 1], Index=INTEGER,
         begin_mask={"i": "1"}, end_mask={"i": "1"}, shrink_axis_mask={"i": "2"},
         ellipsis_mask={"i": "0"}, new_axis_mask={"i": "0"}),
    node("Softmax", (3,), "Softmax"),
    node("ConcatV2", (2, 3), "Concatenate", None, [[[1.0, 2.0, 3.0]]], 1, batch=1, Tidx=INTEGER,
         N={"i": "2"}),
    node("MatMul", (3,), "Matmul", None, [[1.0, 2.0], [0.0, 1.0], [1.0, 1.0]],
         transpose_a={"b": False}, transpose_b={"b": False}),
    node("Erfc", (3,), "TensorFlowFunction"),
    node("Cast", (3,), "Cast", SrcT=FLOAT, DstT={"type": "DT_HALF"}, Truncate={"b": False}, T={}),
    node("Split", (4,), "Split", 1, None, num_split={"i": "2"}),
    node("Sum", (2, 3), "Sum", None, [1, 2], keep_dims={"b": False}, Tidx=INTEGER),
    node("Prod", (2, 3), "Prod", None, 1, keep_dims={"b": False}, Tidx=INTEGER),
]  # fmt: skip


@pytest.mark.parametrize(("config", "twin"), NODES, ids=[twin for _, twin in NODES])
def test_an_operation_of_tf_keras_2_3(config: Any, twin: str) -> None:
    model = built(config)
    result = translate(model)
    assert classes(result.model) == [twin]
    assert_same(model, result.model, data_for(model))


def test_normalising_leaves_the_original_alone() -> None:
    before = json.dumps(SEQUENTIAL_2_0)
    normalised = normalized(SEQUENTIAL_2_0)
    assert json.dumps(SEQUENTIAL_2_0) == before
    assert normalised["config"]["layers"][0]["class_name"] == "Embedding"


# Shapes of what is not run, from what it is joined with


def coded(name, read="x", **config):
    """A Lambda whose output shape is code."""
    return Keras2.layer(
        "Lambda",
        name,
        [read],
        function=["code", None, None],
        function_type="lambda",
        output_shape=["code", None, None],
        **config,
    )


def own(name, read="x"):
    return Keras2.layer("Own", name, [read])


def joined(kind, name, reads, **config):
    return Keras2.layer(kind, name, (), **config) | {
        "inbound_nodes": [[[read, 0, 0, {}] for read in reads]]
    }


def opened(*layers, stored=None):
    layers = [Keras2.input("x", (None, 6, 6, 4)), Keras2.input("y", (None, 3, 3, 16)), *layers]
    config = Keras2.functional(*layers)
    config["config"]["input_layers"] = [["x", 0, 0], ["y", 0, 0]]
    checked = check(record_of(config), Budgets(), stored_shapes=stored or {})
    return build_keras2(checked.config, {}, Budgets())


HEAD = Keras2.layer("Conv2D", "head", ["join"], filters=8, kernel_size=[1, 1])
CONCAT = {
    "class_name": "TFOpLambda",
    "config": {"name": "join", "function": "concat"},
    "name": "join",
    "inbound_nodes": [[["it", 0, 0, {"axis": -1}], ["y", 0, 0, {"axis": -1}]]],
}
PLUS = {
    "class_name": "TFOpLambda",
    "config": {"name": "join", "function": "__operators__.add"},
    "name": "join",
    "inbound_nodes": [["it", 0, 0, {"y": ["y", 0, 0]}]],
}
BESIDE = [
    # What `head` needs, less the 16 channels of `y`.
    ([coded("it"), joined("Concatenate", "join", ["it", "y"]), HEAD], 40, {"it": (3, 3, 24)}),
    # As many entries as before: 6·6·4 = 3·3·16.
    ([coded("it"), joined("Concatenate", "join", ["it", "y"]), HEAD], None, {"it": (3, 3, 16)}),
    ([coded("it"), Keras2.layer("ReLU", "relu", ["it"]),
      joined("Concatenate", "join", ["y", "relu"]), HEAD], 20, {"it": (3, 3, 4)}),
    # Two share what is left.
    ([coded("it"), coded("other"), joined("Concatenate", "join", ["it", "y", "other"]), HEAD],
     28, {"it": (3, 3, 6), "other": (3, 3, 6)}),
    # Nothing that is joined is known: each has its share.
    ([coded("it"), coded("other"), joined("Concatenate", "join", ["it", "other"]), HEAD],
     10, {"it": (6, 6, 5), "other": (6, 6, 5)}),
    # Weights tell of one, and the other has the rest.
    ([own("it"), own("other"), joined("Concatenate", "join", ["it", "other"]), HEAD],
     10, {"it": (6, 6, 3), "other": (6, 6, 7)}),
    ([coded("it"), joined("Add", "join", ["it", "y"])], None, {"it": (3, 3, 16)}),
    ([coded("it"), PLUS], None, {"it": (3, 3, 16)}),
    ([coded("it"), CONCAT], None, {"it": (3, 3, 16)}),
    ([coded("it"), joined("Dot", "join", ["it", "y"], axes=[1, 1], normalize=False)],
     None, {"it": (3, 6, 4)}),
    # Already as it has to be.
    ([coded("it"), joined("Multiply", "join", ["it", "x"])], None, {"it": (6, 6, 4)}),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "channels", "shapes"), BESIDE)
def test_what_is_not_run_fits_what_it_is_joined_with(layers, channels, shapes):
    stored = {("head",): [(1, 1, channels, 8), (8,)]} if channels else {}
    stored |= {("it",): [(4, 3), (3,)]} if layers[0]["class_name"] == "Own" else {}
    model = opened(*copy.deepcopy(layers), stored=stored)
    found = {name: tuple(model.get_layer(name).output.shape)[1:] for name in shapes}
    assert found == shapes


def test_a_refusal_names_the_layer_and_what_was_assumed():
    layers = [
        coded("it"),
        Keras2.layer("Dense", "dense", ["it"], units=3),
        joined("Concatenate", "join", ["dense", "y"]),
    ]
    with pytest.raises(ModelFileError, match=r"'join' \(Concatenate\).* Of 'it', which is not"):
        opened(*layers)
