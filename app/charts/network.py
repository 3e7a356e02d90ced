"""The network as a graph: the whole in Graphviz's language, and the calls around one drawn."""

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlencode

import plotly.graph_objects as go

from app.analysis.headline import is_number, series_name
from app.analysis.result import Call, Moments, Result
from app.analysis.structure import layers_of, neighborhood
from app.charts.axes import positive
from app.charts.theme import LAYOUT, NEUTRAL_COLOR
from app.text.escaping import html_text, plain_text
from app.text.formatting import number, shape

NAME_LENGTH = 32
LAYER = "layer"  # of the address: the path of the layer that is chosen in the graph
# From what vanishes over what keeps its size to what explodes: ColorBrewer's RdBu, its light part,
# on which dark letters can be read.
_COLORS = ("#4393C3", "#92C5DE", "#D1E5F0", "#F7F7F7", "#FDDBC7", "#F4A582", "#E0715A")
_DECADES = 1.0  # for each step of colour
_UNKNOWN = "#D9D9D9"
_HEAD = f"""digraph network {{
  bgcolor="transparent"; rankdir=TB; ranksep=0.25; nodesep=0.2;
  node [shape=box, style="filled,rounded", fontname="sans-serif", fontsize=11, fontcolor="#14161D",
        color="{NEUTRAL_COLOR}", margin="0.12,0.05"];
  edge [color="{NEUTRAL_COLOR}", arrowsize=0.6];
"""
_LANE = 84  # pixels of a lane
_SHORT = 16
_MOST_AROUND = 11


def network_dot(
    result: Result,
    series: str,
    gradient: bool = False,
    chosen: Collection[str] = (),
    address: Mapping[str, str] | None = None,
) -> str:
    """A node for each call, or for each block where they are folded, and an edge for what it reads.

    Args:
        result: of the job, its blocks folded as wanted.
        series: whose figures colour it.
        gradient: whether those are the gradient's, and not the signal's.
        chosen: paths of the calls that are chosen elsewhere.
        address: the query of the page, where each node leads with its own path as `layer`; one that
            is chosen leads back. Without it nodes lead nowhere.
    """
    shown = {call.index for call in result.calls}
    what, of_middle = (
        "gradient" if gradient else "variance",
        _size_of_middle(result, series, gradient),
    )
    lines = []
    for call in result.calls:
        moments = call.gradient(series) if gradient else call.measured(series)
        words, color = _figure(moments, what, of_middle)
        link = _link(call.path, address)
        lines.append(_node(call, words, color, call.path in chosen, link))
    lines += [
        f"  n{index} -> n{call.index};"
        for call in result.calls
        for index in call.inputs
        if index in shown
    ]
    return _HEAD + "\n".join(lines) + "\n}\n"


def _size_of_middle(result: Result, series: str, gradient: bool) -> float:
    """The logarithm that has the middle colour: the target's; of gradients the largest one's."""
    if not gradient:
        return math.log10(result.target)
    found = (positive(call.gradient(series)) for call in result.calls)
    return max((math.log10(value) for value in found if value is not None), default=0.0)


def _figure(moments: Moments | None, what: str, of_middle: float) -> tuple[str, str]:
    """A figure in words, and the colour that it stands for."""
    if moments is None:
        return "not measured", _UNKNOWN
    value = moments.variance
    if not is_number(value):
        return f"{what} overflows", _COLORS[-1]
    if value <= 0:
        return f"{what} 0", _COLORS[0]
    middle = len(_COLORS) // 2
    step = max(-middle, min(middle, round((math.log10(value) - of_middle) / _DECADES)))
    return f"{what} {number(value)}", _COLORS[middle + step]


def _link(path: str, address: Mapping[str, str] | None) -> str:
    if address is None:
        return ""
    leads = dict(address) | {LAYER: path}
    if address.get(LAYER) == path:
        del leads[LAYER]
    return f', target="_self", URL={json.dumps(f"?{urlencode(leads)}")}'


def _node(call: Call, words: str, color: str, is_chosen: bool, link: str) -> str:
    kind = f"{plain_text(call.class_name, NAME_LENGTH)}  {shape(call.output_shape)}"
    label = "\n".join([plain_text(call.path, NAME_LENGTH), kind, words])
    look = ', penwidth=4, color="#14161D"' if is_chosen else ""
    # JSON writes what is special as Graphviz reads it, but for letters beyond ASCII.
    return (
        f"  n{call.index} [label={json.dumps(label, ensure_ascii=False)}, "
        f'tooltip={json.dumps(plain_text(call.path), ensure_ascii=False)}, fillcolor="{color}"'
        f"{look}{link}];"
    )


def neighborhood_chart(result: Result, chosen: int, series: str) -> go.Figure:
    """The calls nearest to one from left to right, and what reads what.

    Args:
        result: of the job.
        chosen: index of the call in the middle.
        series: whose measured variance colours the calls.
    """
    inside = set(neighborhood(result.calls, chosen, _MOST_AROUND))
    calls = [call for call in result.calls if call.index in inside]
    places = layers_of(calls)
    figure = go.Figure()
    figure.add_trace(_lines_between(calls, places))
    figure.add_trace(_calls_around(calls, places, chosen, series))
    lanes = 1 + max(lane for _, lane in places.values())
    columns = 1 + max(column for column, _ in places.values())
    hidden = {"visible": False, "fixedrange": True}
    figure.update_layout(
        LAYOUT,
        height=130 + _LANE * lanes,
        showlegend=False,
        xaxis=hidden | {"range": [-0.9, columns - 0.1]},
        yaxis=hidden | {"range": [lanes - 0.3, -0.7]},
    )
    return figure


def _lines_between(calls: Sequence[Call], places: dict[int, tuple[int, int]]) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for call in calls:
        for index in call.inputs:
            if index in places:
                x += [places[index][0], places[call.index][0], None]
                y += [places[index][1], places[call.index][1], None]
    return go.Scatter(
        x=x, y=y, mode="lines", line={"color": NEUTRAL_COLOR, "width": 1.2}, hoverinfo="skip"
    )


def _calls_around(
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
                "color": NEUTRAL_COLOR,
                "width": [4 if call.index == chosen else 1 for call in calls],
            },
            "colorbar": {
                "title": {"text": f"variance, {series_name(series)}", "side": "top"},
                "tickvals": [-reach, 0, reach],
                "ticktext": [number(10.0**-reach), "1", number(10.0**reach)],
                "thickness": 10,
                # Below: beside the calls it would take a third of a phone's width.
                "orientation": "h",
                "len": 0.6,
                "y": 0,
                "yanchor": "top",
            },
        },
        text=[_name_around(call.path, places[call.index][0]) for call in calls],
        textposition=[_side(places[call.index][0]) + " center" for call in calls],
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


def _side(column: int) -> str:
    return "top" if column % 2 else "bottom"


def _name_around(path: str, column: int) -> str:
    """The name, nearer and farther by turns: on a phone a column is a quarter of its width."""
    name = html_text(_ending(path), _SHORT)
    if column % 4 < 2:
        return name
    return f"{name}<br> " if _side(column) == "top" else f" <br>{name}"


def _ending(path: str) -> str:
    """The last parts of a path, in which neighbours differ."""
    parts = re.split(r"(?<=[/_])", path)
    ending = parts.pop()
    while parts and len(parts[-1] + ending) <= _SHORT:
        ending = parts.pop() + ending
    return ending
