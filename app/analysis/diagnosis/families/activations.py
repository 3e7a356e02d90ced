"""Activations that let little through."""

from app.analysis.diagnosis.kinds import FindingKind, Severity

KINDS = (
    FindingKind(
        "dead_channels",
        Severity.PROBLEM,
        "Units that are zero for every input",
        cause="An activation such as ReLU got pre-activations that are negative for all "
        "samples. On noise, maximum pooling alone makes up to a third of the units so, "
        "which is no fault; the limit is 40 %.",
        remedy="Look at the biases and at the mean of the signal before it; a leaky activation "
        "keeps a gradient.",
        test="app.analysis.diagnosis.measured.units",
    ),
    FindingKind(
        "saturated",
        Severity.PROBLEM,
        "Activations that are saturated",
        cause="The pre-activations are so large that a function such as tanh is flat there.",
        remedy="Draw smaller weights, as AutoInit does, or scale the input.",
        test="app.analysis.diagnosis.measured.units",
    ),
)
