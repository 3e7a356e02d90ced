"""The command line: `python -m app COMMAND`, or `autoinit COMMAND` where it is installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from click.shell_completion import shell_complete

from app import __version__
from app.cli.analyze import analyze
from app.cli.batch import batch
from app.cli.common import COMMAND, ERROR, INTERRUPTED, SENTENCE_LIMIT, USAGE, say_error
from app.cli.completion import VARIABLE, completion
from app.cli.examples import EXAMPLES
from app.cli.inspect import inspect
from app.cli.interface import Group
from app.cli.report import report
from app.cli.samples import samples
from app.cli.serve import serve
from app.cli.trial import trial
from app.text.escaping import plain_text


@click.group(
    cls=Group,
    epilog=EXAMPLES,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message=f"{COMMAND} %(version)s")
def commands() -> None:
    """See how signal variance develops through a Keras network.

    As it is configured, and as AutoInit would initialise it.
    """


for command in (analyze, batch, trial, inspect, report, serve, samples, completion):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    Raises:
        SystemExit: after `--help` and `--version`, and for wrong usage.
    """
    if instruction := os.environ.get(VARIABLE):
        return shell_complete(commands, {}, COMMAND, VARIABLE, instruction)
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with commands.make_context(program_name(sys.argv[0]), given) as context:
            status: int = commands.invoke(context)
            sys.stdout.flush()
            return status
    except click.exceptions.Exit as way_out:
        sys.exit(way_out.exit_code)
    except click.UsageError as error:
        context = error.ctx or context
        print(context.get_usage(), file=sys.stderr)
        # A file's name may have come with the file.
        message = plain_text(error.format_message(), SENTENCE_LIMIT)
        print(f"{context.command_path}: error: {message}", file=sys.stderr)
        sys.exit(USAGE)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read standard output has gone, as `head` does; the interpreter's own flush at
        # the end must not complain a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except OSError as error:
        return say_error(str(error))


def program_name(started_as: str) -> str:
    """What to call this program in its help: as it was started.

    Args:
        started_as: the first of `sys.argv`.
    """
    return COMMAND if Path(started_as).stem == COMMAND else "python -m app"
