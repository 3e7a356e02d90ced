"""The analytic pass and the probe, with the plain eager forward pass as the unit.

    python -m benchmarks.against_eager [SAMPLE …]

For each sample network, in one process: the time of `model(x, training=True)` for 128 samples; that
of the analytic pass with the weights drawn; that of the probe; and the probe's peak memory beyond
the weights against the largest set of activations alive at once. Times are medians over rounds in
which the three take turns, so that a machine's drift meets all of them. Memory is the highest
resident size that the kernel saw (VmHWM, reset before the run), measured in a process of its own:
allocators keep what they once had.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

SAMPLES = ["resnet-56-nobn", "resnet-164-nobn", "vgg-like"]
BATCH = 128
ROUNDS = 7


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def times(name: str) -> str:
    import keras

    from autoinit.initializer.drawing import apply_plans
    from autoinit.propagate import input_signals, plan
    from autoinit.reading import read_model
    from probes import probe_model
    from sample_models import build

    model = build(name)
    graph = read_model(model)
    noise = keras.random.normal((BATCH, *model.inputs[0].shape[1:]), seed=0)
    signals = input_signals(graph)

    def eager() -> None:
        keras.ops.convert_to_numpy(model(noise, training=True))

    def analytic() -> None:
        apply_plans(plan(graph, signals).plans, "truncated_normal", 0)

    def probe() -> None:
        probe_model(graph, BATCH)

    for warm in (eager, analytic, probe):
        warm()
    rounds = [(seconds(eager), seconds(analytic), seconds(probe)) for _ in range(ROUNDS)]
    unit = statistics.median(row[0] for row in rounds)
    analytic_ratio = statistics.median(row[1] / row[0] for row in rounds)
    probe_ratio = statistics.median(row[2] / row[0] for row in rounds)
    return f"unit {unit:6.3f} s   analytic {analytic_ratio:5.2f}   probe {probe_ratio:5.2f}"


def memory(name: str) -> str:
    from autoinit.reading import read_model
    from autoinit.shapes import largest_alive
    from probes import probe_model
    from sample_models import build

    graph = read_model(build(name))
    # One sample first: what the framework itself allocates once is not the probe's.
    probe_model(graph, 1)
    alive = largest_alive(graph, BATCH)
    before = resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    probe_model(graph, BATCH)
    peak = resident("VmHWM") - before
    return (
        f"peak {peak / 2**20:7.1f} MiB   alive {alive / 2**20:7.1f} MiB   ratio {peak / alive:5.2f}"
    )


def resident(field: str) -> int:
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(field))
    return int(line.split()[1]) * 1024


def on_large_stack(function: Callable[[], None]) -> None:
    """Keras recurses on depth while it builds."""
    sys.setrecursionlimit(10**6)
    threading.stack_size(512 * 2**20)
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", nargs="*", default=SAMPLES)
    parser.add_argument("--only", choices=["times", "memory"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        measure = {"times": times, "memory": memory}[arguments.only]
        for name in arguments.samples:
            on_large_stack(lambda name=name: print(measure(name), flush=True))
        return
    print(f"{BATCH} samples on the CPU; ratios to the plain eager pass, medians of {ROUNDS} rounds")
    for name in arguments.samples:
        parts = [
            subprocess.run(
                [sys.executable, "-m", "benchmarks.against_eager", name, "--only", what],
                check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            ).stdout.strip()
            for what in ("times", "memory")
        ]  # fmt: skip
        print(f"{name:18s} {'   '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
