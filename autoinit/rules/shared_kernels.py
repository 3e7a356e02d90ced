"""Kernels that a signal meets again: what the uses of one kernel have in common.

The outputs of a random kernel W for several inputs are Gaussian together, whatever W had to do with
these inputs before: Cov(Wx, Wy) = fan_in·Var(w)·E xy (Yang 2019, Tensor Programs I). In a loop
x ← x + W·x, what is added correlates with what is there: after L steps x has not 2^L times its
first variance, but Σ C(L, k)² = C(2L, L) times.

Signals are followed as sums of outputs of kernels and of functions of these. Here stands what two
of them have in common; a call that is neither a sum, a kernel, a function nor a normalisation ends
it, and uses after it are approximate.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import keras
import numpy as np
from keras import layers

from autoinit.findings import Finding
from autoinit.graph.model_graph import Call, ModelGraph
from autoinit.rules.functions import is_elementwise, on_points
from autoinit.rules.kernels import Kernel
from autoinit.rules.registry import KernelSource, RuleResult, Support
from autoinit.signals.signal import Array, BiasMoments, KernelMoments, Signal, like_samples

_SUMS: Mapping[str, Callable[[int], list[float]]] = {
    "Add": lambda count: [1.0] * count,
    "Average": lambda count: [1 / count] * count,
    "Subtract": lambda count: [1.0] + [-1.0] * (count - 1),
}
_SCALING = ("Rescaling", "Multiply", "TrueDivide", "Divide", "Add", "Subtract", "Negative")
_NOISY = (
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianDropout,
    layers.GaussianNoise,
)
_NORMALIZING = (layers.LayerNormalization, layers.RMSNormalization, layers.BatchNormalization)


def _polynomials(count: int, nodes: Array, weights: Array) -> Array:
    """Normalized Hermite polynomials 1, …, count at the nodes, with the weights: (count, nodes)."""
    rows = [np.ones_like(nodes), nodes]
    for k in range(1, count):
        rows.append((nodes * rows[-1] - math.sqrt(k) * rows[-2]) / math.sqrt(k + 1))
    return np.asarray(np.array(rows[1:]) * weights / weights.sum())


_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(100)
_POLYNOMIALS = _polynomials(48, _NODES, _WEIGHTS)
# Of the last use's variance, as a logarithm.
_CLOSE, _FAR = 0.01, 0.1
_MOST_PASSES = 20
_BEYOND = 700.0  # the logarithm of a variance that is 0 or infinite


def variables_met_again(graph: ModelGraph) -> frozenset[int]:
    """Identities of variables that meet what they had a part in."""
    uses = Counter(key for call in graph.calls for key in _variables(call))
    shared = {key for key, number in uses.items() if number > 1}
    behind: dict[int, frozenset[int]] = {}
    found: set[int] = set()
    for call in graph.calls if shared else ():
        before = frozenset[int]().union(*(behind[value.index] for value in call.inputs))
        own = shared.intersection(_variables(call))
        found |= own & before
        behind |= dict.fromkeys((value.index for value in call.outputs), before | own)
    return frozenset(found)


def _variables(call: Call) -> Iterator[int]:
    if isinstance(call.layer, keras.Layer) and call.part != "activation":
        yield from {id(variable) for variable in call.layer.weights}
    yield from {id(value.parameter.variable) for value in call.inputs if value.parameter}


@dataclass(frozen=True)
class Use:
    """One use of a kernel that meets again what it had a part in."""

    kernel: Kernel
    moments: KernelMoments
    bias: BiasMoments


@dataclass(frozen=True)
class _Sum:
    """Σ c·root, by the values that the roots are.

    Attributes:
        terms: the factors.
        behind: kernels that it comes from.
        hidden: those of them that a call that is not followed stands behind.
        dependent: whether terms that are not Gaussian go with others: what is known of the sum is
            its variance, not its distribution.
    """

    terms: Mapping[int, float]
    behind: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()
    dependent: bool = False


class _Roots:
    """Tensors that sums are made of, and their covariances.

    Attributes:
        means, covariances: of all of them, (roots,) and (roots, roots).
        operands: what each is a function of, or what its kernel is applied to, as factors.
        coefficients: of functions f(X): E f(X)·he_k(X), he_k the normalized Hermite polynomials;
            Cov(f(X), g(Y)) = Σ_k≥1 a_k·b_k·Corr(X, Y)^k. Of anything else its deviation at k = 1.
    """

    def __init__(self) -> None:
        self.size = 0
        self.means = np.zeros(0)
        self.covariances, self.operands = np.zeros((2, 0, 0))
        self.coefficients = np.zeros((0, len(_POLYNOMIALS)))
        self._is_function = np.zeros(0, bool)
        self._scales = np.zeros(0)
        self._uses: list[Use | None] = []

    def add(
        self,
        mean: float,
        variance: float,
        operand: Array | None = None,
        use: Use | None = None,
        function: Callable[[Any], Any] | None = None,
    ) -> int:
        """Takes a tensor in; gives its number."""
        if operand is None:
            operand = np.zeros(self.size)
        found = np.zeros(self.size)
        coefficients = np.zeros(len(_POLYNOMIALS))
        scale = math.sqrt(max(variance, 0.0))
        coefficients[0] = scale
        if function is not None:
            center = float(operand @ self.means)
            scale = math.sqrt(max(float(operand @ self.covariances @ operand), 0.0))
            coefficients = _POLYNOMIALS @ on_points(function)(center + scale * _NODES)
            found = self._with_function(operand, scale, coefficients)
        elif use is not None:
            found = self._with_kernel(operand, use)
        self._uses.append(use)
        self._grow(mean, variance, operand, np.where(np.isfinite(found), found, 0.0))
        self.coefficients = np.vstack([self.coefficients, coefficients])
        self._is_function = np.append(self._is_function, function is not None)
        self._scales = np.append(self._scales, scale)
        self.size += 1
        return self.size - 1

    def is_function(self, root: int) -> bool:
        """Whether it is a function of a sum of others."""
        return bool(self._is_function[root])

    def common(self, first: Array, second: Array, *, apart: bool = False) -> float:
        """The covariance of two sums; `apart` leaves out what is the same in both."""
        same = float(first * second @ np.diag(self.covariances)) if apart else 0.0
        return float(first @ self.covariances @ second) - same

    def _with_kernel(self, operand: Array, use: Use) -> Array:
        alike = np.array(
            [
                each is not None and each.kernel.variable is use.kernel.variable
                for each in self._uses
            ],
            bool,
        )
        moments = use.moments
        common = self.operands @ (self.covariances @ operand)
        means = (self.operands @ self.means) * float(operand @ self.means)
        sums = moments.squared_sum - moments.total**2
        found = np.where(alike, moments.power * common + sums * means + use.bias.variance, 0.0)
        for other in np.flatnonzero(self._is_function):
            # Cov(G, f(Y)) = Cov(G, Y)·E f′, for Gaussians.
            scale = self._scales[other]
            slope = self.coefficients[other, 0] / scale if scale else 0.0
            found[other] = float(self.operands[other] @ found) * slope
        return found

    def _with_function(self, operand: Array, scale: float, coefficients: Array) -> Array:
        behind = np.where(self._is_function[:, None], self.operands, np.eye(self.size))
        common = behind @ (self.covariances @ operand)
        with np.errstate(divide="ignore", invalid="ignore"):
            correlations = np.clip(common / (scale * self._scales), -1.0, 1.0)
        powers = correlations[:, None] ** np.arange(1, len(coefficients) + 1)
        return np.asarray((self.coefficients * powers) @ coefficients)

    def _grow(self, mean: float, variance: float, operand: Array, found: Array) -> None:
        self.means = np.append(self.means, mean)
        self.operands = np.pad(np.vstack([self.operands, operand]), ((0, 0), (0, 1)))
        self.covariances = np.pad(self.covariances, (0, 1))
        self.covariances[-1, :-1] = self.covariances[:-1, -1] = found
        self.covariances[-1, -1] = variance


class SharedKernels:
    """Follows one pass through a graph.

    Args:
        met_again: identities of the kernels' variables.

    Attributes:
        uses: of these kernels, by the calls' indices.
    """

    def __init__(self, met_again: frozenset[int]) -> None:
        self.met_again = met_again
        self.uses: dict[int, list[Use]] = defaultdict(list)
        self._sums: dict[int, _Sum] = {}
        self._roots = _Roots()

    def recording(self, source: KernelSource) -> KernelSource:
        """A source of kernels that keeps in mind where they were used."""

        def read(call: Call, signal: Signal, kernel: Kernel, bias: Any) -> Any:
            found = source(call, signal, kernel, bias)
            if id(kernel.variable) in self.met_again:
                self.uses[call.index].append(Use(kernel, *found[:2]))
            return found

        return read

    def follow(self, call: Call, arrived: Sequence[Signal], result: RuleResult) -> RuleResult:
        """The result of a call, with what its operands have in common by shared kernels."""
        operands = [self._sums[value.index] for value in call.inputs]
        behind = frozenset[int]().union(*(each.behind for each in operands))
        hidden = frozenset[int]().union(*(each.hidden for each in operands))
        with np.errstate(all="ignore"):
            factors = _factors(call, arrived, result)
            if factors is None:
                return self._other(call, operands, behind, hidden, result)
            terms: dict[int, float] = defaultdict(float)
            for operand, factor in zip(operands, factors, strict=True):
                for root, own in operand.terms.items():
                    terms[root] += factor * own
            if isinstance(call.layer, _NOISY):
                noise = result.signals[0].variance - arrived[0].variance
                terms[self._roots.add(0.0, max(noise, 0.0))] = 1.0
            dependent = any(each.dependent for each in operands)
            summed = self._summed(arrived, operands, factors, result)
            if summed is not result:
                dependent |= any(self._roots.is_function(root) for root in terms)
            self._sums[call.outputs[0].index] = _Sum(terms, behind, hidden, dependent)
            return summed

    def _other(
        self,
        call: Call,
        operands: Sequence[_Sum],
        behind: frozenset[int],
        hidden: frozenset[int],
        result: RuleResult,
    ) -> RuleResult:
        uses = self.uses.get(call.index, [])
        keys = frozenset(id(use.kernel.variable) for use in uses)
        data = [
            operand
            for operand, value in zip(operands, call.inputs, strict=True)
            if not value.constant
        ]
        function = _function(call) if len(data) == 1 and not uses else None
        followed = len(uses) == len(data) == 1 and result.at_target
        if not (followed or function):
            # A kernel that is used once makes a signal that goes with no other.
            hidden = frozenset() if result.weighted and not uses else behind
        for place, (value, signal) in enumerate(zip(call.outputs, result.signals, strict=True)):
            known = place == 0 and (followed or function is not None)
            root = self._roots.add(
                signal.mean,
                signal.variance,
                self._factors_of(data[0]) if known else None,
                uses[0] if known and followed else None,
                function if known else None,
            )
            self._sums[value.index] = _Sum({root: 1.0}, behind | keys, hidden)
        again = keys & frozenset[int]().union(*(each.hidden for each in operands))
        dependent = not result.weighted and any(each.dependent for each in operands)
        return _approximate(call, result) if again or dependent else result

    def _summed(
        self,
        arrived: Sequence[Signal],
        operands: Sequence[_Sum],
        factors: Sequence[float],
        result: RuleResult,
    ) -> RuleResult:
        """A sum whose operands are no more taken as independent."""
        rows = [
            factor * self._factors_of(each) for factor, each in zip(factors, operands, strict=True)
        ]
        more = sum(
            2 * self._roots.common(rows[i], rows[j], apart=True)
            for i in range(len(rows))
            for j in range(i)
            if arrived[i].latent_id != arrived[j].latent_id
            and not like_samples(arrived[i].lineage, arrived[j].lineage)
        )
        signal = cast(Signal, result.signals[0])
        if not (more and math.isfinite(more) and signal.finite and signal.variance > 0):
            return result
        ratio = math.sqrt(max(1 + more / signal.variance, 0.0))
        return replace(result, signals=(signal.affine(ratio, signal.mean * (1 - ratio)),))

    def _factors_of(self, found: _Sum) -> Array:
        factors = np.zeros(self._roots.size)
        factors[list(found.terms)] = list(found.terms.values())
        return factors


def _factors(call: Call, arrived: Sequence[Signal], result: RuleResult) -> list[float] | None:
    """Of a call that is a sum of its operands, up to a constant and to noise."""
    name = type(call.layer).__name__
    if len(arrived) == 1:
        if result.support is Support.NEUTRAL or isinstance(call.layer, _NOISY):
            return [1.0]
        if isinstance(call.layer, _NORMALIZING) and arrived[0].variance > 0:
            return [math.sqrt(result.signals[0].variance / arrived[0].variance)]
        return _slope(call) if name in _SCALING else None
    if name not in _SUMS or any(value.constant for value in call.inputs):
        return None
    return _SUMS[name](len(arrived))


def _slope(call: Call) -> list[float] | None:
    try:
        ends = [
            np.asarray(
                keras.ops.convert_to_numpy(
                    call.run([keras.ops.convert_to_tensor(np.float32(x))], False)[0]
                )
            )
            for x in (0.0, 1.0)
        ]
    except Exception:  # an operation raises what it likes, of what it cannot take
        return None
    slope = ends[1] - ends[0]
    return [float(slope)] if slope.size == 1 else None


def _function(call: Call) -> Callable[[Any], Any] | None:
    if call.part == "activation" or isinstance(call.layer, layers.Activation):
        return call.activation if is_elementwise(call.activation) else None
    if isinstance(call.layer, (layers.ReLU, layers.LeakyReLU, layers.ELU)):
        return cast(Callable[[Any], Any], call.layer.call)
    return None


def _approximate(call: Call, result: RuleResult) -> RuleResult:
    message = (
        f"What reaches {call.path!r} ({call.class_name}) comes from several uses of one layer, "
        "which go together in a way that is not followed: the prediction is approximate."
    )
    finding = Finding("shared_layer", call.path, call.class_name, message)
    return replace(result, support=Support.APPROXIMATE, findings=(*result.findings, finding))


def scales_for_loops(
    propagate: Callable[[Mapping[int, float]], Mapping[int, tuple[float, float]]],
    target: float,
    uses: int,
) -> dict[int, float] | None:
    """Deviations that give the last use of each kernel its target variance.

    Args:
        propagate: from deviations by variable, to each kernel's deviation and the variance of its
            last use's output.
        target: variance to aim at.
        uses: of all these kernels.

    Returns:
        None where there are none such.
    """
    chosen: dict[int, float] = {}
    before: dict[int, tuple[float, float]] = {}
    for _ in range(_MOST_PASSES):
        found = propagate(chosen)
        points = {
            key: (math.log(scale), _off(variance, target))
            for key, (scale, variance) in found.items()
        }
        far = max((abs(off) for _, off in points.values()), default=0.0)
        if far < _CLOSE:
            return chosen
        for key, (scale, off) in points.items():
            slope = 2.0 * uses
            if key in before and abs(scale - before[key][0]) > 1e-12:
                slope = (off - before[key][1]) / (scale - before[key][0])
            chosen[key] = math.exp(scale - off / min(max(slope, 1.0), 2.0 * uses))
        before = points
    return chosen if far < _FAR else None


def _off(variance: float, target: float) -> float:
    if not (math.isfinite(variance) and variance > 0):
        return -_BEYOND if variance == 0 else _BEYOND
    return math.log(variance / target)
