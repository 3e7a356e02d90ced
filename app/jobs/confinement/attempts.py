"""What a hijacked worker would try, tried: `python -m app.jobs.confinement.attempts CELL`.

`walk` starts a process that confines itself as a worker does, and then goes through `ATTEMPTS`.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import app
from app.jobs import folders
from app.jobs.confinement import confine
from app.jobs.processes import worker_environment

SECONDS = 60.0
_PTRACE_SEIZE, _CLONE_NEWUSER, _CLONE_NEWNET = 0x4206, 0x10000000, 0x40000000


@dataclass(frozen=True)
class Surroundings:
    """What lies around the process that tries.

    Attributes:
        neighbor: a file of another job.
        port: of a service on this machine.
        socket: the path of another one.
        address: of eight bytes in the parent's memory.
        cell: the process's own.
    """

    neighbor: str
    port: int
    socket: str
    address: int
    cell: str


@dataclass(frozen=True)
class Attempted:
    """What came of it.

    Attributes:
        lacking: the measures that this system refuses, and why.
        possible: by attempt, whether it succeeded, in the order of `ATTEMPTS`.
    """

    lacking: dict[str, str]
    possible: dict[str, bool]

    @property
    def holds(self) -> bool:
        """Whether every attempt failed."""
        return not any(self.possible.values())


def walk() -> Attempted:
    """Tries everything once, from inside a cell like a worker's.

    Raises:
        OSError, subprocess.SubprocessError: the process could not be run.
    """
    secret = ctypes.create_string_buffer(b"a secret")
    with (
        tempfile.TemporaryDirectory(prefix="autoinit-") as folder,
        _services(Path(folder)) as found,
    ):
        cell = folders.new_cell(Path(folder))
        neighbor = Path(folder, "neighbour")
        neighbor.write_text("theirs")
        around = Surroundings(str(neighbor), *found, ctypes.addressof(secret), str(cell))
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(cell)],
            input=json.dumps(asdict(around)),
            env={**worker_environment(), "TMPDIR": str(cell)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    return Attempted(**json.loads(done.stdout))


@contextmanager
def _services(folder: Path) -> Iterator[tuple[int, str]]:
    """Two services that any process of this machine may connect to: a port, and a path."""
    path = str(folder / "socket")
    with socket.create_server(("127.0.0.1", 0)) as network, socket.socket(socket.AF_UNIX) as local:
        local.bind(path)
        local.listen()
        yield network.getsockname()[1], path


def main() -> None:
    """Confines itself, tries everything, and prints what came of it as JSON."""
    cell = Path(sys.argv[1])
    lacking = confine(cell)
    around = Surroundings(**json.loads(sys.stdin.read()))
    possible = {name: _succeeds(attempt, around) for name, attempt in ATTEMPTS.items()}
    print(json.dumps({"lacking": lacking, "possible": possible}))


def _succeeds(attempt: Callable[[Surroundings], Any], around: Surroundings) -> bool:
    try:
        attempt(around)
    except (OSError, RuntimeError):  # what cannot be started is a RuntimeError
        return False
    return True


def _libc(call: str, *arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    found: int = getattr(libc, call)(*arguments)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def _keep_capabilities(_: Surroundings) -> None:
    status = Path("/proc/self/status").read_text()
    if int(status.partition("CapEff:")[2].split()[0], 16) == 0:
        raise PermissionError


def _read_memory(around: Surroundings) -> None:
    place = ctypes.c_uint64 * 2
    mine = ctypes.create_string_buffer(8)
    here, there = place(ctypes.addressof(mine), 8), place(around.address, 8)
    _libc("process_vm_readv", os.getppid(), here, 1, there, 1, 0)


def _fork(then: Callable[[], Any] = lambda: None) -> None:
    if os.fork() == 0:
        try:
            then()
        finally:
            os._exit(0)
    os.wait()


def _connect(family: int, address: Any) -> None:
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(address)


def _send_to_path(around: Surroundings) -> None:
    """Without a socket of its own making: a pair can be sent from to anywhere."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for each in pair:
        each.close()


def _return_to_network(_: Surroundings) -> None:
    namespace = os.open(f"/proc/{os.getppid()}/ns/net", os.O_RDONLY)
    _libc("setns", namespace, 0)


def _write(path: Path | str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def _plant(_: Surroundings) -> None:
    planted = SOURCE.with_name(f"planted-{os.getpid()}.py")
    planted.touch(exist_ok=False)
    planted.unlink()


def _mount(_: Surroundings) -> None:
    """Of no file system: the right to do so is asked for before it is looked for."""
    try:
        _libc("mount", b"none", b"/", b"no such file system", 0, None)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def _thread_after(_: Surroundings) -> None:
    """A thread started later is confined like this one, and threads it may have."""
    failed: list[bool] = []

    def read() -> None:
        try:
            Path(f"/proc/{os.getppid()}/environ").read_bytes()
        except OSError:
            failed.append(True)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    if failed:
        raise PermissionError


SOURCE = Path(app.__file__)
# Each succeeds or raises. The names are those of the table in docs/security.md.
ATTEMPTS: Mapping[str, Callable[[Surroundings], Any]] = {
    "keep capabilities": _keep_capabilities,
    "read the parent's environment": lambda _: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "read it from a thread": _thread_after,
    "open the parent's memory": lambda _: os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY),
    "read the parent's memory": _read_memory,
    "trace the parent": lambda _: _libc("ptrace", _PTRACE_SEIZE, os.getppid(), 0, 0),
    "signal the parent": lambda _: os.kill(os.getppid(), 0),
    "limit the parent": lambda _: _libc("prlimit64", os.getppid(), 7, None, ctypes.byref(
        (ctypes.c_uint64 * 2)())),
    "slow the parent down": lambda _: os.setpriority(
        os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid())
    ),
    "see other processes": lambda _: os.listdir(f"/proc/{os.getppid()}"),
    "connect to this machine by TCP": lambda around: _connect(
        socket.AF_INET, ("127.0.0.1", around.port)
    ),
    "go back to its network": _return_to_network,
    "connect to a socket by its path": lambda around: _connect(socket.AF_UNIX, around.socket),
    "make a pair of sockets": _send_to_path,
    "read another job's file": lambda around: Path(around.neighbor).read_bytes(),
    "write another job's file": lambda around: _write(around.neighbor),
    "change its mode": lambda around: os.chmod(around.neighbor, 0o600),
    "change its times": lambda around: os.utime(around.neighbor),
    "list the jobs": lambda around: os.listdir(Path(around.cell).parent),
    "link another job's file": lambda around: os.link(
        around.neighbor, folders.left(Path(around.cell)) / "link"
    ),
    "leave a symbolic link": lambda around: os.symlink(
        "/proc/self/environ", folders.left(Path(around.cell)) / "symlink"
    ),
    "write this program": lambda _: _write(SOURCE),
    "add to this program": _plant,
    "mount": _mount,
    "write to /tmp": lambda _: tempfile.TemporaryFile(dir="/tmp").close(),
    "start a process": lambda _: _fork(),
    "leave a daemon": lambda _: _fork(os.setsid),
    "start a program": lambda _: subprocess.run(["/bin/true"], check=True),
    "be spared when memory runs out": lambda _: Path("/proc/self/oom_score_adj").write_text("0"),
    "keep memory that nobody counts": lambda _: os.memfd_create("hoard"),
    "make a user namespace": lambda _: _libc("unshare", _CLONE_NEWUSER | _CLONE_NEWNET),
}  # fmt: skip


if __name__ == "__main__":
    main()
