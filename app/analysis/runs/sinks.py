"""Where figures go while a model trains: a folder, a table, and other people's trackers."""

from __future__ import annotations

import contextlib
import csv
import importlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from app.analysis.runs.record import FIGURES, Head, Snapshot, add_snapshot, write_head
from probes.moments.distribution import Histogram

Histograms = dict[int, Histogram]


class Sink:
    """Takes measurements as they come.

    Attributes:
        note: what to know of where they go, once it has begun.
    """

    note = ""

    def begin(self, head: Head) -> None:
        """Told once, before the first step, what is watched."""
        self.head = head

    def write(self, snapshot: Snapshot, histograms: Histograms) -> None:
        """Told of a measurement; the histograms are of the layers' outputs."""

    def end(self) -> None:
        """Told once, after the last step."""


class FolderSink(Sink):
    """A folder that `autoinit serve --runs` shows, though the training goes on.

    Args:
        folder: a new one; where it has a training already, the next of its name with a number.
    """

    def __init__(self, folder: Path) -> None:
        self._wanted = self._folder = folder

    def begin(self, head: Head) -> None:
        """Writes what does not change."""
        super().begin(head)
        self._folder, self.note = self._wanted, ""
        for number in itertools.count(2):
            with contextlib.suppress(FileExistsError):
                write_head(self._folder, head)
                return
            self._folder = self._wanted.with_name(f"{self._wanted.name}-{number}")
            self.note = f"{self._wanted} has a training already; this one is in {self._folder}."

    def write(self, snapshot: Snapshot, histograms: Histograms) -> None:
        """Adds a line."""
        add_snapshot(self._folder, snapshot)


class CsvSink(Sink):
    """A table with a row for each layer at each step.

    Args:
        path: of the file, which is written anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, head: Head) -> None:
        """Writes the head of the table."""
        super().begin(head)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._add([["step", "epoch", "loss", "layer", *FIGURES]], "w")

    def write(self, snapshot: Snapshot, histograms: Histograms) -> None:
        """Adds a row for each layer."""
        self._add(
            [
                [
                    snapshot.step,
                    snapshot.epoch,
                    snapshot.loss,
                    layer.path,
                    *(snapshot.figures[name][place] for name in FIGURES),
                ]
                for place, layer in enumerate(self.head.layers)
            ]
        )

    def _add(self, rows: list[list[Any]], mode: str = "a") -> None:
        with self._path.open(mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


class TensorBoardSink(Sink):
    """Summaries of TensorBoard: figures as scalars, outputs as histograms, a heat map at the end.

    Args:
        folder: of the log.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        importlib.import_module("tensorboard")  # TensorFlow writes nothing without it

        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(folder))
        self._variances: list[tuple[float | None, ...]] = []

    def write(self, snapshot: Snapshot, histograms: Histograms) -> None:
        """A step's scalars and histograms."""
        self._variances.append(snapshot.figures["variance"])
        with self._writer.as_default(step=snapshot.step):
            for name, value in flat(self.head, snapshot):
                self._summary.scalar(name, value)
            for place, each in histograms.items():
                self._summary.histogram(f"output/{self.head.layers[place].path}", _entries(each))
        self._writer.flush()

    def end(self) -> None:
        """The variances of all layers at all steps as a picture."""
        if self._variances:
            with self._writer.as_default(step=0):
                self._summary.image("variance, layers by steps", _picture(self._variances)[None])
        self._writer.close()


class WandbSink(Sink):
    """Weights & Biases: into the run that is under way there, or one that begins now."""

    def __init__(self) -> None:
        import wandb

        self._wandb = wandb

    def begin(self, head: Head) -> None:
        """Begins a run where there is none."""
        super().begin(head)
        self._own = self._wandb.run is None
        if self._own:
            self._wandb.init(name=head.name)
        # Steps are ours: other callbacks may log, too.
        self._wandb.define_metric("signals/step")
        self._wandb.define_metric("signals/*", step_metric="signals/step")

    def write(self, snapshot: Snapshot, histograms: Histograms) -> None:
        """A step's figures and histograms."""
        found: dict[str, Any] = {
            f"signals/{name}": value for name, value in flat(self.head, snapshot)
        }
        for place, each in histograms.items():
            bins = np.array(each.counts), _edges(each)
            found[f"signals/output/{self.head.layers[place].path}"] = self._wandb.Histogram(
                np_histogram=bins
            )
        self._wandb.log({"signals/step": snapshot.step, **found})

    def end(self) -> None:
        """Ends the run that it began."""
        if self._own:
            self._wandb.finish()


class MlflowSink(Sink):
    """MLflow: into the run that is active there, or one that begins now."""

    def __init__(self) -> None:
        import mlflow

        self._mlflow = mlflow

    def begin(self, head: Head) -> None:
        """Begins a run where there is none."""
        super().begin(head)
        self._own = self._mlflow.active_run() is None
        if self._own:
            self._mlflow.start_run(run_name=head.name)

    def write(self, snapshot: Snapshot, histograms: Histograms) -> None:
        """A step's figures, as `variance/a.relu`.

        MLflow takes few signs in their names, and may keep each in a file that is called so: where
        there is a file `variance/a` no folder can be for `variance/a/relu`.
        """
        found = {}
        for name, value in flat(self.head, snapshot):
            figure, path = name.split("/", 1)
            layer = re.sub(r"[^\w. -]", ".", path)
            found[f"{figure}/{layer}"] = value
        self._mlflow.log_metrics(found, step=snapshot.step)

    def end(self) -> None:
        """Ends the run that it began."""
        if self._own:
            self._mlflow.end_run()


def flat(head: Head, snapshot: Snapshot) -> Iterator[tuple[str, float]]:
    """Each figure that there is, as `variance/block1_conv`."""
    for name, values in snapshot.figures.items():
        for layer, value in zip(head.layers, values, strict=True):
            if value is not None:
                yield f"{name}/{layer.path}", value


def _entries(histogram: Histogram) -> np.ndarray:
    """Entries that have this histogram: those of a bin in its middle."""
    edges = _edges(histogram)
    return np.repeat((edges[:-1] + edges[1:]) / 2, histogram.counts)


def _edges(histogram: Histogram) -> np.ndarray:
    return np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)


def _picture(rows: list[tuple[float | None, ...]]) -> np.ndarray:
    """Logarithms as grey: layers below each other, steps from left to right; nothing is black."""
    values = np.array(rows, dtype=float).T
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.log10(values)
    levels[~np.isfinite(levels)] = np.nan
    low, high = (np.nanmin(levels), np.nanmax(levels)) if np.isfinite(levels).any() else (0, 1)
    gray = 55 + 200 * (levels - low) / max(high - low, 1e-9)
    picture = np.nan_to_num(gray).astype(np.uint8)
    return np.kron(picture, np.ones((8, 8), np.uint8))[..., None]
