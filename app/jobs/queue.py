"""The seam between the faces and the workers: `submit(JobSpec) -> JobHandle`, and cancel kills.

One job runs at a time per device, or as many as the limits say; the others wait in a queue of
bounded length. A warm worker that has imported Keras already stands by, because that import costs
seconds. With `AUTOINIT_RAY=ADDRESS` jobs are done on the nodes of a cluster.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import zip_longest
from pathlib import Path

from app.analysis.devices import device_kind
from app.analysis.job_spec import JobSpec
from app.jobs import folders
from app.jobs.handles import ACTIVE, JobHandle
from app.jobs.processes import ON_NODES, Outcome, Progress, ProtocolError
from app.jobs.watching import WorkerWatch
from app.jobs.worker_pool import WorkerPool
from app.limits import Limits, variable

JOBS_REMEMBERED = 256
CLUSTER = "AUTOINIT_RAY"
_NEARLY_DONE = 0.9  # of a job: the next one's worker gets ready


class AlreadyRunningError(Exception):
    """Who submits a job holds another one that has not ended.

    Attributes:
        job: that one.
    """

    def __init__(self, job: JobHandle) -> None:
        super().__init__("Another analysis of yours has not ended yet.")
        self.job = job


class Workers:
    """Runs jobs in worker processes, one at a time per device unless the limits say more.

    Args:
        keep_warm: whether to keep one worker at hand that has imported Keras.
        command: what starts a worker.
        root: the folder of the job folders; the default is `folders.data_root()`.
        limits: what jobs, the queue and the disk may take; the default is the environment's.

    Raises:
        ValueError: a limit in the environment is not a positive number.
        OSError: the folder cannot be used.
    """

    def __init__(
        self,
        keep_warm: bool = True,
        command: Sequence[str] = (sys.executable, "-m", "app.jobs.worker"),
        root: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits or Limits.from_environment()
        self.root = root or folders.data_root()
        self._lock = threading.RLock()
        self._queues: dict[str, deque[JobHandle]] = {}
        self._jobs: dict[str, JobHandle] = {}
        self._served: dict[str | None, None] = {}  # the latest last
        self._closed = False
        self._claim = folders.claim(self.root)
        self._sweep()
        self._pool = WorkerPool(command, self.root, keep_warm)
        atexit.register(self.close)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self,
        spec: JobSpec,
        folder: Path | None = None,
        owner: str | None = None,
        address: str | None = None,
    ) -> JobHandle:
        """Puts a job into the queue, or finds the one that does the same already.

        A queue that is full gives a job that was refused.

        Args:
            spec: what to do.
            folder: an existing folder of the job's own, for a job that shares its result with
                no other; without it the folder is named by the job's key.
            owner: who asks. Equal jobs of several owners are one job, which goes on until the
                last of them cancels it.
            address: where the owner is. Addresses are served in turn.

        Raises:
            AlreadyRunningError: the owner has another job that has not ended.
            OSError: the model file cannot be read, or the folder cannot be made.
        """
        if folder is not None:
            return self._enqueue(JobHandle(folder, spec))
        key = spec.key()
        with self._lock:
            known = self.find(key)
            if known is not None and known.status == "done":
                return known
            if owner is not None:
                self._require_idle(owner, key)
            if known is not None and known.status in ACTIVE and known.add_owner(owner or ""):
                return known
            self._forget_old_jobs()
            self._sweep(*spec.files)
            job = self._jobs[key] = JobHandle(self.root / key, spec, key, address)
            queue = self._queue_of(spec)
            own = [each for each in queue if each.address == address is not None]
            full = self._limits.queue + self._limits.at_once
            if len(queue) >= full and not self._make_room(queue, address):
                job._end(_busy(self._limits))
                return job
            if len(own) >= self._limits.queue_per_address + self._limits.at_once:
                job._end(_busy_address(self._limits))
                return job
            folders.label(folders.create(job.folder), address)
            job.add_owner(owner or "")
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

    def in_use(self) -> set[Path]:
        """The folders and the files of the jobs that have not ended."""
        with self._lock:
            active = [job for queue in self._queues.values() for job in queue]
        return {path for job in active if job.spec for path in (job.folder, *job.spec.files)}

    def refresh(self) -> None:
        """Replaces a warm worker that has died; while a job runs, that is for its end."""
        if not self.in_use():
            self._pool.refresh()

    def close(self) -> None:
        """Cancels what waits and runs, and ends the warm worker."""
        with self._lock:
            self._closed = True
            # Last come, first cancelled: nobody moves up and starts meanwhile.
            jobs = [job for queue in self._queues.values() for job in reversed(queue)]
            claim, self._claim = self._claim, None
        self._pool.close()
        for job in jobs:
            job.cancel()
        if claim is not None:
            os.close(claim)
        atexit.unregister(self.close)

    def _require_idle(self, owner: str, key: str) -> None:
        for job in self._jobs.values():
            if job.status in ACTIVE and job.is_owned_by(owner) and job.key != key:
                raise AlreadyRunningError(job)

    def _queue_of(self, spec: JobSpec) -> deque[JobHandle]:
        return self._queues.setdefault(device_kind(spec.settings.device), deque())

    def _enqueue(self, job: JobHandle) -> JobHandle:
        assert job.spec is not None
        with self._lock:
            if self._closed:
                raise RuntimeError("The workers are closed; no job can be submitted any more.")
            job._withdraw = self._withdraw
            queue = self._queue_of(job.spec)
            queue.append(job)
            self._move_up(queue)
        return job

    def _withdraw(self, job: JobHandle) -> bool:
        """Takes a job that has not started out of its queue; whether there was such a job."""
        with self._lock:
            for queue in self._queues.values():
                if job in queue and job.status == "queued":
                    queue.remove(job)
                    self._move_up(queue)
                    return True
        return False

    def _move_up(self, queue: deque[JobHandle]) -> None:
        """Starts the first ones in the queue, and tells the others how many are ahead."""
        waiting = [job for job in queue if job.status == "queued"]
        for job in waiting:
            queue.remove(job)
        queue.extend(self._in_turn(waiting))
        for place, job in enumerate(queue):
            ahead = place - self._limits.at_once + 1
            if ahead > 0:
                job.progress = Progress(0.0, f"Waiting: {ahead} ahead of you")
            elif job.status == "queued":
                self._start(queue, job)

    def _start(self, queue: deque[JobHandle], job: JobHandle) -> None:
        job.status = "running"
        self._served.pop(job.address, None)
        self._served[job.address] = None
        while len(self._served) > JOBS_REMEMBERED:
            del self._served[next(iter(self._served))]
        job.progress = Progress(0.0, "Starting the worker")
        threading.Thread(target=self._run, args=(queue, job), daemon=True).start()

    def _make_room(self, queue: deque[JobHandle], address: str | None) -> bool:
        """Takes the last place of the address that has most, if it has two more than this one."""
        waiting = [job for job in queue if job.status == "queued" and job.address is not None]
        places = Counter(job.address for job in waiting)
        most = max(places, key=places.__getitem__, default=None)
        if address is None or places[most] < places[address] + 2:
            return False
        last = [job for job in waiting if job.address == most][-1]
        queue.remove(last)
        last._end(_busy(self._limits))
        return True

    def _in_turn(self, waiting: Sequence[JobHandle]) -> list[JobHandle]:
        """One job of each address, then the next of each; who was served longest ago is first."""
        found: dict[str | None, list[JobHandle]] = {}
        for job in waiting:
            found.setdefault(job.address, []).append(job)
        served = list(self._served)
        turn = sorted(found, key=lambda each: served.index(each) if each in served else -1)
        rounds = zip_longest(*(found[address] for address in turn))
        return [job for each in rounds for job in each if job is not None]

    def _run(self, queue: deque[JobHandle], job: JobHandle) -> None:
        # Whatever happens in this thread, the job must end and the queue must move.
        try:
            outcome = self._converse(job)
        except Exception as error:
            outcome = Outcome("failed", ("not_run", f"The worker could not be run: {error}."))
        with contextlib.suppress(OSError):
            self._sweep()
        with self._lock:
            queue.remove(job)
            job._end(outcome)
            self._move_up(queue)

    def _converse(self, job: JobHandle) -> Outcome:
        """Runs a job in a worker, from handing it over to the end of the process."""
        assert job.spec is not None
        process = self._pool.take(job.folder)
        job._attach(process)
        outcome = None
        try:
            inside = job.spec.moved(partial(folders.give, process.cell))
            queue = self._queue_of(job.spec)
            at_once = self._limits.at_once
            with WorkerWatch(
                process, self._limits, job._stop, lambda: len(queue) > at_once
            ) as watch:
                process.send(
                    {
                        "spec": inside.to_json(),
                        "folder": str(folders.left(process.cell)),
                        "limits": asdict(self._limits),
                    }
                )
                for report in process.reports():
                    if isinstance(report, Outcome):
                        outcome = report
                        break
                    job._report(report)
                    if report.fraction > _NEARLY_DONE:
                        self._pool.warm_up()
        except ProtocolError as error:
            process.kill()
            outcome = Outcome("failed", ("protocol", f"The worker process wrote {error}."))
        except OSError:
            process.kill()
            raise
        finally:
            self._pool.warm_up()
            status = process.finish()
            if outcome is not None and outcome.status == "done":
                folders.publish(process.cell, job.folder)
            folders.remove(process.cell)
        if outcome is None:
            has_wall = device_kind(job.spec.settings.device) == "cpu"
            return job._stopped or watch.explain(status, has_wall)
        if outcome.status == "done" and not folders.is_complete(job.folder):
            return Outcome("failed", ("no_result", "The worker process left no result."))
        return outcome

    def _sweep(self, *keep: Path) -> None:
        folders.sweep(self.root, {*self.in_use(), *keep}, self._limits.stored_bytes)

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
            _shared = Workers(command=ON_NODES) if os.environ.get(CLUSTER) else Workers()
        return _shared


def submit(
    spec: JobSpec, folder: Path | None = None, owner: str | None = None, address: str | None = None
) -> JobHandle:
    """Puts a job into this process's queue: see `Workers.submit`."""
    return shared_workers().submit(spec, folder, owner, address)


def find(key: str) -> JobHandle | None:
    """The job with this key, for links that name it: see `Workers.find`."""
    return shared_workers().find(key)


def has_begun(key: str) -> bool:
    """Whether there was a job with this key which this process does not know."""
    return folders.is_key(key) and (shared_workers().root / key).is_dir()


def warm_up() -> None:
    """Sees to it that a warm worker stands by, so that the next job need not wait for Keras."""
    shared_workers().refresh()


def shut_down() -> None:
    """Cancels what waits and runs; the next job starts anew."""
    global _shared
    with _shared_lock:
        workers, _shared = _shared, None
    if workers is not None:
        workers.close()


def in_use() -> set[Path]:
    """What must not be removed: see `Workers.in_use`. Starts nothing."""
    workers = _shared
    return workers.in_use() if workers is not None else set()


def _busy(limits: Limits) -> Outcome:
    message = (
        f"{limits.queue} analyses are waiting already, which is as many as this server takes: try "
        f"again in a few minutes. {variable('queue')} sets the limit."
    )
    return Outcome("refused", ("busy", message))


def _busy_address(limits: Limits) -> Outcome:
    message = (
        f"{limits.queue_per_address} analyses of your network address are waiting already: try "
        f"again when one of them is done. {variable('queue_per_address')} sets the limit."
    )
    return Outcome("refused", ("busy", message))
