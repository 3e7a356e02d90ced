"""Monte Carlo estimates, seeded, with their standard error, where no integral is at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from autoinit.graph import Call, Shape
from autoinit.randomness import derived, python_seed
from autoinit.registry import Context
from autoinit.signals.signal import Signal

_BATCH = 64  # sequences that a layer sees at once
_FEWEST = 8  # batches before their spread is believed
_PRECISION = 0.005  # relative standard error of the variance that ends the sampling early


def sample_layer(
    call: Call, inputs: Sequence[Signal], context: Context
) -> tuple[tuple[Signal, ...], float]:
    """Moments of a layer's outputs for independent Gaussian inputs.

    The layer is copied, so that its state and its seed stay as they are. Sampling ends at
    `context.samples` sequences, or when the variance is known to half a percent.

    Returns:
        A signal for each output, and the standard error of the first one's variance.
    """
    generator = np.random.default_rng([context.seed, call.index])
    training = context.training
    size = call.inputs[0].shape[0] or _BATCH  # a stateful layer has a fixed one
    batches = max(math.ceil(context.samples / size), 2)
    collected: list[list[tuple[float, float]]] = []
    with python_seed(derived(context.seed, call.index)):
        layer = copy_of(call.layer)
        for batch in range(batches):
            tensors = [
                _draw(generator, (size, *value.shape[1:]), signal)
                for value, signal in zip(call.inputs, inputs, strict=True)
            ]
            outputs = _run(call, layer, tensors, training)
            collected.append([_moments(output) for output in outputs])
            if batch + 1 >= _FEWEST and _known(np.array(collected)[:, 0]):
                break
    table = np.array(collected)  # (batches, outputs, 2)
    kind = type(inputs[0])
    signals = []
    for output in range(table.shape[1]):
        mean = table[:, output, 0].mean()
        second = table[:, output, 1].mean()
        signals.append(kind.gaussian(mean, second - mean * mean))
    return tuple(signals), _standard_error(table[:, 0])


def sample_function(
    function: Callable[[Any], Any], shape: Shape, signal: Signal, seed: int
) -> tuple[Signal, float]:
    """Moments of a function of several entries of a sample, such as log-softmax."""
    generator = np.random.default_rng(seed)
    entries = math.prod(size or 1 for size in shape[1:])
    samples = max(200_000 // entries, _BATCH)
    collected = []
    for _ in range(_FEWEST):
        tensor = keras.ops.convert_to_tensor(_draw(generator, (samples, *shape[1:]), signal))
        collected.append(_moments(keras.ops.convert_to_numpy(function(tensor))))
    table = np.array(collected)
    mean, second = table.mean(0)
    return type(signal).gaussian(mean, second - mean * mean), _standard_error(table)


def copy_of(layer: Any) -> Any:
    """A layer of the same configuration, built alike, with the same weights; without memory."""
    config = layer.get_config()
    if config.get("stateful"):
        config["stateful"] = False
    twin = type(layer).from_config(config)
    twin.build_from_config(layer.get_build_config())
    twin.set_weights(layer.get_weights())
    return twin


def _draw(generator: np.random.Generator, shape: tuple[Any, ...], signal: Signal) -> Any:
    values = generator.standard_normal(shape, dtype=np.float32)
    return values * np.float32(math.sqrt(signal.variance)) + np.float32(signal.mean)


def _run(call: Call, layer: Any, tensors: list[Any], training: bool) -> list[Any]:
    outputs = replace(call, layer=layer).run(
        [keras.ops.convert_to_tensor(tensor) for tensor in tensors], training
    )
    return [keras.ops.convert_to_numpy(output) for output in outputs]


def _moments(values: Any) -> tuple[float, float]:
    values = np.asarray(values, np.float64)
    return float(values.mean()), float((values**2).mean())


def _variances(table: Any) -> Any:
    return table[:, 1] - table[:, 0] ** 2


def _standard_error(table: Any) -> float:
    return float(_variances(table).std(ddof=1) / math.sqrt(len(table)))


def _known(table: Any) -> bool:
    return _standard_error(table) <= _PRECISION * float(_variances(table).mean())
