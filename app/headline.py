"""The figures a reader asks for first: is it stable, does the prediction hold, is all covered."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from app.analysis_result import AnalysisResult
from app.escaping import plain_text
from app.formatting import duration, number, percentage, plural

Result = dict[str, Any]

SERIES_NAMES = {"default": "Default", "autoinit": "AutoInit", "uploaded": "Uploaded"}
# The band within which the paper's figure 3 calls a signal stable: a factor of 100 either way.
STABLE_FACTOR = 100.0


def series_name(series: str) -> str:
    """What the page calls a series."""
    return SERIES_NAMES.get(series, series.replace("_", " ").capitalize())


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether there is a figure, and a finite one."""
    return value is not None and math.isfinite(value)


def measured(call: Result, series: str) -> Result | None:
    """What was measured at a call; None where nothing was."""
    return (call.get(series) or {}).get("measured")


def predicted(call: Result, series: str) -> Result | None:
    """What the rules predict for a call; None where the series does not exist."""
    return (call.get(series) or {}).get("predicted")


def out_of_range(moments: Result | None) -> str | None:
    """Why a variance cannot be drawn on a log axis: "overflow", "underflow", or None if it can."""
    if moments is None:
        return None
    variance = moments.get("variance")
    if not is_number(variance):
        return "overflow"
    return "underflow" if variance <= 0 else None


@dataclass(frozen=True)
class SeriesFigures:
    """The measured variance of the weighted calls of one series, and of the network's last call.

    The verdict is one of stable, explodes, vanishes, overflows, underflows and not measured, or
    two of them: "vanishes, explodes".
    """

    series: str
    verdict: str
    smallest: float | None
    largest: float | None
    final: float | None
    overflowed: int  # calls, weighted or not
    underflowed: int


@dataclass(frozen=True)
class Agreement:
    """How far predictions lie from measurements, as the factor between the two variances."""

    series: str
    compared: int
    median: float
    largest: float
    where: str  # path of the call with the largest factor


@dataclass(frozen=True)
class Coverage:
    """How the predictions of all calls were obtained."""

    calls: int
    by_support: dict[str, int]
    tainted: int

    @property
    def with_rule(self) -> int:
        """How many calls have a rule."""
        return self.calls - self.by_support.get("pass_through", 0)

    @property
    def covered(self) -> float:
        """The fraction of calls that have a rule."""
        return self.with_rule / self.calls if self.calls else 1.0


def series_figures(result: Result, series: str) -> SeriesFigures:
    """Smallest, largest and final measured variance, and a verdict in a word."""
    calls = result["calls"]
    found = [measured(call, series) for call in calls]
    states = [out_of_range(moments) for moments in found]
    weighted = [
        moments["variance"]
        for call, moments, state in zip(calls, found, states, strict=True)
        if call["weighted"] and moments is not None and state is None
    ]
    last = next((moments for moments in reversed(found) if moments is not None), None)
    overflowed, underflowed = states.count("overflow"), states.count("underflow")
    # A constant branch has variance 0 for good reasons; a weighted call has none.
    dead = sum(
        call["weighted"] and state == "underflow" for call, state in zip(calls, states, strict=True)
    )
    smallest, largest = min(weighted, default=None), max(weighted, default=None)
    target = result["settings"].get("signal_variance") or 1.0
    return SeriesFigures(
        series=series,
        verdict=verdict(smallest, largest, target, overflowed, dead),
        smallest=smallest,
        largest=largest,
        final=None if last is None else last.get("variance"),
        overflowed=overflowed,
        underflowed=underflowed,
    )


def verdict(
    smallest: float | None, largest: float | None, target: float, overflowed: int, underflowed: int
) -> str:
    """One word, or two: what happens to the signal on its way through the weighted calls."""
    words = []
    if underflowed:
        words.append("underflows")
    elif smallest is not None and smallest < target / STABLE_FACTOR:
        words.append("vanishes")
    if overflowed:
        words.append("overflows")
    elif largest is not None and largest > target * STABLE_FACTOR:
        words.append("explodes")
    if not words:
        return "not measured" if largest is None else "stable"
    return ", ".join(words)


def log_factors(result: Result, series: str) -> Iterator[tuple[float, str]]:
    """|log₁₀ predicted/measured| and path, for every call where both variances are positive."""
    for call in result["calls"]:
        pair = measured(call, series), predicted(call, series)
        if all(moments is not None and out_of_range(moments) is None for moments in pair):
            variances = [moments["variance"] for moments in pair if moments is not None]
            # Logarithms apart: the quotient of 1e-200 and 1e200 is no float.
            yield abs(math.log10(variances[1]) - math.log10(variances[0])), call["path"]


def agreement(result: Result, series: str) -> Agreement | None:
    """The median and the largest factor between prediction and measurement; None without both."""
    factors = sorted(log_factors(result, series))
    if not factors:
        return None
    largest, where = factors[-1]
    return Agreement(
        series=series,
        compared=len(factors),
        median=power(factors[len(factors) // 2][0]),
        largest=power(largest),
        where=where,
    )


def power(exponent: float) -> float:
    """10 to the exponent, infinite where that is no float."""
    return 10.0**exponent if exponent < 308 else math.inf


def coverage(result: Result) -> Coverage:
    """Counts of calls by support, and of those downstream of a call without a rule."""
    return Coverage(
        calls=len(result["calls"]),
        by_support=AnalysisResult(result).coverage(),
        tainted=sum(bool(call["tainted"]) for call in result["calls"]),
    )


def facts(result: Result) -> list[str]:
    """What kind of model it is, in a few words each; from a file, so escape them."""
    model = result["model"]
    version = model.get("keras_version")
    return [
        model["format"],
        *([f"Keras {version}"] if version else []),
        plural(model["layers"], "layer"),
        plural(model["calls"], "call"),
        plural(model["parameters"], "parameter"),
    ]


@dataclass(frozen=True)
class Card:
    """One headline figure in words: what, how much, and what to know about it."""

    label: str
    value: str
    note: str
    explanation: str


def cards(result: Result) -> list[Card]:
    """The row of headline figures, the same on the page and in the report."""
    found = [series_card(result, series) for series in result["series"]]
    return [*found, agreement_card(result), coverage_card(result), time_card(result)]


def series_card(result: Result, series: str) -> Card:
    """The verdict on one series."""
    figures = series_figures(result, series)
    explanation = (
        "The smallest and the largest measured variance of the calls that have a kernel. "
        f"Stable means within a factor of {STABLE_FACTOR:g} of the target. "
        f"The network's last call has a variance of {number(figures.final, 'no finite value')}."
    )
    for count, what in ((figures.overflowed, "overflow"), (figures.underflowed, "have variance 0")):
        if count:
            explanation += f" {plural(count, 'call')} {what}."
    return Card(
        label=f"{series_name(series)} weights",
        value=figures.verdict.capitalize(),
        note=f"{number(figures.smallest)} … {number(figures.largest)}",
        explanation=explanation,
    )


def agreement_card(result: Result) -> Card:
    """How well AutoInit's predictions, or the first series', hold."""
    series = "autoinit" if "autoinit" in result["series"] else result["series"][0]
    found = agreement(result, series)
    return Card(
        label="Prediction off by",
        value="–" if found is None else f"×{factor(found.median)}",
        note="nothing to compare" if found is None else f"at most ×{factor(found.largest)}",
        explanation=f"The factor between predicted and measured variance of {series_name(series)}: "
        "its median over all calls, and the largest"
        + ("." if found is None else f", at {plain_text(found.where, 60)}.")
        + " ×1 is perfect.",
    )


def factor(value: float) -> str:
    """Three digits, so that ×1.00 is told from ×1.04."""
    return f"{value:.2f}" if value < 100 else number(value)


def coverage_card(result: Result) -> Card:
    """How many calls have a rule, and of which kind."""
    found = coverage(result)
    kinds = [f"{n:,} {support.replace('_', ' ')}" for support, n in found.by_support.items()]
    return Card(
        label="Calls with a rule",
        value=percentage(math.floor(1000 * found.covered) / 1000),
        note=f"{found.with_rule:,} of {found.calls:,}",
        explanation=f"How the predictions were obtained: {', '.join(kinds)}. Exact: closed form or "
        "quadrature; sampled: Monte Carlo; neutral: does not change the distribution; "
        "approximate: an assumption does not hold; pass through: no rule.",
    )


def time_card(result: Result) -> Card:
    """How long it took, and where."""
    device = result["device"]
    settings = result["settings"]
    draws = plural(settings.get("seeds", 1), "draw")
    return Card(
        label="Time",
        value=duration(result["timings"].get("total")),
        note=f"on {str(device['kind']).upper()}",
        explanation=f"{plural(settings['samples'], 'sample')}, {draws}, on {device['name']}.",
    )
