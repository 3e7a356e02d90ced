"""The paper's figures, again: `python -m benchmarks.paper 1 2 3 4a 4b 6a 7 7b 8 9 notebook`.

Networks, steps and data are small (see `docs/paper.md`), seeds fixed. Of each figure a table says
what the paper has, what is found here, and whether that agrees; a picture is saved beside it. What
was measured stays in `build/paper`, and `--kept` takes it from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import plotly.graph_objects as go

from app.jobs.worker import on_large_stack
from benchmarks.measuring import ROOT
from benchmarks.paper import experiments, pictures, tables

Frame: TypeAlias = pd.DataFrame
KEPT = ROOT / "build" / "paper"


@dataclass(frozen=True)
class Figure:
    """One of the paper's: how it is measured, drawn and compared, and a scale for its test."""

    measure: Callable[..., Frame]
    draw: Callable[[Frame], go.Figure]
    compare: Callable[[Frame], Iterator[tables.Row]]
    toy: Mapping[str, Any] = field(default_factory=dict)
    height: int = 340


_USUAL = {what: (value,) for what, value in experiments.USUAL.items()}
# The first function by this seed is constant: nothing is trained but ReLU.
_SEARCH = {"seeds": (0,), "generations": 2, "draws": 1, "networks": 2, "workers": 0, "kept": None}
_FEWEST = {"count": 1, "steps": 1, "seed": 7}
FIGURES = {
    "1": Figure(
        experiments.variations, pictures.variations, tables.of_variations,
        {"varied": _USUAL, "steps": 1, "seeds": (0,)},
    ),
    "2": Figure(
        experiments.signals_of_cnn, pictures.signals_of_cnn, tables.of_signals_of_cnn,
        {"varied": _USUAL, "width": 4}, 560,
    ),
    "3": Figure(
        experiments.signals_of_resnets, pictures.signals_of_resnets,
        tables.of_signals_of_resnets, {"depths": (8,), "size": 8, "share": 4}, 560,
    ),
    "4a": Figure(
        experiments.learning_rates, pictures.learning_rates, tables.of_learning_rates,
        {"depths": (8,), "steps": 1, "rates": (0.01,)},
    ),
    "4b": Figure(
        experiments.schedules, pictures.schedules, tables.of_schedules,
        {"depth": 8, "steps": 1, "peaks": (0.01,)},
    ),
    "6a": Figure(
        experiments.searches, pictures.searches, tables.of_searches, _SEARCH
    ),
    "8": Figure(
        experiments.searches, pictures.searches_by_seed, lambda frame: iter(()), _SEARCH, 480
    ),
    "7": Figure(
        experiments.functions, pictures.functions, tables.of_functions, _FEWEST
    ),
    "7b": Figure(
        experiments.functions, pictures.best_functions, lambda frame: iter(()),
        _FEWEST, 460,
    ),
    "9": Figure(
        experiments.functions, pictures.distributions, tables.of_distributions,
        _FEWEST,
    ),
    "notebook": Figure(
        experiments.notebook, pictures.notebook, tables.of_notebook,
        {"blocks": 1, "epochs": (1,), "steps_per_epoch": 1, "schemes": ("glorot",)},
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("figures", nargs="+", choices=list(FIGURES))
    parser.add_argument("--kept", action="store_true", help="what was measured before")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs")
    arguments = parser.parse_args()
    measured: set[str] = set()
    for name in arguments.figures:
        figure = FIGURES[name]
        kept = KEPT / f"{figure.measure.__name__}.csv"
        if not (arguments.kept and kept.exists()) and kept.name not in measured:
            kept.parent.mkdir(parents=True, exist_ok=True)
            on_large_stack(figure.measure).to_csv(kept, index=False)
        measured.add(kept.name)
        frame = pd.read_csv(kept)
        rows = tables.table(figure.compare(frame))
        print(f"\nFigure {name}\n\n{rows}", flush=True)
        path = arguments.pictures / f"paper-{name}.png"
        pictures.save(figure.draw(frame), path, figure.height)
        print(f"\n{path}, {path.stat().st_size / 1024:.0f} KiB", flush=True)


if __name__ == "__main__":
    main()
