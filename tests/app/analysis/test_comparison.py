"""The comparison on small models: what is not run, what is frozen, what came broken."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import initializers, layers

from app.analysis.comparison import compare
from app.analysis.comparison.conditions import _not_self_averaging
from app.analysis.comparison.figures import calls_of, gradients_of, phases_of
from app.analysis.comparison.inputs import inputs_of
from app.analysis.headline import series_summary
from app.analysis.options import table
from app.analysis.reporting import fisher_of, formats_of, jacobian_of, preview_of
from app.analysis.settings import Settings
from autoinit.graph.model_graph import StandIn
from autoinit.graph.placeholders import Opaque, OpaqueActivation
from autoinit.propagation import Options, input_signals, plan, predict
from autoinit.reading import read_model
from autoinit.rules.fallbacks import UNSUPPORTED
from autoinit.signals import SIGNAL_MODELS
from autoinit.signals.independent import IndependentSignal
from probes import probe_model
from tests.app.parsing import parsed

QUICK = {"samples": 64, "device": "cpu"}


def values(variable):
    return np.array(keras.ops.convert_to_numpy(variable))


def test_the_choices_that_are_offered_are_the_librarys():
    # The page and the command line must not import Keras, and keep lists of their own.
    offered = table(Settings)
    assert set(offered["signal_model"].choices) == set(SIGNAL_MODELS)
    assert set(offered["unsupported"].choices) == set(UNSUPPORTED)


def rows(comparison):
    return {call.path: as_json(call) for call in calls_of(comparison)}


def as_json(call):
    return call.model_dump(mode="json", by_alias=True, exclude_unset=True)


def codes(comparison):
    return [finding.code for finding in comparison.findings]


def variance(row, series, kind="measured"):
    return row[series][kind]["variance"]


def cut_model():
    inputs = keras.Input((20,), name="in")
    before = layers.Dense(20, activation="relu", name="before")(inputs)
    cut = Opaque("Lambda", "it holds code", name="cut", evidence={"declared": [30]})(before)
    swirl = OpaqueActivation("swirl", "it is not known here")
    after = layers.Dense(8, activation=swirl, name="after")(cut)
    beside = layers.Dense(8, name="beside")(before)
    return keras.Model(inputs, layers.Add(name="sum")([after, beside]))


@pytest.mark.parametrize("uploaded", [True, False])
def test_what_comes_after_a_layer_that_is_not_run_is_measured_on_noise(uploaded):
    comparison = compare(cut_model(), Settings(seeds=2, **QUICK), uploaded=uploaded)
    table = rows(comparison)
    unmeasured = {"cut", "after/swirl"}
    for path, row in table.items():
        for series in comparison.probes:
            assert (row[series]["measured"] is None) == (path in unmeasured)
            assert math.isfinite(variance(row, series, "predicted"))
    assert table["cut"]["class"] == "Lambda"
    assert {path: row["opaque"] for path, row in table.items() if row["opaque"]} == {
        "cut": "it holds code",
        "after/swirl": "it is not known here",
    }
    assert [row["path"] for row in table.values() if row["tainted"]] == [
        "after",
        "after/swirl",
        "sum",
    ]
    assert variance(table["beside"], "autoinit") == pytest.approx(1.0, rel=0.5)
    assert variance(table["after"], "autoinit", "predicted") == pytest.approx(1.0, rel=0.1)
    assert codes(comparison) == ["opaque_layer", "opaque_activation"]


def test_noise_has_the_predicted_moments_and_bears_no_verdict():
    x = keras.Input((30,), name="in")
    y = layers.Rescaling(3.0, 2.0, name="scaled")(x)
    y = layers.Identity(name="after")(Opaque("Mine", "it is not known here", name="cut")(y))
    model = keras.Model(x, layers.Dense(4, name="head")(y))
    comparison = compare(model, Settings(samples=512), uploaded=False)
    found = rows(comparison)["after"]["default"]["measured"]
    assert found["mean"] == pytest.approx(2.0, abs=0.1)
    assert found["variance"] == pytest.approx(9.0, rel=0.1)
    assert comparison.diagnosis.verdicts["default"].verdict.value == "cannot tell"


def test_layers_that_take_no_noise_are_not_measured(monkeypatch):
    def choosy(graph, *args, **options):
        if any(isinstance(call, StandIn) for call in graph.calls):
            raise IndexError("no such row")
        return probe_model(graph, *args, **options)

    monkeypatch.setattr("app.analysis.comparison.measurements.probe_model", choosy)
    table = rows(compare(cut_model(), Settings(**QUICK), uploaded=False))
    assert table["beside"]["default"]["measured"] is not None
    assert table["after"]["default"]["measured"] is table["sum"]["default"]["measured"] is None


def convolutions():
    inputs = keras.Input((16, 16, 3), name="in")
    x = inputs
    for place in range(4):
        x = layers.Conv2D(64, 3, padding="same", activation="relu", name=f"conv{place}")(x)
    pooled = layers.GlobalAveragePooling2D(name="pooled")(x)
    return keras.Model(inputs, layers.Dense(32, name="head")(pooled))


def test_the_other_model_predicts_for_the_very_same_weights():
    model = convolutions()
    own = model.get_weights()
    chosen = compare(model, Settings(seeds=2, **QUICK), uploaded=True)
    # The first draw's are the weights that stay.
    graph = read_model(model)
    again = predict(graph, input_signals(graph, signal_model="independent"), Options(batch=64))
    twin = convolutions()
    twin.set_weights(own)
    paper = Settings(signal_model="independent", **QUICK)
    paper_rows = rows(compare(twin, paper, uploaded=True))
    for call, (path, row) in zip(graph.calls, rows(chosen).items(), strict=True):
        other = {series: row[series]["predicted_by"]["independent"] for series in chosen.probes}
        assert other["autoinit"]["variance"] == again.results[call.index].signals[0].variance
        for series in ("default", "uploaded"):
            assert other[series] == paper_rows[path][series]["predicted"]
        assert list(paper_rows[path]["default"]["predicted_by"]) == ["correlated"]
    head = rows(chosen)["head"]["autoinit"]
    assert head["predicted_by"]["independent"]["variance"] != head["predicted"]["variance"]


def test_a_result_does_without_the_other_model_where_that_fails(monkeypatch):
    def failing(graph, signals, *arguments):
        if isinstance(next(iter(signals.values())), IndependentSignal):
            raise ValueError("beyond it")
        return predict(graph, signals, *arguments)

    monkeypatch.setattr("app.analysis.comparison.steps.predict", failing)
    comparison = compare(cut_model(), Settings(**QUICK), uploaded=False)
    table = rows(comparison)
    assert not any("predicted_by" in row["default"] for row in table.values())
    assert variance(table["beside"], "autoinit") == pytest.approx(1.0, rel=0.5)
    (told,) = (f.message for f in comparison.findings if f.code == "other_model_failed")
    assert "the independent signal model predicts" in told
    assert "ValueError: beyond it" in told


@pytest.mark.parametrize("seeds", [1, 2])
def test_correlations_are_measured_as_they_are_predicted(seeds):
    table = rows(compare(convolutions(), Settings(seeds=seeds, **QUICK), uploaded=False))
    for path, row in table.items():
        for series in ("default", "autoinit"):
            expected, measured = row[series]["predicted"], row[series]["measured"]
            kinds = ["sample_correlation"]
            if path in ("pooled", "head"):
                assert "position_correlation" not in expected
                assert "position_correlation" not in measured
            else:
                kinds.append("position_correlation")
            for kind in kinds:
                assert measured[kind] == pytest.approx(expected[kind], abs=0.15), (path, series)
    assert table["in"]["default"]["measured"]["sample_correlation"] < 0.01
    assert table["head"]["default"]["measured"]["sample_correlation"] > 0.8


def test_one_sample_has_no_correlations():
    table = rows(compare(convolutions(), Settings(samples=1, device="cpu"), uploaded=False))
    assert not any("sample_correlation" in row["default"]["measured"] for row in table.values())


def test_kernels_after_it_are_drawn_all_the_same():
    model = cut_model()
    compare(model, Settings(**QUICK), uploaded=True)
    kernel = values(model.get_layer("after").kernel)
    # The ReLU leaves half of the second moment, on 30 inputs.
    assert kernel.std() == pytest.approx((2 / 30) ** 0.5, rel=0.15)


def test_what_follows_a_cut_at_the_entrance_is_measured_on_noise():
    inputs = keras.Input((4,), name="in")
    cut = Opaque("Lambda", "it holds code", name="cut")(inputs)
    comparison = compare(
        keras.Model(inputs, layers.Dense(3, name="head")(cut)), Settings(**QUICK), uploaded=True
    )
    table = rows(comparison)
    assert table["cut"]["autoinit"]["measured"] is None
    assert table["head"]["weighted"]
    assert table["head"]["tainted"]
    for which in ("predicted", "measured"):
        assert variance(table["head"], "autoinit", which) == pytest.approx(1.0, rel=0.5)


def pretrained():
    """A frozen body with channels that differ, as training leaves them, under a new head."""
    keras.utils.set_random_seed(3)
    generator = np.random.default_rng(3)
    inputs = keras.Input((8, 8, 3), name="in")
    x = inputs
    for place in range(3):
        x = layers.Conv2D(16, 3, padding="same", name=f"conv{place}")(x)
        x = layers.BatchNormalization(name=f"normal{place}", momentum=0.0)(x)
        x = layers.ReLU(name=f"relu{place}")(x)
    body = keras.Model(inputs, layers.Flatten(name="flat")(x), name="body")
    data = keras.Input((8, 8, 3), name="data")
    model = keras.Model(data, layers.Dense(40, name="head")(body(data)))
    for layer in body.layers:
        if layer.name.startswith("conv"):
            scales = generator.uniform(0.2, 4.0, layer.kernel.shape[-1])
            layer.kernel.assign(layer.kernel * scales)
            layer.bias.assign(generator.normal(0, 2, layer.bias.shape))
    # Statistics like those of training, by one batch.
    body(generator.standard_normal((256, 8, 8, 3), dtype=np.float32), training=True)
    body.trainable = False
    return model


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_frozen_layers_keep_their_weights_and_the_head_is_drawn_for_what_they_give(mode):
    model = pretrained()
    body = model.get_layer("body")
    before = [values(weight) for weight in body.weights]
    settings = Settings(keep_frozen=True, mode=mode, seeds=2, **QUICK)
    comparison = compare(model, settings, uploaded=True)
    for old, weight in zip(before, body.weights, strict=True):
        np.testing.assert_array_equal(old, values(weight))
    table = rows(comparison)
    assert variance(table["head"], "autoinit") == pytest.approx(1.0, rel=0.2)
    assert not table["head"]["frozen"]
    for path in ("body/conv0", "body/normal1", "body/conv2"):
        assert table[path]["frozen"]
        figures = {series: table[path][series]["measured"] for series in comparison.probes}
        assert figures["default"] == figures["uploaded"] == figures["autoinit"]
    assert table["body/conv0"]["weighted"]
    assert not table["body/relu0"]["frozen"]
    assert table["body/relu2"]["support"] == "sampled"
    (finding,) = [item for item in comparison.findings if item.code == "frozen_kept"]
    assert "6 layers are frozen" in finding.message
    assert "'body/conv0', 'body/normal0'" in finding.message


def test_without_the_switch_they_are_drawn_and_the_switch_is_suggested():
    model = pretrained()
    kernel = values(model.get_layer("body").get_layer("conv0").kernel)
    comparison = compare(model, Settings(**QUICK), uploaded=True)
    assert not np.array_equal(kernel, values(model.get_layer("body").get_layer("conv0").kernel))
    assert "frozen_redrawn" in codes(comparison)
    assert not any(row["frozen"] for row in rows(comparison).values())


def test_without_weights_there_are_none_to_keep():
    model = pretrained()
    kernel = values(model.get_layer("body").get_layer("conv0").kernel)
    comparison = compare(model, Settings(keep_frozen=True, **QUICK), uploaded=False)
    assert not np.array_equal(kernel, values(model.get_layer("body").get_layer("conv0").kernel))
    assert "nothing_to_keep" in codes(comparison)


def test_weights_that_came_broken_are_found_and_kernels_mended():
    inputs = keras.Input((20,), name="in")
    hidden = layers.Dense(20, activation="relu", name="hidden")(inputs)
    model = keras.Model(inputs, layers.Dense(5, name="head")(hidden))
    kernel = values(model.get_layer("hidden").kernel)
    kernel[3, 4] = np.nan
    model.get_layer("hidden").kernel.assign(kernel)
    model.get_layer("head").bias.assign([np.inf, 0, 0, 0, 0])
    comparison = compare(model, Settings(**QUICK), uploaded=True)
    found = {item.path: item for item in comparison.findings if item.code == "weights_not_finite"}
    assert set(found) == {"hidden", "head"}
    assert "draws them anew" in found["hidden"].message
    assert "leaves them as they came" in found["head"].message
    table = rows(comparison)
    predicted = table["hidden"]["uploaded"]["predicted"]
    assert (predicted["mean"], predicted["variance"]) == (None, None)
    assert variance(table["hidden"], "autoinit") == pytest.approx(1.0, rel=0.3)
    assert table["head"]["autoinit"]["measured"]["finite_fraction"] == pytest.approx(0.8)
    assert table["head"]["default"]["measured"]["finite_fraction"] == 1.0
    assert np.isfinite(values(model.get_layer("head").kernel)).all()


@pytest.mark.parametrize("between", [(4, 4, 1), (2, 8)])
def test_statistics_of_another_shape_are_taken_together(between):
    size = between[-1]
    model = keras.Sequential(
        [
            keras.Input((4, 4)),
            layers.Reshape(between),
            layers.Normalization(mean=[33.0] * size, variance=[4.0] * size),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    found = inputs_of(read_model(model), Settings())
    (data,) = found.data.values()
    assert data.shape[1:] == (4, 4)
    assert data.mean() == pytest.approx(33.0, abs=0.5)


def test_statistics_of_the_file_are_used_in_inference():
    generator = np.random.default_rng(0)
    inputs = keras.Input((12, 12, 6), name="in")
    x = layers.Normalization(mean=[1.0] * 6, variance=[4.0] * 6, name="scaled")(inputs)
    x = layers.BatchNormalization(name="normal")(x)
    x = layers.Conv2D(32, 3, activation="relu", name="conv")(x)
    model = keras.Model(inputs, layers.Conv2D(8, 3, name="last")(x))
    normal = model.get_layer("normal")
    for weight, low, high in (
        (normal.gamma, 0.5, 2),
        (normal.beta, -1, 1),
        (normal.moving_mean, -1, 1),
        (normal.moving_variance, 0.2, 3),
    ):
        weight.assign(generator.uniform(low, high, weight.shape))
    settings = Settings(mode="inference", input_mean=2.0, input_variance=9.0, **QUICK)
    comparison = compare(model, settings, uploaded=True)
    table = rows(comparison)
    for path, tolerance in (("scaled", 0.02), ("normal", 0.02), ("conv", 0.2), ("last", 0.3)):
        row = table[path]["uploaded"]
        expected, measured = row["predicted"], row["measured"]
        assert expected["variance"] == pytest.approx(measured["variance"], rel=tolerance)
    assert variance(table["scaled"], "uploaded") == pytest.approx(9 / 4, rel=0.02)
    assert variance(table["normal"], "uploaded") != pytest.approx(
        variance(table["normal"], "default"), rel=0.2
    )


def chain(activation, *, normalised=False, width=64, depth=6):
    inputs = hidden = keras.Input((32,), name="in")
    for _ in range(depth):
        hidden = layers.Dense(width, activation=activation)(hidden)
        hidden = layers.BatchNormalization()(hidden) if normalised else hidden
    return keras.Model(inputs, layers.Dense(width)(hidden))


@pytest.mark.parametrize(
    ("activation", "name"), [("sigmoid", "ordered"), ("relu", "critical"), ("tanh", "chaotic")]
)
def test_the_phase_is_told_where_correlations_have_a_fixed_point(activation, name):
    found = phases_of(compare(chain(activation), Settings(**QUICK), uploaded=False))["autoinit"]
    assert (found.phase, found.calls) == (name, 6)
    normalised = compare(chain(activation, normalised=True), Settings(**QUICK), uploaded=False)
    assert phases_of(normalised) == {}


def test_calls_that_are_not_self_averaging_are_told():
    narrow = compare(chain("relu", width=6), Settings(**QUICK), uploaded=False)
    (told,) = (f for f in narrow.findings if f.code == "not_self_averaging")
    assert "need several draws" in told.message
    assert rows(narrow)[told.path]["autoinit"]["predicted"]["spread"] > 0.2
    wide = compare(chain("tanh", width=512), Settings(**QUICK), uploaded=False)
    assert "not_self_averaging" not in codes(wide)


def test_a_spread_beyond_all_numbers_is_told():
    """Of what falls to nothing in some draws: fifty highways whose gates stand open."""
    graph = read_model(chain("relu", width=6))
    planned = plan(graph, input_signals(graph))
    results = [
        replace(result, signals=(replace(result.signals[0], log_deviation=1e3),))
        for result in planned.results
    ]
    (told,) = _not_self_averaging(graph, replace(planned, results=results))
    assert "by 1.0×10³⁰⁴." in told.message


def test_shapes_are_told_and_what_is_dead_or_saturated():
    data = keras.Input((16,))
    x = layers.Dense(64, name="wide", kernel_initializer=initializers.RandomNormal(0, 50.0))(data)
    x = layers.Activation("tanh", name="tanh")(x)
    dead = initializers.Constant(-100.0)
    x = layers.Dense(32, activation="relu", bias_initializer=dead, name="dead")(x)
    comparison = compare(keras.Model(data, layers.Dense(4)(x)), Settings(**QUICK), uploaded=False)
    table = rows(comparison)
    found = table["dead/relu"]["default"]["measured"]
    assert found["dead_fraction"] == 1.0
    tanh = table["tanh"]["default"]["measured"]
    assert tanh["saturated_fraction"] > 0.9
    assert tanh["kurtosis"] < 1.5
    assert len(tanh["channel_variances"]) == 3
    assert table["tanh"]["autoinit"]["measured"]["saturated_fraction"] < 0.3
    faults = comparison.diagnosis.faults
    told = {(f.code, f.path): f for f in faults if f.series == "default"}
    assert "are saturated" in told["saturated", "tanh"].message
    assert "zero for every input" in told["dead_channels", "dead"].message


def test_several_draws_have_a_spread_and_predictions_lie_in_its_band_or_not():
    comparison = compare(chain("relu"), Settings(seeds=5, **QUICK), uploaded=False)
    outside = 0
    for row in rows(comparison).values():
        measured = row["autoinit"]["measured"]
        spread, draws = measured["variance_spread"], measured["variance_draws"]
        assert spread["median"] == sorted(draws)[2]
        assert min(draws) < spread["low"] < spread["median"] < spread["high"] < max(draws)
        assert spread["mean"] == pytest.approx(np.mean(draws))
        assert spread["standard_error"] == pytest.approx(np.std(draws, ddof=1) / math.sqrt(5))
        predicted = variance(row, "autoinit", "predicted")
        expected = not spread["low"] <= predicted <= spread["high"]
        assert row["autoinit"]["outside_band"] is expected
        outside += expected
    assert 0 < outside < len(rows(comparison))
    single = rows(compare(chain("relu"), Settings(**QUICK), uploaded=False))
    assert all("outside_band" not in row["default"] for row in single.values())


def test_gradients_and_spectra_are_measured_where_they_are_asked_for():
    settings = Settings(
        gradients=True, jacobian=2, fisher=5, formats=("float8_e4m3fn",), seeds=2, **QUICK
    )
    comparison = compare(chain("relu"), settings, uploaded=True)
    table = rows(comparison)
    name = next(path for path, row in table.items() if row["weighted"])
    for series in ("default", "uploaded", "autoinit"):
        block = table[name][series]["gradient"]
        assert block["variance"] > 0.0
        width = table[name]["output_shape"][-1]
        assert block["square_norm"] == pytest.approx(width * block["variance"], rel=0.05)
        assert 0.0 < table[name][series]["update_ratio"] < 100.0
    variables = gradients_of(comparison)["autoinit"].variables
    assert {f"{name}/kernel", f"{name}/bias"} <= {row.variable for row in variables}
    found = jacobian_of(comparison)["default"]
    assert (found.obtained, found.inputs) == ("matrix", 2)
    # What is zero to rounding is not divided by.
    assert 1.0 < found.condition_number <= 1.01 * found.largest / found.smallest
    assert sum(found.density.shares) == pytest.approx(1.0)
    assert len(found.density.edges) == len(found.density.shares) + 1
    fisher = fisher_of(comparison)["default"]
    assert (fisher.samples, fisher.parameters) == (5, comparison.fisher["default"].parameters)
    assert 0.0 < fisher.largest < fisher.trace + fisher.standard_error
    narrow = formats_of(comparison)["default"]["float8_e4m3fn"]
    assert 0.01 < narrow.weights.error < narrow.signals.error < 0.3  # steps of 1/16, added up
    assert narrow.loss_scale > 0
    assert narrow.scaled_gradients.underflow < narrow.gradients.underflow
    without = compare(chain("relu"), Settings(**QUICK), uploaded=False)
    assert gradients_of(without) == jacobian_of(without) == fisher_of(without) == {}
    assert formats_of(without) == {}
    assert not any("gradient" in row["default"] for row in rows(without).values())
    # What a verdict rests on is measured all the same.
    known = {path for path, row in rows(without).items() if "update_ratio" in row["default"]}
    assert known == {path for path, row in rows(without).items() if row["weighted"]}


def test_a_model_without_a_jacobian_is_analysed_all_the_same():
    settings = Settings(gradients=True, jacobian=1, fisher=2, formats=("bfloat16",), **QUICK)
    comparison = compare(cut_model(), settings, uploaded=False)
    assert comparison.jacobians == comparison.fisher == comparison.formats == {}
    for code in ("no_jacobian", "no_fisher", "no_formats"):
        told = next(f.message for f in comparison.findings if f.code == code)
        assert "cannot be run: 'cut'" in told
    table = rows(comparison)
    assert table["before"]["default"]["gradient"] is not None
    assert table["after"]["default"]["gradient"] is None


def test_what_is_known_so_far_is_told_series_by_series():
    told, verdicts, others = [], [], []

    def preview(comparison):
        known = preview_of(comparison, settings).verdicts
        verdicts.append({name: facts.foreseen for name, facts in known.items()})
        others.append(list(comparison.by_other))
        told.append(
            [
                {
                    name: (row[name]["predicted"]["variance"], row[name]["measured"] is not None)
                    for name in comparison.predictions
                }
                for row in map(as_json, calls_of(comparison))
            ]
        )

    settings = Settings(seeds=2, **QUICK)
    final = rows(compare(chain("relu"), settings, uploaded=True, preview=preview)).values()
    order = ["uploaded", "default", "autoinit"]
    # Each series as foreseen, as measured, and as judged by that; what no verdict needs is later.
    assert verdicts == [
        {name: name == order[number] and stage < 2 for name in order[: number + 1]}
        for number in range(3)
        for stage in range(3)
    ]
    assert others[-1] == order[:2]
    for number, (found, measured) in enumerate(zip(told[::3], told[1::3], strict=True)):
        for row, later, end in zip(found, measured, final, strict=True):
            assert set(row) == {*order[: number + 1]}
            assert {name for name in row if row[name][1]} == {*order[:number]}
            assert all(seen for _, seen in later.values())
            assert all(
                row[name] == (end[name]["predicted"]["variance"], True) for name in order[:number]
            )


def test_a_soft_cap_behind_the_kernel_is_not_judged_by_the_target():
    inputs = keras.Input((8, 32), name="in")
    table = layers.ReversibleEmbedding(40, 32, logit_soft_cap=1.0, name="logits")
    hidden = layers.Dense(32, name="dense")(inputs)
    found = rows(
        compare(keras.Model(inputs, table(hidden, reverse=True)), Settings(**QUICK), uploaded=False)
    )
    assert found["logits"]["weighted"]
    assert found["logits"]["at_target"] is False
    assert "at_target" not in found["dense"]
    assert variance(found["logits"], "autoinit") == pytest.approx(0.39, abs=0.05)


def test_what_judges_the_target_looks_at_calls_that_aim_at_it(build_result):
    result = build_result(10)
    for call in result["calls"]:
        if call["weighted"]:
            last = call
    last["autoinit"]["measured"]["variance"] = 0.3
    assert [path for path, _ in parsed(result).outside(0.5, 2)] == [last["path"]]
    assert series_summary(parsed(result), "autoinit").smallest == 0.3
    last["at_target"] = False
    assert not parsed(result).outside(0.5, 2)
    assert series_summary(parsed(result), "autoinit").smallest > 0.3
