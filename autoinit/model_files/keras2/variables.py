"""Which variable of a Keras 3 layer takes the values of which variable of a tf_keras layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from autoinit.graph.keras_internals import (
    draw_value,
    give_value,
    value_of,
    variables_without_values,
)
from autoinit.model_files.keras2.functions import NoEqualError
from autoinit.model_files.keras2.keras3_layers import inner_layers
from autoinit.model_files.keras2.own_layers import WeightNormalization
from autoinit.model_files.keras2.wrappers import Keras2Layer

Pair = tuple[Any, Any]  # one of tf_keras, and its equal of Keras 3


def layer_pairs(layer: Any, equal: Any) -> list[Pair]:
    """A layer and its equal, and those that they hold, outermost first.

    Raises:
        NoEqualError: they hold different numbers of layers.
    """
    pairs, waiting = [], [(layer, equal)]
    while waiting:
        outer = waiting.pop()
        if isinstance(outer[0], WeightNormalization):  # whose equal is that of what it wraps
            outer = (outer[0].layer, outer[1])
        pairs.append(outer)
        if isinstance(outer[1], Keras2Layer):
            continue
        parts = [inner_layers(side) for side in outer]
        if len(parts[0]) != len(parts[1]):
            raise NoEqualError(type(layer).__name__)
        waiting += reversed([*zip(*parts, strict=True)])
    return pairs


def variable_pairs(pairs: Sequence[Pair]) -> list[Pair]:
    """The variables of paired layers.

    Raises:
        NoEqualError: their numbers or shapes differ.
    """
    result: list[Pair] = []
    for layer, equal in pairs:
        if isinstance(equal, Keras2Layer):
            result += zip(layer.weights, equal.weights, strict=True)
            continue
        old, new = (_own_weights(side) for side in (layer, equal))
        if not new:  # a vocabulary, say, which is an argument of the Keras 3 layer
            continue
        shapes = [[tuple(weight.shape) for weight in weights] for weights in (old, new)]
        if shapes[0] != shapes[1]:
            raise NoEqualError(f"variables of {shapes[0]} and {shapes[1]}")
        result += zip(old, new, strict=True)
    return result


def _own_weights(layer: Any) -> list[Any]:
    """Variables of a layer, less those of the layers that it wraps; no seeds."""
    held = {id(weight) for inner in inner_layers(layer) for weight in inner.weights}
    return [weight for weight in layer.weights if id(weight) not in held]


@contextmanager
def without_draws(pairs: Sequence[Pair], draw: bool) -> Iterator[None]:
    """Variables made in the block get their values at its end: copies, or by their initialisers.

    Args:
        pairs: of variables; filled in the block.
        draw: draw those in `pairs` as well, rather than copy.
    """
    with keras.StatelessScope(initialize_variables=False):
        try:
            yield
        except BaseException:
            variables_without_values()
            raise
    made = variables_without_values()
    if not draw:
        for old, new in pairs:
            if value_of(new) is None:
                give_value(new, old.value())
            elif value_of(new) is not old:
                new.assign(old.value())
    for variable in made:
        if value_of(variable) is None:
            draw_value(variable)
