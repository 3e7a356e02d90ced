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

    def coverage(self) -> dict[str, int]:
        """How many calls there are of each support, those that occur only."""
        counts = Counter(call["support"] for call in self.calls)
        return {support: counts[support] for support in SUPPORTS if counts[support]}

    def outside(self, low: float, high: float) -> list[tuple[str, Figures | None]]:
        """Path and AutoInit figures of the weighted calls whose variance is not within the band.

        What was measured counts, and what was predicted where nothing was measured. A variance
        that is not finite, or not to be had, is not within any band.
        """
        offenders = []
        for call in self.weighted_calls:
            figures = figures_of(call, "autoinit", "measured") or figures_of(
                call, "autoinit", "predicted"
            )
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
        return "none"
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
    yield f"{'variance measured':<20}{'smallest':>12}{'largest':>12}{'last call':>12}"
    for series in result.series:
        smallest, largest = _extremes(
            [figures_of(call, series, "measured") for call in result.weighted_calls]
        )
        last = figures_of(result.calls[-1], series, "measured")
        figures = [describe_variance(each) for each in (smallest, largest, last)]
        yield f"  {series:<18}" + "".join(f"{figure:>12}" for figure in figures)
    yield f"  (smallest and largest of the {len(result.weighted_calls):,} weighted calls)"
    yield ""
    counts = ", ".join(f"{n:,} {support}" for support, n in result.coverage().items())
    tainted = sum(bool(call["tainted"]) for call in result.calls)
    yield f"coverage  {counts}" + (f"; {tainted:,} tainted" if tainted else "")
    yield from _warning_lines(result.data["warnings"])


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
