"""The gradients' probe, with one compiled step of training as the unit.

    python -m benchmarks.gradients [SAMPLE …]

For each sample network, in a process of its own: the time of a compiled step of training (SGD, mean
squared error) on 128 samples, and of `probe_gradients` of as many, as a ratio of medians over
rounds in which the two take turns; each one's first run, compiling included; and the highest
resident size beyond what was there before. Then the deepest sample with checkpoints.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.against_eager import on_large_stack, resident, seconds

SAMPLES = ["resnet-56-nobn", "resnet-56", "vgg-like"]
DEEPEST = "resnet-812-nobn"
BATCH = 128
FEW = 32  # samples through the deepest
ROUNDS = 7


def peak_of(function: Any) -> int:
    """Bytes beyond what was resident before."""
    before = resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    function()
    return resident("VmHWM") - before


def both(name: str, samples: int) -> tuple[Any, Any]:
    """A step of training and a probe of one network, as functions without arguments."""
    import keras
    import numpy as np

    from autoinit.reading import read_model
    from probes import probe_gradients
    from sample_models import build

    model = build(name)
    graph = read_model(model)
    generator = np.random.default_rng(0)
    given, wanted = (
        generator.standard_normal((samples, *tensor.shape[1:]), dtype=np.float32)
        for tensor in (model.inputs[0], model.outputs[0])
    )
    # Without a rate of learning the weights stay as they are.
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    return (
        lambda: model.train_on_batch(given, wanted),
        lambda: probe_gradients(graph, samples, checkpoint=False),
    )


def times(name: str) -> str:
    step, probe = both(name, BATCH)
    cold = seconds(step), seconds(probe)
    rounds = [(seconds(step), seconds(probe)) for _ in range(ROUNDS)]
    unit = statistics.median(row[0] for row in rounds)
    ratio = statistics.median(row[1] / row[0] for row in rounds)
    return (
        f"step {unit:6.3f} s   gradients {ratio:5.2f}   "
        f"first step {cold[0]:5.1f} s   first gradients {cold[1]:5.1f} s"
    )


def peak_of_step(name: str) -> str:
    return str(peak_of(both(name, BATCH)[0]))


def peak_of_probe(name: str) -> str:
    return str(peak_of(both(name, BATCH)[1]))


def checkpointed(name: str) -> str:
    from autoinit.graph.shapes import all_activations
    from autoinit.reading import read_model
    from probes import probe_gradients
    from sample_models import build

    graph = read_model(build(name))
    took: list[float] = []

    def probe() -> None:
        took.append(seconds(lambda: probe_gradients(graph, FEW, checkpoint=True)))

    peak = peak_of(probe)
    probe()
    return (
        f"{FEW} samples with checkpoints: first {took[0]:.1f} s, then {took[1]:.1f} s   "
        f"peak {peak / 2**20:.0f} MiB (all activations {all_activations(graph, FEW) / 2**20:.0f})"
    )


MEASURES = {
    "times": times, "step": peak_of_step, "probe": peak_of_probe, "checkpointed": checkpointed,
}  # fmt: skip


def measured(name: str, what: str) -> str:
    """One of the measures, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gradients", name, "--only", what],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ).stdout.strip()  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", nargs="*", default=[*SAMPLES, DEEPEST])
    parser.add_argument("--only", choices=MEASURES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        for name in arguments.samples:
            on_large_stack(lambda name=name: print(MEASURES[arguments.only](name), flush=True))
        return
    print(f"{BATCH} samples on the CPU; medians of {ROUNDS} rounds")
    for name in arguments.samples:
        if name == DEEPEST:
            print(f"{name:18s} {measured(name, 'checkpointed')}", flush=True)
            continue
        step, probe = (int(measured(name, what)) for what in ("step", "probe"))
        memory = f"peak {probe / 2**20:.0f} MiB, of a step {step / 2**20:.0f}"
        print(f"{name:18s} {measured(name, 'times')}   {memory}   ratio {probe / step:4.2f}")


if __name__ == "__main__":
    main()
