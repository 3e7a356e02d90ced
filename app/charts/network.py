"""The network as a graph in Graphviz's language, coloured by what becomes of the signal."""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from urllib.parse import urlencode

from app.analysis.headline import is_number
from app.analysis.result import Call, Result
from app.charts.theme import NEUTRAL_COLOUR
from app.text.escaping import plain_text
from app.text.formatting import number, shape

NAME_LENGTH = 32
LAYER = "layer"  # of the address: the path of the layer that is chosen in the graph
# From what vanishes over what keeps its size to what explodes: ColorBrewer's RdBu, its light part,
# on which dark letters can be read.
_COLOURS = ("#4393C3", "#92C5DE", "#D1E5F0", "#F7F7F7", "#FDDBC7", "#F4A582", "#E0715A")
_DECADES = 1.0  # for each step of colour
_UNKNOWN = "#D9D9D9"
_HEAD = f"""digraph network {{
  bgcolor="transparent"; rankdir=TB; ranksep=0.25; nodesep=0.2;
  node [shape=box, style="filled,rounded", fontname="sans-serif", fontsize=11, fontcolor="#14161D",
        color="{NEUTRAL_COLOUR}", margin="0.12,0.05"];
  edge [color="{NEUTRAL_COLOUR}", arrowsize=0.6];
"""


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
    lines = [
        _node(
            call,
            *_figure(result, call, series, gradient),
            call.path in chosen,
            _link(call.path, address),
        )
        for call in result.calls
    ]
    lines += [
        f"  n{index} -> n{call.index};"
        for call in result.calls
        for index in call.inputs
        if index in shown
    ]
    return _HEAD + "\n".join(lines) + "\n}\n"


def _figure(result: Result, call: Call, series: str, gradient: bool) -> tuple[str, str]:
    """A figure in words, and the colour that it stands for."""
    moments = call.gradient(series) if gradient else call.measured(series)
    what = "gradient" if gradient else "variance"
    if moments is None:
        return "not measured", _UNKNOWN
    value = moments.variance
    if not is_number(value):
        return f"{what} overflows", _COLOURS[-1]
    if value <= 0:
        return f"{what} 0", _COLOURS[0]
    middle = len(_COLOURS) // 2
    # A gradient has no target: its colour is that of its size beside the largest.
    size = math.log10(value) - (_largest(result, series) if gradient else math.log10(result.target))
    step = max(-middle, min(middle, round(size / _DECADES)))
    return f"{what} {number(value)}", _COLOURS[middle + step]


def _largest(result: Result, series: str) -> float:
    return max((math.log10(value) for value in _gradients(result, series)), default=0.0)


def _gradients(result: Result, series: str) -> Iterator[float]:
    for call in result.calls:
        moments = call.gradient(series)
        if moments is not None and is_number(moments.variance) and moments.variance > 0:
            yield moments.variance


def _link(path: str, address: Mapping[str, str] | None) -> str:
    if address is None:
        return ""
    leads = dict(address) | {LAYER: path}
    if address.get(LAYER) == path:
        del leads[LAYER]
    return f', target="_self", URL={json.dumps(f"?{urlencode(leads)}")}'


def _node(call: Call, words: str, colour: str, is_chosen: bool, link: str) -> str:
    kind = f"{plain_text(call.class_name, NAME_LENGTH)}  {shape(call.output_shape)}"
    label = "\n".join([plain_text(call.path, NAME_LENGTH), kind, words])
    look = ', penwidth=4, color="#14161D"' if is_chosen else ""
    # JSON writes what is special as Graphviz reads it, but for letters beyond ASCII.
    return (
        f"  n{call.index} [label={json.dumps(label, ensure_ascii=False)}, "
        f'tooltip={json.dumps(plain_text(call.path), ensure_ascii=False)}, fillcolor="{colour}"'
        f"{look}{link}];"
    )
