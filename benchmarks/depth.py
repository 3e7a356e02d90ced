"""The whole job `python -m app analyze … --output` by the depth of the network.

    python -m benchmarks.depth [SAMPLE …]

Each sample is saved as a file first, so that a job has all three series: default, uploaded and
AutoInit's weights. Time is that of the command from start to end, the start of Python and the
framework included; memory is the highest resident size of any of its processes. A call's time is
the slope between two depths, so that what every job costs is not in it. Jobs take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import ROOT, alone, on_large_stack

SAMPLES = ["resnet-56-nobn", "resnet-164-nobn", "resnet-812-nobn"]


def save(name: str, path: Path) -> None:
    from sample_models import build

    build(name).save(path)


def job(file: Path, output: Path) -> tuple[float, int]:
    """Seconds, and bytes at the peak of the largest process."""
    command = [sys.executable, "-m", "app", "analyze", str(file), "--output", str(output)]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    # Of the command and of all processes that it waited for.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}.")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", nargs="*", default=SAMPLES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.save is not None:  # in a process of its own: the jobs' machine stays quiet
        on_large_stack(lambda: save(arguments.samples[0], arguments.save))
        return
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.keras" for name in arguments.samples}
        for name, file in files.items():
            alone("benchmarks.depth", name, "--save", str(file))
        output = Path(folder) / "result.json"
        found: dict[str, list[tuple[float, int]]] = {name: [] for name in files}
        calls = {}
        for _ in range(arguments.rounds):
            for name, file in files.items():
                found[name].append(job(file, output))
                calls[name] = number_of_calls(output)
    print(f"`python -m app analyze FILE --output RESULT`, medians of {arguments.rounds} rounds")
    before = None
    for name, rounds in found.items():
        seconds = statistics.median(second for second, _ in rounds)
        peak = max(size for _, size in rounds)
        slope = ""
        if before is not None and calls[name] != calls[before[0]]:
            each = (seconds - before[1]) / (calls[name] - calls[before[0]])
            slope = f"   {1e3 * each:6.2f} ms per further call"
        print(f"{name:18s} {calls[name]:6,} calls   {seconds:7.2f} s   "
              f"{peak / 2**20:7,.0f} MiB{slope}", flush=True)  # fmt: skip
        before = name, seconds


def number_of_calls(output: Path) -> int:
    """Rows of a result."""
    return len(json.loads(output.read_text())["calls"])


if __name__ == "__main__":
    main()
