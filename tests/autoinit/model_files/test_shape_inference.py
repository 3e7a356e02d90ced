"""What a configuration and stored weights say of a layer's output shape."""

import pytest

from autoinit.model_files.budgets import Budgets
from autoinit.model_files.check.checking import check
from autoinit.model_files.check.connections import Connections
from autoinit.model_files.check.shape_inference import ModelScope, evidence_of
from tests.autoinit.model_files.configurations import BOTH, Keras2, Keras3, called, record_of


def evidence(config, stored=None, path=("it",)):
    """The evidence in the stand-in that the layer at a path becomes."""
    checked = check(record_of(config), Budgets(), stored_shapes=stored or {}).config
    for name in path:
        layers = checked["config"]["layers"] if "layers" in checked["config"] else checked["config"]
        (checked,) = (entry for entry in layers if entry["config"]["name"] == name)
    assert checked["class_name"] == "Opaque"
    return checked["config"]["evidence"]


def chain(*layers, shape=(None, 4, 4, 2)):
    """A Keras 2 model in which each layer reads the one before it."""
    names = ["x", *(layer["config"]["name"] for layer in layers)]
    for name, layer in zip(names, layers, strict=False):
        layer["inbound_nodes"] = [[[name, 0, 0, {}]]]
    return Keras2.functional(Keras2.input("x", shape), *layers)


def it(writer=Keras2, class_name="Mine", reads=("x",), **config):
    return writer.layer(class_name, "it", reads, **config)


def layer(class_name, name="next", **config):
    return Keras2.layer(class_name, name, **config)


# Declared


@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ({"output_shape": [7]}, [7]),
        ({"output_shape": [None, 3]}, [None, 3]),
        ({"output_shape": [7], "output_shape_type": "raw"}, [7]),
        ({"output_shape": {"class_name": "__tuple__", "items": [2, 3]}}, [2, 3]),
        ({"output_shape": [7], "output_shape_type": "lambda"}, None),
        ({"output_shape": ["4wEAAAA=", None, None], "output_shape_type": "lambda"}, None),
        ({"output_shape": "my_function", "output_shape_type": "function"}, None),
        ({"output_shape": {"class_name": "__lambda__", "config": {}}}, None),
        ({"output_shape": None}, None),
        ({"output_shape": [[2], [3]]}, None),
        ({"output_shape": [-1]}, None),
        ({"output_shape": [2**41]}, None),
        ({"output_shape": [1] * 30}, None),
        ({"output_shape": [True]}, None),
        ({}, None),
    ],
)
def test_what_a_lambda_declares(writer, config, sizes):
    found = evidence(writer.functional(writer.input(), it(writer, "Lambda", **config)))
    assert found == ({} if sizes is None else {"declared": sizes})


def test_keras_3_records_what_each_call_reads():
    model = Keras3.functional(
        Keras3.input(), it(Keras3), Keras3.layer("Dense", "next", ["it"], shape=(None, 5, 6))
    )
    assert evidence(model) == {"declared": [5, 6]}


def test_keras_3_records_it_for_calls_that_read_more():
    add = Keras3.layer("Add", "next", shape=(None, 7))
    both = Keras3.layer("_", "_", ["x", "it"], shape=(None, 7))["inbound_nodes"]
    add["inbound_nodes"] = [{"args": [[node["args"][0] for node in both]], "kwargs": {}}]
    assert evidence(Keras3.functional(Keras3.input(), it(Keras3), add)) == {"declared": [7]}


def test_each_output_has_its_own():
    model = Keras3.functional(
        Keras3.input(),
        it(Keras3),
        Keras3.layer("Dense", "first", ["it"], shape=(None, 5)),
        Keras3.layer("Dense", "third", ["it"], shape=(None, 3, 2)),
    )
    third = model["config"]["layers"][-1]["inbound_nodes"][0]["args"][0]
    third["config"]["keras_history"] = ["it", 0, 2]
    expected = {"declared": [5], "others": [{}, {"declared": [3, 2]}]}
    assert evidence(model) == expected


@pytest.mark.parametrize("writer", BOTH)
def test_a_layer_records_what_it_was_built_for(writer):
    following = writer.layer("Dense", "next")
    following["build_config"] = {"input_shape": [None, 9]}
    model = writer.sequential(writer.input(), it(writer, reads=()), following)
    assert evidence(model) == {"declared": [9]}


@pytest.mark.parametrize("build", [None, 3, {"input_shape": None}, {"input_shape": [[1], [2]]}])
def test_other_records_of_building_say_nothing(build):
    following = Keras2.layer("Dense", "next")
    following["build_config"] = build
    assert evidence(Keras2.sequential(Keras2.input(), it(reads=()), following)) == {}


def test_a_nested_model_says_what_its_input_is():
    inner = Keras2.functional(Keras2.input("y", (None, 32, 32, 3)), name="inner")
    assert evidence(chain(it(), inner)) == {"declared": [32, 32, 3]}
    inner = Keras2.sequential(layer("Dense", batch_input_shape=[None, 8]), name="inner")
    assert evidence(chain(it(), inner)) == {"declared": [8]}


def test_shapes_are_looked_for_behind_layers_that_keep_them():
    between = layer("Activation", "a"), layer("TFOpLambda", "b", function="nn.relu")
    inner = Keras2.functional(Keras2.input("y", (None, 3)), name="inner")
    assert evidence(chain(it(), *between, inner)) == {"declared": [3]}
    others = (
        layer("Dense", "a"),
        layer("TFOpLambda", "a", function="tile"),
        layer("Concatenate", "a"),
    )
    for other in others:
        assert evidence(chain(it(), other, inner)) == {}


# Stored weights


def convolution(class_name, **config):
    return layer(class_name, data_format=config.pop("data_format", "channels_last"), **config)


@pytest.mark.parametrize(
    ("following", "weights", "need"),
    [
        (layer("Dense"), [(6, 3), (3,)], (6, -1, None)),
        (convolution("Conv1D"), [(3, 6, 4)], (6, -1, 3)),
        (convolution("Conv2D"), [(3, 3, 6, 4)], (6, -1, 4)),
        (convolution("Convolution2D"), [(3, 3, 6, 4)], (6, -1, 4)),
        (convolution("Conv2D", groups=2), [(3, 3, 3, 4)], (6, -1, 4)),
        (convolution("Conv2D", data_format="channels_first"), [(3, 3, 6, 4)], (6, 1, 4)),
        (convolution("Conv3D"), [(1, 1, 1, 6, 4)], (6, -1, 5)),
        (convolution("Conv2DTranspose"), [(3, 3, 4, 6)], (6, -1, 4)),
        (convolution("DepthwiseConv2D"), [(3, 3, 6, 1)], (6, -1, 4)),
        (convolution("DepthwiseConv1D"), [(3, 6, 1)], (6, -1, 3)),
        (convolution("SeparableConv2D"), [(3, 3, 6, 1), (1, 1, 6, 2)], (6, -1, 4)),
        (layer("LSTM"), [(6, 40), (10, 40), (40,)], (6, -1, 3)),
        (layer("CuDNNGRU"), [(6, 40)], (6, -1, 3)),
        (layer("SimpleRNN"), [(6, 10)], (6, -1, 3)),
        (layer("Bidirectional", layer=layer("LSTM")), [(6, 40)], (6, -1, 3)),
        (convolution("ConvLSTM2D"), [(3, 3, 6, 16)], (6, -1, 5)),
        (convolution("ConvLSTM2D", data_format="channels_first"), [(3, 3, 6, 16)], (6, 2, 5)),
        (layer("TimeDistributed", layer=layer("Dense")), [(6, 3)], (6, -1, None)),
        (layer("TimeDistributed", layer=convolution("Conv2D")), [(3, 3, 6, 4)], (6, -1, 5)),
        (
            layer("TimeDistributed", layer=convolution("Conv2D", data_format="channels_first")),
            [(3, 3, 6, 4)],
            (6, 2, 5),
        ),
        (layer("BatchNormalization", axis=-1), [(6,)], (6, -1, None)),
        (layer("BatchNormalization", axis=[3]), [(6,)], (6, -1, 4)),
        (layer("BatchNormalization", axis=1), [(6,)], (6, 1, None)),
        (layer("LayerNormalization", axis=[-1]), [(6,)], (6, -1, None)),
        (layer("LayerNormalization", axis=[1, 2]), [(6, 7)], None),
        (layer("Embedding"), [(100, 6)], None),
        (layer("Dense"), [], None),
        (layer("Dense"), [(6,)], None),
        (layer("Conv2D"), [(6, 2)], None),
    ],
    ids=lambda value: value["class_name"] if isinstance(value, dict) else None,
)
def test_what_the_weights_of_the_next_layer_need(following, weights, need):
    found = evidence(chain(it(), following), {("next",): weights})
    expected = {} if need is None else dict(zip(("size", "axis", "rank"), need, strict=True))
    assert found == expected


def test_weights_are_looked_for_behind_layers_that_keep_the_shape():
    between = [layer(name, name) for name in ("Dropout", "ReLU", "GaussianNoise", "Masking")]
    found = evidence(chain(it(), *between, layer("Dense")), {("next",): [(6, 3)]})
    assert found == {"size": 6, "axis": -1, "rank": None}


@pytest.mark.parametrize(
    ("between", "need"),
    [
        ([layer("GlobalAveragePooling2D", "a")], (6, -1, 4)),
        ([layer("GlobalMaxPooling1D", "a")], (6, -1, 3)),
        ([layer("GlobalAveragePooling2D", "a", data_format="channels_first")], (6, 1, 4)),
        ([layer("MaxPooling2D", "a"), layer("GlobalMaxPool2D", "b")], (6, -1, 4)),
        ([layer("ZeroPadding3D", "a"), layer("Dropout", "b")], (6, -1, 5)),
        ([layer("MaxPooling2D", "a"), layer("Flatten", "b")], None),
        ([layer("Reshape", "a")], None),
    ],
    ids=lambda value: "+".join(x["class_name"] for x in value) if isinstance(value, list) else None,
)
def test_channels_are_told_behind_layers_that_keep_them(between, need):
    found = evidence(chain(it(), *between, layer("Dense")), {("next",): [(6, 3)]})
    expected = {} if need is None else dict(zip(("size", "axis", "rank"), need, strict=True))
    assert found == expected


def test_what_is_flattened_is_told_to_be():
    found = evidence(chain(it(), layer("Flatten", "a"), layer("Dense")), {("next",): [(6, 3)]})
    assert found == {"size": 6, "axis": -1, "rank": 2, "flattened": True}


@pytest.mark.parametrize(
    ("following", "read"),
    [
        ([layer("Other", "b")], [[9, 5]]),
        ([layer("Dropout", "a"), layer("Other", "b")], [[9, 5]]),
        ([layer("Lambda", "a"), layer("Other", "b")], [[9, 5]]),
        ([layer("GlobalAveragePooling1D", "a"), layer("Other", "b")], []),
        ([layer("Lambda", "a"), layer("Dense", "b")], []),  # what the Lambda makes is not known
    ],
    ids=lambda value: (
        "+".join(x["class_name"] for x in value) if value and type(value[0]) is dict else None
    ),
)
def test_unknown_layers_in_a_row_have_what_their_weights_say(following, read):
    stored = {("it",): [(12, 9), (9,)], ("b",): [(9, 5)]}
    found = evidence(chain(it(), *following), stored)
    assert found == {"weights": {"own": [[12, 9], [9]], "next": read}}


def test_recorded_shapes_behind_a_pooling_tell_the_channels():
    pooling, dense = layer("GlobalAveragePooling2D", "a"), layer("Dense")
    dense["build_config"] = {"input_shape": [None, 6]}
    assert evidence(chain(it(), pooling, dense)) == {"size": 6, "axis": -1, "rank": 4}


def test_a_layer_that_reads_more_is_not_asked_what_its_weights_need():
    dense = layer("Dense")
    model = chain(it(), dense)
    dense["inbound_nodes"] = [[["it", 0, 0, {}], ["x", 0, 0, {}]]]
    assert evidence(model, {("next",): [(6, 3)]}) == {}


# Across models


def test_out_of_a_nested_model_and_into_another():
    first = Keras2.functional(Keras2.input("y"), it(reads=["y"]), name="first")
    second = Keras2.sequential(layer("Dropout", "drop"), layer("Dense"), name="second")
    model = chain(first, layer("ReLU", "relu"), second)
    # The second model's own record of its input is missing, and its layers are not entered.
    assert evidence(model, path=("first", "it")) == {}
    model = chain(first, layer("ReLU", "relu"), layer("Dense"))
    found = evidence(model, {("next",): [(6, 3)]}, ("first", "it"))
    assert found == {"size": 6, "axis": -1, "rank": None}


def test_weights_in_a_nested_model_go_by_the_outermost_and_the_innermost_name():
    inner = Keras2.functional(
        Keras2.input("z"), it(reads=["z"]), Keras2.layer("Dense", "next", ["it"]), name="inner"
    )
    middle = Keras2.functional(Keras2.input("y"), called(Keras2, inner, "y"), name="middle")
    expected = {"size": 6, "axis": -1, "rank": None}
    for stored in ({("middle", "inner", "next"): [(6, 3)]}, {("middle", "next"): [(6, 3)]}):
        assert evidence(chain(middle), stored, ("middle", "inner", "it")) == expected


def test_loops_end():
    """A crafted graph may go round in circles."""
    a, b = Keras2.layer("Dropout", "a", ["it", "b"]), Keras2.layer("Dropout", "b", ["a", "it"])
    layers = [(entry["name"], entry) for entry in (it(), a, b)]
    scope = ModelScope((), Connections(layers, [["b", 0, 0]], 2), None)
    assert evidence_of("it", scope, {}) == {}


@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize(
    "nodes", [[], [None], [[]], [3, "x"], [[[["it"]]]], [{"args": 3}], [[["it", 0, "a", {}]]]]
)
def test_calls_that_make_no_sense_say_nothing(writer, nodes):
    odd = {**writer.layer("Dense", "next"), "inbound_nodes": nodes}
    model = writer.functional(writer.input(), it(writer), odd, outputs=[["it", 0, 0]])
    assert evidence(model) == {}


def test_evidence_is_looked_for_near_by_only():
    """Thousands of stand-ins before a chain of thousands of layers would take minutes."""
    between = [layer("Dropout", f"drop{index}") for index in range(100)]
    stored = {("next",): [(6, 3)]}
    assert evidence(chain(it(), *between, layer("Dense")), stored) == {}
    assert evidence(chain(it(), *between[:30], layer("Dense")), stored)["size"] == 6
