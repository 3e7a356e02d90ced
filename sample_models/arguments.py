"""The arguments of a sample model, read from its builder's signature."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

TYPE_NAMES = {int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Interval:
    """The values that a number may take, ends included: `Annotated[int, Interval(1, 9)]`."""

    low: float
    high: float


class WrongArgumentError(ValueError):
    """A specification names no sample, or gives one an argument that it does not take."""


@dataclass(frozen=True)
class Argument:
    """One argument of a builder: a number within an interval, or one of a few words."""

    name: str
    kind: type
    default: Any
    interval: Interval | None = None
    choices: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        within = f" from {self.interval.low} to {self.interval.high}" if self.interval else ""
        return TYPE_NAMES[self.kind] + within

    def parse(self, text: str) -> Any:
        """Turn text into a value; ValueError says what the value must be."""
        try:
            value = self.kind(text)
        except ValueError:
            value = None
        if value is None or not self._allows(value):
            raise WrongArgumentError(f"{self.name} must be {self.rule}. Received: {text!r}.")
        return value

    def _allows(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        return self.interval is None or self.interval.low <= value <= self.interval.high


def arguments_of(function: Callable[..., Any]) -> dict[str, Argument]:
    """Read the arguments that have a default value from a function's signature."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: _argument(p) for p in parameters if p.default is not p.empty}


def _argument(parameter: inspect.Parameter) -> Argument:
    annotation, interval, choices = parameter.annotation, None, ()
    if get_origin(annotation) is Annotated:
        annotation, interval = get_args(annotation)
    if get_origin(annotation) is Literal:
        annotation, choices = str, get_args(annotation)
    return Argument(parameter.name, annotation, parameter.default, interval, choices)
