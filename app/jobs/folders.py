"""Where results lie on disk: one private folder per job, named by the job's key.

A finished job is `KEY/result.json` and its companions. Until then its worker lives in a cell,
`cell-…/`: it reads what is `given` to it there, writes what is `left`, and reaches nothing else.
Beside the jobs and the cells lie `uploads/`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
import zipfile
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
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
CELL_PREFIX = "cell-"
SECONDS_KEPT = 24 * 3600
_HOLDER = "user.autoinit.holder"  # an attribute of files: whose they are
_PUBLISHED = re.compile(
    r"(result|histograms|manifest)\.json|reinitialized(-keras3)?\.(keras|h5|json)"
)


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


def new_cell(parent: Path) -> Path:
    """A folder for one worker and its one job."""
    cell = Path(tempfile.mkdtemp(prefix=CELL_PREFIX, dir=parent))
    for folder in (given(cell), left(cell), temporary(cell)):
        create(folder)
    return cell


def given(cell: Path) -> Path:
    """Where a worker finds the files that it is to read."""
    return cell / "given"


def left(cell: Path) -> Path:
    """Where a worker writes."""
    return cell / "left"


def temporary(cell: Path) -> Path:
    """Where a worker's libraries put their temporary files."""
    return left(cell) / "temporary"


def give(cell: Path, file: Path, name: str) -> Path:
    """Puts a file into a cell: by a link, or as a copy where it lies on another disk.

    Raises:
        OSError: it is not there, or the disk is full.
    """
    target = given(cell) / name
    try:
        os.link(file.resolve(), target)
    except OSError:
        shutil.copyfile(file, target)
    return target


# In an archive of several files of a model, as `autoinit.model_files.read.bundles` reads it.
PACKED = "parts/"


def pack(files: Mapping[str, Path], target: Path) -> None:
    """Puts files into one archive, as they are; equal files make equal archives.

    Args:
        files: by their names.
        target: the archive.
    """
    with zipfile.ZipFile(target, "w") as archive:
        for name, path in files.items():
            member = zipfile.ZipInfo(f"{PACKED}{name}")
            with path.open("rb") as file, archive.open(member, "w", force_zip64=True) as copy:
                shutil.copyfileobj(file, copy)


def publish(cell: Path, folder: Path) -> None:
    """Moves what a worker has left into the job's folder, the result last: all is there with it.

    The worker has ended, and may have been anyone's: only plain files of the names that a job
    leaves are taken, and none that has another name somewhere.
    """
    found = [file for file in left(cell).iterdir() if _PUBLISHED.fullmatch(file.name)]
    for file in sorted(found, key=lambda file: file.name == RESULT):
        status = file.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            file.chmod(0o600)
            file.rename(folder / file.name)


def read_written(path: Path, limit: int) -> bytes:
    """What a worker has written, read without following it anywhere.

    Args:
        path: the file.
        limit: bytes that it may have.

    Raises:
        OSError: it is not there, is no plain file, has another name somewhere, or is larger.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise OSError(errno.EPERM, "this is no plain file of a job")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"no job leaves more than {limit:,} bytes here")
    return content


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
        if entry.name.startswith(CELL_PREFIX):
            remove(entry)
        elif is_key(entry.name) or entry.name == UPLOADS:
            for partial in entry.glob(f"{PARTIAL_PREFIX}*"):
                remove(partial)
    return descriptor


def label(path: Path, holder: str | None) -> None:
    """Writes down whose a new file or folder is: of one that has been there, its first."""
    if holder is not None:
        with contextlib.suppress(OSError, AttributeError):  # where files have no such attributes
            os.setxattr(path, _HOLDER, holder.encode(), os.XATTR_CREATE)


def _holder(path: Path) -> bytes:
    with contextlib.suppress(OSError, AttributeError):
        return os.getxattr(path, _HOLDER)
    return b""


def sweep(root: Path, keep: Collection[Path] = (), stored_bytes: float = float("inf")) -> None:
    """Removes what has not been used for a day; if the rest is too much, the least recently used.

    Who has the most stored makes room, so that nobody's files take the place of everyone's.

    Args:
        root: the folder of all job folders.
        keep: job folders and uploads that are in use.
        stored_bytes: what may stay, in all.
    """
    oldest = time.time() - SECONDS_KEPT
    held: Counter[bytes] = Counter()
    may_go: dict[bytes, deque[tuple[int, Path]]] = {}
    for used, size, path in sorted(_stored(root), key=lambda item: item[0]):
        if used < oldest and path not in keep:
            remove(path)
            continue
        holder = _holder(path)
        held[holder] += size
        if path not in keep:
            may_go.setdefault(holder, deque()).append((size, path))
    while may_go and held.total() > stored_bytes:
        most = max(may_go, key=held.__getitem__)
        size, path = may_go[most].popleft()
        remove(path)
        held[most] -= size
        if not may_go[most]:
            del may_go[most]


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


def remove(path: Path) -> None:
    """Removes a file or a folder, whatever a worker has made of it."""
    if not path.is_dir() or path.is_symlink():
        with contextlib.suppress(OSError):
            path.unlink()
        return
    try:
        shutil.rmtree(path, ignore_errors=True)
    except RecursionError:  # thousands of folders in each other
        subprocess.run(["rm", "-rf", "--", path], check=False, stderr=subprocess.DEVNULL)
