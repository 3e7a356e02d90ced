"""Where results lie on disk: one private folder per job, named by the job's key."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

RESULT = "result.json"
REINITIALIZED_KERAS = "reinitialized.keras"
REINITIALIZED_H5 = "reinitialized.h5"
LOG = "worker.log"
SPARE_LOG_PREFIX = "spare-"
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


def is_complete(folder: Path) -> bool:
    """Whether a finished job lies here. The worker renames the result into place last."""
    return (folder / RESULT).is_file()


def touch(folder: Path) -> None:
    """Keeps a folder that is used again from being swept."""
    os.utime(folder)


def staging(folder: Path, pid: int) -> Path:
    """Where the worker with this process id writes until everything is there."""
    return folder / f"partial-{pid}"


def publish(partial: Path, folder: Path) -> None:
    """Moves finished files into place, the result last: it says that the others are there."""
    files = sorted(partial.iterdir(), key=lambda file: file.name == RESULT)
    for file in files:
        file.rename(folder / file.name)


def remove_staging(folder: Path, pid: int) -> None:
    """Removes what a worker that was killed left half written."""
    shutil.rmtree(staging(folder, pid), ignore_errors=True)


def sweep(root: Path, keep: Collection[str] = ()) -> None:
    """Removes what has not been used for a day, except the job folders named in `keep`."""
    oldest = time.time() - SECONDS_KEPT
    for entry in root.iterdir():
        ours = is_key(entry.name) or entry.name.startswith(SPARE_LOG_PREFIX)
        if not ours or entry.name in keep or entry.lstat().st_mtime > oldest:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
