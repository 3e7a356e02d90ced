"""A job as the faces see it: how far it is, how it ended, and who waits for it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from app.analysis.job_spec import JobSpec
from app.analysis.result import RESULT_LIMIT, Result, read_result
from app.analysis.trials.result import TrialResult, read_trials
from app.jobs import folders
from app.jobs.processes import Outcome, Progress, WorkerProcess

ACTIVE = ("queued", "running")
# Share and seconds of a job before which it says little how long the rest will take.
_TELLING, _SECONDS_TELLING = 0.15, 2.0


class JobHandle:
    """A job as the faces see it. All of it may be used from any thread.

    Attributes:
        folder: where the job's files lie; `result.json` and its companions once it is done.
        status: queued, running, done, refused, failed or cancelled.
        progress: a fraction from 0 to 1 and a stage in words.
        address: of the network, from which it was asked for first; None for this machine.
        error: (code, message) of a job that was refused or has failed.
    """

    def __init__(
        self,
        folder: Path,
        spec: JobSpec | None = None,
        key: str | None = None,
        address: str | None = None,
    ) -> None:
        self.folder = folder
        self.address = address
        self.spec = spec
        self.status = "queued"
        self.progress = Progress(0.0, "Waiting")
        self.error: tuple[str, str] | None = None
        self._key = key
        self._times = (0.0, 0.0)  # of the first and of the latest word of its progress
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._owners: set[str] = set()
        self._process: WorkerProcess | None = None
        self._stopped: Outcome | None = None
        self._withdraw: Callable[[JobHandle], bool] = lambda _: False

    @cached_property
    def key(self) -> str:
        """The job's key; with a private folder it is worked out when it is first asked for."""
        if self._key is not None:
            return self._key
        assert self.spec is not None
        return self.spec.key()

    def result(self) -> Result:
        """What `result.json` holds.

        Raises:
            RuntimeError: the job is not done.
            ResultError: the file is broken.
            OSError: it cannot be read, or no worker would have made such a file.
        """
        if self.status != "done":
            raise RuntimeError(f"The job has no result: its status is {self.status!r}.")
        return read_result(folders.read_written(self.folder / folders.RESULT, RESULT_LIMIT))

    def trials(self) -> TrialResult:
        """What the `result.json` of a trial holds; raises as `result` does."""
        if self.status != "done":
            raise RuntimeError(f"The job has no result: its status is {self.status!r}.")
        return read_trials(folders.read_written(self.folder / folders.RESULT, RESULT_LIMIT))

    def preview(self) -> tuple[Path, int] | None:
        """Where a job under way keeps what it has found so far, and when it wrote that."""
        process = self._process
        if process is not None:
            path = folders.left(process.cell) / folders.PREVIEW
            with contextlib.suppress(OSError):
                return path, path.lstat().st_mtime_ns
        return None

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the end of the job, whatever it is; whether it has come."""
        return self._ended.wait(timeout)

    def add_owner(self, owner: str) -> bool:
        """Counts one more who waits for this job; False if it is being ended already."""
        with self._lock:
            if self._stopped is None:
                self._owners.add(owner)
            return self._stopped is None

    def is_owned_by(self, owner: str) -> bool:
        """Whether this one has asked for the job and not cancelled it."""
        return owner in self._owners

    def cancel(self, owner: str | None = None) -> None:
        """Takes the job out of the queue, or kills its worker; returns when that has happened.

        Args:
            owner: who cancels. The job goes on as long as others hold it. Without a owner it
                ends for everyone.
        """
        outcome = Outcome("cancelled")
        with self._lock:
            if owner is not None:
                self._owners.discard(owner)
                if self._owners:
                    return
            self._stopped = self._stopped or outcome
        if self._withdraw(self):
            self._end(outcome)
        elif not self._ended.is_set():
            self._stop(outcome)
            self.wait()

    @property
    def seconds_left(self) -> float | None:
        """As many as its progress makes likely; None as long as it says too little."""
        (first, latest), (fraction, _) = self._times, self.progress
        if self.status != "running" or fraction < _TELLING or latest - first < _SECONDS_TELLING:
            return None
        left = (latest - first) * (1.0 - fraction) / fraction
        return max(left - (time.monotonic() - latest), 0.0)

    def _report(self, progress: Progress) -> None:
        now = time.monotonic()
        self._times = (self._times[0] or now, now)
        self.progress = progress

    def _stop(self, outcome: Outcome) -> None:
        """Kills the worker now or as soon as there is one; `outcome` becomes the job's end."""
        with self._lock:
            self._stopped = self._stopped or outcome
            if self._process is not None:
                self._process.kill()

    def _attach(self, process: WorkerProcess) -> None:
        with self._lock:
            self._process = process
            if self._stopped is not None:
                process.kill()

    def _end(self, outcome: Outcome) -> None:
        self.error = outcome.error
        if outcome.status == "done":
            self.progress = Progress(1.0, "Done")
        self.status = outcome.status
        self._ended.set()
