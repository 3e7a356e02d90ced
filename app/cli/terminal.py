"""A result in a few lines for a terminal."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from app.analysis import formats
from app.analysis.cards import band_card, condition_card, fisher_card, gradient_card
from app.analysis.grouping import NOT_RUN, FindingGroup, grouped, split
from app.analysis.headline import CHECKUP, describe_variance, full_name, verdict_card
from app.analysis.result import Measurement, Result
from app.text.escaping import plain_text
from app.text.formatting import percentage

if TYPE_CHECKING:
    from rich.table import Table

NOT_RUN_SHOWN = 5
NAME_LIMIT = 80
MESSAGE_LIMIT = 400
BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "_.-:=+*#"  # for terminals that cannot show those
BEYOND = "x"  # a variance of 0, or one that is not finite
COLUMNS = 20


def summary(result: Result, bars: str = BARS) -> str:
    """The model, the verdicts, the findings, and the variances per series.

    Args:
        result: of the job.
        bars: characters for small to large variances.
    """
    return "\n".join(_summary_lines(result, bars))


def summary_text(result: Result) -> str:
    """The same, with bars that standard output can show."""
    encoding = sys.stdout.encoding or "ascii"
    has_bars = BARS.encode(encoding, "ignore").decode(encoding) == BARS
    return summary(result, BARS if has_bars else PLAIN_BARS)


def sparklines(columns: Sequence[Sequence[float | None]], bars: str = BARS) -> list[str]:
    """Columns of figures as lines of bars, all on one log scale.

    Long columns are averaged to as many characters as a terminal has room for. What has no
    logarithm is an x; None where nothing was measured is a space.

    Args:
        columns: of figures; infinity for those that overflow.
        bars: characters for small to large.
    """
    lines = [_means(column) for column in columns]
    known = [
        value for line in lines for value in line if value is not None and math.isfinite(value)
    ]
    low, high = min(known, default=0.0), max(known, default=0.0)
    step = max(high - low, 1.0) / len(bars)

    def bar(value: float | None) -> str:
        if value is None:
            return " "
        if not math.isfinite(value):
            return BEYOND
        return bars[min(int((value - low) / step), len(bars) - 1)]

    return ["".join(map(bar, line)) for line in lines]


def _means(column: Sequence[float | None]) -> list[float | None]:
    """Logarithms, averaged over neighbours; infinite where one of them has none."""
    count = min(len(column), COLUMNS)
    edges = [round(place * len(column) / count) for place in range(count + 1)] if count else []
    means: list[float | None] = []
    for start, stop in pairwise(edges):
        part = [value for value in column[start:stop] if value is not None]
        if all(0.0 < value < math.inf for value in part):
            logarithms = [math.log10(value) for value in part]
            means.append(math.fsum(logarithms) / len(part) if part else None)
        else:
            means.append(math.inf)
    return means


def _summary_lines(result: Result, bars: str) -> Iterator[str]:
    model, device = result.model, result.device
    name = full_name(plain_text(model.name, NAME_LIMIT), result.settings)
    yield (
        f"{name}: {model.format}, {model.layers:,} layers, "
        f"{model.calls:,} with activations and repeats, {model.parameters:,} parameters"
    )
    yield (
        f"measured on {plain_text(device.name or device.kind, NAME_LIMIT)}, "
        f"{result.samples_taken} samples, "
        f"{result.timings.get('total', 0.0):.1f} s"
    )
    yield ""
    yield from verdict_lines(result)
    yield ""
    yield from _finding_lines(result)
    yield ""
    weighted = result.weighted_calls
    measured = sum(call.is_measured for call in weighted)
    found = [[call.measured(series) for call in weighted] for series in result.series]
    drawn = sparklines([[_size(figures) for figures in column] for column in found], bars)
    from rich.table import Column, Table

    errors = [_largest_error(column) for column in found]
    titles = ["smallest", "largest", "last layer", *(["error"] if any(errors) else [])]
    table = Table(
        "variance measured", *(Column(title, justify="right") for title in titles), "on its way"
    )
    for series, column, error, line in zip(result.series, found, errors, drawn, strict=True):
        last = result.calls[-1].measured(series) if result.calls else None
        figures = [describe_variance(each) for each in (*_extremes(column), last)]
        told = [percentage(error)] if any(errors) else []
        table.add_row(f"  {series}", *figures, *told, line)
    yield from table_lines(table)
    which = f"{len(weighted):,} layers with a kernel"
    if measured < len(weighted):
        which = f"{measured:,} layers with a kernel that could be measured, of {len(weighted):,}"
    yield f"  (smallest, largest and way, on one log scale, of the {which})"
    if any(errors):
        yield "  (error: the largest standard error of these variances, for other inputs)"
    yield from _card_lines(result)
    yield from _format_lines(result)
    yield ""
    yield from _not_run_lines(result)
    counts = ", ".join(f"{n:,} {support}" for support, n in result.coverage.items())
    tainted = result.tainted
    after = f"; {tainted:,} after a layer without a rule, and unsure" if tainted else ""
    yield f"coverage  {counts}{after}"


def _largest_error(measurements: Sequence[Measurement | None]) -> float | None:
    """Of the variances, relative to them; none of a result that has none."""
    known = [figures.standard_error for figures in measurements if figures is not None]
    return max((error for error in known if error is not None), default=None)


def _not_run_lines(result: Result) -> Iterator[str]:
    """The layers that were not run, where measurements end."""
    opaque = result.opaque_calls
    if not opaque:
        return
    after = len(result.unmeasured_calls) - len(opaque)
    if after:
        told = f"{after:,} more layers, after them, are not measured"
    else:
        told = "what comes after is measured on noise of the predicted moments"
    yield f"not run   {len(opaque):,}; {told}"
    for call in opaque[:NOT_RUN_SHOWN]:
        name, reason = plain_text(call.path, NAME_LIMIT), plain_text(call.opaque, NAME_LIMIT)
        yield f"  {name} ({plain_text(call.class_name, NAME_LIMIT)}): {reason}"
    if len(opaque) > NOT_RUN_SHOWN:
        yield f"  and {len(opaque) - NOT_RUN_SHOWN:,} more"


def _extremes(
    measurements: list[Measurement | None],
) -> tuple[Measurement | None, Measurement | None]:
    """The smallest and the largest variance; one that is not finite is the largest."""
    measured = [figures for figures in measurements if figures is not None]
    if not measured:
        return None, None

    return min(measured, key=_variance), max(measured, key=_variance)


def _size(figures: Measurement | None) -> float | None:
    return None if figures is None else _variance(figures)


def _variance(figures: Measurement) -> float:
    return math.inf if figures.variance is None else figures.variance


def _card_lines(result: Result) -> Iterator[str]:
    """What was measured besides, where it was."""
    optional = (band_card, gradient_card, condition_card, fisher_card)
    for card in (each(result) for each in optional):
        if card is not None:
            yield f"{card.label.lower()}  {card.value} ({card.note})"


def _format_lines(result: Result) -> Iterator[str]:
    """What number formats would do, where that was asked."""
    if not result.formats:
        return
    from rich.table import Column, Table

    left = ("weights", "format", "of", "fits")
    table = Table(*(Column(c, justify="left" if c in left else "right") for c in formats.HEAD))
    for row in formats.rows(result, (result.own_series, result.chosen_series)):
        table.add_row(*row)
    yield ""
    yield from table_lines(table)
    yield f"  ({formats.note(result)})"


def verdict_lines(result: Result) -> Iterator[str]:
    """For each series the word, its one cause, and what to do; the file's own weights first."""
    width = max(map(len, result.series))
    before: dict[tuple[str, str], str] = {}
    for series in sorted(result.series, key=lambda name: name != "uploaded"):
        card = verdict_card(result, series)
        same = before.setdefault((card.word, card.reason), series)
        reason = plain_text(card.reason, MESSAGE_LIMIT) if same == series else f"as {same}"
        yield f"{series:{width}}   {card.word.lower():<13}   {reason}"
        if card.trained:
            yield f"{'':{width}}   {CHECKUP}; a re-initialised model starts anew."
        if card.advice and same == series:
            yield f"{'':{width}}   → {plain_text(card.advice, MESSAGE_LIMIT)}"


def _finding_lines(result: Result) -> Iterator[str]:
    """The findings, the most severe first: five of them, and the titles of the others."""
    seen, others = split(grouped(result))
    yield f"findings  {len(seen) + len(others) or 'none'}"
    for group in seen:
        yield from _group_lines(group)
        if group.code in NOT_RUN and result.offers:
            listed = plain_text(",".join(result.offers), MESSAGE_LIMIT)
            yield f"    → To judge by their names: --treat-as '{listed}'"
    for group in others:
        title = plain_text(group.title, NAME_LIMIT)
        yield f"  also {_place(group)}: {title}{_labels(group)}"


def _group_lines(group: FindingGroup) -> Iterator[str]:
    message = plain_text(group.messages[0], MESSAGE_LIMIT)
    yield f"  {_place(group)}{_labels(group)}: {message}"
    for other in group.follows:
        yield f"    and {other.code}: {plain_text(other.messages[0], MESSAGE_LIMIT)}"
    if len(group.findings) > 1:
        yield f"    and {len(group.findings) - 1:,} more of this kind: --output shows all"
    yield f"    → {plain_text(group.advice, MESSAGE_LIMIT)} ({group.documentation})"


def _place(group: FindingGroup) -> str:
    """The code, and the layer that is named first."""
    words = (group.code, group.findings[0].path)
    return " ".join(plain_text(word, NAME_LIMIT) for word in words if word)


def _labels(group: FindingGroup) -> str:
    return f" ({', '.join(group.labels)})" if group.labels else ""


def table_lines(table: Table) -> Iterator[str]:
    """A table as plain text without rules, as wide as it needs to be."""
    from rich.console import Console

    table.box, table.pad_edge, table.padding = None, False, (0, 1)
    console = Console(file=io.StringIO(), width=1000, color_system=None, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    yield from map(str.rstrip, captured.get().splitlines())
