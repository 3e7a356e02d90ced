"""Parts of Keras in the place of a file's own, where whoever brings the file says so.

`pkg>hard_swish=hard_swish` runs Keras's function in place of one that the file only names;
`FixedDropout=Dropout` does so for a class, and `z=GaussianSampling` for the layer called `z`.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from autoinit.errors import SettingsError
from autoinit.findings import Finding
from autoinit.graph.paths import shortened
from autoinit.model_files.check import vocabulary as names
from autoinit.model_files.check.connections import Entry
from autoinit.model_files.check.entry_kinds import name_of_function
from autoinit.model_files.read.reading import FileRecord
from autoinit.stand_ins import GaussianSampling, takes

# What every layer takes, beside the arguments that its constructor names.
_COMMON = {"name", "trainable", "dtype", "batch_input_shape"}
_OWN = {"GaussianSampling": GaussianSampling}
# Layers that are offered by their name alone: those of one input that keep its shape or state it.
_OFFERED = names._names("""
    AlphaDropout BatchNormalization Dense Dropout ELU GaussianDropout GaussianNoise
    GroupNormalization LayerNormalization LeakyReLU PReLU RMSNormalization ReLU Softmax
    SpatialDropout1D SpatialDropout2D UnitNormalization
""")
# Of TensorFlow's model optimization toolkit.
_WRAPPERS = (
    "PruneLowMagnitude",
    "QuantizeWrapper",
    "QuantizeWrapperV2",
    "QuantizeAnnotate",
    "ClusterWeights",
)
_QUANTIZES = "QuantizeLayer"
_SAMPLING = ("sampling", "sample", "reparameterize", "reparametrize", "reparameterization")


@dataclass
class Substituted:
    """A configuration with Keras's parts in it.

    Attributes:
        config: a copy.
        custom: classes and functions that it needs, by name.
        findings: what was substituted, and what is not in the file.
    """

    config: dict[str, Any]
    custom: dict[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def substituted(
    record: FileRecord, treat_as: Sequence[str], given: Collection[str] = ()
) -> Substituted:
    """Keras's parts in the place of those that are named.

    Args:
        record: the file as read.
        treat_as: `NAME=KERAS_NAME`, where `NAME` is a class, a function or a layer of the file.
        given: names of functions that whoever brings the file has given.

    Raises:
        ValueError: for a name that Keras does not have, or a layer that states too little.
    """
    unwrapped, looked_through = _unwrapped(record)
    unwrapped, named = _named(record, unwrapped, given)
    looked_through = (*looked_through, *named)
    if not treat_as:
        return Substituted(unwrapped, findings=looked_through)
    wanted = {name: _target(target) for name, target in map(_pair, treat_as)}
    found = Substituted(copy.deepcopy(unwrapped))
    counts = dict.fromkeys(wanted, 0)
    for container, key in _places(found.config):
        value = container[key]
        name = next((each for each in _names_of(value, key) if each in wanted), None)
        if name is None:
            continue
        target, counts[name] = wanted[name], counts[name] + 1
        if isinstance(value, dict) and isinstance(value.get("config"), dict):
            _replace_layer(value, target, record, found.custom)
        elif target in _activations():
            container[key] = _function(target, record.keras, found.custom)
        else:
            raise SettingsError(
                f"{shortened(name)!r} is a function: it can be treated as an activation of Keras, "
                f"such as {_closest(target, _activations())}, not as {target}."
            )
    treated = (_treated_as(name, wanted[name], count) for name, count in counts.items())
    found.findings = (*looked_through, *treated)
    return found


def _unwrapped(record: FileRecord) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """The layers in wrappers that prune or quantise while a network trains, without these."""
    if not any(f'"{kind}"' in record.config_text for kind in (*_WRAPPERS, _QUANTIZES)):
        return record.config, ()
    config, counts = copy.deepcopy(record.config), dict.fromkeys(_WRAPPERS, 0)
    for container, key in _places(config):
        value = container[key]
        kind = value.get("class_name") if isinstance(value, dict) else None
        arguments = value.get("config") if isinstance(value, dict) else None
        if not isinstance(kind, str) or not isinstance(arguments, dict):
            continue
        inner = arguments.get("layer")
        if kind in _WRAPPERS and isinstance(inner, dict) and isinstance(inner.get("config"), dict):
            counts[kind] += 1
            inner["config"]["name"] = arguments.get("name", inner["config"].get("name"))
            if "batch_input_shape" in arguments:
                inner["config"].setdefault("batch_input_shape", arguments["batch_input_shape"])
            kept = {name: value[name] for name in ("name", "inbound_nodes") if name in value}
            value.clear()
            value |= {**inner, **kept}
        elif kind == _QUANTIZES:
            kept = {name: arguments[name] for name in _COMMON & arguments.keys()}
            value |= {"class_name": "Activation", "config": {**kept, "activation": "linear"}}
            value.pop("module", None)
            value.pop("registered_name", None)
        elif kind == "QuantizeAwareActivation":
            held = arguments.get("activation")
            own = isinstance(held, dict) and held.get("class_name") == "NoOpActivation"
            container[key] = "linear" if own else held
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    message = (
        f"What prunes or quantises while the network trains is looked through ({listed}): clusters "
        "and ranges are not applied; kernels that AutoInit draws keep their masks."
    )
    return config, ((Finding("looked_through", "", "", message),) if listed else ())


def _named(
    record: FileRecord, config: dict[str, Any], given: Collection[str]
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Lambdas that are a function's name, with the functions that these names say."""
    if '"Lambda"' not in record.config_text:
        return config, ()
    found, applied = copy.deepcopy(config), dict[str, None]()
    for container, key in _places(found):
        entry = container[key]
        named = _by_name(entry, record.keras, given) if isinstance(entry, dict) else None
        if named is not None:
            name, made = named
            applied[name] = None
            kept = {each: entry[each] for each in ("name", "inbound_nodes") if each in entry}
            container[key] = {**made, **kept}
            _keep_arguments_of_calls(container[key], ("inputs",))
    if not applied:
        return config, ()
    listed = ", ".join(applied)
    message = (
        f"Lambda layers that are the name of a function ({listed}), without its code, are run as "
        "Keras's functions of these names."
    )
    return found, (Finding("treated_as", "", "", message),)


def _by_name(entry: Entry, version: int, given: Collection[str]) -> tuple[str, Entry] | None:
    """The function that a Lambda is the name of, and the layer that applies it."""
    config = entry.get("config")
    if entry.get("class_name") != "Lambda" or not isinstance(config, dict) or config.get("mask"):
        return None
    name, arguments = name_of_function(config), config.get("arguments") or {}
    if not name or name in given or not isinstance(arguments, dict):
        return None
    kept = {each: config[each] for each in _COMMON & config.keys()}
    known = names.KERAS3 if version == 3 else names.KERAS2
    if name in known.strings[names.ACTIVATION] and not arguments:
        return name, {"class_name": "Activation", "config": {**kept, "activation": name}}
    if version == 3 and takes(name, arguments):
        own = {**kept, "function": name, "arguments": arguments}
        registered = "autoinit>NamedFunction"
        return name, {"class_name": "NamedFunction", "registered_name": registered, "config": own}
    return None


def offer(name: str, layer: str = "") -> str:
    """What a part that is not run may be treated as, if its name says what it is.

    Args:
        name: of its class or function, with its package.
        layer: what the layer is called, which tells more of a Lambda.

    Returns:
        `NAME=KERAS_NAME`, or an empty string.
    """
    own = layer if name == "Lambda" else name.rpartition(">")[2]
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", own).lower().strip("_").split("_")
    spans = [
        (words[begin:end], end == len(words))
        for size in range(len(words), 0, -1)
        for begin in range(len(words) - size + 1)
        for end in (begin + size,)
    ]
    layers = {each.lower(): each for each in _OFFERED}
    for span, is_last in spans:
        target = "_".join(span)
        if target not in _activations():
            target = layers.get("".join(span), "") if is_last else ""
        if target and target not in ("linear", "threshold"):
            return f"{layer if name == 'Lambda' else name}={target}"
    sampling = "GaussianSampling" if set(words) & set(_SAMPLING) else ""
    return f"{layer if name == 'Lambda' else name}={sampling}" if sampling else ""


def _pair(text: str) -> tuple[str, str]:
    name, _, target = text.rpartition("=")
    return name.strip(), target.strip()


def _activations() -> frozenset[str]:
    return names.KERAS3.strings[names.ACTIVATION]


def _target(target: str) -> str:
    """A name on the right of `=`, in Keras's own spelling."""
    known = (*_activations(), *names.KERAS3.classes[names.LAYER], *_OWN)
    by_lower = {name.lower(): name for name in known} | {name: name for name in known}
    found = by_lower.get(target) or by_lower.get(target.lower())
    if found is None:
        raise SettingsError(
            f"treat_as: Keras has no activation or layer {shortened(target)!r} that is made here; "
            f"did you mean {_closest(target, known)}?"
        )
    return found


def _closest(name: str, known: Any) -> str:
    return next(iter(difflib.get_close_matches(name, known, 1, 0.0)), "relu")


def _places(config: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Where layers and functions stand: containers and keys, each after what it lies in."""
    waiting: list[Any] = [config]
    while waiting:
        container = waiting.pop()
        keys = container if isinstance(container, dict) else range(len(container))
        for key in list(keys):
            yield container, key
            value = container[key]
            if isinstance(value, (dict, list)):
                waiting.append(value)


def _names_of(value: Any, key: Any) -> Iterator[str]:
    """What a part may be called on the left of `=`."""
    if isinstance(value, str) and isinstance(key, str) and names.role_of(key) == names.ACTIVATION:
        yield from _with_and_without_package(value)
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        return
    inner = value.get("config")
    if isinstance(inner, str):
        yield from _with_and_without_package(str(value.get("registered_name") or inner))
        yield from _with_and_without_package(inner)
    elif isinstance(inner, dict) and "layers" not in inner:
        if isinstance(inner.get("name"), str):
            yield inner["name"]
        yield from _with_and_without_package(str(value.get("registered_name") or ""))
        yield from _with_and_without_package(value["class_name"])


def _with_and_without_package(name: str) -> Iterator[str]:
    yield name
    yield name.rpartition(">")[2]


def _replace_layer(entry: Entry, target: str, record: FileRecord, custom: dict[str, Any]) -> None:
    """Write a layer as one of Keras's, with those of its arguments that this takes."""
    config, version = entry["config"], record.keras
    if target in _activations():
        kept = {name: config[name] for name in _COMMON & config.keys()}
        activation = _function(target, version, custom)
        _write(entry, "Activation", {**kept, "activation": activation}, record, custom)
        return
    parameters = inspect.signature(_class(target, version).__init__).parameters
    missing = [
        name
        for name, each in parameters.items()
        if name not in (*config, "self")
        and each.default is each.empty
        and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    ]
    if missing:
        raise SettingsError(
            f"treat_as: {target} needs {', '.join(missing)}, which {shortened(_shown(entry))!r} "
            "does not state."
        )
    kept = {name: value for name, value in config.items() if name in {*parameters, *_COMMON}}
    _write(entry, target, kept, record, custom)


def _shown(entry: Entry) -> str:
    return str(entry["config"].get("name") or entry["class_name"])


def _write(
    entry: Entry, target: str, config: dict[str, Any], record: FileRecord, custom: dict[str, Any]
) -> None:
    original, made = str(entry["class_name"]), _class(target, record.keras)
    for key in ("module", "registered_name", "build_config", "compile_config"):
        entry.pop(key, None)
    entry |= {"class_name": target, "config": config}
    if record.format == "keras" and record.keras == 3 and original != "Lambda":
        # An archive has weights under the name of the class: it stays what it was.
        registered = f"{original} as {target}"
        custom[registered] = type(original, (made,), {})
        entry |= {"class_name": original, "registered_name": registered}
    elif target in _OWN and record.keras == 3:
        entry["registered_name"] = f"autoinit>{target}"
    elif target in _OWN:
        custom[target] = made
    _keep_arguments_of_calls(entry, inspect.signature(made.call).parameters)


def _keep_arguments_of_calls(entry: Entry, taken: Collection[str]) -> None:
    """Of what a layer is called with, keep the tensors, and what its substitute takes."""
    for node in entry.get("inbound_nodes") or ():
        calls = [node["kwargs"]] if isinstance(node, dict) and "kwargs" in node else []
        if isinstance(node, list):
            calls = [each[3] for each in node if isinstance(each, list) and len(each) == 4]
        for arguments in filter(None, calls):
            for name in list(arguments) if isinstance(arguments, dict) else ():
                if name not in taken:
                    del arguments[name]


def _class(name: str, version: int) -> Any:
    if version == 3:
        return _OWN.get(name) or getattr(keras.layers, name)
    import tf_keras

    from autoinit.model_files.keras2 import own_layers

    found = getattr(own_layers if name in _OWN else tf_keras.layers, name, None)
    if found is None:
        raise SettingsError(f"treat_as: Keras 2, which this file is of, has no layer {name}.")
    return found


def _function(name: str, version: int, custom: dict[str, Any]) -> str:
    """How a configuration names one of Keras 3's activations; Keras 2 lacks some of them."""
    if version == 3:
        return name
    known = f"keras3_{name}"
    custom[known] = getattr(keras.activations, name)
    return known


def _treated_as(name: str, target: str, count: int) -> Finding:
    times = f" in {count:,} places" if count > 1 else ""
    message = f"{shortened(name)!r} is run as Keras's {target}{times}, as you asked."
    if not count:
        message = f"Nothing in the file is called {shortened(name)!r}: treat_as has no effect."
    return Finding("treated_as", shortened(name), "", message)
