"""`samples`: the networks that are built in."""

from __future__ import annotations

from app.analysis.settings import SAMPLE_PREFIX
from app.cli.common import DONE


def run() -> int:
    """Lists them with what they take; the exit status."""
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
