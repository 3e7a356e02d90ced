"""Reading a Keras model into a `ModelGraph`.

Nested models are flattened into paths, a shared layer appears once per use, `keras.ops` operations
are calls of their own, and a layer with a fused activation becomes two: `conv1` (the
pre-activation, where AutoInit puts variance 1) and `conv1/relu`. Stand-ins for what is not run are
calls too, marked as opaque. This module is the only place that knows Keras's graph internals, and
nothing in it recurses on depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import layers

# Exported by no public module:
from keras.src import backend
from keras.src.layers.input_spec import assert_input_compatibility
from keras.src.models.functional import Functional

from autoinit.errors import GraphError
from autoinit.graph import Call, ModelGraph, Shape, Slot, Value, innermost, stock_class
from autoinit.opaque import opaque_activation, opaque_part
from autoinit.paths import joined, shortened

# Layers whose `call` ends with `activation(...)` on the result of their weights.
_FUSING = (
    layers.Dense, layers.EinsumDense, layers.Conv1D, layers.Conv2D, layers.Conv3D,
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose,
    layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D,
)  # fmt: skip


def read_model(model: Any, unknown_size: int = 32) -> ModelGraph:
    """Read the graph of a Keras 3 model.

    Args:
        model: a built `Functional` or `Sequential` model.
        unknown_size: size taken for axes that the model leaves open (other than the batch).

    Raises:
        GraphError: where there is no graph to read: a subclassed model, or a model that was
            never built; and where a layer does not accept the sizes that were taken.
    """
    return _Reader(unknown_size).read(model)


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

    graph: Any
    prefix: str
    values: dict[int, Value]
    nodes: Iterator[Any]
    frozen: bool  # it, or a model around it, is not trainable
    waiting: Any = None  # the outer node that this frame computes


class _Reader:
    def __init__(self, unknown_size: int) -> None:
        self.unknown_size = unknown_size
        self.calls: list[Call] = []
        self.values: list[Value] = []
        self.scopes: dict[str, tuple[Value, ...]] = {}
        self.assumed: dict[str, Shape] = {}
        self.uses: dict[str, int] = {}
        self.paths: set[str] = set()
        self.opaque_origin: dict[int, Call] = {}  # of each value after an opaque call, that call

    def read(self, model: Any) -> ModelGraph:
        graph = _inner_graph(model)
        if graph is None:
            raise GraphError(_no_graph(model))
        top = self._frame(graph, "", {}, not model.trainable)
        for tensor in graph.inputs:
            top.values[id(tensor)] = self._input(tensor)
        frames = [top]
        while frames:
            frame = frames[-1]
            node = next(frame.nodes, None)
            if node is None:
                frames.pop()
                if frames:
                    self._close(frame, frames[-1])
                continue
            inner = _inner_graph(node.operation)
            if inner is None:
                self._record(node, frame)
            else:
                frames.append(self._enter(node, inner, frame))
        outputs = tuple(top.values[id(tensor)] for tensor in graph.outputs)
        return ModelGraph(
            str(model.name),
            tuple(self.calls),
            tuple(self.values),
            outputs,
            self.scopes,
            self.assumed,
        )

    @staticmethod
    def _frame(graph: Any, prefix: str, values: dict[int, Value], frozen: bool) -> _Frame:
        depths = sorted(graph._nodes_by_depth, reverse=True)
        nodes = (
            node for depth in depths for node in graph._nodes_by_depth[depth] if not node.is_input
        )
        return _Frame(graph, prefix, values, nodes, frozen)

    def _input(self, tensor: Any) -> Value:
        layer = tensor._keras_history.operation
        shape = self._known(tuple(tensor.shape))
        path = self._path("", str(layer.name))
        if shape[1:] != tuple(tensor.shape)[1:]:
            self.assumed[path] = shape
        value = self._value(shape, tensor.dtype)
        self._append(Call(len(self.calls), path, layer, "whole", (), (value,)))
        return value

    def _enter(self, node: Any, inner: Any, frame: _Frame) -> _Frame:
        path = self._path(frame.prefix, str(node.operation.name))
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
        results = tuple(frame.values[id(tensor)] for tensor in frame.graph.outputs)
        self.scopes[frame.prefix] = results
        for tensor, value in zip(frame.waiting.outputs, results, strict=True):
            outer.values[id(tensor)] = value

    def _record(self, node: Any, frame: _Frame) -> None:
        layer = node.operation
        inputs: list[Value] = []

        def slot(leaf: Any) -> Any:
            if not isinstance(leaf, keras.KerasTensor):
                return leaf
            value = frame.values[id(leaf)]
            inputs.append(value)
            return Slot(value.index)

        arguments = keras.tree.map_structure(slot, (node.arguments.args, node.arguments.kwargs))
        outputs = tuple(
            self._value(shape, tensor.dtype)
            for tensor, shape in zip(node.outputs, self._shapes(node, arguments), strict=True)
        )
        for tensor, value in zip(node.outputs, outputs, strict=True):
            frame.values[id(tensor)] = value
        path = self._path(frame.prefix, str(layer.name))
        activation = _fused_activation(layer)
        call = Call(
            len(self.calls), path, layer, "whole", tuple(inputs), outputs, arguments,
            frozen=frame.frozen or not getattr(layer, "trainable", True),
        )  # fmt: skip
        if activation is None:
            self._append(replace(call, opaque=opaque_part(layer)))
            return
        (after,) = outputs
        before = self._value(after.shape, after.dtype)
        self._append(replace(call, part="linear", outputs=(before,)))
        path = self._path(path, activation)
        part = opaque_activation(innermost(layer).activation)
        self._append(
            Call(
                len(self.calls), path, layer, "activation", (before,), (after,),
                frozen=call.frozen, opaque=part,
            )
        )  # fmt: skip

    def _append(self, call: Call) -> None:
        self.calls.append(call)
        origins = [self.opaque_origin.get(value.index) for value in call.inputs]
        origin = next(filter(None, origins), call if call.opaque is not None else None)
        if origin is not None:
            self.opaque_origin.update((value.index, origin) for value in call.outputs)

    def _value(self, shape: Shape, dtype: Any) -> Value:
        value = Value(len(self.values), shape, str(keras.backend.standardize_dtype(dtype)))
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
        slots = [leaf for leaf in keras.tree.flatten(arguments) if isinstance(leaf, Slot)]
        arrived = [self.values[slot.value].shape for slot in slots]
        expected = [tuple(tensor.shape) for tensor in node.input_tensors]
        if arrived == expected and all(None not in shape[1:] for shape in recorded):
            return recorded

        def symbol(leaf: Any) -> Any:
            if not isinstance(leaf, Slot):
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
            if is_open and opaque_part(layer) is None:
                # Some layers, such as EinsumDense, leave open what their computation knows.
                spec = backend.compute_output_spec(layer.call, *args, **kwargs)
            shapes = [tuple(tensor.shape) for tensor in keras.tree.flatten(spec)]
        except Exception as error:  # any layer's code may run here, and raise anything
            raise GraphError(self._does_not_accept(layer, slots, error)) from error
        return [self._known(shape) for shape in shapes]

    def _does_not_accept(self, layer: Any, slots: Sequence[Slot], error: Exception) -> str:
        arrived = [self.values[slot.value].shape for slot in slots]
        origins = [self.opaque_origin.get(slot.value) for slot in slots]
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


def _only_inputs(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name == "inputs"}


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def _no_graph(model: Any) -> str:
    kind = type(model).__name__
    name = getattr(model, "name", None)
    if not isinstance(model, keras.Model):
        return f"A Keras model is needed. Received: {model!r} of type {kind}."
    if isinstance(model, keras.Sequential):
        return (
            f"Sequential model {name!r} is not built, so its layers have no shapes. Start it with "
            "keras.Input(shape) or call it once on data."
        )
    return (
        f"Model {name!r} ({kind}) is a subclass of keras.Model without a graph of its layers. "
        "Write it with the functional API, keras.Model(inputs, outputs), or as keras.Sequential."
    )
