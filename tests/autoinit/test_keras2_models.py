"""Models and files of Keras 2, where only Keras 3 will do, are refused with what to do instead."""

import json

import keras
import pytest

from autoinit import AutoInit
from autoinit.errors import GraphError, ModelFileError
from autoinit.model_files import open_model_file, opening
from autoinit.reading import read_model

# `to_json()` of a model of Keras 2.15.
SEQUENTIAL = {
    "class_name": "Sequential",
    "config": {
        "name": "old",
        "layers": [
            {
                "class_name": "InputLayer",
                "config": {"batch_input_shape": [None, 4], "dtype": "float32", "name": "data"},
            },
            {
                "class_name": "Dense",
                "config": {
                    "name": "dense",
                    "trainable": True,
                    "dtype": "float32",
                    "units": 3,
                    "activation": "linear",
                    "use_bias": True,
                },
            },
        ],
    },
    "keras_version": "2.15.0",
    "backend": "tensorflow",
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(SEQUENTIAL))
    return path


def test_a_file_of_keras_2_is_rebuilt_on_tensorflow_alone(file):
    if keras.backend.backend() == "tensorflow":
        assert open_model_file(file).model.output_shape == (None, 3)
        return
    with pytest.raises(ModelFileError, match="set KERAS_BACKEND=tensorflow, or save") as refused:
        open_model_file(file)
    assert refused.value.code == "cannot_rebuild"
    assert f"Keras runs on {keras.backend.backend()} here" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_tf_keras_it_is_said_what_to_install(file, monkeypatch):
    monkeypatch.setattr(opening.keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match="tf_keras is not installed: install tf-keras"):
        open_model_file(file)


@pytest.mark.parametrize(
    ("take", "error"), [(AutoInit().initialize_model, TypeError), (read_model, GraphError)]
)
def test_a_model_of_tf_keras_goes_by_way_of_its_file(take, error):
    # What counts is the module of its classes; those of tf_keras need TensorFlow.
    kind = type("Sequential", (), {"__module__": "tf_keras.src.engine.sequential", "name": "old"})
    with pytest.raises(error, match=r"'old' is one of tf_keras .*open_model_file"):
        take(kind())
