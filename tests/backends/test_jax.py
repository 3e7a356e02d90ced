import pytest

from tests.backends import suite


def test_on_jax_a_few_of_the_tests_pass():
    passed, others, said = suite.run("jax", suite.FEW)
    assert not others, said
    assert passed >= len(suite.FEW), said


@pytest.mark.slow
def test_on_jax_the_same_tests_pass():
    passed, others, said = suite.run("jax")
    assert not others, said
    assert passed > 80, said


def test_tests_that_cannot_run_do_not_count_as_passed():
    passed, others, said = suite.run("jax", ["tests/no_such_file.py"])
    assert (passed, others) == (0, 1), said
