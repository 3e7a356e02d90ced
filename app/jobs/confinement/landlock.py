"""Landlock (Linux 5.13 and newer): a process gives up every path but those that it names.

No binding on PyPI knows more than the first versions of it: these are the three calls, from
<linux/landlock.h>, whose numbers are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from enum import IntFlag
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1


class Access(IntFlag):
    """What may be done below a path."""

    NONE = 0
    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15
    READ = READ_FILE | READ_DIR
    WRITE = READ | WRITE_FILE | TRUNCATE | MAKE_REG | MAKE_DIR | REMOVE_FILE | REMOVE_DIR
    DEVICE = READ | WRITE_FILE | IOCTL_DEV


_OF_FILES = (
    Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
)
# By version: accesses to files, TCP (bind, connect), and what reaches outside (abstract sockets,
# signals). Each version knows what the one before it knew.
_HANDLED = {
    1: ((1 << 13) - 1, 0, 0),
    2: ((1 << 14) - 1, 0, 0),
    3: ((1 << 15) - 1, 0, 0),
    4: ((1 << 15) - 1, 3, 0),
    5: ((1 << 16) - 1, 3, 0),
    6: ((1 << 16) - 1, 3, 3),
}
NEWEST = max(_HANDLED)


class _Rule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The version that this kernel has.

    Raises:
        OSError: it has none, or it is switched off.
    """
    return min(_call(_CREATE_RULESET, None, 0, _ASK_VERSION), NEWEST)


def restrict(allowed: Mapping[Path, Access]) -> None:
    """Gives up everything but this for good, in this thread and those that it starts.

    Args:
        allowed: by path; what is not there is passed over.

    Raises:
        OSError: the kernel has no Landlock.
    """
    handled = _HANDLED[version()]
    attributes = (ctypes.c_uint64 * 3)(*handled)
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    try:
        for path, access in allowed.items():
            _allow(ruleset, path, access & handled[0])
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            access &= _OF_FILES
        rule = _Rule(access, descriptor)
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    found: int = libc.syscall(ctypes.c_long(number), *arguments)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found
