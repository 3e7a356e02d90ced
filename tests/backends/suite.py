"""The library's own tests by another of Keras's backends, in one process: Keras chooses at import.

    KERAS_BACKEND=jax python -m pytest tests/probes tests/autoinit

runs them by hand, all of them if there is time: JAX compiles each operation anew for each shape.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# As many of those that run layers as fit into a minute.
TESTS = (
    "tests/probes/test_forward.py",
    "tests/autoinit/test_arrays.py",
    "tests/autoinit/test_frozen.py",
    "tests/autoinit/test_interface.py",
    "tests/autoinit/test_keras2_models.py",
)
# Many sizes of batches: JAX compiles for half a minute.
LEFT_OUT = "not however_many_samples"

# Keras's own code on JAX asks for int64 and for one-hot vectors of floats.
WARNINGS = (
    "ignore:Explicitly requested dtype:UserWarning",
    "ignore:jax.nn.one_hot input:DeprecationWarning",
)


def run(backend, tests=TESTS):
    """Numbers of tests that passed and that did not, and what was said of them."""
    command = [sys.executable, "-m", "pytest", *tests, "-m", "not slow", "-q", "--tb=short"]
    command += ["-k", LEFT_OUT, "-p", "no:cacheprovider"]
    for warning in WARNINGS:
        command += ["-W", warning]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|error)", ended.stdout)}
    passed = counts.pop("passed", 0)
    # Such as an import that failed, which no summary counts.
    others = sum(counts.values()) or int(ended.returncode != 0)
    return passed, others, (ended.stdout + ended.stderr)[-6000:]
