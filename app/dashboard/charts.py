"""The chart of a finished job: one figure, and the views that a visitor can choose of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from app.analysis.correlations import KINDS, has_correlations, phases
from app.analysis.headline import cards, is_number, model_name, other_model, series_name
from app.charts import (
    correlation_chart,
    gradient_chart,
    largest_chart,
    mark,
    mean_chart,
    overview_chart,
    spectrum_chart,
    variance_chart,
)
from app.export.downloads import file_stem
from app.jobs.handles import read_result
from app.text.escaping import markdown_text
from app.text.formatting import number, plural, shape

Result = dict[str, Any]
# Starts the same analysis with other settings; None where the page does not know how.
Again = Callable[[dict[str, Any]], None]

OTHER_MODEL, VIEW, SHOWN = "other_model", "view", "shown_calls"
FEW_CALLS = 40  # that can be told apart without a closer look
PICTURE, PICTURES = "picture", ("svg", "png")  # what a chart's camera saves
CORRELATION_CAPTIONS = {
    "sample_correlation": "Of one channel's entries for two inputs, at one position. At 1 the "
    "network gives the same for every input.",
    "position_correlation": "Of one channel's entries at two positions of one input, averaged over "
    "all pairs. At 1 a map is the same everywhere.",
}


@dataclass(frozen=True)
class View:
    """One way to look at a result.

    Attributes:
        label: what the button says.
        caption: how to read the chart.
        draw: the chart, for a result and whether the other model's predictions are drawn.
        has_predictions: whether these are in it.
        has_figures: whether the result has what it draws.
        missing: what to say, and which setting gives the figures, where it has not.
    """

    label: str
    caption: str
    draw: Callable[[Result, bool], go.Figure]
    has_predictions: bool = False
    has_figures: Callable[[Result], bool] = lambda result: True
    missing: tuple[str, dict[str, Any]] | None = None


def draw_correlation(result: Result, other: bool) -> go.Figure:
    """The correlation that is chosen beside the chart."""
    return correlation_chart(result, st.session_state.get("correlation_kind", next(iter(KINDS))),
                             other)  # fmt: skip


VIEWS = {
    "variance": View(
        "Variance",
        "Lines are measured, dots predicted; red marks are layers with a kernel. Drag to zoom, "
        "double-click to return.",
        variance_chart,
        has_predictions=True,
    ),
    "mean": View("Mean", "Lines are measured, dots predicted.", mean_chart, has_predictions=True),
    "correlation": View(
        "Correlation",
        "Lines are measured, dots predicted.",
        draw_correlation,
        has_predictions=True,
        has_figures=has_correlations,
        missing=("Correlations need two samples and two channels, at least.", {}),
    ),
    "gradient": View(
        "Gradient",
        "What flows back to each call's output from a random function of the network's outputs: "
        "the gradient of Σ c·y with standard normal c. It is read from right to left.",
        lambda result, other: gradient_chart(result),
        has_figures=lambda result: bool(result.get("gradients")),
        missing=(
            "Gradients were not measured: a pass back takes several times as long as a pass "
            "forward.",
            {"gradients": True},
        ),
    ),
    "largest": View(
        "Largest entry",
        "The largest absolute value at each call, beside what floating types can hold: mixed "
        "precision loses what lies beyond.",
        lambda result, other: largest_chart(result),
    ),
    "jacobian": View(
        "Jacobian",
        "The density of the singular values of the input–output Jacobian. Where all lie near 1, "
        "signals and gradients keep their length in every direction (dynamical isometry).",
        lambda result, other: spectrum_chart(result),
        has_figures=lambda result: bool(result.get("jacobian")),
        missing=("The Jacobian's singular values were not measured.", {"jacobian": 1}),
    ),
}


def choose_calls(result: Result) -> range:
    """Which calls are shown: all of a short network, a stretch of a deep one.

    The slider keeps it whatever else is chosen, through the next analysis, too, during which it is
    not drawn; a zoom by the mouse ends when the chart is redrawn.
    """
    last = len(result["calls"]) - 1
    if last < FEW_CALLS:
        return range(last + 1)
    strip = st.container(key="overview")
    start, stop = st.slider(
        "Calls shown in chart and table",
        0,
        last,
        (0, last),
        key=f"{SHOWN}-{last}",  # One for each depth: the other's stretch may not exist in this.
        persist_state="session",
        help="Drag either end, or step with the arrow keys. The strip above has all calls.",
    )
    shown = range(start, stop + 1)
    strip.plotly_chart(
        overview_chart(result, shown),
        key="strip",
        config={"staticPlot": True},
        alt=f"Variance of all {last + 1:,} calls; the chart shows {start:,} to {stop:,}.",
    )
    return shown


def show_chart(
    result: Result, again: Again | None, shown: range, marked: Sequence[int]
) -> list[int]:
    """The chart that the page is for, in the view that is chosen.

    Args:
        result: of the job, its blocks collapsed where that is chosen.
        again: starts the analysis with other settings.
        shown: indices of the calls that are drawn.
        marked: indices of the calls that are chosen in the table.

    Returns:
        Indices of the calls that are chosen in the chart.
    """
    name = st.segmented_control(
        "View",
        VIEWS,
        format_func=lambda name: VIEWS[name].label,
        default=next(iter(VIEWS)),
        required=True,
        key=VIEW,
        persist_state="session",
        label_visibility="collapsed",
    )
    view = VIEWS[name]
    if not view.has_figures(result):
        show_missing(view, again)
        return []
    st.caption(view.caption)
    if name == "correlation":
        choose_correlation(result)
    if view.has_predictions:
        offer_other_model(result)
    drawn = result | {"calls": result["calls"][shown.start : shown.stop]}
    figure = view.draw(drawn, draws_other())
    if name == "jacobian":
        st.plotly_chart(
            figure,
            key="spectrum",
            config=chart_settings(result, name),
            alt="Density of the singular values; the figures are below.",
        )
        st.markdown("\n".join(f"- {sentence}" for sentence in isometry_sentences(result)))
        return []
    mark(figure, [index - shown.start for index in marked if index in shown])
    if len(drawn["calls"]) < len(result["calls"]):
        figure.update_layout(xaxis_title=f"calls {shown.start:,} to {shown.stop - 1:,} of "
                             f"{len(result['calls']):,}, in order of execution")  # fmt: skip
    figure.update_layout(dragmode="zoom")
    event = st.plotly_chart(
        figure,
        key="chart",
        config=chart_settings(result, name),
        alt=f"{view.label} of each call. {summary(result)}. The figures are in the table below.",
        on_select="rerun",
        selection_mode=("points", "box"),
    )
    points = event["selection"]["points"]
    places = {int(point["x"]) + shown.start for point in points if "x" in point}
    return sorted(place for place in places if place in shown)


def show_preview(path: Path, written: int) -> None:
    """The variances that a job under way knows: predicted at first, and then measured."""
    figure = preview_chart(str(path), written)
    if figure is not None:
        st.subheader("So far", anchor=False)
        st.plotly_chart(
            figure,
            key="preview",
            config={"displayModeBar": False},
            alt="Variance of each call, as far as it is known.",
        )


@st.cache_resource(max_entries=8, show_spinner=False)
def preview_chart(path: str, written: int) -> go.Figure | None:
    """The chart, drawn once each time that the job writes; None if the job has just ended."""
    try:
        return variance_chart(read_result(Path(path)))
    except (OSError, ValueError):
        return None


def show_missing(view: View, again: Again | None) -> None:
    """What to do for figures that were not measured."""
    if view.missing is None:
        return
    sentence, settings = view.missing
    with st.container(border=True, key="missing"):
        st.markdown(sentence)
        if settings and again is not None:
            if st.button(f"Measure: {view.label.lower()}", icon=":material/play_arrow:"):
                again(settings)
        elif settings:
            st.caption("Choose it in the sidebar, under Measurement, and press Analyse.")


def choose_correlation(result: Result) -> None:
    """Which correlation, how to read it, and the phase of the network."""
    kind = st.segmented_control(
        "Correlation",
        KINDS,
        format_func=KINDS.__getitem__,
        default=next(iter(KINDS)),
        required=True,
        key="correlation_kind",
        persist_state="session",
        label_visibility="collapsed",
    )
    st.caption(CORRELATION_CAPTIONS[kind])
    told = list(phases(result))
    if told:
        st.markdown("\n".join(f"- {sentence}" for sentence in told))


def offer_other_model(result: Result) -> None:
    """The predictions of the signal model that was not chosen."""
    model = other_model(result)
    if model is not None:
        st.toggle(
            f"Draw what {model_name(model)} predicts, too",
            key=OTHER_MODEL,
            persist_state="session",
            help="Predictions for the same weights by the signal model that was not chosen, as "
            "dashed lines.",
        )


def draws_other() -> bool:
    """Whether the predictions of the signal model that was not chosen are drawn."""
    return bool(st.session_state.get(OTHER_MODEL))


def summary(result: Result) -> str:
    """The headline in a sentence, for those who do not see the chart."""
    return "; ".join(f"{card.label}: {card.value} ({card.note})" for card in cards(result))


def isometry_sentences(result: Result) -> Iterator[str]:
    """What each series' Jacobian comes to."""
    for series, found in (result.get("jacobian") or {}).items():
        smallest = found["smallest"]
        told = (
            f"**{series_name(series)}**: {shape(found['shape'])}, singular values from "
            f"{number(smallest) if is_number(smallest) else 'an unknown smallest'} to "
            f"{number(found['largest'])}, mean square {number(found['mean_square'])}, condition "
            f"number {number(found['condition_number'], 'not known')}"
        )
        if found["rank_deficiency"]:
            told += f", {found['rank_deficiency']:,} of them 0 to rounding"
        yield f"{told}. {markdown_text(found['note'])}".rstrip()
    for found in list((result.get("jacobian") or {}).values())[:1]:
        targets = ", ".join(markdown_text(name, 60) for name in found["targets"])
        how = "from the matrix" if found["obtained"] == "matrix" else "by Lanczos iterations"
        yield (
            f"Of {targets}, at {plural(found['inputs'], 'random input')}, in inference mode, {how}."
        )


def chart_settings(result: Result, what: str) -> dict[str, Any]:
    """The mode bar: zoom and a picture, without what has no use here."""
    return {
        "displaylogo": False,
        "modeBarButtonsToRemove": ["lasso2d", "autoScale2d"],
        "toImageButtonOptions": {
            "format": st.session_state.get(PICTURE, PICTURES[0]),
            "filename": f"{file_stem(result)}-{what}",
            "scale": 2,
        },
    }
