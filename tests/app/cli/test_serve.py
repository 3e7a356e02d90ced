"""`serve`: how Streamlit is started, and what is said where it cannot listen."""

import os
import socket
from pathlib import Path

import pytest

import app
from app.cli.main import main


class Started(Exception):  # noqa: N818
    """In place of the process that would take over."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """What would have been executed, with which environment."""
    found: list[tuple[list[str], dict[str, str]]] = []

    def execute(_: str, command: list[str], environment: dict[str, str]) -> None:
        found.append((command, environment))
        raise Started

    monkeypatch.setattr(os, "execve", execute)
    return found


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return int(server.getsockname()[1])


def usage_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        main(["serve", *arguments])
    assert exit_info.value.code == 64
    return capsys.readouterr().err


def test_streamlit_is_given_the_page_and_what_follows(
    started: list[tuple[list[str], dict[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    with pytest.raises(Started):
        main(["serve", "--port", str(port), "--", "--theme.base=dark", "--server.headless=false"])
    ((command, environment),) = started
    root = Path(app.__file__).parents[1]
    assert command[1:5] == ["-m", "streamlit", "run", str(root / "app" / "streamlit_app.py")]
    assert command[5:] == [
        "--server.address=localhost",
        f"--server.port={port}",
        "--theme.base=dark",
        "--server.headless=false",
    ]
    assert environment["PYTHONSAFEPATH"] == "1", "nothing is imported from where it is started"
    assert str(root) in environment["PYTHONPATH"].split(os.pathsep)
    assert f"http://localhost:{port} " in capsys.readouterr().out


def test_the_page_is_told_what_it_shows(
    started: list[tuple[list[str], dict[str, str]]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    file, port = tmp_path / "rows.parquet", free_port()
    file.touch()
    shown = ["--runs", str(tmp_path), "--results", str(file)]
    with pytest.raises(Started):
        main(["serve", "--port", str(port), *shown])
    ((_, environment),) = started
    assert environment["AUTOINIT_RUNS"] == str(tmp_path)
    assert environment["AUTOINIT_RESULTS"] == str(file)
    assert f"http://localhost:{port}/?models=all " in capsys.readouterr().out


def test_a_port_that_is_taken(
    started: list[tuple[list[str], dict[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        error = usage_error(capsys, "--address", "127.0.0.1", "--port", str(port))
    assert error.endswith(f"error: port {port} is taken: choose another with --port\n")
    assert not started


@pytest.mark.parametrize("address", ["nowhere.invalid", "192.0.2.1", "a" * 300])
def test_an_address_that_is_not_this_machines(
    address: str,
    started: list[tuple[list[str], dict[str, str]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "is not an address of this machine" in usage_error(capsys, "--address", address)
    assert not started


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "8_5", "١", "9" * 5000])
def test_a_port_that_is_none(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected a port from 1 to 65535" in usage_error(capsys, f"--port={port}")
