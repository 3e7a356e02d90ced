"""Traces: a series' lines, dots and marks, and the marks along the edges."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.analysis.headline import model_name, out_of_range, series_name
from app.analysis.result import Call, Moments, Preview
from app.charts.axes import above_zero, along, positive, runs
from app.charts.hover import HOVER, hover_fields, not_measured, outside
from app.charts.theme import (
    COLORS,
    DASHES,
    EXPERT,
    MARKED_CALLS,
    NEUTRAL_COLOR,
    NOT_MEASURED,
    OTHER_COLOR,
    OTHER_SYMBOL,
    OUTLINED_CALLS,
    SHADE_COLOR,
    SYMBOLS,
    WARNING_COLOR,
    WEIGHTED_COLOR,
    Column,
    Describe,
    Drawn,
    marker_size,
    translucent,
)
from app.text.escaping import html_text


def add_draws(figure: go.Figure, calls: Sequence[Call], series: str) -> list[float]:
    """A band from the 10th to the 90th percentile of the draws' variances; its figures."""
    found = [call.measured(series) for call in calls]
    spreads = [None if moments is None else moments.variance_spread for moments in found]
    edges = [
        [above_zero(getattr(spread, edge, None)) for spread in spreads] for edge in ("low", "high")
    ]
    if not any(edges[0]):
        return []
    name, color = series_name(series), COLORS.get(series, OTHER_COLOR)
    for edge, fill in zip(edges, (None, "tonexty"), strict=True):
        figure.add_trace(
            go.Scatter(
                y=edge,
                name=f"{name}, draws",
                legendgroup=series,
                showlegend=False,
                mode="lines",
                line={"width": 0, "color": color},
                fill=fill,
                fillcolor=translucent(color),
                hoverinfo="skip",
                zorder=0,
            )
        )
    return [value for edge in edges for value in edge if value is not None]


def add_others(
    figure: go.Figure,
    result: Preview,
    drawn: Drawn,
    figure_of: Callable[[Moments | None], float | None],
    describe: Describe,
) -> list[Column]:
    """The predictions of the signal model that was not chosen; those in sight are returned."""
    model = result.other_model if drawn else None
    if model is None:
        return []
    calls, columns = result.calls, []
    for series in result.series:
        found = [call.of(series).predicted_by.get(model) for call in calls]
        values = [figure_of(moments) for moments in found]
        if any(value is not None for value in values):  # the paper's model has no correlations
            texts = [describe(moments) for moments in found]
            figure.add_trace(other_line(calls, series, model, values, texts, drawn))
            columns.append(values)
    return columns if drawn is True else []


def other_line(
    calls: Sequence[Call],
    series: str,
    model: str,
    values: Column,
    texts: Sequence[str],
    drawn: Drawn,
) -> go.Scatter:
    """One series' predictions by that model, as a dashed line."""
    few = len(calls) <= MARKED_CALLS
    name, order = series_name(series), along(calls)
    told = [[html_text(call.path, 60), text] for call, text in zip(calls, texts, strict=True)]
    return go.Scatter(
        **followed(order, values),
        meta=EXPERT,
        name=f"{name} predicted by {model_name(model)}",
        legendgroup=series,
        visible=drawn,
        mode="lines+markers" if few else "lines",
        line={"color": COLORS.get(series, OTHER_COLOR), "width": 1.5, "dash": "dash"},
        marker={"size": 3},
        zorder=2,
        customdata=[["", ""] if place is None else told[place] for place in order],
        hovertemplate=f"<b>%{{customdata[0]}}</b><br>predicted by {model_name(model)}:"
        f"<br>%{{customdata[1]}}<extra>{name}</extra>",
    )


def add_series(
    figure: go.Figure,
    calls: Sequence[Call],
    series: str,
    values: Sequence[float | None],
    expected: Sequence[float | None],
    describe: Describe,
) -> list[list[str]]:
    """A series as three traces: the measured line, the predicted line, the weighted calls.

    Returns:
        What hovering over each call shows.
    """
    hovers = [hover_fields(call, series, describe) for call in calls]
    name = f"{series_name(series)} measured"
    add_line(figure, calls, series, values, hovers, HOVER, name)
    add_predictions(figure, calls, series, expected, describe)
    add_weighted_marks(figure, calls, series, values)
    return hovers


def add_line(
    figure: go.Figure,
    calls: Sequence[Call],
    series: str,
    values: Sequence[float | None],
    hovers: Sequence[Sequence[str]],
    template: str,
    name: str,
) -> None:
    """What was measured of a series, as a line with a gap where there is no figure."""
    few = len(values) <= MARKED_CALLS
    order = along(calls)
    nothing = [""] * len(hovers[0]) if hovers else []
    figure.add_trace(
        go.Scatter(
            **followed(order, values),
            name=name,
            legendgroup=series,
            # A marker as wide as the line shows a call whose neighbours have no figure.
            mode="lines+markers" if few else "lines",
            line={
                "color": COLORS.get(series, OTHER_COLOR),
                "width": 2 if few else 1.5,
                "dash": DASHES.get(series, "solid"),
            },
            marker={"size": 2},
            zorder=2,
            # As one array: Plotly looks at every entry of a list several times.
            customdata=np.array(
                [nothing if place is None else hovers[place] for place in order], object
            ),
            hovertemplate=f"{template}<extra>{series_name(series)}</extra>",
        )
    )


def followed(order: Sequence[int | None], values: Sequence[float | None]) -> dict[str, Any]:
    """The axes of a line in this order: x only where it is another than that of the calls."""
    y = [None if place is None else values[place] for place in order]
    return {"y": y} if list(order) == list(range(len(values))) else {"x": list(order), "y": y}


def add_predictions(
    figure: go.Figure,
    calls: Sequence[Call],
    series: str,
    expected: Sequence[float | None],
    describe: Describe,
) -> None:
    """What is predicted of a series: dots, or a thin line where there are many calls."""
    color, name = COLORS.get(series, OTHER_COLOR), series_name(series)
    few = len(calls) <= MARKED_CALLS
    order: list[int | None] = list(range(len(calls))) if few else along(calls)
    told = [
        [
            html_text(call.path, 60),
            describe(call.predicted(series))
            + ("" if call.measured(series) else f"<br>{not_measured(call)}"),
        ]
        for call in calls
    ]
    figure.add_trace(
        go.Scatter(
            **followed(order, expected),
            meta=EXPERT,
            name=f"{name} predicted",
            legendgroup=series,
            mode="markers" if few else "lines",
            line={"color": color, "width": 1.5, "dash": "dot"},
            marker={
                "symbol": "circle-open",
                "color": color,
                "size": marker_size(len(calls)) - 2,
                "line": {"width": 1.5},
            },
            zorder=3,
            # Where the measured line has a gap, this point answers for the call.
            customdata=np.array(
                [["", ""] if place is None else told[place] for place in order], object
            ),
            hovertemplate="<b>%{customdata[0]}</b><br>predicted %{customdata[1]}"
            f"<extra>{name}</extra>",
        )
    )


def add_weighted_marks(
    figure: go.Figure, calls: Sequence[Call], series: str, values: Sequence[float | None]
) -> None:
    """The calls with a kernel, highlighted on their series' line."""
    weighted = [i for i, call in enumerate(calls) if call.weighted and values[i] is not None]
    figure.add_trace(
        go.Scatter(
            x=weighted,
            y=[values[i] for i in weighted],
            name=f"{series_name(series)} kernels",
            legendgroup=series,
            mode="markers",
            marker={
                "color": WEIGHTED_COLOR,
                "symbol": SYMBOLS.get(series, OTHER_SYMBOL),
                "size": marker_size(len(calls)),
                "line": {
                    "color": COLORS.get(series, OTHER_COLOR),
                    "width": 1 if len(calls) <= OUTLINED_CALLS else 0,
                },
            },
            # Among few calls the marks lie on the line; among many they would hide it.
            zorder=4 if len(calls) <= MARKED_CALLS else 1,
            hoverinfo="skip",  # The line underneath answers for its points.
        )
    )


def add_outside_marks(figure: go.Figure, calls: Sequence[Call], series: str) -> None:
    """A ring around each predicted variance that lies outside the band of the draws."""
    found = [i for i, call in enumerate(calls) if call.of(series).outside_band]
    if not found:
        return
    name, few = series_name(series), len(calls) <= MARKED_CALLS
    figure.add_trace(
        go.Scatter(
            x=found,
            y=[positive(calls[i].predicted(series)) for i in found],
            meta=EXPERT,
            name=f"{name} outside its band",
            legendgroup=series,
            mode="markers",
            marker={
                "symbol": "circle-open",
                "color": WARNING_COLOR,
                "size": marker_size(len(calls)) + (3 if few else 0),
                "line": {"width": 1.5 if few else 1},
            },
            # Thousands of rings would hide all lines.
            zorder=5 if few else 0,
            customdata=[[html_text(calls[i].path, 60), outside(calls[i], series)] for i in found],
            hovertemplate=f"<b>%{{customdata[0]}}</b><br>%{{customdata[1]}}<extra>{name}</extra>",
        )
    )


def mark(figure: go.Figure, chosen: Sequence[int]) -> None:
    """Upright lines at the calls that are chosen elsewhere."""
    if not chosen:
        return
    figure.add_trace(
        go.Scatter(
            x=[place for index in chosen for place in (index, index, None)],
            y=[0, 1, None] * len(chosen),
            yaxis="y2",
            name="Chosen",
            legendgroup="marks",
            mode="lines",
            line={"color": NEUTRAL_COLOR, "width": 1.5},
            hoverinfo="skip",
            zorder=-1,
        )
    )


def level_line(level: float, count: int, name: str) -> go.Scatter:
    """A thin line across the chart."""
    return go.Scatter(
        x=[-0.5, max(count, 1) - 0.5],
        y=[level, level],
        name=name,
        legendgroup="marks",
        mode="lines",
        line={"color": NEUTRAL_COLOR, "width": 1, "dash": "dash"},
        hoverinfo="skip",
    )


def add_edge_marks(
    figure: go.Figure,
    series: str,
    figures: Sequence[Moments | None],
    hovers: Sequence[Sequence[str]],
    template: str,
    edge: str,
    place: int,
) -> None:
    """Marks at the edge of the chart for calls whose variance a log axis cannot show.

    Args:
        figure: to draw in.
        series: whose calls.
        figures: with the variance, for each call.
        hovers, template: what hovering over each call shows.
        edge: `overflow` or `underflow`.
        place: of the series among all, so that marks do not cover each other.
    """
    found = [i for i, moments in enumerate(figures) if out_of_range(moments) == edge]
    if not found:
        return
    top = edge == "overflow"
    name = f"{series_name(series)} {edge if top else 'variance 0'}"
    offset = 0.02 + 0.03 * place
    figure.add_trace(
        go.Scatter(
            x=found,
            y=[1 - offset if top else offset] * len(found),
            yaxis="y2",
            name=name,
            legendgroup="edges",
            mode="markers",
            marker={
                "color": COLORS.get(series, OTHER_COLOR),
                "symbol": "triangle-up" if top else "triangle-down",
                "size": max(6, marker_size(len(figures))),
            },
            customdata=[hovers[i] for i in found],
            hovertemplate=f"{template}<extra>{name}</extra>",
        )
    )


def add_support_marks(figure: go.Figure, calls: Sequence[Call]) -> None:
    """A shade over calls that are not measured, and marks along the bottom edge.

    There lie a band under tainted calls, a cross where a call has no rule, and a square where it
    is not run.
    """
    opaque = [i for i, call in enumerate(calls) if call.opaque]
    without_rule = [i for i, call in enumerate(calls) if not call.has_rule]
    tainted = [i for i, call in enumerate(calls) if call.tainted]
    if opaque:
        add_shade(figure, [i for i, call in enumerate(calls) if not call.is_measured])
    if tainted:
        x, y = runs(tainted)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                yaxis="y2",
                meta=EXPERT,
                name="Prediction unsure",
                legendgroup="marks",
                mode="lines",
                line={"color": WARNING_COLOR, "width": 7},
                opacity=0.45,
                hoverinfo="skip",
            )
        )
    if without_rule:
        text = "no rule: mean and variance are predicted<br>to pass through unchanged"
        texts = [text] * len(without_rule)
        add_bottom_marks(figure, calls, without_rule, "Layers without a rule", "x", texts)
    if opaque:
        texts = [not_measured(calls[i]) for i in opaque]
        add_bottom_marks(figure, calls, opaque, "Layers that are not run", "square", texts)


def add_bottom_marks(
    figure: go.Figure,
    calls: Sequence[Call],
    chosen: Sequence[int],
    name: str,
    symbol: str,
    texts: Sequence[str],
) -> None:
    """A mark on the bottom edge for each of these calls, with a text to hover for."""
    figure.add_trace(
        go.Scatter(
            x=chosen,
            y=[0.0] * len(chosen),
            yaxis="y2",
            name=name,
            legendgroup="marks",
            mode="markers",
            marker={
                "color": WARNING_COLOR,
                "symbol": symbol,
                "size": 10 if len(calls) <= MARKED_CALLS else 7,
                "line": {"color": NEUTRAL_COLOR, "width": 1},
            },
            cliponaxis=False,
            customdata=[
                [html_text(calls[i].path, 60), html_text(calls[i].class_name, 40), text]
                for i, text in zip(chosen, texts, strict=True)
            ],
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}"
            "<extra></extra>",
        )
    )


def add_shade(figure: go.Figure, chosen: Sequence[int]) -> None:
    """A grey field behind the calls of which nothing was measured."""
    x, _ = runs(chosen)
    edges = [(x[i], x[i + 1]) for i in range(0, len(x), 3)]
    figure.add_trace(
        go.Scatter(
            x=[place for low, high in edges for place in (low, low, high, high, None)],
            y=[0, 1, 1, 0, None] * len(edges),
            yaxis="y2",
            name=NOT_MEASURED,
            legendgroup="marks",
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor=SHADE_COLOR,
            hoverinfo="skip",
            zorder=-1,
        )
    )
