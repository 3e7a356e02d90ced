"""`serve`: the dashboard, from a checkout or an installed package alike."""

from __future__ import annotations

import argparse
import errno
import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

import app
from app.cli.common import UsageError

SCRIPT = Path(app.__file__).parent / "streamlit_app.py"


def run(options: argparse.Namespace) -> NoReturn:
    """Becomes Streamlit, so that signals reach it and its exit status is ours.

    Raises:
        UsageError: the port is taken, or the address is not this machine's.
    """
    require_free(options.address, options.port)
    shown = f"[{options.address}]" if ":" in options.address else options.address
    print(f"http://{shown}:{options.port}  (Ctrl+C ends it)", flush=True)
    os.execve(
        sys.executable,
        command(options.address, options.port, options.streamlit_arguments),
        environment(),
    )


def command(address: str, port: int, arguments: list[str]) -> list[str]:
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
