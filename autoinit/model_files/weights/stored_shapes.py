"""Shapes of a file's weights by the layers that they belong to, without rebuilding any layer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from autoinit.model_files.read.hdf5 import StoredArray

LayerPath = tuple[str, ...]
Shapes = dict[LayerPath, list[tuple[int, ...]]]

# A word of a class's name begins before these places.
_WORDS = re.compile(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])")
# Where Keras 2.12 had a model's layers, which all others have in `layers`.
_OLDER_CONTAINER = "_layer_checkpoint_dependencies"
# Weights that tell of a layer's input, in legacy files, where they have names.
_FIRST = ("kernel", "depthwise_kernel")


def stored_shapes(
    arrays: Mapping[str, StoredArray], config: Mapping[str, Any], format: str
) -> Shapes:
    """The shapes of each layer's weights, the one that its input is multiplied with first.

    Args:
        arrays: of the file, by their paths.
        config: the model's, as read.
        format: `keras`, `h5` or `weights`.

    Returns:
        By the names from the outermost model's layers inwards. A legacy file does not tell how
        deep in a nested model a layer is: these stand under the names of outermost and innermost.
    """
    if format != "h5":
        return _in_archive(arrays, config)
    return _in_legacy_file(arrays, [name for name, _ in _layers(config)])


def _in_archive(arrays: Mapping[str, StoredArray], config: Mapping[str, Any]) -> Shapes:
    older = any(path.startswith(f"{_OLDER_CONTAINER}/") for path in arrays)
    container = _OLDER_CONTAINER if older else "layers"
    groups: dict[str, LayerPath] = {}
    models: list[tuple[str, LayerPath, Mapping[str, Any]]] = [("", (), config)]
    while models:
        prefix, outer, model = models.pop()
        counts: Counter[str] = Counter()
        for name, entry in _layers(model):
            kind = _WORDS.sub("_", str(entry.get("class_name", ""))).lower()
            group = f"{kind}_{counts[kind]}" if counts[kind] else kind
            counts[kind] += 1
            groups[f"{prefix}{container}/{group}"] = (*outer, name)
            models.append((f"{prefix}{container}/{group}/", (*outer, name), entry))
    shapes: Shapes = {}
    for path in sorted(arrays):
        parts = path.split("/")
        owners = (groups.get("/".join(parts[:end])) for end in range(len(parts) - 1, 0, -1))
        owner = next((owner for owner in owners if owner), None)
        if owner:
            shapes.setdefault(owner, []).append(arrays[path].shape)
    return shapes


def _in_legacy_file(arrays: Mapping[str, StoredArray], names: list[str]) -> Shapes:
    known = set(names)
    shapes: Shapes = {}
    for path in sorted(arrays, key=_by_weight):
        parts = path.removeprefix("model_weights/").split("/")[:-1]
        # Names of Keras 2 may have slashes in them.
        ends = [end for end in range(len(parts), 0, -1) if "/".join(parts[:end]) in known]
        if not ends:
            continue
        outer, inner = "/".join(parts[: ends[-1]]), parts[ends[-1] :]
        for owner in {(outer,), *((outer, name) for name in inner)}:
            shapes.setdefault(owner, []).append(arrays[path].shape)
    return shapes


def _by_weight(path: str) -> tuple[bool, str]:
    return path.rpartition("/")[2].partition(":")[0] not in _FIRST, path


def _layers(entry: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and entries of a model's layers; nothing for a layer's own entry."""
    config = entry.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    for layer in layers if isinstance(layers, list) else ():
        if isinstance(layer, dict):
            inner = layer.get("config")
            name = inner.get("name") if isinstance(inner, dict) else None
            yield str(name or layer.get("name", "")), layer
