"""A cluster as an executor, on a stand-in for Ray; `benchmarks.batch --nodes 3` has Ray itself."""

import sys
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from app.analysis.batch.row import Row
from app.analysis.settings import Settings
from app.jobs import ray as module
from app.jobs.batch import Given, Task, rows_of
from app.jobs.ray import RayExecutor


class Cluster:
    """Runs calls at once; `lost` are those whose node goes away, `kept` those that go on."""

    def __init__(self):
        self.told, self.ended, self.options = [], [], {}

    def init(self, address, **options):
        self.told.append(address)

    def cluster_resources(self):
        return {"CPU": 3.0}

    def remote(self, **options):
        self.options = options
        return lambda function: SimpleNamespace(remote=lambda *given: self.called(function, given))

    def called(self, function, given):
        future = Future()
        name = given[1][0]
        name = name.row.file if isinstance(name, Task) else name
        if name == "lost":
            future.set_exception(OSError("The node died.\nMore of it."))
        elif name != "kept":
            future.set_result(function(*given))
        return SimpleNamespace(future=lambda: future, name=name)

    def cancel(self, reference, force):
        self.ended.append(reference.name)

    def shutdown(self):
        self.ended.append("all")


@pytest.fixture
def cluster(monkeypatch):
    made = Cluster()
    monkeypatch.setitem(sys.modules, "ray", made)
    monkeypatch.setattr(module, "get_ready", lambda threads: None)
    return made


def test_calls_have_a_processor_and_are_made_again(cluster):
    executor = RayExecutor("ray://head:10001")
    assert executor.submit(len, "four").result() == 4
    assert (cluster.told, executor.places) == (["ray://head:10001"], 12)
    assert (cluster.options["num_cpus"], cluster.options["max_retries"]) == (1, 2)


def test_what_is_on_its_way_is_ended(cluster):
    pool = Given(RayExecutor(), ends=True)
    pool._executor.submit(len, "kept")
    pool._executor.submit(len, "done")
    pool.close()
    assert cluster.ended == ["kept", "all"]


def test_a_model_whose_nodes_are_lost_is_a_row(cluster, monkeypatch):
    monkeypatch.setattr("app.jobs.batch.in_process", lambda task: task.row)
    tasks = [Task(Row(file=name), {}, Settings()) for name in ("a", "lost", "b")]
    rows = {row.file: row for row in rows_of(tasks, Given(RayExecutor()))}
    assert [rows[name].status for name in ("a", "lost", "b")] == ["done", "failed", "done"]
    assert rows["lost"].reason == "OSError: The node died."
