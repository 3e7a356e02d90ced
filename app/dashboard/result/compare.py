"""Several runs side by side, and what-ifs, which are further runs of the same model.

Which ones stands in the address, where a refresh finds them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from app.analysis.headline import series_name
from app.analysis.options import table
from app.analysis.result import Result
from app.analysis.settings import AS_IT_IS, Settings
from app.analysis.side_by_side import differences, label, runs_table, what_if
from app.charts.side_by_side import (
    JACOBIAN,
    QUANTITIES,
    differences_chart,
    jacobians_chart,
    quantities_of,
    runs_chart,
)
from app.dashboard.result.charts import Again, chart_settings
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


# What inputs usually are: mean and variance.
USUAL_INPUTS = {
    "Standardised": (0.0, 1.0),
    "0 to 1": (0.5, 1 / 12),
    "−1 to 1": (0.0, 1 / 3),
    "Bytes, 0 to 255": (127.5, 255.0**2 / 12),
}
WHAT_IFS = ("activation", "normalization", "offset", "scheme")


@st.fragment
def offer_what_if(key: str, result: Result, again: Again) -> None:
    """The model with something changed, analysed as another run that is shown beside this one.

    Args:
        key: of this job.
        result: of it.
        again: starts the same analysis with other settings.
    """
    st.subheader("What if …", anchor=False)
    used, entries = result.settings.by_name, table(Settings)
    changes: dict[str, Any] = {}
    with st.container(horizontal=True, vertical_alignment="bottom", key="what-if"):
        for name in WHAT_IFS:
            entry = entries[name]
            now = used.get(name, entry.default)
            value = st.selectbox(
                entry.option.label,
                entry.choices,
                entry.choices.index(now),
                format_func=entry.words,
                help=entry.help,
                width=158,
                key=f"{name}-{key[:8]}",
            )
            changes |= {name: value} if value != now else {}
        if not used.get("input_data") and any(
            each.mean is not None for each in result.model.inputs
        ):
            value = st.selectbox(
                "Input",
                (AS_IT_IS, *USUAL_INPUTS),
                format_func=entry.words,
                width=158,
                help="The data that the network is fed.",
                key=f"input-{key[:8]}",
            )
            if value in USUAL_INPUTS:
                mean, variance = USUAL_INPUTS[value]
                changes |= {"input_mean": mean, "input_variance": variance, "input_moments": None}
        if st.button(
            "Find out", icon=":material/alt_route:", disabled=not changes, key="try-what-if"
        ):
            put_into_address([*kept_keys(), key])
            again(changes)
    st.caption(
        "The same model with this changed, its figures beside these, and to take home. Weights "
        "stay where they fit; outputs, gates, recurrent layers and attention keep their activation."
    )


def as_it_is(
    key: str, result: Result, load: Callable[[str], Result | None]
) -> tuple[str, Result] | None:
    """The kept run of the same model as it is, where this one is a what-if: its key and result.

    It was kept before what was made of it.
    """
    for other in kept_keys():
        if other == key:
            return None
        found = load(other)
        if found is not None and what_if(result, found):
            return other, found
    return None


def offer_to_go_back(first: str, also: Sequence[str] = ()) -> None:
    """A button that leads from a what-if to the model as it is; the comparison is kept."""
    if st.button(
        "As it is",
        icon=":material/undo:",
        type="tertiary",
        key="as-it-is",
        help="Back to the model without what was changed",
    ):
        put_into_address([*kept_keys(), *also])
        st.query_params["job"] = first
        st.rerun()


def kept_keys() -> list[str]:
    """The jobs that the address names, each once."""
    text = st.query_params.get(KEPT, "")
    return list(dict.fromkeys(filter(None, text.split(","))))[:MOST]


def keep(keys: Sequence[str]) -> None:
    """Keeps these jobs."""
    put_into_address(keys)
    st.rerun()


def put_into_address(keys: Sequence[str]) -> None:
    """Has the address name the jobs, each once."""
    if keys:
        st.query_params[KEPT] = ",".join(list(dict.fromkeys(keys))[:MOST])
    elif KEPT in st.query_params:
        del st.query_params[KEPT]


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
            "Weights",
            common,
            format_func=series_name,
            default=common[0],
            required=True,
            key="compared_series",
            label_visibility="collapsed",
        )
        offered = quantities_of(results, series)
        name = st.segmented_control(
            "What",
            list(offered),
            format_func=offered.__getitem__,
            default=next(iter(offered)),
            required=True,
            key="compared_what",
            label_visibility="collapsed",
        )
        how = st.segmented_control(
            "How",
            (SIDE_BY_SIDE, DIFFERENCE),
            default=SIDE_BY_SIDE,
            required=True,
            key="compared_how",
            label_visibility="collapsed",
        )
    if name == JACOBIAN:
        figure = jacobians_chart(results, series)
    elif how == DIFFERENCE:
        for place, other in enumerate(results[1:], start=2):
            alike, calls = len(differences(results[0], other, series)), len(results[0].calls)
            if alike < FEW_IN_COMMON * calls:
                st.caption(
                    f"{markdown_text(label(place, other), 60)} has {alike:,} of the {calls:,} "
                    f"layers of {markdown_text(label(1, results[0]), 60)} by the same name."
                )
        figure = differences_chart(results, series, QUANTITIES[name])
    else:
        figure = runs_chart(results, series, QUANTITIES[name])
    st.plotly_chart(
        figure,
        key="runs_chart",
        config=chart_settings(results[0], "runs"),
        alt=f"{offered[name]} of {len(results)} runs; the table above has their range.",
    )
