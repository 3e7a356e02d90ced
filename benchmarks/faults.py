"""What goes wrong on a server, made to go wrong: what the page says, and who else notices.

    python -m benchmarks.faults [--only SCENARIO …] [--screenshots FOLDER]

A dashboard of its own for each scenario, and a real browser: the worker is killed in the middle of
a job; its disk is full; its memory runs out; eight visitors come at once, half of them with files
that are refused. After each fault a good file is analysed in the same dashboard. Needs Linux, the
development requirements and a browser (`make browser`); the full disk also needs the right to mount
one, and is left out without it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from sample_models import FILES_FOLDER
from tests.e2e.conftest import BROWSERS, SWITCHES
from tests.e2e.driving import analyse, choose_sample, upload
from tests.hostile import archives, sizes_and_shapes, stored_weights
from tests.hostile.parts import chain, dense

PATIENCE = 120.0
MIB = 2**20
GOOD = ["small-cnn.keras", "small-mlp.h5"]
BAD = [
    "picture.keras", "config-of-300-mb.keras", "declares-512-mb.h5", "doubled-30-times.json",
]  # fmt: skip
HOSTILE = [archives.ROWS, stored_weights.ROWS, sizes_and_shapes.ROWS]
LONG = "resnet-812-nobn"
MEMORY = 1200 * MIB


@dataclass
class Server:
    """A dashboard in a process of its own, and the memory that it and its workers took."""

    address: str
    process: subprocess.Popen[bytes]
    data: Path
    peaks: dict[str, int] = field(default_factory=lambda: {"web": 0, "worker": 0, "all": 0})

    def workers(self) -> list[int]:
        """Process ids of the workers, the warm one among them."""
        return [pid for pid, (parent, _) in processes().items() if parent == self.process.pid]

    def busy_worker(self) -> int | None:
        """The worker whose log lies in a job's folder: a warm one's lies beside them."""
        for pid in self.workers():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/2").endswith("/worker.log"):
                    return pid
        return None

    def watch(self, over: threading.Event) -> None:
        while not over.wait(0.2):
            found = processes()
            web = found.get(self.process.pid, (0, 0))[1]
            workers = [size for parent, size in found.values() if parent == self.process.pid]
            for name, size in (
                ("web", web), ("worker", max(workers, default=0)), ("all", web + sum(workers)),
            ):  # fmt: skip
                self.peaks[name] = max(self.peaks[name], size)


def processes() -> dict[int, tuple[int, int]]:
    """Parent and resident bytes of every process."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, KeyError):
            lines = (entry / "status").read_text().splitlines()
            status = dict(line.split(":", 1) for line in lines if ":" in line)
            size = int(status.get("VmRSS", "0 kB").split()[0]) * 1024
            found[int(entry.name)] = (int(status["PPid"]), size)
    return found


@contextlib.contextmanager
def server(data: Path, **environment: str) -> Iterator[Server]:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port = listener.getsockname()[1]
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "streamlit", "run", str(root / "app/streamlit_app.py"),
               "--server.port", str(port), "--server.headless", "true"]  # fmt: skip
    process = subprocess.Popen(
        command, env=os.environ | {"AUTOINIT_DATA": str(data), **environment}, cwd=root,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    running, over = Server(f"http://localhost:{port}", process, data), threading.Event()
    watching = threading.Thread(target=running.watch, args=(over,))
    try:
        await_health(running.address)
        watching.start()
        yield running
    finally:
        over.set()
        process.terminate()
        process.wait(30)


def await_health(address: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).close()
            return
        if time.monotonic() > deadline:
            raise TimeoutError("The dashboard did not start.")
        time.sleep(0.2)


# A visitor


def visit(browser: Browser, address: str) -> Page:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Analyse").wait_for()
    return page


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
    analyse(page)
    page.wait_for_timeout(1000)
    return outcome(page)


# The scenarios: each yields lines (what, seconds, what the page says)

Line = tuple[str, float, str]


def killed(browser: Browser, folder: Path, shot: Callable[[Page, str], None]) -> Iterator[Line]:
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
        shot(page, "killed")
        yield "the worker is killed", seconds, sentence
        yield "next job, same page", *run_good_file(page, folder, "after-kill")
        yield memory(running)


def full_disk(browser: Browser, folder: Path, shot: Callable[[Page, str], None]) -> Iterator[Line]:
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
            shot(page, "full-disk")
            yield "a result of 11 MB, a disk of 2 MB", seconds, sentence
            yield "next job, same page", *run_good_file(page, folder, "after-full-disk")
            kept = sum(file.stat().st_size for file in disk.rglob("*") if file.is_file())
            yield "left on the disk", 0.0, f"{kept / MIB:.2f} MB"
            yield memory(running)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def out_of_memory(
    browser: Browser, folder: Path, shot: Callable[[Page, str], None]
) -> Iterator[Line]:
    """A job needs more memory than a worker may have."""
    with server(folder, AUTOINIT_MAX_MEMORY_BYTES=str(MEMORY)) as running:
        page = visit(browser, running.address)
        large = folder / "large.json"
        large.write_text(json.dumps(chain(dense("a", 12_000), dense("b", 12_000))))
        upload(page, large)
        analyse(page)
        page.get_by_test_id("stProgress").wait_for()
        seconds, sentence = outcome(page)
        shot(page, "out-of-memory")
        yield f"144 million weights, {MEMORY / MIB:,.0f} MB", seconds, sentence
        yield "next job, same page", *run_good_file(page, folder, "after-memory")
        yield memory(running)


def eight_visitors(
    browser: Browser, folder: Path, shot: Callable[[Page, str], None]
) -> Iterator[Line]:
    """Eight browsers press Analyse at once; half of their files are refused."""
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
        for page in pages:
            page.get_by_role("button", name="Analyse").click(no_wait_after=True)
        for file, (seconds, sentence) in zip(files, outcomes(pages), strict=True):
            yield file.name, seconds, sentence
        for name in ("good", "bad"):
            shot(pages[name == "bad"], f"eight-{name}")
        yield "next job, first page", *run_good_file(pages[0], folder, "after-eight")
        yield memory(running)


def memory(running: Server) -> Line:
    figures = ", ".join(f"{name} {size / MIB:,.0f} MB" for name, size in running.peaks.items())
    return "peak memory", 0.0, figures


SCENARIOS = {
    scenario.__name__: scenario for scenario in (killed, full_disk, out_of_memory, eight_visitors)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--screenshots", type=Path, default=None, help="folder for pictures")
    arguments = parser.parse_args()
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)

        def shot(page: Page, name: str) -> None:
            if arguments.screenshots is not None:
                arguments.screenshots.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=arguments.screenshots / f"{name}.png")

        for name in arguments.only:
            print(f"\n{SCENARIOS[name].__doc__}", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                for what, seconds, sentence in SCENARIOS[name](browser, Path(folder), shot):
                    time_taken = f"{seconds:6.1f} s" if seconds else " " * 8
                    print(f"  {what:34s} {time_taken}  {sentence}", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
