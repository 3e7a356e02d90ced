"""Reading a Keras model into a `ModelGraph`.

Nested models are flattened into paths, a shared layer appears once per use, `keras.ops` operations
are calls of their own, and a layer with a fused activation becomes two: `conv1` (the
pre-activation, where AutoInit puts variance 1) and `conv1/relu`. A layer without a rule is traced
into its parts (`autoinit/graph/tracing.py`). Stand-ins for what is not run are calls too, marked as
opaque. This module is the only place that knows Keras's graph internals, and
nothing in it recurses on depth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import keras
from keras import layers

# Exported by no public module:
from keras.src import backend
from keras.src.layers.input_spec import assert_input_compatibility
from keras.src.models.functional import Functional
from keras.src.utils.naming import to_snake_case

from autoinit.errors import GraphError, keras2_advice
from autoinit.graph.model_graph import (
    Call,
    ModelGraph,
    Parameter,
    Shape,
    TensorRef,
    Value,
    innermost,
    stock_class,
)
from autoinit.graph.paths import joined, shortened
from autoinit.graph.placeholders import placeholder_activation, placeholder_in
from autoinit.graph.tracing import LayerTrace, TracedCall, UntraceableError, arguments_of

# Sizes of the batch that layers are traced with.
_PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101)
# Layers whose `call` ends with `activation(...)` on the result of their weights.
_FUSING = (
    layers.Dense, layers.EinsumDense, layers.Conv1D, layers.Conv2D, layers.Conv3D,
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose,
    layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D,
)  # fmt: skip


def read_graph(
    model: Any,
    unknown_size: int = 32,
    *,
    has_rule: Callable[[Any], bool],
    training: bool = True,
) -> ModelGraph:
    """Read the graph of a Keras 3 model.

    Args:
        model: a built model: `Functional`, `Sequential`, or a subclass whose `call` can be traced.
        unknown_size: size taken for axes that the model leaves open (other than the batch).
        has_rule: whether a layer is a call by itself; others are traced where that is possible.
        training: mode in which layers are traced.

    Raises:
        GraphError: where there is no graph to read: a model that was never built, or a subclass
            that cannot be traced; and where a layer does not accept the sizes that were taken.
    """
    return _Reader(unknown_size, has_rule, training).read(model)


def recursion_depth(model: Any) -> int:
    """How many calls deep Keras recurses when it builds or loads a model.

    Keras walks back from the outputs, first inputs first; Python's default limit is 1,000 frames,
    some dozens of which are taken by the loader itself.
    """
    deepest = 0
    top = _inner_graph(model)
    graphs = [] if top is None else [top]
    seen: set[int] = set()
    while graphs:
        graph = graphs.pop()
        for output in graph.outputs:
            branches = [iter([output])]
            while branches:
                tensor = next(branches[-1], None)
                if tensor is None:
                    branches.pop()
                    continue
                history = tensor._keras_history
                node = history.operation._inbound_nodes[history.node_index]
                deepest = max(deepest, len(branches))
                if id(node) in seen:
                    continue
                seen.add(id(node))
                inner = _inner_graph(node.operation)
                if inner is not None:
                    graphs.append(inner)
                branches.append(iter(node.input_tensors))
    return deepest


def _fused_activation(layer: Any) -> str | None:
    inner = innermost(layer)
    if stock_class(inner, _FUSING) is None or inner.activation is keras.activations.linear:
        return None
    activation = inner.activation
    name = getattr(activation, "__name__", None) or getattr(activation, "name", "activation")
    return shortened(str(name))


def _inner_graph(layer: Any) -> Any | None:
    """The functional graph of a nested model, or None for a layer that is one call."""
    if isinstance(layer, keras.Sequential):
        return layer._functional if stock_class(layer, (keras.Sequential,)) else None
    if isinstance(layer, Functional) and stock_class(layer, (Functional,)):
        return layer
    return None


@dataclass
class _Frame:
    """A model that is being flattened: where its inner tensors went, and the nodes to come."""

    outputs: Sequence[Any]
    prefix: str
    values: dict[int, Value]
    nodes: Iterator[Any]
    frozen: bool  # it, or a model around it, is not trainable
    waiting: Any = None  # the outer node that this frame computes
    layer_trace: LayerTrace | None = None  # of a traced layer
    place: int = -1  # of the current node in the trace
    prefixes: dict[int, str] = field(default_factory=dict)  # of each use of a traced layer


class _Reader:
    def __init__(self, unknown_size: int, has_rule: Callable[[Any], bool], training: bool) -> None:
        self.unknown_size = unknown_size
        self.has_rule = has_rule
        self.training = training
        self.batch = 0  # that layers are traced with
        self.calls: list[Call] = []
        self.values: list[Value] = []
        self.scopes: dict[str, tuple[Value, ...]] = {}
        self.assumed: dict[str, Shape] = {}
        self.uses: dict[str, int] = {}
        self.paths: set[str] = set()
        self.traced: list[Any] = []
        self.parameters: dict[tuple[int, str], Value] = {}  # by variable and dtype
        self.placeholder_origin: dict[
            int, Call
        ] = {}  # of each value after a placeholder, that call

    def read(self, model: Any) -> ModelGraph:
        graph = _inner_graph(model)
        self.batch = _unlikely_batch(model, self.unknown_size)
        top = self._subclassed(model) if graph is None else self._top(model, graph)
        frames = [top]
        while frames:
            frame = frames[-1]
            node = next(frame.nodes, None)
            if node is None:
                frames.pop()
                self._close_scopes(frame)
                if frames:
                    self._close(frame, frames[-1])
                continue
            frame.place += 1
            untraceable = ""
            if isinstance(node, TracedCall):
                node, untraceable, prefix = (
                    node.node,
                    node.untraceable,
                    frame.prefixes[id(node.scope)],
                )
            else:
                prefix = frame.prefix
            inner = _inner_graph(node.operation)
            if inner is not None:
                frames.append(self._enter(node, inner, frame, prefix))
                continue
            traced = untraceable or self._trace(node, frame)
            if isinstance(traced, _Frame):
                frames.append(traced)
            else:
                self._record(node, frame, prefix, untraceable=traced)
        outputs = tuple(top.values[id(tensor)] for tensor in top.outputs)
        return ModelGraph(
            str(model.name),
            tuple(self.calls),
            tuple(self.values),
            outputs,
            self.scopes,
            self.assumed,
            tuple({id(layer): layer for layer in self.traced}.values()),
            self.batch,
        )

    def _top(self, model: Any, graph: Any) -> _Frame:
        top = self._frame(graph, "", {}, not model.trainable)
        fixed = {tensor.shape[0] for tensor in graph.inputs} - {None}
        self.batch = fixed.pop() if len(fixed) == 1 else self.batch
        for tensor in graph.inputs:
            top.values[id(tensor)] = self._input(tensor)
        return top

    def _subclassed(self, model: Any) -> _Frame:
        """A subclass of `keras.Model`, traced as a whole for the shapes that it was built with."""
        shapes = getattr(model, "_build_shapes_dict", None)
        if not isinstance(model, keras.Model) or not shapes:
            raise GraphError(_no_graph(model))
        if len(shapes) == 1:
            (shapes,) = shapes.values()
        is_shape = _is_shape(shapes)
        structure = shapes if not is_shape else [shapes]
        reasons = []
        for dtype in (model.input_dtype, "int32"):  # nothing says which data are indices
            names = iter(_names_of_inputs(model, structure))

            def symbol(shape: Any, dtype: str = dtype, names: Any = names) -> Any:
                return keras.Input(batch_shape=shape, dtype=dtype, name=next(names))

            tensors = keras.tree.map_shape_structure(symbol, structure)
            given = [self._input(tensor) for tensor in keras.tree.flatten(tensors)]
            slots = keras.tree.pack_sequence_as(
                tensors, [TensorRef(value.index) for value in given]
            )
            named = isinstance(slots, dict) and set(slots) <= set(model._call_signature.parameters)
            arguments = ((), slots) if named else ((slots[0] if is_shape else slots,), {})
            try:
                return self._traced_frame(
                    model, arguments, given, "", frozenset(), False, inside=False
                )
            except UntraceableError as error:
                reasons.append(str(error))
                self.calls.clear()
                self.values.clear()
                self.paths.clear()
                self.uses.clear()
        raise GraphError(f"{_no_graph(model)} It cannot be opened: {reasons[0]}.")

    @staticmethod
    def _frame(graph: Any, prefix: str, values: dict[int, Value], frozen: bool) -> _Frame:
        depths = sorted(graph._nodes_by_depth, reverse=True)
        nodes = (
            node for depth in depths for node in graph._nodes_by_depth[depth] if not node.is_input
        )
        return _Frame(graph.outputs, prefix, values, nodes, frozen)

    def _trace(self, node: Any, frame: _Frame) -> _Frame | str:
        """The inside of a layer without a rule, or why it stays untraceable."""
        layer = node.operation
        has_rule = not isinstance(layer, layers.Layer) or self.has_rule(layer)
        if has_rule or frame.layer_trace is not None:
            return ""
        if placeholder_in(layer) is not None:
            return ""
        tensors = keras.tree.flatten(arguments_of(node))
        tensors = [leaf for leaf in tensors if isinstance(leaf, keras.KerasTensor)]
        given = [frame.values[id(tensor)] for tensor in tensors]
        masked = frozenset(
            value.index
            for tensor, value in zip(tensors, given, strict=True)
            if getattr(tensor, "_keras_mask", None) is not None and not value.constant
        )
        arguments = self._slotted(node, frame)[0]
        try:
            traced = self._traced_frame(layer, arguments, given, frame.prefix, masked, frame.frozen)
        except UntraceableError as error:
            return str(error)
        traced.waiting = node
        return traced

    def _traced_frame(
        self, layer: Any, arguments: Any, given: Sequence[Value], prefix: str,
        masked: frozenset[int], frozen: bool, *, inside: bool = True,
    ) -> _Frame:  # fmt: skip
        values = {value.index: value for value in given}
        layer_trace = LayerTrace(
            layer, arguments, values, masked, self.training, self.batch,
            self.has_rule,
        )  # fmt: skip
        trace = layer_trace.trace
        order = list(dict.fromkeys(value.index for value in given))
        constants = {id(tensor) for _, tensor, _ in trace.parameters}
        constants |= {
            id(tensor)
            for tensor, index in zip(trace.given, order, strict=False)
            if values[index].constant
        }
        for call in trace.calls:  # before anything is recorded
            of_constants = all(id(tensor) in constants for tensor in call.node.input_tensors)
            for tensor in call.node.outputs:
                if of_constants and tuple(tensor.shape)[:1] != (self.batch,):
                    constants.add(id(tensor))
                else:
                    _rows(tensor, self.batch)
        path = self._path(prefix, str(layer.name)) if inside else ""
        frozen = frozen or not layer.trainable
        frame = _Frame(trace.outputs, path, {}, iter(trace.calls), frozen, layer_trace=layer_trace)
        for scope, _ in trace.scopes:
            above = path if scope.parent is None else frame.prefixes[id(scope.parent)]
            inner = scope.parent is not None
            frame.prefixes[id(scope)] = self._path(above, scope.layer.name) if inner else path
            self.traced.append(scope.layer)
        masks = trace.given[len(order) :]
        for tensor, index in zip(trace.given, order, strict=False):
            self._place(frame, tensor, values[index])
        for tensor, index in zip(masks, [i for i in order if i in masked], strict=True):
            if any(tensor is each for call in trace.calls for each in call.node.input_tensors):
                self._place(frame, tensor, self._mask(values[index], path))
        for parameter, tensor, scope in trace.parameters:
            prefix = frame.prefixes[id(scope)]
            self._place(frame, tensor, self._parameter(parameter, prefix, frozen))
        return frame

    def _mask(self, masked: Value, prefix: str) -> Value:
        mask = self._value((None, *masked.shape[1:2]), "bool")
        path = self._path(prefix, "mask")
        arguments: Any = (TensorRef(masked.index),), {}
        call = Call(len(self.calls), path, Mask(), "whole", (masked,), (mask,), arguments)
        self._append(call)
        return mask

    def _place(self, frame: _Frame, tensor: Any, value: Value) -> None:
        frame.values[id(tensor)] = value
        if frame.layer_trace is not None:
            frame.layer_trace.slots[id(tensor)] = TensorRef(value.index)

    def _close_scopes(self, frame: _Frame) -> None:
        """What traced layers returned, by their paths."""
        if frame.layer_trace is None:
            return
        for scope, tensors in frame.layer_trace.trace.scopes:
            known = [frame.values[id(tensor)] for tensor in tensors if id(tensor) in frame.values]
            if known:
                self.scopes[frame.prefixes[id(scope)]] = tuple(known)

    def _parameter(self, parameter: Parameter, prefix: str, frozen: bool) -> Value:
        key = id(parameter.variable), str(parameter.dtype)
        if key not in self.parameters:
            shape = tuple(parameter.variable.shape)
            value = self._value(shape, parameter.dtype, constant=True, parameter=parameter)
            path = self._path(prefix, parameter.name)
            call = Call(
                len(self.calls), path, parameter, "whole", (), (value,),
                frozen=frozen or not parameter.trainable,
            )  # fmt: skip
            self._append(call)
            self.parameters[key] = value
        return self.parameters[key]

    def _input(self, tensor: Any) -> Value:
        layer = tensor._keras_history.operation
        shape = self._known(tuple(tensor.shape))
        path = self._path("", str(layer.name))
        if shape[1:] != tuple(tensor.shape)[1:]:
            self.assumed[path] = shape
        value = self._value(shape, tensor.dtype)
        self._append(Call(len(self.calls), path, layer, "whole", (), (value,)))
        return value

    def _enter(self, node: Any, inner: Any, frame: _Frame, prefix: str) -> _Frame:
        path = self._path(prefix, str(node.operation.name))
        given = [frame.values[id(tensor)] for tensor in node.input_tensors]
        # A nested model's arguments may be a dictionary in another order than its inputs.
        arguments = keras.tree.flatten(
            (node.arguments.args[:1], _only_inputs(node.arguments.kwargs))
        )
        tensors = [leaf for leaf in arguments if isinstance(leaf, keras.KerasTensor)]
        if len(tensors) == len(inner.inputs):
            given = [frame.values[id(tensor)] for tensor in tensors]
        values = {id(tensor): value for tensor, value in zip(inner.inputs, given, strict=False)}
        frozen = frame.frozen or not node.operation.trainable
        entered = self._frame(inner, path, values, frozen)
        entered.waiting = node
        return entered

    def _close(self, frame: _Frame, outer: _Frame) -> None:
        results = tuple(frame.values[id(tensor)] for tensor in frame.outputs)
        self.scopes[frame.prefix] = results
        for tensor, value in zip(frame.waiting.outputs, results, strict=True):
            self._place(outer, tensor, value)

    def _slotted(self, node: Any, frame: _Frame) -> tuple[Any, list[Value]]:
        """A node's arguments with slots for tensors, and the values in these."""
        inputs: list[Value] = []

        def slot(leaf: Any) -> Any:
            if isinstance(leaf, keras.Variable) and frame.layer_trace is not None:
                owner = frame.layer_trace.layer
                parameter = Parameter(owner, leaf.name, leaf, leaf.dtype)
                value = self._parameter(parameter, frame.prefix, frame.frozen)
            elif isinstance(leaf, keras.KerasTensor):
                value = frame.values[id(leaf)]
            else:
                return leaf
            inputs.append(value)
            return TensorRef(value.index)

        return keras.tree.map_structure(slot, arguments_of(node)), inputs

    def _record(self, node: Any, frame: _Frame, prefix: str, untraceable: str) -> None:
        layer = node.operation
        arguments, inputs = self._slotted(node, frame)
        outputs = tuple(self._outputs(node, frame, arguments, inputs))
        for tensor, value in zip(node.outputs, outputs, strict=True):
            self._place(frame, tensor, value)
        retrace = partial(frame.layer_trace.at, place=frame.place) if frame.layer_trace else None
        name = str(layer.name)
        if frame.layer_trace is not None and not isinstance(layer, layers.Layer):
            name = _own_name(layer)
        path = self._path(prefix, name)
        activation = _fused_activation(layer)
        call = Call(
            len(self.calls), path, layer, "whole", tuple(inputs), outputs, arguments,
            frozen=frame.frozen or not getattr(layer, "trainable", True),
            retrace=retrace, untraceable=untraceable,
        )  # fmt: skip
        if activation is None:
            self._append(replace(call, placeholder=placeholder_in(layer)))
            return
        (after,) = outputs
        before = replace(after, index=len(self.values))
        self.values.append(before)
        self._append(replace(call, part="linear", outputs=(before,)))
        path = self._path(path, activation)
        part = placeholder_activation(innermost(layer).activation)
        self._append(
            Call(
                len(self.calls), path, layer, "activation", (before,), (after,),
                frozen=call.frozen, placeholder=part,
            )
        )  # fmt: skip

    def _append(self, call: Call) -> None:
        self.calls.append(call)
        origins = [self.placeholder_origin.get(value.index) for value in call.inputs]
        origin = next(filter(None, origins), call if call.placeholder is not None else None)
        if origin is not None:
            self.placeholder_origin.update((value.index, origin) for value in call.outputs)

    def _outputs(
        self, node: Any, frame: _Frame, arguments: Any, inputs: Sequence[Value]
    ) -> Iterator[Value]:
        if frame.layer_trace is None:
            for tensor, shape in zip(node.outputs, self._shapes(node, arguments), strict=True):
                yield self._value(shape, tensor.dtype)
            return
        for tensor in node.outputs:
            shape = tuple(tensor.shape)
            if all(value.constant for value in inputs) and shape[:1] != (self.batch,):
                yield self._value(shape, tensor.dtype, constant=True)
            else:
                rows = _rows(tensor, self.batch)
                yield self._value((None, *shape[1:]), tensor.dtype, rows=rows)

    def _value(
        self, shape: Shape, dtype: Any, *, constant: bool = False, rows: int = 1,
        parameter: Parameter | None = None,
    ) -> Value:  # fmt: skip
        dtype = str(keras.backend.standardize_dtype(dtype))
        value = Value(len(self.values), shape, dtype, constant, rows, parameter)
        self.values.append(value)
        return value

    def _path(self, prefix: str, name: str) -> str:
        path = joined(prefix, name)
        unique = ""
        while not unique or unique in self.paths:
            self.uses[path] = self.uses.get(path, 0) + 1
            unique = path if self.uses[path] == 1 else f"{path}:{self.uses[path]}"
        self.paths.add(unique)
        return unique

    def _known(self, shape: Shape) -> Shape:
        return shape[:1] + tuple(self.unknown_size if size is None else size for size in shape[1:])

    def _shapes(self, node: Any, arguments: Any) -> list[Shape]:
        """Output shapes for the sizes that really flow here; inferred anew where they differ."""
        recorded = [tuple(tensor.shape) for tensor in node.outputs]
        slots = [leaf for leaf in keras.tree.flatten(arguments) if isinstance(leaf, TensorRef)]
        arrived = [self.values[slot.value].shape for slot in slots]
        expected = [tuple(tensor.shape) for tensor in node.input_tensors]
        if arrived == expected and all(None not in shape[1:] for shape in recorded):
            return recorded

        def symbol(leaf: Any) -> Any:
            if not isinstance(leaf, TensorRef):
                return leaf
            value = self.values[leaf.value]
            return keras.KerasTensor(value.shape, value.dtype)

        args, kwargs = keras.tree.map_structure(symbol, arguments)
        kwargs.pop("training", None)
        layer = node.operation
        try:
            if args and getattr(layer, "input_spec", None) is not None:
                assert_input_compatibility(layer.input_spec, args[0], layer.name)
            spec = layer.compute_output_spec(*args, **kwargs)
            is_open = any(None in tensor.shape[1:] for tensor in keras.tree.flatten(spec))
            if is_open and placeholder_in(layer) is None:
                # Some layers, such as EinsumDense, leave open what their computation knows.
                spec = backend.compute_output_spec(layer.call, *args, **kwargs)
            shapes = [tuple(tensor.shape) for tensor in keras.tree.flatten(spec)]
        except Exception as error:  # any layer's code may run here, and raise anything
            raise GraphError(self._does_not_accept(layer, slots, error)) from error
        return [self._known(shape) for shape in shapes]

    def _does_not_accept(self, layer: Any, slots: Sequence[TensorRef], error: Exception) -> str:
        arrived = [self.values[slot.value].shape for slot in slots]
        origins = [self.placeholder_origin.get(slot.value) for slot in slots]
        origin = next(filter(None, origins), None)
        advice = "Give the model's inputs definite sizes, or choose another size for unknown ones"
        if origin is not None:
            advice = (
                f"The output shape of {origin.path!r} ({origin.class_name}), which is not run, had "
                f"to be assumed: {advice[0].lower()}{advice[1:]}"
            )
        return (
            f"Layer {shortened(str(layer.name))!r} ({type(layer).__name__}) does not accept input "
            f"of shape {', '.join(map(str, arrived))}: {_first_line(error)}. {advice} (now "
            f"{self.unknown_size})."
        )


@keras.saving.register_keras_serializable(package="autoinit")
class Mask(keras.Operation):
    """The mask that came with a tensor: True where an entry counts."""

    def call(self, tensor: Any) -> Any:
        """The mask, (samples, steps); all true where there is none."""
        mask = getattr(tensor, "_keras_mask", None)
        return keras.ops.ones(tensor.shape[:2], "bool") if mask is None else mask

    def compute_output_spec(self, tensor: Any) -> Any:
        """Its shape."""
        return keras.KerasTensor(tensor.shape[:2], "bool")


def _unlikely_batch(model: Any, unknown_size: int) -> int:
    """A size for the batch axis that no other axis is likely to have."""
    shapes = [variable.shape for variable in getattr(model, "variables", ())]
    shapes += [tensor.shape for tensor in getattr(model, "inputs", None) or ()]
    sizes = {unknown_size, *(size for shape in shapes for size in shape if size)}
    free = (p for p in _PRIMES if not any(size % p == 0 for size in sizes))
    return next(free, _PRIMES[-1])


def _rows(tensor: Any, batch: int) -> int:
    """How many rows of the first axis each sample has."""
    shape = tuple(tensor.shape)
    if not shape or shape[0] % batch:
        raise UntraceableError(f"it moves the batch axis: it computes a tensor of shape {shape}")
    return int(shape[0] // batch)


def _names_of_inputs(model: Any, structure: Any) -> list[str]:
    """Keys of a dictionary of inputs, or the name of the first parameter of `call`."""
    if isinstance(structure, dict):
        return sorted(map(str, structure))  # the order in which Keras flattens it
    name = next(iter(model._call_signature.parameters), "input")
    shapes = [structure] if _is_shape(structure) else structure
    return [name] if len(shapes) == 1 else [f"{name}_{i}" for i in range(len(shapes))]


def _own_name(operation: Any) -> str:
    """The name of an operation without the number of operations in this process before it."""
    name = to_snake_case(type(operation).__name__)
    return name if re.fullmatch(rf"{name}(_\d+)?", str(operation.name)) else str(operation.name)


def _is_shape(structure: Any) -> bool:
    return isinstance(structure, (tuple, list)) and all(
        size is None or isinstance(size, int) for size in structure
    )


def _only_inputs(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name == "inputs"}


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def _no_graph(model: Any) -> str:
    kind = type(model).__name__
    name = getattr(model, "name", None)
    if not isinstance(model, keras.Model):
        return (
            keras2_advice(model) or f"A Keras model is needed. Received: {model!r} of type {kind}."
        )
    if isinstance(model, keras.Sequential):
        return (
            f"Sequential model {name!r} is not built, so its layers have no shapes. Start it with "
            "keras.Input(shape) or call it once on data."
        )
    advice = "" if model.built else " Call it once on data, so that it has weights and shapes."
    return (
        f"Model {name!r} ({kind}) is a subclass of keras.Model without a graph of its layers. "
        f"Write it with the functional API, keras.Model(inputs, outputs), or as keras.Sequential."
        f"{advice}"
    )
