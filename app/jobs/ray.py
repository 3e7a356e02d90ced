"""A Ray cluster, `pip install .[cluster]`: as an executor, and in place of a worker here.

`python -m app.jobs.ray CELL` speaks as `app.jobs.worker` does, and has its job done by such a
worker on a node of the cluster that `AUTOINIT_RAY` names; files go there and back through Ray.
"""

from __future__ import annotations

import json
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.analysis.job_spec import JobSpec
from app.jobs import folders
from app.jobs.batch import FILE_TIMES, PROCESS_BYTES, Task, get_ready
from app.jobs.queue import CLUSTER, Workers
from app.jobs.worker import Channel, listen
from app.limits import Limits, variable

MEMORY = variable("memory_bytes")

RETRIES = 2  # of a call whose node or process is lost
CALLS = 1000  # after which a process is followed by a new one
PLACES = 4  # calls on their way for each processor: nodes need not wait for this one


def connected(address: str | None) -> Any:
    """Ray, connected to a cluster; see `RayExecutor`."""
    import ray

    ray.init(address, log_to_driver=False, configure_logging=False, ignore_reinit_error=True)
    return ray


def largest(ray: Any) -> int:
    """Bytes of memory of the largest node."""
    return int(max(node["Resources"].get("memory", 0) for node in ray.nodes()))


def reservation(most: int, files: Iterable[Path], devices: Iterable[str]) -> dict[str, int]:
    """What a call is to have of a node: a GPU if asked for, and memory by the files' size.

    As much memory as the environment says, where it does; never more than the largest node has,
    which would be waited for without end.
    """
    wanted = PROCESS_BYTES + FILE_TIMES * sum(path.stat().st_size for path in files)
    if MEMORY in os.environ:
        wanted = Limits.from_environment().memory_bytes
    return {"memory": min(wanted, most), "num_gpus": int("gpu" in devices)}


class RayExecutor(Executor):
    """Runs functions on the nodes of a cluster, each call in a process of one processor.

    Memory is reserved for each call, by the size of a model's files or as the environment says, and
    an analysis keeps to it; one that asks for a GPU has one to itself. A call whose node is lost is
    made again elsewhere, and gives one result. Arguments are pickled: files are opened by their
    paths, which all nodes have to see.

    Args:
        address: `ray://HOST:10001` from elsewhere, `auto` on a node; None starts nodes on this
            machine, for as long as this process lives.

    Attributes:
        places: calls that are worth having on their way at a time.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: nobody answers there.
    """

    def __init__(self, address: str | None = None) -> None:
        self._ray = ray = connected(address)
        self._call = ray.remote(num_cpus=1, max_retries=RETRIES, max_calls=CALLS)(_called)
        self._most = largest(ray)
        self._begun: dict[Future[Any], Any] = {}
        self.places = max(PLACES * int(ray.cluster_resources().get("CPU", 1)), PLACES)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Calls the function somewhere."""
        tasks = [each for each in args if isinstance(each, Task)]
        files = [path for each in tasks for path in each.files.values()]
        reserved = reservation(self._most, files, [each.settings.device for each in tasks])
        call = self._call.options(**reserved)
        reference = call.remote(reserved["memory"], fn, args, kwargs)
        future: Future[Any] = reference.future()
        self._begun[future] = reference
        future.add_done_callback(lambda done: self._begun.pop(done, None))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes leave of the cluster; what is on its way is ended, if asked for."""
        for future, reference in list(self._begun.items()):
            if cancel_futures:
                self._ray.cancel(reference, force=True)
            elif wait:
                future.exception()
        self._ray.shutdown()


def _called(
    memory: int, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    os.environ[MEMORY] = str(memory)
    get_ready(1)
    return function(*args, **kwargs)


def main() -> None:
    """Connects, says that it is ready, and has the one job done."""
    channel, lines = Channel(), queue.Queue[bytes]()
    threading.Thread(target=listen, args=(lines,), daemon=True).start()
    try:
        ray = connected(os.environ[CLUSTER])
        channel.say("ready")
        job = json.loads(lines.get())
        channel.progress(0.0, "On the cluster")
        status, error, left = done_on_node(ray, JobSpec.from_json(job["spec"]), job["limits"])
        for name, content in left.items():
            (Path(job["folder"]) / name).write_bytes(content)
        code, message = error or ("", "")
        channel.say(status, code=code, message=message)
    except Exception as error:  # of the cluster: a file that cannot be read is told by the worker
        told = (str(error).strip().splitlines() or ["no message"])[0]
        message = f"The cluster did not do it: {type(error).__name__}: {told}"
        channel.say("failed", code="not_run", message=message)
    os._exit(0)


Done = tuple[str, tuple[str, str] | None, dict[str, bytes]]


def done_on_node(ray: Any, spec: JobSpec, limits: Mapping[str, Any]) -> Done:
    """Status, error and files of a job that is done on a node; see `_worked`."""
    files: dict[str, Path] = {}
    spec.moved(lambda path, name: files.setdefault(name, path))
    reserved = reservation(largest(ray), files.values(), [spec.settings.device])
    own = replace(Limits(**limits), memory_bytes=reserved["memory"])
    given = {name: path.read_bytes() for name, path in files.items()}
    call = ray.remote(num_cpus=1, max_retries=RETRIES)(_worked).options(**reserved)
    done: Done = ray.get(call.remote(spec, given, own))
    return done


def _worked(spec: JobSpec, given: Mapping[str, bytes], limits: Limits) -> Done:
    """Does a job in a cell of this machine.

    Args:
        spec: whose files are those given.
        given: what is in them, by the names that they have in a cell.
        limits: of the worker.
    """
    with tempfile.TemporaryDirectory(prefix="autoinit-") as name:
        root = Path(name)
        for each, content in given.items():
            (root / each).write_bytes(content)
        inside = spec.moved(lambda path, plain: root / plain)
        with Workers(keep_warm=False, root=root, limits=limits) as workers:
            job = workers.submit(inside, folders.create(root / "job"))
            job.wait()
            found = job.folder.iterdir() if job.status == "done" else ()
            return job.status, job.error, {each.name: each.read_bytes() for each in found}


if __name__ == "__main__":
    # By its own name, by which nodes find what they are to call.
    from app.jobs.ray import main as started

    started()
