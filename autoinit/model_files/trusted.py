"""Code that came with a model, for those who say that it is their own: Lambdas and modules."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import math
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from autoinit.findings import Finding
from autoinit.graph.keras_internals import compute_output_spec
from autoinit.model_files.code_faults import LayerCodeError, fault
from autoinit.model_files.rebuilding import objects_in

_ARRAYS = ("__numpy__", "__tensor__")
_DEFINITION = re.compile(r"^(?:class|def)\s+(\w+)", re.MULTILINE)
_OF_EVERY_LAYER = {"name", "trainable", "dtype"}


def modules_with(
    names: str, version: int, code: Sequence[Path]
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Classes and functions of modules that a configuration names; others are not imported.

    Args:
        names: the configuration's text.
        version: of Keras, 2 or 3, that they are to be of.
        code: files of Python.
    """
    found: dict[str, Any] = {}
    findings = []
    for path in code:
        if not any(f'"{name}"' in names or f'>{name}"' in names for name in _defined(path)):
            continue
        ran, message = True, f"The code in '{path.name}' was run, as you asked."
        try:
            with _keras_named(version):
                module = _imported(path)
        except (Exception, SystemExit) as error:  # it is code, which may raise anything
            ran = False
            message = f"The code in '{path.name}' could not be run: {fault(error, code)}."
        else:
            parts = {n: vars(module)[n] for n in _defined(path) if n in vars(module)}
            found |= {
                n: part for n, part in parts.items() if keras_of_part(part, version) == version
            }
        findings.append(Finding("ran_code" if ran else "code_not_run", "", "", message))
    return found, tuple(findings)


def drop_untaken(config: Any, own: Mapping[str, Any]) -> None:
    """Leave out what Keras records of every layer where a class's constructor takes none of it.

    Keras writes such files, and cannot read them: `def __init__(self)` without `**kwargs`.

    Args:
        config: of a model; it is changed.
        own: classes by the names that it has for them.
    """
    for _, entry in objects_in(config):
        kind, arguments = own.get(entry.get("registered_name") or ""), entry.get("config")
        if kind is None or not isinstance(arguments, dict) or "from_config" in vars(kind):
            continue
        parameters = inspect.signature(kind).parameters
        if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            for name in _OF_EVERY_LAYER - parameters.keys():
                arguments.pop(name, None)


def keras_of_part(part: Any, otherwise: int) -> int:
    """The Keras that a class is made for, 2 or 3; a function may serve either."""
    roots = {base.__module__.partition(".")[0] for base in getattr(part, "__mro__", ())}
    return 2 if "tf_keras" in roots else 3 if "keras" in roots else otherwise


def lambda_of(version: int, custom: Mapping[str, Any]) -> Any:
    """The Lambda layer of either Keras, which runs what a file has for it.

    Args:
        version: 2 or 3.
        custom: names that its code may use, beside the usual ones.
    """
    if version == 2:
        import tf_keras as library
    else:
        library = keras
    backend = library.backend
    known = {
        "keras": library,
        "K": backend,
        "backend": backend,
        "layers": library.layers,
        "np": np,
        "numpy": np,
        "math": math,
        **custom,
    }
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        known |= {"tf": tensorflow, "tensorflow": tensorflow}
    if version == 3:
        known["ops"] = keras.ops
    base: Any = library.layers.Lambda

    class Lambda(base):
        """Reads its code from the file."""

        @classmethod
        def from_config(cls, config: Any, custom_objects: Any = None, **_: Any) -> Any:
            """The layer, whose code finds the names that it commonly uses."""
            safe = {"safe_mode": False} if version == 3 else {}
            with _naming(str(config.get("name"))):
                layer = super().from_config(
                    dict(config), custom_objects={**known, **(custom_objects or {})}, **safe
                )
            for attribute in ("function", "_output_shape", "mask"):
                held = getattr(layer, attribute, None)
                if isinstance(held, types.FunctionType) and held.__name__ == "<lambda>":
                    names = {**held.__globals__, **known}
                    own = (held.__code__, names, held.__name__, held.__defaults__, _cells(held))
                    setattr(layer, attribute, types.FunctionType(*own))
            return layer

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """As Keras calls it."""
            with _naming(self.name):
                return super().__call__(*args, **kwargs)

        def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
            """By the code itself, which shows at once whether it can be run."""
            return compute_output_spec(self.call, *args, **kwargs)

    return Lambda


@contextlib.contextmanager
def _naming(layer: str) -> Iterator[None]:
    """Says of what the code in a layer raises that it is that layer's."""
    try:
        yield
    except Exception as error:  # it is code, which may raise anything
        raise LayerCodeError(layer) from error


def _cells(function: types.FunctionType) -> tuple[types.CellType, ...] | None:
    """What a function took from where it was written, with the arrays that Keras wrote as texts."""

    def value(cell: types.CellType) -> Any:
        held = cell.cell_contents
        is_array = isinstance(held, dict) and held.get("class_name") in _ARRAYS
        return keras.saving.deserialize_keras_object(held) if is_array else held

    cells = function.__closure__
    return None if cells is None else tuple(types.CellType(value(cell)) for cell in cells)


def _defined(path: Path) -> list[str]:
    """Classes and functions that a module defines, without running it, and valid or not."""
    return _DEFINITION.findall(path.read_text("utf-8", "replace"))


class _TensorFlow2(types.ModuleType):
    """TensorFlow, whose Keras is tf_keras."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_tensorflow(), name)


def _tensorflow() -> Any:
    import tensorflow

    return tensorflow


@contextlib.contextmanager
def _keras_named(version: int) -> Iterator[None]:
    """Inside the block, what is imported as `keras` or `tensorflow.keras` is the Keras of a file.

    Whoever saved it by Keras 2 wrote code for that, and did not call it tf_keras.
    """
    if version == 3:
        yield
        return
    import tf_keras

    tensorflow = _TensorFlow2("tensorflow")
    vars(tensorflow).update({**vars(_tensorflow()), "keras": tf_keras})
    aliases: dict[str, types.ModuleType] = {"tensorflow": tensorflow}
    for name, module in sys.modules.items():
        if name.partition(".")[0] == "tf_keras":
            inner = name.removeprefix("tf_keras")
            aliases |= {f"keras{inner}": module, f"tensorflow.keras{inner}": module}
    hidden = [name for name in sys.modules if name.partition(".")[0] == "keras"]
    before = {name: sys.modules.get(name) for name in (*hidden, *aliases)}
    for name in hidden:
        del sys.modules[name]
    sys.modules.update(aliases)
    try:
        yield
    finally:
        for name, held in before.items():
            sys.modules.pop(name, None)
            if held is not None:
                sys.modules[name] = held


def _imported(path: Path) -> types.ModuleType:
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for what it imports itself
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is no module")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module
