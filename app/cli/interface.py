"""What the commands take from click: help with groups and examples, and the options of settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import click

from app.analysis.diagnosis.table import KINDS
from app.analysis.input_moments import joined_moments, parse_moment
from app.analysis.options import OptionsTable, Setting, table
from app.analysis.settings import Settings
from app.errors import WrongSettingError

Decorator = Callable[[Callable[..., int]], Callable[..., int]]
FILE = click.Path(path_type=Path)
MODEL_FILE = "a .keras, .h5, .hdf5 or JSON file, a SavedModel's folder, or an unpacked .keras"


class Command(click.Command):
    """Options under the headings of their groups; the epilog as it was written."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options by their groups; arguments come before them."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, line by line, with this program's name."""
        formatter.write("\n" + (self.epilog or "") % {"prog": ctx.command_path})


class Group(Command, click.Group):
    """The command that has all the others."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its own options, and what there is to do."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


class GroupedOption(click.Option):
    """An option with the group that it stands in."""

    def __init__(self, *args: Any, group: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.group = group


class Parsed(click.ParamType[Any]):
    """A value that a function reads.

    Args:
        name: of the type.
        parse: raises `ValueError` for what it cannot read.
        expected: what it reads, as the end of a sentence.
    """

    def __init__(self, name: str, parse: Callable[[str], Any], expected: str) -> None:
        self.name, self._parse, self._expected = name, parse, expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads what was typed; a default is no text, and stays."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError:
            self.fail(f"expected {self._expected}; got {value!r}", param, ctx)


MOMENT = Parsed(
    "moment", parse_moment, "a number, or an input and a number, such as 0.5 or image=0.5"
)


def option(*names: str, group: str, **attributes: Any) -> Decorator:
    """An option of a command that is no setting, under the heading of its group."""
    return click.option(*names, cls=GroupedOption, group=group, **attributes)


def settings_options(
    settings: type[OptionsTable] = Settings, names: Collection[str] | None = None, prefix: str = ""
) -> Decorator:
    """Gives a command an option for each setting that has one, or for those that are named.

    Args:
        settings: the table.
        names: of settings; all without it.
        prefix: of the options' names: `try_` makes `--try-steps` of `steps`.
    """

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        for entry in reversed(table(settings).values()):
            if entry.option.flag is not None and (names is None or entry.name in names):
                flag = entry.option.flag or f"--{entry.name.replace('_', '-')}"
                flag = flag.replace("--", f"--{prefix.replace('_', '-')}", 1)
                name, group = prefix + entry.name, entry.option.group
                add = option(flag, name, group=group, **_attributes(entry))
                command = add(command)
        return command

    return decorate


def _attributes(entry: Setting) -> dict[str, Any]:
    """What click is told of a setting's option."""
    offered, default, text = entry.option, entry.default, entry.help
    if entry.kind is bool:
        return {"help": text, "is_flag": True}
    if offered.flag_value:
        text = f"{entry.words(offered.flag_value)}. {text}"
        return {"help": text, "flag_value": offered.flag_value, "default": default}
    if offered.per_input:
        text += " NAME=X for one input of several."
        return {"help": text, "metavar": "X", "type": MOMENT, "multiple": True}
    if entry.kind is tuple:
        text += " May be given several times, or with commas."
        return {"help": text, "metavar": offered.metavar, "multiple": True}
    if default is not None:
        text += f" Default: {default if isinstance(default, str) else format(default, 'g')}."
    kind: Any = FILE if offered.metavar == "FILE" else entry.kind
    if entry.word:
        kind = Parsed("number", entry.parsed, entry.expected)
    metavar = offered.metavar or {int: "N", float: "X"}.get(entry.kind)
    if entry.choices:  # which click names itself
        kind, metavar = click.Choice(entry.choices), None
    return {"help": text, "metavar": metavar, "type": kind, "default": default}


def lists_split(given: Mapping[str, Any], settings: type[OptionsTable]) -> dict[str, Any]:
    """What options say, with NAME,NAME as well as the option several times; none is the default."""
    return dict(given) | {
        entry.name: tuple(name for text in given[entry.name] for name in text.split(","))
        or entry.default
        for entry in table(settings).values()
        if entry.kind is tuple
    }


def settings_of(given: Mapping[str, Any], settings: type[Settings] = Settings) -> Settings:
    """The settings that a command's options say.

    Raises:
        UsageError: one of them is wrong, or two do not go together.
    """
    taken, data = lists_split(given, settings), given["input_data"]
    if data is not None and (given["input_mean"] or given["input_variance"]):
        raise click.UsageError(
            "--input-data tells mean and variance: leave --input-mean and --input-var out"
        )
    if data is None and given["input_source"] == "noise":
        raise click.UsageError("--input-noise goes with --input-data, whose moments the noise has")
    taken["input_mean"], taken["input_variance"], taken["input_moments"] = joined_moments(
        given["input_mean"], given["input_variance"]
    )
    if data is not None:
        taken |= {"input_data": str(data.absolute()), "input_data_name": data.name}
    try:
        found = settings(**taken)
    except WrongSettingError as error:
        raise click.UsageError(str(error)) from error
    if unknown := sorted(set(found.disable) - KINDS.keys()):
        raise click.UsageError(
            f"--disable: no finding is called {unknown[0]!r}; see docs/findings.md"
        )
    return found
