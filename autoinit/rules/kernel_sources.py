"""Where the moments of kernels come from: the weights that there are, or AutoInit's choice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from autoinit.findings import Finding
from autoinit.graph.model_graph import Call, ModelGraph, weights_of
from autoinit.rules.kernels import Kernel, Loader, bias_moments
from autoinit.rules.registry import KernelScale, RuleResult
from autoinit.signals.signal import NO_BIAS, BiasMoments, KernelMoments, Signal

Found = tuple[KernelMoments, BiasMoments, RuleResult]


class GivenKernels:
    """Reads the kernels and biases that a model has.

    Args:
        load: gives the values of a variable.
        trained: whether channels are told apart: where weights are as they were drawn, they are
            alike.
    """

    def __init__(self, load: Loader, *, trained: bool = False) -> None:
        self.load = load
        self.trained = trained

    def __call__(self, call: Call, signal: Signal, kernel: Kernel, bias: Any) -> Found:
        """Moments as a `Context` gives them to its rules."""
        return self.read(kernel, bias, apart=signal.tells_channels_apart)

    def read(self, kernel: Kernel, bias: Any, *findings: Finding, apart: bool = False) -> Found:
        """Moments of a kernel and a bias as they are; with their values where asked for."""
        with np.errstate(invalid="ignore", over="ignore"):  # of weights that are not finite
            moments = kernel.actual(self.load, bias, values=self.trained or apart)
        return *moments, RuleResult((), weighted=True, findings=findings)


class Latents:
    """Variances of what functions take in, by which gradients keep theirs.

    The gradient at a kernel's output z has, at what the kernel before gave, fan_out·σ²·E f′² times
    its variance, where the kernel reads f of a latent u. With χ₁ = Var u·E f′²/E f² (`phases`) and
    Var z = fan_in·σ²·E f² that is 1 for Var z = Var u·(fan_in/fan_out)/χ₁ (after Glorot & Bengio
    2010, eq. 11, and He et al. 2015, eq. 14, where χ₁ = 1). Fans are counted by entries.

    Args:
        graph: of the model.
    """

    def __init__(self, graph: ModelGraph) -> None:
        self.producers = graph.producers()
        self.variances: dict[int, float] = {}

    def target(self, call: Call, signal: Signal, first: float) -> float:
        """Variance that a call with a kernel has to give; `first` where none is before it."""
        if not call.inputs:
            return first
        value = call.inputs[0]
        before = self.producers[value.index]
        while not before.is_input and len(before.inputs) == 1 and not _gives_latents(before):
            value = before.inputs[0]
            before = self.producers[value.index]
        latent, slope = self.variances.get(value.index, 0.0), signal.chi_1
        found = latent / (1.0 if slope is None else slope or math.inf)
        found *= call.inputs[0].entries / max(call.outputs[0].entries, 1)
        return first if before.is_input or not 0.0 < found < math.inf else found


def _gives_latents(call: Call) -> bool:
    """Whether a call's output is about Gaussian: that of a kernel or of a normalization."""
    if call.part == "activation":
        return False
    return bool(weights_of(call.layer)) or "Normalization" in call.class_name


class PlannedKernels(GivenKernels):
    """Chooses the scale of each kernel at its first use, for one pass, and keeps to it (eq. 3, 4).

    Args:
        load: gives the values of a variable.
        target: variance to aim at.
        centered: whether kernels are kept at zero mean per unit.
        kept: identities of variables that stay as they are.
        loops: deviations of kernels that meet again what they had a part in, by variable.
        zeros: identities of those that start at zero on purpose.
        latents: variances by value index of what has been passed, where gradients are what keeps
            its variance; None where signals are.
    """

    def __init__(
        self,
        load: Loader,
        target: float,
        *,
        centered: bool,
        kept: frozenset[int],
        loops: Mapping[int, float] = MappingProxyType({}),
        zeros: frozenset[int] = frozenset(),
        latents: Latents | None = None,
    ) -> None:
        super().__init__(load)
        self.latents = latents
        self.target = target
        self.centered = centered
        self.kept = kept
        self.loops = loops
        self.zeros = zeros
        self.chosen: dict[int, KernelScale | None] = {}

    def __call__(self, call: Call, signal: Signal, kernel: Kernel, bias: Any) -> Found:
        """Moments as a `Context` gives them to its rules."""
        key = id(kernel.variable)
        if key in self.kept or (key in self.chosen and self.chosen[key] is None):
            return self.read(kernel, bias)
        given = bias_moments(bias, self.load)
        if key in self.zeros:
            return self._zero(call, kernel, given)
        if not math.isfinite(given.second_moment):
            # No weights could make up for it; those after it are drawn as if it were mended.
            given = NO_BIAS
        drawn = kernel.drawn(centered=self.centered)
        earlier = self.chosen.get(key)
        if earlier is not None:
            use = (
                "so that its last use has the variance aimed at"
                if key in self.loops
                else ("for its first use")
            )
            finding = Finding(
                "shared_layer",
                call.path,
                call.class_name,
                (
                    f"Layer {kernel.layer.name!r} is used again at {call.path!r}: its weights are "
                    f"drawn once, {use}."
                ),
            )
            again = RuleResult((), weighted=True, findings=(finding,))
            return drawn.scaled(earlier.standard_deviation), given, again
        aim = (
            self.target if self.latents is None else self.latents.target(call, signal, self.target)
        )
        target, findings = self._less_bias(call, given, aim)
        incoming = signal.linear(drawn, NO_BIAS).second_moment
        if not (math.isfinite(incoming) and incoming > 0.0):
            self.chosen[key] = None
            message = (
                f"The signal that reaches {call.path!r} has a second moment of {incoming:g}, which "
                f"no weights can bring to {target:.3g}: its configured initialiser stays."
            )
            keeps = Finding("keeps_initializer", call.path, call.class_name, message)
            return self.read(kernel, bias, *findings, keeps)
        scale = self.loops.get(key, math.sqrt(target / incoming))
        choice = KernelScale(kernel, scale, call.path)
        self.chosen[key] = choice
        result = RuleResult((), weighted=True, scales=(choice,), findings=findings)
        return drawn.scaled(choice.standard_deviation), given, result

    def _zero(self, call: Call, kernel: Kernel, bias: BiasMoments) -> Found:
        """A kernel that starts at zero; one that was trained goes back there."""
        moments = kernel.drawn(centered=False).scaled(0.0)
        scales: tuple[KernelScale, ...] = ()
        if id(kernel.variable) not in self.chosen and np.any(self.load(kernel.variable)):
            scales = (KernelScale(replace(kernel, constant=True), 0.0, call.path),)
            self.chosen[id(kernel.variable)] = scales[0]
        return moments, bias, RuleResult((), weighted=True, at_target=False, scales=scales)

    def _less_bias(
        self, call: Call, bias: BiasMoments, target: float
    ) -> tuple[float, tuple[Finding, ...]]:
        """What the kernel has to give to the target variance, beside the bias."""
        if bias.variance < target:
            return target - bias.variance, ()
        message = (
            f"The bias of {call.path!r} alone has variance {bias.variance:.3g}, the target is "
            f"{target:.3g}: the kernel is drawn as if there were none. Start the bias at zero."
        )
        return target, (Finding("bias_exceeds_target", call.path, call.class_name, message),)
