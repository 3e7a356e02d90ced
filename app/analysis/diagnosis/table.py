"""The table of findings: all that a finding is told by, from the families in order of showing.

A new finding is an entry of a family's `KINDS`; a new family is a file in `families` and its place
in `FAMILIES`. Page, terminal, report and `docs/findings.md` follow.
"""

from __future__ import annotations

from app.analysis.diagnosis.families import (
    activations,
    correlations,
    coverage,
    gradients,
    inputs,
    kernels,
    precision,
    saving,
    signal,
    stored,
    structure,
    training,
)
from app.analysis.diagnosis.kinds import FindingKind

FAMILIES = (
    structure, kernels, signal, gradients, correlations, activations, coverage, precision, stored,
    inputs, saving, training,
)  # fmt: skip
KINDS: dict[str, FindingKind] = {kind.code: kind for family in FAMILIES for kind in family.KINDS}
