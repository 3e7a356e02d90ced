"""Batches of samples through the calls of a graph, and what each call gives recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from autoinit.errors import GraphError, said_by_keras
from autoinit.graph.compiled import run_compiled
from autoinit.graph.model_graph import Call, ModelGraph, innermost
from autoinit.graph.shapes import last_uses
from autoinit.running.state import without_gradients
from probes.batching import OnProgress
from probes.kernels import by_kernel
from probes.moments.distribution import bounds_of
from probes.moments.recorder import FirstAxis, Recorder


class Pass:
    """Takes batches through all calls that run.

    Args:
        graph: the calls.
        training: mode of the model.
        recorder: of their outputs.
        mixed: calls whose output for one sample depends on the others.
        batches: how many there will be at least; 1 if there is only one.
    """

    def __init__(
        self,
        graph: ModelGraph,
        training: bool,
        recorder: Recorder,
        mixed: frozenset[int],
        batches: int,
    ) -> None:
        self._graph, self._training, self._mixed, self._batches = graph, training, mixed, batches
        self._idle, self._bounds = graph.behind_placeholders(), _bounds(graph)
        self.recorder = recorder
        self._begun = False

    def in_slices(
        self, inputs: Mapping[int, Any], size: int, progress: OnProgress, last: bool
    ) -> None:
        """Samples by value index, so many together; `last` where no others follow."""
        starts = range(0, len(next(iter(inputs.values()))), size)
        for number, start in enumerate(starts):
            batch = {index: array[start : start + size] for index, array in inputs.items()}

            def part(share: float, number: int = number) -> None:
                progress((number + share) / len(starts))

            self.run(batch, part, last and start == starts[-1])
            self._begun = True

    def run(self, inputs: Mapping[int, Any], progress: OnProgress, last: bool) -> None:
        """A batch; each tensor is let go after its last use, and progress is told of its share."""
        graph, alive = self._graph, dict[int, Any]()
        every = max(len(graph.calls) // 50, 1)
        batch = len(next(iter(inputs.values())))
        recorded: dict[int, int] = {}  # calls by the values that they wrote, as far as looked at
        with without_gradients():
            for call, finished in zip(graph.calls, last_uses(graph), strict=True):
                if call.index in self._idle:
                    continue
                same = None
                if call.is_input:
                    (value,) = call.outputs
                    outputs = [keras.ops.convert_to_tensor(inputs[value.index], dtype=value.dtype)]
                else:
                    tensors = [alive[value.index] for value in call.inputs]
                    outputs = self._outputs(call, tensors, batch)
                    same = _handed_on(call, tensors, outputs[0])
                    del tensors
                if has_figures(call):
                    of = None if same is None else recorded.get(same)
                    looked_at = self._record(call, outputs[0], of, batch, last)
                    if looked_at is not None:
                        recorded[call.outputs[0].index] = looked_at
                alive.update(
                    (value.index, tensor)
                    for value, tensor in zip(call.outputs, outputs, strict=True)
                )
                del outputs
                for index in finished:
                    del alive[index]
                if call.index % every == 0:
                    progress(call.index / len(graph.calls))

    def _outputs(self, call: Call, tensors: Sequence[Any], batch: int) -> list[Any]:
        direct = by_kernel(call, tensors, self._training)
        if direct is not None:
            return [direct]
        try:
            return run_compiled(
                call, tensors, self._training, batch, self._graph.workspace, self._batches
            )
        except Exception as error:
            if not is_foreign(call.layer):
                raise
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
            raise GraphError(
                f"Layer {call.path!r} ({call.class_name}) fails on input of shape {shapes}. It "
                f"says: {said_by_keras(error).rstrip('. ')}. The model itself does not run on such "
                "input: mend the layer, or give the inputs other sizes."
            ) from error

    def _record(
        self, call: Call, tensor: Any, of: int | None, batch: int, last: bool
    ) -> int | None:
        """Take a call's output, which call `of` may have given before.

        Returns:
            The call whose figures those of the same tensor would be; None where they would not.
        """
        bounds = self._bounds.get(call.index)
        if call.outputs[0].constant:
            if not self._begun:  # a table of positions is like one sample, of every batch
                self.recorder.record(tensor[None], bounds, call.index, last=True)
            return None
        if self._batches == 1 and of is not None and bounds is None:
            self.recorder.again(call.index, of)
            return of
        samples = FirstAxis(batch, call.index in self._mixed)
        self.recorder.record(tensor, bounds, call.index, last=last, samples=samples)
        return call.index if bounds is None else None


def is_foreign(layer: Any) -> bool:
    """Whether a layer is neither one of Keras's nor one of ours."""
    return not type(innermost(layer)).__module__.startswith(("keras.", "autoinit."))


def behind_batch_statistics(graph: ModelGraph) -> frozenset[int]:
    """The calls whose output for one sample depends on the others of its batch, in training.

    Nobody knows what a layer of somebody's own does that is run as a whole.
    """
    values, calls = set[int](), set[int]()
    for call in graph.calls:
        layer = innermost(call.layer)
        normalizes = isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        if normalizes or is_foreign(layer) or any(value.index in values for value in call.inputs):
            values.update(value.index for value in call.outputs)
            calls.add(call.index)
    return frozenset(calls)


def has_figures(call: Call) -> bool:
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
