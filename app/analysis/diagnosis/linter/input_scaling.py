"""What a network's first layers say of the input that it takes, and inputs that are others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import layers

from app.analysis.diagnosis.linter.architecture import AUGMENTING
from app.analysis.diagnosis.roles import Role, role_of
from app.analysis.settings import are_moments
from autoinit.arrays import as_array
from autoinit.findings import Finding
from autoinit.graph.input_moments import PerInput, input_moments, integer_inputs
from autoinit.graph.model_graph import Call, ModelGraph, TensorRef

# How far an input may be from the one that the network's own scaling expects: its mean in standard
# deviations, and the factor between the variances.
_MEAN_OFF, _VARIANCE_OFF = 2.0, 10.0
# Uniform numbers from 0 to 255.
BYTES = (127.5, 255.0**2 / 12)
# A range that ends between these is that of bytes; statistics of bytes have such a variance.
_ENDS_OF_BYTES, _VARIANCES_OF_BYTES = (100.0, 300.0), (400.0, 20_000.0)
# From a factor of this on, a Rescaling alone says nothing about what it is made for.
_SMALL = 0.5
# How channels are put in another order.
_CHANNELS = frozenset({"GetItem", "Stack", "Flip"})
# What ResNet's and VGG's preparation takes from bytes.
_MEANS_OF_BYTES = (-140.0, -80.0)


@dataclass(frozen=True)
class Expected:
    """An input that a network says it takes.

    Attributes:
        mean, variance: of its entries.
        kind: `bytes`, `range` or `statistics`.
        description: of such data.
        by: the call that says so.
    """

    mean: float
    variance: float
    kind: str
    description: str
    by: Call


def expected_inputs(graph: ModelGraph) -> dict[str, Expected]:
    """What the layers at a model's entrance are made for, by the input's path.

    Layers that move or crop entries are looked through. Inputs of which nothing is said, nothing
    that settings accept, and those that take integers, are left out.
    """
    readers: dict[int, Call] = {}
    for call in graph.calls:
        for value in call.inputs:
            readers.setdefault(value.index, call)
    integers = integer_inputs(graph)
    found = {}
    for entrance in graph.inputs:
        if entrance.outputs[0].index not in integers:
            expected = _expected(entrance, readers)
            if expected is not None and are_moments(expected.mean, expected.variance):
                found[entrance.path] = expected
    return found


def _expected(entrance: Call, readers: Mapping[int, Call]) -> Expected | None:
    is_image = len(entrance.outputs[0].shape) >= 4
    gain, offset, first = 1.0, 0.0, None
    call = readers.get(entrance.outputs[0].index)
    while call is not None and len(call.outputs) == 1:
        if isinstance(call.layer, layers.Normalization):
            return None if first or call.layer.invert else _of_statistics(call, is_image)
        own = _affine(call)
        if own is not None:
            first = first or call
            gain, offset = own[0] * gain, own[0] * offset + own[1]
            if isinstance(call.layer, layers.Rescaling):
                break  # whatever follows is for what it gives
        elif not (
            call.class_name in AUGMENTING | _CHANNELS or role_of(call, weighted=False) is Role.MOVE
        ):
            break
        call = readers.get(call.outputs[0].index)
    return None if first is None else _of_range(gain, offset, first, is_image)


def _of_statistics(call: Call, is_image: bool) -> Expected | None:
    """Data of the statistics that a Normalization takes away, over all entries."""
    means, variances = (
        np.asarray(as_array(each), np.float64) for each in (call.layer.mean, call.layer.variance)
    )
    mean, variance = float(means.mean()), float(variances.mean() + means.var())
    if not (np.isfinite(mean) and np.isfinite(variance) and variance > 0):
        return None
    low, high = _VARIANCES_OF_BYTES
    if is_image and 0 < mean < 255 and low < variance < high:
        return _bytes(call)
    if (mean, variance) == (0.0, 1.0):
        return None
    return Expected(mean, variance, "statistics", "data of the statistics that are stored", call)


def _of_range(gain: float, offset: float, call: Call, is_image: bool) -> Expected | None:
    """Data that a factor and an offset bring to 0 … 1, or to −1 … 1."""
    if is_image and 0.5 < gain < 2 and _MEANS_OF_BYTES[0] < offset / gain < _MEANS_OF_BYTES[1]:
        return _bytes(call)
    if gain <= 0 or (offset >= 0 and gain >= _SMALL):
        return None
    end = (-2 * offset if offset < 0 else 1.0) / gain
    if _ENDS_OF_BYTES[0] <= end <= _ENDS_OF_BYTES[1]:
        return _bytes(call)
    return Expected(end / 2, end**2 / 12, "range", f"numbers from 0 to {end:.6g}", call)


def _bytes(call: Call) -> Expected:
    return Expected(*BYTES, "bytes", "bytes, 0 to 255", call)


def _affine(call: Call) -> tuple[float, float] | None:
    """Factor and offset, averaged over channels, of a call that scales by fixed numbers."""
    if isinstance(call.layer, layers.Rescaling):
        return _average(call.layer.scale), _average(call.layer.offset)
    args = call.arguments[0]
    if len(args) != 2 or sum(isinstance(each, TensorRef) for each in args) != 1:
        return None
    try:
        number = _average(next(each for each in args if not isinstance(each, TensorRef)))
    except (TypeError, ValueError):
        return None
    tensor_first = isinstance(args[0], TensorRef)
    kind = call.class_name
    if kind == "Multiply":
        return number, 0.0
    if kind in ("TrueDivide", "Divide") and tensor_first and number:
        return 1 / number, 0.0
    if kind == "Add":
        return 1.0, number
    if kind == "Subtract" and tensor_first:
        return 1.0, -number
    return None


def _average(numbers: Any) -> float:
    return float(np.mean(np.asarray(as_array(numbers), np.float64)))


def input_scaling(
    graph: ModelGraph, mean: PerInput, variance: PerInput, from_data: bool = False
) -> Iterator[Finding]:
    """For inputs that are others than the network says it takes; nothing where they are alike.

    Args:
        graph: the model.
        mean, variance: of its inputs.
        from_data: whether they are those of real data, not a choice.
    """
    moments = input_moments(graph, mean, variance)
    which = "the input" if len(graph.inputs) == 1 else "this input's"
    expected = expected_inputs(graph)
    for entrance in graph.inputs:
        made_for = expected.get(entrance.path)
        if made_for is None:
            continue
        own_mean, own_variance = moments[entrance.outputs[0].index]
        off = abs(own_mean - made_for.mean) > _MEAN_OFF * made_for.variance**0.5
        ratio = own_variance / made_for.variance
        if off or not 1 / _VARIANCE_OFF < ratio < _VARIANCE_OFF:
            what = (
                f"it is made for {made_for.description} (mean {made_for.mean:.6g} and variance "
                f"{made_for.variance:.6g})"
            )
            advice = (
                ". Data that were scaled before are scaled twice."
                if from_data
                else f": set {which} mean to {made_for.mean:.6g} and {which} variance to "
                f"{made_for.variance:.6g}, or leave both out."
            )
            first = made_for.by
            yield Finding(
                "input_scaling",
                first.path,
                first.class_name,
                f"The network scales its input {entrance.path!r} itself ({first.class_name}) and "
                f"does not expect mean {own_mean:.6g} and variance {own_variance:.6g}, for which "
                f"the weights to download are: {what}{advice}",
            )
