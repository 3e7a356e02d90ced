"""Lambda layers of which a file has a function's name alone."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops

from autoinit.errors import ModelFileError
from autoinit.model_files.opening import open_model_file
from autoinit.stand_ins import FUNCTIONS, NamedFunction, takes
from tests.autoinit.model_files.configurations import Keras2
from tests.autoinit.model_files.networks import saved

X = np.random.default_rng(0).uniform(0.5, 2.0, size=(4, 6)).astype("float32")


def opened(folder, function, custom=None, **arguments):
    inputs = keras.Input((6,))
    outputs = layers.Lambda(function, arguments=arguments, name="it")(inputs)
    saved(keras.Model(inputs, outputs), folder / "m.keras")
    return open_model_file(folder / "m.keras", custom)


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (ops.abs, {}, np.abs(X)),
        (ops.square, {}, X**2),
        (ops.nn.relu, {}, X),
        (keras.activations.softmax, {}, np.exp(X) / np.exp(X).sum(-1, keepdims=True)),
        (ops.mean, {"axis": -1, "keepdims": True}, X.mean(-1, keepdims=True)),
        (ops.expand_dims, {"axis": 1}, X[:, None]),
        (ops.clip, {"x_min": 1.0, "x_max": 1.5}, X.clip(1.0, 1.5)),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_function_of_keras_is_run_without_trust(function, arguments, expected, tmp_path):
    file = opened(tmp_path, function, **arguments)
    np.testing.assert_allclose(file.model(X), expected, rtol=1e-6)
    assert [finding.code for finding in file.findings] == ["treated_as"]


def test_whose_meaning_the_name_does_not_tell_is_not_run(tmp_path):
    def normalize(x):
        return x / 255.0

    file = opened(tmp_path, normalize)
    assert [finding.code for finding in file.findings] == ["opaque_layer"]
    assert "calls a function, 'normalize', that is not in the file" in file.findings[0].message


def test_a_mean_over_no_said_axis_is_not_run(tmp_path):
    assert opened(tmp_path, ops.mean).findings[0].code == "opaque_layer"


def test_code_is_no_name(tmp_path):
    assert opened(tmp_path, lambda x: abs(x)).findings[0].code == "opaque_layer"


def test_a_file_of_keras_2(tmp_path):
    function = {"function": "relu", "function_type": "function", "module": "mine"}
    model = Keras2.functional(Keras2.input(), Keras2.layer("Lambda", "it", ["x"], **function))
    (tmp_path / "m.json").write_text(json.dumps(model))
    file = open_model_file(tmp_path / "m.json")
    np.testing.assert_array_equal(file.model(-X[:, :4]), np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("load", {}), ("__class__", {}), ("abs", {"axis": 1}), ("sum", {}), ("sum", {"axis": "x"})],
)
def test_nothing_else_is_made(name, arguments):
    assert not takes(name, arguments)
    with pytest.raises(ValueError, match="not on the list"):
        NamedFunction(name, arguments)


def test_a_file_cannot_ask_for_another(tmp_path):
    inputs = keras.Input((6,))
    saved(keras.Model(inputs, NamedFunction("abs")(inputs)), tmp_path / "m.keras")
    text = (
        keras.Model(inputs, NamedFunction("abs")(inputs)).to_json().replace('"abs"', '"vectorize"')
    )
    (tmp_path / "m.json").write_text(text)
    assert open_model_file(tmp_path / "m.keras").native
    with pytest.raises(ModelFileError, match="not on the list"):
        open_model_file(tmp_path / "m.json")


def test_all_are_functions_of_keras():
    assert all(callable(getattr(ops, name)) for name in FUNCTIONS)
