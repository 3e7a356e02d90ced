"""The table behind the charts: one row per call, in plain values, and the same as CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from app.analysis.headline import gradient, measured, predicted
from app.text.escaping import spreadsheet_text, visible
from app.text.formatting import shape

Result = dict[str, Any]
Row = dict[str, Any]

CALL_COLUMNS = (
    "index",
    "path",
    "class",
    "output_shape",
    "weighted",
    "frozen",
    "support",
    "tainted",
    "not_run",
)
MEASURED_COLUMNS = (
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
)
SPREAD_COLUMNS = ("median", "low", "high", "standard_error")
GRADIENT_COLUMNS = ("variance", "mean", "square_norm", "finite_fraction")
PREDICTED_COLUMNS = (
    "variance",
    "spread",
    "mean",
    "correlation_slope",
    "sample_correlation",
    "position_correlation",
)


def columns(series: Sequence[str]) -> list[str]:
    """The table's columns: what a call is, then each series, such as `default_measured_mean`."""
    figures = (
        *(f"measured_{name}" for name in MEASURED_COLUMNS),
        *(f"draws_{name}" for name in SPREAD_COLUMNS),
        *(f"predicted_{name}" for name in PREDICTED_COLUMNS),
        *(f"gradient_{name}" for name in GRADIENT_COLUMNS),
        "outside_band",
    )
    return [*CALL_COLUMNS, *(f"{which}_{figure}" for which in series for figure in figures)]


def rows(result: Result) -> list[Row]:
    """One dictionary per call, in topological order; what is not to be had is None."""
    return [row(position, call, result["series"]) for position, call in enumerate(result["calls"])]


def row(position: int, call: dict[str, Any], series: Sequence[str]) -> Row:
    """One call flattened: names and flags as they are, numbers as numbers."""
    flat: Row = {
        "index": call.get("index", position),
        "path": call["path"],
        "class": call["class"],
        "output_shape": shape(call.get("output_shape")),
        "weighted": call["weighted"],
        "frozen": bool(call.get("frozen")),
        "support": call["support"],
        "tainted": call["tainted"],
        "not_run": call.get("opaque") or "",
    }
    for which in series:
        found, expected = measured(call, which) or {}, predicted(call, which) or {}
        for source, figures, names in (
            ("measured", found, MEASURED_COLUMNS),
            ("draws", found.get("variance_spread") or {}, SPREAD_COLUMNS),
            ("predicted", expected, PREDICTED_COLUMNS),
            ("gradient", gradient(call, which) or {}, GRADIENT_COLUMNS),
        ):
            flat |= {f"{which}_{source}_{name}": figures.get(name) for name in names}
        flat[f"{which}_outside_band"] = (call.get(which) or {}).get("outside_band")
    return flat


def csv_text(result: Result) -> str:
    """The table as CSV (RFC 4180). Text that a spreadsheet would run as a formula gets a quote."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns(result["series"]))
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
