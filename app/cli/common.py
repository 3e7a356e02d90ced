"""What the commands share: exit statuses, sentences for what goes wrong, jobs that are followed."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from click import UsageError

from app.cli.interface import MODEL_FILE
from app.errors import WrongSettingError
from app.jobs import folders
from app.jobs.handles import JobHandle
from app.jobs.queue import Workers
from app.text.escaping import plain_text
from app.text.formatting import time_left

COMMAND = "autoinit"
SAVED_MODEL = "saved_model.pb"
# What a `.keras` archive that was unpacked has in its folder.
UNPACKED = ("config.json", "metadata.json")
# As published; wrong usage is what sysexits.h calls it.
DONE, ERROR, REFUSED, OUTSIDE_BAND, USAGE, INTERRUPTED = 0, 1, 2, 3, 64, 130
_IN_FOLDERS = (
    SAVED_MODEL, "keras_metadata.pb", "variables/*", *UNPACKED, "model.weights.h5", "assets/**/*"
)  # fmt: skip
_CLASS = re.compile(rb"^class\s+\w", re.MULTILINE)
SENTENCE_LIMIT = 2000
LOG_LINES_SHOWN = 20
SECONDS_BETWEEN_LINES = 10.0  # of progress, where there is no terminal
MODULES_LOOKED_AT = 200
LOG_COLUMNS = 300
BAR_COLUMNS = 32  # with the share that is done


def sentence(message: str) -> str:
    """A message on one line, whatever it quotes."""
    return plain_text(" ".join(message.split()), SENTENCE_LIMIT)


def say_refused(code: str, message: str) -> int:
    """Says in one line on standard error why a file is refused; the exit status."""
    print(f"{plain_text(code)}: {sentence(message)}", file=sys.stderr)
    return REFUSED


def say_error(message: str) -> int:
    """Says in one line on standard error what went wrong; the exit status."""
    print(f"error: {sentence(message)}", file=sys.stderr)
    return ERROR


def print_text(text: str) -> None:
    """Prints what the terminal's encoding has; it need not be UTF-8."""
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding))


def refuse_missing(file: Path, expected: str) -> tuple[str, str] | None:
    """Code and sentence, where there is no file that could be read.

    Args:
        file: that is to be read.
        expected: what to give instead of what is no file.
    """
    if not file.exists():
        return "file_not_found", f"there is no file {file}; check the path."
    if not file.is_file():
        return "not_a_model_file", f"{file} is not a file; give {expected}."
    if not os.access(file, os.R_OK):
        return "unreadable_file", f"{file} cannot be read; check its permissions."
    return None


def refuse_model(model: Path) -> tuple[str, str] | None:
    """The same for a model, which may be a folder."""
    return None if is_model_folder(model) else refuse_missing(model, MODEL_FILE)


def is_model_folder(path: Path) -> bool:
    """Whether a folder is one model: a SavedModel, or an unpacked `.keras` archive."""
    wanted = ((SAVED_MODEL,), UNPACKED)
    return any(all((path / name).is_file() for name in names) for names in wanted)


def put_together(models: Sequence[str]) -> list[list[str]]:
    """Models as they are given: with an architecture what stands next to it, weights or shards."""
    owners = {shard: model for model in models for shard in _shards(model)}
    found: list[list[str]] = []
    for model in models:
        if Path(model).name in owners:
            continue
        kinds = {_kind(model), _kind(found[-1][0]) if found and len(found[-1]) == 1 else ""}
        if kinds == {"json", "weights"}:
            found[-1].append(model)
            found[-1].sort(key=lambda each: _kind(each) == "weights")
        elif found and model.endswith(".py"):
            found[-1].append(model)
        else:
            found.append([model])
    for model in models:
        if Path(model).name in owners:
            next(each for each in found if each[0] == owners[Path(model).name]).append(model)
    return found


def one_file(model: str, parts: Sequence[str], folder: Path) -> str:
    """A model's file; an archive where it is a folder, or comes with parts.

    Args:
        model: its path.
        parts: further files that were given with it.
        folder: where to put the archive.
    """
    files = files_of(model, parts)
    if [*files.values()] == [Path(model)]:
        return model
    packed = folder / "model.zip"
    folders.pack(files, packed)
    return str(packed)


def files_of(model: str, parts: Sequence[str] = ()) -> dict[str, Path]:
    """All files of a model by what an archive calls them, its own first; of a folder those in it.

    Args:
        model: its path.
        parts: further files that were given with it.
    """
    path = Path(model)
    if path.is_dir():
        inside = [file for pattern in _IN_FOLDERS for file in sorted(path.glob(pattern))]
        own = {file.relative_to(path).as_posix(): file for file in inside if file.is_file()}
        return own | {each.name: each for each in map(Path, parts)}
    shards = filter(Path.is_file, (path.with_name(shard) for shard in _shards(model)))
    return {each.name: each for each in (path, *shards, *map(Path, parts))}


def _shards(model: str) -> list[str]:
    """Names of the files in which a `model.json` of TensorFlow.js says that its weights are."""
    if _kind(model) != "json":
        return []
    with contextlib.suppress(
        AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError
    ):
        groups = json.loads(Path(model).read_bytes()).get("weightsManifest", ())
        return [Path(path).name for group in groups for path in group["paths"]]
    return []


def modules_beside(model: str) -> list[str]:
    """Files of Python beside a model, or in its folder, that define a class; none is run."""
    found = []
    own = Path(model).absolute()
    beside = [*sorted(own.glob("*.py")), *sorted(own.parent.glob("*.py"))]
    for path in beside[:MODULES_LOOKED_AT]:
        with contextlib.suppress(OSError):
            if _CLASS.search(path.read_bytes()):
                found.append(str(path))
    return found


def _kind(model: str) -> str:
    """`json`, `weights` for HDF5 without a configuration, else an empty string."""
    path = Path(model)
    if not path.is_file() or not os.access(path, os.R_OK) or not path.stat().st_size:
        return ""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:8] == b"\x89HDF\r\n\x1a\n":
            return "" if content.find(b"model_config") >= 0 else "weights"
        return "json" if content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b'"') else ""


def check_targets(targets: Sequence[Path], source: Path, names: str) -> None:
    """Finds out before the work, not after it, that a file cannot be written.

    Args:
        targets: that are to be written.
        source: that is read, and must not be overwritten.
        names: of all these, for the sentence: "MODEL and --output".

    Raises:
        UsageError: says which, and why.
    """
    for path in targets:
        folder = path.absolute().parent
        if not folder.is_dir():
            raise UsageError(f"cannot write {path}: there is no folder {folder}")
        if path.is_dir():
            raise UsageError(f"cannot write {path}: it is a folder; name a file in it")
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise UsageError(f"cannot write {path}: permission denied")
    files = [source, *targets]
    if len({path.resolve() for path in files}) < len(files):
        raise UsageError(f"{names} must be different files")


def write_file(path: Path, content: str | Path) -> None:
    """Writes a text, or what is in another file: the target is whole, or as it was.

    Raises:
        OSError: it cannot be written.
    """
    target = path.resolve()
    beside = target.with_name(f".{target.name[:100]}.{os.getpid()}")
    # A pipe or a device is written to; so is a file in a folder that takes no other.
    replaces = not target.exists() or (target.is_file() and os.access(target.parent, os.W_OK))
    written = beside if replaces else target
    try:
        if isinstance(content, Path):
            shutil.copyfile(content, written)
        else:
            written.write_text(content, encoding="utf-8", newline="")
        if replaces:
            if target.exists():
                shutil.copymode(target, beside)
            beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def start_workers(
    folder: Path, module: str = "app.jobs.worker", readable: Sequence[Path] = ()
) -> Workers:
    """Workers of this command's own, for one job.

    Args:
        folder: for their files.
        module: what a worker runs.
        readable: folders that it may read, besides its own.

    Raises:
        UsageError: a limit in the environment is not a positive number.
    """
    try:
        command = (sys.executable, "-m", module, *map(str, readable))
        return Workers(keep_warm=False, root=folder, command=command)
    except WrongSettingError as error:
        raise UsageError(str(error)) from error


def follow(job: JobHandle, stream: TextIO) -> None:
    """Shows how the job comes on, until it ends: a bar on a terminal, else a line now and then."""
    if stream.isatty():
        _show_bar(job, stream)
        return
    last, said = None, time.monotonic()
    while not job.wait(0.1):
        fraction, stage = job.progress
        is_due = time.monotonic() - said >= SECONDS_BETWEEN_LINES
        if stage != last and fraction > 0 and is_due:
            print(f"{fraction:4.0%}  {plain_text(_with_time(job))}", file=stream, flush=True)
            last, said = stage, time.monotonic()


def _show_bar(job: JobHandle, stream: TextIO) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    stage = TextColumn("{task.description}", markup=False)
    console = Console(file=stream)
    with Progress(
        BarColumn(24), TaskProgressColumn(), stage, console=console, transient=True
    ) as progress:
        bar = progress.add_task("", total=1.0)
        while not job.wait(0.1):
            fraction, _ = job.progress
            text = plain_text(_with_time(job), max(console.width - BAR_COLUMNS, 1))
            progress.update(bar, completed=fraction, description=text, refresh=True)


def _with_time(job: JobHandle) -> str:
    """The stage, and how long the rest will take."""
    return ", ".join(filter(None, (job.progress.stage, time_left(job.seconds_left))))


def say_why_not(job: JobHandle, verbose: bool) -> int:
    """Says why a job is not done; the exit status."""
    code, message = job.error or (job.status, f"The job was {job.status}.")
    if job.status == "refused":
        return say_refused(code, message)
    status = say_error(message)
    if verbose:
        log = (job.folder / folders.LOG).read_text(errors="replace").splitlines()
        for line in log[-LOG_LINES_SHOWN:]:
            print(f"  {plain_text(line.expandtabs(), LOG_COLUMNS)}", file=sys.stderr)
    else:
        print("(--verbose shows the end of the worker's log)", file=sys.stderr)
    return status
