"""Many models: each has its row, whatever becomes of the others."""

import functools
import json
import multiprocessing
import sys
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest

from app.analysis.batch.row import Row
from app.analysis.batch.store import Store, read_rows
from app.analysis.settings import Settings
from app.jobs import batch as jobs
from app.jobs.batch import Confined, Here, Task, Trusted, analyze_all, rows_of
from autoinit import batch

FEW = {"samples": 8}
SETTINGS = Settings(**FEW)


def build(width, weights=None):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.ReLU()])
    if weights is not None:
        model.layers[0].kernel.assign(weights + 0 * model.layers[0].kernel)
    return model


def cannot_build():
    raise RuntimeError("no such architecture")


@pytest.fixture
def folder(tmp_path):
    for width in (3, 5):
        build(width).save(tmp_path / f"{width}.keras")
    (tmp_path / "broken.keras").write_bytes(b"no model")
    return tmp_path


def tasks_in(folder, settings=SETTINGS):
    return [
        Task.of(str(path), {path.name: path}, settings) for path in sorted(folder.glob("*.keras"))
    ]


def test_files_and_builders_are_rows_in_their_order(folder):
    models = [
        folder / "3.keras",
        ("wide", functools.partial(build, 50)),
        folder / "broken.keras",
        ("bad", cannot_build),
        folder / "missing.keras",
        ("equal", lambda: build(6, 0.5)),
    ]
    rows = batch.analyze(models, settings=FEW)
    assert [row.status for row in rows] == ["done", "done", "refused", "refused", "refused", "done"]
    assert [row.parameters for row in rows] == [15, 250, None, None, None, 30]
    assert [row.code for row in rows[2:5]] == [
        "not_a_model_file",
        "unsupported_model",
        "unreadable_file",
    ]
    assert "Its own code, test_batch.py, says: " in rows[3].reason
    assert "no such architecture" in rows[3].reason
    # The weights that it came with count.
    assert (rows[5].verdict, rows[5].remedy) == ("trains", "redraw_random")
    assert "symmetric_kernel" in rows[5].findings
    assert all(row.seconds > 0 for row in rows if row.status == "done")


def test_any_executor_will_do_and_the_file_is_gone_on_with(folder):
    output, begun = folder / "rows.parquet", []

    def counted(width):
        begun.append(width)
        return build(width)

    with ThreadPoolExecutor(2) as executor:
        first = batch.analyze(
            {"a": functools.partial(counted, 2)}, executor, output=output, settings=FEW
        )
        models = [("a", functools.partial(counted, 2)), ("b", functools.partial(counted, 4))]
        both = batch.analyze(models, executor, output=output, settings=FEW)
    assert begun == [2, 4]
    assert both[0] == first[0]
    assert pq.read_table(output)["file"].to_pylist() == ["a", "b"]


def test_models_are_trained_too_where_a_trial_is_asked_for(folder):
    def build_compiled():
        model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        model.add(keras.layers.Dense(10, "softmax"))
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    build_compiled().save(folder / "digits.keras")
    models = [("built", build_compiled), folder / "digits.keras"]
    trial = {"steps": 20, "schemes": ["default"], "rates": [0.01]}
    for row in batch.analyze(models, settings=FEW, trial=trial):
        assert (row.status, row.verdict, row.best_scheme) == ("done", "trains", "default")
        assert row.best_rate == 0.01
        assert row.best_score == row.own_score > 2 * row.chance > 0.15
    np.savez(folder / "other.npz", x=np.zeros((64, 3)), y=np.zeros(64))
    trial |= {"data": str(folder / "other.npz")}
    (row,) = batch.analyze(models[1:], settings=FEW, trial=trial)
    assert (row.status, row.code) == ("refused", "bad_input_data")
    assert (row.verdict, row.best_scheme) == ("trains", None), "the analysis stays"


def test_a_model_in_place_of_what_builds_it_is_refused():
    with pytest.raises(TypeError, match="a pair of a name and a function"):
        batch.analyze([build(2)])
    with pytest.raises(TypeError, match="received tuple of str and Sequential"):
        batch.analyze({"a": build(2)})


def test_what_cannot_go_to_a_process_is_told_with_what_can():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        (row,) = batch.analyze({"a": lambda: None}, executor)
    assert (row.status, row.code) == ("failed", "crashed")
    assert row.reason.endswith("and give functools.partial of it instead of a lambda.")


def test_reinitialized_models_are_left_whole(folder):
    saved = folder / "saved"
    (row,) = batch.analyze([folder / "3.keras"], save_dir=saved, settings=FEW)
    assert [path.name for path in saved.iterdir()] == [f"3-{row.sha256[:8]}.keras"]
    assert keras.saving.load_model(row.saved).count_params() == 15


def test_what_failed_is_tried_again_when_asked(folder, monkeypatch):
    output = folder / "rows.parquet"
    tried = []
    monkeypatch.setattr(jobs, "in_process", lambda task: tried.append(task.row.file) or task.row)
    with Store(output) as store:
        store.append(tasks_in(folder)[0].row)
        store.append(tasks_in(folder)[2].row.failed("failed", "x", "y"))
        known = []
        assert (
            len(list(analyze_all(tasks_in(folder), Here(), store, known=lambda: known.append(1))))
            == 1
        )
        assert len(known) == 2
        (folder / "5.keras").write_bytes(b"changed")
        list(analyze_all(tasks_in(folder), Here(), store, again=True))
    assert [path.rpartition("/")[2] for path in tried] == ["5.keras", "5.keras", "broken.keras"]
    assert len(read_rows(output)) == 3


class Breaking:
    """Processes that end with a model called `kills`, and take with them what waits."""

    def __init__(self, places):
        self.places, self.begun = places, []

    def submit(self, task):
        future = Future()
        self.begun.append((task, future))
        if task.row.file == "kills":
            for _, each in self.begun:
                if not each.done():
                    each.set_exception(BrokenProcessPool())
        elif len(self.begun) % 3 == 0 or self.alone:
            future.set_result(task.row)
        return future

    @property
    def alone(self):
        return any(task.row.file == "kills" for task, _ in self.begun)


@pytest.mark.parametrize("places", [3, 4])
def test_a_model_that_ends_its_process_is_a_row_and_the_others_are_too(places):
    names = ["a", "b", "kills", "c", "d", "e"]
    pool = Breaking(places)
    tasks = [Task(Row(file=name), {}, SETTINGS) for name in names]
    rows = list(rows_of(tasks, pool))
    assert sorted(row.file for row in rows) == sorted(names)
    assert [row.file for row in rows if row.status == "failed"] == ["kills"]


STAND_IN = """
import json, pathlib, sys

job = json.loads(sys.stdin.readline())
name, folder = job["spec"]["name"], pathlib.Path(job["folder"])
if name == "3.keras":
    result = pathlib.Path(__file__).with_name("result.json")
    (folder / "result.json").write_bytes(result.read_bytes())
    print(json.dumps({"event": "done"}), flush=True)
elif name == "5.keras":
    sys.stdin.read()
else:
    print(json.dumps({"event": "refused", "code": "no", "message": "It is broken."}), flush=True)
"""


def test_each_strange_file_has_a_worker_of_its_own(folder, tmp_path, build_result):
    (tmp_path / "worker.py").write_text(STAND_IN)
    (tmp_path / "result.json").write_text(json.dumps(build_result(6)))
    pool = Confined(1)
    pool._command = (sys.executable, str(tmp_path / "worker.py"))
    tasks = tasks_in(folder)
    root, rows = pool._root, rows_of([tasks[0], tasks[2]], pool)
    first, second = sorted(rows, key=lambda row: row.file)
    assert (first.status, first.calls) == ("done", 6)
    assert (second.status, second.reason) == ("refused", "It is broken.")
    future = pool.submit(tasks[1])  # hangs
    threading.Timer(0.2, pool.close).start()
    assert future.result().status == "failed"
    pool.close()
    assert not root.exists()


@pytest.mark.slow
def test_trusted_models_share_processes_and_one_that_dies_is_replaced(folder):
    pool = Trusted(1)
    try:
        kills = Task(Row(file="kills"), {}, SETTINGS, functools.partial(sys.modules["os"]._exit, 3))
        rows = {
            row.file: row for row in rows_of([*tasks_in(folder), kills, *tasks_in(folder)], pool)
        }
    finally:
        pool.close()
    statuses = [rows[name].status for name in sorted(rows)]
    assert sorted(statuses) == ["done", "done", "failed", "refused"]
    assert rows["kills"].code == "crashed"
