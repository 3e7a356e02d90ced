"""The figures of one series of weights, from which faults are told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.measured.flow import Flow, bypassed, gate_branches
from app.analysis.diagnosis.roles import Role
from autoinit.arrays import singular_share
from autoinit.graph.model_graph import Call, ModelGraph
from probes.gradients import Gradients, variables_by_path
from probes.moments.figures import Moments
from probes.segments import trainable


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
        slope: squared norm of a sample's gradient for all weights; None where it is not known.
    """

    graph: ModelGraph
    roles: Sequence[Role]
    forward: Sequence[Moments | None]
    backward: Sequence[Moments | None]
    zero: frozenset[int]
    series: str
    updates: Sequence[float | None] = ()
    slope: float | None = None

    @cached_property
    def producers(self) -> Mapping[int, int]:
        """Index of the call that writes each value."""
        return {v.index: call.index for call in self.graph.calls for v in call.outputs}

    @cached_property
    def flow(self) -> Flow:
        """Levels of signals and gradients along the graph."""
        squares = [None if m is None else m.mean_square for m in self.forward]
        gradients = [self.squared_gradient(call.index) for call in self.graph.calls]
        return Flow(self.graph, self.roles, squares, gradients, self.zero)

    def squared_gradient(self, index: int) -> float | None:
        """Squared norm, of one sample, of the gradient of a call's first output."""
        moments = self.backward[index]
        entries = self.graph.calls[index].outputs[0].entries
        return None if moments is None else moments.mean_square * entries

    @cached_property
    def gates(self) -> frozenset[int]:
        """Calls that only open and close a gate, of which no size is judged."""
        return gate_branches(self.graph, self.roles)

    @cached_property
    def steering(self) -> frozenset[int]:
        """Those, and what makes queries, keys and divisors: there, small is no fault."""
        return gate_branches(self.graph, self.roles, steering=True)

    @cached_property
    def bypassed(self) -> frozenset[int]:
        """Calls beside which far more passes by, which still tells inputs apart."""
        return bypassed(self.graph, self.roles, self._squares_apart, _BYPASS)

    @cached_property
    def accompanied(self) -> frozenset[int]:
        """Calls beside which about as much passes by, or more, which still tells inputs apart."""
        return bypassed(self.graph, self.roles, self._squares_apart, _COMPANY)

    @cached_property
    def _squares_apart(self) -> list[float | None]:
        """Mean squares of what tells inputs apart."""
        return [
            None if m is None or (m.sample_correlation or 0.0) > _ALIKE else m.mean_square
            for m in self.forward
        ]


# What is as much alike for all inputs says little of them.
_ALIKE = 0.99
# Mean square of what passes by, beside that of a branch.
_BYPASS = 10.0
_COMPANY = 0.1


def layer_path(call: Call) -> str:
    """The path of a call's layer: that of a fused activation is the layer's."""
    return (call.part == "activation" and call.path.rpartition("/")[0]) or call.path


def fault_of(
    measured: Measured,
    code: str,
    call: Call,
    message: str,
    remedy: str,
    consequence: Consequence = Consequence.SERIOUS,
) -> Fault:
    """A fault of the series, at a call."""
    return Fault(
        code, layer_path(call), call.class_name, message, remedy, consequence, measured.series
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


def squared_slope(graph: ModelGraph, gradients: Gradients | None) -> float | None:
    """Squared norm of a sample's gradient for all trainable weights; None where it is not known."""
    if gradients is None or not gradients.samples:
        return None
    variables = variables_by_path(graph)
    return math.fsum(
        moments.mean_square * math.prod(variables[path].shape) / gradients.samples
        for path, moments in gradients.variables.items()
        if moments is not None and path in variables
    )


def update_ratios(graph: ModelGraph, gradients: Gradients | None) -> list[float | None]:
    """For each call the update ratio of its kernel; the least of several kernels'.

    Args:
        graph: the calls.
        gradients: as they were measured; None where they could not be.

    Returns:
        Root mean squares of a sample's gradient beside those of the kernels; None for a call
        without a trainable kernel, and for one that no gradient reaches.
    """
    if gradients is None:
        return [None] * len(graph.calls)
    found = {
        id(variable): gradients.update_ratios[path]
        for path, variable in variables_by_path(graph).items()
        if path in gradients.update_ratios
    }
    # An activation of a layer's own is a call of the layer, and has no kernel.
    own = ((() if call.part == "activation" else trainable(call)) for call in graph.calls)
    ratios = ([found.get(id(variable)) for variable in variables] for variables in own)
    return [min((r for r in each if r is not None), default=None) for each in ratios]


def spectral(graph: ModelGraph, ratios: Sequence[float | None]) -> list[float | None]:
    """Update ratios of the kernels' largest singular values, in place of their entries'.

    One sample's gradient of a dense kernel has one singular value, its norm; those of m × n
    independent entries of standard deviation σ reach σ(√m + √n). So what changes the entries by a
    share r of their size changes the kernel as a map by r·√(mn) / (√m + √n), whatever its width
    (Yang, Simon & Bernstein 2023, "A Spectral Condition for Feature Learning", section 2).

    Args:
        graph: the calls.
        ratios: as `update_ratios` returns them.
    """
    shapes = ([tuple(variable.shape) for variable in trainable(call)] for call in graph.calls)
    factors = (
        min((singular_share(shape) for shape in each if len(shape) > 1), default=0.0)
        for each in shapes
    )
    return [
        None if ratio is None else ratio * factor
        for ratio, factor in zip(ratios, factors, strict=True)
    ]
