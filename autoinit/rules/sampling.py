"""Monte Carlo estimates, seeded, with their standard error, where no integral is at hand."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np

from autoinit.graph.changing import values_of
from autoinit.graph.compiled import run_compiled, steps_of
from autoinit.graph.keras_internals import clear_losses, layers_in, seed_generators
from autoinit.graph.model_graph import Call, Shape, Value
from autoinit.randomness import derived, python_seed
from autoinit.rules.registry import Context
from autoinit.signals.signal import Signal

# Sequences that a layer sees at once: a recurrent layer takes about as long for 256 as for 64.
_BATCH = 256
_SMALLEST_BATCH = 2
_WITHOUT_STATES = (keras.layers.GRU, keras.layers.LSTM, keras.layers.SimpleRNN)
_FEWEST = 8  # batches before their spread is believed
_MOST_AT_ONCE = 2**21  # entries of a tensor that an operation is sampled with
_MOST_BATCHES = 64
_MOST_KEPT = 2**21  # entries of the outputs that covariances are taken from
_REMEMBERED = 8  # results for other weights and signals that are kept of a call
# Passes of an analysis that sample a layer: each series, by both signal models.
_PASSES = 4
_PRECISION = 0.005  # relative standard error of the variance that ends the sampling early

# A signal for each output, and the standard error of the first one's variance.
_Sampled = tuple[tuple[Signal, ...], float]


def sample_layer(
    call: Call,
    inputs: Sequence[Signal],
    context: Context,
    groups: int = 1,
    precision: float = _PRECISION,
) -> tuple[tuple[Signal, ...], float]:
    """Moments of a layer's outputs for independent Gaussian inputs.

    The layer is copied, so that its state and its seed stay as they are. Sampling ends at
    `context.samples` sequences, or when the variance is known as precisely as is asked for.

    Args:
        call: of the layer.
        inputs: signals of its inputs, which are drawn from them.
        context: of the rule.
        groups: equal parts of a batch whose sequences are drawn apart, each of which counts as a
            batch does; for layers whose sequences do not see each other.
        precision: relative standard error of the variance.

    Returns:
        A signal for each output, and the standard error of the first one's variance.
    """
    entries = sum(value.entries for value in (*call.inputs, *call.outputs))
    fitting = min(max(_MOST_AT_ONCE // max(entries, 1), _SMALLEST_BATCH), _BATCH)
    # Of a stateful layer; the copies of Keras's own have no states, and take any number.
    fixed = None if type(call.layer) in _WITHOUT_STATES else call.inputs[0].shape[0]
    groups = math.gcd(groups, fixed) if fixed else min(groups, fitting // 2)
    size = fixed or fitting - fitting % groups
    generator = np.random.default_rng([context.seed, call.index])
    draw = partial(_drawn, call, inputs, generator, size, groups)
    first = draw()
    asked = (context.training, context.seed, context.samples, groups, precision)
    kind = type(inputs[0])
    recent = context.workspace.sampled.setdefault((call.index, id(call.layer), asked), {})
    digest = _digest(call, first)
    if digest not in recent and len(recent) == _REMEMBERED:
        del recent[next(iter(recent))]
    known: dict[type[Signal], _Sampled] = recent.setdefault(digest, {})
    if kind not in known and known and not kind.looks_at_samples:
        signals, error = next(iter(known.values()))
        known[kind] = tuple(kind.gaussian(one.mean, one.variance) for one in signals), error
    if kind not in known:
        batches = max(math.ceil(context.samples / size), 2)
        if entries * size > _MOST_AT_ONCE // 2:
            batches = min(batches, _FEWEST)  # each holds so many entries that few will do
        tensors = itertools.islice(itertools.chain([first], iter(draw, None)), batches)
        known[kind] = _sampled(call, tensors, context, kind, groups, precision)
    return known[kind]


def _sampled(
    call: Call,
    batches: Iterable[list[Any]],
    context: Context,
    kind: type[Signal],
    groups: int,
    precision: float,
) -> _Sampled:
    """The layer's outputs for batches of inputs, until their variance is known."""
    collected: list[list[tuple[float, float]]] = []
    kept: list[list[Any]] = []
    with python_seed(derived(context.seed, call.index)), _copied(call, context) as copied:
        for tensors in batches:
            outputs = _run(copied, tensors, context)
            if not kept or kind.looks_at_samples:
                most = max(_MOST_KEPT // sum(map(np.size, outputs)), 1)
                kept = [*kept, [np.asarray(output) for output in outputs]][-most:]
            apart = zip(*(np.split(output, groups) for output in outputs), strict=True)
            collected += [[moments_of(part) for part in parts] for parts in apart]
            if len(collected) >= _FEWEST and _known(np.array(collected)[:, 0], precision):
                break
    table = np.array(collected)  # (groups of all batches, outputs, 2)
    means, seconds = table.mean(0).T
    signals = tuple(
        kind.of_samples(mean, second - mean * mean, np.concatenate(output), groups * len(kept))
        for mean, second, output in zip(means, seconds, zip(*kept, strict=True), strict=True)
    )
    return signals, standard_error(table[:, 0])


def _drawn(
    call: Call, inputs: Sequence[Signal], generator: np.random.Generator, size: int, groups: int
) -> list[Any]:
    """A batch of each input, in groups that are drawn apart."""
    parts = [
        [
            signal.drawn(generator, (size // groups, *value.sample))
            for value, signal in zip(call.inputs, inputs, strict=True)
        ]
        for _ in range(groups)
    ]
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def _digest(call: Call, tensors: Sequence[Any]) -> bytes:
    """What a sampled layer's results depend on: its weights, and what its inputs are drawn from.

    Equal signals give equal numbers by the same seed.
    """
    digest = hashlib.blake2b(digest_size=16)
    for array in (*call.layer.get_weights(), *tensors):
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.digest()


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
    sample = tuple(size or 1 for size in shape[1:])
    samples = max(200_000 // math.prod(sample), 64)
    found = _Outputs(type(signal))
    for _ in range(_FEWEST):
        tensor = keras.ops.convert_to_tensor(signal.drawn(generator, (samples, *sample)))
        found.add([keras.ops.convert_to_numpy(function(tensor))])
    (result,) = found.signals([True])
    return result, found.error


def sample_operation(
    call: Call, inputs: Sequence[Signal], context: Context
) -> tuple[tuple[Signal, ...], float] | None:
    """Moments of an operation's outputs for samples of its inputs, as many as in a batch.

    Returns:
        As `sample_layer`; None where the operation cannot be run on these, or gives no numbers.
    """
    return sample_calls([call], zip(call.inputs, inputs, strict=True), context.known, context)


def sample_calls(
    calls: Sequence[Call],
    sources: Iterable[tuple[Value, Signal]],
    known: Mapping[int, Any],
    context: Context,
) -> tuple[tuple[Signal, ...], float] | None:
    """Moments of the last call's outputs, of samples of what the first ones read.

    Truth values are drawn by their probability, integers evenly from a range that has the
    signal's mean and variance; constants, and masks of which there are samples, are what they are.

    Args:
        calls: in order.
        sources: all that these read and do not make.
        known: arrays of constants, and of samples, by value index.
        context: of the rules.

    Returns:
        As `sample_layer`; None where a call cannot be run on these, or gives no numbers.
    """
    last, given = calls[-1], {value.index: (value, signal) for value, signal in sources}
    generator = np.random.default_rng([context.seed, last.index])
    entries = [value.entries for value, _ in given.values()]
    entries += [value.entries for call in calls for value in call.outputs]
    if len(calls) > 1 and max(entries) > _MOST_AT_ONCE:
        return None
    samples = min(max(_MOST_AT_ONCE // max(entries), 2), context.batch)
    batches = min(max(math.ceil(context.samples / samples), _FEWEST), _MOST_BATCHES)
    found = _Outputs(next(type(signal) for _, signal in given.values()))
    with python_seed(derived(context.seed, last.index)), contextlib.ExitStack() as stack:
        try:
            run = [stack.enter_context(_of_copy(call, context)) for call in calls]
            for batch in range(batches):
                tensors = {
                    index: keras.ops.convert_to_tensor(
                        _drawn_or_known(value, signal, known, generator, samples)
                    )
                    for index, (value, signal) in given.items()
                }
                for call in run:
                    outputs = call.run(
                        [tensors[value.index] for value in call.inputs], context.training, samples
                    )
                    tensors |= dict(
                        zip((value.index for value in call.outputs), outputs, strict=True)
                    )
                found.add([keras.ops.convert_to_numpy(each) for each in outputs])
                if not found.finite:
                    return None
                if batch + 1 >= _FEWEST and found.known:
                    break
        except Exception:  # a call raises what it likes, of what it cannot take
            return None
    positions = [
        value.dtype.startswith(("float", "bfloat"))
        and value.rows == 1
        and tuple(output.shape) == (samples, *value.sample)
        for value, output in zip(last.outputs, outputs, strict=True)
    ]
    return found.signals(positions), found.error


class _Outputs:
    """What batches of samples give.

    Args:
        kind: of the signals that are made of them.
    """

    def __init__(self, kind: type[Signal]) -> None:
        self.kind = kind
        self.moments: list[list[tuple[float, float]]] = []
        self.kept: list[list[Any]] = []

    def add(self, outputs: Sequence[Any]) -> None:
        """One more batch, of each output."""
        self.moments.append([moments_of(each) for each in outputs])
        if not self.kept or self.kind.looks_at_samples:
            most = max(_MOST_KEPT // sum(map(np.size, outputs)), 1)
            self.kept = [*self.kept, list(outputs)][-most:]

    @property
    def finite(self) -> bool:
        """Whether the latest batch gave numbers."""
        return bool(np.isfinite(self.moments[-1]).all())

    @property
    def known(self) -> bool:
        """Whether the first output's variance is, precisely enough."""
        return _known(np.array(self.moments)[:, 0])

    @property
    def error(self) -> float:
        """Standard error of the first output's variance."""
        return standard_error(np.array(self.moments)[:, 0])

    def signals(self, positions: Sequence[bool]) -> tuple[Signal, ...]:
        """A signal for each output.

        Args:
            positions: whether its axes are those of samples, positions and channels.
        """
        means, seconds = np.array(self.moments).mean(0).T
        found = []
        for place, (mean, second) in enumerate(zip(means, seconds, strict=True)):
            variance = second - mean * mean
            values = np.concatenate([batch[place] for batch in self.kept])
            if positions[place]:
                values = values if values.ndim > 1 else values[:, None]
                found.append(self.kind.of_samples(mean, variance, values, len(self.kept)))
            else:
                found.append(self.kind.gaussian(mean, variance))
        return tuple(found)


@contextlib.contextmanager
def _of_copy(call: Call, context: Context) -> Iterator[Call]:
    """A layer's call as one that leaves its state as it is."""
    if isinstance(call.layer, keras.Layer) and call.layer.variables:
        with _copied(call, context) as copied:
            yield copied
    else:
        yield call


def _drawn_or_known(
    value: Value,
    signal: Signal,
    known: Mapping[int, Any],
    generator: np.random.Generator,
    samples: int,
) -> Any:
    values = known.get(value.index)
    if values is not None and value.constant:
        return values
    if values is not None and value.rows == 1 and not value.dtype.startswith("float"):
        return np.asarray(values)[np.arange(samples) % len(values)]
    return _draw_as(value, generator, value.sizes(samples), signal)


@contextlib.contextmanager
def _copied(call: Call, context: Context) -> Iterator[Call]:
    """A call of a copy of the layer; where none can be made, of itself, put back afterwards."""
    copied = _copy_kept(call, context) if steps_of(call) else _copy_or_none(call.layer)
    if copied is not None:
        yield replace(call, layer=copied)
        return
    layer = call.layer
    kept = values_of(layer.variables)
    try:
        yield call
    finally:
        for variable, values in kept:
            variable.assign(values)
        clear_losses(layer)


def _copy_kept(call: Call, context: Context) -> Any:
    """The graph's copy of a layer, which its compiled pass belongs to, as one made anew."""
    layer, copies = call.layer, context.workspace.copies
    if id(layer) not in copies:
        copies[id(layer)] = _copy_or_none(layer)
    copied = copies[id(layer)]
    if copied is not None:
        copied.set_weights(layer.get_weights())
        states = [each.state for part in layers_in(copied) for each in seed_generators(part)]
        for number, state in enumerate(states):
            seed = derived(context.seed, call.index, number) % 2**31
            state.assign(np.array([seed, 0]).astype(str(state.dtype)))
    return copied


def _copy_or_none(layer: Any) -> Any:
    try:
        return copy_of(layer)
    except Exception:  # the layer's own code, which may raise anything
        return None


def copy_of(layer: Any) -> Any:
    """A layer of the same configuration, built alike, with the same weights; without memory."""
    config = layer.get_config()
    if config.get("stateful"):
        config["stateful"] = False
    clone = type(layer).from_config(config)
    clone.build_from_config(layer.get_build_config())
    clone.set_weights(layer.get_weights())
    return clone


def _draw_as(
    value: Value, generator: np.random.Generator, shape: tuple[Any, ...], signal: Signal
) -> Any:
    dtype = value.dtype
    if dtype == "bool":
        return generator.random(shape) < signal.mean
    if dtype.startswith(("int", "uint")):
        # n even integers have the variance (n² − 1)/12.
        number = max(round(math.sqrt(12 * signal.variance + 1)), 1)
        first = round(signal.mean - (number - 1) / 2)
        return generator.integers(first, first + number, shape).astype(dtype)
    if value.constant or value.rows != 1 or not value.sample:
        return Signal.drawn(signal, generator, shape).astype("float32")
    return signal.drawn(generator, shape)


def _run(call: Call, tensors: Sequence[Any], context: Context) -> list[Any]:
    given = [keras.ops.convert_to_tensor(tensor) for tensor in tensors]
    # Once for each pass of an analysis at least, of which there are four to six.
    outputs = run_compiled(
        call, given, context.training, len(tensors[0]), context.workspace, times=_PASSES
    )
    return [keras.ops.convert_to_numpy(output) for output in outputs]


def moments_of(values: Any) -> tuple[float, float]:
    """Mean and second moment of all entries."""
    values = np.asarray(values, np.float64)
    return float(values.mean()), float((values**2).mean())


def standard_error(table: Any) -> float:
    """Of the variance, from the means and second moments of equal parts: (parts, 2)."""
    means, seconds = np.asarray(table).T
    # What each part adds to E x² − (E x)², to first order.
    return float((seconds - 2 * means.mean() * means).std(ddof=1) / math.sqrt(len(means)))


def _known(table: Any, precision: float = _PRECISION) -> bool:
    mean, second = np.asarray(table).mean(0)
    return standard_error(table) <= precision * float(second - mean * mean)
