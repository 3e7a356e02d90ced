"""A training's folder: what is watched, and a line for each time that it was measured.

`run.json` says what does not change, `snapshots.jsonl` has a line for each measurement, in their
order: who reads it while it grows takes the lines that are whole. Nothing here imports Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from app.analysis.result import (
    RESULT_LIMIT,
    Figure,
    Finding,
    Label,
    Part,
    ResultError,
    Text,
    json_text,
    read_part,
)
from app.text.formatting import number, percentage

HEAD, SNAPSHOTS = "run.json", "snapshots.jsonl"


class FigureKind(NamedTuple):
    """A figure of a layer at a step, and how it is shown.

    Attributes:
        label: a few words.
        text: a value as words.
        logarithmic: whether its scale is.
        help: what it is.
    """

    label: str
    text: Callable[[float], str]
    logarithmic: bool
    help: str


# The table of figures: what is measured, kept, drawn and sent on.
FIGURES = {
    "variance": FigureKind("Variance", number, True, "Of the layer's output, over all entries."),
    "mean": FigureKind("Mean", number, False, "Of the layer's output, over all entries."),
    "correlation": FigureKind(
        "Correlation of inputs",
        number,
        False,
        "Of the layer's output for two inputs: at 1 they are no longer told apart.",
    ),
    "dead": FigureKind(
        "Dead units", percentage, False, "Share of channels that are zero for every input."
    ),
    "saturated": FigureKind(
        "Saturated",
        percentage,
        False,
        "Share of a bounded activation's entries that lie at its bounds.",
    ),
    "gradient": FigureKind(
        "Gradient",
        number,
        True,
        "Mean square of what comes back to the layer's output from random gradients of size 1 at "
        "the model's outputs.",
    ),
    "kernel": FigureKind("Kernel", number, True, "Root mean square of the layer's kernel."),
    "update": FigureKind(
        "Update",
        number,
        True,
        "Root mean square of one step's change of the kernel, beside that of the kernel.",
    ),
}


class Layer(Part):
    """A call that is watched: its path, its class, and whether it has a kernel."""

    path: Text
    class_name: Text = Field(validation_alias="class", serialization_alias="class")
    weighted: bool = False


class Head(Part):
    """What does not change: `run.json`.

    `verdict` is what was said before the first step, one line for each series of weights; `data`
    what is fed to measure.
    """

    kind: str = "run"
    name: Text
    started: Text
    layers: tuple[Layer, ...]
    samples: int
    data: Text
    optimizer: Text = ""
    rate: Figure = None
    verdict: tuple[Text, ...] = ()


class Snapshot(Part):
    """The figures at one step; a list has an entry for each layer, None where there is none.

    `step` is the number of steps that were taken; `loss` what Keras reported last. `findings` are
    those that were not there at the measurement before. `cost` is what all measurements took so
    far, `seconds` the time since the first step, both in seconds.
    """

    step: int
    epoch: int
    loss: Figure = None
    seconds: Figure = None
    cost: Figure = None
    figures: dict[Label, tuple[Figure, ...]]
    findings: tuple[Finding, ...] = ()


class Run(NamedTuple):
    """A training: what is watched, and the measurements in their order."""

    head: Head
    snapshots: tuple[Snapshot, ...]

    @property
    def findings(self) -> list[tuple[int, Finding]]:
        """What was found, each with the step at which it was seen first."""
        return [(each.step, found) for each in self.snapshots for found in each.findings]

    def column(self, figure: str, place: int) -> list[float | None]:
        """A layer's figure at each measurement."""
        rows = (each.figures.get(figure, ()) for each in self.snapshots)
        return [row[place] if place < len(row) else None for row in rows]


def write_head(folder: Path, head: Head) -> None:
    """Begins a folder of a training.

    Raises:
        FileExistsError: there is one already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / HEAD).open("x", encoding="utf-8") as file:
        file.write(json_text(head))


def add_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Adds a measurement to a folder."""
    with (folder / SNAPSHOTS).open("a", encoding="utf-8") as file:
        file.write(json_text(snapshot) + "\n")


def read_run(folder: Path) -> Run:
    """A folder of a training, though it still grows: a last line that is not whole is left out.

    Raises:
        OSError: it cannot be read.
        ResultError: it holds something else, or is broken.
    """
    head = read_part(folder / HEAD, Head)
    path = folder / SNAPSHOTS
    if not path.exists():
        return Run(head, ())
    with path.open("rb") as file:
        content = file.read(RESULT_LIMIT + 1)
    if len(content) > RESULT_LIMIT:
        raise ResultError(
            f"is larger than {RESULT_LIMIT:,} bytes, which no training's figures are."
        )
    whole, _, _ = content.rpartition(b"\n")
    return Run(head, tuple(read_part(line, Snapshot) for line in whole.splitlines() if line))


def runs_in(folder: Path) -> dict[str, Path]:
    """The folders of trainings in a folder, itself included, by name: the latest one first."""
    found = [each.parent for each in [folder / HEAD, *folder.glob(f"*/{HEAD}")] if each.is_file()]
    found.sort(key=lambda each: (each / HEAD).stat().st_mtime, reverse=True)
    return {each.name: each for each in found}
