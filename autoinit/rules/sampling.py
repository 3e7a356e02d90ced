"""Monte Carlo estimates, seeded, with their standard error, where no integral is at hand."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from autoinit.graph.keras_internals import clear_losses
from autoinit.graph.model_graph import Call, Shape
from autoinit.randomness import derived, python_seed
from autoinit.rules.registry import Context
from autoinit.signals.signal import Signal

# Sequences that a layer sees at once: a recurrent layer takes about as long for 256 as for 64.
_BATCH = 256
_SMALLEST_BATCH = 2
_FEWEST = 8  # batches before their spread is believed
_MOST_AT_ONCE = 2**21  # entries of a tensor that an operation is sampled with
_MOST_BATCHES = 64
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
    entries = sum(value.entries for value in (*call.inputs, *call.outputs))
    fitting = min(max(_MOST_AT_ONCE // max(entries, 1), _SMALLEST_BATCH), _BATCH)
    size = call.inputs[0].shape[0] or fitting  # a stateful layer has a fixed one
    batches = max(math.ceil(context.samples / size), 2)
    if entries * size > _MOST_AT_ONCE // 2:
        batches = min(batches, _FEWEST)  # each holds so many entries that few will do
    collected: list[list[tuple[float, float]]] = []
    with python_seed(derived(context.seed, call.index)), _twin(call.layer) as layer:
        for batch in range(batches):
            tensors = [
                signal.drawn(generator, (size, *value.sample))
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
        signals.append(kind.of_samples(mean, second - mean * mean, np.asarray(outputs[output])))
    return tuple(signals), _standard_error(table[:, 0])


def sample_unknown(
    call: Call, inputs: Sequence[Signal], context: Context
) -> tuple[tuple[Signal, ...], float] | None:
    """Moments of the outputs of a layer that nothing is known of.

    Returns:
        As `sample_layer`; None where it cannot be run on Gaussian input, or gives no numbers.
    """
    if not isinstance(call.layer, keras.Layer):
        return sample_operation(call, inputs, context)
    try:
        signals, error = sample_layer(call, inputs, context)
    except Exception:  # the layer's own code, which may raise anything
        return None
    return (signals, error) if all(signal.finite for signal in signals) else None


def sample_function(
    function: Callable[[Any], Any], shape: Shape, signal: Signal, seed: int
) -> tuple[Signal, float]:
    """Moments of a function of several entries of a sample, such as log-softmax."""
    generator = np.random.default_rng(seed)
    entries = math.prod(size or 1 for size in shape[1:])
    samples = max(200_000 // entries, 64)
    collected = []
    for _ in range(_FEWEST):
        tensor = keras.ops.convert_to_tensor(_alone(generator, (samples, *shape[1:]), signal))
        collected.append(_moments(keras.ops.convert_to_numpy(function(tensor))))
    table = np.array(collected)
    mean, second = table.mean(0)
    return type(signal).gaussian(mean, second - mean * mean), _standard_error(table)


def sample_operation(
    call: Call, inputs: Sequence[Signal], context: Context
) -> tuple[tuple[Signal, ...], float] | None:
    """Moments of an operation's outputs for independent entries, as many samples as in a batch.

    Truth values are drawn by their probability, integers evenly from a range that has the
    signal's mean and variance, everything else from a Gaussian.

    Returns:
        As `sample_layer`; None where the operation cannot be run on these, or gives no numbers.
    """
    generator = np.random.default_rng([context.seed, call.index])
    samples = min(max(_MOST_AT_ONCE // max(v.entries for v in call.inputs), 2), context.batch)
    batches = min(max(math.ceil(context.samples / samples), _FEWEST), _MOST_BATCHES)
    given = {
        value.index: (value, signal) for value, signal in zip(call.inputs, inputs, strict=True)
    }
    collected: list[list[tuple[float, float]]] = []
    with python_seed(derived(context.seed, call.index)):
        for batch in range(batches):
            drawn = {
                index: keras.ops.convert_to_tensor(
                    _draw_as(value.dtype, generator, value.sizes(samples), signal)
                )
                for index, (value, signal) in given.items()
            }
            try:
                outputs = call.run(
                    [drawn[value.index] for value in call.inputs], context.training, samples
                )
            except Exception:  # an operation raises what it likes, of what it cannot take
                return None
            collected.append([_moments(keras.ops.convert_to_numpy(each)) for each in outputs])
            if not np.isfinite(collected[-1]).all():
                return None
            if batch + 1 >= _FEWEST and _known(np.array(collected)[:, 0]):
                break
    table = np.array(collected)  # (batches, outputs, 2)
    kind = type(inputs[0])
    means, seconds = table.mean(0).T
    signals = tuple(
        kind.gaussian(mean, second - mean * mean)
        for mean, second in zip(means, seconds, strict=True)
    )
    return signals, _standard_error(table[:, 0])


@contextlib.contextmanager
def _twin(layer: Any) -> Iterator[Any]:
    """A copy of a layer; or, where its configuration does not make one, itself, put back after."""
    try:
        twin = copy_of(layer)
    except Exception:  # the layer's own code, which may raise anything
        twin = None
    if twin is not None:
        yield twin
        return
    kept = [(v, np.array(keras.ops.convert_to_numpy(v))) for v in layer.variables]
    try:
        yield layer
    finally:
        for variable, values in kept:
            variable.assign(values)
        clear_losses(layer)


def copy_of(layer: Any) -> Any:
    """A layer of the same configuration, built alike, with the same weights; without memory."""
    config = layer.get_config()
    if config.get("stateful"):
        config["stateful"] = False
    twin = type(layer).from_config(config)
    twin.build_from_config(layer.get_build_config())
    twin.set_weights(layer.get_weights())
    return twin


def _alone(generator: np.random.Generator, shape: tuple[Any, ...], signal: Signal) -> Any:
    """Independent entries."""
    return Signal.drawn(signal, generator, shape)


def _draw_as(
    dtype: str, generator: np.random.Generator, shape: tuple[Any, ...], signal: Signal
) -> Any:
    if dtype == "bool":
        return generator.random(shape) < signal.mean
    if dtype.startswith(("int", "uint")):
        # n even integers have the variance (n² − 1)/12.
        number = max(round(math.sqrt(12 * signal.variance + 1)), 1)
        first = round(signal.mean - (number - 1) / 2)
        return generator.integers(first, first + number, shape).astype(dtype)
    return _alone(generator, shape, signal).astype("float32")


def _run(call: Call, layer: Any, tensors: list[Any], training: bool) -> list[Any]:
    outputs = replace(call, layer=layer).run(
        [keras.ops.convert_to_tensor(tensor) for tensor in tensors], training, len(tensors[0])
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
