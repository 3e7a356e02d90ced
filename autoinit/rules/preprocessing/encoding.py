"""Layers that turn numbers and words into categories: moments of the categories' shares.

What reaches them is taken as uniform over consecutive integers, those that the signal's mean and
variance belong to, or over the integers or words that a lookup knows; `Discretization` takes any
signal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from autoinit.arrays import double_precision
from autoinit.graph.input_moments import draw_texts, integers_of, words_of
from autoinit.graph.model_graph import Call
from autoinit.rules.fallbacks import pass_through
from autoinit.rules.registry import Context, RuleResult, Support, rule
from autoinit.rules.sampling import moments_of, standard_error
from autoinit.signals.signal import Array, Signal

# Of more integers, so many stand for all.
_MOST = 1 << 14
# Entries of the encoded integers that are looked at together, and in all.
_ENTRIES, _MOST_ENTRIES = 1 << 22, 1 << 28
# Categories beyond which not even one encoded integer is looked at.
_WIDEST = 1 << 24
# Texts in each part of those that are looked at, and how many parts there are.
_TEXTS, _PARTS = 64, 16
# Width of the slope that stands for a bin's edge, in standard deviations: distributions on a grid
# know nothing finer.
_EDGE = 0.1


@rule(
    layers.CategoryEncoding,
    layers.Hashing,
    layers.HashedCrossing,
    layers.IntegerLookup,
    layers.StringLookup,
)
def categories(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """What the layer makes of each integer or word (of each tuple of these, in a crossing)."""
    counts = call.arguments[1].get("count_weights") is not None or len(call.arguments[0]) > 1
    looked_up, weights = (inputs[:1], inputs[1]) if counts else (inputs, None)
    ranges = [
        np.array(words_of(call.layer))
        if value.dtype == "string"
        else _integers(signal, 60 // len(looked_up))
        for value, signal in zip(call.inputs, looked_up, strict=False)
    ]
    known = integers_of(call.layer)
    if known is not None and inputs[0].mean == known.mean() and inputs[0].variance == known.var():
        ranges = [known]  # as its input was drawn
    total = math.prod(len(values) for values in ranges)
    width = call.outputs[0].shape[-1] or 1
    if width > _WIDEST:
        return pass_through(call, inputs)
    most = min(_MOST, _MOST_ENTRIES // width)
    try:
        mean, second = _shares(call, _tuples(ranges, most, _ENTRIES // width + 1))
    except Exception:  # of what it does not know, a layer raises what it likes
        return pass_through(call, inputs)
    result = _encoded(call, mean, second, weights or type(inputs[0]).gaussian(1.0, 0.0))
    return RuleResult((result,), Support.APPROXIMATE if total > most else Support.EXACT)


@rule(layers.TextVectorization)
def texts(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Mean and variance over texts of words that the layer knows, each as likely."""
    entries = math.prod(size or 1 for size in call.outputs[0].sample)
    count = min(max(_ENTRIES // entries // _PARTS, 1), _TEXTS) * _PARTS
    generator = np.random.default_rng([context.seed, call.index])
    drawn = draw_texts(call.layer, (count, *call.inputs[0].sample), generator)
    try:
        encoded = call.layer(keras.ops.convert_to_tensor(drawn))
        rows = np.asarray(keras.ops.convert_to_numpy(encoded), np.float64)
    except Exception:  # it may have seen no words yet, or give texts back
        return pass_through(call, inputs)
    parts = [moments_of(part) for part in np.split(rows, _PARTS)]
    mean, second = np.mean(parts, axis=0)
    signal = type(inputs[0]).of_samples(mean, second - mean**2, rows, _PARTS)
    return RuleResult((signal,), Support.SAMPLED, standard_error=standard_error(parts))


@rule(layers.Discretization)
def discretization(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | Signal:
    """Shares of the bins: differences of P(x ≥ edge)."""
    edges = call.layer.bin_boundaries
    if edges is None:  # it has seen no data yet, and would not run
        return pass_through(call, inputs)
    deviation = math.sqrt(inputs[0].variance)
    above = [
        inputs[0].map(partial(_at_least, float(edge), max(_EDGE * deviation, 1e-30)))[0].mean
        for edge in edges
    ]
    shares = -np.diff([1.0, *above, 0.0])
    if call.layer.output_mode == "int":
        bins = np.arange(len(shares))
        shares, second = np.array([shares @ bins]), np.array([shares @ bins**2])
    else:
        second = shares
    return _encoded(call, shares, second, type(inputs[0]).gaussian(1.0, 0.0))


def _at_least(edge: float, width: float, x: Any) -> Any:
    return np.clip((x - edge) / width + 0.5, 0.0, 1.0)


def _integers(signal: Signal, bits: int) -> NDArray[np.int64]:
    """Of n consecutive integers the mean is the middle and the variance (n² − 1)/12.

    At most 2^bits of them, and no more than anyone looks up.
    """
    if not signal.finite:
        return np.zeros(1, np.int64)
    size = round(min(math.sqrt(12 * signal.variance + 1), 2.0 ** min(bits, 20)))
    first = np.clip(signal.mean - (size - 1) / 2, -(2.0**40), 2.0**40)
    return np.arange(size, dtype=np.int64) + round(float(first))


def _is_number(column: NDArray[Any]) -> bool:
    return column.dtype.kind == "i"


def _shares(call: Call, tuples: Iterator[tuple[NDArray[Any], ...]]) -> tuple[Array, Array]:
    """First two moments of each entry of an encoded integer or word."""
    mean = second = np.zeros(1)
    count = 0
    for columns in tuples:
        with double_precision():
            given = [
                keras.ops.convert_to_tensor(
                    column[:, None], "int64" if _is_number(column) else None
                )
                for column in columns
            ]
            encoded = call.layer(given if len(given) > 1 else given[0])
            rows = np.asarray(keras.ops.convert_to_numpy(encoded), np.float64)
        mean, second = mean + rows.sum(0), second + (rows**2).sum(0)
        count += len(rows)
    return mean / count, second / count


def _tuples(
    ranges: Sequence[NDArray[Any]], most: int, at_once: int
) -> Iterator[tuple[NDArray[Any], ...]]:
    """All tuples of integers and words, or as many as wished for, evenly spaced; in parts."""
    sizes = [len(values) for values in ranges]
    total = math.prod(sizes)
    chosen = np.unique(np.linspace(0, total - 1, min(total, most)).astype(np.int64))
    for first in range(0, len(chosen), at_once):
        places = np.unravel_index(chosen[first : first + at_once], sizes)
        yield tuple(values[place] for values, place in zip(ranges, places, strict=True))


def _encoded(call: Call, mean: Array, second: Array, weights: Signal) -> Signal:
    """One signal of entries that add up what their integers contribute, or tell of any.

    Args:
        call: of the layer.
        mean, second: moments of one integer's contribution to each entry.
        weights: that contributions are multiplied by.
    """
    mode = call.layer.output_mode
    # Keras adds up along axis 1 of tensors of any rank.
    entries = 1 if mode in ("int", "one_hot") else call.inputs[0].sample[0]
    if mode == "multi_hot":
        mean = second = 1 - (1 - mean) ** entries
    else:
        mean, second = mean * weights.mean, second * weights.second_moment
        variance = entries * (second - mean**2)
        mean = entries * mean
        second = variance + mean**2
    center = float(mean.mean())
    return type(weights).gaussian(center, max(float(second.mean()) - center**2, 0.0))
