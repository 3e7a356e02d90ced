"""What to know about a result before believing it: its warnings, sorted and grouped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.formatting import plural

Result = dict[str, Any]

# In the order in which they are shown; the second lot is folded away.
IN_SIGHT = {
    "unsupported_layer": "Layers without a rule",
    "not_finite": "Figures that are not finite",
    "input_scaling": "The network expects another input",
    "compile_dropped": "The compile settings could not be kept",
    "constraint_needs_import": "Loading the re-initialised model needs an import",
    "deep_model": "Loading the re-initialised model needs a higher recursion limit",
}
FOLDED = {
    "bias_exceeds_target": "Biases alone exceed the target variance",
    "keeps_initializer": "Layers that keep their own initialiser",
    "shared_layer": "Layers that are used more than once",
    "assumed_size": "Unknown sizes that had to be assumed",
    "batch_reduced": "The batch was made smaller to fit into memory",
}
TITLES = IN_SIGHT | FOLDED
HINTS = ("input_scaling", "constraint_needs_import", "deep_model")


@dataclass(frozen=True)
class Finding:
    """All warnings of one code. The messages and names in it are the model's text: escape them."""

    code: str
    title: str
    messages: tuple[str, ...]
    places: tuple[tuple[str, str], ...]  # path and class, one for each message
    in_sight: bool
    hint: bool


def findings(result: Result) -> list[Finding]:
    """The warnings grouped by code: layers without a rule first, codes we do not know last."""
    order = list(TITLES)
    codes = dict.fromkeys(warning["code"] for warning in result["warnings"])
    known = sorted(codes, key=lambda code: order.index(code) if code in order else len(order))
    return [finding(result, code) for code in known]


def finding(result: Result, code: str) -> Finding:
    """The warnings of one code as one finding."""
    chosen = [warning for warning in result["warnings"] if warning["code"] == code]
    return Finding(
        code=code,
        title=TITLES.get(code, code.replace("_", " ").capitalize()),
        messages=tuple(str(warning["message"]) for warning in chosen),
        places=tuple((str(w.get("path") or ""), str(w.get("class") or "")) for w in chosen),
        in_sight=code in IN_SIGHT,
        hint=code in HINTS,
    )


def classes_without_rule(result: Result) -> list[tuple[str, int]]:
    """The classes of the calls that have no rule, with the number of calls, most frequent first."""
    calls = result["calls"]
    return Counter(c["class"] for c in calls if c["support"] == "pass_through").most_common()


def unsupported_sentence(result: Result, names: Sequence[str]) -> str:
    """What a missing rule means for this result; `names` are the classes, escaped by the caller."""
    counts = classes_without_rule(result)
    without = sum(count for _, count in counts)
    tainted = sum(bool(call["tainted"]) for call in result["calls"])
    sentence = (
        f"{plural(without, 'call')} of {', '.join(names)} {'has' if without == 1 else 'have'} no "
        "rule: mean and variance are predicted to pass through unchanged."
    )
    if tainted:
        sentence += (
            f" {plural(tainted, 'call')} after {'it' if without == 1 else 'them'} "
            f"{'is' if tainted == 1 else 'are'} tainted: "
            "the prediction there, and the weights set by it, may be off."
        )
    return sentence + " Measured figures are not affected."
