"""Which Keras a configuration was written by: told by its version, else by its shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from autoinit.model_files.read import keras1


def keras_of(version: str, config: dict[str, Any]) -> int:
    """1, 2 or 3, the Keras that a configuration was written by.

    Args:
        version: as recorded, or an empty string.
        config: of the model.
    """
    major = re.match(r"(\d{1,3})\b", version)
    return _by_shape(config) if major is None else min(max(int(major.group(1)), 1), 3)


def _by_shape(config: dict[str, Any]) -> int:
    if any(_has(entry, argument) for entry in _entries(config) for argument in keras1.SIGNS):
        return 1
    for entry in _entries(config):
        for sign, keras in _SIGNS:
            if sign(entry):
                return keras
    return 3


def _has(entry: dict[str, Any], argument: str) -> bool:
    return isinstance(entry.get("config"), dict) and argument in entry["config"]


def _nodes(entry: dict[str, Any]) -> list[Any]:
    nodes = entry.get("inbound_nodes")
    return nodes if isinstance(nodes, list) else []


def _dtype_class(entry: dict[str, Any]) -> Any:
    dtype = entry["config"].get("dtype") if isinstance(entry.get("config"), dict) else None
    return dtype.get("class_name") if isinstance(dtype, dict) else None


# In the order in which they are asked of each layer.
_SIGNS: tuple[tuple[Callable[[dict[str, Any]], bool], int], ...] = (
    (lambda entry: _has(entry, "batch_input_shape"), 2),
    (lambda entry: _has(entry, "batch_shape"), 3),
    (lambda entry: any(isinstance(node, dict) for node in _nodes(entry)), 3),
    (lambda entry: any(isinstance(node, list) and node for node in _nodes(entry)), 2),
    (lambda entry: isinstance(entry.get("config"), list), 2),
    (lambda entry: str(entry.get("module", "")).startswith("keras.src.models."), 3),
    (lambda entry: ".engine." in str(entry.get("module", "")), 2),
    (lambda entry: entry.get("class_name") in ("TFOpLambda", "SlicingOpLambda"), 2),
    (lambda entry: _dtype_class(entry) in ("Policy", "PolicyV1"), 2),
    (lambda entry: _dtype_class(entry) is not None, 3),
    (lambda entry: "keras_version" in entry, 2),  # to_json() of Keras 3 records none
)


def _entries(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A model's entry, those of its layers, and so on into nested models."""
    waiting = [config]
    while waiting:
        entry = waiting.pop()
        yield entry
        inner = entry.get("config")
        layers = inner.get("layers") if isinstance(inner, dict) else inner
        if isinstance(layers, list):
            waiting += [layer for layer in reversed(layers) if isinstance(layer, dict)]
