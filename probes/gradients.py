"""Gradients of a random function of a model's outputs, back through the same calls.

The scalar is Σ c·y over all entries of the model's outputs y, with a cotangent c of independent
standard normal numbers in place of a loss's gradient: the figures tell what the model does to any
gradient on its way back. The paper's appendix E suggests to look at these signals beside those
that go forward, as Glorot & Bengio (2010) did.

The calls are differentiated in segments (`probes/segments.py`, `probes/differentiation.py`): all
together, as ordinary training does, or with checkpoints where that takes too much memory.

On two cores a probe of 128 samples takes 1.1 to 1.2 times a compiled step of training with SGD
(ResNet-56 with and without normalisation, and VGG), about as long as the step the first time, and
1.1 to 1.5 times its memory (ResNet-56 without normalisation, and VGG); ResNet-812 with checkpoints
takes 0.9 GiB for 32 samples, of which all activations would be 5 GiB.
`python -m benchmarks.gradients` prints the table.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from autoinit.arrays import as_array
from autoinit.graph.input_moments import PerInput
from autoinit.graph.model_graph import ModelGraph, Value
from autoinit.randomness import derived
from autoinit.running.inputs import Given, draw_inputs
from autoinit.running.state import unchanged, without_gradients
from probes.batching import (
    OnProgress,
    fitting,
    fixed_batch,
    free_memory,
    graph_of,
    out_of_memory,
    require_positive,
    while_memory_runs_out,
)
from probes.devices import find_device, placed_on
from probes.forward import Probe
from probes.logits import logits_of
from probes.moments.device import DeviceRecorder
from probes.moments.figures import Moments
from probes.moments.recorder import Recorder
from probes.segments import (
    CompiledPasses,
    ModelState,
    Passes,
    as_at_first,
    needed,
    segments_of,
    state_of,
    trainable,
)


@dataclass(frozen=True, eq=False, repr=False)
class Gradients(Probe):
    """What flows back: a mapping from the paths of calls to the moments of their gradients.

    Attributes:
        graph: the calls.
        moments: figures of the gradient for each call's first output, in the order of the calls;
            None for those that no gradient reaches, for whole numbers and for parameters. There
            are no correlations and no shape: samples have independent cotangents.
        batch_size: samples that went through together.
        device: where.
        variables: figures of the gradient for each trainable variable, by its path (the second
            variable of a path is `dense/kernel:2`); None for those that no gradient reaches. It is
            a sum over samples.
        checkpointed: whether calls were run twice, to take less memory.
        update_ratios: of each trainable variable with two axes or more, by its path: the root mean
            square of its gradient, of one sample, beside its own. At a learning rate of 1 plain
            gradient descent would change it by this share of its size. None where no gradient
            reaches it, or where it is 0.
    """

    variables: Mapping[str, Moments | None]
    checkpointed: bool
    update_ratios: Mapping[str, float | None]


def probe_gradients(
    model: Any,
    num_samples: int = 128,
    seed: int = 0,
    input_mean: PerInput = 0.0,
    input_variance: PerInput = 1.0,
    training: bool = True,
    device: str = "auto",
    unknown_size: int = 32,
    memory_limit: int | None = None,
    checkpoint: bool | None = None,
    logits: bool = False,
    progress: OnProgress | None = None,
    input_data: Given | None = None,
    compiled: CompiledPasses | None = None,
    batch_size: int | None = None,
) -> Gradients:
    """Feed noise or real data through a model, and a Gaussian cotangent back from its outputs.

    Noise and dropout are those of `probe_model` with the same seed and batch size. Where none of
    the outputs can be run, the cotangent is that of all values that nothing reads which can be
    run. The model is unchanged afterwards: weights, moving statistics and seeds.

    Args:
        model: a Keras model with a graph, or the `ModelGraph` of one.
        num_samples: samples of noise.
        seed: of the noise, of dropout, and of the cotangent.
        input_mean, input_variance, input_data, training, device, unknown_size: as for
            `probe_model`. The cotangent has mean 0 and variance 1.
        memory_limit: bytes that activations may take at once; half of what is free by default.
            Where checkpoints do not bring them within it, fewer samples go through together.
        checkpoint: run calls twice, so that memory grows with the root of the model's depth; by
            default, where ordinary training would not fit into memory.
        logits: have the cotangent at what a last softmax or sigmoid reads, as losses that are
            computed from logits do, in place of what it gives.
        progress: told the share done, from 0 to 1; sometimes by another thread.
        compiled: keeps what TensorFlow compiles: the same `ModelGraph` with other weights is then
            measured faster with the same `CompiledPasses()`.
        batch_size: samples that go through together, if memory allows it; all by default.

    Returns:
        Moments of the gradient for each call's first output and for each trainable variable.

    Raises:
        ValueError: for a number of samples or of a batch below 1, a device that is not there, a
            name that is no input's, data that do not fit, or a backend other than TensorFlow, JAX
            and PyTorch.
        MemoryError: where not even one sample fits.

    Example:
        >>> import keras
        >>> from probes import probe_gradients
        >>> double = keras.layers.Rescaling(2.0, name="double")
        >>> found = probe_gradients(keras.Sequential([keras.Input((1000,), name="x"), double]), 100)
        >>> f"{found['x'].variance / found['double'].variance:.2f}"  # 2², by the chain rule
        '4.00'
    """
    require_positive(num_samples=num_samples, batch_size=1 if batch_size is None else batch_size)
    most = min(num_samples, batch_size or num_samples)
    graph = graph_of(model, unknown_size, training)
    found = find_device(device)
    limit = memory_limit or free_memory(found) // 2
    whole, apart = (partial(needed, graph, segments_of(graph, each)) for each in (False, True))
    checkpointed = bool(checkpoint)
    if checkpoint is None:
        checkpointed = whole(fixed_batch(graph) or most) > limit
    bytes_for = apart if checkpointed else whole
    first = fixed_batch(graph) or fitting(bytes_for, most, limit)

    known = compiled or CompiledPasses()

    def measure(size: int) -> _Probing:
        nonlocal checkpointed
        try:
            with placed_on(found), unchanged(graph, seed):
                on_host = found.kind == "cpu"
                passes = known.through(graph, checkpointed, training, on_host)
                probing = _Probing(graph, passes, progress)
                inputs = draw_inputs(
                    graph, num_samples, seed, input_mean, input_variance, input_data
                )
                cotangents = _draw_cotangents(graph, num_samples, seed, logits)
                probing.run(inputs, cotangents, num_samples, size)
                return probing
        except Exception as error:
            if checkpointed or checkpoint is False or not out_of_memory(error):
                raise
        checkpointed = True
        return measure(size)

    probing, together = while_memory_runs_out(
        measure, graph, first, found, "smaller inputs, checkpoint=True or another device"
    )
    return Gradients(
        graph,
        probing.moments(),
        together,
        found,
        probing.variables(),
        checkpointed,
        probing.update_ratios(num_samples),
        samples=num_samples,
    )


class _Probing:
    """Takes batches there and back, and keeps the figures."""

    def __init__(self, graph: ModelGraph, passes: Passes, progress: OnProgress | None) -> None:
        self.graph = graph
        self.passes = passes
        self.segments = passes.segments
        self.progress = progress or (lambda share: None)
        # Figures by the index of a call, and by `_of_variable` of a variable's identity.
        self.found: Mapping[Any, Moments] = {}
        # Gradients that are sums over samples, by the same keys: of constants and of variables.
        self.sums: dict[Any, Any] = {}
        self.steps = self.done = self.due = 0
        self.lock = threading.Lock()

    def run(
        self, inputs: Mapping[int, Any], cotangents: Mapping[int, Any], samples: int, size: int
    ) -> None:
        """Take all samples through, `size` of them together; arrays are by value index."""
        starts = range(0, samples, size)
        calls = [len(segment.calls) for segment in self.segments]
        self.steps = (2 * sum(calls) + sum(calls[:-1])) * len(starts)
        with self.passes.recording(self._step) as recorder:
            for start in starts:
                stop = min(start + size, samples)
                fed, seeds = self._batch(inputs, cotangents, samples, slice(start, stop))
                self._there_and_back(fed, seeds, stop - start, recorder)
            for key, total in self.sums.items():
                recorder.record(keras.ops.reshape(total, (-1,)), None, key, last=True)
            self.sums.clear()
            self.found = recorder.by_key()

    def _batch(
        self, inputs: Mapping[int, Any], cotangents: Mapping[int, Any], samples: int, part: slice
    ) -> tuple[dict[int, Any], dict[int, Any]]:
        """Tensors of the inputs and of the cotangents, of some of the samples."""
        values = self.graph.values
        fed, seeds = {}, {}
        for index, array in inputs.items():
            fed[index] = keras.ops.convert_to_tensor(array[part], dtype=values[index].dtype)
        for index, array in cotangents.items():
            value = values[index]
            # What does not depend on the samples is in the sum once, not once a batch.
            taken = (
                array * ((part.stop - part.start) / samples)
                if value.constant
                else array[part.start * value.rows : part.stop * value.rows]
            )
            seeds[index] = keras.ops.convert_to_tensor(taken, dtype=value.dtype)
        return fed, seeds

    def moments(self) -> tuple[Moments | None, ...]:
        """Figures for each call of the graph."""
        return tuple(self.found.get(call.index) for call in self.graph.calls)

    def variables(self) -> dict[str, Moments | None]:
        """Figures for each trainable variable, by its path."""
        named = variables_by_path(self.graph)
        return {path: self.found.get(_of_variable(id(v))) for path, v in named.items()}

    def update_ratios(self, samples: int) -> dict[str, float | None]:
        """Gradients of matrices beside their sizes, by their paths."""
        return {
            path: _update_ratio(variable, self.found.get(_of_variable(id(variable))), samples)
            for path, variable in variables_by_path(self.graph).items()
            if len(variable.shape) > 1
        }

    def _there_and_back(
        self, fed: Mapping[int, Any], cotangents: dict[int, Any], batch: int, recorder: Recorder
    ) -> None:
        """One batch: all segments but the last forward, then each of them back.

        Inputs and cotangents are by value index. Cotangents of values that cross from one segment
        into another join those of the outputs; each leaves when it has been used. In the CPU's
        memory the recorder has what was measured already.
        """
        for segment in self.segments:
            for call in segment.calls:
                if call.retrace is not None:
                    call.retrace(batch)  # is kept: made while compiling, it would not last
        borders: list[dict[int, Any]] = []  # what each segment leaves for later ones
        states: list[ModelState] = []
        for segment in self.segments[:-1]:
            self.due += len(segment.calls)
            states.append(state_of(segment.calls))
            made = dict(fed)
            with without_gradients():
                segment.forward(ChainMap(made, *borders), batch)
            borders.append({i: tensor for i, tensor in made.items() if i in segment.written})
        for number, segment in reversed(list(enumerate(self.segments))):
            self.due += 2 * len(segment.calls)
            available = ChainMap(dict(fed), *borders)
            given = [available[index] for index in segment.given]
            wanted = tuple(index for index in segment.written if index in cotangents)
            seeds = [cotangents.pop(index) for index in wanted]
            if borders:
                borders.pop()
            del available
            if wanted:
                again = number < len(states)
                first = as_at_first(segment.calls, states[number]) if again else None
                with first or contextlib.nullcontext():
                    products = segment.products(given, seeds, (batch, wanted))
                for key, measured in products.measured.items():
                    call = self.graph.calls[key]
                    if call.outputs[0].constant:
                        self._add(key, measured)
                    elif isinstance(recorder, DeviceRecorder):
                        count = math.prod(call.outputs[0].sizes(batch))
                        recorder.record_summary(measured, count, key)
                for index, gradient in zip(segment.given, products.of_tensors, strict=True):
                    if gradient is not None and index not in segment.fed:
                        known = cotangents.get(index)
                        cotangents[index] = gradient if known is None else known + gradient
                for variable, gradient in zip(
                    segment.variables, products.of_variables, strict=True
                ):
                    if gradient is not None:
                        self._add(_of_variable(id(variable)), gradient)
            self._tell(self.due)

    def _add(self, key: Any, gradient: Any) -> None:
        known = self.sums.get(key)
        self.sums[key] = gradient if known is None else known + gradient

    def _step(self) -> None:
        self._tell(self.done + 1)

    def _tell(self, done: int) -> None:
        with self.lock:  # TensorFlow measures several gradients at a time
            # Compiled calls take no steps, and a function that could not be compiled takes more.
            before, self.done = self.done, max(self.done, min(done, self.due))
            every = max(self.steps // 50, 1)
            if self.done // every > before // every:
                self.progress(min(self.done / self.steps, 1.0))


def variables_by_path(graph: ModelGraph) -> dict[str, Any]:
    """The trainable variables of a graph's calls; the second of a path is `dense/kernel:2`."""
    return by_path(v for call in graph.calls for v in trainable(call))


def by_path(variables: Iterable[Any]) -> dict[str, Any]:
    """Variables, each once, by their paths, which are told apart by numbers."""
    named: dict[str, Any] = {}
    for variable in {id(v): v for v in variables}.values():
        path, number = variable.path, 1
        while path in named:
            number += 1
            path = f"{variable.path}:{number}"
        named[path] = variable
    return named


def _update_ratio(variable: Any, gradient: Moments | None, samples: int) -> float | None:
    """The root mean square of a sample's gradient beside that of the variable."""
    values = as_array(variable).ravel()
    square = float(np.vdot(values, values)) / max(values.size, 1)
    if gradient is None or not 0.0 < square < math.inf:
        return None
    # A sum over samples with cotangents of their own has their number of times the mean square.
    ratio = math.sqrt(gradient.mean_square / samples / square)
    return ratio if math.isfinite(ratio) else None


def _of_variable(identity: int) -> tuple[str, int]:
    """A key that no call has."""
    return "variable", identity


def _targets(graph: ModelGraph, logits: bool) -> list[Value]:
    """The outputs that can be run; where none can, what can be run and is not read."""
    idle = graph.behind_placeholders()
    calls = [call for call in graph.calls if call.index not in idle]
    written = {value.index: value for call in calls for value in call.outputs}
    targets = [value for value in graph.outputs if value.index in written]
    if not targets:
        read = {value.index for call in calls for value in call.inputs}
        targets = [value for index, value in written.items() if index not in read]
    elif logits:
        targets = list(logits_of(graph, targets))
    return [value for value in targets if keras.backend.is_float_dtype(value.dtype)]


def _draw_cotangents(
    graph: ModelGraph, samples: int, seed: int, logits: bool = False
) -> dict[int, Any]:
    """Standard normal arrays by value index; a value that is two outputs has the sum of two."""
    cotangents: dict[int, Any] = {}
    for number, value in enumerate(_targets(graph, logits)):
        # Apart from the inputs' seed, and from those of dropout.
        generator = np.random.default_rng(derived(seed, number, 1))
        array = generator.standard_normal(value.sizes(samples), dtype=np.float32)
        cotangents[value.index] = cotangents.get(value.index, 0) + array
    return cotangents
