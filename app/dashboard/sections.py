"""The page of a finished job, from top to bottom: headline, findings, charts, exports, table."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from app.analysis.diagnosis.grouping import FindingGroup, grouped, lead
from app.analysis.headline import cards, facts, series_name, verdict_parts
from app.analysis.result import Result
from app.dashboard.charts import PICTURE, PICTURES
from app.dashboard.explore import jump_to
from app.export.downloads import downloads, file_stem
from app.export.report import report_html
from app.export.snippet import snippet
from app.export.tables import csv_text
from app.jobs.folders import MANIFEST, RESULT
from app.text.escaping import markdown_text, plain_text
from app.text.formatting import plural, size

MIMES = {".h5": "application/x-hdf5", ".json": "application/json"}
MESSAGES_IN_SIGHT = 3
MESSAGE_LIMIT = 600


def show_title(result: Result) -> None:
    """The model's name, and what it is."""
    st.header(markdown_text(result.model.name, 120), anchor=False)
    st.caption(" · ".join(markdown_text(fact) for fact in facts(result)))


def show_verdict(result: Result) -> None:
    """What becomes of the signal, in a sentence."""
    parts = []
    for series in result.series:
        does, path, rate = verdict_parts(result, series)
        place = "" if path is None else f" **{markdown_text(path, 60)}** {rate}"
        parts.append(f"**{series_name(series)}** {does}{place}")
    st.markdown("; ".join(parts) + ".")


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
    """The findings: those that matter for the chart in sight, the others folded away."""
    groups = grouped(result)
    for group in groups:
        if group.severity.in_sight:
            show_group(result, group)
    others = [group for group in groups if not group.severity.in_sight]
    if others:
        count = sum(len(group.findings) for group in others)
        with st.expander(plural(count, "more note"), icon=":material/info:"):
            for group in others:
                show_group(result, group)


def show_group(result: Result, group: FindingGroup) -> None:
    """One kind of finding: what it means, its first messages, and all of them on demand."""
    shown = group.findings[:MESSAGES_IN_SIGHT]
    sentence = lead(result, group.code, lambda name: f"**{markdown_text(name, 60)}**")
    lines = [f"**{group.title}**", *([sentence] if sentence else [])]
    lines += [markdown_text(finding.message, MESSAGE_LIMIT) for finding in shown]
    hint = group.severity.is_hint
    show, icon = (st.info, ":material/lightbulb:") if hint else (st.warning, ":material/warning:")
    show("\n\n".join(lines), icon=icon)
    offer_to_jump(result, group)
    if len(group.findings) > len(shown):
        with st.expander(f"Where: {plural(len(group.findings), 'message')}"):
            table = [
                {
                    "call": plain_text(finding.path),
                    "class": plain_text(finding.class_name),
                    "message": plain_text(finding.message, 1000),
                }
                for finding in group.findings
            ]
            st.dataframe(table, hide_index=True, height=min(400, 40 + 36 * len(table)))


def offer_to_jump(result: Result, group: FindingGroup) -> None:
    """A button that shows the details of the call that a finding names first."""
    paths = {call.path for call in result.calls}
    path = next((finding.path for finding in group.findings if finding.path in paths), None)
    if path is not None and st.button(
        f"Show {markdown_text(path, 60)}",
        icon=":material/arrow_downward:",
        type="tertiary",
        key=f"jump-{group.code}",
    ):
        jump_to(path)


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
        files: list[tuple[str, Callable[[], str | bytes], str, str]] = [
            ("Table, CSV", lambda: csv_text(result), "csv", "text/csv"),
            ("Result, JSON", (folder / RESULT).read_bytes, "result.json", "application/json"),
            ("Report, HTML", lambda: report_html(result), "html", "text/html"),
        ]
        if (folder / MANIFEST).exists():
            read = (folder / MANIFEST).read_bytes
            files.append(("Manifest, JSON", read, "manifest.json", "application/json"))
        for label, data, ending, mime in files:
            # A model may be JSON as well.
            name = f"{stem}-{ending}" if ending.endswith(".json") else f"{stem}.{ending}"
            st.download_button(
                label, data, name, mime=mime, on_click="ignore", key=f"download-{ending}"
            )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("The camera above each chart saves a picture:", width="content")
        st.segmented_control(
            "Pictures",
            PICTURES,
            format_func=str.upper,
            default=PICTURES[0],
            required=True,
            key=PICTURE,
            persist_state="session",
            label_visibility="collapsed",
        )
    for download in offered:
        if download.note:
            st.caption(f"{markdown_text(download.suffix)}: {markdown_text(download.note)}")
    if not offered:
        st.caption("There is no re-initialised model to download: see the notes above.")
    elif result.settings.constrain_weights:
        st.caption("This model has AutoInit's weight constraint. To open it:")
        name = f"{stem}{offered[0].suffix}"
        st.code(f'import autoinit, keras\n\nmodel = keras.models.load_model("{name}")')


def show_details(result: Result) -> None:
    """What was run: enough to do it again."""
    with st.expander("Do it again in Python", icon=":material/code:"):
        st.code(snippet(result), language="python")
    with st.expander("Model, settings and timings", icon=":material/fact_check:"):
        st.code(
            result.model_dump_json(
                include={"model", "settings", "device", "timings"}, exclude_unset=True, indent=2
            ),
            language="json",
        )
