"""The command line: exit statuses, files, what is said where; with a stand-in for the worker."""

import contextlib
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import app
from app.cli import common
from app.cli.main import main
from app.cli.terminal import sparklines, summary
from app.jobs import Progress, Workers
from app.text.formatting import number
from tests.app.parsing import parsed

Result = dict[str, Any]

STAND_IN = """
import json, pathlib, sys, time

def say(**event):
    print(json.dumps(event), flush=True)

job = json.loads(sys.stdin.readline())
here, folder = pathlib.Path(__file__).parent, pathlib.Path(job["folder"])
(here / "job.json").write_text(json.dumps(job))
print("last words", file=sys.stderr, flush=True)
match job["spec"]["model"].removeprefix("sample:"):
    case "refused":
        say(event="refused", code="not_a_model_file", message="This is\\na picture.\\x1b[2J")
    case "failed":
        say(event="failed", message="KeyError: 'kernel'")
    case "hangs":
        say(event="progress", fraction=0.5, stage="Hanging")
        time.sleep(600)
    case _:
        say(event="progress", fraction=0.0, stage="Reading the file")
        say(event="progress", fraction=0.5, stage="Measuring default, draw 1 of 1")
        time.sleep(0.2)
        for file in (here / "artefacts").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        say(event="done")
"""


@pytest.fixture
def stand_in(tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a worker that delivers `result` and a model."""
    folder = tmp_path / "stand_in"
    (folder / "artefacts").mkdir(parents=True)
    (folder / "worker.py").write_text(STAND_IN)
    (folder / "artefacts" / "result.json").write_text(json.dumps(result))
    (folder / "artefacts" / "reinitialized.keras").write_bytes(b"weights")
    command = [sys.executable, str(folder / "worker.py")]
    monkeypatch.setattr(common, "Workers", lambda **given: Workers(**{**given, "command": command}))
    return folder


@pytest.fixture
def deliver(stand_in: Path) -> Callable[[Result], None]:
    return lambda result: (
        (stand_in / "artefacts" / "result.json").write_text(json.dumps(result)) and None
    )


@pytest.fixture
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test that comes as far as to start a worker."""

    def start(*_: object, **__: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(common, "Workers", start)


def usage_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


# Done


def test_the_summary_goes_to_standard_output(
    stand_in: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["analyze", "sample:all-cnn-c"]) == 0
    captured = capsys.readouterr()
    assert "853,018 parameters" in captured.out
    assert captured.err == "", "a log has no use for the stages of some seconds"
    monkeypatch.setattr(common, "SECONDS_BETWEEN_LINES", 0.0)
    assert main(["analyze", "sample:all-cnn-c"]) == 0
    assert capsys.readouterr().err == " 50%  Measuring default, draw 1 of 1\n"


def test_what_ifs_are_told_beside_the_model_as_it_is(
    stand_in: Path, result: Result, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    changes = ["--what-if", "activation=tanh,scheme=he", "--what-if", "normalization=layer"]
    saved = tmp_path / "taken.keras"
    assert main(["analyze", "sample:all-cnn-c", *changes, "--save", str(saved)]) == 0
    told = capsys.readouterr().out
    assert told.count("853,018 parameters") == 3
    assert told.count("Own weights: ") == 2, "an answer for each what-if"
    settings = json.loads((stand_in / "job.json").read_text())["spec"]["settings"]
    assert (settings["activation"], settings["normalization"]) == ("as_it_is", "layer")
    assert saved.read_bytes() == b"weights"
    assert main(["analyze", "sample:a", *changes, "--output", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == result, "nothing else on standard output"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("activation=sine", "--what-if: activation must be one of as_it_is, relu"),
        ("depth=3", "expected NAME=VALUE, such as activation=tanh"),
        ("activation", "--what-if: activation must be one of"),
        ("input_size=x", "expected NAME=VALUE"),
    ],
)
def test_a_what_if_that_is_none_is_told(
    no_job: None, capsys: pytest.CaptureFixture[str], change: str, says: str
) -> None:
    assert says in usage_error(capsys, "analyze", "sample:all-cnn-c", "--what-if", change)


def test_a_changed_model_is_saved_for_keras_3_only(
    no_job: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    arguments = (str(tmp_path / "model.h5"), "--what-if", "activation=tanh", "--save", "new.h5")
    assert "changed as new.keras only" in usage_error(capsys, "analyze", *arguments)


def test_json_to_standard_output(
    stand_in: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", "sample:all-cnn-c", "--output", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == result


def test_json_steers_no_terminal(
    stand_in: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    result["model"]["name"] = "a\x9b2Jb\u202e"
    (stand_in / "artefacts" / "result.json").write_text(json.dumps(result, ensure_ascii=False))
    assert main(["analyze", "sample:all-cnn-c", "--output", "-"]) == 0
    shown = capsys.readouterr().out
    assert "\x9b" not in shown
    assert "\u202e" not in shown
    assert json.loads(shown) == result


def test_files(
    stand_in: Path, result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, model, report = (tmp_path / name for name in ("a.json", "a.keras", "a.html"))
    targets = ["--output", str(output), "--save", str(model), "--report", str(report)]
    assert main(["analyze", "sample:all-cnn-c", *targets]) == 0
    assert json.loads(output.read_text()) == result
    assert model.read_bytes() == b"weights"
    assert "<html" in report.read_text()
    assert "findings  " in capsys.readouterr().out, "the summary is printed besides"


def test_a_file_is_written_whole_or_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, other = tmp_path / "a.json", tmp_path / "b"
    target.write_text("old")
    target.chmod(0o640)
    other.write_text("new")
    link = tmp_path / "link"
    link.symlink_to(target)
    with monkeypatch.context() as context:
        context.setattr("shutil.copyfile", lambda _, written: written.write_text("ha") and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            common.write_file(target, other)
    assert target.read_text() == "old"
    common.write_file(link, other)
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    common.write_file(Path(os.devnull), "nowhere")
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "b", "link"}


def test_an_h5_is_saved_as_h5(stand_in: Path, tmp_path: Path) -> None:
    (stand_in / "artefacts" / "reinitialized.h5").write_bytes(b"h5 weights")
    model, saved = tmp_path / "model.hdf5", tmp_path / "saved.h5"
    model.write_bytes(b"\x89HDF\r\n\x1a\n...")
    assert main(["analyze", str(model), "--save", str(saved)]) == 0
    assert saved.read_bytes() == b"h5 weights"


def test_every_option_reaches_the_worker(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my model.keras").touch()
    monkeypatch.chdir(tmp_path)
    options = (
        "--samples 16 --batch 4 --budget 2.5 --seed 3 --input-mean -0.5 --input-var 2 "
        "--input-var left=3 --input-mean a=b=4 --mode inference --seeds 4 "
        "--gradients --jacobian 3 --fisher 5 --formats float16,bfloat16 --trust "
        "--treat-as FixedDropout=Dropout "
        "--distribution orthogonal --signal-variance 0.5 --device cpu --constrain-weights "
        "--custom-objects package.layers --input-size 64 --keep-frozen --zero-kernels replace "
        "--disable dead_channels --disable saturated --scheme calibrated "
        "--schemes default,he --schemes orthogonal "
        "--signal-model independent --unsupported error"
    )
    assert main(["analyze", "my model.keras", *options.split()]) == 0
    job = json.loads((stand_in / "job.json").read_text())
    assert job["spec"] == {
        "model": str(Path(job["folder"]).parent / "given" / "model.keras"),
        "name": "my model.keras",
        "settings": {
            "samples": 16,
            "batch": 4,
            "budget": 2.5,
            "seed": 3,
            "input_mean": -0.5,
            "input_variance": 2.0,
            "input_moments": {"left": [-0.5, 3.0], "a=b": [4.0, 2.0]},
            "input_data": None,
            "input_data_name": None,
            "input_source": "data",
            "mode": "inference",
            "distribution": "orthogonal",
            "signal_model": "independent",
            "unsupported": "error",
            "signal_variance": 0.5,
            "device": "cpu",
            "seeds": 4,
            "gradients": True,
            "jacobian": 3,
            "fisher": 5,
            "formats": ["float16", "bfloat16"],
            "trust": True,
            "treat_as": ["FixedDropout=Dropout"],
            "constrain_weights": True,
            "keep_frozen": True,
            "zero_kernels": "replace",
            "scheme": "calibrated",
            "schemes": ["he", "orthogonal"],
            "disable": ["dead_channels", "saturated"],
            "custom_objects": "package.layers",
            "activation": "as_it_is",
            "normalization": "as_it_is",
            "offset": "as_it_is",
            "input_size": 64,
        },
    }


def test_data_reach_the_worker_by_path_and_name(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my data.npz").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", "sample:a", "--input-data", "my data.npz", "--input-noise"]) == 0
    job = json.loads((stand_in / "job.json").read_text())
    settings = job["spec"]["settings"]
    assert settings["input_data"] == str(Path(job["folder"]).parent / "given" / "data.npz")
    assert settings["input_data_name"] == "my data.npz"
    assert settings["input_source"] == "noise"


def test_several_models_one_after_the_other(
    stand_in: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["sample:a", "sample:refused", "sample:b"]
    result["calls"][5]["autoinit"]["measured"]["variance"] = 2.5
    (stand_in / "artefacts" / "result.json").write_text(json.dumps(result))
    assert main(["analyze", *models, "--judge", "autoinit", "--fail-outside", "0.5,2"]) == 3, (
        "the highest status"
    )
    captured = capsys.readouterr()
    assert captured.out.count("853,018 parameters") == 2
    assert "sample:b: block1/conv: variance 2.5 is not in 0.5 to 2" in captured.err
    assert "\nsample:refused\nnot_a_model_file: This is a picture." in captured.err
    assert main(["analyze", *models]) == 2
    assert main(["analyze", "sample:a", "sample:b"]) == 0


def test_samples_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samples"]) == 0
    out = capsys.readouterr().out
    assert "sample:resnet-56-nobn " in out
    assert "?activation=relu&dropout=0.5" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out == f"autoinit {app.__version__}\n"


# The band


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"measured": {"variance": 2.5}, "predicted": {"variance": 1.0}}, "2.5"),
        ({"measured": {"variance": None}, "predicted": {"variance": 1.0}}, "not finite"),
    ],
)
def test_a_variance_outside_the_band(
    deliver: Callable[[Result], None],
    result: Result,
    change: Result,
    shown: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result["calls"][5]["autoinit"] = change
    assert result["calls"][5]["weighted"]
    deliver(result)
    output = tmp_path / "a.json"
    arguments = [
        "analyze",
        "sample:x",
        "--judge",
        "autoinit",
        "--fail-outside",
        "0.5,2",
        "--output",
        str(output),
    ]
    assert main(arguments) == 3
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line == f"block1/conv: variance {shown} is not in 0.5 to 2"
    assert output.exists(), "the figures are wanted all the more"


@pytest.mark.parametrize("change", [None, {"measured": None, "predicted": {"variance": 1.0}}])
def test_a_variance_that_was_not_measured_is_not_vouched_for(
    deliver: Callable[[Result], None],
    result: Result,
    change: Result | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result["calls"][5]["autoinit"] = change
    deliver(result)
    assert main(["analyze", "sample:x", "--judge", "autoinit", "--fail-outside", "0.5,2"]) == 3
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line == "block1/conv: variance not measured, so it may not be in 0.5 to 2"


def test_frozen_weights_are_not_judged(
    deliver: Callable[[Result], None], result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    result["calls"][5]["autoinit"]["measured"]["variance"] = 1e30
    result["calls"][5]["frozen"] = True
    deliver(result)
    assert main(["analyze", "sample:x", "--judge", "autoinit", "--fail-outside", "0.5,2"]) == 0
    assert capsys.readouterr().err.endswith("(frozen weights, not judged: 1 calls)\n")


def test_only_weighted_calls_and_only_autoinit_are_judged(
    deliver: Callable[[Result], None], result: Result
) -> None:
    result["calls"][5]["default"]["measured"]["variance"] = 1e30
    result["calls"][6]["autoinit"]["measured"]["variance"] = 1e30
    result["calls"][5]["autoinit"]["predicted"]["variance"] = 1e30
    deliver(result)
    assert main(["analyze", "sample:x", "--judge", "autoinit", "--fail-outside", "0.5,2"]) == 0


@pytest.mark.parametrize(
    ("verdict", "level", "status"),
    [
        ("cannot train", "cannot-train", 3),
        ("will struggle", "cannot-train", 0),
        ("will struggle", "will-struggle", 3),
        ("cannot tell", "will-struggle", 0),
        ("cannot tell", "cannot-tell", 3),
        ("trains", "cannot-tell", 0),
    ],
)
def test_the_verdict_on_the_files_own_weights_is_judged(
    deliver: Callable[[Result], None],
    result: Result,
    verdict: str,
    level: str,
    status: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {"verdict": verdict, "reason": "It falls.", "remedy": "widen", "advice": "Widen it."}
    other = {"verdict": "trains", "reason": "It keeps."}
    result["verdicts"] = {"default": found, "autoinit": other}
    deliver(result)
    arguments = ["analyze", "sample:x", "--fail-on", level]
    assert main(arguments) == status
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line == f"{verdict} (default weights): It falls. Widen it."
    assert main([*arguments, "--judge", "autoinit"]) == 0
    assert main([*arguments, "--judge", "uploaded"]) == 2
    assert "no_weights: " in capsys.readouterr().err
    result["series"] = ["default", "uploaded", "autoinit"]
    result["verdicts"] = {"uploaded": found, "default": other, "autoinit": other}
    deliver(result)
    assert main(arguments) == status
    assert main([*arguments, "--judge", "default"]) == 0


def test_the_band_is_for_the_files_own_weights(
    deliver: Callable[[Result], None], result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    result["calls"][5]["default"]["measured"]["variance"] = 6e-13
    deliver(result)
    assert main(["analyze", "sample:x", "--fail-outside", "1e-3,1e3"]) == 3
    assert "block1/conv: variance 6" in capsys.readouterr().err


def test_a_finding_that_there_is_none_of(no_job: None, capsys: pytest.CaptureFixture[str]) -> None:
    said = usage_error(capsys, "analyze", "sample:x", "--disable", "gradient_vanish")
    assert "no finding is called 'gradient_vanish'" in said


@pytest.mark.parametrize("band", ["1", "2,1", "-1,1", "a,b", "1,2,3", "nan,1"])
def test_a_band_that_is_none(no_job: None, band: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "LOW,HIGH" in usage_error(capsys, "analyze", "sample:x", f"--fail-outside={band}")


# Refused, failed, interrupted


def test_a_refusal_is_one_line(stand_in: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "sample:refused"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "not_a_model_file: This is a picture.\N{REPLACEMENT CHARACTER}[2J\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("name", "code"), [("missing.keras", "file_not_found"), ("", "not_a_model_file")]
)
def test_a_file_that_is_none(
    no_job: None, tmp_path: Path, name: str, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", str(tmp_path / name)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{code}: {tmp_path}" if not name else f"{code}: there is no file ")


def test_a_failure_shows_the_log_when_asked(
    stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", "sample:failed"]) == 1
    quiet = capsys.readouterr().err
    assert quiet.startswith("error: KeyError: 'kernel'\n")
    assert "last words" not in quiet
    assert main(["analyze", "sample:failed", "--verbose"]) == 1
    assert "last words" in capsys.readouterr().err


def test_a_model_that_could_not_be_saved(
    stand_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stand_in / "artefacts" / "reinitialized.keras").unlink()
    output, model = tmp_path / "a.json", tmp_path / "a.keras"
    arguments = ["analyze", "sample:x", "--output", str(output), "--save", str(model)]
    assert main(arguments) == 1
    assert "a.keras was not written" in capsys.readouterr().err
    assert output.exists()
    assert not model.exists()


@pytest.fixture
def offer(stand_in: Path, result: Result) -> Callable[..., None]:
    """Has the job list these files as its downloads, and leave them."""

    def leave(*names: str, note: str = "") -> None:
        result["downloads"] = [{"file": name, "label": name, "note": note} for name in names]
        (stand_in / "artefacts" / "result.json").write_text(json.dumps(result))
        (stand_in / "artefacts" / "reinitialized.keras").unlink()
        for name in names:
            (stand_in / "artefacts" / name).write_bytes(name.encode())

    return leave


@pytest.mark.parametrize(
    ("start", "wanted", "written"),
    [
        (b"\x89HDF\r\n\x1a\n", "a.h5", "reinitialized.h5"),
        (b"\x89HDF\r\n\x1a\n", "a.hdf5", "reinitialized.h5"),
        (b"\x89HDF\r\n\x1a\n", "a.keras", "reinitialized.keras"),
        (b'{"class_name"', "a.json", "reinitialized.json"),
    ],
)
def test_the_extension_chooses_the_format(
    offer: Callable[..., None],
    tmp_path: Path,
    start: bytes,
    wanted: str,
    written: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    offer("reinitialized.h5", "reinitialized.keras", "reinitialized.json", note="For\nKeras\x1b 2.")
    (tmp_path / "model").write_bytes(start)
    saved = tmp_path / wanted
    assert main(["analyze", str(tmp_path / "model"), "--save", str(saved)]) == 0
    assert saved.read_text() == written
    assert capsys.readouterr().err.endswith(f"{saved}: For Keras\N{REPLACEMENT CHARACTER} 2.\n")


def test_a_format_that_is_not_offered_says_why_and_what_is(
    offer: Callable[..., None], result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "Layer 'cut' (Lambda) has no equal in Keras 3."
    result["warnings"] = [
        {"code": "not_convertible", "path": "cut", "class": "Lambda", "message": message}
    ]
    offer("reinitialized.h5")
    saved = tmp_path / "a.keras"
    assert main(["analyze", "sample:x", "--save", str(saved)]) == 1
    assert capsys.readouterr().err.endswith(
        f"error: {saved} was not written: this model is offered as .h5 only. {message}\n"
    )
    assert not saved.exists()


def test_a_file_that_cannot_be_written_after_all(
    stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", "sample:x", "--output", "/dev/full"]) == 1
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing_behind(
    stand_in: Path, tmp_path: Path, sent: signal.Signals, status: int
) -> None:
    command = [sys.executable, str(stand_in / "worker.py")]
    program = (
        "import sys\n"
        "from app import __main__\n"
        "from app.cli import common\n"
        f"start, command = common.Workers, {command!r}\n"
        "common.Workers = lambda **given: start(**{**given, 'command': command})\n"
        "sys.argv = ['app', 'analyze', 'sample:hangs']\n"
        "sys.exit(__main__.main())\n"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    root = str(Path(app.__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root, "TMPDIR": str(temporary)},
        text=True,
        # A shell has its background jobs ignore interrupts, and the tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == " 50%  Hanging\n"
            assert list(temporary.iterdir())
            process.send_signal(sent)
            assert process.wait(20) == status
        finally:
            process.kill()
    assert not list(temporary.iterdir())


# Wrong usage, found before any work is done


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "Missing command"),
        ("analyse sample:x", "No such command 'analyse'"),
        ("analyze", "Missing argument 'MODEL...'"),
        ("analyze sample:x --mode train", "'train' is not one of"),
        ("analyze sample:x --samples many", "a whole number from 1 to 65536, or auto; got 'many'"),
        ("analyze sample:x --samples 0", "samples must be a whole number from 1"),
        ("analyze sample:x --input-var nan", "input_variance must be a number"),
        ("analyze sample:x --input-var image=0", "input_moments must be by an input's name"),
        ("analyze sample:x --input-mean image", "such as 0.5 or image=0.5; got 'image'"),
        ("analyze sample:x --input-mean =1", "such as 0.5 or image=0.5; got '=1'"),
        ("analyze sample:x --input-noise", "--input-noise goes with --input-data"),
        ("analyze sample:x --input-data no.npy", "there is no file no.npy"),
        ("analyze sample:x --input-data .", "give a .npy, .npz or .csv file"),
        ("analyze sample:x --input-data model.keras --input-mean 1", "leave --input-mean and"),
        ("analyze sample:x --input-data model.keras --output model.keras", "different files"),
        ("analyze sample:x --custom-objects a/b.py", "the dotted name of a module"),
        ("analyze sample:x --output nowhere/a.json", "there is no folder"),
        ("analyze sample:x --report .", "it is a folder"),
        ("analyze sample:x --save a.txt", "ends in .keras, .h5, .hdf5 or .json"),
        ("analyze sample:x --save a.h5", "only where MODEL is HDF5: name it a.keras"),
        ("analyze model.keras --save a.json", "only where MODEL is JSON: name it a.keras"),
        ("analyze model.keras --save a.h5", "name it a.keras"),
        ("analyze model.keras --save model.keras", "must be different files"),
        ("analyze sample:x --output a --report ./a", "must be different files"),
        ("analyze sample:x model.keras --save a.keras", "take one MODEL at a time"),
        ("report a.json --output a.json", "must be different files"),
    ],
)
def test_wrong_usage(
    no_job: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "model.keras").write_bytes(b"PK")
    monkeypatch.chdir(tmp_path)
    assert expected in usage_error(capsys, *arguments.split())


def test_a_files_name_cannot_steer_the_terminal(
    no_job: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a\x1b[2J\u202e.keras"
    assert main(["analyze", name]) == 2
    (tmp_path / name).mkdir()
    assert main(["analyze", str(tmp_path / name)]) == 2
    shown = capsys.readouterr().err
    shown += usage_error(capsys, "analyze", "sample:x", "--report", str(tmp_path / name))
    assert "a�[2J�.keras" in shown
    assert not {"\x1b", "\u202e"} & set(shown)


def test_a_wrong_deadline_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTOINIT_DEADLINE_SECONDS", "soon")
    assert "AUTOINIT_DEADLINE_SECONDS" in usage_error(capsys, "analyze", "sample:x")


def test_the_command_line_imports_no_framework() -> None:
    program = (
        "import sys, app.__main__, app.jobs\n"
        "heavy = {'keras', 'tensorflow', 'autoinit', 'probes', 'numpy', 'plotly', 'streamlit'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    root = str(Path(app.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


# What is printed


def test_the_summary(deep_result: Result) -> None:
    lines = summary(parsed(deep_result)).splitlines()
    weighted = [call for call in deep_result["calls"] if call["weighted"]]
    variances = [call["default"]["measured"]["variance"] for call in weighted]
    final = deep_result["calls"][-1]["default"]["measured"]["variance"]
    (row,) = [line.split() for line in lines if line.startswith("  default")]
    figures = [number(x) for x in (min(variances), max(variances), final)]
    assert row == ["default", *figures, "▁▁▂▂▂▃▃▄▄▄▅▅▆▆▆▇▇███"]
    assert any(f"of the {len(weighted)} layers with a kernel" in line for line in lines)
    (coverage,) = [line for line in lines if line.startswith("coverage")]
    assert "1 pass_through" in coverage
    assert "77 after a layer without a rule" in coverage
    place = lines.index("findings  1")
    assert lines[place + 1] == "  unsupported_layer block12/dropout: no rule for Swirl"
    assert lines[place + 2].startswith("    → Let layers without a rule be sampled")
    words = [line.split()[:2] for line in lines[3:6]]
    assert words == [["uploaded", "stable"], ["default", "explodes"], ["autoinit", "stable"]]


def test_the_summary_says_how_sure_its_variances_are(deep_result: Result) -> None:
    deep_result["samples"] = {"default": 8, "uploaded": 32, "autoinit": 16}
    weighted = [call for call in deep_result["calls"] if call["weighted"]]
    for place, call in enumerate(weighted):
        call["default"]["measured"]["standard_error"] = 0.001 * place
    lines = summary(parsed(deep_result)).splitlines()
    (row,) = [line.split() for line in lines if line.startswith("  default")]
    assert row[4:6] == [f"{0.1 * (len(weighted) - 1):.3g}", "%"]
    assert "8 to 32 samples" in lines[1]
    assert any("largest standard error" in line for line in lines)


def test_the_summary_of_a_network_that_is_measured_in_part(cut_result: Result) -> None:
    lines = summary(parsed(cut_result)).splitlines()
    (row,) = [line for line in lines if line.startswith("  autoinit")]
    assert row.endswith(" not measured  ▁▁▁")
    assert row.count("not measured") == 1, "the last call's; others were"
    assert any(
        "of the 3 layers with a kernel that could be measured, of 6)" in line for line in lines
    )
    place = lines.index("not run   1; 17 more layers, after them, are not measured")
    assert lines[place + 1] == "  block2/dropout (Lambda): it holds code"


def test_the_summary_of_a_network_of_which_nothing_is_measured(
    build_result: Callable[..., Result],
) -> None:
    result = build_result(30, opaque=0)
    lines = summary(parsed(result)).splitlines()
    (row,) = [line for line in lines if line.startswith("  autoinit")]
    assert row.count("not measured") == 3


def test_the_summary_of_a_network_that_overflows(deepest_result: Result) -> None:
    lines = summary(parsed(deepest_result)).splitlines()
    (row,) = [line for line in lines if line.startswith("  default")]
    assert row.count("not finite") == 2, "the largest variance, and the last"


def test_sparklines_share_a_scale_and_mark_what_has_no_logarithm() -> None:
    flat, steep = [1.0] * 4, [1.0, 1e4, math.inf, 0.0]
    assert sparklines([flat, steep]) == ["▁▁▁▁", "▁█xx"]
    assert sparklines([[1.0, None, 1.1]]) == ["▁ ▁"], "what hardly differs looks alike"
    assert sparklines([[10.0 ** (i / 100) for i in range(800)]], "abcd") == ["aaaaabbbbbcccccddddd"]
    assert sparklines([[], []]) == ["", ""]


def test_the_summary_tells_what_was_measured_besides(build_result) -> None:
    text = summary(parsed(build_result(10, gradients=True, jacobian=1, seeds=3)))
    assert "condition number  100 (Default: 1.0×10⁶)" in text
    assert "outside the band  2 (of 10 predictions)" in text


def test_a_terminal_without_blocks_gets_plain_bars(stand_in: Path) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    with contextlib.redirect_stdout(stream):
        assert main(["analyze", "sample:all-cnn-c"]) == 0
    stream.seek(0)
    assert re.search(r"autoinit .*  [_.:=+*#-]+$", stream.read(), re.MULTILINE)


def test_the_summary_shows_a_cause_once(result: Result) -> None:
    warning = {"code": "unsupported_layer", "path": "a", "class": "A", "message": "no rule"}
    result["warnings"] = [warning] * 25
    assert summary(parsed(result)).count("unsupported_layer a") == 1
    assert "and 24 more of this kind: --output shows all" in summary(parsed(result))


def test_names_cannot_steer_the_terminal(result: Result) -> None:
    result["model"]["name"] = "a\x1b[31m\nb\u202ec"
    result["warnings"] = [{"code": "c", "path": "p\x1b", "class": "C", "message": "m\nm"}]
    result["calls"][3] |= {"path": "q\x1b", "class": "D\x9b", "opaque": "it\u202e"}
    text = summary(parsed(result))
    assert "  q� (D�): it�" in text
    assert text.startswith("a�[31m�b�c: keras")
    assert "  also c p�: C" in text


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    class Job:
        progress = Progress(0.5, "Measuring " + "x" * 200)
        seconds_left = None
        waits = iter([False, True])

        def wait(self, _: float) -> bool:
            return next(self.waits)

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    common.follow(Job(), terminal)
    *_, bar = terminal.getvalue().split("\r\x1b[2K")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", bar)
    assert re.search(r"━━━  50% Measuring…x+\s*$", plain)
    assert len(plain.strip()) <= 60
    assert terminal.getvalue().endswith("\x1b[1A\x1b[2K"), "the bar is gone in the end"
