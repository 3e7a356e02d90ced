"""The empirical interpreter: real tensors through the same calls, moments of which are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from autoinit.graph import ModelGraph
from autoinit.reading import read_model
from autoinit.shapes import largest_alive, last_uses
from probes.batching import Progress, fitting, fixed_batch, free_memory, while_memory_runs_out
from probes.devices import Device, find_device, placed_on
from probes.distributions import bounds_of
from probes.inputs import draw_inputs
from probes.moments import DeviceRecorder, HostRecorder, Moments, Recorder
from probes.state import unchanged, without_gradients


@dataclass(frozen=True, eq=False)
class Probe(Mapping[str, Moments]):
    """What a probe measured: a mapping from the paths of the calls that ran to their moments.

    Attributes:
        graph: the calls.
        moments: figures for each call's first output, in the order of the calls; None for those
            that cannot be run, as they or what they read is opaque, and for parameters.
        batch_size: samples that went through together.
        device: where.
    """

    graph: ModelGraph
    moments: tuple[Moments | None, ...]
    batch_size: int
    device: Device

    def __getitem__(self, path: str) -> Moments:
        for call, moments in zip(self.graph.calls, self.moments, strict=True):
            if call.path == path and moments is not None:
                return moments
        raise KeyError(path)

    def __iter__(self) -> Iterator[str]:
        pairs = zip(self.graph.calls, self.moments, strict=True)
        return (call.path for call, moments in pairs if moments is not None)

    def __len__(self) -> int:
        return sum(moments is not None for moments in self.moments)


def probe_model(
    model: Any,
    num_samples: int = 128,
    seed: int = 0,
    input_mean: float = 0.0,
    input_variance: float = 1.0,
    training: bool = True,
    device: str = "auto",
    unknown_size: int = 32,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> Probe:
    """Feed Gaussian noise through a model and measure each call's output.

    The model is unchanged afterwards: weights, moving statistics and seeds.

    Args:
        model: a Keras model with a graph, or the `ModelGraph` of one.
        num_samples: samples of noise.
        seed: of the noise, and of dropout.
        input_mean, input_variance: of the noise.
        training: mode of the model.
        device: `auto`, `cpu` or `gpu`.
        unknown_size: size taken for axes that the model leaves open.
        memory_limit: bytes that activations may take at once; half of what is free by default.
            Fewer samples then go through together, which changes what batch normalisation sees.
        progress: told the share done, from 0 to 1.

    Returns:
        Moments for each call that can be run.

    Raises:
        ValueError: for a number of samples below 1, or a device that is not there.
        MemoryError: where not even one sample fits.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1. Received: {num_samples}")
    graph = (
        model
        if isinstance(model, ModelGraph)
        else read_model(model, unknown_size, training=training)
    )
    found = find_device(device)
    limit = memory_limit or free_memory() // 2
    first = fixed_batch(graph) or fitting(partial(largest_alive, graph), num_samples, limit)

    def measure(batch_size: int) -> tuple[Moments | None, ...]:
        with unchanged(graph, seed), placed_on(found):
            return _measure(
                graph, num_samples, batch_size, seed, input_mean, input_variance, training,
                found.kind == "cpu", progress or (lambda share: None),
            )  # fmt: skip

    moments, batch_size = while_memory_runs_out(
        measure, graph, first, found, "smaller inputs or another device"
    )
    return Probe(graph, moments, batch_size, found)


def _measure(
    graph: ModelGraph,
    num_samples: int,
    batch_size: int,
    seed: int,
    mean: float,
    variance: float,
    training: bool,
    on_host: bool,
    progress: Progress,
) -> tuple[Moments | None, ...]:
    inputs = draw_inputs(graph, num_samples, seed, mean, variance)
    total: list[Moments] | None = None
    starts = range(0, num_samples, batch_size)
    for number, start in enumerate(starts):
        batch = {index: array[start : start + batch_size] for index, array in inputs.items()}
        done = number / len(starts)

        def part(share: float, done: float = done) -> None:
            progress(done + share / len(starts))

        with HostRecorder() if on_host else DeviceRecorder() as recorder:
            _run(graph, batch, training, recorder, part)
            measured = recorder.results()
        total = (
            measured
            if total is None
            else [one.merge(other) for one, other in zip(total, measured, strict=True)]
        )
    measured_calls = iter(total or ())
    idle = graph.not_run()
    return tuple(
        None if call.index in idle or call.is_internal else next(measured_calls)
        for call in graph.calls
    )


def _run(
    graph: ModelGraph,
    inputs: dict[int, Any],
    training: bool,
    recorder: Recorder,
    progress: Progress,
) -> None:
    """One batch through all calls that can be run; each tensor is let go after its last use."""
    alive: dict[int, Any] = {}
    idle = graph.not_run()
    every = max(len(graph.calls) // 50, 1)
    batch = len(next(iter(inputs.values())))
    bounds = _bounds(graph)
    with without_gradients():
        for call, finished in zip(graph.calls, last_uses(graph), strict=True):
            if call.index in idle:
                continue
            if call.is_input:
                (value,) = call.outputs
                outputs = [keras.ops.convert_to_tensor(inputs[value.index], dtype=value.dtype)]
            else:
                tensors = [alive[value.index] for value in call.inputs]
                outputs = call.run(tensors, training, batch)
            if not call.is_internal:
                # A table of positions is like one sample.
                first = outputs[0][None] if call.outputs[0].constant else outputs[0]
                recorder.record(first, bounds.get(call.index))
                del first
            alive.update(
                (value.index, tensor) for value, tensor in zip(call.outputs, outputs, strict=True)
            )
            del outputs
            for index in finished:
                del alive[index]
            if call.index % every == 0:
                progress(call.index / len(graph.calls))


def _bounds(graph: ModelGraph) -> dict[int, tuple[float, float]]:
    """Bounds of the activations that have some, by call."""
    known: dict[int, Any] = {}
    found = {}
    for call in graph.calls:
        if call.part != "activation" and not isinstance(call.layer, keras.layers.Activation):
            continue
        if call.opaque is not None:
            continue
        function = call.activation
        if id(function) not in known:
            known[id(function)] = bounds_of(function)
        if known[id(function)] is not None:
            found[call.index] = known[id(function)]
    return found
