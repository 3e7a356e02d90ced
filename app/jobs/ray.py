"""A Ray cluster as an executor of `concurrent.futures`: `pip install .[cluster]`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from app.jobs.batch import PROCESS_BYTES, get_ready

RETRIES = 2  # of a call whose node or process is lost
CALLS = 1000  # after which a process is followed by a new one
PLACES = 4  # calls on their way for each processor: nodes need not wait for this one


class RayExecutor(Executor):
    """Runs functions on the nodes of a cluster, each call in a process of one processor.

    A call whose node is lost is made again elsewhere, and gives one result. Arguments are pickled:
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
        import ray

        ray.init(address, log_to_driver=False, configure_logging=False, ignore_reinit_error=True)
        self._ray = ray
        self._call = ray.remote(
            num_cpus=1, memory=PROCESS_BYTES, max_retries=RETRIES, max_calls=CALLS
        )(_called)
        self._begun: dict[Future[Any], Any] = {}
        self.places = max(PLACES * int(ray.cluster_resources().get("CPU", 1)), PLACES)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Calls the function somewhere."""
        reference = self._call.remote(fn, args, kwargs)
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


def _called(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    get_ready(1)
    return function(*args, **kwargs)
