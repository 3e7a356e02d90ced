"""The settings of training that a file records, for the model that Keras 3 saves anew.

They are a stranger's as much as the layers are: only optimizers, losses and metrics that Keras
exports are made, by name, from plain values.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any

import keras

from autoinit.findings import Finding

_PARTS = {"loss": keras.losses, "metrics": keras.metrics, "weighted_metrics": keras.metrics}

# Classes of Keras 2 that hold a function of Keras's by name.
_WRAPPERS = ("LossFunctionWrapper", "MeanMetricWrapper", "SumOverBatchSizeMetricWrapper")
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
    except _UnknownError as error:
        return (_dropped(str(error)),)
    except Exception:  # constructors of losses, metrics and optimizers run here
        return (_dropped("Keras 3 does not take them as they were recorded"),)
    return ()


def _optimizer(recorded: Any) -> Any:
    if not isinstance(recorded, dict):
        return recorded if isinstance(recorded, str) else "rmsprop"
    kind = _exported(keras.optimizers, recorded.get("class_name"), keras.optimizers.Optimizer)
    config = dict(recorded.get("config") or {})
    if isinstance(config.get("inner_optimizer"), dict):
        return kind(_optimizer(config["inner_optimizer"]))
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
            config = dict(recorded.get("config") or {})
            return _made(*_of_function(module, recorded["class_name"], config, base), config)
    if isinstance(recorded, (list, tuple)):
        return [_parts(part, module) for part in recorded]
    if recorded is None or recorded in _RESOLVED_LATER:
        return recorded
    if isinstance(recorded, str):
        with contextlib.suppress(ValueError):
            module.get(recorded)
            return recorded
    raise _UnknownError(f"{str(recorded)[:60]!r} names no part of Keras")


def _of_function(module: Any, name: Any, config: dict[str, Any], base: type) -> tuple[Any, str]:
    """The class of a loss or metric, and what it is called; of a function's, if it wraps one."""
    function = config.pop("fn", None)
    if isinstance(function, dict):
        function = function.get("config")
    if name not in _WRAPPERS:
        return _exported(module, name, base), str(name)
    for found in vars(module).values():
        is_one = isinstance(found, type) and issubclass(found, base)
        if is_one and found.__name__.lower() == str(function).replace("_", ""):
            return found, found.__name__
    raise _UnknownError(f"{str(function)[:60]!r}, which {name} holds, is not part of Keras")


def _made(kind: Any, name: str, config: dict[str, Any]) -> Any:
    """A loss or metric of Keras 3, by arguments that Keras 2 recorded."""
    config.pop("dtype", None)
    if config.get("reduction") == "auto":
        config["reduction"] = "sum_over_batch_size"
    known = inspect.signature(kind).parameters
    unknown = [each for each in config if each not in known and config[each] is not None]
    if unknown:
        raise _UnknownError(f"{name} has no argument {unknown[0][:60]!r} in Keras 3")
    arguments = {each: value for each, value in _plain(config).items() if each in known}
    try:
        return kind(**arguments)
    except Exception as error:  # its own check of what it is given
        given = ", ".join(map(str, arguments))[:100]
        raise _UnknownError(f"Keras 3 does not take the recorded {given} of {name}") from error


def _exported(module: Any, name: Any, base: type) -> Any:
    # As Keras 2.11 and later recorded optimizers, its own as well.
    name = name.removeprefix("Custom>") if isinstance(name, str) else ""
    found = getattr(module, name, None)
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
        "compile_dropped",
        "",
        "",
        f"The compile settings could not be carried over into the .keras file for Keras 3 "
        f"({detail}): compile the model yourself.",
    )
