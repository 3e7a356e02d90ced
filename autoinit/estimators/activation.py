"""Activation functions and layers: quadrature of the function itself, whatever it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers

from autoinit.graph import Call
from autoinit.registry import Context, Outcome, Support, rule
from autoinit.sampling import sample_function
from autoinit.signals.signal import Signal

# Stands in for 0 where a function has no value there.
_SMALLEST = 1e-6


@rule(layers.Activation)
def activation(call: Call, inputs: Sequence[Signal], context: Context) -> Outcome:
    """Moments of f(x) by adaptive quadrature (eq. 5 and 6).

    Softmax exactly; other functions of several entries by sampling.
    """
    function = call.activation
    if function is keras.activations.linear:
        return Outcome((inputs[0],), Support.NEUTRAL)
    if function is keras.activations.softmax:
        return _softmax(call, inputs[0], (-1,))
    if is_elementwise(function):
        return mapped(inputs[0], function)
    moments, error = sample_function(function, call.inputs[0].shape, inputs[0], context.seed)
    return Outcome((moments,), Support.SAMPLED, standard_error=error)


@rule(layers.ReLU, layers.LeakyReLU, layers.ELU)
def activation_layer(call: Call, inputs: Sequence[Signal], context: Context) -> Outcome:
    """As Activation, by calling the layer."""
    return mapped(inputs[0], call.layer.call)


@rule(layers.PReLU)
def prelu(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """max(x, 0) + α·min(x, 0), α varying over units.

    The output is linear in α: two values with the mean and the variance of α give its first two
    moments exactly.
    """
    alpha = np.asarray(context.load(call.layer.alpha), np.float64)
    slopes = {alpha.mean() - alpha.std(), alpha.mean() + alpha.std()}
    parts = [inputs[0].map(partial(_leaky, slope))[0] for slope in slopes]
    return type(inputs[0]).mixture(parts, [1.0] * len(parts))


def _leaky(slope: float, x: Any) -> Any:
    return np.where(x > 0, x, slope * x)


@rule(layers.Softmax)
def softmax_layer(call: Call, inputs: Sequence[Signal], context: Context) -> Outcome:
    """Mean 1/n; second moment from 1/S² = ∫₀^∞ t e^{−tS} dt."""
    axis = call.layer.axis
    return _softmax(call, inputs[0], tuple(axis) if isinstance(axis, (list, tuple)) else (axis,))


def _softmax(call: Call, signal: Signal, axes: tuple[int, ...]) -> Outcome:
    shape = call.inputs[0].shape
    sizes = [shape[axis] for axis in axes]
    return Outcome((signal.softmax(math.prod(size or 1 for size in sizes)),))


def mapped(signal: Signal, function: Callable[[Any], Any]) -> Outcome:
    """Outcome of an element-wise function; approximate where its integrals do not converge.

    A function of positive numbers only, such as a logarithm, is one of x's size: values that are
    positive by their making have Gaussians that reach below 0.
    """
    evaluate = on_points(function)
    result, converged = signal.map(evaluate)
    if signal.finite and not result.finite:
        result, converged = signal.map(partial(_of_size, evaluate))[0], False
    return Outcome((result,), None if converged else Support.APPROXIMATE)


def _of_size(function: Callable[[Any], Any], x: Any) -> Any:
    values = function(x)
    return np.where(np.isfinite(values), values, function(np.maximum(np.abs(x), _SMALLEST)))


def on_points(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A backend function as one over NumPy arrays, in double precision where it accepts that."""
    dtype = "float64"

    def evaluate(points: Any) -> Any:
        nonlocal dtype
        try:
            result = function(keras.ops.convert_to_tensor(points, dtype=dtype))
        except Exception:  # a function with constants of its own dtype raises what it likes
            if dtype == "float32":
                raise
            dtype = "float32"
            return evaluate(points)
        return np.asarray(keras.ops.convert_to_numpy(result))

    return evaluate


def is_elementwise(function: Callable[[Any], Any]) -> bool:
    """Whether a function treats each entry on its own: no softmax, no gated unit."""
    try:
        return _is_elementwise(function)
    except Exception:  # a function that needs other shapes raises what it likes
        return False


def _is_elementwise(function: Callable[[Any], Any]) -> bool:
    points = np.array([[-2.0, -0.7, 0.3], [1.1, 2.6, -1.4]])
    evaluate = on_points(function)
    together = np.asarray(evaluate(points))
    if together.shape != points.shape:
        return False
    alone = np.asarray(evaluate(points[::-1, ::-1].copy()))[::-1, ::-1]
    apart = np.concatenate(
        [np.asarray(evaluate(points[:, :1])), np.asarray(evaluate(points[:, 1:]))], 1
    )
    return bool(
        np.allclose(together, alone, equal_nan=True)
        and np.allclose(together, apart, equal_nan=True)
    )
