"""Activations that let little through."""

from __future__ import annotations

from collections.abc import Iterator

from app.analysis.diagnosis import thresholds
from app.analysis.diagnosis.kinds import Evidence, FindingKind, Place, Severity
from app.text.formatting import plural


def _dead(evidence: Evidence) -> Iterator[Place]:
    return _shares(
        evidence, "dead_fraction", thresholds.DEAD,
        "zero for every sample in {} of the channels: nothing passes, and no gradient returns, "
        "through these. It is",
    )  # fmt: skip


def _saturated(evidence: Evidence) -> Iterator[Place]:
    return _shares(
        evidence, "saturated_fraction", thresholds.SATURATED,
        "saturated in {} of the entries: gradients hardly pass there. It is",
    )  # fmt: skip


def _shares(evidence: Evidence, name: str, least: float, sentence: str) -> Iterator[Place]:
    """One sentence for all calls with such a share; the largest is named."""
    found = [
        (share, call)
        for call in evidence.calls
        if (share := evidence.measured(call, name)) is not None and share >= least
    ]
    if found:
        most, call = max(found, key=lambda pair: pair[0])
        after = evidence.measured(call, name, "autoinit")
        yield Place(
            call,
            f"the output of {plural(len(found), 'call')} is "
            + sentence.format(f"{least:.0%} or more")
            + f" {most:.0%} at {call.path!r}."
            + evidence.with_autoinit(after, "a share of"),
        )


KINDS = (
    FindingKind(
        "dead_channels",
        Severity.NOTE,
        "Channels that are zero for every sample",
        cause="An activation such as ReLU got pre-activations that are negative for all samples.",
        remedy="Look at the biases and at the mean of the signal before it; a leaky activation "
        "keeps a gradient.",
        test=_dead,
    ),
    FindingKind(
        "saturated",
        Severity.NOTE,
        "Activations that are saturated",
        cause="The pre-activations are so large that a function such as tanh is flat there.",
        remedy="Draw smaller weights, as AutoInit does, or scale the input.",
        test=_saturated,
    ),
)
