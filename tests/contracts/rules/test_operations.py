"""The battery over the operations of `keras.ops`."""

import pytest

from tests.contracts.cases import OPERATIONS
from tests.contracts.rules.battery import check


@pytest.mark.parametrize("case", OPERATIONS, ids=str)
def test_rule_keeps_to_everything(case):
    check(case)
