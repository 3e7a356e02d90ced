"""What is saved is read again before it is offered."""

import zipfile

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers

from autoinit import AutoInit
from autoinit.graph.keras_internals import nothing_drawn, value_of
from autoinit.initializers.drawing import apply_plans
from autoinit.model_files import open_model_file, read_again, save_model, save_reinitialized
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.write import rereading
from tests.autoinit.model_files import networks

KERAS = {"keras": keras, "tf_keras": tf_keras}


@pytest.fixture(
    params=["keras .keras", "keras .json", "tf_keras .keras", "tf_keras .h5", "tf_keras .json"]
)
def saved(request, tmp_path):
    """A file of either Keras, opened, the plans of its kernels, and what was saved of it."""
    whose, suffix = request.param.split()
    layers = KERAS[whose].layers
    model = KERAS[whose].Sequential(
        [
            layers.InputLayer((6, 6, 2)),
            layers.DepthwiseConv2D(3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    path, folder = tmp_path / f"model{suffix}", tmp_path / "saved"
    folder.mkdir()
    if suffix == ".json":
        path.write_text(model.to_json())
    else:
        networks.saved(model, path)
    file = open_model_file(path)
    plans = AutoInit({"seed": 1}).plan(file.model).scales
    apply_plans(plans, "truncated_normal", 1)
    downloads, findings = save_reinitialized(file, plans, folder, Budgets())
    assert not findings
    return file, plans, folder, downloads


def test_every_format_holds_what_was_measured(saved):
    file, plans, folder, downloads = saved
    assert read_again(downloads, folder, file.model, file, plans, {}) == (downloads, ())
    assert all((folder / download.file).is_file() for download in downloads)


@pytest.mark.parametrize("whose", KERAS)
def test_an_archive_without_weights_has_those_that_are_drawn(whose, tmp_path):
    layers = KERAS[whose].layers
    model = KERAS[whose].Sequential([layers.Input((4,)), layers.Dense(3, name="head")])
    networks.saved(model, tmp_path / "whole.keras")
    path, folder = tmp_path / "model.keras", tmp_path / "saved"
    with zipfile.ZipFile(tmp_path / "whole.keras") as whole, zipfile.ZipFile(path, "w") as bare:
        bare.writestr("config.json", whole.read("config.json"))
    folder.mkdir()
    file = open_model_file(path)
    plans = AutoInit({"seed": 1}).plan(file.model).scales
    apply_plans(plans, "truncated_normal", 1)
    downloads, findings = save_reinitialized(file, plans, folder, Budgets())
    assert not findings
    assert [each.file for each in downloads] == ["reinitialized.json", "reinitialized.keras"]
    assert read_again(downloads, folder, file.model, file, plans, {}) == (downloads, ())
    taken = keras.saving.load_model(folder / "reinitialized.keras")
    np.testing.assert_array_equal(taken.get_layer("head").kernel, file.model.layers[-1].kernel)


def test_a_vocabulary_is_no_weight_that_could_be_compared(tmp_path):
    words = tf_keras.layers.TextVectorization(20, output_sequence_length=4)
    words.adapt(["the cat sat", "on the mat"])
    chain = [tf_keras.layers.Embedding(20, 3), tf_keras.layers.Flatten(), tf_keras.layers.Dense(1)]
    model = tf_keras.Sequential([tf_keras.Input((1,), dtype="string"), words, *chain])
    file, folder = open_model_file(networks.saved(model, tmp_path / "model.keras")), tmp_path / "a"
    folder.mkdir()
    plans = AutoInit({"seed": 1}).plan(file.model).scales
    apply_plans(plans, "truncated_normal", 1)
    downloads, _ = save_reinitialized(file, plans, folder, Budgets())
    assert read_again(downloads, folder, file.model, file, plans, {}) == (downloads, ())
    assert downloads[0].file == "reinitialized.keras"


def test_a_weight_that_is_not_the_measured_one(saved):
    file, plans, folder, downloads = saved
    kernel = file.model.layers[-1].kernel
    kernel.assign(kernel.numpy() + 1e-6)
    offered, findings = read_again(downloads, folder, file.model, file, plans, {})
    stays = [each for each in downloads if each.file.endswith(".json")]  # it holds no weights
    assert list(offered) == stays
    assert {finding.code for finding in findings} <= {"not_patched"}
    assert all("is not the one that was measured" in finding.message for finding in findings)
    assert [path.name for path in folder.iterdir()] == [each.file for each in stays]


def test_a_file_that_does_not_open(saved):
    file, plans, folder, downloads = saved
    for download in downloads:
        path = folder / download.file
        path.write_bytes(path.read_bytes()[:100])
    offered, findings = read_again(downloads, folder, file.model, file, plans, {})
    assert offered == ()
    assert all("Keras cannot open it" in finding.message for finding in findings)


def test_what_is_read_over_is_not_drawn_and_later_draws_are():
    initializers = keras.initializers
    with nothing_drawn():
        layers = [
            keras.layers.Dense(3, kernel_initializer=kind(seed=1))
            for kind in (initializers.GlorotUniform, initializers.RandomNormal)
        ]
        for layer in layers:
            layer.build((2, 3))
            assert not keras.ops.convert_to_numpy(layer.kernel).any()
    drawn = keras.ops.convert_to_numpy(layers[0].kernel_initializer((2, 3)))
    assert abs(drawn).min() > 0


def test_another_architecture(tmp_path):
    model, other = (
        keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3) for _ in range(depth))])
        for depth in (2, 1)
    )
    offered, (finding,) = read_again((save_model(other, tmp_path),), tmp_path, model, None, (), {})
    assert offered == ()
    assert "2 weights, and the model 4" in finding.message


def test_random_shear_opens_again(tmp_path):
    layers = [keras.Input((6, 6, 1)), keras.layers.RandomShear(0.2), keras.layers.Conv2D(2, 3)]
    keras.Sequential(layers).save(tmp_path / "shear.keras")
    file = open_model_file(tmp_path / "shear.keras")
    (tmp_path / "saved").mkdir()
    downloads, _ = save_reinitialized(file, (), tmp_path / "saved", Budgets())
    assert read_again(downloads, tmp_path / "saved", file.model, file, (), {}) == (downloads, ())
    again = keras.models.load_model(tmp_path / "saved" / downloads[0].file)
    assert again.layers[0].x_factor == (-0.2, 0.2)


def small_transformer():
    """Layers that Keras can pack into fewer bits, or give a low-rank adapter."""
    layers = keras.layers
    x = keras.Input((6,), dtype="int32")
    y = layers.Embedding(9, 8, name="words")(x)
    y = layers.EinsumDense("abc,cd->abd", (6, 8), bias_axes="d", name="mix")(y)
    y = layers.MultiHeadAttention(2, 4, name="attention")(y, y)
    model = keras.Model(x, layers.Dense(3, use_bias=False, name="head")(layers.Flatten()(y)))
    generator = np.random.default_rng(1)
    model.set_weights([generator.normal(size=weight.shape) for weight in model.weights])
    return model


@pytest.mark.filterwarnings("ignore:(Layer .* does not have a `quantize`|Invalid quantization) m")
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize(
    ("mode", "error"),
    [("int8", 0.02), ("float8", 0.0), pytest.param("int4", np.inf, marks=pytest.mark.slow)],
)
def test_packed_weights_are_floats_again(mode, error, suffix, tmp_path):
    model = small_transformer()
    before = {weight.path: weight.numpy() for weight in model.weights}
    model.quantize(mode)
    model.save(tmp_path / f"packed.{suffix}")
    file = open_model_file(tmp_path / f"packed.{suffix}")
    assert [finding.code for finding in file.findings] == ["unpacked_weights"]
    for weight in file.model.weights:
        kept = 0.0 if "bias" in weight.path else error
        assert weight.numpy() == pytest.approx(before[weight.path], abs=kept)
        assert weight.dtype == "float32"
    (tmp_path / "saved").mkdir()
    plans = AutoInit({"seed": 1}).plan(file.model).scales
    apply_plans(plans, "truncated_normal", 1)
    downloads, _ = save_reinitialized(file, plans, tmp_path / "saved", Budgets())
    (download,) = downloads
    assert download.file.endswith(".keras")
    again = read_again(downloads, tmp_path / "saved", file.model, file, plans, {})
    assert again == (downloads, ())


def test_what_has_low_rank_adapters_is_offered(tmp_path):
    model = small_transformer()
    model.get_layer("mix").enable_lora(2)
    model.get_layer("words").enable_lora(2)
    model.save(tmp_path / "lora.keras")
    file = open_model_file(tmp_path / "lora.keras")
    (tmp_path / "saved").mkdir()
    plans = AutoInit({"seed": 1}).plan(file.model).scales
    apply_plans(plans, "truncated_normal", 1)
    downloads, _ = save_reinitialized(file, plans, tmp_path / "saved", Budgets())
    again = read_again(downloads, tmp_path / "saved", file.model, file, plans, {})
    assert downloads
    assert again == (downloads, ())


@pytest.mark.parametrize("kind", ["convolutions", "recurrent", "adapted"])
def test_variables_need_no_memory_to_be_compared(kind, tmp_path, monkeypatch):
    inputs = keras.Input((6, 4))
    x = layers.Normalization(mean=1.0, variance=4.0)(inputs) if kind == "adapted" else inputs
    x = layers.LSTM(3, return_sequences=True)(x) if kind == "recurrent" else x
    model = keras.Model(inputs, layers.BatchNormalization()(layers.Conv1D(5, 2)(x)))
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).random(weight.shape) + 0.5)
    path, opened = tmp_path / "model.keras", []
    model.save(path)
    loaded = rereading._loaded

    def keeping(*arguments):
        opened.append(loaded(*arguments))
        return opened[-1]

    monkeypatch.setattr(rereading, "_loaded", keeping)
    found = rereading._weights(path, False, {})
    for one, weight in zip(found, model.weights, strict=True):
        np.testing.assert_array_equal(one, weight)
    if kind == "convolutions":
        (only,) = opened
        assert all(value_of(weight) is None for weight in only.weights)
    assert layers.Dense(2)(np.ones((1, 3))).shape == (1, 2)  # what comes later is made
