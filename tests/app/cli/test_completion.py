"""`completion`: what the shells make of the scripts."""

import shutil
import subprocess
from pathlib import Path

import pytest

from app.cli.arguments import SHELLS, build_parser, program_name
from app.cli.completion import commands_of
from app.cli.main import main
from sample_models import MODELS

COMMANDS = {"analyze", "inspect", "report", "serve", "samples", "completion"}

# Bash gives a completion the line, the place of the cursor and the line's words.
ASK_BASH = """
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
_autoinit
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The bash script."""
    return save("bash", tmp_path, capsys)


def save(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    path = folder / f"autoinit.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def run(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def ask(script: Path, line: str) -> set[str]:
    """What bash would offer at the end of a line."""
    arguments = ["bash", "--norc", "-c", ASK_BASH, "bash", str(script), line]
    return set(run(*arguments, folder=script.parent).splitlines()) - {""}


def test_bash_completes_commands(script: Path) -> None:
    assert ask(script, "autoinit ") == {"--help", "--version", *COMMANDS}
    assert ask(script, "autoinit s") == {"serve", "samples"}


def test_bash_completes_options(script: Path) -> None:
    offered = ask(script, "autoinit analyze model.keras --se")
    assert offered == {"--seed", "--seeds"}
    assert "--json" in ask(script, "autoinit inspect -")
    assert "--json" not in ask(script, "autoinit analyze -")


def test_bash_completes_values(script: Path) -> None:
    assert ask(script, "autoinit analyze x --mode ") == {"training", "inference"}
    assert ask(script, "autoinit analyze x --mode tr") == {"training"}
    assert ask(script, "autoinit analyze x --mode=inf") == {"inference"}
    assert ask(script, "autoinit completion ") == set(SHELLS)
    assert ask(script, "autoinit analyze x --samples ") == set()


def test_bash_completes_files_and_samples(script: Path) -> None:
    for name in ("my model.keras", "model.h5", "model$.h5"):
        (script.parent / name).touch()
    assert ask(script, "autoinit inspect mo") == {"model.h5", "model$.h5"}
    assert ask(script, "autoinit analyze x --output my") == {"my model.keras"}
    assert {f"sample:{name}" for name in MODELS} < ask(script, "autoinit analyze ")
    # After a colon bash replaces what follows it, and only that.
    assert ask(script, "autoinit analyze sample:resnet-56") == {
        name for name in MODELS if name.startswith("resnet-56")
    }


def test_every_option_is_known(script: Path) -> None:
    for command in commands_of(build_parser(), []):
        flags = {flag for option in command.options for flag in option.flags}
        assert ask(script, f"autoinit {command.name} -") == flags
        assert "--help" in flags


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = save("fish", tmp_path, capsys)

    def offered(line: str) -> set[str]:
        asked = f'source {script}; complete -C "{line}"'
        lines = run("fish", "--no-config", "-c", asked, folder=tmp_path).splitlines()
        return {line.split("\t")[0] for line in lines}

    assert offered("autoinit ") == COMMANDS
    assert offered("autoinit analyze x --mode ") == {"training", "inference"}
    assert offered("autoinit analyze x --see") == {"--seed", "--seeds"}
    assert {f"sample:{name}" for name in MODELS} < offered("autoinit analyze ")
    assert script.name in offered("autoinit inspect ")
    assert script.name not in offered("autoinit completion ")


# Zsh completes on a terminal only: it is given one, and shown what it makes of a tab.
ASK_ZSH = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PROMPT= ; autoload -Uz compinit; compinit -u -D; source '$1'"
zpty -w shell "zstyle ':completion:*' list-prompt ''; bindkey '^I' complete-word; LISTMAX=10000"
zpty -w shell "echo rea''dy"
zpty -r shell output '*ready*'
zpty -w -n shell "$2"$'\\t'
sleep 2
zpty -r -t shell output
while zpty -r -t shell more; do output+=$more; done
print -r -- $output
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("autoinit ins", "autoinit inspect"),
        ("autoinit analyze x --mode tr", "training"),
        ("autoinit analyze sample:all-c", "sample:all-cnn-c"),
        ("autoinit analyze sample:all-cnn-c sample:vg", "sample:vgg-like"),
        ("autoinit analyze x --keep-f", "--keep-frozen"),
    ],
)
def test_zsh(line: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = save("zsh", tmp_path, capsys)
    run("zsh", "-n", str(script))
    assert expected in run("zsh", "-f", "-c", ASK_ZSH, "zsh", str(script), line)


def test_the_help_says_how_to_install_it(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["completion", "--help"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "source <(autoinit completion bash)" in capsys.readouterr().out


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([command, "--help"])
    assert exit_info.value.code == 0
    out = capsys.readouterr().out
    assert "%(" not in out
    assert len(out) > 200


def test_the_program_is_called_as_it_was_started() -> None:
    assert program_name("/venv/bin/autoinit") == "autoinit"
    assert program_name("/src/app/__main__.py") == "python -m app"
    assert program_name("") == "python -m app"
