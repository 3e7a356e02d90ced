"""Tensors that meet again: which depend on each other, and what comes of it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from autoinit.initializers.drawing import draw_configured_weights
from autoinit.propagation import Options, input_signals, predict
from autoinit.propagation.dependence import form_of, is_related, regions
from autoinit.reading import read_model
from probes.forward import probe_model


def graph_of(function, shape=(6, 8)):
    data = keras.Input(shape)
    return read_model(keras.Model(data, function(layers.Dense(12)(data))))


def parts(x, number):
    return ops.split(layers.Dense(4 * number)(x), number, axis=-1)


def heads(x):
    """Queries and keys of two heads, as vision transformers are often written."""
    whole = ops.transpose(layers.Reshape((6, 3, 2, 4))(layers.Dense(24)(x)), (0, 2, 3, 1, 4))
    return ops.matmul(whole[:, 0], ops.swapaxes(whole[:, 1], -1, -2))


def attention_of_parts(x):
    query, key, value = parts(x, 3)
    shares = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))))
    return ops.matmul(shares, value)


def gated_parts(x):
    first, second = parts(x, 2)
    return first * ops.sigmoid(second)


def turned(x):
    """Parts of one projection as rotary positions turn them."""
    query, key = parts(x, 2)
    query, key = (0.6 * each + 0.8 * ops.roll(each, 2, axis=-1) for each in (query, key))
    return ops.einsum("btc,bsc->bts", query, key)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))), True),
        (lambda x: ops.matmul(x, ops.transpose(layers.Dense(12)(x), (0, 2, 1))), None),
        (lambda x: layers.Attention()([x, x]), True),
        (lambda x: ops.matmul(*parts(x, 2)[:1], ops.transpose(parts(x, 2)[1], (0, 2, 1))), None),
        (lambda x: ops.einsum("btc,bsc->bts", *parts(x, 2)), False),
        (attention_of_parts, False),
        (heads, False),
        (turned, False),
        (gated_parts, False),
        (lambda x: x - ops.mean(x, axis=1, keepdims=True), True),
        (lambda x: layers.Add()([x, layers.AveragePooling1D(3, 1, "same")(x)]), True),
        (lambda x: layers.Add()([x, layers.Dense(12)(ops.relu(x))]), None),
        (lambda x: layers.Multiply()([x, layers.Dense(1, activation="sigmoid")(x)]), None),
        (lambda x: ops.einsum("btc,bsc->bts", layers.LayerNormalization()(x), x), True),
    ],
    ids=[
        "itself", "of a kernel", "attention", "of two kernels", "parts", "attention of parts",
        "heads", "rotary", "gate", "mean", "neighbours", "residual", "a kernel of one unit",
        "normalized",
    ],
)  # fmt: skip
def test_what_depends_on_each_other(function, expected):
    """None: a kernel lies between; false: operands were made of different channels."""
    graph = graph_of(function)
    region = regions(graph).get(graph.calls[-1].index)
    assert (region and is_related(region, {})) is expected


def test_sources_have_nothing_in_common():
    graph = graph_of(lambda x: ops.matmul(2 * x, ops.transpose(ops.tanh(x) + 1, (0, 2, 1))))
    region = regions(graph)[graph.calls[-1].index]
    assert sorted(call.class_name for call in region.calls) == [
        "Add", "Matmul", "Multiply", "Tanh", "Transpose",
    ]  # fmt: skip
    assert region.calls[-1].class_name == "Matmul"
    assert [value.index for value in region.sources] == [graph.calls[1].outputs[0].index]


def test_blocks_have_one_form():
    graph = graph_of(lambda x: attention_of_parts(layers.Dense(4)(attention_of_parts(x))))
    found = regions(graph)
    forms = [form_of(found[index]) for index in sorted(found)]
    assert len(forms) == 4
    assert forms[:2] == forms[2:]
    assert forms[0] != forms[1]


def last(graph, batch=64):
    return predict(graph, input_signals(graph), Options(training=True, batch=batch)).results[-1]


def test_products_of_parts_keep_their_rules():
    assert str(last(graph_of(attention_of_parts)).support) == "exact"


def test_a_join_that_its_rule_takes_as_independent_is_approximate():
    graph = graph_of(lambda x: x - ops.mean(x, axis=1, keepdims=True))
    assert str(last(graph).support) == "approximate"
    assert str(last(graph_of(lambda x: x * ops.sigmoid(x))).support) == "exact"
    assert str(last(graph_of(lambda x: layers.Add()([x, x, layers.Dense(12)(x)]))).support) == (
        "exact"
    )


@pytest.mark.parametrize("join", [layers.Add(), layers.Dot(axes=2)], ids=["sum", "products"])
def test_layers_between_stay_as_they_are(join):
    normalization = layers.BatchNormalization()
    graph = graph_of(lambda x: join([normalization(x), ops.mean(x, 1, keepdims=True)]))
    before = normalization.get_weights()
    assert str(last(graph).support) in ("approximate", "sampled")
    for old, new in zip(before, normalization.get_weights(), strict=True):
        assert (old == new).all()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))),
        lambda x: layers.Attention()([x, x]),
        lambda x: layers.AdditiveAttention()([x, x]),
        lambda x: ops.einsum("btc,btd->bcd", x, x - 0.5),
        lambda x: layers.Attention()([layers.Dense(12)(x), x]),
    ],
    ids=["products", "attention", "additive", "moments", "to others"],
)
def test_what_meets_again_follows_from_what_it_was_made_of(function):
    """Behind a rectified layer; six draws of its weights."""
    graph = graph_of(lambda x: function(ops.relu(x)))
    figures = []
    for draw in range(6):
        draw_configured_weights(graph, draw, reseed=True)
        result, moments = last(graph), probe_model(graph, 64, draw).moments[-1]
        signal = result.signals[0]
        figures.append((signal.expected_variance, moments.variance, signal.mean, moments.mean))
    variance, measured, mean, measured_mean = np.mean(figures, 0)
    assert str(result.support) == "sampled"
    assert variance == pytest.approx(measured, rel=0.12)
    assert mean == pytest.approx(measured_mean, abs=0.05 * (measured + measured_mean**2) ** 0.5)
