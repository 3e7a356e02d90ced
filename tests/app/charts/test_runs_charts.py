"""Trainings as pictures: each cell is a layer's figure at a step."""

import math

import pytest

from app.analysis.runs.record import FIGURES, Head, Layer, Run, Snapshot
from app.charts.axes import sparse_ticks
from app.charts.runs import heat_map, loss_chart, profile_chart


def run(*variances, names=("a", "<b>")):
    layers = tuple(Layer(path=name, class_name="Dense") for name in names)
    head = Head(name="net", started="2026-01-01", layers=layers, samples=8, data="noise")
    nothing = dict.fromkeys(FIGURES, (None, None))
    snapshots = tuple(
        Snapshot(step=2 * place, epoch=0, loss=loss, figures={**nothing, "variance": pair})
        for place, (pair, loss) in enumerate(variances)
    )
    return Run(head, snapshots)


TRAINING = run(((1.0, 10.0), None), ((100.0, None), 2.0), ((0.0, 1e4), 0.5))


def test_a_cell_is_a_layers_figure_at_a_step():
    (chart,) = heat_map([TRAINING], "variance")
    (drawn,) = chart.data
    assert drawn.x == ("0", "2", "4")
    assert list(drawn.z[0]) == [0.0, 2.0, None]
    assert list(drawn.z[1]) == [1.0, None, 4.0]
    assert list(drawn.text[1]) == ["10", "not measured", "1.0×10⁴"]
    assert chart.layout.yaxis.ticktext == ("a", "&lt;b&gt;")
    assert chart.layout.yaxis.autorange == "reversed"


def test_trainings_beside_each_other_have_one_scale():
    charts = heat_map([TRAINING, run(((1e-3, 1.0), 1.0))], "variance")
    ends = {(chart.data[0].zmin, chart.data[0].zmax) for chart in charts}
    assert len(ends) == 1


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_drawn_though_nothing_is_known(figure):
    empty = run(((None, None), None))
    assert len(heat_map([empty], figure)) == 1
    assert len(profile_chart({"one": empty}, figure, {"one": 0}).data) == 1


def test_a_moment_is_drawn_beside_the_first_one():
    chart = profile_chart({"one": TRAINING}, "variance", {"one": 2})
    first, moment = chart.data
    assert (first.y, first.line.dash) == ((1.0, 10.0), "dot")
    assert (moment.y, moment.name) == ((None, 1e4), "step 4")
    assert chart.layout.yaxis.type == "log"


def test_the_loss_has_its_steps():
    (drawn,) = loss_chart({"one": TRAINING}).data
    assert (drawn.x, drawn.y) == ((2, 4), (2.0, 0.5))
    assert all(map(math.isfinite, drawn.y))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.56, 0.68], None),
        ([0.035, 1.0], ["0.05", "0.1", "0.2", "0.5", "1"]),
        ([2e-4, 0.3, 30.0], ["0.001", "0.01", "0.1", "1", "10"]),
    ],
)
def test_ticks_of_a_low_axis_do_not_lie_over_each_other(values, shown):
    assert sparse_ticks(values).get("ticktext") == shown


def test_across_many_decades_ticks_are_whole_powers():
    assert sparse_ticks([1e-30, 1.0], most=4) == {"dtick": 8}
    assert sparse_ticks([]) == {}
