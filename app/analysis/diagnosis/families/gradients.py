"""What becomes of the gradient on its way back."""

from app.analysis.diagnosis.kinds import FindingKind, Severity

KINDS = (
    FindingKind(
        "gradient_explodes",
        Severity.PROBLEM,
        "The gradient explodes",
        cause="Along a path that no normalization interrupts, every layer multiplies the "
        "squared norm of the gradient by more than 1.",
        remedy="Take the re-initialised model, or put normalizations between the layers.",
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
