"""Faults of the kernels that a training would start from, in closed form where there is one."""

import keras
import numpy as np
import pytest
from keras import initializers, layers

from app.analysis.diagnosis.fault import Consequence
from app.analysis.diagnosis.linter import scales
from app.analysis.diagnosis.linter.initializers import initial_variance
from app.analysis.diagnosis.linter.lint import initial
from app.analysis.diagnosis.linter.scales import power, second_moment
from app.analysis.diagnosis.linter.training import is_trained, statistics_mismatch
from tests.app.analysis.diagnosis.models import chain, dense, read


def codes(model, values=True):
    found = initial(read(model, values))
    return {f.code: f.path for f in found if f.consequence is not Consequence.NOTE}


def small(**options):
    return initializers.RandomNormal(stddev=0.05, **options)


@pytest.mark.parametrize(
    "initializer",
    [
        initializers.RandomNormal(0.1, 0.3),
        initializers.TruncatedNormal(stddev=0.3),
        initializers.RandomUniform(-0.2, 0.4),
        initializers.GlorotNormal(),
        initializers.HeUniform(),
        initializers.LecunNormal(),
        initializers.Orthogonal(1.5),
        initializers.VarianceScaling(3.0, "fan_out", "uniform"),
    ],
    ids=lambda initializer: type(initializer).__name__,
)
def test_the_variance_of_an_initializer_is_what_it_draws(initializer):
    drawn = np.asarray(initializer((3, 3, 40, 60)), float)
    name = type(initializer).__name__.lower()
    found = initial_variance((name, initializer.get_config()), (3, 3, 40, 60))
    assert found == pytest.approx((drawn**2).mean(), rel=0.03)


@pytest.mark.parametrize("name", ["relu", "selu", "gelu", "tanh", "sigmoid", "elu", "silu", "mish"])
def test_second_moments_behind_activations(name):
    points = np.random.default_rng(0).standard_normal(400_000).astype("float32") * 1.3
    values = keras.ops.convert_to_numpy(keras.activations.get(name)(points)).astype(float)
    assert second_moment(name, 1.69) == pytest.approx((values**2).mean(), rel=0.02)
    assert second_moment("relu", 3.0) == pytest.approx(1.5)
    assert second_moment("of my own", 1.0) is None


def test_a_depthwise_kernel_reads_one_channel_and_is_drawn_for_all():
    model = chain((8, 8, 64), layers.DepthwiseConv2D(3, name="depthwise"))
    found = read(model)
    (step,) = found.kernels()
    # Glorot: 2/(9·64 + 9·1) for each of 9 taps.
    assert power(found, step) == pytest.approx(9 * 2 / (9 * 64 + 9))


FAULTY = {
    "N(0, 0.05) for few inputs": (
        "init_vs_activation", chain((8,), dense(8, "relu", kernel_initializer=small(), name="here"),
                                    dense(8, "relu", kernel_initializer=small()), dense(2)),
    ),
    "N(0, 1) for many": (
        "init_vs_activation",
        chain((500,), dense(300, "tanh", kernel_initializer=initializers.RandomNormal(stddev=1.0),
                            name="here"), dense(2)),
    ),
    "Glorot before many ReLUs": (
        "init_vs_activation", chain((64,), dense(64, "relu", name="here"),
                                    *[dense(64, "relu") for _ in range(11)], dense(2)),
    ),
    "depthwise by default": (
        "init_vs_activation",
        chain((8, 8, 32), layers.DepthwiseConv2D(3, name="here"), layers.ReLU(),
              layers.DepthwiseConv2D(3), layers.ReLU(), layers.Flatten(), dense(2)),
    ),
    "SELU by Glorot": (
        "init_vs_activation", chain((64,), dense(64, "selu", name="here"), dense(64, "selu"),
                                    dense(2)),
    ),
    "zeros behind zeros": (
        "zero_kernel", chain((4,), dense(8, "relu", kernel_initializer="zeros", name="here"),
                             dense(8, "relu", kernel_initializer="zeros"), dense(1)),
    ),
    "constants": (
        "symmetric_kernel",
        chain((4,), dense(8, "relu", kernel_initializer=initializers.Constant(0.3), name="here"),
              dense(3)),
    ),
    "constants in gates": (
        "symmetric_kernel",
        chain((5, 4), layers.LSTM(3, kernel_initializer=initializers.Constant(0.3), name="here",
                                  recurrent_initializer=initializers.Identity(0.5)), dense(3)),
    ),
    "one seed": (
        "shared_seed",
        chain((16,), *[dense(16, "relu", kernel_initializer=initializers.HeNormal(seed=1),
                             name=name) for name in ("here", "there")], dense(2)),
    ),
}  # fmt: skip


def fixup():
    given = keras.Input((8,))
    x = dense(8, "relu")(given)
    y = dense(8, kernel_initializer="zeros")(dense(8, "relu", kernel_initializer="he_normal")(x))
    return keras.Model(given, dense(2, kernel_initializer="zeros")(layers.Add()([x, y])))


def siren():
    given = x = keras.Input((64,))
    limit = (6 / 64) ** 0.5 / 30
    for _ in range(3):
        draw = initializers.RandomUniform(-limit, limit)
        x = keras.ops.sin(30.0 * dense(64, kernel_initializer=draw)(x))
    return keras.Model(given, dense(1)(x))


def narrow_transformer():
    """N(0, 0.02) in branches that are added, as vision transformers draw them."""
    given = x = keras.Input((9, 96))
    for _ in range(3):
        y = layers.LayerNormalization()(x)
        y = dense(192, "gelu", kernel_initializer=initializers.TruncatedNormal(stddev=0.02))(y)
        y = dense(96, kernel_initializer=initializers.TruncatedNormal(stddev=0.02))(y)
        x = layers.Add()([x, y])
    return keras.Model(given, dense(2)(layers.LayerNormalization()(x)))


HEALTHY = {
    "small in branches that are added": narrow_transformer(),
    "Glorot before two ReLUs": chain((64,), dense(64, "relu"), dense(64, "relu"), dense(2)),
    "He before many": chain(
        (64,), *[dense(64, "relu", kernel_initializer="he_normal") for _ in range(20)], dense(2)
    ),
    "depthwise before batch normalization": chain(
        (8, 8, 32), layers.DepthwiseConv2D(3), layers.BatchNormalization(), layers.ReLU(),
        layers.DepthwiseConv2D(3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten(),
        dense(2),
    ),
    "SELU by LeCun": chain(
        (64,), *[dense(64, "selu", kernel_initializer="lecun_normal") for _ in range(9)], dense(2)
    ),
    "a fixed factor belongs to the kernel": siren(),
    "zeros on purpose": fixup(),
    "one input": chain((1,), dense(50, "relu"), dense(50, "relu"), dense(1)),
    "N(0, 0.05) for 400": chain((400,), dense(400, "tanh", kernel_initializer=small()), dense(2)),
}  # fmt: skip


@pytest.mark.parametrize("values", [True, False], ids=["values", "configuration alone"])
@pytest.mark.parametrize("name", FAULTY)
def test_faults_are_found_where_they_are(name, values):
    code, model = FAULTY[name]
    assert codes(model, values) == {code: "here"}


@pytest.mark.parametrize("values", [True, False], ids=["values", "configuration alone"])
@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_accused_that_is_healthy(name, values):
    assert codes(HEALTHY[name], values) == {}


def test_zeros_on_purpose_are_noted_and_kept():
    (note,) = [f for f in initial(read(fixup())) if f.consequence is Consequence.NOTE]
    assert (note.code, note.remedy) == ("zero_on_purpose", "keep_zero_init")


def normalized(activation, names, branch=False):
    x = given = keras.Input((8, 8, 4))
    for name in names:
        norm = layers.BatchNormalization(gamma_initializer="zeros", name=name)
        y = layers.Activation(activation)(norm(layers.Conv2D(4, 3, padding="same")(x)))
        x = layers.add([x, y]) if branch else y
    return keras.Model(given, dense(2, "softmax")(layers.GlobalAveragePooling2D()(x)))


# What comes back through a ReLU of zeros is nothing, through a tanh it is all; the second of two in
# a row gets zeros, and the first nothing back.
BY_ZERO = [
    ("relu", ["one"], False, ["one"]), ("tanh", ["one"], False, []),
    ("relu", ["one", "two"], False, ["one", "two"]),
    ("tanh", ["one", "two"], False, ["one", "two"]),
    ("tanh", ["one", "two"], True, []), ("relu", ["one", "two"], True, ["one", "two"]),
]  # fmt: skip


@pytest.mark.parametrize("values", [True, False], ids=["values", "configuration alone"])
@pytest.mark.parametrize(("activation", "names", "branch", "stuck"), BY_ZERO)
def test_normalizations_by_zero(activation, names, branch, stuck, values):
    model = normalized(activation, names, branch)
    found = [f for f in initial(read(model, values)) if f.code == "zero_gamma"]
    assert [[f.path, *f.others] for f in found] == ([stuck] if stuck else [])
    assert all((f.consequence, f.remedy) == (Consequence.FATAL, "start_at_one") for f in found)


@pytest.mark.parametrize(("activation", "names", "branch", "stuck"), BY_ZERO)
def test_normalizations_by_zero_held_against_steps(activation, names, branch, stuck):
    model = normalized(activation, names, branch)
    model.compile("sgd", "categorical_crossentropy")
    data = np.random.default_rng(0).standard_normal((8, 8, 8, 4)).astype("float32")
    model.fit(data, np.eye(2, dtype="float32")[np.arange(8) % 2], epochs=3, verbose=0)
    gammas = {name: keras.ops.convert_to_numpy(model.get_layer(name).gamma) for name in names}
    assert [name for name in names if not gammas[name].any()] == stuck


def test_one_initializer_object_draws_equal_kernels():
    drawn = initializers.HeNormal(seed=3)  # such an object draws the same each time
    model = chain((16,), *[dense(16, "relu", name=name) for name in ("first", "second")], dense(2))
    for name in ("first", "second"):
        model.get_layer(name).kernel.assign(drawn((16, 16)))
    assert codes(model) == {"shared_seed": "first"}


@pytest.mark.parametrize("both", [False, True])
def test_units_that_kernels_behind_take_apart_are_borne(both):
    ones = [initializers.Constant(0.1), initializers.Constant(0.1) if both else "glorot_uniform"]
    stack = [dense(8, "relu", kernel_initializer=each) for each in (*ones, "glorot_uniform")]
    (found,) = initial(read(chain((16,), *stack)))
    assert (found.code, found.bearable) == ("symmetric_kernel", not both)


@pytest.mark.parametrize("values", [True, False], ids=["values", "configuration alone"])
@pytest.mark.parametrize(("last", "stuck"), [("ones", True), ("glorot_uniform", False)])
def test_a_single_unit_that_weighs_all_alike_takes_none_apart(last, stuck, values):
    stack = [dense(8, "tanh", kernel_initializer="ones"), dense(1, kernel_initializer=last)]
    model = chain((4,), *stack)
    (found,) = (f for f in initial(read(model, values)) if f.code == "symmetric_kernel")
    assert (found.consequence is Consequence.FATAL) is stuck is (not found.bearable)
    model.compile("sgd", "mse")
    data = np.random.default_rng(0).standard_normal((16, 4)).astype("float32")
    model.fit(data, data[:, :1] ** 2, epochs=3, verbose=0)
    kernel = keras.ops.convert_to_numpy(stack[0].kernel)
    assert np.allclose(kernel, kernel[:, :1]) is stuck


def test_autoinit_leaves_recurrent_layers_as_they_are():
    both = read(FAULTY["constants in gates"][1])
    assert {f.series for f in initial(both) if f.code == "symmetric_kernel"} == {None, "autoinit"}
    alone = read(FAULTY["constants"][1])
    assert {f.series for f in initial(alone) if f.code == "symmetric_kernel"} == {None}


@pytest.mark.parametrize(
    ("draw", "depth", "told"),
    [
        (initializers.RandomUniform(0.0, 0.05, seed=1), 4, True),
        (initializers.RandomUniform(0.0, 0.05, seed=1), 2, False),
        (initializers.RandomNormal(0.02, 0.1, seed=1), 4, False),
        (initializers.HeNormal(seed=1), 12, False),
    ],
)
def test_kernels_of_one_sign_come_to_one_sum(draw, depth, told):
    hidden = [dense(64, "relu", kernel_initializer=initializers.get(draw)) for _ in range(depth)]
    model = chain((64,), *hidden, dense(10))
    found = [f.code for f in initial(read(model)) if f.code == "kernel_mean"]
    assert found == ["kernel_mean"] * told
    # What units still tell apart: the share of their variance that they have not in common.
    data = np.random.default_rng(0).standard_normal((256, 64))
    last = keras.ops.convert_to_numpy(keras.Model(model.inputs[0], hidden[-1].output)(data))
    alive = last[:, last.std(axis=0) > 0]
    assert (1 - np.corrcoef(alive.T).mean() < 1e-3) == told


@pytest.mark.parametrize("values", [True, False], ids=["values", "configuration alone"])
@pytest.mark.parametrize(
    ("constant", "between", "stuck"),
    [
        ({"first"}, (), False),
        ({"first", "second"}, (), True),
        ({"second"}, (), False),
        ({"second", "out"}, (), True),
        ({"out"}, (), False),
        ({"first", "second"}, (layers.Dropout(0.5),), False),
    ],
)
def test_units_that_start_alike_stay_so_where_they_are_read_alike(constant, between, stuck, values):
    keras.utils.set_random_seed(1)
    kernels = {name: initializers.Constant(0.3) for name in constant}
    first, second, out = (
        dense(5, activation, name=name, kernel_initializer=kernels.get(name, "glorot_uniform"))
        for name, activation in (("first", "tanh"), ("second", "tanh"), ("out", "softmax"))
    )
    model = chain((4,), first, *between, second, out)
    (fault,) = [f for f in initial(read(model, values)) if f.code == "symmetric_kernel"]
    assert (fault.consequence is Consequence.FATAL) is stuck is ("for ever" in fault.message)
    model.compile("sgd", "sparse_categorical_crossentropy")
    data = np.random.default_rng(0).standard_normal((32, 4))
    for _ in range(3):
        model.train_on_batch(data, np.arange(32) % 5)
    spread = [np.ptp(model.get_layer(name).get_weights()[0], axis=-1).max() for name in constant]
    assert bool(min(spread) < 1e-6) is stuck


def test_gates_of_one_seed_are_equal():
    stack = [
        layers.GRU(
            5,
            return_sequences=True,
            kernel_initializer=initializers.GlorotUniform(seed=1),
            name=name,
        )
        for name in ("first", "second", "third")
    ]
    assert codes(chain((6, 5), *stack, dense(2))) == {"shared_seed": "first"}


@pytest.mark.parametrize(
    "model",
    [
        lambda: chain((4,), dense(4, "relu"), dense(2)),
        lambda: chain((6, 5), layers.LSTM(4, return_sequences=True), layers.LSTM(4), dense(2)),
    ],
)
def test_training_shows_in_biases_that_moved(model):
    model = model()
    assert not is_trained(read(model))
    for layer in model.layers:
        bias = getattr(layer, "cell", layer).bias
        bias.assign(bias + 0.1)
    assert is_trained(read(model))


@pytest.mark.parametrize(
    ("mean", "variance", "stale"),
    [
        (0.0, 1.0, False),
        (0.3, 1.7, False),
        (2.0, 30.0, False),
        (50.0, 1e-6, True),
        (0.1, 1e9, True),
        (0.0, -1e-4, False),  # the layer adds 0.001
    ],
)
def test_moving_statistics_against_what_arrives(mean, variance, stale):
    model = chain((4,), dense(6), layers.BatchNormalization(name="norm"))
    layer = model.get_layer("norm")
    layer.moving_mean.assign(np.full(6, mean))
    layer.moving_variance.assign(np.full(6, variance))
    found = list(statistics_mismatch(read(model), {"norm": (0.0, 2.0)}))
    assert [fault.code for fault in found] == ["train_inference_mismatch"] * stale


def test_a_negative_moving_variance_is_told_as_such():
    """One channel is enough: in training nothing shows it, and inference gives NaN."""
    model = chain((4,), dense(6), layers.BatchNormalization(name="norm"))
    model.get_layer("norm").moving_variance.assign([1.0, 2.0, -0.5, 1.0, 1.0, 1.0])
    (fault,) = statistics_mismatch(read(model), {"norm": (0.0, 2.0)})
    assert fault.message == (
        "The moving variance of 'norm' is negative (down to −0.5): in inference its output is no "
        "number."
    )


def test_the_module_names_every_function_that_it_judges():
    assert set(scales._NEEDED) <= set(scales._FUNCTIONS)


def test_small_factors_that_pile_up_are_told_as_one():
    model = chain((64,), *(dense(64, "relu", name=f"d{i}") for i in range(34)))
    (fault,) = (f for f in initial(read(model, values=False)) if f.code == "init_vs_activation")
    # 2·64/(64 + 64) of the mean square passes a kernel, half of it ReLU: 2 times too small.
    assert fault.path == "d0"
    assert "From 'd0' on kernels are drawn too small: Glorot uniform" in fault.message
    assert "multiplies the signal's mean square by 1, which is 2 times too small" in fault.message


def test_one_that_is_off_is_told_by_itself():
    wide = initializers.RandomNormal(stddev=1.0)
    model = chain((400,), dense(64, "relu", kernel_initializer=wide, name="d"), dense(3))
    (fault,) = (f for f in initial(read(model, values=False)) if f.code == "init_vs_activation")
    assert "The kernel of 'd' is drawn too large: N(0, 1) does not go by" in fault.message
    assert "mean square by 400, which is 200 times too large" in fault.message


def test_a_small_head_is_one_on_purpose_where_nothing_else_is_small():
    def found(first, **head):
        model = chain(
            (64,), dense(64, "relu", kernel_initializer=first, name="d"), dense(2, **head)
        )
        return [
            f.path for f in initial(read(model, values=False)) if f.code == "init_vs_activation"
        ]

    tiny = {"kernel_initializer": initializers.RandomUniform(-0.003, 0.003)}
    assert found("he_normal", **tiny) == []
    assert found("he_normal", **tiny, activation="tanh") == []
    assert found(initializers.RandomNormal(stddev=0.01), **tiny) == ["d"]
    assert len(found("he_normal", kernel_initializer=initializers.RandomNormal(stddev=3.0))) == 1


@pytest.mark.parametrize(
    ("scaled", "factor"),
    [
        (lambda x: x * 3.0, 9.0),
        (lambda x: 3.0 * x, 9.0),
        (lambda x: x / 2.0, 0.25),
        (lambda x: 1e-3 / (1.0 + x * x), None),
    ],
    ids=["x·3", "3·x", "x/2", "0.001/(1 + x²)"],
)
def test_a_factor_is_what_a_tensor_is_multiplied_or_divided_by(scaled, factor):
    """A number that is divided by a tensor scales nothing."""
    data = keras.Input((8,))
    steps = read(keras.Model(data, scaled(layers.Dense(8)(data))), values=False).steps
    assert scales._factor(steps[-1]) == factor


def test_a_small_head_behind_a_normalization_is_one_too():
    """As ConvNeXt's and GPT's, which are drawn by N(0, 0.02)."""
    small = initializers.TruncatedNormal(stddev=0.02)
    parts = dense(64, "gelu"), layers.LayerNormalization()
    model = chain((64,), *parts, dense(3, kernel_initializer=small))
    assert list(initial(read(model, values=False))) == []
    # A first kernel is none.
    model = chain((64,), layers.LayerNormalization(), dense(3, kernel_initializer=small))
    assert [f.code for f in initial(read(model, values=False))] == ["init_vs_activation"]
