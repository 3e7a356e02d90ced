"""The parts of a finished job's page: verdicts, figures, findings, patch, downloads, details."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import streamlit as st

from app.analysis import formats
from app.analysis.cards import cards
from app.analysis.diagnosis.table import KINDS
from app.analysis.grouping import NOT_RUN, FindingGroup, grouped, lead, split
from app.analysis.headline import (
    CHECKUP,
    STARTS_ANEW,
    VerdictCard,
    facts,
    full_name,
    has_trained_weights,
    series_name,
    verdict_card,
    verdict_cards,
)
from app.analysis.result import Result
from app.analysis.side_by_side import AS_IT_IS_SERIES, answer
from app.dashboard.result.charts import PICTURE, PICTURES, Again, is_expert
from app.dashboard.result.compare import USUAL_INPUTS, offer_to_go_back
from app.dashboard.result.explore import jump_to
from app.export.downloads import OfferedFile, downloads, file_stem
from app.export.patch import patch
from app.export.report import report_html
from app.export.snippet import snippet
from app.export.tables import csv_text
from app.jobs.folders import MANIFEST, RESULT
from app.text.escaping import html_text, markdown_text, plain_text
from app.text.formatting import number, plural, size

# The button says so when it is done. Without https a browser has no clipboard, but an older way.
COPY_LINK = """<script>
(async () => {
  const copied = async () => {
    if (navigator.clipboard) return navigator.clipboard.writeText(location.href).then(() => true);
    const text = Object.assign(document.createElement('textarea'), {value: location.href});
    document.body.append(text);
    text.select();
    const done = document.execCommand('copy');
    text.remove();
    return done;
  };
  const label = document.querySelector('.st-key-copy-link button p') ?? {};
  label.textContent = await copied().catch(() => false) ? 'Copied' : 'Copy the address instead';
})();
</script>"""
MIMES = {".h5": "application/x-hdf5", ".json": "application/json"}
OTHER_INPUT = "AutoInit's weights were made for another input than the first layers are made for."
MESSAGES_IN_SIGHT = 3
MESSAGE_LIMIT = 600


def show_title(result: Result) -> None:
    """The model's name with what was changed, and what it is."""
    name = full_name(result.model.name, result.settings)
    st.header(markdown_text(name, 120), anchor=False)
    st.caption(" · ".join(markdown_text(fact) for fact in facts(result)))


_OF_FIRST_LAYERS, _CHOSEN = ("bytes", "range", "statistics"), "chosen"
_AUTOMATIC = dict.fromkeys(("input_mean", "input_variance", "input_moments"))


def show_input(result: Result, again: Again | None) -> None:
    """What the input was taken to be, and who said so; and the others in a click."""
    found = [each for each in result.model.inputs if each.taken in (*_OF_FIRST_LAYERS, _CHOSEN)]
    if not found:
        return
    first = found[0]
    chosen = first.taken == _CHOSEN
    name = next(
        (name for name, usual in USUAL_INPUTS.items() if usual == (first.mean, first.variance)), ""
    )
    figures = f"mean {number(first.mean)}, variance {number(first.variance)}"
    figures = f"**{name}** ({figures})" if name else figures
    with st.container(horizontal=True, key="inputs", vertical_alignment="center"):
        st.caption(
            f"Input taken to be {figures}, "
            + ("as was chosen." if chosen else "which is what the first layers are made for.")
            + (" Analyse as:" if again else ""),
            width="content",
        )
        if again is None:
            return
        for other, (mean, variance) in USUAL_INPUTS.items():
            if other != name and st.button(
                other, type="tertiary", icon=":material/replay:", key=f"input-{other}"
            ):
                again({**_AUTOMATIC, "input_mean": mean, "input_variance": variance})
        if chosen and st.button("Automatic", type="tertiary", icon=":material/replay:"):
            again(_AUTOMATIC)


def show_verdicts(
    key: str, result: Result, folder: Path, first: tuple[str, Result] | None, both: Result
) -> None:
    """A word for each series; then the one cause, the one remedy and what to do about it.

    Args:
        key: of the job.
        result: of it.
        folder: where it lies.
        first: the run of the model as it is with its key, where this one is a what-if.
        both: the result with the series of the first.
    """
    found = verdict_cards(result)
    shown = [
        *found,
        *(
            replace(verdict_card(both, series), series=series_name(series))
            for series in AS_IT_IS_SERIES
            if series in both.series
        ),
    ]
    show_cards([replace(card, reason="", advice="") for card in shown])
    own = found[0]
    others = [card for card in found[1:] if card.tone != "good" and card.advice]
    tone, lines = own.tone, []
    if first is not None:
        tone, sentence = answer(result, first[1])
        lines.append(f'<div class="advice what-if">{html_text(sentence, MESSAGE_LIMIT)}</div>')
    if own.reason:
        lines.append(f"<div>{html_text(own.reason, MESSAGE_LIMIT)}</div>")
    advice = own.advice
    if others and not advice:
        reason = html_text(others[0].reason, MESSAGE_LIMIT)
        lines.append(f"<div>{html_text(others[0].series)}: {reason}</div>")
        advice = others[0].advice
    if advice:
        lines.append(f'<div class="advice">→ {html_text(advice, MESSAGE_LIMIT)}</div>')
    rates = [
        finding.message
        for finding in result.findings
        if finding.code == "learning_rate" and finding.message not in own.reason
    ]
    lines += [f"<div>{html_text(message, MESSAGE_LIMIT)}</div>" for message in rates]
    helps = own.tone != "good" and any(card.tone == "good" for card in found)
    st.html(f'<div class="answer {tone}">{"".join(lines)}</div>')
    with st.container(horizontal=True, key="remedy", vertical_alignment="center"):
        offered = downloads(result, folder)
        if offered:
            offer_download(result, offered[0], is_remedy=helps)
        show_patch(result)
        if first is not None:
            offer_to_go_back(first[0], [key])
        groups = [group for group in grouped(result) if group.is_fault]
        if groups:
            offer_to_jump(result, groups[0], "remedy")
        if st.button(
            "Copy link",
            icon=":material/link:",
            type="tertiary",
            key="copy-link",
            help="To this result, for a colleague who uses the same server.",
        ):
            st.html(COPY_LINK, unsafe_allow_javascript=True)
    if offered and has_trained_weights(result):
        st.info(STARTS_ANEW, icon=":material/restart_alt:")
    if offered and any(finding.code == "input_scaling" for finding in result.findings):
        st.warning(OTHER_INPUT, icon=":material/warning:")


def show_cards(found: Sequence[VerdictCard]) -> None:
    """Verdicts beside each other."""
    st.html(f'<div class="verdicts">{"".join(map(verdict_html, found))}</div>')


def verdict_html(card: VerdictCard) -> str:
    """One card; what stands in it names layers, and is escaped."""
    lines = [
        f'<div class="of">{html_text(card.series)}{" · " + CHECKUP if card.trained else ""}</div>',
        f'<div class="word"><span aria-hidden="true">{card.sign}</span> {card.word}</div>',
    ]
    if card.reason:
        lines.append(f"<div>{html_text(card.reason, MESSAGE_LIMIT)}</div>")
    if card.advice:
        lines.append(f'<div class="advice">→ {html_text(card.advice, MESSAGE_LIMIT)}</div>')
    return f'<div class="verdict {card.tone}">{"".join(lines)}</div>'


def show_figures(result: Result) -> None:
    """The headline figures, folded away."""
    expander = st.expander("All figures", icon=":material/numbers:", expanded=is_expert())
    with expander.container(horizontal=True, key="headline"):
        for card in cards(result):
            st.metric(
                card.label,
                card.value,
                card.note,
                delta_color="off",
                delta_arrow="off",
                help=markdown_text(card.explanation),
                width=215,
            )


def show_formats(result: Result) -> None:
    """What narrower number formats would do, where that was asked."""
    if not result.formats:
        return
    st.subheader("Number formats", anchor=False)
    table = [dict(zip(formats.HEAD, row, strict=True)) for row in formats.rows(result)]
    st.dataframe(table, hide_index=True, height=min(500, 38 + 35 * len(table)), key="formats")
    st.caption(formats.note(result))


def show_patch(result: Result) -> None:
    """AutoInit's choice as Keras code, to copy or to take along."""
    code = patch(result)
    if not code:
        return
    with st.popover("Weights as Keras code", icon=":material/content_copy:"):
        st.code(code, language="python", height=400)
        st.download_button(
            "Code, .py",
            code,
            f"{file_stem(result).replace('-', '_')}.py",
            mime="text/x-python",
            on_click="ignore",
            key="download-patch",
        )


def show_findings(result: Result, again: Again | None = None) -> None:
    """The findings: the most severe in sight, at most five, the others under "also"."""
    seen, others = split(grouped(result))
    if not seen and not others:
        return
    also = f"Also: {plural(len(others), 'finding')}"
    why = f"Why: {plural(len(seen) + len(others), 'finding')}"
    with st.expander(why if seen else also, icon=":material/info:", expanded=is_expert()):
        for group in seen:
            show_group(result, group)
            if group.code in NOT_RUN and again is not None and result.offers:
                offer_to_treat(result, again)
        folded = st.expander(also, icon=":material/info:") if seen and others else st.container()
        with folded:
            for group in others:
                show_group(result, group)


def offer_to_treat(result: Result, again: Again) -> None:
    """To run Keras's own parts in place of those whose names say what they are."""
    before = tuple(result.settings.by_name.get("treat_as") or ())
    with st.container(horizontal=True, key=f"treat-{len(before)}"):
        for each in result.offers:
            name, _, target = each.rpartition("=")
            label = f"Run {markdown_text(name, 40)} as Keras's {markdown_text(target, 40)}"
            if st.button(label, icon=":material/swap_horiz:", key=f"treat-{each}"):
                again({"treat_as": (*before, each)})


def show_group(result: Result, group: FindingGroup) -> None:
    """One cause: whose weights show it, what it means, what to do, and all messages on demand."""
    messages = group.messages
    labels = "".join(f" :gray-badge[{label}]" for label in group.labels)
    sentence = lead(result, group.code, lambda name: f"**{markdown_text(name, 60)}**")
    lines = [f"**{group.title}**{labels}", *([sentence] if sentence else [])]
    lines += [markdown_text(message, MESSAGE_LIMIT) for message in messages[:MESSAGES_IN_SIGHT]]
    if group.follows:
        lines.append(
            "\n".join(
                f"- {also.title}: {markdown_text(also.messages[0], MESSAGE_LIMIT)}"
                for also in group.follows
            )
        )
    more = f"[What it means](?finding={quote(group.code)})"
    lines.append(f"→ {markdown_text(group.advice, MESSAGE_LIMIT)} {more}")
    show, icon = st.warning, ":material/warning:"
    if group.severity.is_hint:
        show, icon = st.info, ":material/lightbulb:"
    elif group.is_fatal:
        icon = ":material/dangerous:"
    show("\n\n".join(lines), icon=icon)
    offer_to_jump(result, group)
    found = [*group.findings, *(finding for also in group.follows for finding in also.findings)]
    if len(messages) > MESSAGES_IN_SIGHT or len(found) > len(messages) + len(group.follows):
        with st.expander(f"Where: {plural(len(found), 'message')}"):
            table = [
                {
                    "layer": plain_text(finding.path),
                    "class": plain_text(finding.class_name),
                    "weights": series_name(finding.series) if finding.series else "",
                    "message": plain_text(finding.message, 1000),
                }
                for finding in found
            ]
            st.dataframe(table, hide_index=True, height=min(400, 40 + 36 * len(table)))


def show_kind(code: str) -> None:
    """What `docs/findings.md` says of a kind of finding."""
    kind = KINDS.get(code)
    if kind is None:
        st.warning("There is no finding of this name.", icon=":material/link_off:")
        return
    st.header(kind.title, anchor=False)
    st.markdown(f"{kind.cause}\n\n**What to do:** {kind.remedy}")
    st.caption(f"`{kind.code}`, a {kind.severity}, of docs/findings.md")


def offer_to_jump(result: Result, group: FindingGroup, place: str = "finding") -> None:
    """A button that shows the details of the layer that a finding names first."""
    paths = {call.path for call in result.calls}
    path = next((finding.path for finding in group.findings if finding.path in paths), None)
    if path is not None and st.button(
        f"Show {markdown_text(path, 60)}",
        icon=":material/arrow_downward:",
        type="tertiary",
        key=f"jump-{place}-{group.code}",
    ):
        jump_to(path)


def offer_download(result: Result, download: OfferedFile, is_remedy: bool = False) -> None:
    """A button that fetches a model file."""
    st.download_button(
        f"{download.label} ({size(download.path.stat().st_size)})",
        download.path.read_bytes,
        f"{file_stem(result)}{download.suffix}",
        mime=MIMES.get(download.suffix, "application/octet-stream"),
        on_click="ignore",
        type="primary" if is_remedy else "secondary",
        icon=":material/download:",
        key=f"download-model-{download.path.name}",
    )


def show_downloads(result: Result, folder: Path) -> None:
    """What can be taken away; nothing is built before it is asked for."""
    stem = file_stem(result)
    offered = downloads(result, folder)
    st.subheader("Download", anchor=False)
    with st.container(horizontal=True, key="downloads"):
        for download in offered[1:]:
            offer_download(result, download)
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
