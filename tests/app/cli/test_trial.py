"""`try` on the command line, with a stand-in for the worker."""

import json
import sys

import numpy as np
import pytest

from app.analysis.result import json_text
from app.cli import common
from app.cli.main import main
from app.jobs import Workers
from tests.app.analysis.trials.made_up import made_up_and_answered

STAND_IN = """
import json, pathlib, sys

def say(**event):
    print(json.dumps(event), flush=True)

job = json.loads(sys.stdin.readline())
here, folder = pathlib.Path(__file__).parent, pathlib.Path(job["folder"])
(here / "job.json").write_text(json.dumps(job))
if job["spec"]["model"] == "sample:refused":
    say(event="refused", code="bad_input_data", message="Data file 'x' has no arrays.")
elif job["spec"]["model"] == "sample:hangs":
    (folder / "preview.json").write_bytes((here / "artefacts" / "result.json").read_bytes())
    say(event="progress", fraction=0.5, stage="Training")
    sys.stdin.read()
else:
    say(event="progress", fraction=0.5, stage="Training AutoInit at a rate of 0.01")
    for file in (here / "artefacts").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    say(event="done")
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    folder = tmp_path / "stand_in"
    (folder / "artefacts").mkdir(parents=True)
    (folder / "worker.py").write_text(STAND_IN)
    command = [sys.executable, str(folder / "worker.py")]
    monkeypatch.setattr(common, "Workers", lambda **given: Workers(**{**given, "command": command}))
    deliver(folder)
    return folder


def deliver(folder, **changes):
    known = {
        "downloads": [{"file": "reinitialized.keras", "label": "as .keras", "note": ""}],
        "expected": {"autoinit": {"verdict": "trains", "reason": "Signals keep their size."}},
        **changes,
    }
    scores = {"default": [0.1, 0.12, None], "autoinit": [0.4, [0.9, 0.88], None]}
    found = made_up_and_answered(scores, **known)
    (folder / "artefacts" / "result.json").write_text(json_text(found))
    (folder / "artefacts" / "reinitialized.keras").write_bytes(b"weights")
    return found


def test_the_grid_and_what_it_says_are_printed(stand_in, capsys):
    assert main(["try", "sample:all-cnn-c"]) == 0
    printed = capsys.readouterr().out.splitlines()
    (head,) = (line for line in printed if line.startswith("share of unseen samples right"))
    assert head.split()[-3:] == ["0.001", "0.01", "0.1"]
    (row,) = (line for line in printed if line.startswith("  AutoInit  "))
    assert row.split()[1:] == ["40", "%", "90", "%", "x"]
    assert "  AutoInit: trains. Signals keep their size." in printed
    assert printed[-1].startswith("→ Take AutoInit, with a rate of 0.01: 89 % of unseen samples")


def test_files(stand_in, tmp_path):
    output, model, report = (tmp_path / name for name in ("a.json", "a.keras", "a.html"))
    targets = ["--output", str(output), "--save", str(model), "--report", str(report)]
    assert main(["try", "sample:x", *targets]) == 0
    assert json.loads(output.read_text())["kind"] == "trial"
    assert model.read_bytes() == b"weights"
    page = report.read_text()
    assert "Take AutoInit, with a rate of 0.01" in page
    assert "grid-chart" in page
    assert "default-src 'none'" in page


def test_nothing_is_saved_where_the_models_own_is_as_good(stand_in, tmp_path, capsys):
    deliver(stand_in, downloads=[])
    assert main(["try", "sample:x", "--save", str(tmp_path / "a.keras")]) == 0
    assert "was not written" in capsys.readouterr().err
    assert not (tmp_path / "a.keras").exists()


def test_every_option_reaches_the_worker(stand_in, tmp_path):
    np.savez(tmp_path / "train.npz", x=np.zeros((20, 2)), y=np.zeros(20))
    options = (
        f"--data {tmp_path}/train.npz --schemes default,he --schemes centred --optimizer adam "
        "--rates 0.1,0.001 --steps 50 --batch-size 8 --budget 20 --seed 3 --input-size 16"
    )
    assert main(["try", "sample:x", *options.split()]) == 0
    spec = json.loads((stand_in / "job.json").read_text())["spec"]
    assert spec["trial"].pop("data").endswith("given/train.npz"), "where the worker reads it"
    assert spec["trial"] == {
        "data_name": "train.npz",
        "schemes": ["default", "he", "centred"],
        "optimizer": "adam",
        "rates": [0.001, 0.1],
        "steps": 50,
        "batch": 8,
        "budget": 20.0,
    }
    assert (spec["settings"]["seed"], spec["settings"]["input_size"]) == (3, 16)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--schemes", "magic"], "names of initialisations"),
        (["--rates", "0,1"], "positive numbers"),
        (["--steps", "1"], "from 10 to"),
        (["--data", "nowhere.npz"], "nowhere.npz; check the path"),
    ],
)
def test_wrong_options_are_told(stand_in, options, said, capsys):
    with pytest.raises(SystemExit) as info:
        main(["try", "sample:x", *options])
    assert info.value.code == 64
    assert said in capsys.readouterr().err


def test_a_refusal_is_one_line(stand_in, capsys):
    assert main(["try", "sample:refused"]) == 2
    assert capsys.readouterr().err == "bad_input_data: Data file 'x' has no arrays.\n"


def test_an_interruption_keeps_what_is_there(stand_in, monkeypatch, capsys):
    def interrupted(job, stream):
        while job.progress.fraction < 0.5:
            assert not job.wait(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(common, "follow", interrupted)
    assert main(["try", "sample:hangs"]) == 130
    assert "→ Take AutoInit" in capsys.readouterr().out
