"""Layer class → rule.

A rule is a pure function `rule(call, inputs, context) → RuleResult` (or just the outgoing signal).
It says what one call does to the signals that it reads, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, cast

import keras
from keras import layers

from autoinit.findings import Finding
from autoinit.graph.model_graph import Call, stock_class
from autoinit.graph.workspace import Workspace
from autoinit.rules.kernels import Kernel, Loader
from autoinit.signals.signal import BiasMoments, KernelMoments, Observed, Signal


class Support(StrEnum):
    """How a call's outgoing signal was obtained."""

    EXACT = "exact"  # closed form, or quadrature to a stated error
    SAMPLED = "sampled"  # Monte Carlo, with its standard error
    NEUTRAL = "neutral"  # known not to change the distribution
    APPROXIMATE = "approximate"  # a stated assumption is broken
    PASS_THROUGH = "pass_through"  # no rule: unchanged, the paper's fallback


@dataclass(frozen=True)
class KernelScale:
    """How AutoInit draws one kernel.

    Attributes:
        kernel: which one.
        standard_deviation: of its entries.
        path: the call that it was worked out for (its first use).
    """

    kernel: Kernel
    standard_deviation: float
    path: str


@dataclass(frozen=True)
class RuleResult:
    """What a rule has to say about a call.

    Attributes:
        signals: one for each output; in a finished pass, what a measurement would show of it.
        support: how they were obtained; None leaves it to the rule's registration.
        weighted: whether the call has a kernel that AutoInit sets.
        at_target: of a weighted call, whether the variance aimed at is that of its output; False
            where something follows the kernel inside the call, such as a soft cap.
        scales: of the kernels to draw.
        findings: what a person should know.
        standard_error: of the variance, where it was sampled.
        tainted: set by the interpreter downstream of a call without a rule.
    """

    signals: tuple[Signal | Observed, ...]
    support: Support | None = None
    weighted: bool = False
    at_target: bool = True
    scales: tuple[KernelScale, ...] = ()
    findings: tuple[Finding, ...] = ()
    standard_error: float | None = None
    tainted: bool = False


KernelSource = Callable[[Call, Signal, Kernel, Any], tuple[KernelMoments, BiasMoments, RuleResult]]


@dataclass(frozen=True)
class Context:
    """What a rule may know besides the call and its inputs.

    Attributes:
        training: mode of the model.
        kernel_moments: reads the moments of a kernel and a bias, or chooses the kernel's scale:
            `kernel_moments(call, signal, kernel, bias)`.
        load: gives the values of a variable as a NumPy array.
        seed, samples: for rules that sample.
        options: `weight_init_config`, for estimators written by users.
        signal_variance: variance that AutoInit aims at.
        registry: for rules of wrappers, which look up the rule of what they wrap.
        batch: how many samples batch normalisation sees at once.
        unsupported: what becomes of calls without a rule, a key of `fallbacks.UNSUPPORTED`.
        known: arrays of the constants, and of samples of the masks, among the call's inputs, by
            value index.
        never_negative: indices of the values that are known to have no entry below 0.
        workspace: the graph's, for what rules need again in its next pass.
    """

    training: bool
    kernel_moments: KernelSource
    load: Loader
    seed: int = 0
    samples: int = 10_000
    options: Mapping[str, Any] = field(default_factory=dict)
    signal_variance: float = 1.0
    registry: Registry = field(default_factory=lambda: RULES)
    batch: int = 128
    unsupported: str = "pass_through"
    known: Mapping[int, Any] = field(default_factory=dict)
    never_negative: frozenset[int] = frozenset()
    workspace: Workspace = field(default_factory=Workspace)


Rule = Callable[[Call, Sequence[Any], Context], "RuleResult | Signal"]


@dataclass(frozen=True)
class Registration:
    """A rule and what its results are worth where it does not say so itself."""

    rule: Rule
    support: Support

    def apply(self, call: Call, inputs: Sequence[Any], context: Context) -> RuleResult:
        """The rule's result for a call, with its support; one signal is that of every output."""
        given = self.rule(call, inputs, context)
        if not isinstance(given, RuleResult):
            given = RuleResult((given,) * len(call.outputs))
        result = given if given.support else replace(given, support=self.support)
        error = cast(Signal, result.signals[0]).sampled_error if result.signals else None
        came = {each.sampled_error for each in inputs}
        if result.support is not Support.EXACT or error in {None, *came}:
            return result
        return replace(result, support=Support.SAMPLED, standard_error=error)


class Registry:
    """A table of rules by layer class."""

    def __init__(self, rules: dict[type, Registration] | None = None) -> None:
        self._rules = dict(rules or {})

    def register(self, *classes: type, support: Support = Support.EXACT) -> Callable[[Rule], Rule]:
        """Decorator that makes a function the rule of one or more layer classes.

        Raises:
            ValueError: where a class has a rule already.
        """

        def decorate(rule: Rule) -> Rule:
            for layer_class in classes:
                if layer_class in self._rules:
                    raise ValueError(f"{layer_class.__name__} has a rule already.")
                self._rules[layer_class] = Registration(rule, support)
            return rule

        return decorate

    def overridden(self, rules: dict[type, Registration]) -> Registry:
        """A copy in which `rules` come first."""
        return Registry({**self._rules, **rules})

    def of_call(self, call: Call) -> Registration | None:
        """The rule of a call; fused activations have that of the `Activation` layer."""
        if call.part == "activation":
            return self._rules.get(layers.Activation)
        return self.find(call.layer)

    def find(self, layer: Any) -> Registration | None:
        """The rule of a layer, or None.

        A subclass has its parent's rule as long as it does not override `call`.
        """
        exact = self._rules.get(type(layer))
        if exact is not None:
            return exact
        parent = stock_class(layer, tuple(self._rules))
        if parent is None and not isinstance(layer, keras.Layer):
            # Operations have one rule that tells them apart by name: Keras exports no classes.
            parent = keras.Operation if keras.Operation in self._rules else None
        return None if parent is None else self._rules[parent]

    def classes(self) -> Iterable[type]:
        """The classes that have a rule."""
        return self._rules.keys()


RULES: Registry = Registry()
rule = RULES.register
