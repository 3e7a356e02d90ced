"""What a Keras model is to be read as: its graph, its inputs, its fused activations."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import layers

from autoinit.errors import keras2_advice
from autoinit.graph.keras_internals import (
    Functional,
    get_keras_mask,
    graph_of_sequential,
    node_of,
    to_snake_case,
)
from autoinit.graph.model_graph import innermost, stock_class
from autoinit.graph.paths import shortened

# Sizes of the batch that layers are traced with.
_PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101)
# Layers whose `call` ends with `activation(...)` on the result of their weights.
FUSING = (
    layers.Dense, layers.EinsumDense, layers.Conv1D, layers.Conv2D, layers.Conv3D,
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose,
    layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D,
)  # fmt: skip


def inner_graph(layer: Any) -> Any | None:
    """The functional graph of a nested model, or None for a layer that is one call."""
    if isinstance(layer, keras.Sequential):
        return graph_of_sequential(layer) if stock_class(layer, (keras.Sequential,)) else None
    if isinstance(layer, Functional) and stock_class(layer, (Functional,)):
        return layer
    return None


def recursion_depth(model: Any) -> int:
    """How many calls deep Keras recurses when it builds or loads a model.

    Keras walks back from the outputs, first inputs first; Python's default limit is 1,000 frames,
    some dozens of which are taken by the loader itself.
    """
    deepest = 0
    top = inner_graph(model)
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
                node = node_of(tensor)
                deepest = max(deepest, len(branches))
                if id(node) in seen:
                    continue
                seen.add(id(node))
                inner = inner_graph(node.operation)
                if inner is not None:
                    graphs.append(inner)
                branches.append(iter(node.input_tensors))
    return deepest


def fused_activation(layer: Any) -> str | None:
    """Name of the activation that a layer applies to what its weights give; None if it does not."""
    inner = innermost(layer)
    if stock_class(inner, FUSING) is None or inner.activation is keras.activations.linear:
        return None
    activation = inner.activation
    name = getattr(activation, "__name__", None) or getattr(activation, "name", "activation")
    return shortened(str(name))


@keras.saving.register_keras_serializable(package="autoinit")
class Mask(keras.Operation):
    """The mask that came with a tensor: True where an entry counts."""

    def call(self, tensor: Any) -> Any:
        """The mask, (samples, steps); all true where there is none."""
        mask = get_keras_mask(tensor)
        return keras.ops.ones(tensor.shape[:2], "bool") if mask is None else mask

    def compute_output_spec(self, tensor: Any) -> Any:
        """Its shape."""
        return keras.KerasTensor(tensor.shape[:2], "bool")


def unlikely_batch(model: Any, unknown_size: int) -> int:
    """A size for the batch axis that no other axis is likely to have."""
    shapes = [variable.shape for variable in getattr(model, "variables", ())]
    shapes += [tensor.shape for tensor in getattr(model, "inputs", None) or ()]
    sizes = {unknown_size, *(size for shape in shapes for size in shape if size)}
    free = (p for p in _PRIMES if not any(size % p == 0 for size in sizes))
    return next(free, _PRIMES[-1])


def input_shapes(model: Any, recorded: Any) -> dict[str, Any]:
    """The structures of shapes that a model of a class of its own takes, by arguments of `call`.

    Where its `build` takes one shape, Keras keeps that of the first argument alone: those of
    others, which have to be given, are taken to be the same.

    Args:
        model: of either Keras.
        recorded: shapes by the arguments of `build`; None where there are none.
    """
    parameters = inspect.signature(model.call).parameters
    if not recorded or not parameters:
        return {}
    named = {name.removesuffix("_shape"): shape for name, shape in recorded.items()}
    if len(named) > 1 and named.keys() <= parameters.keys():
        return named
    first, *others = parameters
    shape = next(iter(named.values())) if len(named) == 1 else named
    alike = (name for name in others if _is_tensor(parameters[name]))
    return {first: shape, **dict.fromkeys(alike, shape)}


def _is_tensor(parameter: inspect.Parameter) -> bool:
    """Whether an argument of `call` is certain to be a tensor."""
    by_name = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    optional = parameter.default is not parameter.empty
    return by_name and not optional and parameter.name not in ("training", "mask")


def symbolic_inputs(
    shapes: Mapping[str, Any], dtype: str, symbol: Callable[..., Any] = keras.KerasTensor
) -> dict[str, Any]:
    """Tensors of some shapes, by the arguments of `call`.

    Args:
        shapes: by these arguments, each a shape or a structure of shapes.
        dtype: of all of them.
        symbol: what makes a tensor of a shape, a type and a name.
    """

    def tensors(argument: str, structure: Any) -> Any:
        names = iter(names_of_inputs(argument, structure))

        def tensor(shape: Any) -> Any:
            return symbol(shape, dtype=dtype, name=next(names))

        return keras.tree.map_shape_structure(tensor, structure)

    return {argument: tensors(argument, structure) for argument, structure in shapes.items()}


def input_dtypes(model: Any) -> tuple[str, ...]:
    """The types that a model's data may be of, as nothing says which are indices or words."""
    return (model.compute_dtype, "int32", "string")


def names_of_inputs(argument: str, structure: Any) -> list[str]:
    """Keys of a dictionary of inputs, or the name of the argument that they are given as."""
    if isinstance(structure, dict):
        return sorted(map(str, structure))  # the order in which Keras flattens it
    count = 1 if is_shape(structure) else len(structure)
    return [argument] if count == 1 else [f"{argument}_{i}" for i in range(count)]


def own_name(operation: Any) -> str:
    """The name of an operation without the number of operations in this process before it."""
    name = to_snake_case(type(operation).__name__)
    return name if re.fullmatch(rf"{name}(_\d+)?", str(operation.name)) else str(operation.name)


def is_shape(structure: Any) -> bool:
    """Whether a structure of shapes is a single one."""
    return isinstance(structure, (tuple, list)) and all(
        size is None or isinstance(size, int) for size in structure
    )


def no_graph_message(model: Any) -> str:
    """Why something has no graph to read, and what to do."""
    kind = type(model).__name__
    name = getattr(model, "name", None)
    if not isinstance(model, keras.Model):
        advice = (
            " Open a file with keras.models.load_model(path)." if isinstance(model, str) else ""
        )
        said = f"A Keras model is needed. Received: {model!r} of type {kind}.{advice}"
        return keras2_advice(model) or said
    if isinstance(model, keras.Sequential):
        return (
            f"Sequential model {name!r} is not built, so its layers have no shapes. Start it with "
            "keras.Input(shape) or call it once on data."
        )
    if not model.built:
        return (
            f"Model {name!r} ({kind}) has no weights and shapes yet. Call it once on data, "
            "model(x[:2]), before it is given or saved."
        )
    return (
        f"Model {name!r} ({kind}) is a subclass of keras.Model without a graph of its layers. "
        f"Write it with the functional API, keras.Model(inputs, outputs), or as keras.Sequential."
    )
