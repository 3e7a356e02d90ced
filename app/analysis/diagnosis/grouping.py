"""What to know about a result before believing it: its findings, sorted and grouped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from app.analysis.diagnosis.kinds import Severity
from app.analysis.diagnosis.table import KINDS
from app.analysis.result import Call, Finding, Result
from app.text.formatting import plural

NOT_RUN = ("opaque_layer", "opaque_activation")
CLASSES_NAMED = 8


@dataclass(frozen=True)
class FindingGroup:
    """All findings of one kind. Messages and names in them are the model's text: escape them."""

    code: str
    title: str
    severity: Severity
    findings: tuple[Finding, ...]


def grouped(result: Result) -> list[FindingGroup]:
    """The findings by kind: those in sight first, codes that are not known last."""
    codes = list(KINDS)
    ranks = {code: (not kind.severity.in_sight, codes.index(code)) for code, kind in KINDS.items()}
    order = dict.fromkeys(finding.code for finding in result.findings)
    last = (True, len(codes))
    places = {code: (ranks.get(code, last), place) for place, code in enumerate(order)}
    found = sorted(result.findings, key=lambda finding: places[finding.code])
    return [_group(code, tuple(same)) for code, same in groupby(found, lambda each: each.code)]


def _group(code: str, findings: tuple[Finding, ...]) -> FindingGroup:
    kind = KINDS.get(code)
    if kind is None:
        title = code.replace("_", " ").capitalize()
        return FindingGroup(code, title, Severity.NOTE, findings)
    return FindingGroup(code, kind.title, kind.severity, findings)


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
        f"{plural(len(calls), 'call')} of {', '.join(names)} {'has' if one else 'have'} no "
        "rule: mean and variance are predicted to pass through unchanged."
    )
    if tainted:
        sentence += (
            f" {plural(tainted, 'call')} after {'it' if one else 'them'} "
            f"{'is' if tainted == 1 else 'are'} tainted: "
            "the prediction there, and the weights set by it, may be off."
        )
    return sentence + " Measured figures are not affected."


def not_run_sentence(result: Result, names: Sequence[str]) -> str:
    """What it means that layers were not run; `names` are their classes, escaped by the caller."""
    calls = result.opaque_calls
    one, following = len(calls) == 1, after(result, calls)
    sentence = (
        f"{plural(len(calls), 'call')} of {', '.join(names)} {'was' if one else 'were'} not run, "
        "and nothing was measured there"
    )
    if following:
        sentence += (
            f" or at the {plural(following, 'call')} after {'it' if one else 'them'}: the signal "
            "is predicted to pass through unchanged. What is predicted after that, and the "
            "weights set by it, may be off"
        )
    return sentence + ". What lies elsewhere is measured as ever."
