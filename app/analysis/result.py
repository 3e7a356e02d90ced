"""Reading `result.json`: the figures that the command line prints and judges by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]

SUPPORTS = ("exact", "sampled", "neutral", "approximate", "pass_through")


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


def describe_variance(figures: Figures | None) -> str:
    """Three digits; the file has null where a variance is not finite."""
    if figures is None:
        return "not measured"
    variance = figures["variance"]
    return "not finite" if variance is None else f"{variance:.3g}"
