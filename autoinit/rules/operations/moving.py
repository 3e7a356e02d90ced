"""Operations that put entries elsewhere, found out by numbering the entries."""

from __future__ import annotations

import hashlib
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from autoinit.arrays import double_precision
from autoinit.graph.model_graph import Call, Value
from autoinit.rules.registry import RuleResult, Support
from autoinit.signals.geometry import Taps
from autoinit.signals.signal import Signal

Places = NDArray[np.int64]
# More entries than these are not numbered, in double precision exactly.
_MOST_ENTRIES = 2**24


def moved(call: Call, signal: Signal) -> RuleResult | None:
    """Every entry of the outputs is one of the input's, or zero: slices, rolls, patches, padding.

    Along axes that keep their order, positions keep what they have in common. Channels of zeros
    are joined like those of any other tensor.

    Returns:
        None for an operation that does anything else.
    """
    value = call.inputs[0]
    origins = _origins(call, value)
    if origins is None:
        return None
    signals = [
        _picked(signal, value, output, each)
        for output, each in zip(call.outputs, origins, strict=True)
    ]
    padded = any((each < 0).any() for each in origins)
    return RuleResult(tuple(signals), Support.EXACT if padded else Support.NEUTRAL)


def _origins(call: Call, value: Value) -> list[Places] | None:
    """For each output, where in a sample each of its entries comes from; −1 for a zero."""
    entries = int(np.prod(value.sizes(1)))
    most = max(entries, *(output.entries for output in call.outputs))
    if not entries or most > _MOST_ENTRIES or not value.dtype.startswith(("float", "bfloat")):
        return None
    numbers = np.arange(1.0, entries + 1).reshape(value.sizes(1))
    random = np.random.default_rng(0).random(value.sizes(2)) + 0.5
    try:
        found = [_run(call, tensor, samples) for samples, tensor in ((1, numbers), (2, random))]
    except Exception:  # whatever it raises: it is sampled then, or passed through
        return None
    origins = []
    for output, one, two in zip(call.outputs, *found, strict=True):
        if one.shape != output.sizes(1) or two.shape != output.sizes(2):
            return None
        places = np.rint(one).astype(np.int64) - 1
        if not np.array_equal(places + 1, one) or places.min(initial=0) < -1:
            return None
        if places.max(initial=0) >= entries:
            return None
        flat = random.reshape(2, entries)
        expected = np.where(
            places >= 0, flat[:, np.maximum(places, 0).ravel()].reshape(2, *places.shape), 0.0
        )
        if not np.allclose(two.reshape(expected.shape), expected, rtol=1e-6, atol=0.0):
            return None
        origins.append(places.reshape(output.sample if output.rows == 1 else output.sizes(1)))
    return origins


def _run(call: Call, tensor: Any, samples: int) -> list[Any]:
    # Single precision would not tell large numbers apart.
    with double_precision():
        given = keras.ops.convert_to_tensor(tensor, dtype="float64")
        outputs = call.run([given] * len(call.inputs), training=False, batch=samples)
        return [np.asarray(keras.ops.convert_to_numpy(each)) for each in outputs]


def _picked(signal: Signal, value: Value, output: Value, places: Places) -> Signal:
    """The signal of entries that come from given places."""
    same = places.shape == value.sample and np.array_equal(places.ravel(), np.arange(places.size))
    if same:
        return signal
    zeros = (places < 0).all(axis=tuple(range(places.ndim - 1)))
    if places.shape == output.sample and 0.0 < (share := zeros.mean()) < 1.0:  # added channels
        others = _picked(signal, value, output, places[..., ~zeros])
        return type(signal).mixture([others, type(signal).gaussian(0.0, 0.0)], [1 - share, share])
    taps = None if places.shape[:-1] != output.sample[:-1] else _taps(places, value.sample)
    kept = float((places >= 0).mean()) if places.size else 1.0
    if taps is not None:
        other = signal.arrange(value.positions).linear_map(taps)
        other = other.arrange(output.positions)
    else:
        other = signal.arrange(output.positions)
        other = other if kept == 1.0 else other.dropout(kept, 1.0)
    if kept < 1.0:
        return other
    move = hashlib.blake2b(places.tobytes()).digest()
    return other.with_other_latents((signal.latent_id, places.shape, move))


def _taps(places: Places, shape: tuple[int, ...]) -> list[Taps] | None:
    """One map for each spatial axis, where axes are read on their own and channels stay last."""
    if not shape or not places.size or not places.ndim:
        return None
    coordinates = np.array(np.unravel_index(np.maximum(places, 0), shape))
    coordinates = np.where(places >= 0, coordinates, -1)
    *spatial, channel = coordinates
    maps = []
    last = -1
    rebuilt = np.zeros(places.shape, bool)
    for axis, size in zip(spatial, shape[:-1], strict=True):
        along = [a for a in range(places.ndim) if _varies(axis, a)]
        if len(along) > 1 or along == [places.ndim - 1] or (along and along[0] <= last):
            return None
        others = tuple(a for a in range(places.ndim) if a not in along)
        reads = axis.max(axis=others, keepdims=True)
        rebuilt |= np.broadcast_to(reads < 0, places.shape)
        last = along[0] if along else last
        maps.append(Taps.summing(reads.reshape(-1, 1), size))
    if not np.array_equal(rebuilt, places < 0):
        return None
    return None if any(_varies(channel, axis) for axis in range(places.ndim - 1)) else maps


def _varies(coordinate: Places, axis: int) -> bool:
    """Whether a coordinate differs along an axis, zeros aside."""
    high = coordinate.max(axis=axis)
    low = np.where(coordinate >= 0, coordinate, np.iinfo(np.int64).max).min(axis=axis)
    return bool(((high > low) & (high >= 0)).any())
