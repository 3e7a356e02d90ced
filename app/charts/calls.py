"""The charts of a network's calls: a figure for each, in order of execution."""

from collections.abc import Sequence

import plotly.graph_objects as go

from app.analysis.headline import series_name
from app.analysis.result import Measurement, Moments, Preview
from app.charts.axes import (
    above_zero,
    decades,
    number_or_none,
    of_signals,
    positive,
    style,
    symmetric_logarithm,
    symmetric_logarithms,
    symmetric_ticks,
    variance_ticks,
)
from app.charts.hover import (
    HOVER,
    SHORT_HOVER,
    describe,
    describe_correlations,
    gradient_fields,
    largest_fields,
)
from app.charts.theme import Drawn
from app.charts.traces import (
    add_draws,
    add_edge_marks,
    add_line,
    add_others,
    add_outside_marks,
    add_series,
    add_support_marks,
    add_weighted_marks,
    level_line,
)
from app.text.formatting import number

# Largest numbers of the floating types, and the smallest that they hold to full precision.
# bfloat16 spans what float32 does.
PRECISIONS = {
    "float16": (2.0**-14, 65504.0),
    "bfloat16 and float32": (2.0**-126, 2.0**128 * (1 - 2.0**-24)),
}
NEAR = 1000.0  # a limit is drawn where figures come so close to it
# What it means where a correlation is 1.
LEVEL_OF_1 = {
    "sample_correlation": "1: inputs cannot be told apart",
    "position_correlation": "1: the same at every position",
}


def variance_chart(result: Preview, other: Drawn = False) -> go.Figure:
    """Variance of every call on a log axis: measured as lines, predicted as dots or thin lines.

    Args:
        result: of the job.
        other: whether to draw the predictions of the signal model that was not chosen.
    """
    result = of_signals(result)
    calls = result.calls
    target = result.target
    figure = go.Figure()
    drawn: list[float] = [target]
    hovers: dict[str, list[list[str]]] = {}
    for series in result.series:
        values = [positive(call.measured(series)) for call in calls]
        expected = [positive(call.predicted(series)) for call in calls]
        drawn += [value for value in values + expected if value is not None]
        drawn += add_draws(figure, calls, series)
        hovers[series] = add_series(figure, calls, series, values, expected, describe)
        add_outside_marks(figure, calls, series)
    for column in add_others(figure, result, other, positive, describe):
        drawn += [value for value in column if value is not None]
    figure.add_trace(level_line(target, len(calls), f"Target variance {number(target)}"))
    for place, series in enumerate(result.series):
        found = [call.measured(series) or call.predicted(series) for call in calls]
        for edge in ("overflow", "underflow"):
            add_edge_marks(figure, series, found, hovers[series], HOVER, edge, place)
    add_support_marks(figure, calls)
    style(figure, calls)
    set_log_axis(figure, "variance", drawn)
    return figure


def mean_chart(result: Preview, other: Drawn = False) -> go.Figure:
    """Mean of every call. Where means span many decades, the axis is linear only within ±1."""
    result = of_signals(result)
    calls = result.calls
    columns = {
        series: [
            [number_or_none(call.measured(series), "mean") for call in calls],
            [number_or_none(call.predicted(series), "mean") for call in calls],
        ]
        for series in result.series
    }
    largest = max(
        (abs(v) for pair in columns.values() for column in pair for v in column if v is not None),
        default=0.0,
    )
    wide = largest > 20
    figure = go.Figure()
    for series, (values, expected) in columns.items():
        if wide:
            values, expected = symmetric_logarithms(values), symmetric_logarithms(expected)
        add_series(figure, calls, series, values, expected, describe)

    def mean_of(moments: Moments | None) -> float | None:
        mean = number_or_none(moments, "mean")
        return symmetric_logarithm(mean) if wide and mean is not None else mean

    add_others(figure, result, other, mean_of, describe)
    figure.add_trace(level_line(0.0, len(calls), "Mean 0"))
    add_support_marks(figure, calls)
    style(figure, calls)
    figure.update_layout(yaxis={"title": "mean"})
    if wide:
        positions, labels = symmetric_ticks(largest)
        axis = {"title": "mean (log beyond ±1)", "tickvals": positions, "ticktext": labels}
        figure.update_layout(yaxis=axis)
    return figure


def correlation_chart(result: Preview, kind: str, other: Drawn = False) -> go.Figure:
    """Correlation of every call: `sample_correlation` or `position_correlation`."""
    calls = result.calls
    figure = go.Figure()
    lowest = 0.0
    for series in result.series:
        values = [number_or_none(call.measured(series), kind) for call in calls]
        expected = [number_or_none(call.predicted(series), kind) for call in calls]
        lowest = min([lowest, *(value for value in values + expected if value is not None)])
        add_series(figure, calls, series, values, expected, describe_correlations)

    def correlation_of(moments: Moments | None) -> float | None:
        return number_or_none(moments, kind)

    add_others(figure, result, other, correlation_of, describe_correlations)
    figure.add_trace(level_line(1.0, len(calls), LEVEL_OF_1[kind]))
    add_support_marks(figure, calls)
    style(figure, calls)
    figure.update_layout(yaxis={"title": "correlation", "range": [lowest - 0.04, 1.04]})
    return figure


def gradient_chart(result: Preview) -> go.Figure:
    """Variance of the gradient of every call's output, on a log axis."""
    calls = result.calls
    figure, drawn = go.Figure(), []
    for place, series in enumerate(result.series):
        found = [call.gradient(series) for call in calls]
        hovers = [gradient_fields(call, series) for call in calls]
        values = [positive(moments) for moments in found]
        drawn += [value for value in values if value is not None]
        add_line(
            figure, calls, series, values, hovers, SHORT_HOVER, f"{series_name(series)} measured"
        )
        add_weighted_marks(figure, calls, series, values)
        add_edge_marks(figure, series, found, hovers, SHORT_HOVER, "overflow", place)
        # A branch that ends in a constant has no gradient for good reasons.
        weighted = [
            moments if call.weighted else None for call, moments in zip(calls, found, strict=True)
        ]
        add_edge_marks(figure, series, weighted, hovers, SHORT_HOVER, "underflow", place)
    style(figure, calls)
    set_log_axis(figure, "variance of the gradient", drawn or [1.0])
    return figure


def largest_chart(result: Preview) -> go.Figure:
    """The largest absolute value of every call on a log axis, and what floating types can hold."""
    result = of_signals(result)
    calls = result.calls
    figure, drawn = go.Figure(), []
    for series in result.series:
        values = [largest(call.measured(series)) for call in calls]
        drawn += [value for value in values if value is not None]
        hovers = [largest_fields(call, series) for call in calls]
        add_line(
            figure, calls, series, values, hovers, SHORT_HOVER, f"{series_name(series)} measured"
        )
        add_weighted_marks(figure, calls, series, values)
    for kind, limits in PRECISIONS.items():
        for limit, what in zip(limits, ("smallest normal", "largest"), strict=True):
            if any(limit / NEAR <= value <= limit * NEAR for value in drawn):
                name = f"{what} of {kind}: {number(limit)}"
                figure.add_trace(level_line(limit, len(calls), name))
                drawn.append(limit)
    add_support_marks(figure, calls)
    style(figure, calls)
    set_log_axis(figure, "largest absolute value", drawn or [1.0])
    return figure


def largest(measured: Measurement | None) -> float | None:
    """The largest absolute value where a log axis can show it."""
    return None if measured is None else above_zero(measured.largest)


def set_log_axis(figure: go.Figure, title: str, drawn: Sequence[float]) -> None:
    """A log axis that spans all that is drawn."""
    low, high = decades(drawn)
    axis = {"title": title, "type": "log", "range": [low, high], "exponentformat": "power"}
    figure.update_layout(yaxis=axis | variance_ticks(low, high))
