"""The charts of a result: pure functions from its dictionary to Plotly figures.

Lines are SVG over a numeric x axis and only weighted calls carry markers, so that 4,000 calls
stay quick; names live in hover texts and in a dozen tick labels.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from app.correlations import KINDS
from app.escaping import html_text
from app.formatting import number, percentage, plural, power_of_ten, shape
from app.headline import (
    is_number,
    measured,
    model_name,
    other_model,
    out_of_range,
    predicted,
    predicted_by,
    series_name,
)

Result = dict[str, Any]
Call = dict[str, Any]
Moments = dict[str, Any]
Column = list[float | None]
Tell = Callable[[Moments | None], str]
# Whether a trace is drawn, only in the legend to be chosen there, or not there: Plotly's `visible`.
Drawn = bool | Literal["legendonly"]

# Okabe and Ito's colours, each legible on white and on near-black, with a symbol as the second
# channel. Vermillion is kept for weighted calls, which the paper highlights in red.
COLOURS = {"default": "#CC79A7", "autoinit": "#0072B2", "uploaded": "#009E73"}
SYMBOLS = {"default": "diamond", "autoinit": "circle", "uploaded": "square"}
OTHER_COLOUR, OTHER_SYMBOL = "#56B4E9", "triangle-up"
WEIGHTED_COLOUR = "#D55E00"
WARNING_COLOUR = "#E69F00"
NEUTRAL_COLOUR = "#808080"
GRID_COLOUR = "rgba(128, 128, 128, 0.22)"
SHADE_COLOUR = "rgba(128, 128, 128, 0.13)"

MARKED_CALLS = 300  # beyond, a marker on every point makes the chart slow
OUTLINED_CALLS = 60  # beyond, marks are too small for an outline of their own
TICK_LABELS = 12
TICK_LENGTH = 18
HEIGHT = 580

# What it means where a correlation is 1.
LEVEL_OF_1 = {
    "sample_correlation": "1: inputs cannot be told apart",
    "position_correlation": "1: the same at every position",
}
HOVER = (
    "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>"
    "%{customdata[2]}<br>predicted %{customdata[3]}<br>%{customdata[4]}"
)


def variance_chart(result: Result, other: Drawn = False) -> go.Figure:
    """Variance of every call on a log axis: measured as lines, predicted as dots or thin lines.

    Args:
        result: of the job.
        other: whether to draw the predictions of the signal model that was not chosen.
    """
    calls = result["calls"]
    target = result["settings"].get("signal_variance") or 1.0
    figure = go.Figure()
    drawn = [target]
    for series in result["series"]:
        values = [positive(measured(call, series)) for call in calls]
        expected = [positive(predicted(call, series)) for call in calls]
        drawn += [value for value in values + expected if value is not None]
        drawn += add_draws(figure, calls, series)
        add_series(figure, calls, series, values, expected, describe)
    for column in add_others(figure, result, other, positive, describe):
        drawn += [value for value in column if value is not None]
    figure.add_trace(level_line(target, len(calls), f"Target variance {number(target)}"))
    for place, series in enumerate(result["series"]):
        for edge in ("overflow", "underflow"):
            add_edge_marks(figure, calls, series, edge, place)
    add_support_marks(figure, calls)
    style(figure, calls)
    low, high = decades(drawn)
    axis = {"title": "variance", "type": "log", "range": [low, high], "exponentformat": "power"}
    figure.update_layout(yaxis=axis | variance_ticks(low, high))
    return figure


def add_draws(figure: go.Figure, calls: Sequence[Call], series: str) -> list[float]:
    """A band from the 10th to the 90th percentile of the draws' variances; its figures."""
    found = [(measured(call, series) or {}).get("variance_draws") for call in calls]
    known = [[value for value in draws or () if value is not None and value > 0] for draws in found]
    if max(map(len, known), default=0) < 2:
        return []
    edges = [
        [float(np.quantile(draws, level)) if len(draws) > 1 else None for draws in known]
        for level in (0.1, 0.9)
    ]
    name, colour = series_name(series), COLOURS.get(series, OTHER_COLOUR)
    for edge, fill in zip(edges, (None, "tonexty"), strict=True):
        figure.add_trace(
            go.Scatter(
                y=edge,
                name=f"{name}, draws",
                legendgroup=series,
                showlegend=False,
                mode="lines",
                line={"width": 0, "color": colour},
                fill=fill,
                fillcolor=_translucent(colour),
                hoverinfo="skip",
                zorder=0,
            )
        )
    return [value for edge in edges for value in edge if value is not None]


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.18)"


def mean_chart(result: Result, other: Drawn = False) -> go.Figure:
    """Mean of every call. Where means span many decades, the axis is linear only within ±1."""
    calls = result["calls"]
    columns = {
        series: [
            [number_or_none(get(call, series), "mean") for call in calls]
            for get in (measured, predicted)
        ]
        for series in result["series"]
    }
    largest = max(
        (abs(v) for pair in columns.values() for column in pair for v in column if v is not None),
        default=0.0,
    )
    wide = largest > 20
    figure = go.Figure()
    for series, (values, expected) in columns.items():
        if wide:
            values, expected = symmetric_logarithms(values), symmetric_logarithms(expected)
        add_series(figure, calls, series, values, expected, describe)

    def mean_of(moments: Moments | None) -> float | None:
        mean = number_or_none(moments, "mean")
        return symmetric_logarithm(mean) if wide and mean is not None else mean

    add_others(figure, result, other, mean_of, describe)
    figure.add_trace(level_line(0.0, len(calls), "Mean 0"))
    add_support_marks(figure, calls)
    style(figure, calls)
    figure.update_layout(yaxis={"title": "mean"})
    if wide:
        positions, labels = symmetric_ticks(largest)
        axis = {"title": "mean (log beyond ±1)", "tickvals": positions, "ticktext": labels}
        figure.update_layout(yaxis=axis)
    return figure


def correlation_chart(result: Result, kind: str, other: Drawn = False) -> go.Figure:
    """Correlation of every call: `sample_correlation` or `position_correlation`."""
    calls = result["calls"]
    figure = go.Figure()
    lowest = 0.0
    for series in result["series"]:
        values, expected = (
            [number_or_none(get(call, series), kind) for call in calls]
            for get in (measured, predicted)
        )
        lowest = min([lowest, *(value for value in values + expected if value is not None)])
        add_series(figure, calls, series, values, expected, describe_correlations)

    def correlation_of(moments: Moments | None) -> float | None:
        return number_or_none(moments, kind)

    add_others(figure, result, other, correlation_of, describe_correlations)
    figure.add_trace(level_line(1.0, len(calls), LEVEL_OF_1[kind]))
    add_support_marks(figure, calls)
    style(figure, calls)
    figure.update_layout(yaxis={"title": "correlation", "range": [lowest - 0.04, 1.04]})
    return figure


def add_others(
    figure: go.Figure,
    result: Result,
    drawn: Drawn,
    figure_of: Callable[[Moments | None], float | None],
    tell: Tell,
) -> list[Column]:
    """The predictions of the signal model that was not chosen; those in sight are returned."""
    model = other_model(result) if drawn else None
    if model is None:
        return []
    calls, columns = result["calls"], []
    for series in result["series"]:
        found = [predicted_by(call, series, model) for call in calls]
        values = [figure_of(moments) for moments in found]
        if any(value is not None for value in values):  # the paper's model has no correlations
            told = [tell(moments) for moments in found]
            figure.add_trace(other_line(calls, series, model, values, told, drawn))
            columns.append(values)
    return columns if drawn is True else []


def other_line(
    calls: Sequence[Call],
    series: str,
    model: str,
    values: Column,
    told: Sequence[str],
    drawn: Drawn,
) -> go.Scatter:
    """One series' predictions by that model, as a dashed line."""
    few = len(calls) <= MARKED_CALLS
    name = series_name(series)
    return go.Scatter(
        y=values,
        name=f"{name} predicted by {model_name(model)}",
        legendgroup=series,
        visible=drawn,
        mode="lines+markers" if few else "lines",
        line={"color": COLOURS.get(series, OTHER_COLOUR), "width": 1.5, "dash": "dash"},
        marker={"size": 3},
        zorder=2,
        customdata=[
            [html_text(call["path"], 60), text] for call, text in zip(calls, told, strict=True)
        ],
        hovertemplate=f"<b>%{{customdata[0]}}</b><br>predicted by {model_name(model)}:"
        f"<br>%{{customdata[1]}}<extra>{name}</extra>",
    )


def add_series(
    figure: go.Figure,
    calls: Sequence[Call],
    series: str,
    values: Sequence[float | None],
    expected: Sequence[float | None],
    tell: Tell,
) -> None:
    """A series as three traces: the measured line, the predicted line, the weighted calls."""
    colour, name = COLOURS.get(series, OTHER_COLOUR), series_name(series)
    few = len(calls) <= MARKED_CALLS
    size = marker_size(len(calls))
    figure.add_trace(
        go.Scatter(
            y=list(values),
            name=f"{name} measured",
            legendgroup=series,
            # A marker as wide as the line shows a call whose neighbours have no figure.
            mode="lines+markers" if few else "lines",
            line={"color": colour, "width": 2 if few else 1.5},
            marker={"size": 2},
            zorder=2,
            customdata=[hover_fields(call, series, tell) for call in calls],
            hovertemplate=HOVER + f"<extra>{name}</extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            y=list(expected),
            name=f"{name} predicted",
            legendgroup=series,
            mode="markers" if few else "lines",
            line={"color": colour, "width": 1.5, "dash": "dot"},
            marker={
                "symbol": "circle-open",
                "color": colour,
                "size": size - 2,
                "line": {"width": 1.5},
            },
            zorder=3,
            # Where the measured line has a gap, this point answers for the call.
            customdata=[
                [
                    html_text(call["path"], 60),
                    tell(predicted(call, series))
                    + ("" if measured(call, series) else f"<br>{not_measured(call)}"),
                ]
                for call in calls
            ],
            hovertemplate="<b>%{customdata[0]}</b><br>predicted %{customdata[1]}"
            f"<extra>{name}</extra>",
        )
    )
    weighted = [i for i, call in enumerate(calls) if call["weighted"] and values[i] is not None]
    figure.add_trace(
        go.Scatter(
            x=weighted,
            y=[values[i] for i in weighted],
            name=f"{name} weighted",
            legendgroup=series,
            mode="markers",
            marker={
                "color": WEIGHTED_COLOUR,
                "symbol": SYMBOLS.get(series, OTHER_SYMBOL),
                "size": size,
                "line": {"color": colour, "width": 1 if len(calls) <= OUTLINED_CALLS else 0},
            },
            # Among few calls the marks lie on the line; among many they would hide it.
            zorder=4 if few else 1,
            hoverinfo="skip",  # The line underneath answers for its points.
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
        line={"color": NEUTRAL_COLOUR, "width": 1, "dash": "dash"},
        hoverinfo="skip",
    )


def add_edge_marks(
    figure: go.Figure, calls: Sequence[Call], series: str, edge: str, place: int
) -> None:
    """Marks at the edge of the chart for calls whose variance a log axis cannot show."""
    found = [
        i
        for i, call in enumerate(calls)
        if out_of_range(measured(call, series) or predicted(call, series)) == edge
    ]
    if not found:
        return
    top = edge == "overflow"
    offset = 0.02 + 0.03 * place
    figure.add_trace(
        go.Scatter(
            x=found,
            y=[1 - offset if top else offset] * len(found),
            yaxis="y2",
            name=f"{series_name(series)} {edge}",
            legendgroup="edges",
            mode="markers",
            marker={
                "color": COLOURS.get(series, OTHER_COLOUR),
                "symbol": "triangle-up" if top else "triangle-down",
                "size": max(6, marker_size(len(calls))),
            },
            customdata=[hover_fields(calls[i], series, describe) for i in found],
            hovertemplate=HOVER + f"<extra>{series_name(series)}, {edge}</extra>",
        )
    )


def add_support_marks(figure: go.Figure, calls: Sequence[Call]) -> None:
    """A shade over calls that are not measured, and marks along the bottom edge.

    There lie a band under tainted calls, a cross where a call has no rule, and a square where it
    is not run.
    """
    opaque = [i for i, call in enumerate(calls) if call.get("opaque")]
    without_rule = [
        i
        for i, call in enumerate(calls)
        if call["support"] == "pass_through" and not call.get("opaque")
    ]
    tainted = [i for i, call in enumerate(calls) if call["tainted"]]
    if opaque:
        add_shade(figure, [i for i, call in enumerate(calls) if not any_measured(call)])
    if tainted:
        x, y = runs(tainted)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                yaxis="y2",
                name="Tainted calls",
                legendgroup="marks",
                mode="lines",
                line={"color": WARNING_COLOUR, "width": 7},
                opacity=0.45,
                hoverinfo="skip",
            )
        )
    if without_rule:
        text = "no rule: mean and variance are predicted<br>to pass through unchanged"
        texts = [text] * len(without_rule)
        add_bottom_marks(figure, calls, without_rule, "Calls without a rule", "x", texts)
    if opaque:
        texts = [not_measured(calls[i]) for i in opaque]
        add_bottom_marks(figure, calls, opaque, "Calls that are not run", "square", texts)


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
                "color": WARNING_COLOUR,
                "symbol": symbol,
                "size": 10 if len(calls) <= MARKED_CALLS else 7,
                "line": {"color": NEUTRAL_COLOUR, "width": 1},
            },
            cliponaxis=False,
            customdata=[
                [html_text(calls[i]["path"], 60), html_text(calls[i]["class"], 40), text]
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
            name="Not measured",
            legendgroup="marks",
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor=SHADE_COLOUR,
            hoverinfo="skip",
            zorder=-1,
        )
    )


def style(figure: go.Figure, calls: Sequence[Call]) -> None:
    """Axes, legend and background; text colours are left to the page's or the report's theme."""
    count = len(calls)
    shown = tick_positions(count)
    margin = max(0.5, 0.01 * count)
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        hovermode="closest",
        hoverlabel={"align": "left"},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "xanchor": "left",
            "yanchor": "bottom",
            "font": {"size": 11},
            "groupclick": "toggleitem",
            "tracegroupgap": 4,
        },
        xaxis={
            "title": f"{plural(count, 'call')}, in order of execution",
            "range": [-margin, max(count, 1) - 1 + margin],
            "tickvals": shown,
            "ticktext": [html_text(calls[i]["path"], TICK_LENGTH) for i in shown],
            "tickangle": -40 if count > 1 else 0,
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
        },
        yaxis={"gridcolor": GRID_COLOUR, "zeroline": False, "automargin": True},
        # Marks on this axis stay at the chart's edge, however the other one is zoomed.
        yaxis2={"overlaying": "y", "range": [0, 1], "fixedrange": True, "visible": False},
    )


def hover_fields(call: Call, series: str, tell: Tell) -> list[str]:
    """What hovering over a call tells: path, class and shape, figures and range, support."""
    found = measured(call, series)
    if found is None:
        told = not_measured(call)
    else:
        told = (
            f"measured {tell(found)}<br>from {number(found.get('minimum'))} to "
            f"{number(found.get('maximum'))}, {percentage(found.get('zero_fraction'))} zeros"
        )
        for name in ("dead", "saturated"):
            share = found.get(f"{name}_fraction")
            if share:
                told += f", {percentage(share)} {name}"
        finite = found.get("finite_fraction")
        if finite is not None and finite < 1:
            told += f", only {percentage(finite)} finite"
    support = "rule: " + call["support"].replace("_", " ")
    support += ", tainted by a call before it" if call["tainted"] else ""
    return [
        html_text(call["path"], 48),
        f"{html_text(call['class'], 40)} · {shape(call.get('output_shape'))}",
        told,
        tell(predicted(call, series)),
        support + (", frozen: its weights are kept" if call.get("frozen") else ""),
    ]


def not_measured(call: Call) -> str:
    """Why a call has no measured figures."""
    if call.get("opaque"):
        return f"not run: {html_text(call['opaque'], 60)}"
    return "not measured" + (": after a layer that was not run" if call["tainted"] else "")


def any_measured(call: Call) -> bool:
    """Whether there are measured figures of a call, in any series."""
    return any(isinstance(part, dict) and part.get("measured") for part in call.values())


def describe(moments: Moments | None) -> str:
    """Variance and mean in words."""
    if moments is None:
        return "–"
    variance = number(moments.get("variance"), missing="beyond floating point")
    return f"variance {variance}, mean {number(moments.get('mean'))}"


def describe_correlations(moments: Moments | None) -> str:
    """Both correlations in words, those that there are."""
    found = [
        f"{number(value)} {where.lower()}"
        for kind, where in KINDS.items()
        if is_number(value := (moments or {}).get(kind))
    ]
    return "correlation " + ", ".join(found) if found else "–"


def positive(moments: Moments | None) -> float | None:
    """The variance where a log axis can show it."""
    return None if moments is None or out_of_range(moments) else moments["variance"]


def number_or_none(moments: Moments | None, name: str) -> float | None:
    """A figure that a linear axis can show."""
    value = None if moments is None else moments.get(name)
    return value if is_number(value) else None


def decades(values: Sequence[float]) -> tuple[float, float]:
    """The log axis: all values with some air, and never less than two decades."""
    low, high = math.log10(min(values)), math.log10(max(values))
    air = max(0.08 * (high - low), 1 - (high - low) / 2, 0.15)
    return low - air, high + air


def variance_ticks(low: float, high: float) -> dict[str, Any]:
    """Powers of ten as Plotly spaces them; across few decades 0.2, 0.5, 1, 2, 5, in full."""
    if high - low > 4:
        return {"nticks": 9}
    values = [
        float(f"{digit}e{exponent}")
        for exponent in range(math.floor(low), math.ceil(high) + 1)
        for digit in (1, 2, 5)
    ]
    return {"tickvals": values, "ticktext": [number(value) for value in values]}


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


def marker_size(count: int) -> int:
    """Pixels, smaller where calls lie close together."""
    return 9 if count <= OUTLINED_CALLS else 6 if count <= MARKED_CALLS else 5
