"""One call in detail: its figures, its rule, its kernels, its distribution and its neighbours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from app.analysis.headline import series_name
from app.analysis.result import SUPPORTS, Call, Part, Result
from app.charts.histograms import histogram_chart
from app.charts.network import neighborhood_chart
from app.dashboard.result.charts import chart_settings
from app.jobs.folders import HISTOGRAMS, read_written
from app.text.escaping import markdown_text, plain_text
from app.text.formatting import number, percentage, shape

# Parsed as a whole, which takes up to 25 times as much memory. A call has 250 bytes a series.
HISTOGRAMS_LIMIT = 16 * 2**20
_MARKS = {
    "weighted": "has a kernel",
    "frozen": "keeps its weights",
    "tainted": "after a layer without a rule: the prediction may be off",
}
Show = Callable[[float | None], str]
_FIGURES: tuple[tuple[str, Callable[[Call, str], Part | None], str, Show], ...] = (
    ("variance, measured", Call.measured, "variance", number),
    ("variance, standard error", Call.measured, "standard_error", percentage),
    ("variance, predicted", Call.predicted, "variance", number),
    ("mean, measured", Call.measured, "mean", number),
    ("mean, predicted", Call.predicted, "mean", number),
    ("smallest entry", Call.measured, "minimum", number),
    ("largest entry", Call.measured, "maximum", number),
    ("zeros", Call.measured, "zero_fraction", percentage),
    ("finite", Call.measured, "finite_fraction", percentage),
    ("kurtosis", Call.measured, "kurtosis", number),
    ("dead channels", Call.measured, "dead_fraction", percentage),
    ("saturated", Call.measured, "saturated_fraction", percentage),
    ("correlation of samples", Call.measured, "sample_correlation", number),
    ("correlation of positions", Call.measured, "position_correlation", number),
    ("gradient's variance", Call.gradient, "variance", number),
    ("gradient's square norm", Call.gradient, "square_norm", number),
    ("update ratio of the kernel", Call.of, "update_ratio", number),
)


def show_call(result: Result, call: Call, folder: Path) -> None:
    """All that a result has of one call.

    Args:
        result: of the job.
        call: one of its calls.
        folder: of the job, where its histograms lie.
    """
    with st.container(border=True, key="call-details"):
        st.markdown(f"**{markdown_text(call.path, 200)}**")
        st.caption(" · ".join(facts_of(call)))
        own = histograms_of(result, call, folder)
        figures, drawing = st.columns([3, 2]) if own else (st.container(), None)
        with figures:
            table = figures_table(result, call)
            st.dataframe(
                table,
                hide_index=True,
                placeholder="",
                height=37 + 35 * len(table),
                key="call_figures",
            )
            show_rule(result, call)
            if call.kernels:
                st.dataframe(kernels_table(result, call), hide_index=True, key="call_kernels")
        if drawing is not None:
            drawing.plotly_chart(
                histogram_chart(own),
                key="histograms",
                config=chart_settings(result, "histogram"),
                alt="Distribution of the layer's entries for each series.",
            )
        if call.inputs or len(result.calls) > 1:
            st.plotly_chart(
                neighborhood_chart(result, call.index, result.chosen_series),
                key="neighbourhood",
                config=chart_settings(result, "neighbourhood"),
                alt="The layers around this one; squares have a kernel, colour is the variance.",
            )


def facts_of(call: Call) -> list[str]:
    """Class, shape, and how the prediction was obtained."""
    support = f"{call.support.replace('_', ' ')}: {SUPPORTS.get(call.support, '')}"
    found = [markdown_text(call.class_name, 80), shape(call.output_shape), support]
    found += [text for mark, text in _MARKS.items() if getattr(call, mark)]
    if call.opaque:
        found.append(f"not run: {markdown_text(call.opaque, 200)}")
    return found


def figures_table(result: Result, call: Call) -> list[dict[str, str]]:
    """One row per figure, one column per series."""
    table = []
    for label, source, name, show in _FIGURES:
        values = {series: getattr(source(call, series), name, None) for series in result.series}
        if any(value is not None for value in values.values()):
            cells = {series_name(series): show(value) for series, value in values.items()}
            table.append({"figure": label} | cells)
    return table


def show_rule(result: Result, call: Call) -> None:
    """What the rule says that the layer does."""
    rule = result.rules.get(call.class_name)
    if rule is not None:
        st.markdown(f"Rule: {markdown_text(rule.says.replace('`', ''), 600)}")


def kernels_table(result: Result, call: Call) -> list[dict[str, str]]:
    """One row per kernel that AutoInit sets: shape, fan-in, and deviation in each series."""
    return [
        {
            "kernel": plain_text(kernel.variable, 80),
            "shape": shape(kernel.shape),
            "fan-in": f"{kernel.fan_in:,}",
            "effective": number(kernel.effective_fan_in),
            **{
                f"σ, {series_name(series)}": number(kernel.deviation.get(series))
                for series in result.series
            },
        }
        for kernel in call.kernels
    ]


def histograms_of(result: Result, call: Call, folder: Path) -> dict[str, Any]:
    """The distributions of a call by series, where the job left them."""
    found = load_histograms(str(folder / HISTOGRAMS))
    return {
        series: found[series][call.path]
        for series in result.series
        if call.path in found.get(series, {})
    }


@st.cache_resource(max_entries=4, show_spinner=False)
def load_histograms(path: str) -> dict[str, Any]:
    """What a job left of its distributions; nothing where it left none."""
    try:
        histograms: dict[str, Any] = json.loads(read_written(Path(path), HISTOGRAMS_LIMIT))
    except (OSError, ValueError):
        return {}
    return histograms
