"""Gradients of a random function of a model's outputs, back through the same calls.

The scalar is Σ c·y over all entries of the model's outputs y, with a cotangent c of independent
standard normal numbers in place of a loss's gradient: the figures tell what the model does to any
gradient on its way back. The paper's appendix E suggests to look at these signals beside those
that go forward, as Glorot & Bengio (2010) did.

A tape holds what differentiation needs of one segment of the calls. One segment is ordinary
training; with √n of them, only values that cross from one into another are kept, and the calls of
a segment are run again when its turn comes (Chen et al., 2016, "Training deep nets with sublinear
memory cost"). TensorFlow only: `_vjp` is all that another framework would need.
"""

from __future__ import annotations

import contextlib
import math
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np

from autoinit.graph import Call, ModelGraph, Parameter, Value
from autoinit.randomness import derived
from autoinit.reading import read_model
from autoinit.shapes import bytes_of, largest_alive, last_uses
from probes.batching import Progress, fitting, fixed_batch, free_memory, while_memory_runs_out
from probes.devices import find_device, placed_on
from probes.forward import Probe
from probes.inputs import draw_inputs
from probes.moments import DeviceRecorder, HostRecorder, Moments
from probes.state import unchanged

# What TensorFlow's tape holds at most for each byte that is written: normalisation, for one, is
# made of several operations.
_HELD = 2

Seen = Callable[[Any], None]
Tap = Callable[[Any, Seen], Any]
_State = list[tuple[Any, Any]]


@dataclass(frozen=True, eq=False)
class Gradients(Probe):
    """What flows back: a mapping from the paths of calls to the moments of their gradients.

    Attributes:
        graph: the calls.
        moments: figures of the gradient for each call's first output, in the order of the calls;
            None for those that no gradient reaches, for whole numbers and for parameters. There is
            no `sample_correlation`: samples have independent cotangents.
        batch_size: samples that went through together.
        device: where.
        variables: figures of the gradient for each trainable variable, by its path (the second
            variable of a path is `dense/kernel:2`); None for those that no gradient reaches. It is
            a sum over samples.
    """

    variables: Mapping[str, Moments | None]


def probe_gradients(
    model: Any,
    num_samples: int = 128,
    seed: int = 0,
    input_mean: float = 0.0,
    input_variance: float = 1.0,
    training: bool = True,
    device: str = "auto",
    unknown_size: int = 32,
    memory_limit: int | None = None,
    checkpoint: bool = False,
    progress: Progress | None = None,
) -> Gradients:
    """Feed Gaussian noise through a model, and a Gaussian cotangent back from its outputs.

    Noise and dropout are those of `probe_model` with the same seed and batch size. Where none of
    the outputs can be run, the cotangent is that of all values that nothing reads which can be
    run. The model is unchanged afterwards: weights, moving statistics and seeds.

    Args:
        model: a Keras model with a graph, or the `ModelGraph` of one.
        num_samples: samples of noise.
        seed: of the noise, of dropout, and of the cotangent.
        input_mean, input_variance: of the noise. The cotangent has mean 0 and variance 1.
        training: mode of the model.
        device: `auto`, `cpu` or `gpu`.
        unknown_size: size taken for axes that the model leaves open.
        memory_limit: bytes that activations may take at once; half of what is free by default.
            Fewer samples then go through together, which changes what batch normalisation sees.
        checkpoint: run calls twice, so that memory grows with the root of the model's depth.
        progress: told the share done, from 0 to 1.

    Returns:
        Moments of the gradient for each call's first output and for each trainable variable.

    Raises:
        ValueError: for a number of samples below 1, or a device that is not there.
        MemoryError: where not even one sample fits.
        NotImplementedError: for Keras on another framework than TensorFlow.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1. Received: {num_samples}")
    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError(
            f"Gradients are measured with TensorFlow. Keras runs on {keras.backend.backend()}."
        )
    graph = (
        model
        if isinstance(model, ModelGraph)
        else read_model(model, unknown_size, training=training)
    )
    found = find_device(device)
    segments = _segments(graph, checkpoint)
    limit = memory_limit or free_memory() // 2
    first = fixed_batch(graph) or fitting(partial(_needed, graph, segments), num_samples, limit)

    def measure(batch_size: int) -> _Probing:
        with unchanged(graph, seed), placed_on(found):
            probing = _Probing(graph, segments, training, found.kind == "cpu", progress)
            inputs = draw_inputs(graph, num_samples, seed, input_mean, input_variance)
            cotangents = _draw_cotangents(graph, num_samples, seed)
            probing.run(inputs, cotangents, num_samples, batch_size)
            return probing

    probing, batch_size = while_memory_runs_out(
        measure, graph, first, found, "smaller inputs, checkpoint=True or another device"
    )
    return Gradients(graph, probing.moments(), batch_size, found, probing.variables())


class _Probing:
    """Takes batches there and back, and keeps the figures.

    Args:
        graph: of the calls.
        segments: that are differentiated one after the other.
        training: mode of the model.
        on_host: whether tensors lie in the CPU's memory.
        progress: told the share done.
    """

    def __init__(
        self, graph: ModelGraph, segments: Sequence[Sequence[Call]], training: bool,
        on_host: bool, progress: Progress | None,
    ) -> None:  # fmt: skip
        self.graph = graph
        self.segments = segments
        self.training = training
        self.recorder: Callable[[], Any] = HostRecorder if on_host else DeviceRecorder
        self.progress = progress or (lambda share: None)
        self.ends = last_uses(graph)
        self.found: dict[int, Moments] = {}  # by call
        # Gradients that are sums over samples: of constant values and of variables, by identity.
        self.sums: dict[int, Any] = {}
        self.inputs: dict[int, Any] = {}
        self.batch = 0
        self.steps = self.done = 0

    def run(
        self, inputs: Mapping[int, Any], cotangents: Mapping[int, Any], samples: int, size: int
    ) -> None:
        """Take all samples through, `size` of them together.

        Args:
            inputs, cotangents: arrays by value index, the samples' axis first.
            samples: how many there are.
            size: of a batch.
        """
        starts = range(0, samples, size)
        twice = sum(map(len, self.segments[:-1]))
        self.steps = (2 * sum(map(len, self.segments)) + twice) * len(starts)
        for start in starts:
            stop = min(start + size, samples)
            self.batch = stop - start
            self.inputs = {index: array[start:stop] for index, array in inputs.items()}
            seeds = {}
            for index, array in cotangents.items():
                value = self.graph.values[index]
                # What does not depend on the samples is in the sum once, not once a batch.
                part = (
                    array * (self.batch / samples)
                    if value.constant
                    else array[start * value.rows : stop * value.rows]
                )
                seeds[index] = keras.ops.convert_to_tensor(part, dtype=value.dtype)
            with self.recorder() as recorder:
                order: list[int] = []
                self._there_and_back(seeds, recorder, order)
                measured = recorder.results() if order else []
            for index, moments in zip(order, measured, strict=True):
                before = self.found.get(index)
                self.found[index] = moments if before is None else before.merge(moments)

    def moments(self) -> tuple[Moments | None, ...]:
        """Figures for each call of the graph."""
        constant = {call.index: call for call in self.graph.calls if call.outputs[0].constant}
        calls = [call for call in constant.values() if id(call) in self.sums]
        # A table of positions is like one sample.
        figures = self._figures([self.sums[id(call)][None] for call in calls])
        found = {
            **self.found,
            **{call.index: part for call, part in zip(calls, figures, strict=True)},
        }
        return tuple(
            replace(found[call.index], sample_correlation=None)
            if call.index in found and not call.is_internal
            else None
            for call in self.graph.calls
        )

    def variables(self) -> dict[str, Moments | None]:
        """Figures for each trainable variable, by its path."""
        known = {id(v): v for call in self.graph.calls for v in _trainable(call)}
        reached = [key for key in known if key in self.sums]
        # As one row: a kernel's axes are no samples, positions and channels.
        rows = [keras.ops.reshape(self.sums[key], (-1,)) for key in reached]
        figures = dict(zip(reached, self._figures(rows), strict=True))
        named: dict[str, Moments | None] = {}
        for key, variable in known.items():
            path, number = variable.path, 1
            while path in named:
                number += 1
                path = f"{variable.path}:{number}"
            named[path] = figures.get(key)
        return named

    def _figures(self, tensors: Sequence[Any]) -> list[Moments]:
        if not tensors:
            return []
        with self.recorder() as recorder:
            for tensor in tensors:
                recorder.record(tensor)
            return list(recorder.results())

    def _there_and_back(self, cotangents: dict[int, Any], recorder: Any, order: list[int]) -> None:
        """One batch: all segments but the last forward, then each of them back.

        Args:
            cotangents: of the outputs, by value index. Those of values that cross from one segment
                into another join them; each leaves when it has been used.
            recorder: of the gradients.
            order: of the calls whose gradients were recorded.
        """
        borders: list[dict[int, Any]] = []  # what each segment leaves for later ones
        states: list[_State] = []
        for calls in self.segments[:-1]:
            states.append(_state(calls))
            made: dict[int, Any] = {}
            self._forward(calls, ChainMap(made, *borders))
            borders.append(made)

        def tapped(call: Call, tensor: Any, tap: Tap) -> Any:
            def seen(gradient: Any) -> None:
                self._step()
                if call.outputs[0].constant:
                    self._add(call, gradient)
                else:
                    order.append(call.index)
                    recorder.record(gradient)

            return tensor if call.is_internal else tap(tensor, seen)

        for number, calls in reversed(list(enumerate(self.segments))):
            read = {value.index for call in calls for value in call.inputs}
            given = {i: tensor for border in borders for i, tensor in border.items() if i in read}
            written = [value.index for call in calls for value in call.outputs]
            seeds = {index: cotangents.pop(index) for index in written if index in cotangents}
            if borders:
                borders.pop()
            if not seeds:
                continue
            variables = list({id(v): v for call in calls for v in _trainable(call)}.values())

            def segment(
                tensors: Sequence[Any], tap: Tap,
                calls: Any = calls, given: Any = given, seeds: Any = seeds,
            ) -> list[Any]:  # fmt: skip
                alive = dict(zip(given, tensors, strict=True))
                self._forward(calls, alive, partial(tapped, tap=tap), frozenset(seeds))
                return [alive[index] for index in seeds]

            again = number < len(states)
            with _as_at_first(calls, states[number]) if again else contextlib.nullcontext():
                of_given, of_variables = _vjp(
                    segment, [*given.values()], variables, [*seeds.values()]
                )
            for index, gradient in zip(given, of_given, strict=True):
                if gradient is not None:
                    known = cotangents.get(index)
                    cotangents[index] = gradient if known is None else known + gradient
            for variable, gradient in zip(variables, of_variables, strict=True):
                if gradient is not None:
                    self._add(variable, gradient)

    def _forward(
        self,
        calls: Sequence[Call],
        alive: MutableMapping[int, Any],
        tapped: Callable[[Call, Any], Any] = lambda call, tensor: tensor,
        kept: frozenset[int] = frozenset(),
    ) -> None:
        """Run calls; each tensor is let go after its last use, unless it is among those kept."""
        for call in calls:
            if call.is_input:
                (value,) = call.outputs
                outputs = [keras.ops.convert_to_tensor(self.inputs[value.index], dtype=value.dtype)]
            else:
                tensors = [alive[value.index] for value in call.inputs]
                outputs = call.run(tensors, self.training, self.batch)
                del tensors
            outputs[0] = tapped(call, outputs[0])
            for value, tensor in zip(call.outputs, outputs, strict=True):
                alive[value.index] = tensor
            del outputs, tensor
            for index in self.ends[call.index]:
                if index not in kept:
                    alive.pop(index, None)
            self._step()

    def _add(self, key: Any, gradient: Any) -> None:
        known = self.sums.get(id(key))
        self.sums[id(key)] = gradient if known is None else known + gradient

    def _step(self) -> None:
        self.done += 1
        if self.done % max(self.steps // 50, 1) == 0:
            self.progress(min(self.done / self.steps, 1.0))


def _segments(graph: ModelGraph, checkpoint: bool) -> list[list[Call]]:
    """The calls that can be run: all together, or the root of their number at a time."""
    idle = graph.not_run()
    calls = [call for call in graph.calls if call.index not in idle]
    size = math.isqrt(len(calls)) if checkpoint else len(calls)
    return [calls[start : start + size] for start in range(0, len(calls), max(size, 1))]


def _needed(graph: ModelGraph, segments: Sequence[Sequence[Call]], samples: int) -> int:
    """Bytes that activations and gradients take at most, as far as shapes tell."""
    home = {
        v.index: number for number, calls in enumerate(segments) for c in calls for v in c.outputs
    }
    crossing = {
        value.index
        for number, calls in enumerate(segments)
        for call in calls
        for value in call.inputs
        if home[value.index] != number
    }
    written = [sum(_written(call, samples) for call in calls) for calls in segments]
    kept = sum(bytes_of(graph.values[index], samples) for index in crossing)
    return _HELD * max(written) + kept + largest_alive(graph, samples)


def _written(call: Call, samples: int) -> int:
    """Bytes of a call's outputs, and of what long layers compute on the way to them."""
    inside = 0
    if isinstance(call.layer, (keras.layers.RNN, keras.layers.Bidirectional)):
        columns = sum(weight.shape[-1] for weight in call.layer.weights if len(weight.shape) > 1)
        inside = 2 * math.prod(call.inputs[0].positions) * columns  # before and after the gates
    elif call.class_name == "DotProductAttention":
        query, key = call.inputs[:2]
        inside = math.prod(query.positions) * key.sample[0]  # a score for each pair, in each head
    return 4 * samples * inside + sum(bytes_of(value, samples) for value in call.outputs)


def _targets(graph: ModelGraph) -> list[Value]:
    """The outputs that can be run; where none can, what can be run and is not read."""
    idle = graph.not_run()
    calls = [call for call in graph.calls if call.index not in idle]
    written = {value.index: value for call in calls for value in call.outputs}
    targets = [value for value in graph.outputs if value.index in written]
    if not targets:
        read = {value.index for call in calls for value in call.inputs}
        targets = [value for index, value in written.items() if index not in read]
    return [value for value in targets if keras.backend.is_float_dtype(value.dtype)]


def _draw_cotangents(graph: ModelGraph, samples: int, seed: int) -> dict[int, Any]:
    """Standard normal arrays by value index; a value that is two outputs has the sum of two."""
    cotangents: dict[int, Any] = {}
    for number, value in enumerate(_targets(graph)):
        # Apart from the inputs' seed, and from those of dropout.
        generator = np.random.default_rng(derived(seed, number, 1))
        array = generator.standard_normal(value.sizes(samples), dtype=np.float32)
        cotangents[value.index] = cotangents.get(value.index, 0) + array
    return cotangents


def _trainable(call: Call) -> list[Any]:
    if call.frozen:
        return []
    if isinstance(call.layer, Parameter):
        return [call.layer.variable] if call.layer.trainable else []
    return list(getattr(call.layer, "trainable_variables", ()))


def _state(calls: Sequence[Call]) -> _State:
    """What running the calls changes, and its values now.

    Kernels that are divided by their norm, in training, are the same when they are divided again.
    """
    layers = {id(call.layer): call.layer for call in calls}
    parts = [
        part
        for layer in layers.values()
        for part in getattr(layer, "_flatten_layers", lambda: ())()
    ]
    changing = {
        id(variable): variable
        for part in parts
        for variable in part.variables
        if not variable.trainable
    }
    return [(v, np.array(keras.ops.convert_to_numpy(v.value))) for v in changing.values()]


@contextlib.contextmanager
def _as_at_first(calls: Sequence[Call], state: _State) -> Iterator[None]:
    """Run calls again with the noise and statistics of their first run, and leave no trace."""
    now = _state(calls)
    for variable, values in state:
        variable.assign(values)
    try:
        yield
    finally:
        for variable, values in now:
            variable.assign(values)


def _vjp(
    function: Callable[[Sequence[Any], Tap], Sequence[Any]],
    tensors: Sequence[Any],
    variables: Sequence[Any],
    cotangents: Sequence[Any],
) -> tuple[list[Any], list[Any]]:
    """Vector–Jacobian products of a function of some tensors and variables.

    Args:
        function: takes tensors and a function `tap(tensor, seen)`, which returns the same tensor
            and has `seen` told of its whole gradient, unless none reaches it; the gradient is let
            go then. Returns one tensor for each cotangent.
        tensors, variables: what it depends on.
        cotangents: of the tensors returned.

    Returns:
        Gradients for the tensors and for the variables, None where none reaches them.
    """
    import tensorflow as tf

    # TensorFlow records only what depends on something watched: on this, every tap does.
    anchor = tf.zeros(())

    def tap(tensor: Any, seen: Seen) -> Any:
        if not tensor.dtype.is_floating:
            return tensor

        @tf.custom_gradient
        def identity(tensor: Any, anchor: Any) -> Any:
            def back(gradient: Any) -> tuple[Any, Any]:
                gradient = tf.convert_to_tensor(gradient)  # of an embedding, it is a few rows
                seen(gradient)
                return gradient, tf.zeros_like(anchor)

            return tf.identity(tensor), back

        return _with_mask(identity(tensor, anchor), tensor)

    # A layer may return the tensor that it was given, but values are told apart.
    given = [_with_mask(tf.identity(tensor), tensor) for tensor in tensors]
    places = [place for place, tensor in enumerate(given) if tensor.dtype.is_floating]
    sources = [given[place] for place in places] + [variable.value for variable in variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([anchor, *sources])
        targets = list(function(given, tap))
    gradients = [
        gradient if gradient is None else tf.convert_to_tensor(gradient)
        for gradient in tape.gradient(targets, [anchor, *sources], list(cotangents))[1:]
    ]
    of_tensors: list[Any] = [None] * len(given)
    for place, gradient in zip(places, gradients, strict=False):
        of_tensors[place] = gradient
    return of_tensors, gradients[len(places) :]


def _with_mask(tensor: Any, original: Any) -> Any:
    mask = getattr(original, "_keras_mask", None)
    if mask is not None:
        tensor._keras_mask = mask
    return tensor
