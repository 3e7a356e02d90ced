"""What becomes of the signal on its way through the network."""

from app.analysis.diagnosis.kinds import FindingKind, Severity

KINDS = (
    FindingKind(
        "not_finite",
        Severity.PROBLEM,
        "The signal is not finite",
        cause="The signal grew beyond the range of floating point, or a function gave NaN.",
        remedy="Look at the layers just before; change an activation such as exponential, or "
        "scale the input.",
        test="app.analysis.diagnosis.measured.signals",
    ),
    FindingKind(
        "signal_explodes",
        Severity.PROBLEM,
        "The signal explodes",
        cause="Along a path that no normalization interrupts, kernels and activations "
        "multiply the mean square by more than 1, and depth raises that to a power.",
        remedy="Take the re-initialised model, whose kernels keep the variance at its target.",
        test="app.analysis.diagnosis.measured.signals",
    ),
    FindingKind(
        "signal_vanishes",
        Severity.PROBLEM,
        "The signal vanishes",
        cause="Along a path that no normalization interrupts, kernels and activations "
        "multiply the mean square by less than 1, and depth raises that to a power.",
        remedy="Take the re-initialised model, whose kernels keep the variance at its target.",
        test="app.analysis.diagnosis.measured.signals",
    ),
    FindingKind(
        "slow_branch",
        Severity.PROBLEM,
        "A branch too small for plain gradient descent",
        cause="Its signal falls by 10,000 or more beside what passes by, and the stored optimizer "
        "is gradient descent without momentum, which goes by the size of gradients.",
        remedy="Train by Adam or with momentum, or draw the branch larger, as AutoInit does.",
        test="app.analysis.diagnosis.measured.signals",
    ),
    FindingKind(
        "constant_output",
        Severity.PROBLEM,
        "The output does not depend on the input",
        cause="A softmax or a normalization over one entry, a layer all of whose units are dead, "
        "or kernels of zeros.",
        remedy="Change the last activation, leave the normalization out, or draw the kernels anew.",
        test="app.analysis.diagnosis.measured.inputs",
    ),
    FindingKind(
        "recurrent_growth",
        Severity.PROBLEM,
        "The state of a recurrence grows from step to step",
        cause="The activation of the recurrence has no bound, and its kernel makes the state "
        "larger each time.",
        remedy="Use tanh, gates (LSTM, GRU) or orthogonal recurrent kernels.",
        test="app.analysis.diagnosis.measured.recurrence",
    ),
)
