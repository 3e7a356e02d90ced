"""The graph as it grows: values, calls and their paths, each made once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from autoinit.errors import GraphError
from autoinit.graph.keras_internals import assert_input_compatibility, compute_output_spec, maker_of
from autoinit.graph.keras_models import Mask
from autoinit.graph.model_graph import Call, ModelGraph, Parameter, Shape, TensorRef, Value
from autoinit.graph.paths import joined, shortened
from autoinit.graph.placeholders import placeholder_in


class GraphBuilder:
    """Takes calls in topological order.

    Args:
        unknown_size: size taken for axes that a model leaves open.
    """

    def __init__(self, unknown_size: int) -> None:
        self.unknown_size = unknown_size
        self.calls: list[Call] = []
        self.values: list[Value] = []
        self.scopes: dict[str, tuple[Value, ...]] = {}
        self.assumed: dict[str, Shape] = {}
        self.traced: list[Any] = []
        self._uses: dict[str, int] = {}
        self._paths: set[str] = set()
        self._parameters: dict[tuple[int, str], Value] = {}  # by variable and dtype
        self._origins: dict[int, Call] = {}  # of values behind a placeholder, the first such call

    def graph(self, name: str, outputs: Sequence[Value], batch: int) -> ModelGraph:
        """What has been built."""
        traced = tuple({id(layer): layer for layer in self.traced}.values())
        return ModelGraph(
            name,
            tuple(self.calls),
            tuple(self.values),
            tuple(outputs),
            self.scopes,
            self.assumed,
            traced,
            batch,
        )

    def append(self, call: Call) -> None:
        """Take a call, whose inputs and outputs are values of this graph."""
        self.calls.append(call)
        origins = [self._origins.get(value.index) for value in call.inputs]
        origin = next(filter(None, origins), call if call.placeholder is not None else None)
        if origin is not None:
            self._origins.update((value.index, origin) for value in call.outputs)

    def value(
        self,
        shape: Shape,
        dtype: Any,
        *,
        constant: bool = False,
        rows: int = 1,
        parameter: Parameter | None = None,
    ) -> Value:
        """A new tensor between calls."""
        dtype = str(keras.backend.standardize_dtype(dtype))
        value = Value(len(self.values), shape, dtype, constant, rows, parameter)
        self.values.append(value)
        return value

    def path(self, prefix: str, name: str) -> str:
        """The path of a name below another, told apart from those that there are."""
        path = joined(prefix, name)
        unique = ""
        while not unique or unique in self._paths:
            self._uses[path] = self._uses.get(path, 0) + 1
            unique = path if self._uses[path] == 1 else f"{path}:{self._uses[path]}"
        self._paths.add(unique)
        return unique

    def _known(self, shape: Shape) -> Shape:
        return shape[:1] + tuple(self.unknown_size if size is None else size for size in shape[1:])

    def parameter(self, parameter: Parameter, prefix: str, frozen: bool) -> Value:
        """The tensor of a variable that code reads, with its call at its first use."""
        key = id(parameter.variable), str(parameter.dtype)
        if key not in self._parameters:
            shape = tuple(parameter.variable.shape)
            value = self.value(shape, parameter.dtype, constant=True, parameter=parameter)
            path = self.path(prefix, parameter.name)
            call = Call(
                len(self.calls),
                path,
                parameter,
                "whole",
                (),
                (value,),
                frozen=frozen or not parameter.trainable,
            )
            self.append(call)
            self._parameters[key] = value
        return self._parameters[key]

    def input(self, tensor: Any) -> Value:
        """The tensor of an input layer, with its call."""
        layer = maker_of(tensor)
        shape = self._known(tuple(tensor.shape))
        path = self.path("", str(layer.name))
        if shape[1:] != tuple(tensor.shape)[1:]:
            self.assumed[path] = shape
        value = self.value(shape, tensor.dtype)
        self.append(Call(len(self.calls), path, layer, "whole", (), (value,)))
        return value

    def mask(self, masked: Value, prefix: str) -> Value:
        """The mask of a tensor as a tensor of its own, with its call."""
        mask = self.value((None, *masked.shape[1:2]), "bool")
        path = self.path(prefix, "mask")
        arguments: Any = (TensorRef(masked.index),), {}
        call = Call(len(self.calls), path, Mask(), "whole", (masked,), (mask,), arguments)
        self.append(call)
        return mask

    def shapes(self, node: Any, arguments: Any) -> list[Shape]:
        """Output shapes for the sizes that really flow here; inferred anew where they differ."""
        recorded = [tuple(tensor.shape) for tensor in node.outputs]
        refs = [leaf for leaf in keras.tree.flatten(arguments) if isinstance(leaf, TensorRef)]
        arrived = [self.values[ref.value].shape for ref in refs]
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
            if (is_open or len(refs) > 1) and placeholder_in(layer) is None:
                # Some layers, such as EinsumDense, leave open what their computation knows, and
                # Concatenate looks at the shapes of its inputs only when it is built.
                computed = keras.tree.flatten(compute_output_spec(layer.call, *args, **kwargs))
                # One that returns None for an output which it declares.
                if None not in computed:
                    spec = computed
            shapes = [tuple(tensor.shape) for tensor in keras.tree.flatten(spec)]
        except Exception as error:  # any layer's code may run here, and raise anything
            raise GraphError(self._does_not_accept(layer, refs, error)) from error
        return [self._known(shape) for shape in shapes]

    def _does_not_accept(self, layer: Any, refs: Sequence[TensorRef], error: Exception) -> str:
        arrived = [self.values[ref.value].shape for ref in refs]
        origins = [self._origins.get(ref.value) for ref in refs]
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


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
