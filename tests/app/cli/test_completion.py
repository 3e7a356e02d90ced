"""`completion`: what the shells make of the scripts."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import app
from app.cli.completion import SHELLS
from app.cli.main import commands, main, program_name
from sample_models import MODELS

OTHERS = ("batch", "try", "inspect", "report", "serve", "samples", "completion")
COMMANDS = {"analyze", *OTHERS}

# Bash gives a completion the words of a line, which it splits at colons and equals signs, and the
# place of the cursor among them. Files are its own affair.
ASK_BASH = """
compopt() { [[ $2 == default ]] && echo FILES; }
complete() { :; }
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_autoinit_completion autoinit
printf '%s\\n' "${COMPREPLY[@]}"
"""
PROGRAM = f"""#!/bin/sh
exec {sys.executable} -c 'import sys; from app.__main__ import main; sys.exit(main())' "$@"
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command `autoinit`, which the scripts ask what fits."""
    program = tmp_path / "bin" / "autoinit"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(Path(app.__file__).parents[1]))


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
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def ask(script: Path, line: str) -> set[str]:
    """What bash would offer at the end of a line."""
    words = [word for word in re.split(r"([:=])|\s", line) if word]
    if line[-1].isspace():
        words.append("")
    asked = ["bash", "--norc", "-c", ASK_BASH, "bash", str(script), *words]
    return set(run(*asked, folder=script.parent).splitlines()) - {""}


def test_bash_completes_commands(script: Path) -> None:
    assert ask(script, "autoinit ") == COMMANDS
    assert ask(script, "autoinit s") == {"serve", "samples"}
    assert ask(script, "autoinit -") == {"-h", "--help", "--version"}


def test_bash_completes_options(script: Path) -> None:
    offered = ask(script, "autoinit analyze model.keras --se")
    assert offered == {"--seed", "--seeds"}
    assert "--json" in ask(script, "autoinit inspect -")
    assert "--json" not in ask(script, "autoinit analyze -")


def test_bash_completes_values(script: Path) -> None:
    assert ask(script, "autoinit analyze x --mode ") == {"training", "inference"}
    assert ask(script, "autoinit analyze x --mode tr") == {"training"}
    assert ask(script, "autoinit analyze x --mode=inf") == {"inference"}
    assert ask(script, "autoinit analyze x --mode=") == {"training", "inference"}
    assert ask(script, "autoinit completion ") == set(SHELLS)
    assert ask(script, "autoinit analyze x --samples ") == set()


def test_bash_completes_files_and_samples(script: Path) -> None:
    assert ask(script, "autoinit inspect mo") == {"FILES"}
    assert ask(script, "autoinit analyze x --output my") == {"FILES"}
    assert {"FILES", *(f"sample:{name}" for name in MODELS)} == ask(script, "autoinit analyze ")
    # After a colon bash replaces what follows it, and only that.
    assert ask(script, "autoinit analyze sample:") == {"FILES", *MODELS}
    assert ask(script, "autoinit analyze sample:resnet-56") == {
        "FILES",
        *(name for name in MODELS if name.startswith("resnet-56")),
    }


@pytest.mark.parametrize(
    "name", ["analyze", *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)]
)
def test_every_option_is_known(script: Path, name: str) -> None:
    command = commands.commands[name]
    context = commands.make_context("autoinit", [], resilient_parsing=True)
    flags = {flag for each in command.params for flag in each.opts if flag.startswith("-")}
    flags |= set(command.get_help_option_names(context))
    assert ask(script, f"autoinit {name} -") == flags
    assert "--help" in flags


def test_other_shells_are_asked_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_WORDS", "autoinit analyze sample:all-c")
    for shell, at in (("zsh", "2"), ("fish", "sample:all-c")):
        monkeypatch.setenv("COMP_CWORD", at)
        monkeypatch.setenv("_AUTOINIT_COMPLETE", f"{shell}_complete")
        assert "sample:all-cnn-c" in run("autoinit").replace(",", "\n").splitlines()


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish: apt-get install fish")
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


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh: apt-get install zsh")
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
