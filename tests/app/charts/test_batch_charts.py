"""Many models as points."""

from app.charts import batch
from app.charts.batch import scatter


def rows(count):
    return {
        "file": [f"<{place}>" for place in range(count)],
        "verdict": ["trains", "cannot train", None] * (count // 3),
        "depth": list(range(count)),
        "parameters": [10.0**place for place in range(count)],
    }


def test_a_point_for_each_model_with_a_verdict():
    well, ill = scatter(rows(6), "depth", "parameters").data
    assert (well.name, list(well.x), list(well.y)) == ("trains", [0, 3], [1.0, 1e3])
    assert (ill.name, list(ill.customdata), list(ill.text)) == (
        "cannot train",
        [1, 4],
        ["&lt;1&gt;", "&lt;4&gt;"],
    )
    chart = scatter(rows(6), "depth", "parameters")
    assert (chart.layout.xaxis.type, chart.layout.yaxis.type) == ("linear", "log")
    # With "select", a browser's click on a point chose nothing.
    assert chart.layout.dragmode == "zoom"
    assert not scatter(rows(0), "depth", "parameters").data


def test_of_very_many_each_nth(monkeypatch):
    monkeypatch.setattr(batch, "MOST", 6)
    drawn = sorted(place for trace in scatter(rows(24), "depth", "depth").data for place in trace.x)
    assert drawn == [place for place in range(0, 24, 4) if place % 3 != 2]
