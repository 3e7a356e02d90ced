"""The command line: `python -m app analyze MODEL`, the same job that the dashboard runs."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from app.analysis_result import AnalysisResult, describe_variance
from app.command_arguments import build_parser
from app.downloads import Download, downloads, in_format
from app.escaping import plain_text
from app.jobs import folders
from app.jobs.handles import JobHandle
from app.jobs.processes import Progress
from app.jobs.specification import SAMPLE_PREFIX, JobSpec, Settings
from app.jobs.workers import Workers
from app.terminal import BARS, PLAIN_BARS, summary

DONE, ERROR, REFUSED, OUTSIDE_BAND, INTERRUPTED = 0, 1, 2, 3, 130
SENTENCE_LIMIT = 2000
LOG_LINES_SHOWN = 20
LOG_COLUMNS = 300
HDF5_SIGNATURE, ZIP_SIGNATURE = b"\x89HDF\r\n\x1a\n", b"PK"
SAVED_SUFFIXES = (".keras", ".h5", ".hdf5", ".json")


class UsageError(Exception):
    """What was asked for cannot be, whatever the model is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    Raises:
        SystemExit: argparse's own way out, for `--help`, `--version` and wrong usage.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        status = _list_samples() if options.command == "samples" else _analyze(options)
        sys.stdout.flush()
        return status
    except UsageError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read standard output has gone, as `head` does; the interpreter's own flush at
        # the end must not complain a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except OSError as error:
        print(f"error: {_sentence(str(error))}", file=sys.stderr)
        return ERROR


def _list_samples() -> int:
    from sample_models import MODELS

    width = max(len(name) for name in MODELS)
    for name, builder in MODELS.items():
        print(f"{SAMPLE_PREFIX}{name:<{width}}  {builder.description}")
        defaults = [
            f"{argument.name}={argument.default}" for argument in builder.arguments.values()
        ]
        if defaults:
            print(f"{'':<{len(SAMPLE_PREFIX) + width}}  ?{'&'.join(defaults)}")
    return DONE


def _analyze(options: argparse.Namespace) -> int:
    is_sample = options.model.startswith(SAMPLE_PREFIX)
    spec = JobSpec(
        model=options.model if is_sample else str(Path(options.model).absolute()),
        name=options.model.removeprefix(SAMPLE_PREFIX) if is_sample else Path(options.model).name,
        settings=_settings(options),
    )
    _check_outputs(options)
    refusal = None if is_sample else _refuse_missing(Path(options.model))
    if refusal is not None:
        return _say_refused(*refusal)
    _check_saved_format(options.save, options.model)
    with (
        tempfile.TemporaryDirectory(prefix="autoinit-") as folder,
        _workers(Path(folder)) as workers,
    ):
        job = workers.submit(spec, Path(folder))
        _follow(job, sys.stderr)
        if job.status != "done":
            return _say_why_not(job, options.verbose)
        result = AnalysisResult(job.result())
        everything_written = _write_outputs(options, job.folder, result)
    if not everything_written:
        return ERROR
    return DONE if options.fail_outside is None else _judge(result, *options.fail_outside)


def _workers(folder: Path) -> Workers:
    try:
        return Workers(spare=False, root=folder)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _settings(options: argparse.Namespace) -> Settings:
    try:
        return Settings(
            samples=options.samples,
            seed=options.seed,
            input_mean=options.input_mean,
            input_variance=options.input_var,
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


def _check_outputs(options: argparse.Namespace) -> None:
    """Finds out before the work, not after it, that a file cannot be written."""
    output = None if options.output in (None, "-") else Path(options.output)
    targets = [path for path in (output, options.save, options.report) if path is not None]
    for path in targets:
        folder = path.absolute().parent
        if not folder.is_dir():
            raise UsageError(f"cannot write {path}: there is no folder {folder}")
        if path.is_dir():
            raise UsageError(f"cannot write {path}: it is a folder; name a file in it")
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise UsageError(f"cannot write {path}: permission denied")
    files = [Path(options.model), *targets]
    if len({path.resolve() for path in files}) < len(files):
        raise UsageError("MODEL, --output, --save and --report must be different files")
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


def _refuse_missing(model: Path) -> tuple[str, str] | None:
    """Code and sentence, where there is no file that could be read."""
    if not model.exists():
        return "file_not_found", f"there is no file {model}; check the path."
    if not model.is_file():
        return "not_a_model_file", f"{model} is not a file; give a .keras, .h5 or JSON file."
    if not os.access(model, os.R_OK):
        return "unreadable_file", f"{model} cannot be read; check its permissions."
    return None


def _follow(job: JobHandle, stream: TextIO) -> None:
    """Shows how the job comes on, until it ends: a bar on a terminal, else a line per stage."""
    shown = None
    is_terminal = stream.isatty()
    while not job.wait(0.1):
        fraction, stage = job.progress
        if is_terminal:
            stream.write("\r\x1b[2K" + _bar(job.progress, shutil.get_terminal_size().columns))
            stream.flush()
        elif stage != shown and fraction > 0:  # So that a refusal, which comes first, stands alone.
            print(f"{fraction:4.0%}  {plain_text(stage)}", file=stream, flush=True)
            shown = stage
    if is_terminal:
        stream.write("\r\x1b[2K")
        stream.flush()


def _bar(progress: Progress, columns: int, width: int = 24) -> str:
    filled = round(width * progress.fraction)
    bar = "█" * filled + "░" * (width - filled)
    return f"{bar} {progress.fraction:4.0%}  {plain_text(progress.stage)}"[: columns - 1]


def _sentence(message: str) -> str:
    """A message on one line, whatever it quotes."""
    return plain_text(" ".join(message.split()), SENTENCE_LIMIT)


def _say_refused(code: str, message: str) -> int:
    print(f"{plain_text(code)}: {_sentence(message)}", file=sys.stderr)
    return REFUSED


def _say_why_not(job: JobHandle, verbose: bool) -> int:
    code, message = job.error or (job.status, f"The job was {job.status}.")
    if job.status == "refused":
        return _say_refused(code, message)
    print(f"error: {_sentence(message)}", file=sys.stderr)
    if verbose:
        log = (job.folder / folders.LOG).read_text(errors="replace").splitlines()
        for line in log[-LOG_LINES_SHOWN:]:
            print(f"  {plain_text(line.expandtabs(), LOG_COLUMNS)}", file=sys.stderr)
    else:
        print("(--verbose shows the end of the worker's log)", file=sys.stderr)
    return ERROR


def _write_outputs(options: argparse.Namespace, folder: Path, result: AnalysisResult) -> bool:
    """Writes what was asked for; whether all of it could be."""
    if options.output == "-":
        print((folder / folders.RESULT).read_text())
    elif options.output is not None:
        shutil.copyfile(folder / folders.RESULT, options.output)
    else:
        _print_summary(result)
    if options.report is not None:
        from app.report import write_report

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
        print(f"{options.save}: {_sentence(model.note)}", file=sys.stderr)
    return True


def _print_summary(result: AnalysisResult) -> None:
    """Prints what the terminal's encoding has; it need not be UTF-8."""
    encoding = sys.stdout.encoding or "ascii"
    has_bars = BARS.encode(encoding, "ignore").decode(encoding) == BARS
    text = summary(result, BARS if has_bars else PLAIN_BARS)
    print(text.encode(encoding, "replace").decode(encoding))


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
    return f"this model is offered as {formats} only. {_sentence(' '.join(reasons))}".rstrip()


def _judge(result: AnalysisResult, low: float, high: float) -> int:
    """Names the weighted calls whose AutoInit variance is not within the band, or not known."""
    offenders = result.outside(low, high)
    for path, figures in offenders:
        verdict = f"variance {describe_variance(figures)} is not in {low:g} to {high:g}"
        if figures is None:
            verdict = f"variance not measured, so it may not be in {low:g} to {high:g}"
        print(f"{plain_text(path)}: {verdict}", file=sys.stderr)
    frozen = sum(bool(call.get("frozen")) for call in result.weighted_calls)
    if frozen:
        print(f"(frozen weights, not judged: {frozen:,} calls)", file=sys.stderr)
    return OUTSIDE_BAND if offenders else DONE
