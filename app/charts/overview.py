"""All calls at a glance: a strip below the chart, in which the calls that it shows stand out."""

from itertools import groupby

import plotly.graph_objects as go

from app.analysis.result import Preview
from app.charts.axes import decades, positive
from app.charts.theme import COLOURS, LAYOUT, OTHER_COLOUR, SHADE_COLOUR, Column

STRIP_HEIGHT = 56
STRIP_POINTS = 1000  # about as many as a screen has pixels


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
                line={"width": 1, "color": COLOURS.get(series, OTHER_COLOUR)},
                hoverinfo="skip",
            )
        )
    low, high = decades(drawn)
    end = max(len(calls) - 1, 1)
    for start, stop in ((0, shown.start), (shown.stop - 1, end)):
        if start < stop:
            figure.add_vrect(start, stop, fillcolor=SHADE_COLOUR, line_width=0)
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
