"""A trial, in the worker: open the model, train it from each initialisation, save the best."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras

from app.analysis.comparison.input_data import read_training_data
from app.analysis.comparison.inputs import inputs_of
from app.analysis.comparison.progress import OnProgress
from app.analysis.comparison.steps import Analysis
from app.analysis.job_spec import JobSpec
from app.analysis.result import DownloadFacts, Finding, json_text
from app.analysis.trials.grid import MOST_DRAWS, losses_of, optimizer_of, rates_around, run_grid
from app.analysis.trials.result import TrialResult
from app.analysis.trials.settings import DEFAULT
from app.jobs.execution import Opened, input_shapes, opened, replace, take_home, write
from app.jobs.folders import PREVIEW, RESULT
from autoinit.errors import ModelFileError, NotMeasuredError, SettingsError
from autoinit.model_files.read.hdf5 import quoted
from autoinit.running.inputs import check_data
from probes.trials.tasks import LearningTask, digits_task, task_of
from probes.trials.training import Trainer


def run(
    spec: JobSpec, folder: Path, progress: OnProgress, model: Any = None, saves: bool = True
) -> None:
    """Train a model from several initialisations, at several rates; leave `result.json`.

    And the model with the initialisation that was best, unless that is its own.

    Args:
        spec: which model, which settings, with those of the trial.
        folder: where results go; it exists.
        progress: told the share done and what is being done.
        model: to be trained in place of a file, with the optimizer that it was compiled with.
        saves: whether to leave a model.

    Raises:
        ModelFileError: for a file, sample or data that are refused.
        GraphError: for a model without a graph of layers.
        ValueError: for a model that cannot be trained here.
    """
    start = time.perf_counter()
    progress(0.0, "Reading the model")
    assert spec.trial is not None
    found, trial, is_given = opened(spec, model), spec.trial, model is not None
    model = found.model
    keras.utils.set_random_seed(spec.settings.seed)  # of dropout
    compiled = found.file.record.compile_settings if found.file is not None else None
    optimizer, optimizer_name, usual = optimizer_of(model, compiled, trial, is_given)
    task = _task(found, spec, losses_of(model))
    rates = trial.rates or rates_around(usual)
    first = TrialResult(
        kind="trial",
        name=spec.name,
        settings=trial.model_dump(),
        data=task.about,
        samples=task.samples,
        optimizer=optimizer_name,
        measure="accuracy" if task.counts else "loss",
        chance=task.largest_class,
        steps=trial.steps,
        batch=trial.batch,
        schemes=trial.schemes,
        rates=rates,
        trainings=(),
    )
    inputs = dict(zip(input_shapes(found.graph), task.inputs, strict=True))
    settings = found.settings.replace(seeds=MOST_DRAWS, mode="training")
    uploaded = found.file is not None and found.file.has_weights
    analysis = Analysis(model, settings, uploaded, data=inputs)
    trainer = Trainer(model, analysis.graph, task, optimizer, trial.batch)
    result, scales = run_grid(
        analysis,
        trainer,
        first,
        trial,
        found.linted,
        progress,
        lambda known: replace(folder / PREVIEW, json_text(known)),
    )
    best = result.answer.scheme
    changes: dict[str, Any] = {"timings": {"total": round(time.perf_counter() - start, 2)}}
    if saves and best is not None and best != DEFAULT:
        progress(0.99, "Saving the model")
        downloads, left_out = take_home(found, folder, scales, best)
        changes["downloads"] = tuple(DownloadFacts(**vars(each)) for each in downloads)
        told = (Finding.model_validate(each.as_dict()) for each in left_out)
        changes["findings"] = (*result.findings, *told)
    write(folder / RESULT, json_text(result.model_copy(update=changes)))
    (folder / PREVIEW).unlink(missing_ok=True)
    progress(1.0, "Done")


def _task(found: Opened, spec: JobSpec, losses: list[Any] | None) -> LearningTask:
    """The data that were brought, or digits."""
    graph, settings, trial = found.graph, found.settings, spec.trial
    assert trial is not None
    if trial.data is None:
        known = inputs_of(graph, settings.replace(input_data=None))
        moments = {name: (known.mean[name], known.variance[name]) for name in known.mean}
        return digits_task(graph, moments, losses, settings.seed)
    name, producers = trial.shown_name, graph.producers()
    outputs = [producers[value.index].path for value in graph.outputs]
    inputs, targets = read_training_data(
        Path(trial.data), name, input_shapes(graph), outputs, found.budgets
    )
    try:
        check_data(graph, inputs)
        return task_of(
            graph,
            list(inputs.values()),
            targets,
            f"The data in {quoted(name)}.",
            losses,
            settings.seed,
        )
    except (SettingsError, NotMeasuredError) as error:
        raise ModelFileError("bad_input_data", f"Data file {quoted(name)}: {error}") from error
