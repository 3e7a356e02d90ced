"""Charts of several results at once."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from app.analysis.headline import series_name
from app.analysis.result import Result
from app.analysis.side_by_side import differences, label
from app.charts.axes import along, decades, positive, style, variance_ticks
from app.charts.theme import MARKED_CALLS, NEUTRAL_COLOUR
from app.charts.traces import level_line
from app.text.escaping import html_text
from app.text.formatting import number, plural

# Okabe and Ito's, in an order in which neighbours are told apart in grey, too.
RUN_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#808080")
RUN_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def runs_chart(results: Sequence[Result], series: str) -> go.Figure:
    """Measured variance of every result on one log axis.

    Results of as many calls share an axis of calls; others one of relative depth.
    """
    counts = {len(result.calls) for result in results}
    figure, drawn = go.Figure(), [1.0]
    for place, result in enumerate(results):
        calls = result.calls
        values = [positive(call.measured(series)) for call in calls]
        drawn += [value for value in values if value is not None]
        depth = range(len(calls)) if len(counts) == 1 else _depths(len(calls))
        order = along(calls)
        told = [
            [html_text(call.path, 60), number(value, "not above 0, or not measured")]
            for call, value in zip(calls, values, strict=True)
        ]
        figure.add_trace(
            go.Scatter(
                x=[None if place is None else depth[place] for place in order],
                y=[None if place is None else values[place] for place in order],
                name=html_text(label(place + 1, result), 40),
                mode="lines+markers" if len(calls) <= MARKED_CALLS else "lines",
                line=_line(place),
                marker={"size": 3},
                customdata=[["", ""] if place is None else told[place] for place in order],
                hovertemplate="<b>%{customdata[0]}</b><br>variance %{customdata[1]}"
                f"<extra>{html_text(label(place + 1, result), 30)}</extra>",
            )
        )
    style(figure, results[0].calls)
    if len(counts) > 1:
        figure.update_layout(
            shapes=[],
            annotations=[],
            xaxis={
                "title": "relative depth",
                "range": [-0.01, 1.01],
                "tickvals": None,
                "ticktext": None,
                "tickangle": 0,
            },
        )
    low, high = decades(drawn)
    figure.update_layout(
        yaxis={
            "title": f"variance, {series_name(series)} weights",
            "type": "log",
            "range": [low, high],
            "exponentformat": "power",
        }
        | variance_ticks(low, high)
    )
    return figure


def differences_chart(results: Sequence[Result], series: str) -> go.Figure:
    """The factor between the variances of each other result and those of the first.

    Over the calls that both have by the same path.
    """
    figure, drawn = go.Figure(), [1.0]
    first = results[0]
    places = {call.path: place for place, call in enumerate(first.calls)}
    for number_of_run, other in enumerate(results[1:], start=1):
        found = differences(first, other, series)
        # Logarithms apart: the quotient of 1e-200 and 1e200 is no float.
        factors = [
            10.0 ** max(min(math.log10(after) - math.log10(before), 300.0), -300.0)
            for _, before, after in found
        ]
        drawn += factors
        name = html_text(label(number_of_run + 1, other), 40)
        figure.add_trace(
            go.Scatter(
                x=[places[path] for path, *_ in found],
                y=factors,
                name=f"{name} ÷ {html_text(label(1, first), 40)}",
                mode="lines+markers" if len(found) <= MARKED_CALLS else "lines",
                line=_line(number_of_run),
                marker={"size": 3},
                customdata=[
                    [html_text(path, 60), number(before), number(after), number(factor)]
                    for (path, before, after), factor in zip(found, factors, strict=True)
                ],
                hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[2]} ÷ %{customdata[1]} = "
                f"%{{customdata[3]}}<extra>{name}</extra>",
            )
        )
    figure.add_trace(level_line(1.0, len(first.calls), "1: no difference"))
    style(figure, first.calls)
    low, high = decades(drawn)
    figure.update_layout(
        xaxis_title=f"{plural(len(first.calls), 'layer')} of the first run",
        yaxis={
            "title": f"factor of variances, {series_name(series)} weights",
            "type": "log",
            "range": [low, high],
            "exponentformat": "power",
        }
        | variance_ticks(low, high),
    )
    return figure


def _depths(count: int) -> list[float]:
    return [place / max(count - 1, 1) for place in range(count)]


def _line(place: int) -> dict[str, object]:
    colour = RUN_COLOURS[place] if place < len(RUN_COLOURS) else NEUTRAL_COLOUR
    return {"color": colour, "width": 2, "dash": RUN_DASHES[place % len(RUN_DASHES)]}
