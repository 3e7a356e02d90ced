"""Charts of several results at once."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from app.analysis.headline import series_name
from app.analysis.result import Call, Result
from app.analysis.side_by_side import differences, label, variance_of
from app.charts.axes import along, number_or_none, positive, style
from app.charts.calls import largest, set_log_axis
from app.charts.spectrum import densities_chart
from app.charts.theme import MARKED_CALLS, NEUTRAL_COLOR
from app.charts.traces import level_line
from app.text.escaping import html_text
from app.text.formatting import number, plural

# Okabe and Ito's, in an order in which neighbours are told apart in grey, too.
RUN_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#808080")
RUN_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


class Quantity(NamedTuple):
    """What is compared: the button's label, the axis' title, and a call's figure.

    Those on a log axis are compared by their quotient, others by their difference.
    """

    label: str
    title: str
    read: Callable[[Call, str], float | None]
    is_log: bool = True


QUANTITIES = {
    "variance": Quantity("Variance", "variance", variance_of),
    "gradient": Quantity(
        "Gradient", "variance of the gradient", lambda call, series: positive(call.gradient(series))
    ),
    "mean": Quantity(
        "Mean", "mean", lambda call, series: number_or_none(call.measured(series), "mean"), False
    ),
    "sample_correlation": Quantity(
        "Correlation of samples",
        "correlation of samples",
        lambda call, series: number_or_none(call.measured(series), "sample_correlation"),
        False,
    ),
    "position_correlation": Quantity(
        "Correlation of positions",
        "correlation of positions",
        lambda call, series: number_or_none(call.measured(series), "position_correlation"),
        False,
    ),
    "largest": Quantity(
        "Largest entry",
        "largest absolute value",
        lambda call, series: largest(call.measured(series)),
    ),
}
JACOBIAN = "jacobian"


def quantities_of(results: Sequence[Result], series: str) -> dict[str, str]:
    """What can be compared, with labels: that of which any result has figures."""
    found = {
        name: each.label
        for name, each in QUANTITIES.items()
        if any(each.read(call, series) is not None for run in results for call in run.calls)
    }
    if any(series in run.jacobian for run in results):
        found[JACOBIAN] = "Jacobian"
    return found


def runs_chart(
    results: Sequence[Result], series: str, quantity: Quantity = QUANTITIES["variance"]
) -> go.Figure:
    """A measured quantity of every result on one axis.

    Results of as many calls share an axis of calls; others one of relative depth.
    """
    counts = {len(result.calls) for result in results}
    figure, drawn = go.Figure(), [1.0]
    for place, result in enumerate(results):
        calls = result.calls
        values = [quantity.read(call, series) for call in calls]
        drawn += [value for value in values if value is not None]
        depth = range(len(calls)) if len(counts) == 1 else _depths(len(calls))
        order = along(calls)
        told = [
            [html_text(call.path, 60), number(value, "not above 0, or not measured")]
            for call, value in zip(calls, values, strict=True)
        ]
        figure.add_trace(
            go.Scatter(
                x=[None if place is None else depth[place] for place in order],
                y=[None if place is None else values[place] for place in order],
                name=html_text(label(place + 1, result), 40),
                mode="lines+markers" if len(calls) <= MARKED_CALLS else "lines",
                line=_line(place),
                marker={"size": 3},
                customdata=[["", ""] if place is None else told[place] for place in order],
                hovertemplate="<b>%{customdata[0]}</b><br>" + quantity.title + " %{customdata[1]}"
                f"<extra>{html_text(label(place + 1, result), 30)}</extra>",
            )
        )
    style(figure, results[0].calls)
    if len(counts) > 1:
        # Brackets name places, of which each result has others. An update keeps lists.
        figure.layout.shapes = figure.layout.annotations = ()
        figure.layout.xaxis = {
            "title": "relative depth",
            "range": [-0.01, 1.01],
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
        }
    _set_axis(figure, quantity, f"{quantity.title}, {series_name(series)} weights", drawn)
    return figure


def differences_chart(
    results: Sequence[Result], series: str, quantity: Quantity = QUANTITIES["variance"]
) -> go.Figure:
    """How each other result differs from the first, over the calls that both have.

    By the factor between the two figures, or by their difference where they may be below 0.
    """
    figure, drawn = go.Figure(), [1.0]
    first, is_log = results[0], quantity.is_log
    places = {call.path: place for place, call in enumerate(first.calls)}
    sign, nothing, what = ("÷", 1.0, "factor") if is_log else ("−", 0.0, "difference")
    for number_of_run, other in enumerate(results[1:], start=1):
        found = differences(first, other, series, quantity.read)
        values = [
            # Logarithms apart: the quotient of 1e-200 and 1e200 is no float.
            10.0 ** max(min(math.log10(after) - math.log10(before), 300.0), -300.0)
            if is_log
            else after - before
            for _, before, after in found
        ]
        drawn += values
        name = html_text(label(number_of_run + 1, other), 40)
        figure.add_trace(
            go.Scatter(
                x=[places[path] for path, *_ in found],
                y=values,
                name=f"{name} {sign} {html_text(label(1, first), 40)}",
                mode="lines+markers" if len(found) <= MARKED_CALLS else "lines",
                line=_line(number_of_run),
                marker={"size": 3},
                customdata=[
                    [html_text(path, 60), number(before), number(after), number(value)]
                    for (path, before, after), value in zip(found, values, strict=True)
                ],
                hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[2]} "
                + sign
                + f" %{{customdata[1]}} = %{{customdata[3]}}<extra>{name}</extra>",
            )
        )
    figure.add_trace(level_line(nothing, len(first.calls), f"{nothing:.0f}: no difference"))
    style(figure, first.calls)
    figure.update_layout(xaxis_title=f"{plural(len(first.calls), 'layer')} of the first run")
    title = f"{what} of the {quantity.title}, {series_name(series)} weights"
    _set_axis(figure, quantity, title, drawn)
    return figure


def jacobians_chart(results: Sequence[Result], series: str) -> go.Figure:
    """Densities of the singular values of the results that have them."""
    return densities_chart(
        [
            (html_text(label(place + 1, run), 40), run.jacobian[series], RUN_COLORS[place])
            for place, run in enumerate(results)
            if series in run.jacobian
        ]
    )


def _set_axis(figure: go.Figure, quantity: Quantity, title: str, drawn: list[float]) -> None:
    if quantity.is_log:
        set_log_axis(figure, title, drawn)
    else:
        figure.update_layout(yaxis_title=title)


def _depths(count: int) -> list[float]:
    return [place / max(count - 1, 1) for place in range(count)]


def _line(place: int) -> dict[str, object]:
    color = RUN_COLORS[place] if place < len(RUN_COLORS) else NEUTRAL_COLOR
    return {"color": color, "width": 2, "dash": RUN_DASHES[place % len(RUN_DASHES)]}
