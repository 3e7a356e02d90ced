"""What an entry of a configuration is, told by its arguments alone."""

from __future__ import annotations

from typing import Any

from autoinit.graph.paths import shortened
from autoinit.model_files.check import vocabulary as names
from autoinit.model_files.check.connections import Entry, is_reference
from autoinit.model_files.read.hdf5 import quoted

_FUNCTIONAL = {"layers", "input_layers", "output_layers"}
_SEQUENTIAL = {"name", "layers"}
# What the constructors of stock models are given.
MODEL_ARGUMENTS = {"name", "trainable", "build_input_shape", *_FUNCTIONAL}


def is_entry(value: Any) -> bool:
    """Whether a value may be the entry of a layer."""
    return isinstance(value, dict) and isinstance(value.get("class_name"), str)


def holds_layers(config: Any, kind: str) -> bool:
    """Whether the arguments of a stock model of some class say which layers it has."""
    if kind == "Sequential":
        return isinstance(config, list) or (isinstance(config, dict) and "layers" in config)
    return isinstance(config, dict) and config.keys() >= _FUNCTIONAL


def model_shape(config: Any) -> str:
    """`Functional` or `Sequential` for what can only be such a model's arguments; else empty."""
    if not isinstance(config, dict) or "layers" not in config:
        return ""
    if config.keys() >= _FUNCTIONAL:
        return "Functional"
    # A layer of one's own may have layers as well.
    return "Sequential" if "build_input_shape" in config or config.keys() <= _SEQUENTIAL else ""


def fusing_arguments(entry: Entry) -> dict[str, Any] | None:
    """The arguments of the layer whose activation is a call of its own; None if none is."""
    kind, config = entry["class_name"], entry["config"]
    while kind == "TimeDistributed":
        inner = config.get("layer")
        if not is_entry(inner) or not isinstance(inner.get("config"), dict):
            return None
        kind, config = inner["class_name"], inner["config"]
        if kind == "Activation":
            return None
    fuses = kind == "Activation" or kind in names.FUSING
    return config if fuses and isinstance(config, dict) else None


def name_of_function(config: dict[str, Any]) -> str:
    """The function that a Lambda's arguments name, in either Keras; empty where they hold code.

    One that is registered has the name of its package before its own.
    """
    held = config.get("function")
    if isinstance(held, str):
        return held if config.get("function_type") == "function" else ""
    if not isinstance(held, dict) or held.get("class_name") != "function":
        return ""
    name, registered = held.get("config"), held.get("registered_name")
    return str(name if registered in (None, "function") else registered)


def tensors_in(value: Any) -> int | None:
    """How many tensors a model's `input_layers` or `output_layers` names; None if it is malformed.

    Keras would take a text apart without end.
    """
    found, waiting = 0, [value]
    while waiting:
        value = waiting.pop()
        if is_reference(value) and len(value) == 3:
            found += 1
        elif isinstance(value, (list, dict)):
            waiting += value.values() if isinstance(value, dict) else value
        else:
            return None
    return found


def printable(text: str) -> str:
    """A name from a file for a sentence, without quotes."""
    return quoted(shortened(text))[1:-1]


def named(entry: Entry) -> str:
    """For a sentence: `'encoder' (Functional)`; the class alone where it has no name."""
    config, kind = entry.get("config"), printable(str(entry["class_name"]))
    name = config.get("name") if isinstance(config, dict) else None
    name = name or entry.get("name")
    return f"{quoted(shortened(str(name)))} ({kind})" if name else kind
