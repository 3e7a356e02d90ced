"""The analytic pass and the probe, with the plain eager forward pass as the unit.

    python -m benchmarks.against_eager [NETWORK …] [--rounds 7]

For each network, in one process: the time of `model(x, training=True)`; that of the probe of the
same number of samples; that of the analytic pass with the weights drawn, also beside drawing the
same weights alone, and beside drawing by the layers' own initialisers, for which the layers are
made again from their configuration; and that of five draws beside one. Times are medians over
rounds in which all take turns, so that a machine's drift meets all of them. The probe's peak memory
beyond the weights stands beside the largest set of activations alive at once: it is the highest
resident size that the kernel saw (VmHWM, reset before the run), in a process of its own, as
allocators keep what they once had.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from benchmarks.measuring import alone, in_turns, parsed, peak_of, ratio

# Samples that go through together. Networks for 224x224 pixels get few: 128 would not fit.
NETWORKS = {
    "resnet-56-nobn": 128, "resnet-164-nobn": 128, "resnet-56": 128, "resnet-164": 128,
    "vgg-like": 128, "VGG16": 16, "EfficientNetB0": 16,
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

    _, found = in_turns(rounds, eager, lambda: probe_model(graph, samples), analytic_pass(graph))
    unit = statistics.median(row[0] for row in found)
    return (
        f"{samples:4d} samples   eager {unit:7.3f} s   probe {ratio(found, 1, 0):5.2f}"
        f"   analytic {ratio(found, 2, 0):5.2f}"
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
        f"analytic {pass_time:6.3f} s, to drawing alone {ratio(found, 0, 1):5.2f}, "
        f"to the layers' own initialisers {ratio(found, 0, 2):5.2f}"
    )


def draws(name: str, rounds: int) -> str:
    from probes import probe_model

    model, samples = built(name), NETWORKS.get(name, 128)
    _, found = in_turns(
        min(rounds, 3),
        lambda: probe_model(model, samples),
        lambda: probe_model(model, samples, seeds=SEEDS),
    )
    return f"{SEEDS} seeds to 1 {ratio(found, 1, 0):5.2f}"


def memory(name: str, rounds: int) -> str:
    from autoinit.graph.shapes import largest_alive
    from autoinit.reading import read_model
    from probes import probe_model

    graph, samples = read_model(built(name)), NETWORKS.get(name, 128)
    # One sample first: what the framework itself allocates once is not the probe's.
    probe_model(graph, 1)
    alive = largest_alive(graph, samples)
    peak = peak_of(lambda: probe_model(graph, samples))
    return f"peak {peak / 2**20:6.0f} MiB, to alive {peak / alive:5.2f}"


MEASURES = {measure.__name__: measure for measure in (times, drawing, draws, memory)}


def main() -> None:
    arguments = parsed(str(__doc__), [*NETWORKS, DEEPEST], ROUNDS, MEASURES)
    if arguments is None:
        return
    print(f"On the CPU; ratios to the plain eager pass, medians of {arguments.rounds} rounds")
    for name in arguments.networks:
        wanted = ["drawing"] if name == DEEPEST else list(MEASURES)
        own = [name, "--rounds", str(arguments.rounds)]
        parts = [alone("benchmarks.against_eager", *own, "--only", each) for each in wanted]
        print(f"{name:16s} {'   '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
