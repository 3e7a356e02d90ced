"""Everything private of Keras 3 and of tf_keras that this project uses, in this one file.

What is imported here is exported by no public module; what is read here are attributes that begin
with an underscore. Names of tf_keras, and of TensorFlow behind it, are imported when they are
first asked for: the rest of the library runs without them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
from keras.src.backend import any_symbolic_tensors, compute_output_spec
from keras.src.backend.common import global_state
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.initializers import random_initializers
from keras.src.layers import layer as layer_module
from keras.src.layers.input_spec import assert_input_compatibility
from keras.src.layers.merging.base_merge import Merge
from keras.src.models.functional import Functional
from keras.src.models.sequential import Sequential
from keras.src.ops import operation as operation_module
from keras.src.ops.node import Node
from keras.src.saving import saving_lib
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.utils.naming import to_snake_case

__all__ = (
    "CustomScaleLayer", "Functional", "KerasSaveable", "LayerScale", "Merge", "Node",
    "StochasticDepth", "any_symbolic_tensors", "assert_input_compatibility", "compute_output_spec",
    "get_keras_mask", "get_stateless_scope", "set_keras_mask", "to_snake_case",
)  # fmt: skip

# Names that are imported from here as the others are, but of tf_keras, and where they lie.
_KERAS2 = {
    "ListWrapper2": "tf_keras.src.utils.tf_utils.ListWrapper",
    "CONSTANT_VALUE2": "tf_keras.src.engine.node._CONSTANT_VALUE",
    "CustomScaleLayer2": "tf_keras.src.applications.inception_resnet_v2.CustomScaleLayer",
    "Functional2": "tf_keras.src.engine.functional.Functional",
    "LayerScale2": "tf_keras.src.applications.convnext.LayerScale",
    "SavedMetadata": "tf_keras.protobuf.saved_metadata_pb2.SavedMetadata",
    "SavedModel": "tensorflow.core.protobuf.saved_model_pb2.SavedModel",
    "SlicingOpLambda": "tf_keras.src.layers.core.tf_op_layer.SlicingOpLambda",
    "StochasticDepth2": "tf_keras.src.applications.convnext.StochasticDepth",
    "TFOpLambda": "tf_keras.src.layers.core.tf_op_layer.TFOpLambda",
    "TrackableObjectGraph": (
        "tensorflow.core.protobuf.trackable_object_graph_pb2.TrackableObjectGraph"
    ),
    "TensorFlowOpLayer": "tf_keras.src.engine.base_layer.TensorFlowOpLayer",
    "activations2": "tf_keras.src.activations",
    "base_layer2": "tf_keras.src.engine.base_layer",
    "connect_ancillary_layers": "tf_keras.src.engine.functional.connect_ancillary_layers",
    "convert_inner_node_data": "tf_keras.src.utils.tf_utils.convert_inner_node_data",
    "get_canonical_name_for_symbol": (
        "tensorflow.python.util.tf_export.get_canonical_name_for_symbol"
    ),
    "get_symbol_from_name": "tensorflow.python.util.tf_export.get_symbol_from_name",
    "is_keras_trackable2": "tf_keras.src.saving.saving_lib._is_keras_trackable",
    "made_by_a_call": "tf_keras.src.engine.functional._should_skip_first_node",
    "op_def_registry": "tensorflow.python.framework.op_def_registry",
    "preprocess_weights_for_loading": (
        "tf_keras.src.saving.legacy.hdf5_format.preprocess_weights_for_loading"
    ),
    "serialize_keras2": "tf_keras.src.saving.legacy.serialization.serialize_keras_object",
    "to_snake_case2": "tf_keras.src.utils.generic_utils.to_snake_case",
    "unnest_if_single_tensor": "tf_keras.src.engine.base_layer_utils.unnest_if_single_tensor",
    "walk_trackable2": "tf_keras.src.saving.saving_lib._walk_trackable",
}


def __getattr__(name: str) -> Any:
    if name not in _KERAS2:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _KERAS2[name].rpartition(".")
    found = importlib.import_module(module)
    if not hasattr(found, attribute):  # a module, which its package may not have imported
        return importlib.import_module(_KERAS2[name])
    return getattr(found, attribute)


# Layers of either Keras


def layers_in(layer: Any, *, itself: bool = True, deep: bool = True) -> list[Any]:
    """A layer and those that it holds; nothing for an operation.

    Args:
        layer: of either Keras.
        itself: whether it counts.
        deep: whether those that its own layers hold do.
    """
    if not hasattr(layer, "_flatten_layers"):
        return []
    return list(layer._flatten_layers(include_self=itself, recursive=deep))


def own_variables(layer: Any) -> tuple[list[Any], list[Any]]:
    """A layer's variables without those of the layers that it holds: trainable ones, and others."""
    return list(layer._trainable_variables), list(layer._non_trainable_variables)


def own_variables2(layer: Any) -> list[Any]:
    """The same for a layer of tf_keras, in one list."""
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def without_weight2(layer: Any, weight: Any) -> int:
    """Let a trainable weight not be one of a tf_keras layer's own; the place that it had."""
    place = [id(own) for own in layer._trainable_weights].index(id(weight))
    del layer._trainable_weights[place]
    return place


def with_weight2(layer: Any, weight: Any, place: int) -> None:
    """Undo `without_weight2`."""
    if id(weight) not in map(id, layer._trainable_weights):
        layer._trainable_weights.insert(place, weight)


def nodes_in_order(graph: Any) -> Iterator[Any]:
    """The recorded calls of a functional model, each after those that it reads from."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        yield from graph._nodes_by_depth[depth]


def maker_of(tensor: Any) -> Any:
    """The layer or operation that returned a symbolic tensor."""
    return tensor._keras_history[0]


def node_of(tensor: Any) -> Any:
    """The recorded call that returned a symbolic tensor."""
    maker, index = tensor._keras_history[:2]
    return maker._inbound_nodes[index]


def first_node(layer: Any) -> Any:
    """The first recorded call of a layer or operation."""
    return layer._inbound_nodes[0]


def most_positions(layer: Any) -> int:
    """The longest axis between batch and channels of what a layer of either Keras is called on."""
    given = (keras.tree.flatten(node.input_tensors) for node in layer._inbound_nodes)
    return max((size or 0 for each in given for size in each[0].shape[1:-1]), default=0)


def source_inputs(tensors: Sequence[Any]) -> list[Any]:
    """The inputs that symbolic tensors come from; Keras's own way goes through every path."""
    waiting, seen, found = list(tensors), set[int](), []
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        before = node_of(tensor).input_tensors
        found += [] if before else [tensor]
        waiting += before
    return found


def inputs_structure(model: Any) -> Any:
    """The nested structure in which a model of either Keras takes its inputs; None if unknown."""
    structure = getattr(model, "_nested_inputs", None)
    return getattr(model, "_inputs_struct", None) if structure is None else structure


# Layers and models of Keras 3

_CALL = inspect.unwrap(keras.layers.Layer.__call__).__code__


def call_being_made() -> tuple[Any, Any, Any] | None:
    """The innermost call of a layer on symbolic tensors that goes on: layer, args and kwargs.

    Keras tells an initializer no more than a shape. None where there is no such call.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is _CALL:
            called, args, kwargs = (frame.f_locals[name] for name in ("self", "args", "kwargs"))
            tensors = keras.tree.flatten((args, kwargs))
            if any(getattr(each, "_keras_history", None) for each in tensors):
                return called, args, kwargs
        frame = frame.f_back
    return None


def takes_training(layer: Any) -> bool:
    """Whether Keras hands a layer the mode of the model."""
    return "training" in getattr(layer, "_call_context_args", ())


def call_takes(layer: Any, argument: str) -> bool:
    """Whether a layer's `call` has an argument `training` or `mask`."""
    return bool(getattr(layer, f"_call_has_{argument}_arg"))


def graph_of_sequential(model: Any) -> Any:
    """The functional model inside a `Sequential` one; None before it is built."""
    return model._functional


def shapes_built_for(model: Any) -> Any:
    """The shapes that a layer was built with, by argument; None where Keras kept none."""
    return getattr(model, "_build_shapes_dict", None)


def clear_losses(layer: Any) -> None:
    """Forget what a layer's last call added to the loss."""
    getattr(layer, "_clear_losses", lambda: None)()


def seed_generators(layer: Any) -> Sequence[Any]:
    """A layer's own sources of noise."""
    return tuple(layer._seed_generators)


def compile_settings(model: Any) -> dict[str, Any]:
    """What a model was compiled with."""
    return dict(model._compile_config.config)


def set_own_trainable(model: Any, trainable: bool) -> None:
    """Set a model's `trainable`, and leave that of its layers."""
    model._trainable = trainable


# Where layers keep the weights that Keras lets one read through properties.
HELD_WEIGHTS = {"_kernel": "kernel", "_embeddings": "embeddings"}


def children(part: Any) -> Iterator[tuple[str, Any]]:
    """Attributes under which an archive stores an object's parts, in its order."""
    yield from saving_lib._walk_saveable(part)


# Tracing

# Where layers keep lists of all of their variables, besides the attributes that code reads.
_LISTS = frozenset({"_trainable_variables", "_non_trainable_variables", "_losses", "_metrics"})
_GROWING = ("_inbound_nodes", "_outbound_nodes", "_losses")


def readable_attributes(layer: Any) -> dict[str, Any]:
    """A layer's attributes but the lists that Keras keeps for itself."""
    return {
        name: value
        for name, value in vars(layer).items()
        if name not in _LISTS and not name.startswith("_self_")
    }


@contextlib.contextmanager
def nodes_made_by(record: Callable[..., Any]) -> Iterator[None]:
    """Inside the block, Keras calls a function where it would make a `Node` of a symbolic call."""
    layer_module.Node = operation_module.Node = record
    try:
        yield
    finally:
        layer_module.Node = operation_module.Node = Node


@contextlib.contextmanager
def stacks_built_once() -> Iterator[None]:
    """Inside the block, a `Sequential` that is made from its configuration is built at the end.

    Keras builds it anew for every layer that it adds: the calls are as many as its length squared.
    """
    before = vars(Sequential)["from_config"]

    def from_config(cls: Any, config: dict[str, Any], custom_objects: Any = None) -> Any:
        def without_building(**arguments: Any) -> Any:
            model = cls(**arguments)
            vars(model)["add"] = functools.partial(model.add, rebuild=False)
            return model

        shape = config.get("build_input_shape")
        entries = {key: value for key, value in config.items() if key != "build_input_shape"}
        model = before.__func__(without_building, entries, custom_objects)
        del vars(model)["add"]
        if model._layers:
            model._maybe_rebuild()
        if not model._functional and shape and isinstance(shape, tuple | list):
            model.build(shape)
        return model

    Sequential.from_config = classmethod(from_config)
    try:
        yield
    finally:
        Sequential.from_config = before


@contextlib.contextmanager
def put_back(parts: Sequence[Any]) -> Iterator[None]:
    """Undo what the block leaves on layers: nodes, and attributes that their code assigns."""
    kept = [
        (part, dict(vars(part)), [list(getattr(part, name)) for name in _GROWING]) for part in parts
    ]
    try:
        yield
    finally:
        for part, attributes, lists in kept:
            vars(part).clear()
            vars(part).update(attributes)
            for name, entries in zip(_GROWING, lists, strict=True):
                getattr(part, name)[:] = entries


# Variables of Keras 3

_WAITING, _SCOPE = "uninitialized_variables", "stateless_scope"


def variables_without_values() -> list[Any]:
    """Variables that were declared inside a `StatelessScope` and have no values yet.

    They are Keras's no longer: it would give them values at the end of the next such block.
    """
    found: list[Any] = global_state.get_global_attribute(_WAITING, [])
    global_state.set_global_attribute(_WAITING, [])
    return found


@contextlib.contextmanager
def outside_stateless_scope() -> Iterator[None]:
    """Inside the block, variables get their values at once, whatever scope is around it."""
    scope = global_state.get_global_attribute(_SCOPE)
    global_state.set_global_attribute(_SCOPE, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(_SCOPE, scope)


def started_at_zero(variable: Any) -> Any:
    """Have a variable that was only declared begin at zero where it would be drawn.

    Returns:
        The initialiser that would draw it; None for one that draws nothing, which stays.
    """
    initializer = initializer_of(variable)
    if not isinstance(initializer, random_initializers.RandomInitializer):
        return None
    variable._initializer = keras.initializers.Zeros()
    return initializer


class _Zeros:
    """The generator of Keras's initialisers, which gives zeros."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self.uniform = self.normal = self.truncated_normal = self._zeros

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def _zeros(self, shape: Any, *_: Any, dtype: Any = None, **__: Any) -> Any:
        return keras.ops.zeros(shape, dtype)


@contextlib.contextmanager
def nothing_drawn() -> Iterator[None]:
    """Inside the block, initialisers give zeros, for a model whose weights are read right after."""
    before = random_initializers.random
    random_initializers.random = _Zeros(before)
    try:
        yield
    finally:
        random_initializers.random = before


def value_of(variable: Any) -> Any:
    """What a variable keeps its values in; None where it was only declared."""
    return variable._value


def initializer_of(variable: Any) -> Any:
    """The initialiser of a variable that was only declared; else None."""
    return getattr(variable, "_initializer", None)


def give_value(variable: Any, value: Any) -> None:
    """Give a declared variable its first value, or what the backend keeps one in."""
    variable._initialize(value)
    variable._initializer = None


def draw_value(variable: Any) -> None:
    """Give a declared variable what its initialiser says."""
    variable._deferred_initialize()


# Layers and models of tf_keras


def nested_outputs2(model: Any) -> Any:
    """The nested structure of a functional model's outputs."""
    return model._nested_outputs


def argument_names2(layer: Any) -> Sequence[str]:
    """Names of the arguments of a layer's `call`."""
    return list(layer._call_spec.arg_names)


def expects_training2(layer: Any) -> bool:
    """Whether a layer's `call` has an argument `training`."""
    return bool(layer._call_spec.expects_training_arg)


def in_order_of_inputs2(model: Any, inputs: Any) -> list[Any]:
    """A structure of inputs as a flat list, in the order of the model's own."""
    return list(model._flatten_to_reference_inputs(inputs))


def keeps_structure2(layer: Any) -> bool:
    """Whether a layer is called with a list even where that has one tensor."""
    return bool(getattr(layer, "_preserve_input_structure_in_config", False))


def is_symbolic2(value: Any) -> bool:
    """Whether a value is a tensor that a recorded call has returned."""
    return hasattr(value, "_keras_history")


def policy_name2(layer: Any) -> str:
    """Name of the policy that a layer computes by; its type, where that follows from its input."""
    name = layer._dtype_policy.name
    return str(layer.dtype if name.startswith("_infer") else name)


def argument2(layer: Any, name: str) -> Any:
    """What a layer keeps of a constructor's argument."""
    return getattr(layer, name if hasattr(layer, name) else f"_{name}")


def build_attention2(layer: Any, shapes: Sequence[Any]) -> None:
    """Build a `MultiHeadAttention`, which its `build` does not."""
    layer._build_from_signature(*shapes[:2])


def checkpoint_layers2(part: Any) -> dict[str, Any]:
    """A model's layers under the attribute that Keras 2.12 and 2.13 stored them by."""
    name = "_layer_checkpoint_dependencies"
    layers = getattr(part, name, None)
    return {} if layers is None else {name: layers}
