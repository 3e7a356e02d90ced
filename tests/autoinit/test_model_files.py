"""Files that open, files that are refused, and files that are saved again."""

import json
import shutil
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.errors import ModelFileError
from autoinit.model_files import open_model_file, save_model_file
from autoinit.model_files.saving import compile_as_recorded


def a_model(loss="mse", metrics=("mae",)):
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, activation="relu"), layers.Dense(1)]
    )
    if loss is not None:
        model.compile(keras.optimizers.SGD(0.125, momentum=0.5), loss, metrics=list(metrics))
        # Keras warns about every saved optimizer that was never built.
        model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    model = a_model()
    model.save(folder / "model.keras")
    (folder / "model.json").write_text(model.to_json())
    save_model_file(model, folder / "model.h5")
    model.save_weights(folder / "only.weights.h5")
    return folder


@pytest.mark.parametrize(
    ("name", "format", "has_weights"),
    [("model.keras", "keras", True), ("model.h5", "h5", True), ("model.json", "json", False)],
)
def test_each_format_opens_whatever_its_extension(folder, tmp_path, name, format, has_weights):
    for path in (folder / name, tmp_path / "renamed.bin"):
        if not path.exists():
            shutil.copy(folder / name, path)
        file = open_model_file(path)
        assert (file.format, file.has_weights) == (format, has_weights)
        assert file.model.count_params() == 41
        assert not file.model.compiled
        assert len(file.sha256) == 64


def test_versions_and_compile_settings_are_read(folder):
    assert open_model_file(folder / "model.keras").keras_version == keras.__version__
    assert open_model_file(folder / "model.h5").keras_version == keras.__version__
    assert open_model_file(folder / "model.keras").compile_settings["loss"] == "mse"


def test_json_that_was_dumped_twice_opens(tmp_path):
    path = tmp_path / "twice.json"
    path.write_text(json.dumps(a_model().to_json()))
    assert open_model_file(path).model.count_params() == 41


def broken(name):
    def make(folder, path):
        whole = (folder / name).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])

    return make


def archive_without_config(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def lambda_layer(folder, path):
    model = keras.Sequential([keras.Input((2,)), layers.Lambda(lambda x: x + 1)])
    path.write_text(model.to_json())


def unknown_class(folder, path):
    path.write_text(a_model(None).to_json().replace('"Dense"', '"Dances"'))


def bare_layer(folder, path):
    path.write_text(json.dumps(keras.saving.serialize_keras_object(layers.Dense(3))))


def text(content):
    return lambda folder, path: path.write_bytes(content)


def nothing_there(folder, path):
    pass


def weights_only(folder, path):
    shutil.copy(folder / "only.weights.h5", path)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (nothing_there, "file_not_found"),
        (text(b""), "empty_file"),
        (text(b"\x89PNG\r\n\x1a\n" + bytes(100)), "not_a_model_file"),
        (text(b"hello"), "not_a_model_file"),
        (text(b'{"a": '), "broken_file"),
        (text(b'{"a": 1}'), "no_model_config"),
        (text(b"[1]"), "not_a_model_file"),
        (broken("model.keras"), "broken_file"),
        (broken("model.h5"), "broken_file"),
        (broken("model.json"), "broken_file"),
        (archive_without_config, "no_model_config"),
        (weights_only, "no_model_config"),
        (lambda_layer, "code_in_file"),
        (unknown_class, "unknown_class"),
        (bare_layer, "not_a_model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_opened_is_refused_in_one_sentence(folder, tmp_path, make, code):
    path = tmp_path / "file.bin"
    make(folder, path)
    with pytest.raises(ModelFileError) as caught:
        open_model_file(path)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


class Halving(layers.Layer):
    def call(self, inputs):
        return inputs / 2


def test_custom_objects_open_what_is_unknown_otherwise(tmp_path):
    path = tmp_path / "custom.keras"
    keras.Sequential([keras.Input((2,)), Halving()]).save(path)
    with pytest.raises(ModelFileError, match=r"Halving.*custom-objects"):
        open_model_file(path)
    assert open_model_file(path, {"Halving": Halving}).model.layers


@pytest.mark.parametrize("extension", ["keras", "h5"])
@pytest.mark.parametrize(
    ("loss", "metrics"),
    [
        ("mse", ["mae"]),
        ("binary_crossentropy", ["accuracy", "AUC"]),
        (keras.losses.Huber(delta=0.5), [keras.metrics.RootMeanSquaredError()]),
        (None, []),
    ],
    ids=["strings", "accuracy", "objects", "uncompiled"],
)
def test_a_saved_model_opens_with_the_plain_loader_compiled_as_before(
    tmp_path, extension, loss, metrics
):
    model = a_model(loss, metrics)
    assert save_model_file(model, tmp_path / f"model.{extension}") == ()
    file = open_model_file(tmp_path / f"model.{extension}")
    assert compile_as_recorded(file.model, file) == ()
    if loss is not None:
        file.model.optimizer.build(file.model.trainable_variables)
    assert save_model_file(file.model, tmp_path / f"again.{extension}") == ()
    loaded = keras.models.load_model(tmp_path / f"again.{extension}")
    np.testing.assert_array_equal(loaded.weights[0], model.weights[0])
    assert loaded.compiled == (loss is not None)
    if loss is not None:
        assert float(loaded.optimizer.learning_rate) == 0.125
        data = np.zeros((4, 6)), np.zeros((4, 1))
        assert (
            loaded.evaluate(*data, verbose=0, return_dict=True).keys()
            == model.evaluate(*data, verbose=0, return_dict=True).keys()
        )


def odd_loss(y_true, y_pred):
    return y_true - y_pred


def test_a_loss_that_cannot_be_carried_over_is_a_finding_not_an_error(tmp_path):
    path = tmp_path / "model.keras"
    a_model(odd_loss).save(path)
    file = open_model_file(path)
    (finding,) = compile_as_recorded(file.model, file)
    assert finding.code == "compile_dropped"
    assert not file.model.compiled
    (finding,) = save_model_file(a_model(odd_loss), tmp_path / "model.h5")
    assert finding.code == "compile_dropped"
    assert keras.models.load_model(tmp_path / "model.h5", compile=False).layers
