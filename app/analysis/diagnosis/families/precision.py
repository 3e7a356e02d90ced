"""Where half precision would not hold the signal, though single precision does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from app.analysis.diagnosis.kinds import Evidence, FindingKind, Place, Severity
from app.text.formatting import number, plural

# Of float16 (IEEE 754 binary16): the largest number, and the smallest above 0.
_LARGEST, _SMALLEST = 65504.0, 2.0**-24


def _beyond(evidence: Evidence) -> Iterator[Place]:
    what = f"is beyond {_LARGEST:,.0f}, the largest number of float16"
    return _where(evidence, lambda size: size > _LARGEST, what)


def _below(evidence: Evidence) -> Iterator[Place]:
    what = "is below 6e-8, and 0 in float16"
    return _where(evidence, lambda size: 0.0 < size < _SMALLEST, what)


def _where(evidence: Evidence, lost: Callable[[float], bool], what: str) -> Iterator[Place]:
    places = [
        (call, size)
        for call in evidence.calls
        if (size := evidence.measured(call, "largest")) is not None
        and evidence.measured(call, "finite_fraction") == 1.0
        and lost(size)
    ]
    if places:
        call, size = places[0]
        after = evidence.measured(call, "largest", "autoinit")
        yield Place(
            call,
            f"the largest entry of {plural(len(places), 'layer')} {what}, first at {call.path!r} "
            f"({number(size)}): mixed precision would lose the signal there."
            + evidence.with_autoinit(after, "a largest entry of"),
        )


KINDS = (
    FindingKind(
        "beyond_float16",
        Severity.NOTE,
        "Values that half precision does not reach",
        cause="The largest entry is beyond the largest number of float16.",
        remedy="Train in bfloat16 or float32, or scale the signal down.",
        test=_beyond,
    ),
    FindingKind(
        "below_float16",
        Severity.NOTE,
        "Values that are 0 in half precision",
        cause="All entries are below the smallest number of float16.",
        remedy="Train in bfloat16 or float32, or scale the signal up.",
        test=_below,
    ),
    FindingKind(
        "format_overflows",
        Severity.PROBLEM,
        "A number format is too narrow above",
        cause="Entries are beyond the largest number of a format that was asked about (--formats):"
        " infinite in half precision and bfloat16, and all after them lost; clipped in 8 bits.",
        remedy="Scale the tensors, or keep the layers that are named in a wider format.",
        test="app.analysis.formats",
    ),
    FindingKind(
        "format_underflows",
        Severity.PROBLEM,
        "A number format is too narrow below",
        cause="Five per cent or more of a tensor's entries are below the smallest number of a"
        " format that was asked about (--formats), and become 0.",
        remedy="Gradients: multiply the loss by the power of two that is named"
        " (`keras.optimizers.LossScaleOptimizer` finds one by itself). Signals and weights: a scale"
        " for each tensor, or a wider format.",
        test="app.analysis.formats",
    ),
)
