"""docs/rules.md against the registry, both ways, and against what the rules say of themselves."""

import re
from pathlib import Path
from typing import NamedTuple

import keras
import pytest

from autoinit.propagation import Options, predict
from autoinit.reading import read_model
from autoinit.rules import RULES
from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import signals_for
from tests.contracts.cases import CASES

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"
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
REGISTERED = {kind.__name__ for kind in RULES.classes()}


def test_every_registered_class_has_a_row():
    assert set(BY_NAME) >= REGISTERED, sorted(REGISTERED - set(BY_NAME))


def test_every_row_has_a_registered_class():
    assert set(BY_NAME) <= REGISTERED, sorted(set(BY_NAME) - REGISTERED)


def test_no_class_has_two_rows():
    names = [name for row in ROWS for name in row.names]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.names[0])
def test_rows_are_filled_in(row):
    assert row.formula
    assert row.support <= {state.value for state in Support} - {"pass_through"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_support_is_what_the_page_says(case):
    graph = read_model(case.model())
    options = Options(training=case.training, samples=128)
    result = predict(graph, signals_for(case, graph), options)
    for call, outcome in zip(graph.calls, result.results, strict=True):
        assert outcome.support.value in BY_NAME[documented_name(call)].support


def documented_name(call):
    # Operations have names of layers: `Add`, `Maximum`, `Softmax`.
    return call.class_name if isinstance(call.layer, keras.Layer) else "Operation"


def test_every_state_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{state.value}` |" in text for state in Support)
