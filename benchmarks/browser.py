"""A dashboard of its own and a real browser, for the benchmarks that need them."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.conftest import BROWSERS, SWITCHES

PATIENCE = 300.0
MIB = 2**20

# What was done, seconds, what else there is to say.
Line = tuple[str, float, str]
Scenario = Callable[[Browser, Path], Iterator[Line]]


@dataclass
class Server:
    """A dashboard in a process of its own, and the memory that it and its workers took."""

    address: str
    process: subprocess.Popen[bytes]
    data: Path
    peaks: dict[str, int] = field(default_factory=lambda: {"web": 0, "worker": 0, "all": 0})

    def workers(self) -> list[psutil.Process]:
        """The workers, the spare among them."""
        return psutil.Process(self.process.pid).children()

    def sizes(self) -> tuple[int, list[int]]:
        """Resident bytes of the web process, and of each worker."""
        return size(psutil.Process(self.process.pid)), [size(each) for each in self.workers()]

    def busy_worker(self) -> int | None:
        """The worker whose log lies in a job's folder: the spare's lies beside them."""
        for worker in self.workers():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{worker.pid}/fd/2").endswith("/worker.log"):
                    return worker.pid
        return None

    def watch(self, over: threading.Event) -> None:
        """Keep the peaks up to date."""
        while not over.wait(0.2):
            web, workers = self.sizes()
            now = {"web": web, "worker": max(workers, default=0), "all": web + sum(workers)}
            self.peaks = {name: max(peak, now[name]) for name, peak in self.peaks.items()}


def size(process: psutil.Process) -> int:
    """Resident bytes; 0 of one that has ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


@contextlib.contextmanager
def server(data: Path, **environment: str) -> Iterator[Server]:
    """A dashboard that has answered."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port = listener.getsockname()[1]
    root = Path(__file__).parents[1]
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(root / "app/streamlit_app.py"),
        "--server.port",
        str(port),
        "--server.headless",
        "true",
    ]
    process = subprocess.Popen(
        command,
        env=os.environ | {"AUTOINIT_DATA": str(data), **environment},
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    running, over = Server(f"http://localhost:{port}", process, data), threading.Event()
    watching = threading.Thread(target=running.watch, args=(over,))
    try:
        poll(lambda: answers(running.address), 0.2)
        watching.start()
        yield running
    finally:
        over.set()
        if watching.is_alive():
            watching.join()
        process.terminate()
        process.wait(30)


def answers(address: str) -> bool:
    """Whether a dashboard is up."""
    with contextlib.suppress(OSError):
        urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).close()
        return True
    return False


def poll(found: Callable[[], Any], every: float = 0.02) -> Any:
    """What a function finds in the end.

    Raises:
        TimeoutError: where it finds nothing for too long.
    """
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        if time.monotonic() > deadline:
            raise TimeoutError("What was waited for has not come.")
        time.sleep(every)
    return value


def visit(browser: Browser, address: str) -> Page:
    """The dashboard's page in a window of its own."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Analyse").wait_for()
    return page


def parser_for(description: str, scenarios: Mapping[str, Scenario]) -> argparse.ArgumentParser:
    """A command line that chooses among scenarios."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(scenarios), default=list(scenarios))
    return parser


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """A browser without a window."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield browser
        browser.close()


def run(scenarios: Mapping[str, Scenario], chosen: list[str]) -> None:
    """Print the lines of the chosen scenarios, each in a folder of its own."""
    with browsing() as browser:
        for name in chosen:
            print(f"\n{scenarios[name].__doc__}", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                for what, seconds, told in scenarios[name](browser, Path(folder)):
                    taken = f"{seconds:7.2f} s" if seconds else " " * 9
                    print(f"  {what:38s} {taken}  {told}".rstrip(), flush=True)
