"""What holds for all tests: how many threads a process takes, and what comes first."""

import gc
import os
import sys
from collections.abc import Generator
from typing import Any

import pytest

# Processes that share the machine's cores take one thread each; before TensorFlow is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")

# As the dashboard does: other tests may use Arrow before that is imported.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

# Together in one process, which needs a server and a browser: the others take from the rest.
FIRST = "tests/e2e/"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What is imported stays: to look through it for garbage takes a fifth of importing's time.

    Later Streamlit would do so after each page, and Keras whenever its session is cleared.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


RECURSION_LIMIT = sys.getrecursionlimit()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """A later test that provokes a RecursionError would overflow the stack, and end the process."""
    result = yield
    left = sys.getrecursionlimit()
    sys.setrecursionlimit(RECURSION_LIMIT)
    assert left == RECURSION_LIMIT, f"the recursion limit was left at {left}"
    return result


@pytest.fixture(autouse=True)
def _what_one_file_brought_is_not_followed_in_the_next_test() -> Generator[None]:
    """A file with its owner's code has calls of TensorFlow recorded, from then on."""
    yield
    module = sys.modules.get("autoinit.model_files.tensorflow_calls")
    if module is not None:
        module.record_functions(False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))
    for item in items:
        if item.nodeid.startswith(FIRST):
            # What a busy machine's browser loses once is tried once more, and listed as such.
            item.add_marker(pytest.mark.flaky(reruns=1))
        case = getattr(getattr(item, "callspec", None), "params", {}).get("case")
        if getattr(case, "slow", False):
            item.add_marker(pytest.mark.slow)
