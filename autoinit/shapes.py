"""The shape interpreter: how much memory a graph's activations take, before any is allocated."""

from __future__ import annotations

from autoinit.graph import Call, ModelGraph, Value

_BYTES = {"float64": 8, "int64": 8, "uint64": 8, "float16": 2, "bfloat16": 2, "int16": 2,
          "uint16": 2, "int8": 1, "uint8": 1, "bool": 1}  # fmt: skip


def bytes_of(value: Value, samples: int) -> int:
    """Size of a tensor for a number of samples."""
    return samples * value.entries * _BYTES.get(value.dtype, 4)


def _adds_bias(call: Call) -> bool:
    return call.part != "activation" and getattr(call.layer, "bias", None) is not None


def last_uses(graph: ModelGraph, *, running: bool = True) -> list[tuple[int, ...]]:
    """For each call, the values that nobody reads after it.

    Args:
        graph: of the calls.
        running: whether the calls are run: those that cannot be read nothing then.
    """
    last: dict[int, int] = {}
    idle = graph.not_run() if running else frozenset()
    for call in graph.calls:
        if call.index in idle:
            continue
        for value in (*call.outputs, *call.inputs):
            last[value.index] = call.index
    ends: list[list[int]] = [[] for _ in graph.calls]
    for value_index, call_index in last.items():
        ends[call_index].append(value_index)
    return [tuple(values) for values in ends]


def largest_alive(graph: ModelGraph, samples: int) -> int:
    """Bytes of the largest set of activations that are alive at once.

    A call's inputs and outputs are alive together, and so is what Keras computes before it adds a
    bias; an activation dies after its last use. What cannot be run takes no memory.
    """
    ends = last_uses(graph)
    idle = graph.not_run()
    alive = largest = 0
    for call, finished in zip(graph.calls, ends, strict=True):
        if call.index in idle:
            continue
        written = sum(bytes_of(value, samples) for value in call.outputs)
        alive += written
        largest = max(largest, alive + (written if _adds_bias(call) else 0))
        alive -= sum(bytes_of(graph.values[index], samples) for index in finished)
    return largest


def all_activations(graph: ModelGraph, samples: int) -> int:
    """Bytes of all activations that one pass writes."""
    return sum(bytes_of(value, samples) for value in graph.values)
