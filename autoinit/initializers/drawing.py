"""Drawing weights: by AutoInit's plans, or afresh by a model's own initialisers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from autoinit.arrays import as_array
from autoinit.constraints import CenteredUnitNorm
from autoinit.findings import Finding
from autoinit.graph.frozen import own_weights
from autoinit.graph.keras_internals import HELD_WEIGHTS
from autoinit.graph.model_graph import ModelGraph, Parameter, weights_of
from autoinit.initializers.distributions import make_initializer
from autoinit.randomness import derived, python_seed
from autoinit.rules.registry import KernelScale


def apply_plans(
    plans: Sequence[KernelScale], distribution: str, seed: int | None, *, constrain: bool = False
) -> None:
    """Draw the planned kernels and record their initialisers (and constraints) in their layers.

    Args:
        plans: which kernels, at which scale.
        distribution: a key of `DISTRIBUTIONS`.
        seed: of all draws; None draws anew each time, and so does the recorded configuration.
        constrain: attach `CenteredUnitNorm`, and draw kernels that satisfy it.
    """
    for index, plan in enumerate(plans):
        kernel, variable = plan.kernel, plan.kernel.variable
        chosen = None if seed is None else derived(seed, index)
        if kernel.constant:
            variable.assign(np.full(kernel.shape, plan.standard_deviation))
            continue
        initializer = _recorded(plan, distribution, chosen)
        values = initializer(kernel.shape, dtype=variable.dtype)
        mask = getattr(variable, "pruning_mask", None)
        if mask is not None and mask.any():  # what is left of the fan-in
            values = values * (mask / np.sqrt(np.mean(mask)))
        if constrain and kernel.fan_in > 1:
            constraint = CenteredUnitNorm(plan.standard_deviation, kernel.fan_in_axes)
            _configure(kernel.layer, f"{kernel.configured}_constraint", constraint)
            variable.constraint = constraint
            values = constraint(values)
        variable.assign(values)


def record_plans(plans: Sequence[KernelScale], distribution: str, seed: int | None) -> None:
    """Record the initialisers of kernels whose values stay; arguments as for `apply_plans`."""
    for index, plan in enumerate(plans):
        if not plan.kernel.constant:
            _recorded(plan, distribution, None if seed is None else derived(seed, index))


def _recorded(plan: KernelScale, distribution: str, seed: int | None) -> Any:
    """The initialiser of a planned kernel, which its layer has from now on."""
    initializer = make_initializer(distribution, plan.standard_deviation, plan.kernel.shape, seed)
    _configure(plan.kernel.layer, f"{plan.kernel.configured}_initializer", initializer)
    return initializer


def _configure(layer: Any, name: str, value: Any) -> None:
    """Record a setting in a layer; of a parameter, in its owner if that knows such a setting."""
    owner = _owner(layer)
    if owner is layer or hasattr(owner, name):
        setattr(owner, name, value)


def _owner(layer: Any) -> Any:
    return layer.owner if isinstance(layer, Parameter) else layer


def draw_configured_weights(
    graph: ModelGraph, seed: int, kept: frozenset[int] = frozenset(), *, reseed: bool = False
) -> tuple[Finding, ...]:
    """Draw all weights of a model afresh by its layers' own initialisers.

    Statistics that layers were adapted to, and vocabularies, stay.

    Args:
        graph: of the model.
        seed: of all draws.
        kept: identities of variables that stay as they are, as `frozen_variables` gives them.
        reseed: whether initialisers with a seed of their own get another one for each layer, from
            `seed`; otherwise they draw the same weights each time.

    Returns:
        Findings for layers that could not be made again from their configuration, whose weights
        stay as they are.
    """
    findings = []
    with python_seed(seed):
        opened = {id(layer) for layer in graph.traced}
        for place, layer in enumerate(graph.layers()):
            weights = weights_of(layer)
            own_seed = derived(seed, place) if reseed else None
            # The parts of an opened layer are drawn by themselves.
            own = own_weights(layer) if id(layer) in opened else weights
            passed = isinstance(layer, (layers.Normalization, Parameter))
            if passed or all(id(w) in kept for w in own):
                continue
            drawn = {id(variable) for variable in own} - kept
            by_initializer = _initializers(layer, own_seed)
            if by_initializer is not None:
                for variable, initializer in by_initializer:
                    if id(variable) in drawn:
                        variable.assign(initializer(variable.shape, dtype=variable.dtype))
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of a layer that has no `build`
                    clone = type(layer).from_config(_reseeded(layer.get_config(), own_seed))
                    clone.build_from_config(layer.get_build_config())
                pairs = list(zip(weights, clone.weights, strict=True))
                if any(variable.shape != fresh.shape for variable, fresh in pairs):
                    raise ValueError("its configuration does not tell the shapes of its weights")
            except Exception:  # a layer's own code, which may raise anything
                findings.append(_kept(layer))
                continue
            for variable, fresh in pairs:
                if id(variable) in drawn:
                    variable.assign(fresh)
    return tuple(findings)


# Layers whose weights are what the initialisers of these names give for their shapes, no more. To
# make such a layer again takes ten times as long as to draw its weights.
_PLAIN = (
    layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Conv1DTranspose,
    layers.Conv2DTranspose, layers.Conv3DTranspose, layers.DepthwiseConv1D, layers.DepthwiseConv2D,
    layers.Embedding, layers.BatchNormalization, layers.LayerNormalization,
    layers.GroupNormalization,
)  # fmt: skip
_WEIGHTS = {
    **HELD_WEIGHTS, "kernel": "kernel", "bias": "bias", "gamma": "gamma", "beta": "beta",
    "moving_mean": "moving_mean", "moving_variance": "moving_variance",
}  # fmt: skip


def _initializers(layer: Any, seed: int | None = None) -> list[tuple[Any, Any]] | None:
    """A plain layer's variables and their initialisers, each made anew; None for other layers."""
    if type(layer) not in _PLAIN:
        return None
    held = {id(getattr(layer, attribute, None)): name for attribute, name in _WEIGHTS.items()}
    pairs = []
    for variable in layer.weights:
        name = held.get(id(variable), "")
        if name == "kernel" and hasattr(layer, "depthwise_initializer"):
            name = "depthwise"
        initializer = getattr(layer, f"{name}_initializer", None)
        if not isinstance(initializer, keras.Initializer):
            return None  # adapters and quantised kernels, or a function of a user's own
        # One without a seed takes its seed when it is made, and gives the same ever after.
        entry = {"class_name": type(initializer).__name__, "config": initializer.get_config()}
        config = _reseeded(entry, seed)["config"]
        pairs.append((variable, type(initializer).from_config(config)))
    return pairs


def _reseeded(entry: Any, seed: int | None) -> Any:
    """A layer's or an initialiser's configuration, in which initialisers have this seed if any.

    Those without a seed draw anew by themselves.
    """
    if seed is None or not isinstance(entry, (dict, list, tuple)):
        return entry
    if not isinstance(entry, dict):
        return type(entry)(_reseeded(part, seed) for part in entry)
    changed = {key: _reseeded(part, seed) for key, part in entry.items()}
    config = changed.get("config")
    is_initializer = hasattr(keras.initializers, str(entry.get("class_name")))
    if is_initializer and isinstance(config, dict) and isinstance(config.get("seed"), int):
        changed["config"] = config | {"seed": seed}
    return changed


def _kept(layer: Any) -> Finding:
    name = type(layer).__name__
    return Finding(
        "keeps_weights",
        layer.name,
        name,
        f"Layer {layer.name!r} ({name}) cannot be made again from its configuration: "
        "its weights are not drawn afresh.",
    )


Recorded = dict[tuple[int, str], tuple[Any, Any]]


def recorded_initializers(graph: ModelGraph) -> Recorded:
    """The initialisers and constraints that a graph's layers have now."""
    layers = {id(owner): owner for layer in graph.layers() for owner in (layer, _owner(layer))}
    return {
        (id(layer), name): (layer, value)
        for layer in layers.values()
        for name, value in vars(layer).items()
        if name.endswith(("_initializer", "_constraint"))
    }


def restore_initializers(recorded: Recorded) -> None:
    """Give layers back what `recorded_initializers` found."""
    for (_, name), (layer, value) in recorded.items():
        if getattr(layer, name, None) is not value:
            setattr(layer, name, value)


class SavedWeights:
    """Values of a model's variables, to be put back.

    Args:
        variables: those whose values are kept.
    """

    def __init__(self, variables: Iterable[Any]) -> None:
        self._values = [(variable, as_array(variable).copy()) for variable in variables]

    def restore(self) -> None:
        """Assign the kept values."""
        for variable, values in self._values:
            variable.assign(values)
