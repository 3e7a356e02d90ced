"""Whole jobs in a warm worker, as the page has them: when verdict, chart and result are there.

    python -m benchmarks.jobs [NETWORK …] [--rounds 1]

Each network is saved as a file first, so that a job has all three series. So long it takes from
handing the file over until the first verdict (what the rules foresee), the first chart of what was
measured, and all of it; beside these stand the worker's processor seconds, which a busy machine
changes less, the highest resident size, and the whole in plain eager passes `model(x)` of eight
samples in the same run. Medians over rounds.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from app.analysis.job_spec import JobSpec
from app.analysis.result import read_preview
from app.analysis.settings import Settings
from app.jobs.handles import JobHandle
from app.jobs.queue import Workers
from benchmarks.measuring import HEADER, alone, in_turns, parsed, table_row

# Seconds to first verdict, first chart and whole result that are aimed at; None where nothing is.
GOALS: dict[str, tuple[float | None, float | None, float | None]] = {
    "ResNet50": (3, 5, 10), "MobileNetV2": (None, None, 7), "VGG16": (None, None, 20),
    "resnet-56-nobn": (None, None, 3), "resnet-812-nobn": (None, None, 40),
    "lstm-text": (None, None, 4), "seq2seq": (None, None, 6),
    "text-bidirectional": (None, None, 10),
}  # fmt: skip
SAMPLES = 8  # of the plain pass
ROUNDS = 1


class Job(NamedTuple):
    """Seconds until each, the worker's processor seconds and bytes, and what the result says."""

    verdict: float
    chart: float
    whole: float
    processor: float
    peak: int
    calls: int
    samples: str


def built(name: str) -> Any:
    """A sample model, one of `keras.applications` without its weights, or one of two of text."""
    import keras
    from keras import layers

    from sample_models import MODELS, build

    if name == "seq2seq":  # 2,950 parameters, 40 and 30 steps
        source, target = keras.Input((40, 10)), keras.Input((30, 10))
        _, *states = layers.LSTM(14, return_state=True)(source)
        decoded = layers.LSTM(14, return_sequences=True)(target, initial_state=states)
        return keras.Model([source, target], layers.Dense(10, "softmax")(decoded))
    if name == "text-bidirectional":  # 706,000 parameters, 500 steps
        words = keras.Input((500,), dtype="int32")
        read = layers.Bidirectional(layers.LSTM(64))(layers.Embedding(10_000, 64)(words))
        return keras.Model(words, layers.Dense(1, "sigmoid")(read))
    return build(name) if name in MODELS else getattr(keras.applications, name)(weights=None)


def save(name: str, rounds: int) -> str:
    path = Path(tempfile.gettempdir()) / f"benchmark-{name}.keras"
    built(name).save(path)
    return str(path)


def eager(name: str, rounds: int) -> str:
    import keras
    import numpy as np

    model = built(name)
    draw = np.random.default_rng(0).standard_normal
    noise = [
        keras.ops.zeros((SAMPLES, *x.shape[1:]), "int32")
        if "int" in x.dtype
        else draw((SAMPLES, *x.shape[1:]), dtype=np.float32)
        for x in model.inputs
    ]
    _, found = in_turns(3, lambda: model(noise if len(noise) > 1 else noise[0], training=True))
    return str(statistics.median(row[0] for row in found))


def run(workers: Workers, file: Path) -> Job:
    """One job in a worker that has stood by until it was ready."""
    worker = next(
        child for child in psutil.Process().children() if "app.jobs.worker" in child.cmdline()
    )
    until_idle(worker)
    used, start = sum(worker.cpu_times()[:2]), time.perf_counter()
    handle = workers.submit(JobSpec(str(file), file.name, Settings()))
    verdict = chart = 0.0
    processor, peak, seen = used, 0, None
    while not handle.wait(0.02):
        with contextlib.suppress(psutil.Error):
            processor, peak = (
                max(processor, sum(worker.cpu_times()[:2])),
                max(peak, worker.memory_info().rss),
            )
        written = handle.preview()
        if not chart and written is not None and written != seen:
            seen, now = written, time.perf_counter() - start
            verdict = verdict or now
            chart = now if is_measured(written[0]) else 0.0
    whole = time.perf_counter() - start
    if handle.status != "done":
        raise SystemExit(f"{file.name}: {handle.error}")
    return Job(verdict, chart, whole, processor - used, peak, *facts(handle))


def until_idle(worker: psutil.Process) -> None:
    """Wait until a worker has imported what it needs."""
    before = -1.0
    while (now := sum(worker.cpu_times()[:2])) - before > 0.02 or now < 1.0:
        before = now
        time.sleep(1.0)


def is_measured(path: Path) -> bool:
    """Whether a preview has what was measured of a series."""
    try:
        return any(call.is_measured for call in read_preview(path).calls)
    except (OSError, ValueError):  # replaced meanwhile, or gone with the job's end
        return False


def facts(handle: JobHandle) -> tuple[int, str]:
    """How many calls a result has, and how many samples it rests on."""
    result = handle.result()
    return len(result.calls), result.samples_taken


def row(name: str, rounds: int) -> str:
    """A line of the table."""
    file = Path(alone("benchmarks.jobs", name, "--only", "save").splitlines()[-1])
    found = []
    try:
        for _ in range(rounds):
            # A folder of its own each time: what was analysed before would be found there.
            with tempfile.TemporaryDirectory() as folder, Workers(root=Path(folder)) as workers:
                found.append(run(workers, file))
        unit = float(alone("benchmarks.jobs", name, "--only", "eager").splitlines()[-1])
    finally:
        file.unlink()
    times = ((job.verdict, job.chart, job.whole, job.processor) for job in found)
    verdict, chart, whole, processor = map(statistics.median, zip(*times, strict=True))
    first = found[0]
    return table_row(
        "from the file to verdict / chart / all of it, s",
        " / ".join("–" if each is None else str(each) for each in GOALS[name]),
        name,
        f"{verdict:.1f} / {chart:.1f} / {whole:.1f} ({processor:.1f} processor s, "
        f"{max(job.peak for job in found) / 2**20:,.0f} MiB, {first.calls:,} calls, "
        f"{first.samples} samples; {whole / unit:.0f} plain eager passes of {SAMPLES} samples)",
    )


def main() -> None:
    arguments = parsed(str(__doc__), [*GOALS], ROUNDS, {"save": save, "eager": eager})
    if arguments is None:
        return
    print(HEADER)
    for name in arguments.networks:
        print(row(name, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
