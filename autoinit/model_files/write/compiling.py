"""The settings of training that a file records, for the model that Keras 3 saves anew.

They are a stranger's as much as the layers are: only optimizers, losses and metrics that Keras
exports are made, by name, from plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from autoinit.findings import Finding

_PARTS = {"loss": keras.losses, "metrics": keras.metrics, "weighted_metrics": keras.metrics}


# Names whose meaning depends on the shape of the outputs.
_RESOLVED_LATER = ("accuracy", "acc", "crossentropy", "ce")


class _UnknownError(Exception):
    """A part that is not Keras's own."""


def compile_as_recorded(model: Any, settings: Mapping[str, Any] | None) -> tuple[Finding, ...]:
    """Compile a rebuilt model as its file records it.

    Args:
        model: of Keras 3.
        settings: a `compile_config` or a `training_config` of either Keras, or None.

    Returns:
        A finding where the settings cannot be made again: the model is then left uncompiled.
    """
    if not settings:
        return ()
    try:
        arguments = {
            name: _parts(settings[name], module)
            for name, module in _PARTS.items()
            if settings.get(name) is not None
        }
        if settings.get("loss_weights") is not None:
            arguments["loss_weights"] = _plain(settings["loss_weights"])
        optimizer = settings.get("optimizer_config", settings.get("optimizer"))
        model.compile(optimizer=_optimizer(optimizer), **arguments)
        # Keras warns about a saved optimizer without variables.
        model.optimizer.build(model.trainable_variables)
    except Exception as error:  # constructors of losses, metrics and optimizers run here
        detail = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
        return (_dropped(detail),)
    return ()


def _optimizer(recorded: Any) -> Any:
    if not isinstance(recorded, dict):
        return recorded if isinstance(recorded, str) else "rmsprop"
    kind = _exported(keras.optimizers, recorded.get("class_name"), keras.optimizers.Optimizer)
    config = dict(recorded.get("config") or {})
    # Keras 2 had arguments that Keras 3 has not.
    known = kind().get_config()
    rate = config.get("learning_rate", config.get("lr"))
    if isinstance(rate, dict):
        schedules = keras.optimizers.schedules
        schedule = _exported(schedules, rate.get("class_name"), schedules.LearningRateSchedule)
        config["learning_rate"] = schedule.from_config(_plain(rate.get("config")))
    elif rate is not None:
        config["learning_rate"] = _plain(rate)
    schedule = config.pop("learning_rate", None)
    arguments = {name: _plain(value) for name, value in config.items() if name in known}
    if schedule is not None:
        arguments["learning_rate"] = schedule
    return kind(**arguments)


def _parts(recorded: Any, module: Any) -> Any:
    if isinstance(recorded, dict):
        if "class_name" not in recorded:
            return {name: _parts(part, module) for name, part in recorded.items()}
        if recorded["class_name"] == "function":
            recorded = recorded.get("config")
        else:
            base = keras.losses.Loss if module is keras.losses else keras.metrics.Metric
            kind = _exported(module, recorded["class_name"], base)
            config = _plain(recorded.get("config") or {})
            for argument in ("fn", "dtype"):
                config.pop(argument, None)
            return kind(**config)
    if isinstance(recorded, (list, tuple)):
        return [_parts(part, module) for part in recorded]
    if recorded is None or recorded in _RESOLVED_LATER:
        return recorded
    if isinstance(recorded, str):
        module.get(recorded)  # raises for a name that is not Keras's
        return recorded
    raise _UnknownError(f"{recorded!r} names no part of Keras")


def _exported(module: Any, name: Any, base: type) -> Any:
    found = getattr(module, name, None) if isinstance(name, str) else None
    if isinstance(found, type) and issubclass(found, base):
        return found
    raise _UnknownError(f"{str(name)[:60]!r} is not part of Keras")


def _plain(value: Any) -> Any:
    """Numbers, text and lists of these, as they are; nothing that Keras would make objects of."""
    if isinstance(value, dict):
        if "class_name" in value:
            raise _UnknownError(f"{str(value['class_name'])[:60]!r} is not carried over")
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


def _dropped(detail: str) -> Finding:
    return Finding(
        "compile_dropped", "", "",
        f"The compile settings could not be carried over into the .keras file for Keras 3 "
        f"({detail}): compile the model yourself.",
    )  # fmt: skip
