"""Whether the network still tells its inputs apart."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from app.analysis.diagnosis import thresholds
from app.analysis.diagnosis.kinds import Evidence, FindingKind, Place, Severity


def _collapse(evidence: Evidence) -> Iterator[Place]:
    """Inputs that are no longer told apart, from a call on to the end.

    Those that are alike where the first figure is were fed so: real data, or words unknown to it.
    """
    name, alike = "sample_correlation", thresholds.ALIKE
    found = [(call, evidence.measured(call, name)) for call in evidence.with_correlations()]
    known = [(call, value) for call, value in found if value is not None]
    start = None
    for (_, before), (call, value) in pairwise(known):
        if value >= alike > before:
            start = call
        elif value < alike:
            start = None
    if start is not None:
        end, value = known[-1]
        after = evidence.measured(end, name, "autoinit")
        yield Place(
            start,
            f"the network no longer tells inputs apart: from {start.path!r} on, two of them "
            f"correlate by more than {alike}, and at {end.path!r} by {value:.4g}."
            + evidence.with_autoinit(after, "a correlation of"),
        )


KINDS = (
    FindingKind(
        "correlation_collapse",
        Severity.PROBLEM,
        "Inputs are no longer told apart",
        cause="Layer after layer makes inputs more alike: the network is in the ordered phase, or "
        "its activations have a mean that is large beside what varies.",
        remedy="Use residual connections, normalisation or another activation; weights alone "
        "change it little.",
        test=_collapse,
    ),
)
