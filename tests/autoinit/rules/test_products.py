"""Matrix products, einsum and attention."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from autoinit.propagation import Options, input_signals, plan, predict
from autoinit.reading import read_model
from autoinit.signals import SIGNAL_MODELS
from autoinit.signals.signal import Masking
from probes import probe_model

models = pytest.mark.parametrize("signal_model", SIGNAL_MODELS)


def last(model, signal_model="correlated", **options):
    graph = read_model(model)
    result = predict(graph, input_signals(graph, signal_model=signal_model), Options(**options))
    return result.results[-1]


def measured(model, draws=3, samples=256):
    """Mean over draws of the inputs of the variance of the last call."""
    graph = read_model(model)
    probes = [probe_model(graph, samples, seed) for seed in range(draws)]
    values = np.array([probe.moments[-1].variance for probe in probes])
    return values.mean(), values.std(ddof=1) / np.sqrt(draws) + 1e-3 * values.mean()


def of_inputs(function, *shapes):
    tensors = [keras.Input(shape) for shape in shapes]
    return keras.Model(tensors, function(*tensors))


@models
@pytest.mark.parametrize(
    ("function", "shapes", "variance"),
    [
        (ops.matmul, [(5, 8), (8, 3)], 8.0),
        (ops.matmul, [(4, 5, 8), (4, 8, 3)], 8.0),
        (lambda x, y: ops.einsum("btnh,bsnh->bnts", x, y), [(5, 2, 8), (6, 2, 8)], 8.0),
        (lambda x, y: ops.einsum("bnts,bsnh->btnh", x, y), [(2, 5, 6), (6, 2, 8)], 6.0),
        (lambda x, y: ops.einsum("bi,bi->bi", x, y), [(9,), (9,)], 1.0),
        (lambda x, y: ops.einsum("b...h,b...h->b...", x, y), [(4, 9), (4, 9)], 9.0),
        (lambda x, y: ops.einsum("bth,bsh->b", x, y), [(4, 8), (5, 8)], 160.0),
    ],
)
def test_products_of_two_tensors_by_hand(function, shapes, variance, signal_model):
    """A sum of n products of independent standard entries has variance n."""
    model = of_inputs(function, *shapes)
    outcome = last(model, signal_model)
    assert outcome.signals[0].mean == pytest.approx(0.0)
    assert outcome.signals[0].variance == pytest.approx(variance)
    assert str(outcome.support) == "exact"
    mean, error = measured(model)
    assert outcome.signals[0].variance == pytest.approx(mean, abs=4 * error)


@models
@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))),
        lambda x: ops.einsum("bth,bsh->bts", x, x),
        lambda x: ops.matmul(2 * x, ops.swapaxes(layers.Reshape((6, 8))(x), 1, 2)) / 2,
    ],
    ids=["matmul", "einsum", "moved"],
)
def test_a_tensor_with_itself_is_sampled(function, signal_model):
    """Of 6 tokens of n = 8 entries: 6 of 36 products are squares: mean n, E n² + 2n."""
    data = keras.Input((6, 8))
    result = last(keras.Model(data, function(data)), signal_model)
    mean = 8 / 6
    assert result.signals[0].mean == pytest.approx(mean, rel=0.02)
    assert result.signals[0].variance == pytest.approx((80 + 5 * 8) / 6 - mean**2, rel=0.03)


def tensordot(shape, axes):
    return lambda x: ops.tensordot(x, np.ones(shape, "float32"), axes=axes)


@models
def test_a_constant_matrix_is_used_as_it_is(signal_model):
    matrix = np.random.default_rng(0).normal(0.2, 1.0, (16, 40)).astype("float32")
    model = of_inputs(lambda x: ops.matmul(x, matrix), (16,))
    outcome = last(model, signal_model)
    assert outcome.signals[0].variance == pytest.approx((matrix**2).sum(0).mean(), rel=1e-5)
    mean, error = measured(model)
    assert outcome.signals[0].variance == pytest.approx(mean, abs=4 * error)


@models
@pytest.mark.parametrize(
    ("function", "shape", "variance"),
    [
        (lambda x: ops.einsum("bii->b", x), (6, 6), 6.0),
        (lambda x: ops.einsum("bij->bi", x), (5, 6), 6.0),
        (lambda x: ops.einsum("bij->bji", x), (5, 6), 1.0),
        (tensordot((6, 3), [[2], [0]]), (5, 6), 6.0),
        (tensordot((5, 6, 2), [[1, 2], [0, 1]]), (5, 6), 30.0),
        (lambda x: ops.einsum("bij,jk,kl->bil", x, *np.ones((2, 6, 6), "float32")), (5, 6), 216.0),
    ],
    ids=["trace", "sum", "transposed", "tensordot", "tensordot of two axes", "three operands"],
)
@pytest.mark.filterwarnings("ignore:NotImplemented should not be used:DeprecationWarning")  # Keras
def test_sums_of_other_forms_are_told_by_what_they_do(function, shape, variance, signal_model):
    """A sum of n entries has n times their variance; that of six sums alike, 36 times its own."""
    outcome = last(of_inputs(function, shape), signal_model)
    assert str(outcome.support) in ("exact", "approximate", "neutral")
    assert outcome.signals[0].variance == pytest.approx(variance, rel=1e-4)


@models
@pytest.mark.parametrize(
    "equation",
    [("abc,cde->abde", (None, 4, 8)), ("abcd,cde->abe", (None, 64)), ("abc,cd->adb", (32, None))],
)
def test_einsum_dense_keeps_what_tokens_have_in_common(equation, signal_model):
    """Query and output projections of attention: heads are split off, and merged again."""
    shape = (6, 4, 8) if equation[0].startswith("abcd") else (6, 16)
    data = keras.Input(shape)
    x = ops.tanh(data + ops.mean(data, axis=1, keepdims=True) * 3.0)
    layer = layers.EinsumDense(equation[0], equation[1], name="dense")
    if equation[0] == "abc,cd->adb":
        layer = layers.EinsumDense(equation[0], (32, 6), name="dense")
    graph = read_model(keras.Model(data, layer(x)))
    result = plan(graph, input_signals(graph, signal_model=signal_model))
    outcome = result.results[-1]
    assert outcome.weighted
    assert outcome.signals[0].variance == pytest.approx(1.0, rel=0.1)
    if signal_model == "correlated":
        probe = probe_model(graph, 256)
        assert outcome.signals[0].position_correlation == pytest.approx(
            probe["dense"].position_correlation, abs=0.12
        )


def uniform(counts, total):
    return np.array([[j < n for j in range(total)] for n in counts])


def test_masks_are_counted():
    rows = Masking.of_samples(uniform([1, 2, 4, 4], 4)[None])
    assert rows.seen == (1, 2, 4, 4)
    shares = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4, [0.25] * 4]).mean(0)
    assert rows.overlap == rows.overlap_between == pytest.approx((shares**2).sum())
    two = Masking.of_samples(np.array([[[True, True]], [[True, False]]]))
    assert two.overlap == pytest.approx((0.5 + 1.0) / 2)
    assert two.overlap_between == pytest.approx(0.5)  # ½·1 + ½·0


def attention_of(size, units, heads=2, **arguments):
    def function(query, key, value):
        return ops.dot_product_attention(query, key, value, **arguments)

    return of_inputs(function, *[(size, heads, units)] * 3)


@models
@pytest.mark.parametrize(
    ("size", "units", "arguments"),
    [
        (8, 16, {}),
        (32, 8, {}),
        (8, 16, {"scale": 0.01}),
        (8, 16, {"scale": 1.0}),
        (12, 16, {"is_causal": True}),
        (6, 16, {"mask": uniform([6, 3, 3, 2, 1, 1], 6)[None, None]}),
    ],
)
def test_attention_to_independent_values(size, units, arguments, signal_model):
    """Σ p·v has variance S·E p²: 1/n for uniform shares of n tokens, 1 where one has all."""
    outcome = last(attention_of(size, units, **arguments), signal_model)
    mean, error = measured(attention_of(size, units, **arguments), draws=4)
    # Logits are sums of 8 or 16 products, which are not quite Gaussian.
    assert outcome.signals[0].variance == pytest.approx(mean, abs=4 * error + 0.06 * mean)
    if arguments.get("scale") == 0.01:
        assert outcome.signals[0].variance == pytest.approx(1 / size, rel=0.01)


@models
@pytest.mark.parametrize(
    ("mask", "seen"), [(None, [1, 2, 3, 4]), (uniform([6, 1, 3, 2], 6)[None, None], [1, 1, 3, 2])]
)
def test_causal_attention_goes_by_places_whatever_the_lengths(mask, seen, signal_model):
    """Target i sees the sources up to i, those that a mask leaves: 1/n of n equal shares."""

    def function(query, key, value):
        return ops.dot_product_attention(query, key, value, mask=mask, scale=1e-3, is_causal=True)

    def model():
        return of_inputs(function, (4, 2, 16), (6, 2, 16), (6, 2, 16))

    expected = np.mean([1 / n for n in seen])
    assert last(model(), signal_model).signals[0].variance == pytest.approx(expected, rel=0.01)
    mean, error = measured(model(), draws=2)
    assert mean == pytest.approx(expected, abs=4 * error + 0.01)


@pytest.mark.parametrize("shared", [0.5, pytest.param(0.9, marks=pytest.mark.slow)])
def test_attention_to_values_with_something_in_common(shared):
    """What tokens share passes through attention whole, and logits' common part drops out."""
    size, units = 16, 32

    def tokens():
        common, own = keras.Input((1, 2, units)), keras.Input((size, 2, units))
        return (common, own), own * (1 - shared) ** 0.5 + common * shared**0.5

    inputs, tensors = zip(*(tokens() for _ in range(3)), strict=True)
    model = keras.Model(inputs, ops.dot_product_attention(*tensors))
    outcome = last(model)
    mean, error = measured(model, draws=4, samples=512)
    assert outcome.signals[0].variance == pytest.approx(mean, abs=4 * error + 0.05 * mean)
    assert outcome.signals[0].variance > shared
    probe = probe_model(read_model(model), 512)
    assert outcome.signals[0].sample_correlation == pytest.approx(0.0, abs=0.05)
    assert probe.moments[-1].sample_correlation == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention_is_planned_and_predicted(dropout, causal):
    """Fused (without dropout) and as einsum, softmax, dropout, einsum."""
    data = keras.Input((24, 64))
    layer = layers.MultiHeadAttention(4, 16, dropout=dropout, name="attention")
    model = keras.Model(data, layer(data, data, use_causal_mask=causal))
    graph = read_model(model)
    result = plan(graph, input_signals(graph))
    states = {str(outcome.support) for outcome in result.results}
    assert states <= {"exact", "neutral"}
    assert len(result.scales) == 4
    variances = []
    from autoinit.initializers.drawing import apply_plans

    for seed in range(6):
        apply_plans(result.scales, "truncated_normal", seed)
        probe = probe_model(graph, 128, seed)
        variances.append([moments.variance for moments in probe.moments])
    means = np.array(variances).mean(0)
    for call, outcome, mean in zip(graph.calls, result.results, means, strict=True):
        if not call.outputs[0].dtype.startswith("bool") and mean > 0:
            assert outcome.signals[0].variance == pytest.approx(mean, rel=0.15), call.path


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_attention_of_few_features_weighs_what_it_looks_for(dropout):
    """Shares go with the values of the same tokens, whether some of them are dropped or not."""
    data = keras.Input((60, 4))
    model = keras.Model(data, layers.MultiHeadAttention(4, 32, dropout=dropout)(data, data))
    graph = read_model(model)
    result = plan(graph, input_signals(graph))
    from autoinit.initializers.drawing import apply_plans

    variances = []
    for seed in range(12):
        apply_plans(result.scales, "truncated_normal", seed)
        probe = probe_model(graph, 64, seed)
        variances.append([moments.variance for moments in probe.moments[-2:]])
    found = [outcome.signals[0].variance for outcome in result.results[-2:]]
    assert found == pytest.approx(np.mean(variances, 0), rel=0.35)


@pytest.mark.parametrize("kind", [layers.Attention, layers.AdditiveAttention])
def test_attention_without_projections_is_opened(kind):
    query, value = keras.Input((6, 16)), keras.Input((9, 16))
    model = keras.Model([query, value], kind(name="attention")([query, value]))
    graph = read_model(model)
    assert len(graph.calls) > 4
    outcome = last(model)
    mean, error = measured(model, draws=4)
    assert outcome.signals[0].variance == pytest.approx(mean, abs=4 * error + 0.12 * mean)


def test_grouped_queries_read_the_same_keys():
    data = keras.Input((12, 32))
    layer = layers.GroupQueryAttention(8, 4, 2, name="attention")
    graph = read_model(keras.Model(data, layer(data, data)))
    result = plan(graph, input_signals(graph))
    assert {str(outcome.support) for outcome in result.results} <= {"exact", "neutral"}
    assert len(result.scales) == 4
