"""How the size of a signal, and of a gradient, changes along the paths of a graph.

What a person calls vanishing is a factor that kernels and activations put on a signal, again and
again, with nothing to undo it. So a *level* is carried along the graph's own edges: the second
moment of a value beside the one with which its stretch began. A normalization ends a stretch and
begins another; pooling, padding and repeating change a second moment and no level; what an addition
gives is compared with its larger operand, and so is what a product of kernels' outputs gives, or
what a gate lets pass with what it weighs; parallel branches are never compared. A fixed factor
behind a kernel counts with it, since levels are judged where they matter: at what activations
receive, and at what leaves the network.

Backwards likewise, with the squared norm of the gradient of a whole sample in place of the second
moment of an entry, which striding and pooling leave alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from app.analysis.diagnosis.roles import QUOTIENTS, Role, activation_of, divisors
from autoinit.graph.model_graph import Call, ModelGraph, Value

RESETS = frozenset({Role.NORMALIZER, Role.RECURRENT})
_HARMLESS = frozenset({Role.POOL, Role.CONCAT, Role.PRODUCT})
# What passes a value on without being an activation or a kernel: a fixed factor, a reshape.
PASSING = frozenset({Role.SCALE, Role.MOVE})
# What may come between a kernel and the gate that weighs what it gives.
_SHAPING = PASSING | {Role.ACTIVATION, Role.BOUNDED, Role.POOL}
# The logarithm of what is so little of an input that no kernel makes up for it in training: a head
# behind 100 Gaussians of digits, exp(-γ|x - μ|²), was right for 98 % where it got 10⁻⁸ of their
# mean square (by Adam), and for 17 %, chance being 10, where it got 10⁻²³.
_NOTHING_LEFT = -16.0 * math.log(10.0)
# A normalization that gives less than this has not made up for what it received (its epsilon).
_RESTORED = 1e-2


@dataclass(frozen=True)
class Level:
    """Where a value stands in its stretch.

    Attributes:
        log: natural logarithm of its level: 0 where the stretch began.
        kernels: indices of the calls with a kernel between the stretch's begin and here, along the
            path that carries most.
        known: whether it could be measured all the way.
    """

    log: float
    kernels: tuple[int, ...] = ()
    known: bool = True
    started: bool = False  # whether a kernel was passed since the input


@dataclass(frozen=True)
class Point:
    """A place where a level counts.

    Attributes:
        call: whose output it is.
        consumer: role of what reads it; None at the end of the network.
        forward, backward: levels, as natural logarithms; None where they are not known.
        kernels, later: calls with a kernel, from where the stretch began up to here, and from here
            on; of the first there is one at least.
    """

    call: Call
    consumer: Role | None
    forward: float | None
    backward: float | None
    kernels: tuple[int, ...]
    later: tuple[int, ...]

    @property
    def kernel(self) -> int:
        """The call with the kernel whose output arrives here."""
        return self.kernels[-1]


def _log(value: float | None) -> float | None:
    if value is None or math.isnan(value):
        return None
    if value <= 0.0:
        return -math.inf
    return math.log(value) if math.isfinite(value) else math.inf


class Flow:
    """Levels of all values, forwards and backwards.

    Args:
        graph: the calls.
        roles: of each call.
        squares: mean square of each call's first output; None where it was not measured.
        gradients: squared norm of a sample's gradient for each call's first output, likewise.
        zero: indices of calls whose kernel is zero: they say nothing of sizes.
    """

    def __init__(
        self,
        graph: ModelGraph,
        roles: Sequence[Role],
        squares: Sequence[float | None],
        gradients: Sequence[float | None],
        zero: frozenset[int] = frozenset(),
    ) -> None:
        self.graph, self.roles, self.zero = graph, roles, zero
        self.squares = [_log(value) for value in squares]
        self.gradients = [_log(value) for value in gradients]
        self.producer = {v.index: call.index for call in graph.calls for v in call.outputs}
        self.readers: dict[int, list[int]] = defaultdict(list)
        for call in graph.calls:
            for value in call.inputs:
                self.readers[self.producer[value.index]].append(call.index)
        gates = gates_of(graph, roles)
        # Products of entries that make a signal smaller or larger, and what are gates in them.
        self.products = {
            call.index: gates.get(call.index, frozenset())
            for call in graph.calls
            if roles[call.index] is Role.PRODUCT and call.class_name.lower() in _PRODUCTS_OF_ENTRIES
            if self._made_by_kernels(call, gates.get(call.index, frozenset()))
        }
        self.forward = self._forward()
        self.backward = self._backward()

    # Forwards.

    def _forward(self) -> list[Level]:
        levels: list[Level] = []
        for call in self.graph.calls:
            levels.append(self._level(call, levels))
        return levels

    def _level(self, call: Call, levels: Sequence[Level]) -> Level:
        role, own = self.roles[call.index], self.squares[call.index]
        # A mask is read beside the signal, and is none.
        read = [value for value in call.inputs if not value.constant and value.dtype != "bool"]
        sources = [self.producer[value.index] for value in read]
        if role is Role.INPUT or not sources:
            return Level(0.0)
        if role in RESETS:
            if role is Role.RECURRENT or own is None or own > math.log(_RESTORED):
                return Level(0.0, started=True)
            return Level(own, started=True)
        # The operand that carries most; of a quotient, what is divided; what a gate weighs.
        gates = self.products.get(call.index, frozenset())
        weighed = [self.producer[value.index] for value in read if value.index not in gates]
        main = max(weighed, key=self._height)
        if call.class_name.lower() in QUOTIENTS and not call.inputs[0].constant:
            main = sources[0]
        before, arrived = levels[main], self.squares[main]
        if role in _HARMLESS and call.index not in self.products:
            return before
        if role is not Role.KERNEL and not before.started and role in PASSING:
            return Level(0.0)  # preprocessing: what the first kernel receives is the begin
        kernels = (*before.kernels, call.index) if role is Role.KERNEL else before.kernels
        started = before.started or role is Role.KERNEL
        if call.index in self.zero:
            return Level(before.log, kernels, False, started)
        if own is None or arrived is None:
            return Level(before.log, kernels, False, started)
        if math.isinf(before.log) or math.isinf(own):
            lost = before.log if math.isinf(before.log) else own
            return Level(lost, kernels, before.known, started)
        return Level(before.log + own - arrived, kernels, before.known, started)

    def _height(self, index: int) -> float:
        own = self.squares[index]
        return -math.inf if own is None else own

    # Backwards.

    def _backward(self) -> list[Level | None]:
        levels: list[Level | None] = [None] * len(self.graph.calls)
        for call in reversed(self.graph.calls):
            levels[call.index] = self._level_back(call, levels)
        return levels

    def _level_back(self, call: Call, levels: Sequence[Level | None]) -> Level | None:
        own = self.gradients[call.index]
        if own is None or call.outputs[0].constant:
            return None
        found = []
        for reader in self.readers[call.index]:
            after, theirs = levels[reader], self.gradients[reader]
            if after is None or theirs is None:
                continue
            role = self.roles[reader]
            kernels = (*after.kernels, reader) if role is Role.KERNEL else after.kernels
            if role in RESETS:
                found.append(Level(0.0))
            elif role is Role.INPUT or (role in _HARMLESS and not self._weighs(reader, call)):
                found.append(Level(after.log, after.kernels, after.known))
            elif reader in self.zero:
                found.append(Level(after.log, kernels, False))
            elif math.isinf(after.log) or math.isinf(own):
                lost = after.log if math.isinf(after.log) else own
                found.append(Level(lost, kernels, after.known))
            else:
                found.append(Level(after.log + own - theirs, kernels, after.known))
        if not found:
            return Level(0.0)
        # The reader that changes least is the path along which most of it came.
        return min(found, key=lambda level: abs(level.log))

    def _weighs(self, reader: int, call: Call) -> bool:
        """Whether a call gives a product what it makes smaller or larger, and not a gate."""
        gates = self.products.get(reader)
        return gates is not None and gates.isdisjoint(value.index for value in call.outputs)

    def _made_by_kernels(self, product: Call, gates: Collection[int]) -> bool:
        """Whether what is multiplied, but for gates, was just made by kernels.

        A highway's other road, weighed by what the gate leaves, is what came in: 16 of them that
        fall so by 7,000 gained 74 % by descent and 94 % by Adam.
        """
        return all(
            self._is_shaped(value)
            for value in product.inputs
            if not value.constant and value.index not in gates
        )

    def _is_shaped(self, value: Value) -> bool:
        """Whether a kernel made a value, but for what functions and fixed factors did to it."""
        call = self.graph.calls[self.producer[value.index]]
        while self.roles[call.index] in _SHAPING and len(call.inputs) == 1:
            call = self.graph.calls[self.producer[call.inputs[0].index]]
        return self.roles[call.index] is Role.KERNEL

    def before_head(self, point: Point) -> Point | None:
        """What the last kernel receives, where a point is the end of the network.

        A head that gives little is no fault: many are drawn small on purpose, and one of a single
        unit may come out so. None where there is no kernel before it, and functions of the input
        leave something of it.
        """
        if not self._is_last(point.call.index):
            return point
        source = self._source(point.kernel)
        if source is None:
            return None
        level = self.forward[source]
        if not level.kernels:
            nothing = not level.started and level.log < _NOTHING_LEFT
            return replace(point, forward=level.log) if nothing else None
        return replace(
            point,
            call=self.graph.calls[source],
            kernels=level.kernels,
            forward=level.log if level.known else None,
        )

    def before_last_factor(self, point: Point) -> Point:
        """What the last kernel gives, where a point is the end of the network behind fixed factors.

        Such a factor is the temperature of logits: networks that normalize, and divide what the
        last kernel gives by 0.2 to 0.01 (up to 14,000 times the mean square), gained 96 to 99 %.
        """
        index = point.call.index
        while self.roles[index] in PASSING and (before := self._source(index)) is not None:
            index = before
        level = self.forward[index]
        if self.readers[point.call.index] or self.roles[index] is not Role.KERNEL:
            return point
        return replace(
            point, call=self.graph.calls[index], forward=level.log if level.known else None
        )

    def falls_at_head_alone(self, point: Point, least: float) -> bool:
        """Whether it is the last kernel that makes the gradient of all before it small.

        Those of policies are drawn so on purpose; as it learns, they do.

        Args:
            point: whose level is known.
            least: the logarithm of a fall, in the rest of the way, that counts.
        """
        head = point.later[0] if point.later else None
        source = None if head is None or not self._is_last(head) else self._source(head)
        if head is None or source is None:
            return False
        before, behind = self.gradients[source], self.gradients[head]
        if before is None or behind is None or point.backward is None:
            return False
        return point.backward - (before - behind) > -least

    def _is_last(self, index: int) -> bool:
        """Whether nothing but an activation, and fixed factors, come after a call."""
        waiting, activations = list(self.readers[index]), 0
        while waiting:
            reader = waiting.pop()
            activations += self._is_activation(reader)
            if not (self._is_activation(reader) or self.roles[reader] in PASSING):
                return False
            waiting += self.readers[reader]
        return activations <= 1

    def _source(self, index: int) -> int | None:
        """The call of whose output another one reads most."""
        inputs = self.graph.calls[index].inputs
        read = [value for value in inputs if not value.constant and value.dtype != "bool"]
        return max((self.producer[value.index] for value in read), key=self._height, default=None)

    def _is_activation(self, index: int) -> bool:
        return self.roles[index] in (Role.ACTIVATION, Role.BOUNDED)

    # Where levels count.

    def points(self, aside: frozenset[int] = frozenset()) -> list[Point]:
        """What activations receive and what leaves the network, one for each kernel's stretch.

        Args:
            aside: calls of which no size is judged.
        """
        found = []
        for call in self.graph.calls:
            role = self.roles[call.index]
            if role is Role.INPUT or call.is_internal or call.index in aside:
                continue
            readers = {self.roles[r] for r in self.readers[call.index] if r not in aside}
            consumer = next((r for r in (Role.ACTIVATION, Role.BOUNDED) if r in readers), None)
            ends = not self.readers[call.index]
            last_of_linear = role is Role.KERNEL and readers <= {Role.KERNEL}
            if self._is_activation(call.index):
                continue
            if consumer is None and not ends and not last_of_linear:
                continue
            forward, backward = self.forward[call.index], self.backward[call.index]
            if not forward.kernels:
                continue
            found.append(
                Point(
                    call,
                    consumer if not ends else None,
                    forward.log if forward.known else None,
                    backward.log if backward is not None and backward.known else None,
                    forward.kernels,
                    backward.kernels if backward is not None else (),
                )
            )
        return found


# What a gate is made by: functions from 0 to 1. That of MobileNetV3 is relu6(x + 3) / 6.
_GATES = frozenset({"sigmoid", "hardsigmoid", "relu6"})
# Also a gate, whose entries add up to 1, so that a sum makes up for them.
_SOFTMAX = frozenset({"softmax"})
_PRODUCTS_OF_ENTRIES = frozenset({"multiply"})
_ATTENTION = frozenset({"dotproductattention", "attention", "additiveattention"})


def gates_of(
    graph: ModelGraph,
    roles: Sequence[Role],
    functions: frozenset[str] = _GATES,
    entries: bool = True,
) -> dict[int, frozenset[int]]:
    """By index of each product that weighs a signal: indices of the values that are its gates.

    Args:
        graph, roles: the calls.
        functions: that make a gate.
        entries: whether products of entries are meant, or of matrices.
    """
    producers = graph.producers()

    def is_gate(value: Value) -> bool:
        call = producers[value.index]
        while roles[call.index] in (Role.SCALE, Role.MOVE, Role.POOL) and len(call.inputs) == 1:
            call = producers[call.inputs[0].index]
        return roles[call.index] is Role.BOUNDED and activation_of(call) in functions

    found = {}
    for call in graph.calls:
        named = call.class_name.lower()
        if (
            roles[call.index] is Role.PRODUCT
            and named not in _ATTENTION
            and (named in _PRODUCTS_OF_ENTRIES) is entries
        ):
            signals = {value.index: value for value in call.inputs if not value.constant}
            gates = frozenset(index for index, value in signals.items() if is_gate(value))
            if gates and len(gates) < len(signals):
                found[call.index] = gates
    return found


def gate_branches(
    graph: ModelGraph, roles: Sequence[Role], steering: bool = False
) -> frozenset[int]:
    """Calls from which everything ends in a gate: what weighs a signal by numbers from 0 to 1.

    Such as the two kernels of a squeeze-and-excitation block. Small signals and gradients there
    leave the gate half open, and what it weighs passes all the same: what a gate does to that is
    seen where they are multiplied.

    Args:
        graph, roles: the calls.
        steering: whether queries and keys of attention count, and what a signal is divided by:
            small ones let all positions weigh alike, or are what a normalization makes up for.
    """
    kinds = [gates_of(graph, roles, _GATES | _SOFTMAX)]
    if steering:
        kinds.append(gates_of(graph, roles, _SOFTMAX, entries=False))
    edges = {(at, value) for kind in kinds for at, values in kind.items() for value in values}
    for call in graph.calls if steering else ():
        signals = [value for value in call.inputs if not value.constant]
        named, found = call.class_name.lower(), []
        if named in QUOTIENTS and len(signals) > 1:
            found = [value for value in signals[1:] if value != signals[0]]
        elif roles[call.index] is Role.PRODUCT and named in _ATTENTION:
            weighed = signals[2:3] if call.class_name == "DotProductAttention" else signals[1:2]
            found = [value for value in signals[:3] if value not in weighed]
        edges.update((call.index, value.index) for value in found)
    return _ending_in(graph, edges)


def statistic_branches(graph: ModelGraph, roles: Sequence[Role]) -> frozenset[int]:
    """Calls from which everything ends in a deviation that a signal is normalized by."""
    made = divisors(graph, roles)
    return _ending_in(graph, {(index, value.index) for index, value in made.items()})


def bypassed(
    graph: ModelGraph, roles: Sequence[Role], squares: Sequence[float | None], least: float
) -> frozenset[int]:
    """Calls from which every way leads into an addition that takes far more from somewhere else.

    Such as the residual branch of a block: what becomes small there is small beside what passes
    by, which the same inputs made; and as its kernels learn, it grows.

    Args:
        graph, roles: the calls.
        squares: mean square of each call's first output; None where it was not measured, or is of
            no use to what follows.
        least: how many times more.
    """
    producers = graph.producers()
    entered: list[frozenset[int]] = []  # indices of the inputs that each call depends on
    small: set[tuple[int, int]] = set()
    for call in graph.calls:
        sources = [producers[value.index].index for value in call.inputs]
        own = [call.index] if call.is_input else []
        entered.append(frozenset(own).union(*(entered[index] for index in sources)))
        if roles[call.index] is not Role.MERGE:
            continue
        for index, value in zip(sources, call.inputs, strict=True):
            size = squares[index]
            if size is not None and any(
                (other := squares[beside]) is not None
                and other >= least * size
                and entered[beside] >= entered[index]
                for beside in sources
                if beside != index
            ):
                small.add((call.index, value.index))
    return _ending_in(graph, small)


def _ending_in(graph: ModelGraph, gates: Collection[tuple[int, int]]) -> frozenset[int]:
    """Calls from which every way leads to a call's reading of a value, those of `gates`."""
    readers: dict[int, list[Call]] = defaultdict(list)
    for call in graph.calls:
        for value in call.inputs:
            readers[value.index].append(call)
    outputs = {value.index for value in graph.outputs}
    branches: set[int] = set()
    for call in reversed(graph.calls):
        read = [(r.index, value.index) for value in call.outputs for r in readers[value.index]]
        if (
            read
            and not any(value.index in outputs for value in call.outputs)
            and all(edge in gates or edge[0] in branches for edge in read)
        ):
            branches.add(call.index)
    return frozenset(branches)
