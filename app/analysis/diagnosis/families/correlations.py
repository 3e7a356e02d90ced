"""Whether the network still tells its inputs apart."""

from app.analysis.diagnosis.kinds import FindingKind, Severity

KINDS = (
    FindingKind(
        "correlation_collapse",
        Severity.PROBLEM,
        "Inputs are no longer told apart",
        cause="Layer after layer makes inputs more alike: the network is in the ordered "
        "phase, or its activations have a mean that is large beside what varies.",
        remedy="Use residual connections, normalization or another activation; weights alone "
        "change it little.",
        test="app.analysis.diagnosis.measured.inputs",
    ),
)
