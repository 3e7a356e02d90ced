"""`analyze`: the same job that the dashboard runs."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from click import UsageError

from app.analysis.headline import describe_variance
from app.analysis.job_spec import SAMPLE_PREFIX, JobSpec
from app.analysis.options import table
from app.analysis.result import Result
from app.analysis.settings import FILES, INITIALIZATION, INPUT, MEASUREMENT, WHAT_IF, Settings
from app.analysis.side_by_side import answer
from app.analysis.trials.result import TrialResult
from app.cli import common
from app.cli.common import DONE, ERROR, OUTSIDE_BAND
from app.cli.completion import ModelParameter
from app.cli.examples import ANALYZE_EXAMPLES
from app.cli.interface import (
    FILE,
    MODEL_FILE,
    Command,
    Parsed,
    option,
    settings_of,
    settings_options,
)
from app.cli.terminal import summary_text
from app.errors import WrongSettingError
from app.export.downloads import OfferedFile, downloads, in_format
from app.export.patch import patch
from app.jobs import folders
from app.text.escaping import plain_text

file_option = partial(option, group=FILES, type=FILE, metavar="FILE")
STDOUT = Path("-")
HDF5_SIGNATURE, ZIP_SIGNATURE = b"\x89HDF\r\n\x1a\n", b"PK"
SAVED_SUFFIXES = (".keras", ".h5", ".hdf5", ".json")
OUTPUTS = "--output, --save, --report and --patch"
DATA_FILE = "a .npy, .npz or .csv file"


def _parse_band(text: str) -> tuple[float, float]:
    low, high = map(float, text.split(","))
    if not 0 <= low <= high:
        raise ValueError
    return low, high


def _parse_what_if(text: str) -> dict[str, Any]:
    """The settings that NAME=VALUE,NAME=VALUE changes."""
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name not in CHANGEABLE:
            raise ValueError
        found[name] = CHANGEABLE[name].parsed(value)
    return found


CHANGEABLE = {
    name: entry for name, entry in table(Settings).items()
    if entry.option.group in (WHAT_IF, INITIALIZATION, INPUT) and entry.option.in_form
    and entry.kind in (str, int, float)
}  # fmt: skip
CHANGES = Parsed(
    "changes",
    _parse_what_if,
    "NAME=VALUE, such as activation=tanh, normalization=layer, scheme=he or input_mean=0.5",
)
BAND = Parsed("band", _parse_band, "two numbers LOW,HIGH with 0 <= LOW <= HIGH, such as 0.5,2")


# By what is asked for, the verdicts that are no better.
WORSE = {
    "cannot-train": ("cannot train",),
    "will-struggle": ("cannot train", "will struggle"),
    "cannot-tell": ("cannot train", "will struggle", "cannot tell"),
}


@dataclass(frozen=True)
class Wanted:
    """What is to become of a result: where it goes, and whether it is judged."""

    output: Path | None
    save: Path | None
    report: Path | None
    patch: Path | None
    fail_outside: tuple[float, float] | None
    fail_on: str | None
    judge: str | None
    verbose: bool

    @property
    def files(self) -> list[Path]:
        """The files that are to be written."""
        paths = (self.output, self.save, self.report, self.patch)
        return [path for path in paths if path not in (None, STDOUT)]


@click.command(
    cls=Command, epilog=ANALYZE_EXAMPLES, short_help="Analyse a model file or a sample network"
)
@click.argument(
    "models",
    nargs=-1,
    required=True,
    type=ModelParameter(),
    metavar="MODEL...",
    help=f"{MODEL_FILE}, or sample:NAME, with arguments if need be "
    "(sample:NAME?argument=value&argument=value); of several, the highest exit status counts. An "
    "architecture, model.json, takes the file of weights that stands next to it, and with "
    "--trust a model the files of Python",
)
@file_option("--output", help="Write all figures as JSON; - for stdout")
@file_option(
    "--save",
    help="Write the re-initialised model in MODEL's own format (.keras, .h5 or .json), or as "
    ".keras where it can be converted exactly",
)
@file_option("--report", help="Write a self-contained HTML page")
@file_option(
    "--patch",
    help="Write AutoInit's choice as Keras code, an initializer for each layer; - for stdout",
)
@settings_options()
@option(
    "--fail-outside",
    group=MEASUREMENT,
    type=BAND,
    metavar="LOW,HIGH",
    help="Exit with 3 when the variance of a weighted call is not in this band, or could not be "
    "measured; calls that --keep-frozen leaves alone do not count",
)
@option(
    "--fail-on",
    group=MEASUREMENT,
    type=click.Choice(list(WORSE)),
    help="Exit with 3 when the verdict is this or a worse one: cannot-tell also stops what will "
    "struggle, and will-struggle what cannot train",
)
@option(
    "--judge",
    group=MEASUREMENT,
    type=click.Choice(["default", "uploaded", "autoinit"]),
    help="The weights that --fail-outside and --fail-on look at: those that the model's "
    "initializers draw, those in the file, or AutoInit's. Default: uploaded where the file has "
    "weights, else default",
)
@option(
    "--what-if",
    group=WHAT_IF,
    type=CHANGES,
    multiple=True,
    metavar="NAME=VALUE",
    help="Analyse the model with this changed, too, beside the model as it is: "
    "activation=tanh, normalization=batch or layer, offset=gaussian_mean (AutoInit++), scheme=he, "
    "input_mean=0.5, several with commas. May be given several times, each for itself. What is "
    "written (--save and the like) and judged is the last one",
)
@click.option("--verbose", is_flag=True, help="When the analysis fails, show the worker's log")
def analyze(models: tuple[str, ...], **given: Any) -> int:
    """Predict and measure every layer call's mean and variance, as configured and under AutoInit.

    A summary is printed, unless --output - prints the figures.
    """
    wanted = Wanted(**{field.name: given.pop(field.name) for field in fields(Wanted)})
    together = common.put_together(models)
    several = len(together) > 1
    if several and (wanted.output or wanted.files):
        raise UsageError(f"{OUTPUTS} take one MODEL at a time")
    if wanted.output == STDOUT == wanted.patch:
        raise UsageError("only one of --output and --patch can go to stdout")
    changes = given.pop("what_if")
    settings = settings_of(given)
    try:
        variants = [settings, *(settings.replace(**each) for each in changes)]
    except WrongSettingError as error:
        raise UsageError(f"--what-if: {error}") from error
    data = given["input_data"]
    if data is not None and (missing := common.refuse_missing(data, DATA_FILE)):
        raise UsageError(f"--input-data: {missing[1]}")
    statuses: list[int] = []
    for model, *parts in together:
        if statuses:
            print(flush=True)
        if several:  # So that progress and refusals can be told apart.
            print(plain_text(model), file=sys.stderr, flush=True)
        statuses.append(_analyze(model, parts, variants, wanted, f"{model}: " if several else ""))
    return max(statuses)


def _analyze(
    model: str, parts: Sequence[str], variants: Sequence[Settings], wanted: Wanted, prefix: str
) -> int:
    """Analyses a model in a worker, and writes what was asked for; the exit status."""
    spec = JobSpec.of(model, variants[0])
    _check_outputs(model, spec.settings, wanted)
    if not spec.is_sample and (refusal := common.refuse_model(Path(model))):
        return common.say_refused(*refusal)
    check_saved_format(wanted.save, model, variants[-1].is_variant)
    # Where the modules of custom objects may lie.
    modules = [Path.cwd()] if spec.settings.custom_objects else []
    with (
        tempfile.TemporaryDirectory(prefix="autoinit-") as folder,
        common.start_workers(Path(folder), readable=modules) as workers,
    ):
        if spec.settings.trust and not spec.is_sample:
            parts = [*parts, *(each for each in common.modules_beside(model) if each not in parts)]
        if not spec.is_sample:
            spec = replace(spec, model=common.one_file(spec.model, parts, Path(folder)))
        first = None
        for number, settings in enumerate(variants):
            own = Path(folder) / str(number)
            own.mkdir()
            job = workers.submit(replace(spec, settings=settings), own)
            common.follow(job, sys.stderr)
            if job.status != "done":
                return common.say_why_not(job, wanted.verbose)
            result = job.result()
            first = first or result
            last = number + 1 == len(variants)
            everything_written = _tell(wanted, job.folder, result, first, last)
    if not everything_written:
        return ERROR
    return _judge(result, wanted, prefix)


def _tell(wanted: Wanted, folder: Path, result: Result, first: Result, last: bool) -> bool:
    """Says what came out, and whether a what-if is better; whether all could be written."""
    to_terminal = STDOUT not in (wanted.output, wanted.patch)
    if to_terminal and not last:
        common.print_text(summary_text(result))
    everything_written = not last or _write_outputs(wanted, folder, result)
    if to_terminal and result is not first:
        common.print_text(f"\n{answer(result, first)[1]}")
    if to_terminal and not last:
        print()
    return everything_written


def _check_outputs(model: str, settings: Settings, wanted: Wanted) -> None:
    common.check_targets(wanted.files, Path(model), f"MODEL, {OUTPUTS}")
    if settings.input_data is not None:
        common.check_targets(wanted.files, Path(settings.input_data), f"--input-data, {OUTPUTS}")
    if wanted.save is not None and wanted.save.suffix not in SAVED_SUFFIXES:
        known = f"{', '.join(SAVED_SUFFIXES[:-1])} or {SAVED_SUFFIXES[-1]}"
        raise UsageError(f"--save takes a file name that ends in {known}; got {wanted.save}")


def check_saved_format(save: Path | None, model: str, is_variant: bool = False) -> None:
    """Finds out before the work that a format is never written of such a file."""
    if save is None or save.suffix == ".keras" or Path(model).is_dir():
        return
    if is_variant:
        raise UsageError(f"--save writes a model that --what-if changed as {save.stem}.keras only")
    is_h5 = save.suffix in (".h5", ".hdf5")
    fits = _is_hdf5 if is_h5 else _is_text
    if model.startswith(SAMPLE_PREFIX) or not fits(Path(model)):
        raise UsageError(
            f"--save writes {save.suffix} only where MODEL is {'HDF5' if is_h5 else 'JSON'}: name "
            f"it {save.stem}.keras"
        )


def _is_hdf5(path: Path) -> bool:
    return _start_of(path) == HDF5_SIGNATURE


def _is_text(path: Path) -> bool:
    return not _is_hdf5(path) and not _start_of(path).startswith(ZIP_SIGNATURE)


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(HDF5_SIGNATURE))


def _write_outputs(wanted: Wanted, folder: Path, result: Result) -> bool:
    """Writes what was asked for; whether all of it could be."""
    if wanted.output == STDOUT:
        common.print_text(_shown((folder / folders.RESULT).read_text()))
    elif wanted.patch == STDOUT:
        common.print_text(_patch(result))
    else:
        common.print_text(summary_text(result))
    if wanted.output is not None and wanted.output != STDOUT:
        common.write_file(wanted.output, folder / folders.RESULT)
    if wanted.report is not None:
        from app.export.report import report_html

        common.write_file(wanted.report, report_html(result))
    if wanted.patch not in (None, STDOUT):
        common.write_file(wanted.patch, _patch(result))
    if wanted.save is None:
        return True
    offered = downloads(result, folder)
    model = in_format(offered, wanted.save.suffix)
    if model is None:
        print(f"error: {wanted.save} was not written: {why_not(offered, result)}", file=sys.stderr)
        return False
    common.write_file(wanted.save, model.path)
    if model.note:
        print(f"{wanted.save}: {common.sentence(model.note)}", file=sys.stderr)
    return True


def _shown(text: str) -> str:
    """JSON as a terminal may show it: what could steer one is written as an escape."""
    return re.sub(
        r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]",
        lambda found: f"\\u{ord(found[0]):04x}",
        text,
    )


def _patch(result: Result) -> str:
    return patch(result) or "# There are no kernels here that AutoInit sets.\n"


def why_not(offered: Sequence[OfferedFile], result: Result | TrialResult) -> str:
    """Why a format is not among those that the job offers, and which are."""
    if not offered:
        return "this model could be analysed, but not saved; the warnings say why."
    reasons = [found.message for found in result.findings if found.code == "not_convertible"]
    formats = " or ".join(download.suffix for download in offered)
    return f"this model is offered as {formats} only. {common.sentence(' '.join(reasons))}".rstrip()


def _judge(result: Result, wanted: Wanted, prefix: str) -> int:
    """Says how the weights that count do where a build asked for it; the exit status."""
    if wanted.fail_on is None and wanted.fail_outside is None:
        return DONE
    series = wanted.judge or result.own_series
    if series not in result.series:
        return common.say_refused(
            "no_weights", f"{prefix}the file has no weights, which --judge uploaded is to look at."
        )
    refused = wanted.fail_on is not None and _verdict_fails(result, series, wanted.fail_on, prefix)
    breached = wanted.fail_outside is not None and _is_outside(
        result, series, wanted.fail_outside, prefix
    )
    return OUTSIDE_BAND if refused or breached else DONE


def _verdict_fails(result: Result, series: str, level: str, prefix: str) -> bool:
    """Says in one line what the verdict is, why, and what to do; whether it is too bad."""
    found = result.verdicts[series]
    advice = "" if found.remedy == "none_needed" else f" {found.advice}"
    said = f"{prefix}{found.verdict} ({series} weights): {found.reason}{advice}"
    print(common.sentence(said), file=sys.stderr)
    return found.verdict in WORSE[level]


def _is_outside(result: Result, series: str, band: tuple[float, float], prefix: str) -> bool:
    """Names the weighted calls whose variance is not within the band, or not known; if any."""
    low, high = band
    offenders = result.outside(low, high, series)
    for path, figures in offenders:
        verdict = f"variance {describe_variance(figures)} is not in {low:g} to {high:g}"
        if figures is None:
            verdict = f"variance not measured, so it may not be in {low:g} to {high:g}"
        print(f"{plain_text(prefix)}{plain_text(path)}: {verdict}", file=sys.stderr)
    frozen = sum(call.frozen for call in result.weighted_calls)
    if frozen:
        print(
            f"{plain_text(prefix)}(frozen weights, not judged: {frozen:,} calls)", file=sys.stderr
        )
    return bool(offenders)
