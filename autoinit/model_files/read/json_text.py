"""JSON from strangers: parsed within limits, and changed in place without touching another byte."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets

Path = tuple[str | int, ...]

# Possessive, so that nothing is kept for backtracking; a string that never ends runs to the end, so
# that it is not tried again from each of its quotes.
_STRING = r'"(?:[^"\\]++|\\.)*+"?'
_TOKEN = re.compile(rf'{_STRING}|[{{}}\[\],:]|[^\s{{}}\[\],:"]++', re.DOTALL)
_STRINGS = re.compile(_STRING, re.DOTALL)
_NOT_BRACKETS = re.compile(r"[^\[\]{}]++")
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


def parse(text: str, what: str, budgets: Budgets) -> Any:
    """The value of a JSON text, refused before it is built where it is too deep or too large.

    Of a repeated key the last value counts, as it does for Keras; NaN and Infinity are numbers.

    Args:
        text: the JSON.
        what: what errors call it: "The configuration of 'model.keras'".
        budgets: limits of its size, depth and number of values.

    Raises:
        ModelFileError: `over_budget`, `broken_file` where it is no JSON, or `bad_configuration`
            for numbers that nobody means.
    """
    budgets.require("config_bytes", len(text), what)
    bare = _STRINGS.sub("", text)
    budgets.require("json_nodes", sum(map(bare.count, ",[{")) + 1, what)
    # At this point the brackets are at most as many as the values may be.
    steps = map(_STEPS.__getitem__, _NOT_BRACKETS.sub("", bare))
    budgets.require("json_depth", max(itertools.accumulate(steps, initial=0)), what)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelFileError(
            "broken_file",
            f"{what} is no valid JSON ({error.msg} at character {error.pos:,}): the file is "
            "damaged or cut short. Copy it again.",
        ) from error
    except ValueError as error:  # Python converts no integers of more than 4,300 digits
        raise ModelFileError(
            "bad_configuration", f"{what} holds an integer of thousands of digits."
        ) from error


def splice(text: str, replacements: Mapping[Path, Any]) -> str:
    """A JSON text with the values at some paths replaced, every other character as it was.

    Args:
        text: valid JSON, nested as deep as it likes.
        replacements: new values by the keys and indices that lead to the old ones. A key that is
            repeated stands for its last value.

    Raises:
        KeyError: a path leads nowhere.
        ValueError: a path leads into a value that is replaced as a whole.
    """
    wanted = _Branch()
    for path in replacements:
        wanted.grow(path)
    _locate(text, wanted)
    pieces, end = [], 0
    for branch, path in sorted(
        ((wanted.follow(path), path) for path in replacements), key=lambda found: found[0].start
    ):
        if branch.end is None:
            raise KeyError(path)
        pieces += [text[end : branch.start], json.dumps(replacements[path])]
        end = branch.end
    return "".join([*pieces, text[end:]])


@dataclass
class _Branch:
    """Wanted paths as a tree; where a branch has no further ones, its value is replaced."""

    start: int = -1
    end: int | None = None
    branches: dict[str | int, _Branch] = field(default_factory=dict)
    whole: bool = False

    def grow(self, path: Path) -> None:
        branch = self
        for step in path:
            branch = branch.branches.setdefault(step, _Branch())
        branch.whole = True

    def follow(self, path: Path) -> _Branch:
        branch = self
        for step in path:
            if branch.whole:
                raise ValueError(f"Path {path} leads into a value that is replaced as a whole.")
            branch = branch.branches[step]
        return branch

    def forget(self) -> None:
        """A repeated key takes the place of the value that was found under it before."""
        branches = [self]
        while branches:
            branch = branches.pop()
            branch.start, branch.end = -1, None
            branches += branch.branches.values()


@dataclass
class _Container:
    """An object or array whose end has not been reached, and the place in it."""

    branch: _Branch | None
    is_object: bool
    step: str | int = 0
    key_next: bool = False

    def inner(self) -> _Branch | None:
        """The branch of the value at the place."""
        return self.branch.branches.get(self.step) if self.branch else None


def _locate(text: str, wanted: _Branch) -> None:
    """Note where the values of a tree's branches stand in a text."""
    containers = [_Container(_Branch(branches={0: wanted}), is_object=False)]
    for token in _TOKEN.finditer(text):
        first, top = text[token.start()], containers[-1]
        if first in "}]":
            containers.pop()
            if top.branch:
                top.branch.end = token.end()
        elif first == ",":
            top.key_next = top.is_object
            if isinstance(top.step, int):
                top.step += 1
        elif top.key_next:
            top.key_next = False
            top.step = json.loads(token.group()) if top.branch else ""
        elif first != ":":
            branch = top.inner()
            if branch:
                if branch.end is not None:
                    branch.forget()
                branch.start, branch.end = token.span()
            if first in "{[":
                containers.append(_Container(branch, first == "{", key_next=first == "{"))
