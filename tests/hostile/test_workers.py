"""The battery through the real seam: one worker process per file, and the service none the worse.

A worker takes seconds to start, so that a few files stand for all here; `make test-all` sends
every seventh. Every file of the battery is opened by `test_battery`.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.jobs import JobHandle, JobSpec, Settings, Workers
from tests.hostile.archives import good_keras
from tests.hostile.intake import Answer
from tests.hostile.parts import ANALYSED, Row
from tests.hostile.test_battery import ROWS, check, write

PATIENCE = 600.0
GOOD_FILE_EVERY = 10
SETTINGS = Settings(samples=4, device="cpu", input_size=8)
# Refused for what its weights declare, for code it holds, and for what building it would cost.
FEW = ("declares-512-mb.h5", "lambda.nested.keras", "orthogonal-4000.keras3.json")
BY_NAME = {row.name: row for row in ROWS}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the workers' temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def workers(tmp_path: Path, temporary: Path) -> Iterator[Workers]:
    root = tmp_path / "data"
    root.mkdir()
    with Workers(keep_warm=True, root=root) as workers:
        yield workers


def worker_memory() -> int:
    """The most resident memory that a worker of this process has had."""
    return max((memory for memory, _ in workers_used()), default=0)


def worker_seconds() -> float:
    """The most of the processor's time that a worker of this process has had."""
    return max((seconds for _, seconds in workers_used()), default=0.0)


def workers_used() -> Iterator[tuple[int, float]]:
    """Peak of memory and the processor's time, of each worker of this process."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "status").read_text()
            command = (entry / "cmdline").read_bytes()
            times = (entry / "stat").read_text().rpartition(")")[2].split()[11:13]
        except OSError:
            continue
        figures = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        # Servers of other tests are this process's children, too.
        if (
            b"app.jobs.worker" in command
            and figures["PPid"].strip() == str(os.getpid())
            and "VmHWM" in figures
        ):
            ticks = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
            yield int(figures["VmHWM"].split()[0]) * 1024, ticks


def answer_of(job: JobHandle) -> Answer:
    """Waits for a job; its time counts from when the worker has imported what it needs."""
    began, spent, peak = 0.0, 0.0, 0
    deadline = time.monotonic() + PATIENCE
    starting = job.progress.stage
    while not job.wait(0.05):
        assert time.monotonic() < deadline, job.progress
        peak, spent = max(peak, worker_memory()), max(spent, worker_seconds())
        if job.progress.stage == starting:
            began = spent
    seconds = spent - began
    if job.status == "done":
        codes = tuple(finding.code for finding in job.result().findings)
        return Answer(ANALYSED, "", codes, seconds, peak)
    assert job.error is not None
    return Answer(job.error[0], job.error[1], (), seconds, peak)


def send(rows: list[Row], workers: Workers, folder: Path, temporary: Path) -> None:
    good = folder / "good.keras"
    good.write_bytes(good_keras())
    for count, row in enumerate(rows):
        place = folder / str(count)
        place.mkdir()
        job = workers.submit(JobSpec(os.fspath(write(row, place)), row.name, SETTINGS))
        check(row, answer_of(job), place)
        if job.status != "done":
            assert [path.name for path in job.folder.iterdir()] == ["worker.log"]
        assert not list(temporary.iterdir()), "temporary files were left behind"
        if count % GOOD_FILE_EVERY == 0 or row is rows[-1]:
            after = workers.submit(JobSpec(str(good), f"good-{count}.keras", SETTINGS))
            found = answer_of(after)
            assert found.outcome == ANALYSED
            assert found.peak > 0, "no worker was found"


@pytest.mark.slow
def test_a_few_and_the_good_files_between_them(
    workers: Workers, tmp_path: Path, temporary: Path
) -> None:
    send([BY_NAME[name] for name in FEW], workers, tmp_path, temporary)


@pytest.mark.slow
def test_every_seventh_and_the_good_files_between_them(
    workers: Workers, tmp_path: Path, temporary: Path
) -> None:
    send(ROWS[::7], workers, tmp_path, temporary)
