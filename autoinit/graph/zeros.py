"""Kernels that start at zero, and which of them do so on purpose.

The last of a residual branch (Fixup, SkipInit, a ControlNet's), the second factor of a low-rank
adapter, the modulation of a block (adaLN-Zero), the head: what a zero kernel gives is added to
something else or leaves the network, so that a gradient comes back at once. One behind another zero
kernel, or before a ReLU, keeps its zeros for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from autoinit.graph.model_graph import Call, ModelGraph, Parameter, innermost, weights_of

_SUMS = frozenset(["Add", "Subtract", "Average", "WeightedSum"])
_PRODUCTS = frozenset(["Matmul", "Einsum", "Tensordot", "Dot"])
# Activations that are not 0 at 0.
_NOT_ZERO = frozenset(["sigmoid", "softmax", "hard_sigmoid", "exponential", "softplus"])


def zero_calls(graph: ModelGraph, load: Callable[[Any], Any]) -> dict[int, list[Any]]:
    """By the index of a call with kernels that are zero, or start so, these kernels."""
    found = {call.index: list(_kernels(call)) for call in graph.calls}
    return {
        index: kernels
        for index, kernels in found.items()
        if kernels and any(_is_zero(graph.calls[index], kernel, load) for kernel in kernels)
    }


def zeros_on_purpose(graph: ModelGraph, load: Callable[[Any], Any]) -> frozenset[int]:
    """Identities of the kernels that start at zero and that a gradient reaches at once.

    Args:
        graph: of the model.
        load: gives the values of a variable.
    """
    zero = zero_calls(graph, load)
    if not zero:
        return frozenset()
    nothing = _zero_values(graph, zero)
    # Values that are zero, and of which a change would change what leaves the network.
    heard = {value.index for value in graph.outputs}
    for call in reversed(graph.calls):
        passes = _passes(call) and any(value.index in heard for value in call.outputs)
        heard.update(v.index for v in call.inputs if passes or _is_joined(call, v.index, nothing))
    return frozenset(
        id(kernel)
        for index, kernels in zero.items()
        if not any(v.index in nothing for v in graph.calls[index].inputs)
        and graph.calls[index].outputs[0].index in heard
        for kernel in kernels
        if kernel.trainable and _is_zero(graph.calls[index], kernel, load)
    )


def start_branches_at_zero(graph: ModelGraph) -> frozenset[int]:
    """Make what each residual branch adds zero: its last kernel, or the scale behind it.

    A branch is the operand of an addition that more kernels lie behind than behind the others. It
    stays as it is where an activation follows its last kernel, through which no gradient might come
    back, or where another branch has used the same kernel.

    Returns:
        Identities of the variables that are zero now; their initialisers are recorded.
    """
    producers = {value.index: call for call in graph.calls for value in call.outputs}
    depths: dict[int, int] = {}
    for call in graph.calls:
        before = max((depths[value.index] for value in call.inputs), default=0)
        depths.update((v.index, before + bool(list(_kernels(call)))) for v in call.outputs)
    zeroed = set[int]()
    for call in graph.calls:
        if call.class_name not in _SUMS or len(call.inputs) < 2:
            continue
        first, second = sorted(call.inputs, key=lambda v: depths[v.index], reverse=True)[:2]
        found = _last_factor(first.index, producers)
        if found is None or depths[first.index] == depths[second.index]:
            continue
        layer, name, variable = found
        variable.assign(np.zeros(variable.shape))
        setattr(layer, f"{name}_initializer", keras.initializers.Zeros())
        zeroed.add(id(variable))
    return frozenset(zeroed)


def _last_factor(index: int, producers: Mapping[int, Call]) -> tuple[Any, str, Any] | None:
    """What a value was multiplied by last: a layer, the name of its variable, and that.

    None where something nonlinear, or another sum, lies behind it.
    """
    while True:
        call = producers[index]
        layer = innermost(call.layer)
        if call.part == "activation":
            return None
        gamma = getattr(layer, "gamma", None)
        if gamma is not None and hasattr(layer, "gamma_initializer"):
            return layer, "gamma", gamma
        kernels = list(_kernels(call))
        if kernels:
            name = kernels[-1].name.removesuffix("_kernel")
            known = hasattr(layer, f"{name}_initializer")
            return (layer, name, kernels[-1]) if known else None
        passes = isinstance(layer, (layers.Dropout, layers.Reshape, layers.SpatialDropout2D))
        if not passes or len(call.inputs) != 1:
            return None
        index = call.inputs[0].index


def _kernels(call: Call) -> Iterator[Any]:
    """The variables that a call multiplies its input by."""
    if call.part != "activation" and not isinstance(call.layer, Parameter):
        for variable in weights_of(call.layer):
            if variable.name.endswith(("kernel", "embeddings")):
                yield variable
    if call.class_name in _PRODUCTS:
        for value in call.inputs:
            if value.parameter is not None and len(value.parameter.variable.shape) > 1:
                yield value.parameter.variable


def _is_zero(call: Call, kernel: Any, load: Callable[[Any], Any]) -> bool:
    layer = innermost(call.layer)
    name = kernel.name.removesuffix("_kernel")
    start = getattr(layer, f"{name}_initializer", getattr(layer, "depthwise_initializer", None))
    return isinstance(start, keras.initializers.Zeros) or not np.any(load(kernel))


def _zero_values(graph: ModelGraph, zero: dict[int, list[Any]]) -> set[int]:
    """Indices of the values that are zero whatever the input; biases count as zero."""
    nothing: set[int] = set()
    for call in graph.calls:
        inputs = [value.index in nothing for value in call.inputs if not value.constant]
        if call.index in zero or (inputs and all(inputs) and _activation(call) not in _NOT_ZERO):
            nothing.update(value.index for value in call.outputs)
    return nothing


def _is_joined(call: Call, index: int, nothing: set[int]) -> bool:
    others = [value for value in call.inputs if value.index != index and not value.constant]
    return call.class_name in _SUMS and any(value.index not in nothing for value in others)


def _passes(call: Call) -> bool:
    """Whether a gradient comes back through a call at 0, and no kernel stands there."""
    return not list(_kernels(call)) and _activation(call) not in ("relu", "relu6")


def _activation(call: Call) -> str:
    layer = innermost(call.layer)
    if isinstance(layer, layers.ReLU):
        return "" if layer.negative_slope else "relu"
    if call.part == "activation" or isinstance(layer, layers.Activation):
        return str(getattr(call.activation, "__name__", ""))
    return call.class_name.lower()
