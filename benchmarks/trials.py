"""Trials of known networks: `python -m benchmarks.trials [--steps 300] [WORD…]`.

Digits in the networks' shapes; 100 steps of 32 samples, SGD with momentum 0.9. Printed is what each
initialization comes to at its best rate, for three seeds, and how long a grid of 21 cells takes.
With words, networks whose names have one of them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from app.analysis.job_spec import JobSpec
from app.analysis.settings import Settings
from app.analysis.trials.result import TrialResult, read_trials
from app.analysis.trials.settings import TrialSettings
from app.jobs.trying import run

SEEDS = (0, 1, 2)
NETWORKS = {
    "tanh MLP, 30 layers": ("deep-tanh-mlp?width=64", ("default", "autoinit", "orthogonal")),
    "All-CNN-C, width 12, silu": (
        "all-cnn-c?width=12&activation=silu&dropout=0",
        ("default", "autoinit", "centred"),
    ),
    "All-CNN-C, width 12, ReLU": (
        "all-cnn-c?width=12&activation=relu&dropout=0",
        ("default", "autoinit", "centred"),
    ),
    "ResNet-56 without normalization": ("resnet-56-nobn", ("default", "autoinit", "zero_residual")),
}


def trial(sample: str, schemes: tuple[str, ...], seed: int, steps: int) -> TrialResult:
    """What a job finds, however long it takes."""
    settings = TrialSettings(schemes=schemes, steps=steps, budget=86_400.0)
    spec = JobSpec(f"sample:{sample}", sample, Settings(seed=seed, device="cpu"), settings)
    with tempfile.TemporaryDirectory() as folder:
        run(spec, Path(folder), lambda share, stage: None)
        return read_trials(Path(folder) / "result.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    for name, (sample, schemes) in NETWORKS.items():
        if given.words and not any(word in name for word in given.words):
            continue
        for seed in SEEDS:
            start, begun = time.perf_counter(), time.process_time()
            found = trial(sample, schemes, seed, given.steps)
            seconds, processor = time.perf_counter() - start, time.process_time() - begun
            told = ", ".join(
                f"{each.scheme} {each.score:.2f} ± {each.error:.2f} ({each.draws}) at {each.rate:g}"
                for each in found.answer.standings
            )
            cells = len(found.trainings)
            took = f"{cells} trainings, {seconds:.0f} s, {processor:.0f} s of processors"
            print(f"{name} | seed {seed} | {told} | {took}", flush=True)
            print(f"  {found.answer.sentence}", flush=True)


if __name__ == "__main__":
    main()
