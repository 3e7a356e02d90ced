"""What is found while a model trains: faults that were not there at the measurement before."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.findings import finding_of
from app.analysis.diagnosis.verdict import advice
from app.analysis.result import Finding
from app.analysis.runs.record import Layer
from app.text.formatting import number, percentage

# Share of its size that a step may change a kernel by. Of trainings that ended well, the largest
# update of any kernel at any step stayed below it, of those that diverged it was above
# (`benchmarks/monitor.py`).
LARGE_UPDATE = 0.3
# Times the first loss from which on a training goes the wrong way, if that is more than this share
# of what the outputs spread by at first: a converged model's loss of 10⁻⁶ may well become 10⁻⁴.
GROWN, OF_OUTPUTS = 10.0, 0.1


def faults_of_loss(
    loss: float | None, first_loss: float | None, spread: float = 0.0, step: int | None = None
) -> Iterator[Fault]:
    """What the loss shows at one step.

    Args:
        loss: as Keras reports it; NaN or infinite where it is.
        first_loss: that of the first step.
        spread: of the outputs before it: their standard deviation, or their variance where that is
            less, which is the unit of a squared error.
        step: whose loss it is, to be told where signals are measured at a later one.
    """
    if loss is None or first_loss is None:
        return
    since = "" if step is None else f", since step {step:,}"
    if not math.isfinite(loss):
        yield Fault(
            "loss_not_finite",
            "",
            "",
            f"The loss is NaN or infinite{since}.",
            "change_rate",
            Consequence.FATAL,
        )
    elif loss > max(GROWN * abs(first_loss), OF_OUTPUTS * spread) > 0.0:
        yield Fault(
            "loss_grows",
            "",
            "",
            f"The loss is {number(loss)}{since}, and was {number(first_loss)} at first.",
            "change_rate",
        )


def faults_of_updates(layers: Sequence[Layer], updates: Sequence[float | None]) -> Iterator[Fault]:
    """What a step's updates of the layers' kernels show."""
    known = [(each, place) for place, each in enumerate(updates) if each is not None]
    largest, place = max(known, default=(0.0, 0))
    layer = layers[place]
    if largest > LARGE_UPDATE:
        yield Fault(
            "updates_too_large",
            layer.path,
            layer.class_name,
            f"A step changes the kernel of {layer.path!r} by {_times(largest)} its size: the "
            "learning rate is too large.",
            "change_rate",
        )


def _times(share: float) -> str:
    return f"{percentage(share)} of" if share < 1.0 else f"{number(share)} times"


# What helps against faults that training brought about: other weights to begin with would not.
_IN_TRAINING = {
    "loss_not_finite": "Begin anew with a smaller learning rate.",
    "loss_grows": "Take a smaller learning rate.",
    "updates_too_large": "Take a smaller learning rate, or warm it up.",
    "not_finite": "Begin anew with a smaller learning rate.",
    "dead_channels": "Take a smaller learning rate, or an activation with a slope below zero "
    "(leaky ReLU, GELU): these units do not come back.",
    "saturated": "Take a smaller learning rate, or put a normalization before the activation.",
    "correlation_collapse": "Take a smaller learning rate: the layers behind hardly tell inputs "
    "apart.",
    "constant_output": "Begin anew with a smaller learning rate.",
}


def new_findings(faults: Sequence[Fault], known: Collection[str], step: int) -> tuple[Finding, ...]:
    """Those of codes that were not there before, as they are kept and told.

    Args:
        faults: at one step.
        known: codes that were told before.
        step: number of the step; 0 before the first one.
    """
    training = _IN_TRAINING if step else {}
    return tuple(
        finding_of(replace(fault, series=None)).model_copy(
            update={"advice": training.get(fault.code, advice(fault))}
        )
        for fault in faults
        if fault.code not in known
    )
