"""What the benchmarks share: turns, memory, and processes of their own."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import psutil

from app.jobs.worker import on_large_stack

ROOT = Path(__file__).parents[1]
Measure = Callable[[str, int], str]


HEADER = "| figure | goal | network | measured |\n|---|---|---|---|"


def table_row(*cells: str) -> str:
    """A line of the table of goals: what, the goal, of which network, what was measured."""
    return f"| {' | '.join(cells)} |"


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def processor_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def in_turns(
    rounds: int, *functions: Callable[[], object]
) -> tuple[list[float], list[list[float]]]:
    """Seconds of each function in the first round, which is apart, and in each of the others."""
    first, *others = [[seconds(each) for each in functions] for _ in range(rounds + 1)]
    return first, others


def ratio(rows: list[list[float]], over: int, under: int) -> float:
    return statistics.median(row[over] / row[under] for row in rows)


def peak_of(function: Callable[[], object]) -> int:
    """Bytes beyond what was resident before, as the kernel saw them: VmHWM, reset before."""
    # What was let go but is still in the allocator's hands would hide what the function takes.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")
    function()
    status = Path("/proc/self/status").read_text().splitlines()
    highest = next(line for line in status if line.startswith("VmHWM"))
    return int(highest.split()[1]) * 1024 - before


def alone(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """What a benchmark prints with other arguments, in a process of its own.

    Args:
        module: of the benchmark.
        arguments: on its command line.
        environment: variables that it has beside this process's.
    """
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        check=True,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ).stdout.strip()


def parsed(
    description: str, names: list[str], rounds: int, measures: Mapping[str, Measure]
) -> argparse.Namespace | None:
    """The command line; None where one measure was asked for, as `alone` does, and is printed."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=names)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--only", choices=list(measures), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.only:
        return arguments
    for name in arguments.networks:
        measure = measures[arguments.only]
        print(on_large_stack(partial(measure, name, arguments.rounds)), flush=True)
    return None
