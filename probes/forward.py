"""The empirical interpreter: real tensors through the same calls, moments of which are kept."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras

from autoinit.errors import GraphError
from autoinit.graph.compiled import run_compiled
from autoinit.graph.input_moments import PerInput
from autoinit.graph.model_graph import Call, ModelGraph
from autoinit.graph.shapes import largest_alive, last_uses
from autoinit.initializers.cloning import clone_with_weights
from autoinit.initializers.drawing import SavedWeights, draw_configured_weights
from autoinit.randomness import derived
from probes.batching import (
    Progress,
    fitting,
    fixed_batch,
    free_memory,
    graph_of,
    require_positive,
    while_memory_runs_out,
)
from probes.devices import Device, devices_of, full_precision, placed_on
from probes.inputs import Data, draw_inputs
from probes.moments.device import DeviceRecorder
from probes.moments.distribution import bounds_of
from probes.moments.figures import Moments
from probes.moments.host import HostRecorder
from probes.moments.recorder import Recorder
from probes.moments.spread import Spread, spread_of
from probes.state import unchanged, without_gradients

_Figures = tuple[Moments | None, ...]


@dataclass(frozen=True, eq=False)
class Probe(Mapping[str, Moments]):
    """What a probe measured: a mapping from the paths of the calls that ran to their moments.

    Attributes:
        graph: the calls.
        moments: figures for each call's first output, in the order of the calls; None for those
            that cannot be run, as they or what they read is opaque, and for parameters. Those of
            the first draw, where there are several.
        batch_size: samples that went through together; the smallest number, where it differed.
        device: where; the first, where there were several.
        draws: the figures of each draw of weights and inputs. One unless more were asked for.
    """

    graph: ModelGraph
    moments: tuple[Moments | None, ...]
    batch_size: int
    device: Device
    draws: tuple[tuple[Moments | None, ...], ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if not self.draws:
            object.__setattr__(self, "draws", (self.moments,))

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

    def spread(self, path: str) -> Spread | None:
        """How a call's variance differs over the draws; None where the call was not measured.

        A draw with an entry that is not finite counts as one of infinite variance.

        Raises:
            KeyError: for a path that the graph does not have.
        """
        place = next((n for n, call in enumerate(self.graph.calls) if call.path == path), None)
        if place is None:
            raise KeyError(path)
        figures = [draw[place] for draw in self.draws]
        return spread_of([
            each.variance if each.finite_fraction == 1.0 else math.inf
            for each in figures
            if each is not None
        ])  # fmt: skip


def probe_model(
    model: Any,
    num_samples: int = 128,
    seed: int = 0,
    input_mean: PerInput = 0.0,
    input_variance: PerInput = 1.0,
    training: bool = True,
    device: str = "auto",
    unknown_size: int = 32,
    memory_limit: int | None = None,
    progress: Progress | None = None,
    seeds: int = 1,
    input_data: Data | None = None,
) -> Probe:
    """Feed Gaussian noise or real data through a model and measure each call's output.

    The model is unchanged afterwards: weights, moving statistics and seeds.

    The same seed gives the same figures however many samples go through together, but for what the
    layers themselves do with a batch: normalisation in training takes its statistics from it, and
    dropout draws other noise, so that figures differ by chance. Correlations and the shape of a
    distribution are taken from the first samples: as many as hold 2^15 entries, 8 at least. Where
    fewer than 8 samples of a larger tensor went through together, they are those of the first
    batch, and where that is one sample they are not known.

    Args:
        model: a Keras model with a graph, or the `ModelGraph` of one.
        num_samples: samples of noise.
        seed: of the noise, and of dropout.
        input_mean, input_variance: of the noise: one number for all inputs, or numbers by name.
        training: mode of the model.
        device: `auto`, `cpu` or `gpu`.
        unknown_size: size taken for axes that the model leaves open.
        memory_limit: bytes that activations may take at once; half of what is free by default.
            Fewer samples then go through together, which changes what batch normalisation sees.
        progress: told the share done, from 0 to 1.
        seeds: independent draws of weights and inputs. 1 measures the model as it is. With more,
            each draw has weights by the layers' own initialisers (layers that cannot be made again
            from their configuration keep theirs), and the model's own are put back. The first
            draw has `seed` itself, the others have seeds derived from it, which also take the place
            of the seeds that initialisers have of their own. Several GPUs share the draws, each
            with a copy of the model; a `ModelGraph` cannot be copied, and all its draws run on the
            first device.
        input_data: samples to feed in place of noise, by the inputs' names, the samples' axis
            first: see `probes.inputs.draw_inputs`.

    Returns:
        Moments for each call that can be run.

    Raises:
        ValueError: for a number of samples or seeds below 1, a device that is not there, a name
            that is no input's, or data that do not fit.
        MemoryError: where not even one sample fits.

    Example:
        >>> import keras
        >>> from probes import probe_model
        >>> relu = keras.layers.ReLU(name="relu")
        >>> figures = probe_model(keras.Sequential([keras.Input((1000,)), relu]), 100)["relu"]
        >>> f"{figures.variance:.2f} {figures.zero_fraction:.2f}"  # (1 − 1/π)/2, and a half
        '0.34 0.50'
    """
    require_positive(num_samples=num_samples, seeds=seeds)
    read = partial(graph_of, unknown_size=unknown_size, training=training)
    graph = read(model)
    noise = _Noise(num_samples, input_mean, input_variance, training, memory_limit, input_data)
    devices = devices_of(device)
    if seeds == 1:
        figures, size = noise.measure(graph, seed, devices[0], progress or (lambda share: None))
        return Probe(graph, figures, size, devices[0])
    drawn = [seed if draw == 0 else derived(seed, draw) for draw in range(seeds)]
    replicas = [graph, *_copies(model, read, devices[1:seeds])]
    parts = _shares(progress, seeds)
    weights = threading.Lock()

    def work(place: int) -> list[tuple[_Figures, int]]:
        mine = slice(place, None, len(replicas))
        return noise.measure_draws(
            replicas[place], drawn[mine], seed, devices[place], parts[mine], weights
        )

    # Precision is a setting of the whole process: it is kept until all threads are done.
    with full_precision(), ThreadPoolExecutor(len(replicas)) as threads:
        # One device works in this thread, whose stack the caller may have chosen.
        each = map if len(replicas) == 1 else threads.map
        found = list(each(work, range(len(replicas))))
    ordered = [found[draw % len(found)][draw // len(found)] for draw in range(seeds)]
    draws = tuple(figures for figures, _ in ordered)
    return Probe(graph, draws[0], min(size for _, size in ordered), devices[0], draws=draws)


@dataclass(frozen=True)
class _Noise:
    """What is fed through a model.

    Attributes:
        samples: how many.
        mean, variance: of the inputs.
        training: mode of the model.
        limit: bytes that activations may take; None for half of what is free.
        data: in place of noise, by the inputs' names.
    """

    samples: int
    mean: PerInput
    variance: PerInput
    training: bool
    limit: int | None
    data: Data | None

    def measure_draws(
        self, graph: ModelGraph, seeds: Sequence[int], first: int, device: Device,
        progress: Sequence[Progress], weights: threading.Lock,
    ) -> list[tuple[_Figures, int]]:  # fmt: skip
        """Figures for weights and inputs of each seed, one after the other.

        `weights` is held while weights are drawn, which takes Python's one random generator; the
        model has its own again afterwards. The `first` seed of all draws what the initialisers say,
        those with a seed of their own included; the others give these another one for each layer.
        """
        variables = {id(v): v for layer in graph.layers() for v in getattr(layer, "weights", ())}
        own = SavedWeights(variables.values())
        found = []
        try:
            for seed, part in zip(seeds, progress, strict=True):
                with weights:
                    draw_configured_weights(graph, seed, reseed=seed != first)
                found.append(self.measure(graph, seed, device, part))
        finally:
            own.restore()
        return found

    def measure(
        self, graph: ModelGraph, seed: int, device: Device, progress: Progress
    ) -> tuple[_Figures, int]:
        """Figures for one seed, and how many samples went through together."""
        limit = self.limit or free_memory(device) // 2
        first = fixed_batch(graph) or fitting(partial(largest_alive, graph), self.samples, limit)

        def measure(size: int) -> _Figures:
            with placed_on(device), unchanged(graph, seed):
                return self._in_batches(graph, size, seed, device.kind == "cpu", progress)

        return while_memory_runs_out(
            measure, graph, first, device, "smaller inputs or another device"
        )

    def _in_batches(
        self, graph: ModelGraph, size: int, seed: int, on_host: bool, progress: Progress
    ) -> _Figures:
        inputs = draw_inputs(graph, self.samples, seed, self.mean, self.variance, self.data)
        starts = range(0, self.samples, size)
        with HostRecorder() if on_host else DeviceRecorder() as recorder:
            for number, start in enumerate(starts):
                batch = {index: array[start : start + size] for index, array in inputs.items()}
                done = number / len(starts)

                def part(share: float, done: float = done) -> None:
                    progress(done + share / len(starts))

                _run(graph, batch, self.training, recorder, part, number, len(starts))
            measured = iter(recorder.results())
        idle = graph.behind_placeholders()
        return tuple(
            next(measured) if call.index not in idle and _has_figures(call) else None
            for call in graph.calls
        )


def _copies(
    model: Any, read: Callable[[Any], ModelGraph], devices: Sequence[Device]
) -> list[ModelGraph]:
    """A copy of a model on each device; none of what cannot be copied."""
    copies: list[ModelGraph] = []
    if isinstance(model, ModelGraph):
        return copies
    for device in devices:
        try:
            with placed_on(device):
                copies.append(read(clone_with_weights(model)))
        except GraphError:
            return []
    return copies


def _shares(progress: Progress | None, parts: int) -> list[Progress]:
    """Tellers of the shares done of equal parts, which may come from several threads."""
    done, lock = [0.0] * parts, threading.Lock()

    def tell(part: int, share: float) -> None:
        with lock:
            done[part] = share
            if progress is not None:
                progress(sum(done) / parts)

    return [partial(tell, part) for part in range(parts)]


def _run(
    graph: ModelGraph,
    inputs: dict[int, Any],
    training: bool,
    recorder: Recorder,
    progress: Progress,
    number: int,
    batches: int,
) -> None:
    """Batch `number` through all calls that run; each tensor is let go after its last use.

    Inputs are by value index, and progress is told of this batch's share.
    """
    alive: dict[int, Any] = {}
    idle = graph.behind_placeholders()
    every = max(len(graph.calls) // 50, 1)
    batch = len(next(iter(inputs.values())))
    bounds = _bounds(graph)
    recorded: dict[int, int] = {}  # calls by the values that they wrote, as far as looked at
    with without_gradients():
        for call, finished in zip(graph.calls, last_uses(graph), strict=True):
            if call.index in idle:
                continue
            same = None
            if call.is_input:
                (value,) = call.outputs
                outputs = [keras.ops.convert_to_tensor(inputs[value.index], dtype=value.dtype)]
            else:
                tensors = [alive[value.index] for value in call.inputs]
                outputs = run_compiled(call, tensors, training, batch, graph.kept, batches)
                same = _handed_on(call, tensors, outputs[0])
                del tensors
            if _has_figures(call):
                of = None if same is None else recorded.get(same)
                if call.outputs[0].constant:
                    if number == 0:  # a table of positions is like one sample, of every batch
                        first = outputs[0][None]
                        recorder.record(first, bounds.get(call.index), call.index, last=True)
                        del first
                elif batches == 1 and of is not None and call.index not in bounds:
                    recorder.again(call.index, of)
                    recorded[call.outputs[0].index] = of
                else:
                    last = number == batches - 1
                    recorder.record(outputs[0], bounds.get(call.index), call.index, last=last)
                    if call.index not in bounds:
                        recorded[call.outputs[0].index] = call.index
            alive.update(
                (value.index, tensor) for value, tensor in zip(call.outputs, outputs, strict=True)
            )
            del outputs
            for index in finished:
                del alive[index]
            if call.index % every == 0:
                progress(call.index / len(graph.calls))


def _has_figures(call: Call) -> bool:
    """Whether a call that runs is measured: internal ones are not, and text has no moments."""
    return not call.is_internal and call.outputs[0].dtype != "string"


def _handed_on(call: Call, tensors: Sequence[Any], output: Any) -> int | None:
    """The value that a call returns just as it got it, such as dropout does in inference."""
    for value, tensor in zip(call.inputs, tensors, strict=True):
        if tensor is output:
            return value.index
    return None


def _bounds(graph: ModelGraph) -> dict[int, tuple[float, float]]:
    """Bounds of the activations that have some, by call."""
    known: dict[int, Any] = {}
    found = {}
    for call in graph.calls:
        if call.part != "activation" and not isinstance(call.layer, keras.layers.Activation):
            continue
        if call.placeholder is not None:
            continue
        function = call.activation
        if id(function) not in known:
            known[id(function)] = bounds_of(function)
        if known[id(function)] is not None:
            found[call.index] = known[id(function)]
    return found
