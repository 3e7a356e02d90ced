"""Models of a class of one's own: read by the code that came with them, where one trusts it."""

import json

import keras
import numpy as np
import pytest

from autoinit.errors import GraphError, ModelFileError
from autoinit.model_files import open_model_file
from autoinit.model_files.code_faults import fault
from autoinit.reading import read_model

NETWORK = """
from {keras} import layers
import {keras}

class Network({keras}.Model):
    def __init__(self, units=4, **options):
        super().__init__(**options)
        self.units = units
        self.first = layers.Dense(units, activation="relu", name="first")
        self.second = layers.Dense(3, name="second")

    def call(self, x):
        return self.second(self.first(x))

    def get_config(self):
        return {{**super().get_config(), "units": self.units}}
"""
BARE = """
import keras

class Network(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(4, name="first")

    def call(self, a, b):
        return self.first(a) * self.first(b)
"""
PYTHONS_WORDS = ("Error", "Exception", "Traceback", "<class", "object at 0x", "__init__() ")


def saved(folder, code, *data, read_by=None):
    """The file of a model of some code, and the code beside it; its weights, too."""
    names = {"__name__": "own"}
    exec(code, names)
    model = names["Network"]()
    if data:
        model(*data)
    model.save(folder / "model.keras")
    (folder / "own.py").write_text(read_by or code)
    return folder / "model.keras", [folder / "own.py"], model.get_weights()


DATA = np.ones((2, 5), "float32")


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
@pytest.mark.parametrize("named", ["keras", "tensorflow.keras"])
def test_a_model_of_ones_own_class_is_read_by_its_code(library, named, tmp_path):
    code = NETWORK.format(keras=library)
    named = named.replace("tensorflow.keras", "keras") if library == "keras" else named
    path, files, weights = saved(tmp_path, code, DATA, read_by=NETWORK.format(keras=named))
    with pytest.raises(ModelFileError, match=r"'Network' beside the model.*--trust"):
        open_model_file(path, code=files)
    file = open_model_file(path, trusted=True, code=files)
    assert [finding.code for finding in file.findings] == ["ran_code"]
    assert [call.path for call in read_model(file.model).calls][1:] == [
        "first", "first/relu", "second",
    ]  # fmt: skip
    for one, other in zip(weights, file.original.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_constructor_without_kwargs_and_inputs_without_shapes_of_their_own(tmp_path):
    path, files, _ = saved(tmp_path, BARE, DATA, DATA)
    file = open_model_file(path, trusted=True, code=files)
    graph = read_model(file.model)
    assert [call.path for call in graph.calls] == ["a", "b", "first", "first:2", "multiply"]
    assert {call.outputs[0].shape for call in graph.calls[:2]} == {(None, 5)}


@pytest.mark.parametrize(
    ("saved_by", "read_by", "told"),
    [
        ({}, {"from keras": "from nowhere_at_all"}, "'nowhere_at_all' is imported"),
        ({}, {"import keras\n\n": "impor keras\n\n"}, "line 3 of 'own.py', where what is written"),
        (
            {},
            {"import keras\n\n": "import keras\nopen('/no/such.csv')\n"},
            r"line 4 .* where '/no/such\.csv' is opened, .* in a file of their own",
        ),
        ({}, {"import keras\n\n": "import keras\nraise SystemExit(2)\n"}, "line 4 .* is ended"),
        ({}, {"self.second(": "self.third("}, r"line 13 of 'own.py' \(return .*'\.third' is asked"),
        ({}, {"self.second(": "np.abs("}, "the name 'np' is used"),
        ({'"units": self': '"width": self'}, {}, "constructor of 'Network' takes no 'width'"),
        ({', "units": self.units': ""}, {"units=4": "units"}, "'Network' needs 'units'"),
        ({}, {"self.second(": "float(x[0, 0]) * self.second("}, "let keras.ops decide"),
        ({}, {"return self.second(": "raise ValueError('too wide'); ("}, "fit: too wide"),
    ],
)
def test_code_that_fails_is_told_in_a_practitioners_words(saved_by, read_by, told, tmp_path):
    codes = []
    for changes in (saved_by, read_by):
        code = NETWORK.format(keras="keras")
        for before, after in changes.items():
            assert before in code
            code = code.replace(before, after, 1)
        codes.append(code)
    path, files, _ = saved(tmp_path, codes[0], DATA, read_by=codes[1])
    with pytest.raises(ModelFileError, match=told) as caught:
        open_model_file(path, trusted=True, code=files)
    message = str(caught.value)
    assert "could not be run" in message
    assert message.endswith("it is of a class of its own.")
    assert not [words for words in PYTHONS_WORDS if words in message]


def test_a_model_that_was_never_called_is_told_to_be(tmp_path):
    with pytest.warns(UserWarning, match="not yet been built"):
        path, files, _ = saved(tmp_path, NETWORK.format(keras="keras"))
    file = open_model_file(path, trusted=True, code=files)
    with pytest.raises(GraphError, match="Call it once on data"):
        read_model(file.model)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("tokens"), "'tokens' is looked up, which is not there"),
        (ValueError("bad marshal data (unknown type code)"), "another version of Python"),
        (ValueError("<class 'int'> is wrong"), "load the model in Python"),
        (RuntimeError("boom"), "load the model in Python"),
    ],
)
def test_what_no_line_is_known_of(error, told):
    assert told in fault(error, ())


def test_the_first_cause_counts():
    inner = NameError("name 'np' is not defined", name="np")
    error = RuntimeError("Exception encountered when calling Network.call()")
    error.__cause__ = inner
    assert fault(error, ()) == "the name 'np' is used, which nothing there defines"


PAIR = """
import keras

class Network(keras.Model):
    def __init__(self, first, second, act, **options):
        super().__init__(**options)
        self.first, self.second, self.act = first, second, act

    def call(self, x):
        return self.second(self.act(self.first(x)))

    def get_config(self):
        parts = {name: getattr(self, name) for name in ("first", "second", "act")}
        parts = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        return {**super().get_config(), **parts}

    @classmethod
    def from_config(cls, config):
        for name in ("first", "second", "act"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
"""


def test_a_model_that_is_given_models_layers_and_functions_opens(tmp_path):
    names = {"__name__": "own"}
    exec(PAIR, names)
    inner = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)], name="inner")
    model = names["Network"](inner, keras.layers.Dense(2, name="head"), keras.activations.gelu)
    model(DATA)
    model.save(tmp_path / "model.keras")
    (tmp_path / "own.py").write_text(PAIR)
    file = open_model_file(tmp_path / "model.keras", trusted=True, code=[tmp_path / "own.py"])
    np.testing.assert_allclose(file.model(DATA), model(DATA), rtol=1e-6)
    kinds = [type(call.layer).__name__ for call in read_model(file.model).calls]
    assert kinds == ["InputLayer", "Dense", "Gelu", "Dense"]


def test_code_inside_of_what_a_model_is_given_stays_refused(tmp_path):
    """`__lambda__` is no part of Keras, whoever is given it."""
    names = {"__name__": "own"}
    exec(PAIR, names)
    dense = [keras.layers.Dense(4, name=name) for name in ("one", "two")]
    model = names["Network"](*dense, keras.activations.gelu)
    model(DATA)
    config = json.loads(model.to_json())
    config["config"]["act"] = {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}
    (tmp_path / "model.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(PAIR)
    with pytest.raises(ModelFileError, match="'lambda' is code"):
        open_model_file(tmp_path / "model.json", trusted=True, code=[tmp_path / "own.py"])
