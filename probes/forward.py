"""The empirical interpreter: real tensors through the same calls, moments of which are kept."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from autoinit.errors import GraphError, SettingsError
from autoinit.graph.input_moments import PerInput
from autoinit.graph.model_graph import ModelGraph, weights_of
from autoinit.graph.shapes import largest_alive
from autoinit.initializers.cloning import clone_with_weights
from autoinit.initializers.drawing import SavedWeights, draw_configured_weights
from autoinit.randomness import derived
from autoinit.running.inputs import Data, Given, by_name
from autoinit.running.state import unchanged
from probes.batching import (
    MOST,
    OnProgress,
    Samples,
    block_of,
    fitting,
    fixed_batch,
    free_memory,
    graph_of,
    require_positive,
    while_memory_runs_out,
)
from probes.blocks import Blocks
from probes.devices import Device, devices_of, full_precision, placed_on
from probes.moments.device import DeviceRecorder
from probes.moments.figures import Moments
from probes.moments.host import HostRecorder
from probes.moments.precision import PRECISION
from probes.moments.recorder import Recorder
from probes.moments.spread import Spread, spread_of
from probes.passing import Pass, behind_batch_statistics, has_figures

# Times the precision asked for: who hopes to be so near looks whether it is not reached already.
_NEARLY = 1.25
# Entries that all calls may write for the first samples, for each of them and together: so few take
# hardly longer than the calls themselves, and to come back for more samples costs these again.
_FIRST_PER_CALL, _FIRST = 2**19, 2**26

_Figures = tuple[Moments | None, ...]


@dataclass(frozen=True, eq=False, repr=False)
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
        samples: how many there were; the fewest of the draws. Each call's moments have the
            `standard_error` of its variance.
    """

    graph: ModelGraph
    moments: tuple[Moments | None, ...]
    batch_size: int
    device: Device
    draws: tuple[tuple[Moments | None, ...], ...] = field(default=(), kw_only=True)
    samples: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if not self.draws:
            object.__setattr__(self, "draws", (self.moments,))

    def __getitem__(self, path: str) -> Moments:
        for call, moments in zip(self.graph.calls, self.moments, strict=True):
            if call.path == path and moments is not None:
                return moments
        raise KeyError(f"No call {path!r} was measured. Those that were: {', '.join(self)}.")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.graph.name!r}: {len(self)} calls>"

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
        return spread_of(
            [
                each.variance if each.finite_fraction == 1.0 else math.inf
                for each in figures
                if each is not None
            ]
        )


def probe_model(
    model: Any,
    num_samples: Samples = 128,
    seed: int = 0,
    input_mean: PerInput = 0.0,
    input_variance: PerInput = 1.0,
    training: bool = True,
    device: str = "auto",
    unknown_size: int = 32,
    memory_limit: int | None = None,
    progress: OnProgress | None = None,
    seeds: int = 1,
    input_data: Given | None = None,
    batch_size: int | None = None,
    precision: float = PRECISION,
    budget: float | None = None,
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
        num_samples: samples of noise. With `auto` 8 at first, or more where they cost no more, and
            twice as many each time, up to 128, until every call's variance has the precision that
            is asked for; batches of 8, so that what a normalisation sees does not depend on their
            number. Of real data no sample is taken twice for that.
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
            first: see `autoinit.running.inputs.draw_inputs`.
        batch_size: samples that go through together: batch after batch of so many is drawn, the
            last one with what is left, the first one with `seed` itself. By default all, and 8 with
            `auto`, where later ones are joined as long as no sample depends on the others of its
            batch. One batch is the least, though it be more than 128.
        precision: relative standard error that `auto` is to reach for all variances.
        budget: seconds that `auto` may take for each draw, judged by the batches before: what would
            take longer is not begun. For the precision of some calls, all are run again: that may
            take their share of these seconds. As long as it takes by default.

    Returns:
        Moments for each call that can be run.

    Raises:
        ValueError: for a number of samples, of a batch or of seeds below 1, a precision of 0, a
            device that is not there, a name that is no input's, or data that do not fit.
        MemoryError: where not even one sample fits.

    Example:
        >>> import keras
        >>> from probes import probe_model
        >>> relu = keras.layers.ReLU(name="relu")
        >>> figures = probe_model(keras.Sequential([keras.Input((1000,)), relu]), 100)["relu"]
        >>> f"{figures.variance:.2f} {figures.zero_fraction:.2f}"  # (1 − 1/π)/2, and a half
        '0.34 0.50'
    """
    require_positive(
        num_samples=1 if num_samples == "auto" else num_samples,
        seeds=seeds,
        batch_size=1 if batch_size is None else batch_size,
    )
    if not precision > 0.0:
        raise SettingsError(f"precision must be above 0. Received: {precision!r}")
    read = partial(graph_of, unknown_size=unknown_size, training=training)
    graph = read(model)
    noise = _Noise(
        num_samples,
        input_mean,
        input_variance,
        training,
        memory_limit,
        None if input_data is None else by_name(graph, input_data),
        batch_size,
        precision,
        math.inf if budget is None else budget,
    )
    devices = devices_of(device)
    if seeds == 1:
        found = noise.measure(graph, seed, devices[0], progress or (lambda share: None))
        return Probe(graph, found.figures, found.together, devices[0], samples=found.samples)
    drawn = [seed if draw == 0 else derived(seed, draw) for draw in range(seeds)]
    replicas = [graph, *_copies(model, read, devices[1:seeds])]
    parts = _shares(progress, seeds)
    weights = threading.Lock()

    def work(place: int) -> list[_Measured]:
        mine = slice(place, None, len(replicas))
        return noise.measure_draws(
            replicas[place], drawn[mine], seed, devices[place], parts[mine], weights
        )

    # Precision is a setting of the whole process: it is kept until all threads are done.
    with full_precision(), ThreadPoolExecutor(len(replicas)) as threads:
        # One device works in this thread, whose stack the caller may have chosen.
        each = map if len(replicas) == 1 else threads.map
        parts_found = list(each(work, range(len(replicas))))
    count = len(parts_found)
    ordered = [parts_found[draw % count][draw // count] for draw in range(seeds)]
    draws = tuple(found.figures for found in ordered)
    return Probe(
        graph,
        draws[0],
        min(found.together for found in ordered),
        devices[0],
        draws=draws,
        samples=min(found.samples for found in ordered),
    )


class _Measured(NamedTuple):
    """Figures of one draw, how many samples went through together, and how many there were."""

    figures: _Figures
    together: int
    samples: int


@dataclass(frozen=True)
class _Noise:
    """What is fed through a model.

    Attributes:
        samples: how many, or `auto`.
        mean, variance: of the inputs.
        training: mode of the model.
        limit: bytes that activations may take; None for half of what is free.
        data: in place of noise, by the inputs' names.
        batch_size: samples that go through together; None for as is usual.
        precision, budget: of `auto`: relative standard error to reach, and seconds.
    """

    samples: Samples
    mean: PerInput
    variance: PerInput
    training: bool
    limit: int | None
    data: Data | None
    batch_size: int | None
    precision: float
    budget: float

    def measure_draws(
        self,
        graph: ModelGraph,
        seeds: Sequence[int],
        first: int,
        device: Device,
        progress: Sequence[OnProgress],
        weights: threading.Lock,
    ) -> list[_Measured]:
        """Figures for weights and inputs of each seed, one after the other.

        `weights` is held while weights are drawn, which takes Python's one random generator; the
        model has its own again afterwards. The `first` seed of all draws what the initialisers say,
        those with a seed of their own included; the others give these another one for each layer.
        """
        variables = {id(v): v for layer in graph.layers() for v in weights_of(layer)}
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
        self, graph: ModelGraph, seed: int, device: Device, progress: OnProgress
    ) -> _Measured:
        """Figures for one seed."""
        limit = self.limit or free_memory(device) // 2
        block = block_of(graph, self.samples, self.batch_size)
        needed, fixed = partial(largest_alive, graph), fixed_batch(graph)
        first = fixed or fitting(needed, block, limit)
        mixed = behind_batch_statistics(graph) if self.training else frozenset()
        # Where samples do not see each other, many together take less time, and give the same.
        free = self.samples == "auto" and not (self.batch_size or fixed or mixed)

        def measure(size: int) -> tuple[_Figures, int]:
            blocks = Blocks(
                graph, self.samples, block, seed, self.mean, self.variance, self.data or {}
            )
            later = fitting(needed, MOST, limit) if free and size == first else size
            with (
                placed_on(device),
                unchanged(graph, seed),
                HostRecorder() if device.kind == "cpu" else DeviceRecorder() as recorder,
            ):
                run = Pass(graph, self.training, recorder, mixed, blocks.batches(size))
                goals = _from_cheap_on(graph, blocks.goals, later) if free else blocks.goals
                samples = self._in_stages(goals, blocks, run, (size, later), progress)
                measured = iter(recorder.results())
            idle = graph.behind_placeholders()
            figures = tuple(
                next(measured) if call.index not in idle and has_figures(call) else None
                for call in graph.calls
            )
            return figures, samples

        (figures, samples), together = while_memory_runs_out(
            measure, graph, first, device, "smaller inputs or another device"
        )
        return _Measured(figures, together, samples)

    def _in_stages(
        self,
        goals: Sequence[int],
        blocks: Blocks,
        run: Pass,
        sizes: tuple[int, int],
        progress: OnProgress,
    ) -> int:
        """Samples until there are enough: how many.

        Args:
            goals: numbers at which one may stop.
            blocks, run: of inputs, and what they are taken through.
            sizes: how many go through together at first, and later on.
            progress: told of each stage as of half of what was left.
        """
        begin, fastest = time.perf_counter(), math.inf
        done, stage, goal = 0, 0, goals[0]
        while goal > done:
            start, last = time.perf_counter(), goal == goals[-1]
            told = _part_of(progress, *_stage(stage, last))
            self._up_to(goal, done, blocks, run, sizes[goal > sizes[0]], told, last)
            now = time.perf_counter()
            fastest = min(fastest, (now - start) / (goal - done))
            done, stage = goal, stage + 1
            if not last:
                left = self.budget - (now - begin)
                skip = sizes[1] > sizes[0]
                goal = self._next_goal(goals, done, run.recorder, left, fastest, skip)
        return done

    def _up_to(
        self,
        goal: int,
        done: int,
        blocks: Blocks,
        run: Pass,
        size: int,
        progress: OnProgress,
        last: bool,
    ) -> None:
        """The samples from `done` to `goal`, each block by itself unless several fit together."""
        step = max(size // blocks.size, 1) * blocks.size
        for start in range(done, goal, step):
            samples = min(step, goal - start)
            shares = (start - done) / (goal - done), samples / (goal - done)
            inputs = blocks.inputs(start, samples)
            run.in_slices(inputs, size, _part_of(progress, *shares), last and start + step >= goal)

    def _next_goal(
        self,
        goals: Sequence[int],
        done: int,
        recorder: Recorder,
        left: float,
        each: float,
        skip: bool,
    ) -> int:
        """How many samples there should be, done if no more.

        Args:
            goals: numbers to choose from.
            done: so many there are.
            recorder: of what was measured.
            left: seconds.
            each: seconds that a sample takes, judged by the fastest so far.
            skip: go at once to where the precision may be reached, as errors fall with the root of
                the number. Where there are few batches to tell them from, errors may be too large.
        """
        errors = [error for error in recorder.standard_errors().values() if error is not None]
        unsure = [error for error in errors if error > self.precision]
        if not unsure:
            return done
        worst, share = max(unsure), len(unsure) / len(errors)
        most = done + max(min(left, share * self.budget), 0.0) / each
        later = [goal for goal in goals if done < goal <= most]
        if not later:
            return done
        enough = done * (worst / (_NEARLY * self.precision)) ** 2
        return next((goal for goal in later if goal >= enough), later[-1]) if skip else later[0]


def _from_cheap_on(graph: ModelGraph, goals: Sequence[int], together: int) -> Sequence[int]:
    """The goals from the largest on that costs hardly more than the smallest.

    Args:
        graph: whose samples do not depend on each other.
        goals: numbers of samples, in order.
        together: how many fit into memory.
    """
    written = sum(value.entries for call in graph.calls for value in call.outputs)
    most = min(len(graph.calls) * _FIRST_PER_CALL, _FIRST) / max(written, 1)
    cheap = [goal for goal in goals if goal <= min(most, together)]
    return goals[max(len(cheap) - 1, 0) :]


def _part_of(progress: OnProgress, start: float, size: float) -> OnProgress:
    return lambda share: progress(start + size * share)


def _stage(stage: int, last: bool) -> tuple[float, float]:
    """Where a stage begins and how long it is: half of what is left, the last one all of it."""
    start = 1 - 0.5**stage
    return start, (1 - start) * (1.0 if last else 0.5)


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


def _shares(progress: OnProgress | None, parts: int) -> list[OnProgress]:
    """Tellers of the shares done of equal parts, which may come from several threads."""
    done, lock = [0.0] * parts, threading.Lock()

    def tell(part: int, share: float) -> None:
        with lock:
            done[part] = share
            if progress is not None:
                progress(sum(done) / parts)

    return [partial(tell, part) for part in range(parts)]
