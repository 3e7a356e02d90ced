"""What the hostile files are made of: configurations, weights and containers, as plain data.

Every model of the battery is a chain: an input of eight features, the part in question, and a
Dense `head`, so that a file is complete but for what makes it hostile.
"""

from __future__ import annotations

import codecs
import io
import itertools
import json
import marshal
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Config = dict[str, Any]
Members = Iterable[tuple[str | zipfile.ZipInfo, bytes | str]]

FEATURES = 8
UNITS = 4
ANALYSED = "analysed"


@dataclass(frozen=True)
class Row:
    """A file of the battery and what must become of it.

    Args:
        name: what its owner calls it.
        make: its bytes, given the marker: a path that a payload would create, and nothing else.
        outcomes: `analysed`, or codes of refusals; one of them is what must come.
        findings: codes that an analysis must report.
        on_disk: the name on disk, as bytes, where that is what is hostile.
    """

    name: str
    make: Callable[[Path], bytes]
    outcomes: tuple[str, ...]
    findings: tuple[str, ...] = ()
    on_disk: bytes | None = field(default=None, compare=False)


# Layers and models


def layer(
    class_name: str,
    name: str,
    config: Mapping[str, Any] | None = None,
    *,
    keras: int = 3,
    module: str | None = "keras.layers",
    registered_name: str | None = None,
) -> Config:
    """A layer's entry; `chain` connects it."""
    entry: Config = {"class_name": class_name, "config": {"name": name, **(config or {})}}
    entry["name"] = name
    if keras == 3:
        entry |= {"module": module, "registered_name": registered_name}
    return entry


def dense(name: str = "head", units: Any = UNITS, *, keras: int = 3, **config: Any) -> Config:
    return layer("Dense", name, {"units": units, **config}, keras=keras)


def input_layer(shape: Any = (FEATURES,), name: str = "in", *, keras: int = 3) -> Config:
    key = "batch_shape" if keras == 3 else "batch_input_shape"
    config = {key: [None, *shape], "dtype": "float32", "sparse": False}
    return layer("InputLayer", name, config, keras=keras) | {"inbound_nodes": []}


def reads(name: str, keras: int = 3, node: int = 0) -> list[Any]:
    """The inbound nodes of a layer that reads one other."""
    if keras == 2:
        return [[[name, node, 0, {}]]]
    tensor = {"shape": [None, FEATURES], "dtype": "float32", "keras_history": [name, 0, 0]}
    return [{"args": [{"class_name": "__keras_tensor__", "config": tensor}], "kwargs": {}}]


def is_model(entry: Config) -> int:
    return int(entry["class_name"] == "Functional")


def functional(layers: list[Config], *, keras: int = 3, name: str = "model") -> Config:
    """A functional model of connected layers, the first of which is the input."""
    first, last = layers[0]["name"], layers[-1]
    config = {
        "name": name,
        "trainable": True,
        "layers": layers,
        "input_layers": [[first, 0, 0]],
        "output_layers": [[last["name"], is_model(last), 0]],
    }
    entry: Config = {"class_name": "Functional", "config": config}
    if keras == 3:
        entry |= {"module": "keras.src.models.functional", "registered_name": "Functional"}
    return entry


def chain(
    *parts: Config, keras: int = 3, shape: Any = (FEATURES,), head: bool = True, name: str = "model"
) -> Config:
    """The model in → parts → head."""
    layers = [input_layer(shape, keras=keras), *parts]
    if head:
        layers.append(dense(keras=keras))
    for before, after in itertools.pairwise(layers):
        # Keras 2 counts a model's own making as its first node, everywhere; Keras 3 among outputs.
        node = is_model(before) if keras == 2 else 0
        after["inbound_nodes"] = reads(before["name"], keras, node)
    return functional(layers, keras=keras, name=name)


def nested(*parts: Config, keras: int = 3) -> Config:
    """The same, two models further down."""
    inner = chain(*parts, keras=keras, name="inner")
    for name in ("middle", "outer"):
        inner["name"] = inner["config"]["name"]
        inner = chain(inner, keras=keras, head=False, name=name)
    return inner


def sequential(*layers: Config, keras: int = 3, name: str = "sequential") -> Config:
    entry: Config = {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}
    if keras == 3:
        entry |= {"module": "keras", "registered_name": None}
    return entry


# Payloads, whose one effect is that the marker exists


def bytecode(marker: Path) -> str:
    """What Keras stores of `lambda x: x`, if that also touched the marker."""
    function = eval(f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]")
    return codecs.encode(marshal.dumps(function.__code__), "base64").decode("ascii")


def lambda_function(marker: Path, keras: int = 3) -> Any:
    """The function of a Lambda layer."""
    if keras == 2:
        return [bytecode(marker), None, None]
    config = {"code": bytecode(marker), "defaults": None, "closure": None}
    return {"class_name": "__lambda__", "config": config}


def lambda_layer(marker: Path, keras: int = 3, name: str = "code") -> Config:
    config: Config = {"function": lambda_function(marker, keras)}
    if keras == 2:
        config |= {
            "function_type": "lambda",
            "module": "__main__",
            "output_shape": None,
            "output_shape_type": "raw",
            "arguments": {},
        }
    return layer("Lambda", name, config, keras=keras)


def touching(marker: Path) -> Config:
    """An object whose construction touches the marker."""
    return {
        "module": "subprocess",
        "class_name": "Popen",
        "registered_name": "Popen",
        "config": {"args": ["touch", str(marker)]},
    }


def system_call(marker: Path) -> Config:
    """A function of the operating system by name, with an argument that touches the marker."""
    return {
        "module": "os",
        "class_name": "system",
        "registered_name": "system",
        "config": {"command": f"touch {marker}"},
    }


def foreign_function(module: str = "os", name: str = "system") -> Config:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


# Weights and containers

Arrays = list[np.ndarray[Any, Any]]


def dense_arrays(units: int = UNITS, fan_in: int = FEATURES) -> Arrays:
    values = np.random.default_rng(0).normal(size=(fan_in, units)).astype("float32") / fan_in**0.5
    return [values, np.zeros(units, "float32")]


def arrays_of(entry: Config) -> Arrays:
    """The weights of a layer: in this battery, of a Dense layer that reads the features."""
    if entry.get("class_name") != "Dense" or not isinstance(entry["config"].get("units"), int):
        return []
    return dense_arrays(entry["config"]["units"])


def hdf5(fill: Callable[[h5py.File], None]) -> bytes:
    """The bytes of an HDF5 file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


def stored3(config: Config, prefix: str = "") -> Iterator[tuple[str, Arrays]]:
    """Where Keras 3 stores the weights of a model's layers: by class, numbered."""
    numbers: Counter[str] = Counter()
    for entry in config["config"]["layers"]:
        kind = str(entry["class_name"]).lower()
        path = f"{prefix}layers/{kind}" + (f"_{numbers[kind]}" if numbers[kind] else "")
        numbers[kind] += 1
        if is_model(entry):
            yield from stored3(entry, f"{path}/")
        else:
            yield path, arrays_of(entry)


def weights3(config: Config | None = None) -> bytes:
    """The `model.weights.h5` of Keras 3 for a model."""

    def fill(file: h5py.File) -> None:
        for path, arrays in stored3(config or chain()):
            variables = file.create_group(f"{path}/vars")
            for index, array in enumerate(arrays):
                variables[str(index)] = array

    return hdf5(fill)


def stored2(config: Config) -> Iterator[tuple[str, dict[str, np.ndarray[Any, Any]]]]:
    """What a legacy HDF5 model stores for each layer of the outermost model."""
    for entry in config["config"]["layers"]:
        weights = {}
        if is_model(entry):
            for _, inner in stored2(entry):
                weights |= inner
        else:
            names = (f"{entry['name']}/kernel:0", f"{entry['name']}/bias:0")
            weights = dict(zip(names, arrays_of(entry), strict=False))
        yield entry["name"], weights


def weights2(file: h5py.File, config: Config | None = None) -> None:
    """The groups of a legacy HDF5 model."""
    stored = [(name, weights) for name, weights in stored2(config or chain(keras=2)) if weights]
    group = file.create_group("model_weights")
    group.attrs["layer_names"] = [name.encode() for name, _ in stored]
    group.attrs["backend"] = b"tensorflow"
    for name, weights in stored:
        place = group.create_group(name)
        place.attrs["weight_names"] = [weight.encode() for weight in weights]
        for weight, array in weights.items():
            place[weight] = array


def zipped(members: Members, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def metadata(version: str) -> str:
    return json.dumps({"keras_version": version, "date_saved": "2024-01-01@00:00:00"})


def keras_file(
    config: Config | str,
    weights: bytes | None = None,
    *,
    version: str = "3.15.1",
    extra: Members = (),
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """A `.keras` archive, with the weights that the configuration asks for unless given."""
    text = config if isinstance(config, str) else json.dumps(config)
    if weights is None:
        has_layers = isinstance(config, dict) and "layers" in config["config"]
        weights = weights3(config if has_layers else None)
    members = [("metadata.json", metadata(version)), ("config.json", text)]
    return zipped([*members, ("model.weights.h5", weights), *extra], compression)


def h5_file(
    config: Config | str | bytes,
    fill: Callable[[h5py.File], None] | None = None,
    *,
    version: str = "2.15.0",
    training: Any = None,
) -> bytes:
    """A legacy HDF5 model, with the weights that the configuration asks for unless `fill` does."""

    def write(file: h5py.File) -> None:
        file.attrs["keras_version"] = version.encode()
        file.attrs["backend"] = b"tensorflow"
        file.attrs["model_config"] = (
            config if isinstance(config, (str, bytes)) else json.dumps(config).encode()
        )
        if training is not None:
            file.attrs["training_config"] = json.dumps(training).encode()
        if fill is not None:
            fill(file)
        else:
            weights2(file, config if isinstance(config, dict) else None)

    return hdf5(write)


def json_file(config: Any, version: str = "") -> bytes:
    """`model.to_json()`."""
    if version:
        config = {**config, "keras_version": version, "backend": "tensorflow"}
    return json.dumps(config).encode()
