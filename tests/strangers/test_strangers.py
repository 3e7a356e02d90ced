"""Files as strangers bring them: each opens, is analysed whole, and goes home to its own Keras.

The table of failures seen in practice, from Keras 2.0 to 2.15: `models` builds what today's
`tf_keras` can still write, `ageing` makes it look older, `handwritten` has what neither can.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tf_keras

from app.jobs import JobSpec, Settings
from app.jobs import execution as analysis
from tests.strangers.ageing import VERSIONS, age_h5, aged_json, lambda_as_activation
from tests.strangers.handwritten import CONFIGURATIONS
from tests.strangers.models import BUILDERS

Result = dict[str, Any]

SETTINGS = Settings(samples=64, device="cpu", input_size=16)
# Arithmetic on symbolic tensors became layers of its own in TensorFlow 2.4.
OPERATIONS = {
    "arithmetic",
    "activations_of_tensorflow",
    "rearrangements",
    "slicing",
    "resizing",
    "attention_by_hand",
    "mobile_blocks",
}
# Layers that came with TensorFlow 2.4 to 2.6.
YOUNG = OPERATIONS | {"transformer", "preprocessing", "mixed_precision_model"}
OPAQUE = {"with_a_lambda", "lambda_of_python_2", "custom_layer"}
KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel", "embeddings")


def versions_of(name: str) -> list[str]:
    return [version for version in VERSIONS if name not in YOUNG or version >= "2.4"]


EVERY = [(name, version) for name in BUILDERS for version in versions_of(name)]
# One version for each model, and every version in its turn.
SOME = [
    (name, versions_of(name)[index % len(versions_of(name))]) for index, name in enumerate(BUILDERS)
]
# What is measured step by step takes its time, with every Keras.
RECURRENT = {
    "stacked_recurrent",
    "recurrent_cells",
    "text_lstm",
    "embedding_and_lstm",
    "gru_of_the_first_kind",
    "cudnn_lstm",
}


def case(*values: str, slow: bool) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow if slow else (), id="-".join(values))


CASES = [case(*each, slow=each not in SOME or each[0] in RECURRENT) for each in EVERY]
ARCHIVES = ["teachable_machine", "text_lstm", "nested_twice", "arithmetic", "mixed_precision_model"]
SLOW = RECURRENT | {"teachable_machine"}  # which is opened from its own version's file


@pytest.fixture(autouse=True)
def _names_from_one() -> None:
    tf_keras.backend.clear_session()


def saved(model: Any, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
        model.save(path)


def analysed(path: Path, folder: Path) -> Result:
    folder.mkdir()
    analysis.run(JobSpec(str(path), path.name, SETTINGS), folder, lambda _share, _stage: None)
    return json.loads((folder / "result.json").read_bytes())


def codes(result: Result) -> set[str]:
    return {warning["code"] for warning in result["warnings"]}


def check_predictions(result: Result) -> None:
    """Every weighted call is planned, and finds about the signal that was planned for it.

    The networks are narrow and their positions correlated: only what is off by a factor is wrong.
    """
    for call in result["calls"]:
        if not call["weighted"]:
            continue
        predicted, measured = call["autoinit"]["predicted"], call["autoinit"]["measured"]
        assert call["support"] != "pass_through", call["path"]
        assert predicted["variance"] is not None, call["path"]
        if call["tainted"]:
            continue
        assert measured is not None, call["path"]
        ratio = second_moment(measured) / second_moment(predicted)
        assert 1 / 15 < ratio < 15, call["path"]


def second_moment(figures: Result) -> float:
    return float(figures["variance"] + figures["mean"] ** 2)


def check_download(path: Path, original: Any) -> None:
    """The download opens in Keras 2, and differs from the original in the kernels alone.

    Recurrent cells keep theirs (appendix A).
    """
    model = tf_keras.models.load_model(path, compile=False, safe_mode=False)
    new, old = model.weights, original.weights
    assert [w.shape for w in new] == [w.shape for w in old]
    for after, before in zip(new, old, strict=True):
        owner, _, variable = before.name.partition(":")[0].rpartition("/")
        changes = variable in KERNELS and "_cell" not in owner
        assert np.array_equal(after.numpy(), before.numpy()) != changes, before.name


@pytest.mark.parametrize(("name", "version"), CASES)
def test_a_file_of_any_version(name: str, version: str, tmp_path: Path) -> None:
    original = BUILDERS[name]()
    path = tmp_path / "model.h5"
    saved(original, path)
    age_h5(path, version)
    result = analysed(path, tmp_path / "job")
    assert result["model"]["keras_version"] == version
    assert result["model"]["parameters"] == original.count_params()
    assert result["series"] == ["default", "autoinit", "uploaded"]
    if name in OPAQUE:
        assert "opaque_layer" in codes(result)
    else:
        assert not codes(result) & {"opaque_layer", "opaque_activation"}
        assert any(call["tainted"] for call in result["calls"]) == (name in OPAQUE)
    check_predictions(result)
    check_download(tmp_path / "job" / "reinitialized.h5", original)


@pytest.mark.parametrize("name", [case(name, slow=name in SLOW) for name in ARCHIVES])
def test_an_archive_of_keras_2(name: str, tmp_path: Path) -> None:
    original = BUILDERS[name]()
    path = tmp_path / "model.keras"
    saved(original, path)
    result = analysed(path, tmp_path / "job")
    assert result["model"]["keras_version"] == tf_keras.__version__
    assert not any(call["tainted"] for call in result["calls"])
    check_predictions(result)
    check_download(tmp_path / "job" / "reinitialized.keras", original)


# Each is read from its weights' file above, with its configuration.
@pytest.mark.parametrize(
    "name", [case(name, slow=name in SLOW or name not in ARCHIVES) for name in BUILDERS]
)
def test_a_configuration_without_weights(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    original = BUILDERS[name]()
    path.write_text(aged_json(original.to_json(), versions_of(name)[-2]))
    result = analysed(path, tmp_path / "job")
    assert result["series"] == ["default", "autoinit"]
    assert result["model"]["parameters"] == original.count_params()
    check_predictions(result)


@pytest.mark.parametrize("name", [case(name, slow=name in RECURRENT) for name in CONFIGURATIONS])
def test_a_handwritten_configuration(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(CONFIGURATIONS[name]()))
    result = analysed(path, tmp_path / "job")
    assert ("opaque_layer" in codes(result)) == (name in OPAQUE)
    assert any(call["weighted"] for call in result["calls"])
    check_predictions(result)


def test_an_activation_that_had_no_name(tmp_path: Path) -> None:
    """`"activation": "<lambda>"` stands in files whose authors passed `tf.nn.leaky_relu` so."""
    path = tmp_path / "model.h5"
    saved(BUILDERS["convolutional_network"](), path)
    age_h5(path, "2.10.0" if "2.10.0" in VERSIONS else "2.8.0", lambda_as_activation)
    result = analysed(path, tmp_path / "job")
    assert "opaque_activation" in codes(result)
    first = next(call for call in result["calls"] if call["weighted"])
    assert first["autoinit"]["measured"] is not None
    assert any(call["tainted"] for call in result["calls"])


@pytest.mark.parametrize(
    "compile_settings",
    [
        {"loss": "mse", "optimizer": "sgd"},
        {"loss": "sparse_categorical_crossentropy", "optimizer": "adam", "metrics": ["accuracy"]},
        {"loss": tf_keras.losses.Huber(), "optimizer": tf_keras.optimizers.RMSprop(1e-4)},
    ],
)
def test_a_compiled_model_stays_compiled(compile_settings: Any, tmp_path: Path) -> None:
    original = BUILDERS["dense_network"]()
    original.compile(**compile_settings)
    path = tmp_path / "model.h5"
    saved(original, path)
    age_h5(path, "2.8.0")
    analysed(path, tmp_path / "job")
    model = tf_keras.models.load_model(tmp_path / "job" / "reinitialized.h5")
    assert model.loss is not None
    assert type(model.optimizer).__name__ == type(original.optimizer).__name__


def test_a_model_that_reads_text(tmp_path: Path) -> None:
    """A vocabulary that stands in the configuration is no reference to a file."""
    text = keras.Input((1,), dtype="string")
    words = keras.layers.TextVectorization(vocabulary=["a", "the"], output_sequence_length=6)(text)
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(4, 8)(words))
    keras.Model(text, keras.layers.Dense(4)(x)).save(tmp_path / "model.keras")
    result = analysed(tmp_path / "model.keras", tmp_path / "job")
    assert result["calls"][-1]["autoinit"]["measured"]["variance"] > 0
    # Four units, fed with the mean of six words, differ from draw to draw.
    assert codes(result) == {"not_self_averaging"}


def test_a_keras_3_file_compiled_with_a_word(tmp_path: Path) -> None:
    """`Could not deserialize 'keras.metrics.mse'`, says Keras 3 of what it wrote itself."""
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    model.compile("sgd", "mse", metrics=["mae"])
    model.save(tmp_path / "model.h5")
    result = analysed(tmp_path / "model.h5", tmp_path / "job")
    assert result["model"]["format"] == "h5"
    check_predictions(result)
