"""Trainings that are watched: layers by steps, one moment, and the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle

import plotly.graph_objects as go

from app.analysis.runs.record import FIGURES, Run
from app.charts.axes import above_zero, sparse_ticks
from app.charts.theme import ACTIVE_COLOR, GRID_COLOR, LAYOUT, WARNING_COLOR, WEIGHTED_COLOR
from app.text.escaping import html_text
from app.text.formatting import number, power_of_ten

ROW, MARGIN, LEAST, MOST = 20, 70, 260, 900  # pixels
NAMED = 45  # layers: beyond, their names would lie over each other
SCALE = "Cividis"  # the same for all eyes
SMALL = 190
ENDS = 0.05, 0.95  # shares of the cells where colours end
COLORS = (ACTIVE_COLOR, WEIGHTED_COLOR, "#009E73", "#CC79A7", WARNING_COLOR, "#767676")


def heat_map(runs: Sequence[Run], figure: str) -> list[go.Figure]:
    """One figure of all layers over all measurements, of each training; all on one scale."""
    drawn = [_levels(run, figure) for run in runs]
    known = sorted(x for rows in drawn for row in rows for x in row if x is not None)
    # The few steps of a training that diverges would leave one colour for all others.
    ends = [known[round(share * (len(known) - 1))] for share in ENDS] if known else [0.0, 1.0]
    low, high = ends
    return [
        _heat_map(run, figure, rows, (low, max(high, low + 1e-6)))
        for run, rows in zip(runs, drawn, strict=True)
    ]


def _heat_map(
    run: Run, figure: str, rows: list[list[float | None]], ends: tuple[float, float]
) -> go.Figure:
    kind, layers = FIGURES[figure], run.head.layers
    texts = [
        [
            kind.text(value) if value is not None else "not measured"
            for value in run.column(figure, place)
        ]
        for place in range(len(layers))
    ]
    names = [html_text(layer.path, 40) for layer in layers]
    chart = go.Figure(
        go.Heatmap(
            x=[str(each.step) for each in run.snapshots],
            y=list(range(len(layers))),
            z=rows,
            zmin=ends[0],
            zmax=ends[1],
            colorscale=SCALE,
            text=texts,
            customdata=[[name] * len(run.snapshots) for name in names],
            hovertemplate="<b>%{customdata}</b>, step %{x}<br>"
            f"{html_text(kind.label)} %{{text}}<extra></extra>",
            hoverongaps=False,
            colorbar={"thickness": 12, "outlinewidth": 0, **_ticks(kind.logarithmic, ends)},
        )
    )
    every = math.ceil(len(layers) / NAMED)
    chart.update_layout(
        LAYOUT,
        height=min(max(MARGIN + ROW * len(layers), LEAST), MOST),
        plot_bgcolor="rgba(128, 128, 128, 0.10)",
        xaxis={"title": "step", "type": "category", "nticks": 12, "fixedrange": True},
        yaxis={
            "autorange": "reversed",
            "automargin": True,
            "fixedrange": True,
            "showgrid": False,
            "tickvals": list(range(0, len(layers), every)),
            "ticktext": names[::every],
        },
    )
    return chart


def _levels(run: Run, figure: str) -> list[list[float | None]]:
    """A row for each layer; logarithms where the scale is one."""
    columns = (run.column(figure, place) for place in range(len(run.head.layers)))
    if not FIGURES[figure].logarithmic:
        return list(columns)
    return [
        [math.log10(value) if value is not None and value > 0 else None for value in column]
        for column in columns
    ]


def _ticks(logarithmic: bool, ends: tuple[float, float]) -> dict[str, object]:
    """Powers of ten, where the colours are those of logarithms."""
    if not logarithmic:
        return {"nticks": 6}
    low, high = math.ceil(ends[0]), math.floor(ends[1])
    if high <= low:
        shown = [ends[0], ends[1]]
        return {"tickvals": shown, "ticktext": [number(10**each) for each in shown]}
    chosen = list(range(low, high + 1, max(math.ceil((high - low) / 6), 1)))
    return {"tickvals": chosen, "ticktext": [power_of_ten(each) for each in chosen]}


def profile_chart(runs: dict[str, Run], figure: str, places: dict[str, int]) -> go.Figure:
    """One figure of all layers, in their order, at one measurement of each training.

    Args:
        runs: by name.
        figure: of `FIGURES`.
        places: of the measurement that is shown, by name; the first one is drawn beside it.
    """
    kind = FIGURES[figure]
    chart = go.Figure()
    for color, (name, run) in zip(cycle(COLORS), runs.items(), strict=False):
        for place, dash in {0: "dot", places[name]: "solid"}.items():
            snapshot = run.snapshots[place]
            values = snapshot.figures.get(figure, ())
            drawn = [
                None if value is None or (kind.logarithmic and value <= 0) else value
                for value in values
            ]
            label = f"step {snapshot.step:,}"
            chart.add_trace(
                go.Scatter(
                    x=list(range(len(drawn))),
                    y=drawn,
                    mode="lines+markers",
                    marker={"size": 5},
                    line={"color": color, "dash": dash, "width": 2},
                    opacity=0.6 if dash == "dot" else 1.0,
                    name=html_text(label if len(runs) == 1 else f"{name}, {label}", 60),
                    customdata=[html_text(layer.path, 60) for layer in run.head.layers],
                    text=["–" if value is None else kind.text(value) for value in values],
                    hovertemplate="<b>%{customdata}</b><br>%{text}<extra>%{fullData.name}</extra>",
                )
            )
    _plain(chart, "layers, in order of execution", kind.label.lower(), kind.logarithmic)
    chart.update_layout(height=320)
    return chart


def loss_chart(runs: dict[str, Run]) -> go.Figure:
    """The loss at each measurement, as Keras reported it: a mean over the epoch so far."""
    chart = go.Figure()
    for color, (name, run) in zip(cycle(COLORS), runs.items(), strict=False):
        known = [each for each in run.snapshots if each.loss is not None and each.loss > 0]
        chart.add_trace(
            go.Scatter(
                x=[each.step for each in known],
                y=[each.loss for each in known],
                mode="lines+markers",
                marker={"size": 4},
                line={"color": color},
                name=html_text(name, 60),
                hovertemplate="step %{x:,}: loss %{y:.3g}<extra>%{fullData.name}</extra>",
            )
        )
    _plain(chart, "step", "loss", True, most=4)
    chart.update_layout(height=SMALL, showlegend=len(runs) > 1)
    return chart


def _plain(chart: go.Figure, across: str, up: str, logarithmic: bool, most: int = 8) -> None:
    drawn = [y for trace in chart.data for y in trace.y if above_zero(y)] if logarithmic else []
    chart.update_layout(
        LAYOUT,
        xaxis={"title": across, "gridcolor": GRID_COLOR, "zeroline": False},
        yaxis={
            "title": up,
            "gridcolor": GRID_COLOR,
            "zeroline": False,
            "automargin": True,
            "type": "log" if logarithmic else "linear",
            "exponentformat": "power",
            **sparse_ticks(drawn, most),
        },
    )
