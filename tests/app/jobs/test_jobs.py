"""Jobs: the queue, the warm worker, cancelling, and every way in which a worker can go away.

A stand-in speaks the worker's protocol where only the parent is looked at; `app.jobs.worker` itself
runs with an analysis of a few lines instead of the one that imports Keras.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import app
from app.jobs import AlreadyRunningError, JobHandle, JobSpec, Settings, Workers, folders
from app.jobs.processes import (
    LINE_LIMIT,
    ON_NODES,
    Outcome,
    Progress,
    WorkerProcess,
    worker_environment,
)
from app.limits import Limits
from app.text.formatting import time_left

PATIENCE = 300.0
LIMITS = Limits(seconds=600.0)

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
data = pathlib.Path(sys.argv[-1]).parent
with open(data / "started.txt", "a") as started:
    started.write(job["spec"]["name"] + "\\n")
match job["spec"]["model"].removeprefix("sample:"):
    case "quick":
        finish()
    case "waits":
        (folder / "preview.json").write_text("{}")
        say(event="progress", fraction=0.5, stage="Waiting for the test")
        while not (data / "go.txt").exists():
            time.sleep(0.01)
        finish()
    case "spins":
        import threading
        stop = threading.Event()
        for _ in range(30):
            threading.Thread(target=stop.wait, daemon=True).start()
        stop.wait()
    case "hangs":
        child = subprocess.Popen(["sleep", "600"])
        (folder / "result.json").write_text("half of a")
        say(event="progress", fraction=0.25, stage=f"{os.getpid()} {child.pid}")
        time.sleep(600)
    case "refuses":
        say(event="refused", code="not_a_model_file", message="This is a picture.")
    case "fails":
        say(event="failed", message="KeyError: 'kernel'")
    case "exits":
        sys.exit(3)
    case "is out of time":
        os.kill(os.getpid(), signal.SIGXCPU)
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
    with Workers(keep_warm=False, command=stand_in, root=root, limits=LIMITS) as workers:
        yield workers


def ended(job: JobHandle) -> JobHandle:
    assert job.wait(PATIENCE), f"still {job.status}: {job.progress}"
    return job


def contents(job: JobHandle) -> Any:
    """What a stand-in has left, which is no whole result."""
    return json.loads((job.folder / "result.json").read_text())


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
        ("input_moments", {"left": [0.0]}, "by an input's name its mean and variance"),
        ("input_moments", {"left": [0.0, 0.0]}, "by an input's name its mean and variance"),
        ("input_moments", [["left", 0.0, 1.0]], "by an input's name its mean and variance"),
        ("input_moments", {"x" * 20_000: [0.0, 1.0]}, "of fewer inputs"),
        ("input_data", 5, "text, or left out"),
        ("input_source", "file", "one of data, noise"),
        ("mode", "train", "one of training, inference"),
        ("distribution", "normal", "one of truncated_normal, untruncated_normal"),
        ("device", "tpu", "one of auto, cpu, gpu"),
        ("unsupported", "guess", "one of sample, pass_through, error"),
        ("constrain_weights", 1, "true or false"),
        ("custom_objects", "os; import sys", "the dotted name of a module"),
    ],
)
def test_wrong_settings_name_the_right_values(name: str, value: object, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {expected}.*received"):
        Settings(**{name: value})


def test_a_specification_survives_json() -> None:
    settings = Settings(
        samples=7,
        mode="inference",
        custom_objects="package.layers",
        input_moments={"left": [0, 1]},
        input_data="/data/x.npz",
        input_data_name="x.npz",
    )
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
    assert replace(job, settings=Settings(signal_variance=1)).key() == job.key()
    changed = [
        replace(job, model=str(other)),
        replace(job, name="two.h5"),
        replace(job, settings=Settings(samples=64)),
        replace(job, settings=Settings(unsupported="pass_through")),
        replace(job, settings=Settings(unsupported="error")),
        replace(job, model="sample:all-cnn-c"),
        replace(job, settings=Settings(input_moments={"in": [0, 1]})),
        replace(job, settings=Settings(input_data=str(one))),
        replace(job, settings=Settings(input_data=str(other))),
        replace(job, settings=Settings(input_data=str(one), input_source="noise")),
    ]
    first, second = (replace(job, settings=Settings(input_data=str(f))) for f in (one, copy))
    assert first.key() == second.key()
    assert first.files == (one, one)
    assert len({job.key(), *(each.key() for each in changed)}) == 1 + len(changed)


# What becomes of a job


def test_a_job_that_is_done(workers: Workers) -> None:
    job = ended(workers.submit(spec("quick")))
    assert (job.status, job.error, job.progress) == ("done", None, (1.0, "Done"))
    assert set(contents(job)) == {"pid"}
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
        ("is out of time", "failed", "deadline_exceeded", "600 seconds"),
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
    with Workers(keep_warm=True, command=["/nowhere/python"], root=root) as workers:
        job = ended(workers.submit(spec("quick")))
    assert job.status == "failed"
    assert job.error is not None
    assert "/nowhere/python" in job.error[1]


def test_the_deadline_kills(stand_in: list[str], root: Path) -> None:
    hasty = replace(LIMITS, seconds=1.5)
    with Workers(keep_warm=False, command=stand_in, root=root, limits=hasty) as workers:
        job = ended(workers.submit(spec("hangs")))
    assert job.status == "failed"
    assert job.error is not None
    assert job.error[0] == "deadline_exceeded"
    assert "1.5 seconds" in job.error[1]
    assert not is_alive(int(job.progress.stage.split()[0]))


def test_too_many_threads_end_a_worker(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.jobs.watching.MOST_THREADS", 20)
    job = ended(workers.submit(spec("spins")))
    assert job.error is not None
    assert job.error[0] == "worker_died"
    assert "threads and was ended" in job.error[1]


def test_many_jobs_leave_nothing_behind(workers: Workers) -> None:
    def held() -> tuple[int, int, int]:
        process = psutil.Process()
        return process.num_fds(), threading.active_count(), len(process.children())

    at_rest = threading.active_count()
    assert ended(workers.submit(spec("quick", "first"))).status == "done"
    wait_for(lambda: threading.active_count() == at_rest)
    before = held()
    ends = ("quick", "refuses", "exits", "segfaults", "mumbles")
    jobs = [workers.submit(spec(what, f"{what} {n}")) for n in range(3) for what in ends]
    for job in jobs:
        ended(job)
    wait_for(lambda: held() == before)
    assert not list(workers.root.glob("cell-*"))


# Cancelling and waiting


def test_cancel_kills_the_worker_and_what_it_started(workers: Workers) -> None:
    job = workers.submit(spec("hangs"))
    wait_for(lambda: job.progress.fraction == 0.25)
    pids = [int(word) for word in job.progress.stage.split()]
    assert all(is_alive(pid) for pid in pids)
    job.cancel()
    assert (job.status, job.error) == ("cancelled", None)
    wait_for(lambda: not any(is_alive(pid) for pid in pids))
    assert [path.name for path in job.folder.iterdir()] == ["worker.log"], (
        "and nothing half written"
    )
    assert not list(workers.root.glob("cell-*"))
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


def test_a_full_line_takes_no_more(stand_in: list[str], root: Path) -> None:
    short = replace(LIMITS, queue=2)
    with Workers(keep_warm=False, command=stand_in, root=root, limits=short) as workers:
        jobs = [workers.submit(spec("waits", name)) for name in "abc"]
        refused = workers.submit(spec("waits", "d"))
        assert refused.status == "refused"
        assert refused.error is not None
        assert refused.error[0] == "busy"
        assert "2 analyses are waiting" in refused.error[1]
        assert "AUTOINIT_MAX_QUEUE" in refused.error[1]
        assert workers.find(refused.key) is refused, "its address shows the sentence"
        assert not refused.folder.exists()
        assert workers.submit(spec("waits", "b")) is jobs[1], "what is in line already is no more"
        gpu = workers.submit(spec("waits", "e", device="gpu"))
        assert gpu.status == "running", "the other device's line is another"
        jobs[2].cancel()
        again = workers.submit(spec("waits", "d"))
        assert again.status == "queued"
        (root / "go.txt").touch()
        assert [ended(job).status for job in (*jobs[:2], again)] == ["done"] * 3


def test_addresses_are_served_in_turn(workers: Workers) -> None:
    first = workers.submit(spec("waits", "a0"), address="a")
    others = [
        workers.submit(spec("quick", f"{address}{number}"), address=address)
        for address, number in (("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("b", 2))
    ]
    assert [job.progress.stage[9] for job in others] == ["3", "5", "6", "1", "2", "4"]
    (workers.root / "go.txt").touch()
    for job in (first, *others):
        assert ended(job).status == "done"
    started = (workers.root / "started.txt").read_text().split()
    assert started == ["a0", "b1", "c1", "a1", "b2", "a2", "a3"]


def test_an_address_has_a_few_places(stand_in: list[str], root: Path) -> None:
    few = replace(LIMITS, queue_per_address=2)
    with Workers(keep_warm=False, command=stand_in, root=root, limits=few) as workers:
        jobs = [workers.submit(spec("waits", str(n)), address="a") for n in range(3)]
        late = workers.submit(spec("waits", "late"), address="a")
        assert (late.status, late.error and late.error[0]) == ("refused", "busy")
        other = workers.submit(spec("quick", "other"), address="b")
        assert other.status == "queued"
        assert workers.submit(spec("quick", "here")).status == "queued"
        (root / "go.txt").touch()
        assert {ended(job).status for job in (*jobs, other)} == {"done"}


def test_a_full_line_has_room_for_who_has_no_place_in_it(stand_in: list[str], root: Path) -> None:
    """A few addresses cannot fill it: who has most gives up the last place."""
    short = replace(LIMITS, queue=3)
    with Workers(keep_warm=False, command=stand_in, root=root, limits=short) as workers:
        mine = [workers.submit(spec("waits", str(n)), address="a") for n in range(4)]
        other = workers.submit(spec("quick", "other"), address="b")
        assert [job.status for job in (*mine, other)] == [
            "running",
            *["queued"] * 2,
            "refused",
            "queued",
        ]
        assert mine[3].error is not None
        assert mine[3].error[0] == "busy"
        late = workers.submit(spec("quick", "late"), address="b")
        assert late.status == "refused", "it would have as many as those that it takes it from"
        assert workers.submit(spec("quick", "here")).status == "refused"
        (root / "go.txt").touch()
        assert [ended(job).status for job in (*mine[:3], other)] == ["done"] * 4


def test_a_long_job_ends_when_others_wait(stand_in: list[str], root: Path) -> None:
    shared = replace(LIMITS, seconds_if_others_wait=0.3)
    with Workers(keep_warm=False, command=stand_in, root=root, limits=shared) as workers:
        long = workers.submit(spec("waits", "long"))
        assert not long.wait(1.0), "nobody waits"
        assert ended(workers.submit(spec("quick", "next"))).status == "done"
        assert long.error is not None
        assert long.error[0] == "deadline_exceeded"
        assert "others were waiting" in long.error[1]


def test_one_person_cancels_for_oneself(workers: Workers) -> None:
    job = workers.submit(spec("hangs"), owner="anna")
    assert workers.submit(spec("hangs"), owner="ben") is job
    assert workers.submit(spec("hangs"), owner="ben") is job
    wait_for(lambda: job.progress.fraction == 0.25)
    job.cancel("someone who only knows the address")
    job.cancel("anna")
    assert (job.status, job.is_owned_by("anna"), job.is_owned_by("ben")) == ("running", False, True)
    job.cancel("ben")
    assert job.status == "cancelled"
    again = workers.submit(spec("hangs"), owner="anna")
    assert again is not job
    assert again.status == "running"


def test_a_job_that_is_being_ended_is_nobodys(workers: Workers) -> None:
    job = workers.submit(spec("hangs"), owner="anna")
    job._stopped = Outcome("cancelled")  # As between the request and the end.
    assert not job.add_owner("ben")
    assert workers.submit(spec("hangs"), owner="ben") is not job


def test_everyone_has_one_job_at_a_time(workers: Workers) -> None:
    first = workers.submit(spec("waits", "a"), owner="anna")
    with pytest.raises(AlreadyRunningError) as caught:
        workers.submit(spec("waits", "b"), owner="anna")
    assert caught.value.job is first
    other = workers.submit(spec("waits", "b"), owner="ben")
    first.cancel("anna")
    assert workers.submit(spec("waits", "b"), owner="anna") is other
    (workers.root / "go.txt").touch()
    assert ended(other).status == "done"
    assert workers.submit(spec("quick", "c"), owner="anna").status in ("running", "done")


def test_each_device_has_a_line_of_its_own(workers: Workers) -> None:
    jobs = [workers.submit(spec("waits", device=device)) for device in ("cpu", "gpu")]
    for job in jobs:
        wait_for(lambda job=job: job.progress.fraction == 0.5)
    (workers.root / "go.txt").touch()
    assert [ended(job).status for job in jobs] == ["done", "done"]


def test_closing_ends_everything(stand_in: list[str], root: Path) -> None:
    workers = Workers(keep_warm=True, command=stand_in, root=root)
    running, queued = (workers.submit(spec("hangs", name)) for name in "ab")
    wait_for(lambda: running.progress.fraction == 0.25)
    pid = int(running.progress.stage.split()[0])
    workers.close()
    assert (running.status, queued.status) == ("cancelled", "cancelled")
    assert not is_alive(pid)
    assert not list(root.glob("cell-*"))
    with pytest.raises(RuntimeError, match="closed"):
        workers.submit(spec("quick"))


# Results that are there already


def test_a_finished_job_is_not_computed_again(workers: Workers, stand_in: list[str]) -> None:
    first = ended(workers.submit(spec("quick")))
    again = workers.submit(spec("quick"))
    assert again.status == "done"
    assert contents(again) == contents(first)
    with Workers(keep_warm=False, command=stand_in, root=workers.root) as after_a_restart:
        found = after_a_restart.find(first.key)
        assert found is not None
        assert (found.key, found.status) == (first.key, "done")
        assert contents(after_a_restart.submit(spec("quick"))) == contents(first)
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


# The warm worker


def test_the_warm_worker_takes_the_next_job(stand_in: list[str], root: Path) -> None:
    with Workers(keep_warm=True, command=stand_in, root=root) as workers:
        (log,) = root.glob("cell-*/worker.log")
        wait_for(lambda: "alive" in log.read_text())
        log.write_text("this is the warm worker's log\n")
        job = ended(workers.submit(spec("quick")))
        assert job.status == "done"
        assert "the warm worker's log" in (job.folder / "worker.log").read_text()
        assert not log.exists()
        assert len(list(root.glob("cell-*"))) == 1, "a new one stands by"


def test_the_next_warm_worker_does_not_start_in_the_middle_of_a_job(
    stand_in: list[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.jobs.worker_pool.SECONDS_BETWEEN_STARTS", 0.0)
    with Workers(keep_warm=True, command=stand_in, root=root) as workers:
        job = workers.submit(spec("waits"))
        wait_for(lambda: job.progress.fraction == 0.5)
        workers.refresh()
        assert len(list(root.glob("cell-*"))) == 1, "the job's"
        preview = job.preview()
        assert preview is not None
        assert preview[0].read_text() == "{}"
        (root / "go.txt").touch()
        assert ended(job).status == "done"
        assert len(list(root.glob("cell-*"))) == 1
        assert not (job.folder / "preview.json").exists()


def test_a_dead_warm_worker_is_replaced(tmp_path: Path, stand_in: list[str], root: Path) -> None:
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
    with Workers(keep_warm=True, command=[sys.executable, str(program)], root=root) as workers:
        wait_for(lambda: marker.exists() and not is_alive(int(marker.read_text() or os.getpid())))
        assert ended(workers.submit(spec("quick"))).status == "done"


def test_a_warm_worker_that_died_of_age_is_replaced(
    stand_in: list[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workers(keep_warm=True, command=stand_in, root=root) as workers:
        first = workers._pool._warm_worker
        assert first is not None
        workers.refresh()
        assert workers._pool._warm_worker is first
        first.kill()
        wait_for(lambda: not first.alive)
        workers.refresh()
        assert workers._pool._warm_worker is first, "one that dies young is not tried over and over"
        monkeypatch.setattr("app.jobs.worker_pool.SECONDS_BETWEEN_STARTS", 0.0)
        workers.refresh()
        second = workers._pool._warm_worker
        assert second is not None
        assert second.alive
        assert len(list(root.glob("cell-*"))) == 1
    assert not second.alive


# Folders and surroundings


def test_what_a_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "hush")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    told = worker_environment()
    assert "hush" not in told.values()
    assert worker_environment(ON_NODES)["RAY_AUTH_TOKEN"] == "hush", "it opens no model"
    assert told["CUDA_VISIBLE_DEVICES"] == "1"
    assert told["PATH"] == os.environ["PATH"]
    assert told["TF_CPP_MIN_LOG_LEVEL"] == "3"


def test_a_worker_imports_nothing_from_where_it_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('code of a stranger has run')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep)  # An empty entry would stand for that folder.
    program = [sys.executable, "-c", "import json, app.limits"]
    subprocess.run(program, env=worker_environment(), check=True)


def test_what_is_old_is_swept_and_nothing_else(stand_in: list[str], root: Path) -> None:
    old, recent = root / ("a" * 64), root / ("b" * 64)
    foreign, log = root / "keep me", root / "cell-x"
    for folder in (old, recent, foreign):
        folder.mkdir()
        (folder / "result.json").write_text("{}")
    log.touch()
    two_days_ago = time.time() - 2 * 24 * 3600
    for path in (old, foreign, log):
        os.utime(path, (two_days_ago, two_days_ago))
    Workers(keep_warm=False, command=stand_in, root=root).close()
    assert {path.name for path in root.iterdir()} == {recent.name, foreign.name}


def test_what_a_killed_server_left_half_done_is_removed(stand_in: list[str], root: Path) -> None:
    job, uploads = root / ("a" * 64), root / "uploads"
    for folder in (job / "partial-123" / "temporary", uploads):
        folder.mkdir(parents=True)
    half = [job / "partial-123", uploads / "partial-abc", root / "cell-abc"]
    for path in half[1:]:
        path.touch()
    (uploads / "model.h5").touch()
    with Workers(keep_warm=False, command=stand_in, root=root):
        assert not any(path.exists() for path in half)
        assert (uploads / "model.h5").exists()
        for path in half[1:]:
            path.touch()
        with Workers(keep_warm=False, command=stand_in, root=root):
            assert all(path.exists() for path in half[1:]), "another server is at work here"


def test_the_least_recently_used_makes_room(stand_in: list[str], root: Path) -> None:
    uploads = root / "uploads"
    uploads.mkdir()
    now = time.time()
    stored = []
    for age, path in enumerate([uploads / "new.h5", root / ("b" * 64), uploads / "old.h5"]):
        file = path if path.suffix else path / "reinitialized.keras"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(1000))
        os.utime(path, (now - 60 * age, now - 60 * age))
        stored.append(path)
    (uploads / "partial-1").write_bytes(bytes(5000))
    folders.sweep(root, {stored[2]}, 2500)
    assert [path.exists() for path in stored] == [True, False, True], "one of them is in use"
    folders.sweep(root, set(), 1500)
    assert [path.exists() for path in stored] == [True, False, False]
    small = replace(LIMITS, stored_bytes=1)
    with Workers(keep_warm=False, command=stand_in, root=root, limits=small) as workers:
        assert not stored[0].exists()
        job = ended(workers.submit(spec("quick")))
        assert contents(job), "what has just been finished stays until something else is asked"
        upload = uploads / "next.h5"
        upload.write_bytes(bytes(1000))
        waiting = workers.submit(JobSpec(str(upload), "next", Settings()))
        assert workers.in_use() >= {upload, waiting.folder}
        assert ended(waiting).status == "failed"
        assert not job.folder.exists()


def test_who_has_most_stored_makes_room(root: Path) -> None:
    """Nine uploads of one address take the place of each other, not of someone else's result."""
    result = root / ("b" * 64)
    mine = [root / "uploads" / f"{number}.h5" for number in range(9)]
    mine[0].parent.mkdir()
    for age, path in enumerate([*reversed(mine), result / "result.json"]):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (time.time() - 60 * age,) * 2)
    os.utime(result, (time.time() - 3600,) * 2)
    folders.label(result, "192.0.2.1")
    for path in mine:
        folders.label(path, "192.0.2.2")
    folders.sweep(root, set(), 4000)
    assert result.is_dir(), "it is the oldest, and all that its owner has"
    assert [path.exists() for path in mine] == [False] * 6 + [True] * 3
    folders.sweep(root, set(), 1000)
    assert [result.is_dir(), *(path.exists() for path in mine)].count(True) == 1


def test_a_result_in_use_is_not_swept(stand_in: list[str], root: Path) -> None:
    used = root / ("a" * 64)
    with Workers(keep_warm=False, command=stand_in, root=root) as workers:
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
import argparse, json, mmap, os, pathlib, resource, signal, sys, tempfile, time, types
import app.jobs

# The package without its `__init__`, which imports Keras.
autoinit = sys.modules["autoinit"] = types.ModuleType("autoinit")
autoinit.__path__ = [str(pathlib.Path(app.__file__).parent.parent / "autoinit")]

def run(spec, folder, progress):
    from app.errors import WrongSettingError
    from autoinit.errors import ModelFileError, RuleError, SettingsError
    hoard = []
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
            raise WrongSettingError("seeds must be fewer.")
        case "wrong argument":
            raise SettingsError("There is no input 'x'.")
        case "rule":
            raise RuleError("a/b", "Dense", ValueError("max() arg is an empty sequence"))
        case "memory in a rule":
            raise RuleError("a", "Dense", MemoryError()) from MemoryError()
        case "our value":
            max([])
        case "own code":
            own = {"__name__": "my_layers", "json": json}
            exec(compile("def call(): json.loads('x')", "/home/me/my_layers.py", "exec"), own)
            own["call"]()
        case "wrong value":
            json.loads("x")
        case "their value":
            argparse.ArgumentParser().add_argument("-x", dest="x", nargs=0)
        case "memory":
            raise MemoryError
        case "memory while rebuilding":
            raise ModelFileError("cannot_rebuild", "Keras says: OOM") from MemoryError()
        case "device memory":
            class ResourceExhaustedError(Exception): ...
            raise ResourceExhaustedError("OOM when allocating")
        case "cannot run":
            library = {"__name__": "tensorflow.x"}
            exec("def op(): raise OverflowError('too large')", library)
            library["op"]()
        case "bug":
            raise KeyError("kernel")
        case "leaves":
            sys.exit(5)
        case "hangs":
            time.sleep(600)
        case "fills memory":
            hoard = [bytearray(b"x") * 2**24 for _ in iter(int, 1)]
        case "maps memory":
            bytearray(2**50)
        case "crashes for memory":
            while True:
                try:
                    hoard.append(mmap.mmap(-1, 2**28))
                except OSError:
                    time.sleep(0.5)
                    os.kill(os.getpid(), signal.SIGSEGV)
        case "stumbles for memory":
            while True:
                try:
                    hoard.append(mmap.mmap(-1, 2**26))
                except OSError:
                    raise KeyError("could not create a primitive")
        case "fills its disk":
            with open(folder / "reinitialized.keras", "wb") as file:
                file.write(bytes(3 * 2**20))
        case "finds the disk full":
            raise OSError("Can't write data (file write failed: errno = 28, error message = ...)")
        case "leaves temporary files":
            pathlib.Path(tempfile.mkdtemp(), "left").write_text("x")
            assert pathlib.Path(tempfile.gettempdir()).is_relative_to(folder)
        case "looks around":
            status = pathlib.Path("/proc/self/status").read_text()
            seen = {
                "limits": {
                    name: resource.getrlimit(getattr(resource, name))
                    for name in ("RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_FSIZE")
                },
                "no_new_privileges": "NoNewPrivs:\t1" in status,
                "interfaces": pathlib.Path("/proc/self/net/dev").read_text(),
                "first_to_die": pathlib.Path("/proc/self/oom_score_adj").read_text().strip(),
                "user": os.getuid(),
                "path": sys.path,
                "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
            }
            (folder / "result.json").write_text(json.dumps(seen))
            return
    (folder / "result.json").write_text('{"name": "%s"}' % spec.name)
    (folder / "reinitialized.keras").write_text("weights")

__name__ = "app.jobs.execution"
app.jobs.execution = sys.modules[__name__] = types.ModuleType(__name__)
app.jobs.execution.run, app.jobs.execution.rehearse = run, lambda: None
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
    with Workers(keep_warm=False, command=real_worker, root=root, limits=LIMITS) as workers:
        yield workers


@pytest.mark.parametrize("what", ["quick", "deep"])
def test_the_worker_delivers(real_workers: Workers, what: str) -> None:
    job = ended(real_workers.submit(spec(what)))
    assert (job.status, job.error) == ("done", None)
    assert contents(job) == {"name": "a"}
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
        ("wrong argument", "refused", "bad_settings", "There is no input 'x'."),
        ("rule", "failed", "rule_failed", "layer 'a/b' (Dense) gives"),
        ("memory in a rule", "refused", "out_of_memory", "fewer samples"),
        ("our value", "failed", "failed", "empty sequence. This is a fault of AutoInit's, not of"),
        ("own code", "refused", "unsupported_model", "my_layers.py, says: JSONDecodeError: Exp"),
        ("wrong value", "failed", "failed", "JSONDecodeError: Expecting value"),
        ("their value", "failed", "failed", "ValueError: nargs for store actions"),
        ("memory", "refused", "out_of_memory", "fewer samples"),
        ("memory while rebuilding", "refused", "out_of_memory", "fewer samples"),
        ("device memory", "refused", "out_of_memory", "fewer samples"),
        ("bug", "failed", "failed", "KeyError: 'kernel'"),
        ("cannot run", "refused", "unsupported_model", "TensorFlow says: OverflowError: too large"),
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


@pytest.mark.parametrize(
    ("what", "status", "code", "sentence"),
    [
        ("fills memory", "refused", "out_of_memory", "more than 512 MiB of memory"),
        ("maps memory", "refused", "out_of_memory", "fewer samples"),
        ("crashes for memory", "refused", "out_of_memory", "AUTOINIT_MAX_MEMORY_BYTES"),
        ("stumbles for memory", "refused", "out_of_memory", "fewer samples"),
        ("fills its disk", "refused", "disk_full", "larger than 2 MiB"),
        ("finds the disk full", "refused", "disk_full", "The disk is full"),
    ],
)
def test_a_worker_takes_no_more_than_it_may(
    real_worker: list[str], root: Path, what: str, status: str, code: str, sentence: str
) -> None:
    tight = replace(LIMITS, memory_bytes=2**29, output_bytes=2 * 2**20)
    with Workers(keep_warm=False, command=real_worker, root=root, limits=tight) as workers:
        job = ended(workers.submit(spec(what)))
        assert job.error is not None
        assert (job.status, job.error[0]) == (status, code), job.error[1]
        assert sentence in job.error[1]
        assert {path.name for path in job.folder.iterdir()} == {"worker.log"}
        assert ended(workers.submit(spec("quick"))).status == "done", "the next job is well"


def test_temporary_files_go_with_the_job(real_workers: Workers) -> None:
    job = ended(real_workers.submit(spec("leaves temporary files")))
    assert job.error is None
    left = {path.name for path in job.folder.rglob("*")}
    assert left == {"result.json", "reinitialized.keras", "worker.log"}


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_what_a_worker_has_given_up(real_workers: Workers, device: str) -> None:
    seen = contents(ended(real_workers.submit(spec("looks around", device=device))))
    seconds = LIMITS.seconds * len(os.sched_getaffinity(0))
    soft, hard = seen["limits"]["RLIMIT_CPU"]
    assert seconds < soft < hard < seconds + 60
    assert seen["limits"]["RLIMIT_CORE"] == [0, 0]
    assert seen["limits"]["RLIMIT_FSIZE"] == [LIMITS.output_bytes] * 2
    wall = seen["limits"]["RLIMIT_AS"]
    assert (wall == [LIMITS.address_space] * 2) == (device == "cpu")
    assert (seen["devices"] == "-1") == (device == "cpu")
    assert seen["no_new_privileges"]
    assert seen["first_to_die"] == "1000"
    assert seen["user"] == os.getuid()
    assert not {"", os.getcwd()} & set(seen["path"][1:]) - {str(Path(app.__file__).parents[1])}
    if can_leave_the_network():
        assert [line.split(":")[0].strip() for line in seen["interfaces"].splitlines()[2:]] == [
            "lo"
        ]


def can_leave_the_network() -> bool:
    """Whether this system lets a process into a network namespace of its own."""
    tried = ["unshare", "--net", *([] if os.getuid() == 0 else ["--user"]), "true"]
    try:
        return subprocess.run(tried, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_the_worker_dies_with_its_parent(real_worker: list[str], root: Path) -> None:
    process = WorkerProcess(real_worker, root)
    folder = str(folders.left(process.cell))
    job = {"spec": spec("hangs").to_json(), "folder": folder, "limits": asdict(LIMITS)}
    process.send(job)
    assert next(process.reports()) == Progress(0.5, "Half-way")
    process._stdin.close()  # As the kernel does for a parent that is killed.
    assert process._process.wait(PATIENCE) == -signal.SIGKILL
    process.finish()


def test_the_time_left_follows_from_the_share_that_is_done(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("app.jobs.handles.time.monotonic", lambda: now[0])
    job = JobHandle(tmp_path)
    job.status = "running"
    job._report(Progress(0.0, "Reading the model"))
    now[0] = 110.0
    job._report(Progress(0.1, "Predicting"))
    assert job.seconds_left is None  # it says too little yet
    job._report(Progress(0.25, "Measuring"))
    assert job.seconds_left == pytest.approx(30.0)
    now[0] = 114.0
    assert job.seconds_left == pytest.approx(26.0)
    now[0] = 200.0
    assert job.seconds_left == 0.0
    texts = [time_left(seconds) for seconds in (None, 2, 13, 89, 100)]
    assert texts == [
        "",
        "a few seconds left",
        "about 15 s left",
        "about 90 s left",
        "about 2 min left",
    ]
