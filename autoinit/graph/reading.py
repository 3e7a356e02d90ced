"""Reading a Keras model into a `ModelGraph`.

Nested models are flattened into paths, a shared layer appears once per use, `keras.ops` operations
are calls of their own, and a layer with a fused activation becomes two: `conv1` (the
pre-activation, where AutoInit puts variance 1) and `conv1/relu`. A layer without a rule becomes the
calls that it makes (`autoinit/graph/tracing.py`). Placeholders for what is not run are calls too.
Nothing here recurses on depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import keras
from keras import layers

from autoinit.errors import GraphError
from autoinit.graph.builder import GraphBuilder
from autoinit.graph.keras_internals import get_keras_mask, nodes_in_order, shapes_built_for
from autoinit.graph.keras_models import (
    fused_activation,
    inner_graph,
    input_dtypes,
    input_shapes,
    no_graph_message,
    own_name,
    symbolic_inputs,
    unlikely_batch,
)
from autoinit.graph.model_graph import Call, ModelGraph, Parameter, TensorRef, Value, innermost
from autoinit.graph.placeholders import placeholder_activation, placeholder_in
from autoinit.graph.tracing import LayerTrace, TracedCall, UntraceableError, arguments_of


def read_graph(
    model: Any, unknown_size: int = 32, *, has_rule: Callable[[Any], bool], training: bool = True
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
        self.has_rule = has_rule
        self.training = training
        self.graph = GraphBuilder(unknown_size)
        self.batch = 0  # that layers are traced with

    def read(self, model: Any) -> ModelGraph:
        graph = inner_graph(model)
        self.batch = unlikely_batch(model, self.graph.unknown_size)
        top = self._subclassed(model) if graph is None else self._top(model, graph)
        frames = [top]
        while frames:
            frame = frames[-1]
            node = next(frame.nodes, None)
            if node is not None:
                entered = self._visit(node, frame)
                frames += [] if entered is None else [entered]
                continue
            frames.pop()
            self._close_scopes(frame)
            if frames:
                self._close(frame, frames[-1])
        outputs = [top.values[id(tensor)] for tensor in top.outputs]
        return self.graph.graph(str(model.name), outputs, self.batch)

    def _visit(self, node: Any, frame: _Frame) -> _Frame | None:
        """Record a call; or give the frame of the model or traced layer that it is a call of."""
        frame.place += 1
        untraceable, prefix = "", frame.prefix
        if isinstance(node, TracedCall):
            untraceable, prefix = node.untraceable, frame.prefixes[id(node.scope)]
            node = node.node
        inner = inner_graph(node.operation)
        if inner is not None:
            return self._enter(node, inner, frame, prefix)
        traced = untraceable or self._trace(node, frame)
        if isinstance(traced, _Frame):
            return traced
        self._record(node, frame, prefix, untraceable=traced)
        return None

    def _top(self, model: Any, graph: Any) -> _Frame:
        top = self._frame(graph, "", {}, not model.trainable)
        fixed = {tensor.shape[0] for tensor in graph.inputs} - {None}
        self.batch = fixed.pop() if len(fixed) == 1 else self.batch
        for tensor in graph.inputs:
            top.values[id(tensor)] = self.graph.input(tensor)
        return top

    def _subclassed(self, model: Any) -> _Frame:
        """A subclass of `keras.Model`, traced as a whole for the shapes that it was built with."""
        if not isinstance(model, keras.Model):
            raise GraphError(no_graph_message(model))
        shapes = input_shapes(model, shapes_built_for(model))
        if not shapes:
            raise GraphError(no_graph_message(model))
        reasons = []
        for dtype in input_dtypes(model):
            self.graph = GraphBuilder(self.graph.unknown_size)
            tensors = [*symbolic_inputs(shapes, dtype, _input).values()]
            given = [self.graph.input(tensor) for tensor in keras.tree.flatten(tensors)]
            refs = keras.tree.pack_sequence_as(tensors, [TensorRef(value.index) for value in given])
            arguments = (tuple(refs[:1]), dict(zip([*shapes][1:], refs[1:], strict=True)))
            try:
                return self._traced_frame(
                    model, arguments, given, "", frozenset(), False, inside=False
                )
            except UntraceableError as error:
                reasons.append(str(error))
        raise GraphError(f"{no_graph_message(model)} It cannot be opened: {reasons[0]}.")

    @staticmethod
    def _frame(graph: Any, prefix: str, values: dict[int, Value], frozen: bool) -> _Frame:
        nodes = (node for node in nodes_in_order(graph) if not node.is_input)
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
            if get_keras_mask(tensor) is not None and not value.constant
        )
        arguments = self._with_refs(node, frame)[0]
        try:
            traced = self._traced_frame(layer, arguments, given, frame.prefix, masked, frame.frozen)
        except UntraceableError as error:
            return str(error)
        traced.waiting = node
        return traced

    def _traced_frame(
        self,
        layer: Any,
        arguments: Any,
        given: Sequence[Value],
        prefix: str,
        masked: frozenset[int],
        frozen: bool,
        *,
        inside: bool = True,
    ) -> _Frame:
        values = {value.index: value for value in given}
        layer_trace = LayerTrace(
            layer, arguments, values, masked, self.training, self.batch, self.has_rule
        )
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
        path = self.graph.path(prefix, str(layer.name)) if inside else ""
        frozen = frozen or not layer.trainable
        frame = _Frame(trace.outputs, path, {}, iter(trace.calls), frozen, layer_trace=layer_trace)
        for scope, _ in trace.scopes:
            above = path if scope.parent is None else frame.prefixes[id(scope.parent)]
            inner = scope.parent is not None
            frame.prefixes[id(scope)] = self.graph.path(above, scope.layer.name) if inner else path
            self.graph.traced.append(scope.layer)
        masks = trace.given[len(order) :]
        for tensor, index in zip(trace.given, order, strict=False):
            self._place(frame, tensor, values[index])
        for tensor, index in zip(masks, [i for i in order if i in masked], strict=True):
            if any(tensor is each for call in trace.calls for each in call.node.input_tensors):
                self._place(frame, tensor, self.graph.mask(values[index], path))
        for parameter, tensor, scope in trace.parameters:
            prefix = frame.prefixes[id(scope)]
            self._place(frame, tensor, self.graph.parameter(parameter, prefix, frozen))
        return frame

    def _place(self, frame: _Frame, tensor: Any, value: Value) -> None:
        frame.values[id(tensor)] = value
        if frame.layer_trace is not None:
            frame.layer_trace.refs[id(tensor)] = TensorRef(value.index)

    def _close_scopes(self, frame: _Frame) -> None:
        """What traced layers returned, by their paths."""
        if frame.layer_trace is None:
            return
        for scope, tensors in frame.layer_trace.trace.scopes:
            known = [frame.values[id(tensor)] for tensor in tensors if id(tensor) in frame.values]
            if known:
                self.graph.scopes[frame.prefixes[id(scope)]] = tuple(known)

    def _enter(self, node: Any, inner: Any, frame: _Frame, prefix: str) -> _Frame:
        path = self.graph.path(prefix, str(node.operation.name))
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
        self.graph.scopes[frame.prefix] = results
        for tensor, value in zip(frame.waiting.outputs, results, strict=True):
            self._place(outer, tensor, value)

    def _with_refs(self, node: Any, frame: _Frame) -> tuple[Any, list[Value]]:
        """A node's arguments with refs for tensors, and the values in these."""
        inputs: list[Value] = []

        def ref(leaf: Any) -> Any:
            if isinstance(leaf, keras.Variable) and frame.layer_trace is not None:
                owner = frame.layer_trace.layer
                parameter = Parameter(owner, leaf.name, leaf, leaf.dtype)
                value = self.graph.parameter(parameter, frame.prefix, frame.frozen)
            elif isinstance(leaf, keras.KerasTensor):
                value = frame.values[id(leaf)]
            else:
                return leaf
            inputs.append(value)
            return TensorRef(value.index)

        return keras.tree.map_structure(ref, arguments_of(node)), inputs

    def _record(self, node: Any, frame: _Frame, prefix: str, untraceable: str) -> None:
        layer = node.operation
        arguments, inputs = self._with_refs(node, frame)
        outputs = tuple(self._outputs(node, frame, arguments, inputs))
        for tensor, value in zip(node.outputs, outputs, strict=True):
            self._place(frame, tensor, value)
        retrace = partial(frame.layer_trace.at, place=frame.place) if frame.layer_trace else None
        name = str(layer.name)
        if frame.layer_trace is not None and not isinstance(layer, layers.Layer):
            name = own_name(layer)
        path = self.graph.path(prefix, name)
        activation = fused_activation(layer)
        call = Call(
            len(self.graph.calls),
            path,
            layer,
            "whole",
            tuple(inputs),
            outputs,
            arguments,
            frozen=frame.frozen or not getattr(layer, "trainable", True),
            retrace=retrace,
            untraceable=untraceable,
        )
        if activation is None:
            self.graph.append(replace(call, placeholder=placeholder_in(layer)))
            return
        (after,) = outputs
        before = replace(after, index=len(self.graph.values))
        self.graph.values.append(before)
        self.graph.append(replace(call, part="linear", outputs=(before,)))
        path = self.graph.path(path, activation)
        part = placeholder_activation(innermost(layer).activation)
        self.graph.append(
            Call(
                len(self.graph.calls),
                path,
                layer,
                "activation",
                (before,),
                (after,),
                frozen=call.frozen,
                placeholder=part,
            )
        )

    def _outputs(
        self, node: Any, frame: _Frame, arguments: Any, inputs: Sequence[Value]
    ) -> Iterator[Value]:
        if frame.layer_trace is None:
            for tensor, shape in zip(node.outputs, self.graph.shapes(node, arguments), strict=True):
                yield self.graph.value(shape, tensor.dtype)
            return
        for tensor in node.outputs:
            shape = tuple(tensor.shape)
            if all(value.constant for value in inputs) and shape[:1] != (self.batch,):
                yield self.graph.value(shape, tensor.dtype, constant=True)
            else:
                rows = _rows(tensor, self.batch)
                yield self.graph.value((None, *shape[1:]), tensor.dtype, rows=rows)


def _input(shape: Any, dtype: str, name: str) -> Any:
    # A model of a class of its own was built for the batch that happened to come first.
    return keras.Input(tuple(shape[1:]), dtype=dtype, name=name)


def _rows(tensor: Any, batch: int) -> int:
    """How many rows of the first axis each sample has."""
    shape = tuple(tensor.shape)
    if not shape or shape[0] % batch:
        raise UntraceableError(f"it moves the batch axis: it computes a tensor of shape {shape}")
    return int(shape[0] // batch)


def _only_inputs(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name == "inputs"}
