"""Operations on several entries that have a closed form, by class name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import special

from autoinit.graph.model_graph import Call, Value
from autoinit.rules.layers.merging import joined
from autoinit.rules.registry import Context, RuleResult, Support
from autoinit.signals.geometry import Windows, windows
from autoinit.signals.signal import NO_BIAS, KernelMoments, Signal

# Deviations beyond which tails are too small for a double.
_FARTHEST = 35.0


class Reduced:
    """The axes that an operation reduces.

    Attributes:
        places: of these axes in the tensor; those of the samples and of the channels count too.
        count: entries that become one.
        channels: whether channels are among them, and how many there are.
        windows: one over each spatial axis that is reduced; the others stay.
    """

    def __init__(self, value: Value, axis: Any) -> None:
        rank = len(value.shape)
        axes = range(rank) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
        self.places = {place % rank for place in axes} if rank else set()
        self.of_batch = not value.constant and 0 in self.places
        sizes = value.sizes(1)
        self.count = math.prod(sizes[place] for place in self.places)
        self.channels = sizes[-1] if rank - 1 in self.places else 0
        first = 0 if value.constant else 1
        self.spatial = bool(self.places - {rank - 1})
        self.windows: tuple[Windows, ...] = tuple(
            np.arange(size)[None, :] if place in self.places else np.arange(size)[:, None]
            for place, size in enumerate(value.positions, first)
        )


def _reduced(call: Call, axis: Any = None) -> Reduced | None:
    """None where other tensors take part, or the samples are reduced with the rest."""
    if len({value.index for value in call.inputs}) > 1 or not call.inputs[0].shape:
        return None
    reduced = Reduced(call.inputs[0], getattr(call.layer, "axis", None) if axis is None else axis)
    return None if reduced.of_batch or not reduced.places else reduced


def _of_alike(call: Call, signal: Signal, axis: Any = None) -> Reduced | None:
    """None, too, over channels of which each is known: they are sampled then."""
    reduced = _reduced(call, axis)
    apart = reduced is not None and reduced.channels > 1 and signal.tells_channels_apart
    return None if apart else reduced


def mean(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """Positions share what they have in common, and channels what is known of them."""
    return _over_axes(call, inputs[0], context, lambda reduced: 1)


def total(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """The mean, times the number of entries."""
    return _over_axes(call, inputs[0], context, lambda reduced: reduced.count)


def _over_axes(
    call: Call, signal: Signal, context: Context, scale: Callable[[Reduced], float]
) -> RuleResult | None:
    reduced = _reduced(call)
    if reduced is None:
        return None
    # Of channels that go against each other little is left, and small errors are large then.
    apart = reduced.channels and signal.tells_channels_apart
    result = _mean(signal, reduced).affine(scale(reduced), 0.0)
    if call.inputs[0].index in context.never_negative:
        result = result.never_negative()
    return RuleResult((result,), Support.APPROXIMATE if apart else Support.EXACT)


def count_nonzero(call: Call, inputs: Sequence[Signal], context: Context) -> Signal | None:
    """A sum of truth values."""
    reduced = _of_alike(call, inputs[0])
    if reduced is None:
        return None
    return _mean(_is_true(call, inputs[0]), reduced).affine(reduced.count, 0.0)


def average(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """A mean, where there are no weights; else a linear map."""
    given = [*call.arguments[0][1:], *call.arguments[1].values()]
    return mean(call, inputs, context) if all(each is None for each in given) else None


def _mean(signal: Signal, reduced: Reduced) -> Signal:
    result = signal.average_pool(reduced.windows) if reduced.spatial else signal
    if reduced.channels:
        result = result.linear(_averaging(result, reduced.channels), NO_BIAS)
    return result


def length(call: Call, inputs: Sequence[Signal], context: Context) -> Signal | None:
    """√Σ x² over positions, which have things in common; None for other norms."""
    reduced, order = _reduced(call), getattr(call.layer, "ord", None)
    if reduced is None or reduced.channels or order not in (None, "fro"):
        return None
    squares = _mean(inputs[0].map(np.square)[0], reduced).affine(reduced.count, 0.0)
    return squares.map(lambda x: np.sqrt(np.maximum(x, 0.0)))[0]


def _averaging(signal: Signal, channels: int) -> KernelMoments:
    """The mean over channels as a kernel, whose values matter where channels are told apart."""
    values = np.full((channels, 1), 1 / channels) if signal.tells_channels_apart else None
    return KernelMoments(1 / channels, 1.0, 1.0, channels=channels, units=1, values=values)


def largest(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | Signal | None:
    """As max pooling."""
    reduced = _of_alike(call, inputs[0])
    if reduced is None or getattr(call.layer, "initial", None) is not None:
        return None
    return _largest(inputs[0], reduced)


def smallest(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | Signal | None:
    """Minus the largest of the negatives."""
    reduced = _of_alike(call, inputs[0])
    if reduced is None or getattr(call.layer, "initial", None) is not None:
        return None
    return _largest(inputs[0].affine(-1.0, 0.0), reduced).affine(-1.0, 0.0)


def _largest(signal: Signal, reduced: Reduced) -> Signal:
    if reduced.channels:
        # Channels are like positions that have nothing in common.
        return (
            signal.flatten()
            .arrange((reduced.count,))
            .max_pool((np.arange(reduced.count)[None, :],))
        )
    return signal.max_pool(reduced.windows)


def every(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """P(all) = pᴷ of K independent truth values."""
    reduced = _of_alike(call, inputs[0])
    if reduced is None:
        return None
    probability = _is_true(call, inputs[0]).mean ** reduced.count
    return _truth(inputs[0], probability, reduced)


def any_of(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """1 − P(none)."""
    reduced = _of_alike(call, inputs[0])
    if reduced is None:
        return None
    probability = 1 - (1 - _is_true(call, inputs[0]).mean) ** reduced.count
    return _truth(inputs[0], probability, reduced)


def _is_true(call: Call, signal: Signal) -> Signal:
    """Whether entries are not zero, as 0 and 1."""
    if call.inputs[0].dtype == "bool":
        return signal
    return signal.map(partial(np.not_equal, 0.0))[0]


def _truth(signal: Signal, probability: float, reduced: Reduced) -> RuleResult:
    found = type(signal).gaussian(probability, probability * (1 - probability))
    return RuleResult((found,), _support(reduced))


def _support(reduced: Reduced) -> Support:
    """Channels are independent; positions need not be."""
    return Support.APPROXIMATE if reduced.spatial else Support.EXACT


def product(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """Means and second moments multiply (eq. 14)."""
    reduced = _of_alike(call, inputs[0])
    if reduced is None:
        return None
    mean, second = inputs[0].mean, inputs[0].second_moment
    with np.errstate(over="ignore"):
        power = float(np.float64(mean) ** reduced.count)
        variance = float(np.float64(second) ** reduced.count - np.float64(power) ** 2)
    return RuleResult((type(inputs[0]).gaussian(power, variance),), _support(reduced))


def spread(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """Of K entries around their mean: as a χ² variable, v/K times one of K − 1 degrees if Gaussian.

    In general of the same mean v·(K − 1)/K and variance v²·(K − 1)·((K − 1)κ − K + 3)/K³, κ being
    the entries' kurtosis.
    """
    reduced = _of_alike(call, inputs[0])
    if reduced is None:
        return None
    return RuleResult((_variance(inputs[0], reduced),), _support(reduced))


def deviation(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """The root of the variance."""
    reduced = _of_alike(call, inputs[0])
    if reduced is None:
        return None
    return RuleResult((_variance(inputs[0], reduced).map(np.sqrt)[0],), _support(reduced))


def _variance(signal: Signal, reduced: Reduced) -> Signal:
    if reduced.count < 2:
        return type(signal).gaussian(0.0, 0.0)
    count, variance = reduced.count, signal.variance
    squares = signal.affine(1.0, -signal.mean).map(np.square)[0]
    kurtosis = squares.second_moment / variance**2 if variance > 0 else 3.0
    # Twice the mean's square over the variance, and the mean over that.
    freedom = 2 * count * (count - 1) / ((count - 1) * kurtosis - count + 3)
    scale = variance * (count - 1) / (count * freedom)
    return type(signal).gaussian(0.0, 1.0).map(partial(_chi_square, scale, freedom))[0]


def _chi_square(scale: float, freedom: float, z: Any) -> Any:
    """Scale·χ² as an increasing function of a standard Gaussian."""
    z = np.clip(z, -_FARTHEST, _FARTHEST)
    low = special.gammaincinv(freedom / 2, special.ndtr(np.minimum(z, 0.0)))
    high = special.gammainccinv(freedom / 2, special.ndtr(-np.maximum(z, 0.0)))
    return 2 * scale * np.where(z < 0, low, high)


def moments(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """Mean and variance."""
    reduced = _of_alike(call, inputs[0], call.layer.axes)
    if reduced is None:
        return None
    found = (_mean(inputs[0], reduced), _variance(inputs[0], reduced))
    return RuleResult(found, _support(reduced))


def place(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """Where the largest is: every place is as likely."""
    reduced = _of_alike(call, inputs[0])
    if reduced is None:
        return None
    found = type(inputs[0]).gaussian((reduced.count - 1) / 2, (reduced.count**2 - 1) / 12)
    return RuleResult((found,), _support(reduced))


def softmax(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """As the layer."""
    reduced = _reduced(call)
    if reduced is None:
        return None
    support = Support.APPROXIMATE if inputs[0].tells_channels_apart else Support.EXACT
    return RuleResult((inputs[0].softmax(reduced.count),), support)


def joining(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Entries of each tensor in proportion to their number (eq. 15 and 16)."""
    found = dict(zip((value.index for value in call.inputs), inputs, strict=True))
    if len(found) == 1:
        signal = inputs[0].arrange(call.outputs[0].positions)
        return RuleResult((signal.with_other_latents(),), Support.NEUTRAL)
    axis = call.layer.axis if type(call.layer).__name__ == "Concatenate" else -1
    return RuleResult((joined(call, inputs, axis),), Support.EXACT)


def max_pool(call: Call, inputs: Sequence[Signal], context: Context) -> Signal | None:
    """As the layer."""
    layer, value = call.layer, call.inputs[0]
    if layer.data_format == "channels_first":
        return None
    sizes = value.positions
    pool, strides = (
        (each,) * len(sizes) if isinstance(each, int) else tuple(each)
        for each in (layer.pool_size, layer.strides or layer.pool_size)
    )
    found = zip(sizes, pool, strides, strict=True)
    return inputs[0].max_pool(
        tuple(windows(size, taps, stride, 1, layer.padding) for size, taps, stride in found)
    )


def normalized(
    call: Call, inputs: Sequence[Signal], context: Context, *, centered: bool
) -> RuleResult | Signal | None:
    """As the layers, over the last axes; then scale and offset."""
    reduced = _reduced(call)
    if reduced is None or getattr(call.layer, "rms_scaling", False) or reduced.spatial:
        return None
    # Keras's default; the layers have others.
    epsilon = 1e-7 if call.layer.epsilon is None else call.layer.epsilon
    scale, offset = _constants(call, ("gamma", "scale"), 1.0), _constants(call, ("beta",), 0.0)
    signal = inputs[0].normalize(epsilon, reduced.count, centered=centered)
    return signal.affine(scale, offset)


def _constants(call: Call, names: Sequence[str], otherwise: float) -> Any:
    places = {"gamma": 1, "scale": 1, "beta": 2}
    positional, named = call.arguments
    for name in names:
        given = named.get(name)
        if given is None and len(positional) > places[name]:
            given = positional[places[name]]
        if given is not None:
            return np.asarray(given, np.float64)
    return otherwise


def unit(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """X/‖x‖ over n entries: second moment 1/n, where they are alike."""
    reduced = _reduced(call)
    if reduced is None or call.layer.order != 2:
        return None
    signal = inputs[0].normalize(0.0, reduced.count, centered=False)
    support = _support(reduced) if signal.mean else Support.EXACT
    return RuleResult((signal.affine(1 / math.sqrt(reduced.count), 0.0),), support)


def one_hot(call: Call, inputs: Sequence[Signal], context: Context) -> Signal:
    """One of n entries is 1."""
    share = 1 / call.layer.num_classes
    return type(inputs[0]).gaussian(share, share * (1 - share))


NAMED: dict[str, Callable[[Call, Sequence[Signal], Context], RuleResult | Signal | None]] = {
    **dict.fromkeys(("Mean", "Nanmean"), mean),
    **dict.fromkeys(("Sum", "Nansum"), total),
    **dict.fromkeys(("Max", "Amax", "Nanmax"), largest),
    **dict.fromkeys(("Min", "Amin", "Nanmin"), smallest),
    **dict.fromkeys(("Var", "Nanvar"), spread),
    **dict.fromkeys(("Std", "Nanstd"), deviation),
    **dict.fromkeys(("Prod", "Nanprod"), product),
    **dict.fromkeys(("Argmax", "Argmin", "Nanargmax", "Nanargmin"), place),
    **dict.fromkeys(("Append", "Concatenate", "Dstack", "Hstack", "Stack", "Vstack"), joining),
    "All": every,
    "Any": any_of,
    "Average": average,
    "CountNonzero": count_nonzero,
    "LayerNorm": partial(normalized, centered=True),
    "MaxPool": max_pool,
    "Moments": moments,
    "Norm": length,
    "Normalize": unit,
    "OneHot": one_hot,
    "RMSNorm": partial(normalized, centered=False),
    "Softmax": softmax,
}
