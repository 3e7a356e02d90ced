"""What a model file holds, told from its configuration and from the headers of its weights.

Nothing is rebuilt, run or loaded: the configuration is parsed and checked as for an analysis, and
of the weights only names, shapes and types are read.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.analysis.diagnosis.findings import finding_of
from app.analysis.diagnosis.linter.lint import lint
from app.analysis.diagnosis.verdict import gathered
from app.analysis.job_spec import JobSpec, sha256
from autoinit.errors import ModelFileError
from autoinit.graph.paths import joined, shortened
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.check.checking import check
from autoinit.model_files.check.connections import Entry, named_layers
from autoinit.model_files.check.entry_kinds import holds_layers, is_entry, model_shape
from autoinit.model_files.check.vocabulary import KERAS2, KERAS3, MODEL
from autoinit.model_files.read.bundles import parts_of
from autoinit.model_files.read.hdf5 import StoredArray
from autoinit.model_files.read.reading import FileRecord, read_model_file
from autoinit.model_files.weights.loading import walk
from autoinit.model_files.weights.stored_shapes import stored_shapes

# More than a person reads, and few enough for any number of layers with long names.
NAMES_LISTED = 1000
MESSAGE_LIMIT = 2000  # characters; names of layers may have any length
_MODEL_CLASSES = {2: KERAS2.classes[MODEL].keys(), 3: KERAS3.classes[MODEL].keys()}
_OPTIMIZER_GROUPS = {"optimizer", "optimizer_weights"}
_COMPILE_KEYS = {
    "optimizer": ("optimizer", "optimizer_config"),
    "loss": ("loss",),
    "metrics": ("metrics", "weighted_metrics"),
}


def run(spec: JobSpec, folder: Path) -> None:
    """Inspect a file; leave `result.json` in `folder`.

    Raises:
        ModelFileError: for what is no whole model file.
    """
    budgets = Budgets.from_environment()
    with tempfile.TemporaryDirectory() as unpacked:
        parts = parts_of(Path(spec.model), spec.name, budgets, Path(unpacked))
        found = inspect_file(parts.model, parts.name, budgets, parts.weights)
    (folder / "result.json").write_text(json.dumps(found, allow_nan=False), encoding="utf-8")


def inspect_file(
    path: Path, name: str, budgets: Budgets, weights: Path | None = None
) -> dict[str, Any]:
    """What a `.keras`, `.h5` or JSON file holds, as plain data.

    Args:
        path: of the file.
        name: what errors call it.
        budgets: the limits.
        weights: a file of weights alone, that go with it.

    Returns:
        `refusal` is what an analysis would say after reading (code and message), or None;
        `findings` what it would replace, and, with `severity`, `remedy` and `advice`, what the
        structure, the initializers and the stored loss show. What only rebuilding shows is in
        neither.

    Raises:
        ModelFileError: for a file that cannot even be read as one of a model.
    """
    record = read_model_file(path, name, budgets, weights)
    arrays: Mapping[str, StoredArray] | None = None
    findings: list[dict[str, Any]] = []
    refusal = None
    try:
        if record.has_weights:
            arrays = walk(weights or path, record.weights_format, name, budgets)
        shapes = stored_shapes(arrays or {}, record.config, record.weights_format)
        findings = [each.as_dict() for each in check(record, budgets, (), shapes).findings]
        findings += _linted(record)
    except ModelFileError as error:
        refusal = {"code": error.code, "message": str(error)}
    layers = list(_layers(record.config, record.keras))
    frozen = [layer.path for layer in layers if layer.frozen]
    classes = Counter(shortened(str(layer.entry["class_name"])) for layer in layers)
    return {
        "schema": 1,
        "kind": "inspection",
        "file": {
            "name": name,
            "format": record.format,
            "bytes": path.stat().st_size,
            "sha256": sha256(str(path)),
        },
        "keras_version": record.keras_version,
        "keras": record.keras,
        "model": {
            "class": shortened(str(record.config["class_name"])),
            "name": _model_name(record.config),
        },
        "inputs": [_input(*each) for each in _inputs(record.config, record.keras)],
        "layers": {
            "count": len(layers),
            "classes": [
                {"class": kind, "count": count} for kind, count in classes.most_common(NAMES_LISTED)
            ],
            "frozen": {"count": len(frozen), "paths": frozen[:NAMES_LISTED]},
        },
        "weights": None if arrays is None else _weights(arrays),
        "compile": _compile_settings(record),
        "findings": findings,
        "refusal": refusal,
    }


def _linted(record: FileRecord) -> list[dict[str, Any]]:
    """What the linter says of the configuration alone."""
    faults = gathered(lint(record.config, record.keras, record.compile_settings).faults)
    found = [finding_of(fault).model_dump(by_alias=True, exclude_unset=True) for fault in faults]
    return [
        each | {"path": shortened(each["path"]), "message": each["message"][:MESSAGE_LIMIT]}
        for each in found
    ]


@dataclass(frozen=True)
class _Layer:
    """A layer's entry, the names that lead to it, and whether it or a model around it is frozen."""

    path: str
    entry: Entry
    frozen: bool


def _layers(config: Entry, keras: int) -> Iterator[_Layer]:
    """The layers of a model and of the models nested in it, which count as layers as well."""
    waiting = [_Layer("", config, False)]
    while waiting:
        layer = waiting.pop()
        frozen = layer.frozen or _arguments(layer.entry).get("trainable") is False
        if layer.entry is not config:
            yield _Layer(layer.path, layer.entry, frozen)
        inner = _inner_entries(layer.entry, keras)
        waiting += [
            _Layer(joined(layer.path, shortened(_name(entry))), entry, frozen)
            for entry in reversed(inner)
        ]


def _inner_entries(entry: Entry, keras: int) -> list[Entry]:
    """The entries of a model's layers; none for a layer, or where they are malformed."""
    config, kind = entry.get("config"), entry["class_name"]
    stock = kind in _MODEL_CLASSES[keras] and holds_layers(config, kind)
    if not stock and not model_shape(config):
        return []
    layers = config.get("layers") if isinstance(config, dict) else config
    return [layer for layer in layers if is_entry(layer)] if isinstance(layers, list) else []


def _arguments(entry: Entry) -> dict[str, Any]:
    config = entry.get("config")
    return config if isinstance(config, dict) else {}


def _name(entry: Entry) -> str:
    name = entry.get("name") or _arguments(entry).get("name")
    return name if isinstance(name, str) else ""


def _model_name(config: Entry) -> str:
    return shortened(_name(config))


def _inputs(config: Entry, keras: int) -> Iterator[tuple[str, Entry]]:
    """Names and arguments of what says a model's input shapes."""
    arguments = _arguments(config)
    entries = _inner_entries(config, keras)
    if "input_layers" in arguments:
        by_name = {_name(entry): entry for entry in entries}
        for name in named_layers(arguments["input_layers"]):
            if name in by_name:
                yield name, _arguments(by_name[name])
        return
    while entries:  # A Sequential model may start with another one.
        first = entries[0]
        if _shape(_arguments(first)) is not None:
            yield _name(first), _arguments(first)
            return
        if "input_layers" in _arguments(first):
            yield from _inputs(first, keras)
            return
        entries = _inner_entries(first, keras)
    if "build_input_shape" in arguments:
        yield "", {"batch_shape": arguments["build_input_shape"]}


def _input(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    dtype = arguments.get("dtype")
    if isinstance(dtype, dict):  # a policy
        dtype = _arguments(dtype).get("name")
    return {
        "name": shortened(name),
        "shape": _shape(arguments),
        "dtype": shortened(dtype) if isinstance(dtype, str) else None,
    }


def _shape(arguments: dict[str, Any]) -> list[int | None] | None:
    shape = arguments.get("batch_shape", arguments.get("batch_input_shape"))
    if isinstance(shape, dict):  # how Keras writes a tuple
        shape = shape.get("items")
    if not isinstance(shape, list) or not all(size is None or type(size) is int for size in shape):
        return None
    return shape


def _weights(arrays: Mapping[str, StoredArray]) -> dict[str, Any]:
    """Numbers and sizes of what is stored: the model's weights, the optimizer's, and the rest."""
    parts: dict[str, dict[str, Any]] = {}
    for array in arrays.values():
        part = parts.setdefault(_part(array.path), {"arrays": 0, "entries": 0, "types": Counter()})
        part["arrays"] += 1
        part["entries"] += array.entries
        untyped = array.dtype.kind == "V"
        kind = f"{8 * array.dtype.itemsize} bits each" if untyped else str(array.dtype)
        part["types"][kind] += array.entries * array.dtype.itemsize
    empty = {"arrays": 0, "entries": 0, "types": {}}
    return {name: parts.get(name, empty) for name in ("model", "optimizer", "random_states")}


def _part(path: str) -> str:
    steps = path.replace("\\", "/").split("/")
    if steps[0] in _OPTIMIZER_GROUPS:
        return "optimizer"
    if any(step.startswith("seed_generator") for step in steps):
        return "random_states"
    return "model"


def _compile_settings(record: FileRecord) -> dict[str, list[str]] | None:
    """Names of optimizer, losses and metrics; None where the model was saved without them."""
    settings = record.compile_settings
    if not settings:
        return None
    return {
        part: [name for key in keys for name in _part_names(settings.get(key))][:NAMES_LISTED]
        for part, keys in _COMPILE_KEYS.items()
    }


def _part_names(value: Any) -> Iterator[str]:
    """What optimizers, losses and metrics are called, however a file nests them."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield shortened(value)
        elif isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, dict) and value.get("class_name") == "function":
            waiting.append(value.get("config"))
        elif isinstance(value, dict) and isinstance(value.get("class_name"), str):
            yield shortened(value["class_name"])
        elif isinstance(value, dict):
            waiting += reversed(value.values())
