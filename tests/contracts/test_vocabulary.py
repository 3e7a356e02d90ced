"""The lists of what a model file may name, held against what Keras exports and really makes of it.

A name that a new version of Keras adds must be put on one list or the other.
"""

import importlib
import inspect
import pkgutil

import keras
import pytest
from keras.src.ops.operation import Operation

from autoinit.graph import keras_models
from autoinit.graph import placeholders as opaque
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.check import vocabulary as names
from autoinit.model_files.check.checking import check
from autoinit.model_files.rebuilding import rebuild_keras3
from sample_models import build
from tests.autoinit.model_files.configurations import record_of

# Exports of keras.layers that are no layers.
NOT_LAYERS = {"Input", "InputSpec"}
BASES = {"Initializer", "Regularizer", "Constraint"}


def classes_in(module):
    return {name for name, value in vars(module).items() if inspect.isclass(value)}


def test_every_layer_is_allowed_or_denied():
    exported = classes_in(keras.layers) - NOT_LAYERS
    allowed = set(names.KERAS3.classes[names.LAYER])
    unexported = {name for group in names.UNEXPORTED.values() for name in group}
    assert not allowed & names.DENIED.keys()
    assert exported == (allowed - unexported) | (exported & names.DENIED.keys())


def test_every_operation_is_allowed_or_denied():
    for module in pkgutil.iter_modules(keras.src.ops.__path__, "keras.src.ops."):
        if not module.name.endswith("_test"):
            importlib.import_module(module.name)
    waiting, found = [Operation], set()
    while waiting:
        classes = waiting.pop().__subclasses__()
        waiting += classes
        found |= {
            (kind.__module__, kind.__name__)
            for kind in classes
            if kind.__module__.startswith(("keras.src.ops.", "keras.src.activations"))
        }
    allowed = {(module, name) for module, group in names.OPERATIONS.items() for name in group}
    assert allowed <= found
    assert {name for _, name in found - allowed} <= names.DENIED.keys()


@pytest.mark.parametrize(
    ("module", "role"),
    [
        (keras.initializers, names.INITIALIZER),
        (keras.regularizers, names.REGULARIZER),
        (keras.constraints, names.CONSTRAINT),
    ],
)
def test_parts_of_layers(module, role):
    # Classes are exported by names in small letters as well, which stand for them as texts.
    exported = {name for name in classes_in(module) if name[0].isupper()}
    assert exported - BASES == set(names.KERAS3.classes[role])
    for name in names.KERAS3.strings[role]:
        assert module.get(name) is not None


def test_policies():
    listed = set(names.KERAS3.classes[names.POLICY]) | names.QUANTIZED_POLICIES
    assert classes_in(keras.dtype_policies) == listed


def test_activations():
    exported = {
        name
        for name, value in vars(keras.activations).items()
        if inspect.isfunction(value) and name not in ("get", "serialize", "deserialize")
    }
    assert exported == names.KERAS3.strings[names.ACTIVATION] | names.INCOMPLETE.keys()
    for name in exported:
        assert callable(keras.activations.get(name))


def test_everything_allowed_is_found_where_it_is_said_to_be():
    for listed in (*names.KERAS3.classes.values(), names.KERAS3.operations):
        for name, module in listed.items():
            found = keras.src.api_export.get_symbol_from_name(f"{module}.{name}")
            found = found or getattr(importlib.import_module(module), name)
            assert inspect.isclass(found)


def test_layers_whose_activation_is_split_off():
    """The list of names covers the classes that the reader splits, under all their names."""
    aliases = {
        name
        for name, value in vars(keras.layers).items()
        if inspect.isclass(value) and value in keras_models.FUSING
    }
    assert aliases == {name for name in names.FUSING if hasattr(keras.layers, name)}
    only_of_keras2 = names.FUSING - aliases
    assert only_of_keras2 == {"Deconvolution2D", "Deconvolution3D"}


@pytest.mark.parametrize("name", ["all-cnn-c", "lstm-text", "multi-input", "transformer-encoder"])
def test_a_stock_model_comes_out_of_the_check_as_it_went_in(name):
    model = build(name)
    before = model.get_config()
    record = record_of(keras.saving.serialize_keras_object(model), 3)
    checked = check(record, Budgets())
    assert checked.findings == ()
    assert rebuild_keras3(checked.config, {}, Budgets()).get_config() == before


class Pair(keras.layers.Layer):
    """Two outputs of two shapes."""

    def call(self, x):
        return x[:, :3], keras.ops.stack([x, x], axis=1)


def gain(x):
    return 2 * x


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_stand_ins_have_the_shapes_of_what_they_stand_for():
    given = keras.Input((8,))
    x = keras.layers.Lambda(lambda x: x[:, :5], output_shape=(5,), name="code")(given)
    x = keras.layers.Dense(6, activation=gain, name="dense")(x)
    first, second = Pair(name="pair")(x)
    second = keras.layers.Flatten()(second)
    outputs = keras.layers.Concatenate()([first, second])
    model = keras.Model(given, keras.layers.Dense(2, name="last")(outputs))
    checked = check(record_of(keras.saving.serialize_keras_object(model), 3), Budgets())
    after = rebuild_keras3(checked.config, {}, Budgets())
    assert [finding.code for finding in checked.findings] == [
        "opaque_layer",
        "opaque_activation",
        "opaque_layer",
    ]
    assert after.count_params() == model.count_params()
    assert isinstance(after.get_layer("pair"), opaque.Opaque)
    assert [tuple(tensor.shape) for tensor in after.get_layer("pair").output] == [
        tuple(tensor.shape) for tensor in model.get_layer("pair").output
    ]
