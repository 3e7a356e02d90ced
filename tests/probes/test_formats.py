"""Narrower formats, held against closed forms and against Keras's own mixed precision."""

import math

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import layers

from probes import probe_formats
from probes.formats import FORMATS


def normal(scale, samples=64, width=1024):
    x = np.random.default_rng(0).standard_normal((samples, width)) * scale
    return {"x": x.astype("float32")}


def within(size, scale):
    """The share of a normal distribution's entries that are no larger."""
    return math.erf(size / scale / math.sqrt(2))


def same(width=1024):
    x = keras.Input((width,), name="x")
    return keras.Model(x, layers.Rescaling(1.0, name="same")(x))


@pytest.mark.parametrize(
    ("name", "smallest", "normal_from", "beyond"),
    [
        ("float16", 2**-24, 2**-14, 65520),
        ("float8_e4m3fn", 2**-9, 2**-6, 464),
        ("float8_e5m2", 2**-16, 2**-14, 61440),
    ],
)
def test_shares_are_those_of_the_normal_distribution(name, smallest, normal_from, beyond):
    (low,) = probe_formats(same(), [name], 64, input_data=normal(smallest)).values()
    assert low.signals["x"].underflow == pytest.approx(within(0.5, 1.0), abs=0.006)
    small = within(normal_from - smallest / 2, smallest) - within(0.5, 1.0)
    assert low.signals["x"].subnormal == pytest.approx(small, abs=0.006)
    (high,) = probe_formats(same(), [name], 64, input_data=normal(beyond / 3)).values()
    found, after = high.signals["x"], high.signals["same"]
    assert found.overflow == pytest.approx(1 - within(3.0, 1.0), abs=0.001)
    # An 8-bit float is clipped; the others are infinite, and stay so.
    is_clipped = name.startswith("float8")
    assert (after.error is None, after.overflow) == (
        not is_clipped,
        0.0 if is_clipped else found.overflow,
    )


@pytest.mark.parametrize("name", FORMATS)
def test_rounding_is_that_of_the_formats_themselves(name):
    """Held against `ml_dtypes`, an implementation of its own."""
    data = normal(1.0, 8)
    (found,) = probe_formats(same(), [name], 8, input_data=data).values()
    rounded = data["x"].astype(getattr(ml_dtypes, name, name)).astype("float32")
    error = np.linalg.norm(rounded - data["x"]) / np.linalg.norm(data["x"])
    assert found.signals["x"].error == pytest.approx(error, rel=1e-5)


def test_weights_are_rounded_and_errors_are_handed_on():
    x = keras.Input((1,), name="x")
    dense = layers.Dense(1, use_bias=False, name="dense")
    model = keras.Model(x, layers.Rescaling(4.0, name="four")(dense(x)))
    weight = 1 + 2.0**-12  # half precision has 1 and 1 + 2⁻¹⁰
    dense.set_weights([np.full((1, 1), weight)])
    data = {"x": np.array([[1.0], [2.0]])}
    (found,) = probe_formats(model, ["float16"], 2, input_data=data).values()
    lost = pytest.approx((weight - 1) / weight, rel=1e-3)
    assert found.weights["dense/kernel"].error == lost
    assert found.signals["dense"].error == lost
    assert (found.signals["four"].error, found.signals["x"].error) == (lost, 0.0)
    assert dense.get_weights()[0] == weight


def test_a_gradient_is_that_of_a_mean_loss_and_the_scale_saves_it():
    x, kernel = keras.Input((1,), name="x"), keras.initializers.Constant(2.0**-14)
    model = keras.Model(x, layers.Dense(1, use_bias=False, kernel_initializer=kernel, name="y")(x))
    (found,) = probe_formats(model, ["float16"], 1024, input_data=normal(1, 1024, 1)).values()
    # Of 1,024 samples, so that each has noise of 2⁻¹⁰, and the kernel makes 2⁻²⁴ of it.
    assert found.gradients["x"].underflow == pytest.approx(within(0.5, 1.0), abs=0.04)
    assert list(found.gradients) == ["y", "x"]
    assert found.gradients["y"].scale == 23
    # The kernel's gradient, a sum over samples, is the largest.
    assert found.loss_scale == found.weight_gradients["y/kernel"].scale == 20
    assert found.scaled_gradients["x"].underflow == 0.0
    assert found.scaled_gradients["x"].error < 1e-3 < found.gradients["x"].error
    assert found.scaled_gradients["y"].overflow == 0.0


def chain(policy, scale=1.0):
    """Of dense layers with ReLU, with the same weights whatever the policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        x = y = keras.Input((64,), name="x")
        for number in range(6):
            drawn = keras.initializers.RandomNormal(0, scale * (2 / 64) ** 0.5, seed=number)
            y = layers.Dense(64, "relu", kernel_initializer=drawn, name=f"dense{number}")(y)
        return keras.Model(x, y)
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_errors_are_those_of_mixed_precision(name):
    data = normal(1.0, 64, 64)
    (found,) = probe_formats(chain("float32"), [name], 64, input_data=data).values()
    exact, real = (
        np.asarray(chain(policy)(data["x"])).astype("float64")
        for policy in ("float32", f"mixed_{name}")
    )
    error = np.linalg.norm(real - exact) / np.linalg.norm(exact)
    assert list(found.signals.values())[-1].error == pytest.approx(error, rel=0.3)


def test_the_first_layer_to_overflow_is_that_of_mixed_precision():
    data = normal(1.0, 64, 64)
    (found,) = probe_formats(chain("float32", 20.0), ["float16"], 64, input_data=data).values()
    first = next(path for path, each in found.signals.items() if each.overflow)
    y = data["x"]
    for layer in chain("mixed_float16", 20.0).layers[1:]:
        y = layer(y)
        if not np.isfinite(np.asarray(y)).all():
            break
    assert first == layer.name == "dense3"


def test_gradients_vanish_as_they_do_in_mixed_precision():
    import tensorflow as tf

    data = normal(1.0, 64, 64)
    (found,) = probe_formats(chain("float32", 0.08), ["float16"], 64, input_data=data).values()
    model = chain("mixed_float16", 0.08)
    cotangent = np.random.default_rng(1).standard_normal((64, 64)) / 64**2
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(data["x"]) * tf.constant(cotangent, tf.float16))
    kernels = [layer.kernel for layer in model.layers[1:]]
    gradients = tape.gradient(loss, [kernel.value for kernel in kernels])
    for kernel, gradient in zip(kernels, gradients, strict=True):
        share = np.mean(np.asarray(gradient) == 0.0)
        assert found.weight_gradients[kernel.path].underflow == pytest.approx(share, abs=0.05)


def test_classes_have_the_gradient_of_cross_entropy():
    x = keras.Input((4,), name="x")
    model = keras.Model(x, layers.Dense(5, "softmax", kernel_initializer="zeros", name="y")(x))
    (found,) = probe_formats(model, ["float16"], 8).values()
    # p − y is 1/5, and 4/5 less than that where y is; over eight samples.
    assert found.gradients["y"].scale == math.floor(math.log2(65504 / (0.8 / 8))) - 1


def test_what_cannot_be_rounded_is_refused():
    with pytest.raises(ValueError, match=r"formats must be of float16.*'float4'"):
        probe_formats(same(), ["float4"])
    whole = keras.Input((3,), dtype="int32")
    with pytest.raises(ValueError, match="no outputs of a floating type"):
        probe_formats(keras.Model(whole, layers.Reshape((3, 1), dtype="int32")(whole)))


def test_signals_that_are_infinite_anyway_are_measured_all_the_same():
    x, kernel = keras.Input((4,), name="x"), keras.initializers.Constant(1e30)
    y = layers.Dense(4, kernel_initializer=kernel, name="large")(x)
    model = keras.Model(x, layers.Dense(3, "softmax", kernel_initializer=kernel, name="y")(y))
    (found,) = probe_formats(model, ["bfloat16"], 4, input_data=normal(1e15, 4, 4)).values()
    assert found.signals["large"].overflow == 1.0
    assert found.signals["y"].error is None
    assert found.loss_scale == 0
