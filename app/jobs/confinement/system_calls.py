"""Seccomp: system calls that no job needs fail, for good, in this process.

The filter is put together by libseccomp, which knows the numbers of each architecture; Debian,
Ubuntu, Fedora and their images have it installed, since their package managers need it. Its binding
on PyPI (pyseccomp) has had no release since 2021, and four functions are used here.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_NOT_EQUAL, _MASKED_EQUAL = 1, 7
_CLONE_THREAD = 0x00010000

# By what a job would reach with them.
REFUSED = {
    "other programs": "fork vfork execve execveat",
    "other processes": """
        ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_open pidfd_getfd
        pidfd_send_signal tkill setpriority sched_setattr sched_setparam sched_setscheduler
        ioprio_set migrate_pages move_pages""",
    "the network, and programs that listen": "socket socketpair",
    "calls that pass by this filter": "io_uring_setup io_uring_enter io_uring_register",
    "other views of the system": """
        setns unshare mount umount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig
        fsmount fspick open_by_handle_at personality""",
    "the kernel": """
        bpf perf_event_open userfaultfd add_key request_key keyctl init_module finit_module
        delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl
        settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname iopl ioperm
        syslog lookup_dcookie""",
    "owner, mode and times of files, which Landlock leaves open": """
        chmod fchmod fchmodat chown fchown lchown fchownat setxattr lsetxattr fsetxattr
        removexattr lremovexattr fremovexattr utime utimes utimensat futimesat""",
    "memory that stays, or that nobody counts": """
        shmget shmat semget msgget mq_open memfd_create""",
}
# What came after Linux 5.11 has one number everywhere, which an older libseccomp has no name for.
# Libraries are prepared to find none of it; these few are harmless (futex, cachestat, mseal …).
_NEW_CALLS, _HARMLESS = range(442, 512), {449, 450, 451, 453, 454, 455, 456, 462}


class _Argument(ctypes.Structure):
    """`struct scmp_arg_cmp`: how an argument must compare for the call to be refused."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("comparison", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class Refusal(NamedTuple):
    """A system call that fails, with what error, and for which arguments if not for all."""

    call: str | int
    error: int = errno.EPERM
    condition: _Argument | None = None


def refusals() -> Iterator[Refusal]:
    """All that a job goes without: it is a process of threads, which signals itself at most."""
    for calls in REFUSED.values():
        yield from map(Refusal, calls.split())
    yield Refusal("clone", errno.EPERM, _Argument(0, _MASKED_EQUAL, _CLONE_THREAD, 0))
    # Its flags lie in memory, where no filter looks; the C library then takes `clone`.
    yield Refusal("clone3", errno.ENOSYS)
    yield from (Refusal(new, errno.ENOSYS) for new in _NEW_CALLS if new not in _HARMLESS)
    for call in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
        yield Refusal(call, errno.EPERM, _Argument(0, _NOT_EQUAL, os.getpid(), 0))
    for call in ("prlimit64", "sched_setaffinity"):
        yield Refusal(call, errno.EPERM, _Argument(0, _NOT_EQUAL, 0, 0))


def refuse(wanted: Iterator[Refusal]) -> None:
    """Refuses system calls from now on, in this thread and those that it starts.

    Raises:
        OSError: there is no libseccomp, or the kernel takes no filter.
    """
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Argument),
    )
    for name in ("seccomp_load", "seccomp_release"):
        getattr(library, name).argtypes = (ctypes.c_void_p,)
    library.seccomp_release.restype = None
    rules = library.seccomp_init(_ALLOW)
    if not rules:
        raise OSError(errno.ENOMEM, "libseccomp has no filter")
    try:
        for call, error, condition in wanted:
            number: Any = call
            if isinstance(call, str):
                number = library.seccomp_syscall_resolve_name(call.encode())
            # One that an architecture does not have has a negative number.
            if number >= 0:
                compared = ctypes.byref(condition) if condition else None
                _check(
                    library.seccomp_rule_add_array(
                        rules, _REFUSE | error, number, int(condition is not None), compared
                    )
                )
        _check(library.seccomp_load(rules))
    finally:
        library.seccomp_release(rules)


def _check(status: int) -> None:
    if status < 0:
        raise OSError(-status, os.strerror(-status))
