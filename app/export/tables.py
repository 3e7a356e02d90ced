"""The table behind the charts: one row per call, in plain values, and the same as CSV."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from app.analysis.result import Call, Part, Preview
from app.text.escaping import spreadsheet_text, visible
from app.text.formatting import shape

TableRow = dict[str, Any]

CALL_COLUMNS = (
    "index", "path", "class", "output_shape", "parameters", "initializer", "weighted", "frozen",
    "support", "tainted", "not_run",
)  # fmt: skip
# The columns of each series: a prefix, the figures that it stands for, and which of them.
SOURCES: tuple[tuple[str, Callable[[Call, str], Part | None], tuple[str, ...]], ...] = (
    (
        "measured",
        Call.measured,
        (
            "variance",
            "mean",
            "minimum",
            "maximum",
            "zero_fraction",
            "finite_fraction",
            "sample_correlation",
            "position_correlation",
            "kurtosis",
            "dead_fraction",
            "saturated_fraction",
            "standard_error",
        ),
    ),
    (
        "draws",
        lambda call, series: getattr(call.measured(series), "variance_spread", None),
        ("median", "low", "high", "standard_error"),
    ),
    (
        "predicted",
        Call.predicted,
        (
            "variance",
            "spread",
            "mean",
            "correlation_slope",
            "sample_correlation",
            "position_correlation",
        ),
    ),
    ("gradient", Call.gradient, ("variance", "mean", "square_norm", "finite_fraction")),
    ("kernel", Call.of, ("update_ratio",)),
)


def columns(series: Sequence[str]) -> list[str]:
    """The table's columns: what a call is, then each series, such as `default_measured_mean`."""
    figures = [f"{prefix}_{name}" for prefix, _, names in SOURCES for name in names]
    figures.append("outside_band")
    return [*CALL_COLUMNS, *(f"{which}_{figure}" for which in series for figure in figures)]


def rows(result: Preview) -> list[TableRow]:
    """One dictionary per call, in topological order; what is not to be had is None."""
    return [row(call, result.series) for call in result.calls]


def row(call: Call, series: Sequence[str]) -> TableRow:
    """One call flattened: names and flags as they are, numbers as numbers."""
    flat: TableRow = {
        "index": call.index,
        "path": call.path,
        "class": call.class_name,
        "output_shape": shape(call.output_shape),
        "parameters": call.parameters,
        "initializer": call.initializer,
        "weighted": call.weighted,
        "frozen": call.frozen,
        "support": call.support,
        "tainted": call.tainted,
        "not_run": call.opaque or "",
    }
    for which in series:
        for prefix, source, names in SOURCES:
            found = source(call, which)
            flat |= {f"{which}_{prefix}_{name}": getattr(found, name, None) for name in names}
        flat[f"{which}_outside_band"] = call.of(which).outside_band
    return flat


def csv_text(result: Preview) -> str:
    """The table as CSV (RFC 4180). Text that a spreadsheet would run as a formula gets a quote."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns(result.series))
    writer.writeheader()
    for flat in rows(result):
        writer.writerow({name: cell(value) for name, value in flat.items()})
    return text.getvalue()


def cell(value: Any) -> Any:
    """A value as it goes into CSV: no formula, nothing invisible, flags in lower case, None empty.

    What is invisible may be NUL, at which readers stop, or an escape sequence for a terminal.
    """
    if isinstance(value, bool):
        return str(value).lower()
    return spreadsheet_text(visible(value)) if isinstance(value, str) else value
