"""Configurations with anything anywhere: the outcome is a clean configuration or a refusal."""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.check import vocabulary as names
from autoinit.model_files.check.checking import check
from autoinit.model_files.read.version_detection import keras_of
from tests.autoinit.model_files.configurations import Keras2, Keras3, called, record_of

OPAQUE = {"Opaque", "OpaqueActivation"}


def example(writer):
    """A model with nested ones, wrappers, and every kind of part."""
    zeros = {"class_name": "Zeros", "config": {}, "module": "keras.initializers"}
    cell = {"class_name": "GRUCell", "config": {"units": 2, "recurrent_activation": "sigmoid"}}
    inner = writer.functional(
        writer.input("y"),
        writer.layer("Lambda", "code", ["y"], output_shape=[3]),
        writer.layer("Dense", "out", ["code"], units=2, activation="relu"),
        name="inner",
    )
    return writer.functional(
        writer.input(),
        writer.layer("Dense", "a", ["x"], units=2, kernel_initializer=zeros, activation="tanh"),
        called(writer, inner, "a", "a"),
        writer.layer("TimeDistributed", "each", ["inner"], layer=inner),
        writer.layer("RNN", "rnn", ["each"], cell=cell),
        writer.layer("StringLookup", "words", ["rnn"], vocabulary=["a"], seed={"a": [None]}),
    )


EXAMPLES = [example(Keras2), example(Keras3)]
HOSTILE = [
    {"class_name": "__lambda__", "config": {"code": "evil", "defaults": None, "closure": None}},
    {"class_name": "function", "config": "evil", "module": "os", "registered_name": "evil"},
    {"class_name": "evil", "config": {}, "module": "os", "registered_name": None},
    {"class_name": "Lambda", "config": {"function": ["evil", None, None]}},
    {"class_name": "Dense", "config": {"units": "evil"}, "module": None},
    {"class_name": "__typespec__", "spec_name": "evil", "module": "os", "config": []},
    {"class_name": "TimeDistributed", "config": {"layer": {"class_name": "evil", "config": {}}}},
    {"class_name": "Functional", "config": {"layers": [{"class_name": "evil", "config": {}}]}},
    {"class_name": "__numpy__", "config": {"value": [1], "dtype": "V1000000000"}},
    {"class_name": "Opaque", "config": {"evidence": {"declared": [10**9] * 100}}},
    ["evil", 0, 0], [["evil", 0, 10**12]], 10**30, -(10**400), float("nan"), float("inf"),
    "evil", "a\ud800", "", None, True, [], {}, [[]], {"": None}, {"class_name": None},
    {"class_name": ["Dense"], "config": {}}, {"class_name": "Dense"}, [None] * 50,
]  # fmt: skip
KEYS = ["class_name", "config", "module", "registered_name", "name", "layers", "inbound_nodes"]


def places_in(value):
    """Every container in a value, with each of its keys or indices."""
    places, waiting = [], [value]
    while waiting:
        inner = waiting.pop()
        steps = list(inner) if isinstance(inner, dict) else range(len(inner))
        places += [(inner, step) for step in steps]
        waiting += [inner[step] for step in steps if isinstance(inner[step], (dict, list))]
    return places


def objects_in(value):
    """Every dictionary with a class, and the role that it stands in."""
    found, waiting = [], [("", value)]
    while waiting:
        role, inner = waiting.pop()
        if isinstance(inner, dict):
            if "class_name" in inner:
                found.append((role, inner))
            waiting += [(names.role_of(key), part) for key, part in inner.items()]
        elif isinstance(inner, list):
            waiting += [(role, part) for part in inner]
    return found


def audit(config, keras):
    """Nothing in a checked configuration but what is on the lists, whatever the check thinks."""
    vocabulary = names.KERAS3 if keras == 3 else names.KERAS2
    for role, entry in objects_in(config):
        kind, module = entry["class_name"], entry.get("module")
        if kind in vocabulary.values:
            continue
        assert entry.keys() <= {
            "class_name",
            "module",
            "registered_name",
            "config",
            "name",
            "inbound_nodes",
            "shared_object_id",
        }
        if kind in OPAQUE:
            assert (keras, module) in ((2, None), (3, "autoinit.graph.placeholders"))
            continue
        places = {**vocabulary.classes.get(role, {})}
        if role in ("", names.LAYER):
            places |= vocabulary.classes[names.MODEL]
        modules = {places.get(kind)}
        if role == names.LAYER:
            modules.add(vocabulary.operations.get(kind))
        assert (module or "") in modules - {None}
        assert entry.get("registered_name") is None
        assert isinstance(entry["config"], (dict, list))
        if kind in ("StringLookup", "IntegerLookup", "TextVectorization"):
            assert not isinstance(entry["config"].get("vocabulary"), str)


@pytest.mark.parametrize("config", EXAMPLES, ids=["keras2", "keras3"])
def test_the_examples_pass(config):
    keras = keras_of("", config)
    checked = check(record_of(config), Budgets())
    assert {finding.path for finding in checked.findings} == {"inner/code", "each"}
    audit(checked.config, keras)
    assert len(objects_in(checked.config)) > 10


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_anything_anywhere_is_cleaned_or_refused(data):
    config = copy.deepcopy(EXAMPLES[data.draw(st.integers(0, 1))])
    keras = keras_of("", config)
    for _ in range(data.draw(st.integers(1, 4))):
        places = places_in(config)
        if not places:
            break
        container, key = places[data.draw(st.integers(0, len(places) - 1))]
        action = data.draw(st.sampled_from(["hostile", "hostile", "swap", "remove", "add"]))
        if action == "hostile":
            container[key] = copy.deepcopy(data.draw(st.sampled_from(HOSTILE)))
        elif action == "swap":
            other, step = places[data.draw(st.integers(0, len(places) - 1))]
            container[key] = copy.deepcopy(other[step])
        elif action == "remove":
            del container[key]
        elif isinstance(container, dict):
            new = copy.deepcopy(data.draw(st.sampled_from(HOSTILE)))
            container[data.draw(st.sampled_from(KEYS))] = new
    if not isinstance(config.get("class_name"), str):
        return  # refused when it is read
    message = "cleaned."
    try:
        audit(check(record_of(config, keras), Budgets()).config, keras)
    except ModelFileError as error:
        message = str(error)
    assert message.endswith(".")
    assert message.isprintable()
