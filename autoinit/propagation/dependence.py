"""Tensors that meet again: calls whose operands were made of the same entries.

A kernel's output has nothing in common with its input, on average over its weights. Where no kernel
lies between a tensor and what it meets, they depend on each other, unless they were made of
different channels, as queries and keys are that are parts of one projection.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from autoinit.graph.model_graph import PRODUCTS, Call, ModelGraph, TensorRef, Value, weights_of

# Calls that multiply tensors and sum over what comes of it, and those that join entry by entry.
SUMS_OF_PRODUCTS = PRODUCTS | {"DotProductAttention"}
_JOINS = frozenset({
    "Add", "Average", "Divide", "Maximum", "Minimum", "Multiply", "Subtract", "TrueDivide",
})  # fmt: skip
# Calls before a join that are looked at: behind more, tensors have little in common.
_MOST_CALLS = 32
_MOST_COMPARED = 2**26  # channels with patterns of them

Channels = NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """The calls from some tensors that have nothing in common to where they meet.

    Attributes:
        calls: in order; the last one is where they meet.
        sources: all values that these read and do not make.
    """

    calls: tuple[Call, ...]
    sources: tuple[Value, ...]


def regions(graph: ModelGraph) -> dict[int, Region]:
    """Where tensors meet that may have something in common, by the index of that call."""
    makers, roots = graph.producers(), _roots(graph)
    found = {}
    for call in graph.calls:
        joins = type(call.layer).__name__ in SUMS_OF_PRODUCTS | _JOINS
        if joins and call.placeholder is None and not _is_length(call):
            region = _region(call, makers, roots)
            if region is not None:
                found[call.index] = region
    return found


def _is_length(call: Call) -> bool:
    """Whether a vector is multiplied by itself, of which the layer's rule has a closed form."""
    vectors = isinstance(call.layer, keras.layers.Dot) and len(call.inputs[0].shape) == 2
    return vectors and call.inputs[0] == call.inputs[1]


def _roots(graph: ModelGraph) -> dict[int, int]:
    """Of each value the kernels' outputs and the inputs that it was made of, as bits."""
    found: dict[int, int] = {}
    number = itertools.count()
    for call in graph.calls:
        before = 0
        for value in call.inputs:
            before |= found[value.index]
        is_root = not before or call.placeholder is not None or _has_kernel(call)
        for value in call.outputs:
            made = 1 << next(number) if is_root else before
            found[value.index] = 0 if value.constant else made
    return found


def _has_kernel(call: Call) -> bool:
    """Whether weights mix entries: a layer's, or those that an operation multiplies by."""
    if type(call.layer).__name__ in PRODUCTS:
        return any(value.constant and _is_wide(value.sample) for value in call.inputs)
    return any("kernel" in each.name or _is_wide(each.shape) for each in weights_of(call.layer))


def _to_kernels(
    front: dict[int, Value],
    calls: dict[int, Call],
    makers: Mapping[int, Call],
    roots: Mapping[int, int],
) -> None:
    """Goes back, in place, through calls that read one tensor, to channels that are told apart."""
    while len(calls) < _MOST_CALLS:
        for index in front:
            maker = makers[index]
            before = {value.index: value for value in maker.inputs if not value.constant}
            if len(before) == 1 and roots[index] == roots[next(iter(before))]:
                break
        else:
            return
        calls[maker.index] = maker
        for value in maker.outputs:
            front.pop(value.index, None)
        front.update(before)


def _is_wide(shape: Sequence[int]) -> bool:
    return sum(size > 1 for size in shape) > 1


def _operands(call: Call) -> list[Value]:
    """Those that depend on inputs; what is joined with itself has rules of its own."""
    read = [value for value in call.inputs if not value.constant]
    if type(call.layer).__name__ in SUMS_OF_PRODUCTS:
        return read
    return list({value.index: value for value in read}.values())


def _region(call: Call, makers: Mapping[int, Call], roots: Mapping[int, int]) -> Region | None:
    """None where the operands have nothing in common, or too much lies between."""
    read = _operands(call)
    front = {value.index: value for value in read}
    calls = {call.index: call}
    while len(calls) <= _MOST_CALLS:
        shared = [
            max(pair)
            for pair in itertools.combinations(front, 2)
            if roots[pair[0]] & roots[pair[1]]
        ]
        if not shared:
            break
        # What was made last cannot be what the other was made of.
        maker = max((makers[index] for index in shared), key=lambda each: each.index)
        calls[maker.index] = maker
        for value in maker.outputs:
            front.pop(value.index, None)
        front.update((value.index, value) for value in maker.inputs if not value.constant)
    else:
        return None
    if len(calls) == 1 and len(front) == len(read):
        return None
    _to_kernels(front, calls, makers, roots)
    order = tuple(calls[index] for index in sorted(calls))
    made = {value.index for each in order for value in each.outputs}
    sources = {v.index: v for each in order for v in each.inputs if v.index not in made}
    return Region(order, tuple(sources.values()))


def form_of(region: Region) -> Hashable:
    """Equal for regions of the same calls: the blocks of a network are looked at once."""
    numbers = {value.index: place for place, value in enumerate(region.sources)}
    forms: list[Hashable] = [tuple((v.sample, v.dtype, v.rows) for v in region.sources)]
    for call in region.calls:
        for value in call.outputs:
            numbers.setdefault(value.index, len(numbers))
        layer = call.layer
        if isinstance(layer, keras.Layer):
            options = {key: each for key, each in layer.get_config().items() if key != "name"}
        else:
            options = {key: e for key, e in vars(layer).items() if key[0] != "_" and key != "name"}
        leaves = keras.tree.flatten((call.arguments, options))
        told = [
            ("value", numbers[leaf.value])
            if isinstance(leaf, TensorRef)
            else np.asarray(leaf).tobytes()
            if hasattr(leaf, "shape")
            else repr(leaf)
            for leaf in leaves
        ]
        forms.append((type(layer), call.part, tuple(sorted(options)), tuple(told)))
    return tuple(forms)


def is_related(region: Region, known: Mapping[int, Any]) -> bool:
    """Whether two operands were made of the same channels of a source.

    Args:
        region: from the sources to where they meet.
        known: arrays of the constants among these, by value index.
    """
    *before, last = region.calls
    operands = [value.index for value in _operands(last)]
    if len(set(operands)) < len(operands):
        return True
    for source in region.sources:
        if source.constant or not source.dtype.startswith(("float", "bfloat")):
            continue
        try:
            read = _channels_read(before, region.sources, source, known)
        except Exception:  # a call raises what it likes, of what it cannot take
            return True
        pairs = itertools.combinations([read[index] for index in operands if index in read], 2)
        if any((one & other).any() for one, other in pairs):
            return True
    return False


def _channels_read(
    calls: Sequence[Call], sources: Sequence[Value], source: Value, known: Mapping[int, Any]
) -> dict[int, Channels]:
    """Channels of a source that each value was made of, by what is no number where they are none.

    Each bit of a channel's number is looked at twice: once channels are left out that have it, and
    once those that do not. An entry that was made of one channel says which. In inference, in which
    layers change nothing of their own.
    """
    count = source.channels
    bits = max(count - 1, 1).bit_length()
    has_bit = (np.arange(count) >> np.arange(bits)[:, None]) & 1 == 1
    codes: dict[int, Any] = {}
    for bit, channels in enumerate(has_bit):
        left_out = np.stack([channels, ~channels])
        tensors = {each.index: _tensor(each, known) for each in sources}
        tensors[source.index] = np.where(
            np.repeat(left_out, source.rows, 0).reshape(-1, *(1 for _ in source.positions), count),
            np.float32(np.nan),
            np.broadcast_to(tensors[source.index], source.sizes(2)),
        )
        tensors = {index: keras.ops.convert_to_tensor(each) for index, each in tensors.items()}
        for call in calls:
            outputs = call.run([tensors[value.index] for value in call.inputs], False, 2)
            for value, output in zip(call.outputs, outputs, strict=True):
                tensors[value.index] = output
                missing = np.isnan(np.asarray(keras.ops.convert_to_numpy(output), np.float32))
                first, second = missing.reshape(2, -1).astype(np.int64)
                code = (first << 2 * bit) | (second << (2 * bit + 1))
                codes[value.index] = codes.get(value.index, 0) | code
    needed = (np.where(has_bit, 1, 2) << 2 * np.arange(bits)[:, None]).sum(0)
    read = {each.index: np.full(count, each.index == source.index) for each in sources}
    for call in calls:
        together = np.any([read[value.index] for value in call.inputs], 0)
        for value in call.outputs:
            patterns = np.unique(codes[value.index])[:, None]
            alone = np.ones(count, bool)
            if patterns.size * count <= _MOST_COMPARED:
                alone = ((patterns & needed) == needed).any(0)
            # Of an entry that was made of several channels it says too many.
            read[value.index] = together & alone
    return read


def _tensor(value: Value, known: Mapping[int, Any]) -> Any:
    if value.constant and value.index in known:
        return np.asarray(known[value.index])
    shape = value.sizes(2)
    if value.dtype.startswith(("float", "bfloat")):
        return np.random.default_rng(math.prod(shape)).random(shape, np.float32) + 0.5
    return np.ones(shape, value.dtype)
