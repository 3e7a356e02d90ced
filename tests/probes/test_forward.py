"""The empirical interpreter."""

import weakref
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers, ops

from autoinit.errors import GraphError
from autoinit.graph.keras_internals import set_keras_mask
from autoinit.graph.model_graph import Call
from autoinit.graph.placeholders import Opaque
from autoinit.graph.shapes import largest_alive
from autoinit.reading import read_model
from probes import forward, probe_model
from probes.devices import find_device
from probes.kernels import by_kernel
from probes.moments.device import DeviceRecorder
from probes.moments.host import HostRecorder
from probes.passing import Pass


def network():
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(inputs)
    y = layers.BatchNormalization(name="bn")(x)
    y = layers.Dropout(0.4, name="drop")(y)
    x = layers.Add(name="add")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(5, name="dense")(x * 2.0))


def state(model):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.variables]


def test_figures_are_those_of_the_models_own_forward_pass():
    model = network()
    probe = probe_model(model, 64, seed=3, training=False)
    names = ["conv", "bn", "add", "pool", "dense"]
    reader = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
    noise = np.random.default_rng(3).standard_normal((64, 12, 12, 3), dtype=np.float32)
    for name, output in zip(names, reader([noise], training=False), strict=True):
        output = keras.ops.convert_to_numpy(output)
        figures = probe["conv/relu" if name == "conv" else name]
        assert figures.variance == pytest.approx(output.var(), rel=1e-4)
        assert figures.mean == pytest.approx(output.mean(), rel=1e-4, abs=1e-6)
        assert figures.zero_fraction == pytest.approx((output == 0).mean())
        assert figures.count == output.size


def test_the_pre_activation_is_measured_before_the_fused_activation():
    figures = probe_model(network(), 32)
    assert figures["conv"].minimum < 0.0
    assert figures["conv/relu"].minimum == 0.0
    assert figures["conv/relu"].zero_fraction == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_unchanged_afterwards(training):
    model = network()
    model.get_layer("conv").activity_regularizer = keras.regularizers.L2(0.1)
    before = state(model)
    activation = model.get_layer("conv").activation
    flags = [layer.trainable for layer in model.layers]
    probe_model(model, 32, training=training)
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.get_layer("conv").activation is activation
    assert [layer.trainable for layer in model.layers] == flags
    assert model.losses == []


def test_a_failing_layer_leaves_the_model_unchanged_too():
    class Failing(layers.Layer):
        fails = False

        def call(self, inputs):
            if self.fails:
                raise RuntimeError("on purpose")
            return inputs

    inputs = keras.Input((4,))
    failing = Failing()
    model = keras.Model(inputs, failing(layers.BatchNormalization()(inputs)))
    failing.fails = True
    before = state(model)
    with pytest.raises(GraphError, match="on purpose"):
        probe_model(model, 8)
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_same_seed_gives_the_same_figures_dropout_included():
    model = network()
    first, again, other = (probe_model(model, 32, seed=seed).moments for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_dropout_works_in_training_only():
    model = network()
    assert probe_model(model, 64)["drop"].zero_fraction == pytest.approx(0.4, abs=0.05)
    inference = probe_model(model, 64, training=False)
    assert inference["drop"] == inference["bn"]


def test_the_input_has_the_moments_asked_for():
    figures = probe_model(network(), 128, input_mean=3.0, input_variance=4.0).moments[0]
    assert figures.mean == pytest.approx(3.0, abs=0.05)
    assert figures.variance == pytest.approx(4.0, rel=0.03)


def test_batches_are_merged_as_if_all_samples_had_gone_together():
    model = network()
    together = probe_model(model, 30, training=False)
    limit = largest_alive(read_model(model), 7)
    apart = probe_model(model, 30, training=False, memory_limit=limit)
    assert together.batch_size == 30
    assert apart.batch_size < 8
    for one, other in zip(together.moments, apart.moments, strict=True):
        assert one.variance == pytest.approx(other.variance, rel=1e-4)
        assert one.mean == pytest.approx(other.mean, rel=1e-4, abs=1e-6)
        assert one.count == other.count


def deep_network():
    """Tensors of more and of less than 2^12 entries per sample, one dead channel, and bounds."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="conv")(inputs)
    x = layers.MaxPooling2D(4, name="pool")(layers.Dropout(0.5, name="drop")(x))
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Dense(40, activation="tanh", name="hidden")(layers.Flatten(name="flat")(x))
    model = keras.Model(inputs, layers.Dense(5, name="out")(x))
    model.get_layer("conv").bias.assign([-1e3] * 4 + [0.0] * 28)
    return model


def figures_of(moments):
    shape = moments.shape
    return [
        moments.mean,
        moments.variance,
        moments.minimum,
        moments.maximum,
        moments.zero_fraction,
        moments.sample_correlation,
        moments.position_correlation,
        shape.kurtosis,
        *(shape.channel_variances or ()),
        shape.dead_fraction,
        shape.saturated_fraction,
    ]


@pytest.mark.parametrize("size", [7, 10, 16])
@pytest.mark.parametrize("recorder", [HostRecorder, DeviceRecorder])
def test_all_figures_are_the_same_however_many_samples_go_together(recorder, size, monkeypatch):
    monkeypatch.setattr(forward, "HostRecorder", recorder)
    graph = read_model(deep_network())
    together = probe_model(graph, 45, training=False)
    monkeypatch.setattr(forward, "fitting", lambda *arguments: size)
    apart = probe_model(graph, 45, training=False)
    assert (together.batch_size, apart.batch_size) == (45, size)
    assert together["conv/relu"].shape.dead_fraction == pytest.approx(4 / 32)
    for path in together:
        if size < 8 and path.startswith(("conv", "drop")):
            continue  # 8 of their samples are looked at, of one batch
        for one, other in zip(figures_of(together[path]), figures_of(apart[path]), strict=True):
            assert other == (None if one is None else pytest.approx(one, rel=1e-4, abs=1e-5)), path


def test_what_does_not_depend_on_the_samples_is_counted_once(monkeypatch):
    inputs = keras.Input((6,), dtype="int32")
    x = keras_positions()(layers.Embedding(11, 8)(inputs))
    graph = read_model(keras.Model(inputs, x))
    together = probe_model(graph, 20)
    monkeypatch.setattr(forward, "fitting", lambda *arguments: 8)
    for one, other in zip(together.moments, probe_model(graph, 20).moments, strict=True):
        assert (one is None) == (other is None)
        assert one is None or one.count == other.count


def keras_positions():
    class Positions(layers.Layer):
        def __init__(self):
            super().__init__()
            self.table = layers.Embedding(6, 8)

        def call(self, inputs):
            return inputs + self.table(keras.ops.arange(6))

    return Positions()


def test_a_tensor_that_is_handed_on_is_summed_once(monkeypatch):
    summed = []
    record = HostRecorder.record

    def counting(recorder, tensor, bounds=None, key=None, *, last=False, **others):
        assert last  # nothing is kept for batches to come
        summed.append(key)
        record(recorder, tensor, bounds, key, last=last, **others)

    monkeypatch.setattr(HostRecorder, "record", counting)
    probe = probe_model(deep_network(), 8, training=False)
    drop = next(call for call in probe.graph.calls if call.path == "drop")
    assert drop.index not in summed
    assert probe["drop"] == probe["conv/relu"]
    assert len(probe) == len(summed) + 1


def test_out_of_memory_halves_the_batch_and_tries_again(monkeypatch):
    model = network()
    run, sizes = Pass.run, []

    def scarce(one, inputs, *arguments):
        (array,) = inputs.values()
        sizes.append(len(array))
        if len(array) > 10:
            raise MemoryError
        return run(one, inputs, *arguments)

    monkeypatch.setattr(Pass, "run", scarce)
    probe = probe_model(model, 32)
    assert probe.batch_size == 8
    assert sizes == [32, 16, 8, 8, 8, 8]


def test_integer_inputs_get_valid_indices_through_reshaping():
    inputs = keras.Input((3, 4), dtype="int32")
    x = layers.Embedding(7, 5, name="embed")(layers.Flatten()(inputs))
    model = keras.Model(inputs, layers.LSTM(4)(x))
    figures = probe_model(model, 200).moments[0]
    assert (figures.minimum, figures.maximum) == (0.0, 6.0)


def test_unknown_sizes_are_those_chosen():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Conv2D(4, 3, strides=2, name="conv")(inputs))
    assert probe_model(model, 8, unknown_size=9)["conv"].count == 8 * 4 * 4 * 4


def test_several_inputs_and_outputs_nested_and_shared():
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    shared = layers.Dense(6, name="shared")
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(3, name="core")], name="inner")
    joined = layers.Concatenate(name="joined")([shared(left), shared(right)])
    outputs = [inner(layers.Dense(6, name="mixed")(joined)), layers.Softmax(name="soft")(joined)]
    figures = probe_model(keras.Model([left, right], outputs), 16)
    assert {"shared", "shared:2", "inner/core", "soft"} <= set(figures)
    assert all(item.finite_fraction == 1.0 for item in figures.values())


def test_memory_is_that_of_what_is_alive_not_of_everything(monkeypatch):
    depth = 40
    inputs = keras.Input((1000,))
    x = inputs
    for _ in range(depth):
        x = layers.Rescaling(0.9)(x)
    graph = read_model(keras.Model(inputs, x))
    assert largest_alive(graph, 10) == 2 * 10 * 1000 * 4
    seen, most = [], []
    run = Call.run

    def counting(call, *arguments):
        outputs = run(call, *arguments)
        seen.extend(weakref.ref(output) for output in outputs)
        most.append(sum(reference() is not None for reference in seen))
        return outputs

    monkeypatch.setattr(Call, "run", counting)
    probe_model(graph, 10)
    assert len(most) == depth
    assert max(most) == 2


def test_what_precedes_a_bias_counts_as_alive():
    inputs = keras.Input((100,))
    with_bias, without = (
        keras.Model(inputs, layers.Dense(50, use_bias=use_bias)(inputs))
        for use_bias in (True, False)
    )
    assert largest_alive(read_model(without), 10) == 10 * (100 + 50) * 4
    assert largest_alive(read_model(with_bias), 10) == 10 * (100 + 50 + 50) * 4


def test_fewer_than_one_sample_and_missing_devices_are_refused():
    with pytest.raises(ValueError, match="num_samples"):
        probe_model(network(), 0)
    with pytest.raises(ValueError, match="auto, cpu, gpu"):
        probe_model(network(), device="tpu")
    if find_device("auto").kind == "cpu":
        with pytest.raises(ValueError, match="No GPU"):
            probe_model(network(), device="gpu")


def test_progress_goes_from_nothing_to_nearly_all():
    seen = []
    probe_model(network(), 8, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[0] == 0.0
    assert 0.5 < seen[-1] <= 1.0


def cut_network():
    """Two branches, of which one goes through a layer that cannot be run."""
    inputs = keras.Input((6,), name="in")
    before = layers.Dense(6, name="before")(inputs)
    cut = Opaque("Lambda", "it holds code", name="cut")(before)
    after = layers.Dense(6, name="after", activation="relu")(cut)
    beside = layers.Dense(6, name="beside", activation="tanh")(before)
    return keras.Model(inputs, [layers.Add(name="sum")([after, beside]), beside])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("recorder", [HostRecorder, DeviceRecorder])
def test_what_cannot_be_run_is_not_measured_and_the_rest_is(recorder, training, monkeypatch):
    monkeypatch.setattr(forward, "HostRecorder", recorder)
    model = cut_network()
    probe = probe_model(model, 50, training=training)
    assert set(probe) == {"in", "before", "beside", "beside/tanh"}
    assert len(probe) == 4
    missing = [call.path for call, m in zip(probe.graph.calls, probe.moments, strict=True) if not m]
    assert missing == ["cut", "after", "after/relu", "sum"]
    with pytest.raises(KeyError, match="after"):
        probe["after"]
    whole = probe_model(keras.Model(model.inputs, model.outputs[1]), 50, training=training)
    assert whole["beside/tanh"].variance == pytest.approx(probe["beside/tanh"].variance, rel=1e-5)


def test_batches_of_a_network_that_is_cut_are_merged():
    graph = read_model(cut_network())
    together = probe_model(graph, 30)
    apart = probe_model(graph, 30, memory_limit=largest_alive(graph, 7))
    assert apart.batch_size < 8
    assert apart["before"].variance == pytest.approx(together["before"].variance, rel=1e-4)
    assert [item is None for item in apart.moments] == [item is None for item in together.moments]


def test_a_network_of_nothing_that_can_be_run_is_measured_at_its_input():
    inputs = keras.Input((6,), name="in")
    outputs = layers.Dense(2)(Opaque("Lambda", "it holds code")(inputs))
    assert list(probe_model(keras.Model(inputs, outputs), 8)) == ["in"]


def test_a_kernel_that_is_divided_by_its_norm_in_training_is_put_back():
    layer = layers.SpectralNormalization(layers.Dense(8))
    model = keras.Sequential([keras.Input((4,)), layer])
    before = layer.layer.kernel.numpy().copy()
    probe_model(model, 16)
    np.testing.assert_array_equal(layer.layer.kernel.numpy(), before)


def test_a_stateful_layers_states_are_put_back():
    inputs = keras.Input(batch_shape=(8, 5, 3))
    layer = layers.LSTM(4, stateful=True)
    model = keras.Model(inputs, layer(inputs))
    before = [state.numpy().copy() for state in layer.states]
    probe_model(model, 8)
    for old, new in zip(before, layer.states, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


@pytest.mark.parametrize("shape", [(40, 6), (8, 5, 5, 3), (4, 7, 2)])
def test_batch_normalisation_by_one_kernel_is_what_the_layer_gives(shape):
    inputs = keras.Input(shape[1:])
    x = np.random.default_rng(0).normal(3.0, 2.0, shape).astype(np.float32)
    kinds = (layers.BatchNormalization(), layers.BatchNormalization(scale=False, center=False))
    for layer in kinds:
        graph = read_model(keras.Model(inputs, layer(inputs)))
        for variable in layer.trainable_variables:
            variable.assign(np.linspace(0.5, 2.0, shape[-1]))
        tensor = keras.ops.convert_to_tensor(x)
        found = by_kernel(graph.calls[-1], [tensor], training=True)
        if keras.backend.backend() != "tensorflow":
            assert found is None
            continue
        np.testing.assert_allclose(found, layer(tensor, training=True), rtol=1e-5, atol=1e-5)
        # What single precision cannot hold, and inference, is the layer's own business.
        assert by_kernel(graph.calls[-1], [tensor * 1e30], training=True) is None
        assert by_kernel(graph.calls[-1], [tensor], training=False) is None


PLAIN = [
    layers.Conv2D(4, 3), layers.Conv2D(4, (3, 2), strides=2, padding="same", use_bias=False),
    layers.Conv2D(4, 2, padding="same", dilation_rate=2, bias_initializer="normal"),
    layers.Conv2D(4, 1, activation="tanh", bias_initializer="normal"),
    layers.Activation("tanh"), layers.ReLU(6.0), layers.LeakyReLU(), layers.ZeroPadding2D((1, 2)),
    layers.MaxPooling2D(2), layers.AveragePooling2D(3, padding="same"),
    layers.GlobalAveragePooling2D(), layers.Add(), layers.Multiply(), layers.Concatenate(),
    layers.DepthwiseConv2D(3, strides=2, bias_initializer="normal"), layers.Dense(5),
]  # fmt: skip


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kernels of TensorFlow")
@pytest.mark.parametrize("layer", PLAIN, ids=lambda layer: layer.name)
def test_a_kernel_alone_gives_what_the_layer_does_to_the_last_bit(layer):
    inputs = keras.Input((7, 6, 4))
    merges = isinstance(layer, (layers.Add, layers.Multiply, layers.Concatenate))
    twice = layers.Rescaling(2.0)(inputs)
    graph = read_model(keras.Model(inputs, layer([inputs, twice, inputs] if merges else twice)))
    call = next(call for call in graph.calls if call.layer is layer)
    draw = np.random.default_rng(0).standard_normal
    tensors = [keras.ops.convert_to_tensor(draw((3, 7, 6, 4), np.float32)) for _ in call.inputs]
    found = by_kernel(call, tensors, training=True)
    (expected,) = call.run(tensors, training=True)
    assert np.array_equal(np.asarray(found), np.asarray(expected))
    assert by_kernel(replace(call, part="activation"), tensors, training=True) is None


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kernels of TensorFlow")
def test_what_keras_does_beside_a_kernel_is_left_to_it():
    def found(layer, dtype="float32", width=4, mask=False):
        inputs = keras.Input((7, 6, 4), dtype=dtype)
        graph = read_model(keras.Model(inputs, layer(inputs)))
        tensor = keras.ops.ones((2, 7, 6, width), dtype)
        if mask:
            set_keras_mask(tensor, keras.ops.ones((2, 7), "bool"))
        return by_kernel(graph.calls[-1], [tensor], training=True)

    class Own(layers.ReLU):
        pass

    assert found(layers.ReLU()) is not None
    assert found(layers.ReLU(), mask=True) is None
    assert found(layers.ReLU(dtype="float64"), "float64") is None
    assert found(layers.Conv2D(4, 3, dtype="mixed_bfloat16")) is None
    assert found(layers.Conv2D(4, 3, groups=2)) is None
    assert found(layers.Conv2D(4, 3), width=5) is None  # Keras says what is wrong
    assert found(layers.ReLU(activity_regularizer="l2")) is None
    assert found(Own()) is None
    inputs = keras.Input((4,))
    graph = read_model(keras.Model(inputs, layers.Dense(3, "relu")(inputs)))
    assert [call.part for call in graph.calls[1:]] == ["linear", "activation"]
    assert by_kernel(graph.calls[1], [keras.ops.ones((2, 4))], training=True) is None


class Threes(keras.layers.Layer):
    """Goes through with batches of some sizes only."""

    def call(self, x):
        return ops.reshape(ops.tanh(ops.reshape(x, (-1, 3))), (-1, 8))

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def test_a_layer_that_fails_is_named_with_what_it_says():
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.layers.Dense(2)(Threes(name="threes")(inputs)))
    assert probe_model(model, 3, batch_size=3)["threes"].variance > 0
    with pytest.raises(GraphError, match=r"^Layer 'threes' \(Threes\) fails on input of shape"):
        probe_model(model, 4, batch_size=4)


def test_an_array_is_the_one_inputs_and_what_was_not_measured_is_named():
    model = keras.Sequential([keras.Input((3,), name="x"), layers.ReLU(name="relu")], name="net")
    found = probe_model(model, 4, input_data=np.full((4, 3), -1.0))
    assert (found["x"].mean, found["relu"].mean) == (-1.0, 0.0)
    with pytest.raises(KeyError, match=r"No call 'y' was measured. Those that were: x, relu"):
        found["y"]
    assert repr(found) == "<Probe of 'net': 2 calls>"
