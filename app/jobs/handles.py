"""The seam between the faces and the workers: `submit(JobSpec) -> JobHandle`, and cancel kills.

One job runs at a time per device, the others wait in line; a spare worker that has imported Keras
already stands by, because that import costs seconds.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from app.jobs import folders
from app.jobs.processes import Outcome, Progress, ProtocolError, WorkerProcess, describe_death
from app.jobs.specification import JobSpec
from app.jobs.supply import WorkerSupply

ACTIVE = ("queued", "running")
DEFAULT_DEADLINE_SECONDS = 1800.0
JOBS_REMEMBERED = 256


class JobHandle:
    """A job as the faces see it. All of it may be used from any thread.

    Attributes:
        folder: where the job's files lie; `result.json` and its companions once it is done.
        status: queued, running, done, refused, failed or cancelled.
        progress: a fraction from 0 to 1 and a stage in words.
        error: (code, message) of a job that was refused or has failed.
    """

    def __init__(self, folder: Path, spec: JobSpec | None = None, key: str | None = None) -> None:
        self.folder = folder
        self.spec = spec
        self.status = "queued"
        self.progress = Progress(0.0, "Waiting")
        self.error: tuple[str, str] | None = None
        self._key = key
        self._lock = threading.Lock()
        self._ended = threading.Event()
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

    def result(self) -> dict[str, Any]:
        """The parsed `result.json`.

        Raises:
            RuntimeError: the job is not done.
        """
        if self.status != "done":
            raise RuntimeError(f"The job has no result: its status is {self.status!r}.")
        parsed: dict[str, Any] = json.loads((self.folder / folders.RESULT).read_bytes())
        return parsed

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the end of the job, whatever it is; whether it has come."""
        return self._ended.wait(timeout)

    def cancel(self) -> None:
        """Takes the job out of the line, or kills its worker; returns when that has happened."""
        outcome = Outcome("cancelled")
        if self._withdraw(self):
            self._end(outcome)
        elif not self._ended.is_set():
            self._stop(outcome)
            self.wait()

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


class Workers:
    """Runs jobs in worker processes, one at a time per device.

    Args:
        spare: whether to keep one worker at hand that has imported Keras.
        command: what starts a worker.
        root: the folder of the job folders; the default is `folders.data_root()`.
        deadline: seconds that a job may run; the default is `deadline_seconds()`.

    Raises:
        ValueError: the deadline is not a positive number.
        OSError: the folder cannot be used.
    """

    def __init__(
        self,
        spare: bool = True,
        command: Sequence[str] = (sys.executable, "-m", "app.jobs.worker"),
        root: Path | None = None,
        deadline: float | None = None,
    ) -> None:
        self.root = root or folders.data_root()
        self._deadline = deadline or deadline_seconds()
        self._lock = threading.RLock()
        self._lines: dict[str, deque[JobHandle]] = {}
        self._jobs: dict[str, JobHandle] = {}
        self._closed = False
        folders.sweep(self.root)
        self._supply = WorkerSupply(command, self.root, spare)
        atexit.register(self.close)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, spec: JobSpec, folder: Path | None = None) -> JobHandle:
        """Puts a job in line, or finds the one that does the same already.

        Args:
            spec: what to do.
            folder: an existing folder of the job's own, for a job that shares its result with
                no other; without it the folder is named by the job's key.

        Raises:
            OSError: the model file cannot be read, or the folder cannot be made.
        """
        if folder is not None:
            return self._enqueue(JobHandle(folder, spec))
        key = spec.key()
        with self._lock:
            known = self.find(key)
            if known is not None and known.status in (*ACTIVE, "done"):
                return known
            self._forget_old_jobs()
            folders.sweep(self.root, keep=[k for k, j in self._jobs.items() if j.status in ACTIVE])
            job = JobHandle(folders.create(self.root / key), spec, key)
            self._jobs[key] = job
            return self._enqueue(job)

    def find(self, key: str) -> JobHandle | None:
        """The job with this key, if it is known here or its result lies on disk."""
        if not folders.is_key(key):
            return None
        folder = self.root / key
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and job.status != "done":
                return job
            if not folders.is_complete(folder):
                return None
            folders.touch(folder)
            if job is None:
                job = JobHandle(folder, key=key)
                job._end(Outcome("done"))
            return job

    def close(self) -> None:
        """Cancels what waits and runs, and ends the spare worker."""
        with self._lock:
            self._closed = True
            # Last come, first cancelled: nobody moves up and starts meanwhile.
            jobs = [job for line in self._lines.values() for job in reversed(line)]
        self._supply.close()
        for job in jobs:
            job.cancel()
        atexit.unregister(self.close)

    def _enqueue(self, job: JobHandle) -> JobHandle:
        assert job.spec is not None
        with self._lock:
            if self._closed:
                raise RuntimeError("The workers are closed; no job can be submitted any more.")
            job._withdraw = self._withdraw
            line = self._lines.setdefault(_device_kind(job.spec.settings.device), deque())
            line.append(job)
            self._move_up(line)
        return job

    def _withdraw(self, job: JobHandle) -> bool:
        """Takes a job that has not started out of its line; whether there was such a job."""
        with self._lock:
            for line in self._lines.values():
                if job in line and job.status == "queued":
                    line.remove(job)
                    self._move_up(line)
                    return True
        return False

    def _move_up(self, line: deque[JobHandle]) -> None:
        """Starts the first in line, and tells the others how long the line is."""
        if line and line[0].status == "queued":
            line[0].status = "running"
            line[0].progress = Progress(0.0, "Starting the worker")
            threading.Thread(target=self._run, args=(line, line[0]), daemon=True).start()
        for ahead, job in enumerate(line):
            if ahead:
                job.progress = Progress(0.0, f"Waiting: {ahead} ahead of you")

    def _run(self, line: deque[JobHandle], job: JobHandle) -> None:
        # Whatever happens in this thread, the job must end and the line must move.
        try:
            outcome = self._converse(job)
        except Exception as error:
            outcome = Outcome("failed", ("not_run", f"The worker could not be run: {error}."))
        with self._lock:
            line.popleft()
            job._end(outcome)
            self._move_up(line)

    def _converse(self, job: JobHandle) -> Outcome:
        """Runs a job in a worker, from handing it over to the end of the process."""
        assert job.spec is not None
        process = self._supply.take(job.folder)
        job._attach(process)
        deadline = threading.Timer(self._deadline, job._stop, [_overrun(self._deadline)])
        deadline.daemon = True
        deadline.start()
        outcome = None
        try:
            process.send({"spec": job.spec.to_json(), "folder": str(job.folder.absolute())})
            for report in process.reports():
                if isinstance(report, Outcome):
                    outcome = report
                    break
                job.progress = report
        except ProtocolError as error:
            process.kill()
            outcome = Outcome("failed", ("protocol", f"The worker process wrote {error}."))
        finally:
            deadline.cancel()
            status = process.finish()
            folders.remove_staging(job.folder, process.pid)
        if outcome is None:
            return job._stopped or Outcome("failed", ("worker_died", describe_death(status)))
        if outcome.status == "done" and not folders.is_complete(job.folder):
            return Outcome("failed", ("no_result", "The worker process left no result."))
        return outcome

    def _forget_old_jobs(self) -> None:
        ended = [key for key, job in self._jobs.items() if job.status not in ACTIVE]
        for key in ended[: max(0, len(self._jobs) - JOBS_REMEMBERED)]:
            del self._jobs[key]


_shared: Workers | None = None
_shared_lock = threading.Lock()


def shared_workers() -> Workers:
    """This process's workers, started when they are first asked for."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Workers()
        return _shared


def submit(spec: JobSpec, folder: Path | None = None) -> JobHandle:
    """Puts a job in this process's line: see `Workers.submit`."""
    return shared_workers().submit(spec, folder)


def find(key: str) -> JobHandle | None:
    """The job with this key, for links that name it: see `Workers.find`."""
    return shared_workers().find(key)


def warm_up() -> None:
    """Starts the spare worker, so that the first job need not wait for Keras."""
    shared_workers()


def deadline_seconds() -> float:
    """How long a job may run: AUTOINIT_DEADLINE_SECONDS, or 1800.

    Raises:
        ValueError: the variable is not a positive number.
    """
    text = os.environ.get("AUTOINIT_DEADLINE_SECONDS", str(DEFAULT_DEADLINE_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise ValueError(
            f"AUTOINIT_DEADLINE_SECONDS must be a positive number of seconds; received {text!r}."
        )
    return seconds


def _device_kind(device: str) -> str:
    """Which line a job waits in: `auto` means the GPU where there is one."""
    if device != "auto":
        return device
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return "gpu" if not hidden and any(Path("/dev").glob("nvidia[0-9]*")) else "cpu"


def _overrun(seconds: float) -> Outcome:
    message = (
        f"The job ran longer than {seconds:g} seconds and was ended: try fewer samples, or "
        "allow more time by AUTOINIT_DEADLINE_SECONDS."
    )
    return Outcome("failed", ("deadline_exceeded", message))
