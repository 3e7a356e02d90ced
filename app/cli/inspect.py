"""`inspect`: what a model file holds, without running or rebuilding any of it."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import click

from app.analysis.job_spec import SAMPLE_PREFIX, JobSpec
from app.analysis.settings import Settings
from app.cli import common
from app.cli.common import DONE
from app.cli.examples import INSPECT_EXAMPLES
from app.cli.inspection_text import inspection_text
from app.cli.interface import FILE, MODEL_FILE, Command
from app.jobs import folders


@click.command(
    cls=Command,
    epilog=INSPECT_EXAMPLES,
    short_help="Tell what a model file holds, without running it",
)
@click.argument("model", type=FILE, help=MODEL_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print strict JSON")
@click.option("--verbose", is_flag=True, help="When the inspection fails, show the worker's log")
def inspect(model: Path, as_json: bool, verbose: bool) -> int:
    """Tell a model file's format, inputs, layers, weights and training settings.

    And which of its parts would not be run. None of it is run or rebuilt.
    """
    if str(model).startswith(SAMPLE_PREFIX):
        raise click.UsageError(
            "inspect reads files, and a sample network is not in one: use analyze "
            f"{model}, or --save it first"
        )
    if refusal := common.refuse_model(model):
        return common.say_refused(*refusal)
    spec = JobSpec(str(model.absolute()), model.name, Settings(device="cpu"))
    with (
        tempfile.TemporaryDirectory(prefix="autoinit-") as folder,
        common.start_workers(Path(folder), "app.jobs.inspector") as workers,
    ):
        spec = replace(spec, model=common.one_file(spec.model, (), Path(folder)))
        job = workers.submit(spec, Path(folder))
        common.follow(job, sys.stderr)
        if job.status != "done":
            return common.say_why_not(job, verbose)
        found = json.loads((job.folder / folders.RESULT).read_text())
    # ASCII: whoever reads JSON need not see what could steer a terminal.
    common.print_text(json.dumps(found, indent=2) if as_json else inspection_text(found))
    refusal = found["refusal"]
    if refusal is None:
        return DONE
    sys.stdout.flush()
    return common.say_refused(refusal["code"], refusal["message"])
