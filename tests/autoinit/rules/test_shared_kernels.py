"""Layers in a loop: what comes of one kernel that meets its own outputs again."""

import math

import keras
import numpy as np
import pytest
from keras import layers

from autoinit import AutoInit
from autoinit.propagation import Options, input_signals, plan, predict
from autoinit.reading import read_model
from autoinit.rules.registry import Support
from autoinit.signals import SIGNAL_MODELS
from autoinit.signals.correlated.signal import CorrelatedSignal
from autoinit.signals.signal import NO_BIAS, KernelMoments, Lineage, like_samples

WIDTH = 300


def dense(activation=None, **options):
    normal = keras.initializers.RandomNormal(stddev=1 / math.sqrt(WIDTH), seed=0)
    return layers.Dense(WIDTH, activation, kernel_initializer=normal, **options)


def loop(step, number):
    x = data = keras.Input((WIDTH,))
    for _ in range(number):
        x = step(x)
    return keras.Model(data, x)


def residual(branch):
    return lambda x: layers.Add()([x, branch(x)])


def predicted(model, signal_model="independent"):
    graph = read_model(model)
    return predict(graph, input_signals(graph, signal_model=signal_model))


@pytest.mark.parametrize("signal_model", SIGNAL_MODELS)
@pytest.mark.parametrize("steps", [1, 2, 5, 60])
def test_a_linear_residual_loop_by_hand(steps, signal_model):
    # (I + W)^L x = Σ C(L, k)·W^k x, whose terms are orthogonal: Σ C(L, k)² = C(2L, L).
    shared = dense()
    model = loop(residual(shared), steps)
    shared.kernel.assign(shared.kernel / np.sqrt(np.square(shared.kernel).sum(0).mean()))
    result = predicted(model, signal_model).results[-1]
    assert result.signals[0].variance == pytest.approx(math.comb(2 * steps, steps), rel=0.02)
    assert result.support is Support.EXACT


def test_a_chain_of_one_linear_layer_by_hand():
    shared = dense()
    model = loop(shared, 4)
    power = float(np.square(shared.kernel).sum(0).mean())
    assert predicted(model).results[-1].signals[0].variance == pytest.approx(power**4, rel=1e-5)


def two_kernels():
    inner, outer = dense("relu"), dense()
    return residual(lambda x: outer(inner(x)))


def before_normalization():
    shared, normalization = dense("tanh"), layers.LayerNormalization()
    return residual(lambda x: shared(normalization(x)))


def with_dropout():
    shared, dropout = dense(), layers.Dropout(0.3)
    return residual(lambda x: dropout(shared(x)))


def activated_first():
    shared, relu = dense(), layers.ReLU()
    return residual(lambda x: shared(relu(x)))


def scaled_down():
    shared = dense()
    return lambda x: x - 0.4 * shared(x)


@pytest.mark.parametrize(
    "step",
    [
        lambda: residual(dense("tanh")),
        lambda: residual(dense("relu")),
        lambda: dense("relu"),
        two_kernels,
        before_normalization,
        with_dropout,
        activated_first,
        scaled_down,
    ],
    ids=[
        "tanh",
        "relu",
        "chain",
        "two kernels",
        "normalization",
        "dropout",
        "activated first",
        "scaled",
    ],
)
def test_against_random_weights(step):
    model = loop(step(), 4)
    generator = np.random.default_rng(0)
    found, measured, supports = [], [], set()
    for _ in range(3):
        for variable in model.trainable_variables:
            if len(variable.shape) == 2:
                drawn = generator.standard_normal(variable.shape) / math.sqrt(WIDTH)
                variable.assign(drawn)
        data = generator.standard_normal((200, WIDTH)).astype("float32")
        output = np.asarray(model(data, training=True), float)
        measured.append((output**2).mean())
        results = predicted(model, "correlated").results
        found.append(results[-1].signals[0].second_moment)
        supports |= {result.support for result in results}
    assert supports <= {Support.EXACT, Support.NEUTRAL}
    assert np.mean(found) == pytest.approx(np.mean(measured), rel=0.1)


def test_branches_that_share_a_layer_stay_exact():
    shared = dense("relu")
    first, second = keras.Input((WIDTH,)), keras.Input((WIDTH,))
    model = keras.Model([first, second], layers.Subtract()([shared(first), shared(second)]))
    result = predicted(model)
    assert not result.findings
    power = float(np.square(shared.kernel).sum(0).mean())
    relu = power * (0.5 - 1 / (2 * math.pi))
    assert result.results[-1].signals[0].variance == pytest.approx(2 * relu, rel=1e-3)


def test_what_is_not_followed_is_approximate():
    shared = layers.Conv1D(8, 3, padding="same", name="shared")
    data = keras.Input((16, 8))
    pooled = layers.MaxPooling1D(2, strides=1, padding="same")(shared(data))
    result = predicted(keras.Model(data, shared(layers.Add()([data, pooled]))))
    (finding,) = result.findings
    assert (finding.code, finding.path) == ("shared_layer", "shared:2")
    assert "approximate" in finding.message
    assert result.results[-1].support is Support.APPROXIMATE


def test_a_function_of_dependent_operands_is_approximate():
    shared = dense()
    model = loop(lambda x: layers.ReLU()(layers.Add()([x, shared(x)])), 3)
    supports = [
        result.support for result in predicted(model).results if result.support is not Support.EXACT
    ]
    # The input, and from the second sum on the functions of sums.
    assert supports == [Support.NEUTRAL, Support.APPROXIMATE, Support.APPROXIMATE]


@pytest.mark.parametrize("activation", [None, "relu"])
def test_autoinit_scales_a_loop_for_its_last_use(activation):
    shared = dense(activation, name="shared")
    model = loop(residual(shared), 6)
    graph = read_model(model)
    variances = [
        result.signals[0].variance
        for result in plan(graph, input_signals(graph)).results
        if result.weighted
    ]
    assert variances[-1] == pytest.approx(1.0, rel=0.02)
    assert variances == sorted(variances)
    new = AutoInit({"seed": 0}).initialize_model(model)
    data = np.random.default_rng(0).standard_normal((200, WIDTH)).astype("float32")
    before = keras.Model(new.inputs[0], new.layers[-1].input[0])(data)
    kernel = np.asarray(new.get_layer("shared").kernel)
    assert np.var(np.asarray(before) @ kernel) == pytest.approx(1.0, rel=0.2)
    output = np.asarray(new(data))
    assert (output**2).mean() < 20


def test_two_uses_of_a_tower_are_like_two_samples():
    """Differences lose what the tower's weights give both: of Wx, fan_in·Var(w)·(E x)² each."""
    lineages = [Lineage(0, frozenset((place,))) for place in range(2)]
    kernel = KernelMoments(60 * 0.03, 60 * 0.03, 0.0, (), 60, 40)
    one, other = (
        CorrelatedSignal.gaussian(2.0, 0.5).arrange(()).linear(kernel, NO_BIAS).descended(each)
        for each in lineages
    )
    assert one.variance == pytest.approx(1.8 * 4.5)
    assert one.combine("subtract", [other]).variance == pytest.approx(2 * 1.8 * 0.5)
    assert one.combine("add", [other]).variance == pytest.approx(2 * 1.8 * 0.5 + 4 * 1.8 * 4)
    # The same inputs are no two samples, and what was scaled is another's output.
    apart = 2 * one.variance
    assert one.combine("subtract", [other.descended(lineages[0])]).variance == pytest.approx(apart)
    scaled = one.affine(2.0, 0.0), other.affine(1.0, 0.0)
    assert scaled[0].combine("subtract", scaled[1:]).variance == pytest.approx(5 * one.variance)

    random = np.random.default_rng(0)
    weights = math.sqrt(0.03) * random.standard_normal((50_000, 60))
    x, y = (
        (weights * (2 + math.sqrt(0.5) * random.standard_normal(weights.shape))).sum(-1)
        for _ in range(2)
    )
    product = one.combine("multiply", [other])
    assert product.mean == pytest.approx((x * y).mean(), rel=0.02)
    assert product.variance == pytest.approx((x * y).var(), rel=0.1)


@pytest.mark.parametrize(("build", "alike"), [
    (lambda tower, x, y: (tower(x), tower(y)), True),
    (lambda tower, x, y: (tower(x), tower(x)), False),
    (lambda tower, x, y: (tower(layers.Add()([x, x])), tower(layers.Add()([x, y]))), False),
    (lambda tower, x, y: (tower(x), layers.Dense(3)(y)), False),
])  # fmt: skip
def test_which_tensors_are_uses_of_the_same_layers(build, alike):
    x, y = keras.Input((5,)), keras.Input((5,))
    inner = keras.Input((5,))
    tower = keras.Model(inner, layers.Dense(3, "tanh")(layers.Dense(4, "relu")(inner)))
    found = []
    with pytest.MonkeyPatch.context() as patch:
        combine = CorrelatedSignal.combine

        def looked_at(self, operation, others):
            if operation == "subtract":
                found.append(like_samples(self.lineage, others[0].lineage))
            return combine(self, operation, others)

        patch.setattr(CorrelatedSignal, "combine", looked_at)
        graph = read_model(keras.Model([x, y], layers.Subtract()(build(tower, x, y))))
        predict(graph, input_signals(graph), Options())
    assert found == [alike]
