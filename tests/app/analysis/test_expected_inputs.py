"""What the first layers say of the input, and that AutoInit's kernels fit what is really fed."""

import keras
import numpy as np
import pytest
from keras import layers

from app.analysis.comparison import compare
from app.analysis.diagnosis.linter.input_scaling import BYTES, expected_inputs
from app.analysis.settings import Settings
from autoinit.reading import read_model

IMAGE = (16, 16, 3)
OF_IMAGENET = {"mean": [123.7, 116.3, 103.5], "variance": [3409.0, 3262.0, 3291.0]}
PREPARATIONS = keras.applications


def chain(shape, *steps, dtype=None):
    x = inputs = keras.Input(shape, dtype=dtype, name="image")
    for step in steps:
        x = step(x)
    last = layers.Conv2D(256, 3, name="first") if len(x.shape) == 4 else layers.Dense(256)
    return keras.Model(inputs, last(x))


@pytest.mark.parametrize(
    "steps",
    [
        [layers.Rescaling(1 / 255)],
        [layers.Rescaling(1 / 127.5, -1)],
        [layers.Rescaling(1 / 128, -1)],
        [layers.Rescaling(1 / 255), layers.Rescaling(1 / 255)],
        [layers.CenterCrop(12, 12), layers.RandomFlip(), layers.Rescaling(1 / 255)],
        [layers.Rescaling(1 / 255), layers.Normalization(mean=[0.5] * 3, variance=[0.1] * 3)],
        [layers.Rescaling([1 / 58.4, 1 / 57.1, 1 / 57.4], [-2.1, -2.0, -1.8])],
        [layers.Normalization(**OF_IMAGENET)],
        [lambda x: x / 255.0],
        [lambda x: x / 127.5 - 1.0],
        [PREPARATIONS.resnet.preprocess_input],
        [PREPARATIONS.densenet.preprocess_input],
    ],
)
def test_bytes(steps):
    found = expected_inputs(read_model(chain(IMAGE, *steps), 32))["image"]
    assert (found.mean, found.variance) == BYTES == (127.5, 5418.75)
    assert found.kind == "bytes"


@pytest.mark.parametrize(
    ("shape", "step", "mean", "variance"),
    [
        ((64,), layers.Rescaling(1 / 16), 8, 16**2 / 12),  # digits
        ((8, 8, 1), layers.Rescaling(2.0, -1.0), 0.5, 1 / 12),
        ((4,), layers.Normalization(mean=[1.0, 3.0] * 2, variance=[4.0] * 4), 2, 5),
        ((4,), layers.Normalization(mean=100.0, variance=2500.0), 100, 2500),  # no image
    ],
)
def test_other_data(shape, step, mean, variance):
    found = expected_inputs(read_model(chain(shape, step), 32))["image"]
    assert (found.mean, found.variance) == pytest.approx((mean, variance))


@pytest.mark.parametrize(
    ("shape", "steps"),
    [
        (IMAGE, []),
        (IMAGE, [layers.RandomFlip()]),
        (IMAGE, [layers.BatchNormalization()]),
        (IMAGE, [layers.Normalization()]),  # never adapted
        ((2,), [layers.Rescaling(30.0)]),  # coordinates of a SIREN
        ((6,), [layers.Embedding(10, 4)]),
        # What no setting accepts is not proposed.
        ((2,), [layers.Normalization(mean=0.0, variance=1e31)]),
        ((2,), [layers.Normalization(mean=1e31, variance=1.0)]),
        ((2,), [layers.Rescaling(1e-20)]),
    ],
)
def test_nothing_is_said(shape, steps):
    assert not expected_inputs(read_model(chain(shape, *steps), 32))


def test_what_is_given_is_not_guessed():
    model = chain(IMAGE, layers.Rescaling(1 / 255))
    for given in ({"input_mean": 0.5}, {"input_variance": 0.1}):
        inputs = compare(model, Settings(samples=4, device="cpu", **given), uploaded=False).inputs
        assert inputs.taken == {"image": "chosen"}
        assert (inputs.mean["image"], inputs.variance["image"]) == (
            given.get("input_mean", 0.0),
            given.get("input_variance", 1.0),
        )


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("steps", [(1 / 255,), (1 / 127.5, -1)])
def test_kernels_are_right_for_real_bytes(dtype, steps):
    model = chain(IMAGE, layers.Rescaling(*steps), dtype=dtype)
    compare(model, Settings(samples=32, device="cpu"), uploaded=False)  # leaves AutoInit's weights
    pixels = np.random.default_rng(0).integers(0, 256, (256, *IMAGE)).astype(dtype)
    first = keras.Model(model.inputs, model.get_layer("first").output)
    assert float(np.var(first.predict(pixels, verbose=0))) == pytest.approx(1.0, rel=0.2)
