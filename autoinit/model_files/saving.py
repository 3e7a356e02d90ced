"""From a model to a file that the plain loader opens, compiled as its source was."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from autoinit.model_files.opening import ModelFile
from autoinit.report import Finding


def compile_as_recorded(model: Any, file: ModelFile) -> tuple[Finding, ...]:
    """Compile a rebuilt model with the settings that its file records.

    Returns:
        A finding where they cannot be made again: the model is then left uncompiled.
    """
    settings = file.compile_settings
    if not settings:
        return ()
    try:
        if file.format == "h5":
            model.compile(**_from_training_config(settings))
            # As `compile_from_config` does: Keras warns about a saved optimizer without variables.
            model.optimizer.build(model.trainable_variables)
        else:
            model.compile_from_config(settings)
    except Exception as error:  # losses and metrics of any origin are made here
        return (_dropped(error),)
    if not model.compiled:
        return (_dropped(ValueError("the configuration is incomplete")),)
    return ()


def _from_training_config(settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `compile` from the `training_config` of an HDF5 file.

    Keras's own reader of these turns the string "mse" into a configuration that it then refuses;
    strings are handed to `compile` as they are.
    """
    arguments = {
        name: settings.get(name)
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly")
        if settings.get(name) is not None
    }
    for name, module in (
        ("loss", keras.losses), ("metrics", keras.metrics), ("weighted_metrics", keras.metrics),
    ):  # fmt: skip
        if name in arguments:
            arguments[name] = _deserialize_nested(arguments[name], module)
    if "optimizer_config" in settings:
        arguments["optimizer"] = keras.optimizers.deserialize(settings["optimizer_config"])
    return arguments


def _deserialize_nested(value: Any, module: Any) -> Any:
    if isinstance(value, dict):
        if "class_name" in value:
            return module.deserialize(value)
        return {name: _deserialize_nested(part, module) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_deserialize_nested(part, module) for part in value]
    return value


def save_model_file(model: Any, path: str | Path) -> tuple[Finding, ...]:
    """Write a model as `.keras` or `.h5`, by the path's extension, so that it opens again.

    Returns:
        A finding where the compile settings had to be left out of an HDF5 file.
    """
    path = Path(path)
    if path.suffix == ".keras":
        model.save(path)
        return ()
    findings: tuple[Finding, ...] = ()
    with _without_advice():
        error = _trouble_with_h5(model) if model.compiled else None
        if error is not None:
            findings = (_dropped(error),)
        original = dict(model._compile_config.config) if model.compiled else None
        if original is not None and error is None:
            # Keras 3 cannot read back a string such as "mse" from HDF5, but the object it names.
            model._compile_config.config = _by_objects(original)
        try:
            model.save(path, include_optimizer=model.compiled and error is None)
        finally:
            if original is not None:
                model._compile_config.config = original
    return findings


def _trouble_with_h5(model: Any) -> Exception | None:
    """Save and load a tiny model with the same settings: what the reader will say of them."""
    tiny = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    try:
        settings = _by_objects(dict(model._compile_config.config))
        settings.pop("optimizer", None)
        optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
        tiny.compile(optimizer=optimizer, **settings)
        with tempfile.TemporaryDirectory() as folder:
            tiny.save(Path(folder) / "tiny.h5")
            keras.saving.load_model(Path(folder) / "tiny.h5")
    except Exception as error:
        return error
    return None


def _by_objects(settings: dict[str, Any]) -> dict[str, Any]:
    changed = dict(settings)
    for name, module in (
        ("loss", keras.losses), ("metrics", keras.metrics), ("weighted_metrics", keras.metrics),
    ):  # fmt: skip
        changed[name] = _objects(settings.get(name), module)
    return changed


def _objects(value: Any, module: Any) -> Any:
    """`"mse"` → `MeanSquaredError()`; strings that name no class stay, as "accuracy" does."""
    if isinstance(value, dict):
        return {name: _objects(part, module) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_objects(part, module) for part in value]
    if not isinstance(value, str) or value in ("accuracy", "acc", "crossentropy", "ce"):
        return value
    try:
        found = module.get(value)
    except ValueError:
        return value
    if isinstance(found, (keras.losses.Loss, keras.metrics.Metric)):
        kind: Any = type(found)
    else:
        camel = "".join(part.capitalize() for part in found.__name__.split("_"))
        kind = getattr(module, camel, None)
    # The name is what training reports the figure under.
    return kind(name=value) if isinstance(kind, type) else value


def _dropped(error: Exception) -> Finding:
    detail = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
    return Finding(
        "compile_dropped", "", "",
        f"The compile settings could not be carried over ({detail}): compile the model yourself.",
    )  # fmt: skip


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Keras warns through absl that HDF5 is a legacy format, which the user has chosen."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
