"""Thousands of models that `autoinit batch` has analysed: looked through, and one opened.

`autoinit serve --results FILE` names the file; without it there is nothing of this.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import streamlit as st

from app.analysis.batch.row import schema
from app.analysis.batch.store import journal_of, read_rows
from app.analysis.diagnosis.table import KINDS
from app.analysis.diagnosis.verdict import Word
from app.analysis.headline import SIGNS, TONES
from app.analysis.job_spec import SAMPLE_PREFIX, JobSpec
from app.analysis.result import ResultError
from app.analysis.settings import Settings
from app.analysis.trials.settings import WORDS
from app.charts.batch import FIGURES, MARKS, MOST, scatter
from app.charts.small import before_after_chart, sparkline
from app.dashboard.result.table import matching
from app.dashboard.uploads import TRUSTS
from app.dashboard.visitors import GONE_ON
from app.text.escaping import html_text, markdown_text, plain_text
from app.text.formatting import number, percentage, plural

VARIABLE = "AUTOINIT_RESULTS"
MODELS, MODEL = "models", "model"  # of the address: that the page is shown, and of which model
CURVES = ("variances", "after_variances")
CURVES_SHOWN = 30
NAMES = {"default": "As it is", "autoinit": "After"}
COLUMNS = (
    "name", "told", "first_cause", "depth", "parameters", "within", "smallest", "largest",
    "after_told", "after_within", "update_range", "seconds",
)  # fmt: skip
Curves = dict[str, list[float | None]]  # by series
TO_THE_MODEL = """<script>
setTimeout(() => document.querySelector('.st-key-model')?.scrollIntoView(
  {behavior: 'smooth', block: 'nearest'}), 300);
</script>"""
VIEWS = ("Table", "Scatter", "Curves")


def results() -> Path | None:
    """The file that the server was told of."""
    found = os.environ.get(VARIABLE)
    return Path(found) if found else None


def list_models() -> None:
    """The way to the page, in the sidebar; nothing where there is none."""
    path = results()
    if path is not None and st.button(
        f"Models in {markdown_text(path.name, 40)}", type="tertiary", icon=":material/table:"
    ):
        st.query_params.clear()
        st.query_params[MODELS] = "all"
        st.session_state[GONE_ON] = True
        st.rerun()


def show_models(start: Callable[[JobSpec], None]) -> None:
    """All models, the filters above them, and the one that is chosen.

    Args:
        start: begins an analysis, and goes there.
    """
    path = results()
    st.title("Models", anchor=False)
    if path is None:
        st.info("This server was started without `--results FILE`.")
        return
    try:
        stamp = tuple(each.stat().st_mtime_ns for each in (path, journal_of(path)) if each.exists())
        rows = load_rows(str(path), stamp)
    except (OSError, ResultError) as error:
        st.error(f"{markdown_text(path)} {markdown_text(error)}")
        return
    chosen = filtered(rows)
    counts = ", ".join(
        f"{count:,} {word}" for word, count in chosen["outcome"].value_counts().items()
    )
    st.caption(f"{len(chosen):,} of {plural(len(rows), 'model')}: {counts or 'none'}")
    view = st.segmented_control(
        "View",
        VIEWS,
        default=VIEWS[0],
        required=True,
        key="models_view",
        label_visibility="collapsed",
    )
    {"Table": show_table, "Scatter": show_scatter, "Curves": show_curves}[view](
        chosen, str(path), stamp
    )
    found = rows[rows["key"] == st.query_params.get(MODEL)]
    if len(found):
        with st.container(key="model"):
            lines = curves_of(str(path), stamp, [int(found.index[0])])[0]
            show_model(found.iloc[0], lines, start)


@st.cache_resource(max_entries=2, show_spinner=False)
def load_rows(path: str, stamp: tuple[int, ...]) -> pd.DataFrame:
    """All columns but the curves, and what the page calls things; read anew when it has grown."""
    rows = read_rows(
        Path(path), [name for name in schema().names if name not in CURVES]
    ).to_pandas()
    rows["key"] = rows["settings_hash"] + ":" + rows["file"]
    rows["outcome"] = rows["verdict"].where(rows["status"] == "done", rows["status"])
    rows["outcome"] = rows["outcome"].fillna(rows["status"])
    rows["told"] = rows["outcome"].map(signed)
    rows["after_told"] = rows["after_verdict"].map(signed, na_action="ignore")
    rows["first_cause"] = [
        title_of(causes[0]) if len(causes) else code or ""
        for causes, code in zip(rows["causes"], rows["code"], strict=True)
    ]
    rows["name"] = short_names(rows["file"])
    return rows


@st.cache_resource(max_entries=2, show_spinner=False)
def load_curves(path: str, stamp: tuple[int, ...]) -> pa.Table:
    """The curves, in the order of the rows; read when they are first drawn."""
    return read_rows(Path(path), CURVES)


def curves_of(path: str, stamp: tuple[int, ...], places: list[int]) -> list[Curves]:
    """Variances by series, of the rows at these places."""
    found = load_curves(path, stamp).take(places).to_pylist()
    return [dict(zip(NAMES, (row[name] for name in CURVES), strict=True)) for row in found]


def signed(word: str) -> str:
    """A verdict with its sign; what is none stays as it is."""
    return f"{SIGNS[TONES[Word(word)]]} {word}" if word in MARKS else f"– {word}"


def title_of(code: str) -> str:
    """What the page calls a finding."""
    return KINDS[code].title if code in KINDS else plain_text(code)


def short_names(files: pd.Series) -> list[str]:
    """Paths without the folder that all of them lie in; samples and builders as they are called."""
    paths = [os.path.dirname(file) for file in files if os.path.isabs(file)]
    common = os.path.join(os.path.commonpath(paths), "") if paths else ""
    return [plain_text(file.removeprefix(common), 80) for file in files]


def filtered(rows: pd.DataFrame) -> pd.DataFrame:
    """The models that pass the filters: part of a name, verdict, cause, size."""
    causes = sorted({code for each in rows["causes"] for code in each}, key=title_of)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Filter",
            placeholder="part of a path, or a pattern",
            icon=":material/search:",
            key="models_filter",
            width=240,
            max_chars=200,
        )
        verdicts = st.multiselect(
            "Verdicts",
            list(dict.fromkeys([*MARKS, *rows["outcome"]])),
            placeholder="all",
            key="models_verdicts",
            width=240,
        )
        named = st.multiselect(
            "Causes",
            causes,
            format_func=title_of,
            placeholder="all",
            key="models_causes",
            width=280,
        )
        depth = size_slider(rows, "depth", "Depth")
        parameters = size_slider(rows, "parameters", "Parameters")
    kept = matching(rows["file"], text) if text else pd.Series(True, rows.index)
    if verdicts:
        kept &= rows["outcome"].isin(verdicts)
    if named:
        kept &= rows["causes"].map(lambda found: not set(named).isdisjoint(found))
    for name, ends in (("depth", depth), ("parameters", parameters)):
        if ends is not None:
            kept &= rows[name].between(*ends)
    return rows[kept]


def size_slider(rows: pd.DataFrame, name: str, label: str) -> tuple[float, float] | None:
    """Between which sizes; None where the ends are not moved, or all are equal."""
    known = rows[name].dropna()
    steps = sorted({int(known.quantile(place / 20)) for place in range(21)}) if len(known) else []
    if len(steps) < 2:
        return None
    ends = st.select_slider(
        label,
        steps,
        (steps[0], steps[-1]),
        format_func=lambda size: f"{size:,}",
        key=f"models_{name}",
        width=200,
        help="Steps of a twentieth of the models.",
    )
    return None if ends == (steps[0], steps[-1]) else ends


def choose(rows: pd.DataFrame, place: int) -> None:
    """Puts a model into the address."""
    if 0 <= place < len(rows):
        st.query_params[MODEL] = rows["key"].iloc[place]


def show_table(rows: pd.DataFrame, _path: str, stamp: tuple[int, ...]) -> None:
    """A line for each; its head sorts, a click opens."""
    number_column = st.column_config.NumberColumn
    event = st.dataframe(
        rows[list(COLUMNS)],
        hide_index=True,
        key="models",
        on_select="rerun",
        selection_mode="single-row",
        height=min(430, 80 + 35 * len(rows)),
        placeholder="",
        alt="Verdict, first cause, size and variances of each model.",
        column_config={
            "name": st.column_config.TextColumn("model", width=260, pinned=True),
            "told": st.column_config.TextColumn("verdict", width=130),
            "first_cause": st.column_config.TextColumn("first cause", width=220),
            "depth": number_column("depth", help="Layers with a kernel, on the longest way."),
            "parameters": number_column("parameters", format="localized"),
            "within": number_column(
                "near the target",
                format="percent",
                help="Share of the layers with a kernel whose "
                "variance is 0.8 to 1.25 times the target.",
            ),
            "smallest": number_column("smallest variance", format="%.3g"),
            "largest": number_column("largest variance", format="%.3g"),
            "after_told": st.column_config.TextColumn("after AutoInit", width=130),
            "after_within": number_column("near it, after", format="percent"),
            "update_range": number_column("range of updates", format="%.3g"),
            "seconds": number_column("seconds", format="%.2f"),
        },
    )
    for place in event["selection"]["rows"]:
        choose(rows, place)


def show_scatter(rows: pd.DataFrame, _path: str, stamp: tuple[int, ...]) -> None:
    """Any two figures; a click on a point opens its model."""
    offered = [name for name in FIGURES if rows[name].notna().any()]
    if not offered:
        st.info("None of these models has figures.")
        return
    with st.container(horizontal=True):
        across, up = (
            st.selectbox(
                label,
                offered,
                index=offered.index(usual) if usual in offered else 0,
                format_func=lambda name: FIGURES[name].label,
                key=f"models_{label}",
                width=280,
            )
            for label, usual in (("Across", "depth"), ("Up", "within"))
        )
    event = st.plotly_chart(
        scatter(
            {name: rows[name].tolist() for name in {"file", "verdict", across, up}}, across, up
        ),
        key="models_scatter",
        on_select="rerun",
        selection_mode="points",
        config={"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d"]},
        alt=f"{FIGURES[up].label} by {FIGURES[across].label}, a point for each model.",
    )
    if len(rows) > MOST:
        st.caption(f"Drawn are {MOST:,} at most, evenly taken; filters bring the others.")
    for point in event["selection"]["points"][:1]:
        choose(rows, int(point["customdata"]))


def show_curves(rows: pd.DataFrame, path: str, stamp: tuple[int, ...]) -> None:
    """Small multiples: variance by layer, as it is and after; a click opens."""
    offered = ["file", *(name for name in FIGURES if rows[name].notna().any())]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = st.selectbox(
            "First",
            offered,
            key="models_order",
            width=280,
            format_func=lambda name: "as in the file" if name == "file" else FIGURES[name].label,
        )
        largest = st.toggle("Largest first", key="models_largest")
    known = rows[rows["status"] == "done"]
    if order != "file":
        known = known.sort_values(order, ascending=not largest, na_position="last")
    shown = known.head(CURVES_SHOWN)
    pictures = zip(shown.itertuples(), curves_of(path, stamp, list(shown.index)), strict=True)
    st.caption(
        f"The first {len(shown):,} of {len(known):,}. Variance of the layers with a kernel, each "
        "picture on a log scale of its own; dashed as it is, solid after AutoInit, grey at 1."
    )
    # As images: Streamlit takes drawings out of HTML.
    cells = (
        f'<a href="?{MODELS}=all&{MODEL}={html_text(quote(row.key), 2000)}"><img alt="" '
        f'src="data:image/svg+xml,{quote(sparkline(lines))}">'
        f"<span>{html_text(row.name, 30)}<br>{html_text(row.told)}</span></a>"
        for row, lines in pictures
    )
    with st.container(key="curves"):
        st.html(f"<div class=curves>{''.join(cells)}</div>")


def _of_trial(row: pd.Series) -> str:
    if pd.isna(row["chance"]):
        return ""
    if pd.isna(row["best_score"]):
        return " Trained for some steps, nothing learnt."
    best = markdown_text(WORDS.get(row["best_scheme"], row["best_scheme"]))
    own = "" if pd.isna(row["own_score"]) else f"its own initializers {number(row['own_score'])}, "
    return (
        f" Trained for some steps, best was {best} at a rate of {number(row['best_rate'])}: "
        f"{number(row['best_score'])} ({own}without training {number(row['chance'])})."
    )


def show_model(row: pd.Series, lines: Curves, start: Callable[[JobSpec], None]) -> None:
    """One model: what its row says, its curves, and the way to its analysis."""
    st.divider()
    if st.session_state.get("model_seen") != row["key"]:
        st.session_state.model_seen = row["key"]
        st.html(TO_THE_MODEL, unsafe_allow_javascript=True)
    st.subheader(markdown_text(row["name"], 100), anchor=False)
    if row["status"] != "done":
        st.error(f"{row['told'].removeprefix('– ').capitalize()}: {markdown_text(row['reason'])}")
    else:
        st.markdown(f"**{row['told']}** {markdown_text(row['verdict_reason'])}")
        told = [
            f"[{title_of(code)}](?finding={quote(code)})" if code in KINDS else markdown_text(code)
            for code in row["causes"]
        ]
        if told:
            st.markdown("Causes: " + ", ".join(told))
        st.caption(
            f"{row['parameters']:,.0f} parameters, depth {row['depth']:.0f}; "
            f"{percentage(row['within'])} of the layers with a kernel within 0.8 to 1.25, "
            f"variances {number(row['smallest'])} to {number(row['largest'])}. After AutoInit: "
            f"{row['after_told']}, {percentage(row['after_within'])} within, "
            f"{number(row['after_smallest'])} to {number(row['after_largest'])}. "
            f"{row['seconds']:.2f} s." + _of_trial(row)
        )
        layers = [f"layer {place + 1} with a kernel" for place in range(len(lines["default"]))]
        st.plotly_chart(
            before_after_chart(lines, layers, NAMES),
            key="model_curve",
            config={"displayModeBar": False},
            alt="Variance by layer, as it is and after AutoInit.",
        )
    is_there = row["file"].startswith(SAMPLE_PREFIX) or os.path.exists(row["file"])
    if not is_there:
        st.caption(f"{markdown_text(row['file'])} is not on this machine.")
    elif st.button("Open its analysis", icon=":material/play_arrow:"):
        start(spec_of(row))


def spec_of(row: pd.Series) -> JobSpec:
    """The analysis of a row's model, with its settings; code is run only where the server may."""
    settings = Settings(**{**json.loads(row["settings"]), "custom_objects": None})
    name = row["file"].removeprefix(SAMPLE_PREFIX).rpartition("/")[2]
    return JobSpec(row["file"], name, settings.replace(trust=settings.trust and TRUSTS))
