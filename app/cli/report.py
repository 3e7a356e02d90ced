"""`report`: a page, a table or a summary of a result that was written earlier."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NoReturn

from app.analysis.result import AnalysisResult
from app.cli import common
from app.cli.analyze import summary_text
from app.cli.common import DONE
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


def run(options: argparse.Namespace) -> int:
    """Writes what was asked for, or prints the summary; the exit status.

    Raises:
        UsageError: a file cannot be written.
    """
    source = options.result
    targets = [path for path in (options.output, options.csv) if path is not None]
    common.check_targets(targets, source, "RESULT, --output and --csv")
    refusal = common.refuse_missing(source, "a JSON file that analyze --output has written")
    if refusal is not None:
        return common.say_refused(*refusal)
    try:
        texts = _texts(read_result(source), options)
    except ResultError as error:
        return common.say_refused(NOT_A_RESULT, f"{source} {error}")
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


def _texts(data: dict[str, Any], options: argparse.Namespace) -> dict[Path | None, str]:
    """All that is to be written, by the files that it goes to; None is standard output.

    Raises:
        ResultError: figures are missing. Nothing is half written then.
    """
    try:
        texts: dict[Path | None, str] = {}
        if options.output is not None:
            from app.export.report import report_html

            texts[options.output] = report_html(data)
        if options.csv is not None:
            from app.export.tables import csv_text

            texts[options.csv] = csv_text(data)
        return texts or {None: summary_text(AnalysisResult(data))}
    except MALFORMED as error:
        what = f"{type(error).__name__}: {error}"
        raise ResultError(f"is no whole result ({what}). {MAKE_ANEW}") from error
