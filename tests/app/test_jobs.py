"""Jobs: the line, the spare, cancelling, and every way in which a worker can go away.

A stand-in speaks the worker's protocol where only the parent is looked at; `app.jobs.worker` itself
runs with an analysis of a few lines instead of the one that imports Keras.
"""

import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import app
from app.jobs import JobHandle, JobSpec, Settings, Workers, folders
from app.jobs.handles import deadline_seconds
from app.jobs.processes import LINE_LIMIT, Progress, WorkerProcess, worker_environment

PATIENCE = 20.0

STAND_IN = """
import json, os, pathlib, signal, subprocess, sys, time

def say(**event):
    print(json.dumps(event), flush=True)

def finish():
    (folder / "result.json").write_text(json.dumps({"pid": os.getpid()}))
    say(event="done")

print("the stand-in is alive", file=sys.stderr, flush=True)
say(event="ready")
job = json.loads(sys.stdin.readline())
folder = pathlib.Path(job["folder"])
with open(folder.parent / "started.txt", "a") as started:
    started.write(job["spec"]["name"] + "\\n")
match job["spec"]["model"].removeprefix("sample:"):
    case "quick":
        finish()
    case "waits":
        say(event="progress", fraction=0.5, stage="Waiting for the test")
        while not (folder.parent / "go.txt").exists():
            time.sleep(0.01)
        finish()
    case "hangs":
        child = subprocess.Popen(["sleep", "600"])
        (folder / f"partial-{os.getpid()}").mkdir()
        say(event="progress", fraction=0.25, stage=f"{os.getpid()} {child.pid}")
        time.sleep(600)
    case "refuses":
        say(event="refused", code="not_a_model_file", message="This is a picture.")
    case "fails":
        say(event="failed", message="KeyError: 'kernel'")
    case "exits":
        sys.exit(3)
    case "segfaults":
        os.kill(os.getpid(), signal.SIGSEGV)
    case "is out of memory":
        sys.stdout.write('{"event": "prog')
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    case "talks":
        print("x" * 100_000, flush=True)
        time.sleep(600)
    case "mumbles":
        print("hello", flush=True)
        time.sleep(600)
    case "shouts":
        say(event="shout")
        time.sleep(600)
    case "claims":
        say(event="done")
"""


def spec(what: str, name: str = "a", device: str = "cpu") -> JobSpec:
    return JobSpec(f"sample:{what}", name, Settings(device=device))


@pytest.fixture
def stand_in(tmp_path: Path) -> list[str]:
    program = tmp_path / "stand_in.py"
    program.write_text(STAND_IN)
    return [sys.executable, str(program)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    return root


@pytest.fixture
def workers(stand_in: list[str], root: Path) -> Iterator[Workers]:
    with Workers(spare=False, command=stand_in, root=root, deadline=60) as workers:
        yield workers


def ended(job: JobHandle) -> JobHandle:
    assert job.wait(PATIENCE), f"still {job.status}: {job.progress}"
    return job


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only its parent has yet to take note of does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# The specification


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("samples", 0, "a whole number from 1 to 65536"),
        ("samples", 1.5, "a whole number"),
        ("samples", True, "a whole number"),
        ("seed", -1, "a whole number from 0"),
        ("seeds", 0, "a whole number from 1 to 100"),
        ("input_size", 0, "a whole number from 1"),
        ("input_mean", float("nan"), "a number"),
        ("input_mean", "0", "a number"),
        ("input_variance", 0.0, "a number from 1e-30"),
        ("signal_variance", -1.0, "a number from 1e-30"),
        ("mode", "train", "one of training, inference"),
        ("distribution", "normal", "one of truncated_normal, untruncated_normal"),
        ("device", "tpu", "one of auto, cpu, gpu"),
        ("constrain_weights", 1, "true or false"),
        ("custom_objects", "os; import sys", "the dotted name of a module"),
    ],
)
def test_wrong_settings_name_the_right_values(name: str, value: object, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {expected}.*received"):
        Settings(**{name: value})


def test_a_specification_survives_json() -> None:
    settings = Settings(samples=7, mode="inference", custom_objects="package.layers")
    sent = JobSpec("/models/a.h5", "a.h5", settings)
    assert JobSpec.from_json(json.loads(json.dumps(sent.to_json()))) == sent


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"extra": 1}, "unknown or missing: extra"),
        ({"settings": {"sample": 1}}, "unknown or missing: sample"),
        ({"settings": []}, "settings must be an object"),
        ({"model": 5}, "must be text"),
    ],
)
def test_a_wrong_specification_is_refused(change: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        JobSpec.from_json({**spec("quick").to_json(), **change})


def test_the_key_follows_from_contents_name_and_settings(tmp_path: Path) -> None:
    one, copy, other = (tmp_path / name for name in ("one.h5", "copy.h5", "other.h5"))
    one.write_bytes(b"model")
    copy.write_bytes(b"model")
    other.write_bytes(b"another")
    job = JobSpec(str(one), "one.h5", Settings())
    assert folders.is_key(job.key())
    assert replace(job, model=str(copy)).key() == job.key()
    assert replace(job, settings=Settings(input_mean=0)).key() == job.key()
    changed = [
        replace(job, model=str(other)),
        replace(job, name="two.h5"),
        replace(job, settings=Settings(samples=64)),
        replace(job, model="sample:all-cnn-c"),
    ]
    assert len({job.key(), *(each.key() for each in changed)}) == 1 + len(changed)


# What becomes of a job


def test_a_job_that_is_done(workers: Workers) -> None:
    job = ended(workers.submit(spec("quick")))
    assert (job.status, job.error, job.progress) == ("done", None, (1.0, "Done"))
    assert set(job.result()) == {"pid"}
    assert job.folder == workers.root / job.key
    assert stat.S_IMODE(job.folder.stat().st_mode) == 0o700
    assert "alive" in (job.folder / "worker.log").read_text()


@pytest.mark.parametrize(
    ("what", "status", "code", "sentence"),
    [
        ("refuses", "refused", "not_a_model_file", "This is a picture."),
        ("fails", "failed", "failed", "KeyError: 'kernel'"),
        ("exits", "failed", "worker_died", "exit status 3"),
        ("segfaults", "failed", "worker_died", "signal 11 (SIGSEGV)"),
        ("is out of memory", "failed", "worker_died", "signal 9 (SIGKILL); most likely memory"),
        ("talks", "failed", "protocol", f"more than {LINE_LIMIT} bytes"),
        ("mumbles", "failed", "protocol", "not a report in JSON"),
        ("shouts", "failed", "protocol", "unknown kind"),
        ("claims", "failed", "no_result", "left no result"),
    ],
)
def test_a_job_that_is_not_done(
    workers: Workers, what: str, status: str, code: str, sentence: str
) -> None:
    job = ended(workers.submit(spec(what)))
    assert job.status == status
    assert job.error is not None
    assert job.error[0] == code
    assert sentence in job.error[1]
    with pytest.raises(RuntimeError, match=status):
        job.result()
    assert ended(workers.submit(spec("quick"))).status == "done", "the line must go on"


def test_a_worker_that_cannot_be_started(root: Path) -> None:
    with Workers(spare=True, command=["/nowhere/python"], root=root) as workers:
        job = ended(workers.submit(spec("quick")))
    assert job.status == "failed"
    assert job.error is not None
    assert "/nowhere/python" in job.error[1]


def test_the_deadline_kills(stand_in: list[str], root: Path) -> None:
    with Workers(spare=False, command=stand_in, root=root, deadline=1.5) as workers:
        job = ended(workers.submit(spec("hangs")))
    assert job.status == "failed"
    assert job.error is not None
    assert job.error[0] == "deadline_exceeded"
    assert "1.5 seconds" in job.error[1]
    assert not is_alive(int(job.progress.stage.split()[0]))


@pytest.mark.parametrize(("text", "seconds"), [(None, 1800.0), ("90", 90.0)])
def test_the_deadline_is_a_setting_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str | None, seconds: float
) -> None:
    monkeypatch.delenv("AUTOINIT_DEADLINE_SECONDS", raising=False)
    if text is not None:
        monkeypatch.setenv("AUTOINIT_DEADLINE_SECONDS", text)
    assert deadline_seconds() == seconds


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_wrong_deadline_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AUTOINIT_DEADLINE_SECONDS", text)
    with pytest.raises(ValueError, match=f"AUTOINIT_DEADLINE_SECONDS.*'{text}'"):
        deadline_seconds()


# Cancelling and waiting


def test_cancel_kills_the_worker_and_what_it_started(workers: Workers) -> None:
    job = workers.submit(spec("hangs"))
    wait_for(lambda: job.progress.fraction == 0.25)
    pids = [int(word) for word in job.progress.stage.split()]
    assert all(is_alive(pid) for pid in pids)
    job.cancel()
    assert (job.status, job.error) == ("cancelled", None)
    wait_for(lambda: not any(is_alive(pid) for pid in pids))
    assert not list(job.folder.glob("partial-*")), "nothing half written may stay behind"
    job.cancel()
    assert job.status == "cancelled"


def test_cancel_before_the_worker_has_said_anything(workers: Workers) -> None:
    job = workers.submit(spec("hangs"))
    job.cancel()
    assert job.status == "cancelled"


def test_cancel_does_not_undo_a_finished_job(workers: Workers) -> None:
    job = ended(workers.submit(spec("quick")))
    job.cancel()
    assert job.status == "done"


def test_jobs_wait_in_line(workers: Workers) -> None:
    jobs = [workers.submit(spec("waits", name)) for name in "abcd"]
    wait_for(lambda: jobs[0].progress.stage == "Waiting for the test")
    assert [job.status for job in jobs] == ["running", "queued", "queued", "queued"]
    assert [job.progress.stage for job in jobs[1:]] == [
        f"Waiting: {ahead} ahead of you" for ahead in (1, 2, 3)
    ]
    jobs[1].cancel()
    assert jobs[1].status == "cancelled"
    assert [job.progress.stage for job in jobs[2:]] == [
        f"Waiting: {ahead} ahead of you" for ahead in (1, 2)
    ]
    (workers.root / "go.txt").touch()
    for job in (jobs[0], *jobs[2:]):
        assert ended(job).status == "done"
    assert (workers.root / "started.txt").read_text().split() == ["a", "c", "d"]


def test_each_device_has_a_line_of_its_own(workers: Workers) -> None:
    jobs = [workers.submit(spec("waits", device=device)) for device in ("cpu", "gpu")]
    for job in jobs:
        wait_for(lambda job=job: job.progress.fraction == 0.5)
    (workers.root / "go.txt").touch()
    assert [ended(job).status for job in jobs] == ["done", "done"]


def test_closing_ends_everything(stand_in: list[str], root: Path) -> None:
    workers = Workers(spare=True, command=stand_in, root=root)
    running, queued = (workers.submit(spec("hangs", name)) for name in "ab")
    wait_for(lambda: running.progress.fraction == 0.25)
    pid = int(running.progress.stage.split()[0])
    workers.close()
    assert (running.status, queued.status) == ("cancelled", "cancelled")
    assert not is_alive(pid)
    assert not list(root.glob("spare-*"))
    with pytest.raises(RuntimeError, match="closed"):
        workers.submit(spec("quick"))


# Results that are there already


def test_a_finished_job_is_not_computed_again(workers: Workers, stand_in: list[str]) -> None:
    first = ended(workers.submit(spec("quick")))
    again = workers.submit(spec("quick"))
    assert again.status == "done"
    assert again.result() == first.result()
    with Workers(spare=False, command=stand_in, root=workers.root) as after_a_restart:
        found = after_a_restart.find(first.key)
        assert found is not None
        assert (found.key, found.status) == (first.key, "done")
        assert after_a_restart.submit(spec("quick")).result() == first.result()
    assert (workers.root / "started.txt").read_text().split() == ["a"]


def test_the_same_job_runs_once(workers: Workers) -> None:
    job = workers.submit(spec("hangs"))
    assert workers.submit(spec("hangs")) is job
    assert workers.find(job.key) is job


def test_a_job_that_was_not_done_is_tried_again(workers: Workers) -> None:
    first = ended(workers.submit(spec("refuses")))
    assert workers.find(first.key) is first
    assert workers.submit(spec("refuses")) is not first


def test_a_result_that_was_removed_is_computed_again(workers: Workers) -> None:
    first = ended(workers.submit(spec("quick")))
    (first.folder / "result.json").unlink()
    assert workers.find(first.key) is None
    assert ended(workers.submit(spec("quick"))).status == "done"
    assert len((workers.root / "started.txt").read_text().split()) == 2


@pytest.mark.parametrize("key", ["", "..", "../secret", "A" * 64, "a" * 63, "a" * 64 + "\n", "/"])
def test_only_a_key_finds_anything(workers: Workers, key: str) -> None:
    assert workers.find(key) is None


def test_a_private_folder_shares_nothing(workers: Workers, tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        job = ended(workers.submit(spec("quick"), folder))
        assert (job.status, job.folder) == ("done", folder)
        assert workers.find(job.key) is None


# The spare


def test_the_spare_takes_the_next_job(stand_in: list[str], root: Path) -> None:
    with Workers(spare=True, command=stand_in, root=root) as workers:
        (log,) = root.glob("spare-*")
        wait_for(lambda: "alive" in log.read_text())
        log.write_text("this is the spare's log\n")
        job = ended(workers.submit(spec("quick")))
        assert job.status == "done"
        assert "the spare's log" in (job.folder / "worker.log").read_text()
        assert not log.exists()
        assert len(list(root.glob("spare-*"))) == 1, "a new spare stands by"


def test_a_dead_spare_is_replaced(tmp_path: Path, stand_in: list[str], root: Path) -> None:
    marker = tmp_path / "first.txt"
    program = tmp_path / "dies_once.py"
    program.write_text(
        "import os, pathlib, sys\n"
        f"marker = pathlib.Path({str(marker)!r})\n"
        "if not marker.exists():\n"
        "    marker.write_text(str(os.getpid()))\n"
        "    sys.exit(1)\n"
        f"os.execv(sys.executable, {stand_in!r})\n"
    )
    with Workers(spare=True, command=[sys.executable, str(program)], root=root) as workers:
        wait_for(lambda: marker.exists() and not is_alive(int(marker.read_text() or os.getpid())))
        assert ended(workers.submit(spec("quick"))).status == "done"


# Folders and surroundings


def test_what_a_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    told = worker_environment()
    assert "SECRET_TOKEN" not in told
    assert told["CUDA_VISIBLE_DEVICES"] == "1"
    assert told["PATH"] == os.environ["PATH"]
    assert told["TF_CPP_MIN_LOG_LEVEL"] == "3"


def test_what_is_old_is_swept_and_nothing_else(stand_in: list[str], root: Path) -> None:
    old, recent = root / ("a" * 64), root / ("b" * 64)
    foreign, log = root / "keep me", root / "spare-x"
    for folder in (old, recent, foreign):
        folder.mkdir()
        (folder / "result.json").write_text("{}")
    log.touch()
    two_days_ago = time.time() - 2 * 24 * 3600
    for path in (old, foreign, log):
        os.utime(path, (two_days_ago, two_days_ago))
    Workers(spare=False, command=stand_in, root=root).close()
    assert {path.name for path in root.iterdir()} == {recent.name, foreign.name}


def test_a_result_in_use_is_not_swept(stand_in: list[str], root: Path) -> None:
    used = root / ("a" * 64)
    with Workers(spare=False, command=stand_in, root=root) as workers:
        used.mkdir()
        (used / "result.json").write_text("{}")
        os.utime(used, (0, 0))
        assert workers.find(used.name) is not None
        ended(workers.submit(spec("quick")))
    assert used.exists()


def test_the_data_root_is_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AUTOINIT_DATA", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    root = folders.data_root()
    assert root.parent == tmp_path
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    root.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root.symlink_to(elsewhere)
    with pytest.raises(PermissionError, match="AUTOINIT_DATA"):
        folders.data_root()
    monkeypatch.setenv("AUTOINIT_DATA", str(tmp_path / "a" / "b"))
    assert folders.data_root() == tmp_path / "a" / "b"


# The worker itself

ANALYSIS = """
import argparse, json, os, pathlib, sys, time, types
import app.jobs

# The package without its `__init__`, which imports Keras.
autoinit = sys.modules["autoinit"] = types.ModuleType("autoinit")
autoinit.__path__ = [str(pathlib.Path(app.__file__).parent.parent / "autoinit")]

def run(spec, folder, progress):
    from autoinit.errors import ModelFileError
    print("a library prints")
    os.write(1, b"and so does its C code\\n")
    progress(0.5, "Half-way")
    match spec.model.removeprefix("sample:"):
        case "deep":
            depth = lambda n: 0 if n == 0 else 1 + depth(n - 1)
            assert depth(50_000) == 50_000
        case "refused":
            raise ModelFileError("not_a_model_file", "This is a picture.")
        case "wrong setting":
            raise ValueError("seeds must be fewer.")
        case "wrong value":
            json.loads("x")
        case "their value":
            argparse.ArgumentParser().add_argument("-x", dest="x", nargs=0)
        case "memory":
            raise MemoryError
        case "device memory":
            class ResourceExhaustedError(Exception): ...
            raise ResourceExhaustedError("OOM when allocating")
        case "bug":
            raise KeyError("kernel")
        case "leaves":
            sys.exit(5)
        case "hangs":
            time.sleep(600)
    (folder / "result.json").write_text('{"name": "%s"}' % spec.name)
    (folder / "reinitialized.keras").write_text("weights")

__name__ = "app.jobs.analysis"
app.jobs.analysis = sys.modules[__name__] = types.ModuleType(__name__)
app.jobs.analysis.run = run
from app.jobs import worker
worker.main()
"""


@pytest.fixture
def real_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("PYTHONPATH", str(Path(app.__file__).parent.parent))
    program = tmp_path / "worker_with_small_analysis.py"
    program.write_text(ANALYSIS)
    return [sys.executable, str(program)]


@pytest.fixture
def real_workers(real_worker: list[str], root: Path) -> Iterator[Workers]:
    with Workers(spare=False, command=real_worker, root=root, deadline=60) as workers:
        yield workers


@pytest.mark.parametrize("what", ["quick", "deep"])
def test_the_worker_delivers(real_workers: Workers, what: str) -> None:
    job = ended(real_workers.submit(spec(what)))
    assert (job.status, job.error) == ("done", None)
    assert job.result() == {"name": "a"}
    log = (job.folder / "worker.log").read_text()
    assert "a library prints" in log
    assert "and so does its C code" in log
    assert {path.name for path in job.folder.iterdir()} == {
        "result.json",
        "reinitialized.keras",
        "worker.log",
    }
    assert stat.S_IMODE((job.folder / "result.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("what", "status", "code", "sentence"),
    [
        ("refused", "refused", "not_a_model_file", "This is a picture."),
        ("wrong setting", "refused", "bad_settings", "seeds must be fewer."),
        ("wrong value", "failed", "failed", "JSONDecodeError: Expecting value"),
        ("their value", "failed", "failed", "ValueError: nargs for store actions"),
        ("memory", "refused", "out_of_memory", "fewer samples"),
        ("device memory", "refused", "out_of_memory", "fewer samples"),
        ("bug", "failed", "failed", "KeyError: 'kernel'"),
        ("leaves", "failed", "failed", "SystemExit: 5"),
    ],
)
def test_the_worker_says_what_went_wrong(
    real_workers: Workers, what: str, status: str, code: str, sentence: str
) -> None:
    job = ended(real_workers.submit(spec(what)))
    assert job.status == status
    assert job.error is not None
    assert job.error[0] == code
    assert sentence in job.error[1]
    assert "Traceback" in (job.folder / "worker.log").read_text()
    assert {path.name for path in job.folder.iterdir()} == {"worker.log"}


def test_the_worker_dies_with_its_parent(real_worker: list[str], root: Path) -> None:
    folder = root / "job"
    folder.mkdir()
    process = WorkerProcess(real_worker, folder / "worker.log")
    process.send({"spec": spec("hangs").to_json(), "folder": str(folder)})
    assert next(process.reports()) == Progress(0.5, "Half-way")
    process._stdin.close()  # As the kernel does for a parent that is killed.
    assert process._process.wait(PATIENCE) == -signal.SIGKILL
    process.finish()
