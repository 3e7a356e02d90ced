"""Kernels scaled by what is measured behind them, in one pass through the model.

What a call with a kernel gives is affine in the kernel, y = s·u + b: so while samples go through
the calls one after the other, each kernel is scaled once, its output with it, and only then is
anything behind it run (LSUV, Mishkin & Matas 2016, without iterations).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from autoinit.arrays import as_array
from autoinit.findings import Finding
from autoinit.graph.compiled import run_compiled
from autoinit.graph.keras_internals import get_keras_mask, set_keras_mask
from autoinit.graph.model_graph import Call, ModelGraph, innermost, weights_of
from autoinit.graph.shapes import last_uses
from autoinit.rules.registry import KernelScale
from autoinit.running.inputs import Data, draw_inputs
from autoinit.running.state import unchanged, without_gradients

SAMPLES = 32
# Entries of the largest tensor for all samples together; of larger models fewer are taken.
_MOST_ENTRIES = 2**25
_FEWEST = 8


@dataclass(frozen=True)
class Fed:
    """What goes through the model.

    Attributes:
        mean, variance: of noise, as `draw_inputs` takes them.
        data: real data in place of noise, by the inputs' names.
        samples: how many; None for as many as are usual.
        seed: of the inputs and of dropout.
        training: mode of the model.
    """

    mean: Any = 0.0
    variance: Any = 1.0
    data: Data | None = None
    samples: int | None = None
    seed: int = 0
    training: bool = True


def calibrate(
    graph: ModelGraph,
    plans: Sequence[KernelScale],
    target: float,
    fed: Fed,
    *,
    centered: bool = False,
) -> tuple[dict[int, float], tuple[Finding, ...]]:
    """Scale kernels until what they give has the variance aimed at, on the inputs that are fed.

    A kernel that is used several times gets the mean of the logarithms of what its uses ask for,
    and the rest goes through once more. Batch normalizations get the statistics of the batch as
    their moving ones. Where a bias alone exceeds the target, its kernel stays.

    Args:
        graph: of the model, whose kernels are drawn already.
        plans: which kernels there are.
        target: variance of what calls with a kernel give.
        fed: what goes through.
        centered: also take each unit's mean into its bias, where there is one, and one use of it.

    Returns:
        By how much each variable was scaled, by identity; findings for those that could not be.
    """
    run = _Calibration(graph, plans, target, fed, centered)
    inputs = draw_inputs(
        graph, fed.samples or _samples(graph), fed.seed, fed.mean, fed.variance, fed.data
    )
    run.through(inputs)
    if run.shared:
        run.settle_shared()
        run.through(inputs)
    return run.scaled, tuple(run.findings)


def _samples(graph: ModelGraph) -> int:
    """As many samples as are usual, fewer where tensors are large."""
    fixed = next((c.outputs[0].shape[0] for c in graph.inputs if c.outputs[0].shape[0]), None)
    if fixed:
        return int(fixed)
    largest = max((value.entries for call in graph.calls for value in call.outputs), default=1)
    return int(min(max(_MOST_ENTRIES // max(largest, 1), _FEWEST), SAMPLES))


class _Calibration:
    """Passes through the calls. Each leaves kernels scaled."""

    def __init__(
        self,
        graph: ModelGraph,
        plans: Sequence[KernelScale],
        target: float,
        fed: Fed,
        centered: bool,
    ) -> None:
        self.graph, self.target, self.fed, self.centered = graph, target, fed, centered
        self.findings: list[Finding] = []
        self.scaled: dict[int, float] = {}
        # The last kernel of a call: a separable one has two.
        at = {plan.path: plan.kernel for plan in plans if not plan.kernel.constant}
        kernels = {id(kernel.variable): kernel for kernel in at.values()}
        self.kernels: dict[int, Any] = {}
        uses: dict[int, list[int]] = defaultdict(list)
        for call in graph.calls:
            for variable in _variables(call):
                if id(variable) in kernels:
                    self.kernels[call.index] = kernels[id(variable)]
                    uses[id(variable)].append(call.index)
        self.shared = {index for calls in uses.values() if len(calls) > 1 for index in calls}
        self.wanted: dict[int, list[float]] = defaultdict(list)  # logarithms, by shared variable
        self.settled: set[int] = set()

    def through(self, inputs: Mapping[int, Any]) -> None:
        """All samples through all calls."""
        graph, alive = self.graph, dict[int, Any]()
        idle = graph.behind_placeholders()
        batch = len(next(iter(inputs.values())))
        statistics: list[tuple[Any, Any]] = []
        with unchanged(graph, self.fed.seed), without_gradients():
            for call, finished in zip(graph.calls, last_uses(graph), strict=True):
                if call.index in idle:
                    continue
                if call.is_input:
                    (value,) = call.outputs
                    outputs = [keras.ops.convert_to_tensor(inputs[value.index], dtype=value.dtype)]
                else:
                    tensors = [alive[value.index] for value in call.inputs]
                    mode = self.fed.training
                    outputs = list(run_compiled(call, tensors, mode, batch, graph.workspace, 1))
                    if call.index in self.kernels:
                        outputs[0] = self._fitted(call, tensors, outputs[0], batch)
                    statistics += self._statistics(call, tensors)
                    del tensors
                alive.update(zip((v.index for v in call.outputs), outputs, strict=True))
                del outputs
                for index in finished:
                    del alive[index]
        for variable, values in statistics:
            variable.assign(values)

    def _fitted(self, call: Call, tensors: Sequence[Any], output: Any, batch: int) -> Any:
        """A call's output, once its kernel is scaled."""
        kernel, bias = self.kernels[call.index], _bias_of(call)
        added = None
        if bias is not None and np.any(values := np.array(as_array(bias))):
            bias.assign(np.zeros_like(values))
            (alone, *_) = call.run(tensors, self.fed.training, batch)
            bias.assign(values)
            output, added = alone, output - alone
        u = as_array(output).astype(np.float32, copy=False)
        offset = None
        own = self.centered and bias is not None and call.index not in self.shared
        if own and u.shape[-1:] == tuple(bias.shape):
            offset = u.mean(tuple(range(u.ndim - 1)), dtype=np.float64).astype(np.float32)
            u, added = u - offset, None
        scale = self._scale(call, u, None if added is None else as_array(added).astype(np.float32))
        if offset is not None and bias is not None:
            bias.assign(-scale * offset)
            result = output * scale - keras.ops.cast(scale * offset, output.dtype)
        else:
            result = output * scale if added is None else output * scale + added
        self._rescale(kernel.variable, scale)
        mask = get_keras_mask(output)
        if mask is not None:
            set_keras_mask(result, mask)
        return result

    def _scale(self, call: Call, u: Any, added: Any) -> float:
        """The s by which a kernel is to be scaled: s² Var u + 2 s Cov(u, b) + Var b = target."""
        rows = u.reshape(len(u), -1)
        mean = float(rows.mean(dtype=np.float64))
        variance = float(np.vecdot(rows, rows).mean(dtype=np.float64)) / rows.shape[1] - mean**2
        if not 0.0 < variance < math.inf:
            self._keep(call, f"its output has a variance of {variance:g}")
            return 1.0
        linear = constant = 0.0
        if added is not None:
            constant = float(added.var())
            linear = float((u * added).mean(dtype=np.float64) - mean * added.mean(dtype=np.float64))
        if constant >= self.target:
            self._keep(call, f"its bias alone has a variance of {constant:.3g}")
            return 1.0
        root = linear**2 + variance * (self.target - constant)
        scale = (math.sqrt(root) - linear) / variance
        key = id(self.kernels[call.index].variable)
        if call.index in self.shared:
            if key not in self.settled:
                self.wanted[key].append(math.log(scale))
            return 1.0
        return float(scale)

    def settle_shared(self) -> None:
        """Scale kernels of several uses by the mean of the logarithms that these ask for."""
        variables = {id(kernel.variable): kernel.variable for kernel in self.kernels.values()}
        for key, logarithms in self.wanted.items():
            self._rescale(variables[key], math.exp(math.fsum(logarithms) / len(logarithms)))
            self.settled.add(key)

    def _rescale(self, variable: Any, scale: float) -> None:
        if scale != 1.0:
            variable.assign(variable * scale)
            self.scaled[id(variable)] = self.scaled.get(id(variable), 1.0) * scale

    def _statistics(self, call: Call, tensors: Sequence[Any]) -> list[tuple[Any, Any]]:
        """The moving statistics of a batch normalization, as those of what it just got."""
        layer = innermost(call.layer)
        normalizes = isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        if not (normalizes and self.fed.training) or call.part == "activation":
            return []
        values = as_array(tensors[0]).astype(np.float64, copy=False)
        axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
        others = tuple(n for n in range(values.ndim) if n != axis % values.ndim)
        return [
            (layer.moving_mean, values.mean(others)),
            (layer.moving_variance, values.var(others)),
        ]

    def _keep(self, call: Call, why: str) -> None:
        self.findings.append(
            Finding(
                "keeps_initializer",
                call.path,
                call.class_name,
                f"The kernel of {call.path!r} is not scaled by what was measured: {why}.",
            )
        )


def _variables(call: Call) -> list[Any]:
    """What a call may multiply by."""
    if call.part == "activation" or call.is_internal:
        return []
    read = [value.parameter.variable for value in call.inputs if value.parameter is not None]
    return [*weights_of(call.layer), *read]


def _bias_of(call: Call) -> Any:
    bias = getattr(innermost(call.layer), "bias", None)
    return bias if hasattr(bias, "assign") else None
