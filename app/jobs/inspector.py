"""`python -m app.jobs.inspector`: a worker that says what one file holds, and then ends.

It is confined as the worker of an analysis is, and speaks the same lines: HDF5 is native code, and
a stranger's file is read by it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import tempfile
import threading
from pathlib import Path

from app.analysis.job_spec import JobSpec
from app.jobs import confinement, folders, worker
from app.limits import Limits


def main() -> None:
    """Gets ready, inspects the one file, and ends the process."""
    confinement.give_up_privileges()
    channel = worker.Channel()
    faulthandler.enable()
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=worker.listen, args=(lines,), daemon=True).start()
    channel.say("ready")
    _run(channel, lines.get())
    # The framework's own threads can take seconds to wind down.
    os._exit(0)


def _run(channel: worker.Channel, line: bytes) -> None:
    try:
        job = json.loads(line)
        spec, folder = JobSpec.from_json(job["spec"]), Path(job["folder"])
        confinement.limit_resources(Limits(**job["limits"]), "cpu")
        partial = folders.create(folders.staging(folder, os.getpid()))
        os.environ["TMPDIR"] = tempfile.tempdir = str(folders.temporary(partial))
        # Keras comes with it, and threads, which must not start before the limits are set.
        from app.analysis import inspection

        inspection.run(spec, partial)
        folders.publish(partial, folder)
        folders.remove_staging(folder, os.getpid())
    except BaseException as error:
        worker.report_error(channel, error)
    else:
        channel.say("done")


if __name__ == "__main__":
    main()
