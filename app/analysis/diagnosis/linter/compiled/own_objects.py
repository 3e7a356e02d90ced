"""Keras's own constraints, losses and optimizers, made of what a file stores of them.

Made by name of a table, of plain arguments alone: what stands in a file imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import keras

_PLAIN = (bool, int, float, str, type(None))


def made(module: ModuleType, entry: Any, **others: Any) -> Any:
    """An object of a class of Keras; None for what is none, or does not take these arguments.

    Args:
        module: of `keras`, that has the class.
        entry: `class_name` and `config`, or a name, as they are stored.
        others: arguments in place of the stored ones.
    """
    if isinstance(entry, str):
        entry = {"class_name": entry}
    if not isinstance(entry, Mapping) or ">" in str(entry.get("registered_name")):
        return None
    name, config = str(entry.get("class_name")), entry.get("config")
    known = {each.lower(): each for each in dir(module) if isinstance(getattr(module, each), type)}
    found = known.get(name.lower().replace("_", ""))
    if found is None:
        return None
    given = config if isinstance(config, Mapping) else {}
    plain = {
        key: value
        for key, value in given.items()
        if isinstance(value, _PLAIN)
        or (isinstance(value, list) and all(isinstance(each, _PLAIN) for each in value))
    }
    try:
        return getattr(module, found)(**{**plain, **others})
    except (TypeError, ValueError):  # of another Keras, or of no sense
        return None


def constraint(entry: Any) -> Any:
    """A constraint, or None."""
    return made(keras.constraints, entry)


def loss(entry: Any) -> Any:
    """A loss, or None."""
    return made(keras.losses, entry)


def optimizer(entry: Any, rate: float, **others: Any) -> Any:
    """An optimizer with a constant rate, and with others of its arguments changed, or None."""
    return made(keras.optimizers, entry, learning_rate=rate, **others)
