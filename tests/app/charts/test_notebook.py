"""The figure in a notebook: shown in Plotly's own way, and where that is not to be had."""

import re
import sys
import types
from typing import Any

import keras
import plotly.graph_objects as go
import plotly.io
import pytest

from app.charts.notebook import NotebookFigure
from autoinit import AutoInitVisualizer


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, bool]]:
    """What IPython, of which a stand-in is enough, is told to show."""
    shown: list[tuple[Any, bool]] = []
    module: Any = types.ModuleType("IPython.display")
    module.display = lambda bundle, raw: shown.append((bundle, raw))
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown


def figure() -> NotebookFigure:
    return NotebookFigure(go.Figure(go.Scatter(x=[0, 1], y=[1.0, 2.0]), {"height": 321}))


def test_the_visualizers_figure_is_html_in_a_notebook() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="only")])
    made = AutoInitVisualizer().visualize(model, num_samples=16)
    assert isinstance(made, go.Figure)
    text = made._repr_html_()
    assert "Plotly.newPlot(" in text
    assert "only" in text


def test_plotlys_own_way_goes_first(
    displayed: list[tuple[Any, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(plotly.io.renderers, "default", "plotly_mimetype+notebook")
    monkeypatch.setattr(plotly.io, "show", shown.append)
    made = figure()
    made._ipython_display_()
    assert shown == [made]
    assert displayed == []


@pytest.mark.parametrize("renderer", ["plotly_mimetype", "vscode"])
def test_a_notebook_keeps_html_that_nbconvert_takes_over(
    displayed: list[tuple[Any, bool]], monkeypatch: pytest.MonkeyPatch, renderer: str
) -> None:
    monkeypatch.setattr(plotly.io.renderers, "default", renderer)
    figure()._ipython_display_()
    ((bundle, _),) = displayed
    assert list(bundle) == ["application/vnd.plotly.v1+json", "text/html"]
    # What nbconvert writes of a cell is this, with the library that draws it.
    assert re.search(
        r'<script[^>]* src="https://cdn.plot.ly/plotly-[\d.]+min.js"', bundle["text/html"]
    )
    assert "Plotly.newPlot(" in bundle["text/html"]


def test_a_kernel_without_nbformat_shows_it_all_the_same(
    displayed: list[tuple[Any, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(_: Any) -> None:
        raise ValueError("Mime type rendering requires nbformat>=4.2.0 but it is not installed")

    monkeypatch.setattr(plotly.io.renderers, "default", "plotly_mimetype+notebook")
    monkeypatch.setattr(plotly.io, "show", show)
    figure()._ipython_display_()
    ((bundle, raw),) = displayed
    assert raw
    data = bundle["application/vnd.plotly.v1+json"]
    assert data["layout"]["height"] == 321
    assert "Plotly.newPlot(" in bundle["text/html"]


def test_a_copy_has_all_of_the_original() -> None:
    original = go.Figure(go.Scatter(x=[0, 1], y=[1.0, 2.0], name="a"), {"height": 321})
    assert NotebookFigure(original).to_dict() == original.to_dict()
