"""The figures a reader asks for first: is it stable, does the prediction hold, is all covered."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from app.analysis.diagnosis.trends import ways
from app.analysis.result import AnalysisResult
from app.text.escaping import plain_text
from app.text.formatting import duration, number, percentage, plural

Result = dict[str, Any]

MODEL_NAMES = {"independent": "the paper's model", "correlated": "the correlated model"}
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


def gradient(call: Result, series: str) -> Result | None:
    """What was measured of the gradient of a call's output; None where none was."""
    return (call.get(series) or {}).get("gradient")


def predicted(call: Result, series: str) -> Result | None:
    """What the rules predict for a call; None where the series does not exist."""
    return (call.get(series) or {}).get("predicted")


def other_model(result: Result) -> str | None:
    """The signal model that was not chosen, where it made predictions too."""
    parts = (call.get(series) or {} for call in result["calls"] for series in result["series"])
    return next((model for part in parts for model in part.get("predicted_by") or {}), None)


def predicted_by(call: Result, series: str, model: str) -> Result | None:
    """What the model that was not chosen predicts for a call, with the same weights."""
    return ((call.get(series) or {}).get("predicted_by") or {}).get(model)


def model_name(model: str) -> str:
    """What the page calls a signal model."""
    return MODEL_NAMES.get(model, f"the {model} model")


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
    two of them: "vanishes, explodes". Where some of the weighted calls were not measured, the
    others are at best "stable so far".
    """

    series: str
    verdict: str
    smallest: float | None
    largest: float | None
    final: float | None  # None as well where the last call was not measured
    weighted: int  # calls
    unmeasured: int  # of them
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
    def estimated(self) -> int:
        """How many calls are predicted by a rule or by sampling, not passed through."""
        return self.calls - self.by_support.get("pass_through", 0)

    @property
    def covered(self) -> float:
        """The fraction of these calls."""
        return self.estimated / self.calls if self.calls else 1.0


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
    last = found[-1] if found else None
    unmeasured = sum(
        call["weighted"] and moments is None for call, moments in zip(calls, found, strict=True)
    )
    overflowed, underflowed = states.count("overflow"), states.count("underflow")
    # A constant branch has variance 0 for good reasons; a weighted call has none.
    dead = sum(
        call["weighted"] and state == "underflow" for call, state in zip(calls, states, strict=True)
    )
    smallest, largest = min(weighted, default=None), max(weighted, default=None)
    target = result["settings"].get("signal_variance") or 1.0
    return SeriesFigures(
        series=series,
        verdict=verdict(smallest, largest, target, overflowed, dead, unmeasured),
        smallest=smallest,
        largest=largest,
        final=None if last is None else last.get("variance"),
        weighted=sum(bool(call["weighted"]) for call in calls),
        unmeasured=unmeasured,
        overflowed=overflowed,
        underflowed=underflowed,
    )


def verdict_parts(result: Result, series: str) -> tuple[str, str | None, str]:
    """What becomes of a series' signal, in words: what it does, from which call on, how fast.

    Returns:
        Such as ("explodes from", path, "on, ×1.9 for each layer with a kernel"); a path or None.
    """
    found = series_figures(result, series)
    target = result["settings"].get("signal_variance") or 1.0
    for sign, way in ways(result["calls"], series, target):
        verb = "explodes" if sign > 0 else "vanishes"
        rate = way.rate if sign > 0 else 1 / way.rate
        return f"{verb} from", way.start["path"], f"on, ×{rate:.2f} for each layer with a kernel"
    word = found.verdict
    is_state = word.startswith(("stable", "not"))
    return (f"is {word}" if is_state else word), None, ""


def verdict(
    smallest: float | None,
    largest: float | None,
    target: float,
    overflowed: int,
    underflowed: int,
    unmeasured: int = 0,
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
        if largest is None:
            return "not measured"
        return "stable so far" if unmeasured else "stable"
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
    """The median and the largest factor between prediction and measurement; None without both.

    Inputs alone are no comparison: they are what they were asked to be.
    """
    if not any(measured(call, series) for call in result["calls"] if call["inputs"]):
        return None
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
    version = model.get("keras_version") or model.get("keras")
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
    found.append(agreement_card(result))
    found += filter(None, (band_card(result), gradient_card(result), condition_card(result)))
    found.append(coverage_card(result))
    if any(call.get("opaque") for call in result["calls"]):
        found.append(measured_card(result))
    return [*found, time_card(result)]


def series_card(result: Result, series: str) -> Card:
    """The verdict on one series."""
    figures = series_figures(result, series)
    explanation = (
        "The smallest and the largest measured variance of the calls that have a kernel. "
        f"Stable means within a factor of {STABLE_FACTOR:g} of the target. "
    )
    if result["calls"] and measured(result["calls"][-1], series) is None:
        explanation += "The network's last call was not measured."
    else:
        final = number(figures.final, "no finite value")
        explanation += f"The network's last call has a variance of {final}."
    if figures.unmeasured:
        explanation += (
            f" {figures.unmeasured:,} of {plural(figures.weighted, 'call')} with a kernel could "
            "not be measured, as they lie after a layer that is not run: nothing is known of them."
        )
    for count, what in ((figures.overflowed, "overflow"), (figures.underflowed, "have variance 0")):
        if count:
            explanation += f" {plural(count, 'call')} {what}."
    return Card(
        label=f"{series_name(series)} weights",
        value=figures.verdict.capitalize(),
        note=f"{number(figures.smallest)} … {number(figures.largest)}"
        if figures.largest is not None or not figures.unmeasured
        else "only predicted",
        explanation=explanation,
    )


def agreement_card(result: Result) -> Card:
    """How well AutoInit's predictions, or the first series', hold."""
    series = chosen_series(result)
    found = agreement(result, series)
    return Card(
        label="Prediction off by",
        value="–" if found is None else f"×{factor(found.median)}",
        note="nothing to compare" if found is None else f"at most ×{factor(found.largest)}",
        explanation=f"The factor between predicted and measured variance of {series_name(series)}: "
        "its median over all measured calls, and the largest"
        + ("." if found is None else f", at {plain_text(found.where, 60)}.")
        + " ×1 is perfect.",
    )


def chosen_series(result: Result) -> str:
    """The series that is judged: AutoInit's, or the first."""
    return "autoinit" if "autoinit" in result["series"] else str(result["series"][0])


def band_card(result: Result) -> Card | None:
    """How many predictions lie outside the band of the draws, where there are several."""
    series = chosen_series(result)
    found = [(call.get(series) or {}).get("outside_band") for call in result["calls"]]
    judged = [is_outside for is_outside in found if is_outside is not None]
    if not judged:
        return None
    draws = result["settings"]["seeds"]
    return Card(
        label="Outside the band",
        value=f"{sum(judged):,}",
        note=f"of {len(judged):,} predictions",
        explanation=f"{series_name(series)} predictions that do not lie between the 10th and the "
        f"90th percentile of the variances measured in {plural(draws, 'draw')} of weights and "
        "inputs. The band is narrow where layers are wide, or draws few.",
    )


def gradient_card(result: Result) -> Card | None:
    """By what factor the gradient changes on its way, where it was measured."""
    ranges = {series: gradient_range(result, series) for series in result["series"]}
    series = chosen_series(result)
    if all(found is None for found in ranges.values()):
        return None
    others = [
        f"{series_name(name)}: ×{factor(found)}"
        for name, found in ranges.items()
        if name != series and found is not None
    ]
    found = ranges[series]
    return Card(
        label="Gradient's range",
        value="–" if found is None else f"×{factor(found)}",
        note=", ".join(others) or f"{series_name(series)} weights",
        explanation="The factor between the largest and the smallest mean square norm of the "
        f"gradient with respect to the output of a call with a kernel, with {series_name(series)} "
        "weights: ×1 would be a gradient that neither grows nor fades on its way back.",
    )


def gradient_range(result: Result, series: str) -> float | None:
    """The largest over the smallest square norm of weighted calls' gradients, per sample."""
    norms = [
        (gradient(call, series) or {}).get("square_norm")
        for call in result["calls"]
        if call["weighted"]
    ]
    known = [norm for norm in norms if is_number(norm) and norm > 0]
    if not known:
        return None
    return power(math.log10(max(known)) - math.log10(min(known)))


def condition_card(result: Result) -> Card | None:
    """The condition number of the Jacobian, where it was measured."""
    measured_of = result.get("jacobian") or {}
    if not measured_of:
        return None

    def shown(series: str) -> str:
        found = measured_of.get(series)
        return number(found["condition_number"], "not known") if found else "–"

    series = chosen_series(result)
    others = [f"{series_name(name)}: {shown(name)}" for name in measured_of if name != series]
    return Card(
        label="Condition number",
        value=shown(series),
        note=", ".join(others) or f"{series_name(series)} weights",
        explanation="The largest over the smallest singular value of the input–output Jacobian "
        f"that is not zero to rounding, with {series_name(series)} weights: 1 for an isometry, "
        "which keeps every direction's length.",
    )


def factor(value: float) -> str:
    """Three digits, so that ×1.00 is told from ×1.04."""
    return f"{value:.2f}" if value < 100 else number(value)


def coverage_card(result: Result) -> Card:
    """How many calls are not just passed through, and how they were predicted."""
    found = coverage(result)
    kinds = [f"{n:,} {support.replace('_', ' ')}" for support, n in found.by_support.items()]
    return Card(
        label="Calls covered",
        value=percentage(math.floor(1000 * found.covered) / 1000),
        note=f"{found.estimated:,} of {found.calls:,}",
        explanation=f"How the predictions were obtained: {', '.join(kinds)}. Exact: closed form or "
        "quadrature; sampled: Monte Carlo; neutral: does not change the distribution; "
        "approximate: an assumption does not hold; pass through: no rule, taken as unchanged.",
    )


def measured_card(result: Result) -> Card:
    """How many calls could be measured, where there are layers that are not run."""
    count, missing = len(result["calls"]), len(AnalysisResult(result).unmeasured_calls)
    return Card(
        label="Calls measured",
        value=percentage(math.floor(1000 * (count - missing) / count) / 1000),
        note=f"{count - missing:,} of {count:,}",
        explanation="Layers whose code is not at hand, or may not be run, are not measured, and "
        "neither is what depends on them. The command line takes --custom-objects for code that "
        "you trust.",
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
