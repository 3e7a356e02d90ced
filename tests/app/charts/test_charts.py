"""The charts: what is drawn where, what is masked, what is marked, and what it costs."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from app import charts
from app.analysis import headline
from app.charts import mark, network
from app.charts.axes import runs, symmetric_logarithm, tick_positions
from app.charts.histograms import histogram_chart
from app.charts.small import extremes
from app.charts.theme import COLORS, DASHES, MARKED_CALLS, TICK_LABELS, only_what_is_asked_first
from app.charts.views import VIEWS
from tests.app.parsing import on_files, parsed

correlation_chart = on_files(charts.correlation_chart)
gradient_chart = on_files(charts.gradient_chart)
largest_chart = on_files(charts.largest_chart)
mean_chart = on_files(charts.mean_chart)
overview_chart = on_files(charts.overview_chart)
spectrum_chart = on_files(charts.spectrum_chart)
variance_chart = on_files(charts.variance_chart)
network_dot = on_files(network.network_dot)
neighborhood_chart = on_files(network.neighborhood_chart)
has_correlations, phases = on_files(headline.has_correlations), on_files(headline.phases)
KIND = "sample_correlation"
HOSTILE = "<img src=x onerror=alert(1)>\u202e%{y}"


def trace(figure: go.Figure, name: str) -> go.Scatter:
    (found,) = [trace for trace in figure.data if trace.name == name]
    return found


def names(figure: go.Figure) -> list[str]:
    return [trace.name for trace in figure.data]


def test_a_healthy_network_has_three_traces_per_series_and_the_target(result):
    figure = variance_chart(result)
    assert names(figure) == [
        "Default measured",
        "Default predicted",
        "Default kernels",
        "AutoInit measured",
        "AutoInit predicted",
        "AutoInit kernels",
        "Target variance 1",
    ]
    assert figure.layout.yaxis.type == "log"


def test_lines_hold_the_measured_and_the_predicted_variances(result):
    figure = variance_chart(result)
    for series, name in (("default", "Default"), ("autoinit", "AutoInit")):
        for source in ("measured", "predicted"):
            expected = [call[series][source]["variance"] for call in result["calls"]]
            assert list(trace(figure, f"{name} {source}").y) == expected


def test_weighted_calls_are_marked_on_the_measured_line_and_no_others(result):
    figure = variance_chart(result)
    marks = trace(figure, "AutoInit kernels")
    assert list(marks.x) == [0, 5]
    assert list(marks.y) == [result["calls"][i]["autoinit"]["measured"]["variance"] for i in (0, 5)]
    assert marks.marker.color == "#D55E00"


def test_every_series_has_its_own_colour_and_its_own_symbol(deep_result):
    figure = variance_chart(deep_result)
    marks = [trace(figure, f"{name} kernels") for name in ("Default", "AutoInit", "Uploaded")]
    lines = [trace(figure, f"{name} measured") for name in ("Default", "AutoInit", "Uploaded")]
    assert len({mark.marker.symbol for mark in marks}) == 3
    assert len({line.line.color for line in lines}) == 3


def test_the_target_line_is_at_the_signal_variance(result):
    result["settings"]["signal_variance"] = 0.25
    assert list(trace(variance_chart(result), "Target variance 0.25").y) == [0.25, 0.25]


def test_variances_that_are_not_finite_are_masked_and_marked_at_the_upper_edge(deepest_result):
    figure = variance_chart(deepest_result)
    gone = [
        i
        for i, call in enumerate(deepest_result["calls"])
        if call["default"]["measured"]["variance"] is None
    ]
    assert 0 < len(gone) < 4000
    marks = trace(figure, "Default overflow")
    assert list(marks.x) == gone
    assert marks.yaxis == "y2"
    assert all(0.9 < y < 1 for y in marks.y)
    assert all(trace(figure, "Default measured").y[i] is None for i in gone)
    assert "AutoInit overflow" not in names(figure)


def test_variances_of_zero_are_masked_and_marked_at_the_lower_edge(vanishing_result):
    figure = variance_chart(vanishing_result)
    gone = [
        i
        for i, call in enumerate(vanishing_result["calls"])
        if call["default"]["measured"]["variance"] == 0
    ]
    assert gone
    marks = trace(figure, "Default variance 0")
    assert list(marks.x) == gone
    assert all(0 < y < 0.1 for y in marks.y)
    assert all(trace(figure, "Default measured").y[i] is None for i in gone)


def test_values_beyond_single_precision_are_drawn_as_they_are(result):
    result["calls"][3]["default"]["measured"]["variance"] = 1e-40
    result["calls"][4]["default"]["measured"]["variance"] = 1e76
    figure = variance_chart(result)
    assert list(trace(figure, "Default measured").y)[3:5] == [1e-40, 1e76]
    low, high = figure.layout.yaxis.range
    assert low < -40
    assert high > 76


def test_the_edge_axis_is_not_the_variance_axis(deepest_result):
    axis = variance_chart(deepest_result).layout.yaxis2
    assert (tuple(axis.range), axis.type, axis.fixedrange) == ((0, 1), None, True)


def test_a_call_that_was_not_measured_is_a_gap_without_a_mark(deep_result):
    figure = variance_chart(deep_result)
    assert trace(figure, "Default measured").y[63] is None
    assert trace(figure, "Default predicted").y[63] is not None
    assert "Default overflow" not in names(figure)


def test_calls_without_a_rule_and_tainted_calls_are_marked(deep_result):
    figure = variance_chart(deep_result)
    crosses = trace(figure, "Layers without a rule")
    assert list(crosses.x) == [62]
    assert crosses.marker.symbol == "x"
    band = trace(figure, "Prediction unsure")
    assert list(band.x) == [62.5, 139.5, None]
    assert not figure.layout.shapes


def test_runs_of_indices_are_merged():
    assert runs([3, 4, 5, 9, 11, 12])[0] == [2.5, 5.5, None, 8.5, 9.5, None, 10.5, 12.5, None]
    assert runs([7]) == ([6.5, 7.5, None], [0.0, 0.0, None])


def test_hovering_tells_path_class_shape_figures_and_support(result):
    result["calls"][1]["autoinit"]["measured"]["finite_fraction"] = 0.5
    told = trace(variance_chart(result), "AutoInit measured").customdata[1]
    assert told[0] == "block0/conv/relu"
    assert told[1] == "relu · ?×32×32×16"
    assert told[2].startswith("measured variance 0.34")
    assert told[2].endswith("25 % zeros, only 50 % finite")
    assert told[3].startswith("variance 0.34")
    assert told[4] == "rule: exact"


def test_hovering_tells_how_sure_a_variance_is(result):
    result["calls"][1]["autoinit"]["measured"]["standard_error"] = 0.0312
    told = trace(variance_chart(result), "AutoInit measured").customdata
    assert told[1][2].endswith("zeros<br>standard error of the variance 3.12 %")
    assert "standard error" not in told[2][2], "a result from before"


def test_frozen_weights_are_told(result):
    result["calls"][0]["frozen"] = True
    told = trace(variance_chart(result), "AutoInit measured").customdata[0]
    assert told[4] == "rule: exact, frozen: its weights are kept"


@pytest.mark.parametrize("chart", [variance_chart, mean_chart])
def test_from_a_layer_on_that_is_not_run_there_is_a_gap_that_says_why(chart, cut_result):
    figure = chart(cut_result)
    for series in ("Default", "AutoInit", "Uploaded"):
        measured, expected = (
            trace(figure, f"{series} {kind}") for kind in ("measured", "predicted")
        )
        assert [y is None for y in measured.y] == [False] * 12 + [True] * 18
        assert None not in expected.y
        told = [text for _, text in expected.customdata]
        assert not any("not" in text for text in told[:12])
        assert told[12].endswith("<br>not run: it holds code")
        assert all(
            text.endswith("<br>not measured: after a layer that was not run") for text in told[13:]
        )
        assert told[13].startswith("variance ")
        assert max(trace(figure, f"{series} kernels").x) < 12
    marks = trace(figure, "Layers that are not run")
    assert list(marks.x) == [12]
    assert list(marks.customdata[0]) == ["block2/dropout", "Lambda", "not run: it holds code"]
    assert "Layers without a rule" not in names(figure)
    shade = trace(figure, "Not measured")
    assert list(shade.x) == [11.5, 11.5, 29.5, 29.5, None]
    assert list(shade.y) == [0, 1, 1, 0, None]


def test_a_branch_beside_it_leaves_a_hole_in_the_shade(cut_result):
    for series in cut_result["series"]:
        cut_result["calls"][20][series]["measured"] = {"variance": 1.0, "mean": 0.0}
    shade = trace(variance_chart(cut_result), "Not measured")
    assert [x for x in shade.x if x is not None] == [11.5, 11.5, 19.5, 19.5, 20.5, 20.5, 29.5, 29.5]


def test_reasons_never_become_markup(cut_result):
    cut_result["calls"][12]["opaque"] = HOSTILE
    text = variance_chart(cut_result).to_json()
    assert "<img" not in text
    assert "not run: &lt;img" in text


def test_names_never_become_markup(build_result):
    hostile = build_result(30, path=lambda block, layer: HOSTILE + layer, unsupported=(7,))
    for call in hostile["calls"]:
        call["class"] = HOSTILE
    for figure in (
        variance_chart(hostile, True),
        mean_chart(hostile),
        correlation_chart(hostile, KIND),
    ):
        text = figure.to_json()
        assert "<img" not in text
        assert "\u202e" not in text
        assert "\\u202e" not in text
        assert "&lt;img" in text


def test_few_names_are_drawn_and_long_ones_are_shortened(deepest_result):
    axis = variance_chart(deepest_result).layout.xaxis
    assert len(axis.tickvals) == len(axis.ticktext) == TICK_LABELS
    assert axis.tickvals[0] == 0
    assert axis.tickvals[-1] == 3999
    assert max(len(text) for text in axis.ticktext) <= 18


@pytest.mark.parametrize("count", [1, 2, 12, 13, 140, 4000])
def test_tick_positions_are_distinct_calls(count):
    positions = tick_positions(count)
    assert positions == sorted(set(positions))
    assert positions[0] == 0
    assert positions[-1] == count - 1
    assert len(positions) <= TICK_LABELS


def test_beyond_a_few_hundred_calls_only_weighted_ones_carry_markers(deepest_result):
    figure = variance_chart(deepest_result)
    assert all(isinstance(trace, go.Scatter) for trace in figure.data)
    assert trace(figure, "Default measured").mode == "lines"
    assert trace(figure, "Default predicted").mode == "lines"
    assert len(trace(figure, "AutoInit kernels").x) == 800


def test_among_few_calls_predictions_are_dots(deep_result):
    assert len(deep_result["calls"]) <= MARKED_CALLS
    assert trace(variance_chart(deep_result), "Default predicted").mode == "markers"


def test_four_thousand_calls_stay_a_few_megabytes(deepest_result):
    assert len(variance_chart(deepest_result).to_json()) < 5e6


@pytest.mark.parametrize("chart", [variance_chart, mean_chart])
@pytest.mark.parametrize("calls", [0, 1])
def test_tiny_networks_can_be_drawn(build_result, chart, calls):
    figure = chart(build_result(calls))
    low, high = figure.layout.xaxis.range
    assert low < 0 < high


def test_a_result_of_predictions_alone_can_be_drawn(result):
    for call in result["calls"]:
        call["default"], call["autoinit"]["measured"] = None, None
    for figure in (variance_chart(result), mean_chart(result)):
        assert set(trace(figure, "AutoInit measured").y) == {None}
        assert None not in trace(figure, "AutoInit predicted").y


def test_small_means_are_drawn_on_a_linear_axis(result):
    figure = mean_chart(result)
    assert figure.layout.yaxis.type is None
    assert figure.layout.yaxis.tickvals is None
    expected = [call["autoinit"]["measured"]["mean"] for call in result["calls"]]
    assert list(trace(figure, "AutoInit measured").y) == expected


def test_means_of_many_decades_get_an_axis_that_shows_them_all(deepest_result):
    figure = mean_chart(deepest_result)
    drawn = [y for y in trace(figure, "Default measured").y if y is not None]
    largest = max(call["default"]["measured"]["mean"] or 0.0 for call in deepest_result["calls"])
    assert max(drawn) == pytest.approx(1 + math.log10(largest))
    assert len(figure.layout.yaxis.tickvals) <= 11


@pytest.mark.parametrize(
    ("value", "drawn"), [(0, 0), (0.5, 0.5), (1, 1), (1000, 4), (-0.2, -0.2), (-100, -3)]
)
def test_the_symmetric_logarithm(value, drawn):
    assert symmetric_logarithm(value) == pytest.approx(drawn)


@pytest.mark.parametrize("chart", [variance_chart, mean_chart])
def test_the_other_models_predictions_are_dashed_and_drawn_on_demand(chart, result):
    without, figure = chart(result), chart(result, True)
    added = [name for name in names(figure) if name not in names(without)]
    assert added == [
        "Default predicted by the paper's model",
        "AutoInit predicted by the paper's model",
    ]
    line = trace(figure, "AutoInit predicted by the paper's model")
    figure_name = "variance" if chart is variance_chart else "mean"
    assert list(line.y) == [
        call["autoinit"]["predicted_by"]["independent"][figure_name] for call in result["calls"]
    ]
    assert line.line.dash == "dash"
    assert line.line.color == trace(figure, "AutoInit measured").line.color
    assert line.customdata[1][0] == "block0/conv/relu"
    assert line.customdata[1][1].startswith("variance 0.085")
    assert trace(chart(result, "legendonly"), added[0]).visible == "legendonly"


def test_the_axis_has_room_for_the_other_models_predictions_where_they_are_in_sight(result):
    result["calls"][3]["default"]["predicted_by"]["independent"]["variance"] = 1e-40
    result["calls"][4]["default"]["predicted_by"]["independent"]["variance"] = None
    assert variance_chart(result, True).layout.yaxis.range[0] < -40
    assert variance_chart(result, "legendonly").layout.yaxis.range[0] > -5
    assert (
        trace(variance_chart(result, True), "Default predicted by the paper's model").y[4] is None
    )


def test_where_the_papers_model_was_chosen_the_other_is_the_correlated_one(result):
    for call in result["calls"]:
        for series in result["series"]:
            block = call[series]
            block["predicted_by"] = {"correlated": block["predicted"]}
            block["predicted"] = {"mean": 0.0, "variance": 1.0}
    for figure in (variance_chart(result, True), correlation_chart(result, KIND, True)):
        assert "Default predicted by the correlated model" in names(figure)


def test_older_results_have_no_other_predictions(result):
    for call in result["calls"]:
        for series in result["series"]:
            del call[series]["predicted_by"]
    assert names(variance_chart(result, True)) == names(variance_chart(result))


def test_among_thousands_of_calls_the_other_predictions_are_a_plain_line(deepest_result):
    figure = variance_chart(deepest_result, True)
    assert trace(figure, "Default predicted by the paper's model").mode == "lines"
    assert len(figure.to_json()) < 6e6


@pytest.mark.parametrize("kind", [KIND, "position_correlation"])
def test_correlations_are_drawn_from_0_to_1(kind, result):
    result["calls"][2]["default"]["measured"].pop(kind)
    figure = correlation_chart(result, kind, True)
    assert figure.layout.yaxis.range == pytest.approx((-0.04, 1.04))
    for source in ("measured", "predicted"):
        expected = [call["default"][source].get(kind) for call in result["calls"]]
        assert list(trace(figure, f"Default {source}").y) == expected
    # The paper's model has none.
    assert not [name for name in names(figure) if "predicted by" in name]
    told = trace(figure, "AutoInit measured").customdata[1]
    assert told[2].startswith(
        "measured correlation 0.5 between samples, 0.3 between positions<br>from"
    )
    assert told[3] == "correlation 0.5 between samples, 0.3 between positions"


def test_chance_below_0_is_in_sight(result):
    result["calls"][1]["default"]["measured"][KIND] = -0.2
    assert correlation_chart(result, KIND).layout.yaxis.range[0] == pytest.approx(-0.24)


def test_a_result_of_one_sample_has_no_correlations(build_result):
    result = build_result(3)
    for call in result["calls"]:
        for series in result["series"]:
            for source in ("measured", "predicted"):
                del call[series][source][KIND], call[series][source]["position_correlation"]
    assert not has_correlations(result)
    assert set(trace(correlation_chart(result, KIND), "Default measured").y) == {None}


def test_a_chart_without_figures_is_not_offered(build_result):
    result, correlation = build_result(3), VIEWS["correlation"]
    assert list(correlation.offered(parsed(result))) == [KIND, "position_correlation"]
    for call in result["calls"]:
        for series in result["series"]:
            for source in ("measured", "predicted"):
                call[series][source]["position_correlation"] = None
    assert list(correlation.offered(parsed(result))) == [KIND]


def test_charts_do_not_change_the_result(deep_result: dict[str, Any], build_result):
    for chart in (variance_chart, mean_chart):
        chart(deep_result, True)
    correlation_chart(deep_result, KIND, True)
    fresh = build_result(140, uploaded=True, unsupported=(62,), unmeasured=(63,), seeds=3)
    assert deep_result == fresh


def test_phases_are_told_in_words(result):
    assert not list(phases(result))
    known = {"slope": 1.177, "phase": "chaotic", "calls": 6}
    (sentence,) = phases(result | {"phases": {"default": known}})
    assert sentence.startswith("Default weights: chaotic phase, inputs that are nearly alike come")
    assert sentence.endswith("(slope of the correlation at 1: 1.18).")


def test_draws_are_a_band_between_percentiles(build_result):
    result = build_result(seeds=5)
    for call in result["calls"]:
        call["autoinit"]["measured"]["variance_spread"] |= {"low": 1.4, "high": 4.6}
    bands = [t for t in variance_chart(result).data if t.name == "AutoInit, draws"]
    assert [max(v for v in trace.y if v) for trace in bands] == [1.4, 4.6]
    assert bands[1].fill == "tonexty"
    assert not any("draws" in (t.name or "") for t in variance_chart(build_result()).data)


def test_a_draw_that_overflows_opens_the_band_upwards(build_result):
    result = build_result(seeds=5)
    for call in result["calls"]:
        call["default"]["measured"]["variance_spread"]["high"] = None
    low, high = (t for t in variance_chart(result).data if t.name == "Default, draws")
    assert all(value is not None for value in low.y)
    assert set(high.y) == {None}


def test_predictions_outside_the_band_are_ringed_and_say_by_what(build_result):
    result = build_result(seeds=5)
    rings = trace(variance_chart(result), "AutoInit outside its band")
    assert list(rings.x) == [4, 9]
    assert rings.y[0] == result["calls"][4]["autoinit"]["predicted"]["variance"]
    assert "10th to 90th percentile" in rings.customdata[0][1]


def test_gradients_are_drawn_on_a_log_axis_with_weighted_calls(build_result):
    result = build_result(gradients=True)
    result["calls"][3]["default"]["gradient"] = None
    figure = gradient_chart(result)
    assert figure.layout.yaxis.type == "log"
    line = trace(figure, "Default measured")
    assert line.y[3] is None
    assert "no gradient reaches it" in line.customdata[3]
    assert line.y[5] == result["calls"][5]["default"]["gradient"]["variance"]
    assert list(trace(figure, "Default kernels").x) == [0, 5]


def test_a_gradient_that_overflows_is_marked_at_the_edge(build_result):
    result = build_result(gradients=True)
    result["calls"][0]["default"]["gradient"]["variance"] = None
    for place in (3, 5):  # of which only the second has a kernel
        result["calls"][place]["default"]["gradient"]["variance"] = 0.0
    figure = gradient_chart(result)
    assert list(trace(figure, "Default overflow").x) == [0]
    assert list(trace(figure, "Default variance 0").x) == [5]


def test_the_largest_entries_are_drawn_beside_what_floating_types_hold(result):
    result["calls"][2]["default"]["measured"] |= {"minimum": -40_000.0, "maximum": 3.0}
    figure = largest_chart(result)
    assert trace(figure, "Default measured").y[2] == 40_000.0
    assert trace(figure, "largest of float16: 6.6×10⁴").y == (65504.0, 65504.0)
    assert 10 ** figure.layout.yaxis.range[1] > 65504.0
    # Those that the figures do not come near to are not drawn.
    assert not any("float32" in name for name in names(figure))
    result["calls"][2]["default"]["measured"] |= {"minimum": -1e37}
    wider = trace(largest_chart(result), "largest of bfloat16 and float32: 3.4×10³⁸")
    assert wider.y[0] == float(np.finfo(np.float32).max)


def test_a_spectrum_is_drawn_over_its_edges(build_result):
    figure = spectrum_chart(build_result(jacobian=2))
    line = trace(figure, "Default")
    assert list(line.x) == pytest.approx([1e-6, 1e-3, 1.0])
    assert list(line.y) == [0.25, 0.75, 0.0]
    assert figure.layout.xaxis.type == "log"
    assert trace(figure, "1: lengths are kept").x == (1.0, 1.0)


def test_calls_that_are_chosen_elsewhere_are_marked_from_edge_to_edge(result):
    figure = variance_chart(result)
    before = len(figure.data)
    mark(figure, [])
    assert len(figure.data) == before
    mark(figure, [2, 5])
    line = trace(figure, "Chosen")
    assert (list(line.x), line.yaxis) == ([2, 2, None, 5, 5, None], "y2")


def test_the_neighbours_of_a_call_are_drawn_and_coloured_by_variance(deep_result):
    figure = neighborhood_chart(deep_result, 63, "autoinit")
    nodes = figure.data[1]
    assert len(nodes.x) == 11
    widths = list(nodes.marker.line.width)
    assert widths.count(4) == 1
    place = widths.index(4)
    assert nodes.customdata[place][0] == deep_result["calls"][63]["path"]
    # Nothing was measured there.
    assert nodes.marker.opacity[place] < 1.0
    assert nodes.customdata[place][2].startswith("not measured")
    assert set(nodes.marker.symbol) == {"square", "circle"}
    assert all(len(name.replace("<br>", "").strip()) <= 16 for name in nodes.text)
    # Of four columns in a row no two names are at the same height: a phone has room for that.
    heights = dict(zip(nodes.x, zip(nodes.text, nodes.textposition, strict=True), strict=True))
    levels = {
        column: (side, "<br>" in name) for column, (name, side) in heights.items() if column < 4
    }
    assert len(levels) == len(set(levels.values())) == 4


def test_histograms_are_densities_over_each_series_own_range():
    found = {
        "default": {"low": 0.0, "high": 2.0, "counts": [1, 3]},
        "autoinit": {"low": 5.0, "high": 5.0, "counts": [4, 0]},  # all the same
    }
    (line,) = histogram_chart(found).data
    assert list(line.x) == [0.0, 1.0, 2.0]
    assert list(line.y) == [0.25, 0.75, 0.0]
    assert line.name == "Default"


def test_the_strip_keeps_the_extremes_and_shades_what_is_not_shown(build_result):
    result = build_result(50)
    figure = overview_chart(result, range(10, 31))
    assert [len(trace.y) for trace in figure.data] == [50] * len(result["series"])
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(0, 10), (30, 49)]
    assert not overview_chart(result, range(50)).layout.shapes
    low, high = figure.layout.yaxis.range
    drawn = [value for trace in figure.data for value in trace.y]
    assert low < math.log10(min(drawn))
    assert high > math.log10(max(drawn))


def test_a_long_column_is_thinned_to_its_peaks():
    column: list[float | None] = [1.0 + place % 7 for place in range(4000)]
    column[1234], column[2345], column[3456] = 1e9, 1e-9, None
    found = extremes(column)
    assert len(found) <= 1000
    assert list(found) == sorted(found)
    assert (found[1234], found[2345]) == (1e9, 1e-9)
    assert all(column[place] == value for place, value in found.items())
    assert extremes([None] * 5) == {}
    assert extremes([2.0, None, 3.0]) == {0: 2.0, 2: 3.0}


def branching(build_result) -> dict[str, Any]:
    """An input that splits into two branches of two, which meet; and an input of integers."""
    result = build_result(7)
    reads = [[], [0], [1], [0], [3], [2, 4], []]
    for call, inputs in zip(result["calls"], reads, strict=True):
        call["inputs"] = inputs
    result["calls"][6] |= {"path": "store", "class": "InputLayer"}
    result["model"]["inputs"].append({"name": "store", "shape": [None, 1], "dtype": "int32"})
    return result


def test_a_line_follows_the_graph_and_joins_no_branches(build_result):
    line = trace(variance_chart(branching(build_result)), "Default measured")
    assert list(line.x) == [0, 1, 2, None, 0, 3, 4, 5, None, 6, None, 2, 5]
    assert line.y[3] is None
    assert line.y[0] == line.y[4]
    assert line.customdata[5][0] == "block0/flip"


def test_a_connection_that_skips_others_is_not_drawn(build_result):
    result = build_result(4)
    result["calls"][3]["inputs"] = [0, 2]
    assert trace(variance_chart(result), "Default measured").x is None


@pytest.mark.parametrize(
    ("given", "class_name"),
    [
        ({"dtype": "int32"}, "InputLayer"),
        ({"dtype": "float32", "taken": "integers"}, "InputLayer"),  # what only an Embedding reads
        ({"dtype": "float32"}, "NotEqual"),  # a mask
    ],
)
def test_integers_are_no_signal(build_result, given, class_name):
    result = branching(build_result)
    result["model"]["inputs"][-1] |= given
    result["calls"][6]["class"] = class_name
    result["calls"][6]["default"]["measured"]["variance"] = 1e9
    figure = variance_chart(result)
    assert trace(figure, "Default measured").y[9] is None
    assert figure.layout.yaxis.range[1] < 2


def test_series_differ_without_their_colours(build_result):
    figure = variance_chart(build_result(uploaded=True))
    names_of = ("Default measured", "AutoInit measured", "Uploaded measured")
    assert len({trace(figure, name).line.dash for name in names_of}) == 3
    assert len({DASHES[series] for series in COLORS}) == len(COLORS)


def test_blocks_are_bracketed_under_the_axis_where_they_are_few(build_result, deepest_result):
    layout = variance_chart(build_result(12)).layout
    assert [each.hovertext for each in layout.annotations] == ["block0", "block1", "block2"]
    assert len(layout.shapes) == 3
    assert not layout.xaxis.tickvals
    assert not variance_chart(deepest_result).layout.annotations


def test_names_of_short_blocks_take_turns_in_two_lines(build_result):
    names = [each for each in variance_chart(build_result(40)).layout.annotations if each.text]
    assert len({each.yshift for each in names}) == 2
    assert all(one.yshift != other.yshift for one, other in pairwise(names))
    assert len({each.yshift for each in variance_chart(build_result(12)).layout.annotations}) == 1


def test_at_first_a_chart_has_a_line_for_each_series_and_one_kind_of_mark(result):
    figure = only_what_is_asked_first(variance_chart(result))
    assert [t.name for t in figure.data if t.showlegend is not False] == [
        "Default",
        "Has a kernel",
        "AutoInit",
        "Target variance 1",
    ]


def test_what_is_not_measured_is_called_that_at_first_too(build_result):
    figure = only_what_is_asked_first(variance_chart(build_result(20, opaque=10)))
    assert "Not measured" in [t.name for t in figure.data]


def test_the_graph_has_a_box_for_each_layer_its_figure_and_what_it_reads(build_result):
    result = branching(build_result)
    result["calls"][1]["default"]["measured"]["variance"] = 1e-9
    result["calls"][2]["path"] = 'a"]; x [label="\\'
    del result["calls"][3]["default"]["measured"]
    dot = network_dot(result, "default", False, {"block0/flip"})
    assert dot.count("->") == 6
    assert "n2 -> n5;" in dot
    boxes = {line.split()[0]: line for line in dot.splitlines() if " [label=" in line}
    assert "#4393C3" in boxes["n1"]
    assert "variance 1.0×10⁻⁹" in boxes["n1"]
    assert "not measured" in boxes["n3"]
    assert "penwidth=4" in boxes["n3"]
    assert "URL" not in dot
    address = {"job": "k", "kept": "a,b", "layer": "block0/flip"}
    boxes = {
        line.split()[0]: line
        for line in network_dot(result, "default", address=address).splitlines()
        if " [label=" in line
    }
    assert 'URL="?job=k&kept=a%2Cb&layer=block0%2Fconv"' in boxes["n0"]
    assert 'URL="?job=k&kept=a%2Cb"' in boxes["n3"], "what is chosen leads back"
    assert "layer=a%22%5D%3B" in boxes["n2"]
    # A name is text, whatever it holds.
    assert 'label="a\\"]; x [label=\\"\\\\\\n' in boxes["n2"]
