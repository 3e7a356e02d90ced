"""Code that came with a model, for those who say that it is their own: Lambdas and modules."""

from __future__ import annotations

import ast
import importlib.util
import math
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from autoinit.findings import Finding
from autoinit.graph.keras_internals import compute_output_spec
from autoinit.graph.paths import shortened


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
        message = f"The code in '{path.name}' was run, as you asked."
        failed = ""
        try:
            module = _imported(path)
        except Exception as error:  # it is code, which may raise anything
            failed = shortened(f"{type(error).__name__}: {error}", 300)
            message = f"The code in '{path.name}' could not be run ({failed})."
        else:
            parts = {name: getattr(module, name) for name in _defined(path)}
            found |= {
                n: part for n, part in parts.items() if keras_of_part(part, version) == version
            }
        findings.append(Finding("code_not_run" if failed else "ran_code", "", "", message))
    return found, tuple(findings)


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
            layer = super().from_config(
                dict(config), custom_objects={**known, **(custom_objects or {})}, **safe
            )
            for attribute in ("function", "_output_shape", "mask"):
                held = getattr(layer, attribute, None)
                if isinstance(held, types.FunctionType) and held.__name__ == "<lambda>":
                    names = {**held.__globals__, **known}
                    own = (held.__code__, names, held.__name__, held.__defaults__, held.__closure__)
                    setattr(layer, attribute, types.FunctionType(*own))
            return layer

        def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
            """By the code itself, which shows at once whether it can be run."""
            return compute_output_spec(self.call, *args, **kwargs)

    return Lambda


def _defined(path: Path) -> list[str]:
    """Classes and functions that a module defines, without running it."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []
    return [each.name for each in tree.body if isinstance(each, (ast.ClassDef, ast.FunctionDef))]


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
