"""The grid of a trial, filled cell by cell, and the losses of its trainings."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from app.analysis.trials.answer import cell_text
from app.analysis.trials.result import Training, TrialResult
from app.analysis.trials.settings import WORDS
from app.charts.axes import sparse_ticks
from app.charts.theme import COLORS, DASHES, GRID_COLOR, LAYOUT, NEUTRAL_COLOR, OTHER_COLOR
from app.text.escaping import html_text

ROW, MARGIN, CURVES = 54, 96, 300  # pixels
# What tells cells apart without their colours: diverged, and no better than chance.
DIVERGED, CHANCE, PLAIN = "x", "/", ""
SCALE = "Blues"
WORDS_DARK, WORDS_LIGHT = "#10202E", "#FFFFFF"
_EMPTY = "rgba(128, 128, 128, 0.10)"
_GRAY = "rgba(128, 128, 128, 0.45)"


def grid_chart(trial: TrialResult) -> go.Figure:
    """Initialisations in rows, rates in columns; a cell has the score that it came to.

    Grey and crossed is what diverged, hatched what is no better than chance, empty what was not
    tried; the best rate of each initialisation has a thick edge.
    """
    figure = go.Figure()
    best = {(each.scheme, each.rate) for each in trial.answer.standings if each.learns}
    rates = [f"{rate:g}" for rate in trial.rates]
    for scheme in reversed(trial.schemes):  # stacked from below
        cells = [trial.of(scheme, rate) for rate in trial.rates]
        colors = [_color(trial, cell) for cell in cells]
        figure.add_trace(
            go.Bar(
                x=rates,
                y=[1.0] * len(rates),
                name=WORDS[scheme],
                text=[_label(cell) for cell in cells],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                textfont={"size": 13, "color": [_ink(trial, cell) for cell in cells]},
                marker={
                    "color": colors,
                    "line": {
                        "width": [3 if (scheme, rate) in best else 1 for rate in trial.rates],
                        "color": [
                            "#D55E00" if (scheme, rate) in best else GRID_COLOR
                            for rate in trial.rates
                        ],
                    },
                    "pattern": {
                        "shape": [_pattern(trial, cell) for cell in cells],
                        "fillmode": "overlay",
                        "fgcolor": NEUTRAL_COLOR,
                        "size": 7,
                        "solidity": 0.15,
                    },
                },
                customdata=[cell_text(trial, cell) for cell in cells],
                hovertemplate=f"<b>{html_text(WORDS[scheme])}</b>, rate %{{x}}<br>%{{customdata}}"
                "<extra></extra>",
            )
        )
    count = len(trial.schemes)
    figure.update_layout(
        LAYOUT,
        barmode="stack",
        bargap=0.0,
        showlegend=False,
        uniformtext={"minsize": 9, "mode": "show"},
        height=MARGIN + ROW * count,
        xaxis={
            "title": "learning rate",
            "type": "category",
            "fixedrange": True,
            "categoryarray": rates,
        },
        yaxis={
            "tickvals": [place + 0.5 for place in range(count)],
            "ticktext": [WORDS[scheme] for scheme in reversed(trial.schemes)],
            "range": [0, count],
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
            "fixedrange": True,
        },
    )
    return figure


def curves_chart(trial: TrialResult) -> go.Figure:
    """The loss of each step: of each initialisation at its best rate, and fainter at the others."""
    figure = go.Figure()
    best = {each.scheme: each.rate for each in trial.answer.standings}
    for scheme in trial.schemes:
        for rate in sorted(trial.rates, key=lambda rate: rate == best.get(scheme)):
            cell = trial.of(scheme, rate)
            if cell is None or len(cell.losses) < 2:
                continue
            chosen = rate == best.get(scheme)
            step = cell.steps / len(cell.losses)
            figure.add_trace(
                go.Scatter(
                    x=[step * (place + 0.5) for place in range(len(cell.losses))],
                    y=list(cell.losses),
                    mode="lines",
                    name=f"{WORDS[scheme]}, {rate:g}",
                    legendgroup=scheme,
                    showlegend=chosen,
                    opacity=1.0 if chosen else 0.3,
                    line={
                        "color": COLORS.get(scheme, OTHER_COLOR),
                        "width": 3 if chosen else 1,
                        "dash": DASHES.get(scheme, "solid") if chosen else "solid",
                    },
                    hovertemplate=f"step %{{x:.0f}}: loss %{{y:.3g}}<extra>{WORDS[scheme]}, "
                    f"{rate:g}</extra>",
                )
            )
    figure.update_layout(
        LAYOUT,
        height=CURVES,
        xaxis={
            "title": "step",
            "gridcolor": GRID_COLOR,
            "zeroline": False,
            "fixedrange": True,
            "range": [0, trial.steps],
        },
        yaxis={
            "title": "loss",
            **_loss_axis(trial),
            "gridcolor": GRID_COLOR,
            "automargin": True,
            "fixedrange": True,
        },
    )
    return figure


def _loss_axis(trial: TrialResult) -> dict[str, Any]:
    """Logarithmic unless losses may be below 0; what diverges leaves the picture."""
    drawn = [loss for each in trial.trainings for loss in each.losses if loss]
    first = [each.losses[0] for each in trial.trainings if each.losses and each.losses[0]]
    if not first or min(drawn) <= 0:
        return {"type": "linear" if first else "log"}
    sight = min(drawn) * 0.8, max(median(first) * 2, min(drawn) * 2)
    return {"type": "log", "range": list(map(math.log10, sight)), **sparse_ticks(sight)}


def _share(trial: TrialResult, cell: Training) -> float:
    """Where a score lies between chance and 1."""
    score = trial.chance if cell.score is None else cell.score
    return min(max((score - trial.chance) / (1.0 - trial.chance or 1.0), 0.0), 1.0)


def _color(trial: TrialResult, cell: Training | None) -> str:
    if cell is None:
        return _EMPTY
    if cell.outcome == "diverged":
        return _GRAY
    found: str = sample_colorscale(SCALE, [0.08 + 0.8 * _share(trial, cell)])[0]
    return found


def _ink(trial: TrialResult, cell: Training | None) -> str:
    """Of a cell's words."""
    if cell is None or cell.outcome == "diverged":
        return NEUTRAL_COLOR
    return WORDS_LIGHT if _share(trial, cell) > 0.55 else WORDS_DARK


def _pattern(trial: TrialResult, cell: Training | None) -> str:
    if cell is None:
        return PLAIN
    if cell.outcome == "diverged":
        return DIVERGED
    score, error = cell.score or 0.0, cell.error or 0.0
    return CHANCE if score - trial.chance <= 2 * error else PLAIN


def _label(cell: Training | None) -> str:
    """Percent, in two digits: a phone has room for no more."""
    if cell is None:
        return ""
    if cell.outcome == "diverged" or cell.score is None:
        return "×"
    return ("~" if cell.outcome == "stopped" else "") + f"{100 * max(cell.score, -9.99):.0f}"
