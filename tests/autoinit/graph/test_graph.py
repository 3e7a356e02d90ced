import sys
import threading

import keras
import numpy as np
import pytest
from keras import layers, ops

from autoinit.errors import GraphError
from autoinit.propagation import input_signals, plan, predict
from autoinit.reading import read_model
from autoinit.rules.registry import Support
from tests.autoinit.closed import Closed


def paths(model, **options):
    return [call.path for call in read_model(model, **options).calls]


def reads(graph):
    """For each call, the paths of the calls that it reads."""
    producers = graph.producers()
    return {
        call.path: [producers[value.index].path for value in call.inputs] for call in graph.calls
    }


def chain(*parts, shape=(4,)):
    return keras.Sequential([keras.Input(shape, name="data"), *parts], name="chain")


def test_sequential():
    model = chain(layers.Dense(3, name="first"), layers.ReLU(name="second"))
    graph = read_model(model)
    assert reads(graph) == {"data": [], "first": ["data"], "second": ["first"]}
    assert [value.shape for value in graph.values] == [(None, 4), (None, 3), (None, 3)]
    assert graph.outputs == graph.calls[-1].outputs
    assert [call.path for call in graph.inputs] == ["data"]


def nested_model():
    inner = chain(layers.Dense(4, name="dense"), layers.ReLU(name="relu"))
    inner.name = "inner"
    data = keras.Input((4,), name="data")
    middle = keras.Model(data, inner(layers.Dense(4, name="before")(data)), name="middle")
    outer = keras.Input((4,), name="outer")
    return keras.Model(outer, layers.Dense(2, name="head")(middle(outer)))


def test_models_nested_two_deep_are_flattened_into_paths():
    graph = read_model(nested_model())
    assert reads(graph) == {
        "outer": [],
        "middle/before": ["outer"],
        "middle/inner/dense": ["middle/before"],
        "middle/inner/relu": ["middle/inner/dense"],
        "head": ["middle/inner/relu"],
    }
    assert set(graph.scopes) == {"middle/inner", "middle"}
    assert graph.scopes["middle"] == graph.scopes["middle/inner"] == graph.calls[3].outputs


def test_estimates_name_nested_models_as_well():
    graph = read_model(nested_model())
    estimates = predict(graph, input_signals(graph)).estimates()
    assert estimates["middle"] == estimates["middle/inner"] == estimates["middle/inner/relu"]


def test_a_shared_layer_is_a_call_for_each_use():
    data = keras.Input((4,), name="data")
    dense = layers.Dense(4, name="dense")
    model = keras.Model(data, dense(dense(dense(data))))
    graph = read_model(model)
    assert [call.path for call in graph.calls] == ["data", "dense", "dense:2", "dense:3"]
    assert reads(graph)["dense:3"] == ["dense:2"]
    assert graph.layers() == [graph.calls[0].layer, dense]


def test_a_shared_layer_is_drawn_once():
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    dense = layers.Dense(4, name="dense")
    model = keras.Model([first, second], [dense(first), dense(layers.ReLU(name="relu")(second))])
    graph = read_model(model)
    result = plan(graph, input_signals(graph))
    assert [found.path for found in result.scales] == ["dense"]
    assert [(f.code, f.path) for f in result.findings] == [("shared_layer", "dense:2")]
    # The same kernel on half the second moment, or on twice: Keras tells no order of the two.
    expected = 0.5 if reads(graph)["dense:2"] == ["relu"] else 2.0
    assert result.results[-1].signals[0].variance == pytest.approx(expected, rel=1e-5)


def test_a_shared_model_is_flattened_for_each_use():
    inner = chain(layers.Dense(4, name="dense", activation="relu"))
    data = keras.Input((4,), name="data")
    model = keras.Model(data, layers.Add(name="sum")([inner(data), inner(inner(data))]))
    found = reads(read_model(model))
    assert found["chain:3/dense"] == ["chain:2/dense/relu"]
    assert sorted(found["sum"]) == ["chain/dense/relu", "chain:3/dense/relu"]


def test_several_inputs_and_outputs():
    first, second = keras.Input((4,), name="first"), keras.Input((3,), name="second")
    joined = layers.Concatenate(name="joined")([first, second])
    model = keras.Model([first, second], [layers.Dense(1, name="one")(joined), joined])
    graph = read_model(model)
    assert [call.path for call in graph.inputs] == ["first", "second"]
    assert [value.shape for value in graph.outputs] == [(None, 1), (None, 7)]


def test_inputs_in_a_dictionary():
    inputs = {"b": keras.Input((4,), name="b"), "a": keras.Input((3,), name="a")}
    outputs = {"y": layers.Dense(2, name="y")(inputs["a"]), "x": layers.ReLU(name="x")(inputs["b"])}
    found = reads(read_model(keras.Model(inputs, outputs)))
    assert (found["x"], found["y"]) == (["b"], ["a"])


def test_a_nested_model_with_inputs_in_a_dictionary_gets_each_its_own():
    inputs = {"b": keras.Input((4,), name="b"), "a": keras.Input((3,), name="a")}
    inner = keras.Model(
        inputs, layers.Concatenate(name="joined")([inputs["a"], inputs["b"]]), name="inner"
    )
    narrow, wide = keras.Input((3,), name="narrow"), keras.Input((4,), name="wide")
    graph = read_model(keras.Model([narrow, wide], inner({"a": narrow, "b": wide})))
    assert reads(graph)["inner/joined"] == ["narrow", "wide"]


@keras.saving.register_keras_serializable("test_graph")
class Trained(keras.Model):
    def train_step(self, data):
        return {"loss": 0.0}


def test_a_functional_subclass_with_its_own_training_step_has_a_graph():
    data = keras.Input((4,), name="data")
    assert paths(Trained(data, layers.Dense(2, name="dense")(data))) == ["data", "dense"]


def test_operations_are_calls_of_their_own():
    data = keras.Input((4,), name="data")
    model = keras.Model(data, ops.tanh(data * 2.0) + data)
    graph = read_model(model)
    assert [call.class_name for call in graph.calls] == ["InputLayer", "Multiply", "Tanh", "Add"]
    doubled = graph.calls[1].run([np.ones((1, 4), np.float32)], training=False)[0]
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(doubled), np.full((1, 4), 2.0))


def test_an_operation_reads_a_tensor_twice():
    data = keras.Input((4,), name="data")
    call = read_model(keras.Model(data, data * data)).calls[-1]
    assert call.inputs == (call.inputs[0],) * 2
    squared = call.run([np.full((1, 4), 3.0, np.float32)] * 2, training=False)[0]
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(squared), np.full((1, 4), 9.0))


def test_unknown_sizes_are_assumed_and_named():
    data = keras.Input((None, 8), name="data")
    model = keras.Model(data, layers.GlobalAveragePooling1D()(layers.Conv1D(4, 3)(data)))
    graph = read_model(model, unknown_size=10)
    assert [value.shape for value in graph.values] == [(None, 10, 8), (None, 8, 4), (None, 4)]
    assert graph.assumed == {"data": (None, 10, 8)}
    assert read_model(chain(layers.ReLU())).assumed == {}


class WithoutQuery(keras.Layer):
    """Declares two outputs, and leaves the second one out."""

    def call(self, content, other):
        return content + other[..., None], None

    def compute_output_shape(self, content_shape, other_shape):
        return content_shape, content_shape


def test_an_output_that_a_layer_declares_may_be_none():
    x, y = keras.Input((None, 3)), keras.Input((None,))
    model = keras.Model([x, y], layers.Dense(2)(WithoutQuery()(x, y)[0]))
    graph = read_model(model, unknown_size=4)
    assert graph.calls[-1].outputs[0].shape == (None, 4, 2)


def test_sizes_that_a_layer_leaves_open_are_worked_out():
    heads = layers.EinsumDense("abc,cde->abde", (None, 3, 4))
    graph = read_model(chain(heads, layers.Flatten(), shape=(5, 12)))
    assert [value.shape[1:] for value in graph.values] == [(5, 12), (5, 3, 4), (60,)]
    assert not graph.assumed


def test_a_size_that_does_not_fit_is_an_error_that_says_so():
    data = keras.Input((None, 8), name="data")
    model = keras.Model(data, layers.Conv1D(4, 7, name="conv")(data))
    with pytest.raises(GraphError, match=r"'conv' \(Conv1D\).*\(None, 4, 8\).*now 4"):
        read_model(model, unknown_size=4)


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (layers.Dense(3, name="d", activation="relu"), ["d", "d/relu"]),
        (layers.Dense(3, name="d", activation=layers.LeakyReLU(name="leaky")), ["d", "d/leaky"]),
        (layers.Dense(3, name="d", activation=keras.activations.gelu), ["d", "d/gelu"]),
        (layers.Dense(3, name="d"), ["d"]),
        (layers.Dense(3, name="d", activation="linear"), ["d"]),
        (layers.EinsumDense("ab,bc->ac", 3, name="d", activation="tanh"), ["d", "d/tanh"]),
        (layers.Activation("relu", name="d"), ["d"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_fused_activations_are_split(layer, names):
    assert paths(chain(layer)) == ["data", *names]


class Documented(layers.Dense):
    """Only a name of its own."""


class Overriding(layers.Dense):
    def call(self, inputs):
        return super().call(inputs) if float(keras.ops.max(inputs)) < 9 else inputs


def test_a_subclass_that_overrides_call_has_no_rule(caplog):
    graph = read_model(chain(Overriding(3, name="dense", activation="relu")))
    assert [call.path for call in graph.calls] == ["data", "dense"]  # it might not end with it
    assert graph.calls[-1].untraceable.startswith("values are asked for")  # no word of Python's
    outcome = predict(graph, input_signals(graph)).results[-1]
    assert outcome.support is Support.PASS_THROUGH
    assert "No LayerOutputDistributionEstimator found for layer Overriding." in caplog.text


def test_a_subclass_that_does_not_keeps_its_parents_rule():
    graph = read_model(chain(Documented(3, name="dense", activation="relu")))
    assert [call.path for call in graph.calls] == ["data", "dense", "dense/relu"]
    result = plan(graph, input_signals(graph))
    assert [outcome.support for outcome in result.results[1:]] == [Support.EXACT] * 2
    assert result.results[1].weighted


def test_calls_after_one_without_a_rule_are_tainted(caplog):
    data = keras.Input((4,), name="data")
    unknown = Closed(name="unknown")(data)
    clean = layers.ReLU(name="clean")(data)
    model = keras.Model(data, layers.Add(name="sum")([unknown, clean]))
    graph = read_model(model)
    result = predict(graph, input_signals(graph))
    tainted = {
        call.path: outcome.tainted
        for call, outcome in zip(graph.calls, result.results, strict=True)
    }
    assert tainted == {"data": False, "unknown": False, "clean": False, "sum": True}
    assert caplog.text.count("No LayerOutputDistributionEstimator") == 1


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3, name="dense")

    def call(self, inputs):
        return self.dense(inputs)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Subclassed(name="mine"), r"'mine' \(Subclassed\) has no weights.*Call it once on data"),
        (keras.Sequential([layers.Dense(3)], name="mine"), r"'mine' is not built.*keras\.Input\("),
        (layers.Dense(3), r"A Keras model is needed.*Dense"),
        ("model.keras", r"A Keras model is needed.*'model\.keras' of type str"),
    ],
)
def test_what_has_no_graph_is_refused_with_what_to_do(model, message):
    with pytest.raises(GraphError, match=message):
        read_model(model)


def test_a_subclassed_model_inside_another_is_opened():
    graph = read_model(chain(Subclassed(name="inner"), layers.ReLU(name="relu")))
    assert [call.path for call in graph.calls] == ["data", "inner/dense", "relu"]
    outcomes = plan(graph, input_signals(graph)).results
    assert outcomes[1].weighted


def test_order_is_topological():
    data = keras.Input((4,), name="data")
    # The long way round is built last and joined first.
    short = layers.ReLU(name="short")(data)
    long = data
    for index in range(5):
        long = layers.Dense(4, name=f"long{index}")(long)
    model = keras.Model(data, layers.Add(name="sum")([long, short]))
    written = set()
    for call in read_model(model).calls:
        assert {value.index for value in call.inputs} <= written
        written |= {value.index for value in call.outputs}


def test_vocabulary():
    words = keras.Input((6,), dtype="int32", name="words")
    kinds = keras.Input((2, 3), dtype="uint8", name="kinds")
    unused = keras.Input((6,), dtype="int32", name="unused")
    table = layers.Embedding(50, 4)
    model = keras.Model(
        [words, kinds, unused],
        [
            table(words),
            layers.Embedding(9, 4)(words),  # the smaller of two tables counts
            layers.Embedding(7, 4)(layers.Flatten()(kinds)),  # through layers that move entries
            layers.Rescaling(0.1)(unused),
        ],
    )
    graph = read_model(model)
    by_name = {call.path: call.outputs[0].index for call in graph.inputs}
    assert graph.vocabulary() == {by_name["words"]: 9, by_name["kinds"]: 7}
    signals = input_signals(graph)
    # Uniform over 0 … n − 1: mean (n − 1)/2, variance (n² − 1)/12.
    words = signals[by_name["words"]]
    assert (words.mean, words.variance) == pytest.approx((4.0, 80 / 12))


def test_a_call_computes_what_its_layer_does():
    model = chain(
        layers.Conv2D(3, 3, activation="relu", name="conv", bias_initializer="ones"),
        layers.BatchNormalization(name="norm"),
        layers.TimeDistributed(layers.Dense(2, activation="tanh"), name="steps"),
        layers.Flatten(),
        shape=(6, 6, 2),
    )
    data = np.random.default_rng(0).standard_normal((5, 6, 6, 2)).astype(np.float32)
    for training in (True, False):
        values = {}
        graph = read_model(model)
        for call in graph.calls:
            inputs = [values[value.index] for value in call.inputs]
            outputs = [data] if call.is_input else call.run(inputs, training)
            values.update({v.index: t for v, t in zip(call.outputs, outputs, strict=True)})
            assert [tuple(t.shape[1:]) for t in outputs] == [v.shape[1:] for v in call.outputs]
        (output,) = graph.outputs
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(values[output.index]),
            keras.ops.convert_to_numpy(model(data, training=training)),
            rtol=1e-5,
            atol=1e-6,
        )


def test_parts_of_a_fused_layer_add_up_and_leave_it_as_it_was():
    layer = layers.Dense(3, activation="relu", bias_initializer="ones")
    _, linear, relu = read_model(chain(layer)).calls
    data = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    (before,) = linear.run([data], training=True)
    (after,) = relu.run([before], training=True)
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(keras.ops.convert_to_numpy(before), data @ kernel + bias, rtol=1e-5)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(after), layer(data), rtol=1e-6)
    assert layer.activation is keras.activations.relu


def test_an_error_inside_a_call_leaves_the_activation_in_place():
    layer = layers.Dense(3, activation=layers.LeakyReLU(name="leaky"))
    activation = layer.activation
    linear = read_model(chain(layer)).calls[1]
    with pytest.raises(Exception, match="incompatible"):
        linear.run([np.zeros((5, 99), np.float32)], training=True)
    assert layer.activation is activation


def test_a_call_that_was_recorded_in_one_mode_runs_in_the_models():
    data = keras.Input((400,), name="data")
    model = keras.Model(data, layers.Dropout(0.5)(data, training=False))
    call = read_model(model).calls[-1]
    ones = np.ones((1, 400), np.float32)
    (output,) = call.run([ones], training=True)
    expected = keras.ops.convert_to_numpy(model(ones, training=True))
    assert 0 < (expected == 0).sum() < 400  # the model's mode wins in Keras too
    assert 0 < (keras.ops.convert_to_numpy(output) == 0).sum() < 400


def test_masks_pass_through_fused_activations():
    words = keras.Input((3,), dtype="int32", name="words")
    embedded = layers.Embedding(5, 4, mask_zero=True)(words)
    hidden = layers.Dense(4, activation="relu")(embedded)
    model = keras.Model(words, layers.LSTM(2)(hidden))
    data = np.array([[1, 2, 0], [3, 0, 0]], np.int32)
    graph = read_model(model)
    values = {graph.calls[0].outputs[0].index: ops.convert_to_tensor(data)}
    for call in graph.calls[1:]:
        outputs = call.run([values[value.index] for value in call.inputs], training=False)
        values.update({v.index: t for v, t in zip(call.outputs, outputs, strict=True)})
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(values[graph.outputs[0].index]),
        keras.ops.convert_to_numpy(model(data)),
        rtol=1e-5,
    )


@pytest.mark.slow
def test_more_calls_in_a_chain_than_python_recurses():
    made = []

    def build():
        # Keras recurses on depth while it builds.
        data = tensor = keras.Input((4,), name="data")
        layer = layers.ReLU(name="relu")
        for _ in range(1500):
            tensor = layer(tensor)
        made.append(keras.Model(data, tensor))

    limit, size = sys.getrecursionlimit(), threading.stack_size(256 * 2**20)
    sys.setrecursionlimit(10**6)
    try:
        thread = threading.Thread(target=build)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(limit)
    graph = read_model(made[0])  # in an ordinary thread, with the ordinary limit
    assert len(graph.calls) == 1501
    assert graph.calls[-1].path == "relu:1500"
    # Of what a ReLU leaves, another one leaves as good as all.
    assert predict(graph, input_signals(graph)).results[-1].signals[0].finite


def test_long_names_are_shortened_in_their_middle_and_stay_apart():
    data = keras.Input((4,), name="data")
    first, second = (layers.ReLU(name="x" * 200_000 + end + "y" * 300) for end in "ab")
    model = keras.Model(data, second(first(data)))
    one, two = paths(model)[1:]
    assert one == "x" * 66 + "…" + "y" * 133
    assert two == one + ":2"
    assert read_model(model).calls[1].layer_name == one


def test_paths_through_many_models_are_shortened_as_a_whole():
    tensor = data = keras.Input((4,), name="data")
    tensor = layers.ReLU(name="innermost")(tensor)
    for level in range(12):
        model = keras.Model(data, tensor, name=f"level{level}" + "n" * 120)
        data = keras.Input((4,), name="data")
        tensor = model(data)
    graph = read_model(keras.Model(data, tensor))
    path = graph.calls[-1].path
    assert len(path) == 1000
    assert path.startswith("level11nn")
    assert path.endswith("/innermost")
    assert max(map(len, graph.scopes)) <= 1000
    assert len(graph.scopes) == 12


def test_no_two_calls_share_a_path():
    data = keras.Input((4,), name="data")
    shared, odd = layers.ReLU(name="relu"), layers.ReLU(name="relu:2")
    graph = read_model(keras.Model(data, shared(odd(shared(odd(data))))))
    found = [call.path for call in graph.calls]
    assert found == ["data", "relu:2", "relu", "relu:2:2", "relu:3"]


def test_estimates_go_by_the_layer_whatever_its_activation_is_called():
    def slashed(x):
        return ops.relu(x)

    slashed.__name__ = "a/b"
    graph = read_model(chain(layers.Dense(3, name="dense", activation=slashed)))
    assert graph.calls[-1].path == "dense/a/b"
    estimates = plan(graph, input_signals(graph)).estimates()
    assert set(estimates) == {"data", "dense"}
    assert estimates["dense"][1] < 0.5
