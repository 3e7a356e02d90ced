import pytest

from tests.backends import suite

# Those of cells that cannot be traced are for TensorFlow: JAX traces loops that run eagerly, too.
COMPILED = [
    f"tests/autoinit/graph/test_compiled.py::test_{name}"
    for name in (
        "a_compiled_pass_gives_and_leaves_what_steps_one_by_one_do",
        "weights_and_batches_share_a_trace_and_modes_do_not",
        "traces_go_with_their_graph",
    )
]


@pytest.mark.slow
def test_on_jax_a_few_of_the_tests_pass():
    tests = [*suite.FEW, f"{COMPILED[0]}[dropout]", f"{COMPILED[0]}[stateful]", COMPILED[2]]
    passed, others, said = suite.run("jax", tests)
    assert not others, said
    assert passed >= len(tests), said


@pytest.mark.slow
def test_on_jax_the_same_tests_pass():
    passed, others, said = suite.run("jax", [*suite.TESTS, *COMPILED])
    assert not others, said
    assert passed > 80, said


def test_tests_that_cannot_run_do_not_count_as_passed():
    passed, others, said = suite.run("jax", ["tests/no_such_file.py"])
    assert (passed, others) == (0, 1), said
