"""Signals and gradients that vanish or explode, and differences that grow or fall beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from keras import layers

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.measured.flow import Point
from app.analysis.diagnosis.measured.series import Measured, fault_of
from app.analysis.diagnosis.roles import QUOTIENTS, Role, name_of
from app.text.formatting import number
from autoinit.graph.model_graph import Call, innermost
from probes.segments import trainable

# A signal's mean square, and the squared norm of a gradient, vanish or explode beyond these. Chains
# of ReLU layers, trained on digits for 300 steps: dense ones gained 95 % and more up to a factor of
# 230, 90 % at 600, 70 % and less beyond 8,000; convolutions under global pooling 23 to 95 % up to
# 330, 6 % and less from 430 on.
VANISHED, EXPLODED, GRADIENT_FACTOR = 300.0, 100.0, 1000.0
# What classifiers bear: of digits, where it grew by 80 to 16,000 (chains of dense layers and of
# convolutions, residual ones), they gained 71 to 100 % by SGD with momentum, and 55 to 100 % by
# Adam; of unseen digits, 98 % where it grows by 1, residual ones that grow by 500 and more are
# right for 99 %, four ReLU layers by 400 for 95 %, by 5,000 for 92 and eight for 86 %. What gives a
# number gained nothing by descent that was not clipped, and up to 31 % by Adam.
_BORNE_SIGNAL = 1e3
_MOST_SLACK = 0.25  # of the logarithm, for what few samples leave open
LEAST = 10.0  # what ends about where signals should be has only made up for its input
# From here on nothing can be learnt in the time that anyone has.
HOPELESS = 1e8
# What grows by less is borne where steps are small: a hundred layers of SELU by LeCun (a gradient
# that grows by 2,700 to 3,900, differences by 25) gained 85 % by SGD at 0.001, nothing at 0.01.
_BORNE_GRADIENT, _BORNE_DIFFERENCE = 1e4, 30.0
# What two inputs differ by, beside the signal: in amplitude; and what of it one layer may do.
DISTORTION_GROWS, DISTORTION_FALLS = 10.0, 100.0
# Update ratios that differ by less are what pooling and shapes do. Healthy networks of
# keras.applications: 80 to 8,000, ConvNeXt 10⁷ by a factor that opens; and a normalized network
# learns even where they differ by 10¹². So they explain a fault, and are none by themselves.
UNEVEN = 10.0


def not_finite(measured: Measured) -> Iterator[Fault]:
    """Where the signal is no finite number."""
    for call, moments in zip(measured.graph.calls, measured.forward, strict=True):
        if moments is None or moments.finite_fraction == 1.0:
            continue
        if not _is_padding(measured, call):
            no_value = _has_no_value_there(measured, call)
            yield fault_of(
                measured,
                "not_finite",
                call,
                f"The signal is NaN or beyond the range of floating point, first at {call.path!r}"
                + (", which has no finite value for some of what it gets." if no_value else "."),
                "keep_from_zero" if no_value else "autoinit_helps",
                Consequence.FATAL,
            )
            return


# Operations without a finite value, or slope, at zero; and what they get at which they have none.
_ONLY_ABOVE_ZERO = frozenset(["log", "log2", "log10", "sqrt", "rsqrt", "power", "pow"])
_NOT_AT_ZERO = frozenset(["reciprocal", *QUOTIENTS])
# Of many entries at once: that all of them are zero depends on what is fed.
_OF_MANY = frozenset({"norm", "std"})


def _has_no_value_there(measured: Measured, call: Call) -> bool:
    """Whether a call gets, of finite numbers, some for which it has no finite value."""
    operation = name_of(type(call.layer))
    if operation not in _ONLY_ABOVE_ZERO | _NOT_AT_ZERO or not call.inputs:
        return False
    before = [measured.forward[measured.producers[value.index]] for value in call.inputs]
    last = before[-1]  # of a quotient, what is divided by
    if last is None or any(m is not None and m.finite_fraction < 1.0 for m in before):
        return False
    return last.zero_fraction > 0.0 or (operation in _ONLY_ABOVE_ZERO and last.minimum < 0.0)


def gradient_not_finite(measured: Measured) -> Iterator[Fault]:
    """Where a gradient is no finite number though the signal is one: a root's at zero.

    One step of training then leaves kernels of NaN, as sure as a signal of NaN does.
    """
    if any(m is not None and m.finite_fraction < 1.0 for m in measured.forward):
        return
    lost = {
        call.index
        for call, moments in zip(measured.graph.calls, measured.backward, strict=True)
        if moments is not None and moments.finite_fraction < 1.0
    }
    if not any(trainable(measured.graph.calls[index]) for index in lost):
        return
    made = (
        measured.graph.calls[reader]
        for reader in measured.flow.readers[max(lost)]
        if reader not in lost
    )
    for call in made:
        operation = name_of(type(call.layer))
        if operation in _ONLY_ABOVE_ZERO | _NOT_AT_ZERO | _OF_MANY:
            yield fault_of(
                measured,
                "not_finite",
                call,
                f"The gradient is NaN or infinite on its way back through {call.path!r}, whose "
                "slope has no bound at 0: one such step leaves nothing but NaN.",
                "keep_from_zero",
                Consequence.SERIOUS if operation in _OF_MANY else Consequence.FATAL,
            )
            return


# What puts constants among entries: infinities, too, which a maximum or a softmax lets go.
_PLACING = frozenset({"pad", "where", "concatenate", "stack"})


def _is_padding(measured: Measured, call: Call) -> bool:
    """Whether infinities are put beside finite entries, and nothing of them is left behind."""
    if name_of(type(call.layer)) not in _PLACING:
        return False
    behind = [measured.forward[index] for index in measured.flow.readers[call.index]]
    return bool(behind) and all(m is not None and m.finite_fraction == 1.0 for m in behind)


def signal_changes(measured: Measured, points: Sequence[Point]) -> Iterator[Fault]:
    """Where a signal vanishes or explodes on its way to an activation or to the output."""
    small, heights = _small(measured, points), _heights(measured, points)
    low = min(small, key=lambda p: p.forward or 0.0, default=None)
    if low is not None and (low.forward or 0.0) <= _slack(measured, low) - math.log(VANISHED):
        yield _stretch(measured, "signal_vanishes", low, "falls")
    high = max(heights, key=lambda p: p.forward or 0.0, default=None)
    if high is not None and (high.forward or 0.0) >= math.log(EXPLODED) - _slack(measured, high):
        fault = _stretch(measured, "signal_explodes", high, "grows")
        yield replace(fault, bearable=(high.forward or 0.0) <= math.log(_BORNE_SIGNAL))


def largest_changes(measured: Measured, points: Sequence[Point]) -> tuple[float, float]:
    """By how much signals, and gradients, change at the most where it counts: logarithms."""
    signals = [p.forward for p in (*_small(measured, points), *_heights(measured, points))]
    gradients = [p.backward for p in _falling(measured, points)]
    gradients += [p.backward for p in points if (p.backward or 0.0) > 0.0]
    first, second = (
        max((abs(each) for each in some if each is not None and math.isfinite(each)), default=0.0)
        for some in (signals, gradients)
    )
    return first, second


def _known(points: Sequence[Point]) -> list[Point]:
    return [p for p in points if p.forward is not None and not math.isnan(p.forward)]


def _heights(measured: Measured, points: Sequence[Point]) -> list[Point]:
    """Where a signal is large, and nothing bounded meets it."""
    flow = measured.flow
    return [
        p
        for p in (flow.before_last_factor(p) for p in _known(points))
        if p.consumer is not Role.BOUNDED
        and _square(measured, p) >= LEAST
        and not _ends_in_zeros(measured, flow.readers[p.call.index])
    ]


def _small(measured: Measured, points: Sequence[Point]) -> list[Point]:
    """Where a signal is small, and what passes beside it does not make up for that."""
    inner = [e for p in _known(points) if (e := measured.flow.before_head(p)) is not None]
    known = [p for p in inner if p.forward is not None]
    lost = [p for p in known if p.forward is not None and p.forward == -math.inf]
    if lost and not _underflows(measured, lost[0]):
        known = [p for p in known if p not in lost]  # zeros: dead units, zero kernels
    return [
        p
        for p in known
        if _square(measured, p) <= 1 / LEAST
        and p.call.index not in measured.steering
        and not _passes_by(measured, p, p.forward)
    ]


def _passes_by(measured: Measured, point: Point, level: float | None) -> bool:
    """Whether a fall is that of a branch which will grow, and far more passes beside it.

    Residual networks whose branches fall by 12,000 to 1.8·10⁶ (kernels of N(0, 10⁻³) and
    N(0, 10⁻⁴); MiT's and PVT's depthwise ones by Glorot), trained on digits for 300 steps, gained
    93 to 99 %. One of depthwise kernels under global pooling gained 76 % by Adam, as with Glorot's
    kernels (77 %), and less by gradient descent (21 % against 38 %).
    """
    small = level is not None and level > -math.log(HOPELESS)
    return small and point.call.index in measured.bypassed


# Beside which a branch is too small for plain gradient descent.
_SLOW = 1e4


def slow_branches(measured: Measured, points: Sequence[Point]) -> Iterator[Fault]:
    """Branches beside which far more passes, and which descent without momentum hardly moves.

    Four residual blocks of N(0, 10⁻³) and N(0, 10⁻⁴), trained on digits for 2,600 steps: by SGD at
    0.01 they were right for 16 % (with Glorot's kernels 72 %), at 0.1 they end in NaN; with
    momentum, and by Adam, for 98 %.
    """
    found = [
        p
        for p in points
        if p.forward is not None
        and -math.log(HOPELESS) < p.forward <= -math.log(_SLOW)
        and p.call.index in measured.bypassed
        and p.call.index not in measured.steering
    ]
    if found:
        point = min(found, key=lambda p: p.forward or 0.0)
        fault = _stretch(measured, "slow_branch", point, "falls")
        yield replace(
            fault,
            message=f"{fault.message} More passes beside this branch, and gradient descent without "
            "momentum hardly ever moves it.",
            remedy="faster_descent",
            consequence=Consequence.SERIOUS,
        )


def _ends_in_zeros(measured: Measured, readers: Sequence[int]) -> bool:
    """Whether activations make nothing but zeros of a value: large negative biases, say."""
    behind = [measured.forward[index] for index in readers]
    return bool(behind) and all(m is not None and m.shape.dead_fraction == 1.0 for m in behind)


def _slack(measured: Measured, point: Point) -> float:
    """Two standard errors of the level: what few samples leave open must not hide a fault."""
    moments = measured.forward[point.call.index]
    error = None if moments is None else moments.standard_error
    return min(2.0 * (error or 0.0), _MOST_SLACK)


def _square(measured: Measured, point: Point) -> float:
    """The mean square at a point."""
    moments = measured.forward[point.call.index]
    return math.nan if moments is None else moments.mean_square


def _underflows(measured: Measured, point: Point) -> bool:
    """Whether a zero is what is left of a signal that was falling, and not that of dead units."""
    before = [measured.forward[i] for i in point.kernels[:-1]]
    squares = [m.mean_square for m in before if m is not None]
    return any(0.0 < square < 1e-30 for square in squares)


def _stretch(measured: Measured, code: str, point: Point, verb: str) -> Fault:
    kernels = point.kernels
    calls = measured.graph.calls
    start = calls[_first_at_fault(measured, point)]
    level = point.forward or 0.0
    each = math.exp(level / len(kernels)) if math.isfinite(level) else 0.0
    size = "to 0" if level == -math.inf else f"by {number(math.exp(min(abs(level), 700.0)))} in all"
    rate = number(1 / each if each and level < 0 else each) if math.isfinite(level) else ""
    over = "one layer" if len(kernels) == 1 else f"{len(kernels):,} layers"
    told = f", {rate} for each of {over}" if rate and len(kernels) > 1 else f", over {over}"
    consequence = Consequence.FATAL if abs(level) >= math.log(HOPELESS) else Consequence.SERIOUS
    return fault_of(
        measured,
        code,
        start,
        f"From {start.path!r} to {point.call.path!r} the signal's mean square {verb} {size}{told}.",
        "autoinit_helps",
        consequence,
    )


def _first_at_fault(measured: Measured, point: Point) -> int:
    """The kernel from which on the level moves to where it ends: its turning point."""
    flow = measured.flow
    sign = 1 if (point.forward or 0.0) > 0 else -1
    best, turning = 0.0, point.kernels[0]
    for index in point.kernels[:-1]:
        here = sign * flow.forward[index].log
        if here < best:
            best, turning = here, index
    return turning


def gradient_changes(measured: Measured, points: Sequence[Point]) -> Iterator[Fault]:
    """Where a gradient vanishes or explodes on its way back to the kernels."""
    known = [p for p in points if p.backward is not None and not math.isnan(p.backward)]
    finite = [p for p in known if p.backward is not None and math.isfinite(p.backward)]
    limit = math.log(GRADIENT_FACTOR)
    falling = _falling(measured, points)
    low = min(falling, key=lambda p: p.backward or 0.0, default=None)
    gone = [p for p in known if p.backward == -math.inf]
    if gone and low is not None and (low.backward or 0.0) < -math.log(EXPLODED):
        low = gone[0]  # underflow of what was falling
    elif gone and any(_underflows(measured, p) for p in points if p.forward == -math.inf):
        low = gone[0]
    high = max(finite, key=lambda p: p.backward or 0.0, default=None)
    for point, sign, code, verb in (
        (low, -1, "gradient_vanishes", "falls"),
        (high, 1, "gradient_explodes", "grows"),
    ):
        if point is None or sign * (point.backward or 0.0) < limit:
            continue
        call = measured.graph.calls[point.kernel]
        level = abs(point.backward or 0.0)
        count = len(point.later)
        size = "to 0" if math.isinf(level) else f"by {number(math.exp(min(level, 700.0)))}"
        rate = ""
        if math.isfinite(level) and count > 1:
            rate = f", {number(math.exp(level / count))} for each of {count:,} layers"
        fault = fault_of(
            measured,
            code,
            call,
            f"On its way back to {call.path!r} the gradient's squared norm {verb} {size}{rate}."
            f"{_beside_others(measured, call, sign)}",
            "drop_factor" if sign < 0 and _by_last_factor(measured, point) else "autoinit_helps",
            Consequence.FATAL if level >= math.log(HOPELESS) else Consequence.SERIOUS,
        )
        yield replace(fault, bearable=sign > 0 and level < math.log(_BORNE_GRADIENT))


def _falling(measured: Measured, points: Sequence[Point]) -> list[Point]:
    """Where a gradient is known, and its fall counts."""
    flow, few = measured.flow, math.log(LEAST)
    return [
        p
        for p in points
        if p.backward is not None
        and math.isfinite(p.backward)
        and p.call.index not in measured.steering
        and not flow.falls_at_head_alone(p, few)
        and not _passes_by(measured, p, p.backward)
    ]


def _by_last_factor(measured: Measured, point: Point) -> bool:
    """Whether most is lost behind the last kernel, where a fixed factor stands."""
    flow = measured.flow
    head = point.later[0] if point.later else point.kernel
    behind = flow.backward[head]
    return (
        behind is not None
        and point.backward is not None
        and 2.0 * behind.log <= point.backward
        and any(measured.roles[index] is Role.SCALE for index in flow.readers[head])
    )


def gradient_within_recurrences(measured: Measured) -> Iterator[Fault]:
    """A recurrence that gives back far more of a gradient than it gets: it grows in every step.

    SimpleRNNs, LSTMs and GRUs of 32 units over digits, in 16 and 64 steps: where the squared norm
    grows by up to 500, they gained 46 to 73 %; by 1,200 and 34,000 40 and 35 %; from 10⁶ on 39 to
    15 %, and less.
    """
    for call in measured.graph.calls:
        if measured.roles[call.index] is not Role.RECURRENT or len(call.inputs[0].sample) < 2:
            continue
        grown = _given_back(measured, call)
        if grown is None or grown < GRADIENT_FACTOR:
            continue
        yield fault_of(
            measured,
            "gradient_explodes",
            call,
            f"Within {call.path!r} the gradient grows from step to step: back through "
            f"{call.inputs[0].sample[0]:,} steps its squared norm grows by {number(grown)}.",
            "orthogonal" if _has_gates(call.layer) else "bound_recurrence",
        )
        return


# Networks of dense layers, each with a batch normalization and ReLU, gained by descent and by Adam
# 90 and 85 % in 10 layers, 49 and 47 % in 30, 24 % in 40, 13 and 5 % in 50, nothing in 70. By how
# much the gradient grows goes by the samples that are normalized together, too: in 30 layers by
# 10⁴ with 64 and by 10⁷ with 8. Of convolutions nothing is concluded: 50 gained 37 and 47 %, and
# InceptionV3, which does train, has 10⁸.
_LAYERS_OVER_BATCHES, _GROWTH_OVER_BATCHES = 36, 1e5


def gradient_over_batch_normalizations(
    measured: Measured, points: Sequence[Point]
) -> Iterator[Fault]:
    """A gradient that grows from one dense layer with batch normalization to the next.

    Of ReLU layers its squared norm grows by about π/(π - 1) = 1.47 in each, whatever the kernels
    (Yang et al. 2019, "A mean field theory of batch normalization", section 4). Not where one of
    the stretches between them makes it grow, which is told.
    """
    calls = measured.graph.calls
    over = {c.index for c in calls if isinstance(innermost(c.layer), layers.BatchNormalization)}
    dense = all(not calls[index].outputs[0].positions for index in over)
    told = any((point.backward or 0.0) >= math.log(GRADIENT_FACTOR) for point in points)
    if not over or not dense or told:
        return
    roles = [Role.OTHER if n in over else role for n, role in enumerate(measured.roles)]
    levels = replace(measured, roles=roles).flow.backward
    grown = {
        index: level.log
        for index, level in enumerate(levels)
        if measured.roles[index] is Role.KERNEL and level is not None and level.known
        if math.isfinite(level.log) and len(level.kernels) >= _LAYERS_OVER_BATCHES
    }
    most = max(grown, key=grown.__getitem__, default=None)
    if most is None or grown[most] < math.log(_GROWTH_OVER_BATCHES):
        return
    path, size = calls[most].path, number(math.exp(min(grown[most], 700.0)))
    yield fault_of(
        measured,
        "gradient_explodes",
        calls[most],
        f"Back to {path!r} the gradient's squared norm grows by {size}: batch normalization sets "
        "signals anew in each layer, and gradients grow with every one, whatever the weights.",
        "add_skips",
    )


def _given_back(measured: Measured, call: Call) -> float | None:
    """Squared norm of the gradient of what a call reads, beside that of what its readers return."""
    source = measured.producers[call.inputs[0].index]
    given = measured.squared_gradient(source)
    returned = [measured.squared_gradient(reader) for reader in measured.flow.readers[source]]
    got = sum(filter(None, returned))
    return given / got if given is not None and got else None


def _has_gates(layer: Any) -> bool:
    """Whether a recurrence has gates already, as LSTM and GRU do."""
    layer = innermost(layer)
    cell = getattr(getattr(layer, "forward_layer", layer), "cell", None)
    return hasattr(cell, "recurrent_activation")


def _beside_others(measured: Measured, call: Call, sign: int) -> str:
    """How much slower (-1), or faster (1), a kernel would change than another one at the most."""
    own = measured.updates[call.index] if measured.updates else None
    others = zip(measured.updates, measured.graph.calls, strict=False)
    known = [(sign * math.log(own / ratio), other) for ratio, other in others if own and ratio]
    distance, other = max(known, key=lambda each: each[0], default=(0.0, call))
    if distance < math.log(UNEVEN):
        return ""
    times, pace = number(math.exp(min(distance, 700.0))), "faster" if sign > 0 else "slower"
    return (
        f" At one learning rate its kernel would move {times} times {pace}, beside its size, than "
        f"that of {other.path!r}."
    )


def distortions(measured: Measured, points: Sequence[Point]) -> Iterator[Fault]:
    """What two inputs differ by grows or falls beside the signal, layer after layer.

    (squared norm of the gradient) · (mean square of the signal) stays along a path where layers do
    to a small difference what they do to the signal; the largest single step is left out, since a
    trend is what condemns. Gates do something else to each input, and their roads are added: there
    the product of both is no measure of it.
    """
    if measured.gates:
        return
    stretches: dict[int, list[tuple[float, Point]]] = {}
    for point in points:
        if point.forward is None or point.backward is None:
            continue
        height = point.forward + point.backward
        if math.isfinite(height):
            stretches.setdefault(point.kernels[0], []).append((height, point))
    worst: tuple[float, Point, int] | None = None
    for found in stretches.values():
        steps = [after[0] - before[0] for before, after in pairwise(found)]
        if len(steps) < 3:
            continue
        whole = found[0][0] - found[-1][0]
        largest = max((-step for step in steps), key=lambda s: s if whole > 0 else -s)
        trend = whole - largest
        if trend * whole > 0 and (worst is None or abs(trend) > abs(worst[0])):
            worst = trend, found[0][1], len(found)
    if worst is None:
        return
    trend, point, count = worst
    limit = DISTORTION_GROWS if trend > 0 else DISTORTION_FALLS
    if abs(trend) >= 2 * math.log(limit):
        call = measured.graph.calls[point.kernel]
        what = "amplified" if trend > 0 else "damped"
        fault = fault_of(
            measured,
            "gradient_differs",
            call,
            f"What two inputs differ by is {what} beside the signal itself by a factor of "
            f"{number(math.exp(min(abs(trend) / 2, 700.0)))} over {count:,} layers, from "
            f"{call.path!r} on.",
            "change_activation" if trend < 0 else "autoinit_helps",
        )
        yield replace(fault, bearable=0.0 < trend < 2 * math.log(_BORNE_DIFFERENCE))
