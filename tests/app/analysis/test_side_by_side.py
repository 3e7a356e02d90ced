"""Several results at once: pure functions of results that were made up."""

import json

import pytest

from app.analysis import side_by_side
from app.charts import side_by_side as charts
from tests.app.parsing import on_files, parsed

differences = on_files(side_by_side.differences)
differing_settings = on_files(side_by_side.differing_settings)
runs_table = on_files(side_by_side.runs_table)
differences_chart, runs_chart = on_files(charts.differences_chart), on_files(charts.runs_chart)


def test_only_settings_that_differ_are_told(build_result):
    first, second, third = build_result(seeds=1), build_result(seeds=5), build_result(seeds=1)
    second["settings"]["input_mean"] = 0.5
    del third["settings"]["gradients"]  # of an older program
    assert differing_settings([first, second, third]) == {
        "input_mean": [0.0, 0.5, 0.0],
        "seeds": [1, 5, 1],
        "gradients": [False, False, None],
    }
    assert differing_settings([first, first]) == {}


def test_the_table_has_what_became_of_the_signal(build_result):
    rows = runs_table([build_result(50), build_result(50, uploaded=True)])
    assert rows[0]["run"] == "1: made-up.keras"
    assert rows[0]["Default"].startswith("Explodes, ")
    assert rows[0]["AutoInit"].startswith("Stable, ")
    assert "Uploaded" not in rows[0]
    assert rows[1]["Uploaded"].startswith("Stable, ")


def test_differences_are_taken_between_calls_of_one_name(build_result):
    first, other = build_result(10), build_result(15)
    other["calls"][3]["default"]["measured"]["variance"] = 7.0
    other["calls"][4]["default"]["measured"]["variance"] = 0.0
    other["calls"][5]["default"]["measured"] = None
    found = differences(first, other, "default")
    assert len(found) == 8
    path, before, after = found[3]
    assert (path, after) == (first["calls"][3]["path"], 7.0)
    assert before == first["calls"][3]["default"]["measured"]["variance"]


def test_runs_of_as_many_calls_share_their_axis(build_result):
    figure = runs_chart([build_result(10), build_result(10, growth=0.8)], "default")
    assert list(figure.data[0].x) == list(range(10))
    assert figure.layout.yaxis.type == "log"
    assert figure.data[0].line.dash != figure.data[1].line.dash


def test_other_runs_are_drawn_over_relative_depth(build_result):
    figure = runs_chart([build_result(10), build_result(21)], "autoinit")
    assert figure.data[1].x[10] == pytest.approx(0.5)
    assert figure.layout.xaxis.title.text == "relative depth"
    assert figure.layout.xaxis.tickvals is None
    # The first run's blocks lie elsewhere on this axis.
    assert runs_chart([build_result(10), build_result(10)], "autoinit").layout.shapes
    assert not figure.layout.shapes
    assert not figure.layout.annotations


def test_differences_are_factors_to_the_first(build_result):
    first, other = build_result(10), build_result(10)
    for call in other["calls"]:
        call["default"]["measured"]["variance"] *= 3.0
    other["calls"][2]["default"]["measured"]["variance"] = 1e300
    first["calls"][2]["default"]["measured"]["variance"] = 1e-300
    line = differences_chart([first, other], "default").data[0]
    assert line.y[1] == pytest.approx(3.0)
    assert line.y[2] == 1e300


def changed_to(result, **settings):
    result["settings"] |= settings
    return parsed(result)


def test_a_what_if_is_told_by_what_was_changed(build_result):
    first = parsed(build_result())
    assert side_by_side.what_if(first, first) == []
    tanh = changed_to(build_result(), activation="tanh", scheme="he")
    assert side_by_side.what_if(tanh, first) == ["tanh", "weights by He"]
    assert side_by_side.what_if(first, tanh) == [], "not the other way round"
    more = changed_to(build_result(), activation="tanh", scheme="he", normalization="layer")
    assert side_by_side.what_if(more, tanh) == ["layer normalization"]
    assert side_by_side.what_if(more, changed_to(build_result(), activation="relu")) == []
    assert side_by_side.what_if(tanh, parsed(build_result(name="other.keras"))) == []
    fed = build_result()
    fed["model"]["inputs"][0] |= {"mean": 0.5, "variance": 0.25}
    assert side_by_side.what_if(parsed(fed), first) == ["input of mean 0.5 and variance 0.25"]


@pytest.mark.parametrize(
    ("now", "before", "tone", "said"),
    [
        ("trains", "cannot train", "good", "Better with tanh. Own weights: cannot train → trains."),
        ("will struggle", "trains", "bad", "Worse with tanh. Own weights: trains → will struggle."),
        (
            "cannot train",
            "cannot train",
            "unknown",
            "No other verdict with tanh. Own weights: cannot train, as before.",
        ),
        (
            "cannot tell",
            "trains",
            "unknown",
            "No other verdict with tanh. Own weights: trains → cannot tell.",
        ),
    ],
)
def test_whether_it_is_better_is_answered(build_result, now, before, tone, said):
    results = []
    for word, activation in ((now, "tanh"), (before, "as_it_is")):
        result = build_result()
        result["verdicts"] = {
            series: {"verdict": verdict, "reason": "Because."}
            for series, verdict in (("default", word), ("autoinit", "trains"))
        }
        results.append(changed_to(result, activation=activation))
    told = side_by_side.answer(*results)
    assert told[0] == tone
    assert told[1].startswith(said)
    assert told[1].count("; before ") == 1, "how far AutoInit's variances reach, in both"


def test_every_quantity_is_compared(build_result):
    runs = [parsed(build_result(gradients=True, jacobian=1)), parsed(build_result(growth=0.8))]
    offered = charts.quantities_of(runs, "default")
    assert list(offered.values()) == [
        "Variance",
        "Gradient",
        "Mean",
        "Correlation of samples",
        "Correlation of positions",
        "Largest entry",
        "Jacobian",
    ]
    assert "gradient" not in charts.quantities_of(runs[1:], "default")
    for name, quantity in charts.QUANTITIES.items():
        figure = charts.runs_chart(runs, "default", quantity)
        measured = [quantity.read(call, "default") for call in runs[0].calls]
        assert [y for y in figure.data[0].y if y is not None] == measured
        has_gradients = [any(y is not None for y in line.y) for line in figure.data]
        assert has_gradients == [True, name != "gradient"]
    line = charts.differences_chart(runs, "default", charts.QUANTITIES["mean"]).data[0]
    means = [call.measured("default").mean for run in runs for call in run.calls[:1]]
    assert line.y[0] == pytest.approx(means[1] - means[0])
    (spectrum, level) = charts.jacobians_chart(runs, "default").data
    assert (spectrum.name, level.name) == ("1: made-up.keras", "1: lengths are kept")


def test_names_never_become_markup(build_result):
    hostile = build_result(5, name="<img src=x onerror=alert(1)>")
    text = json.dumps(
        [
            c([hostile, hostile], "default").to_plotly_json()["data"][0]["name"]
            for c in (runs_chart, differences_chart)
        ]
    )
    assert "<img" not in text
