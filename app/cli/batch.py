"""`batch`: thousands of models, a row for each."""

from __future__ import annotations

import glob
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click import UsageError

from app.analysis.job_spec import SAMPLE_PREFIX
from app.analysis.result import ResultError
from app.analysis.settings import FILES, Settings
from app.analysis.trials.settings import TRIAL, TrialSettings
from app.cli import common
from app.cli.analyze import DATA_FILE, WORSE, file_option
from app.cli.common import DONE, ERROR, INTERRUPTED, OUTSIDE_BAND, REFUSED
from app.cli.examples import BATCH_EXAMPLES
from app.cli.interface import FILE, Command, option, settings_of, settings_options
from app.cli.trial import trial_settings
from app.errors import WrongSettingError
from app.text.escaping import plain_text
from app.text.formatting import plural, time_left

# What a help text has no use for is imported by those who run: Arrow alone takes half a second.
if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from app.analysis.batch.row import Row
    from app.analysis.batch.store import Known
    from app.jobs.batch import Pool
    from app.jobs.ray import RayExecutor

SUFFIXES = (".keras", ".h5", ".hdf5", ".json")
TRY = "try_"  # before the names of a trial's settings
NAMED = 10  # that have no figures, with the reason
LINES = 20  # of progress, where there is no terminal
LOOKED_AT = 4096  # bytes of a JSON file
STATUSES = {"done": DONE, "failed": ERROR, "refused": REFUSED}


@click.command(
    cls=Command, epilog=BATCH_EXAMPLES, short_help="Analyse thousands of models, a row for each"
)
@click.argument(
    "models",
    nargs=-1,
    required=True,
    metavar="FOLDER|GLOB|MANIFEST...",
    help="A folder with all model files below it, a pattern in quotes ('nets/**/*.keras'), a text "
    "file with a path on each line, a model file, or sample:NAME",
)
@file_option(
    "--output",
    required=True,
    help="A Parquet file for the rows; what is in it of the same content and settings is not done "
    "again",
)
@option(
    "--save-dir",
    group=FILES,
    type=FILE,
    metavar="DIR",
    help="Write the re-initialised models into this folder",
)
@option(
    "--workers",
    group=FILES,
    type=click.IntRange(1),
    metavar="N",
    help="Models that are analysed at once. Default: as many as there are processors, and memory",
)
@option(
    "--ray",
    group=FILES,
    metavar="ADDRESS",
    help="Analyse on a Ray cluster, with --trust: ray://HOST:10001, HOST:6379 on one of its "
    "nodes, or local",
)
@option("--again", group=FILES, is_flag=True, help="Try once more what failed or was refused")
@settings_options()
@option(
    "--try",
    "tries",
    group=TRIAL,
    is_flag=True,
    help="Train each model, too, as `try` does; the row then says which initialisation and which "
    "rate are best. The options below go with it",
)
@settings_options(TrialSettings, prefix=TRY)
@click.option(
    "--fail-on",
    type=click.Choice(list(WORSE)),
    help="Exit with 3 when the verdict on a model is this or a worse one",
)
def batch(
    models: tuple[str, ...],
    output: Path,
    save_dir: Path | None,
    workers: int | None,
    ray: str | None,
    again: bool,
    tries: bool,
    fail_on: str | None,
    **given: Any,
) -> int:
    """Analyse many models, and keep a row of each: verdict, causes, figures, variances by layer.

    Each file is read in a confined worker. With --trust a few processes that import Keras once read
    many, unconfined, and run the code that comes with them. Ctrl+C keeps what is done; the same
    command goes on.
    """
    from app.analysis.batch.row import hash_of
    from app.analysis.batch.store import Store
    from app.jobs.batch import Task, analyze_all, named, places

    of_trial = {name: given.pop(name) for name in list(given) if name.startswith(TRY)}
    asked = trial_settings(of_trial, TRY)
    if not tries and asked != TrialSettings():
        raise UsageError("options that begin with --try- go with --try")
    trial = asked if tries else None
    settings = settings_of(given)
    data = given["input_data"]
    if data is not None and (missing := common.refuse_missing(data, DATA_FILE)):
        raise UsageError(f"--input-data: {missing[1]}")
    common.check_targets([output], Path(models[0]), "a model and --output")
    found = list(with_their_code(models_in(models), settings))
    if not found:
        raise UsageError(f"there is no model file in {', '.join(models)}")
    if save_dir is not None:
        save_dir.mkdir(parents=True, exist_ok=True)
        save_dir = save_dir.absolute()
    if ray is not None and not settings.trust:
        raise UsageError("--ray goes with --trust: nodes do not confine what they open")
    workers = workers or min(places(), len(found))
    try:
        store = Store(output)
    except ResultError as error:
        raise UsageError(f"--output: {output} {error}") from error
    except BlockingIOError:
        return common.say_error(f"another batch is writing to {output}; wait for its end.")
    with store:
        pool = _pool(workers, settings, ray)
        try:
            tasks = (
                Task.of(name, common.files_of(name, parts), settings, save_dir, trial)
                if not name.startswith(SAMPLE_PREFIX)
                else Task.of(name, {}, settings, save_dir, trial)
                for name, *parts in found
            )
            progress = BatchProgress(len(found))
            with progress:
                for row in analyze_all(tasks, pool, store, again, progress.known):
                    progress.add(row)
        except KeyboardInterrupt:
            print(
                f"interrupted; {plural(len(store.known), 'row')} in {output}. The same command "
                "goes on from there.",
                file=sys.stderr,
            )
            return INTERRUPTED
        finally:
            pool.close()
    keys = [(named(name), hash_of(settings, trial)) for name, *_ in found]
    for line in progress.told:
        print(plain_text(line, 400), file=sys.stderr)
    return _conclude([store.known[key] for key in keys], fail_on, output)


def _pool(workers: int, settings: Settings, ray: str | None) -> Pool:
    from app.jobs.batch import Confined, Given, Trusted

    if ray is not None:
        return Given(_on_ray(ray), ends=True)
    if settings.trust:
        return Trusted(workers)
    try:
        return Confined(workers, [Path.cwd()] if settings.custom_objects else [])
    except WrongSettingError as error:
        raise UsageError(str(error)) from error


def _on_ray(address: str) -> RayExecutor:
    from app.jobs.ray import RayExecutor

    try:
        return RayExecutor(None if address == "local" else address)
    except ImportError as error:
        raise UsageError("--ray needs Ray: pip install 'autoinit-dashboard[cluster]'") from error
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"--ray {address}: {common.sentence(str(error))}") from error


def models_in(given: Sequence[str]) -> list[list[str]]:
    """The model files that folders, patterns and manifests name, each with what belongs to it.

    Raises:
        UsageError: there is nothing by that name.
    """
    paths = dict.fromkeys(path for each in given for path in _paths(each))
    return common.put_together(list(paths))


def _paths(given: str) -> Iterator[str]:
    path = Path(given)
    is_file = path.is_file() and path.suffix in SUFFIXES
    if given.startswith(SAMPLE_PREFIX) or is_file or common.is_model_folder(path):
        yield given
    elif path.is_dir():
        whole: set[Path] = set()
        for each in sorted(path.rglob("*")):  # folders before what is in them
            if whole.isdisjoint(each.parents):
                whole |= {each} if common.is_model_folder(each) else set()
                if each in whole or _is_model(each):
                    yield str(each)
    elif path.is_file():
        yield from _listed(path)
    elif glob.has_magic(given):
        yield from sorted(glob.glob(given, recursive=True))
    else:
        raise UsageError(f"there is no file or folder {given}; check the path")


def _is_model(path: Path) -> bool:
    """Whether a file in a folder is to be analysed: of JSON, what has classes."""
    if path.suffix not in SUFFIXES or not path.is_file() or path.name.startswith("."):
        return False
    if path.suffix != ".json":
        return True
    with path.open("rb") as file:
        return b"class_name" in file.read(LOOKED_AT)


def _listed(manifest: Path) -> Iterator[str]:
    """A path on each line, beside the manifest where it is relative."""
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{manifest} is neither a model file nor a list of them") from error
    for line in map(str.strip, lines):
        if line and not line.startswith("#"):
            yield line if line.startswith(SAMPLE_PREFIX) else str(manifest.parent / line)


def with_their_code(models: Sequence[list[str]], settings: Settings) -> Iterator[list[str]]:
    """Models with the files of Python that lie beside them, where these are trusted."""
    known: dict[Path, list[str]] = {}
    for files in models:
        beside: list[str] = []
        if settings.trust and not files[0].startswith(SAMPLE_PREFIX):
            folder = Path(files[0]).absolute().parent
            if folder not in known:
                known[folder] = common.modules_beside(files[0])
            beside = [each for each in known[folder] if each not in files]
        yield [*files, *beside]


class BatchProgress:
    """How far a batch is: a bar with the time left on a terminal, else a line now and then.

    Args:
        count: of the models.
    """

    def __init__(self, count: int) -> None:
        self._count, self._done, self._known, self._bad = count, 0, 0, 0
        self.told: list[str] = []  # why the first ones have no figures
        self._start = time.monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> BatchProgress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            text = TextColumn("{task.description}", markup=False)
            self._bar = Bar(
                BarColumn(24),
                MofNCompleteColumn(),
                text,
                console=Console(file=sys.stderr),
                transient=True,
            )
            self._bar.start()
            self._bar.add_task("", total=self._count)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def known(self) -> None:
        """One more that was done before."""
        self._known += 1
        self._tell()

    def add(self, row: Row) -> None:
        """One more."""
        self._done += 1
        if row.status != "done":
            self._bad += 1
            if len(self.told) < NAMED:
                self.told.append(f"{row.file}: {row.code}: {common.sentence(row.reason or '')}")
        self._tell()

    def _tell(self) -> None:
        over = self._known + self._done
        parts = [f"{self._known:,} known before"] if self._known else []
        parts += [f"{self._bad:,} without figures"] if self._bad else []
        if self._done:
            each = (time.monotonic() - self._start) / self._done
            parts += filter(None, [time_left(each * (self._count - over))])
        text = ", ".join(parts)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=over, description=text)
        elif self._done and (over * LINES // self._count > (over - 1) * LINES // self._count):
            print(f"{over:,} of {self._count:,}  {text}".rstrip(), file=sys.stderr, flush=True)


def _conclude(rows: Sequence[Known], fail_on: str | None, output: Path) -> int:
    """Says what became of the models, and gives the exit status."""
    words = (row.verdict if row.status == "done" else row.status for row in rows)
    verdicts = Counter(word or "done" for word in words)
    told = ", ".join(f"{count:,} {word}" for word, count in verdicts.most_common())
    common.print_text(f"{plural(len(rows), 'model')}: {told}. Rows in {plain_text(str(output))}.")
    if fail_on is not None and any(row.verdict in WORSE[fail_on] for row in rows):
        return OUTSIDE_BAND
    return max(STATUSES[row.status] for row in rows)
