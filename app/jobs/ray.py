"""A Ray cluster, `pip install .[cluster]`: as an executor, and in place of a worker here.

`python -m app.jobs.ray CELL` speaks as `app.jobs.worker` does, and has its job done by such a
worker on a node of the cluster that `AUTOINIT_RAY` names; files go there and back through Ray.
"""

from __future__ import annotations

import json
import math
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

from app.analysis.batch.row import Row
from app.analysis.job_spec import JobSpec
from app.jobs import folders
from app.jobs.batch import FILE_TIMES, PROCESS_BYTES, Task, bytes_of, get_ready
from app.jobs.queue import CLUSTER, Workers
from app.jobs.worker import Channel, listen
from app.limits import Limits, variable

MEMORY = variable("memory_bytes")

RETRIES = 2  # of a call whose node or process is lost
CALLS = 1000  # after which a process is followed by a new one
PLACES = 4  # calls on their way for each processor: nodes need not wait for this one
LEAST_SHARE = 0.05  # of a GPU: kernels of more than some twenty processes only wait for each other
SHORT = ("over_budget", "out_of_memory")  # codes of what may do with more memory


def connected(address: str | None) -> Any:
    """Ray, connected to a cluster; see `RayExecutor`."""
    import ray

    ray.init(address, log_to_driver=False, configure_logging=False, ignore_reinit_error=True)
    return ray


def largest(ray: Any) -> int:
    """Bytes of memory of the largest node."""
    return int(max(node["Resources"].get("memory", 0) for node in ray.nodes()))


def gpu_memory(ray: Any) -> int | None:
    """Bytes of memory of the smallest GPU of all nodes; None where one does not tell."""
    ask = ray.remote(num_cpus=0)(_gpu_memory)
    names = [
        f"node:{node['NodeManagerAddress']}" for node in ray.nodes() if node["Resources"].get("GPU")
    ]
    told = ray.get([ask.options(resources={name: 0.001}).remote() for name in names])
    return min(told) if told and all(told) else None


def _gpu_memory() -> int | None:
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return min(map(int, told.stdout.split())) << 20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def bytes_by_size(files: Iterable[Path]) -> int:
    """Bytes that an analysis is to have: as the environment says, else by the size of files."""
    if MEMORY in os.environ:
        return Limits.from_environment().memory_bytes
    return PROCESS_BYTES + FILE_TIMES * sum(path.stat().st_size for path in files)


def reservation(needed: int, most: int, gpu: int | None = 0) -> dict[str, Any]:
    """What a call is to have of a node.

    Args:
        needed: bytes of memory.
        most: bytes that the largest node has; more would be waited for without end.
        gpu: bytes of memory of each GPU; 0 for a call that asks for none, None where nothing tells:
            a whole one.

    Returns:
        Bytes of memory, and the same share of a GPU, of which several calls then have one.
    """
    share = 0.0 if gpu == 0 else 1.0 if gpu is None else needed / gpu
    share = max(math.ceil(100 * share) / 100, LEAST_SHARE) if share else 0.0
    return {"memory": min(needed, most), "num_gpus": min(share, 1.0)}


class Short(NamedTuple):
    """What a call gives that has to be made again: how many bytes of memory it is to have then."""

    needed: int


class RayExecutor(Executor):
    """Runs functions on the nodes of a cluster, each call in a process of one processor.

    Memory is reserved for each call, by the size of a model's files or as the environment says, and
    an analysis keeps to it. Where it does not do, the call is made again with what the shapes of
    the model say. One that asks for a GPU has that share of its memory, at least a twentieth. A
    call whose node is lost is made again elsewhere, and gives one result. Arguments are pickled:
    files are opened by their paths, which all nodes have to see.

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

    @cached_property
    def _gpu(self) -> int | None:
        return gpu_memory(self._ray)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Calls the function somewhere; to cancel its future ends it there."""
        tasks = [each for each in args if isinstance(each, Task)]
        needed = bytes_by_size(path for each in tasks for path in each.files.values())
        gpu = self._gpu if any(each.settings.device == "gpu" for each in tasks) else 0
        future: Future[Any] = Future()
        future.add_done_callback(self._ended)
        self._begin(future, needed, gpu, (fn, args, kwargs))
        return future

    def _begin(self, future: Future[Any], needed: int, gpu: int | None, given: Any) -> None:
        reserved = reservation(needed, self._most, gpu)
        again = MEMORY not in os.environ and needed < self._most
        call = self._call.options(**reserved)
        reference = self._begun[future] = call.remote(reserved["memory"], again, *given)
        reference.future().add_done_callback(partial(self._hand_over, future, gpu, given))

    def _begin_again(self, future: Future[Any], *given: Any) -> None:
        try:
            self._begin(future, *given)
        except Exception as error:  # of the cluster: who waits is told
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def _hand_over(
        self, future: Future[Any], gpu: int | None, given: Any, done: Future[Any]
    ) -> None:
        error = done.exception()
        found = None if error is not None else done.result()
        if isinstance(found, Short) and not future.cancelled():
            # Elsewhere: Ray's client, which tells it here, waits for itself if it is asked.
            again = (future, found.needed, gpu, given)
            threading.Thread(target=self._begin_again, args=again, daemon=True).start()
        elif future.set_running_or_notify_cancel():
            future.set_result(found) if error is None else future.set_exception(error)

    def _ended(self, future: Future[Any]) -> None:
        reference = self._begun.pop(future)
        if future.cancelled():
            self._ray.cancel(reference, force=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes leave of the cluster; what is on its way is ended, if asked for."""
        for future in list(self._begun):
            if cancel_futures:
                future.cancel()
            elif wait:
                future.exception()
        self._ray.shutdown()


def _called(
    memory: int,
    again: bool,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Calls a function in a process of a node.

    Args:
        memory: bytes that it may take.
        again: whether it may be called again with more.
        function, args, kwargs: what is called.
    """
    os.environ[MEMORY] = str(memory)
    get_ready(1)
    found = function(*args, **kwargs)
    if again and isinstance(found, Row) and found.code in SHORT:
        needed = bytes_of(args[0])
        return Short(needed) if needed > memory else found
    return found


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
    most, needed = largest(ray), bytes_by_size(files.values())
    gpu = gpu_memory(ray) if spec.settings.device == "gpu" else 0
    given = {name: path.read_bytes() for name, path in files.items()}
    # What a stranger's file takes is not looked up here: if it is more, all that a node has.
    more = () if MEMORY in os.environ or needed >= most else (most,)
    for memory in (min(needed, most), *more):
        reserved = reservation(memory, most, gpu)
        own = replace(Limits(**limits), memory_bytes=memory)
        call = ray.remote(num_cpus=1, max_retries=RETRIES)(_worked).options(**reserved)
        done: Done = ray.get(call.remote(spec, given, own))
        if done[1] is None or done[1][0] not in SHORT:
            break
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
