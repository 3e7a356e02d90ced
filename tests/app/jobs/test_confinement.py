"""The cell: what a hijacked worker would try, tried as whoever may run the service.

As root, as someone without rights, and as someone whom the system refuses namespaces of his own, as
most containers do: of these, the ones that the user of the tests can become.
"""

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import app
from app.cli.main import main
from app.jobs import JobHandle, JobSpec, Settings, Workers, folders
from app.jobs.confinement import MEASURES, attempts
from app.jobs.confinement.attempts import ATTEMPTS, Attempted
from app.limits import Limits

HOME = Path(app.__file__).parents[1]
IS_ROOT = os.getuid() == 0
WALK = """
import json, sys
from dataclasses import asdict
from app.jobs.confinement import attempts
print(json.dumps(asdict(attempts.walk())))
"""
# Runs what follows with system calls refused, as a container's profile or an older kernel does.
REFUSING = """
import os, sys
from app.jobs.confinement.system_calls import Refusal, refuse
refuse(Refusal(int(each) if each.isdigit() else each) for each in sys.argv[1].split(","))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


OUTSIDE = """
from app.jobs.confinement import attempts
attempts.confine = lambda *_: {}
attempts.main()
"""


def someone_else() -> list[str]:
    """What runs a command as nobody, where this is root, whose folder may hold the interpreter."""
    if not IS_ROOT:
        return []
    script = ""
    for needed in {Path(sys.base_prefix), Path(sys.prefix).resolve(), HOME}:
        closed = [each for each in needed.parents if not each.stat().st_mode & stat.S_IXOTH]
        if closed:
            script += (
                f"mount --bind {needed} /mnt && mount -t tmpfs -o mode=755 none {closed[-1]} && "
                f"mkdir -p {needed} && mount --bind /mnt {needed} && umount /mnt && "
            )
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    return [
        *(["unshare", "--mount", "sh", "-c", f'{script} exec "$@"', "sh"] if script else []),
        *nobody,
    ]


NOBODY = someone_else()


def works(*command: str) -> bool:
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False, cwd="/").returncode == 0


BECOMES_NOBODY = works(*NOBODY, sys.executable, "-c", "import app")


def walked(*command: str, refused: str = "") -> Attempted:
    """What a cell holds, for who becomes another by this command and is refused these calls."""
    python = ["-c", REFUSING, refused, "-c", WALK] if refused else ["-c", WALK]
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    done = subprocess.run(
        [*command, sys.executable, *python],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env=environment,
    )
    return Attempted(**json.loads(done.stdout))


SITUATIONS = {
    **({"root": ([], "")} if IS_ROOT else {}),
    **(
        {"no rights": (NOBODY, "")}
        if BECOMES_NOBODY and works(*NOBODY, "unshare", "-Un", "true")
        else {}
    ),
    **({"no namespaces": (NOBODY, "unshare")} if BECOMES_NOBODY else {}),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_table_of_attempts(situation: str) -> None:
    command, refused = SITUATIONS[situation]
    found = walked(*command, refused=refused)
    assert found.possible == dict.fromkeys(ATTEMPTS, False)
    assert found.holds
    assert set(found.lacking) == ({"a network of its own"} if refused else set())


def test_the_attempts_are_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails in a cell succeeds outside of one: all of it for root."""
    run = subprocess.run
    monkeypatch.setattr(
        "subprocess.run",
        lambda command, **told: run([command[0], "-c", OUTSIDE, command[-1]], **told),
    )
    possible = attempts.walk().possible
    always = {"read another job's file", "start a program", "connect to this machine by TCP"}
    assert always <= {name for name, succeeded in possible.items() if succeeded}
    assert not IS_ROOT or all(possible.values())


def test_what_the_kernel_lacks_is_told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    from app.dashboard.server import tell_weaknesses

    weak = walked(refused="444")  # no Landlock
    assert set(weak.lacking) == {"Landlock"}
    assert weak.possible["read another job's file"]
    assert not weak.possible["start a process"], "what there is holds all the same"
    monkeypatch.setattr("app.jobs.confinement.attempts.walk", lambda: weak)
    tell_weaknesses()
    assert "it could on this machine" in caplog.text
    assert "read another job's file" in caplog.text
    assert "Landlock: " in caplog.text
    assert main(["serve", "--check"]) == 1
    told = capsys.readouterr().out
    assert "read another job's file: YES" in told
    assert all(f"  {measure.name}: " in told for measure in MEASURES)


def test_where_nothing_is_lacking_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from app.dashboard.server import tell_weaknesses

    monkeypatch.setattr(
        "app.jobs.confinement.attempts.walk", lambda: Attempted({}, dict.fromkeys(ATTEMPTS, False))
    )
    tell_weaknesses()
    assert not caplog.text
    assert main(["serve", "--check"]) == 0


@pytest.mark.parametrize("version", [1, 3])
def test_an_older_kernel_holds_files_all_the_same(version: int, tmp_path: Path) -> None:
    cell = folders.new_cell(tmp_path)
    program = f"""
import os, pathlib, sys
from app.jobs.confinement import confine, landlock
landlock.version = lambda: {version}
lacking = confine(pathlib.Path({str(cell)!r}))
assert "version {version}" in lacking["Landlock"]
left = pathlib.Path({str(folders.left(cell))!r})
(left / "temporary" / "new").write_text("x")
(left / "new").write_text("x")
(left / "new").replace(left / "old")
try:
    os.listdir({str(tmp_path)!r})
except PermissionError:
    sys.exit(0)
"""
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_the_web_process_is_hidden() -> None:
    program = """
import ctypes
from app.jobs.confinement import hide_process
hide_process()
assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE
"""
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


# What a hijacked worker leaves

LEAVES = """
import json, os, pathlib, sys
print('{"event": "ready"}', flush=True)
job = json.loads(sys.stdin.readline())
left, root = pathlib.Path(job["folder"]), pathlib.Path(sys.argv[-1]).parent
match job["spec"]["name"]:
    case "symbolic":
        (left / "result.json").symlink_to("/proc/self/environ")
    case "linked":
        (root / "theirs").write_text("theirs")
        os.link(root / "theirs", left / "result.json")
    case "folder":
        (left / "result.json").mkdir()
    case "fifo":
        os.mkfifo(left / "result.json")
    case "others":
        (left / "result.json").write_text("{}")
        (left / "reinitialized.keras").symlink_to("/proc/self/environ")
        (left / "reinitialized-keras3.keras").write_text("of a file of Keras 2")
        (left / "worker.log").write_text("none of its business")
        (left / "manifest.json").write_text("{}")
        (left / "manifest.json").chmod(0o4000)
    case "deep":
        (left / "result.json").write_text("{}")
        os.chdir(left)
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
print('{"event": "done"}', flush=True)
"""


def left_by(what: str, root: Path) -> JobHandle:
    program = root / "hijacked.py"
    program.write_text(LEAVES.replace('case "deep":', 'case "deep":\n        os.chdir(left)'))
    limits = replace(Limits(), seconds=600.0)
    command = [sys.executable, str(program)]
    with Workers(keep_warm=False, command=command, root=root, limits=limits) as workers:
        job = workers.submit(JobSpec("sample:any", what, Settings(device="cpu")))
        assert job.wait(300.0)
    assert not list(root.glob("cell-*"))
    return job


@pytest.mark.parametrize("what", ["symbolic", "linked", "folder", "fifo"])
def test_a_result_that_is_no_plain_file_is_none(what: str, tmp_path: Path) -> None:
    job = left_by(what, tmp_path)
    assert job.error is not None
    assert job.error[0] == "no_result"
    assert [path.name for path in job.folder.iterdir()] == ["worker.log"]


def test_only_plain_files_of_known_names_are_taken(tmp_path: Path) -> None:
    job = left_by("others", tmp_path)
    assert job.status == "done"
    assert {path.name for path in job.folder.iterdir()} == {
        "result.json",
        "manifest.json",
        "reinitialized-keras3.keras",
        "worker.log",
    }
    assert not (job.folder / "worker.log").read_text()
    assert stat.S_IMODE((job.folder / "manifest.json").stat().st_mode) == 0o600


def test_folders_in_folders_are_removed_however_deep(tmp_path: Path) -> None:
    assert left_by("deep", tmp_path).status == "done"


def test_what_a_worker_writes_is_read_as_a_plain_file_of_bounded_size(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(bytes(10))
    assert folders.read_written(plain, 10) == bytes(10)
    with pytest.raises(OSError, match="more than 9 bytes"):
        folders.read_written(plain, 9)
    symbolic, fifo = tmp_path / "symbolic", tmp_path / "fifo"
    symbolic.symlink_to(plain)
    os.mkfifo(fifo)
    for path in (symbolic, fifo, tmp_path):
        with pytest.raises(OSError, match=r"no plain file|symbolic|directory"):
            folders.read_written(path, 10)
    os.link(plain, tmp_path / "linked")
    with pytest.raises(OSError, match="no plain file"):
        folders.read_written(plain, 10)
