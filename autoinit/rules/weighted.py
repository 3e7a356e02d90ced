"""What every weighted layer's rule ends with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autoinit.graph.model_graph import Call
from autoinit.rules.kernels import Kernel
from autoinit.rules.registry import Context, RuleResult
from autoinit.signals.signal import Signal


def weighted(call: Call, signal: Signal, context: Context, kernel: Kernel, bias: Any) -> RuleResult:
    """Mix a signal with one kernel, given or still to be drawn (eq. 3 and 4).

    Args:
        call: the weighted call.
        signal: what reaches the kernel.
        context: decides where the kernel comes from.
        kernel: which axes are summed, which positions are seen.
        bias: the bias variable, or None.
    """
    moments, bias_moments, result = context.kernel_moments(call, signal, kernel, bias)
    return replace(result, signals=(signal.linear(moments, bias_moments),))
