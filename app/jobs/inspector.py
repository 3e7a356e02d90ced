"""`python -m app.jobs.inspector`: a worker that says what one file holds, and then ends.

It is confined as the worker of an analysis is, and speaks the same lines: HDF5 is native code, and
a stranger's file is read by it.
"""

from __future__ import annotations

import os
from pathlib import Path

from app.analysis.job_spec import JobSpec
from app.jobs import worker


def main() -> None:
    """Gets ready, inspects the one file, and ends the process."""
    channel, lines = worker.prepare()
    channel.say("ready")
    worker.run_job(channel, lines.get(), _inspect)
    # The framework's own threads can take seconds to wind down.
    os._exit(0)


def _inspect(spec: JobSpec, folder: Path, _: object) -> None:
    # Keras comes with it, and threads, which must not start before the limits are set.
    from app.analysis import inspection

    inspection.run(spec, folder)


if __name__ == "__main__":
    main()
