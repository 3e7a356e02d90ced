"""The shape interpreter: what memory and time a pass through a graph takes, before there is one."""

from __future__ import annotations

import math

import keras

from autoinit.graph.model_graph import Call, ModelGraph, Value, weights_of

_BYTES = {
    "float64": 8, "int64": 8, "uint64": 8, "float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2,
    "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip


def bytes_of(value: Value, samples: int, is_open: bool = False) -> int:
    """Size of a tensor for a number of samples.

    Args:
        value: the tensor.
        samples: how many flow.
        is_open: the model lays down no batch: a first axis of some size is an operation's own.
    """
    samples = 1 if value.constant else max(samples, (is_open and value.shape[0]) or 1)
    return samples * value.entries * _BYTES.get(value.dtype, 4)


def _made_before(call: Call, written: int) -> int:
    """Bytes of what is there before a bias is added, or before categories are counted or cast."""
    layer = getattr(call.layer, "wrapped", call.layer)  # of Keras 2
    has_bias = call.part != "activation" and getattr(layer, "bias", None) is not None
    encodes = hasattr(layer, "get_vocabulary") or getattr(layer, "output_mode", "int") != "int"
    if type(layer).__name__ == "MultiHot":  # the operation, by a row for each entry
        return call.inputs[0].entries * written
    return written if has_bias or encodes else 0


def _padded_copy(call: Call, samples: int) -> int:
    """Bytes of the padded input that TensorFlow rearranges for a dilated convolution."""
    layer, given = call.layer, call.inputs[0].shape if call.inputs else ()
    rates, sizes = getattr(layer, "dilation_rate", ()), getattr(layer, "kernel_size", ())
    if call.part == "activation" or not sizes or len(given) != len(sizes) + 2:
        return 0
    if max(rates, default=1) == 1 or layer.padding == "valid":
        return 0
    extents = given[1:-1] if layer.data_format == "channels_last" else given[2:]
    growth = 1.0
    for extent, rate, size in zip(extents, rates, sizes, strict=True):
        growth *= 1 + rate * (size - 1) / (extent or 1)
    return int(growth * bytes_of(call.inputs[0], samples))


def last_uses(graph: ModelGraph, *, running: bool = True) -> list[tuple[int, ...]]:
    """For each call, the values that nobody reads after it.

    Args:
        graph: of the calls.
        running: whether the calls are run: those that cannot be read nothing then.
    """
    last: dict[int, int] = {}
    idle = graph.behind_placeholders() if running else frozenset()
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
    bias, casts categories, or pads for a dilated kernel; an activation dies after its last use.
    What cannot be run takes no memory.
    """
    ends = last_uses(graph)
    idle = graph.behind_placeholders()
    is_open = _is_open(graph)
    alive = largest = 0
    for call, finished in zip(graph.calls, ends, strict=True):
        if call.index in idle:
            continue
        written = sum(bytes_of(value, samples, is_open) for value in call.outputs)
        alive += written
        extra = max(_made_before(call, written), _padded_copy(call, samples))
        largest = max(largest, alive + extra)
        alive -= sum(bytes_of(graph.values[index], samples, is_open) for index in finished)
    return largest


def all_activations(graph: ModelGraph, samples: int) -> int:
    """Bytes of all activations that one pass writes."""
    is_open = _is_open(graph)
    return sum(bytes_of(value, samples, is_open) for value in graph.values)


def _is_open(graph: ModelGraph) -> bool:
    """Whether any number of samples may flow."""
    return all(call.outputs[0].shape[:1] == (None,) for call in graph.inputs)


def work(graph: ModelGraph) -> tuple[int, int]:
    """Multiplications of a sample's pass by the entries of kernels, and steps one after the other.

    What has no weights, such as the products of attention, is not among them: it is no more than a
    few operations for each entry of an activation.
    """
    multiplications = steps = 0
    idle = graph.behind_placeholders()
    for call in graph.calls:
        if call.index in idle or isinstance(call.layer, keras.layers.Embedding):
            continue
        times = 1
        if isinstance(call.layer, (keras.layers.RNN, keras.layers.Bidirectional)):
            times = call.inputs[0].shape[1] or 0
            steps += times
        entries = max((value.entries for value in call.outputs), default=0)
        for variable in weights_of(call.layer):
            units = variable.shape[-1] if len(variable.shape) > 1 else entries
            positions = max(entries // max(units or 1, 1), 1)
            multiplications += math.prod(variable.shape) * max(positions, times)
    return multiplications, steps
