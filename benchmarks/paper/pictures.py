"""The figures drawn, and saved as small pictures."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from PIL import Image

from app.charts.theme import COLORS, DASHES, WEIGHTED_COLOR
from benchmarks.browser import browsing
from benchmarks.paper.experiments import AUTOINIT, DEFAULT, PLUS
from benchmarks.paper.functions import generated, text, values

_NAMED = {DEFAULT: "default", AUTOINIT: "autoinit", PLUS: "own"}
BY_SCHEME: dict[str, Any] = {
    "color": "scheme", "template": "plotly_white",
    "color_discrete_map": COLORS | {name: COLORS[key] for name, key in _NAMED.items()},
}  # fmt: skip
LINES = BY_SCHEME | {
    "line_dash": "scheme",
    "line_dash_map": DASHES | {name: DASHES[key] for name, key in _NAMED.items()},
}
# Colours that are left of a picture, which makes it small.
_PALETTE = 48
# Of variances that are beyond single precision.
_HIGHEST = 1e39


def variations(frame: pd.DataFrame) -> go.Figure:
    means = frame.groupby(["what", "value", "scheme"], sort=False).accuracy.mean().reset_index()
    figure = px.line(means, x="value", y="accuracy", facet_col="what", markers=True, **LINES)
    return figure.update_xaxes(matches=None, type="category", title="")


def signals_of_cnn(frame: pd.DataFrame) -> go.Figure:
    figure = px.line(
        frame,
        x="depth",
        y="variance",
        color="value",
        facet_row="what",
        facet_col="scheme",
        log_y=True,
        template="plotly_white",
    )
    for trace in figure.data:
        weighted = frame[(frame.value == trace.name) & frame.weighted].depth.unique()
        sizes = [7 if place in weighted else 0 for place in trace.x]
        trace.update(mode="lines+markers", marker={"size": sizes, "color": WEIGHTED_COLOR})
    return figure.update_yaxes(exponentformat="power")


def signals_of_resnets(frame: pd.DataFrame) -> go.Figure:
    figure = px.line(
        frame.assign(variance=frame.variance.clip(upper=_HIGHEST)),
        x="depth",
        y="variance",
        facet_col="network",
        facet_row="normalization",
        facet_col_spacing=0.08,
        log_y=True,
        **LINES,
    )
    figure.update_xaxes(matches=None)
    return figure.update_yaxes(exponentformat="power", matches=None, showticklabels=True)


def learning_rates(frame: pd.DataFrame) -> go.Figure:
    figure = px.line(
        frame, x="rate", y="accuracy", facet_col="network", log_x=True, markers=True, **LINES
    )
    return figure.update_xaxes(exponentformat="power", title="learning rate")


def schedules(frame: pd.DataFrame) -> go.Figure:
    figure = px.line(
        frame, x="peak", y="accuracy", facet_col="normalization", log_x=True, markers=True, **LINES
    )
    return figure.update_xaxes(title="largest learning rate")


def functions(frame: pd.DataFrame) -> go.Figure:
    figure = px.histogram(_made(frame), x="accuracy", facet_col="scheme", nbins=25, **BY_SCHEME)
    return figure.update_yaxes(title="functions", col=1).update_layout(showlegend=False)


def best_functions(frame: pd.DataFrame) -> go.Figure:
    made = _made(frame)
    best = made[made.scheme == PLUS].sort_values("accuracy", ascending=False, kind="stable")
    points = np.linspace(-4, 4, 81)
    trees = generated(int(frame.number.max()), seed=0)
    lines = [
        {"function": text(trees[number - 1]), "x": x, "f(x)": y}
        for number in best.number.head(8)
        for x, y in zip(points, values(trees[number - 1], points), strict=True)
    ]
    figure = px.line(
        lines,
        x="x",
        y="f(x)",
        facet_col="function",
        facet_col_wrap=4,
        facet_row_spacing=0.16,
        range_y=(-4, 6),
        template="plotly_white",
    )
    for title in figure.layout.annotations:
        title.text = textwrap.fill(title.text, 30).replace("\n", "<br>")
    return figure.update_annotations(font_size=11)


def distributions(frame: pd.DataFrame) -> go.Figure:
    made = _made(frame).assign(error=lambda found: 1 - found.accuracy)
    return px.ecdf(made, x="error", **LINES).update_yaxes(title="share of functions")


def notebook(frame: pd.DataFrame) -> go.Figure:
    return px.line(frame, x="epoch", y="accuracy", markers=True, **LINES)


def searches(frame: pd.DataFrame) -> go.Figure:
    best = _progress(frame)
    best = best[best.what == "best so far"].groupby(["scheme", "generation"], sort=False).accuracy
    means = best.agg(accuracy="mean", error="sem").reset_index()
    figure = px.line(means, x="generation", y="accuracy", error_y="error", **LINES)
    return figure.update_xaxes(dtick=1).update_yaxes(title="best fitness so far")


def searches_by_seed(frame: pd.DataFrame) -> go.Figure:
    found = _progress(frame)
    found["seed"] = "seed " + found.seed.astype(str)
    figure = px.line(
        found,
        x="generation",
        y="accuracy",
        facet_col="seed",
        facet_col_wrap=3,
        line_dash="what",
        **BY_SCHEME,
    )
    return figure.update_yaxes(title="fitness", col=1)


def _progress(frame: pd.DataFrame) -> pd.DataFrame:
    """Best and mean of each generation; generation 0 is the test."""
    keys = ["scheme", "seed", "generation"]
    found = frame[frame.generation > 0].groupby(keys, sort=False).accuracy
    best = found.max().groupby(keys[:2]).cummax()
    return pd.concat({"best so far": best, "mean": found.mean()}, names=["what"]).reset_index()


def _made(frame: pd.DataFrame) -> pd.DataFrame:
    """Without ReLU, which is there to be compared with."""
    return frame[frame.number > 0]


def save(figure: go.Figure, path: Path, height: int = 360, width: int = 960) -> None:
    """As a PNG of few colours, by a browser without a window."""
    figure.for_each_annotation(lambda note: note.update(text=note.text.split("=")[-1]))
    figure.update_layout(
        height=height,
        width=width,
        font={"size": 13},
        legend_title="",
        margin={"l": 60, "r": 20, "t": 34, "b": 50},
    )
    with browsing() as browser:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_content(figure.to_html(include_plotlyjs=True, config={"staticPlot": True}))
        page.locator(".main-svg").first.wait_for()
        shot = page.locator(".plot-container").screenshot()
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(_PALETTE).save(path, optimize=True)
