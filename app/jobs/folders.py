"""Where results lie on disk: one private folder per job, named by the job's key.

A finished job is `KEY/result.json` and its companions; until then its worker writes to
`KEY/partial-PID/`, with a folder of temporary files in it. Beside the jobs lie `uploads/` and
`warm-…`, the log of the worker that has no job yet.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

RESULT = "result.json"
HISTOGRAMS = "histograms.json"
MANIFEST = "manifest.json"
PREVIEW = "preview.json"  # of a job that is under way
REINITIALIZED_KERAS = "reinitialized.keras"
REINITIALIZED_H5 = "reinitialized.h5"
LOG = "worker.log"
UPLOADS = "uploads"
PARTIAL_PREFIX = "partial-"
WARM_LOG_PREFIX = "warm-"
SECONDS_KEPT = 24 * 3600


def is_key(text: str) -> bool:
    """Whether `text` can be a job's key; anything else must never be joined to a path."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def data_root() -> Path:
    """The folder of all job folders: `AUTOINIT_DATA`, else a private one for temporary files.

    Raises:
        PermissionError: the folder is someone else's, who could then plant results in it.
    """
    chosen = os.environ.get("AUTOINIT_DATA")
    root = Path(chosen or f"{tempfile.gettempdir()}/autoinit-{os.getuid()}").absolute()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if chosen is None:
        status = root.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise PermissionError(
                f"{root} belongs to someone else; set AUTOINIT_DATA to a folder of your own."
            )
        root.chmod(0o700)
    return root


def create(folder: Path) -> Path:
    """Makes a job's folder, closed to other users."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def uploads(root: Path) -> Path:
    """The folder of uploaded files."""
    return create(root / UPLOADS)


def is_complete(folder: Path) -> bool:
    """Whether a finished job lies here. The worker renames the result into place last."""
    return (folder / RESULT).is_file()


def touch(path: Path) -> None:
    """Keeps a folder or a file that is used again from being swept."""
    os.utime(path)


def staging(folder: Path, pid: int) -> Path:
    """Where the worker with this process id writes until everything is there."""
    return folder / f"{PARTIAL_PREFIX}{pid}"


def temporary(partial: Path) -> Path:
    """Where a worker's libraries put their temporary files."""
    return create(partial / "temporary")


def publish(partial: Path, folder: Path) -> None:
    """Moves finished files into place, the result last: it says that the others are there."""
    finished = [file for file in partial.iterdir() if file.is_file()]
    for file in sorted(finished, key=lambda file: file.name == RESULT):
        file.rename(folder / file.name)


def remove_staging(folder: Path, pid: int) -> None:
    """Removes what a worker that was killed left half written."""
    shutil.rmtree(staging(folder, pid), ignore_errors=True)


def claim(root: Path) -> int | None:
    """Locks the folder for one server and removes what a server that was killed left half done.

    Returns:
        A descriptor, which holds the lock until it is closed; None if another server has it.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    for entry in root.iterdir():
        if entry.name.startswith(WARM_LOG_PREFIX):
            _remove(entry)
        elif is_key(entry.name) or entry.name == UPLOADS:
            for partial in entry.glob(f"{PARTIAL_PREFIX}*"):
                _remove(partial)
    return descriptor


def sweep(root: Path, keep: Collection[Path] = (), stored_bytes: float = float("inf")) -> None:
    """Removes what has not been used for a day; then the least recently used, if it is too much.

    Args:
        root: the folder of all job folders.
        keep: job folders and uploads that are in use.
        stored_bytes: what may stay, in all.
    """
    stored = sorted(_stored(root), key=lambda item: item[0])
    total = sum(size for _, size, _ in stored)
    oldest = time.time() - SECONDS_KEPT
    for used, size, path in stored:
        if (used < oldest or total > stored_bytes) and path not in keep:
            _remove(path)
            total -= size


def _stored(root: Path) -> Iterator[tuple[float, int, Path]]:
    """When it was last used, how large it is and where it lies, for each thing that is ours."""
    uploaded = root / UPLOADS
    entries = [*root.iterdir(), *(uploaded.iterdir() if uploaded.is_dir() else ())]
    for path in entries:
        half_stored = path.name.startswith(PARTIAL_PREFIX)
        if half_stored or not (path.parent == uploaded or is_key(path.name)):
            continue
        # Another thread may remove what this one looks at.
        with contextlib.suppress(FileNotFoundError):
            parts = path.rglob("*") if path.is_dir() else [path]
            yield path.lstat().st_mtime, sum(part.lstat().st_size for part in parts), path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
