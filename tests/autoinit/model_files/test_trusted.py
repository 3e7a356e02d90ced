"""Code that came with a model: run where one says that it is one's own, and only then."""

import json

import keras
import numpy as np
import pytest
import tf_keras

from autoinit.model_files.opening import open_model_file
from tests.autoinit.model_files.configurations import BOTH as WRITERS

LAYERS = """
import {keras}
from trusted_helper import FACTOR

class Gate({keras}.layers.Layer):
    def call(self, x):
        return x * FACTOR
"""
BOTH = ("keras", "tf_keras")
SCALE = 2.0  # which no file knows


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """A folder of code, and what saves a model with a Gate and a Lambda of some code there."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "trusted_helper.py").write_text("FACTOR = 2.0\n")
    (tmp_path / "unused.py").write_text("raise SystemExit\n\nclass Other: ...\n")

    def save(library, code):
        kind = __import__(library)
        (tmp_path / "own.py").write_text(LAYERS.format(keras=library))
        base = kind.layers.Layer
        gate = type("Gate", (base,), {"call": lambda self, x: x * 2.0})
        x = kind.Input((4,))
        y = kind.layers.Lambda(code, output_shape=(4,), name="code")(gate(name="gate")(x))
        path = tmp_path / f"{library}.keras"
        kind.Model(x, kind.layers.Dense(2)(y)).save(path)
        return path, [tmp_path / "own.py", tmp_path / "unused.py"]

    return save


def codes(file):
    return {finding.code for finding in file.findings}


@pytest.mark.parametrize("library", BOTH)
def test_code_is_run_where_it_is_trusted_and_only_there(library, brought):
    path, code = brought(library, lambda x: x + 1.0)
    held = open_model_file(path, code=code)
    assert "opaque_layer" in codes(held)
    assert "ran_code" not in codes(held)
    file = open_model_file(path, trusted=True, code=code)
    assert "ran_code" in codes(file)
    assert not [each for each in codes(file) if each.startswith("opaque")]
    assert file.foreign
    inner = (keras if library == "keras" else tf_keras).Model(
        file.original.inputs, file.original.get_layer("code").output
    )
    values = [[1.0, 2.0, 3.0, 4.0]]
    result = inner(keras.ops.convert_to_tensor(values))
    assert result[0].numpy().tolist() == [3.0, 5.0, 7.0, 9.0]


def test_code_that_cannot_be_run_is_told_and_held_as_before(brought):
    path, _ = brought("keras", lambda x: x * SCALE)
    file = open_model_file(path, trusted=True)
    assert {"code_not_run", "opaque_layer"} <= codes(file)
    (message,) = [each.message for each in file.findings if each.code == "code_not_run"]
    assert message == (
        "The code that came with the file could not be run: it stops at the code in layer 'code', "
        "where the name 'SCALE' is used, which nothing there defines."
    )


def test_code_that_took_arrays_from_where_it_was_written_finds_them(brought):
    table = np.arange(4.0, dtype="float32")
    path, code = brought("keras", lambda x: x + table)
    file = open_model_file(path, trusted=True, code=code)
    assert "code_not_run" not in codes(file)
    assert file.model.get_layer("code")(np.zeros((1, 4), "float32")).numpy().tolist() == [[*table]]


@pytest.mark.parametrize("writer", WRITERS)
def test_code_elsewhere_than_in_a_lambda_stays_refused(writer, tmp_path):
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "closure": None}}
    dense = writer.layer("Dense", "dense", ["x"], units=2, activation=code)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(writer.functional(writer.input(), dense)))
    assert "opaque_activation" in codes(open_model_file(path, trusted=True))
