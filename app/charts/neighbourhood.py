"""A drawing of the calls around one, coloured by their variance."""

import math
import re
from collections.abc import Sequence

import plotly.graph_objects as go

from app.analysis.headline import series_name
from app.analysis.result import Call, Result
from app.analysis.structure import layers_of, neighbourhood
from app.charts.theme import LAYOUT, NEUTRAL_COLOUR
from app.text.escaping import html_text
from app.text.formatting import number

ROW = 64  # pixels of a lane
NAME_LENGTH = 16
MOST = 11


def neighbourhood_chart(result: Result, chosen: int, series: str) -> go.Figure:
    """The calls nearest to one from left to right, and what reads what.

    Args:
        result: of the job.
        chosen: index of the call in the middle.
        series: whose measured variance colours the calls.
    """
    inside = set(neighbourhood(result.calls, chosen, MOST))
    calls = [call for call in result.calls if call.index in inside]
    places = layers_of(calls)
    figure = go.Figure()
    figure.add_trace(_edges(calls, places))
    figure.add_trace(_nodes(calls, places, chosen, series))
    lanes = 1 + max(lane for _, lane in places.values())
    columns = 1 + max(column for column, _ in places.values())
    hidden = {"visible": False, "fixedrange": True}
    figure.update_layout(
        LAYOUT,
        height=110 + ROW * lanes,
        showlegend=False,
        xaxis=hidden | {"range": [-0.7, columns - 0.3]},
        yaxis=hidden | {"range": [lanes - 0.3, -0.7]},
    )
    return figure


def _edges(calls: Sequence[Call], places: dict[int, tuple[int, int]]) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for call in calls:
        for index in call.inputs:
            if index in places:
                x += [places[index][0], places[call.index][0], None]
                y += [places[index][1], places[call.index][1], None]
    return go.Scatter(
        x=x, y=y, mode="lines", line={"color": NEUTRAL_COLOUR, "width": 1.2}, hoverinfo="skip"
    )


def _nodes(
    calls: Sequence[Call], places: dict[int, tuple[int, int]], chosen: int, series: str
) -> go.Scatter:
    found = [call.measured(series) for call in calls]
    variances = [None if moments is None else moments.variance for moments in found]
    logarithms = [math.log10(v) if v is not None and v > 0 else None for v in variances]
    reach = max([2.0, *(abs(value) for value in logarithms if value is not None)])
    return go.Scatter(
        x=[places[call.index][0] for call in calls],
        y=[places[call.index][1] for call in calls],
        mode="markers+text",
        marker={
            "size": 22,
            "symbol": ["square" if call.weighted else "circle" for call in calls],
            # Grey where nothing was measured, or what was has no logarithm.
            "color": [0.0 if value is None else value for value in logarithms],
            "opacity": [0.35 if value is None else 1.0 for value in logarithms],
            "colorscale": [[0.0, "#0072B2"], [0.5, "#F0F0F0"], [1.0, "#D55E00"]],
            "cmin": -reach,
            "cmax": reach,
            "line": {
                "color": NEUTRAL_COLOUR,
                "width": [4 if call.index == chosen else 1 for call in calls],
            },
            "colorbar": {
                "title": {"text": f"variance,<br>{series_name(series)}"},
                "tickvals": [-reach, 0, reach],
                "ticktext": [number(10.0**-reach), "1", number(10.0**reach)],
                "thickness": 10,
            },
        },
        text=[html_text(_ending(call.path), NAME_LENGTH) for call in calls],
        textposition=[
            "top center" if places[call.index][0] % 2 else "bottom center" for call in calls
        ],
        textfont={"size": 10},
        customdata=[
            [
                html_text(call.path, 60),
                html_text(call.class_name, 40),
                number(variance, "not measured, or beyond floating point"),
            ]
            for call, variance in zip(calls, variances, strict=True)
        ],
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<br>variance %{customdata[2]}"
        "<extra></extra>",
    )


def _ending(path: str) -> str:
    """The last parts of a path, in which neighbours differ."""
    parts = re.split(r"(?<=[/_])", path)
    ending = parts.pop()
    while parts and len(parts[-1] + ending) <= NAME_LENGTH:
        ending = parts.pop() + ending
    return ending
