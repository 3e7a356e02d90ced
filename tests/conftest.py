"""What holds for all tests: how many threads a process takes, and what comes first."""

import os

import pytest

# Processes that share the machine's cores take one thread each; before TensorFlow is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")

# Whole files go to one process each. Those that take minutes are begun first, lest one core wait.
LONG = (
    "tests/e2e/",
    "tests/contracts/test_rules",
    "tests/backends/",
    "tests/strangers/",
    "tests/hostile/",
    "tests/app/jobs/",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
