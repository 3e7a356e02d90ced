"""Recurrent calls by one compiled pass: what they give, leave behind, and when they are not."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.graph.changing import changing_variables, values_of
from autoinit.graph.compiled import run_compiled, steps_of
from autoinit.graph.keras_internals import get_keras_mask
from autoinit.reading import read_model

OFTEN = 1000  # so often that every number of steps is worth a trace


@keras.saving.register_keras_serializable("test_compiled")
class Decaying(layers.Layer):
    """s ← s/2 + D(x)."""

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.inner = layers.Dense(units)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x, states):
        state = states[0] / 2 + self.inner(x)
        return state, [state]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Counting(Decaying):
    """It counts its steps in Python."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.steps = 0

    def call(self, x, states):
        self.steps += 1
        return super().call(x, states)


class Unseeded(Decaying):
    """Its noise is no noise of Keras's."""

    def call(self, x, states):
        return super().call(x + np.random.standard_normal(), states)


class Looking(Decaying):
    """It looks at its numbers."""

    def call(self, x, states):
        return super().call(x if float(keras.ops.max(x)) > 0 else -x, states)


def after(layer, shape=(6, 3), masked=False, **arguments):
    """A model of one recurrent layer, whose call is the last."""
    data = keras.Input(shape)
    x = layers.Masking(name="masking")(data) if masked else data
    return keras.Model(data, layer(x, **arguments))


def continued():
    """An encoder's states begin a decoder's."""
    first, second = keras.Input((5, 3)), keras.Input((6, 3))
    _, *states = layers.LSTM(4, return_state=True)(first)
    return keras.Model([first, second], layers.LSTM(4)(second, initial_state=states))


KINDS = {
    "LSTM": lambda: after(layers.LSTM(4)),
    "GRU": lambda: after(layers.GRU(4, return_sequences=True)),
    "GRU before its reset": lambda: after(layers.GRU(4, reset_after=False)),
    "SimpleRNN": lambda: after(layers.SimpleRNN(4, activation="swish")),
    "states": lambda: after(layers.LSTM(4, return_sequences=True, return_state=True)),
    "backwards": lambda: after(layers.GRU(4, go_backwards=True, return_sequences=True)),
    "masked": lambda: after(layers.LSTM(4, return_sequences=True), masked=True),
    "masked zeros": lambda: after(
        layers.GRU(4, return_sequences=True, return_state=True, zero_output_for_mask=True),
        masked=True,
    ),
    "masked both ways": lambda: after(
        layers.Bidirectional(layers.GRU(4, return_sequences=True)), masked=True
    ),
    "Bidirectional": lambda: after(layers.Bidirectional(layers.LSTM(4), merge_mode="sum")),
    "dropout": lambda: after(layers.LSTM(4, dropout=0.4, recurrent_dropout=0.4)),
    "penalty": lambda: after(layers.LSTM(4, activity_regularizer="l2")),
    "stateful": lambda: keras.Model(
        data := keras.Input(batch_shape=(5, 6, 3)), layers.GRU(4, stateful=True)(data)
    ),
    "continued": continued,
    "ConvLSTM1D": lambda: after(layers.ConvLSTM1D(2, 3, return_sequences=True), (4, 6, 2)),
    "ConvLSTM2D": lambda: after(layers.ConvLSTM2D(2, 3, padding="same"), (4, 5, 5, 2)),
    "ConvLSTM3D": lambda: after(layers.ConvLSTM3D(2, 2, dropout=0.3), (3, 3, 3, 3, 1)),
    "stacked cells": lambda: after(
        layers.RNN([layers.LSTMCell(4), layers.GRUCell(3, dropout=0.3)], return_state=True)
    ),
    "a cell of one's own": lambda: after(layers.RNN(Decaying(), return_sequences=True)),
    "half precision": lambda: after(layers.LSTM(4, dtype="mixed_float16")),
}


def graph_and_tensors(kind, batch=5):
    keras.utils.set_random_seed(1)
    graph = read_model(KINDS[kind]())
    generator = np.random.default_rng(0)
    alive = {}
    for call in graph.calls[:-1]:
        if call.is_input:
            array = generator.standard_normal(call.outputs[0].sizes(batch)).astype("float32")
            array[::2, -2:] = 0  # what `Masking` masks
            outputs = [keras.ops.convert_to_tensor(array)]
        else:
            outputs = call.run([alive[value.index] for value in call.inputs], True, batch)
        alive |= {v.index: tensor for v, tensor in zip(call.outputs, outputs, strict=True)}
    call = graph.calls[-1]
    return graph, call, [alive[value.index] for value in call.inputs]


def traces(graph):
    return [trace for _, trace in graph.workspace.compiled.values()]


def is_compiled(graph):
    return [callable(trace) for trace in traces(graph)]


def found(outputs):
    return [np.array(keras.ops.convert_to_numpy(output)) for output in outputs]


# Of like ones, one is enough for every day.
SLOW = {"ConvLSTM1D", "ConvLSTM3D", "GRU before its reset", "masked zeros", "half precision"}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind in SLOW else ()) for kind in KINDS]
)
def test_a_compiled_pass_gives_and_leaves_what_steps_one_by_one_do(kind):
    graph, call, tensors = graph_and_tensors(kind)
    variables = changing_variables([call.layer])
    at_first = values_of(variables)
    eager = [call.run(tensors, True, 5) for _ in range(2)]  # its state and noise go on
    left = values_of(variables)
    for variable, values in at_first:
        variable.assign(values)
    compiled = [run_compiled(call, tensors, True, 5, graph.workspace, OFTEN) for _ in range(2)]
    assert is_compiled(graph) == [True]
    for expected, outputs in zip(eager, compiled, strict=True):
        for a, b in zip(found(expected), found(outputs), strict=True):
            np.testing.assert_allclose(
                b, a, rtol=2e-3 if a.dtype == np.float16 else 1e-5, atol=1e-5
            )
        masks = [[get_keras_mask(each) for each in side] for side in (expected, outputs)]
        for a, b in zip(*masks, strict=True):
            assert (a is None) == (b is None)
            assert a is None or (found([a])[0] == found([b])[0]).all()
    for (_, a), (_, b) in zip(left, values_of(variables), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_the_mask_is_at_work():
    _, call, tensors = graph_and_tensors("masked")
    unmasked = [
        keras.ops.ones_like(t) if t.dtype == "bool" else keras.ops.convert_to_tensor(found([t])[0])
        for t in tensors
    ]
    assert not np.allclose(*found([*call.run(tensors, True), *call.run(unmasked, True)]))


def test_weights_and_batches_share_a_trace_and_modes_do_not():
    graph, call, tensors = graph_and_tensors("LSTM")

    def both(given, training=False):
        compiled = run_compiled(call, given, training, None, graph.workspace, OFTEN)
        return found([*call.run(given, training), *compiled])

    before, _ = both(tensors)
    call.layer.set_weights([3 * weight for weight in call.layer.get_weights()])
    eager, compiled = both(tensors)
    np.testing.assert_allclose(compiled, eager, rtol=1e-5, atol=1e-6)
    assert not np.allclose(before, compiled)
    both([tensors[0][:2]])
    assert is_compiled(graph) == [True]
    both(tensors, training=True)
    assert is_compiled(graph) == [True, True]


@pytest.mark.parametrize("cell", [Counting, Unseeded, Looking])
def test_cells_that_do_something_else_traced_are_run_as_they_are(cell):
    graph = read_model(after(layers.RNN(cell())))
    (call,) = graph.calls[1:]
    given = [keras.ops.convert_to_tensor(np.ones((2, 6, 3), "float32"))]
    np.random.seed(0)
    run_compiled(call, given, True, None, graph.workspace, OFTEN)  # looks whether it can be traced
    assert is_compiled(graph) == [False]
    np.random.seed(0)
    expected = found(call.run(given, True))
    steps = getattr(call.layer.cell, "steps", 0)
    np.random.seed(0)
    np.testing.assert_array_equal(
        found(run_compiled(call, given, True, None, graph.workspace, OFTEN)), expected
    )
    assert getattr(call.layer.cell, "steps", 0) == (steps + 7 if cell is Counting else 0)


class Reversed(layers.LSTM):
    """A loop with code of its own around it."""

    def call(self, sequences, initial_state=None, mask=None, training=False):
        return super().call(sequences[:, ::-1], initial_state, mask, training)


@pytest.mark.parametrize(
    "layer",
    [
        layers.LSTM(4, unroll=True),
        Reversed(4),
        layers.Dense(4),
        layers.LSTMCell,
        layers.Bidirectional(layers.GRU(4, unroll=True)),
    ],
    ids=str,
)
def test_what_is_no_loop_of_kerass_is_run_as_it_is(layer):
    if layer is layers.LSTMCell:
        states = [keras.Input((4,)) for _ in range(2)]
        data = keras.Input((3,))
        model = keras.Model([data, *states], layer(4)(data, states)[0])
    else:
        model = after(layer)
    assert steps_of(read_model(model).calls[-1]) == 0


def test_few_steps_are_not_worth_a_trace():
    graph, call, tensors = graph_and_tensors("LSTM")
    run_compiled(call, tensors, True, 5, graph.workspace, times=6)
    assert not graph.workspace.compiled
    run_compiled(call, tensors, True, 5, graph.workspace, times=7)  # 42 steps of an LSTM
    assert is_compiled(graph) == [True]
    assert steps_of(graph_and_tensors("Bidirectional")[1]) == 12


def test_traces_go_with_their_graph():
    graph, call, tensors = graph_and_tensors("LSTM")
    run_compiled(call, tensors, True, 5, graph.workspace, OFTEN)
    gone = [weakref.ref(call.layer), weakref.ref(traces(graph)[0])]
    del graph, call, tensors
    keras.backend.clear_session()
    gc.collect()
    assert [each() for each in gone] == [None, None]
