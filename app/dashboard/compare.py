"""Several runs side by side. Which ones stands in the address, where a refresh finds them."""

from collections.abc import Callable, Sequence

import streamlit as st

from app.analysis.headline import series_name
from app.analysis.result import Result
from app.analysis.side_by_side import differences, label, runs_table
from app.charts.side_by_side import differences_chart, runs_chart
from app.dashboard.charts import chart_settings
from app.text.escaping import markdown_text, plain_text

KEPT = "kept"  # of the address
MOST = 6
FEW_IN_COMMON = 0.5  # below this share of common calls a difference says little
SIDE_BY_SIDE, DIFFERENCE = "Side by side", "Difference"


def show_comparison(key: str, result: Result, load: Callable[[str], Result | None]) -> None:
    """The runs that were kept beside this one.

    Args:
        key: of this job.
        result: of it.
        load: the result of another job by its key; None where there is none any more.
    """
    kept = kept_keys()
    st.subheader("Compare", anchor=False)
    others = [(other, load(other)) for other in kept if other != key]
    runs = [(key, result), *((other, found) for other, found in others if found is not None)]
    choose(key, kept, [other for other, found in others if found is None])
    if len(runs) == 1:
        st.caption(
            "Keep this run, then analyse another model, another activation or other settings: "
            "both are drawn together. What is kept stands in the address of this page."
        )
        return
    show_runs([found for _, found in runs])


def kept_keys() -> list[str]:
    """The jobs that the address names, each once."""
    text = st.query_params.get(KEPT, "")
    return list(dict.fromkeys(filter(None, text.split(","))))[:MOST]


def keep(keys: Sequence[str]) -> None:
    """Puts the jobs into the address."""
    if keys:
        st.query_params[KEPT] = ",".join(keys)
    elif KEPT in st.query_params:
        del st.query_params[KEPT]
    st.rerun()


def choose(key: str, kept: Sequence[str], lost: Sequence[str]) -> None:
    """The buttons that keep this run, or let go of all."""
    with st.container(horizontal=True):
        if key in kept:
            if st.button("Let go of this run", icon=":material/bookmark_remove:"):
                keep([other for other in kept if other != key])
        elif st.button(
            "Keep this run",
            icon=":material/bookmark_add:",
            disabled=len(kept) >= MOST,
            help=f"At most {MOST} runs are kept." if len(kept) >= MOST else None,
        ):
            keep([*kept, key])
        if kept and st.button("Let go of all", icon=":material/delete:"):
            keep([])
    if lost:
        st.caption(
            f"{len(lost)} of the runs in the address are not there any more: results are kept for "
            "a day after they were last looked at."
        )


@st.fragment
def show_runs(results: Sequence[Result]) -> None:
    """The table of runs, and their charts."""
    table = [
        {plain_text(name): plain_text(text) for name, text in row.items()}
        for row in runs_table(results)
    ]
    st.dataframe(table, hide_index=True, placeholder="", key="runs")
    common = [s for s in ("autoinit", "default", "uploaded") if all(s in r.series for r in results)]
    with st.container(horizontal=True):
        series = st.segmented_control(
            "Weights", common, format_func=series_name, default=common[0], required=True,
            key="compared_series", label_visibility="collapsed",
        )  # fmt: skip
        how = st.segmented_control(
            "How", (SIDE_BY_SIDE, DIFFERENCE), default=SIDE_BY_SIDE, required=True,
            key="compared_how", label_visibility="collapsed",
        )  # fmt: skip
    if how == DIFFERENCE:
        for place, other in enumerate(results[1:], start=2):
            alike, calls = len(differences(results[0], other, series)), len(results[0].calls)
            if alike < FEW_IN_COMMON * calls:
                st.caption(
                    f"{markdown_text(label(place, other), 60)} has {alike:,} of the {calls:,} "
                    f"layers of {markdown_text(label(1, results[0]), 60)} by the same name."
                )
        figure = differences_chart(results, series)
    else:
        figure = runs_chart(results, series)
    st.plotly_chart(
        figure,
        key="runs_chart",
        config=chart_settings(results[0], "runs"),
        alt=f"Measured variance of {len(results)} runs; the table above has their range.",
    )
