"""Several results side by side: what they have in common, and what sets them apart."""

from collections.abc import Sequence
from typing import Any

from app.analysis.headline import series_figures, series_name, verdict_card
from app.analysis.result import Call, Result
from app.text.formatting import number


def label(number_of_run: int, result: Result) -> str:
    """What a run is called beside others: equal names are told apart by their numbers."""
    return f"{number_of_run}: {result.model.name}"


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
        row |= {name.replace("_", " "): str(each[place]) for name, each in different.items()}
        for series in ("default", "uploaded", "autoinit"):
            if series in result.series:
                found = series_figures(result, series)
                word = verdict_card(result, series).word
                row[series_name(series)] = (
                    f"{word}, {number(found.smallest)} … {number(found.largest)}"
                )
        rows.append(row)
    return rows


def differences(first: Result, other: Result, series: str) -> list[tuple[str, float, float]]:
    """Path and both measured variances of the calls that two results have by the same path.

    Calls that either result does not know, or of which a variance is not above 0, are left out.
    """
    known = {call.path: _variance(call, series) for call in other.calls}
    found = []
    for call in first.calls:
        pair = _variance(call, series), known.get(call.path)
        if pair[0] and pair[1]:
            found.append((call.path, pair[0], pair[1]))
    return found


def _variance(call: Call, series: str) -> float | None:
    measured = call.measured(series)
    value = None if measured is None else measured.variance
    return value if value is not None and value > 0 else None
