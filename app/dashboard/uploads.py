"""Uploaded files on disk, under names of our own: a stranger's name never becomes a path."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app import jobs
from app.jobs import folders
from app.limits import Limits, format_bytes, variable

SUFFIXES = (".keras", ".h5", ".hdf5", ".json")
DATA_SUFFIXES = (".npy", ".npz", ".csv")
CHUNK = 4 * 1024 * 1024
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


def store(file: BinaryIO, name: str, suffixes: Sequence[str] = SUFFIXES) -> Upload:
    """Copies an upload to disk, chunk by chunk; the same content twice is one file.

    Args:
        file: the upload.
        name: what its owner calls it.
        suffixes: that it may have: a model file's, or `DATA_SUFFIXES`.

    Raises:
        ValueError: the name does not end like this, or the file is too large.
        OSError: the disk is full, or the folder cannot be written.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in suffixes:
        what = "model file" if suffixes is SUFFIXES else "file of data"
        raise ValueError(f"A {what} ends in {', '.join(suffixes)}; received {name!r}.")
    limits = Limits.from_environment()
    folder = uploads_folder()
    digest, size = hashlib.sha256(), 0
    descriptor, partial = tempfile.mkstemp(prefix=folders.PARTIAL_PREFIX, dir=folder)
    try:
        with open(descriptor, "wb") as copy:
            while chunk := file.read(CHUNK):
                size += len(chunk)
                if size > limits.file_bytes:
                    raise ValueError(
                        f"The file has more than {format_bytes(limits.file_bytes)}, the most that "
                        f"this server takes; {variable('file_bytes')} sets the limit."
                    )
                digest.update(chunk)
                copy.write(chunk)
        path = folder / f"{digest.hexdigest()}{suffix}"
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    folders.sweep(folders.data_root(), {path, *jobs.in_use()}, limits.stored_bytes)
    return Upload(path, name[-NAME_LIMIT:], size)


def keep(upload: Upload) -> bool:
    """Keeps a file that is used again from being swept; False if it is gone."""
    try:
        folders.touch(upload.path)
    except FileNotFoundError:
        return False
    return True
