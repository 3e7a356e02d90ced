"""The chart of a finished job: one figure, and the views that a visitor can choose of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from app.analysis.cards import COUNTED, cards
from app.analysis.headline import model_name, verdict_cards
from app.analysis.result import Result
from app.charts import mark, overview_chart
from app.charts.theme import only_what_is_asked_first
from app.charts.views import VIEWS, View
from app.export.downloads import file_stem
from app.text.escaping import markdown_text

# Starts the same analysis with other settings; None where the page does not know how.
Again = Callable[[Mapping[str, Any]], None]

OTHER_MODEL, VIEW, SHOWN = "other_model", "view", "shown_calls"
FEW_CALLS = 40  # that can be told apart without a closer look
PICTURE, PICTURES = "picture", ("svg", "png")  # what a chart's camera saves
EXPERT = "expert"
VIEWS_AT_FIRST = ("variance", "gradient")
CHART_HEIGHT = 400  # pixels, so that the whole answer fits on a screen


def is_expert() -> bool:
    """Whether every figure is shown: as the switch says, or before it is drawn the address."""
    return bool(st.session_state.get(EXPERT, st.query_params.get(EXPERT) == "true"))


def offer_every_figure() -> None:
    """The switch between an answer and all that it rests on; the address keeps it."""
    st.toggle(
        "Expert: every figure",
        key=EXPERT,
        bind="query-params",
        help="Predictions beside measurements, all views, blocks, all columns, all settings.",
    )


def choose_calls(result: Result) -> range:
    """Which calls are shown: all of a short network, a stretch of a deep one.

    The slider keeps it whatever else is chosen, through the next analysis, too, during which it is
    not drawn; a zoom by the mouse ends when the chart is redrawn.
    """
    last = len(result.calls) - 1
    if last < FEW_CALLS:
        return range(last + 1)
    strip = st.container(key="overview")
    start, stop = st.slider(
        "Layers shown in chart and table",
        0,
        last,
        (0, last),
        key=f"{SHOWN}-{last}",  # One for each depth: the other's stretch may not exist in this.
        persist_state="session",
        help="Drag either end, or step with the arrow keys. The strip above has all layers."
        f" {COUNTED}",
    )
    shown = range(start, stop + 1)
    strip.plotly_chart(
        overview_chart(result, shown),
        key="strip",
        config={"staticPlot": True},
        alt=f"Variance of all {last + 1:,} layers; the chart shows {start:,} to {stop:,}.",
    )
    return shown


def choose_view() -> View:
    """One of the ways to look at the result; at first those that a verdict speaks of."""
    offered = list(VIEWS) if is_expert() else list(VIEWS_AT_FIRST)
    if st.session_state.get(VIEW, offered[0]) not in offered:
        st.session_state[VIEW] = offered[0]
    name = st.segmented_control(
        "View",
        offered,
        format_func=lambda name: VIEWS[name].label,
        default=offered[0],
        required=True,
        key=VIEW,
        persist_state="session",
        label_visibility="collapsed",
    )
    return VIEWS[name]


def show_chart(
    result: Result, again: Again | None, view: View, shown: range, marked: Sequence[int]
) -> list[int]:
    """The chart that the page is for, in the view that is chosen.

    Args:
        result: of the job, its blocks collapsed where that is chosen.
        again: starts the analysis with other settings.
        view: that is chosen.
        shown: indices of the calls that are drawn.
        marked: indices of the calls that are chosen in the table.

    Returns:
        Indices of the calls that are chosen in the chart.
    """
    if not view.available(result):
        show_missing(view, again)
        return []
    if is_expert():
        st.caption(view.help)
    variant = choose_variant(view, result)
    sentences = [f"- {markdown_text(sentence)}" for sentence in view.sentences(result)]
    if view.by_call and sentences:
        st.markdown("\n".join(sentences))
    if view.has_predictions and is_expert():
        offer_other_model(result)
    drawn = result.with_calls(result.calls[shown.start : shown.stop])
    figure = view.draw(drawn, draws_other(), variant)
    if not view.by_call:
        st.plotly_chart(
            figure,
            key="spectrum",
            config=chart_settings(result, view.name),
            alt=f"{view.title}; the figures are below.",
        )
        st.markdown("\n".join(sentences))
        return []
    mark(figure, [index - shown.start for index in marked if index in shown])
    if len(drawn.calls) < len(result.calls):
        stretch = f"{shown.start:,} to {shown.stop - 1:,} of {len(result.calls):,}"
        figure.update_layout(xaxis_title=f"layers {stretch}, in order of execution")
    if not is_expert():
        only_what_is_asked_first(figure)
        figure.update_layout(height=CHART_HEIGHT)
    figure.update_layout(dragmode="zoom")
    event = st.plotly_chart(
        figure,
        key="chart",
        config=chart_settings(result, view.name),
        alt=f"{view.label} of each layer. {summary(result)}. The figures are in the table below.",
        on_select="rerun",
        selection_mode=("points", "box"),
    )
    points = event["selection"]["points"]
    places = {int(point["x"]) + shown.start for point in points if "x" in point}
    return sorted(place for place in places if place in shown)


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


def choose_variant(view: View, result: Result) -> str:
    """Which of a view's charts, and how to read it; an empty string where there is one only."""
    offered, key = view.offered(result), f"{view.name}_kind"
    if not offered:
        return ""
    if st.session_state.get(key) not in offered:
        st.session_state.pop(key, None)
    name: str = st.segmented_control(
        view.label,
        offered,
        format_func=lambda name: offered[name].label,
        default=next(iter(offered)),
        required=True,
        key=key,
        persist_state="session",
        label_visibility="collapsed",
    )
    st.caption(offered[name].help)
    return name


def offer_other_model(result: Result) -> None:
    """The predictions of the signal model that was not chosen."""
    model = result.other_model
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
    return is_expert() and bool(st.session_state.get(OTHER_MODEL))


def summary(result: Result) -> str:
    """The headline in a sentence, for those who do not see the chart."""
    verdicts = "; ".join(f"{card.series}: {card.word}" for card in verdict_cards(result))
    return f"{verdicts}; " + "; ".join(
        f"{card.label}: {card.value} ({card.note})" for card in cards(result)
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
