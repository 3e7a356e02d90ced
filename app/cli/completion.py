"""`completion`: scripts that complete the command `autoinit`, made from its own parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.cli.arguments import COMMAND
from app.cli.common import DONE
from app.cli.completion_scripts import bash, fish, zsh

FILE_NAMES = ("FILE", "MODEL", "RESULT")
WRITERS = {"bash": bash, "zsh": zsh, "fish": fish}


@dataclass(frozen=True)
class Value:
    """What may stand after an option, or as an argument.

    Attributes:
        name: what the help calls it; empty where nothing stands there.
        choices: all that it may be; empty where it may be anything.
        is_file: whether files of any name may stand there, too.
        repeats: whether several may stand there.
    """

    name: str = ""
    choices: tuple[str, ...] = ()
    is_file: bool = False
    repeats: bool = False


@dataclass(frozen=True)
class Option:
    """An option: what it is called, what it is for, and what it takes."""

    flags: tuple[str, ...]
    help: str
    value: Value


@dataclass(frozen=True)
class Command:
    """A command with its options and what it takes first."""

    name: str
    help: str
    options: tuple[Option, ...]
    argument: Value


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Prints the script for a shell; the exit status."""
    from sample_models import MODELS

    samples = [f"sample:{name}" for name in MODELS]
    print(WRITERS[options.shell](COMMAND, list(commands_of(parser, samples))), end="")
    return DONE


def commands_of(parser: argparse.ArgumentParser, samples: Sequence[str]) -> Iterator[Command]:
    """The commands of a parser.

    Args:
        parser: of the whole command line.
        samples: what `analyze` takes besides files.
    """
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                extra = tuple(samples) if name == "analyze" else ()
                yield _command(name, helps.get(name, ""), command, extra)


def _command(
    name: str, help: str, parser: argparse.ArgumentParser, samples: tuple[str, ...]
) -> Command:
    formatter = parser._get_formatter()
    options = tuple(
        Option(tuple(action.option_strings), formatter._expand_help(action), _value(action))
        for action in parser._actions
        if action.option_strings
    )
    arguments = [action for action in parser._actions if not action.option_strings]
    argument = _value(arguments[0], samples) if arguments else Value()
    return Command(name, help, options, argument)


def _value(action: argparse.Action, samples: tuple[str, ...] = ()) -> Value:
    if action.nargs in (0, "*"):  # a flag, or what is for another program
        return Value()
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest
    choices = (*samples, *(action.choices or ()))
    return Value(metavar, choices, metavar in FILE_NAMES, action.nargs == "+")
