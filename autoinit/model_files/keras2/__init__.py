"""Keras 2 models: rebuilt by tf_keras, then translated into equal ones of Keras 3.

The public names are imported when they are first used:
`autoinit.model_files.keras2.vocabulary`, which is data, needs no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Translation": "autoinit.model_files.keras2.translation",
    "build_keras2": "autoinit.model_files.keras2.building",
    "copy_weights": "autoinit.model_files.keras2.variables",
    "translate": "autoinit.model_files.keras2.translation",
}

__all__ = ["Translation", "build_keras2", "copy_weights", "translate"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
