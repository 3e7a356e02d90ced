"""The probe on a GPU: its time beside the plain forward pass, its memory, and the CPU's figures.

    python -m benchmarks.gpu [NETWORK …] [--samples 128]

It runs on whichever of TensorFlow, JAX and PyTorch is installed, or on `KERAS_BACKEND`; of the
project's requirements Keras, h5py, NumPy, SciPy and psutil will do. For each network, in a process
of its own: the median time of `model(x, training=True)` and of the probe, in rounds in which they
take turns, results awaited; the highest memory use that the framework saw, weights included,
against weights and the largest set of activations alive at once; bytes of all activations over the
probe's time; operations of dense layers and convolutions over either time. Then the probe runs on
the CPU: where a call's variance differs by more than a thousandth, the worst is named and the exit
status is 1. Dropout is off, as no two devices draw the same noise. Without a GPU it says so.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib
import importlib.util
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.jobs.worker import on_large_stack
from benchmarks.measuring import seconds

SAMPLES = ["resnet-56-nobn", "resnet-164-nobn", "vgg-like"]
APPLICATIONS = ["VGG16", "EfficientNetB0"]  # of keras.applications, for images of 224 × 224
BACKENDS = ("tensorflow", "jax", "torch")
BATCH = 128
ROUNDS = 5
TOLERANCE = 1e-3
NO_GPU, DISAGREE = 3, 1

HEADER = (
    f"{'network':18s} {'plain':>9s} {'probe':>9s} {'ratio':>6s} {'peak':>9s} {'/ alive':>8s} "
    f"{'GB/s':>7s} {'plain TFLOP/s':>14s} {'probe TFLOP/s':>14s} {'GPU to CPU':>11s}"
)


@dataclass(frozen=True)
class Figures:
    """What one network's row is made of.

    Attributes:
        name: of the network.
        plain, probe: seconds; no plain pass where its activations do not fit.
        peak: bytes in use at most while the probe ran, or None where the framework does not tell.
        alive: bytes of the weights and of the largest set of activations alive at once.
        activations: bytes of all activations.
        operations: multiplications and additions of a pass.
        difference: the largest relative difference of a variance from the CPU's.
        worst: path of the call that has it.
    """

    name: str
    plain: float | None
    probe: float
    peak: int | None
    alive: int
    activations: int
    operations: int
    difference: float
    worst: str

    def row(self) -> str:
        """A line of the table, under `HEADER`."""
        plain = "–" if self.plain is None else f"{self.plain * 1e3:.1f} ms"
        ratio = "–" if self.plain is None else f"{self.probe / self.plain:.2f}"
        peak = "–" if self.peak is None else f"{self.peak / 2**20:.0f} MiB"
        share = "–" if self.peak is None else f"{self.peak / self.alive:.2f}"
        rates = [
            "–" if time is None else f"{self.operations / time / 1e12:.3f}"
            for time in (self.plain, self.probe)
        ]
        return (
            f"{self.name:18s} {plain:>9s} {self.probe * 1e3:6.1f} ms {ratio:>6s} {peak:>9s} "
            f"{share:>8s} {self.activations / self.probe / 1e9:7.1f} {rates[0]:>14s} "
            f"{rates[1]:>14s} {self.difference:11.1e}"
        )


def build(name: str) -> Any:
    """A network without dropout."""
    import keras

    import sample_models
    from autoinit.graph.keras_internals import layers_in

    if name in APPLICATIONS:
        model = getattr(keras.applications, name)(weights=None)
    else:
        model = sample_models.build(name)
    for layer in layers_in(model):
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return model


def operations(graph: Any, samples: int) -> int:
    """Multiplications and additions of the dense layers and convolutions: two for each weight.

    A kernel is applied at every position of the output, or of a transposed convolution's input.
    """
    from keras import layers

    transposed = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
    total = 0
    for call in graph.calls:
        if call.part == "activation" or not hasattr(call.layer, "kernel"):
            continue
        value = (call.inputs if isinstance(call.layer, transposed) else call.outputs)[0]
        positions = value.sample[:-1]
        if getattr(call.layer, "data_format", "") == "channels_first":
            positions = value.sample[1:]
        total += math.prod(call.layer.kernel.shape) * math.prod(positions)
    return 2 * samples * total


def worst_difference(gpu: Mapping[str, float], cpu: Mapping[str, float]) -> tuple[str, float]:
    """The call whose variance differs most from the CPU's, and by which share of that."""

    def difference(path: str) -> float:
        one, other = gpu[path], cpu[path]
        if one == other or (math.isnan(one) and math.isnan(other)):
            return 0.0
        share = abs(one - other) / abs(other) if other else math.inf
        return math.inf if math.isnan(share) else share

    worst = max(cpu, key=difference)
    return worst, difference(worst)


def measure(name: str, samples: int, device: str = "gpu", rounds: int = ROUNDS) -> Figures:
    """Run a network on a device, and its probe on the CPU besides."""
    import keras

    from autoinit.graph.shapes import all_activations, largest_alive
    from autoinit.reading import read_model
    from autoinit.running.state import without_gradients
    from probes import probe_model

    model = build(name)
    graph = read_model(model)
    noise = keras.random.normal((samples, *model.inputs[0].shape[1:]), seed=0)

    def plain() -> None:
        with without_gradients(), keras.device(f"{device}:0"):
            keras.ops.convert_to_numpy(model(noise, training=True))

    def probe() -> Any:
        return probe_model(graph, samples, device=device)

    probe()  # operations are compiled, or chosen, at first use
    _forget_peak(device)
    on_device = probe()
    peak = _peak(device)
    runs = plain if _runs(plain) else None
    times: list[tuple[float | None, float]] = [
        (seconds(runs) if runs else None, seconds(probe)) for _ in range(rounds)
    ]
    on_cpu = probe_model(graph, samples, device="cpu")
    worst, difference = worst_difference(
        {path: moments.variance for path, moments in on_device.items()},
        {path: moments.variance for path, moments in on_cpu.items()},
    )
    return Figures(
        name,
        statistics.median(row[0] or 0.0 for row in times) if runs else None,
        statistics.median(row[1] for row in times),
        peak,
        sum(math.prod(v.shape) * 4 for v in model.variables)
        + largest_alive(graph, on_device.batch_size),
        all_activations(graph, samples),
        operations(graph, samples),
        difference,
        worst,
    )


def machine(device: str = "gpu") -> str:
    """Which machine, with what, when.

    Raises:
        ValueError: where it has no such device.
    """
    import keras

    from probes.devices import find_device

    backend = keras.backend.backend()
    version = importlib.import_module(backend).__version__
    return (
        f"{find_device(device).name}; {os.cpu_count()} cores, {find_device('cpu').name}; "
        f"{platform.system()} {platform.release()}; Keras {keras.__version__}, "
        f"{backend} {version}; {datetime.date.today().isoformat()}"
    )


def _runs(function: Callable[[], object]) -> bool:
    """Whether the plain pass, which keeps all activations, fits into memory."""
    try:
        function()
    except Exception as error:  # of whichever framework
        print(f"The plain pass does not run: {type(error).__name__}.", file=sys.stderr)
        return False
    return True


def _forget_peak(device: str) -> None:
    """JAX cannot: its peak is that of the process, which has run nothing larger before."""
    import keras

    if device == "cpu":
        return
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.reset_memory_stats("GPU:0")
    elif keras.backend.backend() == "torch":
        import torch

        torch.cuda.reset_peak_memory_stats()


def _peak(device: str) -> int | None:
    import keras

    if device == "cpu":
        return None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    if keras.backend.backend() == "torch":
        import torch

        return int(torch.cuda.max_memory_allocated())
    import jax

    statistics_of = jax.devices("gpu")[0].memory_stats() or {}
    return statistics_of.get("peak_bytes_in_use")


def _backend() -> str:
    """The chosen backend, or the first that is installed."""
    chosen = os.environ.get("KERAS_BACKEND")
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    if not (chosen or installed):
        raise SystemExit(f"Keras needs one of {', '.join(BACKENDS)}, and none is installed.")
    return chosen or installed[0]


def _alone(arguments: argparse.Namespace) -> int:
    """One network's row, or the machine's line, in this process."""
    if arguments.only == "machine":
        try:
            print(machine(), flush=True)
        except ValueError as error:
            print(error, flush=True)
            return NO_GPU
        return 0
    figures = on_large_stack(functools.partial(measure, arguments.only, arguments.samples))
    print(figures.row(), flush=True)
    if figures.difference <= TOLERANCE:
        return 0
    print(
        f"{figures.name}: GPU and CPU differ by {figures.difference:.1e} in the variance of "
        f"{figures.worst!r}.",
        flush=True,
    )
    return DISAGREE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=SAMPLES + APPLICATIONS)
    parser.add_argument("--samples", type=int, default=BATCH)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        return _alone(arguments)
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "KERAS_BACKEND": _backend()}

    def child(what: str) -> int:
        command = [sys.executable, "-m", "benchmarks.gpu", "--only", what]
        command += ["--samples", str(arguments.samples)]
        ended = subprocess.run(
            command, stderr=subprocess.PIPE, text=True, errors="replace", env=environment
        )
        if ended.returncode not in (0, NO_GPU):
            print(ended.stderr[-2000:], file=sys.stderr)
        return ended.returncode

    status = child("machine")
    if status:
        return 0 if status == NO_GPU else status
    print(f"{arguments.samples} samples, medians of {ROUNDS} rounds\n\n{HEADER}", flush=True)
    return max(child(name) != 0 for name in arguments.networks)


if __name__ == "__main__":
    sys.exit(main())
