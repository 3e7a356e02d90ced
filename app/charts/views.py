"""The table of views: the ways to look at a result, from which page and report come.

A new view is an entry of `VIEWS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import plotly.graph_objects as go

from app.analysis.headline import KINDS, has_correlations, is_number, phases, series_name
from app.analysis.result import Result
from app.charts.calls import (
    correlation_chart,
    gradient_chart,
    largest_chart,
    mean_chart,
    variance_chart,
)
from app.charts.spectrum import spectrum_chart
from app.charts.theme import Drawn
from app.text.formatting import number, plural, shape


class Missing(NamedTuple):
    """What to say where there are no figures, and the settings that give them."""

    sentence: str
    settings: Mapping[str, Any]


class Variant(NamedTuple):
    """One of several charts of a view."""

    label: str
    help: str


@dataclass(frozen=True)
class View:
    """One way to look at a result.

    Attributes:
        name: that keys and files go by.
        label: what the button says.
        title: above the chart in the report.
        help: how to read the chart.
        draw: the chart, of a result, whether the other signal model's predictions are drawn, and
            the name of a variant.
        has_predictions: whether these are in it.
        by_call: whether its x axis is that of the calls.
        available: whether the result has what it draws.
        missing: what to say where it has not.
        variants: several charts to choose from, in `offered` those that have figures.
        has_variant: whether the result has what one of them draws.
        sentences: what the figures come to, in plain text.
    """

    name: str
    label: str
    title: str
    help: str
    draw: Callable[[Result, Drawn, str], go.Figure]
    has_predictions: bool = False
    by_call: bool = True
    available: Callable[[Result], bool] = lambda result: True
    missing: Missing | None = None
    variants: Mapping[str, Variant] = field(default_factory=dict)
    has_variant: Callable[[Result, str], bool] = lambda result, variant: True
    sentences: Callable[[Result], Iterator[str]] = lambda result: iter(())

    def offered(self, result: Result) -> dict[str, Variant]:
        """The charts to choose from that this result has figures for."""
        return {
            name: variant
            for name, variant in self.variants.items()
            if self.has_variant(result, name)
        }


def isometry_sentences(result: Result) -> Iterator[str]:
    """What each series' Jacobian comes to."""
    for series, found in result.jacobian.items():
        smallest = number(found.smallest) if is_number(found.smallest) else "an unknown smallest"
        sentence = (
            f"{series_name(series)}: {shape(found.shape)}, singular values from {smallest} to "
            f"{number(found.largest)}, mean square {number(found.mean_square)}, condition number "
            f"{number(found.condition_number, 'not known')}"
        )
        if found.rank_deficiency:
            sentence += f", {found.rank_deficiency:,} of them 0 to rounding"
        yield f"{sentence}. {found.note}".rstrip()
    for found in list(result.jacobian.values())[:1]:
        how = "from the matrix" if found.obtained == "matrix" else "by Lanczos iterations"
        inputs = plural(found.inputs, "random input")
        yield f"Of {', '.join(found.targets)}, at {inputs}, in inference mode, {how}."


_LINES = "Lines are measured, dots predicted."
_VIEWS = (
    View(
        name="variance",
        label="Variance",
        title="Variance of each layer",
        help="Lines are measured, dots predicted; red marks are layers with a kernel. Drag to "
        "zoom, double-click to return.",
        draw=lambda result, other, variant: variance_chart(result, other),
        has_predictions=True,
    ),
    View(
        name="mean",
        label="Mean",
        title="Mean of each layer",
        help=_LINES,
        draw=lambda result, other, variant: mean_chart(result, other),
        has_predictions=True,
    ),
    View(
        name="correlation",
        label="Correlation",
        title="Correlation of each layer",
        help=_LINES,
        draw=lambda result, other, variant: correlation_chart(result, variant, other),
        has_predictions=True,
        available=has_correlations,
        missing=Missing("Correlations need two samples and two channels, at least.", {}),
        variants={
            "sample_correlation": Variant(
                KINDS["sample_correlation"],
                "Of one channel's entries for two inputs, at one position. At 1 the network gives "
                "the same for every input.",
            ),
            "position_correlation": Variant(
                KINDS["position_correlation"],
                "Of one channel's entries at two positions of one input, averaged over all pairs. "
                "At 1 a map is the same everywhere.",
            ),
        },
        has_variant=lambda result, variant: has_correlations(result, (variant,)),
        sentences=phases,
    ),
    View(
        name="gradient",
        label="Gradient",
        title="Gradient of each layer",
        help="What flows back to each layer's output from a random function of the network's "
        "outputs: the gradient of Σ c·y with standard normal c. It is read from right to left.",
        draw=lambda result, other, variant: gradient_chart(result),
        available=lambda result: bool(result.gradients),
        missing=Missing(
            "The verdict rests on the gradients of a few samples. Those of each layer take several "
            "times as long as its signal, and are measured when asked for.",
            {"gradients": True},
        ),
    ),
    View(
        name="largest",
        label="Largest entry",
        title="Largest entry of each layer",
        help="The largest absolute value at each layer, beside what floating types can hold: mixed "
        "precision loses what lies beyond.",
        draw=lambda result, other, variant: largest_chart(result),
    ),
    View(
        name="jacobian",
        label="Jacobian",
        title="Singular values of the Jacobian",
        help="The density of the singular values of the input–output Jacobian. Where all lie near "
        "1, signals and gradients keep their length in every direction (dynamical isometry).",
        draw=lambda result, other, variant: spectrum_chart(result),
        by_call=False,
        available=lambda result: bool(result.jacobian),
        missing=Missing("The Jacobian's singular values were not measured.", {"jacobian": 1}),
        sentences=isometry_sentences,
    ),
)
VIEWS = {view.name: view for view in _VIEWS}
