"""The grid of a trial as a figure: what each cell shows, also without colour."""

import pytest

from app.charts.trials import CHANCE, DIVERGED, curves_chart, grid_chart
from tests.app.analysis.trials.made_up import made_up_and_answered


@pytest.fixture
def trial():
    found = made_up_and_answered({"default": [0.1, 0.12, None], "autoinit": [0.4, 0.9, None]})
    first = found.trainings[0].model_copy(update={"losses": (2.0, 1.0, 0.5), "steps": 100})
    return found.model_copy(update={"trainings": (first, *found.trainings[1:-1])})


def test_a_row_for_each_initialisation_and_a_column_for_each_rate(trial):
    figure = grid_chart(trial)
    assert [row.name for row in figure.data] == ["AutoInit", "Its own initializers"]
    assert list(figure.data[0].x) == ["0.001", "0.01", "0.1"]
    assert list(figure.layout.yaxis.ticktext) == ["AutoInit", "Its own initializers"]


def test_cells_can_be_told_apart_without_colour(trial):
    own, autoinit = grid_chart(trial).data[1], grid_chart(trial).data[0]
    assert list(own.text) == ["10", "12", "×"]
    assert list(own.marker.pattern.shape) == [CHANCE, CHANCE, DIVERGED]
    assert list(autoinit.text) == ["40", "90", ""], "one cell was not tried"
    assert list(autoinit.marker.pattern.shape) == ["", "", ""]
    assert list(autoinit.marker.line.width) == [1, 3, 1], "the best has a thick edge"
    assert len(set(autoinit.marker.color)) == 3


def test_losses_are_drawn_over_their_steps(trial):
    (curve,) = curves_chart(trial).data
    assert list(curve.y) == [2.0, 1.0, 0.5]
    assert curve.x[0] == pytest.approx(100 / 6)
    assert curves_chart(trial).layout.yaxis.type == "log"


def test_losses_below_zero_are_on_a_linear_axis(trial):
    first = trial.trainings[0].model_copy(update={"losses": (-0.1, -0.4, -0.9)})
    below = trial.model_copy(update={"trainings": (first, *trial.trainings[1:])})
    assert curves_chart(below).layout.yaxis.type == "linear"
    assert list(curves_chart(below).data[0].y) == [-0.1, -0.4, -0.9]


def test_nothing_known_is_an_empty_picture(trial):
    empty = trial.model_copy(update={"trainings": ()})
    assert set(grid_chart(empty).data[0].text) == {""}
    assert not curves_chart(empty).data
