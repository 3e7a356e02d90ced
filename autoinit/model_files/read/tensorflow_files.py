"""Models in formats of TensorFlow's own, written as the HDF5 file that Keras 2 would have saved.

A SavedModel that Keras 2 wrote has the model's configuration beside its graph, and its weights in a
checkpoint; TensorFlow.js has a configuration, and weights in shards. The graph is not loaded.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read.archives import Archive, refusing_damaged_archive
from autoinit.model_files.read.hdf5 import quoted
from autoinit.model_files.read.json_text import parse

_SAVED_MODEL = re.compile(r"(?:.*/)?saved_model\.pb")
_CHECKPOINT = re.compile(r"variables/variables\.(index|data-\d{5}-of-\d{5})")
_LAYER = re.compile(r"layer(_with_weights)?-\d+")
_LOOKUPS = ("IntegerLookup", "StringLookup", "TextVectorization")
_ATTRIBUTE = re.compile(r"[^.]+")
# Types in which TensorFlow.js stores weights, and in which it packs them.
_DTYPES = ("float32", "int32", "bool", "uint8", "uint16", "float16")
# An attribute of HDF5 has room for some thousand names.
_NAMES_AT_ONCE = 1000
_WROTE_IT = "Load it in Python where it was made, and save it with model.save('model.keras')."

# Names and values of a layer's weights, the trainable ones first.
Weights = Iterable[tuple[str, NDArray[Any]]]


def keras_config(topology: Mapping[str, Any]) -> Any:
    """The Keras configuration in a `model.json` of TensorFlow.js, as `to_json` writes it."""
    config = topology.get("model_config", topology)
    noted = {key: topology[key] for key in ("keras_version", "backend") if key in topology}
    return {**noted, **config} if isinstance(config, dict) else config


def saved_models(members: Sequence[str]) -> list[str]:
    """The folders among an archive's members that hold a SavedModel, each with its slash."""
    found = filter(_SAVED_MODEL.fullmatch, members)
    return [member.removesuffix("saved_model.pb") for member in found]


def from_saved_model(
    archive: Archive, base: str, name: str, budgets: Budgets, folder: Path
) -> Path:
    """The model of a SavedModel that Keras 2 wrote, in an HDF5 file.

    Args:
        archive: that holds it.
        base: its folder there.
        name: what errors call it.
        budgets: the limits.
        folder: where to unpack.

    Raises:
        ModelFileError: `no_model_config` without a Keras model that is a graph of layers,
            `cannot_rebuild` without TensorFlow, `broken_file` or `over_budget`.
    """
    if importlib.util.find_spec("tf_keras") is None:
        raise ModelFileError(
            "cannot_rebuild",
            f"{quoted(name)} is a SavedModel, which is read by TensorFlow and tf_keras: install "
            f"tf-keras, or save it as .keras where it was made.",
        )
    for member in archive.names:
        place = member.removeprefix(base)
        if place in ("saved_model.pb", "keras_metadata.pb") or _CHECKPOINT.fullmatch(place):
            target = folder / place
            target.parent.mkdir(exist_ok=True)
            with target.open("wb") as copy:
                archive.copy(member, copy)
    with refusing_damaged_archive(name):
        described = _keras_metadata(folder)
    what = f"The Keras metadata in {quoted(name)}"
    budgets.require("config_bytes", sum(map(len, described.values())), what)
    root = parse(described.get("", "{}"), what, budgets)
    if not isinstance(root, dict) or not isinstance(root.get("model_config"), dict):
        raise ModelFileError(
            "no_model_config",
            f"{quoted(name)} is a SavedModel without the layers that it was made of: its graph is "
            f"code, which is not run. {_WROTE_IT}",
        )
    config = {**root["model_config"]}
    wordless = next((entry for entry in _entries(config) if _lacks_words(entry)), None)
    if wordless is not None:
        raise ModelFileError(
            "weights_mismatch",
            f"Layer {quoted(str(wordless['config'].get('name')))} ({wordless['class_name']}) has "
            f"its words in the graph of the SavedModel {quoted(name)}, which is not loaded. "
            f"{_WROTE_IT}",
        )
    shape = _input_shape(root)
    if shape is not None:  # of a model of a class of its own
        config["build_config"] = {"input_shape": shape}
    layers = {}
    for place, text in described.items():
        entry = parse(text, what, budgets)
        if place and isinstance(entry, dict) and isinstance(entry.get("name"), str):
            layers[place] = entry["name"]
    with refusing_damaged_archive(name):
        weights = _in_checkpoint(folder / "variables" / "variables", layers, name)
        return _written(folder / "saved_model.h5", config, root, weights)


def _lacks_words(entry: Mapping[str, Any]) -> bool:
    is_lookup = str(entry["class_name"]).rpartition(">")[2] in _LOOKUPS
    return is_lookup and entry["config"].get("vocabulary") is None


def _input_shape(root: Mapping[str, Any]) -> list[int | None] | None:
    """What a model that is no graph was called on, with any number of samples."""
    built = root.get("build_input_shape")
    sizes = built.get("items") if isinstance(built, dict) else built
    if root.get("is_graph_network") is not False or not isinstance(sizes, list) or not sizes:
        return None
    return [None, *sizes[1:]] if all(isinstance(s, int | None) for s in sizes) else None


def _keras_metadata(folder: Path) -> dict[str, str]:
    """JSON of the model (an empty key) and its layers, by what the checkpoint calls these."""
    # Keras and TensorFlow take seconds to import, and other files are read without them.
    from autoinit.graph import keras_internals as internals

    metadata = folder / "keras_metadata.pb"
    if metadata.is_file():
        found = internals.SavedMetadata.FromString(metadata.read_bytes())
        places = {node.node_path.removeprefix("root").lstrip("."): node for node in found.nodes}
        # The layers of a model of a class of its own go by its attributes.
        known = _LAYER if any(map(_LAYER.fullmatch, places)) else _ATTRIBUTE
        return {
            place: node.metadata
            for place, node in places.items()
            if not place or known.fullmatch(place)
        }
    # Until TensorFlow 2.4 it stood in the graph's own file.
    graphs = internals.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    nodes = graphs[0].object_graph_def.nodes if graphs else ()
    if not nodes:
        return {}
    # A layer with weights has two names.
    found = {child.node_id: child.local_name for child in nodes[0].children}
    known = _LAYER if any(map(_LAYER.fullmatch, found.values())) else _ATTRIBUTE
    places = {name: nodes[node] for node, name in found.items() if known.fullmatch(name)}
    described = {"": nodes[0], **places}.items()
    return {place: n.user_object.metadata for place, n in described if n.user_object.metadata}


def _in_checkpoint(
    prefix: Path, layers: Mapping[str, str], name: str
) -> Iterator[tuple[str, Weights]]:
    """The weights of a model's layers, which are at most as large as their file.

    Args:
        prefix: of the checkpoint's files.
        layers: names of the layers by what the checkpoint calls them.
        name: what errors call the model.
    """
    import tensorflow as tf

    from autoinit.graph import keras_internals as internals

    reader = tf.train.load_checkpoint(str(prefix))
    nodes = internals.TrackableObjectGraph.FromString(
        reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    ).nodes
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    left = sum(file.stat().st_size for file in prefix.parent.iterdir())

    def children(node: int) -> dict[str, int]:
        return {child.local_name: child.node_id for child in nodes[node].children}

    def is_variable(node: int) -> bool:
        return any(stored.checkpoint_key in shapes for stored in nodes[node].attributes)

    def values(variables: Iterable[int]) -> Iterator[tuple[str, NDArray[Any]]]:
        nonlocal left
        for variable in variables:
            stored = next(iter(nodes[variable].attributes))
            key = stored.checkpoint_key
            left -= math.prod(shapes[key]) * max(dtypes[key].size, 1)
            if left < 0:
                raise ValueError(f"{key} is larger than its file")
            yield stored.full_name, reader.get_tensor(key)

    if "variables" not in children(0):
        raise ModelFileError(
            "weights_mismatch",
            f"{quoted(name)} does not list its layers' weights (save_traces=False). {_WROTE_IT}",
        )
    for place, layer in layers.items():
        own = children(children(0)[place]) if place in children(0) else {}
        lists = [
            children(own[name]) for name in ("trainable_variables", "variables") if name in own
        ]
        ordered = dict.fromkeys(each[key] for each in lists for key in sorted(each, key=int))
        if not lists:  # a preprocessing layer's own, such as the mean that it was adapted to
            ordered = dict.fromkeys(node for node in own.values() if is_variable(node))
        if ordered:
            yield layer, values(ordered)


def from_tensorflow_js(
    archive: Archive, member: str, name: str, budgets: Budgets, target: Path
) -> Path | None:
    """The model of a `model.json` of TensorFlow.js and its shards, in an HDF5 file.

    Args:
        archive: that holds them.
        member: the `model.json`.
        name: what errors call it.
        budgets: the limits.
        target: the HDF5 file.

    Returns:
        None where it is none, or none of its shards is there.

    Raises:
        ModelFileError: `weights_mismatch` where shards are missing, `broken_file` or `over_budget`.
    """
    value = parse(archive.read(member).decode("utf-8", "replace"), quoted(member), budgets)
    topology = value.get("modelTopology") if isinstance(value, dict) else None
    groups = value.get("weightsManifest") if isinstance(value, dict) else None
    if not isinstance(topology, dict) or not isinstance(groups, list):
        return None
    config = keras_config(topology)
    by_name = {each.rpartition("/")[2]: each for each in archive.names}
    stored: list[tuple[str, NDArray[Any]]] = []
    with refusing_damaged_archive(name):
        paths = [str(path).rpartition("/")[2] for group in groups for path in group["paths"]]
        if len(set(paths)) < len(paths):
            raise ValueError("a file of weights is named twice")
        absent = [path for path in paths if path not in by_name]
        if not paths or len(absent) == len(paths):
            return None
        if absent:
            raise ModelFileError(
                "weights_mismatch",
                f"{quoted(member)} has its weights in {len(paths)} files, and {quoted(absent[0])} "
                "is not there: give all of them.",
            )
        for group in groups:
            joined = target.with_suffix(".bin")
            with joined.open("wb") as copy:
                for path in group["paths"]:
                    archive.copy(by_name[str(path).rpartition("/")[2]], copy)
            stored += _in_shards(group["weights"], joined.read_bytes())
        weights = _by_layer(config, stored)
        return _written(target, config, {**topology, "backend": "tensorflow"}, weights)


def _in_shards(
    weights: Sequence[Mapping[str, Any]], content: bytes
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The weights of a group, which stand one after the other."""
    begin = 0
    for weight in weights:
        packed = weight.get("quantization")
        dtype = str((packed or weight)["dtype"])
        if dtype not in _DTYPES:
            raise ValueError(f"{weight['name']} is of type {dtype[:20]}")
        shape = [int(size) for size in weight["shape"]]
        count = math.prod(shape)
        size = count * np.dtype(dtype).itemsize
        if min(shape, default=0) < 0 or begin + size > len(content):
            raise ValueError(f"{weight['name']} is larger than its file")
        values = np.frombuffer(content, dtype, count, begin).reshape(shape)
        if packed and dtype != "float16":
            values = values * np.float32(packed["scale"]) + np.float32(packed["min"])
        begin += size
        yield str(weight["name"]), values.astype(weight["dtype"], copy=False)


def _by_layer(
    config: Mapping[str, Any], stored: Iterable[tuple[str, NDArray[Any]]]
) -> Iterator[tuple[str, Weights]]:
    """Weights by the outermost layer that their names lead to."""
    inner = config["config"]
    layers = inner if isinstance(inner, list) else inner["layers"]
    tops = [str(layer["config"]["name"]) for layer in layers]
    owners: dict[str, str] = {}
    for top, layer in zip(tops, layers, strict=True):
        for name in _names_in(layer):
            for each in (name, f"forward_{name}", f"backward_{name}"):
                owners.setdefault(each, top)
    owners |= {top: top for top in tops}
    found: dict[str, list[tuple[str, NDArray[Any]]]] = {top: [] for top in tops}
    for name, values in stored:
        parts = name.split("/")[:-1]
        # Names of layers may have slashes in them.
        spans = itertools.combinations(range(len(parts) + 1), 2)
        heads = ("/".join(parts[begin:end]) for begin, end in spans)
        owner = next((owners[head] for head in heads if head in owners), None)
        if owner is None:
            raise ValueError(f"{name} belongs to no layer")
        found[owner].append((name, values))
    yield from found.items()


def _names_in(entry: Any) -> Iterator[str]:
    return (str(each["config"]["name"]) for each in _entries(entry) if "name" in each["config"])


def _entries(entry: Any) -> Iterator[dict[str, Any]]:
    """Objects with arguments, wherever they stand."""
    waiting = [entry]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class_name" in value and isinstance(value.get("config"), dict):
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _written(
    path: Path,
    config: Mapping[str, Any],
    noted: Mapping[str, Any],
    layers: Iterable[tuple[str, Weights]],
) -> Path:
    """An HDF5 file as `save` of Keras 2 writes it.

    Args:
        path: where to write.
        config: of the model.
        noted: what stands beside it: versions and training settings.
        layers: names of the outermost layers, and their weights.
    """
    version = str(noted.get("keras_version", ""))
    about = {
        "keras_version": version if re.match(r"2\.\d", version) else "2.15.0",
        "backend": "tensorflow",
    }
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        file.attrs.update({**about, "model_config": json.dumps(config)})
        if isinstance(noted.get("training_config"), dict):
            file.attrs["training_config"] = json.dumps(noted["training_config"])
        group.attrs.update(about)
        listed = []
        for layer, weights in layers:
            own = group.create_group(layer)
            names = []
            for weight, values in weights:
                name = next(n for n in _numbered(weight.removesuffix(":0")) if n not in own)
                own.create_dataset(name, data=values)
                names.append(name)
            _list_names(own, "weight_names", names)
            listed.append(layer)
        _list_names(group, "layer_names", listed)
    return path


def _numbered(name: str) -> Iterator[str]:
    yield f"{name}:0"
    yield from (f"{name}_{number}:0" for number in itertools.count(1))


def _list_names(group: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    begins = range(0, len(names) or 1, _NAMES_AT_ONCE)
    for number, begin in enumerate(begins):
        key = attribute if len(begins) == 1 else f"{attribute}{number}"
        piece = names[begin : begin + _NAMES_AT_ONCE]
        group.attrs.create(key, piece, (len(piece),), h5py.string_dtype())
