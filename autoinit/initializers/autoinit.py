"""`AutoInit`: signal-preserving weights (Bingham & Miikkulainen 2021, algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autoinit.errors import SettingsError
from autoinit.graph.input_moments import PerInput, require_finite
from autoinit.initializers.calibration import Fed
from autoinit.initializers.cloning import as_model, clone_with_weights
from autoinit.initializers.configuration import Configuration
from autoinit.initializers.schemes import SCHEMES, Scheme, draw, prepare
from autoinit.propagation import Options, Propagation, input_signals, plan
from autoinit.reading import read_model
from autoinit.rules import RULES
from autoinit.rules.estimators import LayerOutputDistributionEstimator, as_rules

Estimators = Mapping[type, type[LayerOutputDistributionEstimator]]


class AutoInit:
    """Scale each layer's weights so that signals keep mean 0 and a constant variance.

    Mean μ and variance ν of the signal are tracked through the network, layer by layer; each
    weighted layer's kernel is drawn with variance signal_variance/(fan_in·(ν + μ²)), so that its
    pre-activation has the variance aimed at (Bingham & Miikkulainen 2021, algorithm 1 and eq. 3).

    Args:
        weight_init_config: options, see `Configuration`: `distribution` (`truncated_normal`,
            `untruncated_normal`, `uniform` or `orthogonal`), `constrain_weights`, `scheme`,
            `calibrate`, `signal_model`, `keep_frozen`, `zero_kernels`, `unsupported`,
            `monte_carlo_samples`, `recurrent_monte_carlo_samples`, `training`, `batch_size`,
            `unknown_size`, `seed`.
        input_data_mean, input_data_var: moments of the training data: one number for all inputs,
            or numbers by the inputs' names (0 and 1 where an input is not named).
        custom_distribution_estimators: layer class → subclass of
            `LayerOutputDistributionEstimator`.
        signal_variance: variance of pre-activations to aim at.
        scheme: how kernels are drawn, a key of `SCHEMES`; the same as the option.

    Raises:
        ValueError: for an unknown option or value, listing the right ones.

    Example:
        >>> import keras
        >>> from autoinit import AutoInit
        >>> dense = keras.layers.Dense(300, "relu", name="hidden")
        >>> model = keras.Sequential([keras.Input((400,)), dense, keras.layers.Dense(10)])
        >>> model, estimates = AutoInit({"seed": 0}).initialize_model(model, return_estimates=True)
        >>> mean, variance = estimates["hidden"]  # of max(0, z) with z of mean 0 and variance 1
        >>> f"{mean:.3f} {variance:.3f}"
        '0.399 0.341'
    """

    def __init__(
        self,
        weight_init_config: Mapping[str, Any] | None = None,
        input_data_mean: PerInput = 0.0,
        input_data_var: PerInput = 1.0,
        custom_distribution_estimators: Estimators | None = None,
        signal_variance: float = 1.0,
        scheme: str | None = None,
    ) -> None:
        named = {} if scheme is None else {"scheme": scheme}
        self.configuration = Configuration.from_mapping({**(weight_init_config or {}), **named})
        require_finite("input_data_mean", input_data_mean)
        require_finite("input_data_var", input_data_var, least=0.0)
        if not (math.isfinite(signal_variance) and signal_variance > 0):
            raise SettingsError(f"signal_variance must be positive. Received: {signal_variance!r}")
        self.input_data_mean = input_data_mean
        self.input_data_var = input_data_var
        self.signal_variance = float(signal_variance)
        self.registry = RULES.overridden(as_rules(custom_distribution_estimators))

    def initialize_model(
        self,
        model: Any,
        return_estimates: bool = False,
        custom_objects: dict[str, Any] | None = None,
        in_place: bool = False,
    ) -> Any:
        """A copy of a model with AutoInit's weights, or the model itself with them.

        Kernels of weighted layers are drawn anew, and their initialisers recorded in the layers'
        configuration; everything else keeps its values. The model passed in is left as it was.

        Args:
            model: a `keras.Model` with a graph, a configuration dictionary (`get_config()` or a
                decoded `to_json()`) or a JSON string.
            return_estimates: also return the analytic moments.
            custom_objects: classes that a configuration needs, by name.
            in_place: work on the model passed in, a `keras.Model`, and return it. Less than half of
                the time and of the memory; its optimizer keeps what it has.

        Returns:
            The new model, compiled like the old one; with `return_estimates` a pair of it and
            `{layer_name: (mean, variance)}`, after the layer's activation.

        Raises:
            GraphError: for a model without a graph of layers.
            UnsupportedLayerError: for a layer without a rule, if that is to be an error.
            TypeError: for a configuration that is to be worked on in place.
        """
        source = as_model(model, custom_objects)
        if in_place and source is not model:
            raise TypeError(
                "Only a keras.Model can be worked on in place. "
                f"Received type: {type(model).__name__}"
            )
        clone = source if in_place else clone_with_weights(source, self.registry, custom_objects)
        config = self.configuration
        # A model that was just made from a configuration has no weights worth keeping.
        scheme = SCHEMES[config.scheme]
        propagation = self._plan(
            clone, config.training, config.keep_frozen and source is model, scheme
        )
        if config.calibrate:
            scheme = replace(scheme, calibrated=not scheme.own)
        moments = self.input_data_mean, self.input_data_var
        draw(
            scheme,
            propagation.graph,
            propagation.scales,
            config.distribution,
            config.seed,
            fed=Fed(*moments, seed=config.seed or 0, training=config.training),
            target=self.signal_variance,
            constrain=config.constrain_weights,
        )
        return (clone, propagation.estimates()) if return_estimates else clone

    def plan(self, model: Any, training: bool = True) -> Propagation:
        """The analytic pass alone, which changes nothing: signals and the kernels' scales."""
        return self._plan(model, training, self.configuration.keep_frozen)

    def _plan(
        self,
        model: Any,
        training: bool = True,
        keep_frozen: bool = False,
        scheme: Scheme | None = None,
    ) -> Propagation:
        config = self.configuration
        graph = read_model(model, config.unknown_size, registry=self.registry, training=training)
        if scheme is not None:
            prepare(scheme, graph)
        options = Options(
            training=training,
            signal_variance=self.signal_variance,
            centered=config.constrain_weights,
            keep_frozen=keep_frozen,
            zero_kernels=config.zero_kernels,
            seed=config.seed or 0,
            batch=config.batch_size,
            samples=int(config.recurrent_monte_carlo_samples),
            unsupported=config.unsupported,
            config=config.as_dict(),
            backward=scheme is not None and scheme.backward,
        )
        signals = input_signals(
            graph, self.input_data_mean, self.input_data_var, config.signal_model
        )
        return plan(graph, signals, options, self.registry)
