"""One call in detail: its figures, its rule, its kernels, its distribution and its neighbours."""

import json
from pathlib import Path
from typing import Any

import streamlit as st

from app.analysis.headline import chosen_series, gradient, measured, predicted, series_name
from app.charts.histograms import histogram_chart
from app.charts.neighbourhood import neighbourhood_chart
from app.dashboard.charts import chart_settings
from app.jobs.folders import HISTOGRAMS
from app.text.escaping import markdown_text, plain_text
from app.text.formatting import number, percentage, shape

Result = dict[str, Any]
Call = dict[str, Any]

_MEANINGS = {
    "exact": "in closed form or by quadrature",
    "sampled": "by Monte Carlo",
    "neutral": "it does not change the distribution",
    "approximate": "an assumption does not hold",
    "pass_through": "there is no rule: taken as unchanged",
}
MARKS = {
    "weighted": "has a kernel",
    "frozen": "keeps its weights",
    "tainted": "tainted by a call before it",
}


def show_call(result: Result, call: Call, folder: Path) -> None:
    """All that a result tells of one call.

    Args:
        result: of the job.
        call: one of its calls.
        folder: of the job, where its histograms lie.
    """
    with st.container(border=True, key="call-details"):
        st.markdown(f"**{markdown_text(call['path'], 200)}**")
        st.caption(" · ".join(facts_of(call)))
        own = histograms_of(result, call, folder)
        figures, drawing = st.columns([3, 2]) if own else (st.container(), None)
        with figures:
            table = figures_table(result, call)
            st.dataframe(table, hide_index=True, height=37 + 35 * len(table), key="call_figures")
            show_rule(result, call)
            if call.get("kernels"):
                st.dataframe(kernels_table(result, call), hide_index=True, key="call_kernels")
        if drawing is not None:
            drawing.plotly_chart(
                histogram_chart(own),
                key="histograms",
                config=chart_settings(result, "histogram"),
                alt="Distribution of the call's entries for each series.",
            )
        if call["inputs"] or len(result["calls"]) > 1:
            st.plotly_chart(
                neighbourhood_chart(result, call["index"], chosen_series(result)),
                key="neighbourhood",
                config=chart_settings(result, "neighbourhood"),
                alt="The calls around this one; squares have a kernel, colour is the variance.",
            )


def facts_of(call: Call) -> list[str]:
    """Class, shape, and how the prediction was obtained."""
    found = [markdown_text(call["class"], 80), shape(call.get("output_shape"))]
    found.append(f"{call['support'].replace('_', ' ')}: {_MEANINGS.get(call['support'], '')}")
    marks = {
        "weighted": "has a kernel",
        "frozen": "keeps its weights",
        "tainted": "tainted by a call before it",
    }
    found += [text for mark, text in marks.items() if call.get(mark)]
    if call.get("opaque"):
        found.append(f"not run: {markdown_text(call['opaque'], 200)}")
    return found


def figures_table(result: Result, call: Call) -> list[dict[str, str]]:
    """One row per figure, one column per series."""
    table = []
    for label, source, name, show in (
        ("variance, measured", measured, "variance", number),
        ("variance, predicted", predicted, "variance", number),
        ("mean, measured", measured, "mean", number),
        ("mean, predicted", predicted, "mean", number),
        ("smallest entry", measured, "minimum", number),
        ("largest entry", measured, "maximum", number),
        ("zeros", measured, "zero_fraction", percentage),
        ("finite", measured, "finite_fraction", percentage),
        ("kurtosis", measured, "kurtosis", number),
        ("dead channels", measured, "dead_fraction", percentage),
        ("saturated", measured, "saturated_fraction", percentage),
        ("correlation of samples", measured, "sample_correlation", number),
        ("correlation of positions", measured, "position_correlation", number),
        ("gradient's variance", gradient, "variance", number),
        ("gradient's square norm", gradient, "square_norm", number),
    ):
        values = [(source(call, series) or {}).get(name) for series in result["series"]]
        if any(value is not None for value in values):
            row = {"figure": label}
            row |= {
                series_name(series): show(value)
                for series, value in zip(result["series"], values, strict=True)
            }
            table.append(row)
    return table


def show_rule(result: Result, call: Call) -> None:
    """What the rule says that the layer does."""
    rule = (result.get("rules") or {}).get(call["class"])
    if rule:
        st.markdown(f"Rule: {markdown_text(rule['says'], 600)}")


def kernels_table(result: Result, call: Call) -> list[dict[str, str]]:
    """One row per kernel that AutoInit sets: shape, fan-in, and deviation in each series."""
    return [
        {
            "kernel": plain_text(kernel["variable"], 80),
            "shape": shape(kernel["shape"]),
            "fan-in": f"{kernel['fan_in']:,}",
            "effective": number(kernel["effective_fan_in"]),
            **{
                f"σ, {series_name(series)}": number(kernel["deviation"].get(series))
                for series in result["series"]
            },
        }
        for kernel in call["kernels"]
    ]


def histograms_of(result: Result, call: Call, folder: Path) -> dict[str, Any]:
    """The distributions of a call by series, where the job left them."""
    found = load_histograms(str(folder / HISTOGRAMS))
    return {
        series: found[series][call["path"]]
        for series in result["series"]
        if call["path"] in found.get(series, {})
    }


@st.cache_resource(max_entries=4, show_spinner=False)
def load_histograms(path: str) -> dict[str, Any]:
    """What a job left of its distributions; nothing where it left none."""
    try:
        histograms: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return histograms
