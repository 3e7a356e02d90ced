"""A diagnosis as it stands in a result: findings, and a verdict on each series."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from app.analysis.diagnosis.diagnose import Diagnosis
from app.analysis.diagnosis.fault import REMEDIES, Fault
from app.analysis.diagnosis.kinds import Evidence
from app.analysis.diagnosis.table import KINDS
from app.analysis.diagnosis.verdict import Verdict
from app.analysis.result import Call, Finding, VerdictFacts

_WHOSE = {"autoinit": "AutoInit's"}


def findings_of(
    diagnosis: Diagnosis,
    calls: Sequence[Call],
    series: Sequence[str],
    disabled: Collection[str] = (),
) -> Iterator[Finding]:
    """The faults of a diagnosis, and what the figures of calls say besides, as findings.

    Args:
        diagnosis: of the analysis.
        calls: of its result.
        series: names of its series.
        disabled: codes that are not told.
    """
    for fault in diagnosis.faults:
        if fault.code not in disabled:
            yield finding_of(fault)
    for name in series:
        evidence = Evidence(calls, name)
        for kind in KINDS.values():
            if callable(kind.test) and kind.code not in disabled:
                for call, message in kind.test(evidence):
                    yield Finding(
                        code=kind.code,
                        path=call.path,
                        class_name=call.class_name,
                        message=f"With {_WHOSE.get(name, name)} weights {message}",
                        series=name,
                    )


def finding_of(fault: Fault) -> Finding:
    """A fault as it stands in a result."""
    series = {} if fault.series is None else {"series": fault.series}
    return Finding(
        code=fault.code,
        path=fault.path,
        class_name=fault.class_name,
        message=fault.message,
        severity=fault.severity.value,
        remedy=fault.remedy,
        advice=REMEDIES[fault.remedy],
        **series,
    )


def verdicts_of(verdicts: Mapping[str, Verdict]) -> dict[str, VerdictFacts]:
    """Verdicts by series, as they stand in a result."""
    return {
        series: VerdictFacts(
            verdict=verdict.verdict.value,
            reason=verdict.reason,
            causes=verdict.causes,
            remedy=verdict.remedy,
            advice=REMEDIES[verdict.remedy],
            trained=verdict.trained,
        )
        for series, verdict in verdicts.items()
    }
