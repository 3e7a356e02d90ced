"""What to know about a result before believing it: its findings, sorted and grouped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from app.analysis.diagnosis.kinds import Severity
from app.analysis.diagnosis.table import KINDS
from app.analysis.diagnosis.verdict import SYMPTOMS
from app.analysis.headline import cure, series_name
from app.analysis.result import Call, Finding, Result
from app.text.formatting import plural

NOT_RUN = ("opaque_layer", "opaque_activation")
CLASSES_NAMED = 8
MOST_IN_SIGHT = 5
FAULTS = ("fatal", "serious")
NO_HELP = "AutoInit's weights do not help here"


@dataclass(frozen=True)
class FindingGroup:
    """One cause. Messages and names in it are the model's text: escape them.

    Attributes:
        code: of its findings.
        title: in a few words.
        severity: how much it matters.
        findings: all of this code, those of AutoInit's own series last.
        labels: whose weights show it, in words.
        remedy: word of the remedy, where there is one.
        advice: what to do, in a sentence.
        follows: what is seen of the same cause elsewhere, and ends with the same remedy.
    """

    code: str
    title: str
    severity: Severity
    findings: tuple[Finding, ...]
    labels: tuple[str, ...] = ()
    remedy: str | None = None
    advice: str = ""
    follows: tuple[FindingGroup, ...] = ()

    @property
    def is_fault(self) -> bool:
        """Whether it counts in a verdict."""
        return any(finding.severity in FAULTS for finding in self.findings)

    @property
    def is_fatal(self) -> bool:
        """Whether it alone keeps the network from training."""
        return any(finding.severity == "fatal" for finding in self.findings)

    @property
    def documentation(self) -> str:
        """Where it is explained."""
        return f"docs/findings.md#{self.code}"

    @property
    def messages(self) -> list[str]:
        """One sentence for each finding; that of AutoInit's series beside others says so."""
        several = len({finding.series for finding in self.findings}) > 1
        return [
            f"With AutoInit's weights: {finding.message}"
            if several and self.is_fault and finding.series == "autoinit"
            else finding.message
            for finding in self.findings
        ]


def grouped(result: Result) -> list[FindingGroup]:
    """The findings, one for each cause: faults first, in the order in which a verdict counts them.

    What is in sight at once comes before notes, and codes that are not known come last.
    """
    by_code: dict[str, list[Finding]] = {}
    for finding in result.findings:
        by_code.setdefault(finding.code, []).append(finding)
    groups = [_group(result, code, found) for code, found in by_code.items()]
    kept: list[FindingGroup] = []
    for group in sorted(groups, key=_rank):
        cause = next((k for k in kept if k.is_fault and k.remedy == group.remedy), None)
        if cause is None or group.code not in SYMPTOMS or not group.is_fault:
            kept.append(group)
        else:
            labels = tuple(dict.fromkeys((*cause.labels, *group.labels)))
            follows = (*cause.follows, group)
            kept[kept.index(cause)] = replace(cause, labels=labels, follows=follows)
    return kept


def split(groups: Sequence[FindingGroup]) -> tuple[list[FindingGroup], list[FindingGroup]]:
    """Those in sight, at most five, and those that are told under "also"."""
    seen = [group for group in groups if group.severity.in_sight][:MOST_IN_SIGHT]
    return seen, [group for group in groups if group not in seen]


_CODES = list(KINDS)


def _rank(group: FindingGroup) -> tuple[int, int]:
    """Faults keep the order of the file, which is that of the verdict; others go by the table."""
    if group.is_fault:
        return 0, 0
    if group.code not in KINDS:
        return 3, 0
    return 1 if group.severity.in_sight else 2, _CODES.index(group.code)


def _group(result: Result, code: str, found: Sequence[Finding]) -> FindingGroup:
    kind = KINDS.get(code)
    findings = tuple(sorted(found, key=lambda finding: finding.series == "autoinit"))
    first = findings[0]
    offered = [*(finding.advice for finding in findings), kind.remedy if kind else None]
    group = FindingGroup(
        code=code,
        title=kind.title if kind else code.replace("_", " ").capitalize(),
        severity=kind.severity if kind else Severity.NOTE,
        findings=findings,
        remedy=first.remedy,
        advice=cure(result, code, [a for a in offered if a]) if any(offered) else "",
    )
    if first.severity is not None:
        shown = Severity.PROBLEM if group.is_fault else Severity.NOTE
        group = replace(group, severity=shown)
    return replace(group, labels=tuple(_labels(result, group)))


def _labels(result: Result, group: FindingGroup) -> Iterator[str]:
    """Whose weights show a fault: those of a series by its own finding, or by its verdict."""
    named = {finding.series for finding in group.findings}
    shown = [
        series
        for series in sorted(result.series, key=lambda name: name == "autoinit")
        if series in named
        or (series in result.verdicts and group.code in result.verdicts[series].causes)
    ]
    if group.is_fault and None in named and len(shown) in (0, len(result.series)):
        yield "Whatever the weights"
        return
    for series in shown:
        is_own = series == "autoinit" and group.is_fault
        yield NO_HELP if is_own else f"{series_name(series)} weights"


def lead(result: Result, code: str, show: Callable[[str], str]) -> str:
    """What a kind of finding means for this result as a whole; empty where there is no more to it.

    Args:
        result: of the job.
        code: of the findings.
        show: how the face that asks shows the name of a class: escaped, at least.
    """
    # One sentence is enough for both kinds of what is not run.
    present = {finding.code for finding in result.findings}
    if code == next((kind for kind in NOT_RUN if kind in present), None):
        calls, sentence = result.opaque_calls, not_run_sentence
    elif code == "unsupported_layer":
        calls, sentence = without_rule(result), unsupported_sentence
    else:
        return ""
    names = [name for name, _ in Counter(call.class_name for call in calls).most_common()]
    shown = [show(name) for name in names[:CLASSES_NAMED]]
    if len(names) > CLASSES_NAMED:
        shown.append(f"{len(names) - CLASSES_NAMED} other classes")
    return sentence(result, shown) if shown else ""


def without_rule(result: Result) -> tuple[Call, ...]:
    """The calls that have no rule, except those that are not run either."""
    return tuple(call for call in result.calls if not call.has_rule)


def after(result: Result, starts: Sequence[Call]) -> int:
    """How many other calls read, directly or not, what these have written."""
    reached = {call.index for call in starts}
    for call in result.calls:
        if not reached.isdisjoint(call.inputs):
            reached.add(call.index)
    return len(reached) - len(starts)


def unsupported_sentence(result: Result, names: Sequence[str]) -> str:
    """What a missing rule means for this result; `names` are the classes, escaped by the caller."""
    calls = without_rule(result)
    one, tainted = len(calls) == 1, after(result, calls)
    sentence = (
        f"{plural(len(calls), 'layer')} of {', '.join(names)} {'has' if one else 'have'} no "
        "rule: mean and variance are predicted to pass through unchanged."
    )
    if tainted:
        sentence += (
            f" At {plural(tainted, 'layer')} after {'it' if one else 'them'} "
            "the prediction, and the weights set by it, may be off."
        )
    return sentence + " Measured figures are not affected."


def not_run_sentence(result: Result, names: Sequence[str]) -> str:
    """What it means that layers were not run; `names` are their classes, escaped by the caller."""
    calls = result.opaque_calls
    one, following = len(calls) == 1, after(result, calls)
    sentence = (
        f"{plural(len(calls), 'layer')} of {', '.join(names)} {'was' if one else 'were'} not run, "
        "and nothing was measured there"
    )
    if following:
        where = f"the {plural(following, 'layer')} after {'it' if one else 'them'}"
        unmeasured = len(result.unmeasured_calls) > len(calls)
        sentence += (
            (f" or at {where}: the" if unmeasured else ": the")
            + " signal is predicted to pass through unchanged. "
            + ("" if unmeasured else f"At {where} noise of that mean and variance was fed in. ")
            + "What is predicted after that, and the weights set by it, may be off"
        )
    return sentence + ". What lies elsewhere is measured as ever."
