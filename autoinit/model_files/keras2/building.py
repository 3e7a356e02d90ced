"""From a checked Keras 2 configuration to a tf_keras model, without drawing a weight.

Functional models are made here, call by call: tf_keras's own reader goes round and round over calls
whose inputs are not there yet, for ever where they never come, and once per layer of a chain that
is written down backwards.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
import tf_keras

from autoinit.errors import ModelFileError
from autoinit.graph import keras_internals as internals
from autoinit.graph.keras_internals import CONSTANT_VALUE2, ListWrapper2, convert_inner_node_data
from autoinit.graph.placeholders import channels_by_weights, inferred_shape
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.keras2 import functions
from autoinit.model_files.keras2.configurations import normalized
from autoinit.model_files.keras2.joins import joined, keeps_shape, shape_beside
from autoinit.model_files.keras2.own_layers import (
    ADDONS,
    OPAQUE,
    Opaque,
    SpectralNormalization,
    WeightNormalization,
)
from autoinit.model_files.rebuilding import by_recorded_shapes, require_orthogonal, unroll, without

_Key = tuple[str, int]  # a layer's name, and which of its calls
# Readers that are looked at for the shape of one tensor.
_MOST_READERS = 50
# Layers of Keras 2 that tf_keras's reader does not know by name, or only in part.
_UNLISTED = {
    "CustomScaleLayer": internals.CustomScaleLayer2,
    "LayerScale": internals.LayerScale2,
    "RandomFourierFeatures": tf_keras.layers.experimental.RandomFourierFeatures,
    "SpectralNormalization": SpectralNormalization,
    "StochasticDepth": internals.StochasticDepth2,
}


def build_keras2(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any], budgets: Budgets
) -> Any:
    """The tf_keras model that a configuration describes, not compiled.

    Weights whose initialisers draw are zero; the others, such as BatchNormalization's, are as
    configured.

    Args:
        config: `{"class_name": …, "config": …}` of a model of any Keras 2, checked.
        custom_objects: tf_keras classes and functions of the operator's, by name.
        budgets: parameters are counted before each is allocated.

    Raises:
        ModelFileError: the parameters exceed a budget, the layers do not connect, or the
            configuration is not a model's.
    """
    custom = {**_UNLISTED, **OPAQUE, "Functional": _Functional, **custom_objects}
    rolled, unrolled = without(config, "unroll")
    with _counted_and_zero(budgets), tf_keras.utils.custom_object_scope(custom):
        model = tf_keras.layers.deserialize(
            normalized(rolled, custom_objects), use_legacy_format=True
        )
    if not isinstance(model, tf_keras.Model):
        raise ModelFileError(
            "not_a_model",
            f"The file holds a {type(model).__name__}, not a model. "
            "Save the whole model with model.save('model.keras').",
        )
    unroll(model, unrolled, budgets)
    return model


def of_addons(names: Iterable[str]) -> dict[str, Any]:
    """What does as the parts of TensorFlow Addons do, by the names that they are registered by."""
    parts = {f"Addons>{name}": part for name, part in {**ADDONS, **functions.ADDONS}.items()}
    return {name: parts[name] for name in names}


def fold_kernels(model: Any) -> None:
    """Let kernels that wrappers make be the layers' own, once their weights are loaded."""
    for layer in internals.layers_in(model):
        if isinstance(layer, WeightNormalization):
            layer.fold()


def graph_of(model: Any, recorded: Mapping[str, Any] | None, budgets: Budgets) -> Any:
    """A model with a graph: itself, or what the `call` of one of a class of its own makes.

    Args:
        model: of tf_keras; its weights are made by that call, and are those of the graph.
        recorded: the `build_config` of its file.
        budgets: parameters are counted before each is allocated.

    Raises:
        ModelFileError: the parameters exceed a budget.
    """
    if getattr(model, "inputs", None) or not recorded:
        return model

    def made(**given: Any) -> Any:
        inputs = [*given.values()]
        outputs = model.call(**given)
        model.built = True
        return tf_keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs, name=model.name)

    def symbol(shape: Any, dtype: str, name: str) -> Any:
        return tf_keras.Input(tuple(shape[1:]), dtype=dtype, name=name)

    with _counted_and_zero(budgets):
        return by_recorded_shapes(model, recorded, made, symbol) or model


@contextmanager
def _counted_and_zero(budgets: Budgets) -> Iterator[None]:
    """Counts the entries of variables before they are allocated, and leaves draws out."""
    total = 0

    def create(next_creator: Any, **arguments: Any) -> Any:
        nonlocal total
        draw, shape = arguments.get("initial_value"), arguments.get("shape")
        if shape is not None and tf.TensorShape(shape).is_fully_defined():
            shape = tuple(tf.TensorShape(shape))
            total += math.prod(shape)
            budgets.require("parameters", total, "The model")
            if isinstance(draw, functools.partial) and hasattr(draw.func, "seed"):
                if isinstance(draw.func, tf_keras.initializers.Orthogonal) and shape:
                    # Not drawn here, but whoever draws the model's weights anew will.
                    require_orthogonal(shape, budgets)
                zeros = functools.partial(tf.zeros, shape, draw.keywords.get("dtype", tf.float32))
                arguments["initial_value"] = zeros
        return next_creator(**arguments)

    with tf.variable_creator_scope(create):
        yield


class _Functional:
    """What `Functional` in a configuration stands for."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Any:
        """The functional model."""
        inputs, outputs, layers = _Network(config, custom_objects).connect()
        model = tf_keras.Model(inputs, outputs, name=config["name"])
        connected = {id(layer) for layer in model.layers}
        if all(id(layer) in connected for layer in layers.values()):
            return model
        return internals.connect_ancillary_layers(model, layers)


class _Network:
    """Layers by name, and the tensors that each of their calls has returned.

    Each call is visited once for each input that it has to wait for.
    """

    def __init__(self, config: Mapping[str, Any], custom_objects: Any) -> None:
        self.config = config
        self.layers = {
            entry["name"]: tf_keras.layers.deserialize(
                entry, custom_objects=custom_objects, use_legacy_format=True
            )
            for entry in config["layers"]
        }
        self.calls = {
            entry["name"]: deque(
                convert_inner_node_data(call, wrap=True) for call in entry["inbound_nodes"]
            )
            for entry in config["layers"]
        }
        # A nested model's call number 0 is the one that made it.
        self.next_call = {
            name: int(internals.made_by_a_call(layer)) for name, layer in self.layers.items()
        }
        self.tensors: dict[_Key, list[Any]] = {
            (name, 0): tf.nest.flatten(internals.first_node(layer).outputs)
            for name, layer in self.layers.items()
            if isinstance(layer, tf_keras.layers.InputLayer)
        }

        # Tensors of which only an assumption says what shape they have, and who reads them.
        self.entries = {entry["name"]: entry for entry in config["layers"]}
        self.assumed = {
            name
            for name, layer in self.layers.items()
            if isinstance(layer, Opaque) and layer.evidence.keys() <= {"joins", "weights"}
        }
        self.readers: dict[str, list[str]] = {}
        if self.assumed:
            for name, calls in self.calls.items():
                for source, _ in (each for call in calls for each in self._references(call)):
                    self.readers.setdefault(source, []).append(name)

    def connect(self) -> tuple[Any, Any, dict[str, Any]]:
        """Make all calls.

        Returns:
            The model's inputs, its outputs, and the layers by name.

        Raises:
            ModelFileError: `bad_configuration`, where a call reads what no call returns.
        """
        waiting: dict[_Key, list[str]] = {}
        ready, last = deque(self.layers), deque[str]()
        while ready or last:
            name, is_last = (ready.popleft(), False) if ready else (last.popleft(), True)
            while self.calls[name]:
                missing = self._missing(self.calls[name][0])
                if missing is not None:
                    waiting.setdefault(missing, []).append(name)
                    break
                if name in self.assumed and not is_last:
                    last.append(name)  # once all is there that it may be joined with
                    break
                if is_last:
                    self._look_beside(name)
                ready.extend(waiting.pop(self._make_next_call(name), ()))
        stuck = next((name for name, calls in self.calls.items() if calls), None)
        if stuck is not None:
            raise _unconnected(f"Layer {stuck!r}", self._missing(self.calls[stuck][0]))
        return self._ends("input_layers"), self._ends("output_layers"), self.layers

    def _look_beside(self, name: str) -> None:
        """Take from those that a placeholder's output is joined with what shape it has."""
        layer: Any = self.layers[name]
        read = tuple(self._tensor(*next(self._sources(self.calls[name][0]))).shape)
        given = inferred_shape(read, layer.evidence)
        told = channels_by_weights(read, layer.evidence) is not None
        names, whole = [name], layer.evidence.get("joins", {})
        for each in names:
            for reader in self.readers.get(each, ())[:_MOST_READERS]:
                entry, calls = self.entries[reader], self.calls[reader]
                if keeps_shape(entry) and reader not in names and len(names) < _MOST_READERS:
                    names.append(reader)
                kind = joined(entry)
                call = next((c for c in calls if each in dict(self._references(c))), None)
                if not kind or call is None:
                    continue
                sources = list(dict.fromkeys(self._sources(call)))
                known = [
                    tuple(self._tensor(*source).shape)
                    for source in sources
                    if self._key(*source[:2]) in self.tensors
                ]
                axis = self._axis(self.layers[reader], call)
                missing = len(sources) - len(known)
                whole_of = whole.get(reader, {})
                shape = shape_beside(kind, axis, given, known, whole_of, missing, told)
                if shape is not None:
                    layer.evidence = {"declared": list(shape[1:]), "beside": reader}
                    return

    def _axis(self, layer: Any, call: Any) -> Any:
        own = getattr(layer, "axes", getattr(layer, "axis", None))
        parts = (part.as_list() for part in tf.nest.flatten(call))
        return own if own is not None else next((p[3].get("axis") for p in parts if p[3:]), None)

    def _make_next_call(self, name: str) -> _Key:
        layer, call = self.layers[name], self.calls[name].popleft()
        arguments: dict[str, Any] = {}
        tensors = []
        for part in tf.nest.flatten(call):
            source, number, index, *rest = part.as_list()
            arguments = rest[0] if rest else {}
            if source == CONSTANT_VALUE2:
                tensors.append(index)
            else:
                tensors.append(self._tensor(source, number, index))
        inputs = tf.nest.pack_sequence_as(call, tensors)
        if not internals.keeps_structure2(layer):
            inputs = internals.unnest_if_single_tensor(inputs)
        wrapped = convert_inner_node_data(arguments, wrap=True)
        arguments = tf.nest.map_structure(self._argument, wrapped)
        leaves = tf.nest.flatten((inputs, arguments))
        if not any(map(internals.is_symbolic2, leaves)):
            raise ModelFileError(
                "bad_configuration",
                f"Layer {name[:100]!r} reads no tensor in this file: Keras 2 leaves out what a "
                "TensorFlow operation is given after a text, such as tf.einsum's equation, and "
                "cannot open the file either. Build the model with a layer in its place, such as "
                "EinsumDense or Dot, and save it again.",
            )
        key = (name, self.next_call[name])
        with self._blaming(name):
            self.tensors[key] = tf.nest.flatten(layer(inputs, **arguments))
        self.next_call[name] += 1
        return key

    def _argument(self, value: Any) -> Any:
        if not isinstance(value, ListWrapper2):
            return value
        value = value.as_list()
        return self._tensor(*value[:3]) if self._is_reference(value) else value

    def _tensor(self, name: str, number: int, index: int) -> Any:
        tensors = self.tensors.get(self._key(name, number), [])
        if not 0 <= index < len(tensors):
            raise _unconnected("A layer", (name, number))
        return tensors[index]

    def _key(self, name: str, number: int) -> _Key:
        is_input = isinstance(self.layers.get(name), tf_keras.layers.InputLayer)
        return (name, 0 if is_input else number)

    def _is_reference(self, value: list[Any]) -> bool:
        return value[0] in self.layers and all(isinstance(part, int) for part in value[1:3])

    def _missing(self, call: Any) -> _Key | None:
        """The first call whose results an unmade call needs and that is unmade as well."""
        for name, number in self._references(call):
            key = self._key(name, number)
            if key not in self.tensors:
                return key
        return None

    def _references(self, call: Any) -> Iterator[_Key]:
        return ((name, number) for name, number, _ in self._sources(call))

    def _sources(self, call: Any) -> Iterator[tuple[str, int, int]]:
        """Layer, call and place of each tensor that a call reads."""
        for part in tf.nest.flatten(call):
            source, number, index, *rest = part.as_list()
            if source != CONSTANT_VALUE2:
                yield (source, number, index)
            wrapped = convert_inner_node_data(rest[0] if rest else {}, wrap=True)
            for value in tf.nest.flatten(wrapped):
                if isinstance(value, ListWrapper2) and self._is_reference(value.as_list()):
                    yield tuple(value.as_list()[:3])

    @contextmanager
    def _blaming(self, name: str) -> Iterator[None]:
        """Name the layer that cannot be called, and those whose shapes had to be assumed."""
        try:
            yield
        except Exception as error:  # any layer's code runs here, and may raise anything
            if not self.assumed or isinstance(error, ModelFileError):
                raise
            detail = " ".join(str(error).split())[:200].rstrip(". ")
            raise ModelFileError(
                "cannot_rebuild",
                f"Layer {name[:100]!r} ({type(self.layers[name]).__name__}) cannot be called: "
                f"{detail}. Of {min(self.assumed)[:100]!r}, which is not run, the output shape had "
                "to be assumed.",
            ) from error

    def _ends(self, which: str) -> Any:
        wrapped = convert_inner_node_data(self.config[which], wrap=True)
        return tf.nest.map_structure(lambda part: self._tensor(*part.as_list()[:3]), wrapped)


def _unconnected(reader: str, key: _Key | None) -> ModelFileError:
    name, number = key or ("", 0)
    return ModelFileError(
        "bad_configuration",
        f"{reader} of the model reads call {number} of layer {name[:100]!r}, which is never made: "
        "the configuration is incomplete or goes round in a circle.",
    )
