"""Where a model's configuration speaks of a layer, and what it says there of its initialisers.

The configuration as its file has it and the model that was rebuilt from it are walked side by side,
so that every entry is found by the layer that it made: in nested models and wrappers, and twice for
a layer that two models share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from autoinit.model_files.read.json_text import Path
from autoinit.model_files.weights.weight_owners import is_model

# What a wrapper calls the layer that it holds, in its configuration and as attributes.
_HELD = {
    "layer": ("layer", "forward_layer"),
    "backward_layer": ("backward_layer",),
    "cell": ("cell",),
}


def entries_of(model: Any, config: Mapping[str, Any]) -> dict[int, list[Path]]:
    """The paths to the arguments of each layer, `("config", "layers", 3, "config")`.

    Args:
        model: of either Keras.
        config: what it was rebuilt from, as its file has it.

    Returns:
        Lists of paths, by the layers' identities.
    """
    found: dict[int, list[Path]] = {}
    pending: list[tuple[Any, Any, Path]] = [(model, config, ())]
    while pending:
        part, entry, path = pending.pop()
        found.setdefault(id(part), []).append((*path, "config"))
        arguments = entry.get("config")
        if is_model(part):
            pending += _inner_layers(part, arguments, (*path, "config"))
        elif isinstance(arguments, dict):
            pending += _held_layers(part, arguments, (*path, "config"))
    return found


def _inner_layers(model: Any, arguments: Any, path: Path) -> Iterator[tuple[Any, Any, Path]]:
    """A model's layers and their entries; before Keras 2.2, a Sequential was its list of them."""
    if isinstance(arguments, dict):
        arguments, path = arguments.get("layers"), (*path, "layers")
    if not isinstance(arguments, list):
        return
    entries = [
        (index, entry)
        for index, entry in enumerate(arguments)
        if isinstance(entry, dict) and "config" in entry
    ]
    by_name = {layer.name: layer for layer in model.layers}
    named = [(index, entry) for index, entry in entries if _name(entry) in by_name]
    ordered = [(index, entry) for index, entry in entries if not _is_input(entry)]
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    # The layers of a Sequential model need no names: they stand in order.
    if type(model).__name__ == "Sequential" and len(ordered) == len(layers):
        entries = ordered
    else:
        entries, layers = named, [by_name[str(_name(entry))] for _, entry in named]
    for (index, entry), layer in zip(entries, layers, strict=True):
        yield layer, entry, (*path, index)


def _held_layers(
    wrapper: Any, arguments: Mapping[str, Any], path: Path
) -> Iterator[tuple[Any, Any, Path]]:
    for key, attributes in _HELD.items():
        entry = arguments.get(key)
        held = next((getattr(wrapper, name) for name in attributes if hasattr(wrapper, name)), None)
        if held is not None and isinstance(entry, dict) and "config" in entry:
            yield held, entry, (*path, key)


def _name(entry: Mapping[str, Any]) -> str | None:
    arguments = entry["config"]
    inner = arguments.get("name") if isinstance(arguments, dict) else None
    name = inner or entry.get("name")
    return name if isinstance(name, str) else None


def _is_input(entry: Mapping[str, Any]) -> bool:
    return entry.get("class_name") == "InputLayer"


def changed_arguments(
    config: Any, paths: Sequence[Path], changes: Mapping[str, Any], version: int
) -> dict[Path, Any]:
    """Replacements that give a layer's arguments new values, in the style of the old ones.

    Args:
        config: the whole configuration.
        paths: to the layer's arguments.
        changes: Keras objects by the names of arguments.
        version: 2 or 3, of the Keras that the configuration is for.
    """
    replacements: dict[Path, Any] = {}
    for path in paths:
        arguments = config
        for step in path:
            arguments = arguments[step]
        entries = {
            name: _like(arguments.get(name), value, version) for name, value in changes.items()
        }
        if entries.keys() <= arguments.keys():
            replacements |= {(*path, name): entry for name, entry in entries.items()}
        else:
            # What the file leaves to Keras's defaults has no place of its own.
            replacements[path] = {**arguments, **entries}
    return replacements


def _like(old: Any, value: Any, version: int) -> dict[str, Any]:
    """A Keras object as an entry, with the keys that the old one has."""
    entry: dict[str, Any] = keras.saving.serialize_keras_object(value)
    if isinstance(old, dict) and "class_name" in old:
        return {key: entry[key] for key in old if key in entry} | {
            key: entry[key] for key in ("class_name", "config")
        }
    return entry if version == 3 else {key: entry[key] for key in ("class_name", "config")}
