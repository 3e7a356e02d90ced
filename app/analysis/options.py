"""What a table of settings is: entries with an `Option`, and all that follows from them.

Validation and its sentences, the command line's options, the page's fields, its address, the
snippet and a JSON schema.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from app.errors import WrongSettingError

RECEIVED_SHOWN = 200


@dataclass(frozen=True)
class Option:
    """How a setting is offered, beside what its type, bounds, default and docstring say.

    Attributes:
        group: of the options on the page and in the command line's help.
        label: of its field on the page.
        in_form: whether the page's form has a field for it.
        flag: its option on the command line, if not named after the setting; None for no option.
        flag_value: what an option without a value stands for.
        metavar: what the command line calls its value, if it is no number.
        per_input: whether the command line takes `NAME=X` for one input, too.
        words: what the page calls its choices, or the word that may take a number's place.
        members: what a list may hold.
        usual: numbers that the page offers beside such a word.
        library: the option of `AutoInit` that it is, if any.
        library_default: what that is if nobody says, where it is not the setting's own default.
        expected: what it takes, where type and bounds do not say it.
    """

    group: str
    label: str
    in_form: bool = True
    flag: str | None = ""
    flag_value: str | None = None
    metavar: str | None = None
    per_input: bool = False
    words: Mapping[str, str] | None = None
    members: tuple[str, ...] = ()
    usual: tuple[int, ...] = ()
    library: str = ""
    library_default: Any = None
    expected: str = ""


_FROM_TEXT: dict[type, Callable[[str], Any]] = {
    int: int, float: float, str: str, bool: {"true": True, "false": False}.__getitem__,
    tuple: lambda text: tuple(text.split(",")),
}  # fmt: skip


class OptionsTable(BaseModel):
    """Settings, each with an `Option` and a docstring; a sentence says what is wrong with one.

    Raises:
        ValueError: names the setting, the values that it takes and the one received.
    """

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise WrongSettingError(_sentence(type(self), error, given)) from None

    def replace(self, **changes: Any) -> Self:
        """These settings with some of them changed.

        Raises:
            ValueError: as for settings that are new.
        """
        return type(self)(**self.model_dump() | changes)


_Table = TypeVar("_Table", bound=OptionsTable)


@dataclass(frozen=True)
class Setting:
    """One line of the table.

    Attributes:
        name: of the setting.
        kind: the type of its value, None aside.
        default: what it is if nobody says.
        low, high: between which a number must lie.
        choices: all that it may be, where they can be listed.
        word: that may take a number's place; empty for none.
        help: what it is for.
        option: how it is offered.
    """

    name: str
    kind: type
    default: Any
    low: Any
    high: Any
    choices: tuple[str, ...]
    word: str
    help: str
    option: Option

    @property
    def expected(self) -> str:
        """What it takes, as the end of a sentence."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        number = f"a whole number from {self.low} to {self.high}"
        by_kind = {int: f"{number}, or {self.word}" if self.word else number, bool: "true or false"}
        if self.kind is float:
            return f"a number from {self.low:g} to {self.high:g}"
        return self.option.expected or by_kind.get(self.kind, "text, or left out")

    def words(self, choice: str) -> str:
        """What people call a choice."""
        return (self.option.words or {}).get(choice, choice.replace("_", " "))

    def parsed(self, text: str) -> Any:
        """What a text says, unchecked: the word itself, or what its kind makes of it.

        Raises:
            ValueError, KeyError: it says nothing of the kind.
        """
        return text if text == self.word else _FROM_TEXT[self.kind](text)


def table(settings: type[OptionsTable]) -> dict[str, Setting]:
    """Every setting by its name, in the order in which they are offered."""
    return {name: _entry(name, info) for name, info in settings.model_fields.items()}


def _entry(name: str, info: FieldInfo) -> Setting:
    parts = [_part(kind) for kind in get_args(info.annotation) if kind is not NoneType]
    literals = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    is_union = get_origin(info.annotation) in (UnionType, Union)
    words = [kind for kind, _ in parts if is_union and get_origin(kind) is Literal]
    kinds = [kind for kind, _ in parts if is_union and get_origin(kind) is not Literal]
    kind: Any = str if literals else kinds[0] if kinds else info.annotation
    metadata = [*info.metadata, *(each for _, within in parts for each in within if is_union)]
    (option,) = (each for each in metadata if isinstance(each, Option))
    low = next((each.ge for each in metadata if isinstance(each, Ge)), None)
    high = next((each.le for each in metadata if isinstance(each, Le)), None)
    text, kind = " ".join((info.description or "").split()), get_origin(kind) or kind
    word = get_args(words[0])[0] if words else ""
    return Setting(name, kind, info.default, low, high, literals, word, text, option)


def _part(kind: Any) -> tuple[Any, Sequence[Any]]:
    """One kind of a union, without its bounds, and these."""
    if get_origin(kind) is not Annotated:
        return kind, ()
    plain, *metadata = get_args(kind)
    return plain, [each for within in metadata for each in getattr(within, "metadata", [within])]


def from_query(query: Mapping[str, str], settings: type[_Table]) -> _Table:
    """The settings that a page's address names, such as `?samples=64&keep_frozen=true`.

    What is wrong there, or no field of the page, is left out.
    """
    found: dict[str, Any] = {}
    for name, entry in table(settings).items():
        if name in query and entry.option.in_form:
            with contextlib.suppress(ValueError, KeyError):
                value = entry.parsed(query[name])
                settings(**{name: value})
                found[name] = value
    return settings(**found)


def schema(settings: type[OptionsTable]) -> str:
    """The JSON schema of the settings, as it is published in `docs/settings.schema.json`."""
    found = settings.model_json_schema()
    for name, entry in table(settings).items():
        found["properties"][name] |= {"title": entry.option.label, "description": entry.help}
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(draft | found, indent=2, ensure_ascii=False)


def _sentence(
    settings: type[OptionsTable], error: ValidationError, given: Mapping[str, Any]
) -> str:
    """What is wrong with the first setting that is."""
    found = error.errors()[0]
    name = str(found["loc"][0])
    if found["type"] == "extra_forbidden":
        return f"There is no setting {name[:RECEIVED_SHOWN]!r}."
    expected = table(settings)[name].expected
    if found["type"] == "value_error":  # a validator of the table's own, which says what it takes
        expected = str(found["ctx"]["error"])
    received = repr(given[name])
    if len(received) > RECEIVED_SHOWN:
        received = f"{received[:RECEIVED_SHOWN]}…"
    return f"{name} must be {expected}; received {received}."
