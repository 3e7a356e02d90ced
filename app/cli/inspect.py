"""`inspect`: what a model file holds, without running or rebuilding any of it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from app.analysis.settings import SAMPLE_PREFIX, JobSpec, Settings
from app.cli import common
from app.cli.common import DONE, UsageError
from app.cli.inspection_text import inspection_text


def run(options: argparse.Namespace) -> int:
    """Reads a file in a confined worker, and prints what it holds; the exit status.

    Raises:
        UsageError: a sample is asked for.
    """
    if options.model.startswith(SAMPLE_PREFIX):
        raise UsageError(
            "inspect reads files, and a sample network is not in one: use analyze "
            f"{options.model}, or --save it first"
        )
    model = Path(options.model)
    refusal = common.refuse_missing(model, "a .keras, .h5 or JSON file")
    if refusal is not None:
        return common.say_refused(*refusal)
    spec = JobSpec(str(model.absolute()), model.name, Settings(device="cpu"))
    with (
        tempfile.TemporaryDirectory(prefix="autoinit-") as folder,
        common.start_workers(Path(folder), "app.jobs.inspector") as workers,
    ):
        job = workers.submit(spec, Path(folder))
        common.follow(job, sys.stderr)
        if job.status != "done":
            return common.say_why_not(job, options.verbose)
        found = job.result()
    # ASCII: whoever reads JSON need not see what could steer a terminal.
    common.print_text(json.dumps(found, indent=2) if options.json else inspection_text(found))
    refusal = found["refusal"]
    if refusal is None:
        return DONE
    sys.stdout.flush()
    return common.say_refused(refusal["code"], refusal["message"])
