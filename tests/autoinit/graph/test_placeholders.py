"""Stand-ins for what is not run: their shapes, and the analytic pass through and after them."""

import keras
import pytest
from keras import layers

from autoinit.errors import GraphError
from autoinit.graph.placeholders import Opaque, OpaqueActivation, inferred_shape
from autoinit.graph.shapes import largest_alive, last_uses
from autoinit.propagation import input_signals, plan, predict
from autoinit.reading import read_model
from autoinit.rules.registry import Support

SWIRL = OpaqueActivation("swirl", "it is not part of Keras")


def opaque(name="cut", original="Lambda", **options):
    return Opaque(original, "it holds code", name=name, **options)


def chain(*parts, shape=(4,)):
    return keras.Sequential([keras.Input(shape, name="data"), *parts], name="chain")


def by_path(graph, items):
    return {call.path: item for call, item in zip(graph.calls, items, strict=True)}


@pytest.mark.parametrize(
    ("given", "evidence", "shape"),
    [
        ((None, 8, 3), {}, (None, 8, 3)),
        ((None, 8, 3), {"declared": [5]}, (None, 5)),
        ((None, 8, 3), {"declared": [None, 5]}, (None, 8, 5)),
        ((None, 8, 3), {"declared": []}, (None,)),
        ((7, 8, 3), {"declared": [2, 2]}, (7, 2, 2)),
        ((None, 8, 3), {"size": 5}, (None, 8, 5)),
        ((None, 8, 3), {"size": 5, "axis": 1}, (None, 5, 3)),
        ((None, 8, 3), {"size": 24}, (None, 24)),  # a Flatten
        ((None, 8, 3), {"size": 5, "rank": 2}, (None, 5)),
        ((None, 8, 3), {"size": 5, "rank": 4}, (None, None, None, 5)),
        ((None, 8), {"size": 5}, (None, 5)),
        ((None, 8, 8), {"size": 1, "axis": -1, "rank": 4}, (None, 8, 8, 1)),
        ((None,), {"size": 5}, (None, 5)),
        # 144 = 6 · 6 · 4, read flattened; 7 is no multiple of 36.
        ((None, 6, 6, 9), {"size": 144, "rank": 2, "flattened": True}, (None, 6, 6, 4)),
        ((None, 6, 6, 9), {"size": 7, "rank": 2, "flattened": True}, (None, 7)),
        ((None, None, 9), {"size": 8, "rank": 2, "flattened": True}, (None, 8)),
        # Of its own weights: a matrix and a bias, alone; then what the next layer is made for.
        ((None, 8, 3), {"weights": {"own": [[3, 5], [5]]}}, (None, 8, 5)),
        ((None, 8, 3), {"weights": {"own": [[4, 5], [5]]}}, (None, 8, 3)),
        ((None, 8, 3), {"weights": {"own": [[3, 1]]}}, (None, 8, 3)),
        ((None, 8, 3), {"weights": {"own": [[3, 5], [5], [5]]}}, (None, 8, 3)),
        (
            (None, 8, 3),
            {"weights": {"own": [[3, 5], [3, 7]], "next": [[7, 2], [9, 7]]}},
            (None, 8, 7),
        ),
        ((None, 8, 3), {"weights": {"own": [[3, 5]], "next": [[3, 4]]}}, (None, 8, 3)),
        ((None, 8, 3), {"weights": {"own": [], "next": [[6, 2], [2]]}}, (None, 8, 6)),
        ((None, 8, 3), {"weights": {"own": [], "next": [[6, 2], [7, 2]]}}, (None, 8, 3)),
        ((None, 8, 3), {"weights": {"own": [], "next": [[8, 3]]}}, (None, 8, 3)),  # one per entry
        ((None, 8, 3), {"weights": {"own": [], "next": [[6], [6]]}}, (None, 8, 6)),
        ((None, 8, 3), {"weights": {"own": [[3, 5], [5, 5], [5], [5]]}}, (None, 8, 5)),
        ((None, 8, 3), {"weights": {"own": [[3, 5], [5, 1], [5]]}}, (None, 8, 3)),
        ((None, None), {"weights": {"own": [[3, 5]]}}, (None, None)),
        ((), {"size": 5}, (None, 5)),
    ],
)
def test_shapes_follow_the_evidence(given, evidence, shape):
    assert inferred_shape(given, evidence) == shape


def test_a_stand_in_goes_by_the_class_of_what_it_stands_for():
    graph = read_model(chain(opaque(), layers.ReLU(name="relu")))
    call = graph.calls[1]
    assert (call.class_name, call.placeholder.reason) == ("Lambda", "it holds code")
    assert graph.calls[2].placeholder is None
    assert [value.shape for value in graph.values] == [(None, 4)] * 3


def test_it_survives_serialisation():
    model = chain(opaque(evidence={"declared": [6]}), layers.Dense(2, activation=SWIRL, name="d"))
    twin = keras.models.model_from_json(model.to_json())
    assert [call.path for call in read_model(twin).calls] == ["data", "cut", "d", "d/swirl"]
    assert twin.output_shape == (None, 2)
    assert twin.get_layer("d").activation.reason == SWIRL.reason


def test_open_sizes_of_a_declared_shape_are_assumed():
    graph = read_model(chain(opaque(evidence={"declared": [None, None, 3]})), unknown_size=7)
    assert graph.calls[1].outputs[0].shape == (None, 7, 7, 3)
    (finding,) = predict(graph, input_signals(graph)).findings
    assert "in part; it is assumed to be 7×7×3" in finding.message


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"declared": [9]}, "the one that its file declares: 9."),
        ({"size": 9}, "inferred from the layers that read it: 9."),
        ({}, "assumed to be that of its input: 4."),
        ({"declared": []}, "declares: one number."),
    ],
)
def test_the_finding_says_why_and_where_the_shape_comes_from(evidence, words):
    graph = read_model(chain(opaque(evidence=evidence)))
    (finding,) = predict(graph, input_signals(graph)).findings
    assert (finding.code, finding.path, finding.class_name) == ("opaque_layer", "cut", "Lambda")
    assert finding.message.startswith("Layer 'cut' (Lambda) is not run: it holds code. ")
    assert words in finding.message


def test_the_signal_passes_through_and_what_follows_is_tainted_and_planned():
    data = keras.Input((4,), name="data")
    cut = opaque(evidence={"declared": [6]})(layers.Dense(4, name="before")(data))
    beside = layers.Dense(6, name="beside")(data)
    joined = layers.Add(name="sum")([layers.Dense(6, name="after")(cut), beside])
    graph = read_model(keras.Model(data, joined))
    result = plan(graph, input_signals(graph, variance=4.0))
    outcomes = by_path(graph, result.results)
    assert outcomes["cut"].support is Support.PASS_THROUGH
    assert outcomes["cut"].signals[0].variance == outcomes["before"].signals[0].variance
    assert {path for path, outcome in outcomes.items() if outcome.tainted} == {"after", "sum"}
    scales = {found.path: found.standard_deviation for found in result.scales}
    assert scales["after"] == pytest.approx((1 / 6) ** 0.5)
    assert scales["beside"] == pytest.approx((1 / (4 * 4)) ** 0.5)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dense(3, activation=SWIRL, name="d"),
        layers.Activation(SWIRL, name="d"),
        layers.TimeDistributed(layers.Dense(3, activation=SWIRL), name="d"),
        layers.TimeDistributed(layers.Activation(SWIRL), name="d"),
    ],
)
def test_an_opaque_activation_is_a_call_that_is_not_run(layer):
    graph = read_model(chain(layer, layers.ReLU(name="relu"), shape=(5, 4)))
    call = graph.calls[-2]
    assert call.placeholder is SWIRL
    assert call.index == len(graph.calls) - 2
    assert graph.behind_placeholders() == {call.index, call.index + 1}
    (finding,) = predict(graph, input_signals(graph)).findings
    assert (finding.code, finding.path) == ("opaque_activation", call.path)
    assert "The activation 'swirl'" in finding.message
    assert "it is not part of Keras" in finding.message


@pytest.mark.parametrize(
    "layer",
    [
        layers.TimeDistributed(opaque("held"), name="outer"),
        layers.TimeDistributed(keras.Sequential([layers.Dense(4), opaque("held")]), name="outer"),
        layers.LSTM(4, activation=SWIRL, name="outer"),
    ],
)
def test_a_layer_that_holds_one_is_not_run_as_a_whole(layer):
    graph = read_model(chain(layer, shape=(5, 4)))
    assert graph.behind_placeholders() == {1}
    (outcome,) = predict(graph, input_signals(graph)).results[1:]
    assert outcome.support is Support.PASS_THROUGH
    assert "'outer'" in outcome.findings[0].message


def test_several_outputs():
    data = keras.Input((4,), name="data")
    evidence = {"declared": [3], "others": [{"size": 5}]}
    first, second, third = opaque(outputs=3, evidence=evidence)(data)
    graph = read_model(keras.Model(data, [layers.Dense(1)(first), second, third]))
    shapes = [value.shape for value in graph.calls[1].outputs]
    assert shapes == [(None, 3), (None, 5), (None, 4)]
    assert len(predict(graph, input_signals(graph)).results[1].signals) == 3


def test_inside_nested_models_and_after_a_mask():
    words = keras.Input((5,), dtype="int32", name="words")
    inner = chain(opaque(), layers.LSTM(3, name="lstm"), shape=(5, 4))
    embedded = layers.Embedding(9, 4, mask_zero=True, name="table")(words)
    unmasked = opaque("first")(embedded)
    graph = read_model(keras.Model(words, layers.Dense(2, name="head")(inner(unmasked))))
    paths = ["words", "table", "first", "chain/cut", "chain/lstm", "head"]
    assert [call.path for call in graph.calls] == paths
    assert graph.behind_placeholders() == {2, 3, 4, 5}


def test_what_is_not_run_takes_no_memory_and_keeps_nothing_alive():
    data = keras.Input((10,), name="data")
    wide = opaque(evidence={"declared": [10**12]})(data)
    tail = layers.Activation("relu", name="tail")(layers.Activation("relu", name="head")(data))
    late = layers.Concatenate(name="late")([wide, data])
    graph = read_model(keras.Model(data, [late, tail]))
    assert largest_alive(graph, 1) == 2 * 10 * 4
    ends = by_path(graph, last_uses(graph))
    values = {call.path: call.outputs[0].index for call in graph.calls}
    assert ends["head"] == (values["data"],)
    assert set(ends["tail"]) == {values["head"], values["tail"]}
    assert (ends["cut"], ends["late"]) == ((), ())


def test_a_size_that_does_not_fit_names_the_stand_in():
    data = keras.Input((None, 3), name="data")
    cut = opaque()(data)
    model = keras.Model(data, layers.Conv1D(4, 9, name="conv")(cut))
    with pytest.raises(GraphError, match=r"'conv'.*\(None, 5, 3\).*'cut' \(Lambda\), which is not"):
        read_model(model, unknown_size=5)


def test_a_layer_that_was_built_for_another_size_refuses_this_one():
    flat = chain(layers.Flatten(), layers.Dense(2, name="dense"), shape=(4, 3))
    data = keras.Input((None, 3), name="data")
    model = keras.Model(data, flat(opaque(evidence={"declared": [None, None]})(data)))
    with pytest.raises(GraphError, match=r"'dense' \(Dense\) does not accept.*\(None, 15\)"):
        read_model(model, unknown_size=5)
