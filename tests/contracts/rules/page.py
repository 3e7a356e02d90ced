"""docs/rules.md as a table: which classes, and which states of support, its rows name."""

import re
from pathlib import Path
from typing import NamedTuple

import keras

PAGE = Path(__file__).parents[3] / "docs" / "rules.md"
HEADER = ["Layer", "Formula", "Assumption", "Support", "Source"]


class Row(NamedTuple):
    names: list[str]
    formula: str
    assumption: str
    support: set[str]
    source: str


def read_rows():
    rows, inside = [], False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells == HEADER:
            inside = True
        elif inside and not set(line) <= set("|-"):
            assert len(cells) == len(HEADER), f"a row of docs/rules.md has other columns: {line}"
            layer, formula, assumption, support, source = cells
            states = {state.strip() for state in support.split(",")}
            rows.append(Row(re.findall(r"`(\w+)`", layer), formula, assumption, states, source))
    return rows


ROWS = read_rows()
BY_NAME = {name: row for row in ROWS for name in row.names}


def documented_support(call):
    """The states that the row of a call's class names; operations have one row together."""
    # Operations have names of layers: `Add`, `Maximum`, `Softmax`.
    return BY_NAME[call.class_name if isinstance(call.layer, keras.Layer) else "Operation"].support
