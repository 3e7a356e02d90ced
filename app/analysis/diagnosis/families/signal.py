"""What becomes of the signal on its way through the network."""

from __future__ import annotations

from collections.abc import Iterator

from app.analysis.diagnosis import thresholds
from app.analysis.diagnosis.kinds import Evidence, FindingKind, Place, Severity
from app.analysis.diagnosis.stretches import Stretch, largest_change
from app.text.formatting import number


def signal_stretch(evidence: Evidence, sign: int) -> Stretch | None:
    """Where the signal explodes (1) or vanishes (-1), if it does."""
    figures, factor = evidence.variances(), thresholds.STABLE_FACTOR
    # What underflows to 0 has no logarithm: the last figure above it is the end of the stretch.
    variances = [figure for _, figure in figures]
    target = evidence.target
    beyond = (
        max(variances, default=target) > target * factor
        if sign > 0
        else min(variances, default=target) < target / factor
    )
    found = largest_change(figures, sign) if beyond else None
    return found if found is not None and found.factor >= thresholds.LEAST_CHANGE else None


def _explodes(evidence: Evidence) -> Iterator[Place]:
    return _changes(evidence, 1, "explodes", "grows")


def _vanishes(evidence: Evidence) -> Iterator[Place]:
    return _changes(evidence, -1, "vanishes", "falls")


def _changes(evidence: Evidence, sign: int, verb: str, grows: str) -> Iterator[Place]:
    """Where it starts, how fast it is, and where it ends."""
    found = signal_stretch(evidence, sign)
    if found is None:
        return
    after = evidence.measured(found.end, "variance", "autoinit")
    yield Place(
        found.start,
        f"the signal {verb}: from {found.start.path!r} to {found.end.path!r} its variance {grows} "
        f"from {number(found.first)} to {number(found.last)}, by a factor of "
        f"{found.rate_in_words}." + evidence.with_autoinit(after, "a variance of"),
    )


def _not_finite(evidence: Evidence) -> Iterator[Place]:
    for call in evidence.calls:
        share = evidence.measured(call, "finite_fraction")
        if share is not None and share < 1.0:
            after = evidence.measured(call, "variance", "autoinit")
            yield Place(
                call,
                "the signal is NaN or beyond the range of floating point, first at "
                f"{call.path!r}." + evidence.with_autoinit(after, "a variance of"),
            )
            return


KINDS = (
    FindingKind(
        "not_finite",
        Severity.PROBLEM,
        "Figures that are not finite",
        cause="The signal grew beyond the range of floating point, or a function gave NaN.",
        remedy="Look at the calls just before; take AutoInit's weights, or scale the input.",
        test=_not_finite,
    ),
    FindingKind(
        "signal_explodes",
        Severity.PROBLEM,
        "The signal explodes",
        cause="Every layer with a kernel multiplies the variance by more than 1, and depth "
        "raises that to a power.",
        remedy="Take the re-initialised model, whose kernels keep the variance at its target.",
        test=_explodes,
    ),
    FindingKind(
        "signal_vanishes",
        Severity.PROBLEM,
        "The signal vanishes",
        cause="Every layer with a kernel multiplies the variance by less than 1, and depth "
        "raises that to a power.",
        remedy="Take the re-initialised model, whose kernels keep the variance at its target.",
        test=_vanishes,
    ),
)
