"""Axes: what they span, where they have ticks, and what they cannot show."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, TypeVar

import plotly.graph_objects as go

from app.analysis.headline import is_number, out_of_range
from app.analysis.result import Call, Moments, Preview
from app.analysis.structure import block, levels
from app.charts.theme import (
    ACTIVE_COLOR,
    BAR_COLOR,
    GRID_COLOR,
    HEIGHT,
    LAYOUT,
    LEGEND_ENTRIES,
    LEGEND_LINE,
    NEUTRAL_COLOR,
    TICK_LABELS,
    TICK_LENGTH,
)
from app.text.escaping import html_text
from app.text.formatting import number, plural, power_of_ten

P = TypeVar("P", bound=Preview)
MOST_BRACKETS = 12
LETTERS = 75  # of a bracket's name, on a chart as wide as a page
LETTERS_ON_PHONE = 45
LEAST_LETTERS = 2  # fewer say nothing
NAME_HEIGHT = 13


def style(figure: go.Figure, calls: Sequence[Call]) -> None:
    """Axes, legend and background of a figure that has its traces.

    Text colours are left to the page's or the report's theme.
    """
    count = len(calls)
    shown = tick_positions(count)
    margin = max(0.5, 0.01 * count)
    entries = sum(trace.showlegend is not False for trace in figure.data)
    figure.update_layout(
        LAYOUT,
        height=HEIGHT + LEGEND_LINE * max(0, entries - LEGEND_ENTRIES),
        margin_r=12,
        hoverlabel={"align": "left"},
        legend={
            "font": {"size": 11},
            "groupclick": "toggleitem",
            "traceorder": "grouped",  # Plotly reverses it where there are bands.
            "tracegroupgap": 4,
        },
        xaxis={
            "title": f"{plural(count, 'layer')}, in order of execution",
            "range": [-margin, max(count, 1) - 1 + margin],
            "tickvals": shown,
            "ticktext": [html_text(calls[i].path, TICK_LENGTH) for i in shown],
            "tickangle": -40 if count > 1 else 0,
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
        },
        yaxis={"gridcolor": GRID_COLOR, "zeroline": False, "automargin": True},
        modebar={"bgcolor": "rgba(0, 0, 0, 0)", "color": BAR_COLOR, "activecolor": ACTIVE_COLOR},
        # Marks on this axis stay at the chart's edge, however the other one is zoomed.
        yaxis2={"overlaying": "y", "range": [0, 1], "fixedrange": True, "visible": False},
    )
    blocks = brackets(calls)
    if blocks:
        names = [_bracket_name(*each, count) for each in blocks]
        # In two lines, each name has the room of two: enough where a chart is narrow.
        lines = 1 if all(_fits_phone(*each, count) for each in blocks) else 2
        for place, name in enumerate(name for name in names if name["text"]):
            name["yshift"] -= NAME_HEIGHT * (place % lines)
        figure.update_layout(
            shapes=[_bracket(start, stop) for _, start, stop in blocks],
            annotations=names,
            xaxis={"tickvals": [], "title": {"standoff": 17 + NAME_HEIGHT * lines}},
        )


def brackets(calls: Sequence[Call]) -> list[tuple[str, int, int]]:
    """The coarsest blocks of a network with their first and last places; none if too many."""
    found = levels(calls)
    depth = next((depth for depth in reversed(found) if depth and found[depth] > 1), 0)
    if not depth or found[depth] > MOST_BRACKETS:
        return []
    places = groupby(range(len(calls)), lambda place: block(calls[place].path, depth))
    ends = [(name, list(group)) for name, group in places]
    return [(name, group[0], group[-1]) for name, group in ends]


def _bracket(start: int, stop: int) -> dict[str, Any]:
    return {
        "type": "path",
        "xref": "x",
        "yref": "paper",
        "ysizemode": "pixel",
        "yanchor": 0,
        "path": f"M {start - 0.4},0 L {start - 0.4},-7 L {stop + 0.4},-7 L {stop + 0.4},0",
        "line": {"color": NEUTRAL_COLOR, "width": 1},
        "layer": "above",
    }


def _bracket_name(name: str, start: int, stop: int, count: int) -> dict[str, Any]:
    room = _room(LETTERS, start, stop, count)
    return {
        "x": (start + stop) / 2,
        "y": 0,
        "yref": "paper",
        "yshift": -9,
        "yanchor": "top",
        "text": html_text(name, room) if room > LEAST_LETTERS else "",
        "hovertext": html_text(name, 60),
        "showarrow": False,
        "font": {"size": 11},
    }


def _room(letters: int, start: int, stop: int, count: int) -> int:
    return int(letters * (stop - start + 1) / count)


def _fits_phone(name: str, start: int, stop: int, count: int) -> bool:
    shown = min(len(name), _room(LETTERS, start, stop, count))
    return shown <= max(LEAST_LETTERS, _room(LETTERS_ON_PHONE, start, stop, count))


def along(calls: Sequence[Call]) -> list[int | None]:
    """Places of the calls in the order in which a line follows the graph, with gaps between.

    A call hangs on what it reads: on the one before it, or else on the nearest. Where a branch ends
    in a call further on, the line goes there, too; a connection that skips others is not drawn.
    """
    places = {call.index: place for place, call in enumerate(calls)}
    order: list[int | None] = []
    joined: set[int] = set()
    reads = [sorted(places[index] for index in call.inputs if index in places) for call in calls]
    for place, read in enumerate(reads):
        nearest = read[-1] if read else None
        if nearest != place - 1 and order:
            order += [None] if nearest is None else [None, nearest]
        if nearest is not None:
            joined.add(nearest)
        order.append(place)
    for place, read in enumerate(reads):
        for start in read[:-1]:
            if start not in joined:
                joined.add(start)
                order += [None, start, place]
    return order


# Operations that return a mask.
_COMPARISONS = frozenset([
    "Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd",
    "LogicalOr", "LogicalXor", "LogicalNot", "Isfinite", "Isinf", "Isnan",
])  # fmt: skip


def of_signals(result: P) -> P:
    """The same without the figures of what is no signal: numbers of words, and masks."""
    whole = {
        each.name
        for each in getattr(getattr(result, "model", None), "inputs", ())
        if each.taken == "integers" or each.dtype.startswith(("int", "uint", "bool", "string"))
    }
    dark = [
        call.class_name in _COMPARISONS or (call.path in whole and not call.inputs)
        for call in result.calls
    ]
    if not any(dark):
        return result
    return result.with_calls(
        tuple(
            call.model_copy(update={"series": {}}) if is_dark else call
            for call, is_dark in zip(result.calls, dark, strict=True)
        )
    )


def positive(moments: Moments | None) -> float | None:
    """The variance where a log axis can show it."""
    return None if moments is None or out_of_range(moments) else moments.variance


def above_zero(value: float | None) -> float | None:
    """The value where a log axis can show it."""
    return value if is_number(value) and value > 0 else None


def number_or_none(moments: Moments | None, name: str) -> float | None:
    """A figure that a linear axis can show."""
    value: float | None = getattr(moments, name, None)
    return value if is_number(value) else None


def decades(values: Sequence[float]) -> tuple[float, float]:
    """The log axis: all values with some air, and never less than two decades."""
    low, high = math.log10(min(values)), math.log10(max(values))
    air = max(0.08 * (high - low), 1 - (high - low) / 2, 0.15)
    return low - air, high + air


def variance_ticks(low: float, high: float) -> dict[str, Any]:
    """Powers of ten, eight at most; across few decades 0.2, 0.5, 1, 2, 5, in full."""
    if high - low > 4:
        return {"dtick": math.ceil((high - low) / 8)}
    values = [
        float(f"{digit}e{exponent}")
        for exponent in range(math.floor(low), math.ceil(high) + 1)
        for digit in (1, 2, 5)
    ]
    return {"tickvals": values, "ticktext": [number(value) for value in values]}


def sparse_ticks(values: Sequence[float], most: int = 8) -> dict[str, Any]:
    """Of a log axis with little room: Plotly writes all digits between two powers over each other.

    Within a decade its own ticks are those of a linear axis, which do not.
    """
    if not values or max(values) < 10 * min(values):
        return {}
    low, high = math.log10(min(values)), math.log10(max(values))
    for digits in ((1, 2, 5), (1,)):
        shown = [
            value
            for exponent in range(math.floor(low), math.ceil(high) + 1)
            for digit in digits
            if low <= math.log10(value := float(f"{digit}e{exponent}")) <= high
        ]
        if len(shown) <= most:
            return {"tickvals": shown, "ticktext": [number(value) for value in shown]}
    return {"dtick": math.ceil((high - low) / most)}


def symmetric_logarithms(values: Sequence[float | None]) -> list[float | None]:
    """A column of values on that axis, gaps kept."""
    return [None if value is None else symmetric_logarithm(value) for value in values]


def symmetric_logarithm(value: float) -> float:
    """A value x as x within ±1, and as ±(1 + log₁₀|x|) beyond."""
    return math.copysign(min(abs(value), 1.0) + math.log10(max(abs(value), 1.0)), value)


def symmetric_ticks(largest: float) -> tuple[list[float], list[str]]:
    """Ticks at 0 and at powers of ten on either side, about four to a side."""
    top = math.ceil(math.log10(largest))
    step = max(1, math.ceil(top / 4))
    exponents = range(0 if top < 8 else step, top + 1, step)
    sides = [(-1, "−"), (1, "")]
    ticks = [(0.0, "0")] + [
        (sign * (1.0 + exponent), f"{minus}{power_of_ten(exponent)}")
        for sign, minus in sides
        for exponent in exponents
    ]
    positions, labels = zip(*ticks, strict=True)
    return list(positions), list(labels)


def runs(indices: Sequence[int]) -> tuple[list[float | None], list[float | None]]:
    """Contiguous indices merged into line segments, with a gap between two runs."""
    x: list[float | None] = []
    start = previous = indices[0]
    for index in [*indices[1:], None]:
        if index is None or index != previous + 1:
            x += [start - 0.5, previous + 0.5, None]
            start = index if index is not None else start
        previous = index if index is not None else previous
    return x, [None if value is None else 0.0 for value in x]


def tick_positions(count: int) -> list[int]:
    """A dozen calls at even distances, the first and the last among them."""
    if count <= TICK_LABELS:
        return list(range(count))
    return sorted({round(i * (count - 1) / (TICK_LABELS - 1)) for i in range(TICK_LABELS)})
