"""The base class for estimators written by users."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autoinit.errors import EstimatorError
from autoinit.graph.model_graph import Call
from autoinit.rules.registry import Context, Registration, RuleResult, Support
from autoinit.signals.signal import Signal


class LayerOutputDistributionEstimator:
    """How a layer changes the mean and variance of its input; override `estimate`.

    Args:
        layer: the layer.
        estimator_config: the `weight_init_config` in use.
        signal_variance: variance that AutoInit aims at.

    This is the g of the paper: (μ_in, ν_in) ↦ (μ_out, ν_out) (Bingham & Miikkulainen 2021, eq. 1).

    Example:
        >>> import keras
        >>> from autoinit import AutoInit, LayerOutputDistributionEstimator
        >>> class Doubled(keras.layers.Layer):
        ...     def call(self, x):
        ...         return 2.0 * x
        >>> class Doubling(LayerOutputDistributionEstimator):
        ...     def estimate(self, means_in, vars_in):
        ...         return 2.0 * means_in[0], 4.0 * vars_in[0]
        >>> model = keras.Sequential([keras.Input((8,)), Doubled(name="doubled")])
        >>> scheme = AutoInit(custom_distribution_estimators={Doubled: Doubling})
        >>> scheme.initialize_model(model, return_estimates=True)[1]["doubled"]
        (0.0, 4.0)
    """

    def __init__(
        self,
        layer: Any,
        estimator_config: Mapping[str, Any] | None = None,
        signal_variance: float = 1.0,
    ) -> None:
        self.layer = layer
        self.estimator_config = dict(estimator_config or {})
        self.signal_variance = signal_variance

    def estimate(self, means_in: Sequence[float], vars_in: Sequence[float]) -> tuple[float, float]:
        """Mean and variance of the output.

        Args:
            means_in, vars_in: one for each input tensor.

        Returns:
            (mean, variance); unchanged unless overridden.
        """
        return means_in[0], vars_in[0]


class PassThroughOutputDistributionEstimator(LayerOutputDistributionEstimator):
    """The paper's fallback: mean and variance are returned unchanged."""


def as_rules(
    estimators: Mapping[type, type[LayerOutputDistributionEstimator]] | None,
) -> dict[type, Registration]:
    """Users' estimators as rules of the registry.

    Raises:
        TypeError: where a key is not a class or a value not a subclass of the base class.
    """
    rules = {}
    for layer_class, estimator in (estimators or {}).items():
        if not isinstance(layer_class, type):
            raise TypeError(
                "custom_distribution_estimators maps layer classes to estimator classes. "
                f"Received the key: {layer_class!r}"
            )
        if not (
            isinstance(estimator, type) and issubclass(estimator, LayerOutputDistributionEstimator)
        ):
            raise TypeError(
                f"The estimator of {layer_class.__name__} must be a subclass of "
                f"LayerOutputDistributionEstimator. Received: {estimator!r}"
            )
        rules[layer_class] = Registration(_rule_of(estimator), Support.EXACT)
    return rules


def _rule_of(estimator: type[LayerOutputDistributionEstimator]) -> Any:
    def who(call: Call) -> str:
        return (
            f"{estimator.__name__}, the estimator that layer {call.path!r} ({call.class_name}) was "
            "given,"
        )

    def rule(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
        made = estimator(call.layer, context.options, signal_variance=context.signal_variance)
        try:
            means, variances = [s.mean for s in inputs], [s.variance for s in inputs]
            mean, variance = map(float, made.estimate(means, variances))
        except Exception as error:  # the user's own code, which may raise anything
            raise EstimatorError(
                f"{who(call)} failed: {type(error).__name__}: {error}. It is to return "
                "(mean, variance)."
            ) from error
        if math.isnan(mean) or not variance >= 0.0:
            raise EstimatorError(
                f"{who(call)} returned a mean of {mean} and a variance of {variance}, for means "
                f"{means} and variances {variances}."
            )
        signal = type(inputs[0]).gaussian(mean, variance)
        return RuleResult((signal,) * len(call.outputs))

    return rule
