"""The table of a finished job: its filters, and the calls that are chosen in it."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute
import streamlit as st

from app.analysis.diagnosis.table import KINDS
from app.analysis.headline import SIGNS, series_name
from app.analysis.result import SUPPORTS, Result
from app.dashboard.result.charts import is_expert
from app.export.tables import columns, rows
from app.text.escaping import markdown_text, plain_text
from app.text.formatting import plural

TEXTS = ("path", "class", "not_run")  # columns that a file wrote
PATH_LENGTH = 48  # longer ones lose their middle: parts of one layer differ in their ends
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
    "measured_standard_error": "error of the variance",
    "draws_median": "variance, median of draws",
    "draws_low": "variance, 10th percentile",
    "draws_high": "variance, 90th percentile",
    "draws_standard_error": "variance, standard error over draws",
    "outside_band": "prediction outside",
    "gradient_variance": "gradient's variance",
    "gradient_square_norm": "gradient's square norm",
    "kernel_update_ratio": "update ratio",
    "measured_kurtosis": "kurtosis",
    "measured_dead_fraction": "dead channels",
    "measured_saturated_fraction": "saturated",
}


def show_table(result: Result, shown: range, in_chart: Sequence[int]) -> list[int]:
    """The table behind the charts.

    Args:
        result: of the job.
        shown: indices of the calls that the chart shows.
        in_chart: indices of the calls that are chosen in the chart; none is all.

    Returns:
        Indices of the calls that are chosen in the table.
    """
    table = pd.DataFrame(rows(result), columns=columns(result.series))
    told = worst_faults(result)
    table["told"] = table["path"].map(told)
    found = {p for each in result.findings for p in (each.path, *each.others) if p}
    chosen = filtered(table, found)
    chosen = chosen[chosen["index"].isin(in_chart or shown)]
    count = f"{len(chosen):,} of {plural(len(table), 'layer')}"
    st.caption(count + (", those chosen in chart or graph" if in_chart else ""))
    texts = {name: chosen[name].map(plain_text) for name in TEXTS}
    texts["path"] = chosen["path"].map(lambda path: plain_text(path, PATH_LENGTH))
    event = st.dataframe(
        chosen.assign(**texts),
        hide_index=True,
        placeholder="",
        height=min(420, 80 + 35 * len(chosen)),
        # Figures that were not measured of any call are left out.
        column_order=[c for c in column_order(result.series) if table[c].notna().any()],
        alt="Each layer's class, output shape, parameters, initializer, faults and figures.",
        column_config=column_labels(result.series, path_width(table["path"])),
        key="calls",
        on_select="rerun",
        selection_mode="multi-row",
    )
    return [
        int(chosen.iloc[row]["index"]) for row in event["selection"]["rows"] if row < len(chosen)
    ]


def worst_faults(result: Result) -> dict[str, str]:
    """The worst fault that was found at a layer, by its path."""
    told: dict[str, str] = {}
    for fault, sign in (("fatal", SIGNS["bad"]), ("serious", SIGNS["warning"])):
        for finding in result.findings:
            if finding.severity == fault and finding.code in KINDS:
                told.setdefault(finding.path, f"{sign} {KINDS[finding.code].title}")
    return told


def filtered(table: pd.DataFrame, found: set[str]) -> pd.DataFrame:
    """The calls that pass the filters above the table: part of a name, class, kind.

    Args:
        table: one row per call.
        found: paths of the calls that findings name.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Filter",
            placeholder="part of a name, or a pattern",
            icon=":material/search:",
            key="filter",
            width=260,
            max_chars=200,
            help="A regular expression, such as conv[12]$ or ^stage1; upper and lower case alike.",
        )
        kinds = st.multiselect(
            "Classes",
            sorted(set(table["class"])),
            format_func=plain_text,
            placeholder="all",
            key="classes",
            width=300,
        )
        only_weighted = st.toggle(
            "Only with a kernel",
            key="only_weighted",
            width="content",
            help="Layers whose weights AutoInit sets.",
        )
        only_found = st.toggle(
            "Only findings",
            key="only_findings",
            width="content",
            help="Layers that a finding names.",
        )
    kept = matching(table["path"], text) if text else pd.Series(True, table.index)
    if kinds:
        kept &= table["class"].isin(kinds)
    if only_weighted:
        kept &= table["weighted"]
    if only_found:
        kept &= table["path"].isin(found)
    return table[kept]


def matching(paths: pd.Series, pattern: str) -> pd.Series:
    """Which paths a regular expression finds; what is no expression is taken literally.

    Arrow's expressions (RE2) take linear time, whatever the pattern: Python's may take for ever.
    """
    texts = pa.array(paths.astype(str))
    try:
        found = pa.compute.match_substring_regex(texts, pattern, ignore_case=True)
    except pa.ArrowInvalid:
        st.caption(f"{markdown_text(pattern)} is no regular expression: it is taken as it stands.")
        found = pa.compute.match_substring(texts, pattern, ignore_case=True)
    return pd.Series(found.to_numpy(zero_copy_only=False), paths.index)


def column_order(series: Sequence[str]) -> list[str]:
    """As `model.summary()` has it, and what was found; then the variances, which are compared."""
    figures = [f"{which}_{figure}" for figure in FIGURE_LABELS for which in series]
    what = ["index", "path", "class", "output_shape", "parameters", "initializer", "told"]
    if not is_expert():
        return [*what, *(f"{which}_measured_variance" for which in series)]
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
        "path": st.column_config.TextColumn("layer", width=path_width, pinned=True),
        "class": st.column_config.TextColumn("class", width=150),
        "output_shape": st.column_config.TextColumn("output", width=120),
        "parameters": st.column_config.NumberColumn(
            "parameters", format="localized", help="Of a layer that is used again, told once."
        ),
        "initializer": st.column_config.TextColumn(
            "initializer", width=130, help="Of the kernel, as the file has it."
        ),
        "told": st.column_config.TextColumn(
            "fault", width=180, help="What was found here; empty where nothing was."
        ),
        "weighted": st.column_config.CheckboxColumn(
            "has a kernel", help="AutoInit sets the weights of these layers."
        ),
        "frozen": st.column_config.CheckboxColumn("keeps its weights"),
        "support": st.column_config.TextColumn(
            "prediction", help="; ".join(f"{k.replace('_', ' ')}: {v}" for k, v in SUPPORTS.items())
        ),
        "tainted": st.column_config.CheckboxColumn(
            "prediction unsure", help="After a layer without a rule: the prediction may be off."
        ),
        "not_run": st.column_config.TextColumn("not run, as"),
    }
