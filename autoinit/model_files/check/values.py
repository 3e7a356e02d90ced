"""Values that JSON has no form for, as both Kerases write them: with a class of their own."""

from __future__ import annotations

import math
from typing import Any

from autoinit.model_files.check.connections import Entry, sizes
from autoinit.model_files.check.vocabulary import COUNTS, DTYPES

MOST_AXES = 32
_LARGEST_SIZE = 2**40
_PARTS = {
    "__tensor__": ("value", "dtype"), "__numpy__": ("value", "dtype"),
    "__keras_tensor__": ("shape", "dtype", "keras_history"), "__bytes__": ("value",),
    "__slice__": ("start", "stop", "step"), "__ellipsis__": (),
    "TensorShape": ("items",), "ListWrapper": ("items",), "__tuple__": ("items",),
}  # fmt: skip


def parts_of(value: Entry) -> dict[str, Any] | None:
    """What a value is made of, and nothing else that may stand with it; None if it is not sound.

    The parts of a slice and the items of a sequence may be anything.
    """
    kind, config = value["class_name"], value.get("config")
    given = {**value, **config} if isinstance(config, dict) else value
    parts = {key: given[key] for key in _PARTS[kind] if key in given}
    if kind in ("__tensor__", "__numpy__"):
        # A type such as "V1000000000" would take as many bytes for each entry.
        sound = _is_dtype(parts.get("dtype")) and _is_plain(parts.get("value"))
    elif kind == "__keras_tensor__":
        sound = _is_dtype(parts.get("dtype")) and _is_shape(parts.get("shape"))
        sound = sound and _is_plain(parts.setdefault("keras_history", None))
    elif kind == "__bytes__":
        sound = isinstance(parts.get("value"), str)
    elif kind == "__slice__":
        sound = len(parts) == 3
    else:
        sound = kind == "__ellipsis__" or isinstance(parts.get("items"), list)
    return parts if sound else None


def objection_to_number(value: float, argument: str) -> str:
    """Why a number cannot be an argument, as the end of a sentence; empty if it can."""
    if isinstance(value, int) and abs(value) > _LARGEST_SIZE:
        figure = f"{value:,}" if abs(value) < 10**15 else f"10^{len(str(abs(value))) - 1}"
    elif argument in COUNTS and not (value > 0 and math.isfinite(value) and value % 1 == 0):
        figure = f"{value:g}"
    else:
        return ""
    return f"has {figure} as its {argument}, which is no size"


def objection_to_list(value: list[Any], argument: str) -> str:
    """The same for a list: no tensor has more than some dozens of axes."""
    if argument.endswith("shape") and len(value) > MOST_AXES:
        return f"has {len(value):,} axes in its {argument}"
    return ""


def _is_dtype(value: Any) -> bool:
    return isinstance(value, str) and value in DTYPES


def _is_shape(value: Any) -> bool:
    shape = sizes(value)
    return shape is not None and len(shape) <= MOST_AXES


def _is_plain(value: Any) -> bool:
    """Whether a value is made of lists, numbers and texts alone."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            return False
    return True
