import importlib.util

import pytest

from tests.backends import suite


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="PyTorch is not installed; its CPU build is: pip install torch",
)
def test_on_pytorch_the_same_tests_pass():
    passed, others, said = suite.run("torch")
    assert not others, said
    assert passed > 80, said
