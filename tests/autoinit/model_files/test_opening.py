"""Files that open, files that are refused, and what is taken home."""

import json
import shutil
import zipfile

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers

from autoinit import AutoInit
from autoinit.errors import ModelFileError
from autoinit.initializers.drawing import apply_plans
from autoinit.model_files import Budgets, open_model_file, save_reinitialized
from autoinit.model_files.rebuilding import rebuild_keras3, require_activations
from autoinit.model_files.write.compiling import compile_as_recorded
from autoinit.reading import read_model


def a_model(loss="mse", metrics=("mae",)):
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, activation="relu"), layers.Dense(1)]
    )
    if loss is not None:
        model.compile(keras.optimizers.SGD(0.125, momentum=0.5), loss, metrics=list(metrics))
        # Keras warns about every saved optimizer that was never built.
        model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    model = a_model()
    model.save(folder / "model.keras")
    (folder / "model.json").write_text(model.to_json())
    a_model(None).save(folder / "model.h5")
    model.save_weights(folder / "only.weights.h5")
    return folder


@pytest.mark.parametrize(
    ("name", "format", "has_weights"),
    [("model.keras", "keras", True), ("model.h5", "h5", True), ("model.json", "json", False)],
)
def test_each_format_opens_whatever_its_extension(folder, tmp_path, name, format, has_weights):
    for path in (folder / name, tmp_path / "renamed.bin"):
        if not path.exists():
            shutil.copy(folder / name, path)
        file = open_model_file(path)
        assert (file.record.format, file.has_weights) == (format, has_weights)
        assert file.model.count_params() == 41
        assert not file.model.compiled
        assert len(file.sha256) == 64
        assert file.native


def test_weights_are_those_of_the_file(folder):
    loaded = keras.models.load_model(folder / "model.keras")
    file = open_model_file(folder / "model.keras")
    for ours, theirs in zip(file.model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def broken(name):
    def make(folder, path):
        whole = (folder / name).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])

    return make


def archive_without_config(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def bare_layer(folder, path):
    path.write_text(json.dumps(keras.saving.serialize_keras_object(layers.Dense(3))))


def text(content):
    return lambda folder, path: path.write_bytes(content)


def changed(**arguments):
    def make(folder, path):
        config = json.loads(a_model(None).to_json())
        config["config"]["layers"][1]["config"].update(arguments)
        config["config"]["layers"][1].pop("build_config")
        path.write_text(json.dumps(config))

    return make


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda folder, path: None, "file_not_found"),
        (text(b""), "empty_file"),
        (text(b"\x89PNG\r\n\x1a\n" + bytes(100)), "not_a_model_file"),
        (text(b'{"a": '), "broken_file"),
        (text(b'{"a": 1}'), "no_model_config"),
        (broken("model.keras"), "broken_file"),
        (broken("model.h5"), "broken_file"),
        (archive_without_config, "no_model_config"),
        (lambda folder, path: shutil.copy(folder / "only.weights.h5", path), "no_model_config"),
        (bare_layer, "not_a_model"),
        (changed(units=10**9), "over_budget"),
        (changed(units=-1), "bad_configuration"),
        (changed(nonsense=1), "cannot_rebuild"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_opened_is_refused_in_one_sentence(folder, tmp_path, make, code):
    path = tmp_path / "file.bin"
    make(folder, path)
    with pytest.raises(ModelFileError) as caught:
        open_model_file(path)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert str(tmp_path) not in str(caught.value)


def test_variables_are_counted_before_they_are_allocated():
    config = json.loads(a_model(None).to_json())
    with pytest.raises(ModelFileError, match="41 parameters, and the limit is 40"):
        rebuild_keras3(config, {}, Budgets(parameters=40))
    # What was refused is forgotten: the next model has variables of its own only.
    model = rebuild_keras3(config, {}, Budgets(parameters=41))
    assert np.isfinite(model(np.zeros((1, 6)))).all()


def test_a_large_orthogonal_draw_is_refused_before_it_begins():
    model = keras.Sequential(
        [keras.Input((30,)), layers.Dense(20, kernel_initializer="orthogonal")]
    )
    config = json.loads(model.to_json())
    with pytest.raises(ModelFileError, match="matrix of 30 × 20 would take 12,000"):
        rebuild_keras3(config, {}, Budgets(orthogonal_operations=11_999))
    rebuild_keras3(config, {}, Budgets(orthogonal_operations=12_000))


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        (Budgets(live_bytes=43), "one sample"),
        (Budgets(activation_bytes=67), "1 samples"),
        (Budgets(calls=3), "calls"),
    ],
)
def test_activations_are_counted_before_they_are_allocated(budgets, message):
    # Entries 6, 5, 5 and 1, of 4 bytes; alive at once are 6 and 5 and, before the bias, 5 more.
    graph = read_model(a_model(None))
    require_activations(graph, 1, Budgets(live_bytes=64, activation_bytes=68, calls=4))
    with pytest.raises(ModelFileError, match=message):
        require_activations(graph, 1, budgets)


@keras.saving.register_keras_serializable("shop")
class Halving(layers.Layer):
    def call(self, inputs):
        return inputs / 2


def test_custom_objects_run_only_where_the_operator_gives_them(tmp_path):
    path = tmp_path / "custom.keras"
    keras.Sequential([keras.Input((2,)), Halving()]).save(path)
    unknown = open_model_file(path)
    assert [finding.code for finding in unknown.findings] == ["opaque_layer"]
    assert not unknown.native
    known = open_model_file(path, {"Halving": Halving})
    assert not known.findings
    np.testing.assert_array_equal(known.model(np.ones((1, 2))), [[0.5, 0.5]])


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.json"])
def test_the_own_format_is_offered_first_and_keras_3_beside_it(folder, tmp_path, name):
    downloads, findings = save_reinitialized(
        open_model_file(folder / name), (), tmp_path, Budgets()
    )
    assert not findings
    suffixes = [download.file.rpartition(".")[2] for download in downloads]
    assert suffixes == list(dict.fromkeys([name.rpartition(".")[2], "keras"]))
    for download in downloads:
        assert open_model_file(tmp_path / download.file).model.count_params() == 41
    loaded = keras.models.load_model(tmp_path / "reinitialized.keras")
    assert loaded.compiled == (name != "model.h5")


def test_code_in_a_model_goes_down_as_it_came_up(tmp_path):
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(3), layers.Lambda(lambda x: x + 1), layers.Dense(1)]
    )
    model.save(tmp_path / "code.h5")
    (tmp_path / "out").mkdir()
    file = open_model_file(tmp_path / "code.h5")
    downloads, findings = save_reinitialized(file, (), tmp_path / "out", Budgets())
    assert [download.file for download in downloads] == ["reinitialized.h5"]
    assert [finding.code for finding in findings] == ["not_convertible"]
    copy = keras.models.load_model(tmp_path / "out" / "reinitialized.h5", safe_mode=False)
    np.testing.assert_array_equal(copy(np.ones((1, 2))), model(np.ones((1, 2))))


LOSSES = [
    ("mse", ["mae"]),
    ("binary_crossentropy", ["accuracy", "AUC"]),
    (keras.losses.Huber(delta=0.5), [keras.metrics.RootMeanSquaredError()]),
]


@pytest.mark.parametrize(("loss", "metrics"), LOSSES, ids=["strings", "accuracy", "objects"])
def test_compile_settings_are_made_again(loss, metrics):
    model = a_model(loss, metrics)
    settings = json.loads(json.dumps(model.get_compile_config()))
    twin = a_model(None)
    assert compile_as_recorded(twin, settings) == ()
    assert float(twin.optimizer.learning_rate) == 0.125
    data = np.zeros((4, 6)), np.zeros((4, 1))
    assert (
        twin.evaluate(*data, verbose=0, return_dict=True).keys()
        == model.evaluate(*data, verbose=0, return_dict=True).keys()
    )


def of_keras2(kind, **config):
    return {"class_name": kind, "config": {"dtype": "float32", **config}}


def test_compile_settings_of_tensorflow_2_are_those_of_keras_3():
    loss = of_keras2("LossFunctionWrapper", fn="mean_squared_error", reduction="auto", name="mse")
    accuracy = of_keras2("MeanMetricWrapper", fn="binary_accuracy", name="accuracy", threshold=0.25)
    function = {"class_name": "function", "config": "cosine_similarity"}
    metrics = [
        [
            accuracy,
            of_keras2("RootMeanSquaredError", name="rmse"),
            of_keras2("MeanMetricWrapper", fn=function, name="cos"),
        ]
    ]
    adam = {"class_name": "Custom>Adam", "config": {"learning_rate": 0.5, "is_legacy": False}}
    scaled = {"class_name": "LossScaleOptimizer", "config": {"inner_optimizer": adam}}
    model = a_model(None)
    settings = {"optimizer_config": scaled, "loss": loss, "metrics": metrics}
    assert compile_as_recorded(model, settings) == ()
    assert isinstance(model.optimizer.inner_optimizer, keras.optimizers.Adam)
    assert isinstance(model.loss, keras.losses.MeanSquaredError)
    assert model.loss.reduction == "sum_over_batch_size"
    # A probability of 0.3 is a yes where the threshold is 0.25.
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([0 * kernel, bias + 0.3])
    figures = model.evaluate(np.zeros((4, 6)), np.ones((4, 1)), verbose=0, return_dict=True)
    assert figures == pytest.approx(
        {"loss": 0.49, "accuracy": 1.0, "rmse": 0.7, "cos": 1.0}, rel=1e-5
    )


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (of_keras2("MeanMetricWrapper", fn="my_metric"), "'my_metric', which MeanMetricWrapper"),
        (of_keras2("MeanIoU", num_classes=2, speed=3), "MeanIoU has no argument 'speed'"),
        (of_keras2("Precision", thresholds=5), "recorded thresholds of Precision"),
        ("my_metric", "'my_metric' names no part of Keras"),
    ],
    ids=["function", "argument", "value", "name"],
)
def test_what_has_no_equal_in_keras_3_is_named(part, named):
    (finding,) = compile_as_recorded(a_model(None), {"optimizer": "sgd", "metrics": [part]})
    assert named in finding.message
    assert "__init__" not in finding.message


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": {"class_name": "run", "module": "subprocess", "config": {}}, "loss": "mse"},
        {"optimizer": "sgd", "loss": {"class_name": "function", "config": "system"}},
        {"optimizer": "sgd", "loss": {"class_name": "Popen", "module": "subprocess", "config": {}}},
        {"optimizer": "sgd", "loss": "os.system"},
        {"optimizer": {"class_name": "SGD", "config": {"learning_rate": {"class_name": "Popen"}}}},
        {"optimizer": "sgd", "loss": 7},
    ],
    ids=["optimizer", "function", "class", "name", "schedule", "number"],
)
def test_foreign_training_settings_are_dropped_and_said(settings):
    model = a_model(None)
    (finding,) = compile_as_recorded(model, settings)
    assert finding.code == "compile_dropped"
    assert not model.compiled


def test_states_of_recurrent_layers_are_counted_too(tmp_path):
    x = keras.Input(batch_shape=(4, 5, 3))
    model = keras.Sequential([x, layers.LSTM(6, stateful=True), layers.Dense(2)])
    model.save(tmp_path / "stateful.keras")
    file = open_model_file(tmp_path / "stateful.keras")
    np.testing.assert_allclose(file.model(np.ones((4, 5, 3))), model(np.ones((4, 5, 3))))
    config = json.loads(model.to_json())
    config["config"]["layers"][0]["config"]["batch_shape"][0] = 10**8
    for layer in config["config"]["layers"]:
        layer.pop("build_config", None)
    with pytest.raises(ModelFileError, match="states of recurrent layers"):
        rebuild_keras3(config, {}, Budgets())


def test_a_sequential_model_of_keras_2_may_begin_with_what_is_not_run(tmp_path):
    own = {
        "class_name": "BinaryDense",
        "config": {
            "name": "first",
            "units": 64,
            "batch_input_shape": [None, 16],
            "dtype": "float32",
        },
    }
    last = {"class_name": "Dense", "config": {"name": "last", "units": 5, "activation": "linear"}}
    model = {
        "class_name": "Sequential",
        "keras_version": "2.2.4",
        "config": {"name": "sequential", "layers": [own, last]},
    }
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model))
    file = open_model_file(path)
    assert file.model.input_shape == (None, 16)
    assert [layer.name for layer in file.model.layers] == ["first", "last"]
    assert "opaque_layer" in {finding.code for finding in file.findings}
    own["config"]["batch_input_shape"] = [None, 2**50]
    path.write_text(json.dumps(model))
    with pytest.raises(ModelFileError):
        open_model_file(path)


def of_package(kind):
    """A layer of the operator's own, under the same name for either Keras."""

    class Scale(kind.layers.Layer):
        def build(self, shape):
            self.gain = self.add_weight(name="g", shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return x * self.gain

    Scale.__module__ = "operators"
    return kind.saving.register_keras_serializable("mine")(Scale)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(
    ("kind", "name"), [(tf_keras, "m.h5"), (tf_keras, "m.json"), (keras, "m.keras")]
)
def test_custom_objects_are_those_of_the_files_own_keras(tmp_path, kind, name):
    classes = {each: of_package(each) for each in (keras, tf_keras)}
    x = kind.Input((4,))
    y = kind.layers.Dense(3)(classes[kind](name="scale")(x))
    path, model = tmp_path / name, kind.Model(x, y)
    if name.endswith("json"):
        path.write_text(model.to_json())
    else:
        model.save(path)
    file = open_model_file(path, {"Scale": classes[kind]})
    assert not {f.code for f in file.findings} & {"opaque_layer", "custom_objects_unused"}
    np.testing.assert_allclose(file.model(np.ones((2, 4))).shape, (2, 3))
    (other,) = set(classes) - {kind}
    file = open_model_file(path, {"Scale": classes[other]})
    assert {f.code for f in file.findings} >= {"opaque_layer", "custom_objects_unused"}
    assert "custom_objects_unused" not in {
        f.code for f in open_model_file(path, {"Other": classes[other].__mro__[1]}).findings
    }


def test_a_model_of_tensorflow_js_is_taken_home_as_json_of_keras(tmp_path):
    config = json.loads(
        tf_keras.Sequential(
            [tf_keras.layers.Dense(8, input_shape=(4,)), tf_keras.layers.Dense(3)]
        ).to_json()
    )
    topology = {"model_config": config, "keras_version": "2.4.0", "backend": "tensorflow"}
    path = tmp_path / "model.json"
    path.write_text(json.dumps({"format": "layers-model", "modelTopology": topology}))
    file = open_model_file(path)
    assert file.model.output_shape == (None, 3)
    plans = AutoInit().plan(file.model).scales
    apply_plans(plans, "truncated_normal", 0)
    folder = tmp_path / "out"
    folder.mkdir()
    names = [download.file for download in save_reinitialized(file, plans, folder, Budgets())[0]]
    assert names == ["reinitialized.json", "reinitialized.keras"]
    saved = tf_keras.models.model_from_json((folder / names[0]).read_text())
    assert saved.count_params() == file.model.count_params()
    assert type(saved.layers[0].kernel_initializer).__name__ == "TruncatedNormal"


def test_what_keras_adds_for_feature_spaces_is_run_as_its_equal(tmp_path):
    inputs = [keras.Input((2,)), keras.Input((3,))]
    model = keras.Model(inputs, layers.Identity()(layers.Concatenate()(inputs)))
    config = json.loads(model.to_json())
    for entry in config["config"]["layers"][2:]:
        kind = {"Concatenate": "TFDConcat", "Identity": "TFDIdentity"}[entry["class_name"]]
        home = "keras.src.layers.preprocessing.feature_space"
        entry |= {"module": home, "class_name": kind, "registered_name": kind}
    path = tmp_path / "features.json"
    path.write_text(json.dumps(config))
    file = open_model_file(path)
    assert not file.findings
    assert [type(layer).__name__ for layer in file.model.layers[2:]] == ["Concatenate", "Identity"]
    own = json.dumps(config).replace(home, "my_layers")
    path.write_text(own)  # somebody else's of that name
    assert {finding.code for finding in open_model_file(path).findings} == {"opaque_layer"}


def test_an_activation_that_its_name_alone_does_not_give_is_not_run(tmp_path):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="relu")])
    path = tmp_path / "model.json"
    path.write_text(model.to_json().replace('"relu"', '"threshold"'))
    (finding,) = open_model_file(path).findings
    assert finding.code == "opaque_activation"
    assert "it needs arguments, which its name alone does not give" in finding.message


def test_a_model_without_a_name_gets_the_one_that_keras_gives(tmp_path):
    config = json.loads(a_model(None).to_json())
    config["config"].pop("name")
    (tmp_path / "model.json").write_text(json.dumps(config))
    assert open_model_file(tmp_path / "model.json").model.name == "sequential"
