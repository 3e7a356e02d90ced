"""A diagnosis as it stands in a result: findings, and a verdict on each series."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.analysis.diagnosis.diagnose import Diagnosis
from app.analysis.diagnosis.fault import REMEDIES, Fault
from app.analysis.diagnosis.kinds import Evidence
from app.analysis.diagnosis.table import KINDS
from app.analysis.diagnosis.verdict import Verdict
from app.analysis.result import Call, Finding, VerdictFacts
from app.text.formatting import plural
from autoinit.graph.paths import shortened

_WHOSE = {"autoinit": "AutoInit's"}
# Findings of a kind that are told one by one, and paths that one of many names.
_MOST_APART = 3
_NAMED = 3
# Of a path: which use of a layer, or of a model around it, it is.
_USE = re.compile(r":\d+(?=/|$)")


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


def once_each(findings: Iterable[Finding]) -> list[Finding]:
    """One finding of each kind and series, where many calls show it; faults stay apart.

    Its sentence is the first one's, with how many there are and the first few; `others` has all.
    """
    kinds: dict[Any, list[Finding]] = {}
    for place, finding in enumerate(findings):
        key = (finding.code, finding.series) if finding.severity is None and finding.path else place
        kinds.setdefault(key, []).append(finding)
    return [each for found in kinds.values() for each in _once(found)]


def _once(found: list[Finding]) -> list[Finding]:
    first, *others = found
    shared = first.code == "shared_layer"
    if len(found) <= (0 if shared else _MOST_APART):
        return found
    paths = list(dict.fromkeys(each.path for each in others if each.path))
    message = first.message
    if shared:
        message = " ".join(_shared(found))
    elif paths:
        message += f" So it is with {len(paths):,} more: {_first_few(paths)}."
    changes: dict[str, Any] = {"message": message} | ({"others": tuple(paths)} if paths else {})
    return [first.model_copy(update=changes)]


def _shared(found: Sequence[Finding]) -> Iterator[str]:
    """How many layers are used how often, by what becomes of their weights."""
    drawn = [each for each in found if ": " in each.message and " is used again" in each.message]
    for rest in dict.fromkeys(each.message.rpartition(": ")[2] for each in drawn):
        uses = Counter(
            _USE.sub("", each.path) for each in drawn if each.message.rpartition(": ")[2] == rest
        )
        within = {path.rpartition("/")[0] for path in uses}
        of = f" of {within.pop()!r}" if len(within) == 1 and "" not in within else ""
        times = sorted({count + 1 for count in uses.values()})
        often = " to ".join(map(str, dict.fromkeys((times[0], times[-1]))))
        one = len(uses) == 1
        yield (
            f"{plural(len(uses), 'layer')}{of} {'is' if one else 'are'} used {often} times: "
            f"{rest.rstrip('.').replace('its ', 'the ')} ({_first_few(list(uses))})."
        )
    after = [each.path for each in found if each not in drawn]
    if after:
        yield (
            f"Where several uses of one layer meet ({_first_few(after)}), they go together in a "
            "way that is not followed: predictions are approximate there."
        )


def _first_few(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
    return ", ".join(repr(shortened(path)) for path in paths[:_NAMED]) + more


def finding_of(fault: Fault) -> Finding:
    """A fault as it stands in a result."""
    series: dict[str, Any] = {} if fault.series is None else {"series": fault.series}
    return Finding(
        code=fault.code,
        path=fault.path,
        class_name=fault.class_name,
        message=fault.message,
        severity=fault.consequence.value,
        remedy=fault.remedy,
        advice=REMEDIES[fault.remedy],
        others=fault.others,
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
