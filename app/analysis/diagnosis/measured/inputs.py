"""Inputs that are no longer told apart, and outputs that are the same for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.measured.series import Measured, fault_of
from app.analysis.diagnosis.roles import Role
from probes.moments.figures import Moments

ALIKE, COLLAPSED = 0.99, 0.999


def collapse(measured: Measured) -> Iterator[Fault]:
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
        yield fault_of(
            measured,
            "correlation_collapse",
            first,
            f"Inputs are no longer told apart: from {start.path!r} on two of them correlate by "
            f"more than {ALIKE}, and at {end.path!r} by {value:.4g}.",
            "change_activation",
            Consequence.FATAL if value >= COLLAPSED else Consequence.SERIOUS,
        )


def _in_common(moments: Moments | None) -> float:
    """The share of a signal's mean square that is the same in two samples, its mean included."""
    if moments is None or not moments.mean_square > 0.0:
        return 0.0
    common = (moments.sample_correlation or 0.0) * moments.variance + moments.mean * moments.mean
    return max(common / moments.mean_square, 0.0)


def constant_outputs(measured: Measured) -> Iterator[Fault]:
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
            yield fault_of(
                measured,
                "constant_output",
                call,
                f"The output {call.path!r} is the same for every input.",
                "redraw_random",
                Consequence.FATAL,
            )
