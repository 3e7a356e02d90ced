"""A cluster as an executor, on a stand-in for Ray; `benchmarks.batch --nodes 3` has Ray itself."""

import json
import os
import sys
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import keras
import pytest

from app.analysis.batch.row import Row
from app.analysis.settings import Settings
from app.jobs import JobSpec, Workers
from app.jobs import ray as module
from app.jobs.batch import Given, Task, bytes_of, rows_of
from app.jobs.queue import CLUSTER
from app.jobs.ray import RayExecutor, reservation
from app.limits import GIB, Limits
from tests.app.jobs.test_jobs import STAND_IN


class Cluster:
    """Runs calls at once; `lost` are those whose node goes away, `kept` those that go on."""

    def __init__(self):
        self.told, self.ended, self.options, self.reserved = [], [], {}, []
        self.gpus = 0

    def init(self, address, **options):
        if address == "nobody":
            raise ConnectionError("nobody answers")
        self.told.append(address)

    def cluster_resources(self):
        return {"CPU": 3.0}

    def nodes(self):
        resources = {"memory": 8.0 * GIB, "GPU": self.gpus}
        return [{"Resources": resources, "NodeManagerAddress": "a"}, {"Resources": {}}]

    def remote(self, **options):
        def decorated(function):
            def with_options(**more):
                self.options = options | more
                self.reserved.append(more.get("memory"))
                return SimpleNamespace(remote=lambda *given: self.called(function, given))

            return SimpleNamespace(options=with_options)

        return decorated

    def called(self, function, given):
        future = Future()
        name = given[3][0] if function is module._called else ""
        name = name.row.file if isinstance(name, Task) else name
        if name == "lost":
            future.set_exception(OSError("The node died.\nMore of it."))
        elif name != "kept":
            future.set_result(function(*given))
        return SimpleNamespace(future=lambda: future, name=name)

    def get(self, reference):
        if isinstance(reference, list):
            return [self.get(each) for each in reference]
        return reference.future().result()

    def cancel(self, reference, force):
        self.ended.append(reference.name)

    def shutdown(self):
        self.ended.append("all")


@pytest.fixture
def cluster(monkeypatch):
    made = Cluster()
    # As `_called` sets it, so that it is taken back.
    monkeypatch.setenv(module.MEMORY, "1")
    monkeypatch.delenv(module.MEMORY)
    monkeypatch.setitem(sys.modules, "ray", made)
    monkeypatch.setattr(module, "get_ready", lambda threads: None)
    return made


def test_calls_have_a_processor_and_are_made_again(cluster):
    executor = RayExecutor("ray://head:10001")
    assert executor.submit(len, "four").result() == 4
    assert (cluster.told, executor.places) == (["ray://head:10001"], 12)
    assert (cluster.options["num_cpus"], cluster.options["max_retries"]) == (1, 2)


def test_memory_is_reserved_by_the_size_of_a_file_and_kept_to(cluster, tmp_path, monkeypatch):
    def reserved(**environment):
        for name in (module.MEMORY, *environment):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        task = Task(Row(file="a"), {"a": tmp_path / "a"}, Settings())
        told = RayExecutor().submit(lambda task: os.environ[module.MEMORY], task).result()
        assert int(told) == cluster.options["memory"], "which the analysis keeps to"
        return int(told) / GIB, cluster.options["num_gpus"]

    with (tmp_path / "a").open("wb") as file:
        file.truncate(GIB // 2)
    assert reserved() == (5, 0)
    assert reserved(**{module.MEMORY: str(3 * GIB)}) == (3, 0)
    with (tmp_path / "a").open("wb") as file:
        file.truncate(9 * GIB)
    assert reserved() == (8, 0), "as much as the largest node has"


@pytest.mark.parametrize(
    ("needed", "gpu", "share"),
    # 4 of 16 GiB are a quarter, 5 of 24 are 0.2083; 2 of 139 would be 0.0144.
    [(4, 16, 0.25), (5, 24, 0.21), (2, 139, 0.05), (30, 16, 1.0), (4, None, 1.0), (4, 0, 0.0)],
)
def test_the_share_of_a_gpu_is_that_of_its_memory(needed, gpu, share):
    gpu = gpu and gpu * GIB
    assert reservation(needed * GIB, 8 * GIB, gpu) == {
        "memory": min(needed, 8) * GIB, "num_gpus": share
    }  # fmt: skip


def test_nodes_say_how_much_memory_their_gpus_have(cluster, tmp_path, monkeypatch):
    cluster.gpus = 2
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 16384\necho 40960\n")  # MiB
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert module.gpu_memory(cluster) == 16 * GIB
    task = Task(Row(file="a"), {}, Settings(device="gpu"))
    RayExecutor().submit(lambda task: task.row, task).result()
    assert (cluster.options["memory"], cluster.options["num_gpus"]) == (2 * GIB, 0.13)
    program.write_text("#!/bin/sh\nexit 1\n")
    assert module.gpu_memory(cluster) is None
    assert module.gpu_memory(Cluster()) is None, "without any"


def test_a_model_that_takes_more_than_its_size_tells_is_called_again_with_what_it_takes(
    cluster, monkeypatch
):
    def build():
        wide = keras.layers.UpSampling2D(4096)(keras.Input((1, 1, 10)))
        return keras.Model(wide, keras.layers.ReLU()(wide))  # two times 671,088,640 bytes

    task = Task(Row(file="wide"), {}, Settings(), build)
    needed = bytes_of(task)
    assert needed == 2 * GIB + 4 * 2 * 4096**2 * 10 * 4
    codes = iter(["over_budget", None])
    row = RayExecutor().submit(lambda task: replace(task.row, code=next(codes)), task).result()
    assert (row.code, cluster.reserved) == (None, [2 * GIB, needed])
    monkeypatch.delenv(module.MEMORY)  # of the node
    # A second time it is what it is.
    row = RayExecutor().submit(lambda task: replace(task.row, code="over_budget"), task).result()
    assert (row.code, cluster.reserved[2:]) == ("over_budget", [2 * GIB, needed])


@pytest.mark.parametrize(("code", "reserved"), [("over_budget", [2, 8]), ("not_a_model_file", [2])])
def test_what_a_stranger_sent_may_have_a_whole_node(cluster, monkeypatch, code, reserved):
    monkeypatch.setattr(module, "_worked", lambda *_: ("refused", (code, "why"), {}))
    done = module.done_on_node(cluster, JobSpec("sample:quick", "a", Settings()), {})
    assert done == ("refused", (code, "why"), {})
    assert cluster.reserved == [each * GIB for each in reserved]


def test_what_is_on_its_way_is_ended(cluster):
    pool = Given(RayExecutor(), ends=True)
    kept = pool._executor.submit(len, "kept")
    pool._executor.submit(len, "done")
    pool.close()
    assert cluster.ended == ["kept", "all"]
    assert kept.cancelled()
    kept = RayExecutor().submit(len, "kept")
    kept.cancel()
    assert cluster.ended[2:] == ["kept"], "where only the executor is the caller's, too"


def test_a_model_whose_nodes_are_lost_is_a_row(cluster, monkeypatch):
    monkeypatch.setattr("app.jobs.batch.in_process", lambda task: task.row)
    tasks = [Task(Row(file=name), {}, Settings()) for name in ("a", "lost", "b")]
    rows = {row.file: row for row in rows_of(tasks, Given(RayExecutor()))}
    assert [rows[name].status for name in ("a", "lost", "b")] == ["done", "failed", "done"]
    assert rows["lost"].reason == "OSError: The node died."


# What the server starts, with nodes that are this machine, whose workers are stand-ins.
ON_NODES = """
import functools, sys
from app.jobs import ray, queue
from tests.app.jobs.test_ray import Cluster

sys.modules["ray"] = Cluster()
ray.Workers = functools.partial(queue.Workers, command=[sys.executable, {program!r}])
ray.main()
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A queue whose jobs are done on nodes, two at a time."""
    monkeypatch.setenv(CLUSTER, "ray://head:10001")
    program, root = tmp_path / "stand_in.py", tmp_path / "data"
    program.write_text(STAND_IN)
    root.mkdir()
    command = [sys.executable, "-c", ON_NODES.format(program=str(program))]
    limits = Limits(seconds=600.0, at_once=2)
    with Workers(keep_warm=False, command=command, root=root, limits=limits) as workers:
        yield workers


def test_a_job_of_the_server_is_done_on_a_node_and_its_files_come_back(server, tmp_path):
    given = tmp_path / "data.npy"
    given.write_text("numbers")
    settings = Settings(input_data=str(given), device="cpu")
    jobs = [
        server.submit(JobSpec(model, "a", settings))
        for model in ("sample:quick", "sample:refuses", "sample:exits")
    ]
    assert [job.status for job in jobs] == ["running", "running", "queued"]
    assert jobs[2].progress.stage == "Waiting: 1 ahead of you"
    done, refused, died = (job for job in jobs if job.wait(300))
    assert (done.status, done.error) == ("done", None)
    assert json.loads((done.folder / "result.json").read_text())["pid"] > 0
    assert refused.error == ("not_a_model_file", "This is a picture.")
    assert died.error[0] == "worker_died"
    assert "status 3" in died.error[1]


def test_a_cluster_that_nobody_answers_for_is_told(server, monkeypatch):
    monkeypatch.setenv(CLUSTER, "nobody")
    job = server.submit(JobSpec("sample:quick", "a", Settings(device="cpu")))
    assert job.wait(300)
    message = "The cluster did not do it: ConnectionError: nobody answers"
    assert (job.status, job.error) == ("failed", ("not_run", message))
