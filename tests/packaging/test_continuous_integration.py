"""docs/continuous-integration.md and the hook: their commands, run on a repository of models."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import pytest
import yaml

import app
from app.cli.main import commands as command_line
from sample_models import FILES_FOLDER

ROOT = Path(app.__file__).parents[1]
PAGE = (ROOT / "docs" / "continuous-integration.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
WORKFLOW, INSTALLED_HOOK, LOCAL_HOOK = BLOCKS


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = WORKFLOW["jobs"]["signals"]["steps"]
    return found


def commands() -> list[str]:
    """The page's own command, those of the workflow, and the hooks'."""
    (first,) = re.findall(r"```\n(autoinit .*)\n```", PAGE)
    runs = [line for step in steps() for line in step.get("run", "").splitlines()]
    hooks = [" ".join([HOOK["entry"], *HOOK["args"], "models/small-cnn.keras"])]
    return [first, *(line for line in runs if line.startswith("autoinit ")), *hooks]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with two models."""
    (tmp_path / "models").mkdir()
    for file in FILES_FOLDER.glob("*.keras"):
        shutil.copy(file, tmp_path / "models" / file.name)
    return tmp_path


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs what a step runs, with `autoinit` standing for this checkout's."""
    program = f'autoinit() {{ {shlex.quote(sys.executable)} -m app "$@"; }}\nset -e\n'
    return subprocess.run(
        ["bash", "-c", program + script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1200,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


@pytest.mark.parametrize("command", commands())
def test_every_command_is_understood(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    command_line.commands[name].make_context(name, arguments)


def test_the_hooks_are_one() -> None:
    (installed,), (local,) = (config["repos"] for config in (INSTALLED_HOOK, LOCAL_HOOK))
    assert installed["hooks"] == [{"id": HOOK["id"], "args": HOOK["args"]}]
    assert local["hooks"] == [
        {key: value for key, value in HOOK.items() if key != "description"} | {"language": "system"}
    ]
    for name, wanted in (("a.keras", True), ("b/c.h5", True), ("a.json", False), ("h5", False)):
        assert bool(re.search(HOOK["files"], name)) is wanted
    assert installed["rev"] == f"v{app.__version__}"


@pytest.fixture
def judging() -> str:
    """The step that judges."""
    (step,) = [step["run"] for step in steps() if "--fail-on" in step.get("run", "")]
    return str(step)


@pytest.fixture
def vanishing(models: Path) -> Path:
    """The repository where one model of two cannot train as it is."""
    (models / "models" / "small-resnet.keras").unlink()
    keras.Sequential(
        [
            keras.Input((16,)),
            *[
                keras.layers.Dense(16, "relu", kernel_initializer="random_normal")
                for _ in range(30)
            ],
            keras.layers.Dense(3),
        ]
    ).save(models / "models" / "vanishing.keras")
    return models


@pytest.mark.slow
def test_a_build_fails_where_a_models_own_weights_cannot_train(
    judging: str, vanishing: Path
) -> None:
    failed = shell(judging, vanishing)
    assert failed.returncode == 3
    assert failed.stdout.count("variance measured") == 2
    (line,) = [x for x in failed.stderr.splitlines() if "cannot train (uploaded weights): " in x]
    assert "vanishing.keras: " in line


@pytest.mark.slow
def test_a_build_passes_where_all_weights_can_or_others_are_judged(
    judging: str, models: Path, request: pytest.FixtureRequest
) -> None:
    passed = shell(judging, models)
    assert passed.returncode == 0, passed.stderr
    assert passed.stdout.count("variance measured") == 2
    vanishing = request.getfixturevalue("vanishing")
    by_autoinit = shell(f"{judging} --judge autoinit", vanishing)
    assert by_autoinit.returncode == 0, by_autoinit.stderr


@pytest.mark.slow
def test_the_step_that_makes_a_page(models: Path) -> None:
    (pages,) = [step["run"] for step in steps() if "report" in step.get("run", "")]
    done = shell(pages, models)
    assert done.returncode == 0, done.stderr
    (artefact,) = [step["with"]["path"] for step in steps() if "path" in step.get("with", {})]
    assert "Plotly.newPlot(" in (models / artefact).read_text(encoding="utf-8")


# Several files, one of them broken, are for tests/app/cli.
@pytest.mark.slow
def test_a_hook_is_given_several_files(models: Path) -> None:
    files = sorted(str(path.relative_to(models)) for path in models.glob("models/*"))
    (models / "models" / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    done = shell(
        shlex.join([*HOOK["entry"].split(), *HOOK["args"], *files[:1], "models/broken.h5"]), models
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("broken_file: ")
