"""`report`: a page, a table or a summary of a result that was written earlier."""

from __future__ import annotations

from pathlib import Path

import click

from app.analysis.result import Result, ResultError, read_result
from app.cli import common
from app.cli.common import DONE
from app.cli.examples import REPORT_EXAMPLES
from app.cli.interface import FILE, Command
from app.cli.terminal import summary_text

NOT_A_RESULT = "not_a_result"


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
            common.write_file(path, text)
    return DONE


def _texts(found: Result, output: Path | None, csv: Path | None) -> dict[Path | None, str]:
    """All that is to be written, by the files that it goes to; None is standard output."""
    texts: dict[Path | None, str] = {}
    if output is not None:
        from app.export.report import report_html

        texts[output] = report_html(found)
    if csv is not None:
        from app.export.tables import csv_text

        texts[csv] = csv_text(found)
    return texts or {None: summary_text(found)}
