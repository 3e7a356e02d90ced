"""The spectrum of a network's input–output Jacobian."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from app.analysis.headline import series_name
from app.analysis.result import JacobianFacts, Result
from app.charts.axes import decades
from app.charts.theme import COLORS, GRID_COLOR, LAYOUT, NEUTRAL_COLOR, OTHER_COLOR, translucent
from app.text.formatting import number, percentage

HEIGHT = 420


def spectrum_chart(result: Result) -> go.Figure:
    """Density of the singular values on a log axis, and 1, where they all are in an isometry."""
    return densities_chart(
        [
            (series_name(series), found, COLORS.get(series, OTHER_COLOR))
            for series, found in result.jacobian.items()
        ]
    )


def densities_chart(spectra: Sequence[tuple[str, JacobianFacts, str]]) -> go.Figure:
    """Densities with their names, plain text of ours or escaped, and their colours."""
    figure = go.Figure()
    drawn, highest = [1.0], 0.0
    for name, found, color in spectra:
        density = found.density
        if density is None:
            continue
        edges, shares = density.edges, density.shares
        highest = max(highest, *shares)
        drawn += [10.0**edge for edge in (edges[0], edges[-1])]
        figure.add_trace(
            go.Scatter(
                x=[10.0**edge for edge in edges],
                y=[*shares, 0.0],
                name=name,
                mode="lines",
                line={"color": color, "width": 2, "shape": "hv"},
                fill="tozeroy",
                fillcolor=translucent(color),
                customdata=[
                    [number(10.0**low), number(10.0**high), percentage(share)]
                    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True)
                ],
                hovertemplate="%{customdata[2]} of the singular values<br>lie between "
                f"%{{customdata[0]}} and %{{customdata[1]}}<extra>{name}</extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[1.0, 1.0],
            y=[0.0, 1.05 * highest or 1.0],
            name="1: lengths are kept",
            mode="lines",
            line={"color": NEUTRAL_COLOR, "width": 1, "dash": "dash"},
            hoverinfo="skip",
        )
    )
    low, high = decades(drawn)
    figure.update_layout(
        LAYOUT,
        height=HEIGHT,
        margin_r=12,
        hoverlabel={"align": "left"},
        xaxis={
            "title": "singular value",
            "type": "log",
            "range": [max(low, -300.0), min(high, 300.0)],
            "exponentformat": "power",
            "dtick": max(1, math.ceil((high - low) / 10)),
            "gridcolor": GRID_COLOR,
            "zeroline": False,
        },
        yaxis={
            "title": "share",
            "tickformat": ".0%",
            "rangemode": "tozero",
            "gridcolor": GRID_COLOR,
            "zeroline": False,
            "automargin": True,
        },
    )
    return figure
