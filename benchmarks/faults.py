"""What goes wrong on a server, made to go wrong: what the page says, and who else notices.

    python -m benchmarks.faults [--only SCENARIO …] [--screenshots FOLDER]

A dashboard of its own for each scenario, and a real browser: the worker is killed in the middle of
a job; its disk is full; its memory runs out; eight visitors come at once, half of them with files
that are refused. After each fault a good file is analysed in the same dashboard. Then, without
pages: sixteen addresses at once, four of which keep the line full of what runs for as long as it
may; and hundreds of analyses one after the other (`--analyses`), which takes hours. Needs Linux,
the development requirements and a browser (`make browser`); the full disk also needs the right to
mount one, and is left out without it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page

from app.jobs import JobHandle, JobSpec, Settings, Workers
from app.jobs.handles import ACTIVE
from app.limits import Limits
from benchmarks.browser import MIB, PATIENCE, Line, Server, parser_for, run, server, size, visit
from sample_models import FILES_FOLDER
from tests.e2e.driving import analyze, choose_sample, upload
from tests.hostile import archives, sizes_and_shapes, stored_weights
from tests.hostile.parts import chain, dense, layer

GOOD = ["small-cnn.keras", "small-mlp.h5"]
BAD = ["picture.keras", "config-of-300-mb.keras", "declares-512-mb.h5", "doubled-30-times.json"]
HOSTILE = [archives.ROWS, stored_weights.ROWS, sizes_and_shapes.ROWS]
LONG = "resnet-812-nobn"
MEMORY = 1200 * MIB
ADDRESSES, HOSTILE_ADDRESSES, USUAL = 16, 4, "deep-tanh-mlp"


def said(page: Page) -> str | None:
    """What the page says in the end: `a result`, or its sentence; None as long as it works."""
    if page.get_by_test_id("stDataFrame").count():
        return "a result"
    # While a job runs there is a bar; what was there before it may linger, greyed.
    if page.get_by_test_id("stProgress").count():
        return None
    alerts = page.get_by_test_id("stMain").get_by_test_id("stAlert")
    if not alerts.count():
        return None
    # The first line is the name of the icon.
    return " ".join(alerts.first.inner_text().partition("\n")[2].split())


def outcome(page: Page) -> tuple[float, str]:
    """Seconds until the page says how a job ended, and what it says."""
    return outcomes([page])[0]


def outcomes(pages: list[Page]) -> list[tuple[float, str]]:
    start = time.monotonic()
    found: dict[int, tuple[float, str]] = {}
    while len(found) < len(pages):
        if time.monotonic() > start + PATIENCE:
            raise TimeoutError("A page has not said how its job ended.")
        for index, page in enumerate(pages):
            sentence = None if index in found else said(page)
            if sentence is not None:
                found[index] = (time.monotonic() - start, sentence)
        pages[0].wait_for_timeout(100)
    return [found[index] for index in range(len(pages))]


def run_good_file(page: Page, folder: Path, fresh: str) -> tuple[float, str]:
    """A good file that this server has not seen: its configuration's model has another name."""
    path = folder / f"{fresh}.json"
    path.write_text(json.dumps(chain(name=fresh)))
    with contextlib.suppress(Exception):
        page.get_by_role("radio", name="Upload").click(timeout=1000)
    page.goto(page.url.partition("?")[0])
    upload(page, path)
    page.wait_for_timeout(1000)
    return outcome(page)


# The scenarios: each yields lines (what, seconds, what the page says)


def killed(browser: Browser, folder: Path) -> Iterator[Line]:
    """The worker is killed by the system in the middle of a job."""
    with server(folder) as running:
        page = visit(browser, running.address)
        choose_sample(page, LONG)
        analyze(page)
        page.get_by_test_id("stProgress").wait_for()
        while (worker := running.busy_worker()) is None:
            page.wait_for_timeout(100)
        page.wait_for_timeout(6000)
        os.kill(worker, signal.SIGKILL)
        seconds, sentence = outcome(page)
        screenshot(page, "killed")
        yield "the worker is killed", seconds, sentence
        yield "next job, same page", *run_good_file(page, folder, "after-kill")
        yield memory(running)


def full_disk(browser: Browser, folder: Path) -> Iterator[Line]:
    """The disk with the results is full."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode:
        yield "a full disk", 0.0, "left out: no disk could be mounted"
        return
    try:
        with server(disk) as running:
            page = visit(browser, running.address)
            choose_sample(page, "all-cnn-c")
            analyze(page)
            page.get_by_test_id("stProgress").wait_for()
            seconds, sentence = outcome(page)
            screenshot(page, "full-disk")
            yield "a result of 11 MB, a disk of 2 MB", seconds, sentence
            yield "next job, same page", *run_good_file(page, folder, "after-full-disk")
            kept = sum(file.stat().st_size for file in disk.rglob("*") if file.is_file())
            yield "left on the disk", 0.0, f"{kept / MIB:.2f} MB"
            yield memory(running)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def out_of_memory(browser: Browser, folder: Path) -> Iterator[Line]:
    """A job needs more memory than a worker may have."""
    with server(folder, AUTOINIT_MAX_MEMORY_BYTES=str(MEMORY)) as running:
        page = visit(browser, running.address)
        large = folder / "large.json"
        large.write_text(json.dumps(chain(dense("a", 12_000), dense("b", 12_000))))
        upload(page, large)
        page.get_by_test_id("stProgress").wait_for()
        seconds, sentence = outcome(page)
        screenshot(page, "out-of-memory")
        yield f"144 million weights, {MEMORY / MIB:,.0f} MB", seconds, sentence
        yield "next job, same page", *run_good_file(page, folder, "after-memory")
        yield memory(running)


def eight_visitors(browser: Browser, folder: Path) -> Iterator[Line]:
    """Eight browsers bring files at once; half of their files are refused."""
    rows = {row.name: row for rows in HOSTILE for row in rows}
    files = []
    for index in range(4):
        good = folder / f"good-{index}.json"
        good.write_text(json.dumps(chain(name=f"visitor-{index}")))
        if index < len(GOOD):
            good = FILES_FOLDER / GOOD[index]
        bad = folder / BAD[index]
        bad.write_bytes(rows[bad.name].make(folder / "marker"))
        files += [good, bad]
    data = folder / "data"
    data.mkdir()
    with server(data) as running:
        pages = [visit(browser, running.address) for _ in files]
        for page, file in zip(pages, files, strict=True):
            upload(page, file)
        for file, (seconds, sentence) in zip(files, outcomes(pages), strict=True):
            yield file.name, seconds, sentence
        for name in ("good", "bad"):
            screenshot(pages[name == "bad"], f"eight-{name}")
        yield "next job, first page", *run_good_file(pages[0], folder, "after-eight")
        yield memory(running)


def sixteen_addresses(_: Browser, folder: Path) -> Iterator[Line]:
    """Sixteen addresses at once: four keep the line full of what runs for as long as it may."""
    endless = folder / "endless.json"
    recurrent = {"filters": 2, "kernel_size": [3, 3]}
    endless.write_text(
        json.dumps(chain(layer("ConvLSTM2D", "endless", recurrent), shape=(5000, 6, 6, 2)))
    )
    limits = Limits(queue=ADDRESSES, queue_per_address=4, seconds_if_others_wait=60)
    numbers = itertools.count()
    with Workers(root=folder, limits=limits) as workers:

        def analysis(address: int) -> JobHandle:
            spec = JobSpec(f"sample:{USUAL}", USUAL, Settings(seed=next(numbers)))
            return workers.submit(spec, address=f"192.0.2.{address}")

        def refill(address: int) -> None:
            """Another job, if the address has a place for it; `became` counts those that ended."""
            own = hostile[address]
            ended = [job for job in own if job.status not in ACTIVE]
            became.update(job.error[0] if job.error else job.status for job in ended)
            own[:] = [job for job in own if job.status in ACTIVE]
            if len(own) < limits.queue_per_address:
                spec = JobSpec(str(endless), f"endless-{next(numbers)}.json", Settings())
                own.append(workers.submit(spec, address=f"192.0.2.{address}"))

        alone = []
        for _first in range(3):  # the first begins without a worker that stands by
            start = time.monotonic()
            analysis(0).wait()
            alone.append(time.monotonic() - start)
        yield f"{USUAL}, alone", alone[-1], ""
        before, became = size(psutil.Process()), Counter[str]()
        hostile: list[list[JobHandle]] = [[] for _address in range(HOSTILE_ADDRESSES)]
        for _place in range(limits.queue_per_address):
            for address in range(HOSTILE_ADDRESSES):
                refill(address)
        start = time.monotonic()
        honest = {analysis(n): 0.0 for n in range(HOSTILE_ADDRESSES, ADDRESSES)}
        while not all(honest.values()):
            time.sleep(1)
            for address in range(HOSTILE_ADDRESSES):
                refill(address)
            for job, seconds in honest.items():
                if not seconds and job.status not in ACTIVE:
                    honest[job] = time.monotonic() - start
        for place, seconds in enumerate(sorted(honest.values()), start=1):
            yield f"analysis {place} of {len(honest)} is there", seconds, ""
        ends = Counter(job.error[0] if job.error else job.status for job in honest)
        fair = ADDRESSES * alone[-1]
        longest = max(honest.values())
        told = f"{longest / fair:.2f} of a fair share, {fair:.0f} s; they ended: {dict(ends)}"
        yield "longest wait", longest, told
        yield "what became of the others", 0.0, str(dict(became))
        after = size(psutil.Process())
        yield "web process", 0.0, f"{before / MIB:,.0f} MB before, {after / MIB:,.0f} MB after"


def soak(_: Browser, folder: Path) -> Iterator[Line]:
    """Analyses one after the other, every fifth of a file that is refused."""
    process = psutil.Process()
    limits = Limits(stored_bytes=20 * MIB)

    def held() -> str:
        cells = len(list(folder.glob("cell-*")))
        kept = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return (
            f"{process.num_fds()} descriptors, {threading.active_count()} threads, "
            f"{len(process.children())} processes, {size(process) / MIB:,.0f} MB, {cells} cell, "
            f"{kept / MIB:.0f} MB on disk"
        )

    path = folder / "model.json"
    ends: Counter[str] = Counter()
    with Workers(root=folder, limits=limits) as workers:
        start = time.monotonic()
        for number in range(1, _ANALYSES[0] + 1):
            config = chain(dense("a", 16), name=f"soak-{number}")
            path.write_text(json.dumps(config) if number % 5 else "{}")
            job = workers.submit(JobSpec(str(path), f"{number}.json", Settings(samples=8)))
            job.wait()
            ends[job.status] += 1
            if number in (10, 20) or number % 50 == 0:
                time.sleep(15)  # until the next worker stands by
                yield f"after {number}", time.monotonic() - start, held()
    yield "they ended", 0.0, str(dict(ends))


def memory(running: Server) -> Line:
    figures = ", ".join(f"{name} {size / MIB:,.0f} MB" for name, size in running.peaks.items())
    return "peak memory", 0.0, figures


_PICTURES: list[Path] = []  # the folder, where there is one
_ANALYSES = [500]


def screenshot(page: Page, name: str) -> None:
    """Keep a picture, where `--screenshots` says so."""
    if _PICTURES:
        page.screenshot(path=_PICTURES[0] / f"{name}.png")


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (killed, full_disk, out_of_memory, eight_visitors, sixteen_addresses, soak)
}


def main() -> None:
    parser = parser_for(str(__doc__), SCENARIOS)
    parser.add_argument("--screenshots", type=Path, default=None, help="folder for pictures")
    parser.add_argument("--analyses", type=int, default=_ANALYSES[0], help="of the soak")
    arguments = parser.parse_args()
    _ANALYSES[0] = arguments.analyses
    if arguments.screenshots is not None:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
        _PICTURES.append(arguments.screenshots)
    run(SCENARIOS, arguments.only)


if __name__ == "__main__":
    main()
