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

# Of the gradients' tests those that JAX does not take long over.
_GRADIENTS = (
    "a_linear_chain_is_a_product_of_matrices",
    "the_cotangent_is_standard_normal_and_not_the_input",
    "a_layer_of_several_segments_goes_on_where_it_was",
    "the_forward_pass_is_that_of_the_forward_probe",
    "what_no_gradient_reaches_has_none",
    "a_model_of_whole_numbers_has_no_gradients",
    "gradients_start_from_what_can_be_run",
    "a_value_that_layers_pass_on_as_it_is_counts_once_for_each_reader",
    "gradients_reach_calls_without_anything_trainable",
    "variables_of_one_path_are_told_apart",
    "half_precision_has_gradients",
)
# Forwards, backwards, and weights: what a backend that does not work at all would fail.
FEW = (
    *(f"tests/probes/test_gradients.py::test_{name}" for name in _GRADIENTS[:6]),
    "tests/autoinit/test_arrays.py",
    "tests/autoinit/graph/test_frozen.py",
)
# Those that run layers, as many as take minutes.
TESTS = (
    "tests/probes/test_forward.py",
    "tests/probes/test_moments.py",
    "tests/probes/test_correlations.py",
    "tests/probes/test_distributions.py",
    "tests/probes/test_jacobian.py",
    *(f"tests/probes/test_gradients.py::test_{name}" for name in _GRADIENTS),
    "tests/probes/test_formats.py::test_a_gradient_is_that_of_a_mean_loss_and_the_scale_saves_it",
    "tests/autoinit/test_arrays.py",
    "tests/autoinit/graph/test_frozen.py",
    "tests/autoinit/test_callbacks.py",
    "tests/autoinit/initializers/test_interface.py",
    "tests/autoinit/test_keras2_models.py",
)
# Many shapes, each of which JAX compiles for a second.
LEFT_OUT = " and ".join(
    f"not {words}"
    for words in (
        "however_many_samples",
        "how_samples_are_split",
        "positions_are_added_whole",
        "only_a_softmax_or_sigmoid",
        "has_a_coarser_zero",
    )
)

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
