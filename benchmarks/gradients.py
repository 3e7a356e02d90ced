"""The gradients' probe, with one compiled step of training as the unit.

    python -m benchmarks.gradients [SAMPLE …]

For each sample network, in a process of its own: the time of a compiled step of training (SGD, mean
squared error) on 128 samples, and of `probe_gradients` of as many, as a ratio of medians over
rounds in which the two take turns; each one's first run, compiling included; and the highest
resident size beyond what was there before. Then the deepest sample with checkpoints.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.measuring import alone, in_turns, parsed, peak_of, ratio, seconds

SAMPLES = ["resnet-56-nobn", "resnet-56", "vgg-like"]
DEEPEST = "resnet-812-nobn"
BATCH = 128
FEW = 32  # samples through the deepest
ROUNDS = 7


def both(name: str, samples: int) -> tuple[Any, Any]:
    """A step of training and a probe of one network, as functions without arguments."""
    import keras
    import numpy as np

    from autoinit.reading import read_model
    from probes import CompiledPasses, probe_gradients
    from sample_models import build

    model = build(name)
    graph, compiled = read_model(model), CompiledPasses()
    generator = np.random.default_rng(0)
    given, wanted = (
        generator.standard_normal((samples, *tensor.shape[1:]), dtype=np.float32)
        for tensor in (model.inputs[0], model.outputs[0])
    )
    # Without a rate of learning the weights stay as they are.
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    return (
        lambda: model.train_on_batch(given, wanted),
        lambda: probe_gradients(graph, samples, checkpoint=False, compiled=compiled),
    )


def times(name: str, rounds: int) -> str:
    step, probe = both(name, BATCH)
    cold, found = in_turns(rounds, step, probe)
    unit = statistics.median(row[0] for row in found)
    return (
        f"step {unit:6.3f} s   gradients {ratio(found, 1, 0):5.2f}   "
        f"first step {cold[0]:5.1f} s   first gradients {cold[1]:5.1f} s"
    )


def peak_of_step(name: str, rounds: int) -> str:
    return str(peak_of(both(name, BATCH)[0]))


def peak_of_probe(name: str, rounds: int) -> str:
    return str(peak_of(both(name, BATCH)[1]))


def checkpointed(name: str, rounds: int) -> str:
    from autoinit.graph.shapes import all_activations
    from autoinit.reading import read_model
    from probes import CompiledPasses, probe_gradients
    from sample_models import build

    graph, compiled = read_model(build(name)), CompiledPasses()
    took: list[float] = []

    def probe() -> None:
        took.append(
            seconds(lambda: probe_gradients(graph, FEW, checkpoint=True, compiled=compiled))
        )

    peak = peak_of(probe)
    probe()
    return (
        f"{FEW} samples with checkpoints: first {took[0]:.1f} s, then {took[1]:.1f} s   "
        f"peak {peak / 2**20:.0f} MiB (all activations {all_activations(graph, FEW) / 2**20:.0f})"
    )


MEASURES = {
    "times": times, "step": peak_of_step, "probe": peak_of_probe, "checkpointed": checkpointed,
}  # fmt: skip


def main() -> None:
    """Print the table."""
    arguments = parsed(str(__doc__), [*SAMPLES, DEEPEST], ROUNDS, MEASURES)
    if arguments is None:
        return
    print(f"{BATCH} samples on the CPU; medians of {arguments.rounds} rounds")
    for name in arguments.networks:
        own = ["benchmarks.gradients", name, "--rounds", str(arguments.rounds), "--only"]
        if name == DEEPEST:
            print(f"{name:18s} {alone(*own, 'checkpointed')}", flush=True)
            continue
        step, probe = (int(alone(*own, what)) for what in ("step", "probe"))
        memory = f"peak {probe / 2**20:.0f} MiB, of a step {step / 2**20:.0f}"
        print(f"{name:18s} {alone(*own, 'times')}   {memory}   ratio {probe / step:4.2f}")


if __name__ == "__main__":
    main()
