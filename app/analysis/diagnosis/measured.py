"""What the figures of one series of weights say: signals, gradients, units, inputs told apart.

Every function takes the figures as they were measured and tells faults; thresholds stand at the top
of the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from app.analysis.diagnosis.fault import Fault, Severity
from app.analysis.diagnosis.flow import Flow, Point, gate_branches, statistic_branches
from app.analysis.diagnosis.roles import Role, activation_of
from app.text.formatting import number
from autoinit.graph.model_graph import Call, ModelGraph
from probes.moments.figures import Moments

# A signal's mean square, and the squared norm of a gradient, vanish or explode beyond these. Chains
# of ReLU layers, trained on digits for 300 steps: dense ones gained 95 % and more up to a factor of
# 230, 90 % at 600, 70 % and less beyond 8,000; convolutions under global pooling 23 to 95 % up to
# 330, 6 % and less from 430 on.
VANISHED, EXPLODED, GRADIENT_FACTOR = 300.0, 100.0, 1000.0
_MOST_SLACK = 0.25  # of the logarithm, for what few samples leave open
LEAST = 10.0  # what ends about where signals should be has only made up for its input
# From here on nothing can be learnt in the time that anyone has.
HOPELESS = 1e8
# What two inputs differ by, beside the signal: in amplitude; and what of it one layer may do.
DISTORTION_GROWS, DISTORTION_FALLS = 10.0, 100.0
# Share of dead units; on noise, maximum pooling alone makes up to a third of them dead.
DEAD, DEAD_WITH_AUTOINIT = 0.4, 0.75
# Of what correlates so much because pooling has averaged noise, half are, and trainings learn.
_POOLED, _DEAD_OF_ALIKE = 0.9, 0.75
SATURATED = 0.5  # share of saturated entries
_SHARES = frozenset({"softmax", "sigmoid", "sparsemax"})
ALIKE, COLLAPSED = 0.99, 0.999
# Update ratios that differ by less are what pooling and shapes do. Healthy networks of
# keras.applications: 80 to 8,000, ConvNeXt 10⁷ by a factor that opens; and a normalized network
# learns even where they differ by 10¹². So they explain a fault, and are none by themselves.
UNEVEN = 10.0


@dataclass(frozen=True, eq=False)
class Measured:
    """One series' figures.

    Attributes:
        graph: the calls.
        roles: of each call.
        forward, backward: moments of each call's first output and of its gradient.
        zero: calls whose kernels are zero.
        series: its name.
        updates: update ratio of each call's kernel; empty where it is not known.
    """

    graph: ModelGraph
    roles: Sequence[Role]
    forward: Sequence[Moments | None]
    backward: Sequence[Moments | None]
    zero: frozenset[int]
    series: str
    updates: Sequence[float | None] = ()

    @cached_property
    def producers(self) -> Mapping[int, int]:
        """Index of the call that writes each value."""
        return {v.index: call.index for call in self.graph.calls for v in call.outputs}

    def flow(self) -> Flow:
        """Levels of signals and gradients along the graph."""
        squares = [None if m is None else m.mean_square for m in self.forward]
        gradients = [
            None if m is None else m.mean_square * call.outputs[0].entries
            for call, m in zip(self.graph.calls, self.backward, strict=True)
        ]
        return Flow(self.graph, self.roles, squares, gradients, self.zero)

    @cached_property
    def gates(self) -> frozenset[int]:
        """Calls that only open and close a gate, of which no size is judged."""
        return gate_branches(self.graph, self.roles)

    @cached_property
    def steering(self) -> frozenset[int]:
        """Those, and what makes queries, keys and divisors: there, small is no fault."""
        return gate_branches(self.graph, self.roles, steering=True)


def measured_faults(measured: Measured) -> Iterator[Fault]:
    """All faults that the figures of a series show."""
    aside = measured.gates | statistic_branches(measured.graph, measured.roles)
    points = measured.flow().points(aside)
    dead = list(_dead(measured))
    yield from _not_finite(measured)
    yield from dead
    yield from _signal(measured, points)
    yield from _gradient(measured, points)
    yield from _distorted(measured, points)
    yield from _collapse(measured)
    yield from _saturated(measured)
    yield from _constant_output(measured)


def _fault(
    measured: Measured,
    code: str,
    call: Call,
    message: str,
    remedy: str,
    severity: Severity = Severity.SERIOUS,
) -> Fault:
    path = (call.part == "activation" and call.path.rpartition("/")[0]) or call.path
    return Fault(code, path, call.class_name, message, remedy, severity, measured.series)


def _not_finite(measured: Measured) -> Iterator[Fault]:
    for call, moments in zip(measured.graph.calls, measured.forward, strict=True):
        if moments is not None and moments.finite_fraction < 1.0:
            yield _fault(
                measured,
                "not_finite",
                call,
                f"The signal is NaN or beyond the range of floating point, first at {call.path!r}.",
                "autoinit_helps",
                Severity.FATAL,
            )
            return


def _signal(measured: Measured, points: Sequence[Point]) -> Iterator[Fault]:
    """Where a signal vanishes or explodes on its way to an activation or to the output."""
    known = [p for p in points if p.forward is not None and not math.isnan(p.forward)]
    flow = measured.flow()
    heights = [
        p
        for p in known
        if p.consumer is not Role.BOUNDED
        and _square(measured, p) >= LEAST
        and not _ends_in_zeros(measured, flow.readers[p.call.index])
    ]
    inner = [each for p in known if (each := flow.before_head(p)) is not None]
    known = [p for p in inner if p.forward is not None]
    lost = [p for p in known if p.forward is not None and p.forward == -math.inf]
    if lost and not _underflows(measured, lost[0]):
        known = [p for p in known if p not in lost]  # zeros: dead units, zero kernels
    small = [
        p
        for p in known
        if _square(measured, p) <= 1 / LEAST and p.call.index not in measured.steering
    ]
    low = min(small, key=lambda p: p.forward or 0.0, default=None)
    if low is not None and (low.forward or 0.0) <= _slack(measured, low) - math.log(VANISHED):
        yield _stretch(measured, "signal_vanishes", low, "falls")
    high = max(heights, key=lambda p: p.forward or 0.0, default=None)
    if high is not None and (high.forward or 0.0) >= math.log(EXPLODED) - _slack(measured, high):
        yield _stretch(measured, "signal_explodes", high, "grows")


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
    severity = Severity.FATAL if abs(level) >= math.log(HOPELESS) else Severity.SERIOUS
    return _fault(
        measured,
        code,
        start,
        f"From {start.path!r} to {point.call.path!r} the signal's mean square {verb} {size}{told}.",
        "autoinit_helps",
        severity,
    )


def _first_at_fault(measured: Measured, point: Point) -> int:
    """The kernel from which on the level moves to where it ends: its turning point."""
    flow = measured.flow()
    sign = 1 if (point.forward or 0.0) > 0 else -1
    best, turning = 0.0, point.kernels[0]
    for index in point.kernels[:-1]:
        here = sign * flow.forward[index].log
        if here < best:
            best, turning = here, index
    return turning


def _gradient(measured: Measured, points: Sequence[Point]) -> Iterator[Fault]:
    """Where a gradient vanishes or explodes on its way back to the kernels."""
    known = [p for p in points if p.backward is not None and not math.isnan(p.backward)]
    finite = [p for p in known if p.backward is not None and math.isfinite(p.backward)]
    limit = math.log(GRADIENT_FACTOR)
    flow, few = measured.flow(), math.log(LEAST)
    falling = [
        p
        for p in finite
        if p.call.index not in measured.steering and not flow.falls_at_head_alone(p, few)
    ]
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
        yield _fault(
            measured,
            code,
            call,
            f"On its way back to {call.path!r} the gradient's squared norm {verb} {size}{rate}."
            f"{_beside_others(measured, call, sign)}",
            "autoinit_helps",
            Severity.FATAL if level >= math.log(HOPELESS) else Severity.SERIOUS,
        )


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


def _distorted(measured: Measured, points: Sequence[Point]) -> Iterator[Fault]:
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
        yield _fault(
            measured,
            "gradient_differs",
            call,
            f"What two inputs differ by is {what} beside the signal itself by a factor of "
            f"{number(math.exp(min(abs(trend) / 2, 700.0)))} over {count:,} layers, from "
            f"{call.path!r} on.",
            "change_activation" if trend < 0 else "autoinit_helps",
        )


def _collapse(measured: Measured) -> Iterator[Fault]:
    """Inputs that are no longer told apart, from a call on to the end.

    What pooling leaves of noise over many positions is the same for all inputs, whatever the
    network: where there are positions, only calls that have some count. What inputs have in common
    where the first figure is, such as the mean of pixels, they were fed with: the rest counts.
    """
    pairs = [
        (call, moments)
        for call, moments in zip(measured.graph.calls, measured.forward, strict=True)
        if moments is not None and not call.is_internal and call.index not in measured.gates
    ]
    placed = [pair for pair in pairs if pair[1].position_correlation is not None]
    known = [
        (call, float(moments.sample_correlation))
        for call, moments in placed or pairs
        if moments.sample_correlation is not None
    ]
    fed = _in_common(
        next((m for _, m in placed or pairs if m.sample_correlation is not None), None)
    )
    alike = [1.0 - (1.0 - value) / (1.0 - fed) if fed < ALIKE else value for _, value in known]
    start = None
    for (before, after), (call, _) in zip(pairwise(alike), known[1:], strict=True):
        if after >= ALIKE > before:
            start = call
        elif after < ALIKE:
            start = None
    if start is not None:
        end, value = known[-1]
        first = next(
            (
                c
                for c in reversed(measured.graph.calls[: start.index + 1])
                if measured.roles[c.index] is Role.KERNEL
            ),
            start,
        )
        yield _fault(
            measured,
            "correlation_collapse",
            first,
            f"Inputs are no longer told apart: from {start.path!r} on two of them correlate by "
            f"more than {ALIKE}, and at {end.path!r} by {value:.4g}.",
            "change_activation",
            Severity.FATAL if value >= COLLAPSED else Severity.SERIOUS,
        )


def _in_common(moments: Moments | None) -> float:
    """The share of a signal's mean square that is the same in two samples, its mean included."""
    if moments is None or not moments.mean_square > 0.0:
        return 0.0
    common = (moments.sample_correlation or 0.0) * moments.variance + moments.mean * moments.mean
    return max(common / moments.mean_square, 0.0)


def _dead(measured: Measured) -> Iterator[Fault]:
    yield from _share(
        measured,
        "dead_channels",
        "dead_fraction",
        DEAD_WITH_AUTOINIT if measured.series == "autoinit" else DEAD,
        "Of the units of {path!r} {share:.0%} give zero for every input{more}: nothing passes, and "
        "no gradient returns, through these.",
        "autoinit_helps",
        {Role.ACTIVATION, Role.BOUNDED},
    )


def _pooled(measured: Measured, call: Call) -> bool:
    """Whether a call receives what pooling leaves of noise: nearly the same for every input.

    Half of the units behind it give zero then, for noise alone: images differ by more.
    """
    before = measured.forward[measured.producers[call.inputs[0].index]]
    return (
        before is not None
        and before.position_correlation is None
        and (before.sample_correlation or 0.0) >= _POOLED
        and any(m is not None and m.position_correlation is not None for m in measured.forward)
    )


def _saturated(measured: Measured) -> Iterator[Fault]:
    yield from _share(
        measured,
        "saturated",
        "saturated_fraction",
        SATURATED,
        "Of the entries of {path!r} {share:.0%} are saturated{more}: gradients hardly pass there.",
        "autoinit_helps",
        {Role.BOUNDED, Role.ACTIVATION},
    )


def _share(
    measured: Measured, code: str, name: str, least: float, told: str, remedy: str, roles: set[Role]
) -> Iterator[Fault]:
    found = []
    for call, moments in zip(measured.graph.calls, measured.forward, strict=True):
        share = None if moments is None else getattr(moments.shape, name)
        if share is None or share < least or measured.roles[call.index] not in roles:
            continue
        if call.index in measured.gates:
            continue
        if name == "dead_fraction" and activation_of(call) in _SHARES:
            continue  # a share of nearly 0 is an answer
        if name == "saturated_fraction" and activation_of(call) == "relu6":
            continue  # half of a ReLU's entries lie at its lower bound, where it is 0
        if name == "dead_fraction" and share < _DEAD_OF_ALIKE and _pooled(measured, call):
            continue
        before = [measured.producers.get(value.index) for value in call.inputs]
        behind_zero = any(index in measured.zero for index in before if index is not None)
        if behind_zero and not _stuck(measured, call):
            continue
        found.append((share, call))
    if found:
        share, call = found[0]
        more = f", and more than {least:.0%} in {len(found) - 1:,} others" if found[1:] else ""
        # Where whole layers are, and nothing passes beside them, training has nothing to go by.
        gone = name == "dead_fraction" and any(each == 1.0 for each, _ in found)
        yield _fault(
            measured,
            code,
            call,
            told.format(path=call.path, share=share, more=more),
            remedy,
            Severity.FATAL if gone and _outputs_are_still(measured) else Severity.SERIOUS,
        )


def _outputs_are_still(measured: Measured) -> bool:
    """Whether all outputs are one number, whatever the input."""
    graph = measured.graph
    producers = graph.producers()
    found = (measured.forward[producers[value.index].index] for value in graph.outputs)
    return all(moments is not None and moments.variance == 0.0 for moments in found)


def _stuck(measured: Measured, call: Call) -> bool:
    """Whether no gradient comes back to a call behind a zero kernel: it is dead for good."""
    moments = measured.backward[call.index]
    return moments is None or moments.mean_square == 0.0


def _constant_output(measured: Measured) -> Iterator[Fault]:
    """An output that does not depend on the input."""
    graph = measured.graph
    producers = graph.producers()
    for value in graph.outputs:
        call = producers[value.index]
        moments = measured.forward[call.index]
        if moments is None or moments.finite_fraction < 1.0 or not call.inputs:
            continue
        alike = moments.variance == 0.0
        # Several equal shares may be all that rounding leaves of a small signal; not of none.
        before = measured.forward[producers[call.inputs[0].index].index]
        nothing = moments.mean == 0.0 or (before is not None and before.mean_square == 0.0)
        correlated = moments.sample_correlation
        if (alike and (value.entries == 1 or nothing)) or correlated == 1.0:
            yield _fault(
                measured,
                "constant_output",
                call,
                f"The output {call.path!r} is the same for every input.",
                "redraw_random",
                Severity.FATAL,
            )


Received = Mapping[str, tuple[float, float]]


def received_by_normalizers(measured: Measured) -> Received:
    """Mean and variance of what each normalization receives, by its path."""
    found = {}
    for call in measured.graph.calls:
        if measured.roles[call.index] is Role.NORMALIZER and call.inputs:
            moments = measured.forward[measured.producers[call.inputs[0].index]]
            if moments is not None and moments.finite_fraction == 1.0:
                found[call.path] = moments.mean, moments.variance
    return found
