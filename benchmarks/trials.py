"""Trials of known networks: `python -m benchmarks.trials`.

Digits in the networks' shapes; 100 steps of 32 samples, SGD with momentum 0.9. Printed is what each
initialization comes to at its best rate, for three seeds, and how long a grid of 21 cells takes.
"""

from __future__ import annotations

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
        "all-cnn-c?width=12&activation=silu&dropout=0", ("default", "autoinit", "centred"),
    ),
    "All-CNN-C, width 12, ReLU": (
        "all-cnn-c?width=12&activation=relu&dropout=0", ("default", "autoinit", "centred"),
    ),
    "ResNet-56 without normalization": (
        "resnet-56-nobn", ("default", "autoinit", "zero_residual"),
    ),
}  # fmt: skip


def trial(sample: str, schemes: tuple[str, ...], seed: int) -> TrialResult:
    """What a job finds, however long it takes."""
    settings = TrialSettings(schemes=schemes, budget=86_400.0)
    spec = JobSpec(f"sample:{sample}", sample, Settings(seed=seed, device="cpu"), settings)
    with tempfile.TemporaryDirectory() as folder:
        run(spec, Path(folder), lambda share, stage: None)
        return read_trials(Path(folder) / "result.json")


def main() -> None:
    for name, (sample, schemes) in NETWORKS.items():
        for seed in SEEDS:
            start = time.perf_counter()
            found = trial(sample, schemes, seed)
            seconds = time.perf_counter() - start
            told = ", ".join(
                f"{each.scheme} {each.score:.2f} ± {each.error:.2f} ({each.draws}) at {each.rate:g}"
                for each in found.answer.standings
            )
            cells = len(found.trainings)
            print(f"{name} | seed {seed} | {told} | {cells} trainings, {seconds:.0f} s", flush=True)
            print(f"  {found.answer.sentence}", flush=True)


if __name__ == "__main__":
    main()
