"""Normalizations and softmax that are written out, told by what they do."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy import special

from autoinit.propagation import input_signals, predict
from autoinit.propagation.by_hand import Softmax, tensors_met_again, written_out
from autoinit.reading import read_model

WIDTH = 16
WAYS = {
    "rsqrt": (lambda x: x * ops.rsqrt(ops.mean(ops.square(x), -1, keepdims=True) + 1e-5), 1, False),
    "power": (
        lambda x: x / ops.sqrt(ops.mean(ops.power(x, 2), axis=-1, keepdims=True) + 1e-5),
        1,
        False,
    ),
    "product": (
        lambda x: ops.multiply(ops.rsqrt(ops.sum(x * x, -1, keepdims=True) / WIDTH + 1e-5), x),
        1,
        False,
    ),
    "length": (
        lambda x: x / ops.maximum(ops.sqrt(ops.sum(ops.square(x), -1, keepdims=True)), 1e-12),
        1 / math.sqrt(WIDTH),
        False,
    ),
    "added to a length": (
        lambda x: x / (ops.norm(x, axis=-1, keepdims=True) + 4.0),
        1 / math.sqrt(WIDTH),
        False,
    ),
    "norm": (
        lambda x: 3.0 * x / (ops.norm(x, axis=-1, keepdims=True)),
        3 / math.sqrt(WIDTH),
        False,
    ),
    "centered": (
        lambda x: (
            (x - ops.mean(x, -1, keepdims=True)) / ops.sqrt(ops.var(x, -1, keepdims=True) + 1e-5)
        ),
        1,
        True,
    ),
    "instances": (
        lambda x: (
            (x - ops.mean(x, 1, keepdims=True)) / ops.sqrt(ops.var(x, 1, keepdims=True) + 1e-5)
        ),
        1,
        True,
    ),
    "samples": (
        lambda x: (
            (x - ops.mean(x, (1, 2), keepdims=True))
            * ops.rsqrt(ops.var(x, (1, 2), keepdims=True) + 1e-5)
        ),
        1,
        True,
    ),
    "of a half": (
        lambda x: ops.cast(
            ops.cast(x, "float32")
            * ops.rsqrt(ops.mean(ops.cast(x, "float32") ** 2, -1, keepdims=True) + 1e-5),
            "float32",
        ),
        1,
        False,
    ),
}


def network(way):
    inputs = keras.Input((6, 8))
    x = layers.Dense(WIDTH, bias_initializer=keras.initializers.RandomNormal(0.0, 1.0))(inputs)
    return keras.Model(inputs, layers.Dense(12)(way(x)))


@pytest.mark.parametrize("name", list(WAYS))
def test_it_is_told_however_it_is_written(name):
    way, scale, centered = WAYS[name]
    keras.utils.set_random_seed(0)
    model = network(way)
    graph = read_model(model)
    (region,) = tensors_met_again(graph).values()
    found = written_out(region, {})
    assert found.scale == pytest.approx(scale, rel=1e-3)
    assert found.centered == centered
    if name == "added to a length":
        assert (found.epsilon, found.added) == (0.0, pytest.approx(1.0, rel=0.01))
    elif name not in ("length", "norm"):
        assert found.epsilon == pytest.approx(1e-5, rel=0.05)
    (last,) = [call for call in graph.calls if call.index in tensors_met_again(graph)]
    values = np.random.default_rng(0).standard_normal((4000, 6, 8)).astype(np.float32)
    shown = way(model.layers[1](values))
    results = predict(graph, input_signals(graph)).results
    assert results[last.index].signals[0].variance == pytest.approx(
        float(np.var(ops.convert_to_numpy(shown))), rel=0.05
    )
    assert results[last.index].support.value == "exact"


@pytest.mark.parametrize(
    "way",
    [
        lambda x: x * ops.sigmoid(ops.mean(x, -1, keepdims=True)),
        lambda x: x * ops.rsqrt(ops.mean(ops.square(x), 1, keepdims=True) + 1e-5),
        lambda x: x / ops.max(ops.abs(x), -1, keepdims=True),
        lambda x: x / (1.0 + ops.mean(ops.abs(x), -1, keepdims=True)),
        lambda x: ops.exp(x) / ops.sum(ops.exp(x), 1, keepdims=True),
        lambda x: x * ops.rsqrt(ops.mean(ops.square(x), -1, keepdims=True)) * ops.sigmoid(x),
    ],
    ids=["gate", "over positions", "by the largest", "soft", "softmax over positions", "gated"],
)
def test_others_are_none(way):
    keras.utils.set_random_seed(0)
    graph = read_model(network(way))
    found = [written_out(region, {}) for region in tensors_met_again(graph).values()]
    assert len(found) >= 1
    assert found[-1] is None


def test_of_long_sequences_some_vectors_tell():
    inputs = keras.Input((1200, 2048))
    normal = inputs * ops.rsqrt(ops.mean(ops.square(inputs), -1, keepdims=True) + 1e-5)
    (region,) = tensors_met_again(read_model(keras.Model(inputs, normal))).values()
    found = written_out(region, {})
    assert (found.count, found.positions, found.epsilon) == (2048, False, pytest.approx(1e-5, 0.05))


def test_softmax_is_told():
    keras.utils.set_random_seed(0)
    model = network(
        lambda x: (
            ops.exp(x - ops.max(x, -1, keepdims=True))
            / ops.sum(ops.exp(x - ops.max(x, -1, keepdims=True)), -1, keepdims=True)
        )
    )
    graph = read_model(model)
    assert [written_out(each, {}) for each in tensors_met_again(graph).values()] == [Softmax(WIDTH)]
    (index,) = tensors_met_again(graph)
    found = predict(graph, input_signals(graph)).results[index].signals[0]
    values = np.random.default_rng(0).standard_normal((4000, 6, 8)).astype(np.float32)
    shares = ops.convert_to_numpy(ops.softmax(model.layers[1](values)))
    assert found.variance == pytest.approx(float(shares.var()), rel=0.15)


def test_what_two_tensors_make_is_none():
    inputs = keras.Input((8,))
    x, y = layers.Dense(WIDTH)(inputs), layers.Dense(WIDTH)(inputs)
    product = x * ops.rsqrt(ops.mean(ops.square(y), -1, keepdims=True) + 1e-5)
    assert not tensors_met_again(read_model(keras.Model(inputs, product)))


def test_one_over_the_root_of_a_mean_of_squares_by_hand():
    """E √(n/χ²_n) = √(n/2)·Γ((n − 1)/2)/Γ(n/2), and E n/χ²_n = n/(n − 2)."""
    inputs = keras.Input((WIDTH,))
    model = keras.Model(inputs, ops.rsqrt(ops.mean(ops.square(inputs), -1, keepdims=True)))
    graph = read_model(model)
    found = predict(graph, input_signals(graph)).results[-1].signals[0]
    mean = math.sqrt(WIDTH / 2) * math.exp(
        special.gammaln((WIDTH - 1) / 2) - special.gammaln(WIDTH / 2)
    )
    assert found.mean == pytest.approx(mean, rel=0.01)
    assert found.variance == pytest.approx(WIDTH / (WIDTH - 2) - mean**2, rel=0.03)


def test_positions_counted_by_ones_are_computed():
    """Angles of position times frequency, as of rotary embeddings, are the same for all samples."""
    tokens = keras.Input((9,), dtype="int32")
    places = ops.cast(ops.cumsum(ops.ones_like(tokens), 1), "float32") - 1.0
    waves = ops.sin(ops.expand_dims(places, -1) * ops.convert_to_tensor([1.0, 0.1, 0.01]))
    model = keras.Model(tokens, waves)
    graph = read_model(model)
    found = predict(graph, input_signals(graph)).results[-1].signals[0]
    values = np.sin(np.outer(np.arange(9), [1.0, 0.1, 0.01]))
    assert found.mean == pytest.approx(values.mean(), rel=1e-5)
    assert found.variance == pytest.approx(values.var(), rel=1e-5)


def test_positions_counted_by_a_mask_are_sampled():
    """The angles of a Gaussian of that variance would have a variance near a half."""
    mask = keras.Input((64,), dtype="int32")
    places = ops.cast(ops.cumsum(mask, 1), "float32")
    waves = ops.sin(ops.expand_dims(places, -1) * ops.convert_to_tensor([0.05, 0.01, 0.002]))
    graph = read_model(keras.Model(mask, waves))
    found = predict(graph, input_signals(graph)).results[-1]
    counts = np.random.default_rng(1).integers(0, 2, (2000, 64)).cumsum(1)
    values = np.sin(counts[..., None] * np.array([0.05, 0.01, 0.002]))
    assert found.support.value == "sampled"
    assert found.signals[0].variance == pytest.approx(values.var(), rel=0.1)
    assert found.signals[0].mean == pytest.approx(values.mean(), rel=0.1)
