"""`analyze`: the same job that the dashboard runs."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.analysis.input_moments import joined_moments
from app.analysis.result import AnalysisResult, describe_variance
from app.analysis.settings import SAMPLE_PREFIX, JobSpec, Settings
from app.cli import common
from app.cli.common import DONE, ERROR, OUTSIDE_BAND, UsageError
from app.cli.terminal import BARS, PLAIN_BARS, summary
from app.export.downloads import Download, downloads, in_format
from app.jobs import folders
from app.text.escaping import plain_text

HDF5_SIGNATURE, ZIP_SIGNATURE = b"\x89HDF\r\n\x1a\n", b"PK"
SAVED_SUFFIXES = (".keras", ".h5", ".hdf5", ".json")
MODEL_FILE = "a .keras, .h5 or JSON file"
DATA_FILE = "a .npy, .npz or .csv file"


def run(options: argparse.Namespace) -> int:
    """Analyses one model after the other, and writes what was asked for; the exit status.

    Raises:
        UsageError: what was asked for cannot be.
    """
    several = len(options.model) > 1
    if several and any((options.output, options.save, options.report)):
        raise UsageError("--output, --save and --report take one MODEL at a time")
    settings = _settings(options)
    if options.input_data is not None:
        missing = common.refuse_missing(options.input_data, DATA_FILE)
        if missing is not None:
            raise UsageError(f"--input-data: {missing[1]}")
    statuses: list[int] = []
    for model in options.model:
        if statuses:
            print(flush=True)
        if several:  # So that progress and refusals can be told apart.
            print(plain_text(model), file=sys.stderr, flush=True)
        statuses.append(_analyze(model, settings, options, f"{model}: " if several else ""))
    return max(statuses)


def _analyze(model: str, settings: Settings, options: argparse.Namespace, prefix: str) -> int:
    """Analyses a model in a worker, and writes what was asked for; the exit status.

    Args:
        model: a file or a sample's name.
        settings: of the analysis.
        options: of the command line.
        prefix: of what is said about calls.
    """
    is_sample = model.startswith(SAMPLE_PREFIX)
    spec = JobSpec(
        model=model if is_sample else str(Path(model).absolute()),
        name=model.removeprefix(SAMPLE_PREFIX) if is_sample else Path(model).name,
        settings=settings,
    )
    _check_outputs(model, options)
    refusal = None if is_sample else common.refuse_missing(Path(model), MODEL_FILE)
    if refusal is not None:
        return common.say_refused(*refusal)
    _check_saved_format(options.save, model)
    with (
        tempfile.TemporaryDirectory(prefix="autoinit-") as folder,
        common.start_workers(Path(folder)) as workers,
    ):
        job = workers.submit(spec, Path(folder))
        common.follow(job, sys.stderr)
        if job.status != "done":
            return common.say_why_not(job, options.verbose)
        result = AnalysisResult(job.result())
        everything_written = _write_outputs(options, job.folder, result)
    if not everything_written:
        return ERROR
    return DONE if options.fail_outside is None else _judge(result, options.fail_outside, prefix)


def summary_text(result: AnalysisResult) -> str:
    """A result in a few lines, with bars that standard output can show."""
    encoding = sys.stdout.encoding or "ascii"
    has_bars = BARS.encode(encoding, "ignore").decode(encoding) == BARS
    return summary(result, BARS if has_bars else PLAIN_BARS)


def _settings(options: argparse.Namespace) -> Settings:
    defaults, data = Settings(), options.input_data
    if data is not None and (options.input_mean or options.input_var):
        raise UsageError(
            "--input-data tells mean and variance: leave --input-mean and --input-var out"
        )
    if data is None and options.input_noise:
        raise UsageError("--input-noise goes with --input-data, whose moments the noise has")
    mean, variance, moments = joined_moments(
        options.input_mean, options.input_var, (defaults.input_mean, defaults.input_variance)
    )
    try:
        return Settings(
            samples=options.samples,
            seed=options.seed,
            input_mean=mean,
            input_variance=variance,
            input_moments=moments,
            input_data=None if data is None else str(data.absolute()),
            input_data_name=None if data is None else data.name,
            input_source="noise" if options.input_noise else "data",
            mode=options.mode,
            distribution=options.distribution,
            signal_model=options.signal_model,
            unsupported=options.unsupported,
            signal_variance=options.signal_variance,
            device=options.device,
            seeds=options.seeds,
            gradients=options.gradients,
            jacobian=options.jacobian,
            constrain_weights=options.constrain_weights,
            keep_frozen=options.keep_frozen,
            custom_objects=options.custom_objects,
            input_size=options.input_size,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_outputs(model: str, options: argparse.Namespace) -> None:
    output = None if options.output in (None, "-") else Path(options.output)
    targets = [path for path in (output, options.save, options.report) if path is not None]
    common.check_targets(targets, Path(model), "MODEL, --output, --save and --report")
    if options.input_data is not None:
        names = "--input-data, --output, --save and --report"
        common.check_targets(targets, options.input_data, names)
    if options.save is not None and options.save.suffix not in SAVED_SUFFIXES:
        known = f"{', '.join(SAVED_SUFFIXES[:-1])} or {SAVED_SUFFIXES[-1]}"
        raise UsageError(f"--save takes a file name that ends in {known}; got {options.save}")


def _check_saved_format(save: Path | None, model: str) -> None:
    """Finds out before the work that a format is never written of such a file."""
    if save is None or save.suffix == ".keras":
        return
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


def _write_outputs(options: argparse.Namespace, folder: Path, result: AnalysisResult) -> bool:
    """Writes what was asked for; whether all of it could be."""
    if options.output == "-":
        print((folder / folders.RESULT).read_text())
    elif options.output is not None:
        shutil.copyfile(folder / folders.RESULT, options.output)
    else:
        common.print_text(summary_text(result))
    if options.report is not None:
        from app.export.report import write_report

        write_report(result.data, options.report)
    if options.save is None:
        return True
    offered = downloads(result.data, folder)
    model = in_format(offered, options.save.suffix)
    if model is None:
        print(
            f"error: {options.save} was not written: {_why_not(offered, result)}", file=sys.stderr
        )
        return False
    shutil.copyfile(model.path, options.save)
    if model.note:
        print(f"{options.save}: {common.sentence(model.note)}", file=sys.stderr)
    return True


def _why_not(offered: Sequence[Download], result: AnalysisResult) -> str:
    """Why a format is not among those that the job offers, and which are."""
    if not offered:
        return "this model could be analysed, but not saved; the warnings say why."
    reasons = [
        warning["message"]
        for warning in result.data["warnings"]
        if warning["code"] == "not_convertible"
    ]
    formats = " or ".join(download.suffix for download in offered)
    return f"this model is offered as {formats} only. {common.sentence(' '.join(reasons))}".rstrip()


def _judge(result: AnalysisResult, band: tuple[float, float], prefix: str) -> int:
    """Names the weighted calls whose AutoInit variance is not within the band, or not known."""
    low, high = band
    offenders = result.outside(low, high)
    for path, figures in offenders:
        verdict = f"variance {describe_variance(figures)} is not in {low:g} to {high:g}"
        if figures is None:
            verdict = f"variance not measured, so it may not be in {low:g} to {high:g}"
        print(f"{plain_text(prefix)}{plain_text(path)}: {verdict}", file=sys.stderr)
    frozen = sum(bool(call.get("frozen")) for call in result.weighted_calls)
    if frozen:
        print(
            f"{plain_text(prefix)}(frozen weights, not judged: {frozen:,} calls)", file=sys.stderr
        )
    return OUTSIDE_BAND if offenders else DONE
