"""`TFOpLambda` and its kin: TensorFlow functions in a tf_keras graph become Keras 3 operations.

A row of `symbols.ROWS` says how; where there is none, the function itself runs, in a
`TensorFlowFunction`. Functions of nothing but shapes are not translated on their own: they become
numbers where they do not depend on the batch, and else a part of the functions that read them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from autoinit.graph import keras_internals as internals
from autoinit.model_files.keras2 import nodes
from autoinit.model_files.keras2.symbols import ALIASES, ROWS
from autoinit.model_files.keras2.wrappers import TensorFlowFunction, evaluate, function_of

OPERATIONS = (internals.TFOpLambda, internals.TensorFlowOpLayer)

# Drawn anew at each call, so that two models' results cannot be compared.
RANDOM = frozenset(
    {
        "compat.v1.nn.dropout",
        "nn.dropout",
        "random.normal",
        "random.truncated_normal",
        "random.uniform",
    }
)

_SHAPES = frozenset([
    "compat.v1.shape", "compat.v1.size", "node.Rank", "node.Shape", "node.Size", "rank", "shape",
    "size",
])  # fmt: skip
# What is computed from shapes, in shapes.
_OF_SHAPES = frozenset({
    "__operators__.add", "__operators__.getitem", "cast", "compat.v1.expand_dims",
    "compat.v1.floor_div", "compat.v1.squeeze", "compat.v1.to_float", "compat.v1.to_int32",
    "compat.v1.to_int64", "concat", "convert_to_tensor", "expand_dims", "gather", "identity",
    "math.add", "math.ceil", "math.divide", "math.floor", "math.floordiv", "math.floormod",
    "math.maximum", "math.minimum", "math.multiply", "math.negative", "math.pow", "math.reciprocal",
    "math.reduce_prod", "math.round", "math.rsqrt", "math.square", "math.sqrt", "math.subtract",
    "math.truediv", "node.Add", "node.AddV2", "node.Cast", "node.ConcatV2", "node.ExpandDims",
    "node.FloorDiv", "node.GatherV2", "node.Mul", "node.Pack", "node.Pow", "node.Prod",
    "node.RealDiv", "node.Squeeze", "node.StridedSlice", "node.Sub", "reshape", "slice", "split",
    "squeeze", "stack", "strided_slice", "unstack",
})  # fmt: skip

_MOST_PARTS = 500  # of an expression that is carried on


@dataclass(frozen=True)
class ShapeNumbers:
    """Numbers that follow from the shapes of tensors.

    Attributes:
        expression: see `evaluate`; its tensors are `tensors`.
        tensors: Keras tensors.
    """

    expression: dict[str, Any]
    tensors: tuple[Any, ...]

    def constant(self) -> Any:
        """The numbers, or None where they depend on sizes that the tensors leave open."""
        first, second = (self._with_open_sizes(size) for size in (2, 3))
        same = first.shape == second.shape and bool((first == second).all())
        return (first if first.ndim else first.item()) if same else None

    def _with_open_sizes(self, size: int) -> Any:
        shapes = [[size if s is None else s for s in tensor.shape] for tensor in self.tensors]

        def call(symbol: str, args: Any, kwargs: Any) -> Any:
            if symbol not in _SHAPES:
                return function_of(symbol)(*args, **kwargs)
            shape = kwargs["input"]
            if symbol.lower().endswith("shape"):
                return np.asarray(shape)
            return len(shape) if symbol.lower().endswith("rank") else math.prod(shape)

        return np.asarray(evaluate(self.expression, shapes, call))


def function_call(layer: Any, args: Any, kwargs: Any) -> tuple[str, dict[str, Any]]:
    """The function that an operation layer calls, and its arguments by name.

    Args:
        layer: one of `OPERATIONS`.
        args, kwargs: of its recorded call.
    """
    if isinstance(layer, internals.TensorFlowOpLayer):
        operation, arguments = nodes.call_of(layer, tf.nest.flatten(args))
        return f"node.{operation}", arguments
    if isinstance(layer, internals.SlicingOpLambda):
        args, kwargs = _with_slices(args), _with_slices(kwargs)
    bound = inspect.signature(function_of(layer.symbol)).bind(*args, **kwargs).arguments
    extra = bound.pop("kwargs", {})
    return layer.symbol, {n: v for n, v in {**bound, **extra}.items() if n != "name"}


def _with_slices(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"start", "stop", "step"}:
        return slice(*(value[part] for part in ("start", "stop", "step")))
    if isinstance(value, dict):
        return {name: _with_slices(part) for name, part in value.items()}
    return type(value)(map(_with_slices, value)) if isinstance(value, (list, tuple)) else value


def translate_call(
    symbol: str, arguments: Mapping[str, Any], outputs: Sequence[Any], name: str
) -> list[Any]:
    """What a call of a TensorFlow function returns in a Keras 3 graph.

    Args:
        symbol: of the function.
        arguments: by name; tensors are Keras 3 tensors or `ShapeNumbers`.
        outputs: what tf_keras's call returned.
        name: for the operation.

    Returns:
        For each output a Keras 3 tensor, or `ShapeNumbers`.
    """
    tensors: list[Any] = []
    expression = expression_of(symbol, arguments, tensors)
    kinds = {type(leaf) for leaf in _leaves(arguments) if isinstance(leaf, _TENSORS)}
    of_shapes = symbol in _SHAPES or (symbol in _OF_SHAPES and kinds == {ShapeNumbers})
    # What is read several times is written down several times: that must come to an end.
    if of_shapes and _parts(expression) <= _MOST_PARTS:
        if len(outputs) == 1:
            return [ShapeNumbers(expression, tuple(tensors))]
        return [
            ShapeNumbers({**expression, "index": i}, tuple(tensors)) for i in range(len(outputs))
        ]
    results = _by_row(symbol, arguments, outputs, tensors)
    if results is None:
        results = [*keras.tree.flatten(TensorFlowFunction(expression)(*tensors))]
    _rename(results, tensors, name)
    return results


def materialized(sizes: ShapeNumbers, name: str) -> Any:
    """A Keras 3 tensor of what follows from shapes, for layers that take it as data."""
    result = TensorFlowFunction(sizes.expression)(*sizes.tensors)
    _rename([result], sizes.tensors, name)
    return result


_TENSORS = (keras.KerasTensor, ShapeNumbers)


def _by_row(
    symbol: str, arguments: Mapping[str, Any], outputs: Sequence[Any], tensors: Sequence[Any]
) -> list[Any] | None:
    """Results by `keras.ops`, or None where that cannot express the call."""
    given: tuple[str, Mapping[str, Any]] | None = (symbol, arguments)
    if symbol.startswith("node."):
        given = nodes.as_function(symbol.removeprefix("node."), arguments)
    row = ROWS.get(ALIASES.get(given[0], given[0])) if given else None
    if row is None or given is None:
        return None
    shapes = [tuple(tensor.shape) for tensor in outputs]
    known = {part: _mapped(value, _as_number) for part, value in given[1].items()}
    if "output" in inspect.signature(row).parameters:
        known["output"] = shapes[0]
    elif any(isinstance(leaf, ShapeNumbers) for leaf in _leaves(known)):
        return None
    try:
        results = [*keras.tree.flatten(row(**known))]
    except Exception:  # a row, or Keras, refuses as it likes
        return None
    same = len(results) == len(outputs) and all(map(same_kind, results, outputs))
    return results if same else None


def same_kind(result: Any, output: Any, any_integer: bool = False) -> bool:
    """Whether a Keras 3 tensor has the type, and as far as known the sizes, of a tf_keras one.

    Args:
        result: of Keras 3.
        output: of tf_keras.
        any_integer: take one type of integer for another.
    """
    sizes, expected = tuple(result.shape), output.shape
    same = result.dtype == output.dtype.name or (
        any_integer and output.dtype.is_integer and result.dtype.startswith(("int", "uint"))
    )
    return same and (
        expected.rank is None
        or (
            len(sizes) == expected.rank
            and all(a == b for a, b in zip(sizes, expected, strict=True) if None not in (a, b))
        )
    )


def _as_number(value: Any) -> Any:
    constant = value.constant() if isinstance(value, ShapeNumbers) else None
    return value if constant is None else constant


def expression_of(symbol: str, arguments: Mapping[str, Any], tensors: list[Any]) -> dict[str, Any]:
    """A call as data; the Keras tensors that it reads are put into `tensors`."""
    parameters = inspect.signature(function_of(symbol)).parameters.values()
    starred = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    named, args = dict(arguments), []
    if starred is not None:
        before = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        args = [*(named.pop(part) for part in before), *named.pop(starred)]
    return {"$function": symbol, **as_data({"args": args, "kwargs": named}, tensors)}


def as_data(value: Any, tensors: list[Any]) -> Any:
    """Arguments of a call as `evaluate` reads them; their Keras tensors are put into `tensors`."""

    def number(tensor: Any) -> int:
        if not any(tensor is other for other in tensors):
            tensors.append(tensor)
        return next(place for place, other in enumerate(tensors) if other is tensor)

    def data(value: Any) -> Any:
        if isinstance(value, keras.KerasTensor):
            return {"$tensor": number(value)}
        if isinstance(value, ShapeNumbers):
            return _renumbered(value.expression, [number(tensor) for tensor in value.tensors])
        if isinstance(value, dict):
            return {part: data(inner) for part, inner in value.items()}
        if isinstance(value, tuple):
            return {"$tuple": [data(part) for part in value]}
        if isinstance(value, list):
            return [data(part) for part in value]
        if isinstance(value, slice):
            return {"$slice": [data(part) for part in (value.start, value.stop, value.step)]}
        return {"$ellipsis": True} if value is ... else getattr(value, "name", value)

    return data(value)


def _parts(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + sum(map(_parts, value)) if isinstance(value, list) else 1


def _renumbered(value: Any, numbers: Sequence[int]) -> Any:
    if isinstance(value, list):
        return [_renumbered(part, numbers) for part in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return {"$tensor": numbers[value["$tensor"]]}
    return {name: _renumbered(part, numbers) for name, part in value.items()}


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """`function` of every part of a structure of lists, tuples and slices."""
    if isinstance(value, (list, tuple)):
        return type(value)([_mapped(part, function) for part in value])
    if isinstance(value, slice):
        return slice(*(_mapped(part, function) for part in (value.start, value.stop, value.step)))
    return function(value)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in _leaves(part)]
    if isinstance(value, slice):
        return [value.start, value.stop, value.step]
    return [value]


def _rename(results: Sequence[Any], tensors: Sequence[Any], name: str) -> None:
    """Give the operations between `tensors` and `results` names that go back to `name`."""
    known = {id(tensor) for tensor in tensors}
    waiting = [*results]
    made: dict[int, Any] = {}
    while waiting:
        tensor = waiting.pop()
        if id(tensor) not in known:
            known.add(id(tensor))
            operation = internals.maker_of(tensor)
            made[id(operation)] = operation
            waiting += internals.first_node(operation).input_tensors
    for operation in made.values():
        operation.name = f"{name}_{type(operation).__name__.lower()}"
    internals.maker_of(results[0]).name = name
