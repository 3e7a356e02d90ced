"""What a worker takes from itself before it reads anything of a stranger's (Linux).

A job needs none of it to run: what the system refuses is left out, and told: `confine` returns it,
`attempts` tries what it is for, and `autoinit serve --check` shows both.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from app.analysis.job_spec import CUSTOM_OBJECTS_VARIABLE
from app.jobs import folders
from app.jobs.confinement import landlock, system_calls
from app.jobs.confinement.landlock import Access
from app.limits import Limits

OPEN_FILES = 1024
SECONDS_OF_GRACE = 5
NICENESS = 5
NEAR = 0.9

# From <sched.h>, <linux/prctl.h> and <linux/capability.h>.
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_CAPABILITY_VERSION_3 = 0x20080522

# Programs, libraries, and what these ask of the machine. Nothing here is a stranger's.
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd", "/etc/group",
    "/etc/nsswitch.conf", "/etc/os-release", "/etc/mime.types", "/proc/self", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/stat", "/proc/driver/nvidia", "/proc/sys/kernel", "/proc/sys/vm",
    "/sys/devices", "/sys/bus", "/sys/class", "/sys/fs/cgroup", "/sys/module", "/dev/urandom",
    "/dev/random",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/kfd", "/dev/dri")


class Restriction(NamedTuple):
    """One thing that a worker gives up: what it is, what it is for, and how."""

    name: str
    against: str
    take: Callable[[Mapping[Path, Access]], None]


def confine(cell: Path, readable: Iterable[Path] = ()) -> dict[str, str]:
    """Gives up what no job needs; before any other thread starts, which would not follow.

    Args:
        cell: the folder whose `given` this process reads from now on, and whose `left` it writes.
        readable: further folders that it may read.

    Returns:
        Why, for each measure that this system refuses.
    """
    _lower_own_limits()
    reachable = dict(_reachable(cell, readable))
    refused: dict[str, str] = {}
    for measure in MEASURES:
        try:
            measure.take(reachable)
        except (OSError, AttributeError) as error:
            refused[measure.name] = getattr(error, "strerror", None) or str(error)
    return refused


def hide_process() -> None:
    """Keeps this process's memory and environment from others of its user, workers among them."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def limit_resources(limits: Limits, device_kind: str) -> None:
    """Walls around a job: the parent ends it earlier, and says why, as long as there is a parent.

    Args:
        limits: the limits.
        device_kind: `cpu` or `gpu`. Drivers of GPUs map far more than they use, so that there
            the address space stays open; a job for the CPU does not get to see them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    seconds = math.ceil(limits.seconds * (cores or 1) + _processor_seconds())
    _lower(resource.RLIMIT_CPU, seconds, seconds + SECONDS_OF_GRACE)
    _lower(resource.RLIMIT_FSIZE, limits.output_bytes)
    if device_kind == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        _lower(resource.RLIMIT_AS, limits.address_space)


def near_address_space_limit() -> bool:
    """Whether this process has come so close to its limit that whatever failed, failed by it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return False
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmPeak:"):
                return int(line.split()[1]) * 1024 > NEAR * limit
    return False


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    """Sets a limit for good, unless a lower one holds already."""
    _, highest = resource.getrlimit(kind)
    if highest == resource.RLIM_INFINITY:
        highest = 2**63 - 1
    hard = min(soft if hard is None else hard, highest)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (min(soft, hard), hard))


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _lower_own_limits() -> None:
    os.umask(0o077)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    # When the machine's memory runs out the kernel ends this process, not the server.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _reachable(cell: Path, readable: Iterable[Path]) -> Iterator[tuple[Path, Access]]:
    """What a worker may reach: libraries, this program, devices for computing, and its own cell."""
    program = Path(__file__).parents[3]
    home = Path(os.path.expanduser("~"))  # of a user without a name there is none
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    searched = [Path(entry).absolute() for entry in (*sys.path, *libraries) if entry]
    installed = map(Path, (sys.prefix, sys.base_prefix, *_SYSTEM))
    for path in (*installed, *searched):
        if path != program:
            yield path, Access.READ
    # Around a checkout may lie keys, passwords and data: only its names are seen.
    yield program, Access.READ_DIR
    for package in ("app", "autoinit", "probes", "sample_models"):
        yield program / package, Access.READ
    # Last, as they may be the checkout itself: where the operator's own modules lie.
    own = [Path.cwd()] if os.environ.get(CUSTOM_OBJECTS_VARIABLE) else []
    for path in (*readable, *own):
        yield path, Access.READ
    keras = Path(os.environ.get("KERAS_HOME", home / ".keras"))
    yield keras / "keras.json", Access.READ
    for device in (*map(Path, _DEVICES), *Path("/dev").glob("nvidia*")):
        yield device, Access.DEVICE
    # What the driver compiles for a card takes minutes, and would be done anew for each job.
    if Path("/dev/nvidiactl").exists():
        yield home / ".nv" / "ComputeCache", Access.WRITE
    yield folders.given(cell), Access.READ
    yield folders.left(cell), Access.WRITE


def _leave_network(_: object) -> None:
    """Moves to a network without interfaces: by privilege, or else in a user namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:
        return
    user, group = os.geteuid(), os.getegid()
    _require(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET))
    # The first process of a namespace has no name there for its own user.
    for file, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with contextlib.suppress(OSError):
            Path(f"/proc/self/{file}").write_text(line)


def _drop_privileges(_: object) -> None:
    """All capabilities, root's and those that a namespace has given; and none can be gained."""
    libc = ctypes.CDLL(None, use_errno=True)
    _require(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _require(libc.capset(header, (ctypes.c_uint32 * 6)()))


def _require(status: int) -> None:
    if status != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _keep_to(reachable: Mapping[Path, Access]) -> None:
    # Held open: when memory is short the kernel forgets this folder, and the rule with it.
    os.open("/proc/self", os.O_PATH | os.O_CLOEXEC)
    landlock.restrict(reachable)
    known = landlock.version()
    if known < landlock.NEWEST:
        raise OSError(
            0, f"in part: this kernel's Landlock is version {known}, not {landlock.NEWEST}"
        )


def _refuse_system_calls(_: object) -> None:
    system_calls.refuse(system_calls.refusals())


# In this order: the first needs a privilege where there is one, and the last forbids the others.
MEASURES = (
    Restriction("a network of its own", "this machine's network and services", _leave_network),
    Restriction("no privileges", "root's rights, and gaining any", _drop_privileges),
    Restriction("Landlock", "files of other jobs and users, other processes", _keep_to),
    Restriction(
        "seccomp", "new processes, sockets, signals, the kernel's rarer calls", _refuse_system_calls
    ),
)
