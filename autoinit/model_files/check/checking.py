"""A configuration is checked: what Keras will make of it is known before Keras sees it.

Every dictionary and list is walked. What is on the lists of `vocabulary` is written down anew with
the module that it was found in, so that Keras can look up nothing else; what is not is replaced by
a placeholder, by a default, or by nothing, or the whole model is refused. Training settings are
left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from autoinit.errors import ModelFileError
from autoinit.findings import Finding
from autoinit.graph.paths import shortened
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.check import vocabulary as names
from autoinit.model_files.check.class_lookup import Address, ClassLookup, home_of
from autoinit.model_files.check.config_tree import (
    LayerEntry,
    Model,
    in_order,
    replace_by_placeholders,
)
from autoinit.model_files.check.connections import Entry
from autoinit.model_files.check.entry_kinds import (
    MODEL_ARGUMENTS,
    fusing_arguments,
    holds_layers,
    is_entry,
    model_shape,
    named,
    printable,
    tensors_in,
)
from autoinit.model_files.check.ordering import require_counts, require_order, require_repetitions
from autoinit.model_files.check.placeholders import placeholder_activation
from autoinit.model_files.check.shape_inference import StoredShapes
from autoinit.model_files.check.values import objection_to_list, objection_to_number, parts_of
from autoinit.model_files.read.hdf5 import quoted
from autoinit.model_files.read.reading import FileRecord

# What Keras has called a model of layers, and many call one of their own.
_OWN_NAMES = ("Model", "Network")
_FUNCTIONS = ("function", "__lambda__")
_OF_FOURIER_FEATURES = ("gaussian", "laplacian")
_WRITE_GRAPH = (
    "write it with the functional API, keras.Model(inputs, outputs), or as keras.Sequential with "
    "keras.Input at its start, and save it again."
)
_GIVE_CODE = (
    "if it is yours, put the file of Python that defines {} beside the model, and say that you "
    "trust it (--trust, or --custom-objects MODULE)"
)
# Halves of pairs can be written in JSON, and nowhere else.
_SURROGATE = re.compile("[\ud800-\udfff]")
# Names that either Keras lets a layer have; in Keras 2, TensorFlow's scopes go by them.
_NAMES = {2: re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*"), 3: re.compile(r"[^/]+", re.DOTALL)}


@dataclass(frozen=True)
class CheckedModel:
    """A configuration that may be handed to the Keras that its file was written by.

    Attributes:
        config: a copy, without training settings at any depth.
        findings: what was replaced in it.
    """

    config: dict[str, Any]
    findings: tuple[Finding, ...]


def check(
    record: FileRecord,
    budgets: Budgets,
    custom_names: Collection[str] = (),
    stored_shapes: StoredShapes | None = None,
) -> CheckedModel:
    """Check a model's configuration, and replace in it what is not rebuilt.

    Args:
        record: the file as read.
        budgets: the limits.
        custom_names: names of classes and functions that whoever runs this provides, with their
            packages where registered: `package>Name`.
        stored_shapes: shapes of each layer's weights, by the names that lead to it.

    Raises:
        ModelFileError: `bad_configuration`, `not_a_model`, `no_graph`, `file_reference`,
            `over_budget` or `cannot_rebuild`.
    """
    walk = _Walk(record, budgets, ClassLookup(record.keras, custom_names))
    walk.run()
    require_counts(walk.outermost, budgets)
    require_repetitions(walk.config, budgets)
    require_order(walk.outermost, record.keras)
    findings = replace_by_placeholders(walk.outermost, stored_shapes or {}, record.keras)
    walk.write_down()
    return CheckedModel(walk.config, findings)


class _Task(NamedTuple):
    """A value that is to be visited: where it stands, what it is used for, whose argument it is."""

    container: Any
    key: Any
    role: str
    argument: str
    place: LayerEntry


class _Walk:
    def __init__(self, record: FileRecord, budgets: Budgets, lookup: ClassLookup) -> None:
        self.name = record.name
        self.keras = record.keras
        self.budgets = budgets
        self.lookup = lookup
        # Written and read by C, which takes the copy of something deep where `copy` would not.
        self.config: dict[str, Any] = json.loads(json.dumps(record.config))
        self.outermost = LayerEntry(self.config)
        # What a model of a class of its own was built for.
        self.build_config: dict[str, Any] | None = None
        self.tasks: list[_Task] = []
        self.accepted: list[tuple[Entry, Address]] = []

    def run(self) -> None:
        """Visit every value."""
        self._visit_outermost()
        while self.tasks:
            task = self.tasks.pop()
            value = task.container[task.key]
            if isinstance(value, dict) and "class_name" in value:
                self._visit_object(value, task)
            elif isinstance(value, dict):
                self._visit_arguments(value, task.place, task.role, task.argument)
            elif isinstance(value, list):
                self._visit_list(value, task)
            elif isinstance(value, str):
                self._visit_text(value, task)
            else:
                self._visit_number(value, task)

    def write_down(self) -> None:
        """Leave of each object what Keras needs, with the address that it was found at."""
        layers = {id(place.entry) for place in in_order(self.outermost) if place.model}
        for entry, address in self.accepted:
            config, shared = entry.get("config"), entry.get("shared_object_id")
            written = address.written(self.lookup.keras)
            written["config"] = {} if config is None else config
            if isinstance(shared, int):
                written["shared_object_id"] = shared
            if id(entry) in layers:
                written |= {key: entry[key] for key in ("name", "inbound_nodes") if key in entry}
            entry.clear()
            entry.update(written)
        if self.build_config is not None:
            self.config["build_config"] = self.build_config

    # Models

    def _visit_outermost(self) -> None:
        entry, place = self.config, self.outermost
        if self._enter(entry, place):
            return
        kind = quoted(place.class_name)
        address = self.lookup.address(entry, names.MODEL)
        if address is not None and address.custom:
            self._accept(entry, address, place)
            if isinstance(entry.get("build_config"), dict):
                self.build_config = entry["build_config"]
                self._visit_arguments(self.build_config, place)
        elif self.lookup.objection(entry):
            raise self._without_code(entry)
        else:
            raise ModelFileError(
                "not_a_model",
                f"{quoted(self.name)} holds a layer of class {kind}, not a model. "
                "Save the whole model with model.save('model.keras').",
            )

    def _enter(self, entry: Entry, place: LayerEntry) -> bool:
        """Visit a model; false for what is none.

        One of a class of its own that was built as a functional model is read as what it is built
        of: its class may train it in another way, but holds no further layers.
        """
        config = entry.get("config")
        address = self.lookup.address(entry, names.MODEL)
        if address is None or address.custom:
            shape = model_shape(config)
            if not shape or not (address or self.lookup.objection(entry)):
                return False
        elif not holds_layers(config, address.class_name):
            is_bare = not isinstance(config, dict) or "layers" not in config
            if address.class_name in _OWN_NAMES and entry is self.config and is_bare:
                raise self._without_code(entry)
            raise self._no_graph(entry, "has no layers")
        else:
            shape = "Sequential" if address.class_name == "Sequential" else "Functional"
        if address is None:
            self._not_stock(entry, place)
        if address is None or not address.custom:
            module = self.lookup.vocabulary.classes[names.MODEL][shape]
            address = Address(module, shape)
        layers: Any = config
        returned = None
        if isinstance(config, dict):
            layers, returned = config["layers"], config.get("output_layers")
            if not address.custom:
                self._trim(entry, config)
                if not config.get("name"):
                    config["name"] = shape.lower()  # as Keras names it
            self._visit_arguments(config, place, but="layers")
        self._require_graph(entry, shape, layers, place)
        self.accepted.append((entry, address))
        in_graph = place.in_graph and entry is place.entry
        model = Model(layers, returned if shape == "Functional" else None, place)
        place.models.append(model)
        for index, layer in enumerate(layers):
            self._visit_place(model, index, layer, in_graph)
        return True

    def _not_stock(self, entry: Entry, place: LayerEntry) -> None:
        place.find(
            "dropped_part",
            f"Model {named(entry)} is of a class of its own, {quoted(str(entry['class_name']))}: "
            "it is read as the graph of its layers, and what else the class does is left out.",
        )

    def _trim(self, entry: Entry, config: dict[str, Any]) -> None:
        """Drop what a model's constructor is not given."""
        built = entry.get("build_config")
        if isinstance(built, dict) and "input_layers" not in config:
            config.setdefault("build_input_shape", built.get("input_shape"))
        for key in config.keys() - MODEL_ARGUMENTS:
            del config[key]

    def _require_graph(self, entry: Entry, shape: str, layers: Any, place: LayerEntry) -> None:
        config = entry["config"]
        if not isinstance(layers, list) or not all(map(is_entry, layers)):
            raise self._bad("has something among its layers that is none", place, entry)
        outermost = shape == "Sequential" and place.model is None
        if not layers or (outermost and all(e["class_name"] == "InputLayer" for e in layers)):
            raise self._no_graph(entry, "has no layers")
        if shape == "Functional":
            ends = [tensors_in(config[key]) for key in ("input_layers", "output_layers")]
            if None in ends:
                raise self._bad("names its inputs or outputs in no known way", place, entry)
            complete = all(ends)
        else:
            # A nested one is told by the layer before it.
            complete = place.model is not None or self._has_input(config, layers[0])
        if not complete:
            what = "does not say what its input is, so that its layers have no shapes"
            raise self._no_graph(entry, what)

    def _has_input(self, config: Any, first: Entry) -> bool:
        """Whether a Sequential model says what its input is."""
        if first["class_name"] == "InputLayer":
            return True
        if isinstance(config, dict) and config.get("build_input_shape"):
            return True
        inner = first.get("config")
        if isinstance(inner, dict) and "batch_input_shape" in inner:
            return True
        is_model = self.lookup.address(first, names.MODEL) is not None
        return self.keras == 2 and (is_model or model_shape(inner) != "")

    def _visit_place(self, model: Model, index: int, layer: Entry, in_graph: bool) -> None:
        config = layer.get("config")
        name = layer.get("name") or (config.get("name") if isinstance(config, dict) else None)
        if model.returned is not None and not isinstance(layer.get("name"), str):
            raise self._bad(f"has no name for its layer number {index + 1}", model.place)
        if not isinstance(name, str):
            name = f"{layer['class_name']}_{index}"
        if model.returned is not None and not isinstance(layer.get("inbound_nodes"), list):
            raise self._bad(f"has no calls of its layer {quoted(shortened(name))}", model.place)
        place = LayerEntry(layer, name, model, in_graph)
        self._require_name(name, place)
        model.places.append(place)
        for key in ("name", "inbound_nodes"):
            if key in layer:
                self.tasks.append(_Task(layer, key, "", key, place))
        self.tasks.append(_Task(model.layers, index, names.LAYER, "layers", place))

    # Objects

    def _visit_object(self, value: Entry, task: _Task) -> None:
        kind, place = value["class_name"], task.place
        if not isinstance(kind, str):
            raise self._bad(
                f"holds a class without a name as its {printable(task.argument)}", place
            )
        if task.role == names.ANY and kind not in _FUNCTIONS:
            task = task._replace(role=self.lookup.role(value))
        if task.role == names.LAYER:
            self._visit_layer(value, task)
        elif kind in self.lookup.vocabulary.values:
            self._visit_value(value, task)
        elif kind in _FUNCTIONS:
            self._visit_function(value, task)
        elif task.role == names.POLICY:
            self._visit_policy(value, task)
        else:
            address = self.lookup.address(value, task.role)
            if address is None:
                self._reject(kind, "is not part of Keras", task)
            else:
                self._accept(value, address, place)

    def _visit_layer(self, entry: Entry, task: _Task) -> None:
        """A model's layer, or one that another layer holds."""
        place = task.place
        if self._enter(entry, place):
            return
        reason = self.lookup.objection(entry)
        address = self.lookup.address(entry, names.LAYER)
        if reason or address is None:
            inner = f"its layer {named(entry)} cannot: " if entry is not place.entry else ""
            place.fail(inner + reason)
            return
        if not isinstance(entry.get("config"), dict):
            raise self._bad("has no arguments", place)
        if self.keras == 3 and not address.custom:  # its weights are floats here
            entry["config"].pop("quantization_config", None)
        if entry is place.entry and place.in_graph:
            place.fusing = fusing_arguments(entry)
        self._accept(entry, address, place)

    def _visit_policy(self, value: Entry, task: _Task) -> None:
        config = value.get("config")
        name = config.get("name") if isinstance(config, dict) else None
        floats = self.lookup.float_policy(value)
        if floats is not None:
            task.container[task.key] = floats
            self._visit_text(floats, task)
        elif self.lookup.address(value, names.POLICY) is None:
            self._reject(value["class_name"], "is not part of Keras", task)
        elif not isinstance(name, str):
            raise self._bad(f"has a {printable(task.argument)} without a name", task.place)
        else:
            # Keras 2 recorded how losses are scaled in training as well.
            task.container[task.key] = name

    def _accept(self, entry: Entry, address: Address, place: LayerEntry) -> None:
        self.accepted.append((entry, address))
        config = entry.get("config")
        if isinstance(config, dict) and "class_name" not in config:
            # Arguments of a class of one's own have any names.
            self._visit_arguments(config, place, otherwise=names.ANY if address.custom else "")
        elif config is not None:
            raise self._bad(f"holds a {quoted(address.class_name)} without arguments", place)

    def _visit_arguments(
        self,
        arguments: dict[str, Any],
        place: LayerEntry,
        role: str = "",
        within: str = "",
        but: str = "",
        otherwise: str = "",
    ) -> None:
        for argument in arguments:
            if argument == but:
                continue
            self._require_text(argument, place)
            named = within if within in names.FREE_INTEGERS else argument
            used_for = role or names.role_of(argument) or otherwise
            task = _Task(arguments, argument, used_for, named, place)
            self.tasks.append(task)

    def _visit_list(self, value: list[Any], task: _Task) -> None:
        objection = objection_to_list(value, task.argument)
        if objection:
            raise self._bad(objection, task.place)
        for index, item in enumerate(value):
            # A vocabulary may have a million words: there is no task for each of them.
            if isinstance(item, (dict, list)) or (task.role and isinstance(item, str)):
                self.tasks.append(task._replace(container=value, key=index))
            elif isinstance(item, str):
                self._require_text(item, task.place)
            else:
                self._visit_number(item, task)

    def _visit_number(self, value: Any, task: _Task) -> None:
        if isinstance(value, (int, float)) and task.argument not in names.FREE_INTEGERS:
            objection = objection_to_number(value, task.argument)
            if objection:
                raise self._bad(objection, task.place)

    def _visit_value(self, value: Entry, task: _Task) -> None:
        """A value that JSON has no form for; what does not belong to it is dropped."""
        kind, parts = value["class_name"], parts_of(value)
        if parts is None:
            raise self._bad(f"holds a {kind} that is none", task.place)
        if "items" in parts or "start" in parts:
            self._visit_arguments(parts, task.place, within=task.argument)
        value.clear()
        value["class_name"] = kind
        value.update(parts if "items" in parts else {"config": parts})

    def _visit_function(self, value: Any, task: _Task) -> None:
        """A function, or a class, that is told by its name."""
        if value in _OF_FOURIER_FEATURES and task.place.class_name == "RandomFourierFeatures":
            return  # which knows them itself
        # What reads it as an object is somebody's own.
        is_given = task.role == names.ANY
        written = self.lookup.function(value, names.ACTIVATION if is_given else task.role)
        if is_given and isinstance(written, str):
            home = {"module": "keras.activations", "registered_name": written}
            written = {**home, "class_name": "function", "config": written}
        if written is not None:
            task.container[task.key] = written
            return
        kind = value.get("class_name") if isinstance(value, dict) else None
        name = value.get("config") if kind == "function" else value
        if kind == "__lambda__" and task.place.class_name == "Lambda" in self.lookup.custom:
            return  # whoever runs this has said that it is their own
        if kind == "__lambda__":
            self._reject("lambda", "is code", task)
        else:
            name = name if isinstance(name, str) else str(kind)
            self._reject(name, names.INCOMPLETE.get(name, "is not part of Keras"), task)

    def _visit_text(self, value: str, task: _Task) -> None:
        self._require_text(value, task.place)
        if task.key in names.FILE_ARGUMENTS:
            raise ModelFileError(
                "file_reference",
                f"Layer {task.place} asks for a file, {quoted(value)}, as its {task.key}: give it "
                "as a list, and save the model again.",
            )
        floats = self.lookup.float_policy(value) if task.role == names.POLICY else None
        if floats is not None:
            task.container[task.key] = floats
            self._visit_text(floats, task)
        elif task.role in self.lookup.vocabulary.strings:
            self._visit_function(value, task)
        elif task.role == names.LAYER:
            self._reject(value, "is the name of a layer without arguments", task)

    def _reject(self, name: str, why: str, task: _Task) -> None:
        """Replace a part that is not rebuilt: by a default, by nothing, or with its whole layer."""
        container, key, place = task.container, task.key, task.place
        what = f"{printable(task.argument)} {quoted(name)} of layer {place}"
        if task.role == names.INITIALIZER and isinstance(container, dict):
            del container[key]
            place.find(
                "replaced_initializer", f"The {what} {why}: Keras's default takes its place."
            )
        elif task.role in (names.REGULARIZER, names.CONSTRAINT):
            container[key] = None
            place.find("dropped_part", f"The {what} {why}: it is left out.")
        elif task.role == names.ACTIVATION and place.fusing is container:
            task.container[key] = placeholder_activation(name, f"it {why}", self.keras)
            place.find(
                "opaque_activation",
                f"The {what} cannot be run, because it {why}; what comes after it is uncertain.",
            )
        else:
            place.fail(f"its {printable(task.argument)} {quoted(name)} {why}")

    # Refusals

    def _require_name(self, name: str, place: LayerEntry) -> None:
        if len(name) > self.budgets.name_length:
            self.budgets.require("name_length", len(name), f"The name of layer {place}")
        any_name = self.keras == 2 and place.class_name == "InputLayer"
        if not any_name and not re.fullmatch(_NAMES[self.keras], name):
            raise self._bad("has a name that Keras takes from nobody", place)

    def _require_text(self, text: str, place: LayerEntry) -> None:
        if not text.isascii() and _SURROGATE.search(text):
            raise self._bad(f"holds {quoted(shortened(text))}, which is no text", place)

    def _without_code(self, entry: Entry) -> ModelFileError:
        kind, home = quoted(shortened(str(entry["class_name"]))), home_of(entry)
        if home:
            return ModelFileError(
                "no_graph",
                f"Model {named(entry)} in {quoted(self.name)} is of a class of the package that "
                f"has {home}: where that is installed, name it (--custom-objects {home}). If it is "
                f"yours, put the file of Python that defines {kind} beside the model, and say that "
                "you trust it (--trust).",
            )
        return ModelFileError(
            "no_graph",
            f"Model {named(entry)} in {quoted(self.name)} is of a class of its own, whose "
            f"code is not in the file: {_GIVE_CODE.format(kind)}; or {_WRITE_GRAPH}",
        )

    def _no_graph(self, entry: Entry, what: str) -> ModelFileError:
        message = f"Model {named(entry)} in {quoted(self.name)} {what}: {_WRITE_GRAPH}"
        return ModelFileError("no_graph", message)

    def _bad(self, what: str, place: LayerEntry, entry: Entry | None = None) -> ModelFileError:
        whose = f"Layer {place}" if place.model is not None else "The model"
        whose = f"Model {named(entry)}" if entry else whose
        return ModelFileError("bad_configuration", f"{whose} in {quoted(self.name)} {what}.")
