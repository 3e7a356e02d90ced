"""What is kept of one model of many: a row, whose fields are the columns of the file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.metadata import version
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa

from app.analysis.cards import gradient_range
from app.analysis.headline import is_number, series_summary
from app.analysis.job_spec import CUSTOM_OBJECTS_VARIABLE, identity, program_version
from app.analysis.result import Call, Result, VerdictFacts
from app.analysis.settings import Settings
from app.analysis.trials.result import TrialResult
from app.analysis.trials.settings import DEFAULT, TrialSettings

BAND = 0.8, 1.25  # of the target
Status = Literal["done", "refused", "failed"]
Figures = tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model, with one choice of settings.

    The figures are of the weights that the file itself comes to: those in it, or what its
    initializers draw. Those that begin with `after` are of the weights that AutoInit, or the
    scheme of the settings, gives instead. Variances are of the weighted calls' outputs, measured,
    in order of execution; None where a figure is not finite or was not measured.

    Attributes:
        file: its path, or what a builder is called; with `settings_hash` it tells rows apart.
        sha256: of the file, or of all its files.
        settings: those that are not as usual, as JSON.
        settings_hash: of all of them, and of the data that they name.
        program: that made the row, with a digest of its source.
        keras: the version that ran.
        status: whether there are all figures that were asked for.
        code, reason: why not, where there are not; of a trial, those of the analysis stay.
        verdict, after_verdict: `trains`, `will struggle`, `cannot train`, `cannot tell`.
        verdict_reason, remedy: a sentence, and a word of what to do.
        causes: codes of the findings that decided, the first one first.
        findings: codes of all, each once.
        layers, calls, weighted, parameters: how many there are; `weighted` are calls.
        depth: weighted calls on the longest way from an input.
        within, after_within: share of the weighted calls with a variance of 0.8 to 1.25 times the
            target, of those whose weights AutoInit sets.
        smallest, largest, final: variances, those of 0 aside; `final` is that of the last call.
        update_range: the largest over the smallest update ratio of the kernels.
        gradient_range: the largest over the smallest square norm of the gradients of the weighted
            calls' outputs, where the settings ask for gradients.
        variances, after_variances: the curves.
        trial: its settings that are not as usual, as JSON, where the model was trained, too.
        best_scheme, best_rate, best_score: the initialisation and the learning rate that the
            trainings speak for, and its score there; None where nothing learns.
        own_score: that of the model's own initializers at their best rate.
        chance: the score of what needs no training.
        seconds: of the analysis; `processor_seconds` where it ran in a process that counts.
        saved: the re-initialised model, where it was asked for.
    """

    file: str
    sha256: str = ""
    settings: str = "{}"
    settings_hash: str = ""
    program: str = ""
    keras: str = ""
    status: Status = "done"
    code: str | None = None
    reason: str | None = None
    verdict: str | None = None
    verdict_reason: str | None = None
    causes: tuple[str, ...] = ()
    remedy: str | None = None
    findings: tuple[str, ...] = ()
    layers: int | None = None
    calls: int | None = None
    weighted: int | None = None
    depth: int | None = None
    parameters: int | None = None
    within: float | None = None
    smallest: float | None = None
    largest: float | None = None
    final: float | None = None
    update_range: float | None = None
    gradient_range: float | None = None
    variances: Figures = ()
    after_verdict: str | None = None
    after_within: float | None = None
    after_smallest: float | None = None
    after_largest: float | None = None
    after_final: float | None = None
    after_variances: Figures = ()
    trial: str | None = None
    best_scheme: str | None = None
    best_rate: float | None = None
    best_score: float | None = None
    own_score: float | None = None
    chance: float | None = None
    seconds: float | None = None
    processor_seconds: float | None = None
    saved: str | None = None

    @classmethod
    def begun(
        cls, file: str, sha256: str, settings: Settings, trial: TrialSettings | None = None
    ) -> Row:
        """What is known of a model before it is looked at.

        Raises:
            OSError: a file of data that the settings name cannot be read.
        """
        told, tried = (
            None
            if each is None
            else json.dumps(each.model_dump(exclude_defaults=True), sort_keys=True)
            for each in (settings, trial)
        )
        return cls(
            file=file,
            sha256=sha256,
            settings=told or "{}",
            settings_hash=hash_of(settings, trial),
            trial=tried,
            program=program_version(),
            keras=version("keras"),
        )

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from other rows: a later one with the same takes its place."""
        return self.file, self.settings_hash

    def failed(self, status: Status, code: str, reason: str) -> Row:
        """The same, of which nothing more is known but why."""
        return replace(self, status=status, code=code, reason=reason)

    def of(self, result: Result, **further: Any) -> Row:
        """The same with the figures of a result."""
        own, after = result.own_series, result.settings.scheme
        none = VerdictFacts(verdict="cannot tell", reason="")
        verdict, redrawn = result.verdicts.get(own, none), result.verdicts.get(after, none)
        figures, after_figures = series_summary(result, own), series_summary(result, after)
        return replace(
            self,
            verdict=verdict.verdict,
            verdict_reason=verdict.reason,
            causes=verdict.causes,
            remedy=verdict.remedy,
            findings=tuple(dict.fromkeys(each.code for each in result.findings)),
            layers=result.model.layers,
            calls=result.model.calls,
            weighted=len(result.weighted_calls),
            depth=depth(result.calls),
            parameters=result.model.parameters,
            within=_within(result, own),
            smallest=figures.smallest,
            largest=figures.largest,
            final=figures.final,
            update_range=_range(call.of(own).update_ratio for call in result.weighted_calls),
            gradient_range=_finite(gradient_range(result, own)),
            variances=_variances(result, own),
            after_verdict=redrawn.verdict,
            after_within=_within(result, after),
            after_smallest=after_figures.smallest,
            after_largest=after_figures.largest,
            after_final=after_figures.final,
            after_variances=_variances(result, after),
            seconds=result.timings.get("total"),
            **further,
        )

    def tried(self, found: TrialResult) -> Row:
        """The same with what a trial found."""
        answer = found.answer
        scores = {each.scheme: each.score for each in answer.standings}
        return replace(
            self,
            best_scheme=answer.scheme,
            best_rate=answer.rate,
            best_score=scores.get(answer.scheme or ""),
            own_score=scores.get(DEFAULT),
            chance=found.chance,
        )


def hash_of(settings: Settings, trial: TrialSettings | None = None) -> str:
    """The settings, and what in this process's environment changes what they come to."""
    found = [identity(settings), os.environ.get(CUSTOM_OBJECTS_VARIABLE, "")]
    found += [] if trial is None else [identity(trial)]
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def depth(calls: Iterable[Call]) -> int:
    """Weighted calls on the longest way to any call, itself included."""
    found: list[int] = []
    for call in calls:
        found.append(max((found[source] for source in call.inputs), default=0) + call.weighted)
    return max(found, default=0)


def _within(result: Result, series: str) -> float | None:
    low, high = (result.target * end for end in BAND)
    judged = sum(call.at_target and not call.frozen for call in result.weighted_calls)
    return 1 - len(result.outside(low, high, series)) / judged if judged else None


def _range(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if is_number(value) and value > 0]
    return _finite(max(known) / min(known)) if known else None


def _finite(value: float | None) -> float | None:
    return value if is_number(value) else None


def _variances(result: Result, series: str) -> Figures:
    measured = (call.measured(series) for call in result.weighted_calls)
    return tuple(None if moments is None else moments.variance for moments in measured)


_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64()}


@cache
def schema() -> pa.Schema:
    """The columns of the file: those of a `Row`."""
    hints = get_type_hints(Row)
    return pa.schema([(field.name, _arrow(hints[field.name])) for field in fields(Row)])


def _arrow(kind: Any) -> pa.DataType:
    if get_origin(kind) is tuple:
        return pa.list_(_arrow(get_args(kind)[0]))
    if get_origin(kind) is Literal:
        return pa.string()
    if get_origin(kind) is UnionType:
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    return _ARROW[kind]
