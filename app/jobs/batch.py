"""Many models: where each is analysed, how many at once, and what becomes of it.

A pool takes a task and gives a future of its row: `Confined` has a cell for each model, `Trusted`
a few processes that import Keras once, `Given` any executor of `concurrent.futures`. Nothing here
imports Keras, except where a model is analysed in this very process.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import psutil

from app.analysis.batch.row import Row, Status
from app.analysis.batch.store import Store
from app.analysis.job_spec import SAMPLE_PREFIX, JobSpec, sha256
from app.analysis.result import Result, ResultError, read_result
from app.analysis.settings import Settings
from app.analysis.trials.result import read_trials
from app.analysis.trials.settings import TrialSettings
from app.jobs import folders
from app.jobs.queue import Workers
from app.jobs.worker import explained, on_large_stack
from app.limits import GIB, Limits

PROCESS_BYTES = 2 * GIB  # that a process with Keras and a small model takes at most
FILE_TIMES = 6  # as much as its file a model takes besides: weights as read, in it, drawn, written
_NO_PICKLE = (
    ". What builds a model goes to a process by its name: define it at the top level of a module, "
    "and give functools.partial of it instead of a lambda."
)
_one_at_a_time = threading.Lock()
_is_ours = False  # whether this process does nothing but analyse models


@dataclass(frozen=True)
class Task:
    """One model that is to be analysed.

    Attributes:
        row: as it was begun.
        files: of the model, by what an archive of them calls them; none for a sample.
        settings: of the analysis.
        build: gives the model, where there is no file.
        save: the folder for the re-initialised model; None for none.
        trial: settings of a trial, where the model is to be trained, too.
    """

    row: Row
    files: Mapping[str, Path]
    settings: Settings
    build: Callable[[], Any] | None = None
    save: Path | None = None
    trial: TrialSettings | None = None

    @classmethod
    def of(
        cls,
        model: str,
        files: Mapping[str, Path],
        settings: Settings,
        save: Path | None = None,
        trial: TrialSettings | None = None,
    ) -> Task | Row:
        """The task, or the row that says why there is none.

        Args:
            model: its path, or `sample:NAME`.
            files: as above.
            settings: of the analysis.
            save, trial: as above.
        """
        name = named(model)
        try:
            found = [sha256(str(each)) for each in files.values()]
        except OSError as error:
            reason = f"The file cannot be read: {error.strerror or error}."
            return Row.begun(name, "", settings, trial).failed("refused", "unreadable_file", reason)
        if len(found) != 1:
            found = [hashlib.sha256("".join([model, *found]).encode()).hexdigest()]
        row = Row.begun(name, found[0], settings, trial)
        return cls(row, files, settings, save=save, trial=trial)

    def spec(self, folder: Path, trial: TrialSettings | None = None) -> JobSpec:
        """What is asked of a worker; several files are put into one archive in the folder."""
        model = self.row.file
        if len(self.files) > 1:
            model = str(folder / "model.zip")
            folders.pack(self.files, Path(model))
        name = self.row.file.removeprefix(SAMPLE_PREFIX).rpartition("/")[2]
        return JobSpec(model, name, self.settings, trial)

    def kept(self, result: Result, folder: Path, **further: Any) -> Row:
        """The row of a result, whose re-initialised model is put where it is wanted."""
        if self.save is not None and result.downloads:
            source = folder / Path(result.downloads[0].file).name
            stem = Path(self.row.file.removeprefix(SAMPLE_PREFIX)).stem
            name = f"{stem}-{self.row.sha256[:8]}{source.suffix}"
            target = self.save / name
            beside = target.with_name(f".{name}.{os.getpid()}")
            shutil.copyfile(source, beside)
            beside.replace(target)
            further["saved"] = str(target)
        return self.row.of(result, **further)


def named(model: str) -> str:
    """What a row calls it: its whole path, or the sample's name."""
    return model if model.startswith(SAMPLE_PREFIX) else str(Path(model).absolute())


def in_process(task: Task) -> Row:
    """Analyses a model in this process, one at a time; whatever happens is a row."""
    row = task.row
    wall, processor = time.perf_counter(), time.process_time()
    with _one_at_a_time, tempfile.TemporaryDirectory(prefix="autoinit-") as name:
        folder = Path(name)
        try:
            on_large_stack(lambda: _run(task, folder))
            row = task.kept(read_result(folder / folders.RESULT), folder)
            if task.trial is not None:
                on_large_stack(lambda: _try(task, folder))
                row = row.tried(read_trials(folder / folders.RESULT))
            return replace(row, processor_seconds=round(time.process_time() - processor, 3))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            status, (code, message) = explained(error)
            row = row.failed(status, code, message)
            return replace(row, seconds=round(time.perf_counter() - wall, 3))
        finally:
            if _is_ours:
                importlib.import_module("keras").utils.clear_session()


def _run(task: Task, folder: Path) -> None:
    execution = importlib.import_module("app.jobs.execution")
    model = None if task.build is None else task.build()
    saves = task.save is not None
    execution.run(task.spec(folder), folder, lambda share, stage: None, model, saves, brief=True)


def _try(task: Task, folder: Path) -> None:
    trying = importlib.import_module("app.jobs.trying")
    model = None if task.build is None else task.build()
    trying.run(task.spec(folder, task.trial), folder, lambda *_: None, model, saves=False)


def bytes_of(task: Task) -> int:
    """Bytes of memory that the analysis of a model takes, by the shapes of weights and activations.

    0 for one that cannot be read.
    """
    execution = importlib.import_module("app.jobs.execution")
    shapes = importlib.import_module("autoinit.graph.shapes")
    with tempfile.TemporaryDirectory(prefix="autoinit-") as name, contextlib.suppress(Exception):
        model = None if task.build is None else task.build()
        found = on_large_stack(lambda: execution.opened(task.spec(Path(name)), model))
        weights = 4 * found.model.count_params()
        activations = execution.PARTS * shapes.largest_alive(found.graph, 1)
        return int(PROCESS_BYTES + FILE_TIMES * weights + activations)
    return 0


class Pool(Protocol):
    """Where tasks are done.

    Attributes:
        places: how many tasks it is given before one of them is done.
    """

    places: int

    def submit(self, task: Task) -> Future[Row]:
        """Begins a task, or lets it wait."""

    def close(self) -> None:
        """Ends what is being done; its rows are lost."""


class Here:
    """This process, one task after the other."""

    places = 1

    def submit(self, task: Task) -> Future[Row]:
        """Does it."""
        future: Future[Row] = Future()
        future.set_result(in_process(task))
        return future

    def close(self) -> None:
        """Nothing is being done."""


class Given:
    """An executor: threads, processes, other machines.

    Args:
        executor: that runs functions somewhere.
        ends: whether it ends with this; else whoever gave it ends it.
    """

    def __init__(self, executor: Executor, ends: bool = False) -> None:
        self._executor, self._ends = executor, ends
        self.places: int = getattr(executor, "places", 256)
        self._begun: list[Future[Row]] = []

    def submit(self, task: Task) -> Future[Row]:
        """Hands it over."""
        future = self._executor.submit(in_process, task)
        self._begun = [each for each in self._begun if not each.done()] + [future]
        return future

    def close(self) -> None:
        """Takes back what has not begun."""
        for future in self._begun:
            future.cancel()
        if self._ends:
            self._executor.shutdown(wait=False, cancel_futures=True)


class Trusted:
    """Processes of our own that import Keras once, and analyse one model after the other.

    Nothing confines them. One that dies with a model is replaced.

    Args:
        workers: processes.
    """

    def __init__(self, workers: int) -> None:
        self._workers, self.places = workers, 2 * workers
        # They end when its other end closes, as it does when this process is killed.
        self._theirs, self._ours = multiprocessing.get_context("spawn").Pipe(duplex=False)
        self._executor = self._start()

    def submit(self, task: Task) -> Future[Row]:
        """Hands it over; to new processes, where one has died."""
        try:
            return self._executor.submit(in_process, task)
        except BrokenExecutor:
            self._executor = self._start()
            return self._executor.submit(in_process, task)

    def close(self) -> None:
        """Ends the processes."""
        self._ours.close()
        self._executor.shutdown(cancel_futures=True)
        self._theirs.close()

    def _start(self) -> ProcessPoolExecutor:
        threads = max((os.cpu_count() or 1) // self._workers, 1)
        return ProcessPoolExecutor(
            self._workers, multiprocessing.get_context("spawn"), _get_ready, (self._theirs, threads)
        )


def _get_ready(parent: Connection, threads: int) -> None:
    """Makes this process one that ends with its parent, and prints nothing."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # What libraries print would stand in the middle of the progress.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    get_ready(threads)


def get_ready(threads: int) -> None:
    """Makes this process one that does nothing but analyse models: Keras is there, and stays.

    Args:
        threads: that each operation may use.
    """
    global _is_ours
    if _is_ours:
        return
    _is_ours = True
    for variable in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, str(threads))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    importlib.import_module("app.jobs.execution").rehearse()
    gc.freeze()


def _end_with(parent: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        parent.recv_bytes()
    os._exit(1)


class Confined:
    """A cell for each model, as for any job: what is in the file reaches nothing else.

    Args:
        workers: models that are analysed at once.
        readable: folders that the cells may read.

    Raises:
        ValueError: a limit in the environment is not a positive number.
    """

    def __init__(self, workers: int, readable: Sequence[Path] = ()) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="autoinit-"))
        self._command = (sys.executable, "-m", "app.jobs.worker", *map(str, readable))
        Limits.from_environment()
        self.places = 2 * workers
        self._own = threading.local()
        self._all: list[Workers] = []
        self._closed = False
        self._threads = ThreadPoolExecutor(workers, initializer=self._get_ready)

    def submit(self, task: Task) -> Future[Row]:
        """Lets it wait for a cell."""
        return self._threads.submit(self._work, task)

    def close(self) -> None:
        """Ends the cells."""
        self._closed = True
        for workers in list(self._all):
            workers.close()
        self._threads.shutdown(cancel_futures=True)
        shutil.rmtree(self._root, ignore_errors=True)

    def _get_ready(self) -> None:
        root = Path(tempfile.mkdtemp(dir=self._root))
        self._own.workers = Workers(command=self._command, root=root)
        self._all.append(self._own.workers)

    def _work(self, task: Task) -> Row:
        start = time.perf_counter()
        row = self._done(task, task.row, None)
        if row.status == "done" and task.trial is not None:
            row = self._done(task, row, task.trial)
        if row.status == "done":
            return row
        return replace(row, seconds=round(time.perf_counter() - start, 3))

    def _done(self, task: Task, row: Row, trial: TrialSettings | None) -> Row:
        """A row, with what an analysis or a trial in a cell adds to it."""
        workers: Workers = self._own.workers
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=workers.root))
        try:
            job = workers.submit(task.spec(folder, trial), folder)
            job.wait()
            if job.status == "done":
                if trial is not None:
                    return row.tried(job.trials())
                return task.kept(job.result(), job.folder)
            status: Status = "refused" if job.status == "refused" else "failed"
            return row.failed(status, *(job.error or (job.status, f"It was {job.status}.")))
        except (OSError, ResultError) as error:
            return row.failed("failed", "no_result", str(error))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def places() -> int:
    """How many models this machine analyses at once: by its processors, and its memory."""
    by_memory = psutil.virtual_memory().available // PROCESS_BYTES
    return max(min(os.cpu_count() or 1, by_memory), 1)


def rows_of(tasks: Iterable[Task | Row], pool: Pool) -> Iterator[Row]:
    """The row of each, as soon as it is there; those that are rows already first come first.

    Where a process dies, each of the models that may have done it is tried alone.

    Raises:
        BrokenExecutor: an executor of the caller's is.
    """
    source, waiting = iter(tasks), dict[Future[Row], Task]()
    while True:
        for task in source:
            if isinstance(task, Row):
                yield task
                continue
            waiting[pool.submit(task)] = task
            if len(waiting) >= pool.places:
                break
        if not waiting:
            return
        done, _ = wait(waiting, return_when=FIRST_COMPLETED)
        suspects = []
        for future in done:
            task = waiting.pop(future)
            try:
                yield future.result()
            except BrokenExecutor:
                suspects.append(task)
            except Exception as error:  # of what carries it, as where a node is lost
                told = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                if task.build is not None and "pickle" in told:
                    told += _NO_PICKLE
                yield task.row.failed("failed", "crashed", told)
        if suspects:
            suspects += waiting.values()
            waiting.clear()
        for task in suspects:
            try:
                yield pool.submit(task).result()
            except BrokenExecutor:
                message = "The process that analysed it ended: memory ran out, or it crashed."
                yield task.row.failed("failed", "crashed", message)


def analyze_all(
    tasks: Iterable[Task | Row],
    pool: Pool,
    store: Store | None = None,
    again: bool = False,
    known: Callable[[], None] = lambda: None,
) -> Iterator[Row]:
    """The rows of the models that are not known yet, each kept as soon as it is there.

    Args:
        tasks: models, or rows of those that cannot even be read.
        pool: where they are analysed.
        store: where rows are kept, and found.
        again: whether what failed is tried once more.
        known: called for each model whose row is there.
    """

    def unknown() -> Iterator[Task | Row]:
        for task in tasks:
            row, saved = (task, False) if isinstance(task, Row) else (task.row, bool(task.save))
            if store is not None and store.has(row, done=again, saved=saved):
                known()
            else:
                yield task

    for row in rows_of(unknown(), pool):
        if store is not None:
            store.append(row)
        yield row
