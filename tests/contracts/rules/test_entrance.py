"""The battery over the layers at a model's entrance."""

import pytest

from tests.contracts.cases import FAMILIES
from tests.contracts.rules.battery import check

CASES = [
    case
    for name in ("augmentation", "encoding", "preprocessing", "resizing")
    for case in FAMILIES[name]
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule_keeps_to_everything(case):
    check(case)
