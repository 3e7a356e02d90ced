"""The charts of a result: pure functions from it to Plotly figures.

Lines are SVG over a numeric x axis and only weighted calls carry markers, so that 4,000 calls
stay quick; names live in hover texts and in a dozen tick labels.
"""

from app.charts.calls import (
    correlation_chart,
    gradient_chart,
    largest_chart,
    mean_chart,
    variance_chart,
)
from app.charts.small import overview_chart
from app.charts.spectrum import spectrum_chart
from app.charts.traces import mark

__all__ = [
    "correlation_chart",
    "gradient_chart",
    "largest_chart",
    "mark",
    "mean_chart",
    "overview_chart",
    "spectrum_chart",
    "variance_chart",
]
