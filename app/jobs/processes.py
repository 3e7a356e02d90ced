"""One worker process as its parent sees it: started in a cell, fed once, read, killed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

import app
from app.jobs import folders

LINE_LIMIT = 64 * 1024
TEXT_LIMIT = 4000
SECONDS_TO_EXIT = 5.0

_PASSED_ON = {"PATH", "HOME", "LANG", "LD_LIBRARY_PATH"}
_PASSED_ON_PREFIXES = ("CUDA", "NVIDIA", "KERAS_", "TF_", "AUTOINIT_", "XLA_", "OMP_", "LC_")

# What takes jobs to the nodes of a cluster. It opens no model, so it may have the cluster's token.
ON_NODES = (sys.executable, "-m", "app.jobs.ray")
_OF_NODES = ("RAY_",)


class Progress(NamedTuple):
    """How far a job is: a fraction from 0 to 1, and what is being done in a few words."""

    fraction: float
    stage: str


class Outcome(NamedTuple):
    """How a job ended: a terminal status and, where it is not `done`, (code, message)."""

    status: str
    error: tuple[str, str] | None = None


class Usage(NamedTuple):
    """Bytes that a process holds, bytes that it has mapped, and threads that it runs."""

    resident: int
    mapped: int
    threads: int


class ProtocolError(Exception):
    """A worker wrote something else than lines of JSON, of bounded length, that make sense."""


class WorkerProcess:
    """A process that takes one job as a line on standard input and answers in lines of JSON.

    Args:
        command: what starts it; the folder of its cell is the last argument.
        parent: the folder in which its cell is made.

    Attributes:
        cell: its own folder, which whoever started it removes.
        log: the file that its standard error goes to.
    """

    def __init__(self, command: Sequence[str], parent: Path) -> None:
        self.cell = folders.new_cell(parent)
        self.log = self.cell / folders.LOG
        self._lock = threading.Lock()
        self._ended = False
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                [*command, str(self.cell)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=descriptor,
                env={**worker_environment(command), "TMPDIR": str(folders.temporary(self.cell))},
                start_new_session=True,
                close_fds=True,
            )
        except OSError:
            folders.remove(self.cell)
            raise
        finally:
            os.close(descriptor)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        """The process's id, which is its group's as well."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def usage(self) -> Usage:
        """What it takes at this moment; nothing where the system does not tell."""
        try:
            process = psutil.Process(self.pid)
            memory, threads = process.memory_info(), process.num_threads()
        except psutil.Error:
            return Usage(0, 0, 0)
        return Usage(memory.rss, memory.vms, threads)

    def send(self, job: dict[str, Any]) -> None:
        """Hands the job over. Standard input stays open: the worker ends when it closes."""
        # A worker that is dead already says so by its exit status.
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(json.dumps(job).encode() + b"\n")
            self._stdin.flush()

    def reports(self) -> Iterator[Progress | Outcome]:
        """What the worker says of its job, until it closes its end.

        Raises:
            ProtocolError: a line is too long, or not what a worker says.
        """
        while line := self._stdout.readline(LINE_LIMIT + 1):
            if len(line) > LINE_LIMIT:
                raise ProtocolError(f"a line of more than {LINE_LIMIT} bytes")
            if not line.endswith(b"\n"):
                return  # The worker died in the middle of it.
            report = _read(line)
            if report is not None:
                yield report

    def kill(self) -> None:
        """Kills the process and everything that it started."""
        with self._lock:
            if not self._ended:
                self._kill_group()

    def finish(self) -> int:
        """Gives the process a moment to exit, clears its group away, returns the exit status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_EXIT)
        with self._lock:
            self._ended = True
            self._kill_group()
        status = self._process.wait()
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        return status

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def worker_environment(command: Sequence[str] = ()) -> dict[str, str]:
    """What a worker may know of its parent's environment: nothing secret.

    Args:
        command: what starts it.
    """
    prefixes = _PASSED_ON_PREFIXES + (_OF_NODES if tuple(command) == ON_NODES else ())
    passed_on = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(prefixes)
    }
    # The worker imports nothing from the folder that it happens to be started in: a stranger's
    # model may lie there, with a `numpy.py` beside it.
    home = Path(app.__file__).parents[1]
    ours = "" if home.name.endswith("-packages") else str(home)
    path = [ours, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JOBLIB_MULTIPROCESSING": "0",  # it tries for shared memory, and warns where it gets none
        **passed_on,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONSAFEPATH": "1",
    }


def describe_death(status: int) -> str:
    """One sentence on a worker that went away without a last word, from its exit status."""
    if status >= 0:
        return f"The worker process ended with exit status {status} before the job was done."
    number = -status
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "unknown"
    sentence = f"The worker process was killed by signal {number} ({name})"
    if number == signal.SIGKILL:
        return f"{sentence}; most likely memory ran out: try fewer samples or a smaller model."
    return f"{sentence} before the job was done."


def _read(line: bytes) -> Progress | Outcome | None:
    """The report in a line; None for `ready`, which asks for nothing."""
    try:
        event = json.loads(line)
        kind = event["event"]
        if kind == "progress":
            fraction = float(event["fraction"])
            if not math.isfinite(fraction):
                raise ProtocolError("a progress that is not finite")
            return Progress(min(1.0, max(0.0, fraction)), str(event["stage"])[:TEXT_LIMIT])
        if kind == "done":
            return Outcome("done")
        if kind in ("refused", "failed"):
            code, message = str(event.get("code", kind)), str(event["message"])
            return Outcome(kind, (code[:TEXT_LIMIT], message[:TEXT_LIMIT]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ProtocolError("a line that is not a report in JSON") from error
    if kind == "ready":
        return None
    raise ProtocolError("a report of an unknown kind")
