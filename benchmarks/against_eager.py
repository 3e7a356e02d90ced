"""The analytic pass and the probe, with the plain eager forward pass as the unit.

    python -m benchmarks.against_eager [NETWORK …] [--rounds 7]

For each network, in one process: the time of `model(x, training=True)`; that of the probe of the
same number of samples, also in processor seconds, which a busy machine changes less; that of the
analytic pass with the weights drawn, also beside drawing the same weights alone, and beside
drawing by the layers' own initialisers; that of `initialize_model`; and that of five draws beside
one. Times are medians over rounds in which all take turns, so that a machine's drift meets all of
them. The probe's peak memory beyond the weights stands beside the largest set of activations alive
at once: it is the highest resident size that the kernel saw (VmHWM, reset before the run), in a
process of its own, as allocators keep what they once had. With oneDNN TensorFlow takes its tensors
from a pool that gives nothing back and has gaps; what the probe holds by itself is the peak without
that pool, where the C library gives each tensor's memory back at once.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from benchmarks.measuring import (
    HEADER,
    alone,
    in_turns,
    parsed,
    peak_of,
    processor_seconds,
    ratio,
    table_row,
)

# Samples that go through together. Networks for 224x224 pixels get few: 128 would not fit.
NETWORKS = {
    "resnet-56-nobn": 128, "resnet-164-nobn": 128, "resnet-56": 128, "resnet-164": 128,
    "vgg-like": 128, "ResNet50": 8, "MobileNetV2": 8, "VGG16": 8, "EfficientNetB0": 8,
}  # fmt: skip
DEEPEST = "resnet-812-nobn"  # of which the analytic pass alone is timed
SEEDS = 5
ROUNDS = 7


def built(name: str) -> Any:
    """One of the sample models, or of `keras.applications` without its weights."""
    import keras

    from sample_models import MODELS, build

    return build(name) if name in MODELS else getattr(keras.applications, name)(weights=None)


def times(name: str, rounds: int) -> str:
    import keras

    from autoinit.reading import read_model
    from probes import probe_model

    model, samples = built(name), NETWORKS.get(name, 128)
    graph = read_model(model)
    noise = keras.random.normal((samples, *model.inputs[0].shape[1:]), seed=0)

    def eager() -> None:
        keras.ops.convert_to_numpy(model(noise, training=True))

    def probe() -> None:
        probe_model(graph, samples)

    _, found = in_turns(rounds, eager, probe, analytic_pass(graph))
    used = [[processor_seconds(each) for each in (eager, probe)] for _ in range(3)]
    unit = statistics.median(row[0] for row in found)
    return (
        f"probe {ratio(found, 1, 0):.2f} passes (in processor seconds {ratio(used, 1, 0):.2f}), "
        f"analytic pass {ratio(found, 2, 0):.2f}; a pass of {samples} samples takes {unit:.2f} s"
    )


def analytic_pass(graph: Any) -> Callable[[], object]:
    """The analytic pass with the weights drawn."""
    from autoinit.initializers.drawing import apply_plans
    from autoinit.propagation import input_signals, plan

    signals = input_signals(graph)
    return lambda: apply_plans(plan(graph, signals).scales, "truncated_normal", 0)


def drawing(name: str, rounds: int) -> str:
    from autoinit.initializers.drawing import apply_plans, draw_configured_weights
    from autoinit.propagation import input_signals, plan
    from autoinit.reading import read_model

    graph = read_model(built(name))
    plans = plan(graph, input_signals(graph)).scales
    _, found = in_turns(
        rounds,
        analytic_pass(graph),
        lambda: apply_plans(plans, "truncated_normal", 0),
        lambda: draw_configured_weights(graph, 0),
    )
    pass_time = statistics.median(row[0] for row in found)
    return (
        f"{ratio(found, 0, 1):.2f} ({pass_time:.2f} s); of the layers' own initialisers "
        f"{ratio(found, 0, 2):.2f}"
    )


def library(name: str, rounds: int) -> str:
    from autoinit import AutoInit

    model, autoinit = built(name), AutoInit({"seed": 0})
    _, found = in_turns(
        rounds,
        lambda: autoinit.initialize_model(model),
        lambda: autoinit.initialize_model(model, in_place=True),
    )
    return " / ".join(f"{statistics.median(row[place] for row in found):.2f}" for place in (0, 1))


def draws(name: str, rounds: int) -> str:
    from probes import probe_model

    model, samples = built(name), NETWORKS.get(name, 128)
    _, found = in_turns(
        min(rounds, 3),
        lambda: probe_model(model, samples),
        lambda: probe_model(model, samples, seeds=SEEDS),
    )
    return f"{ratio(found, 1, 0):.2f}"


def memory(name: str, rounds: int) -> str:
    from autoinit.graph.shapes import largest_alive
    from autoinit.reading import read_model
    from probes import probe_model

    graph, samples = read_model(built(name)), NETWORKS.get(name, 128)
    # One sample first: what the framework itself allocates once is not the probe's.
    probe_model(graph, 1)
    alive = largest_alive(graph, samples)
    peak = peak_of(lambda: probe_model(graph, samples))
    return f"{peak / alive:.2f} ({peak / 2**20:.0f} MiB)"


MEASURES = {measure.__name__: measure for measure in (times, drawing, library, draws, memory)}
MEASURES["held"] = memory
GIVEN_BACK = {
    "TF_ENABLE_ONEDNN_OPTS": "0", "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1048576",
}  # fmt: skip
# What each measures, and the goal.
FIGURES = {
    "times": ("probe, in plain eager passes", "≤ 1.2"),
    "drawing": ("analytic pass with the weights drawn / drawing alone", "≤ 2"),
    "library": ("`initialize_model`, a copy / in place, s", "0.8 / 0.25 (resnet-56-nobn)"),
    "draws": (f"`probe_model` of {SEEDS} seeds / of one", "≤ 4.5"),
    "memory": ("probe's peak memory / largest set alive", "≤ 1.3"),
    "held": ("the same where memory is given back at once", "≤ 1.3"),
}


def main() -> None:
    arguments = parsed(str(__doc__), [*NETWORKS], ROUNDS, MEASURES)
    if arguments is None:
        return
    print(HEADER)
    for measure, figure in FIGURES.items():
        for name in arguments.networks if measure != "drawing" else [*arguments.networks, DEEPEST]:
            own = [name, "--rounds", str(arguments.rounds), "--only", measure]
            environment = GIVEN_BACK if measure == "held" else None
            found = alone("benchmarks.against_eager", *own, environment=environment)
            print(table_row(*figure, name, found), flush=True)


if __name__ == "__main__":
    main()
