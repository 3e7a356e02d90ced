"""What a name in a configuration stands for: a part of Keras, one of the operator's, or nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from autoinit.graph.paths import shortened
from autoinit.model_files.check import vocabulary as names
from autoinit.model_files.check.connections import Entry
from autoinit.model_files.check.entry_kinds import name_of_function
from autoinit.model_files.keras2.vocabulary import NODE_OPERATIONS, TF_SYMBOLS
from autoinit.model_files.read.hdf5 import quoted

# Names that many give to a layer of their own, of which Keras 2 records nothing else.
_COMMON_NAMES = ("Attention", "AdditiveAttention")
# Modules of no package: those of Keras itself, and of whoever ran a program.
_NOBODYS = ("", "builtins", "keras", "tensorflow", "tf_keras", "__main__")
_DEFAULT_POLICY = "float32"
_OPERATION_MODULES = ("keras.src.ops", "keras.ops", "keras.src.activations")


@dataclass(frozen=True)
class Address:
    """What a class is looked up by.

    Attributes:
        module, class_name, registered_name: as Keras 3 records them.
        custom: whether it is the operator's.
    """

    module: str | None
    class_name: str
    registered_name: str | None = None
    custom: bool = False

    def written(self, keras: int) -> Entry:
        """The parts of an entry that say what it is, as one Keras reads them."""
        if keras == 2 and not self.custom:
            return {"class_name": self.class_name}
        return {
            "module": self.module,
            "class_name": self.class_name,
            "registered_name": self.registered_name,
        }


class ClassLookup:
    """Looks names up in the vocabulary of one Keras, and among the operator's own.

    Args:
        keras: 2 or 3.
        custom_names: the operator's, with their packages where registered.
    """

    def __init__(self, keras: int, custom_names: Collection[str]) -> None:
        self.keras = keras
        self.custom = frozenset(custom_names)
        self.vocabulary = names.KERAS3 if keras == 3 else names.KERAS2

    def address(self, entry: Entry, role: str) -> Address | None:
        """Where the class of an object in some role is found; None for what may not be made."""
        kind, registered = entry.get("class_name"), entry.get("registered_name")
        custom = self._custom(registered) or self._custom(kind)
        if custom:
            return Address(None, str(kind), custom, custom=True)
        own = names.OWN.get(registered) if isinstance(registered, str) else None
        if self.keras == 3 and own is not None and own[0] == role:
            return Address(*own[1:], registered_name=registered)
        if not isinstance(kind, str) or not self._is_own(entry, kind):
            return None
        equal = names.EQUALS.get((str(entry.get("module")), kind))
        if self.keras == 3 and role == names.LAYER and equal is not None:
            return Address(*equal)
        if role == names.LAYER and self._is_operation(entry, kind):
            module = self.vocabulary.operations.get(kind)
        else:
            module = self.vocabulary.classes.get(role, {}).get(kind)
        return None if module is None else Address(module, kind)

    def role(self, value: Entry) -> str:
        """What an object is used for, by what it is: a layer or model, or a part of one."""
        known = (role for role in self.vocabulary.classes if self.address(value, role))
        found = next(known, names.LAYER)
        return names.LAYER if found == names.MODEL else found

    def function(self, value: Any, role: str) -> Any:
        """What to write in place of a function's or class's name; None for what is not known.

        Args:
            value: the name, or an object that stands for a function.
            role: what it is used for.
        """
        name = value.get("config") if isinstance(value, dict) else value
        registered = value.get("registered_name") if isinstance(value, dict) else None
        custom = self._custom(registered) or self._custom(name)
        if custom:
            function = {
                "module": "builtins",
                "class_name": "function",
                "config": custom,
                "registered_name": custom,
            }
            return function if self.keras == 3 or isinstance(value, dict) else value
        if not isinstance(name, str) or name not in self.vocabulary.strings.get(role, ()):
            return None
        if isinstance(value, dict) and not self._is_own(value, name):
            return None
        return name

    def objection(self, entry: Entry) -> str:
        """Why a layer is not made from its entry, as the end of a sentence; empty if it is."""
        kind, config = entry.get("class_name"), entry.get("config")
        address = self.address(entry, names.LAYER)
        if address is None:
            own = isinstance(kind, str) and self._is_own(entry, kind)
            denied = names.DENIED.get(str(kind)) if own else None
            called = name_of_function(config) if isinstance(config, dict) else ""
            if kind == "Lambda" and called:
                return f"it calls a function, {quoted(shortened(called))}, that is not in the file"
            return (
                denied or f"its class {quoted(str(kind))} is not part of Keras{_of_package(entry)}"
            )
        arguments = config if isinstance(config, dict) else {}
        if address.custom:
            return ""
        if self.keras == 2 and kind in _COMMON_NAMES and "use_scale" not in arguments:
            return f"its class {quoted(str(kind))} is not the one of Keras, which states use_scale"
        if self.keras == 2 and kind in ("TFOpLambda", "SlicingOpLambda"):
            return _unlisted("calls", arguments.get("function"), TF_SYMBOLS)
        if self.keras == 2 and kind == "TensorFlowOpLayer":
            node = arguments.get("node_def")
            node = node if isinstance(node, dict) else {}
            return _unlisted("runs", node.get("op"), NODE_OPERATIONS)
        return ""

    def float_policy(self, dtype: Any) -> str | None:
        """What a layer had before its weights were packed into fewer bits; None for others."""
        if isinstance(dtype, dict):
            config = dtype.get("config")
            config = config if isinstance(config, dict) else {}
            if dtype.get("class_name") in names.QUANTIZED_POLICIES:
                return str(config.get("source_name") or _DEFAULT_POLICY)
            dtype = config.get("name")
        quantized = isinstance(dtype, str) and "_from_" in dtype
        return dtype.partition("_from_")[2] if quantized else None

    def _custom(self, name: Any) -> str | None:
        return name if isinstance(name, str) and name in self.custom else None

    def _is_own(self, entry: Entry, name: str) -> bool:
        """Whether an object claims to be Keras's: one of the user's may have the same name."""
        if entry.get("registered_name") not in (None, name, entry.get("class_name")):
            return False
        module = entry.get("module", "builtins")  # older files record none
        roots = {*self.vocabulary.roots, "builtins"}
        return isinstance(module, str) and module.partition(".")[0] in roots

    def _is_operation(self, entry: Entry, kind: str) -> bool:
        if "module" in entry and self.keras == 3:
            return str(entry["module"]).startswith(_OPERATION_MODULES)
        # A legacy file of Keras 3 does not tell an operation from a layer of the same name.
        config = entry.get("config")
        is_layer = kind in self.vocabulary.classes[names.LAYER]
        has_layers_arguments = isinstance(config, dict) and "trainable" in config
        return not (is_layer and has_layers_arguments) and kind in self.vocabulary.operations


def home_of(entry: Entry) -> str:
    """The public module of a package that a class comes from, as far as Keras 3 records it."""
    parts = str(entry.get("module") or "").split(".")
    if parts[0] in _NOBODYS or not all(map(str.isidentifier, parts)):
        return ""
    public = [part for part in parts[1:3] if part in ("layers", "models")]
    return shortened(".".join([parts[0], *public[:1]]))


def _of_package(entry: Entry) -> str:
    home = home_of(entry)
    return f", but of a package that may have it (--custom-objects {home})" if home else ""


def _unlisted(verb: str, name: Any, listed: Collection[str]) -> str:
    if isinstance(name, str) and name in listed:
        return ""
    return f"it {verb} {quoted(str(name))}, which is not on the list of harmless functions"
