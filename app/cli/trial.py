"""`try`: which initialisation, and which learning rate, by training for a minute."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click import UsageError

from app.analysis.job_spec import JobSpec
from app.analysis.result import read_part
from app.analysis.settings import Settings
from app.analysis.trials.answer import score_text
from app.analysis.trials.result import TrialResult
from app.analysis.trials.settings import WORDS, TrialSettings
from app.cli import common
from app.cli.analyze import check_saved_format, file_option, why_not
from app.cli.common import DONE, ERROR, INTERRUPTED, SENTENCE_LIMIT
from app.cli.completion import ModelParameter
from app.cli.examples import TRY_EXAMPLES
from app.cli.interface import MODEL_FILE, Command, lists_split, settings_options
from app.cli.terminal import table_lines
from app.errors import WrongSettingError
from app.export.downloads import downloads, in_format
from app.jobs import folders
from app.jobs.handles import JobHandle
from app.text.escaping import plain_text

# Of the analysis's settings those that a training has a use for.
SHARED = ("input_size", "seed", "device", "custom_objects")
NAME_LIMIT = 80


@click.command(
    "try",
    cls=Command,
    epilog=TRY_EXAMPLES,
    short_help="Train for a minute: which initialisation, which rate",
)
@click.argument(
    "model", type=ModelParameter(), metavar="MODEL", help=f"{MODEL_FILE}, or sample:NAME"
)
@file_option("--output", help="Write all trainings as JSON")
@file_option(
    "--save",
    help="Write the model with the initialisation that the trainings speak for, as analyze --save "
    "does; nothing where that is the model's own",
)
@file_option("--report", help="Write a self-contained HTML page")
@settings_options(TrialSettings)
@settings_options(Settings, SHARED)
@click.option("--verbose", is_flag=True, help="When it fails, show the worker's log")
def trial(
    model: str,
    output: Path | None,
    save: Path | None,
    report: Path | None,
    verbose: bool,
    **given: Any,
) -> int:
    """Train a model for some steps from several initialisations, at several learning rates.

    Its own data and loss are the better judge; without data it learns digits. Told is which
    initialisation to take, at which rate, and what does as well. Ctrl+C keeps what is there.
    """
    spec = _spec(model, given)
    targets = [path for path in (output, save, report) if path is not None]
    common.check_targets(targets, Path(model), "MODEL, --output, --save and --report")
    if spec.trial is not None and spec.trial.data is not None:
        data = Path(spec.trial.data)
        common.check_targets(targets, data, "--data, --output, --save and --report")
    if not spec.is_sample and (refusal := common.refuse_model(Path(model))):
        return common.say_refused(*refusal)
    check_saved_format(save, model)
    with (
        tempfile.TemporaryDirectory(prefix="autoinit-") as folder,
        common.start_workers(Path(folder)) as workers,
    ):
        if not spec.is_sample:
            spec = replace(spec, model=common.one_file(spec.model, (), Path(folder)))
        job = workers.submit(spec, Path(folder))
        try:
            common.follow(job, sys.stderr)
        except KeyboardInterrupt:
            if (known := _so_far(job)) is None:
                raise
            common.print_text("\n".join(trial_lines(known)))
            return INTERRUPTED
        if job.status != "done":
            return common.say_why_not(job, verbose)
        found = job.trials()
        common.print_text("\n".join(trial_lines(found)))
        if output is not None:
            common.write_file(output, job.folder / folders.RESULT)
        if report is not None:
            from app.export.report import trial_html

            common.write_file(report, trial_html(found))
        return DONE if save is None else _save(found, job.folder, save)


def _spec(model: str, given: dict[str, Any]) -> JobSpec:
    """What is asked for.

    Raises:
        UsageError: a setting is wrong.
    """
    shared = {name: given.pop(name) for name in SHARED}
    try:
        settings = Settings(**shared)
    except WrongSettingError as error:
        raise UsageError(str(error)) from error
    return JobSpec.of(model, settings, trial_settings(given))


def trial_settings(given: dict[str, Any], prefix: str = "") -> TrialSettings:
    """The settings of a trial that options say, whose names begin with a prefix.

    Raises:
        UsageError: one of them is wrong.
    """
    given = {name.removeprefix(prefix): value for name, value in given.items()}
    data = given.pop("data")
    if data is not None:
        if missing := common.refuse_missing(data, "a .npz file"):
            raise UsageError(f"--{prefix.replace('_', '-')}data: {missing[1]}")
        given |= {"data": str(data.absolute()), "data_name": data.name}
    try:
        return TrialSettings(**lists_split(given, TrialSettings))
    except WrongSettingError as error:
        raise UsageError(str(error)) from error


def _so_far(job: JobHandle) -> TrialResult | None:
    """The trainings that are over, of a trial that is not."""
    preview = job.preview()
    return None if preview is None else read_part(preview[0], TrialResult)


def _save(found: TrialResult, folder: Path, save: Path) -> int:
    if found.answer.scheme is None or not found.downloads:
        what = "no initialisation is better than" if found.answer.scheme else "nothing learnt from"
        print(f"{save} was not written: {what} the model's own.", file=sys.stderr)
        return DONE
    offered = downloads(found, folder)
    best = in_format(offered, save.suffix)
    if best is None:
        print(f"error: {save} was not written: {why_not(offered, found)}", file=sys.stderr)
        return ERROR
    common.write_file(save, best.path)
    return DONE


def trial_lines(found: TrialResult) -> Iterator[str]:
    """The grid as a table, and what it says."""
    from rich.table import Column, Table

    what = (
        "share of unseen samples right"
        if found.measure == "accuracy"
        else "share of the best constant's loss that is gained"
    )
    yield (
        f"{plain_text(found.name, NAME_LIMIT)}: {plain_text(found.optimizer)}, {found.steps} steps "
        f"of {found.batch} samples"
    )
    yield plain_text(found.data, SENTENCE_LIMIT)
    yield ""
    grid = Table(what, *(Column(f"{rate:g}", justify="right") for rate in found.rates))
    for scheme in found.schemes:
        cells = [_cell(found, scheme, rate) for rate in found.rates]
        grid.add_row(f"  {WORDS[scheme]}", *cells)
    yield from table_lines(grid)
    yield (
        f"  ({score_text(found, found.chance)} needs no training; ~ stopped after a quarter of the "
        "steps; x diverged)"
    )
    yield ""
    yield "before a step was trained:"
    for scheme, said in found.expected.items():
        yield f"  {WORDS[scheme]}: {said.verdict}. {plain_text(said.reason, SENTENCE_LIMIT)}"
    yield ""
    for each in found.findings:
        yield f"{each.code}: {plain_text(each.message, SENTENCE_LIMIT)}"
    yield (
        f"→ {plain_text(found.answer.sentence, SENTENCE_LIMIT)}"
        if found.answer.sentence
        else "→ Nothing is known yet."
    )


def _cell(found: TrialResult, scheme: str, rate: float) -> str:
    training = found.of(scheme, rate)
    if training is None:
        return "–"
    if training.outcome == "diverged":
        return "x"
    mark = "~" if training.outcome == "stopped" else ""
    return mark + score_text(found, training.score)
