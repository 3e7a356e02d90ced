"""Several files of one model: an architecture and its weights, in one archive."""

import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tf_keras

from app.cli.batch import models_in
from app.cli.common import is_model_folder, modules_beside, one_file, put_together
from app.jobs.folders import pack
from autoinit.errors import ModelFileError
from autoinit.graph import keras_internals as internals
from autoinit.model_files import Budgets, open_model_file, save_reinitialized
from autoinit.model_files.read.bundles import parts_of


def network(library):
    """The same small network by either Keras."""
    layers = library.layers
    x = library.Input((6, 6, 2))
    y = layers.BatchNormalization()(layers.Conv2D(3, 3, name="conv")(x))
    return library.Model(x, layers.Dense(2, name="dense")(layers.Flatten()(y)))


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """A folder with architectures, weights and a whole model."""
    folder = tmp_path_factory.mktemp("brought")
    old, new = network(tf_keras), network(keras)
    (folder / "old.json").write_text(old.to_json())
    (folder / "new.json").write_text(new.to_json())
    old.save_weights(folder / "old.h5")
    old.save_weights(folder / "old.weights.h5")
    new.save_weights(folder / "new.weights.h5")
    with pytest.warns(UserWarning, match="legacy"):
        old.save(folder / "whole.h5")
    return folder, {"old": old, "new": new}


def opened(folder, names, tmp_path):
    archive = tmp_path / "model.zip"
    pack({name: folder / name for name in names}, archive)
    parts = parts_of(archive, "model.zip", Budgets(), tmp_path)
    return parts, open_model_file(parts.model, name=parts.name, weights=parts.weights)


@pytest.mark.parametrize(
    ("model", "weights"), [("old", "old.h5"), ("old", "old.weights.h5"), ("new", "new.weights.h5")]
)
def test_an_architecture_takes_the_weights_beside_it(model, weights, brought, tmp_path):
    folder, models = brought
    parts, file = opened(folder, [f"{model}.json", weights], tmp_path)
    assert parts.name == f"{model}.json"
    assert file.has_weights
    for one, other in zip(models[model].get_weights(), file.original.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_a_whole_model_goes_before_the_architecture_beside_it(brought, tmp_path):
    parts, file = opened(brought[0], ["old.json", "whole.h5"], tmp_path)
    assert (parts.name, parts.weights) == ("whole.h5", None)
    assert file.has_weights


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["old.json", "new.json"], "holds 2 models"),
        (["old.json", "old.h5", "new.weights.h5"], "holds 2 files of weights"),
        (["old.h5"], "weights only"),
    ],
)
def test_what_is_no_one_model_is_a_sentence(names, says, brought, tmp_path):
    with pytest.raises(ModelFileError, match=says):
        opened(brought[0], names, tmp_path)


def test_the_command_line_puts_weights_to_the_architecture_next_to_them(brought):
    folder = brought[0]
    new, weights, whole = (str(folder / n) for n in ("new.json", "new.weights.h5", "whole.h5"))
    assert put_together([weights, new, whole]) == [[new, weights], [whole]]
    assert put_together([new, whole]) == [[new], [whole]]
    assert put_together(["sample:all-cnn-c", weights]) == [["sample:all-cnn-c"], [weights]]


def nested(path, **options):
    """A SavedModel of a model with another one in it, whose last weights are not trainable."""
    layers = tf_keras.layers
    inner = [layers.Dense(3, input_shape=(2,)), layers.BatchNormalization(), layers.Dense(2)]
    model = tf_keras.Sequential([tf_keras.Sequential(inner, name="inner"), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.save(path, save_format="tf", **options)
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a SavedModel, and the model."""
    folder = tmp_path_factory.mktemp("saved") / "network"
    return folder, nested(folder)


def without_metadata(folder):
    """As TensorFlow 2.4 and older saved it: Keras's metadata in the file of the graph."""
    metadata = internals.SavedMetadata.FromString((folder / "keras_metadata.pb").read_bytes())
    graph = internals.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for node in metadata.nodes:
        saved = graph.meta_graphs[0].object_graph_def.nodes[node.node_id]
        saved.user_object.metadata = node.metadata
    (folder / "saved_model.pb").write_bytes(graph.SerializeToString())
    (folder / "keras_metadata.pb").unlink()


@pytest.mark.parametrize("old", [False, True])
def test_a_saved_model_opens_without_its_graph(old, saved, tmp_path):
    folder, model = tmp_path / "network", saved[1]
    shutil.copytree(saved[0], folder)
    if old:
        without_metadata(folder)
    else:  # no byte of the graph is needed
        (folder / "saved_model.pb").write_bytes(b"no graph")
    packed = one_file(str(folder), (), tmp_path)
    parts = parts_of(tmp_path / "model.zip", "network", Budgets(), tmp_path)
    assert packed == str(tmp_path / "model.zip")
    file = open_model_file(parts.model, name=parts.name)
    assert file.record.compile_settings["loss"] == "mse"
    for one, other in zip(model.get_weights(), file.original.get_weights(), strict=True):
        assert np.array_equal(one, other)


def unpacked(model, folder):
    """The HDF5 file that a SavedModel of a model comes to."""
    model.save(folder / "network", save_format="tf")
    one_file(str(folder / "network"), (), folder)
    return parts_of(folder / "model.zip", "network", Budgets(), folder)


def test_a_saved_model_has_what_a_normalization_was_adapted_to(tmp_path):
    layers = tf_keras.layers
    random = np.random.default_rng(0)
    normalization = layers.Normalization()
    normalization.adapt(random.normal(3.0, 5.0, size=(50, 4)))
    model = tf_keras.Sequential([tf_keras.Input((4,)), normalization, layers.Dense(2)])
    parts, x = unpacked(model, tmp_path), random.normal(size=(3, 4)).astype("float32")
    file = open_model_file(parts.model, name=parts.name)
    np.testing.assert_allclose(file.model(x), model(x), rtol=1e-5)


def test_words_in_the_graph_of_a_saved_model_are_a_sentence(tmp_path):
    lookup = tf_keras.layers.StringLookup(output_mode="one_hot")
    lookup.adapt(np.array(["a", "b"]))
    model = tf_keras.Sequential([tf_keras.Input((1,), dtype="string"), lookup])
    with pytest.raises(ModelFileError, match=r"\(StringLookup\) has its words in the graph"):
        unpacked(model, tmp_path)


OWN = """
from tensorflow import keras

class Network(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.second = keras.layers.Dense(4)
        self.first = keras.Sequential([keras.layers.Dense(4, "tanh")])

    def call(self, x):
        return self.second(self.first(x))
"""


@pytest.mark.parametrize("old", [False, True])
def test_a_saved_model_of_ones_own_class_opens_with_its_code(old, tmp_path):
    names = {}
    exec(OWN.replace("from tensorflow import keras", "import tf_keras as keras"), names)
    model, x = names["Network"](), np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    expected = model(x).numpy()
    model.save(tmp_path / "network", save_format="tf")
    if old:
        without_metadata(tmp_path / "network")
    (tmp_path / "own.py").write_text(OWN)
    one_file(str(tmp_path / "network"), (), tmp_path)
    parts = parts_of(tmp_path / "model.zip", "network", Budgets(), tmp_path)
    with pytest.raises(ModelFileError, match="'Network' beside the model, and say that you trust"):
        open_model_file(parts.model, name=parts.name)
    file = open_model_file(parts.model, name=parts.name, trusted=True, code=[tmp_path / "own.py"])
    np.testing.assert_allclose(file.model(x), expected, rtol=1e-6)
    # Keras 2 opens no HDF5 file of such a model.
    (tmp_path / "saved").mkdir()
    downloads, _ = save_reinitialized(file, [], tmp_path / "saved", Budgets())
    assert [each.file for each in downloads] == ["reinitialized.keras"]


def test_a_saved_model_without_layers_is_a_sentence(saved, tmp_path):
    folder = tmp_path / "exported"
    shutil.copytree(saved[0], folder)
    (folder / "keras_metadata.pb").unlink()
    one_file(str(folder), (), tmp_path)
    with pytest.raises(ModelFileError, match=r"graph is code.* model\.save\('model\.keras'\)"):
        parts_of(tmp_path / "model.zip", "exported", Budgets(), tmp_path)


def test_a_saved_model_that_lists_no_weights_is_a_sentence(tmp_path):
    nested(tmp_path / "network", save_traces=False)
    one_file(str(tmp_path / "network"), (), tmp_path)
    with pytest.raises(ModelFileError, match="save_traces=False"):
        parts_of(tmp_path / "model.zip", "network", Budgets(), tmp_path)


def in_browser(model, folder, packed=False):
    """A folder as TensorFlow.js saves it: all trainable weights, then the others, in two shards."""
    entries, content = [], b""
    for weight in (*model.trainable_weights, *model.non_trainable_weights):
        values = weight.numpy()
        entry = {"name": weight.name.removesuffix(":0"), "shape": values.shape, "dtype": "float32"}
        if packed:  # to one byte for each
            low, scale = float(values.min()), max(float(np.ptp(values)) / 255, 1e-6)
            entry["quantization"] = {"dtype": "uint8", "min": low, "scale": scale}
            values = np.round((values - low) / scale).astype("uint8")
        entries.append(entry)
        content += values.tobytes()
    names = ["group1-shard1of2.bin", "group1-shard2of2.bin"]
    half = len(content) // 2
    for name, part in zip(names, (content[:half], content[half:]), strict=True):
        (folder / name).write_bytes(part)
    config = {"class_name": type(model).__name__, "config": json.loads(model.to_json())["config"]}
    manifest = [{"paths": names, "weights": entries}]
    topology = {**config, "keras_version": "tfjs-layers 4.22.0", "backend": "tensor_flow.js"}
    written = {"format": "layers-model", "modelTopology": topology, "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(written))
    return folder / "model.json", [folder / name for name in names]


@pytest.mark.parametrize(("packed", "error"), [(False, 0.0), (True, 0.01)])
def test_tensorflow_js_opens_with_its_shards(packed, error, tmp_path):
    model = network(tf_keras)
    brought, shards = in_browser(model, tmp_path, packed)
    assert put_together([*map(str, shards), str(brought)]) == [[str(brought), *map(str, shards)]]
    archive = one_file(str(brought), (), tmp_path)
    parts = parts_of(tmp_path / "model.zip", "model.json", Budgets(), tmp_path)
    file = open_model_file(parts.model, name=parts.name)
    assert archive.endswith("model.zip")
    assert file.has_weights
    for one, other in zip(model.get_weights(), file.original.get_weights(), strict=True):
        assert one == pytest.approx(other, abs=error)


def test_missing_shards_are_named_and_none_at_all_are_drawn(tmp_path):
    brought, shards = in_browser(network(tf_keras), tmp_path)
    shards[1].unlink()
    one_file(str(brought), (), tmp_path)
    with pytest.raises(ModelFileError, match=r"2 files, and 'group1-shard2of2.bin' is not there"):
        parts_of(tmp_path / "model.zip", "model.json", Budgets(), tmp_path)
    shards[0].unlink()
    assert one_file(str(brought), (), tmp_path) == str(brought)
    assert not open_model_file(brought).has_weights


def test_shards_that_are_cut_short_are_a_sentence(tmp_path):
    brought, shards = in_browser(network(tf_keras), tmp_path)
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    one_file(str(brought), (), tmp_path)
    with pytest.raises(ModelFileError, match="is larger than its file"):
        parts_of(tmp_path / "model.zip", "model.json", Budgets(), tmp_path)


def test_shards_that_are_named_twice_are_refused(tmp_path):
    brought, _ = in_browser(network(tf_keras), tmp_path)
    described = json.loads(brought.read_text())
    described["weightsManifest"][0]["paths"] *= 1000
    brought.write_text(json.dumps(described))
    one_file(str(brought), (), tmp_path)
    with pytest.raises(ModelFileError, match="named twice"):
        parts_of(tmp_path / "model.zip", "model.json", Budgets(), tmp_path)


def archive_of(folder, base, members=()):
    """A zip of what a `.keras` holds, in a folder `base`, and of further members."""
    network(keras).save(folder / "whole.keras")
    with zipfile.ZipFile(folder / "whole.keras") as whole:
        found = {f"{base}{member}": whole.read(member) for member in whole.namelist()}
    with zipfile.ZipFile(folder / "again.zip", "w", zipfile.ZIP_DEFLATED) as again:
        for member, content in {**found, **dict(members)}.items():
            if content is not None:
                again.writestr(member, content)
    return folder / "again.zip"


@pytest.mark.parametrize("base", ["model/", "home/me/my model/", "parts/"])
def test_an_archive_that_was_unpacked_and_packed_with_its_folder_opens(base, tmp_path):
    beside = {"__MACOSX/model/._config.json": b"\0", f"{base}README.txt": b"mine", base: b""}
    path = archive_of(tmp_path, base, beside)
    parts = parts_of(path, "again.zip", Budgets(), tmp_path)
    file = open_model_file(parts.model, name=parts.name)
    whole = keras.models.load_model(tmp_path / "whole.keras")
    assert (parts.name, file.record.format) == ("again.zip", "keras")
    assert zipfile.ZipFile(parts.model).namelist() == [
        "metadata.json", "config.json", "model.weights.h5",
    ]  # fmt: skip
    for one, other in zip(whole.get_weights(), file.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_folder_of_an_unpacked_archive_opens(tmp_path):
    archive_of(tmp_path, "model/", {"model/assets/words/vocabulary.txt": b"one\ntwo"})
    zipfile.ZipFile(tmp_path / "again.zip").extractall(tmp_path)
    (tmp_path / "model" / "own.py").write_text("class Own: ...\n")
    assert is_model_folder(tmp_path / "model")
    assert not is_model_folder(tmp_path)
    assert modules_beside(str(tmp_path / "model")) == [str(tmp_path / "model" / "own.py")]
    packed = one_file(str(tmp_path / "model"), [str(tmp_path / "model" / "own.py")], tmp_path)
    parts = parts_of(Path(packed), "model", Budgets(), tmp_path)
    assert "assets/words/vocabulary.txt" in zipfile.ZipFile(parts.model).namelist()
    assert [path.name for path in parts.code] == ["own.py"]
    assert open_model_file(parts.model, name="model").has_weights


def test_without_metadata_it_is_an_architecture_and_its_weights(tmp_path):
    path = archive_of(tmp_path, "model/", {"model/metadata.json": None})
    parts = parts_of(path, "again.zip", Budgets(), tmp_path)
    assert parts.weights is not None
    assert open_model_file(parts.model, name=parts.name, weights=parts.weights).has_weights


@pytest.mark.parametrize(
    ("members", "code", "says"),
    [
        ({"model/assets/../../evil": b"x"}, "unsafe_archive", "a place outside itself"),
        ({"model/assets/a\\b": b"x"}, "unsafe_archive", "a place outside itself"),
        ({"model/config.json": b" " * 10**5}, "over_budget", "would take 97.66 KiB"),
        ({"model/assets/0": b"0" * 2 * 10**6}, "over_budget", "unpacked, would take"),
        ({f"model/assets/{i}": b"" for i in range(99)}, "over_budget", "members"),
        (
            {f"other/{name}": b'{"class_name": 1}' for name in ("config.json", "metadata.json")},
            "bad_configuration",
            "holds 2 models",
        ),
    ],
)
def test_what_a_folder_in_an_archive_may_hold_is_limited_alike(members, code, says, tmp_path):
    path = archive_of(tmp_path, "model/", members)
    limits = Budgets(config_bytes=90_000, file_bytes=10**6, members=50)
    before = set(tmp_path.iterdir())
    with pytest.raises(ModelFileError, match=says) as caught:
        parts_of(path, "again.zip", limits, tmp_path)
    assert caught.value.code == code
    assert set(tmp_path.iterdir()) == before


def test_a_batch_takes_a_folder_that_is_a_model_as_one(tmp_path):
    archive_of(tmp_path, "deep/model/")
    zipfile.ZipFile(tmp_path / "again.zip").extractall(tmp_path)
    (tmp_path / "again.zip").unlink()
    expected = [[str(tmp_path / "deep" / "model")], [str(tmp_path / "whole.keras")]]
    assert models_in([str(tmp_path)]) == expected
    assert models_in(expected[0]) == expected[:1]
