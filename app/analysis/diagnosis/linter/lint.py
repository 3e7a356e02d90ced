"""The linter: what configuration, values and training settings show, with nothing run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from app.analysis.diagnosis.fault import Fault, found_by
from app.analysis.diagnosis.linter.architecture import Architecture, Entry, architecture_of
from app.analysis.diagnosis.linter.compiled.losses import output_faults
from app.analysis.diagnosis.linter.compiled.optimizers import (
    adaptive_rate,
    optimizer_of,
    settings_of_steps,
)
from app.analysis.diagnosis.linter.compiled.targets import losses_without_targets
from app.analysis.diagnosis.linter.constraints import small_norms
from app.analysis.diagnosis.linter.copies import equal_kernels, symmetric_units
from app.analysis.diagnosis.linter.normalizations import of_normalizations
from app.analysis.diagnosis.linter.regularizers import strong_regularizers
from app.analysis.diagnosis.linter.scales import (
    kernels_with_a_mean,
    selu_without_lecun,
    unfit_scales,
)
from app.analysis.diagnosis.linter.structure import structural
from app.analysis.diagnosis.linter.training import is_trained
from app.analysis.diagnosis.linter.zeros import zero_faults
from autoinit.arrays import as_array

_BORNE_IN_TRAINING = frozenset({"nothing_trainable", "regularizer", "constraint"})
_OF_KERNELS = (
    zero_faults,
    symmetric_units,
    equal_kernels,
    unfit_scales,
    kernels_with_a_mean,
    selu_without_lecun,
)


def initial(architecture: Architecture) -> Iterator[Fault]:
    """All faults of the kernels that a training would start from."""
    yield from found_by(_OF_KERNELS, architecture)


@dataclass(frozen=True)
class Linted:
    """What the configuration and the values show, before anything is run.

    Attributes:
        architecture: the steps, with the values as they were.
        faults: of the file.
        trained: whether the values were trained.
        compiled: the stored compile settings.
    """

    architecture: Architecture
    faults: tuple[Fault, ...]
    trained: bool
    compiled: Mapping[str, Any] | None = None


def lint(
    entry: Entry,
    keras_version: int = 3,
    compiled: Mapping[str, Any] | None = None,
    weights: Mapping[str, Mapping[str, Any]] | None = None,
) -> Linted:
    """The linter: nothing is run.

    Args:
        entry: `class_name` and `config` of a model.
        keras_version: 2 or 3.
        compiled: the stored compile settings.
        weights: each layer's variables by the layer's path; without them, initializers count.
    """
    known = weights or {}
    architecture = architecture_of(entry, keras_version, lambda path: known.get(path, {}))
    try:
        trained = is_trained(architecture)
    except Exception:  # as in `found_by`
        trained = False
    faults = [
        *structural(architecture),
        *of_normalizations(architecture),
        *found_by(
            (output_faults, losses_without_targets, strong_regularizers), architecture, compiled
        ),
        *found_by((small_norms,), architecture),
    ]
    if trained:  # what is frozen then has been, and what holds kernels was borne
        faults = [f for f in faults if f.code not in _BORNE_IN_TRAINING]
    # Kernels that were trained are no start any more: only zeros and copies are told of them.
    faults += [
        fault
        for fault in initial(architecture)
        if not trained or fault.code not in ("init_vs_activation", "kernel_mean", "zero_on_purpose")
    ]
    optimizer = optimizer_of(compiled)
    if optimizer is not None and not trained:
        rules = adaptive_rate, settings_of_steps
        faults += found_by(rules, architecture, optimizer)
    return Linted(architecture, tuple(faults), trained, compiled)


def lint_model(
    model: Any,
    entry: Entry | None = None,
    keras_version: int = 3,
    compiled: Mapping[str, Any] | None = None,
) -> Linted:
    """The linter on a model in memory, with the values that it has now.

    Args:
        model: of Keras 3.
        entry: its configuration as it stands in its file; the model's own by default.
        keras_version: of the file.
        compiled: the stored compile settings; the model's own by default.
    """
    if entry is None:
        try:
            entry = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
            if model.compiled:
                compiled = json.loads(json.dumps(model.get_compile_config()))
        except Exception:  # a layer's own get_config may raise anything: nothing is linted then
            return Linted(architecture_of({}), (), False)
    return lint(entry or {}, keras_version, compiled, values_by_path(model))


def values_by_path(model: Any) -> dict[str, dict[str, Any]]:
    """Copies of a model's variables, by the path of their layer and their name."""
    found: dict[str, dict[str, Any]] = {}
    waiting = [(layer, "") for layer in getattr(model, "layers", ())]
    while waiting:
        layer, prefix = waiting.pop()
        path = f"{prefix}{layer.name}"
        while isinstance(layer, keras.layers.TimeDistributed):
            layer = layer.layer
        if isinstance(layer, keras.Model):
            waiting += [(inner, f"{path}/") for inner in layer.layers]
            continue
        found[path] = {v.name: as_array(v).copy() for v in layer.weights}
    return found
