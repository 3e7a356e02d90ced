"""What to know about a result before believing it: its warnings, sorted and grouped."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.text.formatting import plural

Result = dict[str, Any]

# In the order in which they are shown; the second lot is folded away.
IN_SIGHT = {
    "opaque_layer": "Layers that are not run",
    "opaque_activation": "Activations that are not run",
    "unsupported_layer": "Layers without a rule",
    "weights_not_finite": "Weights in the file that are NaN or infinite",
    "not_finite": "Figures that are not finite",
    "signal_explodes": "The signal explodes",
    "signal_vanishes": "The signal vanishes",
    "gradient_explodes": "The gradient explodes",
    "gradient_vanishes": "The gradient vanishes",
    "gradient_differs": "Gradients do not mirror the signal",
    "correlation_collapse": "Inputs are no longer told apart",
    "not_integrable": "Functions whose output has no finite variance",
    "undefined_values": "Functions that have no value for some of their input",
    "frozen_kept": "Frozen layers keep their weights",
    "frozen_redrawn": "Frozen layers are drawn anew",
    "nothing_to_keep": "There are no frozen weights to keep",
    "input_scaling": "The network expects another input",
    "not_patched": "The re-initialised model is not offered",
    "not_convertible": "The model cannot be converted to Keras 3",
    "compile_dropped": "The compile settings could not be kept",
    "constraint_needs_import": "Loading the re-initialised model needs an import",
    "deep_model": "Loading the re-initialised model needs a higher recursion limit",
}
FOLDED = {
    "input_from_data": "What the inputs were taken to be",
    "sampled_layer": "Layers without a rule, estimated by sampling",
    "bias_exceeds_target": "Biases alone exceed the target variance",
    "keeps_initializer": "Layers that keep their own initialiser",
    "keeps_weights": "Layers whose weights could not be drawn afresh",
    "replaced_initializer": "Initialisers that are not known here",
    "dropped_part": "Regularisers and constraints that are not known here",
    "shared_layer": "Layers that are used more than once",
    "initializer_not_recorded": "Initialisers that the configuration has no place for",
    "beyond_float16": "Values that half precision does not reach",
    "below_float16": "Values that are 0 in half precision",
    "gradients_not_measured": "Gradients that could not be measured",
    "no_jacobian": "The Jacobian could not be measured",
    "dead_channels": "Channels that are zero for every sample",
    "saturated": "Activations that are saturated",
    "not_self_averaging": "Calls that differ from draw to draw",
    "other_model_failed": "The other signal model's prediction is left out",
    "assumed_size": "Unknown sizes that had to be assumed",
    "batch_reduced": "The batch was made smaller to fit into memory",
}
TITLES = IN_SIGHT | FOLDED
HINTS = (
    "frozen_kept",
    "frozen_redrawn",
    "nothing_to_keep",
    "input_scaling",
    "input_from_data",
    "not_convertible",
    "constraint_needs_import",
    "deep_model",
)
NOT_RUN = ("opaque_layer", "opaque_activation")
CLASSES_NAMED = 8


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
    """The warnings grouped by code: what is not run first, codes we do not know last."""
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


def lead(result: Result, code: str, show: Callable[[str], str]) -> str:
    """What a kind of warning means for this result as a whole; empty where there is no more to it.

    Args:
        result: of the job.
        code: of the warnings.
        show: how the face that asks shows the name of a class: escaped, at least.
    """
    names = classes_not_run(result) if code in NOT_RUN else classes_without_rule(result)
    shown = [show(name) for name, _ in names[:CLASSES_NAMED]]
    if len(names) > CLASSES_NAMED:
        shown.append(f"{len(names) - CLASSES_NAMED} other classes")
    # One sentence is enough for both kinds of what is not run.
    present = {warning["code"] for warning in result["warnings"]}
    if shown and code == next((kind for kind in NOT_RUN if kind in present), None):
        return not_run_sentence(result, shown)
    return unsupported_sentence(result, shown) if shown and code == "unsupported_layer" else ""


def classes_without_rule(result: Result) -> list[tuple[str, int]]:
    """The classes of the calls that have no rule, with the number of calls, most frequent first."""
    return Counter(call["class"] for call in without_rule(result)).most_common()


def classes_not_run(result: Result) -> list[tuple[str, int]]:
    """The same for the calls that were not run."""
    calls = result["calls"]
    return Counter(call["class"] for call in calls if call.get("opaque")).most_common()


def without_rule(result: Result) -> list[dict[str, Any]]:
    """The calls that have no rule, except those that are not run either."""
    calls = result["calls"]
    return [c for c in calls if c["support"] == "pass_through" and not c.get("opaque")]


def after(result: Result, starts: Sequence[dict[str, Any]]) -> int:
    """How many other calls read, directly or not, what these have written."""
    reached = {call["index"] for call in starts}
    for call in result["calls"]:
        if not reached.isdisjoint(call["inputs"]):
            reached.add(call["index"])
    return len(reached) - len(starts)


def unsupported_sentence(result: Result, names: Sequence[str]) -> str:
    """What a missing rule means for this result; `names` are the classes, escaped by the caller."""
    calls = without_rule(result)
    without, tainted = len(calls), after(result, calls)
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


def not_run_sentence(result: Result, names: Sequence[str]) -> str:
    """What it means that layers were not run; `names` are their classes, escaped by the caller."""
    calls = [call for call in result["calls"] if call.get("opaque")]
    following = after(result, calls)
    one = len(calls) == 1
    sentence = (
        f"{plural(len(calls), 'call')} of {', '.join(names)} {'was' if one else 'were'} not run, "
        "and nothing was measured there"
    )
    if following:
        sentence += (
            f" or at the {plural(following, 'call')} after {'it' if one else 'them'}: the signal "
            "is predicted to pass through unchanged. What is predicted after that, and the "
            "weights set by it, may be off."
        )
    else:
        sentence += "."
    return sentence + " What lies elsewhere is measured as ever."
