"""What a model file says, read as data: no Keras, nothing run, nothing beyond the budgets."""

from __future__ import annotations

import contextlib
import json
import math
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import h5py
from h5py import h5a, h5g

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read.archives import Archive, open_archive
from autoinit.model_files.read.bundles import is_legacy
from autoinit.model_files.read.hdf5 import quoted, refusing_damage, texts_of
from autoinit.model_files.read.hdf5_texts import TextsTooLongError
from autoinit.model_files.read.json_text import parse
from autoinit.model_files.read.keras1 import translated
from autoinit.model_files.read.signatures import (
    SAVE_WHOLE,
    START_BYTES,
    archive_seems_to_be,
    seems_to_be,
)
from autoinit.model_files.read.tensorflow_files import keras_config
from autoinit.model_files.read.version_detection import keras_of

_ZIP, _EMPTY_ZIP, _HDF5 = b"PK\x03\x04", b"PK\x05\x06", b"\x89HDF\r\n\x1a\n"
_JSON = re.compile(rb'\s*[{"]')
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


@dataclass(frozen=True)
class FileRecord:
    """A model file before anything is made of it.

    Attributes:
        path: of the file.
        name: what errors call it.
        format: `keras`, `h5` or `json`.
        keras_version: of the Keras that wrote it, or an empty string.
        keras: 2 or 3, the Keras that rebuilds it.
        config_text: the configuration's JSON, exactly as in the file.
        config: the same, parsed; of Keras 1 as Keras 2 would have written it.
        compile_settings: as recorded: a `compile_config` or a `training_config`, or None.
        has_weights: whether weights came with it.
        of_keras1: whether `config` is a translation.
        weights: a file of its own that holds the weights, where they came apart.
    """

    path: Path
    name: str
    format: str
    keras_version: str
    keras: int
    config_text: str
    config: dict[str, Any]
    compile_settings: dict[str, Any] | None
    has_weights: bool
    of_keras1: bool = False
    weights: Path | None = None

    @property
    def weights_format(self) -> str:
        """How the weights are stored: as in a `.keras`, an `.h5` or a `.weights.h5` file."""
        if self.weights is None:
            return self.format
        return "h5" if is_legacy(self.weights, self.name) else "weights"


def read_model_file(
    path: Path, name: str, budgets: Budgets, weights: Path | None = None
) -> FileRecord:
    """Read what a `.keras`, `.h5`/`.hdf5` or JSON file says; its extension does not matter.

    Args:
        path: of the file.
        name: what errors call it.
        budgets: the limits.
        weights: a file of weights alone that goes with it.

    Raises:
        ModelFileError: with a code and one sentence, for whatever is no whole Keras model.
    """
    if weights is not None:
        record = read_model_file(path, name, budgets)
        return replace(record, weights=weights, has_weights=True)
    start = _start(path, name, budgets)
    if start.startswith((_ZIP, _EMPTY_ZIP)):
        return _read_archive(path, name, budgets)
    if start.startswith(_HDF5):
        return _read_hdf5(path, name, budgets)
    if _JSON.match(_transcoded(start)):
        return _read_json(path, name, budgets)
    what, advice = seems_to_be(start)
    raise ModelFileError(
        "not_a_model_file",
        f"{quoted(name)} seems to be {what}, not a Keras model. {advice}"
        if what
        else f"{quoted(name)} is neither a .keras archive, nor an HDF5 file, nor JSON. {advice}",
    )


def _start(path: Path, name: str, budgets: Budgets) -> bytes:
    try:
        # A pipe would never open.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelFileError("unreadable_file", f"{quoted(name)} is not a file.")
        with path.open("rb") as file:
            size, start = path.stat().st_size, file.read(START_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelFileError("file_not_found", f"There is no file {quoted(name)}.") from error
    except (OSError, ValueError) as error:  # a name may hold what no path can
        detail = getattr(error, "strerror", None) or "its name is no path"
        raise ModelFileError(
            "unreadable_file", f"File {quoted(name)} cannot be read: {detail}."
        ) from error
    if not start:
        raise ModelFileError("empty_file", f"File {quoted(name)} is empty. {SAVE_WHOLE}")
    budgets.require("file_bytes", size, f"File {quoted(name)}")
    return start


def _read_archive(path: Path, name: str, budgets: Budgets) -> FileRecord:
    with open_archive(path, name, budgets) as archive:
        if _CONFIG not in archive.names:
            what, advice = archive_seems_to_be(archive.names)
            raise ModelFileError(
                "not_a_model_file" if what else "no_model_config",
                f"{quoted(name)} seems to be {what}, not a Keras model. {advice}"
                if what
                else f"Archive {quoted(name)} holds no {_CONFIG}: it is not a whole Keras model. "
                f"{advice}",
            )
        others = [m for m in archive.names if m.startswith("model.weights.") and m != _WEIGHTS]
        if others:
            raise ModelFileError(
                "unsafe_archive",
                f"The archive {quoted(name)} holds its weights as {quoted(others[0])}: only "
                f"{_WEIGHTS} is read. {SAVE_WHOLE}",
            )
        text = _member_text(archive, _CONFIG, name)
        metadata = _parsed_metadata(archive, name, budgets)
        has_weights = _WEIGHTS in archive.names
    config = _model_config(parse(text, _subject(name), budgets), name)
    return _record(
        path,
        name,
        "keras",
        str(metadata.get("keras_version", "")),
        text,
        config,
        config.get("compile_config"),
        has_weights,
    )


def _member_text(archive: Archive, member: str, name: str) -> str:
    return _decoded(archive.read(member), f"{member} in {quoted(name)}")


def _parsed_metadata(archive: Archive, name: str, budgets: Budgets) -> dict[str, Any]:
    if _METADATA not in archive.names:
        return {}
    text = _member_text(archive, _METADATA, name)
    metadata = parse(text, f"{_METADATA} in {quoted(name)}", budgets)
    return metadata if isinstance(metadata, dict) else {}


def _read_hdf5(path: Path, name: str, budgets: Budgets) -> FileRecord:
    with refusing_damage(name), h5py.File(path, "r") as file:
        root = h5g.open(file.id, b"/")
        content = _attribute(root, "model_config", name, budgets)
        if content is None:
            _refuse_without_config(root, name)
        version = _attribute(root, "keras_version", name, budgets) or b""
        training = None  # an analysis does without, whatever is in its place
        with contextlib.suppress(ModelFileError):
            training = _attribute(root, "training_config", name, budgets)
        has_weights = _has(root, "model_weights") or h5a.exists(root, b"layer_names")
    text = _decoded(content, _subject(name))
    config = _model_config(parse(text, _subject(name), budgets), name)
    return _record(
        path,
        name,
        "h5",
        version.decode("utf-8", "replace"),
        text,
        config,
        _training_settings(training, budgets),
        has_weights,
    )


def _attribute(root: Any, attribute: str, name: str, budgets: Budgets) -> bytes | None:
    """The text in an attribute of one string; None where there is none.

    Only strings are read, for a reference or an object could be anything.
    """
    what = f"The attribute {quoted(attribute)} of {quoted(name)}"
    try:
        texts = texts_of(root, attribute, budgets.config_bytes)
    except TextsTooLongError:
        budgets.require("config_bytes", math.inf, what)
        raise
    except TypeError as error:
        raise ModelFileError("bad_configuration", f"{what} is not a text.") from error
    if texts is not None and len(texts) != 1:
        raise ModelFileError("bad_configuration", f"{what} is not a text.")
    return texts[0] if texts else None


def _refuse_without_config(root: Any, name: str) -> NoReturn:
    weights = h5a.exists(root, b"layer_names") or any(
        _has(root, group) for group in ("layers", "_layer_checkpoint_dependencies", "model_weights")
    )
    if weights:
        raise ModelFileError(
            "no_model_config",
            f"HDF5 file {quoted(name)} holds weights only, no model configuration: give its "
            "architecture (model.json, of model.to_json()) together with it; or build the model in "
            "Python, load these weights into it, and save the whole of it with "
            "model.save('model.keras').",
        )
    raise ModelFileError(
        "no_model_config", f"HDF5 file {quoted(name)} holds no Keras model. {SAVE_WHOLE}"
    )


def _has(root: Any, member: str) -> bool:
    """Whether a group has a member; no link is followed for it."""
    return bool(root.links.exists(member.encode()))


def _training_settings(content: bytes | None, budgets: Budgets) -> dict[str, Any] | None:
    """The settings of training, which an analysis can do without."""
    if content is None:
        return None
    try:
        settings = parse(content.decode("utf-8", "replace"), "The training settings", budgets)
    except ModelFileError:
        return None
    return settings if isinstance(settings, dict) else None


def _read_json(path: Path, name: str, budgets: Budgets) -> FileRecord:
    budgets.require("config_bytes", path.stat().st_size, _subject(name))
    text = _decoded(path.read_bytes(), _subject(name))
    value = parse(text, _subject(name), budgets)
    if isinstance(value, str):  # a to_json() string that was itself dumped as JSON
        text = value
        value = parse(text, _subject(name), budgets)
    browser = value.get("modelTopology") if isinstance(value, dict) else None
    if isinstance(browser, dict) and ("model_config" in browser or "class_name" in browser):
        value = keras_config(browser)
        text = json.dumps(value)
    if isinstance(value, dict) and "class_name" not in value:
        _refuse_other_json(value, name)
    config = _model_config(value, name)
    version = config.get("keras_version", "")
    return _record(
        path, name, "json", str(version), text, config, config.get("compile_config"), False
    )


def _refuse_other_json(value: dict[str, Any], name: str) -> NoReturn:
    advice = "Write it with model.to_json()."
    if "modelTopology" in value:
        what = "is a TensorFlow.js model without the layers that it was made of"
        advice = "Use the Keras model that it was made from."
    elif "cells" in value and "nbformat" in value:
        what = "is a notebook"
        advice = "Run it, and save its model with model.save('model.keras')."
    elif "layers" in value:
        what = "is the result of get_config(), which does not say which model's it is"
    else:
        what = "is no Keras model: it has no 'class_name'"
    raise ModelFileError("no_model_config", f"JSON file {quoted(name)} {what}. {advice}")


def _record(
    path: Path,
    name: str,
    format: str,
    version: str,
    text: str,
    config: dict[str, Any],
    settings: Any,
    has_weights: bool,
) -> FileRecord:
    version = version if re.fullmatch(r"[\w.+-]{1,40}", version) else ""
    keras = keras_of(version, config)
    return FileRecord(
        path,
        name,
        format,
        version,
        max(keras, 2),
        text,
        _of_keras1(config, name) if keras == 1 else config,
        settings if isinstance(settings, dict) else None,
        has_weights,
        keras == 1,
    )


def _of_keras1(config: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        return translated(config)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelFileError(
            "bad_configuration", f"{_subject(name)} is not written as Keras 1 wrote it."
        ) from error


def _model_config(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("class_name"), str):
        return value
    raise ModelFileError(
        "no_model_config",
        f"The configuration in {quoted(name)} is not a Keras model's: it has no 'class_name'. "
        f"{SAVE_WHOLE}",
    )


def _decoded(content: bytes, what: str) -> str:
    try:
        return content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        raise ModelFileError(
            "broken_file",
            f"{what} is not text ({error.reason} at byte {error.start:,}): the file is damaged. "
            "Copy it again.",
        ) from error


def _transcoded(start: bytes) -> bytes:
    """The beginning of a text in any of Unicode's encodings, as ASCII where it is."""
    text = start.decode(json.detect_encoding(start), "ignore")
    return text.encode("ascii", "replace")


def _subject(name: str) -> str:
    return f"The configuration in {quoted(name)}"
