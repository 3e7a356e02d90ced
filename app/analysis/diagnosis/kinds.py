"""What a kind of finding is: an entry of the table, with the test that finds it in the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.analysis.result import Call
from app.text.formatting import number


class Severity(StrEnum):
    """How much a finding matters: whether it is in sight, and whether it is a fault or a fact."""

    PROBLEM = "problem"  # in sight
    HINT = "hint"  # in sight, though nothing is wrong
    NOTE = "note"  # folded away
    FACT = "fact"  # folded away, and nothing is wrong

    @property
    def in_sight(self) -> bool:
        """Whether it is shown at once."""
        return self in (Severity.PROBLEM, Severity.HINT)

    @property
    def is_hint(self) -> bool:
        """Whether nothing is wrong."""
        return self in (Severity.HINT, Severity.FACT)


@dataclass(frozen=True)
class Evidence:
    """What a test judges by.

    Attributes:
        calls: of a result, with their figures.
        series: whose weights are judged.
    """

    calls: Sequence[Call]
    series: str

    def measured(self, call: Call, figure: str, series: str | None = None) -> float | None:
        """A measured figure of a call, if there is one."""
        value: float | None = getattr(call.measured(series or self.series), figure, None)
        return value

    def with_autoinit(self, figure: float | None, what: str) -> str:
        """What AutoInit's weights change there; nothing to add of themselves."""
        if self.series == "autoinit" or figure is None:
            return ""
        return f" AutoInit's weights give {what} {number(figure)} there."


class Place(NamedTuple):
    """Where a test finds something, and what: the rest of "With default weights …"."""

    call: Call
    message: str


Test = Callable[[Evidence], Iterator[Place]]


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding.

    Attributes:
        code: that programs can test for, and `--disable` takes.
        severity: how much it matters.
        title: a few words that stand above all findings of the kind.
        cause: why it comes about, in sentences.
        remedy: what to do, in sentences.
        test: what finds it in a series' figures; or the module that makes it where it is met.
    """

    code: str
    severity: Severity
    title: str
    cause: str
    remedy: str
    test: Test | str

    @property
    def anchor(self) -> str:
        """Where `docs/findings.md` explains it."""
        return f"findings.md#{self.code}"
