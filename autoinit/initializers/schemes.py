"""Schemes: how each kernel of any model is drawn. One table, over the same plan of kernels.

The plan says which kernels there are and how AutoInit would scale them; a scheme says with which
deviation and distribution each is drawn, and what is done to the weights afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoinit.arrays import as_array
from autoinit.findings import Finding
from autoinit.graph.model_graph import ModelGraph
from autoinit.graph.zeros import start_branches_at_zero
from autoinit.initializers.calibration import Fed, calibrate
from autoinit.initializers.distributions import make_initializer
from autoinit.initializers.drawing import apply_plans, draw_configured_weights, record_plans
from autoinit.randomness import derived
from autoinit.rules.kernels import Kernel
from autoinit.rules.registry import KernelScale


@dataclass(frozen=True)
class Scheme:
    """How kernels are drawn.

    Attributes:
        title: what people call it.
        about: what it does, in a sentence.
        deviation: of a kernel's entries; None for AutoInit's.
        distribution: a key of `DISTRIBUTIONS`; None for the one that is asked for.
        own: whether the file's own initializers draw all weights.
        at_center: whether only the middle tap of a convolution's kernel is drawn.
        calibrated: whether each kernel is then scaled by what is measured behind it.
        centered: whether that pass takes each unit's mean into its bias, too.
        zero_residual: whether the last kernel of each residual branch starts at zero.
        backward: whether the plan keeps the variance of gradients in place of that of signals.
    """

    title: str
    about: str
    deviation: Callable[[Kernel], float] | None = None
    distribution: str | None = None
    own: bool = False
    at_center: bool = False
    calibrated: bool = False
    centered: bool = False
    zero_residual: bool = False
    backward: bool = False

    @property
    def kernels_only(self) -> bool:
        """Whether everything but kernels stays as it was."""
        return not (self.own or self.calibrated or self.zero_residual)


def _fan_out(kernel: Kernel) -> int:
    """Connections out of an input; the kernel's spatial taps count, as Keras counts them."""
    channels = kernel.channels if kernel.summed_axes else kernel.shape[-2]  # of a depthwise one
    return math.prod(kernel.shape) // channels


def _glorot(kernel: Kernel) -> float:
    return math.sqrt(2.0 / (kernel.fan_in + _fan_out(kernel)))


def _he(kernel: Kernel) -> float:
    return math.sqrt(2.0 / kernel.fan_in)


def _lecun(kernel: Kernel) -> float:
    return math.sqrt(1.0 / kernel.fan_in)


def _orthogonal(kernel: Kernel) -> float:
    """That of entries of a matrix whose singular values are 1."""
    columns = kernel.shape[-1] if len(kernel.shape) > 1 else 1
    return math.sqrt(1.0 / max(math.prod(kernel.shape) // columns, columns))


SCHEMES: dict[str, Scheme] = {
    "own": Scheme(
        "Its own, drawn anew",
        "Each layer's configured initializer draws all of its weights again.",
        own=True,
    ),
    "glorot": Scheme(
        "Glorot",
        "Uniform of variance 2/(fan-in + fan-out) (Glorot & Bengio 2010).",
        _glorot,
        "uniform",
    ),
    "he": Scheme(
        "He",
        "Truncated normal of variance 2/fan-in, for ReLU (He et al. 2015).",
        _he,
        "truncated_normal",
    ),
    "lecun": Scheme(
        "LeCun",
        "Truncated normal of variance 1/fan-in, for SELU and tanh (LeCun et al. 1998).",
        _lecun,
        "truncated_normal",
    ),
    "orthogonal": Scheme(
        "Orthogonal",
        "Kernels whose singular values are 1 (Saxe et al. 2014).",
        _orthogonal,
        "orthogonal",
    ),
    "delta_orthogonal": Scheme(
        "Delta-orthogonal",
        "Orthogonal at the middle tap of a convolution, zero at the others (Xiao et al. 2018).",
        _orthogonal,
        "orthogonal",
        at_center=True,
    ),
    "autoinit": Scheme(
        "AutoInit",
        "Each kernel at the scale that gives its output the variance aimed at, as the rules "
        "predict it (Bingham & Miikkulainen 2021).",
    ),
    "autoinit_orthogonal": Scheme(
        "AutoInit, orthogonal",
        "AutoInit's scales, drawn as orthogonal matrices.",
        distribution="orthogonal",
    ),
    "backward": Scheme(
        "Backward",
        "Each kernel at the scale that lets gradients keep their variance on the way back through "
        "a chain of layers, as the rules predict it (after He et al. 2015, eq. 14).",
        backward=True,
    ),
    "calibrated": Scheme(
        "Calibrated",
        "AutoInit, then each kernel scaled by what is measured behind it, in one pass (after "
        "Mishkin & Matas 2016).",
        calibrated=True,
    ),
    "centred": Scheme(
        "Centred",
        "Calibrated, with each unit's mean taken into its bias (after Krähenbühl et al. 2016): "
        "inputs stay apart where they would become alike.",
        calibrated=True,
        centered=True,
    ),
    "zero_residual": Scheme(
        "Zero residual",
        "AutoInit, with the last kernel of each residual branch (or the scale of the normalization "
        "behind it) at zero, so that blocks begin as identities (Goyal et al. 2017, Zhang et al. "
        "2019).",
        zero_residual=True,
    ),
}


def prepare(scheme: Scheme, graph: ModelGraph) -> None:
    """What has to be there before the plan is made: branches at zero, which add nothing."""
    if scheme.zero_residual:
        start_branches_at_zero(graph)


def draw(
    scheme: Scheme,
    graph: ModelGraph,
    plans: Sequence[KernelScale],
    distribution: str,
    seed: int | None,
    *,
    fed: Fed,
    target: float = 1.0,
    constrain: bool = False,
) -> tuple[tuple[KernelScale, ...], tuple[Finding, ...]]:
    """Draw a model's kernels by a scheme, and record their initialisers in their layers.

    Args:
        scheme: of `SCHEMES`.
        graph: of the model.
        plans: AutoInit's, which say what kernels there are.
        distribution: for schemes that have none of their own.
        seed: of all draws.
        fed: what goes through the model, where something has to be measured.
        target: variance of what calls with a kernel give, then.
        constrain: as for `apply_plans`.

    Returns:
        The plans as they were drawn, none for a file's own initialisers; and findings.
    """
    if scheme.own:
        return (), draw_configured_weights(graph, seed or 0, reseed=True)
    distribution = scheme.distribution or distribution
    chosen = [
        plan
        if scheme.deviation is None or plan.kernel.constant
        else replace(plan, standard_deviation=scheme.deviation(plan.kernel))
        for plan in plans
    ]
    apply_plans(chosen, distribution, seed, constrain=constrain)
    if scheme.at_center:
        for number, plan in enumerate(chosen):
            _keep_center(plan, None if seed is None else derived(seed, number))
    findings: tuple[Finding, ...] = ()
    if scheme.calibrated:
        scaled, findings = calibrate(graph, chosen, target, fed, centered=scheme.centered)
        chosen = [
            replace(plan, standard_deviation=plan.standard_deviation * scaled[key])
            if (key := id(plan.kernel.variable)) in scaled
            else plan
            for plan in chosen
        ]
        record_plans(chosen, distribution, seed)
    return tuple(chosen), findings


def _keep_center(plan: KernelScale, seed: int | None) -> None:
    """Draw the matrix of a convolution's middle tap, and leave the other taps at zero.

    With fewer units than channels that cannot keep all of a signal, and the kernel stays as it is.
    """
    kernel = plan.kernel
    if not kernel.tap_axes or kernel.constant or len(kernel.summed_axes) != 1:
        return
    if kernel.channels > kernel.units:
        return
    rest = tuple(n for axis, n in enumerate(kernel.shape) if axis not in kernel.tap_axes)
    matrix = make_initializer("orthogonal", 1.0 / math.sqrt(max(rest)), rest, seed)
    values = np.zeros(kernel.shape, np.float32)
    middle = tuple(
        n // 2 if axis in kernel.tap_axes else slice(None) for axis, n in enumerate(kernel.shape)
    )
    values[middle] = as_array(matrix(rest))
    kernel.variable.assign(values)
