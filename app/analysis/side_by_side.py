"""Several results side by side: what they have in common, and what sets them apart."""

from collections.abc import Callable, Sequence
from typing import Any

from app.analysis.diagnosis.verdict import Word
from app.analysis.headline import changed, full_name, series_name, series_summary, verdict_card
from app.analysis.options import table
from app.analysis.result import Call, CallFigures, Result
from app.analysis.settings import SCHEME_WORDS, Settings
from app.text.formatting import number

# What the series of the model as it is are called beside those of a what-if.
AS_IT_IS_SERIES = ("as_it_is", "as_it_is_autoinit")
_ADDED_ACTIVATION = "_activation"  # as `autoinit.variants` calls it
_RANKS = {Word.CANNOT: 0, Word.STRUGGLES: 1, Word.TRAINS: 2}
_BY_SERIES = ("verdicts", "phases", "gradients", "jacobian", "fisher", "formats", "samples")


def label(number_of_run: int, result: Result) -> str:
    """What a run is called beside others: equal names are told apart by their numbers."""
    return f"{number_of_run}: {full_name(result.model.name, result.settings)}"


def what_if(result: Result, first: Result) -> list[str]:
    """What sets a result apart from that of the same model as it is, in a few words each.

    Nothing where they are not of one file, or the first is itself one with something else.
    """
    if (result.model.name, result.model.sha256) != (first.model.name, first.model.sha256):
        return []
    new, old = result.settings, first.settings
    if set(changed(old)) - set(changed(new)):
        return []
    found = [each for each in changed(new) if each not in changed(old)]
    if new.scheme != old.scheme:
        found.append(f"weights by {SCHEME_WORDS.get(new.scheme, new.scheme)}")
    pairs = [
        [(each.mean, each.variance) for each in run.model.inputs if each.mean is not None]
        for run in (result, first)
    ]
    if pairs[0] != pairs[1]:
        moments = (f"mean {number(m)} and variance {number(v)}" for m, v in dict.fromkeys(pairs[0]))
        found.append(f"input of {'; '.join(moments)}")
    return found


def answer(result: Result, first: Result) -> tuple[str, str]:
    """Whether a what-if is better: a tone and a sentence of the verdicts before and after."""
    pairs = [("Own weights", result.own_series, first.own_series), ("AutoInit", *["autoinit"] * 2)]
    steps, told = [], []
    for name, new, old in pairs:
        now, before = (verdict_card(run, s) for run, s in ((result, new), (first, old)))
        ranks = [
            _RANKS.get(Word(run.verdicts[s].verdict)) if s in run.verdicts else None
            for run, s in ((result, new), (first, old))
        ]
        if None not in ranks:
            steps.append((ranks[0] or 0) - (ranks[1] or 0))
        change = f"{before.word} → {now.word}".lower()
        if now.word == before.word:
            change = f"{now.word.lower()}, as before"
            if now.tone == "good":
                change += f" (variance {_range(result, new)}; before {_range(first, old)})"
        told.append(f"{name}: {change}.")
    scheme = result.settings.scheme
    if scheme in result.series and scheme not in first.series:
        told.append(f"{series_name(scheme)}: {verdict_card(result, scheme).word.lower()}.")
    what = " and ".join(what_if(result, first))
    better, worse = any(step > 0 for step in steps), any(step < 0 for step in steps)
    lead, tone = f"No other verdict with {what}.", "unknown"
    if better or worse:
        lead, tone = {
            (True, False): (f"Better with {what}.", "good"),
            (False, True): (f"Worse with {what}.", "bad"),
        }.get((better, worse), (f"Better and worse with {what}.", "warning"))
    return tone, " ".join([lead, *told])


def _range(result: Result, series: str) -> str:
    found = series_summary(result, series)
    return f"{number(found.smallest)} to {number(found.largest)}"


def beside(result: Result, first: Result) -> Result:
    """A what-if with the series of the model as it is beside its own.

    Calls go together by their paths; what was put in has the figures of what it reads, since
    nothing is there in the first.
    """
    sources = dict(zip(AS_IT_IS_SERIES, (first.own_series, "autoinit"), strict=True))
    known = {_place(call): call for call in first.calls}
    found: dict[int, Call | None] = {}
    calls = []
    for call in result.calls:
        before = found.get(call.inputs[0]) if call.inputs else None
        other = found[call.index] = known.get(_place(call), before)
        added: dict[str, CallFigures] = {}
        if other is not None:
            added = {name: other.of(source) for name, source in sources.items()}
        calls.append(call.model_copy(update={"series": call.series | added}))
    parts: dict[str, Any] = {
        part: getattr(result, part)
        | {
            name: getattr(first, part)[source]
            for name, source in sources.items()
            if source in getattr(first, part)
        }
        for part in _BY_SERIES
    }
    series = (*result.series, *sources)
    return result.model_copy(update={"calls": tuple(calls), "series": series, **parts})


def _place(call: Call) -> tuple[str, bool]:
    """By what a call is found in another result: an activation by the layer that it follows."""
    owner, _, last = call.path.rpartition("/")
    if call.class_name != "Activation":
        return call.path, False
    if call.layer != last:  # fused
        return owner, True
    is_added = last.endswith(_ADDED_ACTIVATION)
    return (call.path.removesuffix(_ADDED_ACTIVATION), True) if is_added else (call.path, False)


def differing_settings(results: Sequence[Result]) -> dict[str, list[Any]]:
    """The settings that are not the same in all results, with each result's value."""
    settings = [result.settings.by_name for result in results]
    names = dict.fromkeys(name for each in settings for name in each)
    values = {name: [each.get(name) for each in settings] for name in names}
    return {name: each for name, each in values.items() if any(v != each[0] for v in each[1:])}


def runs_table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row per result: what differs, and what became of the signal."""
    different = differing_settings(results)
    rows = []
    for place, result in enumerate(results):
        row: dict[str, Any] = {"run": label(place + 1, result)}
        row |= {
            name.replace("_", " "): _setting_words(name, each[place])
            for name, each in different.items()
        }
        for series in ("default", "uploaded", "autoinit"):
            if series in result.series:
                found = series_summary(result, series)
                word = verdict_card(result, series).word
                row[series_name(series)] = (
                    f"{word}, {number(found.smallest)} … {number(found.largest)}"
                )
        rows.append(row)
    return rows


def _setting_words(name: str, value: Any) -> str:
    entry = table(Settings).get(name)
    return entry.words(value) if entry is not None and value in entry.choices else str(value)


def variance_of(call: Call, series: str) -> float | None:
    """The measured variance, where a log axis can show it."""
    measured = call.measured(series)
    value = None if measured is None else measured.variance
    return value if value is not None and value > 0 else None


def differences(
    first: Result,
    other: Result,
    series: str,
    read: Callable[[Call, str], float | None] = variance_of,
) -> list[tuple[str, float, float]]:
    """Path and both figures of the calls that two results have in the same place.

    Calls that either result does not know, or that have no such figure, are left out.

    Args:
        first, other: the results.
        series: whose figures.
        read: gives a call's figure.
    """
    known = {_place(call): read(call, series) for call in other.calls}
    found = []
    for call in first.calls:
        before, after = read(call, series), known.get(_place(call))
        if before is not None and after is not None:
            found.append((call.path, before, after))
    return found
