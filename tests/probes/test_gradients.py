"""Gradients, against the framework's own on the whole model and against matrices."""

import gc
import os
import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest
from keras import layers, ops

from autoinit.graph.model_graph import Call
from autoinit.graph.placeholders import Opaque
from autoinit.reading import read_model
from autoinit.running.inputs import draw_inputs
from autoinit.running.state import unchanged
from probes import gradients, probe_gradients, probe_model
from probes.differentiation import differentiate
from probes.moments.figures import Moments
from probes.segments import CompiledPasses, Passes, needed, segments_of

BOTH = pytest.mark.parametrize("checkpoint", [False, True])


def conv_net(batch_size=None):
    """A skip connection, a layer used twice, and an output that is read again."""
    inputs = keras.Input((8, 8, 3), batch_size)
    shared = layers.Conv2D(6, 3, padding="same", name="shared")
    x = first = layers.Conv2D(6, 3, padding="same", name="conv")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Activation("relu", name="relu")(x)
    once = layers.Dropout(0.4, name="drop")(shared(x))
    twice = shared(layers.Activation("tanh", name="tanh")(once))
    x = layers.Add(name="add")([first, twice])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = layers.Dense(5, name="dense")(x)
    return keras.Model(inputs, [outputs, layers.Dense(2, name="more")(outputs)])


def tape_of(model, tensors, samples, training=True, seed=0):
    """The framework's own gradients for tensors of a model, its inputs and its variables.

    JAX has none for the tensors, in the place of which `...` stands.
    """
    graph = read_model(model)
    noise = draw_inputs(graph, samples, seed)
    drawn = gradients._draw_cotangents(graph, samples, seed)
    given = [ops.convert_to_tensor(noise[call.outputs[0].index]) for call in graph.inputs]
    cotangents = [ops.convert_to_tensor(drawn[value.index]) for value in graph.outputs]
    way = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}
    with unchanged(graph, seed):
        found = way[keras.backend.backend()](model, tensors, given, cotangents, training)
    found = [
        part if part is None or part is ... else np.array(ops.convert_to_numpy(part))
        for part in found
    ]
    number = len(found) - len(model.trainable_variables)
    paths = [variable.path for variable in model.trainable_variables]
    variables = dict(zip(paths, found[number:], strict=True))
    return found[: len(tensors)], found[len(tensors) : number], variables


def _is_float(tensor):
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype))


def _alone(given):
    return given if len(given) > 1 else given[0]


def _by_tensorflow(model, tensors, given, cotangents, training):
    import tensorflow as tf

    reader = keras.Model(model.inputs, [*tensors, *model.outputs])
    with tf.GradientTape() as tape:
        watched = [tensor for tensor in given if _is_float(tensor)]
        tape.watch(watched)
        results = keras.tree.flatten(reader(_alone(given), training=training))
    values = [variable.value for variable in model.trainable_variables]
    sources = [*results[: len(tensors)], *watched, *values]
    found = tape.gradient(results[len(tensors) :], sources, cotangents)
    return [None if part is None else tf.convert_to_tensor(part) for part in found]


def _by_jax(model, tensors, given, cotangents, training):
    import jax

    places = [place for place, tensor in enumerate(given) if _is_float(tensor)]
    others = [variable.value for variable in model.non_trainable_variables]

    def outputs(values, floats):
        whole = list(given)
        for place, tensor in zip(places, floats, strict=True):
            whole[place] = tensor
        results, _ = model.stateless_call(values, others, _alone(whole), training=training)
        return keras.tree.flatten(results)

    values = [variable.value for variable in model.trainable_variables]
    _, pull = jax.vjp(outputs, values, [given[place] for place in places])
    of_values, of_given = pull(cotangents)
    return [*[...] * len(tensors), *of_given, *of_values]


def _by_torch(model, tensors, given, cotangents, training):
    import torch

    reader = keras.Model(model.inputs, [*tensors, *model.outputs])
    watched = [tensor.requires_grad_() for tensor in given if _is_float(tensor)]
    results = keras.tree.flatten(reader(_alone(given), training=training))
    values = [variable.value for variable in model.trainable_variables]
    sources = [*results[: len(tensors)], *watched, *values]
    return list(
        torch.autograd.grad(results[len(tensors) :], sources, cotangents, allow_unused=True)
    )


def agree(figures, array):
    if array is ...:
        return
    assert (figures is None) == (array is None)
    if array is not None:
        array = array.astype(np.float64)
        assert figures.count == array.size
        assert figures.finite_fraction == 1.0
        # Attention's gradient for the keys' bias is nothing but rounding.
        # Compiled operations go in another order, and rounding turns the odd ReLU on or off.
        assert figures.variance == pytest.approx(array.var(), rel=1e-4, abs=1e-11)
        small = 1e-6 + 1e-4 * array.std()
        assert figures.mean == pytest.approx(array.mean(), rel=1e-5, abs=small)
        assert figures.maximum == pytest.approx(array.max(), rel=1e-4, abs=3e-6 + small)
        if array.var() > 1e-11:
            assert figures.zero_fraction == pytest.approx((array == 0).mean(), abs=1e-3)


def agree_everywhere(model, tensors, samples=16, training=True, checkpoint=False):
    """Compare with the framework; `tensors` by path."""
    probe = probe_gradients(model, samples, training=training, checkpoint=checkpoint)
    outputs, inputs, variables = tape_of(model, list(tensors.values()), samples, training)
    for path, array in zip(tensors, outputs, strict=True):
        agree(probe[path], array)
    floating = [call for call in probe.graph.inputs if call.outputs[0].dtype.startswith("float")]
    for call, array in zip(floating, inputs, strict=True):
        agree(probe.moments[call.index], array)
    assert set(probe.variables) == set(variables)
    for path, array in variables.items():
        agree(probe.variables[path], array)
    return probe


def tensors_of(model, **more):
    """Each layer's output, and further ones by the call's path."""
    named = {layer.name: layer for layer in model.layers}
    found = {name: layer for name, layer in named.items() if not name.startswith("input")}
    return {**{name: layer._inbound_nodes[0].outputs[0] for name, layer in found.items()}, **more}


def state(model):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.variables]


@BOTH
def test_a_linear_chain_is_a_product_of_matrices(checkpoint):
    inputs = keras.Input((7,))
    hidden = layers.Dense(5, use_bias=False, name="one")(inputs)
    model = keras.Model(inputs, layers.Dense(3, use_bias=False, name="two")(hidden))
    one, two = (ops.convert_to_numpy(kernel) for kernel in model.trainable_variables)
    probe = probe_gradients(model, 40, seed=5, checkpoint=checkpoint)
    (x,) = draw_inputs(probe.graph, 40, 5).values()
    (c,) = gradients._draw_cotangents(probe.graph, 40, 5).values()
    agree(probe["two"], c)
    agree(probe["one"], c @ two.T)
    agree(probe.moments[0], c @ two.T @ one.T)
    agree(probe.variables["two/kernel"], (x @ one).T @ c)
    agree(probe.variables["one/kernel"], x.T @ c @ two.T)


def test_the_cotangent_is_standard_normal_and_not_the_input():
    inputs = keras.Input((50,), name="in")
    probe = probe_gradients(keras.Model(inputs, layers.Activation("linear")(inputs)), 400)
    figures = probe["in"]
    assert figures.mean == pytest.approx(0.0, abs=0.03)
    assert figures.variance == pytest.approx(1.0, abs=0.05)
    noise = draw_inputs(probe.graph, 400, 0)[0]
    cotangent = gradients._draw_cotangents(probe.graph, 400, 0)[1]
    assert abs((noise * cotangent).mean()) < 0.03


@BOTH
@pytest.mark.parametrize("training", [True, False])
def test_every_gradient_of_a_convolutional_network(training, checkpoint):
    model = conv_net()
    shared = model.get_layer("shared")
    tensors = tensors_of(model, **{"shared:2": shared._inbound_nodes[1].outputs[0]})
    agree_everywhere(model, tensors, training=training, checkpoint=checkpoint)


@pytest.mark.parametrize("checkpoint", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_several_inputs_whole_numbers_and_masks(checkpoint):
    words, numbers = keras.Input((6,), dtype="int32"), keras.Input((6,))
    x = layers.Embedding(9, 4, mask_zero=True, name="embed")(words)
    x = layers.LSTM(5, return_sequences=True, name="lstm")(x)
    x = layers.Bidirectional(layers.GRU(3), name="both")(x)
    y = layers.Concatenate(name="joined")([x, numbers, numbers])
    most = ops.argmax(y, axis=-1)
    outputs = [layers.Dense(3, name="dense")(y), layers.Activation("tanh", name="tanh")(y)]
    probe = agree_everywhere(
        keras.Model([words, numbers], outputs),
        {
            "embed": _output_of(outputs[0], "embed"),
            "lstm": _output_of(outputs[0], "lstm"),
            "both": x,
            "joined": y,
            "tanh": outputs[1],
        },
        checkpoint=checkpoint,
    )
    assert probe.moments[0] is None
    whole = keras.Model([words, numbers], [*outputs, most])
    again = probe_gradients(whole, 16, checkpoint=checkpoint)
    assert again["dense"] == probe["dense"]
    assert not any("arg_max" in path or "argmax" in path for path in again)


def _output_of(tensor, name):
    while tensor._keras_history.operation.name != name:
        history = tensor._keras_history
        tensor = history.operation._inbound_nodes[history.node_index].input_tensors[0]
    return tensor


class Block(layers.Layer):
    """A transformer block with a table of positions and a scale of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.positions = layers.Embedding(6, 8, name="positions")
        self.attention = layers.MultiHeadAttention(2, 4, dropout=0.2, name="attention")
        self.norm = layers.LayerNormalization(name="norm")
        self.up = layers.Dense(16, activation="gelu", name="up")
        self.down = layers.Dense(8, name="down")
        self.drop = layers.Dropout(0.1, name="drop")

    def build(self, shape):
        self.positions.build(())
        self.scale = self.add_weight(shape=(8,), initializer="ones", name="scale")
        self.attention.build(shape, shape)
        self.norm.build(shape)
        self.up.build(shape)
        self.down.build((*shape[:-1], 16))
        self.built = True

    def call(self, x):
        x = x + self.positions(ops.arange(6))
        y = self.norm(x)
        x = x + self.attention(y, y) * self.scale
        return x + self.drop(self.down(self.up(x)))


def transformer(batch_size=None):
    inputs = keras.Input((6, 8), batch_size)
    x = Block(name="first")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="dense")(Block(name="second")(x)))


@pytest.mark.parametrize(
    ("training", "checkpoint"),
    [
        (True, True),
        (False, False),
        pytest.param(True, False, marks=pytest.mark.slow),
        pytest.param(False, True, marks=pytest.mark.slow),
    ],
)
def test_opened_blocks_have_the_gradients_of_closed_ones(training, checkpoint):
    model = transformer()
    assert read_model(model).traced
    probe = agree_everywhere(
        model, {"dense": model.outputs[0]}, training=training, checkpoint=checkpoint
    )
    assert probe["first/positions"].count == 6 * 8
    agree(probe["first/positions"], _table(model, training))


def _table(model, training):
    _, _, variables = tape_of(model, [], 16, training)
    return variables["first/positions/embeddings"]


class MaskedSum(layers.Layer):
    """Opened, with a mask that comes with its input."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.dense = layers.Dense(8)

    def build(self, shape):
        self.dense.build(shape)
        self.built = True

    def call(self, x, mask=None):
        return ops.sum(self.dense(x) * ops.cast(mask, x.dtype)[..., None], axis=1)

    def compute_mask(self, x, mask=None):
        return None


@BOTH
def test_masks_come_along(checkpoint):
    words = keras.Input((6,), dtype="int32")
    x = layers.Embedding(3, 8, mask_zero=True, name="embed")(words)
    x = y = layers.Dropout(0.2, name="drop")(x)
    for number in range(4):
        y = layers.Activation("tanh", name=f"tanh{number}")(y)
    total = layers.Add(name="add")([x, y])
    model = keras.Model(words, layers.Dense(2, name="dense")(MaskedSum(name="sum")(total)))
    assert read_model(model).traced
    agree_everywhere(model, {"drop": x, "tanh3": y, "add": total}, checkpoint=checkpoint)


@pytest.mark.parametrize("build", [conv_net, pytest.param(transformer, marks=pytest.mark.slow)])
def test_batches_add_up(build):
    graph = read_model(build(), training=False)
    together = probe_gradients(graph, 30, training=False)
    limit = needed(graph, segments_of(graph, False), 8)
    apart = probe_gradients(graph, 30, training=False, memory_limit=limit, checkpoint=False)
    assert (together.batch_size, apart.batch_size) == (30, 8)
    pairs = [(together[path], apart[path]) for path in together]
    pairs += [(together.variables[path], apart.variables[path]) for path in together.variables]
    assert list(together) == list(apart)
    for one, other in pairs:
        assert one.count == other.count
        assert one.variance == pytest.approx(other.variance, rel=1e-4, abs=1e-11)


def test_an_output_that_is_the_same_for_all_samples_counts_once():
    class Two(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.positions = layers.Embedding(6, 8, name="positions")

        def build(self, shape):
            self.positions.build(())
            self.built = True

        def call(self, x):
            table = self.positions(ops.arange(6))
            return x + table, table

    inputs = keras.Input((6, 8))
    model = keras.Model(inputs, list(Two(name="two")(inputs)))
    graph = read_model(model, training=False)
    limit = needed(graph, segments_of(graph, False), 8)
    for probe in (
        probe_gradients(graph, 30),
        probe_gradients(graph, 30, memory_limit=limit, checkpoint=False),
    ):
        each, table = gradients._draw_cotangents(probe.graph, 30, 0).values()
        agree(probe["two/positions"], each.sum(0) + table)


@pytest.mark.parametrize("make", [conv_net, pytest.param(transformer, marks=pytest.mark.slow)])
def test_recomputed_segments_see_the_same_noise_batch_after_batch(make):
    graph = read_model(make(batch_size=8))
    plain, twice = (probe_gradients(graph, 24, checkpoint=again) for again in (False, True))
    assert plain.batch_size == twice.batch_size == 8
    close(plain, twice)


def test_a_layer_of_several_segments_goes_on_where_it_was():
    inputs = x = keras.Input((6,), 4)
    drop = layers.Dropout(0.3)
    for _ in range(6):
        x = drop(layers.Activation("tanh")(x))
    graph = read_model(keras.Model(inputs, x))
    close(probe_gradients(graph, 12), probe_gradients(graph, 12, checkpoint=True))


def close(one, other):
    assert list(one) == list(other)
    assert list(one.variables) == list(other.variables)
    for path in one:
        assert one[path].variance == pytest.approx(other[path].variance, rel=1e-5), path
        assert one[path].zero_fraction == pytest.approx(other[path].zero_fraction, rel=1e-6)
    for path, figures in one.variables.items():
        variance = other.variables[path].variance
        assert figures.variance == pytest.approx(variance, rel=1e-5, abs=1e-11), path


@pytest.mark.slow
def test_a_kernel_divided_by_its_norm_is_the_same_when_run_again():
    inputs = x = keras.Input((6,))
    for _ in range(6):
        x = layers.SpectralNormalization(layers.Dense(6), power_iterations=2)(x)
        x = layers.Dropout(0.2)(layers.Activation("tanh")(x))
    model = keras.Model(inputs, x)
    before = state(model)
    close(probe_gradients(model, 8), probe_gradients(model, 8, checkpoint=True))
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_forward_pass_is_that_of_the_forward_probe():
    """ReLU passes a gradient where its output is not zero: the masks agree."""
    inputs = keras.Input((30,))
    x = layers.Dropout(0.3, name="drop")(layers.Dense(30, activation="relu", name="dense")(inputs))
    model = keras.Model(inputs, layers.Activation("relu", name="out")(x))
    forward, back = probe_model(model, 20, seed=4), probe_gradients(model, 20, seed=4)
    # On a device shares are of single precision.
    assert forward["out"].zero_fraction == pytest.approx(back["drop"].zero_fraction, rel=1e-6)


def test_the_same_seed_gives_the_same_figures_and_another_gives_others():
    model = conv_net()
    first, again, other = (probe_gradients(model, 8, seed=seed) for seed in (1, 1, 2))
    assert first.moments == again.moments
    assert first.variables == again.variables
    assert first.moments != other.moments


@BOTH
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_unchanged_afterwards(training, checkpoint):
    model = conv_net()
    model.get_layer("conv").activity_regularizer = keras.regularizers.L2(0.1)
    before = state(model)
    probe_gradients(model, 8, training=training, checkpoint=checkpoint)
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.losses == []


_PEAKS = """
import sys
import keras
from probes import probe_gradients

def resident(field):
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(field))
    return int(line.split()[1]) / 1024

inputs = x = keras.Input((2**18,))
for _ in range(64):
    x = keras.layers.Activation("tanh")(x)
model = keras.Model(inputs, x)
probe_gradients(model, 1)
before = resident("VmRSS")
probe_gradients(model, 8, checkpoint=sys.argv[1] == "True")  # 8 MiB each
print(resident("VmHWM") - before)
"""


def peak_of_chain(checkpoint):
    run = subprocess.run(
        [sys.executable, "-c", _PEAKS, str(checkpoint)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"},  # what is let go is given back
    )
    return float(run.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak is read from there")
def test_checkpoints_take_memory_that_grows_with_the_root_of_depth():
    # The others keep as much again beside the outputs that tanh's derivative is computed from.
    most, few = (90, 12) if keras.backend.backend() == "tensorflow" else (160, 24)
    assert 64 * 8 <= peak_of_chain(False) <= most * 8
    assert peak_of_chain(True) <= (8 + 8 + few) * 8


@pytest.mark.parametrize("frozen", [False, True])
def test_what_was_compiled_serves_the_same_graph_again_and_lives_no_longer(frozen, monkeypatch):
    run, calls = Call.run, []
    monkeypatch.setattr(Call, "run", lambda *arguments: calls.append(1) or run(*arguments))
    model = conv_net()
    model = keras.Model(model.inputs, model.outputs[0])
    model.get_layer("dense").trainable = not frozen
    graph = read_model(model)
    passes = CompiledPasses()
    first = probe_gradients(graph, 8, compiled=passes)
    compiled = len(calls)
    model.get_layer("dense").kernel.assign(2.0 * model.get_layer("dense").kernel)
    again = probe_gradients(graph, 8, compiled=passes)
    if keras.backend.backend() != "torch":
        assert len(calls) == compiled
    assert again["pool"].variance == pytest.approx(4.0 * first["pool"].variance, rel=1e-3)
    lives = weakref.ref(graph)
    del graph, first, again, passes
    gc.collect()
    assert lives() is None


def test_trainable_variables_are_those_of_the_moment():
    model = conv_net()
    graph = read_model(model)
    assert probe_gradients(graph, 8).variables["conv/bias"] is not None
    model.get_layer("conv").bias.trainable = False
    assert "conv/bias" not in probe_gradients(graph, 8).variables


def test_by_default_checkpoints_are_taken_before_samples():
    graph = read_model(conv_net())
    whole, apart = (needed(graph, segments_of(graph, each), 32) for each in (False, True))
    assert apart < whole
    easy = probe_gradients(graph, 32)
    assert (easy.batch_size, easy.checkpointed) == (32, False)
    tight = probe_gradients(graph, 32, memory_limit=whole - 1)
    assert (tight.batch_size, tight.checkpointed) == (32, True)
    close(easy, tight)
    tighter = probe_gradients(graph, 32, memory_limit=apart - 1)
    assert (tighter.batch_size, tighter.checkpointed) == (16, True)
    asked = probe_gradients(graph, 32, memory_limit=whole - 1, checkpoint=False)
    assert (asked.batch_size, asked.checkpointed) == (16, False)


class Looking(layers.Layer):
    """Its code looks at the numbers, which nothing can that is compiled."""

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def call(self, inputs):
        return inputs * float(keras.ops.convert_to_numpy(keras.ops.sum(inputs) > -1e9))


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX differentiates by tracing")
def test_what_cannot_be_compiled_is_run_as_it_is():
    inputs = keras.Input((6,))
    x = layers.Dense(6, name="dense")(inputs)
    model = keras.Model(inputs, Looking(name="looking")(x))
    probe = probe_gradients(model, 8)
    assert probe["dense"] == probe["looking"]
    assert probe["dense"].variance == pytest.approx(1.0, abs=0.5)


def test_what_no_gradient_reaches_has_none():
    class Stop(layers.Layer):
        def call(self, inputs):
            return ops.stop_gradient(inputs)

    inputs = keras.Input((4,), name="in")
    x = Stop(name="stop")(layers.Dense(4, name="before")(inputs))
    fixed = layers.Dense(4, name="fixed", trainable=False)
    model = keras.Model(inputs, layers.Dense(2, name="after")(fixed(x)))
    for checkpoint in (False, True):
        probe = probe_gradients(model, 8, checkpoint=checkpoint)
        assert "after" in probe
        assert "fixed" in probe
        assert "before" not in probe
        assert "in" not in probe
        assert probe.variables["before/kernel"] is None
        assert isinstance(probe.variables["after/kernel"], Moments)
        assert "fixed/kernel" not in probe.variables


def test_a_model_of_whole_numbers_has_no_gradients():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, ops.argmax(layers.Dense(3, name="dense")(inputs), axis=-1))
    probe = probe_gradients(model, 8)
    assert len(probe) == 0
    assert probe.variables == {"dense/kernel": None, "dense/bias": None}


def cut_network(ends_cut):
    inputs = keras.Input((6,), name="in")
    before = layers.Dense(6, name="before")(inputs)
    cut = Opaque("Lambda", "it holds code", name="cut")(before)
    after = layers.Dense(6, name="after", activation="relu")(cut)
    beside = layers.Dense(6, name="beside", activation="tanh")(before)
    total = layers.Add(name="sum")([after, beside])
    return keras.Model(inputs, total if ends_cut else [total, beside])


@BOTH
@pytest.mark.parametrize("ends_cut", [True, False])
def test_gradients_start_from_what_can_be_run(ends_cut, checkpoint):
    probe = probe_gradients(cut_network(ends_cut), 20, checkpoint=checkpoint)
    assert list(probe) == ["in", "before", "beside", "beside/tanh"]
    assert probe["beside/tanh"].variance == pytest.approx(1.0, abs=0.3)
    assert probe.variables["after/kernel"] is None
    assert probe.variables["before/kernel"].variance > 0.0


@BOTH
def test_a_value_that_layers_pass_on_as_it_is_counts_once_for_each_reader(checkpoint):
    inputs = keras.Input((5,), name="in")
    x = layers.Dense(5, name="dense")(inputs)
    y = z = layers.Dropout(0.5, name="drop")(x)
    for _ in range(3):
        z = layers.Activation("tanh")(z)
    model = keras.Model(inputs, layers.Add(name="add")([x, y, y, z]))
    tensors = {"dense": x, "drop": y, "add": model.outputs[0]}
    probe = probe_gradients(model, 16, training=False, checkpoint=checkpoint)
    with_dropout_off = keras.Model(inputs, x)
    ((kernel, bias),) = [layer.get_weights() for layer in with_dropout_off.layers[1:]]
    (noise,) = draw_inputs(probe.graph, 16, 0).values()
    (c,) = gradients._draw_cotangents(probe.graph, 16, 0).values()
    slope, value = np.ones_like(c), noise @ kernel + bias
    for _ in range(3):
        value = np.tanh(value)
        slope *= 1 - value**2
    for path, array in zip(tensors, (c * (3 + slope), c * (2 + slope), c), strict=True):
        agree(probe[path], array)


def test_gradients_reach_calls_without_anything_trainable():
    words = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, name="embed")(words)
    model = keras.Model(words, layers.Dense(3, name="dense")(x))
    trainable = probe_gradients(model, 8)
    model.trainable = False
    frozen = probe_gradients(model, 8)
    assert list(frozen) == list(trainable) == ["embed", "dense"]
    assert frozen["embed"] == trainable["embed"]
    assert frozen.variables == {}


def test_moments_are_taken_on_an_accelerator_too(monkeypatch):
    model = conv_net()
    host = probe_gradients(model, 8)
    make = Passes.__init__
    monkeypatch.setattr(
        Passes,
        "__init__",
        lambda passes, graph, segments, training, on_host, traced: make(
            passes, graph, segments, training, False, traced
        ),
    )
    close(host, probe_gradients(model, 8))


def traced_by(passes):
    """Whether the passes of each graph were traced."""
    return [
        segment.products._compiled is not None
        for _, found in passes._known.values()
        for segment in found.segments
    ]


def test_a_few_passes_are_not_traced_and_have_the_same_gradients():
    graph = read_model(conv_net())
    few, many = CompiledPasses(3), CompiledPasses(10)
    close(probe_gradients(graph, 8, compiled=few), probe_gradients(graph, 8, compiled=many))
    assert traced_by(few) == [False]
    assert traced_by(many) == [True]
    steps = keras.Input((6, 3))
    recurrent = read_model(keras.Model(steps, layers.Bidirectional(layers.LSTM(4))(steps)))
    probe_gradients(recurrent, 8, compiled=few)
    assert traced_by(few) == [False, True]


def test_what_is_free_on_the_device_limits_the_batch(monkeypatch):
    asked = []
    monkeypatch.setattr(gradients, "free_memory", lambda device: asked.append(device) or 1 << 30)
    probe = probe_gradients(conv_net(), 4)
    assert asked == [probe.device]


def test_variables_of_one_path_are_told_apart():
    inputs = x = keras.Input((4,))
    for _ in range(2):
        layer = layers.Dense(4, name="dense", use_bias=False)
        inner = keras.Sequential([keras.Input((4,)), layer])
        x = inner(x)
    probe = probe_gradients(keras.Model(inputs, x), 8)
    assert len(probe.variables) == 2


def test_half_precision_has_gradients():
    inputs = keras.Input((8,))
    x = layers.Dense(8, dtype="mixed_bfloat16", name="half")(inputs)
    probe = probe_gradients(keras.Model(inputs, layers.Dense(2, name="out")(x)), 64)
    assert probe["half"].finite_fraction == 1.0
    assert probe.variables["half/kernel"].variance > 0.0


def test_out_of_memory_takes_checkpoints_and_then_halves_the_batch(monkeypatch):
    run, sizes = gradients._Probing.run, []

    def scarce(probing, inputs, cotangents, samples, size):
        sizes.append((size, len(probing.segments) > 1))
        if size > 10:
            raise MemoryError
        run(probing, inputs, cotangents, samples, size)

    monkeypatch.setattr(gradients._Probing, "run", scarce)
    assert probe_gradients(conv_net(), 32).batch_size == 8
    assert sizes == [(32, False), (32, True), (16, True), (8, True)]
    sizes.clear()
    assert not probe_gradients(conv_net(), 32, checkpoint=False).checkpointed
    assert sizes == [(32, False), (16, False), (8, False)]


def test_the_memory_needed_counts_what_long_layers_compute_inside():
    long, wide = keras.Input((100, 8)), keras.Input((100, 8))
    recurrent = read_model(keras.Model(long, layers.LSTM(16)(long)))
    attending = layers.MultiHeadAttention(4, 2, name="attention")(wide, wide)
    attention = read_model(keras.Model(wide, attending))
    one, other = (needed(graph, segments_of(graph, False), 10) for graph in (recurrent, attention))
    assert one > 10 * 100 * (4 * 16 + 4 * 16) * 4
    assert other > 10 * 4 * 100 * 100 * 4


@BOTH
def test_progress_goes_up_to_all(checkpoint):
    seen = []
    probe_gradients(conv_net(), 8, checkpoint=checkpoint, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[0] < 0.1
    assert 0.9 < seen[-1] <= 1.0


def test_fewer_than_one_sample_and_other_frameworks_are_refused(monkeypatch):
    model = conv_net()
    with pytest.raises(ValueError, match="num_samples"):
        probe_gradients(model, 0)
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(ValueError, match="openvino"):
        differentiate(None, [], [], None)


@pytest.mark.parametrize("fused", [True, False])
def test_the_cotangent_may_be_at_the_logits_where_a_softmax_is_saturated(fused):
    inputs = keras.Input((6,), name="in")
    large = keras.initializers.RandomNormal(stddev=1e4, seed=1)
    dense = layers.Dense(4, "softmax" if fused else None, kernel_initializer=large, name="dense")(
        inputs
    )
    model = keras.Model(inputs, dense if fused else layers.Softmax(name="soft")(dense))
    assert probe_gradients(model, 50)["dense"].zero_fraction > 0.9
    probe = probe_gradients(model, 50, logits=True)
    # The cotangent itself; nothing is asked of the probabilities.
    assert probe["dense"].variance == pytest.approx(1.0, rel=0.3)
    assert "dense/softmax" not in probe
    assert "soft" not in probe
    kernel = np.array(keras.ops.convert_to_numpy(model.get_layer("dense").kernel))
    assert probe["in"].variance == pytest.approx((kernel**2).sum(1).mean(), rel=0.3)


def test_the_update_ratio_is_the_gradient_of_a_sample_beside_the_kernel():
    inputs = keras.Input((400,))
    kernel = keras.initializers.RandomNormal(stddev=0.05, seed=0)
    model = keras.Model(inputs, layers.Dense(50, kernel_initializer=kernel, name="dense")(inputs))
    # The gradient is x·c of independent standard normal numbers: its mean square is 1.
    for size in (None, 8):
        found = probe_gradients(model, 32, batch_size=size).update_ratios
        assert found.keys() == {"dense/kernel"}
        assert found["dense/kernel"] == pytest.approx(1 / 0.05, rel=0.03)


def test_kernels_of_zeros_and_those_that_no_gradient_reaches_have_no_update_ratio():
    inputs = keras.Input((4,))
    zero = layers.Dense(4, kernel_initializer="zeros", name="zero")(inputs)
    cut = ops.stop_gradient(layers.Dense(4, name="cut")(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="last")(layers.Add()([zero, cut])))
    ratios = probe_gradients(model, 8).update_ratios
    assert ratios["zero/kernel"] is None
    assert ratios["cut/kernel"] is None
    assert ratios["last/kernel"] > 0.0
