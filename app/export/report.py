"""A result as one HTML file that needs nothing else: no server, no network, no other file."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from app.analysis.correlations import KINDS, has_correlations, phases
from app.analysis.diagnosis.grouping import Finding, findings, lead
from app.analysis.headline import (
    cards,
    facts,
    measured,
    model_name,
    other_model,
    predicted,
    series_figures,
    series_name,
)
from app.charts import (
    correlation_chart,
    gradient_chart,
    largest_chart,
    mean_chart,
    spectrum_chart,
    variance_chart,
)
from app.text.escaping import html_text
from app.text.formatting import number, percentage, plural, shape

Result = dict[str, Any]

MESSAGE_LIMIT = 1000
MESSAGES_SHOWN = 50

# Nothing may be fetched or sent: a report is opened by people who did not make it.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff;
       max-width: 1180px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.note { color: #57606a; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr));
         gap: 12px; margin: 1.4rem 0; }
.card { border: 1px solid #d0d7de; border-radius: 8px; padding: 10px 14px; }
.card b { display: block; font-size: 1.3rem; font-weight: 600; }
.finding { border-left: 4px solid #b76e00; background: #fff8e6; padding: 8px 14px; margin: 10px 0;
           overflow-wrap: anywhere; }
.finding.hint { border-color: #0072b2; background: #eef6fb; }
.finding ul { margin: .3rem 0; padding-left: 1.2rem; }
.scroll { overflow-x: auto; }
.calls { max-height: 640px; overflow: auto; border: 1px solid #d0d7de; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 4px 10px; border-bottom: 1px solid #e6e9ed; text-align: right;
         white-space: nowrap; font-variant-numeric: tabular-nums; }
th { background: #f6f8fa; position: sticky; top: 0; }
.text { text-align: left; }
.weighted td:first-child { border-left: 3px solid #d55e00; }
@media print { .calls { max-height: none; overflow: visible; border: 0; } body { padding: 0; }
               .card, .finding, tr { break-inside: avoid; } }
"""


def write_report(result: Result, path: Path) -> None:
    """Writes the report, in UTF-8 whatever the machine's own encoding."""
    path.write_text(report_html(result), encoding="utf-8")


def report_html(result: Result) -> str:
    """The report; every text of the model's is escaped."""
    name = html_text(result["model"]["name"])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>AutoInit: {name}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{name}</h1>
<p class="note">{" · ".join(html_text(fact) for fact in facts(result))}</p>
<div class="cards">{"".join(headline_cards(result))}</div>
{"".join(finding_box(result, finding) for finding in findings(result))}
<h2>Variance of each call</h2>
{other_note(result)}
{chart(variance_chart(result, "legendonly"), "variance", include_plotlyjs=True)}
<h2>Mean of each call</h2>
{chart(mean_chart(result, "legendonly"), "mean", include_plotlyjs=False)}
{"".join(correlation_section(result))}
{"".join(gradient_section(result))}
<h2>Largest entry of each call</h2>
{chart(largest_chart(result), "largest", include_plotlyjs=False)}
{"".join(jacobian_section(result))}
<h2>Weighted calls, measured</h2>
<div class="scroll">{series_table(result)}</div>
<h2>All calls</h2>
<p class="note">Weighted calls have a red edge. A dash is a figure that is not to be had{
        missing_note(result)
    }.</p>
<div class="calls">{call_table(result)}</div>
<h2>Model and settings</h2>
<div class="scroll">{settings_table(result)}</div>
</body>
</html>
"""


def headline_cards(result: Result) -> Iterable[str]:
    """The headline figures."""
    for card in cards(result):
        yield (
            f'<div class="card" title="{html_text(card.explanation, 500)}">{html_text(card.label)}'
            f'<b>{html_text(card.value)}</b><span class="note">{html_text(card.note)}</span></div>'
        )


def other_note(result: Result) -> str:
    """Where the predictions of the other signal model are to be found."""
    model = other_model(result)
    if model is None:
        return ""
    name = html_text(model_name(model))
    return f'<p class="note">Choose in the legend to see what {name} predicts, too.</p>'


def correlation_section(result: Result) -> Iterable[str]:
    """Whether inputs, and positions, are still told apart."""
    if not has_correlations(result):
        return
    yield "<h2>Correlation of each call</h2>\n"
    yield f"<ul>{''.join(f'<li>{sentence}</li>' for sentence in phases(result))}</ul>\n"
    for kind, title in KINDS.items():
        yield f'<p class="note">{title}</p>\n'
        figure = correlation_chart(result, kind, "legendonly")
        yield chart(figure, kind.replace("_", "-"), include_plotlyjs=False)


def gradient_section(result: Result) -> Iterable[str]:
    """What flows back, where it was measured."""
    if result.get("gradients"):
        yield "<h2>Gradient of each call</h2>\n"
        yield '<p class="note">Of Σ c·y with standard normal c over all outputs y.</p>\n'
        yield chart(gradient_chart(result), "gradient", include_plotlyjs=False)


def jacobian_section(result: Result) -> Iterable[str]:
    """Singular values, where they were measured."""
    found = result.get("jacobian")
    if not found:
        return
    yield "<h2>Singular values of the Jacobian</h2>\n"
    yield chart(spectrum_chart(result), "jacobian", include_plotlyjs=False)
    head = ["", "rows × columns", "smallest", "largest", "mean square", "condition number", "zero"]
    body = [
        [
            series_name(series), shape(part["shape"]),
            *(number(part[n]) for n in ("smallest", "largest", "mean_square", "condition_number")),
            "–" if part["rank_deficiency"] is None else f"{part['rank_deficiency']:,}",
        ]
        for series, part in found.items()
    ]  # fmt: skip
    yield f'<div class="scroll">{table(head, body, text_columns=2)}</div>\n'
    for note in dict.fromkeys(part["note"] for part in found.values() if part["note"]):
        yield f'<p class="note">{html_text(note, 400)}</p>\n'


def finding_box(result: Result, finding: Finding) -> str:
    """One kind of warning with its messages."""
    sentence = lead(result, finding.code, lambda name: html_text(name, 80))
    opening = f"<p>{sentence}</p>" if sentence else ""
    shown = finding.messages[:MESSAGES_SHOWN]
    items = "".join(f"<li>{html_text(message, MESSAGE_LIMIT)}</li>" for message in shown)
    more = len(finding.messages) - len(shown)
    rest = f"<p>And {more:,} more; the JSON result lists all.</p>" if more else ""
    return (
        f'<div class="finding{" hint" if finding.hint else ""}">'
        f"<strong>{html_text(finding.title)}</strong>{opening}<ul>{items}</ul>{rest}</div>\n"
    )


def chart(figure: go.Figure, name: str, include_plotlyjs: bool) -> str:
    """A chart that stays interactive; Plotly itself is inlined once."""
    figure.update_layout(template="plotly_white")
    return str(
        figure.to_html(
            full_html=False,
            include_plotlyjs=include_plotlyjs,
            include_mathjax=False,
            div_id=f"{name}-chart",
            config={"displaylogo": False, "responsive": True},
        )
    )


def series_table(result: Result) -> str:
    """Range and end of each series in figures."""
    head = ["", "verdict", "smallest", "largest", "last call", "overflow", "variance 0"]
    body = []
    for series in result["series"]:
        found = series_figures(result, series)
        figures = [number(v) for v in (found.smallest, found.largest, found.final)]
        counts = [plural(count, "call") for count in (found.overflowed, found.underflowed)]
        body.append([series_name(series), found.verdict, *figures, *counts])
    return table(head, body, text_columns=2)


def call_table(result: Result) -> str:
    """One row per call: what it is, then variance, mean and correlation of each series."""
    names = [series_name(series) for series in result["series"]]
    head = ["call", "class", "output", "support"] + [
        f"{name} {what}"
        for name in names
        for what in (
            "variance",
            "predicted",
            "mean",
            "predicted mean",
            "correlation of samples",
            "predicted correlation",
            "zeros",
        )
    ]
    body, marks = [], []
    for call in result["calls"]:
        row = [call["path"], call["class"], shape(call.get("output_shape")), support_words(call)]
        for series in result["series"]:
            found, expected = measured(call, series) or {}, predicted(call, series) or {}
            for figure in ("variance", "mean", "sample_correlation"):
                row += [number(found.get(figure)), number(expected.get(figure))]
            row.append(percentage(found.get("zero_fraction")))
        body.append(row)
        marks.append("weighted" if call["weighted"] else "")
    return table(head, body, text_columns=4, marks=marks)


def support_words(call: dict[str, Any]) -> str:
    """How a call was covered, in a few words."""
    marks = (("not run", "opaque"), ("tainted", "tainted"), ("frozen", "frozen"))
    words = [call["support"].replace("_", " "), *(word for word, key in marks if call.get(key))]
    return ", ".join(words)


def missing_note(result: Result) -> str:
    """Why measured figures are missing, where they are."""
    cut = any(call.get("opaque") for call in result["calls"])
    return ": nothing is measured at or after a layer that is not run" if cut else ""


def settings_table(result: Result) -> str:
    """What was analysed, how, where, and how long each step took."""
    model, device = result["model"], result["device"]
    inputs = [f"{i['name']}: {shape(i['shape'])} {i['dtype']}" for i in model.get("inputs", [])]
    facts: list[tuple[str, object]] = [
        ("model", model["name"]),
        ("SHA-256", model.get("sha256") or "–"),
        *(("input", text) for text in inputs),
        *((name.replace("_", " "), value) for name, value in result["settings"].items()),
        ("device", f"{device['kind']}, {device['name']}"),
        *((f"{step}, seconds", number(value)) for step, value in result["timings"].items()),
    ]
    body = [[name, "–" if value is None else value] for name, value in facts]
    return table([], body, text_columns=2)


def table(
    head: Sequence[str],
    body: Iterable[Sequence[object]],
    text_columns: int,
    marks: Sequence[str] = (),
) -> str:
    """An HTML table; every cell is escaped here and nowhere else."""

    def cells(row: Sequence[object], tag: str) -> str:
        return "".join(
            f'<{tag} class="text">{html_text(value, 100)}</{tag}>'
            if place < text_columns
            else f"<{tag}>{html_text(value, 100)}</{tag}>"
            for place, value in enumerate(row)
        )

    lines = [
        f'<tr class="{marks[place] if marks else ""}">{cells(row, "td")}</tr>'
        for place, row in enumerate(body)
    ]
    header = f"<thead><tr>{cells(head, 'th')}</tr></thead>" if head else ""
    return f"<table>{header}<tbody>{''.join(lines)}</tbody></table>"
