"""What becomes of a call that has no rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoinit.errors import UnsupportedLayerError
from autoinit.findings import Finding
from autoinit.graph.model_graph import Call
from autoinit.graph.placeholders import Opaque, channels_by_weights
from autoinit.rules.registry import Context, RuleResult, Support
from autoinit.rules.sampling import sample_unknown

# What `unsupported` may say.
UNSUPPORTED = {
    "pass_through": "taken as unchanged, as the paper does",
    "sample": "estimated by Monte Carlo through the layer itself",
    "error": "refused",
}
# Class name → why it has no rule, as a clause; `autoinit/rules/layers/refused.py` has them all.
REASONS: dict[str, str] = {}


def pass_through(call: Call, inputs: Sequence[Any]) -> RuleResult:
    """The paper's fallback for a call without a rule: its signal is taken as unchanged."""
    reason = REASONS.get(call.class_name)
    why = ": its" if reason is None else f": {reason}. Its"
    if reason is None and call.untraceable:
        why = f", and it cannot be opened into its parts ({call.untraceable}): its"
    message = (
        f"No rule for {call.path!r} ({call.class_name}){why} output is taken to be distributed "
        "like its input, and everything after it is uncertain."
    )
    return _unchanged("unsupported_layer", call, inputs, message)


def not_run(call: Call, inputs: Sequence[Any], unsupported: str = "pass_through") -> RuleResult:
    """The same for an opaque call, which is not measured.

    Raises:
        UnsupportedLayerError: where that is an error.
    """
    part = call.placeholder
    reason = "its code is not at hand" if part is None else part.reason
    if unsupported == "error":
        raise UnsupportedLayerError(
            f"{call.path!r} ({call.class_name}) is not run: {reason[:300]}. Name a module of yours "
            "that has it (custom objects), or choose to have it passed through."
        )
    end = "What comes after it is uncertain: it is measured on noise of the predicted moments."
    if isinstance(part, Opaque):
        held = (
            "" if part is call.layer else f"holds {part.name[:80]!r} ({part.original[:80]}), and "
        )
        message = (
            f"Layer {call.path!r} ({call.class_name}) {held}is not run: {reason[:300]}. "
            f"{_origin_of_shape(part, call)} {end}"
        )
        return _unchanged("opaque_layer", call, inputs, message)
    name = "" if part is None else part.name[:80]
    message = f"The activation {name!r} at {call.path!r} is not run: {reason[:300]}. {end}"
    return _unchanged("opaque_activation", call, inputs, message)


def _unchanged(code: str, call: Call, inputs: Sequence[Any], message: str) -> RuleResult:
    finding = Finding(code, call.path, call.class_name, message)
    signals = (inputs[0],) * len(call.outputs)
    return RuleResult(signals, Support.PASS_THROUGH, findings=(finding,))


def _origin_of_shape(part: Opaque, call: Call) -> str:
    shape = "×".join("?" if size is None else str(size) for size in call.outputs[0].shape[1:])
    shape = shape or "one number"
    declared = part.evidence.get("declared")
    if part.evidence.get("beside"):
        return f"Its output shape is inferred from what it is joined with: {shape}."
    if declared is not None and None not in declared:
        return f"Its output shape is the one that its file declares: {shape}."
    if declared is not None:
        return f"Its file declares its output shape in part; it is assumed to be {shape}."
    if part.evidence.get("size") is not None:
        return f"Its output shape is inferred from the layers that read it: {shape}."
    if channels_by_weights(call.inputs[0].shape, part.evidence) is not None:
        return f"Its output shape is inferred from stored weights, its own or the next: {shape}."
    return f"Its output shape is assumed to be that of its input: {shape}."


def without_rule(
    passed: RuleResult, call: Call, inputs: Sequence[Any], context: Context
) -> RuleResult:
    """What `context.unsupported` says: passed through, sampled, or refused.

    Raises:
        UnsupportedLayerError: where that is an error.
    """
    if context.unsupported == "error":
        why = f", and it cannot be opened into its parts ({call.untraceable})"
        why = why if call.untraceable else ""
        raise UnsupportedLayerError(
            f"No rule for {call.path!r} ({call.class_name}){why}. Write an estimator for it "
            "(custom_distribution_estimators), or choose to have it sampled or passed through."
        )
    if context.unsupported == "pass_through" or not all(signal.finite for signal in inputs):
        return passed
    sampled = sample_unknown(call, inputs, context)
    if sampled is None:
        return passed
    signals, error = sampled
    message = (
        f"No rule for {call.path!r} ({call.class_name}): its output was estimated by Monte Carlo "
        "through the layer itself, for independent Gaussian input."
    )
    finding = Finding("sampled_layer", call.path, call.class_name, message)
    return RuleResult(signals, Support.SAMPLED, standard_error=error, findings=(finding,))
