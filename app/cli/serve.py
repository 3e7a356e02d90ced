"""`serve`: the dashboard, from a checkout or an installed package alike."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from click import UsageError

import app
from app.cli.common import DONE, ERROR
from app.cli.examples import SERVE_EXAMPLES
from app.cli.interface import Command, Parsed
from app.jobs.confinement import MEASURES, attempts
from app.text.escaping import plain_text

RUNS, RESULTS = "AUTOINIT_RUNS", "AUTOINIT_RESULTS"
TRUST = "AUTOINIT_TRUST"
SCRIPT = Path(app.__file__).parent / "streamlit_app.py"


def _parse_port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= 65_535:
        raise ValueError
    return int(text)


PORT = Parsed("port", _parse_port, "a port from 1 to 65535")


@click.command(cls=Command, epilog=SERVE_EXAMPLES, short_help="Start the dashboard")
@click.option("--port", type=PORT, default=8501, metavar="N", help="To listen on (default 8501)")
@click.option(
    "--address",
    default="localhost",
    metavar="A",
    help="To listen on; 0.0.0.0 opens it to others (default localhost)",
)
@click.option(
    "--check",
    is_flag=True,
    help="Start nothing: try what a hijacked worker would, and tell what this system lets it do",
)
@click.option(
    "--runs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of trainings that SignalMonitor watches, to be followed on the page",
)
@click.option(
    "--results",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Parquet file that batch writes, to be looked through on the page",
)
@click.option(
    "--trust",
    is_flag=True,
    help="The page asks whether to run the code that came with a model, its Lambdas and the files "
    "of Python chosen with it; for a server that only you reach",
)
@click.argument(
    "arguments", nargs=-1, metavar="[-- ARGUMENT...]", help="After --: options of streamlit run"
)
def serve(
    address: str,
    port: int,
    check: bool,
    runs: Path | None,
    results: Path | None,
    trust: bool,
    arguments: tuple[str, ...],
) -> int:
    """Start the dashboard on this machine."""
    if check:
        return say_confinement()
    # It becomes Streamlit, so that signals reach that and its exit status is ours.
    require_free(address, port)
    host = f"[{address}]" if ":" in address else address
    page = "" if results is None else "/?models=all"
    print(f"http://{host}:{port}{page}  (Ctrl+C ends it)", flush=True)
    given = {RUNS: runs, RESULTS: results}
    shown = {name: str(path.resolve()) for name, path in given.items() if path is not None}
    shown |= {TRUST: "1"} if trust else {}
    os.execve(sys.executable, command(address, port, arguments), environment() | shown)


def say_confinement() -> int:
    """Tells what holds a worker on this machine, and what does not; the exit status."""
    found = attempts.walk()
    print("A worker gives up:")
    for measure in MEASURES:
        refused = found.lacking.get(measure.name)
        print(f"  {measure.name}: {plain_text(refused) if refused else 'yes'}")
    print("A hijacked worker could:")
    for attempt, succeeded in found.possible.items():
        print(f"  {attempt}: {'YES' if succeeded else 'no'}")
    return DONE if found.holds else ERROR


def command(address: str, port: int, arguments: Sequence[str]) -> list[str]:
    """How Streamlit is started; what it is given comes last, and so counts."""
    own = [f"--server.address={address}", f"--server.port={port}"]
    return [sys.executable, "-m", "streamlit", "run", str(SCRIPT), *own, *arguments]


def environment() -> dict[str, str]:
    """What Streamlit needs to find this package, and nothing of the folder that it starts in."""
    home = SCRIPT.parents[1]
    ours = "" if home.name.endswith("-packages") else str(home)
    path = [ours, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONSAFEPATH": "1",
    }


def require_free(address: str, port: int) -> None:
    """Finds out whether the dashboard could listen there.

    Raises:
        UsageError: it could not, and why.
    """
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--address {address} is not an address of this machine") from error
    family, kind, protocol, _, place = found[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: a port that was let go a moment ago may be taken again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as error:
            raise UsageError(_why_not(error, address, port)) from error


def _why_not(error: OSError, address: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken: choose another with --port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} is for the system's own services: choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--address {address} is not an address of this machine"
    return f"cannot listen on {address}, port {port}: {error.strerror or error}"
