"""Additions that keep the variance: `WeightedSum` in place of `Add`."""

from __future__ import annotations

from typing import Any

import keras

from autoinit.initializers.cloning import clone_with_weights
from autoinit.weighted_sum import WeightedSum


def wrap_addition(model: Any) -> Any:
    """A copy of a model with a `WeightedSum` in place of each `Add` layer.

    It computes what the model does until `AutoInit` sets the coefficients; weights are copied.

    Args:
        model: a functional or sequential model, which is left as it is.

    Raises:
        GraphError: for a model without a graph of layers.

    Example:
        >>> import keras
        >>> from autoinit import wrap_addition
        >>> x = keras.Input((8,))
        >>> model = keras.Model(x, keras.layers.Add(name="sum")([x, keras.layers.Dense(8)(x)]))
        >>> type(wrap_addition(model).get_layer("sum")).__name__
        'WeightedSum'
    """

    def weighted(layer: Any) -> Any:
        if type(layer) is not keras.layers.Add:
            return None
        return WeightedSum(name=layer.name, dtype=layer.dtype_policy)

    return clone_with_weights(model, replaced=weighted)
