"""`batch.analyze`: many models, with any executor, and a table of what was found."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from app.analysis.batch.row import Row

Model: TypeAlias = str | os.PathLike[str] | tuple[str, Callable[[], Any]]


def analyze(
    models: Iterable[Model] | Mapping[str, Callable[[], Any]],
    executor: Executor | None = None,
    *,
    output: str | os.PathLike[str] | None = None,
    save_dir: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    trial: Mapping[str, Any] | None = None,
    again: bool = False,
) -> list[Row]:
    """Analyse many models, and say of each what `check` says of one.

    Nothing confines what is in a file here, as the command `autoinit batch` does: give files that
    you made, or trust.

    Args:
        models: paths of model files, `sample:NAME`, or what builds a model: pairs of a name and a
            function without arguments, or a mapping of these. Processes take functions that can be
            pickled, such as `functools.partial(build, depth=3)`.
        executor: of `concurrent.futures`, or one with its interface. In a process one model is
            analysed at a time. This process without it. Processes must be spawned, not forked:
            `ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))`.
        output: a Parquet file for the rows. What is in it of the same content, settings and program
            is not done again; a builder is known by its name.
        save_dir: a folder for the re-initialised models.
        settings: those of the command line: `{"samples": 32, "scheme": "he"}`.
        trial: trains each model, too, as `autoinit try` does, with its settings:
            `{"steps": 50, "data": "train.npz"}`, or `{}` for the usual ones. The row then has
            `best_scheme`, `best_rate` and `best_score`.
        again: try once more what failed before.

    Returns:
        A row for each model, in their order; `row.status` is "done" where there are figures, else
        `row.reason` says why not.

    Raises:
        ValueError: a setting is wrong, or `output` is a file of something else.
        TypeError: a model is none of the above.
        BlockingIOError: another process writes to `output`.

    Example:
        >>> import functools
        >>> import keras
        >>> from autoinit import batch
        >>> def build(width):
        ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width)])
        >>> models = {f"width {n}": functools.partial(build, n) for n in (2, 3)}
        >>> rows = batch.analyze(models, settings={"samples": 8})
        >>> [(row.file, row.parameters, row.verdict) for row in rows]
        [('width 2', 10, 'trains'), ('width 3', 15, 'trains')]
    """
    # Like `check`, this reaches up to what analyses.
    from app.analysis.batch.store import Store, as_rows, read_rows
    from app.analysis.settings import Settings
    from app.analysis.trials.settings import TrialSettings
    from app.jobs.batch import Given, Here, analyze_all

    chosen = Settings(**(settings or {}))
    tried = None if trial is None else TrialSettings(**trial)
    folder = None if save_dir is None else Path(save_dir).absolute()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    given = models.items() if isinstance(models, Mapping) else models
    tasks = [_task(model, chosen, folder, tried) for model in given]
    keys = [task.key if hasattr(task, "key") else task.row.key for task in tasks]
    pool = Here() if executor is None else Given(executor)
    try:
        if output is None:
            rows = analyze_all(tasks, pool)
        else:
            with Store(Path(output)) as store:
                for _ in analyze_all(tasks, pool, store, again):
                    pass
            rows = as_rows(read_rows(Path(output)))
        found = {row.key: row for row in rows}
    finally:
        pool.close()
    return [found[key] for key in keys]


def _task(model: Any, settings: Any, folder: Path | None, trial: Any) -> Any:
    from app.analysis.batch.row import Row
    from app.analysis.job_spec import SAMPLE_PREFIX
    from app.jobs.batch import Task

    if isinstance(model, str | os.PathLike):
        path = os.fspath(model)
        files = {} if path.startswith(SAMPLE_PREFIX) else {Path(path).name: Path(path)}
        return Task.of(path, files, settings, folder, trial)
    if _is_named_builder(model):
        name, build = model
        row = Row.begun(str(name), "", settings, trial)
        return Task(row, {}, settings, build, folder, trial)
    raise TypeError(
        "A model is a path, sample:NAME, or a pair of a name and a function that builds it; "
        f"received {_told(model)}. For a model that is there, see `autoinit.check`."
    )


def _is_named_builder(model: Any) -> bool:
    """A Keras model can be called as well, and is none."""
    pair = isinstance(model, tuple) and len(model) == 2 and callable(model[1])
    keras = sys.modules.get("keras")  # What is no model of Keras needs no import of it.
    return pair and not (keras is not None and isinstance(model[1], keras.Model))


def _told(model: Any) -> str:
    kinds = [type(each).__name__ for each in model] if isinstance(model, tuple) else []
    return f"{type(model).__name__}" + (f" of {' and '.join(kinds)}" if kinds else "")
