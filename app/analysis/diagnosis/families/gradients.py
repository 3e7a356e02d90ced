"""What becomes of the gradient on its way back."""

from app.analysis.diagnosis.kinds import FindingKind, Severity

KINDS = (
    FindingKind(
        "no_gradient",
        Severity.PROBLEM,
        "A step function that no gradient passes",
        cause="All ways from some weights to the output lead through a function whose slope is 0 "
        "or none: argmax, round, sign, a comparison, or stop_gradient.",
        remedy="Take a smooth function in its place while training, or let the gradient go "
        "straight through: x + stop_gradient(round(x) - x).",
        test="app.analysis.diagnosis.measured.reach",
    ),
    FindingKind(
        "gradient_explodes",
        Severity.PROBLEM,
        "The gradient explodes",
        cause="Along a path that no normalization interrupts, every layer multiplies the "
        "squared norm of the gradient by more than 1; or, in 36 dense layers and more without skip "
        "connections, every batch normalization does.",
        remedy="Take the re-initialised model, or put normalizations between the layers; where "
        "they are, skip connections.",
        test="app.analysis.diagnosis.measured.signals",
    ),
    FindingKind(
        "gradient_vanishes",
        Severity.PROBLEM,
        "The gradient vanishes",
        cause="Along a path that no normalization interrupts, every layer multiplies the "
        "squared norm of the gradient by less than 1: small kernels, saturated or dead "
        "activations.",
        remedy="Take the re-initialised model; where it does not help, another activation or "
        "residual connections.",
        test="app.analysis.diagnosis.measured.signals",
    ),
    FindingKind(
        "gradient_differs",
        Severity.PROBLEM,
        "Differences between inputs are distorted",
        cause="Layers do to small differences between inputs something else than to the "
        "signal: a chaotic network amplifies them, saturating activations take them "
        "away.",
        remedy="Draw smaller kernels, as AutoInit does, or change the activation.",
        test="app.analysis.diagnosis.measured.signals",
    ),
)
