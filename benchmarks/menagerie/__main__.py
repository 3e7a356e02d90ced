"""Hundreds of architectures of others: opened, predicted, initialised, judged.

    python -m benchmarks.menagerie                # goes on where it stopped; writes the page
    python -m benchmarks.menagerie keras_hub:B    # those whose key begins so, anew

A row for each architecture is added to build/menagerie.csv as soon as it is there. Without `pip
install keras-hub zeromodels kimm` their architectures are missing.
"""

from __future__ import annotations

import argparse
import csv
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import FrameType
from typing import Any

import keras

from benchmarks.measuring import ROOT
from benchmarks.menagerie.catalogue import Architecture, catalogue
from benchmarks.menagerie.measuring import Row, measured
from benchmarks.menagerie.report import WRITTEN, page

KEPT = ROOT / "build" / "menagerie.csv"
LIMIT = 150  # processor seconds of one architecture
PAGE = ROOT / "docs" / "menagerie.md"
# By how a field of `Row` is annotated.
_NUMBERS: Mapping[Any, Callable[[str], Any]] = {"int": int, "float": float}


def rows(path: Path = KEPT) -> dict[str, Row]:
    """What is kept, by key; of several rows of one architecture the last."""
    if not path.exists():
        return {}
    kinds = {field.name: _NUMBERS.get(field.type, str) for field in fields(Row)}
    with path.open(newline="") as file:
        told = (
            {name: kinds[name](value) for name, value in row.items()}
            for row in csv.DictReader(file)
        )
        return {row["key"]: Row(**row) for row in told}


def keep(row: Row, path: Path = KEPT) -> None:
    """Adds a row."""
    path.parent.mkdir(exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        if new:
            writer.writeheader()
        writer.writerow(asdict(row))


def run(architectures: Iterable[Architecture], path: Path = KEPT) -> None:
    """Measures them one by one, and keeps and prints what is found."""
    for architecture in architectures:
        # What ends the process leaves this.
        begun = Row(key=architecture.key, package=architecture.package,
                    family=architecture.family, name=architecture.name, status="not opened",
                    reason="the process ended")  # fmt: skip
        keep(begun, path)
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        try:
            row = measured(architecture)
        except _TooLongError as error:
            row = replace(begun, reason=str(error))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        keep(row, path)
        keras.backend.clear_session()
        print(*asdict(row).values(), sep=" | ", flush=True)


class _TooLongError(BaseException):
    """Ends an architecture, whatever catches exceptions there."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise _TooLongError(f"it took more than {LIMIT} processor seconds")


def main() -> None:
    """Measure what is missing, and write the page; or some anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("beginnings", nargs="*", help="of keys, such as keras_hub:BERT")
    beginnings = tuple(parser.parse_args().beginnings)
    known = rows()
    chosen = [
        each
        for each in catalogue()
        if (each.key.startswith(beginnings) if beginnings else each.key not in known)
    ]
    signal.signal(signal.SIGPROF, _stop)
    run(chosen)
    if beginnings:
        return  # the rows of the others may not be here
    before = PAGE.read_text("utf-8") if PAGE.exists() else ""
    written = "".join(before.partition(WRITTEN)[1:])
    PAGE.write_text(page(rows().values(), written), "utf-8")


if __name__ == "__main__":
    main()
