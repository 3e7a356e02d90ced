"""Headline figures in words: is it stable, does the prediction hold, is all covered, how long."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from app.analysis.headline import (
    STABLE_FACTOR,
    factor,
    is_number,
    power,
    series_name,
    series_summary,
)
from app.analysis.result import Result
from app.text.escaping import plain_text
from app.text.formatting import duration, number, percentage, plural


@dataclass(frozen=True)
class Agreement:
    """How far predictions lie from measurements, as the factor between the two variances."""

    series: str
    compared: int
    median: float
    largest: float
    where: str  # path of the call with the largest factor


def log_factors(result: Result, series: str) -> Iterator[tuple[float, str]]:
    """|log₁₀ predicted/measured| and path, for every call where both variances are positive."""
    for call in result.calls:
        pair = call.measured(series), call.predicted(series)
        variances = [
            moments.variance
            for moments in pair
            if moments is not None and is_number(moments.variance)
        ]
        if len(variances) == 2 and min(variances) > 0:
            # Logarithms apart: the quotient of 1e-200 and 1e200 is no float.
            yield abs(math.log10(variances[1]) - math.log10(variances[0])), call.path


def agreement(result: Result, series: str) -> Agreement | None:
    """The median and the largest factor between prediction and measurement; None without both.

    Inputs alone are no comparison: they are what they were asked to be.
    """
    if not any(call.measured(series) for call in result.calls if call.inputs):
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


@dataclass(frozen=True)
class Card:
    """One headline figure in words: what, how much, and what to know about it."""

    label: str
    value: str
    note: str
    explanation: str


# What a verdict may well call trainable is told as a figure here.
_BEYOND = {
    "vanishes": f"below 1/{STABLE_FACTOR:g} of the target",
    "explodes": f"above {STABLE_FACTOR:g} × the target",
}
COUNTED = "Activations, and each further use of a layer, count as layers here."


def cards(result: Result) -> list[Card]:
    """The headline figures, the same on the page and in the report."""
    found = [series_card(result, series) for series in result.series]
    found.append(agreement_card(result))
    optional = (band_card, gradient_card, condition_card, fisher_card)
    found += filter(None, (card(result) for card in optional))
    found.append(coverage_card(result))
    if result.opaque_calls:
        found.append(measured_card(result))
    return [*found, time_card(result)]


def series_card(result: Result, series: str) -> Card:
    """The range of one series' variances."""
    figures = series_summary(result, series)
    explanation = (
        "The smallest and the largest measured variance of the layers that have a kernel. "
        f"Stable means within a factor of {STABLE_FACTOR:g} of the target. "
    )
    if result.calls and result.calls[-1].measured(series) is None:
        explanation += "The network's last layer was not measured."
    else:
        final = number(figures.final, "no finite value")
        explanation += f"The network's last layer has a variance of {final}."
    if figures.unmeasured:
        explanation += (
            f" {figures.unmeasured:,} of {plural(figures.weighted, 'layer')} with a kernel could "
            "not be measured, as they lie after a layer that is not run: nothing is known of them."
        )
    for count, what in ((figures.overflowed, "overflow"), (figures.underflowed, "have variance 0")):
        if count:
            explanation += f" {plural(count, 'layer')} {what}."
    known = figures.largest is not None
    note = ", ".join(_BEYOND.get(word, word) for word in figures.verdict.split(", "))
    return Card(
        label=f"Variance, {series_name(series)} weights",
        value=f"{number(figures.smallest)} … {number(figures.largest)}" if known else "–",
        note="only predicted" if figures.unmeasured and not known else note,
        explanation=explanation,
    )


def agreement_card(result: Result) -> Card:
    """How well AutoInit's predictions, or the first series', hold."""
    series = result.chosen_series
    found = agreement(result, series)
    return Card(
        label="Error of the prediction",
        value="–" if found is None else f"×{factor(found.median)}",
        note="nothing to compare" if found is None else f"at most ×{factor(found.largest)}",
        explanation="The factor between predicted and measured variance with "
        f"{series_name(series)} weights: its median over all measured layers, and the largest"
        + ("." if found is None else f", at {plain_text(found.where, 60)}.")
        + " ×1 is perfect.",
    )


def band_card(result: Result) -> Card | None:
    """How many predictions lie outside the band of the draws, where there are several."""
    series = result.chosen_series
    found = [call.of(series).outside_band for call in result.calls]
    judged = [is_outside for is_outside in found if is_outside is not None]
    if not judged:
        return None
    draws = result.settings.seeds
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
    ranges = {series: gradient_range(result, series) for series in result.series}
    series = result.chosen_series
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
        f"gradient with respect to the output of a layer with a kernel, with {series_name(series)} "
        "weights: ×1 would be a gradient that neither grows nor fades on its way back.",
    )


def gradient_range(result: Result, series: str) -> float | None:
    """The largest over the smallest square norm of weighted calls' gradients, per sample."""
    gradients = [call.gradient(series) for call in result.weighted_calls]
    norms = [None if gradient is None else gradient.square_norm for gradient in gradients]
    known = [norm for norm in norms if is_number(norm) and norm > 0]
    if not known:
        return None
    return power(math.log10(max(known)) - math.log10(min(known)))


def condition_card(result: Result) -> Card | None:
    """The condition number of the Jacobian, where it was measured."""
    if not result.jacobian:
        return None
    numbers = {
        name: number(found.condition_number, "not known") for name, found in result.jacobian.items()
    }
    series = result.chosen_series
    others = [f"{series_name(name)}: {text}" for name, text in numbers.items() if name != series]
    return Card(
        label="Condition number",
        value=numbers.get(series, "–"),
        note=", ".join(others) or f"{series_name(series)} weights",
        explanation="The largest over the smallest singular value of the input–output Jacobian "
        f"that is not zero to rounding, with {series_name(series)} weights: 1 for an isometry, "
        "which keeps every direction's length.",
    )


def fisher_card(result: Result) -> Card | None:
    """The Fisher information's largest eigenvalue, where it was measured."""
    series = result.chosen_series
    chosen = result.fisher.get(series)
    if chosen is None:
        return None
    others = [
        f"{series_name(name)}: {number(found.largest, 'none')}"
        for name, found in result.fisher.items()
        if name != series
    ]
    return Card(
        label="Fisher information",
        value=number(chosen.largest, "not known"),
        note=", ".join(others) or f"{series_name(series)} weights",
        explanation="The largest eigenvalue of the parameters' Fisher information, of "
        f"{plural(chosen.samples, 'sample')}, with {series_name(series)} weights; all eigenvalues "
        f"sum up to {number(chosen.trace, 'what is not known')}.",
    )


def coverage_card(result: Result) -> Card:
    """How many calls are not just passed through, and how they were predicted."""
    counts, calls = result.coverage, len(result.calls)
    covered = calls - counts.get("pass_through", 0)
    kinds = [f"{count:,} {support.replace('_', ' ')}" for support, count in counts.items()]
    return Card(
        label="Layers with a rule",
        value=rounded_down(covered, calls),
        note=f"{covered:,} of {calls:,}",
        explanation=f"How the predictions were obtained: {', '.join(kinds)}. Exact: closed form or "
        "quadrature; sampled: Monte Carlo; neutral: does not change the distribution; "
        "approximate: an assumption does not hold; pass through: no rule, taken as unchanged. "
        f"{COUNTED}",
    )


def rounded_down(part: int, whole: int) -> str:
    """A share in per cent that is never rounded up to all."""
    return percentage(math.floor(1000 * part / whole) / 1000 if whole else 1.0)


def measured_card(result: Result) -> Card:
    """How many calls could be measured, where there are layers that are not run."""
    count, missing = len(result.calls), len(result.unmeasured_calls)
    return Card(
        label="Layers measured",
        value=rounded_down(count - missing, count),
        note=f"{count - missing:,} of {count:,}",
        explanation="Layers whose code is not at hand, or may not be run, are not measured; what "
        "depends on them is fed noise of the predicted mean and variance, where it takes that. "
        "The command line takes --custom-objects for code that you trust.",
    )


def time_card(result: Result) -> Card:
    """How long it took, and where."""
    device, settings = result.device, result.settings
    draws = plural(settings.seeds, "draw")
    return Card(
        label="Time",
        value=duration(result.timings.get("total")),
        note=f"on {device.kind.upper()}",
        explanation=f"{result.samples_taken} samples, {draws}, on {device.name}.",
    )
