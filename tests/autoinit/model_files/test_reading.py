"""What files say, and which are refused before anything is made of them."""

import dataclasses
import json
import os
import pickle
import struct
import zipfile

import h5py
import numpy as np
import pytest

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read.reading import read_model_file
from tests.autoinit.model_files.configurations import BOTH, Keras2, Keras3

CONFIG = Keras3.functional(Keras3.input(), Keras3.layer("Dense", "dense", ["x"], units=3))
TEXT = json.dumps(CONFIG, indent=1)
METADATA = json.dumps({"keras_version": "3.4.1", "date_saved": "2024-07-01"})


def archive(path, *members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as written:
        for name, content in members:
            written.writestr(name, content)
    return path


def whole(path, **options):
    members = ("metadata.json", METADATA), ("config.json", TEXT), ("model.weights.h5", b"...")
    return archive(path, *members, **options)


def hdf5(path, **attributes):
    with h5py.File(path, "w") as file:
        for name, value in attributes.items():
            file.attrs[name] = value
    return path


def refusal(path, budgets=None, name="model.bin"):
    with pytest.raises(ModelFileError) as caught:
        read_model_file(path, name, budgets or Budgets())
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 500
    return caught.value.code, message


@pytest.mark.parametrize("nested", [True, False], ids=["converted", "saved in a browser"])
def test_json_of_tensorflow_js_is_the_configuration_in_it(tmp_path, nested):
    config = Keras2.functional(Keras2.input(), Keras2.layer("Dense", "dense", ["x"], units=3))
    noted = {"keras_version": "2.4.0", "backend": "tensorflow"}
    topology = {"model_config": config, **noted} if nested else {**config, **noted}
    path = tmp_path / "model.json"
    path.write_text(
        json.dumps(
            {
                "format": "layers-model",
                "modelTopology": topology,
                "weightsManifest": [{"paths": ["../secret"]}],
            }
        )
    )
    record = read_model_file(path, "model.json", Budgets())
    assert (record.format, record.keras, record.keras_version) == ("json", 2, "2.4.0")
    assert json.loads(record.config_text) == record.config == {**noted, **config}
    assert not record.has_weights


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.bin"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives(path, method):
    record = read_model_file(whole(path, method=method), "my model.keras", Budgets())
    assert (record.path, record.name, record.format) == (path, "my model.keras", "keras")
    assert (record.keras_version, record.keras, record.has_weights) == ("3.4.1", 3, True)
    assert record.config_text == TEXT
    assert record.config == CONFIG
    assert record.compile_settings == CONFIG["compile_config"]


def test_an_archive_may_hold_assets_and_no_weights(path):
    members = [("config.json", TEXT), ("assets/", ""), ("assets/text/vocabulary.txt", "a")]
    record = read_model_file(archive(path, *members), "m", Budgets())
    assert (record.has_weights, record.keras_version, record.keras) == (False, "", 3)


@pytest.mark.parametrize(
    "stored",
    [
        TEXT,
        TEXT.encode(),
        np.bytes_(TEXT.encode()),
        np.array([TEXT.encode()]),
        np.array([TEXT], dtype=h5py.string_dtype()),
        np.array(TEXT.encode(), dtype=h5py.string_dtype("ascii", len(TEXT) + 50)),
    ],
    ids=["str", "bytes", "fixed", "array", "array of str", "padded"],
)
def test_hdf5_files_whatever_kind_of_text_they_hold(path, stored):
    settings = json.dumps({"loss": "mse"})
    hdf5(path, model_config=stored, keras_version=b"2.2.4-tf", training_config=settings)
    record = read_model_file(path, "m.h5", Budgets())
    assert (record.format, record.keras_version, record.keras) == ("h5", "2.2.4-tf", 2)
    assert (record.config_text, record.config) == (TEXT, CONFIG)
    assert record.compile_settings == {"loss": "mse"}
    assert not record.has_weights
    with h5py.File(path, "a") as file:
        file.create_group("model_weights")
    assert read_model_file(path, "m.h5", Budgets()).has_weights


@pytest.mark.parametrize("settings", ["{", "[1]", b"\xff", "[" * 1000, 7.5, [1, 2]])
def test_training_settings_that_are_none_do_no_harm(path, settings):
    hdf5(path, model_config=TEXT, training_config=settings)
    assert read_model_file(path, "m", Budgets()).compile_settings is None


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        b"\n\t " + TEXT.encode(),
        json.dumps(TEXT).encode(),
    ],
    ids=["utf-8", "bom", "utf-16", "utf-16-be", "utf-32", "space", "twice"],
)
def test_json_in_any_encoding(path, content):
    path.write_bytes(content)
    record = read_model_file(path, "m.json", Budgets())
    assert (record.format, record.keras, record.has_weights) == ("json", 3, False)
    assert json.loads(record.config_text) == record.config == CONFIG
    assert record.compile_settings == CONFIG["compile_config"]


def test_the_version_in_a_json_of_keras_2(path):
    path.write_text(json.dumps({**Keras2.functional(Keras2.input()), "keras_version": "2.4.0"}))
    record = read_model_file(path, "m.json", Budgets())
    assert (record.keras_version, record.keras) == ("2.4.0", 2)


# Which Keras


@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize("version", ["", "no version", "x" * 5000, "<b>2</b>"])
def test_without_a_version_the_shape_tells_which_keras(path, writer, version):
    dense = writer.layer("Dense", "dense", ["x"], units=2)
    bare = writer.layer("Dense", "dense", units=2)
    for config in (
        writer.functional(writer.input(), dense),
        writer.sequential(writer.input(), bare),
        writer.functional(dense),
        writer.sequential(writer.sequential(writer.input(), bare), bare),
    ):
        hdf5(path, model_config=json.dumps(config), keras_version=version)
        record = read_model_file(path, "m", Budgets())
        assert (record.keras, record.keras_version) == (
            writer.number,
            version if version == "" else record.keras_version,
        )
        assert len(record.keras_version) < 41


def test_a_sequential_model_of_early_keras_2_is_a_list(path):
    layers = [{"class_name": "Dense", "config": {"batch_input_shape": [None, 3], "units": 2}}]
    path.write_text(json.dumps({"class_name": "Sequential", "config": layers}))
    assert read_model_file(path, "m", Budgets()).keras == 2
    layers[0]["config"] = {"units": 2}
    path.write_text(json.dumps({"class_name": "Sequential", "config": layers}))
    assert read_model_file(path, "m", Budgets()).keras == 2


@pytest.mark.parametrize(
    ("version", "keras"),
    [("2.0.0", 2), ("2.15.0", 2), ("3.0.0.dev1", 3), ("3.15.1", 3), ("4.0", 3)],
)
def test_the_version_counts_before_the_shape(path, version, keras):
    hdf5(path, model_config=TEXT, keras_version=version)
    assert read_model_file(path, "m", Budgets()).keras == keras


# What is no model


def pointer():
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def torch():
    return b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", "empty_file", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not_a_model_file", "an image"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "not_a_model_file", "an image"),
        (b"%PDF-1.7", "not_a_model_file", "a PDF"),
        (b"hello", "not_a_model_file", "neither a .keras archive, nor an HDF5 file, nor JSON"),
        (b"[1]", "not_a_model_file", "neither"),
        (pickle.dumps({"a": 1}), "not_a_model_file", "pickle"),
        (torch(), "not_a_model_file", "PyTorch"),
        (pointer(), "not_a_model_file", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html>", "not_a_model_file", "web page"),
        (b"\n <HTML>", "not_a_model_file", "web page"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(50), "not_a_model_file", "TensorFlow Lite"),
        (b'\x40\x00\x00\x00\x00\x00\x00\x00{"w":{}}', "not_a_model_file", "safetensors"),
        (b"\x08\x07\x12\x07pytorch", "not_a_model_file", "ONNX"),
        (b"\x1f\x8b\x08\x00", "not_a_model_file", "Unpack it"),
        (bytes(257) + b"ustar\x0000", "not_a_model_file", "Unpack it"),
        (b"\x93NUMPY\x01\x00", "not_a_model_file", "NumPy"),
        (b"backend: tensorflow\nclass_name: Sequential\n", "not_a_model_file", "to_json"),
        (b"import keras\n", "not_a_model_file", "Python program"),
        (b"PK\x05\x06" + bytes(18), "no_model_config", "config.json"),
        (b'{"a": ', "broken_file", "cut short"),
        (b'{"a": 1}', "no_model_config", "class_name"),
        (b'{"name": "m", "layers": []}', "no_model_config", "get_config()"),
        (b'{"modelTopology": {"node": []}}', "no_model_config", "TensorFlow.js"),
        (b'{"modelTopology": {"model_config": 1}}', "no_model_config", "class_name"),
        (b'{"nbformat": 4, "cells": []}', "no_model_config", "notebook"),
        (b'{"class_name": 3}', "no_model_config", "class_name"),
        (b'"hello"', "broken_file", "no valid JSON"),
        (b'"[1]"', "no_model_config", "class_name"),
        (b'{"\xff": 1}', "broken_file", "not text"),
        (b'{"class_name": ' + b"9" * 5000 + b"}", "bad_configuration", "integer"),
        (b'{"a":' * 200_000, "over_budget", "levels of nesting"),
        (b"\x89HDF\r\n\x1a\n" + bytes(500), "broken_file", "damaged"),
        (b"PK\x03\x04" + bytes(500), "broken_file", "damaged"),
    ],
    ids=lambda value: repr(value)[:24] if isinstance(value, bytes) else None,
)
def test_what_is_no_model_is_named_for_what_it_seems_to_be(path, content, code, said):
    path.write_bytes(content)
    found, message = refusal(path)
    assert found == code
    assert said in message


@pytest.mark.parametrize(
    ("members", "code", "said"),
    [
        ([("readme.txt", "")], "no_model_config", "config.json"),
        ([("weights/w.npy", "")], "not_a_model_file", "NumPy"),
        ([("m/saved_model.pb", ""), ("m/variables/x", "")], "not_a_model_file", "SavedModel"),
        ([("archive/data.pkl", ""), ("archive/version", "3")], "not_a_model_file", "PyTorch"),
        ([("m/config.json", TEXT), ("m/metadata.json", "")], "not_a_model_file", "not the folder"),
        ([("model.h5", "")], "not_a_model_file", "Unpack it"),
        ([("model.json", ""), ("group1-shard1of1.bin", "")], "not_a_model_file", ".js"),
        ([("config.json", "{}")], "no_model_config", "class_name"),
        ([("config.json", "[]")], "no_model_config", "class_name"),
        ([("config.json", "")], "broken_file", "no valid JSON"),
        ([("config.json", TEXT), ("metadata.json", "{")], "broken_file", "metadata.json"),
        ([("config.json", TEXT), ("model.weights.npz", "")], "unsafe_archive", ".npz"),
        ([("config.json", TEXT), ("model.weights.json", "{}")], "unsafe_archive", ".json"),
        ([("config.json", TEXT), ("../evil", "")], "unsafe_archive", "outside itself"),
        ([("config.json", TEXT), ("a/../../evil", "")], "unsafe_archive", "outside itself"),
        ([("config.json", TEXT), ("/etc/passwd", "")], "unsafe_archive", "outside itself"),
        ([("config.json", TEXT), ("C:/evil", "")], "unsafe_archive", "outside itself"),
        ([("config.json", TEXT), ("a\\..\\evil", "")], "unsafe_archive", "outside itself"),
    ],
    ids=lambda value: "+".join(name for name, _ in value) if isinstance(value, list) else None,
)
def test_what_is_in_an_archive_is_looked_at(path, members, code, said):
    found, message = refusal(archive(path, *members))
    assert found == code
    assert said in message


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_two_members_of_one_name_are_refused(path, name):
    members = ("config.json", TEXT), ("metadata.json", METADATA), ("model.weights.h5", "")
    code, message = refusal(archive(path, *members, (name, TEXT)))
    assert code == "unsafe_archive"
    assert f"{name!r} 2 times" in message


def with_link(path):
    link = zipfile.ZipInfo("assets/link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    archive(path, ("config.json", TEXT), (link, "/etc/passwd"))


def packed_by_bzip2(path):
    archive(path, ("config.json", TEXT), method=zipfile.ZIP_BZIP2)


def encrypted(path):
    content = bytearray(archive(path, ("config.json", TEXT)).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)


@pytest.mark.parametrize("make", [with_link, packed_by_bzip2, encrypted])
def test_what_keras_never_writes_into_an_archive_is_refused(path, make):
    make(path)
    assert refusal(path)[0] == "unsafe_archive"


def damaged(offset, value):
    def make(path):
        content = bytearray(whole(path).read_bytes())
        content[offset] ^= value
        path.write_bytes(content)

    return make


def cut(part):
    def make(path):
        content = whole(path).read_bytes()
        path.write_bytes(content[: int(len(content) * part)])

    return make


@pytest.mark.parametrize(
    "make",
    [cut(0.1), cut(0.5), cut(0.99), damaged(400, 1), damaged(-10, 255)],
    ids=["start", "half", "end", "content", "directory"],
)
def test_damaged_archives(path, make):
    make(path)
    assert refusal(path)[0] == "broken_file"


# Limits


def bomb(path, declared=None):
    """A packed `config.json` of 40 MB, of which its headers may say less."""
    archive(path, ("config.json", b" " * 40_000_000), method=zipfile.ZIP_DEFLATED)
    if declared is not None:
        content = bytearray(path.read_bytes())
        for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            struct.pack_into("<I", content, content.index(signature) + offset, declared)
        path.write_bytes(content)


@pytest.mark.parametrize("declared", [None, 2**25, 100])
def test_a_packed_member_is_read_no_further_than_the_limit(path, declared):
    bomb(path, declared)
    assert path.stat().st_size < 50_000
    # Python stops at the declared size, and finds that the checksum is another's.
    assert refusal(path)[0] == ("broken_file" if declared == 100 else "over_budget")


def test_limits_name_the_figure_and_the_variable(path):
    tight = dataclasses.replace(Budgets(), members=2)
    code, message = refusal(whole(path), tight)
    assert code == "over_budget"
    assert "3 members, and the limit is 2 members" in message
    assert "AUTOINIT_MAX_MEMBERS" in message
    tight = dataclasses.replace(Budgets(), file_bytes=100)
    assert "AUTOINIT_MAX_FILE_BYTES" in refusal(path, tight)[1]


def test_an_endless_directory_is_not_read(path):
    """An archive of nothing but a directory, whose entries take ten times their room in memory."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *[0] * 16)
    entries = entry * 100_000
    ending = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(entries), 4, 0)
    path.write_bytes(b"PK\x03\x04" + entries + ending)
    code, message = refusal(path)
    assert code == "over_budget"
    assert "AUTOINIT_MAX_MEMBERS" in message


@pytest.mark.parametrize(
    "stored", [TEXT + " " * 5000, np.bytes_(TEXT.encode() + b" " * 5000)], ids=["variable", "fixed"]
)
def test_attributes_are_limited(path, stored):
    tight = dataclasses.replace(Budgets(), config_bytes=len(TEXT) + 100)
    assert read_model_file(hdf5(path, model_config=TEXT), "m", tight).config == CONFIG
    assert refusal(hdf5(path, model_config=stored), tight)[0] == "over_budget"


def test_json_is_limited(path):
    path.write_text(TEXT)
    tight = dataclasses.replace(Budgets(), config_bytes=len(TEXT) - 1)
    assert refusal(path, tight)[0] == "over_budget"


# HDF5 files


@pytest.mark.parametrize(
    "stored",
    [3, [TEXT, TEXT], np.zeros((2, 2)), h5py.Empty("S10"), np.void(TEXT.encode())],
    ids=["number", "list", "array", "empty", "opaque"],
)
def test_an_attribute_that_is_no_text_is_refused(path, stored):
    assert refusal(hdf5(path, model_config=stored))[0] in ("bad_configuration", "broken_file")


def test_an_object_reference_is_not_followed(path):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = file.ref
    assert refusal(path)[0] == "bad_configuration"


def test_weights_only(path):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        file.create_group("dense")
    code, message = refusal(path)
    assert code == "no_model_config"
    assert "weights only" in message
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", data=[1.0])
    assert "weights only" in refusal(path)[1]
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=[1.0])
    assert "no Keras model" in refusal(path)[1]


def test_links_to_other_files_are_not_followed(path, tmp_path):
    marker = tmp_path / "missing" / "other.h5"
    with h5py.File(path, "w") as file:
        file["layers"] = h5py.ExternalLink(str(marker), "/")
        file["model_weights"] = h5py.SoftLink("/layers")
        file.attrs["model_config"] = TEXT
    assert read_model_file(path, "m", Budgets()).has_weights


def test_a_cut_hdf5_file_is_broken(path):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = TEXT
        file["data"] = np.arange(10_000)
    content = path.read_bytes()
    for part in (10, 600, len(content) // 2):
        path.write_bytes(content[:part])
        assert refusal(path)[0] == "broken_file"


# Paths and names


def test_files_that_are_not_there_or_not_files(tmp_path):
    assert refusal(tmp_path / "nothing")[0] == "file_not_found"
    assert refusal(tmp_path)[0] == "unreadable_file"
    assert refusal(tmp_path / ("x" * 5000))[0] == "unreadable_file"
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe")[0] == "unreadable_file"


@pytest.mark.parametrize("name", ["<b>\u202eevil\x00\n", "m" * 10_000, "caf\udce9.keras", ""])
def test_names_are_shown_as_short_printable_text(path, name):
    path.write_bytes(b"hello")
    message = refusal(path, name=name)[1]
    assert message.isprintable()
    assert message.encode()


# Every byte


@pytest.mark.parametrize("kind", ["keras", "h5", "json"])
def test_any_damage_ends_in_a_record_or_a_refusal(path, kind):
    if kind == "keras":
        whole(path, method=zipfile.ZIP_DEFLATED)
    elif kind == "h5":
        hdf5(path, model_config=TEXT, keras_version="3.1.0")
    else:
        path.write_text(TEXT)
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(content)
        for place in generator.integers(len(content), size=generator.integers(1, 4)):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            outcomes.add(read_model_file(path, "m", Budgets()).format)
        except ModelFileError as error:
            outcomes.add(error.code)
    assert kind in outcomes
    assert "broken_file" in outcomes
