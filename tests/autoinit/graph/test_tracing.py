"""Composite layers and subclassed models, opened into their parts."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from autoinit import AutoInit
from autoinit.errors import GraphError
from autoinit.graph.frozen import frozen_variables
from autoinit.graph.model_graph import Parameter
from autoinit.initializers.drawing import apply_plans, draw_configured_weights
from autoinit.propagation import input_signals, plan
from autoinit.reading import read_model
from probes import probe_model
from tests.autoinit.closed import Closed


class Block(layers.Layer):
    """A transformer block with a scale of its own."""

    def __init__(self, units=16, heads=2, rate=0.0, **options):
        super().__init__(**options)
        self.units, self.heads, self.rate = units, heads, rate
        self.attention = layers.MultiHeadAttention(
            heads, units // heads, dropout=rate, name="attention"
        )
        self.norm = layers.LayerNormalization(name="norm")
        self.up = layers.Dense(2 * units, activation="gelu", name="up")
        self.down = layers.Dense(units, name="down")
        self.supports_masking = True

    def build(self, shape):
        self.attention.build(shape, shape)
        self.norm.build(shape)
        self.up.build(shape)
        self.down.build((*shape[:-1], 2 * self.units))
        self.gamma = self.add_weight(shape=(self.units,), initializer="ones", name="gamma")
        super().build(shape)

    def call(self, x, training=None):
        x = x + self.attention(x, x, training=training)
        return self.gamma * (x + self.down(self.up(self.norm(x))))

    def get_config(self):
        own = {"units": self.units, "heads": self.heads, "rate": self.rate}
        return {**super().get_config(), **own}


class Projection(layers.Layer):
    """A dense layer with a table of positions, written by hand."""

    def __init__(self, units=8, **options):
        super().__init__(**options)
        self.units = units

    def build(self, shape):
        self.table = self.add_weight(
            shape=shape[1:], initializer=keras.initializers.RandomNormal(0.0, 0.02), name="table"
        )
        self.matrix = self.add_weight(
            shape=(shape[-1], self.units), initializer="glorot_uniform", name="matrix"
        )
        self.offset = self.add_weight(shape=(self.units,), initializer="zeros", name="offset")
        super().build(shape)

    def call(self, x):
        return ops.matmul(x + self.table, self.matrix) + self.offset

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def on(shape, layer, dtype="float32"):
    data = keras.Input(shape, dtype=dtype, name="data")
    return keras.Model(data, layer(data))


def paths(graph):
    return [call.path for call in graph.calls]


def outcomes_of(graph):
    result = plan(graph, input_signals(graph))
    return dict(zip(paths(graph), result.results, strict=True))


def outputs_of(graph, *inputs, training=False):
    """What the calls of a graph compute, one by one."""
    alive = {}
    for call, array in zip(graph.inputs, inputs, strict=True):
        alive[call.outputs[0].index] = ops.convert_to_tensor(array)
    for call in graph.calls:
        if not call.is_input:
            tensors = [alive[value.index] for value in call.inputs]
            results = call.run(tensors, training, len(inputs[0]))
            for value, result in zip(call.outputs, results, strict=True):
                alive[value.index] = result
                assert tuple(result.shape) == value.sizes(len(inputs[0])), call.path
    return [ops.convert_to_numpy(alive[value.index]) for value in graph.outputs]


def noise(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def test_a_block_becomes_the_calls_that_it_makes():
    graph = read_model(on((6, 16), Block(name="block")))
    assert paths(graph)[:6] == [
        "data",
        "block/gamma",
        "block/attention/query",
        "block/attention/key",
        "block/attention/value",
        "block/attention/dot_product_attention",
    ]
    found = outcomes_of(graph)
    weighted = {path for path, outcome in found.items() if outcome.weighted}
    assert weighted == {
        "block/attention/query",
        "block/attention/key",
        "block/attention/value",
        "block/attention/attention_output",
        "block/up",
        "block/down",
    }
    assert "pass_through" not in {str(outcome.support) for outcome in found.values()}


@pytest.mark.parametrize("batch", [1, 4, 11, 64])
def test_calls_of_an_opened_layer_compute_what_it_does_for_any_batch(batch):
    model = on((6, 16), keras.Sequential([Block(), Projection(), Windows()]))
    x = noise(batch, 6, 16)
    (result,) = outputs_of(read_model(model), x)
    np.testing.assert_allclose(result, model(x), rtol=1e-5, atol=1e-5)


class Windows(layers.Layer):
    """Merges halves of a sequence into the batch axis, as windowed attention does."""

    def call(self, x):
        batch, steps, units = ops.shape(x)
        halves = ops.reshape(x, (batch * 2, steps // 2, units))
        return ops.reshape(halves - ops.mean(halves, axis=1, keepdims=True), (batch, steps, units))


def test_a_mask_that_came_with_the_input_is_used():
    inner = layers.Embedding(5, 16, mask_zero=True)
    data = keras.Input((7,), dtype="int32")
    x = np.random.default_rng(0).integers(0, 5, (3, 7)).astype("int32")
    block = keras.Model(data, Block(name="block")(inner(data)))
    (result,) = outputs_of(read_model(block), x)
    np.testing.assert_allclose(result, block(x), rtol=1e-5, atol=1e-5)
    assert "block/mask" in paths(read_model(block))


def test_opening_leaves_no_trace():
    model = on((6, 16), Block())

    def state():
        return [
            (
                sorted(map(str, vars(part))),
                len(part._inbound_nodes),
                len(part._outbound_nodes),
                [id(value) for value in vars(part).values()],
                part.losses,
            )
            for part in model._flatten_layers()
        ]

    before = state()
    graph = read_model(model)
    outputs_of(graph, noise(3, 6, 16))
    assert state() == before


def test_a_matrix_of_a_layers_own_is_a_kernel_and_a_table_an_embedding():
    model = on((6, 16), Projection(64, name="own"))
    graph = read_model(model)
    result = plan(graph, input_signals(graph))
    assert [found.path for found in result.scales] == ["own/table", "own/matmul"]
    before = model.layers[-1].offset.numpy().copy()
    apply_plans(result.scales, "truncated_normal", 0)
    assert model.layers[-1].table.numpy().std() == pytest.approx(1.0, rel=0.2)
    assert probe_model(model)["own/matmul"].variance == pytest.approx(1.0, rel=0.15)
    np.testing.assert_array_equal(model.layers[-1].offset.numpy(), before)
    names = [call.layer.name for call in graph.calls if isinstance(call.layer, Parameter)]
    assert names == ["table", "matrix", "offset"]
    assert all(call.is_internal for call in graph.calls if isinstance(call.layer, Parameter))


def test_a_layers_own_weights_are_drawn_afresh_with_it():
    model = on((6, 16), Block(name="block"))
    block = model.get_layer("block")
    block.gamma.assign(np.full(16, 3.0))
    query = block.attention.query_dense.kernel.numpy().copy()
    assert draw_configured_weights(read_model(model), 0) == ()
    assert (block.gamma.numpy() == 1.0).all()
    assert (block.attention.query_dense.kernel.numpy() != query).any()


class Positions(layers.Layer):
    """Looks up 0, 1, 2, …: its embedding depends on no input."""

    def __init__(self, **options):
        super().__init__(**options)
        self.table = layers.Embedding(9, 16, name="table")

    def build(self, shape):
        self.table.build(shape)
        super().build(shape)

    def call(self, x):
        return x + self.table(ops.arange(ops.shape(x)[1]))


def test_a_table_of_positions_is_a_weighted_call():
    model = on((9, 16), Positions(name="positions"))
    graph = read_model(model)
    found = outcomes_of(graph)
    assert found["positions/table"].weighted
    assert found["positions/table"].signals[0].sample_correlation == pytest.approx(1.0)
    assert found["positions/add"].signals[0].variance == pytest.approx(2.0)
    x = noise(5, 9, 16)
    np.testing.assert_allclose(outputs_of(graph, x)[0], model(x), rtol=1e-5)
    apply_plans(plan(graph, input_signals(graph)).scales, "truncated_normal", 0)
    probe = probe_model(graph)
    assert probe["positions/table"].variance == pytest.approx(1.0, rel=0.3)
    np.testing.assert_allclose(outputs_of(graph, x)[0], model(x), rtol=1e-5)


class Holding(layers.Layer):
    """Holds another layer, and returns more than tensors."""

    def __init__(self, inner, **options):
        super().__init__(**options)
        self.inner = inner

    def call(self, x):
        return self.inner(x), None


class Outer(layers.Layer):
    def __init__(self, inner, **options):
        super().__init__(**options)
        self.holding = Holding(inner, name="holding")

    def call(self, x):
        y, nothing = self.holding(x)
        assert nothing is None
        return ops.tanh(y)


class Late(layers.Layer):
    """Wants a batch of some size, so that Keras cannot build what is inside before it is run."""

    def __init__(self, units=4, **options):
        super().__init__(**options)
        self.inner = layers.Dense(units, name="inner")

    def call(self, x):
        zeros = ops.zeros((x.shape[0], 1))
        return self.inner(x) + zeros

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.inner.units)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras tells of it
def test_a_layer_that_is_not_built_is_named():
    inputs = keras.Input((3,))
    late = Late()
    model = keras.Model(inputs, late(inputs))
    assert not late.inner.built
    (call,) = (call for call in read_model(model).calls if not call.is_input)
    assert call.untraceable.startswith("its layer 'inner' (Dense) is not built")


def test_layers_inside_are_opened_whatever_they_return():
    graph = read_model(on((4,), Outer(layers.Dense(3, name="dense"), name="outer")))
    assert paths(graph) == ["data", "outer/holding/dense", "outer/tanh"]


def test_what_cannot_be_opened_stays_a_call_inside_the_opened_layer():
    graph = read_model(on((4,), Outer(Closed(name="closed"), name="outer")))
    assert paths(graph) == ["data", "outer/holding/closed", "outer/tanh"]
    (closed,) = (call for call in graph.calls if call.untraceable)
    assert "KerasTensor" in closed.untraceable
    found = outcomes_of(graph)
    assert str(found["outer/holding/closed"].support) == "pass_through"
    (finding,) = found["outer/holding/closed"].findings
    assert closed.untraceable in finding.message
    assert found["outer/tanh"].tainted


class NotOfEleven(layers.Layer):
    """Cannot be followed with the batch that a graph is made of, and can with others."""

    def call(self, x):
        if isinstance(x, keras.KerasTensor) and x.shape[0] == 11:
            raise ValueError("eleven")
        return ops.square(x)


def test_what_cannot_be_opened_stays_so_for_batches_of_other_sizes():
    model = on((4,), Outer(NotOfEleven(name="closed"), name="outer"))
    graph = read_model(model)
    assert paths(graph) == ["data", "outer/holding/closed", "outer/tanh"]
    data = np.ones((3, 4), "float32")
    _, closed, tanh = graph.calls
    (squared,) = closed.run([keras.ops.convert_to_tensor(data)], False, 3)
    (found,) = tanh.run([squared], False, 3)
    np.testing.assert_allclose(np.asarray(found), np.tanh(data**2), rtol=1e-6)


class Tied(layers.Layer):
    """Computes with the values of another layer's weights."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(4)

    def build(self, shape):
        self.dense.build(shape)
        super().build(shape)

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.dense.kernel))


def test_code_that_would_freeze_the_values_of_weights_is_not_opened():
    (_, call) = read_model(on((4,), Tied(name="tied"))).calls
    assert "computes with the values of" in call.untraceable


def test_frozen_parts_of_an_opened_layer_are_kept():
    block = Block(name="block")
    model = on((6, 16), block)
    block.attention.trainable = False
    graph = read_model(model)
    frozen = frozen_variables(graph)
    assert {id(v) for v in block.attention.weights} <= frozen
    assert id(block.up.kernel) not in frozen
    assert id(block.gamma) not in frozen
    block.trainable = False
    assert {id(v) for v in block.weights} <= frozen_variables(read_model(model))


class Network(keras.Model):
    """A subclassed model."""

    def __init__(self, units=8, **options):
        super().__init__(**options)
        self.units = units
        self.embedding = layers.Embedding(50, 16, name="embedding")
        self.block = Block(name="block")
        self.head = layers.Dense(units, name="head")

    def call(self, x, training=None):
        return {"logits": self.head(ops.mean(self.block(self.embedding(x)), axis=1))}

    def get_config(self):
        return {"units": self.units}


def test_a_subclassed_model_is_opened_as_a_whole():
    model = Network()
    x = np.random.default_rng(0).integers(0, 50, (3, 7)).astype("int32")
    expected = model(x)["logits"]
    graph = read_model(model)
    assert paths(graph)[:3] == ["x", "block/gamma", "embedding"]
    np.testing.assert_allclose(outputs_of(graph, x)[0], expected, rtol=1e-5, atol=1e-6)
    new = AutoInit({"seed": 0}).initialize_model(model)
    assert isinstance(new, Network)
    assert new(x)["logits"].shape == expected.shape
    np.testing.assert_array_equal(model(x)["logits"], expected)
    assert probe_model(new, 64)["block/up"].variance == pytest.approx(1.0, rel=0.3)


class TwoInputs(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(4, name="dense")

    def call(self, inputs):
        return self.dense(inputs["a"]) + inputs["b"]


def test_a_subclassed_model_with_several_inputs():
    model = TwoInputs()
    a, b = noise(2, 3), noise(2, 4)
    expected = model({"a": a, "b": b})
    np.testing.assert_allclose(outputs_of(read_model(model), a, b)[0], expected, rtol=1e-5)


class Penalized(layers.Layer):
    """Adds to the loss, as the sampling of many autoencoders does."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(4, name="dense")

    def call(self, x):
        x = self.dense(x)
        self.add_loss(ops.mean(ops.square(x)))
        return x


def test_a_layer_that_adds_to_the_loss_is_opened_and_still_adds():
    layer = Penalized(name="own")
    model = on((6,), layer)
    assert paths(read_model(model))[-1] == "own/dense"
    model(noise(2, 6))
    assert len(model.losses) == 1


class Undecided(keras.Model):
    def call(self, x):
        return x if float(ops.max(x)) > 0 else -x


def test_a_subclassed_model_that_cannot_be_opened_is_refused_with_the_reason():
    model = Undecided()
    model(noise(2, 3))
    with pytest.raises(GraphError, match=r"cannot be opened: values are asked for"):
        read_model(model)


def test_a_layer_in_mixed_precision_is_opened():
    model = on((6, 16), Projection(name="own", dtype="mixed_float16"))
    x = noise(3, 6, 16)
    (result,) = outputs_of(read_model(model), x)
    assert result.dtype == np.float16
    np.testing.assert_allclose(result, model(x), rtol=2e-3, atol=2e-3)


def test_batches_of_a_few_sizes_in_turns_are_traced_once_each(monkeypatch):
    graph = read_model(on((6, 16), Block()))
    graph.calls[-1].retrace(1)  # one sample, another time
    traced = []
    opened = type(graph.calls[-1].retrace.func.__self__)
    original = opened._traced
    monkeypatch.setattr(
        opened, "_traced", lambda self, batch: traced.append(batch) or original(self, batch)
    )
    for _ in range(3):
        for batch in (1, 2, 3):
            graph.calls[-1].retrace(batch)
    assert traced == [2, 3]
