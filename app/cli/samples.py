"""`samples`: the networks that are built in."""

from __future__ import annotations

import click

from app.analysis.job_spec import SAMPLE_PREFIX
from app.cli.common import DONE
from app.cli.examples import SAMPLES_EXAMPLES
from app.cli.interface import Command


@click.command(cls=Command, epilog=SAMPLES_EXAMPLES, short_help="List the sample networks")
def samples() -> int:
    """List the networks that `analyze sample:NAME` takes, with their arguments."""
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
