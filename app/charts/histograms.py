"""The distribution of one call's entries, for each series on one axis."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from app.analysis.headline import series_name
from app.charts.theme import COLORS, GRID_COLOR, LAYOUT, OTHER_COLOR, translucent
from app.text.formatting import number, percentage

HEIGHT = 300


def histogram_chart(histograms: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """Densities over the range of each series' entries.

    Args:
        histograms: by series, `low` and `high` ends of the range and `counts` of equal bins.
    """
    figure = go.Figure()
    for series, found in histograms.items():
        low, high, counts = found["low"], found["high"], found["counts"]
        width = (high - low) / len(counts)
        total = sum(counts)
        if not total or not width > 0.0:
            continue
        edges = [low + place * width for place in range(len(counts) + 1)]
        color = COLORS.get(series, OTHER_COLOR)
        figure.add_trace(
            go.Scatter(
                x=edges,
                y=[*(count / total / width for count in counts), 0.0],
                name=series_name(series),
                mode="lines",
                line={"color": color, "width": 1.5, "shape": "hv"},
                fill="tozeroy",
                fillcolor=translucent(color),
                customdata=[
                    [number(start), number(stop), percentage(count / total)]
                    for start, stop, count in zip(edges[:-1], edges[1:], counts, strict=True)
                ],
                hovertemplate="%{customdata[2]} of the entries<br>lie between %{customdata[0]} and "
                f"%{{customdata[1]}}<extra>{series_name(series)}</extra>",
            )
        )
    axis = {"gridcolor": GRID_COLOR, "zeroline": False}
    figure.update_layout(
        LAYOUT,
        height=HEIGHT,
        margin_r=12,
        xaxis=axis | {"title": "value"},
        yaxis=axis | {"title": "density", "rangemode": "tozero"},
    )
    return figure
