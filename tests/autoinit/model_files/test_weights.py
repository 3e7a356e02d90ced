"""Weights find their variables, whichever Keras stored them and whatever stands in between."""

import json
import tracemalloc
import zipfile
from collections import Counter

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras.src.legacy.saving import legacy_h5_format
from tf_keras.src.saving.legacy import hdf5_format

from autoinit.errors import ModelFileError
from autoinit.graph.placeholders import Opaque as Opaque3
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.keras2.own_layers import Opaque as Opaque2
from autoinit.model_files.read.hdf5 import ArraysFile
from autoinit.model_files.weights.loading import load_weights, open_weights, walk
from tests.autoinit.model_files.networks import (
    anew,
    nested,
    rich,
    saved,
    shuffled,
    small,
    trained,
    values,
)

BUDGETS = Budgets()
KINDS = [pytest.param(keras, id="keras"), pytest.param(tf_keras, id="tf_keras")]
FORMATS = ["keras", "h5"]


def load(model, path):
    return load_weights(model, path, path.suffix[1:], path.name, BUDGETS)


def refusal(model, path):
    with pytest.raises(ModelFileError) as caught:
        load(model, path)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    return caught.value.code, str(caught.value)


def assert_equal(model, other):
    for one, two in zip(values(model.weights), values(other.weights), strict=True):
        np.testing.assert_array_equal(one, two)


def change(path, edit):
    """Edit a weights file in place, in or out of its archive."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            edit(file)
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    inner = path.with_suffix(".inner.h5")
    inner.write_bytes(members["model.weights.h5"])
    change(inner, edit)
    members["model.weights.h5"] = inner.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind):
    return shuffled(rich(kind))


# A compiled model has all that the other has.
STATES = [pytest.param("uncompiled", marks=pytest.mark.slow), "compiled"]


@pytest.fixture(scope="module", params=STATES)
def files(request, model, kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    source = model if request.param == "uncompiled" else trained(anew(model, kind), kind)
    return source, [saved(source, folder / f"model.{format}") for format in FORMATS]


def test_every_variable_gets_its_own_values(files, kind):
    source, paths = files
    for path in paths:
        fresh = anew(source, kind)
        loaded = load(fresh, path)
        assert_equal(fresh, source)
        assert loaded.findings == ()
        assert len(loaded.pairs) == len(source.weights)
        with open_weights(path, path.suffix[1:], path.name, BUDGETS) as file:
            for variable, value in zip(fresh.weights, values(fresh.weights), strict=True):
                np.testing.assert_array_equal(file.read(loaded.array_of(variable)), value)


def test_walk_lists_arrays_without_reading_them(files, monkeypatch):
    source, paths = files
    monkeypatch.delattr(ArraysFile, "read")
    for path in paths:
        arrays = walk(path, path.suffix[1:], path.name, BUDGETS)
        shapes = Counter(array.shape for array in arrays.values())
        # There are arrays of optimizers and metrics besides.
        assert shapes >= Counter(tuple(weight.shape) for weight in source.weights)


# Archives of older versions


@pytest.mark.parametrize("second", ["dense_1", "dense_2"])
def test_archives_of_older_versions_of_keras_2(tmp_path, second):
    """To 2.14 a model's layers stood under another name, to 2.13 each was counted twice."""
    source = shuffled(small(tf_keras))
    path = saved(source, tmp_path / "model.keras")

    def edit(file):
        for container in ("layers/sequential/layers", "layers"):
            file.move(f"{container}/dense_1", f"{container}/{second}")
            parent = container.rpartition("/")[0]
            file.move(container, f"{parent}/_layer_checkpoint_dependencies")

    change(path, edit)
    fresh = anew(source, tf_keras)
    load(fresh, path)
    assert_equal(fresh, source)


def test_archives_from_windows(tmp_path):
    source = shuffled(small(tf_keras))
    path = saved(source, tmp_path / "model.keras")

    def edit(file):
        for name in (
            "dense",
            "dense_1",
            "sequential\\layers\\dense",
            "sequential\\layers\\dense_1",
        ):
            file.move("layers/" + name.replace("\\", "/"), "layers\\" + name)

    change(path, edit)
    fresh = anew(source, tf_keras)
    load(fresh, path)
    assert_equal(fresh, source)


def test_an_object_is_found_under_any_attribute_that_leads_to_it(tmp_path):
    """Keras 3 renamed attributes, and its loader tries the one after the other."""
    given = keras.Input((4, 3))
    source = keras.Model(given, keras.layers.MultiHeadAttention(2, 3)(given, given))
    path = saved(shuffled(source), tmp_path / "model.keras")

    def edit(file):
        layer = file["layers/multi_head_attention"]
        (old,) = [name for name in layer if name.strip("_") == "query_dense"]
        new = "_query_dense" if old == "query_dense" else "query_dense"
        layer.move(old, new)

    change(path, edit)
    fresh = anew(source, keras)
    load(fresh, path)
    assert_equal(fresh, source)


# Legacy files


def test_long_lists_of_names_come_in_pieces(kind, tmp_path, monkeypatch):
    for module in (legacy_h5_format, hdf5_format):
        monkeypatch.setattr(module, "HDF5_OBJECT_HEADER_LIMIT", 120)
    stack = [kind.layers.Dense(3, name=f"dense_number_{index}") for index in range(12)]
    source = shuffled(kind.Sequential([kind.layers.InputLayer((3,)), *stack]))
    path = saved(source, tmp_path / "model.h5")
    with h5py.File(path) as file:
        assert "layer_names1" in file["model_weights"].attrs
    fresh = anew(source, kind)
    load(fresh, path)
    assert_equal(fresh, source)


def test_names_with_slashes_and_weights_at_the_root(tmp_path):
    layers = [
        tf_keras.layers.Dense(3, name="block/dense"),
        tf_keras.layers.Dense(3, name="block"),
        tf_keras.layers.Dense(3, name="block/dense/again"),
    ]
    source = shuffled(tf_keras.Sequential([tf_keras.layers.InputLayer((3,)), *layers]))
    path = saved(source, tmp_path / "model.h5")
    fresh = anew(source, tf_keras)
    load(fresh, path)
    assert_equal(fresh, source)

    def to_the_root(file):
        group = file["model_weights"]
        for name, value in group.attrs.items():
            file.attrs[name] = value
        for name in list(group):
            file.move(f"model_weights/{name}", name)
        del file["model_weights"]

    change(path, to_the_root)
    fresh = anew(source, tf_keras)
    load(fresh, path)
    assert_equal(fresh, source)


def test_groups_that_nobody_asked_for_are_left_alone(kind, tmp_path):
    source = shuffled(small(kind))
    for format in FORMATS:
        path = saved(source, tmp_path / f"model.{format}")

        def edit(file):
            file["more/numbers/vars/0"] = np.ones((3, 3))
            file.create_group("model_weights/elsewhere" if "model_weights" in file else "x")

        change(path, edit)
        fresh = anew(source, kind)
        load(fresh, path)
        assert_equal(fresh, source)


def test_layers_are_found_by_their_place_where_names_do_not_tell(kind, tmp_path):
    source = shuffled(small(kind))
    path = saved(source, tmp_path / "model.h5")
    config = json.loads(source.to_json().replace('"a"', '"other"'))
    fresh = shuffled(kind.models.model_from_json(json.dumps(config)), 5)
    load(fresh, path)
    assert_equal(fresh, source)


def packed_for_cudnn(file):
    """An LSTM's bias as CuDNNLSTM stored it: in two halves, one after the other."""
    group = file["model_weights/inner"]
    (name,) = [n for n in group.attrs["weight_names"] if "lstm" in n and "bias" in n]
    half = group[name][()] / 2
    del group[name]
    group[name] = np.concatenate([half, half])


def test_arrays_in_another_form_are_converted_as_tf_keras_does(tmp_path):
    layers = tf_keras.layers
    inner = tf_keras.Sequential(
        [layers.InputLayer((4, 3)), layers.LSTM(3, name="lstm"), layers.Dense(2, name="dense")],
        name="inner",
    )
    given = tf_keras.Input((4, 3))
    source = shuffled(tf_keras.Model(given, inner(given)))
    path = saved(source, tmp_path / "model.h5")
    change(path, packed_for_cudnn)
    expected, fresh = anew(source, tf_keras), anew(source, tf_keras)
    expected.load_weights(path)
    loaded = load(fresh, path)
    assert_equal(fresh, expected)
    # The dense layer's arrays were handed on as they were, the recurrent layer's were not.
    dense, lstm = fresh.get_layer("inner").layers[1], fresh.get_layer("inner").layers[0]
    assert all(loaded.array_of(weight) is not None for weight in dense.weights)
    assert all(loaded.array_of(weight) is None for weight in lstm.weights)


# Stand-ins


def stand_in(kind, original, **options):
    opaque = Opaque3 if kind is keras else Opaque2
    return opaque(original=original, reason="a test", **options)


class Doubling(keras.layers.Dense):
    """A stranger's layer, with weights of the same shapes as its neighbours'."""


class Doubling2(tf_keras.layers.Dense):
    """The same for Keras 2."""


Doubling2.__name__ = "Doubling"


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_what_belongs_to_a_layer_that_is_not_rebuilt_stays_behind(kind, tmp_path, format, nested):
    layers, strange = kind.layers, Doubling if kind is keras else Doubling2

    def build(middle):
        stack = [layers.Dense(3, name="a"), middle, layers.Dense(3, name="z")]
        if nested:
            stack = [kind.Sequential([layers.InputLayer((3,)), *stack], name="inner")]
        return kind.Sequential([layers.InputLayer((3,)), *stack])

    source = shuffled(build(strange(3, name="strange")))
    path = saved(source, tmp_path / f"model.{format}")
    fresh = shuffled(build(stand_in(kind, "Custom>Doubling", name="strange")), 5)
    loaded = load(fresh, path)
    assert len(loaded.pairs) == 4
    known = [value for place, value in enumerate(values(source.weights)) if place not in (2, 3)]
    for one, two in zip(known, values(fresh.weights), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_strange_layer_may_be_called_like_one_of_keras(kind, tmp_path):
    """Archives count layers by the name of their class."""
    source = shuffled(small(kind))
    path = saved(source, tmp_path / "model.keras")
    layers = kind.layers
    inner = [layers.InputLayer((5,)), layers.Dense(4, name="c"), layers.Dense(2, name="d")]
    given = kind.Input((3,))
    x = stand_in(kind, "mine.Dense", name="a", evidence={"declared": [3]})(given)
    x = kind.Sequential(inner, name="inner")(layers.Dense(5, name="b")(x))
    fresh = shuffled(kind.Model(given, x), 5)
    load(fresh, path)
    for one, two in zip(values(source.weights)[2:], values(fresh.weights), strict=True):
        np.testing.assert_array_equal(one, two)


# Types


def test_mixed_precision(kind, tmp_path):
    layers = kind.layers
    stack = [layers.Dense(3, dtype="mixed_float16"), layers.Dense(2, dtype="float64")]
    source = shuffled(kind.Sequential([layers.InputLayer((3,)), *stack]))
    for format in FORMATS:
        fresh = anew(source, kind)
        load(fresh, saved(source, tmp_path / f"model.{format}"))
        assert_equal(fresh, source)


@pytest.mark.parametrize("format", FORMATS)
def test_brain_floats(tmp_path, format):
    source = shuffled(
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="bfloat16")])
    )
    path = saved(source, tmp_path / f"model.{format}")
    fresh = anew(source, keras)
    load(fresh, path)
    assert_equal(fresh, source)


@pytest.fixture(params=FORMATS)
def retyped(request, kind, tmp_path):
    """Makes a model whose arrays are all 3, and a file of it that has them in another type."""

    def make(dtype):
        source = small(kind)
        for weight in source.weights:
            weight.assign(np.full(weight.shape, 3.0))
        path = saved(source, tmp_path / f"model.{request.param}")
        change(path, lambda file: _retype(file, dtype))
        return source, path

    return make


def _retype(file, dtype):
    datasets = []
    file.visititems(lambda name, o: datasets.append(name) if hasattr(o, "shape") else None)
    for name in datasets:
        content = file[name][()].astype(dtype)
        del file[name]
        file[name] = content


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_arrays_of_another_type_are_converted(kind, retyped, dtype):
    source, path = retyped(dtype)
    fresh = anew(source, kind)
    load(fresh, path)
    assert_equal(fresh, source)


@pytest.mark.parametrize("dtype", ["int64", "bool", "S4"])
def test_kernels_that_are_no_floats_are_refused(kind, retyped, dtype):
    source, path = retyped(dtype)
    with pytest.raises(ModelFileError, match=r"where the model has float32") as refused:
        load(anew(source, kind), path)
    assert refused.value.code == "weights_mismatch"


# Lookups and statistics


@pytest.mark.parametrize("mode", ["int", "tf_idf"])
def test_what_layers_were_adapted_to(kind, tmp_path, mode):
    layers = kind.layers
    numbers, words, statistics = (
        layers.IntegerLookup(output_mode=mode),
        layers.StringLookup(),
        layers.Normalization(),
    )
    numbers.adapt(np.array([[3, 5, 5, 9, 1]]))
    words.adapt(np.array([["a", "b", "b", "c"]]))
    statistics.adapt(np.arange(12.0).reshape(4, 3))
    inputs = [kind.Input((4,), dtype="int64"), kind.Input((2,), dtype="string"), kind.Input((3,))]
    outputs = [layer(x) for layer, x in zip((numbers, words, statistics), inputs, strict=True)]
    source = kind.Model(inputs, outputs)
    path = saved(source, tmp_path / "model.keras")
    fresh = kind.models.model_from_json(source.to_json())
    load(fresh, path)
    data = [tf.constant([[3, 5, 9, 7]], tf.int64), tf.constant([["c", "z"]]), tf.ones((1, 3))]
    for one, two in zip(source(data), fresh(data), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_vocabulary_that_is_none_is_refused(tmp_path):
    lookup = keras.layers.IntegerLookup()
    lookup.adapt(np.array([[3, 5]]))
    given = keras.Input((4,), dtype="int64")
    path = saved(keras.Model(given, lookup(given)), tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, b"3\nfive" if name.startswith("assets") else content)
    given = keras.Input((4,), dtype="int64")
    fresh = keras.Model(given, keras.layers.IntegerLookup()(given))
    code, message = refusal(fresh, path)
    assert code == "weights_mismatch"
    assert "vocabulary" in message


# Findings and refusals


@pytest.mark.parametrize("format", FORMATS)
def test_weights_that_are_not_finite_are_told_by_layer(kind, tmp_path, format):
    source = shuffled(nested(kind))
    hidden = source.get_layer("inner").get_layer("hidden")
    kernel, bias = values(hidden.weights)
    kernel[0, :3], bias[1] = np.nan, np.inf
    hidden.set_weights([kernel, bias])
    path = saved(source, tmp_path / f"model.{format}")
    (finding,) = load(anew(source, kind), path).findings
    assert (finding.code, finding.path, finding.class_name) == (
        "weights_not_finite",
        "inner/hidden",
        "Dense",
    )
    assert "4 of 72" in finding.message


def without_reading(monkeypatch):
    def read(*_):
        raise AssertionError("an array was read")

    monkeypatch.setattr(ArraysFile, "read", read)


@pytest.mark.parametrize("format", FORMATS)
def test_other_shapes_are_refused_before_anything_is_read(kind, tmp_path, format, monkeypatch):
    path = saved(shuffled(small(kind)), tmp_path / f"model.{format}")
    config = json.loads(small(kind).to_json())
    (entry,) = [e for e in config["config"]["layers"] if e["config"]["name"] == "b"]
    entry["config"]["units"] = 6
    inner = config["config"]["layers"][-1]["config"]
    text = json.dumps(inner).replace("[null, 5]", "[null, 6]")
    config["config"]["layers"][-1]["config"] = json.loads(text)
    config["config"]["layers"][-1].pop("build_config", None)
    without_reading(monkeypatch)
    code, message = refusal(kind.models.model_from_json(json.dumps(config)), path)
    assert code == "weights_mismatch"
    assert "Layer 'b' (Dense)" in message
    assert "(3, 6)" in message
    assert "(3, 5)" in message


def lose_a_layer(file):
    del file["model_weights/a" if "model_weights" in file else "layers/dense"]


def lose_a_weight(file):
    if "model_weights" not in file:
        del file["layers/dense/vars/1"]
        return
    group = file["model_weights/a"]
    group.attrs["weight_names"] = list(group.attrs["weight_names"])[:1]


def gain_a_weight(file):
    if "model_weights" not in file:
        file["layers/dense/vars/2"] = np.ones(3)
        return
    group = file["model_weights/a"]
    group["more"] = np.ones(3)
    group.attrs["weight_names"] = [*group.attrs["weight_names"], "more"]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("edit", "what"),
    [(lose_a_layer, "none for it"), (lose_a_weight, "2 weights"), (gain_a_weight, "2 weights")],
)
def test_weights_that_are_missing_or_too_many(kind, tmp_path, format, edit, what, monkeypatch):
    path = saved(shuffled(small(kind)), tmp_path / f"model.{format}")
    change(path, edit)
    without_reading(monkeypatch)
    code, message = refusal(small(kind), path)
    assert code == "weights_mismatch"
    assert "Layer 'a' (Dense)" in message
    assert what in message


def test_names_that_lead_nowhere_are_refused(kind, tmp_path):
    path = saved(shuffled(small(kind)), tmp_path / "model.h5")

    def edit(file):
        file["model_weights/a"].attrs["weight_names"] = ["../../b/kernel", "/etc/passwd"]

    change(path, edit)
    code, message = refusal(small(kind), path)
    assert code == "weights_mismatch"
    assert "not there" in message


def test_a_file_without_a_list_of_layers_is_refused(kind, tmp_path):
    path = saved(shuffled(small(kind)), tmp_path / "model.h5")
    change(path, lambda file: file["model_weights"].attrs.pop("layer_names"))
    code, message = refusal(small(kind), path)
    assert code == "weights_mismatch"
    assert "no list of layers" in message


def test_an_archive_without_weights_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    code, _ = refusal(small(keras), path)
    assert code == "weights_mismatch"


def test_a_member_that_is_larger_than_it_may_be_is_refused(tmp_path):
    path = saved(shuffled(small(keras)), tmp_path / "model.keras")
    with pytest.raises(ModelFileError, match="AUTOINIT_MAX_FILE_BYTES") as caught:
        load_weights(small(keras), path, "keras", path.name, Budgets(file_bytes=1000))
    assert caught.value.code == "over_budget"


def test_damage_in_the_archive_is_found(tmp_path):
    path = saved(shuffled(small(keras)), tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        content = archive.read("model.weights.h5")
    whole = bytearray(path.read_bytes())
    where = whole.find(content[:64])
    whole[where + len(content) - 100] ^= 1
    path.write_bytes(whole)
    code, _ = refusal(small(keras), path)
    assert code == "broken_file"


def test_one_array_is_read_at_a_time(kind, tmp_path):
    stack = [kind.layers.Dense(600, use_bias=False) for _ in range(10)]
    source = kind.Sequential([kind.layers.InputLayer((600,)), *stack])
    for format in FORMATS:
        path = saved(source, tmp_path / f"model.{format}")
        fresh = anew(source, kind)
        load(fresh, path)
        tracemalloc.start()
        try:
            load(fresh, path)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4 * 600 * 600 * 4  # of ten such


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    path = saved(shuffled(small(keras)), tmp_path / "model.keras")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    load(small(keras), path)
    change(path, lose_a_layer)
    refusal(small(keras), path)
    assert list(temporary.iterdir()) == []
