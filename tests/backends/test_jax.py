import os
import subprocess
import sys

import pytest

from tests.backends import suite

SEVERAL = """
import keras, numpy as np
from autoinit.callbacks import SignalMonitor
x = np.random.default_rng(0).standard_normal((64, 6)).astype("float32")
mesh = keras.distribution.DeviceMesh((1, 2), ["data", "model"])
layout = keras.distribution.LayoutMap(mesh)
layout["a/kernel"] = (None, "model")
shared = keras.distribution.ModelParallel(layout_map=layout)
for made in (keras.distribution.DataParallel(), shared):
    keras.distribution.set_distribution(made)
    losses = []
    for seen in ([], [SignalMonitor(x, check=False, verbose=False, overhead=None)]):
        keras.utils.set_random_seed(0)
        first = keras.layers.Dense(8, "relu", name="a")
        model = keras.Sequential([keras.Input((6,)), first, keras.layers.Dense(1)])
        model.compile("adam", "mse")
        losses.append(model.fit(x, x[:, :1], batch_size=16, verbose=0, callbacks=seen).history)
    assert losses[0] == losses[1], losses
    print(len(seen[0].run.snapshots))
"""

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


@pytest.mark.slow
def test_on_jax_a_training_on_two_devices_is_watched_and_stays_what_it_is():
    flags = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    ended = subprocess.run(
        [sys.executable, "-c", SEVERAL],
        cwd=suite.ROOT,
        env=os.environ | flags,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.split() == ["4", "4"], ended.stderr
