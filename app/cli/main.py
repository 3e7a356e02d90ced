"""The command line: `python -m app COMMAND`, or `autoinit COMMAND` where it is installed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from app.cli import analyze, completion, inspect, report, samples, serve
from app.cli.arguments import build_parser
from app.cli.common import ERROR, INTERRUPTED, UsageError, say_error


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    Raises:
        SystemExit: argparse's own way out, for `--help`, `--version` and wrong usage.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        status = _run(options)
        sys.stdout.flush()
        return status
    except UsageError as error:
        parser.error(str(error))
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


def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "analyze":
            return analyze.run(options)
        case "inspect":
            return inspect.run(options)
        case "report":
            return report.run(options)
        case "serve":
            return serve.run(options)
        case "completion":
            return completion.run(options, build_parser())
        case _:
            return samples.run()
