"""What a worker takes from itself before it reads anything of a stranger's (Linux).

Nothing here is needed for a job to run: where the system refuses a step, the job goes without it.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
from pathlib import Path

from app.limits import Limits

OPEN_FILES = 1024
SECONDS_OF_GRACE = 5
NICENESS = 5
NEAR = 0.9

# From <sched.h>, <linux/prctl.h> and <linux/capability.h>.
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522


def give_up_privileges() -> None:
    """What no job needs; to be called before any other thread starts, which would not follow."""
    os.umask(0o077)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    # When the machine's memory runs out the kernel ends this process, not the server.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _leave_network(libc)


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


def _leave_network(libc: ctypes.CDLL) -> None:
    """Moves to a network without interfaces: by privilege, or else in a user namespace."""
    if libc.unshare(_CLONE_NEWNET) == 0:
        return
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return
    # A namespace's first process has every capability in it, and no name for its own user.
    for file, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"),
                       ("gid_map", f"{group} {group} 1")):  # fmt: skip
        with contextlib.suppress(OSError):
            Path(f"/proc/self/{file}").write_text(line)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())
