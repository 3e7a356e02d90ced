"""The battery over the layers in the middle of models."""

import pytest

from tests.contracts.cases import FAMILIES
from tests.contracts.rules.battery import check

# The other files have these.
ELSEWHERE = ("augmentation", "encoding", "preprocessing", "resizing", "operations")
CASES = [case for name, cases in FAMILIES.items() if name not in ELSEWHERE for case in cases]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule_keeps_to_everything(case):
    check(case)
