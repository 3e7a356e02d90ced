"""One server and one browser for all tests here; without a browser they fail, with why."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, sync_playwright

from tests.e2e import axe
from tests.e2e.driving import screenshots_folder

# Through reloads of the same tab.
COUNT_CLICKS = """addEventListener('click', event => {
    if (event.isTrusted) sessionStorage.clicks = Number(sessionStorage.clicks ?? 0) + 1;
}, true)"""
PATIENCE = 300.0  # seconds; the first page of a fresh server takes about ten
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if screenshots_folder() is not None:
        terminalreporter.write_line(f"Pictures of the page in its states: {screenshots_folder()}")
    for report in terminalreporter.stats.get("rerun", []):
        lines = report.longreprtext.splitlines()
        why = next((line for line in lines if line.startswith("E ")), lines[-1])
        terminalreporter.write_line(f"{report.nodeid} was tried once more: {why}")
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    for report in reports:
        told = dict(getattr(report, "user_properties", ()))
        if "clicks" in told and report.when == "teardown":
            terminalreporter.write_line(
                f"{report.nodeid.rpartition('::')[2]}: {told['clicks']} clicks, "
                f"{told['seconds']:.1f} s"
            )
    if not axe.SCRIPT.exists():
        terminalreporter.write_line(axe.MISSING, yellow=True, bold=True)


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the dashboard keeps uploads and results."""
    return tmp_path_factory.mktemp("data")


@dataclass(frozen=True)
class Running:
    """A dashboard: its address, and its process."""

    address: str
    pid: int


@contextlib.contextmanager
def served(data: Path, log: Path, *options: str) -> Iterator[Running]:
    """A dashboard of our own, for as long as it is asked; options are those of `serve`."""
    port = free_port()
    address = f"http://localhost:{port}"
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), *options]
    environment = os.environ | {"AUTOINIT_DATA": str(data)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until_healthy(address, process, log)
        yield Running(address, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Running]:
    """A dashboard of our own."""
    with served(data, tmp_path_factory.mktemp("server") / "server.log") as server:
        yield server


@pytest.fixture(scope="package")
def server(running: Running) -> str:
    """The address of the dashboard."""
    return running.address


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return int(listener.getsockname()[1])


def wait_until_healthy(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    pytest.fail(f"The dashboard did not start; its log:\n{log.read_text()}")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A headless browser: Debian's, or the one that `playwright install chromium` got."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        except Error as error:
            pytest.fail(
                f"The browser tests need a browser ({', '.join(BROWSERS)}, or `make browser`), "
                f"and {path or 'the one of Playwright'} could not be started: {error}"
            )
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def vanishing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose signal vanishes: ten layers of tanh with weights far too small.

    Analysed once for all tests: the server keeps results.
    """
    model = keras.Sequential([keras.Input((32,), name="features")])
    for place in range(10):
        small = keras.initializers.RandomNormal(stddev=0.01, seed=place)
        model.add(keras.layers.Dense(32, "tanh", kernel_initializer=small, name=f"d{place}"))
    model.add(keras.layers.Dense(4, "softmax", name="classes"))
    path = tmp_path_factory.mktemp("models") / "vanishing.keras"
    model.save(path)
    return path


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    """A visitor's first page, with every figure."""
    with opened(browser, f"{server}/?expert=true") as page:
        yield page


@pytest.fixture
def newcomer(browser: Browser, server: str) -> Iterator[Page]:
    """A visitor's first page as it is at first."""
    with opened(browser, server) as page:
        yield page


@contextlib.contextmanager
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """A page of its own. Whatever its scripts throw or its headers block fails the test."""
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        context.set_default_timeout(PATIENCE * 1000)
        context.add_init_script(COUNT_CLICKS)
        page = context.new_page()
        thrown: list[str] = []
        page.on("pageerror", lambda error: thrown.append(str(error)))
        page.on("console", lambda message: thrown.extend(blocked(message)))
        page.goto(address)
        yield page
        assert not thrown


def blocked(message: ConsoleMessage) -> list[str]:
    """What the Content-Security-Policy has kept the page from doing, as the browser reports it."""
    return [message.text] if "Content Security Policy" in message.text else []
