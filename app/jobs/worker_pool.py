"""Where worker processes come from: one that has imported Keras already stands by as a spare."""

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
SECONDS_BETWEEN_SPARES = 60.0


class WorkerSupply:
    """Hands out a worker per job; when the spare goes, the next one is started.

    Args:
        command: what starts a worker.
        root: the folder of the job folders, and of the spare's log.
        spare: whether to keep a spare at all.
    """

    def __init__(self, command: Sequence[str], root: Path, spare: bool) -> None:
        self._command = command
        self._root = root
        self._lock = threading.Lock()
        self._keeps_spare = spare
        self._started = 0.0
        self._spare = self._start_spare()

    def take(self, folder: Path) -> WorkerProcess:
        """A worker whose log lies in `folder`.

        Raises:
            OSError: no process could be started.
        """
        log = folder / folders.LOG
        log.unlink(missing_ok=True)
        # The spare's log can be renamed into the job's folder within one file system only.
        spare = self._take_spare() if folder.parent == self._root else None
        if spare is not None and spare.alive:
            spare.log.rename(log)
            return spare
        if spare is not None:
            _discard(spare)
        return WorkerProcess(self._command, log)

    def refresh(self) -> None:
        """Replaces a spare that has died, unless it died young; the next job replaces that one."""
        with self._lock:
            dead = self._spare
            if dead is not None and dead.alive:
                return
            if time.monotonic() - self._started < SECONDS_BETWEEN_SPARES:
                return
            self._spare = self._start_spare()
        if dead is not None:
            _discard(dead)

    def close(self) -> None:
        """Ends the spare; there will be no other."""
        with self._lock:
            self._keeps_spare = False
            spare, self._spare = self._spare, None
        if spare is not None:
            _discard(spare)

    def _take_spare(self) -> WorkerProcess | None:
        with self._lock:
            spare, self._spare = self._spare, self._start_spare()
        return spare

    def _start_spare(self) -> WorkerProcess | None:
        if not self._keeps_spare:
            return None
        self._started = time.monotonic()
        # A spare is a convenience: if there is no room for one, the job itself will say so.
        with contextlib.suppress(OSError):
            descriptor, log = tempfile.mkstemp(prefix=folders.SPARE_LOG_PREFIX, dir=self._root)
            os.close(descriptor)
            return WorkerProcess(self._command, Path(log))
        return None


def _discard(process: WorkerProcess) -> None:
    process.kill()
    process.finish()
    process.log.unlink(missing_ok=True)
