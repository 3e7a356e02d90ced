"""Strategies for files that are nearly model files."""

from __future__ import annotations

import copy
import io
import json
import math
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

import h5py
from hypothesis import strategies as st

from tests.hostile.parts import (
    Config,
    chain,
    dense,
    h5_file,
    input_layer,
    json_file,
    keras_file,
    layer,
    nested,
    sequential,
    weights2,
    weights3,
)

Path = tuple[str | int, ...]


def _parts(keras: int) -> list[Config]:
    zeros = {"class_name": "Zeros", "config": {}}
    if keras == 3:
        zeros |= {"module": "keras.initializers", "registered_name": None}
    return [
        dense("a", 8, keras=keras, activation="relu", bias_initializer=zeros),
        layer("BatchNormalization", "b", {"axis": -1, "momentum": 0.9}, keras=keras),
        layer("Dropout", "c", {"rate": 0.5, "seed": None}, keras=keras),
    ]


def _image(keras: int) -> Config:
    convolution = {"filters": 4, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same"}
    return chain(
        layer("Conv2D", "convolution", convolution, keras=keras),
        layer("MaxPooling2D", "pool", {"pool_size": [2, 2]}, keras=keras),
        layer("Flatten", "flat", keras=keras),
        keras=keras,
        shape=(8, 8, 3),
    )


def _operation() -> Config:
    config = chain(layer("TFOpLambda", "code", {"function": "math.add"}, keras=2), keras=2)
    config["config"]["layers"][1]["inbound_nodes"] = [["in", 0, 0, {"y": 2.0, "name": None}]]
    return config


CONFIGURATIONS: dict[int, list[Callable[[], Config]]] = {
    3: [
        lambda: chain(*_parts(3)), lambda: nested(*_parts(3)), lambda: _image(3),
        lambda: sequential(input_layer(), *_parts(3)),
        lambda: chain(layer("LSTM", "r", {"units": 3}), shape=(5, 4)),
    ],
    2: [
        lambda: chain(*_parts(2), keras=2), lambda: nested(*_parts(2), keras=2),
        lambda: _image(2), _operation,
        lambda: sequential(input_layer(keras=2), *_parts(2), keras=2),
        lambda: chain(layer("LSTM", "r", {"units": 3}, keras=2), keras=2, shape=(5, 4)),
    ],
}  # fmt: skip


@cache
def _seed_files() -> list[bytes]:
    """Complete files, with the weights that their configurations ask for."""
    return [
        keras_file(chain()),
        keras_file(nested()),
        keras_file(chain(), compression=zipfile.ZIP_DEFLATED),
        h5_file(chain(keras=2)),
        h5_file(nested(keras=2)),
        h5_file(chain(keras=2), version="2.2.4", training={"loss": "mse", "metrics": ["mae"]}),
        json_file(chain()),
        json_file(nested(keras=2), "2.11.0"),
    ]


# Bytes

INTERESTING = [0x00, 0xFF, 0x7F, 0x80, 0x01, 0x22, 0x7B, 0x50]


@st.composite
def mutated_bytes(draw: st.DrawFn, seeds: Callable[[], list[bytes]] = _seed_files) -> bytes:
    """A file with flipped bytes, cut, or spliced from two."""
    files = seeds()
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 8))):
        # Structure sits at the two ends of these formats; a uniform choice would miss it.
        position = draw(st.integers(0, max(0, len(data) - 1)) | st.integers(0, 700))
        position = min(position, max(0, len(data) - 1))
        if draw(st.booleans()):
            position = max(0, len(data) - 1 - position)
        kind = draw(st.sampled_from(["flip", "set", "integer", "cut", "drop", "copy", "splice"]))
        if not data:
            break
        if kind == "flip":
            data[position] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set":
            data[position] = draw(st.sampled_from(INTERESTING) | st.integers(0, 255))
        elif kind == "integer":
            width = draw(st.sampled_from([2, 4, 8]))
            value = draw(st.sampled_from([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**62]))
            data[position : position + width] = (value % 256**width).to_bytes(width, "little")
        elif kind == "cut":
            del data[position:]
        elif kind == "drop":
            del data[position : position + draw(st.integers(1, 64))]
        elif kind == "copy":
            data[position:position] = data[position : position + draw(st.integers(1, 256))]
        else:
            other = draw(st.sampled_from(files))
            data[position:] = other[min(position, len(other)) :]
    return bytes(data)


def mutated_weights() -> st.SearchStrategy[bytes]:
    """A good `.keras` archive around an HDF5 file with changed bytes."""
    seeds = cache(lambda: [weights3(), weights3()])
    return mutated_bytes(seeds).map(lambda weights: keras_file(chain(), weights))


MEMBER_NAMES = [
    "config.json", "metadata.json", "model.weights.h5", "CONFIG.JSON", "../config.json",
    "/config.json", "config.json/", "assets/x", "a\0b", "config.json\0.txt", "",
]  # fmt: skip


@st.composite
def mutated_members(draw: st.DrawFn) -> bytes:
    """An archive whose members are renamed, dropped, doubled or swapped, with right checksums."""
    with zipfile.ZipFile(io.BytesIO(keras_file(chain()))) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    for _ in range(draw(st.integers(1, 4))):
        if not members:
            break
        index = draw(st.integers(0, len(members) - 1))
        kind = draw(st.sampled_from(["rename", "drop", "double", "swap", "cut"]))
        name, content = members[index]
        if kind == "rename":
            members[index] = (draw(st.sampled_from(MEMBER_NAMES)), content)
        elif kind == "drop":
            del members[index]
        elif kind == "double":
            members.append((name, content))
        elif kind == "swap":
            members[index] = (name, members[draw(st.integers(0, len(members) - 1))][1])
        else:
            members[index] = (name, content[: draw(st.integers(0, len(content)))])
    buffer = io.BytesIO()
    method = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, method
            archive.NameToInfo.pop(name, None)  # A second member of a name makes it warn.
            archive.writestr(info, content)
    return buffer.getvalue()


# Configurations

DANGEROUS = [
    "__lambda__", "function", "Lambda", "Popen", "os", "subprocess", "builtins", "eval", "system",
    "keras.src.utils.file_utils", "keras", "keras.layers", "tf_keras.layers", "autoinit>Opaque",
    "Opaque", "OpaqueActivation", "autoinit.graph.placeholders", "TFSMLayer",
    "TFOpLambda", "SlicingOpLambda",
    "TensorFlowOpLayer", "io.write_file", "py_function", "nn.relu", "/etc/passwd", "..", "", "\0",
    "<lambda>", "Functional", "Sequential", "Model", "InputLayer", "Dense", "MultiHeadAttention",
    "Bidirectional", "Orthogonal", "VarianceScaling", "__tensor__", "__keras_tensor__", "__numpy__",
    "__ellipsis__", "__tuple__", "__typespec__", "__bool__", "None", "float64", "string", "in",
    "head", "channels_first", "valid", "causal", "é\u202e\ud800",
]  # fmt: skip
NUMBERS = [
    0, -1, 1, 2, 3, 7, 1.5, -0.5, True, False, 10**4, 2**31, 2**63, 10**30, 1e308, math.inf,
    math.nan,
]  # fmt: skip
SCALARS = st.sampled_from(DANGEROUS) | st.sampled_from(NUMBERS) | st.none()
OBJECTS = st.sampled_from([
    {"class_name": "Popen", "module": "subprocess", "config": {"args": ["true"]}},
    {"class_name": "__lambda__", "config": {"code": "4w==\n", "defaults": None, "closure": None}},
    {"class_name": "function", "module": "os", "config": "system", "registered_name": "system"},
    {"class_name": "__tensor__", "config": {"value": [1.0, 2.0], "dtype": "float32"}},
    {"class_name": "__numpy__", "config": {"value": [[1]], "dtype": "int64"}},
    {"class_name": "Dense", "config": {"name": "x", "units": 3}},
    {"class_name": "Policy", "config": {"name": "mixed_float16"}},
    {"class_name": "Zeros", "config": {}}, {"class_name": 7}, {"config": []}, {}, [], [[]], [{}],
    [None, 8], [0, 0], [-1, 10**9], ["in", 0, 0], [["in", 0, 0, {}]], [[["in", 0, 0, {}]]],
])  # fmt: skip
VALUES = SCALARS | OBJECTS | st.lists(SCALARS, max_size=3)
KEYS = st.sampled_from([
    "class_name", "config", "module", "registered_name", "name", "layers", "inbound_nodes",
    "input_layers", "output_layers", "build_config", "compile_config", "units", "activation",
    "dtype", "batch_shape", "batch_input_shape", "vocabulary", "function", "layer", "cell", "cells",
    "node_def", "constants", "shared_object_id", "build_input_shape", "trainable", "x",
])  # fmt: skip


def paths(value: Any, prefix: Path = ()) -> list[Path]:
    """Where the values of a JSON document stand."""
    found: list[Path] = []
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, part in entries:
        found += [(*prefix, key), *paths(part, (*prefix, key))]
    return found


@st.composite
def mutated_configurations(draw: st.DrawFn, original: Config) -> Config:
    """A configuration with a few values replaced, moved, dropped or doubled."""
    config = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 4))):
        places = paths(config)
        if not places:
            break
        path = places[draw(st.integers(0, len(places) - 1))]
        holder: Any = config
        for key in path[:-1]:
            holder = holder[key]
        key = path[-1]
        kind = draw(st.sampled_from(["value", "value", "drop", "move", "double", "key", "wrap"]))
        if kind == "value":
            holder[key] = copy.deepcopy(draw(VALUES))
        elif kind == "drop":
            del holder[key]
        elif kind == "move":
            source: Any = config
            for step in places[draw(st.integers(0, len(places) - 1))]:
                source = source[step]
            holder[key] = copy.deepcopy(source)
        elif kind == "double" and isinstance(holder, list):
            holder.insert(int(key), copy.deepcopy(holder[key]))
        elif kind == "key" and isinstance(holder, dict):
            holder[draw(KEYS)] = copy.deepcopy(draw(VALUES))
        elif kind == "wrap":
            holder[key] = [holder[key]] if draw(st.booleans()) else {"config": holder[key]}
    return config


@st.composite
def mutated_models(draw: st.DrawFn) -> bytes:
    """A changed configuration as JSON."""
    keras = draw(st.sampled_from([2, 3]))
    config = draw(mutated_configurations(draw(st.sampled_from(CONFIGURATIONS[keras]))()))
    return json_file(config, "" if keras == 3 else draw(st.sampled_from(["2.2.4", "2.11.0"])))


@st.composite
def mutated_whole_models(draw: st.DrawFn) -> bytes:
    """A well-formed file with a changed configuration, and the weights that it asked for before."""
    keras = draw(st.sampled_from([2, 3]))
    build = draw(st.sampled_from([chain, nested]))
    original = build(dense("a", 8, keras=keras), keras=keras)
    config = draw(mutated_configurations(original))
    if keras == 3:
        return keras_file(config, weights3(original))
    return h5_file(config, lambda file: weights2(file, original))


@st.composite
def mutated_hdf5(draw: st.DrawFn) -> bytes:
    """A legacy model whose attributes and datasets are changed by HDF5's own means."""
    buffer = io.BytesIO(h5_file(chain(keras=2)))
    with h5py.File(buffer, "r+") as file:
        for _ in range(draw(st.integers(1, 4))):
            group = file[draw(st.sampled_from(["/", "/model_weights", "/model_weights/head"]))]
            name = draw(
                st.sampled_from(
                    [
                        "model_config",
                        "keras_version",
                        "training_config",
                        "layer_names",
                        "weight_names",
                        "backend",
                        "layer_names0",
                        "weight_names7",
                    ]
                )
            )
            group.attrs[name] = draw(
                st.sampled_from(
                    [
                        b"",
                        b"\xff",
                        "2.1",
                        b"3.0.0",
                        7,
                        1.5,
                        [b"head"],
                        [b"..", b"/"],
                        [1, 2],
                        b"{}",
                        h5py.Empty("f4"),
                        [b"head/kernel:0"],
                        json.dumps(chain()).encode(),
                    ]
                )
            )
            if draw(st.booleans()):
                shape = draw(st.sampled_from([(8, 4), (4, 8), (0,), (), (2**40,), (8, 4, 1)]))
                dtype = draw(st.sampled_from(["f4", "f8", "f2", "i8", "S4", "c8", "?"]))
                if draw(st.booleans()) and "head/kernel:0" in group:
                    del group["head/kernel:0"]
                    large = math.prod(shape) > 2**20
                    group.create_dataset("head/kernel:0", shape, dtype, chunks=large or None)
    return buffer.getvalue()
