"""What becomes of the gradient on its way back."""

from __future__ import annotations

import math
from collections.abc import Iterator

from app.analysis.diagnosis import thresholds
from app.analysis.diagnosis.kinds import Evidence, FindingKind, Place, Severity
from app.analysis.diagnosis.stretches import factor_between, largest_change
from app.analysis.result import Call
from app.text.formatting import number


def _explodes(evidence: Evidence) -> Iterator[Place]:
    return _changes(evidence, 1, "explodes", "grows")


def _vanishes(evidence: Evidence) -> Iterator[Place]:
    return _changes(evidence, -1, "vanishes", "falls")


def _changes(evidence: Evidence, sign: int, verb: str, grows: str) -> Iterator[Place]:
    """From the last call to the first."""
    found = [(c, evidence.square_norm(c)) for c in reversed(evidence.calls) if c.weighted]
    stretch = largest_change([(call, value) for call, value in found if value], sign)
    if stretch is None or stretch.factor < thresholds.GRADIENT_FACTOR:
        return
    whole = "" if stretch.steps == 1 else f"{number(stretch.factor)}, "
    after = factor_between(
        *(evidence.square_norm(call, "autoinit") for call in (stretch.start, stretch.end))
    )
    yield Place(
        stretch.end,
        f"the gradient {verb} on its way back: from {stretch.start.path!r} to "
        f"{stretch.end.path!r} its mean square {grows} by a factor of {whole}"
        f"{stretch.rate_in_words}." + evidence.with_autoinit(after, "a factor of"),
    )


def _differs(evidence: Evidence) -> Iterator[Place]:
    """Gradients that do not mirror the signal.

    A change of a call's output relative to that output moves the network's outputs by (square of
    the gradient) · (variance), which depth does not change where layers do to small differences
    what they do to the signal: as ReLU does, and tanh does not.
    """
    weighted = [call for call, _ in evidence.variances(evidence.with_correlations())]
    found = [(call, _relative(evidence, call, evidence.series)) for call in weighted]
    figures = [(call, value) for call, value in found if value]
    for sign, what in ((-1, "amplified"), (1, "damped")):
        stretch = largest_change(figures, sign)
        if stretch is None or stretch.factor < thresholds.STABLE_FACTOR:
            continue
        ends = (stretch.start, stretch.end)
        after = factor_between(*(_relative(evidence, call, "autoinit") for call in ends))
        amplitude = None if after is None else math.sqrt(after)
        yield Place(
            stretch.start,
            f"gradients do not mirror the signal: what two inputs differ by is {what} beside the "
            f"signal itself by a factor of {number(math.sqrt(stretch.factor))} from "
            f"{stretch.start.path!r} to {stretch.end.path!r}."
            + evidence.with_autoinit(amplitude, "a factor of"),
        )


def _relative(evidence: Evidence, call: Call, series: str) -> float | None:
    norm, variance = (
        evidence.square_norm(call, series),
        evidence.measured(call, "variance", series),
    )
    return norm * variance if norm and variance else None


KINDS = (
    FindingKind(
        "gradient_explodes",
        Severity.PROBLEM,
        "The gradient explodes",
        cause="On its way back every layer multiplies the gradient's mean square by more than 1.",
        remedy="Look at what happens at the call named, clip gradients, or take the re-initialised "
        "model.",
        test=_explodes,
    ),
    FindingKind(
        "gradient_vanishes",
        Severity.PROBLEM,
        "The gradient vanishes",
        cause="On its way back every layer multiplies the gradient's mean square by less than 1: "
        "small kernels, saturated or dead activations.",
        remedy="Use residual connections or another activation, or take the re-initialised model.",
        test=_vanishes,
    ),
    FindingKind(
        "gradient_differs",
        Severity.PROBLEM,
        "Gradients do not mirror the signal",
        cause="Layers do to small differences between inputs something else than to the signal, as "
        "saturating activations and normalisation do.",
        remedy="Compare the views of signal and gradient: keeping the one stable does not keep the "
        "other.",
        test=_differs,
    ),
)
