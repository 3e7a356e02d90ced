"""How many samples go through together, and what is done where memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import psutil

from autoinit.errors import NotMeasuredError, SettingsError
from autoinit.graph.model_graph import ModelGraph
from autoinit.reading import read_model
from probes.devices import Device, gpu_memory

OnProgress = Callable[[float], None]
MeasuredT = TypeVar("MeasuredT")
Samples = int | Literal["auto"]
# Of as many samples as it takes: how many go through together, and how many there are at most.
TOGETHER, MOST = 8, 128


def graph_of(model: Any, unknown_size: int, training: bool) -> ModelGraph:
    """The graph of a model, which may be one itself."""
    if isinstance(model, ModelGraph):
        return model
    return read_model(model, unknown_size, training=training)


def runnable(model: Any, unknown_size: int, training: bool, needs: str) -> ModelGraph:
    """The graph of a model of which every call can be run.

    Raises:
        ValueError: for another one; begins with `needs`, what is measured on every call.
    """
    graph = graph_of(model, unknown_size, training)
    if idle := graph.behind_placeholders():
        raise NotMeasuredError(
            f"{needs} every call of the model. This one cannot be run: "
            f"{graph.calls[min(idle)].path!r}."
        )
    return graph


def require_positive(**numbers: int) -> None:
    """Refuse numbers below 1.

    Raises:
        ValueError: names the first of them.
    """
    for name, number in numbers.items():
        if isinstance(number, str) or number < 1:
            raise SettingsError(f"{name} must be at least 1. Received: {number}")


def fixed_batch(graph: ModelGraph) -> int | None:
    """The size of a batch that the model itself lays down."""
    sizes = {call.outputs[0].shape[0] for call in graph.inputs} - {None}
    return sizes.pop() if len(sizes) == 1 else None


def block_of(graph: ModelGraph, num_samples: Samples, batch_size: int | None = None) -> int:
    """How many samples are drawn at a time, which go through together if memory allows it.

    A whole number of the batches that the model lays down, if it does.
    """
    if num_samples != "auto" and batch_size is None:
        return num_samples
    wanted = batch_size or TOGETHER
    batch = fixed_batch(graph) or 1
    return math.ceil(wanted / batch) * batch


def batch_of(graph: ModelGraph, num_samples: Samples, batch_size: int | None = None) -> int:
    """How many samples go through together where memory is no matter."""
    return fixed_batch(graph) or block_of(graph, num_samples, batch_size)


def fitting(needed: Callable[[int], int], samples: int, limit: int) -> int:
    """The number of samples, halved until the bytes that they need are within a limit."""
    while samples > 1 and needed(samples) > limit:
        samples = math.ceil(samples / 2)
    return samples


def while_memory_runs_out(
    measure: Callable[[int], MeasuredT],
    graph: ModelGraph,
    batch_size: int,
    device: Device,
    advice: str,
) -> tuple[MeasuredT, int]:
    """What is measured, and the size of a batch with which it can be: half of it, and so on.

    Args:
        measure: takes the size of a batch.
        graph, device: of the model, and where it runs.
        batch_size: to try first.
        advice: what to do where not even one sample fits.

    Raises:
        MemoryError: where not even one sample fits, or the model's own batch.
    """
    while True:
        try:
            return measure(batch_size), batch_size
        except Exception as error:
            if not out_of_memory(error):
                raise
            if batch_size == 1 or fixed_batch(graph):
                raise MemoryError(
                    f"Not even a batch of {batch_size} fits into the memory of {device.name}: "
                    f"choose {advice}."
                ) from error
            batch_size = max(batch_size // 2, 1)


def free_memory(device: Device | None = None) -> int:
    """Bytes that a device could still give; the machine's, for a CPU and where nothing tells."""
    if device is not None and device.kind == "gpu":
        told = gpu_memory(device.index)
        if told is not None:
            return told
    return int(psutil.virtual_memory().available)


def out_of_memory(error: Exception) -> bool:
    """Whether a framework's exception means that memory ran out."""
    text = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or any(
        sign in text for sign in ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OutOfMemory", "OOM")
    )
