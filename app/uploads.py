"""Uploaded files on disk, under names of our own: a stranger's name never becomes a path."""

import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.jobs.folders import SECONDS_KEPT, data_root

SUFFIXES = (".keras", ".h5", ".hdf5", ".json")
CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True)
class Upload:
    """A model file on disk, and what its owner calls it."""

    path: Path
    name: str
    size: int


def uploads_folder() -> Path:
    """The private folder of uploads, beside the jobs' folders."""
    folder = data_root() / "uploads"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def store(file: BinaryIO, name: str) -> Upload:
    """Copies an upload to disk, chunk by chunk; the same content twice is one file.

    Raises:
        ValueError: the name does not end like a model file's.
        OSError: the disk is full, or the folder cannot be written.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"A model file ends in {', '.join(SUFFIXES)}; received {name!r}.")
    folder = uploads_folder()
    sweep(folder)
    digest = hashlib.sha256()
    descriptor, partial = tempfile.mkstemp(dir=folder)
    try:
        with open(descriptor, "wb") as copy:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                copy.write(chunk)
            size = copy.tell()
        path = folder / f"{digest.hexdigest()}{suffix}"
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return Upload(path, name, size)


def sweep(folder: Path) -> None:
    """Removes uploads that nobody has analysed for as long as results are kept."""
    oldest = time.time() - SECONDS_KEPT
    for entry in folder.iterdir():
        if entry.stat().st_mtime < oldest:
            entry.unlink(missing_ok=True)


def keep(upload: Upload) -> bool:
    """Keeps a file that is used again from being swept; False if it is gone."""
    try:
        os.utime(upload.path)
    except FileNotFoundError:
        return False
    return True
