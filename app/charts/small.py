"""Small pictures: a result's two lines beside each other, and all calls in a strip below the chart.

Figures of the former are stored, so that nothing has to be measured for the first page.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import plotly.graph_objects as go

from app.analysis.headline import is_number, series_name
from app.analysis.result import Preview
from app.charts.axes import decades, positive, variance_ticks
from app.charts.theme import (
    COLORS,
    GRID_COLOR,
    LAYOUT,
    NEUTRAL_COLOR,
    OTHER_COLOR,
    SHADE_COLOR,
    Column,
)
from app.text.escaping import html_text
from app.text.formatting import number

WIDTH, HEIGHT = 120.0, 40.0  # of a picture's own units
LARGE = 260  # pixels
# What tells the lines apart without their colours.
DASHES = {"default": "5 3", "autoinit": "none"}
Lines = Mapping[str, Sequence[float | None]]
STRIP_HEIGHT = 56
STRIP_POINTS = 1000  # about as many as a screen has pixels


def sparkline(lines: Lines) -> str:
    """The lines as an SVG, on a log axis that spans at least two decades.

    Args:
        lines: variances by series, one for each layer.
    """
    known = [value for line in lines.values() for value in line if is_number(value) and value > 0]
    low, high = decades([1.0, *known])

    def place(index: int, value: float, count: int) -> str:
        x = WIDTH * index / max(count - 1, 1)
        return f"{x:.1f},{HEIGHT * (high - math.log10(value)) / (high - low):.1f}"

    drawn = []
    for series, line in lines.items():
        points = " ".join(
            place(index, value, len(line))
            for index, value in enumerate(line)
            if is_number(value) and value > 0
        )
        drawn.append(
            f'<polyline points="{points}" fill="none" stroke-width="1.5" stroke-linejoin="round" '
            f'stroke="{COLORS.get(series, OTHER_COLOR)}" '
            f'stroke-dasharray="{DASHES.get(series, "2 2")}"/>'
        )
    target = f"{HEIGHT * high / (high - low):.1f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}" '
        f'viewBox="0 -2 {WIDTH:g} {HEIGHT + 4:g}"><line x1="0" x2="{WIDTH:g}" y1="{target}" '
        f'y2="{target}" stroke="{NEUTRAL_COLOR}" stroke-width="0.5"/>{"".join(drawn)}</svg>'
    )


def before_after_chart(lines: Lines, layers: Sequence[str], names: Mapping[str, str]) -> go.Figure:
    """The same large enough to be hovered over.

    Args:
        lines: variances by series, one for each layer.
        layers: their names.
        names: of the series, where they are other than on the page.
    """
    figure = go.Figure()
    known = [1.0]
    for series, line in lines.items():
        known += [value for value in line if is_number(value) and value > 0]
        name = names.get(series, series_name(series))
        figure.add_trace(
            go.Scatter(
                y=list(line),
                name=name,
                mode="lines",
                line={
                    "color": COLORS.get(series, OTHER_COLOR),
                    "width": 2.5,
                    "dash": "solid" if series == "autoinit" else "dash",
                },
                customdata=[
                    [html_text(layer, 40), number(value, "beyond floating point")]
                    for layer, value in zip(layers, line, strict=True)
                ],
                hovertemplate="<b>%{customdata[0]}</b><br>variance %{customdata[1]}"
                f"<extra>{name}</extra>",
            )
        )
    low, high = decades(known)
    figure.update_layout(
        LAYOUT,
        height=LARGE,
        xaxis={
            "title": f"{len(layers):,} layers, first to last",
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
        yaxis={
            "title": "variance",
            "type": "log",
            "range": [low, high],
            "gridcolor": GRID_COLOR,
            "exponentformat": "power",
            "automargin": True,
            "fixedrange": True,
        }
        | variance_ticks(low, high),
    )
    return figure


def overview_chart(result: Preview, shown: range) -> go.Figure:
    """Each series' variance as a line without axes, and what is not shown in grey.

    Args:
        result: of the job.
        shown: places of the calls that the chart shows.
    """
    calls = result.calls
    figure, drawn = go.Figure(), [1.0]
    for series in result.series:
        column = [positive(call.measured(series) or call.predicted(series)) for call in calls]
        points = extremes(column)
        drawn += points.values()
        figure.add_trace(
            go.Scatter(
                x=list(points),
                y=list(points.values()),
                mode="lines",
                line={"width": 1, "color": COLORS.get(series, OTHER_COLOR)},
                hoverinfo="skip",
            )
        )
    low, high = decades(drawn)
    end = max(len(calls) - 1, 1)
    for start, stop in ((0, shown.start), (shown.stop - 1, end)):
        if start < stop:
            figure.add_vrect(start, stop, fillcolor=SHADE_COLOR, line_width=0)
    figure.update_layout(
        LAYOUT,
        height=STRIP_HEIGHT,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        showlegend=False,
        xaxis={"visible": False, "range": [0, end], "fixedrange": True},
        yaxis={"visible": False, "type": "log", "range": [low, high], "fixedrange": True},
    )
    return figure


def extremes(column: Column) -> dict[int, float]:
    """The smallest and the largest figure of each of many equal stretches, by their places."""
    known = [(place, value) for place, value in enumerate(column) if value is not None]
    size = -(-2 * len(column) // STRIP_POINTS)
    found: dict[int, float] = {}
    for _, group in groupby(known, lambda pair: pair[0] // size):
        pairs = list(group)
        ends = {pick(pairs, key=lambda pair: pair[1]) for pick in (min, max)}
        found.update(sorted(ends))
    return found
