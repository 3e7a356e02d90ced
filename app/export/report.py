"""A result as one HTML file that needs nothing else: no server, no network, no other file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup

from app.analysis import formats
from app.analysis.cards import COUNTED, cards
from app.analysis.grouping import FindingGroup, grouped, lead, split
from app.analysis.headline import (
    CHECKUP,
    STARTS_ANEW,
    facts,
    full_name,
    has_trained_weights,
    model_name,
    series_name,
    series_summary,
    verdict_card,
    verdict_cards,
)
from app.analysis.result import Call, Result
from app.analysis.trials.result import TrialResult
from app.analysis.trials.settings import WORDS
from app.charts.trials import curves_chart, grid_chart
from app.charts.views import VIEWS, View
from app.export.patch import patch
from app.text.escaping import plain_text
from app.text.formatting import number, percentage, plural, shape

MESSAGES_SHOWN = 50
# Nothing may be fetched or sent: a report is opened by people who did not make it.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)
_Head = list[str]
_Body = list[list[str]]


def report_html(result: Result) -> str:
    """The report. The template escapes every text; `plain` makes those of the model's visible."""
    other = result.other_model
    seen, also = split(grouped(result))
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            policy=CONTENT_SECURITY_POLICY,
            name=full_name(result.model.name, result.settings),
            facts=facts(result),
            verdicts=verdict_cards(result),
            checkup=CHECKUP,
            starts_anew=STARTS_ANEW if has_trained_weights(result) else "",
            cards=cards(result),
            findings=[_finding(result, group) for group in seen],
            also=[_finding(result, group) for group in also],
            counted=COUNTED,
            patch=patch(result),
            other_model=None if other is None else model_name(other),
            views=list(_views(result)),
            series_table=_series_table(result),
            formats_table=(formats.HEAD, formats.rows(result)) if result.formats else None,
            formats_note=formats.note(result),
            call_table=_call_table(result),
            cut=bool(result.opaque_calls),
            settings=_settings_table(result),
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["plain"] = plain_text
    return environment


def trial_html(trial: TrialResult) -> str:
    """The same of what a trial found."""
    charts = [
        _chart(draw(trial), name, include_plotlyjs=first)
        for draw, name, first in ((grid_chart, "grid", True), (curves_chart, "losses", False))
    ]
    return (
        _environment()
        .get_template("trial.html.jinja")
        .render(policy=CONTENT_SECURITY_POLICY, trial=trial, words=WORDS, charts=charts)
    )


def _finding(result: Result, group: FindingGroup) -> tuple[FindingGroup, str, list[str], str]:
    """A cause, its sentence for the whole, its first messages, and how many are left."""
    messages = group.messages
    more = len(messages[MESSAGES_SHOWN:])
    sentence = lead(result, group.code, lambda name: plain_text(name, 80))
    return group, sentence, messages[:MESSAGES_SHOWN], f"{more:,}" if more else ""


def _views(result: Result) -> Iterator[tuple[View, list[str], list[tuple[str, Markup]]]]:
    """Each view that there are figures for, what they come to, and its charts with their notes."""
    first = True
    for view in VIEWS.values():
        if view.available(result):
            charts = []
            for variant in view.offered(result) or [""]:
                figure = view.draw(result, "legendonly", variant)
                name = (variant or view.name).replace("_", "-")
                note = ": ".join(view.variants[variant]) if variant else ""
                charts.append((note, _chart(figure, name, include_plotlyjs=first)))
                first = False
            yield view, list(view.sentences(result)), charts


def _chart(figure: go.Figure, name: str, include_plotlyjs: bool) -> Markup:
    """A chart that stays interactive; Plotly itself is inlined once, and escapes on its own."""
    figure.update_layout(template="plotly_white")
    return Markup(
        figure.to_html(
            full_html=False,
            include_plotlyjs=include_plotlyjs,
            include_mathjax=False,
            div_id=f"{name}-chart",
            config={"displaylogo": False, "responsive": True},
        )
    )


def _series_table(result: Result) -> tuple[_Head, _Body]:
    """Range and end of each series in figures."""
    head = ["", "verdict", "smallest", "largest", "last layer", "overflow", "variance 0"]
    body = []
    for series in result.series:
        found = series_summary(result, series)
        figures = [number(v) for v in (found.smallest, found.largest, found.final)]
        counts = [plural(count, "layer") for count in (found.overflowed, found.underflowed)]
        body.append([series_name(series), verdict_card(result, series).word, *figures, *counts])
    return head, body


def _call_table(result: Result) -> tuple[_Head, _Body, int, list[str]]:
    """One row per call: what it is, then variance, mean and correlation of each series."""
    figures = (
        "variance",
        "predicted",
        "mean",
        "predicted mean",
        "correlation of samples",
        "predicted correlation",
        "zeros",
        "error of the variance",
    )
    head = ["layer", "class", "output", "prediction"]
    head += [f"{series_name(series)} {what}" for series in result.series for what in figures]
    body = []
    for call in result.calls:
        row = [call.path, call.class_name, shape(call.output_shape), _support_words(call)]
        for series in result.series:
            pair = call.measured(series), call.predicted(series)
            for name in ("variance", "mean", "sample_correlation"):
                row += [number(getattr(moments, name, None)) for moments in pair]
            for name in ("zero_fraction", "standard_error"):
                row.append(percentage(getattr(pair[0], name, None)))
        body.append(row)
    return head, body, 4, ["weighted" if call.weighted else "" for call in result.calls]


def _support_words(call: Call) -> str:
    """How a call was covered, in a few words."""
    marks = (("not run", call.opaque), ("unsure", call.tainted), ("frozen", call.frozen))
    return ", ".join([call.support.replace("_", " "), *(word for word, holds in marks if holds)])


def _settings_table(result: Result) -> list[tuple[str, object]]:
    """What was analysed, how, where, and how long each step took."""
    model, device = result.model, result.device
    facts: list[tuple[str, object]] = [
        ("model", model.name),
        ("SHA-256", model.sha256 or None),
        *(("input", f"{i.name}: {shape(i.shape)} {i.dtype}") for i in model.inputs),
        *((name.replace("_", " "), value) for name, value in result.settings.by_name.items()),
        ("device", f"{device.kind}, {device.name}"),
        *((f"{step}, seconds", number(value)) for step, value in result.timings.items()),
    ]
    return [(name, "–" if value is None else value) for name, value in facts]
