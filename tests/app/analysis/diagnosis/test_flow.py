"""Levels along paths, from figures that are made up by hand."""

import math

import keras
import pytest
from keras import layers, ops

from app.analysis.diagnosis import roles as roles_module
from app.analysis.diagnosis.measured.flow import Flow, bypassed, gate_branches, statistic_branches
from app.analysis.diagnosis.roles import Role
from autoinit.propagation import Options, input_signals, plan
from autoinit.reading import read_model
from tests.app.analysis.diagnosis.models import chain, dense


def roles_of(model):
    graph = read_model(model)
    results = plan(graph, input_signals(graph), Options()).results
    return graph, roles_module.roles_of(graph, [result.weighted for result in results])


def flow(model, squares, gradients=None, zero=()):
    """Figures by path; what is not named has 1."""
    graph, roles = roles_of(model)
    back = gradients or {}
    zeros = frozenset(call.index for call in graph.calls if call.path in zero)
    return graph, Flow(
        graph,
        roles,
        [squares.get(call.path, 1.0) for call in graph.calls],
        [back.get(call.path, 1.0) for call in graph.calls],
        zeros,
    )


def levels(graph, found):
    """Forward and backward levels of the points, by path."""
    points = found.points()
    return (
        {p.call.path: None if p.forward is None else math.exp(p.forward) for p in points},
        {p.call.path: None if p.backward is None else math.exp(p.backward) for p in points},
    )


def test_roles():
    given = keras.Input((8, 8, 3), name="given")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(given)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Multiply(name="gate")([x, layers.Activation("sigmoid", name="squash")(x)])
    x = layers.Rescaling(30.0, name="factor")(layers.Flatten(name="flat")(x))
    x = layers.Activation("tanh", name="bounded")(x)
    graph, roles = roles_of(keras.Model(given, layers.Dense(2, name="out")(x)))
    assert {call.path: str(role) for call, role in zip(graph.calls, roles, strict=True)} == {
        "given": "input",
        "conv": "kernel",
        "conv/relu": "activation",
        "norm": "normalizer",
        "pool": "pool",
        "squash": "bounded",
        "gate": "product",
        "flat": "move",
        "factor": "scale",
        "bounded": "bounded",
        "out": "kernel",
    }


def test_a_chain_that_falls_is_followed_from_its_first_kernel():
    model = chain((4,), *[dense(4, "relu", name=f"d{n}") for n in range(3)], dense(2, name="out"))
    squares = {
        "d0": 0.1,
        "d0/relu": 0.05,
        "d1": 0.005,
        "d1/relu": 0.0025,
        "d2": 2.5e-4,
        "d2/relu": 1.25e-4,
        "out": 1e-4,
    }
    graph, found = flow(model, squares)
    forward, _ = levels(graph, found)
    assert forward == pytest.approx({"d0": 0.1, "d1": 0.005, "d2": 2.5e-4, "out": 1e-4})
    last = found.points()[-1]
    assert [graph.calls[i].path for i in last.kernels] == ["d0", "d1", "d2", "out"]


def test_a_normalization_begins_anew():
    model = chain(
        (4,),
        dense(4, name="d0"),
        layers.BatchNormalization(name="n0"),
        layers.ReLU(name="r0"),
        dense(4, name="d1"),
        layers.BatchNormalization(name="n1"),
        layers.ReLU(name="r1"),
        dense(2, name="out"),
    )
    graph, found = flow(model, {"d0": 1e-4, "r0": 0.5, "d1": 1e-3, "r1": 0.5, "out": 0.4})
    forward, _ = levels(graph, found)
    assert forward == pytest.approx({"out": 0.8 * 0.5})


def test_a_normalization_that_does_not_make_up_for_what_it_receives():
    model = chain(
        (4,),
        dense(4, name="d0"),
        layers.BatchNormalization(name="n0"),
        layers.ReLU(name="r0"),
        dense(2, name="out"),
    )
    graph, found = flow(model, {"d0": 1e-9, "n0": 1e-6, "r0": 5e-7, "out": 1e-6})
    assert levels(graph, found)[0]["out"] == pytest.approx(1e-6)


def test_pooling_changes_figures_and_no_level():
    model = chain(
        (8, 8, 3),
        layers.Conv2D(4, 3, name="conv"),
        layers.ReLU(name="relu"),
        layers.GlobalAveragePooling2D(name="pool"),
        dense(2, name="out"),
    )
    squares = {"conv": 2.0, "relu": 1.0, "pool": 0.01, "out": 0.01}
    gradients = {"out": 1.0, "pool": 1.0, "relu": 0.01, "conv": 0.005}
    forward, backward = levels(*flow(model, squares, gradients))
    assert forward == pytest.approx({"conv": 2.0, "out": 1.0})
    assert backward == pytest.approx({"conv": 0.5, "out": 1.0})


def test_a_fixed_factor_counts_with_the_kernel_before_it():
    given = keras.Input((4,), name="given")
    wave = layers.Rescaling(30.0, name="factor")(dense(8, name="wave")(given))
    sine = layers.Activation("tanh", name="bounded")(wave)
    model = keras.Model(given, dense(1, name="out")(sine))
    squares = {"wave": 1 / 900, "factor": 1.0, "bounded": 0.4, "out": 0.4}
    forward, _ = levels(*flow(model, squares))
    assert forward == pytest.approx({"factor": 1.0, "out": 0.4})


def test_preprocessing_is_where_a_stretch_begins():
    model = chain(
        (4,), layers.Rescaling(0.01, name="scale"), dense(8, name="d"), layers.ReLU(name="r")
    )
    forward, _ = levels(*flow(model, {"scale": 1e-4, "d": 1e-4, "r": 5e-5}))
    assert forward["d"] == pytest.approx(1.0)


def test_an_addition_is_compared_with_its_larger_operand():
    given = keras.Input((4,), name="given")
    x = dense(4, name="stem")(given)
    y = dense(4, name="branch")(layers.ReLU(name="r")(x))
    model = keras.Model(given, dense(2, name="out")(layers.Add(name="sum")([x, y])))
    graph, found = flow(model, {"stem": 1.0, "r": 0.5, "branch": 1e-8, "sum": 1.0, "out": 1.0})
    forward, _ = levels(graph, found)
    assert forward["out"] == pytest.approx(1.0)
    assert "branch" not in forward  # what it adds to counts


def test_what_a_gate_takes_away_counts_beside_what_it_weighs():
    # The gate's own road is longer, and carries more; what is weighed falls by 4, and back by 2.
    squares = {"x": 8.0, "conv": 8.0, "pool": 8.0, "squeeze": 1e-4, "weighed": 2.0, "out": 2.0}
    back = {"conv": 3.0, "weighed": 6.0, "flat": 6.0}
    graph, found = flow(squeezed(), squares, back)
    level = {call.path: place for place, call in enumerate(graph.calls)}
    weighed = found.forward[level["weighed"]]
    assert math.exp(weighed.log) == pytest.approx(1 / 4)
    assert [graph.calls[kernel].path for kernel in weighed.kernels] == ["conv"]
    behind, before = found.backward[level["weighed"]], found.backward[level["conv"]]
    assert behind is not None
    assert before is not None
    assert math.exp(before.log - behind.log) == pytest.approx(1 / 2)


def test_a_product_of_two_small_signals_is_smaller_than_both():
    given = keras.Input((4,), name="x")
    one, two = dense(4, "relu", name="one")(given), dense(4, "tanh", name="two")(given)
    product = layers.Multiply(name="product")([one, two])
    model = keras.Model(given, dense(2, name="out")(product))
    squares = {"one/relu": 0.5, "two/tanh": 0.25, "product": 0.05}
    graph, found = flow(model, squares, {"one/relu": 0.3, "product": 3.0})
    level = {call.path: math.exp(found.forward[call.index].log) for call in graph.calls}
    assert level["product"] == pytest.approx(0.05)  # 0.5 of it by ReLU, a tenth by the product
    back = {call.path: found.backward[call.index] for call in graph.calls}
    assert back["one/relu"] is not None
    assert math.exp(back["one/relu"].log) == pytest.approx(0.3)
    # Looked up in a table it was not made small by any kernel.
    word = keras.Input((1,), name="word")
    table = layers.Flatten(name="flat")(layers.Embedding(3, 4, name="table")(word))
    product = layers.Multiply(name="product")([one, table])
    model = keras.Model([given, word], dense(2, name="out")(product))
    graph, found = flow(model, {"one/relu": 0.5, "product": 1e-4})
    level = {call.path: math.exp(found.forward[call.index].log) for call in graph.calls}
    assert level["product"] >= 0.5


def test_what_a_highway_lets_pass_is_what_came_in():
    given = keras.Input((4,), name="x")
    x = layers.Add(name="before")([dense(4, name="stem")(given), given])
    gate = dense(4, "sigmoid", name="gate")(x)
    road = layers.Multiply(name="taken")([gate, dense(4, "relu", name="road")(x)])
    kept = layers.Multiply(name="kept")([layers.Rescaling(-1.0, 1.0, name="rest")(gate), x])
    graph, found = flow(
        keras.Model(given, dense(2, name="out")(layers.Add(name="sum")([road, kept]))),
        {"taken": 1 / 16, "kept": 1 / 4, "sum": 1 / 4},
    )
    level = {call.path: math.exp(found.forward[call.index].log) for call in graph.calls}
    assert level["taken"] == pytest.approx(1 / 16)
    assert level["kept"] == level["sum"] == pytest.approx(1.0)


def test_zero_kernels_say_nothing_of_sizes():
    model = chain((4,), dense(4, "relu", name="d"), dense(2, name="out"))
    graph, found = flow(model, {"d": 2.0, "d/relu": 1.0, "out": 0.0}, zero={"out"})
    assert levels(graph, found)[0]["out"] is None


def test_what_underflows_is_lost_for_good():
    model = chain(
        (4,), dense(4, "relu", name="d0"), dense(4, "relu", name="d1"), dense(2, name="out")
    )
    squares = {"d0": 1e-300, "d0/relu": 0.0, "d1": 0.0, "d1/relu": 0.0, "out": 0.0}
    gradients = {"out": 1.0, "d1/relu": 1e-200, "d1": 0.0, "d0/relu": 0.0, "d0": 0.0}
    forward, backward = levels(*flow(model, squares, gradients))
    assert forward["d1"] == forward["out"] == 0.0
    assert backward["d0"] == 0.0


def test_a_gradient_takes_the_path_that_changes_it_least():
    given = keras.Input((4,), name="given")
    x = dense(4, name="stem")(given)
    y = dense(4, name="branch")(layers.Activation("tanh", name="t")(x))
    model = keras.Model(given, dense(2, name="out")(layers.Add(name="sum")([x, y])))
    gradients = {"out": 1.0, "sum": 1.0, "branch": 1.0, "t": 1e-9, "stem": 1.0}
    _, backward = levels(*flow(model, {}, gradients))
    assert backward["stem"] == pytest.approx(1.0)


def test_roles_are_words_of_the_table():
    assert {str(role) for role in Role} == {role.value for role in Role}


def squeezed(gate="sigmoid"):
    """A block whose channels are weighed by what is pooled of them."""
    inputs = keras.Input((8, 8, 4), name="x")
    h = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    s = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(h)
    s = layers.Dense(2, activation="relu", name="squeeze")(s)
    s = layers.Dense(4, activation=gate, name="excite")(s)
    h = layers.Multiply(name="weighed")([h, s])
    return keras.Model(inputs, layers.Dense(2, name="out")(layers.Flatten(name="flat")(h)))


def gates_of(model):
    graph, roles = roles_of(model)
    return {call.path for call in graph.calls if call.index in gate_branches(graph, roles)}


def test_what_only_opens_a_gate_is_a_branch_of_its_own():
    branch = {"pool", "squeeze", "squeeze/relu", "excite"}
    assert gates_of(squeezed()) == branch | {"excite/sigmoid"}
    assert gates_of(squeezed("hard_sigmoid")) == branch | {"excite/hard_sigmoid"}
    assert gates_of(squeezed("tanh")) == gates_of(squeezed("linear")) == set()


def test_a_product_of_two_gates_has_none_and_a_gate_that_is_read_elsewhere_is_a_signal():
    inputs = keras.Input((4,))
    one = layers.Dense(4, activation="sigmoid", name="one")(inputs)
    two = layers.Dense(4, activation="sigmoid", name="two")(inputs)
    three = layers.Dense(4, activation="tanh", name="three")(inputs)
    assert gates_of(keras.Model(inputs, layers.Multiply()([one, two]))) == set()
    gated = layers.Multiply()([one, three])
    assert gates_of(keras.Model(inputs, gated)) == {"one", "one/sigmoid"}
    assert gates_of(keras.Model(inputs, layers.Concatenate()([gated, one]))) == set()
    assert gates_of(keras.Model(inputs, [gated, one])) == set()


def test_a_highway_weighs_both_of_its_roads_by_one_gate():
    inputs = keras.Input((4,))
    gate = layers.Dense(4, activation="sigmoid", name="gate")(inputs)
    road = layers.Dense(4, activation="relu", name="road")(inputs)
    kept = layers.Multiply()([layers.Rescaling(-1.0, 1.0, name="rest")(gate), inputs])
    model = keras.Model(inputs, layers.Add()([layers.Multiply()([gate, road]), kept]))
    assert gates_of(model) == {"gate", "gate/sigmoid", "rest"}


def steering_of(model):
    graph, roles = roles_of(model)
    found = gate_branches(graph, roles, steering=True)
    return {call.path for call in graph.calls if call.index in found}


def test_queries_and_keys_steer_and_values_are_the_signal():
    given = keras.Input((6, 4))
    attention = layers.MultiHeadAttention(2, 3, name="attend")
    steering = steering_of(keras.Model(given, attention(given, given)))
    assert {"attend/query", "attend/key"} <= steering
    assert not any(path.endswith(("value", "output")) for path in steering)
    query, key, value = (layers.Dense(4, name=name)(given) for name in ("query", "key", "value"))
    weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))) / 2.0)
    model = keras.Model(given, ops.matmul(weights, value))
    assert {"query", "key"} <= steering_of(model)
    assert "value" not in steering_of(model)
    assert gates_of(model) == set()


def test_what_a_signal_is_divided_by_is_no_signal_and_its_level_is_that_of_the_numerator():
    given = keras.Input((4,), name="given")
    h = layers.Dense(4, name="one")(given)
    size = layers.Dense(1, activation="relu", name="size")(given)
    model = keras.Model(given, layers.Dense(2, name="out")(ops.divide(h, size)))
    assert steering_of(model) == {"size", "size/relu"}
    graph, found = flow(model, {"one": 1e-4, "size": 100.0, "size/relu": 100.0, "divide": 1e-6})
    (quotient,) = (call for call in graph.calls if call.class_name == "Divide")
    assert found.forward[quotient.index].kernels == (1,)


def rms_norm(x):
    return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-6)


def layer_norm(x):
    mean = ops.mean(x, axis=-1, keepdims=True)
    return (x - mean) / ops.sqrt(ops.mean(ops.square(x - mean), axis=-1, keepdims=True) + 1e-3)


def rms_norm_by_powers(x):
    return x * ops.power(ops.mean(ops.power(x, 2), axis=-1, keepdims=True) + 1e-6, -0.5)


@pytest.mark.parametrize("normalized", [rms_norm, rms_norm_by_powers, layer_norm])
def test_a_normalization_that_is_written_out_is_one(normalized):
    given = keras.Input((4,), name="given")
    h = layers.Dense(4, name="one")(given)
    model = keras.Model(given, layers.Dense(2, name="out")(normalized(h)))
    graph, roles = roles_of(model)
    last = roles.index(Role.NORMALIZER)
    assert graph.calls[last].class_name in ("Multiply", "TrueDivide")
    aside = statistic_branches(graph, roles)
    statistic = {"subtract", "square", "mean", "add", "rsqrt", "sqrt", "power"}
    told = {graph.calls[index].class_name.lower() for index in aside}
    assert "add" in told
    assert told & {"square", "power"}
    assert told <= statistic
    # A signal of 1e-4, whose square's mean is 1e-8: neither vanishes.
    sizes = {"one": 1e-4, "square": 1e-8, "mean": 1e-8, "add": 1e-8, "rsqrt": 1e4, "sqrt": 1e-4}
    graph, found = flow(model, sizes)
    assert found.forward[last].log == 0.0
    assert {point.call.path for point in found.points(aside)} <= {"out", "one"}


class OwnScale(layers.Layer):
    """A learned factor for each channel, in another form and precision."""

    def __init__(self, trainable=True):
        super().__init__(name="opens", trainable=trainable)

    def build(self, shape):
        start = keras.initializers.Constant(1e-6)
        self.gamma = self.add_weight(shape=(shape[-1],), initializer=start, name="gamma")

    def call(self, x):
        return ops.multiply(x, ops.cast(ops.reshape(self.gamma, (1, 1, -1)), "float32"))


@pytest.mark.parametrize("trainable", [True, False])
def test_a_learned_factor_opens_by_itself(trainable):
    given = keras.Input((3, 8), name="given")
    branch = layers.Dense(8, name="second")(layers.Dense(16, "relu", name="first")(given))
    model = keras.Model(given, layers.add([given, OwnScale(trainable)(branch)]))
    sizes = {"opens/multiply": 1e-12}
    gradients = dict.fromkeys(("first", "first/relu", "second"), 1e-12)
    _, found = flow(model, sizes, gradients)
    lost = min(point.backward or 0.0 for point in found.points())
    assert lost == pytest.approx(0.0 if trainable else math.log(1e-12))


@pytest.mark.parametrize(
    ("beside", "of_this", "aside"),
    [
        (1.0, True, True),
        (5e-3, True, False),  # the branch is what counts
        (1.0, False, False),  # nothing of this input passes by
    ],
)
def test_a_branch_beside_which_more_passes_by(beside, of_this, aside):
    given, other = keras.Input((8,), name="given"), keras.Input((8,), name="other")
    h = layers.Dense(8, "relu", name="first")(given)
    h = layers.Dense(8, name="second")(h)
    round_it = layers.Identity(name="round")(given if of_this else other)
    model = keras.Model([given, other], layers.Dense(2, name="out")(layers.add([round_it, h])))
    graph, roles = roles_of(model)
    squares = {"round": beside, "first": 1e-3, "second": 1e-3}
    sizes = [squares.get(call.path, 1.0) for call in graph.calls]
    found = {graph.calls[index].path for index in bypassed(graph, roles, sizes, 10.0)}
    assert found == ({"first", "first/relu", "second"} if aside else set())


def test_a_share_of_the_same_size_is_no_normalization():
    given = keras.Input((4,), name="given")
    model = keras.Model(given, given / ops.sqrt(ops.square(given) + 1.0))
    assert Role.NORMALIZER not in roles_of(model)[1]


def test_a_head_that_is_small_alone_makes_no_gradient_vanish():
    model = chain((4,), dense(4, "tanh", name="a"), dense(4, "tanh", name="b"), dense(2, name="o"))
    small = {"o": 1.0, "b/tanh": 1e-4, "b": 1e-4, "a/tanh": 1e-4, "a": 1e-4}
    _, found = flow(model, {}, small)
    points = {point.call.path: point for point in found.points()}
    assert math.exp(points["a"].backward) == pytest.approx(1e-4)
    assert found.falls_at_head_alone(points["a"], math.log(10.0))
    _, found = flow(model, {}, small | {"a/tanh": 1e-6, "a": 1e-6})
    points = {point.call.path: point for point in found.points()}
    assert not found.falls_at_head_alone(points["a"], math.log(10.0))
    assert found.falls_at_head_alone(points["b"], math.log(10.0))
