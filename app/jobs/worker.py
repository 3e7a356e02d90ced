"""`python -m app.jobs.worker [FOLDER...] CELL`: one process, one job, then the end.

It confines itself to its cell and the folders that it may read, imports Keras, says that it is
ready, and waits for one line of JSON on standard input: {"spec": …, "folder": …, "limits": …}. It
answers in lines of JSON on a private copy of standard output. When standard input closes, its
parent is gone and it kills itself.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import gc
import importlib
import io
import json
import os
import queue
import re
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from app.analysis.devices import device_kind
from app.analysis.job_spec import JobSpec
from app.errors import WrongSettingError
from app.jobs import confinement
from app.limits import Limits, format_bytes, variable

if TYPE_CHECKING:
    from app.analysis.batch.row import Status

STACK_BYTES = 512 * 2**20
RECURSION_LIMIT = 10**6
JOB_LINE_LIMIT = 64 * 1024
SENTENCE_LIMIT = 2000
OUR_PACKAGES = ("app", "autoinit", "probes", "sample_models")
LIBRARIES = {"keras": "Keras", "tf_keras": "Keras", "tensorflow": "TensorFlow"}
_Given = TypeVar("_Given")


class Channel:
    """Lines of JSON to the parent. Everything else that prints goes to the log instead."""

    def __init__(self) -> None:
        self._descriptor = os.dup(1)
        os.dup2(2, 1)
        # It is typed as a bare TextIO, which a replacement might be; a fresh process has this one.
        cast(io.TextIOWrapper, sys.stdout).reconfigure(line_buffering=True)

    def say(self, event: str, **details: Any) -> None:
        """Sends one event."""
        line = json.dumps({"event": event, **details}).encode() + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]

    def progress(self, fraction: float, stage: str) -> None:
        """Says how far the job is: what `analysis.run` calls."""
        self.say("progress", fraction=float(fraction), stage=stage[:SENTENCE_LIMIT])


def main() -> None:
    """Gets ready, does the one job, and ends the process."""
    channel, lines = prepare()
    # While Keras is imported nothing is garbage, and looking for it takes a fifth of the time.
    gc.disable()
    try:
        # With Keras: a warm worker has it before its job comes.
        importlib.import_module("app.jobs.execution")
    except BaseException as error:
        report_error(channel, error)
    else:
        if lines.empty():
            importlib.import_module("app.jobs.execution").rehearse()
        # What is there stays; to look through it for garbage takes a quarter of a second a time.
        gc.freeze()
        gc.enable()
        channel.say("ready")
        on_large_stack(partial(run_job, channel, lines.get(), _analyze))
    with contextlib.suppress(OSError):  # The log's disk may be full.
        sys.stdout.flush()
        sys.stderr.flush()
    # The framework's own threads can take seconds to wind down, and nobody needs them to.
    os._exit(0)


def prepare() -> tuple[Channel, queue.Queue[bytes]]:
    """Confines this process; the channel to its parent, and the queue that the job will come by."""
    *readable, cell = map(Path, sys.argv[1:])
    confinement.confine(cell, readable)
    channel = Channel()
    faulthandler.enable()
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=listen, args=(lines,), daemon=True).start()
    return channel, lines


def listen(lines: queue.Queue[bytes]) -> None:
    """Passes the job on; then waits for standard input to close, as when the parent dies."""
    lines.put(sys.stdin.buffer.readline(JOB_LINE_LIMIT))
    while sys.stdin.buffer.read(1):
        pass
    # With what it has started, should the system have let it start anything.
    with contextlib.suppress(PermissionError):
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def on_large_stack(function: Callable[[], _Given]) -> _Given:
    """What a function gives: Keras recurses on a model's depth while it builds and loads."""
    limit, size = sys.getrecursionlimit(), threading.stack_size(STACK_BYTES)
    sys.setrecursionlimit(RECURSION_LIMIT)
    try:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(function).result()
    finally:
        sys.setrecursionlimit(limit)
        threading.stack_size(size)


def _analyze(spec: JobSpec, folder: Path, progress: Callable[[float, str], None]) -> None:
    # What trains comes with it, which an analysis does without.
    module = "app.jobs.execution" if spec.trial is None else "app.jobs.trying"
    importlib.import_module(module).run(spec, folder, progress)


def run_job(
    channel: Channel,
    line: bytes,
    work: Callable[[JobSpec, Path, Callable[[float, str], None]], None],
) -> None:
    """Does the job in a line of JSON within its limits, and says how it ended."""
    try:
        job = json.loads(line)
        spec, folder = JobSpec.from_json(job["spec"]), Path(job["folder"])
        confinement.limit_resources(Limits(**job["limits"]), device_kind(spec.settings.device))
        work(spec, folder, channel.progress)
    except BaseException as error:
        report_error(channel, error)
    else:
        channel.say("done")


def report_error(channel: Channel, error: BaseException) -> None:
    """Says in one sentence what went wrong; the traceback goes to the log."""
    with contextlib.suppress(OSError):
        traceback.print_exception(error)
    status, (code, message) = explained(error)
    channel.say(status, code=code, message=message)


def explained(error: BaseException) -> tuple[Status, tuple[str, str]]:
    """Whether it is a refusal or a failure; a code and a sentence."""
    from autoinit.errors import (
        OUR_FAULT,
        AutoInitError,
        RuleError,
        UnsupportedLayerError,
        said_by_keras,
    )

    is_ours = isinstance(error, AutoInitError)
    # What Keras raises while it rebuilds is turned into a refusal, whatever it was.
    met = (error.__cause__ if is_ours or isinstance(error, RuleError) else None) or error
    if (number := _disk_error(met)) is not None:
        return _refusal("disk_full", _disk_advice(number))
    if _is_out_of_memory(met) or (not is_ours and confinement.near_address_space_limit()):
        advice = "Memory ran out: try fewer samples, a smaller input size, or a larger machine."
        return _refusal("out_of_memory", advice)
    if isinstance(error, UnsupportedLayerError):
        return _refusal("unsupported_layer", str(error))
    if is_ours:
        return _refusal(getattr(error, "code", "unsupported_model"), str(error))
    if isinstance(error, WrongSettingError):
        return _refusal("bad_settings", str(error))
    if isinstance(error, RuleError):
        return "failed", ("rule_failed", str(error)[:SENTENCE_LIMIT])
    raised_in, is_own = _raised_in(error.__traceback__)
    if is_own or raised_in in LIBRARIES:
        who = f"Its own code, {raised_in}," if is_own else LIBRARIES[raised_in]
        said = f"{type(error).__name__}: {said_by_keras(error)}"[:500].rstrip(". ")
        message = f"The model cannot be run. {who} says: {said}."
        return _refusal("unsupported_model", message)
    first_line = (str(error).strip().splitlines() or ["no message"])[0]
    sentence = (
        f"{type(error).__name__}: {first_line[: SENTENCE_LIMIT // 2].rstrip('.')}. {OUR_FAULT}"
    )
    return "failed", ("failed", sentence)


def _refusal(code: str, message: str) -> tuple[Status, tuple[str, str]]:
    return "refused", (code, message[:SENTENCE_LIMIT])


def _disk_error(error: BaseException) -> int | None:
    """The number of an error that kept a file from growing; HDF5 has it in its text only."""
    found = re.search(r"\berrno = (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) else None
    number = int(found[1]) if number is None and found else number
    return number if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else None


def _disk_advice(number: int) -> str:
    if number == errno.EFBIG:
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        return (
            f"A file of the result would be larger than {format_bytes(limit)}, the limit that "
            f"{variable('output_bytes')} sets: try a smaller model."
        )
    return "The disk is full, and the result could not be written: try again when there is room."


def _is_out_of_memory(error: BaseException) -> bool:
    """Every framework has a class of its own for this, which need not be imported here."""
    names = {cls.__name__ for cls in type(error).__mro__}
    framework_classes = {"MemoryError", "ResourceExhaustedError", "OutOfMemoryError"}
    signs = ("RESOURCE_EXHAUSTED", "can't start new thread")
    return (
        bool(names & framework_classes)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or any(sign in str(error) for sign in signs)
    )


def _raised_in(trace: TracebackType | None) -> tuple[str, bool]:
    """The package that raised an error, or called what did; a user's own file, and that it is one.

    What Python and its other packages raise is the fault of who called them.
    """
    found = "", False
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
        if package in (*OUR_PACKAGES, *LIBRARIES):
            found = package, False
        elif not (package in sys.stdlib_module_names or _is_installed(trace)):
            found = Path(trace.tb_frame.f_code.co_filename).name, True
        trace = trace.tb_next
    return found


def _is_installed(trace: TracebackType) -> bool:
    return "site-packages" in Path(trace.tb_frame.f_code.co_filename).parts


if __name__ == "__main__":
    main()
