"""Functions of results and calls, for tests that make these up as they stand in a file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from app.analysis.result import Call, Preview, Result

R = TypeVar("R")


def parsed(value: Any) -> Any:
    """A dictionary of a file as the part of a result that it is; lists of them, too."""
    if isinstance(value, list):
        return [parsed(each) for each in value]
    if isinstance(value, dict) and "calls" in value:
        return (Result if "schema" in value else Preview).model_validate(value)
    if isinstance(value, dict) and "path" in value and "weighted" in value:
        return Call.model_validate(value)
    return value


def on_files(function: Callable[..., R]) -> Callable[..., R]:
    """The same function, which takes dictionaries as they stand in a file."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> R:
        return function(
            *map(parsed, arguments), **{name: parsed(value) for name, value in named.items()}
        )

    return wrapped
