"""What goes wrong on a server, made to go wrong: what the page says, and who else notices.

    python -m benchmarks.faults [--only SCENARIO …] [--screenshots FOLDER]

A dashboard of its own for each scenario, and a real browser: the worker is killed in the middle of
a job; its disk is full; its memory runs out; eight visitors come at once, half of them with files
that are refused. After each fault a good file is analysed in the same dashboard. Needs Linux, the
development requirements and a browser (`make browser`); the full disk also needs the right to mount
one, and is left out without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page

from benchmarks.browser import MIB, PATIENCE, Line, Server, parser_for, run, server, visit
from sample_models import FILES_FOLDER
from tests.e2e.driving import analyse, choose_sample, upload
from tests.hostile import archives, sizes_and_shapes, stored_weights
from tests.hostile.parts import chain, dense

GOOD = ["small-cnn.keras", "small-mlp.h5"]
BAD = [
    "picture.keras", "config-of-300-mb.keras", "declares-512-mb.h5", "doubled-30-times.json",
]  # fmt: skip
HOSTILE = [archives.ROWS, stored_weights.ROWS, sizes_and_shapes.ROWS]
LONG = "resnet-812-nobn"
MEMORY = 1200 * MIB


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
        analyse(page)
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
            analyse(page)
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


def memory(running: Server) -> Line:
    figures = ", ".join(f"{name} {size / MIB:,.0f} MB" for name, size in running.peaks.items())
    return "peak memory", 0.0, figures


_PICTURES: list[Path] = []  # the folder, where there is one


def screenshot(page: Page, name: str) -> None:
    """Keep a picture, where `--screenshots` says so."""
    if _PICTURES:
        page.screenshot(path=_PICTURES[0] / f"{name}.png")


SCENARIOS = {
    scenario.__name__: scenario for scenario in (killed, full_disk, out_of_memory, eight_visitors)
}


def main() -> None:
    parser = parser_for(str(__doc__), SCENARIOS)
    parser.add_argument("--screenshots", type=Path, default=None, help="folder for pictures")
    arguments = parser.parse_args()
    if arguments.screenshots is not None:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
        _PICTURES.append(arguments.screenshots)
    run(SCENARIOS, arguments.only)


if __name__ == "__main__":
    main()
