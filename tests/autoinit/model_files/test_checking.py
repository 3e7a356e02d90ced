"""What a checked configuration holds, and which configurations are refused."""

import copy
import dataclasses
import json
import time

import pytest

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.check.checking import check
from tests.autoinit.model_files.configurations import (
    BOTH,
    FLOAT32,
    Keras2,
    Keras3,
    called,
    record_of,
)

GLOROT = {
    "module": "keras.initializers",
    "class_name": "GlorotUniform",
    "config": {"seed": None},
    "registered_name": None,
}
FUNCTION = {
    "module": "builtins", "class_name": "function", "config": "evil", "registered_name": "function",
}  # fmt: skip
CODE = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None}}


def checked(config, *, budgets=None, custom=(), stored=None, keras=None):
    before = copy.deepcopy(config)
    record = record_of(config, keras)
    result = check(record, budgets or Budgets(), custom, stored)
    assert record.config == before, "the record was changed"
    json.dumps(result.config)
    return result


def refused(config, code, said="", **options):
    with pytest.raises(ModelFileError) as caught:
        checked(config, **options)
    message = str(caught.value)
    assert caught.value.code == code, message
    assert said in message
    assert message.endswith(".")
    assert message.isprintable()
    assert len(message) < 600
    return message


def codes(result):
    return [finding.code for finding in result.findings]


def model_of(writer, *layers, **options):
    return writer.functional(writer.input(), *layers, **options)


def layers_of(config):
    return {layer["name"]: layer for layer in config["config"]["layers"]}


def only_layer(writer, class_name="Dense", **config):
    """A model of one layer, checked: the layer's entry, and the findings' codes."""
    result = checked(model_of(writer, writer.layer(class_name, "it", ["x"], **config)))
    return layers_of(result.config)["it"], codes(result)


def strings_in(value):
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return {text for part in value for text in strings_in(part)}
    return {value} if isinstance(value, str) else set()


# What stays


@pytest.mark.parametrize("writer", BOTH)
def test_a_stock_model_stays_as_it_is_without_its_training_settings(writer):
    dense = writer.layer("Dense", "dense", ["x"], units=3, kernel_initializer=GLOROT)
    config = model_of(
        writer, dense, compile_config={"loss": "mse"}, keras_version="2.0", backend="tensorflow"
    )
    result = checked(config)
    assert result.findings == ()
    assert result.config["class_name"] == "Functional"
    assert result.config["config"].keys() <= {
        "name",
        "trainable",
        "layers",
        "input_layers",
        "output_layers",
    }
    assert not {"compile_config", "build_config"} & strings_in(result.config)
    after = layers_of(result.config)["dense"]
    assert after["config"]["units"] == 3
    assert after["config"]["dtype"] == "float32"
    assert after["inbound_nodes"] == dense["inbound_nodes"]
    assert layers_of(result.config)["x"]["config"]


def test_what_keras_3_looks_up_is_written_anew():
    """Whatever the file says: the module is the one that the class was found in."""
    odd = Keras3.layer("Dense", "a", ["x"], units=3, kernel_initializer=dict(GLOROT))
    odd["module"] = "keras.src.somewhere"
    odd["config"]["kernel_initializer"] |= {
        "module": "keras.layers",
        "registered_name": "GlorotUniform",
    }
    after = layers_of(checked(model_of(Keras3, odd)).config)["a"]
    assert (after["module"], after["registered_name"]) == ("keras.layers", None)
    inner = after["config"]["kernel_initializer"]
    assert (inner["module"], inner["registered_name"]) == ("keras.initializers", None)


def test_operations_of_keras_3():
    add = Keras3.layer("Add", "add", ["x"], module="keras.src.ops.numpy")
    add["registered_name"] = "Add"
    after = layers_of(checked(model_of(Keras3, add)).config)["add"]
    assert after["module"] == "keras.src.ops.numpy"


@pytest.mark.parametrize(
    ("config", "module"),
    [({"name": "add"}, "keras.src.ops.numpy"), ({"name": "a", "trainable": True}, "keras.layers")],
)
def test_a_legacy_file_tells_operations_from_layers_by_their_arguments(config, module):
    add = Keras3.layer("Add", "add", ["x"])
    del add["module"]
    add["config"] = config
    assert layers_of(checked(model_of(Keras3, add)).config)["add"]["module"] == module


def test_keras_2_operations_may_call_listed_functions():
    entry, found = only_layer(Keras2, "TFOpLambda", function="math.add")
    assert (entry["class_name"], found) == ("TFOpLambda", [])
    entry, found = only_layer(Keras2, "TensorFlowOpLayer", node_def={"op": "AddV2"})
    assert (entry["class_name"], found) == ("TensorFlowOpLayer", [])


@pytest.mark.parametrize("writer", BOTH)
def test_values_that_json_has_no_form_for(writer):
    array = {"class_name": "__numpy__", "config": {"value": [[1, 2.5]], "dtype": "float32"}}
    entry, found = only_layer(writer, "Rescaling", scale=array, offset=[float("nan"), 10**30 / 3])
    assert found == []
    assert entry["config"]["scale"] == array


def test_arguments_of_calls_that_json_has_no_form_for():
    item = Keras3.layer("GetItem", "item", ["x"], module="keras.src.ops.numpy")
    steps = {"start": None, "stop": 2, "step": None}
    cut = {"class_name": "__slice__", "config": steps}
    item["inbound_nodes"][0]["args"].append([cut, {"class_name": "__ellipsis__", "config": {}}])
    item["inbound_nodes"][0]["kwargs"] = {"salt": 2**50, "mask": None, "large": [2**60]}
    after = layers_of(checked(model_of(Keras3, item)).config)["item"]
    assert after["inbound_nodes"] == item["inbound_nodes"]


@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("Dense", {"activation": "relu", "kernel_initializer": "he_normal"}),
        ("Dense", {"activation": {"class_name": "LeakyReLU", "config": {"name": "l"}}}),
        ("Dense", {"kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.01}}}),
        ("Dense", {"kernel_constraint": {"class_name": "MaxNorm", "config": {"max_value": 2}}}),
        ("LSTM", {"activation": "tanh", "recurrent_activation": "hard_sigmoid"}),
        ("Bidirectional", {"layer": {"class_name": "LSTM", "config": {"units": 2}}}),
        (
            "RNN",
            {
                "cell": {
                    "class_name": "StackedRNNCells",
                    "config": {"cells": [{"class_name": "GRUCell", "config": {"units": 2}}]},
                }
            },
        ),
        ("StringLookup", {"vocabulary": ["a", "b"], "idf_weights": None}),
        ("IntegerLookup", {"vocabulary": [2**62, 5], "mask_token": 2**62}),
        ("Hashing", {"num_bins": 7, "salt": [2**63, 1]}),
        ("Dropout", {"rate": 0.5, "seed": 2**63}),
    ],
)
def test_stock_parts_pass(writer, class_name, config):
    entry, found = only_layer(writer, class_name, **config)
    assert found == []
    assert entry["class_name"] == class_name


def test_a_policy_is_told_by_its_name():
    policy = {
        "class_name": "Policy",
        "config": {
            "name": "mixed_float16",
            "loss_scale": {"class_name": "DynamicLossScale", "config": {}},
        },
    }
    entry, found = only_layer(Keras2, dtype=policy)
    assert (entry["config"]["dtype"], found) == ("mixed_float16", [])


def test_the_constraint_that_autoinit_leaves_is_known():
    own = {
        "module": "autoinit.constraints",
        "class_name": "CenteredUnitNorm",
        "config": {"standard_deviation": 1.0, "axis": [0]},
        "registered_name": "autoinit>CenteredUnitNorm",
    }
    entry, found = only_layer(Keras3, kernel_constraint=own)
    assert (entry["config"]["kernel_constraint"], found) == (own, [])


# Stand-ins


@pytest.mark.parametrize("writer", BOTH)
def test_a_lambda_becomes_opaque_and_nothing_of_it_stays(writer):
    code = writer.layer("Lambda", "code", ["x"], function=CODE, output_shape=[7], secret="evil")
    code["inbound_nodes"] *= 2
    result = checked(model_of(writer, code))
    entry = layers_of(result.config)["code"]
    assert (entry["class_name"], entry["name"]) == ("Opaque", "code")
    assert entry.get("registered_name") == {2: None, 3: "autoinit>Opaque"}[writer.number]
    assert entry.get("module") == {2: None, 3: "autoinit.graph.placeholders"}[writer.number]
    assert entry["config"] == {
        "original": "Lambda",
        "reason": "it holds code",
        "outputs": 1,
        "trainable": True,
        "evidence": {"declared": [7]},
        "name": "code",
        "dtype": "float32",
    }
    assert len(entry["inbound_nodes"]) == 2
    assert not {"evil", "__lambda__", "secret"} & strings_in(result.config)
    (finding,) = result.findings
    assert (finding.code, finding.path, finding.class_name) == ("opaque_layer", "code", "Lambda")
    assert finding.message.startswith("Layer 'code' (Lambda) cannot be run, because it holds code;")


OPAQUE_3 = [
    ("Lambda", {}, "it holds code"),
    ("TFSMLayer", {"config": {"filepath": "/etc"}}, "lies elsewhere"),
    ("TorchModuleWrapper", {}, "lies elsewhere"),
    ("JaxLayer", {}, "lies elsewhere"),
    ("FlaxLayer", {}, "lies elsewhere"),
    ("Layer", {"module": "keras"}, "no class of its own"),
    ("Mine", {}, "'Mine' is not part of Keras"),
    ("Dense", {"module": "os"}, "'Dense' is not part of Keras"),
    ("Dense", {"module": None}, "'Dense' is not part of Keras"),
    ("Dense", {"module": "keras_hub.layers"}, "not part of Keras"),
    ("Dense", {"module": {"class_name": "x"}}, "not part of Keras"),
    ("Dense", {"registered_name": "mine>Dense"}, "not part of Keras"),
    ("system", {"module": "os"}, "not part of Keras"),
    ("deserialize", {"module": "keras.layers"}, "not part of Keras"),
    ("load_model", {"module": "keras.models"}, "not part of Keras"),
    (
        "Opaque",
        {"module": "autoinit.graph.placeholders", "registered_name": "autoinit>Opaque"},
        "not part",
    ),
    ("Map", {"module": "keras.src.ops.core"}, "it calls code"),
    ("WhileLoop", {"module": "keras.src.ops.core"}, "it calls code"),
    ("__lambda__", {}, "not part of Keras"),
    ("__typespec__", {}, "not part of Keras"),
    ("__tensor__", {}, "not part of Keras"),
    ("function", {"config": "system"}, "not part of Keras"),
    ("Adam", {"module": "keras.optimizers"}, "not part of Keras"),
    ("GlorotUniform", {"module": "keras.initializers"}, "not part of Keras"),
]


@pytest.mark.parametrize(("class_name", "changes", "reason"), OPAQUE_3)
def test_what_keras_3_cannot_rebuild_becomes_opaque(class_name, changes, reason):
    entry = {**Keras3.layer(class_name, "it", ["x"]), **changes}
    result = checked(model_of(Keras3, entry))
    after = layers_of(result.config)["it"]
    assert after["class_name"] == "Opaque"
    assert after["config"]["original"] == class_name
    assert reason in after["config"]["reason"]
    assert codes(result) == ["opaque_layer"]


@pytest.mark.parametrize("name", ["Lambda", "Mine", "mine>Dense", "TFSMLayer", "Cond", "function"])
def test_the_same_in_a_legacy_file_which_records_no_modules(name):
    entry = Keras3.layer(name, "it", ["x"])
    del entry["module"], entry["registered_name"]
    assert codes(checked(model_of(Keras3, entry))) == ["opaque_layer"]


OPAQUE_2 = [
    ("Lambda", {"function": ["4wEAAAA=", None, None]}, "it holds code"),
    ("Mine", {}, "'Mine' is not part of Keras"),
    ("Custom>Mine", {}, "'Custom>Mine' is not part of Keras"),
    ("TFOpLambda", {"function": "io.read_file"}, "it calls 'io.read_file'"),
    ("TFOpLambda", {"function": "py_function"}, "it calls"),
    ("TFOpLambda", {"function": CODE}, "it calls"),
    ("TFOpLambda", {}, "it calls 'None'"),
    ("SlicingOpLambda", {"function": "io.write_file"}, "it calls"),
    ("TensorFlowOpLayer", {"node_def": {"op": "ReadFile"}}, "it runs 'ReadFile'"),
    ("TensorFlowOpLayer", {"node_def": "\n\x01a\x12\x05AddV2"}, "it runs"),
    ("DropoutWrapper", {}, "not part of Keras"),
    ("ClassMethod", {"cls_symbol": "os"}, "not part of Keras"),
    ("Opaque", {"original": "x", "reason": "y"}, "not part of Keras"),
]


@pytest.mark.parametrize(("class_name", "config", "reason"), OPAQUE_2)
def test_what_keras_2_cannot_rebuild_becomes_opaque(class_name, config, reason):
    entry, found = only_layer(Keras2, class_name, **config)
    assert entry["class_name"] == "Opaque"
    assert reason in entry["config"]["reason"]
    assert found == ["opaque_layer"]


@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize(
    ("class_name", "config", "reason"),
    [
        (
            "TimeDistributed",
            {"layer": {"class_name": "Lambda", "config": {"name": "inner"}}},
            "its layer 'inner' (Lambda) cannot: it holds code",
        ),
        ("Bidirectional", {"layer": {"class_name": "Mine", "config": {}}}, "'Mine' is not part"),
        ("RNN", {"cell": {"class_name": "MyCell", "config": {}}}, "'MyCell' is not part"),
        ("RNN", {"cell": "Lambda"}, "name of a layer without arguments"),
        (
            "RNN",
            {
                "cell": {
                    "class_name": "StackedRNNCells",
                    "config": {
                        "cells": [{"class_name": "GRUCell", "config": {"activation": "evil"}}]
                    },
                }
            },
            "its activation 'evil' is not part",
        ),
        ("LSTM", {"recurrent_activation": "evil"}, "its recurrent_activation 'evil' is not"),
        ("LSTM", {"activation": FUNCTION}, "its activation 'evil' is not part of Keras"),
        ("LSTM", {"activation": CODE}, "its activation 'lambda' is code"),
        ("Dense", {"dtype": {"class_name": "MyPolicy", "config": {}}}, "its dtype 'MyPolicy'"),
        ("Dense", {"odd": {"class_name": "Popen", "config": {}}}, "its odd 'Popen' is not part"),
        ("Dense", {"odd": [[{"a": {"class_name": "Popen"}}]]}, "its a 'Popen' is not part"),
        ("Dense", {"odd": FUNCTION}, "its odd 'evil' is not part of Keras"),
        ("Dense", {"odd": CODE}, "its odd 'lambda' is code"),
        ("Dense", {"odd": {"class_name": "__typespec__", "module": "os", "config": []}}, "part of"),
        ("Dense", {"odd": {"class_name": "TypeSpec", "type_spec": "x"}}, "not part of Keras"),
        ("Dense", {"odd": {"class_name": "CompositeTensor", "spec": 1}}, "not part of Keras"),
        ("Dense", {"activation": {"class_name": "Dense", "config": {"units": 3}}}, "is not part"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_part_that_cannot_be_rebuilt_makes_its_layer_opaque(writer, class_name, config, reason):
    if class_name == "Dense" and "activation" in config:
        class_name = "LSTM"
    entry, found = only_layer(writer, class_name, **config)
    assert entry["class_name"] == "Opaque"
    assert reason in entry["config"]["reason"]
    assert found == ["opaque_layer"]
    assert not {"Popen", "evil"} & strings_in(entry) - strings_in(entry["config"]["reason"])


@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize("class_name", ["Dense", "Conv2D", "Activation"])
@pytest.mark.parametrize(
    ("activation", "name", "why"),
    [
        ("evil", "evil", "it is not part of Keras"),
        (FUNCTION, "evil", "it is not part of Keras"),
        ({**FUNCTION, "config": "relu", "module": "mine"}, "relu", "it is not part of Keras"),
        (CODE, "lambda", "it is code"),
        ({"class_name": "Mine", "config": {}}, "Mine", "it is not part of Keras"),
        ("deserialize", "deserialize", "it is not part of Keras"),
        ("keras.ops.relu", "keras.ops.relu", "it is not part of Keras"),
    ],
    ids=["name", "function", "other module", "lambda", "class", "deserialize", "dotted"],
)
def test_an_unknown_activation_becomes_opaque_where_it_is_a_call(
    writer, class_name, activation, name, why
):
    entry, found = only_layer(writer, class_name, activation=activation)
    assert found == ["opaque_activation"]
    assert entry["class_name"] == class_name
    stand_in = entry["config"]["activation"]
    assert stand_in["class_name"] == "OpaqueActivation"
    assert stand_in["config"] == {"name": name, "reason": why}
    assert (
        stand_in.get("registered_name") == {2: None, 3: "autoinit>OpaqueActivation"}[writer.number]
    )


@pytest.mark.parametrize("writer", BOTH)
def test_the_activation_of_a_dense_layer_that_is_applied_to_each_step(writer):
    inner = {"class_name": "Dense", "config": {"name": "d", "units": 2, "activation": "evil"}}
    entry, found = only_layer(writer, "TimeDistributed", layer=inner)
    assert found == ["opaque_activation"]
    stand_in = entry["config"]["layer"]["config"]["activation"]
    assert stand_in["class_name"] == "OpaqueActivation"
    inner = {"class_name": "Activation", "config": {"name": "a", "activation": "evil"}}
    assert only_layer(writer, "TimeDistributed", layer=inner)[1] == ["opaque_layer"]


@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize("part", ["evil", FUNCTION, CODE, {"class_name": "Mine", "config": {}}])
def test_unknown_initializers_regularizers_and_constraints(writer, part):
    entry, found = only_layer(
        writer, kernel_initializer=part, kernel_regularizer=part, bias_constraint=part
    )
    assert sorted(found) == ["dropped_part", "dropped_part", "replaced_initializer"]
    assert "kernel_initializer" not in entry["config"]
    assert entry["config"]["kernel_regularizer"] is None
    assert entry["config"]["bias_constraint"] is None


@pytest.mark.parametrize("writer", BOTH)
def test_findings_of_parts_are_left_out_where_the_whole_layer_is_opaque(writer):
    entry, found = only_layer(writer, "LSTM", activation="evil", kernel_initializer="evil")
    assert (entry["class_name"], found) == ("Opaque", ["opaque_layer"])


@pytest.mark.parametrize(
    "config",
    [
        {"dtype": "int8_from_float32"},
        {"dtype": {**FLOAT32, "class_name": "QuantizedDTypePolicy"}},
        {"dtype": {**FLOAT32, "config": {"name": "float8_from_float32"}}},
        {"dtype": {**FLOAT32, "class_name": "DTypePolicyMap", "config": {"policy_map": {}}}},
        {"quantization_config": {"class_name": "Int8QuantizationConfig", "config": {}}},
    ],
)
def test_layers_with_packed_weights_are_read_as_floats(config):
    entry, found = only_layer(Keras3, **config)
    assert (entry["class_name"], found) == ("Dense", [])
    assert entry["config"].get("dtype") in (None, "float32")
    assert "quantization_config" not in entry["config"]


# Nested models


def nested(writer, *layers, **options):
    inner = writer.functional(writer.input("y"), *layers, name="inner", compile_config={"a": 1})
    return model_of(writer, called(writer, inner), **options)


@pytest.mark.parametrize("writer", BOTH)
def test_nested_models_are_checked_in_place(writer):
    result = checked(
        nested(
            writer,
            writer.layer("Dense", "dense", ["y"], activation="evil"),
            writer.layer("Lambda", "code", ["dense"]),
        )
    )
    inner = layers_of(result.config)["inner"]
    assert "compile_config" not in inner
    assert layers_of(inner)["code"]["class_name"] == "Opaque"
    assert [finding.path for finding in result.findings] == ["inner/dense", "inner/code"]


@pytest.mark.parametrize("writer", BOTH)
def test_what_a_wrapper_holds_is_replaced_with_it(writer):
    code = writer.layer("Lambda", "code", ["y"])
    inner = writer.functional(writer.input("y"), code, name="inner")
    wrapped = writer.layer("TimeDistributed", "each", ["x"], layer=inner)
    result = checked(model_of(writer, wrapped))
    (finding,) = result.findings
    assert (finding.path, finding.class_name) == ("each", "TimeDistributed")
    assert "its layer 'code' cannot: it holds code" in finding.message
    assert layers_of(result.config)["each"]["class_name"] == "Opaque"


@pytest.mark.parametrize("writer", BOTH)
def test_a_model_of_a_class_of_its_own_is_read_by_its_graph(writer):
    config = nested(writer, writer.layer("Dense", "dense", ["y"]), class_name="MyModel")
    config["config"]["layers"][1]["class_name"] = "Encoder"
    config["config"]["extra"] = CODE
    for entry in (config, config["config"]["layers"][1]):
        entry.update(
            {"module": "mine", "registered_name": "mine>Model"} if writer is Keras3 else {}
        )
    result = checked(config)
    assert result.config["class_name"] == "Functional"
    assert layers_of(result.config)["inner"]["class_name"] == "Functional"
    assert codes(result) == ["dropped_part", "dropped_part"]
    assert "extra" not in result.config["config"]


@pytest.mark.parametrize("writer", BOTH)
def test_a_layer_that_holds_layers_is_no_model(writer):
    inner = [writer.layer("Dense", "d", units=3)]
    entry, found = only_layer(writer, "Block", layers=inner)
    assert (entry["class_name"], found) == ("Opaque", ["opaque_layer"])


@pytest.mark.parametrize("writer", BOTH)
def test_an_opaque_layer_keeps_the_tensors_that_it_reads_and_nothing_else(writer):
    first, second = writer.layer("Dense", "a", ["x"]), writer.layer("Dense", "b", ["x"])
    mine = writer.layer("Mine", "mine", ["a"])
    if writer is Keras3:
        other = Keras3.layer("Dense", "_", ["b"])["inbound_nodes"][0]["args"][0]
        mine["inbound_nodes"][0]["kwargs"] = {"state": {"deep": [other]}, "code": CODE, "n": 3}
        expected = [{"args": [*mine["inbound_nodes"][0]["args"], other], "kwargs": {}}]
    else:
        mine["inbound_nodes"] = [[["a", 0, 0, {"state": {"deep": [["b", 0, 0]]}, "code": CODE}]]]
        expected = [[["a", 0, 0, {}], ["b", 0, 0, {}]]]
    result = checked(model_of(writer, first, second, mine))
    assert layers_of(result.config)["mine"]["inbound_nodes"] == expected


@pytest.mark.parametrize("writer", BOTH)
def test_code_in_the_arguments_of_a_call_makes_the_layer_opaque(writer):
    dense = writer.layer("Dense", "it", ["x"], units=2)
    if writer is Keras3:
        dense["inbound_nodes"][0]["kwargs"] = {"training": CODE}
    else:
        dense["inbound_nodes"] = [[["x", 0, 0, {"training": CODE}]]]
    result = checked(model_of(writer, dense))
    assert codes(result) == ["opaque_layer"]
    assert "__lambda__" not in strings_in(result.config)


@pytest.mark.parametrize("writer", BOTH)
def test_as_many_outputs_as_are_read(writer):
    mine = writer.layer("Mine", "mine", ["x"])
    dense = writer.layer("Dense", "dense", ["mine"])
    if writer is Keras3:
        dense["inbound_nodes"][0]["args"][0]["config"]["keras_history"][2] = 1
    else:
        dense["inbound_nodes"][0][0][2] = 1
    config = model_of(writer, mine, dense)
    assert layers_of(checked(config).config)["mine"]["config"]["outputs"] == 2
    config["config"]["output_layers"] = {"a": ["mine", 0, 3], "b": [["dense", 0, 0]]}
    assert layers_of(checked(config).config)["mine"]["config"]["outputs"] == 4
    config["config"]["output_layers"] = [["mine", 0, 10**9]]
    refused(config, "bad_configuration", "Output 1,000,000,000 of layer 'mine'")


# The operator's own


@pytest.mark.parametrize("writer", BOTH)
def test_the_operators_own_classes_and_functions_pass(writer):
    mine = writer.layer("Mine", "mine", ["x"], activation="act", kernel_initializer="evil")
    dense = writer.layer("Dense", "dense", ["mine"], activation={**FUNCTION, "config": "act"})
    config = model_of(writer, mine, dense)
    assert codes(checked(config)) == ["opaque_layer", "opaque_activation"]
    result = checked(config, custom=["Mine", "act"])
    assert codes(result) == ["replaced_initializer"]
    after = layers_of(result.config)
    assert after["mine"]["class_name"] == "Mine"
    assert after["mine"]["registered_name"] == "Mine"
    assert after["dense"]["config"]["activation"]["config"] == "act"


def test_registered_names_tell_the_operators_own():
    mine = Keras3.layer("Dense", "mine", ["x"], units=3)
    mine |= {"module": "mine.layers", "registered_name": "mine>Dense"}
    result = checked(model_of(Keras3, mine), custom=["mine>Dense"])
    after = layers_of(result.config)["mine"]
    assert (after["module"], after["registered_name"]) == (None, "mine>Dense")
    assert codes(checked(model_of(Keras3, mine), custom=["Other"])) == ["opaque_layer"]


def test_the_operators_own_model_need_not_have_a_graph():
    config = {
        "module": "mine",
        "class_name": "Net",
        "config": {"size": 3},
        "registered_name": "Net",
    }
    assert checked(config, custom=["Net"], keras=3).config["config"] == {"size": 3}
    config["config"]["part"] = {"class_name": "Popen", "config": {}}
    refused(config, "cannot_rebuild", "'Popen' is not part of Keras", custom=["Net"], keras=3)


# Refusals


@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize("class_name", ["StringLookup", "IntegerLookup", "TextVectorization"])
@pytest.mark.parametrize("argument", ["vocabulary", "idf_weights"])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_vocabulary_that_is_a_path_is_refused(writer, class_name, argument, depth):
    entry = writer.layer(class_name, "words", ["x"], **{argument: "/etc/passwd"})
    config = model_of(writer, entry)
    for _ in range(depth):
        config = model_of(writer, called(writer, config))
    message = refused(config, "file_reference", "'/etc/passwd'")
    assert "words" in message


def k3(*layers, **options):
    return Keras3.functional(*layers, **options)


DENSE = Keras3.layer("Dense", "dense", ["x"], units=3)


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        (k3(), "no_graph", "no layers"),
        (Keras3.sequential(), "no_graph", "no layers"),
        (Keras3.sequential(Keras3.input()), "no_graph", "no layers"),
        ({"class_name": "Functional", "config": {"name": "m"}}, "no_graph", "no layers"),
        ({"class_name": "Functional", "config": None}, "no_graph", "no layers"),
        ({"class_name": "Model", "config": {"layers": []}}, "no_graph", "no layers"),
        (Keras3.sequential(DENSE), "no_graph", "keras.Input"),
        ({**k3(DENSE), "class_name": "Net", "config": {"units": 3}}, "no_graph", "(Net)"),
        (DENSE, "not_a_model", "'Dense'"),
        ({**DENSE, "class_name": "Lambda"}, "no_graph", "(Lambda)"),
        (k3(Keras3.input(), "dense"), "bad_configuration", "among its layers"),
        (k3(Keras3.input(), {"config": {}, "name": "a"}), "bad_configuration", "among its layers"),
        (k3(Keras3.input(), {**DENSE, "class_name": ["Dense"]}), "bad_configuration", "layers"),
        (k3(Keras3.input(), {**DENSE, "config": 3}), "bad_configuration", "no arguments"),
        (k3(Keras3.input(), {**DENSE, "name": 3}, DENSE), "bad_configuration", "no name for"),
        (k3(Keras3.input(), {**DENSE, "name": "a\ud800"}), "bad_configuration", "no text"),
        (
            k3(
                Keras3.input(), Keras3.layer("StringLookup", "s", ["x"], vocabulary=["a", "\udfff"])
            ),
            "bad_configuration",
            "no text",
        ),
        (k3(Keras3.input(), Keras3.layer("Dense", "d", units=2**41)), "bad_configuration", "size"),
        (k3(Keras3.input(), Keras3.layer("Dense", "d", units=10**400)), "bad_configuration", "10^"),
        (k3(Keras3.input(shape=(None, 10**13))), "bad_configuration", "batch_shape"),
        (
            k3(Keras3.input(), Keras3.layer("Reshape", "d", target_shape=[1, [-(2**50)]])),
            "bad_configuration",
            "target_shape",
        ),
        (k3(Keras3.layer("InputLayer", "x", dtype=CODE)), "bad_configuration", "Input 'x'"),
    ],
)
def test_what_is_no_model_is_refused(config, code, said):
    refused(config, code, said, keras=3)


@pytest.mark.parametrize("key", ["input_layers", "output_layers"])
@pytest.mark.parametrize("value", [[], {}, [[]], {"a": []}])
def test_a_functional_model_has_inputs_and_outputs(key, value):
    config = k3(Keras3.input(), DENSE)
    config["config"][key] = value
    refused(config, "no_graph", "does not say what its input is")


@pytest.mark.parametrize("key", ["input_layers", "output_layers"])
@pytest.mark.parametrize("value", ["x", 3, None, ["x"], [["x", 0]], ["x", 0, -1], ["x", 0, 0, {}]])
def test_inputs_and_outputs_are_named_as_keras_does(key, value):
    config = k3(Keras3.input(), DENSE)
    config["config"][key] = value
    refused(config, "bad_configuration", "in no known way")


@pytest.mark.parametrize("value", [["dense", 0, 0], {"a": {"b": [["dense", 0, 0]]}}])
def test_inputs_and_outputs_may_be_nested(value):
    config = k3(Keras3.input(), DENSE)
    config["config"]["output_layers"] = value
    assert checked(config).config["config"]["output_layers"] == value


@pytest.mark.parametrize(
    "value",
    [
        {"class_name": "__numpy__", "config": {"value": [1], "dtype": "V1000000000"}},
        {"class_name": "__numpy__", "config": {"value": [1], "dtype": "object"}},
        {"class_name": "__numpy__", "config": {"value": [{"a": 1}], "dtype": "float32"}},
        {"class_name": "__tensor__", "config": {"value": 1, "dtype": ["float32"]}},
        {"class_name": "__tensor__", "config": None},
        {"class_name": "__tensor__"},
        {"class_name": "__bytes__", "config": {"value": [1]}},
        {"class_name": "__slice__", "config": {"start": 1}},
        {"class_name": ["__tensor__"], "config": {}},
        {"class_name": None, "config": {}},
        {"class_name": {"class_name": "Dense"}, "config": {}},
        {"class_name": "__keras_tensor__", "config": {"shape": [2**50], "dtype": "float32"}},
        {"class_name": "__keras_tensor__", "config": {"shape": ["a"], "dtype": "float32"}},
        {"class_name": "__keras_tensor__", "config": {"shape": [1] * 100, "dtype": "float32"}},
        {"class_name": "__keras_tensor__", "config": {"shape": [1], "dtype": "V99999999"}},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("where", ["argument", "call"])
def test_values_that_are_none_are_refused(value, where):
    entry = copy.deepcopy(DENSE)
    if where == "argument":
        entry["config"]["odd"] = [value]
    else:
        entry["inbound_nodes"][0]["kwargs"]["odd"] = value
    refused(k3(Keras3.input(), entry), "bad_configuration", "'dense' (Dense)")


@pytest.mark.parametrize(
    "value",
    [
        {"class_name": "__tuple__", "items": 3},
        {"class_name": "__tuple__"},
        {"class_name": "TensorShape", "items": "ab"},
    ],
)
def test_sequences_of_keras_2_that_are_none_are_refused(value):
    refused(model_of(Keras2, Keras2.layer("Dense", "d", odd=value)), "bad_configuration")


def test_sequences_of_keras_2_are_looked_into():
    good = {"class_name": "__tuple__", "items": [1, {"class_name": "TensorShape", "items": [None]}]}
    entry, found = only_layer(Keras2, "Dense", odd=good)
    assert (entry["config"]["odd"], found) == (good, [])
    bad = {"class_name": "__tuple__", "items": [1, {"class_name": "Popen", "config": {}}]}
    assert only_layer(Keras2, "Dense", odd=bad)[1] == ["opaque_layer"]


# Sequential models and their input


@pytest.mark.parametrize(
    ("config", "keras"),
    [
        (Keras3.sequential(Keras3.input(), DENSE), 3),
        (Keras3.sequential(DENSE, build_config={"input_shape": [None, 4]}), 3),
        (Keras2.sequential(Keras2.layer("Dense", "d", batch_input_shape=[None, 3])), 2),
        (Keras2.sequential(Keras2.sequential(Keras2.input()), Keras2.layer("Dense", "d")), 2),
        (
            {
                "class_name": "Sequential",
                "config": [
                    {"class_name": "Dense", "config": {"batch_input_shape": [None, 3], "units": 2}}
                ],
            },
            2,
        ),
    ],
)
def test_a_sequential_model_says_what_its_input_is_in_one_of_many_ways(config, keras):
    result = checked(config, keras=keras)
    assert result.findings == ()
    if "build_config" in config:
        assert result.config["config"]["build_input_shape"] == [None, 4]


def test_stand_ins_in_a_sequential_model():
    result = checked(
        Keras3.sequential(
            Keras3.input(),
            Keras3.layer("Lambda", "code"),
            Keras3.layer("Dense", "dense", units=2, shape=(None, 9)),
        )
    )
    opaque = result.config["config"]["layers"][1]
    assert opaque["config"]["evidence"] == {"declared": [9]}
    assert "inbound_nodes" not in opaque


# Budgets


def test_layers_are_counted_at_every_depth():
    inner = k3(Keras3.input("y"), Keras3.layer("Dense", "a", ["y"]), name="inner")
    wrapped = Keras3.layer("TimeDistributed", "each", ["x"], layer=inner)
    config = k3(Keras3.input(), wrapped, called(Keras3, inner))
    tight = dataclasses.replace(Budgets(), layers=7)
    assert checked(config, budgets=tight)
    tight = dataclasses.replace(Budgets(), layers=6)
    refused(config, "over_budget", "7 layers, and the limit is 6 layers", budgets=tight)


@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_model_doubled_thirty_times_is_refused_at_once(writer, wrapped):
    model = writer.functional(writer.input("x"), writer.layer("Dense", "d", ["x"]), name="m")
    for _ in range(30):
        if wrapped:
            model = writer.layer("TimeDistributed", "each", layer=model)
        model = writer.functional(writer.input("x"), called(writer, model, "x", "x"), name="m")
    start = time.process_time()
    refused(model, "over_budget", "AUTOINIT_MAX_CALLS")
    assert time.process_time() - start < 1


def test_depth_is_no_matter():
    model = k3(Keras3.input("x"), Keras3.layer("Lambda", "d", ["x"]), name="m")
    for _ in range(90):
        model = k3(Keras3.input("x"), called(Keras3, model), name="m")
    result = checked(model)
    assert [finding.path for finding in result.findings] == ["m/" * 90 + "d"]


def test_findings_take_no_more_room_than_the_file():
    """Each of many layers has the name of the model that it is in, which may be long."""
    inner = k3(
        Keras3.input("x"), *[Keras3.layer("Lambda", str(i), ["x"]) for i in range(500)], name="m"
    )
    model = k3(Keras3.input("x"), called(Keras3, {**inner, "name": "m" * 900_000}))
    findings = checked(model).findings
    assert len(findings) == 500
    assert max(len(finding.path) for finding in findings) <= 1000


def test_long_and_strange_names_are_let_through_and_shown_short():
    name = "<b>\u202e\x00**" + "n" * 100_000
    code = Keras3.layer("Lambda", name, ["x"])
    (finding,) = checked(k3(Keras3.input(), code)).findings
    assert finding.path.startswith("<b>\u202e\x00**nnn")
    assert len(finding.path) == 200
    assert len(finding.message) < 400
    assert finding.message.isprintable()
    tight = dataclasses.replace(Budgets(), name_length=1000)
    refused(k3(Keras3.input(), code), "over_budget", "characters", budgets=tight)


@pytest.mark.parametrize(
    ("writer", "name", "allowed"),
    [
        (Keras3, "a b:ü\u202e\x00<>", True),
        (Keras3, "a/b", False),
        (Keras2, "conv1/conv", True),
        (Keras2, "tf.math.add_1", True),
        (Keras2, "a b", False),
        (Keras2, "<b>", False),
        (Keras2, "_a", False),
    ],
)
def test_names_that_keras_takes(writer, name, allowed):
    config = model_of(writer, writer.layer("Dense", name, ["x"], units=1))
    if allowed:
        assert checked(config).findings == ()
    else:
        refused(config, "bad_configuration", "has a name that Keras takes from nobody")
    given = writer.functional(writer.input(name), writer.layer("Dense", "a", [name], units=1))
    if writer is Keras2:
        assert checked(given).findings == ()


# The order of a graph


@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize("depth", [0, 2])
def test_layers_that_read_what_is_not_there_or_their_own_results(writer, depth):
    def wrapped(config):
        for _ in range(depth):
            config = writer.functional(writer.input(), called(writer, config))
        return config

    missing = model_of(writer, writer.layer("Dense", "a", ["nowhere"]))
    refused(
        wrapped(missing), "bad_configuration", "reads call 1 of layer 'nowhere', which there is not"
    )
    itself = model_of(writer, writer.layer("Dense", "a", ["a"]))
    refused(wrapped(itself), "bad_configuration", "in a circle at layer 'a'")
    ring = [writer.layer("Dense", name, [read]) for name, read in ("ab", "bc", "ca")]
    refused(wrapped(model_of(writer, *ring)), "bad_configuration", "in a circle")


@pytest.mark.parametrize("writer", BOTH)
def test_calls_that_are_not_there(writer):
    dense = writer.layer("Dense", "a", ["x"])
    refused(model_of(writer, {**dense, "inbound_nodes": None}), "bad_configuration", "no calls of")
    unread = {**dense, "inbound_nodes": []}
    refused(model_of(writer, unread), "bad_configuration", "reads call 1 of layer 'a'")
    for output in (["nowhere", 0, 0], ["a", 7, 0], ["x", 1, 0]):
        refused(model_of(writer, dense, outputs=[output]), "bad_configuration", "call")
    # A layer that nobody reads need not be called.
    assert checked(model_of(writer, dense, unread | {"name": "b"}, outputs=[["a", 0, 0]]))


def test_keras_2_may_have_constants_among_what_a_call_reads():
    dense = Keras2.layer("Dense", "a", ["x"])
    dense["inbound_nodes"] = [[["x", 0, 0, {"y": ["_", 0, 0]}], ["_CONSTANT_VALUE", -1, 3.0, {}]]]
    assert checked(model_of(Keras2, dense)).findings == ()


@pytest.mark.parametrize("writer", BOTH)
def test_shared_layers_and_models_may_read_their_own_earlier_results(writer):
    dense = writer.layer("Dense", "a", ["x", "a"])
    inner = {**model_of(writer, writer.layer("Dense", "b", ["x"])), "name": "inner"}
    inner = called(writer, inner, "a", "inner")
    if writer is Keras2:
        # A nested model's making counts as its first call.
        inner["inbound_nodes"][1][0][1] = 1
    last = writer.layer("Dense", "last", ["inner"])
    assert checked(model_of(writer, last, inner, dense)).findings == ()


@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize("argument", ["units", "filters"])
@pytest.mark.parametrize("count", [0, -1, 2.5, float("nan"), float("inf"), [0]])
def test_counts_are_positive_whole_numbers(writer, argument, count):
    config = model_of(writer, writer.layer("Dense", "d", ["x"], **{argument: count}))
    refused(config, "bad_configuration", f"as its {argument}, which is no size")
    for good in (1, 64.0, None, [3, 4]):
        assert only_layer(writer, "Dense", **{argument: good})[1] == []


@pytest.mark.parametrize("writer", BOTH)
def test_shapes_have_few_axes(writer):
    config = model_of(writer, writer.layer("Reshape", "r", ["x"], target_shape=[1] * 33))
    refused(config, "bad_configuration", "33 axes in its target_shape")
    refused(writer.functional(writer.input("x", [1] * 500)), "bad_configuration", "500 axes")


def test_an_attention_of_ones_own_is_not_taken_for_that_of_keras():
    own = Keras2.layer("Attention", "it", ["x"])
    assert codes(checked(model_of(Keras2, own))) == ["opaque_layer"]
    kept = Keras2.layer("Attention", "it", ["x"], use_scale=False)
    assert codes(checked(model_of(Keras2, kept))) == []
