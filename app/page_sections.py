"""The page of a finished job, from top to bottom: headline, findings, charts, exports, table."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app.downloads import downloads, file_stem
from app.escaping import markdown_text, plain_text
from app.findings import Finding, findings, lead
from app.formatting import plural, size
from app.headline import cards, facts, series_name, verdict_parts
from app.jobs.folders import RESULT
from app.report import report_html
from app.tables import columns, csv_text, rows

Result = dict[str, Any]

MIMES = {".h5": "application/x-hdf5", ".json": "application/json"}
TEXTS = ("path", "class", "not_run")  # columns that a file wrote
PATH_LENGTH = 48  # longer ones lose their middle: parts of one layer differ in their ends
MESSAGES_IN_SIGHT = 3
MESSAGE_LIMIT = 600
FIGURE_LABELS = {
    "measured_variance": "variance",
    "predicted_variance": "predicted variance",
    "predicted_spread": "scatter of draws",
    "predicted_correlation_slope": "slope of correlations",
    "measured_mean": "mean",
    "predicted_mean": "predicted mean",
    "measured_minimum": "minimum",
    "measured_maximum": "maximum",
    "measured_zero_fraction": "zeros",
    "measured_finite_fraction": "finite",
    "measured_sample_correlation": "correlation of samples",
    "predicted_sample_correlation": "predicted correlation of samples",
    "measured_position_correlation": "correlation of positions",
    "predicted_position_correlation": "predicted correlation of positions",
    "draws_median": "variance, median of draws",
    "draws_low": "variance, 10th percentile",
    "draws_high": "variance, 90th percentile",
    "draws_standard_error": "variance, standard error",
    "outside_band": "prediction outside",
    "gradient_variance": "gradient's variance",
    "gradient_square_norm": "gradient's square norm",
    "measured_kurtosis": "kurtosis",
    "measured_dead_fraction": "dead channels",
    "measured_saturated_fraction": "saturated",
}


def show_title(result: Result) -> None:
    """The model's name, and what it is."""
    st.header(markdown_text(result["model"]["name"], 120), anchor=False)
    st.caption(" · ".join(markdown_text(fact) for fact in facts(result)))


def show_verdict(result: Result) -> None:
    """What becomes of the signal, in a sentence."""
    told = []
    for series in result["series"]:
        does, path, rate = verdict_parts(result, series)
        place = "" if path is None else f" **{markdown_text(path, 60)}** {rate}"
        told.append(f"**{series_name(series)}** {does}{place}")
    st.markdown("; ".join(told) + ".")


def show_headline(result: Result) -> None:
    """The row of headline figures."""
    with st.container(horizontal=True, key="headline"):
        for card in cards(result):
            st.metric(
                card.label,
                card.value,
                card.note,
                delta_color="off",
                delta_arrow="off",
                help=markdown_text(card.explanation),
                width=148,
            )


def show_findings(result: Result) -> None:
    """The warnings: those that matter for the chart in sight, the others folded away."""
    found = findings(result)
    for finding in found:
        if finding.in_sight:
            show_finding(result, finding)
    others = [finding for finding in found if not finding.in_sight]
    if others:
        count = sum(len(finding.messages) for finding in others)
        with st.expander(plural(count, "more note"), icon=":material/info:"):
            for finding in others:
                show_finding(result, finding)


def show_finding(result: Result, finding: Finding) -> None:
    """One kind of warning: what it means, its first messages, and all of them on demand."""
    lines = [f"**{finding.title}**"]
    shown = finding.messages[:MESSAGES_IN_SIGHT]
    sentence = lead(result, finding.code, lambda name: f"**{markdown_text(name, 60)}**")
    if sentence:
        lines.append(sentence)
    lines += [markdown_text(message, MESSAGE_LIMIT) for message in shown]
    show, icon = (
        (st.info, ":material/lightbulb:") if finding.hint else (st.warning, ":material/warning:")
    )
    show("\n\n".join(lines), icon=icon)
    if len(finding.messages) > len(shown):
        with st.expander(f"Where: {plural(len(finding.messages), 'message')}"):
            table = [
                {
                    "call": plain_text(path),
                    "class": plain_text(kind),
                    "message": plain_text(text, 1000),
                }
                for (path, kind), text in zip(finding.places, finding.messages, strict=True)
            ]
            st.dataframe(table, hide_index=True, height=min(400, 40 + 36 * len(table)))


@st.fragment
def show_table(result: Result) -> None:
    """The table behind the charts. A fragment: filtering it leaves the rest of the page alone."""
    st.subheader("Table", anchor=False)
    table = pd.DataFrame(rows(result), columns=columns(result["series"]))
    text, kinds, only_weighted = table_filters(sorted(set(table["class"])))
    chosen = table
    if text:
        chosen = chosen[chosen["path"].str.contains(text, case=False, regex=False)]
    if kinds:
        chosen = chosen[chosen["class"].isin(kinds)]
    if only_weighted:
        chosen = chosen[chosen["weighted"]]
    st.caption(f"{len(chosen):,} of {plural(len(table), 'call')}")
    shown = {name: chosen[name].map(plain_text) for name in TEXTS}
    shown["path"] = chosen["path"].map(lambda path: plain_text(path, PATH_LENGTH))
    st.dataframe(
        chosen.assign(**shown),
        hide_index=True,
        height=420,
        # Figures that were not measured of any call are left out.
        column_order=[c for c in column_order(result["series"]) if table[c].notna().any()],
        column_config=column_labels(result["series"], path_width(table["path"])),
        key="calls",
    )


def table_filters(classes: Sequence[str]) -> tuple[str, list[str], bool]:
    """The filters above the table: part of a name, classes, weighted calls only."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Filter",
            placeholder="part of a name",
            icon=":material/search:",
            key="filter",
            width=260,
        )
        kinds = st.multiselect(
            "Classes", classes, format_func=plain_text, placeholder="all", key="classes", width=300
        )
        only_weighted = st.toggle("Only weighted calls", key="only_weighted", width="content")
    return text or "", kinds, only_weighted


def column_order(series: Sequence[str]) -> list[str]:
    """The variances of all series first: they are what is compared."""
    figures = [f"{which}_{figure}" for figure in FIGURE_LABELS for which in series]
    what = ["index", "path", "class", "output_shape"]
    return [*what, *figures, "weighted", "frozen", "support", "tainted", "not_run"]


def path_width(paths: Iterable[str]) -> int:
    """Pixels for the longest path, within bounds."""
    longest = max(map(len, paths), default=0)
    return max(200, 20 + 7 * min(longest, PATH_LENGTH))


def column_labels(series: Sequence[str], path_width: int) -> dict[str, Any]:
    """What the table's head says, and how many digits its figures have."""
    figures = {
        f"{which}_{figure}": st.column_config.CheckboxColumn(f"{series_name(which)} {label}")
        if figure == "outside_band"
        else st.column_config.NumberColumn(f"{series_name(which)} {label}", format="%.3g")
        for which in series
        for figure, label in FIGURE_LABELS.items()
    }
    return figures | {
        "index": st.column_config.NumberColumn("#", width=50, pinned=True),
        "path": st.column_config.TextColumn("call", width=path_width, pinned=True),
        "class": st.column_config.TextColumn("class", width=150),
        "output_shape": st.column_config.TextColumn("output", width=120),
        "not_run": st.column_config.TextColumn("not run, as"),
    }


def show_downloads(result: Result, folder: Path) -> None:
    """What can be taken away; nothing is built before it is asked for."""
    stem = file_stem(result)
    offered = downloads(result, folder)
    st.subheader("Download", anchor=False)
    with st.container(horizontal=True, key="downloads"):
        for place, download in enumerate(offered):
            st.download_button(
                f"{download.label} ({size(download.path.stat().st_size)})",
                download.path.read_bytes,
                f"{stem}{download.suffix}",
                mime=MIMES.get(download.suffix, "application/octet-stream"),
                on_click="ignore",
                type="secondary" if place else "primary",
                icon=None if place else ":material/download:",
                key=f"download-model-{place}",
            )
        for label, data, ending, mime in (
            ("Table, CSV", lambda: csv_text(result), "csv", "text/csv"),
            ("Result, JSON", (folder / RESULT).read_bytes, "result.json", "application/json"),
            ("Report, HTML", lambda: report_html(result), "html", "text/html"),
        ):
            # A model may be JSON as well.
            name = f"{stem}-{ending}" if ending == "result.json" else f"{stem}.{ending}"
            st.download_button(
                label, data, name, mime=mime, on_click="ignore", key=f"download-{ending}"
            )
    for download in offered:
        if download.note:
            st.caption(f"{markdown_text(download.suffix)}: {markdown_text(download.note)}")
    if not offered:
        st.caption("There is no re-initialised model to download: see the notes above.")
    elif result["settings"].get("constrain_weights"):
        st.caption("This model has AutoInit's weight constraint. To open it:")
        name = f"{stem}{offered[0].suffix}"
        st.code(f'import autoinit, keras\n\nmodel = keras.models.load_model("{name}")')


def show_details(result: Result) -> None:
    """What was run: enough to do it again."""
    with st.expander("Model, settings and timings", icon=":material/fact_check:"):
        st.code(
            json.dumps(
                {key: result[key] for key in ("model", "settings", "device", "timings")}, indent=2
            ),
            language="json",
        )
