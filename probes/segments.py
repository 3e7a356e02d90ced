"""Segments of a graph's calls, each of which is differentiated as a whole.

One segment is ordinary training; with √n of them, only values that cross from one into another are
kept, and the calls of a segment are run again when its turn comes (Chen et al., 2016, "Training
deep nets with sublinear memory cost").
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from autoinit.graph.changing import changing_variables, values_of
from autoinit.graph.model_graph import Call, ModelGraph, Parameter, innermost, weights_of
from autoinit.graph.shapes import bytes_of, largest_alive, last_uses
from autoinit.running.state import noise_state, set_noise_state
from probes.differentiation import Rounded, Tap, by_numpy, differentiate
from probes.kernels import by_kernel
from probes.moments.device import DeviceRecorder, summarized
from probes.moments.host import HostRecorder
from probes.moments.recorder import Recorder

# What differentiation holds at most for each byte that is written: normalisation, for one, is made
# of several operations.
_HELD = 2
# Passes on TensorFlow and JAX from which on their tracing is repaid (benchmarks/gradients.py).
REPAID = 5


class ModelState(NamedTuple):
    """Variables and their values, and what a generator of all layers' noise holds."""

    values: list[tuple[Any, Any]]
    noise: Any

    def restore(self) -> None:
        """Give the variables these values again, and the generator its state."""
        for variable, values in self.values:
            variable.assign(values)
        set_noise_state(self.noise)


class Segment:
    """Calls that are differentiated together. It holds no graph, so that it may outlive one.

    Args:
        calls, training: in their order, and the mode of the model.
        ends: for each call of the graph, the values that nobody reads after it.
        measure: takes a call and a gradient.
        step: told of each call that has been run in Python.
        traced, rounded: see `differentiate`.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        ends: Sequence[Sequence[int]],
        training: bool,
        measure: Callable[[Call, Any], Any],
        step: Callable[[], None],
        traced: bool,
        rounded: Rounded = lambda tensor: tensor,
    ) -> None:
        self.calls, self.ends, self.training, self.step = calls, ends, training, step
        written = {value.index for call in calls for value in call.outputs}
        read = {value.index for call in calls for value in call.inputs}
        self.fed = [call.outputs[0].index for call in calls if call.is_input]
        self.given = [*self.fed, *sorted(read - written)]
        self.written = sorted(written)
        self.variables = list({id(v): v for call in calls for v in trainable(call)}.values())
        known = {call.index: call for call in calls}
        weights = (v for call in calls for v in weights_of(call.layer))
        state = {id(v): v for v in (*weights, *_changing(calls))}
        for variable in self.variables:
            state.pop(id(variable), None)
        self.products = differentiate(
            self._outputs,
            self.variables,
            [*state.values()],
            lambda index, gradient: measure(known[index], gradient),
            traced,
            rounded,
        )

    def _outputs(
        self, tensors: Sequence[Any], settings: tuple[int, tuple[int, ...]], tap: Tap
    ) -> list[Any]:
        """The wanted values, from those given; settings are the batch size and what is wanted."""
        batch, wanted = settings
        alive = dict(zip(self.given, tensors, strict=True))
        self.forward(alive, batch, tap, frozenset(wanted))
        return [alive[index] for index in wanted]

    def forward(
        self,
        alive: MutableMapping[int, Any],
        batch: int,
        tap: Tap = lambda index, tensor: tensor,
        kept: frozenset[int] = frozenset(),
    ) -> None:
        """Run the calls; each tensor is let go after its last use, unless it is to be kept."""
        for call in self.calls:
            if call.is_input:
                outputs = [alive[call.outputs[0].index]]
            else:
                tensors = [alive[value.index] for value in call.inputs]
                direct = by_kernel(call, tensors, self.training)
                outputs = call.run(tensors, self.training, batch) if direct is None else [direct]
                del tensors
            if not call.is_internal:
                outputs[0] = tap(call.index, outputs[0])
            for value, tensor in zip(call.outputs, outputs, strict=True):
                alive[value.index] = tensor
            del outputs, tensor
            for index in self.ends[call.index]:
                if index not in kept:
                    alive.pop(index, None)
            self.step()


class Passes:
    """A graph's segments, ready to be run as often as wanted, one after the other.

    `on_host` says whether tensors lie in the CPU's memory, `traced` is that of `differentiate`.
    """

    def __init__(
        self,
        graph: ModelGraph,
        segments: Sequence[Sequence[Call]],
        training: bool,
        on_host: bool,
        traced: bool,
    ) -> None:
        self.on_host = on_host
        self._on_step: Callable[[], None] = _nothing
        self._recorder: Recorder | None = None
        ends = last_uses(graph)
        self.segments = [
            Segment(calls, ends, training, self._measure, self._step, traced) for calls in segments
        ]

    @contextlib.contextmanager
    def recording(self, on_step: Callable[[], None]) -> Iterator[Recorder]:
        """Give what records gradients inside the block, and is itself of use inside it only.

        Args:
            on_step: told of each call that is run in Python, and of each gradient.
        """
        with HostRecorder() if self.on_host else DeviceRecorder() as recorder:
            self._on_step, self._recorder = on_step, recorder
            try:
                yield recorder
            finally:
                self._on_step, self._recorder = _nothing, None

    def _step(self) -> None:
        self._on_step()

    def _measure(self, call: Call, gradient: Any) -> Any:
        if call.outputs[0].constant:
            return gradient  # a sum over samples, which is not known before all batches have come
        if self.on_host:
            return by_numpy(partial(self._record, call.index), gradient)
        self._step()
        return summarized(gradient)[0]

    def _record(self, key: int, gradient: NDArray[Any]) -> NDArray[np.float64]:
        self._step()
        if self._recorder is not None:
            # As one row: there are no samples, positions and channels to correlate.
            self._recorder.record(gradient.reshape(-1), None, key)
        return np.zeros(())


def _nothing() -> None:
    pass


class CompiledPasses:
    """Passes of graphs, kept by whoever measures one of them again with other weights.

    The tracing of a deep network takes as long as several passes: a few are run as they are, but
    for recurrent layers, whose every step would take as long as a layer.

    Args:
        expected: how many passes there will be.
    """

    def __init__(self, expected: int = REPAID) -> None:
        self._traced = expected >= REPAID
        # Beside the graph, whose identity is in the key. `Passes` has none: TensorFlow never lets
        # go of functions that have custom gradients.
        self._known: dict[tuple[Any, ...], tuple[ModelGraph, Passes]] = {}

    def through(self, graph: ModelGraph, checkpoint: bool, training: bool, on_host: bool) -> Passes:
        """A graph's passes, those of an earlier time where nothing but weights has changed."""
        segments = segments_of(graph, checkpoint)
        variables = tuple(id(v) for calls in segments for call in calls for v in trainable(call))
        key = id(graph), checkpoint, training, on_host, variables
        if key not in self._known:
            traced = self._traced or any(_is_recurrent(call) for call in graph.calls)
            # What JAX traces has no numbers that the host could take.
            on_host = on_host and not (traced and keras.backend.backend() == "jax")
            self._known[key] = graph, Passes(graph, segments, training, on_host, traced)
        return self._known[key][1]


def segments_of(graph: ModelGraph, checkpoint: bool) -> list[list[Call]]:
    """The calls that can be run: all together, or the root of their number at a time."""
    idle = graph.behind_placeholders()
    calls = [call for call in graph.calls if call.index not in idle]
    size = math.isqrt(len(calls)) if checkpoint else len(calls)
    return [calls[start : start + size] for start in range(0, len(calls), max(size, 1))]


def needed(graph: ModelGraph, segments: Sequence[Sequence[Call]], samples: int) -> int:
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
    if _is_recurrent(call):
        columns = sum(weight.shape[-1] for weight in call.layer.weights if len(weight.shape) > 1)
        inside = 2 * math.prod(call.inputs[0].positions) * columns  # before and after the gates
    elif call.class_name == "DotProductAttention":
        query, key = call.inputs[:2]
        inside = math.prod(query.positions) * key.sample[0]  # a score for each pair, in each head
    return 4 * samples * inside + sum(bytes_of(value, samples) for value in call.outputs)


def _is_recurrent(call: Call) -> bool:
    return isinstance(innermost(call.layer), (keras.layers.RNN, keras.layers.Bidirectional))


def trainable(call: Call) -> list[Any]:
    """The variables of a call that training would change."""
    if call.frozen:
        return []
    if isinstance(call.layer, Parameter):
        return [call.layer.variable] if call.layer.trainable else []
    return list(getattr(call.layer, "trainable_variables", ()))


def state_of(calls: Sequence[Call]) -> ModelState:
    """What running the calls changes, and its values now."""
    return ModelState(values_of(_changing(calls)), noise_state())


def _changing(calls: Sequence[Call]) -> list[Any]:
    """Variables that running the calls may change, each once."""
    layers = {id(call.layer): call.layer for call in calls}
    return list({id(v): v for v in changing_variables(layers.values())}.values())


@contextlib.contextmanager
def as_at_first(calls: Sequence[Call], state: ModelState) -> Iterator[None]:
    """Run calls again with the noise and statistics of their first run, and leave no trace."""
    now = state_of(calls)
    state.restore()
    try:
        yield
    finally:
        now.restore()
