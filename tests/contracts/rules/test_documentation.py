"""docs/rules.md and the table of cases against the registry, both ways."""

import pytest

from autoinit.rules import RULES
from autoinit.rules.registry import Support
from tests.contracts.cases import CASES
from tests.contracts.rules.page import BY_NAME, PAGE, ROWS

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


def test_every_state_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{state.value}` |" in text for state in Support)


def test_every_registered_class_has_a_case():
    without = {kind.__name__ for kind in RULES.classes()} - {c.kind.__name__ for c in CASES}
    assert not without, f"add a case to tests/contracts/cases.py for: {sorted(without)}"


def test_every_case_has_a_registered_class():
    assert {case.kind for case in CASES} <= set(RULES.classes())


def test_names_of_cases_are_unique():
    names = [str(case) for case in CASES]
    assert sorted(names) == sorted(set(names))
