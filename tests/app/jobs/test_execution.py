"""Whole jobs on real models: in this process, and through a real worker and the command line."""

import ast
import contextlib
import io
import json
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers

from app.analysis.comparison.conditions import PLAIN_DEPTH
from app.analysis.job_spec import JobSpec
from app.analysis.result import ModelFacts, UsedSettings
from app.analysis.settings import Settings
from app.analysis.side_by_side import answer, beside
from app.export.snippet import snippet
from app.jobs.execution import opened, rehearse, run
from app.jobs.queue import Workers
from app.jobs.worker import on_large_stack, report_error
from autoinit.errors import GraphError, ModelFileError, UnsupportedLayerError
from autoinit.manifest import differing
from sample_models import FILES_FOLDER
from tests.app.parsing import parsed
from tests.autoinit.closed import Closed

CORRELATIONS = {"sample_correlation", "position_correlation"}
PREDICTED = {"mean", "variance"}
MEASURED = PREDICTED | {"minimum", "maximum", "zero_fraction", "finite_fraction"}
SHAPE = {"kurtosis", "dead_fraction", "saturated_fraction", "channel_variances"}


def analyse(model, folder, **settings):
    settings = {"samples": 64, **settings}
    run(JobSpec(str(model), "a model", Settings(**settings)), folder, lambda fraction, stage: None)
    assert not list(folder.glob("preview.*"))
    return json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)


def call(result, path):
    return next(row for row in result["calls"] if row["path"] == path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A compiled model with weights unlike its initialisers', as .keras and .h5."""
    folder = tmp_path_factory.mktemp("trained")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(16, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="bn"),
            layers.Flatten(name="flatten"),
            layers.Dense(10, activation="softmax", name="head"),
        ]
    )
    # Keras 3 cannot read the string "mse" back from HDF5, but the class.
    loss, metric = keras.losses.MeanSquaredError(), keras.metrics.MeanAbsoluteError()
    model.compile(keras.optimizers.SGD(0.25, momentum=0.5), loss, metrics=[metric])
    model.optimizer.build(model.trainable_variables)
    model.get_layer("conv").kernel.assign(model.get_layer("conv").kernel * 10.0)
    model.get_layer("head").bias.assign(np.linspace(-0.5, 0.5, 10))
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    return folder


@pytest.fixture(scope="module")
def plain(trained, tmp_path_factory):
    """What no scheme was asked for: the same for each that is."""
    return analyse(trained / "model.keras", tmp_path_factory.mktemp("plain"), samples=8)


@pytest.mark.parametrize(
    ("format", "scheme"),
    [("keras", "calibrated"), ("h5", "centred"), ("h5", "own"), ("keras", "zero_residual")],
)
def test_another_scheme_is_measured_beside_autoinit_and_taken_home(
    trained, plain, tmp_path, format, scheme
):
    settings = {"scheme": scheme, "schemes": ("he",), "samples": 8}
    result = analyse(trained / f"model.{format}", tmp_path, **settings)
    assert result["series"] == ["default", "autoinit", "uploaded", "he", scheme]
    assert result["verdicts"].keys() == set(result["series"])
    saved = keras.models.load_model(tmp_path / result["downloads"][0]["file"])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert differing(manifest, saved) == []
    conv = np.asarray(saved.get_layer("conv").kernel)
    target = call(result, "conv")[scheme]["measured"]["variance"]
    assert (target == pytest.approx(1.0, rel=0.1)) == (scheme != "own")
    planned = [kernel["planned"] for kernel in call(result, "conv").get("kernels", ())]
    assert planned == ([] if scheme == "own" else [pytest.approx(conv.std(), rel=0.1)])
    moved = scheme in ("calibrated", "centred")
    assert np.any(saved.get_layer("bn").moving_mean) == moved
    # What one scheme records is not another's: the file's own initialisers draw the default.
    for row, alone in zip(result["calls"], plain["calls"], strict=True):
        assert row["default"]["measured"] == alone["default"]["measured"]
        assert row["autoinit"]["measured"] == alone["autoinit"]["measured"]


@pytest.mark.parametrize("keras_version", [2, 3])
def test_a_what_if_is_analysed_beside_the_model_as_it_is_and_taken_home(
    trained, tmp_path, keras_version
):
    path = trained / "model.keras"
    if keras_version == 2:
        path = tmp_path / "two.keras"
        old = tf_keras.layers
        tf_keras.Sequential(
            [
                tf_keras.Input((8, 8, 3)),
                old.Conv2D(16, 3, activation="relu", name="conv"),
                old.Flatten(name="flatten"),
                old.Dense(10, name="head"),
            ]
        ).save(path)
    chosen = {"activation": "tanh", "samples": 8}
    if keras_version == 2:
        chosen["normalization"] = "batch"
    folders = [tmp_path / "first", tmp_path / "what-if"]
    for folder in folders:
        folder.mkdir()
    before, after = (
        parsed(analyse(path, folder, **settings))
        for folder, settings in zip(folders, ({"samples": 8}, chosen), strict=True)
    )
    assert after.series == before.series
    (told,) = [each.message for each in after.findings if each.code == "what_if"]
    assert "tanh is the activation of 1 hidden layer" in told
    (file,) = after.downloads
    saved = keras.models.load_model(folders[1] / file.file)
    name = "conv_activation" if keras_version == 2 else "conv"
    assert saved.get_layer(name).activation is keras.activations.tanh
    if keras_version == 3:
        assert isinstance(saved.optimizer, keras.optimizers.SGD)
        assert float(saved.optimizer.learning_rate) == 0.25
    manifest = json.loads((folders[1] / "manifest.json").read_text())
    assert differing(manifest, saved) == [], "the weights that were measured are those at home"

    both = beside(after, before)
    assert both.series == (*after.series, "as_it_is", "as_it_is_autoinit")
    paths = {call.path.rpartition("/")[2]: call for call in both.calls}
    figures = {call.path: call.measured("uploaded") for call in before.calls}
    assert paths["conv"].measured("as_it_is") == figures["conv"]
    activation = paths["conv_activation" if keras_version == 2 else "tanh"]
    assert activation.measured("as_it_is") == figures["conv/relu"]
    if keras_version == 2:  # nothing was there
        assert paths["conv_normalization"].measured("as_it_is") == figures["conv"]
    kernels = [keras.models.load_model(trained / "model.keras").get_layer("conv").kernel]
    if keras_version == 3:  # the file's own weights were measured with the other activation
        assert float(np.std(kernels[0])) > 0.3
        assert paths["conv"].measured("uploaded") == figures["conv"]
    assert " with tanh" in answer(after, before)[1]


def test_a_what_if_that_cannot_be_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "plain.keras"
    keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="plain").save(path)
    with pytest.raises(GraphError, match="'plain' has no hidden activation"):
        analyse(path, tmp_path, activation="relu")


@pytest.mark.parametrize("format", ["keras", "h5"])
def test_an_uploaded_file_has_three_series_and_the_plotted_weights_go_home(
    trained, tmp_path, format
):
    result = analyse(trained / f"model.{format}", tmp_path)
    assert result["schema"] == 1
    assert result["series"] == ["default", "autoinit", "uploaded"]
    assert result["model"]["format"] == format
    assert result["model"]["parameters"] == 6282
    assert [row["path"] for row in result["calls"]][1:] == [
        "conv",
        "conv/relu",
        "bn",
        "flatten",
        "head",
        "head/softmax",
    ]
    for row in result["calls"]:
        for series in result["series"]:
            positions = len(row["output_shape"]) > 2
            told = CORRELATIONS if positions else {"sample_correlation"}
            # Data, and a flattened tensor of parts, are no functions of one Gaussian.
            slope = {"correlation_slope"} if row["path"] == "conv" else set()
            assert set(row[series]["measured"]) - SHAPE == MEASURED | told | {"standard_error"}
            assert set(row[series]["predicted"]) == PREDICTED | told | {"spread"} | slope
            assert set(row[series]["predicted_by"]["independent"]) == PREDICTED
    conv = call(result, "conv")
    assert conv["weighted"]
    assert conv["output_shape"] == [None, 6, 6, 16]
    assert conv["uploaded"]["measured"]["variance"] > 20 * conv["default"]["measured"]["variance"]
    assert conv["autoinit"]["measured"]["variance"] == pytest.approx(1.0, rel=0.2)
    assert conv["autoinit"]["predicted"]["variance"] == pytest.approx(1.0, rel=0.01)
    for series in result["series"]:
        measured, predicted = (conv[series][kind]["variance"] for kind in ("measured", "predicted"))
        assert predicted == pytest.approx(measured, rel=0.1)

    original = keras.models.load_model(trained / "model.keras")
    formats = ["keras", "h5"] if format == "h5" else ["keras"]
    assert sorted(path.suffix[1:] for path in tmp_path.glob("reinitialized.*")) == sorted(formats)
    for extension in formats:
        saved = tmp_path / f"reinitialized.{extension}"
        assert b"autoinit" not in saved.read_bytes().lower()
        with pytest.MonkeyPatch.context() as patch:
            # Keras warns about every saved optimizer that was never used.
            patch.setattr("warnings.warn", lambda *arguments, **keywords: None)
            new = keras.models.load_model(saved)
        assert new.compiled
        assert float(new.optimizer.learning_rate) == 0.25
        assert [layer.name for layer in new.layers] == [layer.name for layer in original.layers]
        np.testing.assert_array_equal(new.get_layer("head").bias, original.get_layer("head").bias)
        noise = np.random.default_rng(0).standard_normal((64, 8, 8, 3), dtype=np.float32)
        activation = new.get_layer("conv")
        activation.activation = keras.activations.linear
        variance = float(np.var(keras.ops.convert_to_numpy(activation(noise))))
        assert variance == pytest.approx(conv["autoinit"]["measured"]["variance"], rel=1e-4)


def test_json_has_no_uploaded_series_and_opens_home(trained, tmp_path):
    path = tmp_path / "model.json"
    path.write_text(keras.models.load_model(trained / "model.keras", compile=False).to_json())
    result = analyse(path, tmp_path)
    assert result["series"] == ["default", "autoinit"]
    assert result["model"]["format"] == "json"
    assert keras.models.load_model(tmp_path / "reinitialized.keras").layers


def test_several_draws_are_listed_and_averaged(tmp_path):
    result = analyse("sample:deep-tanh-mlp?depth=3&width=32", tmp_path, seeds=3)
    row = next(row for row in result["calls"] if row["weighted"])
    for kind in ("measured", "predicted"):
        draws = row["default"][kind]["variance_draws"]
        assert len(draws) == 3
        assert row["default"][kind]["variance"] == pytest.approx(np.exp(np.mean(np.log(draws))))
    assert len(set(row["default"]["measured"]["variance_draws"])) == 3


def test_the_first_draw_is_the_one_that_is_saved(tmp_path):
    one, three = tmp_path / "one", tmp_path / "three"
    for folder, seeds in ((one, 1), (three, 3)):
        folder.mkdir()
        analyse("sample:deep-tanh-mlp?depth=2&width=16", folder, seeds=seeds)
    first, second = (
        keras.models.load_model(folder / "reinitialized.keras").get_weights()
        for folder in (one, three)
    )
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.fixture(scope="module")
def all_cnn(tmp_path_factory):
    """The folder of a finished analysis."""
    folder = tmp_path_factory.mktemp("all-cnn")
    analyse("sample:all-cnn-c", folder, samples=16)
    return folder


@pytest.mark.slow
def test_same_seed_same_result(all_cnn, tmp_path):
    first = json.loads((all_cnn / "result.json").read_text())
    assert analyse("sample:all-cnn-c", tmp_path, samples=16)["calls"] == first["calls"]


def test_inference_mode_uses_moving_statistics(trained, tmp_path):
    result = analyse(trained / "model.keras", tmp_path, mode="inference")
    conv, norm = call(result, "conv/relu")["uploaded"], call(result, "bn")["uploaded"]
    # Statistics as they were made, 0 and 1: normalisation leaves the signal.
    assert norm["measured"]["variance"] == pytest.approx(conv["measured"]["variance"], rel=0.01)
    assert norm["predicted"]["variance"] == pytest.approx(conv["predicted"]["variance"], rel=0.01)


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A file of a model with a layer that has no rule and cannot be opened."""
    path = tmp_path_factory.mktemp("closed") / "closed.keras"
    first = layers.Dense(64, activation="relu", name="first")
    parts = [first, Closed(3.0, name="closed"), layers.Dense(64, name="last")]
    keras.Sequential([keras.Input((50,)), *parts]).save(path)
    return path


OWN_LAYERS = {"custom_objects": "tests.autoinit.closed"}


def test_a_layer_without_a_rule_is_sampled(closed, tmp_path):
    result = analyse(closed, tmp_path, **OWN_LAYERS)
    assert [item["code"] for item in result["warnings"]].count("sampled_layer") == 1
    assert not [item for item in result["warnings"] if item["code"] == "unsupported_layer"]
    row = call(result, "closed")
    assert row["support"] == "sampled"
    assert row["standard_error"] > 0
    for series in result["series"]:
        measured, predicted = (row[series][kind]["variance"] for kind in ("measured", "predicted"))
        assert predicted == pytest.approx(measured, rel=0.15)
        before = call(result, "first/relu")[series]["predicted"]["variance"]
        other = row[series]["predicted_by"]["independent"]["variance"]
        assert other > 5 * before, "the other signal model samples it as well"
    assert not any(row["tainted"] for row in result["calls"])
    last = call(result, "last")["autoinit"]["measured"]["variance"]
    assert last == pytest.approx(1.0, rel=0.25)


def test_a_layer_without_a_rule_may_be_refused(closed, tmp_path):
    with pytest.raises(UnsupportedLayerError, match=r"No rule for 'closed' \(Closed\)"):
        analyse(closed, tmp_path, unsupported="error", **OWN_LAYERS)
    assert not (tmp_path / "result.json").exists()
    assert analyse("sample:deep-tanh-mlp?depth=2&width=8", tmp_path, unsupported="error")["calls"]


def test_an_opened_layer_has_a_row_for_each_part(tmp_path):
    inputs = keras.Input((12, 16), name="in")
    attention = layers.MultiHeadAttention(2, 8, name="attention")(inputs, inputs)
    outputs = layers.Dense(16, name="head")(layers.Add(name="add")([inputs, attention]))
    keras.Model(inputs, outputs).save(tmp_path / "model.keras")
    result = analyse(tmp_path / "model.keras", tmp_path)
    table = {row["path"]: row for row in result["calls"]}
    assert {"attention/query", "attention/key", "attention/value"} < set(table)
    assert table["attention/attention_output"]["weighted"]
    assert result["model"]["calls"] == len(result["calls"])
    assert [row["index"] for row in result["calls"]] == list(range(len(result["calls"])))
    for row in result["calls"]:
        assert all(source < row["index"] for source in row["inputs"])
        assert row["support"] in ("exact", "neutral")
        assert not row["tainted"]
    weighted = [path for path, row in table.items() if row["weighted"]]
    assert weighted == [
        "attention/query",
        "attention/key",
        "attention/value",
        "attention/attention_output",
        "head",
    ]


def test_a_layer_without_a_rule_that_is_passed_through_taints_what_follows(closed, tmp_path):
    result = analyse(closed, tmp_path, samples=8, unsupported="pass_through", **OWN_LAYERS)
    unsupported = [item for item in result["warnings"] if item["code"] == "unsupported_layer"]
    assert len(unsupported) == 1
    place = [row["path"] for row in result["calls"]].index(unsupported[0]["path"])
    assert result["calls"][place]["support"] == "pass_through"
    assert "cannot be opened into its parts" in unsupported[0]["message"]
    assert not any(row["tainted"] for row in result["calls"][: place + 1])
    assert all(row["tainted"] for row in result["calls"][place + 1 :])


def test_a_network_that_scales_its_own_input_gets_a_hint(tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = layers.Normalization(mean=[0.5] * 3, variance=[0.25] * 3)(layers.Rescaling(1 / 255)(inputs))
    path = tmp_path / "model.json"
    path.write_text(keras.Model(inputs, layers.Conv2D(4, 3)(x)).to_json())
    result = analyse(path, tmp_path, samples=4, input_mean=0.0)
    (hint,) = [item for item in result["warnings"] if item["code"] == "input_scaling"]
    assert "bytes, 0 to 255" in hint["message"]
    assert "input mean to 127.5 and the input variance to 5418.75" in hint["message"]
    assert result["settings"]["input_auto"] is False
    (own,) = result["model"]["inputs"]
    assert (own["mean"], own["variance"], own["taken"]) == (0.0, 1.0, "chosen")
    for followed in ({"input_mean": 127.5, "input_variance": 5418.0}, {}):
        result = analyse(path, tmp_path, samples=4, **followed)
        assert not [item for item in result["warnings"] if item["code"] == "input_scaling"]
    settings, (own,) = result["settings"], result["model"]["inputs"]
    assert (settings["input_mean"], settings["input_variance"]) == (127.5, 5418.75)
    assert settings["input_auto"] is True
    assert (own["mean"], own["variance"], own["taken"]) == (127.5, 5418.75, "bytes")
    (said,) = [item for item in result["warnings"] if item["code"] == "input_taken"]
    assert "bytes, 0 to 255 (mean 127.5, variance 5,418.75)" in said["message"]
    assert result["verdicts"]["autoinit"]["verdict"] == "trains"


def test_an_input_that_is_lost_in_rounding_is_told(tmp_path):
    model = "sample:deep-tanh-mlp?depth=1&width=4"
    for mean, variance, told in ((1e6, 1e-6, True), (1e15, 1.0, True), (1e3, 1.0, False)):
        found = analyse(model, tmp_path, samples=8, input_mean=mean, input_variance=variance)
        assert ("input_rounded" in {each["code"] for each in found["warnings"]}) == told


def test_one_sample_is_too_few_for_what_normalizes_over_the_batch(tmp_path):
    """Of one vector it leaves zeros, which would tell that a good network cannot train."""
    vectors, images = keras.Input((8,)), keras.Input((6, 6, 2))
    normalization = layers.BatchNormalization(name="norm")
    kernel = layers.Conv2D(3, 3)(images)
    for model, refused in (
        (keras.Model(vectors, layers.Dense(2)(normalization(layers.Dense(6)(vectors)))), True),
        (keras.Model(images, layers.BatchNormalization()(kernel)), False),
    ):
        path = tmp_path / "model.json"
        path.write_text(model.to_json())
        with (
            pytest.raises(ValueError, match="'norm' normalizes over the batch")
            if refused
            else (contextlib.nullcontext())
        ):
            analyse(path, tmp_path, samples=1)
        result = analyse(path, tmp_path, samples=1, mode="inference")
        assert result["verdicts"]["default"]["verdict"] == "trains"


def _histogram(x):
    return keras.ops.histogram(x)[0]


def _tiles(x):
    image = layers.Reshape((2, 2, 1))(x)
    return layers.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(9, 9))(image)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (_histogram, "Keras says: ValueError: Histogram: Input tensor must be 1-dimensional."),
        (_tiles, "ContrastLimitedAdaptiveHistogramEqualization: paddings must be no greater"),
        (layers.StringLookup(max_tokens=5), "StringLookup: Table not initialized."),
    ],
    ids=["histogram", "tiles", "lookup"],
)
def test_what_the_libraries_cannot_run_is_said_in_a_sentence(tmp_path, build, says):
    is_lookup = isinstance(build, layers.StringLookup)
    data = keras.Input((4,), dtype="string" if is_lookup else "float32")
    path = tmp_path / "model.json"
    path.write_text(keras.Model(data, build(data)).to_json())
    said = []
    channel = SimpleNamespace(say=lambda kind, **parts: said.append((kind, parts)))
    try:
        analyse(path, tmp_path, samples=8)
    except Exception as error:
        report_error(channel, error)
    ((kind, parts),) = said
    assert (kind, parts["code"]) == ("refused", "unsupported_model")
    assert says in parts["message"]
    assert parts["message"].isprintable()
    assert "Arguments received" not in parts["message"]


def test_what_an_operation_calls_weights_is_no_variable(tmp_path):
    data = keras.Input((4,), dtype="int32")
    path = tmp_path / "model.json"
    path.write_text(keras.Model(data, keras.ops.bincount(data, minlength=6)).to_json())
    assert call(analyse(path, tmp_path, samples=8), "bincount")["default"]["measured"]


def test_overflow_is_null_and_reported(tmp_path):
    inputs = keras.Input((4,))
    x = inputs
    for _ in range(4):
        x = layers.Rescaling(1e15)(x)
    path = tmp_path / "model.json"
    path.write_text(keras.Model(inputs, layers.Dense(2, name="last")(x)).to_json())
    result = analyse(path, tmp_path)
    row = call(result, "last")
    assert row["default"]["measured"]["variance"] is None
    assert row["default"]["measured"]["finite_fraction"] == 0.0
    assert "not_finite" in {item["code"] for item in result["warnings"]}


def test_constrained_models_say_that_autoinit_must_be_imported(tmp_path):
    result = analyse("sample:deep-tanh-mlp?depth=2&width=8", tmp_path, constrain_weights=True)
    assert "constraint_needs_import" in {item["code"] for item in result["warnings"]}
    assert keras.models.load_model(tmp_path / "reinitialized.keras").layers


class Positions(keras.layers.Layer):
    """Adds an embedding of twelve positions, and cannot be run with more."""

    def build(self, shape):
        self.table = self.add_weight(name="position_embeddings", shape=(12, shape[-1]))

    def call(self, x):
        return x + keras.ops.slice(self.table, (0, 0), keras.ops.shape(x)[1:])


@pytest.mark.parametrize(("size", "taken"), [(32, 12), (8, 8)])
def test_an_embedding_of_positions_says_how_long_inputs_may_be(size, taken):
    x = keras.Input((None, 4))
    model = keras.Model(x, keras.layers.Dense(2)(Positions()(x)))
    spec = JobSpec("positions", "positions", Settings(input_size=size))
    assert opened(spec, model).settings.input_size == taken


def test_assumed_sizes_are_reported(tmp_path):
    inputs = keras.Input((None, 3))
    path = tmp_path / "model.json"
    path.write_text(keras.Model(inputs, layers.Conv1D(2, 3)(inputs)).to_json())
    result = analyse(path, tmp_path, input_size=11)
    assert result["model"]["inputs"][0]["shape"] == [None, 11, 3]
    assert "assumed_size" in {item["code"] for item in result["warnings"]}


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ((None, 6), lambda x: layers.Concatenate()([layers.Input((10, 2)), x])),
        ((None, 4), lambda x: layers.Dense(2)(layers.Reshape((40,))(x))),
    ],
    ids=["beside another input", "before a Reshape"],
)
def test_an_open_size_is_the_one_that_the_model_states(tmp_path, shape, read):
    x = keras.Input(shape, name="open")
    y = read(x)
    path = tmp_path / "model.json"
    inputs = [x, *(t for t in keras.utils.get_source_inputs(y) if t is not x)]
    path.write_text(keras.Model(inputs, layers.Dense(3)(y)).to_json())
    result = analyse(path, tmp_path, samples=4)
    assert call(result, "open")["output_shape"] == [None, 10, shape[1]]
    assert "assumed_size" in {item["code"] for item in result["warnings"]}


def test_a_stack_of_layers_takes_sequences_of_any_length(tmp_path):
    lstm = layers.Bidirectional(layers.LSTM(4))
    stack = [layers.Embedding(50, 8, mask_zero=True), lstm, layers.Dense(1)]
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((None,), name="words"), *stack]).save(path)
    result = analyse(path, tmp_path, samples=4)
    assert call(result, "words")["output_shape"] == [None, 32]


@pytest.mark.parametrize(
    ("depth", "plain", "reported"),
    [
        pytest.param(30, PLAIN_DEPTH, False, marks=pytest.mark.slow),
        (30, 30, True),
        pytest.param(950, PLAIN_DEPTH, True, marks=pytest.mark.slow),
    ],
)
def test_models_that_a_plain_process_may_not_open_are_reported(
    tmp_path, monkeypatch, depth, plain, reported
):
    monkeypatch.setattr("app.analysis.comparison.conditions.PLAIN_DEPTH", plain)
    model = f"sample:deep-tanh-mlp?depth={depth}&width=2"
    result = on_large_stack(lambda: analyse(model, tmp_path, samples=2))
    assert ("deep_model" in {item["code"] for item in result["warnings"]}) is reported


@pytest.mark.parametrize(
    ("model", "error", "says"),
    [
        ("sample:no-such-network", ModelFileError, "all-cnn-c"),
        ("nowhere.keras", ModelFileError, "no file"),
    ],
)
def test_refusals(tmp_path, model, error, says):
    with pytest.raises(error, match=says):
        analyse(model, tmp_path)


def test_an_input_without_entries_is_refused(tmp_path):
    keras.Sequential([keras.Input((0,)), layers.Dense(2)]).save(tmp_path / "model.keras")
    with pytest.raises(GraphError, match="holds no number"):
        analyse(tmp_path / "model.keras", tmp_path)


def test_a_model_without_a_graph_is_refused(tmp_path):
    path = tmp_path / "model.json"
    path.write_text(keras.Sequential([layers.Dense(2)]).to_json())
    with pytest.raises(ModelFileError, match="does not say what its input is"):
        analyse(path, tmp_path)


@pytest.mark.slow  # so do the command line's below, and the browser's
def test_a_real_worker_takes_an_upload_to_a_result(trained, tmp_path):
    workers = Workers(keep_warm=False)
    (tmp_path / "job").mkdir()
    try:
        spec = JobSpec(str(trained / "model.h5"), "model.h5", Settings(samples=16))
        handle = workers.submit(spec, tmp_path / "job")
        handle.wait(120)
        assert handle.status == "done", handle.error
        assert handle.result().model.name == "model.h5"
        assert (handle.folder / "reinitialized.h5").exists()
    finally:
        workers.close()


@pytest.mark.slow  # each of its steps has a test without a worker
def test_the_command_line_refuses_a_layer_without_a_rule(closed):
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "app",
            "analyze",
            str(closed),
            "--samples",
            "4",
            "--unsupported",
            "error",
            "--custom-objects",
            "tests.autoinit.closed",
        ],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert finished.returncode == 2, finished.stderr
    assert finished.stderr.startswith("unsupported_layer: No rule for 'closed' (Closed)")
    assert finished.stderr.count("\n") == 1


def test_the_command_line_on_a_real_file(tmp_path):
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "app",
            "analyze",
            str(FILES_FOLDER / "small-cnn.keras"),
            "--samples",
            "16",
            "--output",
            str(tmp_path / "result.json"),
            "--save",
            str(tmp_path / "new.keras"),
            "--report",
            str(tmp_path / "report.html"),
            "--fail-outside",
            "0.999999,1.000001",
        ],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert finished.returncode == 3, finished.stderr
    assert json.loads((tmp_path / "result.json").read_text())["calls"]
    assert (tmp_path / "new.keras").exists()
    assert (tmp_path / "report.html").stat().st_size > 1e6


@pytest.mark.parametrize(
    "settings",
    [
        {"samples": 128},
        {"samples": 12, "batch": 8, "mode": "inference", "distribution": "uniform", "seed": 3},
        {"samples": "auto", "budget": 0.0, "activation": "gelu"},
    ],
)
def test_a_manifest_lies_beside_the_model_and_the_snippet_does_it_again(
    settings, tmp_path, monkeypatch
):
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, name="conv")(inputs)
    x = layers.Dropout(0.3)(layers.BatchNormalization()(layers.Activation("relu")(x)))
    x = layers.Conv2D(8, 3, name="last")(x)
    keras.Model(inputs, x).save(tmp_path / "mine.keras")
    result = analyse(tmp_path / "mine.keras", tmp_path, input_size=12, **settings)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    model = keras.models.load_model(tmp_path / "reinitialized.keras")
    assert differing(manifest, model) == []
    assert manifest["settings"] == result["settings"]
    assert manifest["versions"][keras.backend.backend()] == version("tensorflow")
    statuses = {entry["variable"]: entry["status"] for entry in manifest["variables"]}
    assert (statuses["conv/kernel"], statuses["conv/bias"]) == ("drawn", "kept")
    # The library gives the same weights, and measures the same.
    monkeypatch.chdir(tmp_path)
    result["model"]["name"] = "mine.keras"
    (tmp_path / "reinitialized.keras").unlink()
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(compile(snippet(parsed(result)), "snippet", "exec"), {})
    assert differing(manifest, keras.models.load_model(tmp_path / "reinitialized.keras")) == []
    line = next(line for line in told.getvalue().splitlines() if line.startswith("last "))
    measured = call(result, "last")["autoinit"]["measured"]["variance"]
    assert float(line.split()[1]) == pytest.approx(measured, rel=1e-4)


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ({"samples": "auto", "budget": 0.0}, (8, 8)),
        ({"samples": "auto", "budget": 1e4}, (128, 8)),
        ({"samples": 12}, (12, 12)),
        ({"samples": 12, "batch": 8, "gradients": True}, (12, 8)),
    ],
)
def test_how_many_samples_were_taken_and_how_sure_figures_are(asked, taken, tmp_path):
    inputs = keras.Input((6, 6, 2))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, name="conv")(inputs))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    keras.Model(inputs, layers.Dense(1, name="last")(x)).save(tmp_path / "mine.keras")
    result = analyse(tmp_path / "mine.keras", tmp_path, **asked)
    settings = result["settings"]
    assert (settings["samples"], settings["batch_size"]) == taken
    assert settings["samples_asked"] == asked["samples"]
    assert set(result["samples"].values()) == {taken[0]}
    errors = [
        row[series]["measured"]["standard_error"]
        for row in result["calls"]
        for series in result["series"]
    ]
    assert all(0.0 <= error < 2.0 for error in errors)
    told = [each for each in result["warnings"] if each["code"] == "imprecise"]
    if asked["samples"] == "auto":
        (finding,) = told
        assert f"{taken[0]} samples were taken" in finding["message"]
        assert "is not known to 2 %" in finding["message"]
        worst = call(result, finding["path"])
        assert max(errors) in [worst[s]["measured"]["standard_error"] for s in result["series"]]
    else:
        assert told == []
    if "gradients" in asked:
        assert {each["batch_size"] for each in result["gradients"].values()} == {8}
    # What is predicted is so for the batch that went through together.
    slower = analyse(tmp_path / "mine.keras", tmp_path, samples=taken[1])
    for name in ("conv", "pool", "last"):
        predicted = call(slower, name)["autoinit"]["predicted"]
        assert call(result, name)["autoinit"]["predicted"] == predicted


def asked_for(settings, model, not_run=()):
    """As much of a result as a snippet is made of."""
    made_up = {"layers": 1, "calls": 1, "parameters": 1, "inputs": []}
    return SimpleNamespace(
        settings=UsedSettings(**settings),
        samples={},
        opaque_calls=[SimpleNamespace(class_name=name) for name in not_run],
        model=ModelFacts.model_validate(made_up | model),
    )


def test_the_snippet_opens_what_keras_alone_does_not():
    settings = Settings(samples=128, keep_frozen=True).model_dump()
    for model in ({"format": "json", "keras": 3}, {"format": "h5", "keras": 2}):
        text = snippet(asked_for(settings, model | {"name": "a.h5"}))
        assert "open_model_file('a.h5').model" in text
        assert "# The page draws for the signal that frozen layers were measured to give." in text


def save_files(folder: Path) -> None:
    """One model in each way that the page has a snippet for."""
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, "relu"), layers.Dense(3, name="last")]
    )
    for name in ("a.keras", "a.h5"):
        model.save(folder / name)
    (folder / "a.json").write_text(model.to_json())
    old = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(3, name="last")])
    old.save(folder / "old.keras")
    (folder / "old.json").write_text(old.to_json())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
        old.save(folder / "old.h5")
    keras.Sequential(
        [keras.Input((4,)), layers.Lambda(lambda x: 2 * x), layers.Dense(3, name="last")]
    ).save(folder / "lambda.keras")


@pytest.mark.parametrize(
    ("name", "model", "not_run"),
    [
        ("deep-tanh-mlp?depth=2&width=4", {"format": "sample"}, ()),
        ("a.keras", {"format": "keras"}, ()),
        ("a.h5", {"format": "h5", "keras": 3}, ()),
        ("a.json", {"format": "json", "keras": 3}, ()),
        ("old.keras", {"format": "keras", "keras": 2}, ()),
        ("old.h5", {"format": "h5", "keras": 2}, ()),
        ("old.json", {"format": "json", "keras": 2}, ()),
        ("lambda.keras", {"format": "keras"}, ("Lambda",)),
    ],
)
def test_every_way_to_open_a_model_runs_as_it_stands(name, model, not_run, tmp_path, monkeypatch):
    save_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    settings = Settings(
        samples=8,
        input_mean=0.0,
        input_variance=1.0,
        constrain_weights=True,
        normalization="batch" if name == "a.h5" else "as_it_is",
    ).model_dump()
    text = snippet(asked_for(settings, model | {"name": name}, not_run))
    assert "pip install" in text
    assert ("safe_mode=False" in text) is bool(not_run)
    exec(compile(text, "snippet", "exec"), {})
    again = keras.models.load_model("reinitialized.keras", safe_mode=not not_run)
    assert again.count_params() > 0


def test_the_snippet_names_classes_that_have_to_be_brought():
    settings = Settings(samples=8).model_dump()
    text = snippet(asked_for(settings, {"name": "a.keras", "format": "keras"}, ["Mine", "Lambda"]))
    assert "custom_objects={...} with Mine." in text


def test_rules_and_kernels_are_told(all_cnn):
    result, histograms = (
        json.loads((all_cnn / f"{name}.json").read_text()) for name in ("result", "histograms")
    )
    assert set(histograms) == {"default", "autoinit"}
    found = histograms["autoinit"]["conv5"]
    variance = call(result, "conv5")["autoinit"]["measured"]["variance"]
    centres = (
        np.linspace(found["low"], found["high"], 41)[:-1] + (found["high"] - found["low"]) / 80
    )
    assert np.cov(centres, aweights=found["counts"]) == pytest.approx(variance, rel=0.2)
    assert result["rules"]["Conv2D"]["rule"] == "convolution"
    assert result["rules"]["Dropout"]["says"]
    assert set(result["rules"]) <= {row["class"] for row in result["calls"]}
    row = call(result, "conv1")
    (kernel,) = row["kernels"]
    assert (kernel["variable"], kernel["fan_in"]) == ("conv1/kernel", 27)
    assert kernel["effective_fan_in"] < 27
    assert kernel["deviation"]["autoinit"] == pytest.approx(kernel["planned"], rel=0.1)
    assert kernel["deviation"]["default"] != pytest.approx(kernel["planned"], rel=0.05)
    assert "kernels" not in call(result, "softmax")
    # As `model.summary()` has them.
    assert (row["parameters"], row["initializer"]) == (3 * 3 * 3 * 96 + 96, "GlorotUniform")
    counts = [each.get("parameters") or 0 for each in result["calls"]]
    assert sum(counts) == result["model"]["parameters"]


@pytest.mark.parametrize("name", ["a'b.keras", 'x"; import os; os.abort() #.h5', "a\\nb.keras"])
def test_a_files_name_stays_a_name_in_the_snippet(name):
    settings = Settings(samples=128).model_dump()
    tree = ast.parse(snippet(asked_for(settings, {"name": name, "format": "keras"})))
    (load,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "load_model"
    ]
    assert load.args[0].value == name


def test_a_rehearsal_leaves_no_names_behind():
    rehearse()
    assert keras.layers.Conv2D(1, 1).name == "conv2d"
