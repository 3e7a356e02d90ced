"""The copy of a model file: new kernels, and everything else as it came."""

import errno
import io
import json
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tf_keras

from autoinit import AutoInit
from autoinit.constraints import CenteredUnitNorm
from autoinit.initializers.drawing import apply_plans
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read import json_text
from autoinit.model_files.read.reading import read_model_file
from autoinit.model_files.weights.loading import load_weights
from autoinit.model_files.weights.weight_owners import named_layers
from autoinit.model_files.write import patching
from autoinit.model_files.write.entries import changed_arguments, entries_of
from autoinit.model_files.write.patching import save_patched_copy
from tests.autoinit.model_files.networks import anew, rich, saved, shuffled, small, trained, values

BUDGETS = Budgets()
KINDS = [pytest.param(keras, id="keras"), pytest.param(tf_keras, id="tf_keras")]
FORMATS = ["keras", "h5"]


def pairs(model, twin):
    """Layers of a Keras 2 model and of the same network in Keras 3, those in wrappers too."""
    twins = dict(named_layers(twin))
    found = [(layer, twins[path]) for path, layer in named_layers(model)]
    return [*found, *((a.layer, b.layer) for a, b in found if hasattr(b, "layer"))]


def patch(path, copy, build, constrain=False):
    """Do to a file what an analysis does; gives the findings and the plans."""
    record = read_model_file(path, path.name, BUDGETS)
    twin = shuffled(build(keras), 9)
    model = twin if record.keras == 3 else shuffled(build(tf_keras), 9)
    weights = (
        load_weights(model, path, record.format, path.name, BUDGETS)
        if (record.has_weights)
        else None
    )
    options = {"seed": 3, "constrain_weights": constrain, "recurrent_monte_carlo_samples": 10}
    plans = AutoInit(options).plan(twin).scales
    apply_plans(plans, "truncated_normal", 3, constrain=constrain)
    twins = () if record.keras == 3 else pairs(model, twin)
    return save_patched_copy(record, model, weights, plans, copy, BUDGETS, twins), plans


def kind_of(record_or_kind):
    return keras if record_or_kind == 3 else tf_keras


def config_of(path):
    return read_model_file(path, path.name, BUDGETS).config


def differences(one, two, path=()):
    """Paths at which two JSON values differ, as deep as they can be told apart."""
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return [d for key in one for d in differences(one[key], two[key], (*path, key))]
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        return [d for i in range(len(one)) for d in differences(one[i], two[i], (*path, i))]
    return [] if one == two or (one != one and two != two) else [path]


def arrays_of(path):
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            content = archive.read("model.weights.h5")
    else:
        content = path.read_bytes()
    arrays = {}
    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(
            lambda name, o: arrays.update({name: o[()]}) if isinstance(o, h5py.Dataset) else None
        )
    return arrays


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


# A compiled model has all that the other has.
STATES = [pytest.param("uncompiled", marks=pytest.mark.slow), "compiled"]


@pytest.fixture(scope="module", params=STATES)
def files(request, kind, tmp_path_factory):
    """A model's files in both formats, and their copies."""
    folder = tmp_path_factory.mktemp("patched")
    source = shuffled(rich(kind))
    if request.param == "compiled":
        trained(source, kind)
    found = []
    for format in FORMATS:
        path = saved(source, folder / f"model.{format}")
        copy = folder / f"copy.{format}"
        findings, plans = patch(path, copy, rich)
        assert findings == ()
        found.append((path, copy, plans))
    return source, found


def test_the_copy_opens_with_new_kernels_and_nothing_else_new(files, kind):
    source, found = files
    for _, copy, plans in found:
        loaded = kind.models.load_model(copy)
        assert (getattr(loaded, "optimizer", None) is not None) == (
            getattr(source, "optimizer", None) is not None
        )
        planned = values(plan.kernel.variable for plan in plans)
        new = 0
        for old, value in zip(values(source.weights), values(loaded.weights), strict=True):
            if not np.array_equal(old, value):
                new += 1
                assert any(np.array_equal(value, kernel) for kernel in planned)
        assert new == len(plans) == 17


def test_its_configuration_differs_in_the_initialisers_alone(files):
    _, found = files
    for path, copy, plans in found:
        old, new = config_of(path), config_of(copy)
        changed = {
            (*d[: d.index(n)], n)
            for d in differences(old, new)
            for n in d
            if str(n).endswith("_initializer")
        }
        # The projections of attention have no entry of their own.
        assert len(changed) == len([plan for plan in plans if "attention/" not in plan.path])
        assert all(any(str(n).endswith("_initializer") for n in d) for d in differences(old, new))
        for place in changed:
            entry = new
            for step in place:
                entry = entry[step]
            assert entry["class_name"] == "TruncatedNormal"
            assert set(entry) >= {"class_name", "config"}


def test_its_arrays_differ_in_the_kernels_and_the_optimizer_alone(files):
    source, found = files
    for path, copy, plans in found:
        old, new = arrays_of(path), arrays_of(copy)
        assert old.keys() == new.keys()
        changed = [name for name in old if not np.array_equal(old[name], new[name])]
        assert sum("optimizer" not in name for name in changed) == len(plans)
        slots = {name: value for name, value in new.items() if "optimizer" in name}
        assert bool(slots) == (getattr(source, "optimizer", None) is not None)
        for value in slots.values():
            assert (
                value == pytest.approx(0.001)
                if value.dtype.kind == "f" and not value.shape
                else not value.any()
            )


def test_of_the_weights_every_byte_stays_but_those_of_the_kernels(tmp_path):
    path, copy = saved(shuffled(small(keras)), tmp_path / "model.keras"), tmp_path / "copy.keras"
    _, plans = patch(path, copy, small)
    old, new = (
        np.frombuffer(zipfile.ZipFile(place).read("model.weights.h5"), np.uint8)
        for place in (path, copy)
    )
    changed = np.flatnonzero(old != new)
    kernels = [value.tobytes() for value in values(plan.kernel.variable for plan in plans)]
    places = [new.tobytes().find(kernel) for kernel in kernels]
    inside = np.concatenate(
        [
            np.arange(place, place + len(kernel))
            for place, kernel in zip(places, kernels, strict=True)
        ]
    )
    assert min(places) > 0
    assert set(changed) <= set(inside)


def test_brain_floats_are_overwritten_as_such(tmp_path):
    def build(kind):
        stack = [kind.layers.InputLayer((4,)), kind.layers.Dense(3, dtype="bfloat16", name="a")]
        return kind.Sequential(stack)

    source = trained(shuffled(build(keras)), keras)
    path, copy = saved(source, tmp_path / "model.keras"), tmp_path / "copy.keras"
    _, plans = patch(path, copy, build)
    loaded = keras.models.load_model(copy)
    np.testing.assert_array_equal(*values([loaded.get_layer("a").kernel, plans[0].kernel.variable]))
    assert not any(value.any() for value in values(loaded.optimizer.variables[2:]))


def test_the_other_members_of_an_archive_are_the_same_bytes_packed_the_same_way(tmp_path):
    path, mixed, copy = (tmp_path / name for name in ("a.keras", "model.keras", "copy.keras"))
    saved(shuffled(small(keras)), path)
    packing = {"model.weights.h5": zipfile.ZIP_DEFLATED, "assets/x/words.txt": zipfile.ZIP_DEFLATED}
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(mixed, "w") as new:
        new.comment = b"mine"
        new.writestr("assets/x/words.txt", b"one\ntwo\n" * 100, zipfile.ZIP_DEFLATED)
        new.mkdir("assets/empty")
        for name in reversed(old.namelist()):
            new.writestr(name, old.read(name), packing.get(name, zipfile.ZIP_STORED))
    findings, plans = patch(mixed, copy, small)
    assert findings == ()
    with zipfile.ZipFile(mixed) as old, zipfile.ZipFile(copy) as new:
        assert new.comment == b"mine"
        assert new.testzip() is None
        for before, after in zip(old.infolist(), new.infolist(), strict=True):
            for attribute in ("filename", "compress_type", "date_time", "external_attr"):
                assert getattr(before, attribute) == getattr(after, attribute)
            same = old.read(before) == new.read(after)
            assert same == (before.filename not in ("config.json", "model.weights.h5"))
    assert len(plans) == 4
    loaded = keras.models.load_model(copy)
    np.testing.assert_array_equal(*values([loaded.get_layer("a").kernel, plans[0].kernel.variable]))


@pytest.mark.parametrize(
    "store",
    [
        bytes,
        str,
        lambda b: np.bytes_(b),
        lambda b: np.array([b]),
        lambda b: np.array([np.bytes_(b)]),
    ],
    ids=["bytes", "text", "fixed", "list", "fixed list"],
)
def test_the_configuration_is_stored_in_the_type_that_it_had(tmp_path, store):
    path, copy = saved(shuffled(small(tf_keras)), tmp_path / "model.h5"), tmp_path / "copy.h5"
    with h5py.File(path, "r+") as file:
        content = file.attrs["model_config"].encode()
        file.attrs["model_config"] = content.decode() if store is str else store(content)
    assert patch(path, copy, small)[0] == ()
    with h5py.File(path) as old, h5py.File(copy) as new:
        before, after = (file.attrs.get_id("model_config") for file in (old, new))
        assert before.shape == after.shape
        assert h5py.check_string_dtype(before.dtype).encoding == (
            h5py.check_string_dtype(after.dtype).encoding
        )
        assert (before.dtype.kind, type(old.attrs["model_config"])) == (
            after.dtype.kind,
            type(new.attrs["model_config"]),
        )
    assert b"TruncatedNormal" in copy.read_bytes()


def test_a_configuration_that_outgrows_its_type(tmp_path):
    """Of a text of fixed length, an object's header takes 64 KiB."""
    path, copy = saved(shuffled(small(tf_keras)), tmp_path / "model.h5"), tmp_path / "copy.h5"
    with h5py.File(path, "r+") as file:
        content = file.attrs["model_config"].encode()
        file.attrs["model_config"] = np.bytes_(content + b" " * (64500 - len(content)))
    assert patch(path, copy, small)[0] == ()
    assert tf_keras.models.load_model(copy).count_params() == 66


def test_packed_arrays_are_written_as_they_are_packed(tmp_path):
    path, copy = saved(shuffled(small(tf_keras)), tmp_path / "model.h5"), tmp_path / "copy.h5"
    name = "model_weights/a/a/kernel:0"
    with h5py.File(path, "r+") as file:
        content = file[name][()].astype(np.float64)
        del file[name]
        file.create_dataset(name, data=content, chunks=(2, 2), compression="gzip", shuffle=True)
    findings, plans = patch(path, copy, small)
    assert findings == ()
    with h5py.File(copy) as file:
        assert (file[name].dtype, file[name].chunks, file[name].compression) == (
            np.float64,
            (2, 2),
            "gzip",
        )
        np.testing.assert_array_equal(file[name], *values([plans[0].kernel.variable]))


# JSON


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_keeps_its_encoding_and_every_other_character(kind, tmp_path, encoding):
    text = json.dumps(json.loads(small(kind).to_json()), indent=3).replace('"small"', '"smäll"')
    path, copy = tmp_path / "model.json", tmp_path / "copy.json"
    path.write_bytes(text.encode(encoding))
    findings, plans = patch(path, copy, small)
    assert findings == ()
    written = copy.read_bytes()
    assert json.detect_encoding(written) == json.detect_encoding(path.read_bytes())
    changed = written.decode(json.detect_encoding(written))
    assert changed.count("TruncatedNormal") == len(plans) == 4
    entry = r'("kernel_initializer": )\{[^{}]*\{[^{}]*\}[^{}]*\}'
    assert re.sub(entry, r"\1…", changed) == re.sub(entry, r"\1…", text)
    assert kind.models.model_from_json(changed).count_params() == 66


def test_json_within_json(tmp_path):
    path, copy = tmp_path / "model.json", tmp_path / "copy.json"
    path.write_text(json.dumps(small(keras).to_json()))
    assert patch(path, copy, small)[0] == ()
    made = keras.models.model_from_json(json.loads(copy.read_text()))
    assert made.get_layer("a").kernel_initializer.get_config()["stddev"] > 0


# Entries


def layer(class_name, name=None, **config):
    return {"class_name": class_name, "config": {**({"name": name} if name else {}), **config}}


def test_entries_of_nested_models_wrappers_and_layers_that_two_models_share():
    layers = keras.layers
    shared = layers.Dense(3, name="shared")
    wrapped = layers.TimeDistributed(layers.Dense(2, name="inner"), name="steps")
    block = keras.Sequential([keras.Input((3,)), shared], name="block")
    given = keras.Input((3,), name="given")
    model = keras.Model(given, wrapped(layers.Reshape((1, 3))(block(shared(given)))))
    config = json.loads(model.to_json())
    found = entries_of(model, config)
    assert {config_at(config, path)["name"] for path in found[id(shared)]} == {"shared"}
    assert len(found[id(shared)]) == 2
    (path,) = found[id(wrapped.layer)]
    assert path[-2:] == ("layer", "config")
    assert config_at(config, path)["name"] == "inner"


def config_at(config, path):
    for step in path:
        config = config[step]
    return config


@pytest.mark.parametrize("wrapped", [False, True])
def test_entries_of_sequential_models_without_names_and_of_bare_lists(wrapped):
    """As Keras 2.0 wrote them."""
    model = tf_keras.Sequential(
        [tf_keras.layers.Dense(3, input_shape=(4,)), tf_keras.layers.Dense(2)]
    )
    entries = [layer("Dense", units=3, batch_input_shape=[None, 4]), layer("Dense", units=2)]
    config = {"class_name": "Sequential", "config": {"layers": entries} if wrapped else entries}
    found = entries_of(model, config)
    units = [config_at(config, found[id(one)][0])["units"] for one in model.layers]
    assert units == [3, 2]


def test_entries_of_the_same_name_in_two_models():
    def block(name):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="same")], name=name)

    model = keras.Sequential([keras.Input((3,)), block("one"), block("two")])
    config = json.loads(model.to_json())
    found = entries_of(model, config)
    places = [found[id(model.get_layer(name).get_layer("same"))] for name in ("one", "two")]
    assert [len(paths) for paths in places] == [1, 1]
    assert places[0] != places[1]


@pytest.mark.parametrize(
    ("old", "version", "keys"),
    [
        ({"class_name": "A", "config": {}}, 2, {"class_name", "config"}),
        ({"class_name": "A", "config": {}}, 3, {"class_name", "config"}),
        (
            {"module": "m", "class_name": "A", "config": {}, "registered_name": None},
            2,
            {"module", "class_name", "config", "registered_name"},
        ),
        (
            {"module": "m", "class_name": "A", "config": {}, "shared_object_id": 7},
            3,
            {"module", "class_name", "config"},
        ),
        ("glorot_uniform", 2, {"class_name", "config"}),
        ("glorot_uniform", 3, {"module", "class_name", "config", "registered_name"}),
        (None, 2, {"class_name", "config"}),
    ],
)
def test_entries_are_written_in_the_style_of_the_old_ones(old, version, keys):
    config = {"config": {"kernel_initializer": old, "units": 3}}
    changes = {"kernel_initializer": keras.initializers.RandomNormal(0.0, 0.5, seed=7)}
    replaced = changed_arguments(config, [("config",)], changes, version)
    entry = replaced[("config", "kernel_initializer")]
    assert set(entry) == keys
    assert entry["config"] == {"mean": 0.0, "stddev": 0.5, "seed": 7}
    json_text.splice(json.dumps(config), replaced)


def test_an_argument_that_the_file_leaves_to_keras_is_added(tmp_path):
    entries = [
        layer("InputLayer", "given", batch_input_shape=[None, 3]),
        layer("Dense", "a", units=4),
    ]
    config = {
        "class_name": "Sequential",
        "config": {"name": "s", "layers": entries},
        "keras_version": "2.4.0",
        "backend": "tensorflow",
    }
    path, copy = tmp_path / "model.json", tmp_path / "copy.json"
    path.write_text(json.dumps(config))

    def build(kind):
        return kind.Sequential([kind.layers.InputLayer((3,)), kind.layers.Dense(4, name="a")])

    assert patch(path, copy, build)[0] == ()
    (entry,) = [e for e in config_of(copy)["config"]["layers"] if e["class_name"] == "Dense"]
    assert entry["config"].pop("kernel_initializer")["class_name"] == "TruncatedNormal"
    assert entry["config"] == {"name": "a", "units": 4}


# Optimizers

OPTIMIZERS = {
    "SGD": {"momentum": 0.9},
    "Adam": {"amsgrad": True},
    "Nadam": {},
    "Adagrad": {"initial_accumulator_value": 0.25},
    "Ftrl": {"initial_accumulator_value": 0.25},
    "RMSprop": {"use_ema": True, "momentum": 0.5},
}


def optimizer_arrays(path):
    """In the optimizer's order."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            group = file["optimizer_weights"]
            return [group[name][()] for name in group.attrs["weight_names"]]
    arrays = arrays_of(path)
    count = sum(name.startswith("optimizer/vars/") for name in arrays)
    return [arrays[f"optimizer/vars/{index}"] for index in range(count)]


# Each optimizer in one format, each format with half of them.
STORED = [
    pytest.param(name, format, marks=pytest.mark.slow if (place + other) % 2 else ())
    for place, name in enumerate(OPTIMIZERS) for other, format in enumerate(FORMATS)
]  # fmt: skip


@pytest.mark.parametrize(("name", "format"), STORED)
def test_the_copys_optimizer_is_as_good_as_new(kind, tmp_path, name, format):
    optimizer = getattr(kind.optimizers, name)(0.125, **OPTIMIZERS[name])
    source = trained(shuffled(small(kind)), kind, optimizer)
    path, copy = saved(source, tmp_path / f"model.{format}"), tmp_path / f"copy.{format}"
    assert patch(path, copy, small)[0] == ()
    loaded = kind.models.load_model(copy)
    assert values([loaded.optimizer.learning_rate]) == [0.125]
    fresh = type(optimizer).from_config(optimizer.get_config())
    fresh.build(loaded.trainable_variables)
    for one, two in zip(optimizer_arrays(copy), values(fresh.variables), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["Adam", "Nadam", "Ftrl"])
def test_optimizers_of_older_versions_of_keras_2(tmp_path, name):
    source = trained(
        shuffled(small(tf_keras)), tf_keras, getattr(tf_keras.optimizers.legacy, name)()
    )
    path, copy = saved(source, tmp_path / "model.h5"), tmp_path / "copy.h5"
    assert patch(path, copy, small)[0] == ()
    expected = {"momentum_cache": 1.0, "accumulator": 0.1}
    for place, value in arrays_of(copy).items():
        if place.startswith("optimizer_weights/"):
            start = next((v for part, v in expected.items() if part in place), 0.0)
            np.testing.assert_allclose(value, start, rtol=1e-6)


def forget_the_names(file):
    del file["optimizer_weights"].attrs["weight_names"]


def spoil_the_names(file):
    file["optimizer_weights"].attrs["weight_names"] = 7


def spoil_the_settings(file):
    settings = json.loads(file.attrs["training_config"])
    settings["optimizer_config"]["config"]["initial_accumulator_value"] = ["much"]
    file.attrs["training_config"] = json.dumps(settings)


@pytest.mark.parametrize("spoil", [forget_the_names, spoil_the_names, spoil_the_settings])
def test_optimizers_that_are_not_as_keras_stores_them(tmp_path, spoil):
    source = trained(shuffled(small(tf_keras)), tf_keras, tf_keras.optimizers.Adagrad(0.125))
    path, copy = saved(source, tmp_path / "model.h5"), tmp_path / "copy.h5"
    with h5py.File(path, "r+") as file:
        spoil(file)
    assert patch(path, copy, small)[0] == ()
    arrays = [v for n, v in arrays_of(copy).items() if n.startswith("optimizer_weights/")]
    start = 0.0 if spoil is spoil_the_settings else 0.1
    assert len(arrays) == 9
    for array in arrays:
        np.testing.assert_allclose(array, start if array.shape else 0, rtol=1e-6)


def test_an_optimizer_within_another(kind, tmp_path):
    scaling = (
        keras.optimizers.LossScaleOptimizer
        if kind is keras
        else (tf_keras.mixed_precision.LossScaleOptimizer)
    )
    source = trained(shuffled(small(kind)), kind, scaling(kind.optimizers.Nadam(0.125)))
    path, copy = saved(source, tmp_path / "model.keras"), tmp_path / "copy.keras"
    assert patch(path, copy, small)[0] == ()
    arrays = {n: v for n, v in arrays_of(copy).items() if n.startswith("optimizer/")}
    assert arrays
    for name, value in arrays.items():
        if value.shape or value.dtype.kind != "f":
            assert not value.any(), name


def test_a_layer_that_is_called_optimizer_is_none(tmp_path):
    class Optimizer(keras.layers.Dense):
        pass

    given = keras.Input((3,), name="given")
    with keras.saving.custom_object_scope({"Optimizer": Optimizer}):
        x = Optimizer(3, name="a", trainable=False)(given)
        source = shuffled(keras.Model(given, keras.layers.Dense(2, name="b")(x)))
        path, copy = saved(source, tmp_path / "model.keras"), tmp_path / "copy.keras"
        record = read_model_file(path, path.name, BUDGETS)
        weights = load_weights(source, path, "keras", path.name, BUDGETS)
        plans = [plan for plan in AutoInit({"seed": 1}).plan(source).scales if plan.path == "b"]
        apply_plans(plans, "uniform", 1)
        assert save_patched_copy(record, source, weights, plans, copy, BUDGETS) == ()
    np.testing.assert_array_equal(
        arrays_of(copy)["layers/optimizer/vars/0"], arrays_of(path)["layers/optimizer/vars/0"]
    )


# Constraints


@pytest.mark.parametrize("format", FORMATS)
def test_constraints_go_into_copies_for_keras_3(tmp_path, format):
    path = saved(shuffled(small(keras)), tmp_path / f"model.{format}")
    copy = tmp_path / f"copy.{format}"
    assert patch(path, copy, small, constrain=True)[0] == ()
    constraint = keras.models.load_model(copy).get_layer("a").kernel_constraint
    assert isinstance(constraint, CenteredUnitNorm)


def test_keras_2_cannot_have_the_constraint(tmp_path):
    path, copy = saved(shuffled(small(tf_keras)), tmp_path / "model.h5"), tmp_path / "copy.h5"
    (finding,), _ = patch(path, copy, small, constrain=True)
    assert finding.code == "constraint_dropped"
    assert tf_keras.models.load_model(copy).get_layer("a").kernel_constraint is None


# Low-rank adapters


def test_a_kernel_with_low_rank_adapters(tmp_path):
    def build(kind):
        dense = kind.layers.Dense(3, name="a", lora_rank=2)
        return kind.Sequential([kind.layers.InputLayer((4,)), dense])

    path, copy = saved(shuffled(build(keras)), tmp_path / "model.keras"), tmp_path / "copy.keras"
    findings, plans = patch(path, copy, build)
    assert findings == ()
    loaded = keras.models.load_model(copy).get_layer("a")
    np.testing.assert_allclose(*values([loaded.kernel, plans[0].kernel.variable]), rtol=1e-6)


# What cannot be done


def test_a_kernel_that_is_stored_in_another_form_leaves_no_copy(tmp_path):
    def build(kind):
        stack = [kind.layers.InputLayer((4, 3)), kind.layers.Conv1D(2, 3, name="convolution")]
        return kind.Sequential(stack)

    path, copy = saved(shuffled(build(tf_keras)), tmp_path / "model.h5"), tmp_path / "copy.h5"
    with h5py.File(path, "r+") as file:  # as Keras 1.1 stored it
        group = file["model_weights/convolution"]
        (name,) = [n for n in group.attrs["weight_names"] if "kernel" in n]
        kernel = group[name][()]
        del group[name], file["model_weights"].attrs["keras_version"]
        group[name] = kernel.transpose(2, 1, 0)[..., None]
    (finding,), _ = patch(path, copy, build)
    assert (finding.code, finding.path) == ("not_patched", "convolution")
    assert "another form" in finding.message
    assert [p.name for p in tmp_path.iterdir()] == ["model.h5"]


def test_a_failure_in_the_middle_leaves_nothing(kind, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    for format in FORMATS:
        folder = tmp_path / format
        folder.mkdir()
        path = saved(shuffled(small(kind)), tmp_path / f"model.{format}")
        monkeypatch.setattr(patching, "reset_optimizers", fail)
        with pytest.raises(Exception, match="no space left"):
            patch(path, folder / f"copy.{format}", small)
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "told"), [(OSError("Addr overflow"), True), (OSError(errno.ENOSPC, "full"), False)]
)
def test_damage_that_shows_in_writing_is_told_and_a_full_disk_is_none(
    tmp_path, monkeypatch, error, told
):
    def fail(*_):
        raise error

    monkeypatch.setattr(patching, "_change_attribute", fail)
    path, copy = saved(shuffled(small(keras)), tmp_path / "model.h5"), tmp_path / "copy.h5"
    if told:
        (finding,), _ = patch(path, copy, small)
        assert finding.code == "not_patched"
        assert "Addr overflow" in finding.message
    else:
        with pytest.raises(OSError, match="full"):
            patch(path, copy, small)
    assert [p.name for p in tmp_path.iterdir()] == ["model.h5"]


def test_the_same_again_gives_the_same_and_the_file_itself_stays_as_it_was(kind, tmp_path):
    for format in FORMATS:
        path = saved(shuffled(small(kind)), tmp_path / f"model.{format}")
        before = path.read_bytes()
        copies = [tmp_path / f"{name}.{format}" for name in ("first", "second")]
        for copy in copies:
            patch(path, copy, small)
        assert copies[0].read_bytes() == copies[1].read_bytes()
        assert path.read_bytes() == before


def test_a_copy_can_be_copied(tmp_path):
    path = saved(shuffled(small(keras)), tmp_path / "model.keras")
    first, second = tmp_path / "first.keras", tmp_path / "second.keras"
    patch(path, first, small)
    assert patch(first, second, small)[0] == ()
    old, new = arrays_of(first), arrays_of(second)
    assert all(np.array_equal(old[name], new[name]) for name in old)


def test_nothing_planned_is_nothing_changed(kind, tmp_path):
    for format in FORMATS:
        source = trained(anew(shuffled(small(kind)), kind), kind)
        path, copy = saved(source, tmp_path / f"model.{format}"), tmp_path / f"copy.{format}"
        record = read_model_file(path, path.name, BUDGETS)
        model = anew(source, kind)
        weights = load_weights(model, path, record.format, path.name, BUDGETS)
        assert save_patched_copy(record, model, weights, (), copy, BUDGETS) == ()
        old, new = arrays_of(path), arrays_of(copy)
        assert all(np.array_equal(old[name], new[name]) for name in old)
        assert config_of(path) == config_of(copy)
