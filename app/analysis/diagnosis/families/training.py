"""What is seen while a model trains: of `SignalMonitor`."""

from app.analysis.diagnosis.kinds import FindingKind, Severity

KINDS = (
    FindingKind(
        "loss_not_finite",
        Severity.PROBLEM,
        "The loss is NaN or infinite",
        cause="Steps that are too large, signals that overflow, or inputs and targets that are not "
        "finite.",
        remedy="Begin anew with a smaller learning rate; look at the layer named beside it.",
        test="app.analysis.runs.changes",
    ),
    FindingKind(
        "loss_grows",
        Severity.PROBLEM,
        "The loss grows",
        cause="It is more than ten times what it was at first, and more than a tenth of what the "
        "outputs spread by then: the steps lead away.",
        remedy="Take a smaller learning rate.",
        test="app.analysis.runs.changes",
    ),
    FindingKind(
        "updates_too_large",
        Severity.PROBLEM,
        "A step changes a kernel by a large share of its size",
        cause="The learning rate is too large for the gradients that come: of trainings that ended "
        "well no step changed a kernel by more than 21 %, of those that did not at least one by "
        "more than 33 %.",
        remedy="Take a smaller learning rate, or warm it up.",
        test="app.analysis.runs.changes",
    ),
)
