"""What ends a job from outside, and why: too much time, too much memory, a crash."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

from app.jobs.processes import Outcome, Usage, WorkerProcess, describe_death
from app.limits import Limits, format_bytes, variable

SECONDS_BETWEEN_LOOKS = 0.1
# The allocation that failed is not part of what was seen before it.
NEAR_THE_WALL = 0.75
# TensorFlow has a few for each processor.
MOST_THREADS = 4096
_TOO_MANY = f"The worker process started more than {MOST_THREADS} threads and was ended."
_CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL)


class WorkerWatch:
    """Looks after a worker while it has a job: inside a `with` block.

    Args:
        process: the worker.
        limits: how long it may run, and how much memory it may hold.
        stop: ends the job, with the outcome that it is given.
        others_wait: whether another job waits for the place of this one.

    Attributes:
        peak: the most that was seen.
    """

    def __init__(
        self,
        process: WorkerProcess,
        limits: Limits,
        stop: Callable[[Outcome], None],
        others_wait: Callable[[], bool],
    ) -> None:
        self.peak = Usage(0, 0, 0)
        self._process, self._limits, self._stop = process, limits, stop
        self._others_wait = others_wait
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> WorkerWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        start = time.monotonic()
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            usage = self._process.usage()
            self.peak = Usage(*map(max, self.peak, usage))
            if usage.resident > self._limits.memory_bytes:
                self._stop(too_large(self._limits))
            elif usage.threads > MOST_THREADS:
                self._stop(Outcome("failed", ("worker_died", _TOO_MANY)))
            elif (ran := time.monotonic() - start) > self._limits.seconds:
                self._stop(too_long(self._limits))
            elif ran > self._limits.seconds_if_others_wait and self._others_wait():
                self._stop(too_long_for_others(self._limits))

    def explain(self, status: int, has_wall: bool) -> Outcome:
        """Why a worker went away without a last word.

        Args:
            status: its exit status.
            has_wall: whether its address space was limited.
        """
        if status == -signal.SIGXCPU:
            return too_long(self._limits)
        # Native code seldom looks whether it got the memory that it asked for.
        near_the_wall = self.peak.mapped > NEAR_THE_WALL * self._limits.address_space
        if has_wall and near_the_wall and status in _CRASHES:
            return too_large(self._limits)
        return Outcome("failed", ("worker_died", describe_death(status)))


def too_long(limits: Limits) -> Outcome:
    """The end of a job that overran its deadline."""
    message = (
        f"The job ran longer than {limits.seconds:g} seconds and was ended: try fewer samples, or "
        f"allow more time by {variable('seconds')}."
    )
    return Outcome("failed", ("deadline_exceeded", message))


def too_long_for_others(limits: Limits) -> Outcome:
    """The end of a job that had its time when another one came to wait."""
    message = (
        f"The job had run longer than {limits.seconds_if_others_wait:g} seconds, and others were "
        "waiting: start it again when nobody does, or try fewer samples. "
        f"{variable('seconds_if_others_wait')} sets the limit."
    )
    return Outcome("failed", ("deadline_exceeded", message))


def too_large(limits: Limits) -> Outcome:
    """The end of a job that took too much memory."""
    message = (
        f"The analysis needed more than {format_bytes(limits.memory_bytes)} of memory and was "
        "ended: try fewer samples or a smaller input size, or allow more by "
        f"{variable('memory_bytes')}."
    )
    return Outcome("refused", ("out_of_memory", message))
