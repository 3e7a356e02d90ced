"""Completion scripts for three shells, from commands with their options and values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.cli.completion import Command, Option, Value

BASH = """\
# Completes {program} in bash: source <({program} completion bash)
_{program}() {{
    # Bash itself would split words at colons and equals signs.
    local line=${{COMP_LINE:0:COMP_POINT}} words
    IFS=$' \\t\\n' read -ra words <<< "$line"
    local IFS=$'\\n' word=${{line##*[[:space:]]}} at=${{#words[@]}} option
    [[ -n $word ]] && at=$(( at - 1 ))
    COMPREPLY=()
    if (( at == 1 )); then
        COMPREPLY=( $(compgen -W {commands} -- "$word") )
        return
    fi
    option=${{words[at-1]}}
    if [[ $word == --*=* ]]; then
        option=${{word%%=*}}
        word=${{word#*=}}
    fi
    case "${{words[1]}} $option" in
{values}
    esac
    case "${{words[1]}} $word" in
{options}
    esac
    case "${{words[1]}}" in
{arguments}
    esac
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=( "${{COMPREPLY[@]#"${{word%"${{word##*:}}"}}"}}" )
    fi
}}
complete -F _{program} {program}
"""

ZSH = """\
#compdef {program}
# Completes {program} in zsh: source <({program} completion zsh), after compinit
_{program}() {{
    local -a commands
    commands=(
{commands}
    )
    if (( CURRENT == 2 )); then
        _describe -t commands command commands
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
{cases}
    esac
}}
{helpers}
if [[ $funcstack[1] == _{program} ]]; then
    _{program} "$@"
else
    compdef _{program} {program}
fi
"""


def bash(program: str, commands: Sequence[Command]) -> str:
    """The script for bash 3.2 and later."""
    return BASH.format(
        program=program,
        commands=_bash_words(["--help", "--version", *(command.name for command in commands)]),
        values="\n".join(line for command in commands for line in _bash_values(command)),
        options="\n".join(
            f'        "{command.name} "-*)\n'
            f"            COMPREPLY=( $(compgen -W {_bash_words(_flags(command))} "
            '-- "$word") )\n            return ;;'
            for command in commands
        ),
        arguments="\n".join(
            "\n".join([f"        {command.name})", *_bash_candidates(command.argument)]) + " ;;"
            for command in commands
            if command.argument.name
        ),
    )


def _bash_values(command: Command) -> Iterator[str]:
    for option in command.options:
        if option.value.name:
            yield "        " + "|".join(f'"{command.name} {flag}"' for flag in option.flags) + ")"
            yield from _bash_candidates(option.value)
            yield "            return ;;"


def _bash_candidates(value: Value) -> Iterator[str]:
    if value.choices:
        yield f'            COMPREPLY+=( $(compgen -W {_bash_words(value.choices)} -- "$word") )'
    if value.is_file:
        # Names of files get their quotes and slashes; other words would only be spoiled by that.
        yield "            (( ${#COMPREPLY[@]} )) || compopt -o filenames 2> /dev/null"
        yield '            COMPREPLY+=( $(compgen -f -- "$word") )'


def _bash_words(words: Iterable[str]) -> str:
    return "$'" + "\\n".join(words) + "'"


def _flags(command: Command) -> Iterator[str]:
    return (flag for option in command.options for flag in option.flags)


def zsh(program: str, commands: Sequence[Command]) -> str:
    """The script for zsh 5 and later."""
    helpers = [command for command in commands if command.argument.choices]
    return ZSH.format(
        program=program,
        commands="\n".join(
            f"        {_quoted(_zsh_text(command.name) + ':' + command.help)}"
            for command in commands
        ),
        cases="\n".join(
            f"        {command.name})\n            _arguments"
            + "".join(f" \\\n                {spec}" for spec in _zsh_specs(program, command))
            + " ;;"
            for command in commands
        ),
        helpers="\n".join(
            f"_{program}_{command.name}() {{\n"
            f"    compadd -- {' '.join(map(_quoted, command.argument.choices))}\n"
            + ("    _files\n" if command.argument.is_file else "")
            + "}"
            for command in helpers
        ),
    )


def _zsh_specs(program: str, command: Command) -> Iterator[str]:
    for option in command.options:
        for flag in option.flags:
            equals = "=" if flag.startswith("--") and option.value.name else ""
            yield _quoted(f"{flag}{equals}[{_zsh_text(option.help)}]{_zsh_value(option.value)}")
    argument = command.argument
    if argument.name:
        action = f"_{program}_{command.name}" if argument.choices else "_files"
        place = "*" if argument.repeats else "1"
        yield _quoted(f"{place}:{argument.name}:{action}")


def _zsh_value(value: Value) -> str:
    if not value.name:
        return ""
    action = f"({' '.join(value.choices)})" if value.choices else " "
    return f":{value.name}:{'_files' if value.is_file else action}"


def _zsh_text(text: str) -> str:
    for special in "\\[]:":
        text = text.replace(special, f"\\{special}")
    return text


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def fish(program: str, commands: Sequence[Command]) -> str:
    """The script for fish 3 and later."""
    lines = [
        f"# Completes {program} in fish: {program} completion fish | source",
        f"complete -c {program} -f",
    ]
    for command in commands:
        lines.append(
            f"complete -c {program} -n __fish_use_subcommand -a {command.name} "
            f"-d {_fish_text(command.help)}"
        )
        start = f"complete -c {program} -n '__fish_seen_subcommand_from {command.name}'"
        lines += [f"{start} {_fish_option(option)}" for option in command.options]
        if command.argument.name:
            lines.append(f"{start} {_fish_value(command.argument)}")
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> str:
    flags = " ".join(
        f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags
    )
    value = f" -r {_fish_value(option.value)}" if option.value.name else ""
    return f"{flags}{value} -d {_fish_text(option.help)}"


def _fish_value(value: Value) -> str:
    words = [f"-a {_fish_text(' '.join(value.choices))}"] if value.choices else []
    return " ".join([*words, "-F" if value.is_file else "-f"])


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
