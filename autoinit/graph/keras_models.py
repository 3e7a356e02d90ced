"""What a Keras model is to be read as: its graph, its inputs, its fused activations."""

from __future__ import annotations

import re
from typing import Any

import keras
from keras import layers

from autoinit.errors import keras2_advice
from autoinit.graph.keras_internals import (
    Functional,
    call_parameters,
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


def names_of_inputs(model: Any, structure: Any) -> list[str]:
    """Keys of a dictionary of inputs, or the name of the first parameter of `call`."""
    if isinstance(structure, dict):
        return sorted(map(str, structure))  # the order in which Keras flattens it
    name = next(iter(call_parameters(model)), "input")
    shapes = [structure] if is_shape(structure) else structure
    return [name] if len(shapes) == 1 else [f"{name}_{i}" for i in range(len(shapes))]


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
