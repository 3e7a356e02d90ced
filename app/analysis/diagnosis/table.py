"""The table of findings: all that a finding is told by, from the families in order of showing.

A new finding is an entry of a family's `KINDS`; a new family is a file in `families` and its place
in `FAMILIES`. Page, terminal, report and `docs/findings.md` follow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from app.analysis.diagnosis.families import (
    activations,
    correlations,
    coverage,
    gradients,
    inputs,
    precision,
    saving,
    signal,
    stored,
)
from app.analysis.diagnosis.kinds import Evidence, FindingKind
from app.analysis.result import Call, Finding

FAMILIES = (
    coverage, signal, gradients, correlations, precision, activations, stored, inputs, saving,
)  # fmt: skip
KINDS: dict[str, FindingKind] = {kind.code: kind for family in FAMILIES for kind in family.KINDS}
_WHOSE = {"autoinit": "AutoInit's"}


def diagnose(
    calls: Sequence[Call], series: Sequence[str], target: float, disabled: Collection[str] = ()
) -> Iterator[Finding]:
    """All that the figures say, in sentences.

    Every sentence names a call, and, of the weights that came with the network, what AutoInit's
    change there.

    Args:
        calls: of a result.
        series: names of its series.
        target: the variance that AutoInit aims at.
        disabled: codes that are not looked for.
    """
    for name in series:
        evidence = Evidence(calls, name, target)
        for kind in KINDS.values():
            if callable(kind.test) and kind.code not in disabled:
                for call, message in kind.test(evidence):
                    yield Finding(
                        code=kind.code,
                        path=call.path,
                        class_name=call.class_name,
                        message=f"With {_WHOSE.get(name, name)} weights {message}",
                    )
