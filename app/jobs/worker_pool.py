"""Where worker processes come from: one that has imported Keras already stands by, warm.

To import it takes as long as half an analysis: the next one does so when a job is nearly done.
"""

from __future__ import annotations

import compileall
import contextlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import app
from app.jobs import folders
from app.jobs.processes import WorkerProcess

# A worker that dies while it imports would die again at once.
SECONDS_BETWEEN_STARTS = 60.0


class WorkerPool:
    """Hands out a worker per job: the warm one, where there is one.

    Args:
        command: what starts a worker.
        root: the folder of the job folders, and of the cells.
        keep_warm: whether to keep one at all.
    """

    def __init__(self, command: Sequence[str], root: Path, keep_warm: bool) -> None:
        self._command = command
        self._root = root
        self._lock = threading.Lock()
        self._keeps_warm = keep_warm
        self._started = 0.0
        _compile_program()
        self._warm_worker = self._start_warm()

    def take(self, folder: Path) -> WorkerProcess:
        """A worker whose log lies in `folder`.

        Raises:
            OSError: no process could be started.
        """
        # What a worker leaves can be renamed into the job's folder within one file system only.
        inside = folder.parent == self._root
        worker = self._take_warm() if inside else None
        if worker is None or not worker.alive:
            if worker is not None:
                _discard(worker)
            worker = WorkerProcess(self._command, self._root if inside else folder)
        worker.log.replace(folder / folders.LOG)
        return worker

    def warm_up(self) -> None:
        """Starts a warm worker, if there is none."""
        with self._lock:
            if self._warm_worker is None:
                self._warm_worker = self._start_warm()

    def refresh(self) -> None:
        """Replaces a warm worker that has died; one that died young is left to the next job."""
        with self._lock:
            dead = self._warm_worker
            if dead is not None and dead.alive:
                return
            if time.monotonic() - self._started < SECONDS_BETWEEN_STARTS:
                return
            self._warm_worker = self._start_warm()
        if dead is not None:
            _discard(dead)

    def close(self) -> None:
        """Ends the warm worker; there will be no other."""
        with self._lock:
            self._keeps_warm = False
            warm_worker, self._warm_worker = self._warm_worker, None
        if warm_worker is not None:
            _discard(warm_worker)

    def _take_warm(self) -> WorkerProcess | None:
        with self._lock:
            warm_worker, self._warm_worker = self._warm_worker, None
        return warm_worker

    def _start_warm(self) -> WorkerProcess | None:
        if not self._keeps_warm:
            return None
        self._started = time.monotonic()
        # It is a convenience: if there is no room for one, the job itself will say so.
        with contextlib.suppress(OSError):
            return WorkerProcess(self._command, self._root)
        return None


def _compile_program() -> None:
    """Leaves the byte code of what workers import, which they may not write themselves."""
    root = Path(app.__file__).parents[1]
    for package in ("app", "autoinit", "probes", "sample_models"):
        if not sys.dont_write_bytecode and os.access(root / package, os.W_OK):
            compileall.compile_dir(root / package, quiet=2)


def _discard(process: WorkerProcess) -> None:
    process.kill()
    process.finish()
    folders.remove(process.cell)
