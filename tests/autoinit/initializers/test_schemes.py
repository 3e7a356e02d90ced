"""Every scheme draws the kernels of any model, at the deviation that it names."""

import keras
import numpy as np
import pytest
from keras import layers

from autoinit import AutoInit
from autoinit.initializers.schemes import SCHEMES
from probes import probe_gradients, probe_model


def network():
    """Convolutions of several kinds, a residual branch, a normalization, an attention."""
    inputs = keras.Input((6, 6, 8))
    x = first = layers.Conv2D(16, 3, padding="same", activation="relu", name="conv")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(16, 1, name="last")(layers.ReLU()(x))
    x = layers.Reshape((36, 16))(layers.Add(name="block")([first, x]))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8, name="attention")(x, x)])
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(64, name="head")(x))


def drawn(scheme, model=None, **options):
    keras.utils.set_random_seed(0)
    return AutoInit({"seed": 0, **options}, scheme=scheme).initialize_model(model or network())


def kernel(model, name):
    return np.asarray(model.get_layer(name).kernel)


# Of those that differ in a number alone one is drawn with every time.
ALIKE = ("he", "lecun")


@pytest.mark.parametrize(
    "scheme", [pytest.param(each, marks=[pytest.mark.slow] * (each in ALIKE)) for each in SCHEMES]
)
def test_a_scheme_draws_every_kernel_and_what_it_gives_opens_anywhere(scheme, tmp_path):
    model = network()
    new = drawn(scheme, model)
    assert [w.shape for w in new.weights] == [w.shape for w in model.weights]
    changed = [
        w.path
        for w, old in zip(new.weights, model.weights, strict=True)
        if w.path.endswith("kernel") and not np.allclose(w, old)
    ]
    assert len(changed) == 8
    again = drawn(scheme, model)
    assert all(np.array_equal(a, b) for a, b in zip(new.weights, again.weights, strict=True))
    new.save(tmp_path / "new.keras")
    opened = keras.models.load_model(tmp_path / "new.keras")
    assert all(np.array_equal(a, b) for a, b in zip(new.weights, opened.weights, strict=True))
    assert all(np.isfinite(w).all() for w in new.weights)


@pytest.mark.parametrize(
    ("scheme", "conv", "depthwise", "head"),
    [  # 2/(72 + 144), 2/72, 1/72; of depthwise kernels a unit reads 9 entries
        ("glorot", 2 / 216, 2 / 18, 2 / 80),
        ("he", 2 / 72, 2 / 9, 2 / 16),
        ("lecun", 1 / 72, 1 / 9, 1 / 16),
    ],
)
def test_variances_are_those_of_the_fans(scheme, conv, depthwise, head):
    new = drawn(scheme)
    for name, expected in (("conv", conv), ("depthwise", depthwise), ("head", head)):
        assert kernel(new, name).var() == pytest.approx(expected, rel=0.2)


def test_orthogonal_kernels_have_singular_values_of_1():
    new = drawn("orthogonal")
    singular = np.linalg.svd(kernel(new, "head"), compute_uv=False)
    assert singular == pytest.approx(np.ones(16), abs=1e-5)
    # AutoInit's scale on the same shape of a matrix.
    scaled = np.linalg.svd(kernel(drawn("autoinit_orthogonal"), "head"), compute_uv=False)
    assert scaled == pytest.approx(np.full(16, scaled[0]), rel=1e-4)
    assert scaled[0] > 1.5


def test_delta_orthogonal_kernels_pass_a_signal_on_as_it_is():
    new = drawn("delta_orthogonal")
    taps = kernel(new, "conv")
    middle = taps[1, 1]
    assert np.abs(taps).sum() == pytest.approx(np.abs(middle).sum())
    assert middle @ middle.T == pytest.approx(np.eye(8), abs=1e-5)


def test_a_residual_branch_at_zero_makes_its_block_an_identity():
    new = drawn("zero_residual")
    assert not kernel(new, "last").any()
    assert kernel(new, "conv").any()
    values = np.random.default_rng(0).standard_normal((4, 6, 6, 8)).astype("float32")
    inner = keras.Model(new.input, [new.get_layer("conv").output, new.get_layer("block").output])
    before, after = inner(values)
    assert np.array_equal(before, after)
    assert probe_gradients(new, 8).variables["last/kernel"].variance > 0.0
    config = new.get_layer("last").get_config()["kernel_initializer"]
    assert config["class_name"] == "Zeros"


def test_a_normalization_behind_the_last_kernel_is_what_starts_at_zero():
    inputs = keras.Input((6,))
    x = layers.BatchNormalization(name="norm")(layers.Dense(6, name="dense")(inputs))
    new = drawn("zero_residual", keras.Model(inputs, layers.Add()([inputs, x])))
    assert not np.any(new.get_layer("norm").gamma)
    assert kernel(new, "dense").any()


@pytest.mark.parametrize("options", [{}, {"activation": "relu"}])
def test_what_is_no_branch_or_ends_in_an_activation_stays(options):
    inputs = keras.Input((6,))
    towers = [layers.Dense(6, name=f"t{n}", **options)(inputs) for n in range(2)]
    deep = layers.Dense(6, "relu", name="deep")(layers.Dense(6, name="first")(inputs))
    model = keras.Model(inputs, [layers.Add()(towers), layers.Add()([inputs, deep])])
    new = drawn("zero_residual", model)
    assert all(kernel(new, layer.name).any() for layer in new.layers if layer.weights)


def test_the_files_own_initializers_draw_all_weights_again():
    model = keras.Sequential([keras.Input((50,)), layers.Dense(80, kernel_initializer="he_normal")])
    model.layers[0].bias.assign(np.ones(80))
    new = drawn("own", model)
    assert not np.any(new.layers[0].bias)
    assert np.asarray(new.layers[0].kernel).var() == pytest.approx(2 / 50, rel=0.1)


def test_a_scheme_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(ValueError, match="one of own, glorot, he"):
        AutoInit(scheme="best")


def test_calibrating_any_scheme_gives_its_kernels_the_target():
    new = drawn("he", calibrate=True)
    probe = probe_model(new, 64, seed=5)
    for name in ("conv", "depthwise", "last"):
        assert probe[name].variance == pytest.approx(1.0, rel=0.15)


def gradient_ratio(scheme, stack, size):
    """The gradient's variance at the first kernel's output beside that at the last but one."""
    new = drawn(scheme, keras.Sequential([keras.Input(size), *stack, layers.Dense(10)]))
    figures = probe_gradients(new, 64)
    paths = [layer.name for layer in new.layers if isinstance(layer, layers.Dense | layers.Conv2D)]
    return figures[paths[0]].variance / figures[paths[-2]].variance


@pytest.mark.parametrize(
    ("layer", "each", "size", "forward"),
    [
        (lambda _: layers.Dense(200, "tanh"), range(16), (200,), 10.0),  # chi_1 = 1.18: 1.18¹⁴
        (lambda width: layers.Dense(width, "relu"), (200, 100, 200, 400), (400,), 2.0),
        (
            lambda step: layers.Conv2D(24, 3, step, "same", activation="relu"),
            (1, 2, 1, 2, 1),
            (16, 16, 3),
            1 / 12,
        ),
    ],
)
def test_backward_scales_keep_gradients(layer, each, size, forward):
    stack = [layer(what) for what in each]
    assert gradient_ratio("backward", stack, size) == pytest.approx(1.0, abs=0.35)
    # AutoInit's, which keep signals, do not.
    assert abs(np.log(gradient_ratio("autoinit", stack, size))) > 0.5 * abs(np.log(forward))


def test_backward_scales_of_relu_are_those_of_the_fan_out():
    widths = (400, 200, 300)
    stack = [layers.Dense(width, "relu", name=f"h{width}") for width in widths]
    new = drawn("backward", keras.Sequential([keras.Input((100,)), *stack]))
    assert kernel(new, "h400").var() * 100 == pytest.approx(1.0, rel=0.03)  # as AutoInit's
    assert kernel(new, "h200").var() * 200 == pytest.approx(2.0, rel=0.03)
    assert kernel(new, "h300").var() * 300 == pytest.approx(2.0, rel=0.03)
