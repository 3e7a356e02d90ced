"""What hovering over a call shows."""

from app.analysis.headline import KINDS, is_number
from app.analysis.result import Call, Measurement, Moments
from app.charts.theme import Describe
from app.text.escaping import html_text
from app.text.formatting import number, percentage, shape

HOVER = (
    "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>"
    "%{customdata[2]}<br>predicted %{customdata[3]}<br>%{customdata[4]}"
)
SHORT_HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}"


def hover_fields(call: Call, series: str, describe: Describe) -> list[str]:
    """Path, class and shape, figures and range, prediction, support."""
    found = call.measured(series)
    if found is None:
        text = not_measured(call)
    else:
        zeros = percentage(found.zero_fraction)
        text = f"measured {describe(found)}<br>{extent(found)}, {zeros} zeros"
        for share, name in ((found.dead_fraction, "dead"), (found.saturated_fraction, "saturated")):
            if share:
                text += f", {percentage(share)} {name}"
        text += finite_part(found)
        if found.standard_error is not None:
            text += f"<br>standard error of the variance {percentage(found.standard_error)}"
    support = "rule: " + call.support.replace("_", " ")
    support += ", unsure: after a layer without a rule" if call.tainted else ""
    support += ", frozen: its weights are kept" if call.frozen else ""
    return [*heading(call), text, describe(call.predicted(series)), support]


def heading(call: Call) -> list[str]:
    """Path, class and shape."""
    kind = f"{html_text(call.class_name, 40)} · {shape(call.output_shape)}"
    return [html_text(call.path, 48), kind]


def extent(found: Measurement) -> str:
    """The smallest and the largest entry."""
    return f"from {number(found.minimum)} to {number(found.maximum)}"


def finite_part(found: Measurement) -> str:
    """How much of it is finite, where that is not all."""
    finite = found.finite_fraction
    return f", only {percentage(finite)} finite" if finite is not None and finite < 1 else ""


def not_measured(call: Call) -> str:
    """Why a call has no measured figures."""
    if call.opaque:
        return f"not run: {html_text(call.opaque, 60)}"
    return "not measured" + (": after a layer that was not run" if call.tainted else "")


def describe(moments: Moments | None) -> str:
    """Variance and mean in words."""
    if moments is None:
        return "–"
    variance = number(moments.variance, missing="beyond floating point")
    return f"variance {variance}, mean {number(moments.mean)}"


def describe_correlations(moments: Moments | None) -> str:
    """Both correlations in words, those that there are."""
    found = [
        f"{number(value)} {where.lower()}"
        for kind, where in KINDS.items()
        if is_number(value := getattr(moments, kind, None))
    ]
    return "correlation " + ", ".join(found) if found else "–"


def outside(call: Call, series: str) -> str:
    """How a prediction lies to the band of the draws."""
    predicted, measured = call.predicted(series), call.measured(series)
    spread = None if measured is None else measured.variance_spread
    low, high = (None, None) if spread is None else (spread.low, spread.high)
    return (
        f"predicted variance {number(None if predicted is None else predicted.variance)}<br>"
        "outside the draws' 10th to 90th percentile:<br>"
        f"{number(low)} to {number(high, 'beyond floating point')}"
    )


def gradient_fields(call: Call, series: str) -> list[str]:
    """Path, class and shape, and the gradient of a call's output."""
    found = call.gradient(series)
    if found is None:
        return [*heading(call), "no gradient reaches it"]
    text = (
        f"gradient: {describe(found)}<br>"
        f"mean square norm of a sample's: {number(found.square_norm)}<br>"
        f"{percentage(found.zero_fraction)} zeros"
    )
    ratio = call.of(series).update_ratio
    if ratio is not None:
        text += f"<br>update ratio of its kernel: {number(ratio)}"
    return [*heading(call), text]


def largest_fields(call: Call, series: str) -> list[str]:
    """Path, class and shape, and the entry that is largest in absolute value."""
    found = call.measured(series)
    text = not_measured(call) if found is None else extent(found) + finite_part(found)
    return [*heading(call), text]
