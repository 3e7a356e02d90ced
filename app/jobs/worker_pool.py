"""Where worker processes come from: one that has imported Keras already stands by, warm.

To import it takes as long as half an analysis: the next one does so when a job is nearly done.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from app.jobs import folders
from app.jobs.processes import WorkerProcess

# A worker that dies while it imports would die again at once.
SECONDS_BETWEEN_STARTS = 60.0


class WorkerPool:
    """Hands out a worker per job: the warm one, where there is one.

    Args:
        command: what starts a worker.
        root: the folder of the job folders, and of the warm worker's log.
        keep_warm: whether to keep one at all.
    """

    def __init__(self, command: Sequence[str], root: Path, keep_warm: bool) -> None:
        self._command = command
        self._root = root
        self._lock = threading.Lock()
        self._keeps_warm = keep_warm
        self._started = 0.0
        self._warm_worker = self._start_warm()

    def take(self, folder: Path) -> WorkerProcess:
        """A worker whose log lies in `folder`.

        Raises:
            OSError: no process could be started.
        """
        log = folder / folders.LOG
        log.unlink(missing_ok=True)
        # Its log can be renamed into the job's folder within one file system only.
        warm_worker = self._take_warm() if folder.parent == self._root else None
        if warm_worker is not None and warm_worker.alive:
            warm_worker.log.rename(log)
            return warm_worker
        if warm_worker is not None:
            _discard(warm_worker)
        return WorkerProcess(self._command, log)

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
            descriptor, log = tempfile.mkstemp(prefix=folders.WARM_LOG_PREFIX, dir=self._root)
            os.close(descriptor)
            return WorkerProcess(self._command, Path(log))
        return None


def _discard(process: WorkerProcess) -> None:
    process.kill()
    process.finish()
    process.log.unlink(missing_ok=True)
