"""The same model with another activation, a normalization after each kernel, or offsets.

What is put in is Keras's own, so that the variant opens anywhere; weights are kept where they fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
from keras import layers

from autoinit.errors import GraphError, SettingsError
from autoinit.graph.keras_internals import to_snake_case
from autoinit.graph.keras_models import FUSING, inner_graph
from autoinit.graph.model_graph import (
    Call,
    ModelGraph,
    innermost,
    own_activation,
    stock_class,
    weights_of,
)
from autoinit.initializers.cloning import clone_with_weights, remade
from autoinit.quadrature.gaussian import moments
from autoinit.reading import read_model
from autoinit.rules.functions import is_elementwise, on_points

# What `with_activation` takes, and takes the place of, as `keras.activations` calls it.
ACTIVATIONS = (
    "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "softsign", "softplus",
    "sigmoid",
)  # fmt: skip
NORMALIZATIONS = ("batch", "layer")
OFFSETS = ("gaussian_mean",)
_REPLACED = {
    *ACTIVATIONS, "relu6", "celu", "hard_silu", "hard_sigmoid", "hard_tanh", "squareplus",
    "re_lu", "leaky_re_lu", "p_re_lu",
}  # fmt: skip
_ACTIVATION_LAYERS = (
    layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.PReLU,
)  # fmt: skip
_NORMALIZATION_LAYERS = (
    layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization,
    layers.RMSNormalization, layers.UnitNormalization,
)  # fmt: skip
# What a gate may go through on its way to what it weighs.
_MOVING = (layers.Reshape, layers.Permute, layers.RepeatVector, layers.Flatten)
_Place = tuple[Any, str]


def with_activation(model: Any, name: str) -> Any:
    """A copy of a model with another activation in its hidden layers.

    Outputs keep theirs, as the loss goes with it, and so do gates (what weighs another signal),
    softmax, recurrent layers and attention.

    Args:
        model: functional or sequential, left as it is.
        name: one of `ACTIVATIONS`.

    Raises:
        ValueError: for another name.
        GraphError: where there is no such activation, or no graph to clone.

    Example:
        >>> import keras
        >>> from autoinit import variants
        >>> dense = keras.layers.Dense
        >>> model = keras.Sequential([keras.Input((8,)), dense(8, "relu"), dense(2, "softmax")])
        >>> [layer.activation.__name__ for layer in variants.with_activation(model, "tanh").layers]
        ['tanh', 'softmax']
    """
    if name not in ACTIVATIONS:
        raise SettingsError(
            f"The activation must be one of {', '.join(ACTIVATIONS)}; received {name!r}."
        )
    changed = {id(layer) for layer, _ in _hidden_activations(_graph(model), model)}
    if not changed:
        raise GraphError(
            f"Model {model.name!r} has no hidden activation that could be another: those of "
            "outputs, gates, recurrent layers, attention and of layers inside custom ones stay."
        )

    def replaced(layer: Any) -> Any:
        if id(layer) not in changed:
            return None
        if stock_class(innermost(layer), FUSING):
            return _with_own_activation(layer, name)
        policy = {"dtype": layer.dtype_policy} if isinstance(layer, layers.Layer) else {}
        return layers.Activation(name, name=layer.name, **policy)

    return clone_with_weights(model, replaced=replaced)


def with_normalization(model: Any, kind: str = "batch") -> Any:
    """A copy of a model with a normalization between each kernel and its activation.

    Kernels that a normalization follows already stay as they are, and so does the last one on the
    way to an output. `dense` is followed by `dense_normalization` and `dense_activation`.

    Args:
        model: functional or sequential, left as it is.
        kind: `batch` or `layer`.

    Raises:
        ValueError: for another kind.
        GraphError: where there is no such kernel, or no graph to clone.

    Example:
        >>> import keras
        >>> from autoinit import variants
        >>> dense = keras.layers.Dense
        >>> model = keras.Sequential([keras.Input((8,)), dense(8, "relu", name="a"), dense(2)])
        >>> [layer.name for layer in variants.with_normalization(model, "layer").layers][:3]
        ['a', 'a_normalization', 'a_activation']
    """
    if kind not in NORMALIZATIONS:
        raise SettingsError(
            f"The normalization must be one of {', '.join(NORMALIZATIONS)}; received {kind!r}."
        )
    found = {id(layer) for layer, _ in _bare_kernels(_graph(model), model)}
    if not found:
        raise GraphError(
            f"Model {model.name!r} has no kernel that a normalization could follow: each is the "
            "last one, is followed by one already, or lies in a recurrent, attention or custom "
            "layer."
        )

    def replaced(layer: Any) -> Any:
        return _with_own_activation(layer, "linear") if id(layer) in found else None

    def followed_by(layer: Any) -> Sequence[Any]:
        if id(layer) not in found:
            return ()
        inner, named = innermost(layer), {"name": f"{layer.name}_normalization"}
        axis = 1 if getattr(inner, "data_format", "") == "channels_first" else -1
        normalization: Any = layers.LayerNormalization
        if kind == "batch":
            normalization = layers.BatchNormalization
        added = [normalization(axis=axis, dtype=layer.dtype_policy, **named)]
        if inner.activation is not keras.activations.linear:
            name = f"{layer.name}_activation"
            added.append(layers.Activation(inner.activation, dtype=layer.dtype_policy, name=name))
        return added

    return clone_with_weights(model, replaced=replaced, followed_by=followed_by)


def with_offset(model: Any, kind: str = "gaussian_mean") -> Any:
    """A copy of a model whose hidden activations have mean 0: f(x) − E f(z) for z ~ N(0, 1).

    What AutoInit++ adds to AutoInit (Bingham & Miikkulainen 2021, section 7): an activation's mean
    is what inputs have in common, and it grows from layer to layer. The offset is a `Rescaling` of
    its own behind each activation that `with_activation` would replace, and each function of one's
    own that has a mean and a variance: `relu` gets −1/√(2π).
    Networks with normalized pre-activations keep that mean at 0 while they train, others at first.

    Args:
        model: functional or sequential, left as it is.
        kind: `gaussian_mean`, the only one.

    Raises:
        ValueError: for another kind.
        GraphError: where there is no such activation, or no graph to clone.

    Example:
        >>> import keras
        >>> from autoinit import variants
        >>> dense = keras.layers.Dense
        >>> model = keras.Sequential([keras.Input((8,)), dense(8, "relu", name="a"), dense(2)])
        >>> offset = variants.with_offset(model).layers[1]
        >>> offset.name, round(offset.offset, 4)
        ('a_offset', -0.3989)
    """
    if kind not in OFFSETS:
        raise SettingsError(f"The offset must be one of {', '.join(OFFSETS)}; received {kind!r}.")
    graph = _graph(model)
    places = {id(layer) for layer, _ in _hidden_activations(graph, model, _is_own)}
    found = {
        id(call.layer): moments(on_points(partial(_activated, call)), 0.0, 1.0)
        for call in graph.calls
        if id(call.layer) in places and _name(call)
    }
    means = {place: each.mean for place, each in found.items() if each.converged}
    if not means:
        raise GraphError(
            f"Model {model.name!r} has no hidden activation that an offset could follow."
        )

    def followed_by(layer: Any) -> Sequence[Any]:
        if id(layer) not in means:
            return ()
        named = {"name": f"{layer.name}_offset", "dtype": getattr(layer, "dtype_policy", None)}
        return [layers.Rescaling(1.0, offset=-means[id(layer)], **named)]

    return clone_with_weights(model, followed_by=followed_by)


def _activated(call: Call, points: Any) -> Any:
    """What an activation gives for points, as one sample of so many entries."""
    layer = innermost(call.layer)
    if call.part == "activation" or isinstance(layer, layers.Activation):
        return layer.activation(points)
    return layer(points)


def hidden_activations(model: Any) -> list[str]:
    """Paths of the activations that `with_activation` replaces."""
    return [path for _, path in _hidden_activations(_graph(model), model)]


def bare_kernels(model: Any) -> list[str]:
    """Paths of the kernels that `with_normalization` puts a normalization behind."""
    return [path for _, path in _bare_kernels(_graph(model), model)]


def _graph(model: Any) -> ModelGraph:
    if inner_graph(model) is None:
        raise GraphError(
            f"Model {model.name!r} ({type(model).__name__}) runs code of its own: only functional "
            "and sequential models can be made again with other layers."
        )
    return read_model(model)


def _with_own_activation(layer: Any, name: str) -> Any:
    config = layer.get_config()
    inner = config
    while "layer" in inner:  # what is distributed over time
        inner = inner["layer"]["config"]
    inner["activation"] = name
    return remade(layer, config)


def _is_own(call: Call) -> bool:
    """Whether it is a function of somebody's own, of each entry by itself."""
    function = own_activation(innermost(call.layer))
    return bool(function and _name(call) and is_elementwise(function))


def _hidden_activations(
    graph: ModelGraph, model: Any, wanted: Callable[[Call], bool] = lambda call: False
) -> list[_Place]:
    readers, within = _readers(graph), set(_parts(model))
    behind = _read_by(graph, readers, lambda call: _learns(call) or _name(call) != "")
    kept = {
        id(call.layer)
        for call in graph.calls
        if _name(call) and (call.index not in behind or _is_gate(call, readers))
    }
    return _each_layer(
        call
        for call in graph.calls
        if (_name(call) in _REPLACED or wanted(call)) and id(call.layer) in within - kept
    )


def _bare_kernels(graph: ModelGraph, model: Any) -> list[_Place]:
    readers, within = _readers(graph), set(_parts(model))
    behind = _read_by(graph, readers, _learns)
    kernels = [
        call
        for call in graph.calls
        if stock_class(innermost(call.layer), FUSING) and call.part != "activation"
    ]
    kept = {
        id(call.layer)
        for call in kernels
        if call.index not in behind or _is_normalized(call, readers) or _is_gate(call, readers)
    }
    return _each_layer(call for call in kernels if id(call.layer) in within - kept)


def _parts(model: Any) -> Iterator[int]:
    """Identities of what is made again by itself: all but what lies inside of other layers."""
    graph = inner_graph(model)
    for part in () if graph is None else graph.operations:
        yield id(part)
        yield from _parts(part)


def _each_layer(calls: Iterator[Call]) -> list[_Place]:
    return list({id(call.layer): (call.layer, call.path) for call in calls}.values())


def _readers(graph: ModelGraph) -> dict[int, list[Call]]:
    """The calls that read what a call writes, by its index."""
    producers = graph.producers()
    found: dict[int, list[Call]] = {call.index: [] for call in graph.calls}
    for call in graph.calls:
        for index in {producers[value.index].index for value in call.inputs}:
            found[index].append(call)
    return found


def _read_by(
    graph: ModelGraph, readers: dict[int, list[Call]], wanted: Callable[[Call], bool]
) -> set[int]:
    """Indices of the calls behind which there is a call of some kind, however far."""
    found: set[int] = set()
    for call in reversed(graph.calls):
        if any(reader.index in found or wanted(reader) for reader in readers[call.index]):
            found.add(call.index)
    return found


def _learns(call: Call) -> bool:
    """Whether it has a matrix of weights."""
    weights = weights_of(call.layer)
    return call.part != "activation" and any(len(weight.shape) > 1 for weight in weights)


def _name(call: Call) -> str:
    """What `keras.activations` calls the activation that a call is; empty where it is none."""
    layer = innermost(call.layer)
    if call.part == "activation" or type(layer) is layers.Activation:
        return str(getattr(layer.activation, "__name__", "")) or "custom"
    name = to_snake_case(type(layer).__name__)
    if isinstance(layer, layers.Layer) and not stock_class(layer, _ACTIVATION_LAYERS):
        return name if name == "softmax" else ""
    return name if name in _REPLACED or name == "softmax" else ""


def _is_gate(call: Call, readers: dict[int, list[Call]]) -> bool:
    """Whether all that it writes weighs another signal, be it after an activation."""
    return bool(readers[call.index]) and all(
        (type(reader.layer).__name__ == "Multiply" and len(reader.inputs) > 1)  # no constant
        or ((_name(reader) or isinstance(reader.layer, _MOVING)) and _is_gate(reader, readers))
        for reader in readers[call.index]
    )


def _is_normalized(call: Call, readers: dict[int, list[Call]]) -> bool:
    """Whether a normalization reads the kernel's output, or its activation's."""
    following = readers[call.index]
    if len(following) == 1 and _name(following[0]):
        following = readers[following[0].index]
    return bool(following) and all(
        isinstance(reader.layer, _NORMALIZATION_LAYERS) for reader in following
    )
