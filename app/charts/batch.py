"""Many models: any two of their figures against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from app.charts.theme import GRID_COLOR, LAYOUT, NEUTRAL_COLOR, WARNING_COLOR
from app.text.escaping import html_text

MOST = 5000  # points: beyond, a browser takes seconds to draw them
CHART_HEIGHT = 420
# By verdict: a colour, and a symbol that tells it without one.
MARKS = {
    "trains": ("#009E73", "circle"),
    "will struggle": (WARNING_COLOR, "triangle-up"),
    "cannot train": ("#D55E00", "x"),
    "cannot tell": (NEUTRAL_COLOR, "diamond-open"),
}


class ModelFigure(NamedTuple):
    """A figure of a model: what it is called, and whether its scale is logarithmic."""

    label: str
    logarithmic: bool = False


FIGURES = {
    "depth": ModelFigure("depth"),
    "parameters": ModelFigure("parameters", True),
    "calls": ModelFigure("layers with activations and repeats"),
    "weighted": ModelFigure("layers with a kernel"),
    "within": ModelFigure("share within 0.8 to 1.25"),
    "smallest": ModelFigure("smallest variance", True),
    "largest": ModelFigure("largest variance", True),
    "final": ModelFigure("last variance", True),
    "update_range": ModelFigure("range of update ratios", True),
    "gradient_range": ModelFigure("range of gradients", True),
    "after_within": ModelFigure("AutoInit: share within 0.8 to 1.25"),
    "after_smallest": ModelFigure("AutoInit: smallest variance", True),
    "after_largest": ModelFigure("AutoInit: largest variance", True),
    "after_final": ModelFigure("AutoInit: last variance", True),
    "best_score": ModelFigure("trial: best score"),
    "own_score": ModelFigure("trial: score with its own initializers"),
    "seconds": ModelFigure("seconds", True),
    "processor_seconds": ModelFigure("processor seconds", True),
}


def scatter(rows: Mapping[str, Sequence[Any]], across: str, up: str) -> go.Figure:
    """A point for each model, or for each second, third, … of many.

    What a logarithmic scale cannot show is left out.

    Args:
        rows: columns by name: `file`, `verdict`, and both figures.
        across, up: names of `FIGURES`.
    """
    chart = go.Figure()
    count = len(rows["file"])
    places = range(0, count, math.ceil(count / MOST) or 1)
    for verdict, (color, symbol) in MARKS.items():
        mine = [place for place in places if rows["verdict"][place] == verdict]
        if not mine:
            continue
        chart.add_trace(
            go.Scatter(
                x=[rows[across][place] for place in mine],
                y=[rows[up][place] for place in mine],
                mode="markers",
                name=verdict,
                marker={"color": color, "symbol": symbol, "size": 7, "opacity": 0.7},
                text=[html_text(rows["file"][place], 60) for place in mine],
                customdata=mine,
                hovertemplate=f"<b>%{{text}}</b><br>{FIGURES[across].label} %{{x:.3g}}<br>"
                f"{FIGURES[up].label} %{{y:.3g}}<extra>{verdict}</extra>",
            )
        )
    chart.update_layout(
        LAYOUT,
        height=CHART_HEIGHT,
        dragmode="zoom",
        showlegend=True,
        xaxis=_axis(FIGURES[across]),
        yaxis=_axis(FIGURES[up]) | {"automargin": True},
    )
    return chart


def _axis(figure: ModelFigure) -> dict[str, Any]:
    return {
        "title": figure.label,
        "type": "log" if figure.logarithmic else "linear",
        "gridcolor": GRID_COLOR,
        "zeroline": False,
        "exponentformat": "power",
    }
