"""What number formats would do, as a table and as findings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from app.analysis.headline import series_name
from app.analysis.result import Finding, FormatFacts, Result, TensorsInFormat
from app.text.formatting import SUPERSCRIPTS, number, percentage

# A share that becomes 0 from which on it is told: about as many of a speech model's gradients were
# a reason to keep its weights in single precision (Micikevicius et al. 2018, section 3.1).
TOLD = 0.05
HEAD = ("weights", "format", "of", "too large", "become 0", "subnormal", "error", "fits")
NOTE = (
    "Shares are those of the worst tensor, errors the median. Everything that passes from layer to "
    "layer is rounded, and the weights; sums within a layer are not. Gradients are those of a mean "
    "loss over {samples} samples; fits: by what to multiply the loss, or each tensor."
)


class _Kind(NamedTuple):
    """Tensors of one kind: what they are called, and their figures."""

    name: str
    found: TensorsInFormat


def rows(result: Result, among: Collection[str] | None = None) -> list[list[str]]:
    """One row for each series (of some), format and kind of tensor, as `HEAD` names them."""
    return [
        [
            series_name(series),
            name,
            kind,
            *map(percentage, (found.overflow, found.underflow, found.subnormal)),
            number(found.error),
            _fits(kind, found, facts),
        ]
        for series, formats in result.formats.items()
        if among is None or series in among
        for name, facts in formats.items()
        for kind, found in _kinds(facts)
    ]


def note(result: Result) -> str:
    """What the table's figures are."""
    samples = {facts.samples for each in result.formats.values() for facts in each.values()}
    return NOTE.format(samples=min(samples, default=0))


def format_findings(formats: Mapping[str, Mapping[str, FormatFacts]]) -> Iterator[Finding]:
    """What overflows and what becomes 0, once for each series, format and kind of tensor."""
    for series, name, facts in (
        (series, name, facts) for series, each in formats.items() for name, facts in each.items()
    ):
        for kind, found in _kinds(facts)[:3]:
            if found.overflow:
                yield Finding(
                    code="format_overflows",
                    path=found.overflow_at,
                    class_name="",
                    series=series,
                    message=f"In {name} {kind} with {series} weights overflow, first at "
                    f"{found.overflow_at!r}: {percentage(found.overflow)} of the entries where "
                    f"most do. {_remedy(kind, found, facts)}",
                )
                break  # what comes after an infinite number tells nothing more
            if found.underflow is not None and found.underflow >= TOLD:
                yield Finding(
                    code="format_underflows",
                    path=found.underflow_at,
                    class_name="",
                    series=series,
                    message=f"In {name} {percentage(found.underflow)} of the entries of a tensor "
                    f"of {kind} become 0 with {series} weights; the first to lose any number of "
                    f"them is {found.underflow_at!r}. {_remedy(kind, found, facts)}",
                )


def _kinds(facts: FormatFacts) -> list[_Kind]:
    found = [
        _Kind("weights", facts.weights),
        _Kind("signals", facts.signals),
        _Kind("gradients", facts.gradients),
    ]
    if facts.loss_scale:
        found.append(_Kind(f"gradients × {_power(facts.loss_scale)}", facts.scaled_gradients))
    return found


def _fits(kind: str, found: TensorsInFormat, facts: FormatFacts) -> str:
    if kind == "gradients":
        return f"loss × {_power(facts.loss_scale)}" if facts.loss_scale else "as it is"
    if found.scales is None or not (found.overflow or (found.underflow or 0.0) >= TOLD):
        return "as it is"
    return " … ".join(f"× {_power(each)}" for each in dict.fromkeys(found.scales))


def _remedy(kind: str, found: TensorsInFormat, facts: FormatFacts) -> str:
    """By what to multiply, and what is left of the fault then."""
    each = "Each tensor scaled by a power of two of its own"
    if found.scales is not None:
        each += f" ({' … '.join(_power(exponent) for exponent in dict.fromkeys(found.scales))})"
    each += f" loses {percentage(found.underflow_if_scaled)}."
    if kind != "gradients":
        return each
    scaled = facts.scaled_gradients
    left = f"{percentage(scaled.underflow)} become 0"
    if scaled.overflow:
        left += f" and {percentage(scaled.overflow)} overflow"
    return f"With the loss multiplied by {_power(facts.loss_scale)}, {left}. {each}"


def _power(exponent: int) -> str:
    return "2" + str(exponent).translate(SUPERSCRIPTS)
