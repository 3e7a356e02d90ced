"""What the service may take of its machine: figures that the web process knows without Keras.

What one file may ask for is told by `autoinit.model_files.budgets`, in the worker.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import psutil

from app.errors import WrongSettingError

GIB = 2**30
# Libraries, thread stacks and what allocators reserve is address space without being memory:
# 4.6 GiB at the peak of a ResNet-50's analysis, and more where the libraries of a GPU come along.
ADDRESS_SPACE_MARGIN = 8 * GIB

_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_memory() -> int:
    """The bytes of memory of this machine, or of the container that this process runs in."""
    found = [psutil.virtual_memory().total]
    for file in _CGROUP_FILES:
        try:
            found.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # no such file, or no limit: "max"
            continue
    return min(found)


def memory_left(memory_bytes: int) -> int:
    """What this process may still take, as far as the machine still has it.

    Args:
        memory_bytes: resident memory that this process may have.
    """
    resident = psutil.Process().memory_info().rss
    return max(1, min(memory_bytes - resident, psutil.virtual_memory().available))


@dataclass(frozen=True)
class Limits:
    """The limits; each can be set by the environment variable `AUTOINIT_MAX_<FIELD>`.

    Attributes:
        at_once: analyses that run at a time for one device: more where nodes of a cluster do.
        queue: analyses that may wait for one device, besides those that run.
        queue_per_address: of these, that may come from one address.
        seconds: longest that an analysis may run; its variable is `AUTOINIT_DEADLINE_SECONDS`.
        seconds_if_others_wait: after which it ends as soon as another one waits.
        memory_bytes: resident memory of a worker; by default three quarters of the machine's.
        file_bytes: size of an upload.
        output_bytes: size of each file that a worker writes.
        stored_bytes: size of all uploads and results; the least recently used go first.
    """

    at_once: int = 1
    queue: int = 16
    queue_per_address: int = 16
    seconds: float = 1800.0
    seconds_if_others_wait: float = 1800.0
    memory_bytes: int = field(default_factory=lambda: machine_memory() * 3 // 4)
    file_bytes: int = GIB
    output_bytes: int = 4 * GIB
    stored_bytes: int = 20 * GIB

    @property
    def address_space(self) -> int:
        """What a worker may map: a wall behind `memory_bytes`, which the parent looks after."""
        return self.memory_bytes + ADDRESS_SPACE_MARGIN

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Limits:
        """The defaults, changed as the environment says.

        Raises:
            ValueError: where a variable is no positive number.
        """
        given: dict[str, Any] = {
            limit.name: _positive(variable(limit.name), environ[variable(limit.name)], limit.type)
            for limit in fields(cls)
            if variable(limit.name) in environ
        }
        return cls(**given)


def variable(limit: str) -> str:
    """The environment variable that sets a limit."""
    return "AUTOINIT_DEADLINE_SECONDS" if limit == "seconds" else f"AUTOINIT_MAX_{limit.upper()}"


def format_bytes(count: int) -> str:
    """16 GiB, 1.5 GiB, 200 MiB: as limits are set, in powers of 1024."""
    for scale, symbol in ((GIB, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= scale:
            return f"{count / scale:.3g} {symbol}"
    return f"{count} bytes"


def _positive(name: str, text: str, kind: Any) -> float:
    whole = kind == "int"
    try:
        number = int(text) if whole else float(text)
        if 0 < number <= threading.TIMEOUT_MAX or (whole and number > 0):
            return number
    except ValueError:
        pass
    expected = "whole number" if whole else "number of seconds"
    raise WrongSettingError(f"{name} must be a positive {expected}; received {text[:100]!r}.")
