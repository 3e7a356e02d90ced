"""`report`: a page, a table or a summary of a result that was written earlier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import click

from app.analysis.result import AnalysisResult
from app.cli import common
from app.cli.common import DONE
from app.cli.examples import REPORT_EXAMPLES
from app.cli.interface import FILE, Command
from app.cli.terminal import summary_text
from app.jobs.handles import RESULT_LIMIT

SCHEMA = 1
NOT_A_RESULT = "not_a_result"
MAKE_ANEW = "Make it anew with analyze MODEL --output FILE."
# What every result has, and of which type.
PARTS: dict[str, type] = {
    "model": dict,
    "settings": dict,
    "device": dict,
    "series": list,
    "timings": dict,
    "calls": list,
    "warnings": list,
}
# What goes wrong where figures are missing or are something else than figures.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


class ResultError(Exception):
    """A file holds no result that can be read, and why."""


@click.command(cls=Command, epilog=REPORT_EXAMPLES, short_help="Make a page or a table of a result")
@click.argument("result", type=FILE, help="What analyze --output has written")
@click.option("--output", type=FILE, metavar="FILE", help="Write a self-contained HTML page")
@click.option(
    "--csv", type=FILE, metavar="FILE", help="Write the table of all calls, for a spreadsheet"
)
def report(result: Path, output: Path | None, csv: Path | None) -> int:
    """Make the HTML report or the table of a result that analyze --output has written.

    Without either, print its summary.
    """
    targets = [path for path in (output, csv) if path is not None]
    common.check_targets(targets, result, "RESULT, --output and --csv")
    refusal = common.refuse_missing(result, "a JSON file that analyze --output has written")
    if refusal is not None:
        return common.say_refused(*refusal)
    try:
        texts = _texts(read_result(result), output, csv)
    except ResultError as error:
        return common.say_refused(NOT_A_RESULT, f"{result} {error}")
    for path, text in texts.items():
        if path is None:
            common.print_text(text)
        else:
            path.write_text(text, encoding="utf-8", newline="")
    return DONE


def read_result(path: Path) -> dict[str, Any]:
    """The contents of a result file.

    Raises:
        ResultError: it holds something else, as the end of a sentence.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(RESULT_LIMIT + 1)
    if len(content) > RESULT_LIMIT:
        raise ResultError(f"is larger than {RESULT_LIMIT:,} bytes, which no result is.")
    try:
        data = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "") or "it nests too deeply or holds no plain numbers"
        raise ResultError(f"is no valid JSON ({reason}): is it cut short? {MAKE_ANEW}") from error
    if not isinstance(data, dict) or "schema" not in data:
        raise ResultError(f"is JSON, but no result of an analysis. {MAKE_ANEW}")
    if data["schema"] != SCHEMA or isinstance(data["schema"], bool):
        raise ResultError(
            f"is of schema {data['schema']!r}, and this version reads schema {SCHEMA}. {MAKE_ANEW}"
        )
    if data.get("kind") == "inspection":
        raise ResultError("is what inspect says of a file; a result is what analyze writes.")
    for part, kind in PARTS.items():
        if not isinstance(data.get(part), kind):
            raise ResultError(f"is no whole result: its {part!r} is missing. {MAKE_ANEW}")
    return data


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _texts(data: dict[str, Any], output: Path | None, csv: Path | None) -> dict[Path | None, str]:
    """All that is to be written, by the files that it goes to; None is standard output.

    Raises:
        ResultError: figures are missing. Nothing is half written then.
    """
    try:
        texts: dict[Path | None, str] = {}
        if output is not None:
            from app.export.report import report_html

            texts[output] = report_html(data)
        if csv is not None:
            from app.export.tables import csv_text

            texts[csv] = csv_text(data)
        return texts or {None: summary_text(AnalysisResult(data))}
    except MALFORMED as error:
        what = f"{type(error).__name__}: {error}"
        raise ResultError(f"is no whole result ({what}). {MAKE_ANEW}") from error
