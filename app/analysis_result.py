"""Reading `result.json`: the figures that the command line prints and judges by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.escaping import plain_text

Figures = dict[str, Any]

SUPPORTS = ("exact", "sampled", "neutral", "approximate", "pass_through")
WARNINGS_SHOWN = 20
NOT_RUN_SHOWN = 5
NAME_LIMIT = 80
MESSAGE_LIMIT = 400


@dataclass(frozen=True)
class AnalysisResult:
    """The parsed contents of a `result.json`."""

    data: dict[str, Any]

    @property
    def series(self) -> list[str]:
        """`default`, `autoinit` and, where the file came with weights, `uploaded`."""
        return list(self.data["series"])

    @property
    def calls(self) -> list[dict[str, Any]]:
        """All calls, inputs first."""
        return list(self.data["calls"])

    @property
    def weighted_calls(self) -> list[dict[str, Any]]:
        """The calls whose kernels AutoInit sets."""
        return [call for call in self.calls if call["weighted"]]

    @property
    def unmeasured_calls(self) -> list[dict[str, Any]]:
        """The calls of which no series has measured figures: they could not be run."""
        return [call for call in self.calls if not self.is_measured(call)]

    def is_measured(self, call: dict[str, Any]) -> bool:
        """Whether any series has measured figures of a call."""
        return any(figures_of(call, series, "measured") for series in self.series)

    def coverage(self) -> dict[str, int]:
        """How many calls there are of each support, those that occur only."""
        counts = Counter(call["support"] for call in self.calls)
        return {support: counts[support] for support in SUPPORTS if counts[support]}

    def outside(self, low: float, high: float) -> list[tuple[str, Figures | None]]:
        """Path and AutoInit figures of the weighted calls whose variance is not within the band.

        What was measured counts. A variance that is not finite, or that was not measured (None in
        place of the figures), is not within any band: a prediction alone vouches for nothing. Calls
        with frozen weights are left out, as AutoInit does not set them.
        """
        offenders = []
        for call in self.weighted_calls:
            if call.get("frozen"):
                continue
            figures = figures_of(call, "autoinit", "measured")
            variance = figures["variance"] if figures else None
            if variance is None or not low <= variance <= high:
                offenders.append((call["path"], figures))
        return offenders


def figures_of(call: dict[str, Any], series: str, kind: str) -> Figures | None:
    """What was `measured` or `predicted` of a call; None where nothing was."""
    figures: Figures | None = (call.get(series) or {}).get(kind)
    return figures


def summary(result: AnalysisResult) -> str:
    """A few lines for a terminal: the model, the variances per series, coverage and warnings."""
    return "\n".join(_summary_lines(result))


def describe_variance(figures: Figures | None) -> str:
    """Three digits; the file has null where a variance is not finite."""
    if figures is None:
        return "not measured"
    variance = figures["variance"]
    return "not finite" if variance is None else f"{variance:.3g}"


def _summary_lines(result: AnalysisResult) -> Iterator[str]:
    model, device = result.data["model"], result.data["device"]
    yield (
        f"{plain_text(model['name'], NAME_LIMIT)}: {model['format']}, {model['layers']:,} layers, "
        f"{model['calls']:,} calls, {model['parameters']:,} parameters"
    )
    yield (
        f"measured on {plain_text(device['name'] or device['kind'], NAME_LIMIT)}, "
        f"{result.data['settings']['samples']} samples, "
        f"{result.data['timings']['total']:.1f} s"
    )
    yield ""
    yield f"{'variance measured':<20}{'smallest':>14}{'largest':>14}{'last call':>14}"
    weighted = result.weighted_calls
    measured = sum(map(result.is_measured, weighted))
    for series in result.series:
        smallest, largest = _extremes([figures_of(call, series, "measured") for call in weighted])
        last = figures_of(result.calls[-1], series, "measured")
        figures = [describe_variance(each) for each in (smallest, largest, last)]
        yield f"  {series:<18}" + "".join(f"{figure:>14}" for figure in figures)
    which = f"{len(weighted):,} weighted calls"
    if measured < len(weighted):
        which = f"{measured:,} weighted calls that could be measured, of {len(weighted):,}"
    yield f"  (smallest and largest of the {which})"
    yield ""
    yield from _not_run_lines(result)
    counts = ", ".join(f"{n:,} {support}" for support, n in result.coverage().items())
    tainted = sum(bool(call["tainted"]) for call in result.calls)
    yield f"coverage  {counts}" + (f"; {tainted:,} tainted" if tainted else "")
    yield from _warning_lines(result.data["warnings"])


def _not_run_lines(result: AnalysisResult) -> Iterator[str]:
    """The layers that were not run, where measurements end."""
    opaque = [call for call in result.calls if call.get("opaque")]
    if not opaque:
        return
    after = len(result.unmeasured_calls) - len(opaque)
    yield f"not run   {len(opaque):,}; {after:,} more calls, after them, are not measured"
    for call in opaque[:NOT_RUN_SHOWN]:
        name, reason = plain_text(call["path"], NAME_LIMIT), plain_text(call["opaque"], NAME_LIMIT)
        yield f"  {name} ({plain_text(call['class'], NAME_LIMIT)}): {reason}"
    if len(opaque) > NOT_RUN_SHOWN:
        yield f"  and {len(opaque) - NOT_RUN_SHOWN:,} more"


def _extremes(measurements: list[Figures | None]) -> tuple[Figures | None, Figures | None]:
    """The smallest and the largest variance; one that is not finite is the largest."""
    measured = [figures for figures in measurements if figures is not None]
    if not measured:
        return None, None

    def size(figures: Figures) -> float:
        variance: float | None = figures["variance"]
        return math.inf if variance is None else variance

    return min(measured, key=size), max(measured, key=size)


def _warning_lines(warnings: list[dict[str, Any]]) -> Iterator[str]:
    if not warnings:
        yield "warnings  none"
        return
    yield f"warnings  {len(warnings):,}"
    for warning in warnings[:WARNINGS_SHOWN]:
        where = f" {plain_text(warning['path'], NAME_LIMIT)}" if warning.get("path") else ""
        yield f"  {warning['code']}{where}: {plain_text(warning['message'], MESSAGE_LIMIT)}"
    if len(warnings) > WARNINGS_SHOWN:
        yield f"  and {len(warnings) - WARNINGS_SHOWN:,} more: --output shows all"
