"""Colours, sizes and types that all charts share."""

from collections.abc import Callable
from typing import Literal

import plotly.graph_objects as go

from app.analysis.result import Moments

NOT_MEASURED = "Not measured"  # of the stretch where that is so
EXPERT = "expert"  # a trace's `meta`: drawn for experts only
Column = list[float | None]
Describe = Callable[[Moments | None], str]
# Whether a trace is drawn, only in the legend to be chosen there, or not there: Plotly's `visible`.
Drawn = bool | Literal["legendonly"]

# Okabe and Ito's colours, each legible on white and on near-black, with a symbol as the second
# channel. Vermillion is kept for weighted calls, which the paper highlights in red.
COLORS = {
    "default": "#CC79A7", "autoinit": "#0072B2", "uploaded": "#009E73", "calibrated": "#56B4E9",
    "centred": "#8B7BDE", "zero_residual": "#B8860B", "orthogonal": "#4C9F38",
    "delta_orthogonal": "#A0522D", "autoinit_orthogonal": "#6699CC", "he": "#44AA99",
    "glorot": "#AA4499", "lecun": "#C0504D", "own": "#999933", "backward": "#7A6A4F",
    "as_it_is": "#767676", "as_it_is_autoinit": "#8C8C8C",
}  # fmt: skip
SYMBOLS = {"default": "diamond", "autoinit": "circle", "uploaded": "square", "calibrated": "cross"}
# The lines' own pattern, which shows without colour, too.
DASHES = {
    "default": "dash", "autoinit": "solid", "uploaded": "dashdot", "calibrated": "longdash",
    "centred": "dot", "zero_residual": "longdashdot", "orthogonal": "12px,3px",
    "delta_orthogonal": "2px,6px", "autoinit_orthogonal": "12px,4px,2px,4px", "he": "6px,2px",
    "glorot": "4px,6px", "lecun": "2px,2px", "own": "8px,2px,2px,2px,2px,2px",
    "backward": "3px,3px,9px,3px",
    "as_it_is": "10px,5px", "as_it_is_autoinit": "1px,4px",
}  # fmt: skip
OTHER_COLOR, OTHER_SYMBOL = "#56B4E9", "triangle-up"
WEIGHTED_COLOR = "#D55E00"
WARNING_COLOR = "#E69F00"
NEUTRAL_COLOR = "#808080"
GRID_COLOR = "rgba(128, 128, 128, 0.22)"
BAR_COLOR, ACTIVE_COLOR = "#767676", "#1A78B8"  # of buttons, legible in both themes
SHADE_COLOR = "rgba(128, 128, 128, 0.13)"

MARKED_CALLS = 300  # beyond, a marker on every point makes the chart slow
OUTLINED_CALLS = 60  # beyond, marks are too small for an outline of their own
TICK_LABELS = 12
TICK_LENGTH = 18
HEIGHT = 580
LEGEND_ENTRIES = 7  # beyond, a narrow legend, one entry to a line, would leave the chart no room
LEGEND_LINE = 19
# Of all charts: they lie on the page itself, and the legend stands above.
LAYOUT = {
    "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
    "paper_bgcolor": "rgba(0, 0, 0, 0)",
    "plot_bgcolor": "rgba(0, 0, 0, 0)",
    "hovermode": "closest",
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
}


def marker_size(count: int) -> int:
    """Pixels, smaller where calls lie close together."""
    return 9 if count <= OUTLINED_CALLS else 6 if count <= MARKED_CALLS else 5


def translucent(color: str) -> str:
    """The colour as a field that lines can be seen through."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.18)"


def only_what_is_asked_first(figure: go.Figure) -> go.Figure:
    """The same without what only those ask for who know the method: predictions and their kin."""
    figure.data = [trace for trace in figure.data if trace.meta != EXPERT]
    marked = False
    for trace in figure.data:
        name = trace.name or ""
        if name != NOT_MEASURED:
            trace.name = name.removesuffix(" measured")
        if name.endswith(" kernels"):
            # One entry stands for those of all series.
            trace.update(name="Has a kernel", legendgroup="marks", showlegend=not marked)
            marked = True
    return figure
