"""What a trial found, as frozen models: its `result.json`. Nothing here imports Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat

from app.analysis.result import DownloadFacts, Figure, Finding, Part, Text, VerdictFacts, read_part
from app.analysis.trials.settings import NAMES


def _require_scheme(name: str) -> str:
    if name not in NAMES:
        raise ValueError("no initialisation has that name")
    return name


# A worker may have been anyone's: names are those of the table, and lists end.
SchemeName = Annotated[str, AfterValidator(_require_scheme)]
MOST_TRAININGS, MOST_LOSSES, MOST_COLUMNS = 1000, 100, 40
Ending = Literal["finished", "stopped", "diverged"]


class Training(Part):
    """One training: from the weights of one draw, at one rate.

    `finished` ones took all steps; `stopped` ones did less well than others of their initialisation
    after a quarter of them. `score` is of samples that were not
    trained on, `error` its standard error; `losses` are of the steps, thinned out.
    """

    scheme: SchemeName
    rate: FiniteFloat
    draw: int = 0
    outcome: Ending
    steps: int = 0
    score: Figure = None
    error: Figure = None
    losses: tuple[Figure, ...] = Field(default=(), max_length=MOST_LOSSES)


class Standing(Part):
    """An initialisation at its best rate: the mean over draws, and its standard error.

    `sampling` is that of other samples alone; `error` has what draws differ by, too. `low` and
    `high` are the rates around it that do as well, `stable` the largest one below which nothing
    diverged. `learns` is whether that is clearly better than
    what needs no training; `at_end` whether no larger, or no smaller, rate was tried.
    """

    scheme: SchemeName
    rate: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    stable: Figure = None
    score: FiniteFloat
    error: FiniteFloat
    sampling: FiniteFloat
    draws: int
    learns: bool
    at_end: str = ""


class Answer(Part):
    """Which initialisation to take, at which rate, and how sure that is.

    `alike` are other initialisations within two standard errors of the best, `best` first.
    """

    scheme: SchemeName | None = None
    rate: Figure = None
    alike: tuple[SchemeName, ...] = ()
    standings: tuple[Standing, ...] = Field(default=(), max_length=len(NAMES))
    sentence: Text = ""


class TrialResult(Part):
    """The contents of a trial's `result.json`.

    `measure` is what scores are: the share of right classes, or the share of the best constant's
    loss that is taken away; `chance` is the score of what needs no training. `expected` is what the
    analysis says of each initialisation before a step is trained.
    """

    kind: Literal["trial"] = "trial"
    name: Text
    settings: dict[str, Any]
    data: Text
    samples: int
    optimizer: Text
    measure: Literal["accuracy", "loss"]
    chance: FiniteFloat
    steps: int
    batch: int
    schemes: tuple[SchemeName, ...] = Field(max_length=len(NAMES))
    rates: tuple[FiniteFloat, ...] = Field(max_length=MOST_COLUMNS)
    trainings: tuple[Training, ...] = Field(max_length=MOST_TRAININGS)
    expected: dict[SchemeName, VerdictFacts] = Field(default={})
    answer: Answer = Answer()
    findings: tuple[Finding, ...] = ()
    downloads: tuple[DownloadFacts, ...] = ()
    timings: dict[str, FiniteFloat] = Field(default={})

    def of(self, scheme: str, rate: float, draw: int = 0) -> Training | None:
        """The training of a cell of the grid."""
        each = (t for t in self.trainings if (t.scheme, t.rate, t.draw) == (scheme, rate, draw))
        return next(each, None)


def read_trials(source: Path | bytes) -> TrialResult:
    """A trial's result file.

    Raises:
        OSError: it cannot be read.
        ResultError: it holds no trial, or is broken.
    """
    return read_part(source, TrialResult)
