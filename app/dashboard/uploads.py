"""Uploaded files on disk, under names of our own: a stranger's name never becomes a path."""

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app import jobs
from app.analysis.job_spec import SAMPLE_PREFIX, JobSpec
from app.analysis.result import Result
from app.analysis.settings import Settings
from app.errors import WrongSettingError
from app.jobs import folders
from app.limits import Limits, format_bytes, variable

# Whether whoever started the server lets the page ask for a model's own code to be run.
TRUSTS = os.environ.get("AUTOINIT_TRUST") == "1"
# What goes with a model, and begins with anything: shards of TensorFlow.js, and the owner's code.
_PARTS = (".bin", *((".py",) if TRUSTS else ()))
SUFFIXES = (".keras", ".h5", ".hdf5", ".hdf", ".json", ".model", ".zip", *_PARTS)
# What is a model by itself; HDF5 is, too, unless an architecture comes with it.
_WHOLE, _HDF5 = (".keras", ".zip"), (".h5", ".hdf5", ".hdf")
_MODELS_NAMED = 4
DATA_SUFFIXES = (".npy", ".npz", ".csv")
# How the files begin that the worker reads; it says more of what is wrong with one of these kinds.
_MODELS = re.compile(rb"PK\x03\x04|PK\x05\x06|\x89HDF\r\n\x1a\n|[\xef\xbb\xbf\xfe\xff\0\s]*[{\"]")
_DATA = {
    ".npy": re.compile(rb"\x93NUMPY"),
    ".npz": re.compile(rb"PK"),
    ".csv": re.compile(rb"[^\0]"),
}
CHUNK = 4 * 1024 * 1024
START_BYTES = 4096
TOKENS_KEPT = 1000
NAME_LIMIT = 255  # as on disk; a job and its name cross to the worker on one line


@dataclass(frozen=True)
class Upload:
    """A file of a model or of data on disk, and what its owner calls it."""

    path: Path
    name: str
    size: int


def uploads_folder() -> Path:
    """The private folder of uploads, beside the jobs' folders."""
    return folders.uploads(folders.data_root())


_arrived: dict[str, Upload] = {}  # by their tokens


def token_of(upload: Upload) -> str:
    """What stands for an upload that is on disk, in the memory of Streamlit; nobody guesses it."""
    for old in list(_arrived)[: max(0, len(_arrived) - TOKENS_KEPT)]:
        _arrived.pop(old, None)
    token = secrets.token_hex(32)
    _arrived[token] = upload
    return token


def received(file: BinaryIO, name: str, suffixes: Sequence[str]) -> Upload:
    """The upload that an uploader has got: on disk already, if what it got is its token.

    Raises:
        ValueError, OSError: as `require_kind` and `store` do.
    """
    upload = _arrived.get(file.read(START_BYTES).decode("ascii", "replace"))
    file.seek(0)
    if upload is None:
        require_kind(file, name, suffixes)
        return store(file, name, suffixes)
    with upload.path.open("rb") as stored:
        require_kind(stored, upload.name, suffixes)
    return upload


def require_kind(file: BinaryIO, name: str, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Holds the beginning of an upload to what its kind of file begins with.

    Raises:
        ValueError: it is of no such kind, whatever its name ends in.
    """
    start = file.read(START_BYTES)
    file.seek(0)
    if suffixes is SUFFIXES and not name.lower().endswith(_PARTS) and not _MODELS.match(start):
        raise WrongSettingError(
            f"{name!r} is no model file: what is in it is neither a .keras archive, nor HDF5, nor "
            "JSON. Save the whole model with model.save('model.keras')."
        )
    suffix = Path(name).suffix.lower()
    if suffixes is DATA_SUFFIXES and suffix in _DATA and not _DATA[suffix].match(start):
        raise WrongSettingError(f"What is in {name!r} is no {suffix} file: save the data again.")


def store(
    file: BinaryIO, name: str, suffixes: Sequence[str] = SUFFIXES, sender: str | None = None
) -> Upload:
    """Copies an upload to disk, chunk by chunk; the same content twice is one file.

    Args:
        file: the upload.
        name: what its owner calls it.
        suffixes: that it may have: a model file's, or `DATA_SUFFIXES`.
        sender: the network address that it comes from, among whose files it counts.

    Raises:
        ValueError: the name does not end like this, or the file is too large.
        OSError: the disk is full, or the folder cannot be written.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in suffixes:
        what = "model file" if suffixes is SUFFIXES else "file of data"
        raise WrongSettingError(f"A {what} ends in {', '.join(suffixes)}; received {name!r}.")
    limits = Limits.from_environment()
    folder = uploads_folder()
    digest, size = hashlib.sha256(), 0
    descriptor, partial = tempfile.mkstemp(prefix=folders.PARTIAL_PREFIX, dir=folder)
    try:
        with open(descriptor, "wb") as copy:
            while chunk := file.read(CHUNK):
                size += len(chunk)
                if size > limits.file_bytes:
                    raise WrongSettingError(
                        f"The file has more than {format_bytes(limits.file_bytes)}, the most that "
                        f"this server takes; {variable('file_bytes')} sets the limit."
                    )
                digest.update(chunk)
                copy.write(chunk)
        path = folder / f"{digest.hexdigest()}{suffix}"
        os.replace(partial, path)
        folders.label(path, sender)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    folders.sweep(folders.data_root(), {path, *jobs.in_use()}, limits.stored_bytes)
    return Upload(path, name[-NAME_LIMIT:], size)


def together(parts: Sequence[Upload]) -> Upload:
    """One file of several that were chosen together: an architecture and its weights.

    Raises:
        ValueError: two have one name, or all of them are too large.
        OSError: the disk is full, or the folder cannot be written.
    """
    if len(parts) == 1:
        return parts[0]
    files = {Path(part.name).name: part.path for part in parts}
    if len(files) < len(parts):
        raise WrongSettingError(
            "Two of the files have the same name: choose a model and its weights."
        )
    described = any(part.name.lower().endswith(".json") for part in parts)
    whole = [
        part.name
        for part in parts
        if part.name.lower().endswith(_WHOLE if described else (*_WHOLE, *_HDF5))
        and ".weights." not in part.name.lower()
    ]
    if len(whole) > 1:
        raise WrongSettingError(
            f"These are {len(whole)} models, {', '.join(map(repr, whole[:_MODELS_NAMED]))}"
            f"{', …' if len(whole) > _MODELS_NAMED else ''}: choose one at a time. The command "
            "autoinit batch takes a folder of them."
        )
    named = next((part for part in parts if part.name.lower().endswith(".json")), parts[0])
    with tempfile.TemporaryDirectory(prefix=folders.PARTIAL_PREFIX, dir=uploads_folder()) as new:
        packed = Path(new) / "model.zip"
        folders.pack(files, packed)
        with packed.open("rb") as file:
            return store(file, f"{Path(named.name).stem[:NAME_LIMIT]}.zip")


def keep(path: Path) -> bool:
    """Keeps a file that is used again from being swept; False if it is gone."""
    try:
        folders.touch(path)
    except FileNotFoundError:
        return False
    return True


def data_of(settings: Settings) -> Upload | None:
    """The file of data that an analysis was fed, if it is still there."""
    path = Path(settings.input_data or "")
    if settings.input_data is None or not keep(path):
        return None
    return Upload(path, settings.input_data_name or path.name, path.stat().st_size)


def spec_of(result: Result, settings: Settings) -> JobSpec | None:
    """What was analysed, as long as its file is kept, which looking at the result sees to.

    Args:
        result: of the analysis.
        settings: that can be chosen on the page, as they were chosen.
    """
    model, used = result.model, result.settings.by_name
    data = {name: used.get(name) for name in ("input_data", "input_data_name", "input_source")}
    if data["input_data"] and Path(data["input_data"]).is_file():
        settings = settings.replace(**data)
    if model.format == "sample":
        return JobSpec(SAMPLE_PREFIX + model.name, model.name, settings)
    path = uploads_folder() / f"{model.sha256}{Path(model.name).suffix.lower()}"
    return JobSpec(str(path), model.name, settings) if keep(path) else None
