"""From a file to a model: tell its format by its bytes, read its records, let Keras rebuild it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras

from autoinit.errors import ModelFileError

_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
_SAVE_WHOLE = "Save the whole model with model.save('model.keras')."


@dataclass(frozen=True)
class ModelFile:
    """A model and what its file says of it.

    Attributes:
        model: rebuilt, not compiled.
        format: `keras`, `h5` or `json`.
        keras_version: of the Keras that wrote it, or an empty string.
        sha256: of the file's bytes.
        has_weights: whether weights came with it.
        compile_settings: as recorded: a `compile_config` or a `training_config`, or None.
    """

    model: Any
    format: str
    keras_version: str
    sha256: str
    has_weights: bool
    compile_settings: dict[str, Any] | None


@dataclass(frozen=True)
class _Record:
    """What a file says before anything is rebuilt from it."""

    format: str
    keras_version: str
    compile_settings: dict[str, Any] | None
    config: dict[str, Any] | None = None


def open_model_file(
    path: str | Path, custom_objects: Mapping[str, Any] | None = None, name: str | None = None
) -> ModelFile:
    """Rebuild the model of a `.keras`, `.h5`/`.hdf5` or JSON file; its extension does not matter.

    Args:
        path: of the file.
        custom_objects: classes and functions that the model needs, by name. Nothing in the file
            itself can make code run.
        name: what errors call the file; its name on disk by default.

    Raises:
        ModelFileError: with a code and one sentence, for a file that is no model or that Keras
            cannot rebuild.
    """
    path = Path(path)
    record = _record(path, name or path.name)
    try:
        with keras.saving.custom_object_scope(dict(custom_objects or {})):
            model = _rebuild(path, record)
    except RecursionError as error:
        raise ModelFileError(
            "too_deep",
            "The model is nested or chained so deeply that Keras cannot rebuild it in this "
            "process; the command line's and the dashboard's workers have the room for it.",
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # Keras raises anything while it rebuilds
        raise _refusal(error, record) from error
    if not isinstance(model, keras.Model):
        raise ModelFileError(
            "not_a_model",
            f"The file holds a {type(model).__name__}, not a model. {_SAVE_WHOLE}",
        )
    return ModelFile(
        model, record.format, record.keras_version, _sha256(path), record.format != "json",
        record.compile_settings,
    )  # fmt: skip


def _record(path: Path, name: str) -> _Record:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError as error:
        raise ModelFileError("file_not_found", f"There is no file {name!r}.") from error
    except OSError as error:
        raise ModelFileError(
            "unreadable_file", f"File {name!r} cannot be read: {error.strerror}."
        ) from error
    if not start:
        raise ModelFileError("empty_file", f"File {name!r} is empty. {_SAVE_WHOLE}")
    if start.startswith(_ZIP):
        return _keras_record(path, name)
    if start.startswith(_HDF5):
        return _h5_record(path, name)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b'"')):
        return _json_record(path, name)
    raise ModelFileError(
        "not_a_model_file",
        f"{name!r} is neither a .keras archive, nor an HDF5 file, nor JSON. {_SAVE_WHOLE}",
    )


def _keras_record(path: Path, name: str) -> _Record:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "config.json" not in names:
                raise ModelFileError(
                    "no_model_config",
                    f"Archive {name!r} holds no config.json: it is not a whole Keras model. "
                    f"{_SAVE_WHOLE}",
                )
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise _broken(name, error) from error
    settings = config.get("compile_config") if isinstance(config, dict) else None
    version = metadata.get("keras_version", "") if isinstance(metadata, dict) else ""
    return _Record("keras", str(version), settings)


def _h5_record(path: Path, name: str) -> _Record:
    try:
        with h5py.File(path, "r") as file:
            version = _text(file.attrs.get("keras_version", ""))
            config = file.attrs.get("model_config")
            training = file.attrs.get("training_config")
    except OSError as error:
        raise _broken(name, error) from error
    if config is None:
        raise ModelFileError(
            "no_model_config",
            f"HDF5 file {name!r} holds weights only, no model configuration. {_SAVE_WHOLE}",
        )
    try:
        settings = json.loads(_text(training)) if training is not None else None
    except ValueError:
        settings = None
    return _Record("h5", version, settings)


def _json_record(path: Path, name: str) -> _Record:
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(config, str):  # a to_json() string that was itself dumped as JSON
            config = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise _broken(name, error) from error
    if not isinstance(config, dict) or "class_name" not in config:
        raise ModelFileError(
            "no_model_config",
            f"JSON file {name!r} is no Keras model: it has no 'class_name'. "
            "Write it with model.to_json().",
        )
    settings = config.pop("compile_config", None)
    return _Record("json", str(config.get("keras_version", "")), settings, config)


def _rebuild(path: Path, record: _Record) -> Any:
    if record.format == "json":
        return keras.saving.deserialize_keras_object(record.config, safe_mode=True)
    suffix = ".keras" if record.format == "keras" else ".h5"
    with _named(path, suffix) as named:
        return keras.saving.load_model(named, compile=False, safe_mode=True)


@contextlib.contextmanager
def _named(path: Path, suffix: str) -> Iterator[Path]:
    """The file under a name with the right extension, which Keras goes by."""
    if path.suffix == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"model{suffix}"
        os.symlink(path.resolve(), link)
        yield link


def _refusal(error: Exception, record: _Record) -> ModelFileError:
    text = " ".join(str(error).split())
    if "lambda" in text.lower() and ("deserializ" in text or "safe" in text):
        return ModelFileError(
            "code_in_file",
            "The model holds a Lambda layer, whose code would have to be run: it is refused. "
            "Replace it by keras.ops operations or a layer of your own.",
        )
    unknown = re.search(
        r"(?:Could not (?:locate (?:class|function)|deserialize)"
        r"|Unknown (?:layer|object|function):?) '([^']+)'",
        text,
    ) or re.search(r"`([^`]+)` is a custom class", text)
    if unknown and not record.keras_version.startswith("2."):
        return ModelFileError(
            "unknown_class",
            f"The model needs {unknown.group(1)!r}, which is not part of Keras: analyse it on the "
            "command line, with --custom-objects PACKAGE.MODULE.",
        )
    if record.keras_version.startswith(("1.", "2.")):
        return ModelFileError(
            "keras2_file",
            f"The file was written by Keras {record.keras_version}, and Keras {keras.__version__} "
            "cannot rebuild it. Save it anew from Keras 3.",
        )
    detail = text[:200].rstrip(".") or type(error).__name__
    return ModelFileError("cannot_rebuild", f"Keras cannot rebuild this model: {detail}.")


def _broken(name: str, error: Exception) -> ModelFileError:
    detail = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return ModelFileError(
        "broken_file", f"File {name!r} is damaged or cut short ({detail}). Copy it again."
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
