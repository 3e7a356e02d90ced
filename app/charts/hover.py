"""What hovering over a call tells."""

from app.analysis.correlations import KINDS
from app.analysis.headline import gradient, is_number, measured, predicted
from app.charts.theme import Call, Moments, Tell
from app.text.escaping import html_text
from app.text.formatting import number, percentage, shape

HOVER = (
    "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>"
    "%{customdata[2]}<br>predicted %{customdata[3]}<br>%{customdata[4]}"
)


def hover_fields(call: Call, series: str, tell: Tell) -> list[str]:
    """What hovering over a call tells: path, class and shape, figures and range, support."""
    found = measured(call, series)
    if found is None:
        told = not_measured(call)
    else:
        told = (
            f"measured {tell(found)}<br>from {number(found.get('minimum'))} to "
            f"{number(found.get('maximum'))}, {percentage(found.get('zero_fraction'))} zeros"
        )
        for name in ("dead", "saturated"):
            share = found.get(f"{name}_fraction")
            if share:
                told += f", {percentage(share)} {name}"
        finite = found.get("finite_fraction")
        if finite is not None and finite < 1:
            told += f", only {percentage(finite)} finite"
    support = "rule: " + call["support"].replace("_", " ")
    support += ", tainted by a call before it" if call["tainted"] else ""
    return [
        html_text(call["path"], 48),
        f"{html_text(call['class'], 40)} · {shape(call.get('output_shape'))}",
        told,
        tell(predicted(call, series)),
        support + (", frozen: its weights are kept" if call.get("frozen") else ""),
    ]


def not_measured(call: Call) -> str:
    """Why a call has no measured figures."""
    if call.get("opaque"):
        return f"not run: {html_text(call['opaque'], 60)}"
    return "not measured" + (": after a layer that was not run" if call["tainted"] else "")


def any_measured(call: Call) -> bool:
    """Whether there are measured figures of a call, in any series."""
    return any(isinstance(part, dict) and part.get("measured") for part in call.values())


def describe(moments: Moments | None) -> str:
    """Variance and mean in words."""
    if moments is None:
        return "–"
    variance = number(moments.get("variance"), missing="beyond floating point")
    return f"variance {variance}, mean {number(moments.get('mean'))}"


def describe_correlations(moments: Moments | None) -> str:
    """Both correlations in words, those that there are."""
    found = [
        f"{number(value)} {where.lower()}"
        for kind, where in KINDS.items()
        if is_number(value := (moments or {}).get(kind))
    ]
    return "correlation " + ", ".join(found) if found else "–"


def outside(call: Call, series: str) -> str:
    """How a prediction lies to the band of the draws."""
    spread = (measured(call, series) or {}).get("variance_spread") or {}
    variance = (predicted(call, series) or {}).get("variance")
    return (
        f"predicted variance {number(variance)}<br>outside the draws' 10th to 90th percentile:<br>"
        f"{number(spread.get('low'))} to {number(spread.get('high'), 'beyond floating point')}"
    )


GRADIENT_HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}"


def gradient_fields(call: Call, series: str) -> list[str]:
    """Path, class and shape, and the gradient of a call's output."""
    found = gradient(call, series)
    if found is None:
        told = "no gradient reaches it"
    else:
        variance = number(found.get("variance"), missing="beyond floating point")
        told = (
            f"gradient: variance {variance}, mean {number(found.get('mean'))}<br>"
            f"mean square norm of a sample's: {number(found.get('square_norm'))}<br>"
            f"{percentage(found.get('zero_fraction'))} zeros"
        )
    return [
        html_text(call["path"], 48),
        f"{html_text(call['class'], 40)} · {shape(call.get('output_shape'))}",
        told,
    ]


def largest_fields(call: Call, series: str) -> list[str]:
    """Path, class and shape, and the entry that is largest in absolute value."""
    found = measured(call, series) or {}
    told = f"from {number(found.get('minimum'))} to {number(found.get('maximum'))}"
    finite = found.get("finite_fraction")
    if finite is not None and finite < 1:
        told += f", only {percentage(finite)} finite"
    return [
        html_text(call["path"], 48),
        f"{html_text(call['class'], 40)} · {shape(call.get('output_shape'))}",
        told if found else not_measured(call),
    ]
