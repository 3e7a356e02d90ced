"""A tf_keras model → an equal Keras 3 model: equal layers, called alike, with the same weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
import tf_keras

from autoinit.errors import ModelFileError
from autoinit.findings import Finding
from autoinit.graph import keras_internals as internals
from autoinit.graph.keras_internals import Functional2
from autoinit.graph.placeholders import Opaque
from autoinit.model_files.keras2 import operations
from autoinit.model_files.keras2.functions import NoEqualError
from autoinit.model_files.keras2.keras3_layers import keras3_layer
from autoinit.model_files.keras2.operations import OPERATIONS, ShapeNumbers
from autoinit.model_files.keras2.variables import Pair, layer_pairs, variable_pairs, without_draws
from autoinit.model_files.keras2.variants import in_mode, with_masks_of_keras2
from autoinit.model_files.keras2.verification import NotComparedError, compare
from autoinit.model_files.keras2.wrappers import Keras2Layer, TensorFlowFunction

_ADAPTED = (tf_keras.layers.Normalization, tf_keras.layers.Discretization)
_APPLIED = ("activation", "recurrent_activation")
_STATE_ARGUMENT = (tf_keras.layers.RNN, tf_keras.layers.Bidirectional)


@dataclass(frozen=True)
class Translation:
    """What became of a tf_keras model.

    Attributes:
        model: of Keras 3, not compiled, with the same weights.
        layers: pairs of a tf_keras layer and what stands for it: a Keras 3 layer or operation.
        variables: pairs of their variables.
        findings: what a person should know.
        native: made of Keras 3's own parts only, and found to compute the same.
        difference: largest relative difference between the two models' outputs in inference, on
            one small batch; None where they were not compared.
    """

    model: Any
    layers: tuple[Pair, ...]
    variables: tuple[Pair, ...]
    findings: tuple[Finding, ...]
    native: bool
    difference: float | None = None


def translate(model: Any, *, draw: bool = False) -> Translation:
    """The Keras 3 model that computes what a tf_keras model computes.

    Args:
        model: a tf_keras `Functional` or `Sequential` model with inputs.
        draw: draw weights by Keras 3's initialisers, and give them to `model` as well: for a
            configuration that came without.

    Raises:
        ModelFileError: `no_graph`, for a model that has no graph of layers; `cannot_rebuild`,
            where Keras 3 does not take what Keras 2 took.
    """
    for layer in internals.layers_in(model):
        if isinstance(layer, _ADAPTED):  # weights may have been loaded since it was made
            layer.finalize_state()
    walk = _Walk()
    with warnings.catch_warnings(), without_draws(walk.variables, draw):
        # Keras 3 says so where Keras 2 silently dropped a mask.
        warnings.filterwarnings("ignore", ".*was passed an input with a mask")
        translated = walk.model(model)
    for _, made in walk.layers:
        if isinstance(made, keras.layers.Normalization):
            made.finalize_state()
    if draw:
        for old, new in walk.variables:
            old.assign(new.value)
    difference, doubts = _comparison(model, translated, walk)
    findings = (
        *_wrapped_findings(walk.wrapped),
        *map(_mode_conflict_finding, walk.mode_conflicts),
        *doubts,
    )
    return Translation(
        translated, tuple(walk.layers), tuple(walk.variables), findings, not findings, difference
    )


def _comparison(model: Any, translated: Any, walk: _Walk) -> tuple[float | None, list[Finding]]:
    """How far the models differ, and what is to be said of it."""
    if any(isinstance(made, Opaque) for _, made in walk.layers):
        return None, [_not_convertible("a part of the model is not run")]
    try:
        if walk.nondeterministic:
            raise NotComparedError(
                f"{walk.nondeterministic[0]!r} trains or draws in inference, too"
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*was passed an input with a mask")
            difference, tolerance = compare(model, translated)
    except NotComparedError as error:
        return None, [_not_convertible(f"its translation could not be checked, {error}")]
    if difference <= tolerance:
        return difference, []
    return difference, [
        Finding(
            "translation_differs",
            "",
            "",
            f"In Keras 3 the model's outputs differ from Keras 2's by {difference:.1g} of their "
            f"size, where rounding explains {tolerance:.1g}: the analysis is of a slightly "
            "different model.",
        ),
        _not_convertible("its translation does not compute the same"),
    ]


def _wrapped_findings(wrapped: Sequence[tuple[str, str]]) -> list[Finding]:
    if not wrapped:
        return []
    named = list(dict.fromkeys(f"{name[:60]!r} ({kind})" for name, kind in wrapped))
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return [
        _not_convertible(f"Keras 3 has no exact equal of {', '.join(named[:3])}{more}", *wrapped[0])
    ]


def _mode_conflict_finding(layer: Any) -> Finding:
    return Finding(
        "translation_differs",
        layer.name,
        type(layer).__name__,
        f"Layer {layer.name[:100]!r} is called with `training` and without: Keras 3 heeds only the "
        "model's mode, and here it always does as at its first call.",
    )


def _not_convertible(reason: str, path: str = "", kind: str = "") -> Finding:
    return Finding("not_convertible", path, kind, f"No .keras for Keras 3 is offered: {reason}.")


class _Walk:
    """Keras 3 layers made so far; each layer has one, however often and wherever it is used."""

    def __init__(self) -> None:
        self.layers: list[Pair] = []
        self.variables: list[Pair] = []
        self.keras3_layers: dict[int, Any] = {}
        self.wrapped: list[tuple[str, str]] = []  # names and classes of what Keras 2 has to run
        self.nondeterministic: list[str] = []  # names of what changes or draws in inference, too
        self.mode: bool | None = None  # `training` as recorded with the call that is translated
        self.modes: dict[int, bool | None] = {}  # the same of each layer's first call
        self.mode_conflicts: list[Any] = []  # layers that are called in more than one mode

    def model(self, model: Any) -> Any:
        """The Keras 3 model of a whole model."""
        if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
            raise ModelFileError(
                "no_graph",
                f"Model {model.name[:100]!r} has no graph of layers: it was saved before it knew "
                "the shape of its input. Call it once on data, then save it.",
            )
        frame = _Frame(self)
        inputs = tf.nest.map_structure(frame.input, internals.inputs_structure(model))
        for node in _needed(model):
            frame.call(node)
        outputs = tf.nest.map_structure(frame.tensor, internals.nested_outputs2(model))
        frame.name_the_rest(keras.tree.flatten(outputs))
        name = _without_slashes(model.name)
        if isinstance(model, tf_keras.Sequential) and frame.is_chain_of_layers():
            made = keras.Sequential([*keras.tree.flatten(inputs), *frame.chain], name=name)
        else:
            made = keras.Model(inputs, outputs, name=name)
        if not model.trainable:
            made.trainable = False
        return made

    def keras3_layer(self, layer: Any, name: str) -> Any:
        """The Keras 3 layer of a layer, made at its first use."""
        if id(layer) not in self.keras3_layers:
            try:
                made = (
                    self.model(layer) if _is_graph(layer) else keras3_layer(layer, name, self.inner)
                )
                if self.mode is not None:
                    made = in_mode(made, self.mode)
            except (NoEqualError, TypeError, ValueError):  # Keras 3 refuses what Keras 2 takes
                made = self.wrap(layer, name)
            self.keras3_layers[id(layer)] = made
        return self.keras3_layers[id(layer)]

    def keras3_layer_in_mode(self, layer: Any, name: str, training: Any, wrap: bool = False) -> Any:
        """The Keras 3 layer of a layer that is called with `training`, if that is not None.

        Args:
            layer: of tf_keras.
            name: of the Keras 3 layer.
            training: as recorded with the call.
            wrap: let tf_keras run the layer.
        """
        outer = self.mode
        if training is not None:
            self.mode = bool(training)
            self.nondeterministic += [layer.name] * self.mode
        if self.modes.setdefault(id(layer), self.mode) != self.mode:
            self.mode_conflicts.append(layer)
        made = self.wrap(layer, name) if wrap else self.keras3_layer(layer, name)
        self.mode = outer
        return made

    def inner(self, layer: Any) -> Any:
        """The Keras 3 layer of a layer that another one wraps."""
        return self.keras3_layer(layer, _without_slashes(layer.name))

    def wrap(self, layer: Any, name: str) -> Any:
        """Let tf_keras run a layer."""
        made = Keras2Layer(layer, self.mode, name=name, dtype=internals.policy_name2(layer))
        self.keras3_layers[id(layer)] = made
        return made

    def with_masks(self, layer: Any, made: Any, inputs: Any) -> Any:
        """A Keras 3 layer that hands masks on as the layer does."""
        made = self.keras3_layers[id(layer)] = with_masks_of_keras2(made, inputs)
        return made

    def pair(self, layer: Any, made: Any) -> None:
        """Record which layers and variables belong together, once they are there.

        Raises:
            NoEqualError: they do not fit.
        """
        pairs = layer_pairs(layer, made)
        self.variables += variable_pairs([pair for pair in pairs if not _is_graph(pair[0])])
        self.layers += pairs
        if any(_is_ours(made) for _, made in pairs):
            self.wrapped.append((layer.name, type(layer).__name__))


class _Frame:
    """One model on its way: the Keras 3 tensor of each tf_keras tensor."""

    def __init__(self, walk: _Walk) -> None:
        self.walk = walk
        self.values: dict[int, Any] = {}
        self.names: set[str] = set()
        self.chain: list[Any] = []  # layers and operations in the order of their calls

    def input(self, tensor: Any) -> Any:
        """An input of the model."""
        layer = internals.maker_of(tensor)
        made = keras.Input(
            batch_shape=tuple(tensor.shape), dtype=tensor.dtype.name, name=self.name(layer.name)
        )
        self.walk.layers.append((layer, internals.maker_of(made)))
        self.values[id(tensor)] = made
        return made

    def tensor(self, tensor: Any) -> Any:
        """The Keras 3 tensor of a tensor that a call has returned."""
        value = self.values[id(tensor)]
        if isinstance(value, ShapeNumbers):
            value = operations.materialized(value, self.name(internals.maker_of(tensor).name))
            self.values[id(tensor)] = value
            self.note_function(value)
        return value

    def call(self, node: Any) -> None:
        """Make the call that a node records."""
        if isinstance(node.layer, OPERATIONS):
            results = self.call_function(node)
        else:
            results = self.call_layer(node)
        for tensor, value in zip(tf.nest.flatten(node.outputs), results, strict=True):
            self.values[id(tensor)] = value

    def call_function(self, node: Any) -> list[Any]:
        """A TensorFlow function's results."""
        args, kwargs = tf.nest.map_structure(self.raw, (node.call_args, node.call_kwargs))
        symbol, arguments = operations.function_call(node.layer, args, kwargs)
        name = self.name(node.layer.name)
        results = operations.translate_call(symbol, arguments, tf.nest.flatten(node.outputs), name)
        if isinstance(results[0], ShapeNumbers):
            return results
        self.note_function(results[0])
        self.chain.append(internals.maker_of(results[0]))
        self.walk.layers.append((node.layer, self.chain[-1]))
        return results

    def note_function(self, result: Any) -> None:
        """Note a function without an equal in `keras.ops`."""
        operation = internals.maker_of(result)
        if isinstance(operation, TensorFlowFunction):
            self.walk.wrapped.append((operation.name, operation.original))
        if getattr(operation, "original", "") in operations.RANDOM:
            self.walk.nondeterministic.append(operation.name)

    def call_layer(self, node: Any) -> list[Any]:
        """A layer's results."""
        layer, known = node.layer, id(node.layer) in self.walk.keras3_layers
        args, kwargs = tf.nest.map_structure(self.value, (node.call_args, node.call_kwargs))
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        name = _without_slashes(layer.name) if known else self.name(layer.name)
        recorded = kwargs.pop("training", None)
        made = self.walk.keras3_layer_in_mode(layer, name, recorded)
        if not known and args:
            made = self.walk.with_masks(layer, made, args[0])
        try:
            results = _called(layer, made, args, kwargs, node.outputs)
            if not known:
                self.walk.pair(layer, made)
        except Exception as error:  # Keras 3 refuses as it likes what tf_keras has taken
            if known or isinstance(made, Keras2Layer):
                raise ModelFileError(
                    "cannot_rebuild",
                    f"Layer {layer.name[:100]!r} ({type(layer).__name__}) cannot be run by Keras "
                    f"{keras.__version__}: {' '.join(str(error).split())[:200]}.",
                ) from error
            made = self.walk.keras3_layer_in_mode(layer, name, recorded, wrap=True)
            results = _called(layer, made, args, kwargs, node.outputs)
            self.walk.pair(layer, made)
        self.chain.append(made)
        return results

    def raw(self, value: Any) -> Any:
        """What stands for a leaf of a recorded call: a tensor, `ShapeNumbers`, or a constant."""
        if id(value) in self.values:
            return self.values[id(value)]
        if tf.is_tensor(value):
            value = value.numpy()
        return value.item() if getattr(value, "shape", None) == () else value

    def value(self, value: Any) -> Any:
        """The same, with tensors for `ShapeNumbers`."""
        return self.tensor(value) if id(value) in self.values else self.raw(value)

    def name(self, wanted: str) -> str:
        """A name that no other layer of this model has, and that Keras 3 accepts."""
        base = name = _without_slashes(wanted)
        number = 0
        while name in self.names:
            number += 1
            name = f"{base}_{number}"
        self.names.add(name)
        return name

    def name_the_rest(self, outputs: Sequence[Any]) -> None:
        """Give operations that stand for no layer, such as those of masks, names of their own."""
        ours = {id(part) for part in self.chain}
        seen: set[int] = set()
        waiting = [*outputs]
        while waiting:
            tensor = waiting.pop()
            operation, node = internals.maker_of(tensor), internals.node_of(tensor)
            if id(node) in seen or node.is_input:
                continue
            seen.add(id(node))
            waiting += node.input_tensors
            if id(operation) not in ours:
                operation.name = self.name(operation.name)

    def is_chain_of_layers(self) -> bool:
        """Whether the calls can be those of a `Sequential` model."""
        different = len({id(layer) for layer in self.chain}) == len(self.chain)
        return different and all(isinstance(layer, keras.Layer) for layer in self.chain)


def _called(layer: Any, made: Any, args: Any, kwargs: Any, outputs: Any) -> list[Any]:
    """Results of a Keras 3 layer's call, checked against what tf_keras's call returned."""
    if isinstance(made, Keras2Layer):
        args, kwargs = _as_keras2_takes_them(args, kwargs)
    else:
        args, kwargs = _as_keras3_takes_them(layer, made, [*args], dict(kwargs))
    if getattr(made, "stateful", False) and not made.built:
        with (
            internals.outside_stateless_scope()
        ):  # a state's variable is given its value, not an initialiser
            made.build(tuple(args[0].shape))
    results = [*keras.tree.flatten(made(*args, **kwargs))]
    for result, output in zip(results, tf.nest.flatten(outputs), strict=True):
        if not operations.same_kind(result, output, any_integer=True):
            raise NoEqualError(f"{result} for {output}")
    return results


def _as_keras3_takes_them(layer: Any, made: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    names = internals.argument_names2(layer)
    for place in range(len(args) - 1, 0, -1):
        if not any(isinstance(leaf, keras.KerasTensor) for leaf in tf.nest.flatten(args[place])):
            kwargs[names[place]] = args.pop(place)
    if _is_graph(layer):
        given = internals.in_order_of_inputs2(layer, args.pop(0) if args else kwargs.pop("inputs"))
        if isinstance(made, keras.Sequential):
            return [*given, *args], kwargs
        return [keras.tree.pack_sequence_as(internals.inputs_structure(made), given), *args], kwargs
    if isinstance(layer, _STATE_ARGUMENT) and isinstance(args[0], (list, tuple)):
        sequence, *state = args[0]
        return [sequence], {**kwargs, "initial_state": state} if state else kwargs
    return args, kwargs


def _as_keras2_takes_them(args: Any, kwargs: Any) -> tuple[Any, Any]:
    if len(args) == 1 and not kwargs:
        return args, {}
    tensors: list[Any] = []
    arguments = operations.as_data({"args": [*args], "kwargs": kwargs}, tensors)
    return [tensors], {"arguments": arguments}


def _needed(model: Any) -> list[Any]:
    """The nodes that a model's outputs depend on, each after those that it reads from."""
    inputs = {id(tensor) for tensor in model.inputs}
    found: set[int] = set()
    waiting = [*model.outputs]
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in inputs:
            continue
        node = internals.node_of(tensor)
        if id(node) not in found:
            found.add(id(node))
            waiting += node.keras_inputs
    return [node for node in internals.nodes_in_order(model) if id(node) in found]


def _is_graph(layer: Any) -> bool:
    """Whether a layer is a model that does no more than its graph says."""
    own = getattr(type(layer), "call", None)
    return isinstance(layer, Functional2) and own in (Functional2.call, tf_keras.Sequential.call)


def _is_ours(layer: Any) -> bool:
    """Whether a layer, or a function that it applies, is not one of Keras's own."""
    parts = [type(layer), *(getattr(layer, name, None) for name in _APPLIED)]
    return any(
        getattr(part, "__module__", "").startswith("autoinit.model_files.keras2") for part in parts
    )


def _without_slashes(name: str) -> str:
    return name.replace("/", "_")
