"""`SignalMonitor` beside real trainings: it changes nothing, and names what goes wrong."""

import csv
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from types import ModuleType, SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers

from app.analysis.runs.record import FIGURES, read_run
from autoinit.callbacks import SignalMonitor

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((128, 6)).astype("float32")
Y = (X[:, 0] > 0).astype("float32")


def build(*hidden, optimizer="sgd", **compiled):
    keras.utils.set_random_seed(0)
    last = layers.Dense(1, "sigmoid", name="out")
    model = keras.Sequential([keras.Input((6,), name="x"), *hidden, last])
    model.compile(optimizer, "binary_crossentropy", **compiled)
    return model


def noisy(**compiled):
    keras.utils.set_random_seed(0)  # of the layers' own noise
    return build(
        layers.Dense(8, name="a"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu"),
        layers.Dropout(0.3, name="drop"),
        layers.GaussianNoise(0.1, name="noise"),
        optimizer="adam",
        **compiled,
    )


def fit(model, *callbacks, epochs=2):
    return model.fit(X, Y, batch_size=16, epochs=epochs, verbose=0, callbacks=list(callbacks))


def monitor(**options):
    return SignalMonitor(X, **{"check": False, "verbose": False, "overhead": None, **options})


def test_what_is_watched_trains_as_if_nobody_did():
    alone = noisy()
    losses = fit(alone).history["loss"]
    watched = noisy()  # which fixes the seed of the batches' order, too
    seen = monitor(check=keras.backend.backend() == "tensorflow")
    assert fit(watched, seen).history["loss"] == losses
    for before, after in zip(alone.variables, watched.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(before), np.asarray(after), err_msg=before.path)
    assert len(seen.run.snapshots) > 4


def test_each_figure_is_that_of_its_layer_at_its_step():
    model = build(layers.Dense(8, "relu", name="a"), layers.Dense(8, "tanh", name="b"))
    seen = monitor(samples=128)
    fit(model, seen, epochs=1)
    run = seen.run
    paths = [layer.path for layer in run.head.layers]
    assert paths == ["x", "a", "a/relu", "b", "b/tanh", "out", "out/sigmoid"]
    assert [layer.path for layer in run.head.layers if layer.weighted] == ["a", "b", "out"]
    last = run.snapshots[-1]
    assert last.step == 8
    assert last.figures.keys() == FIGURES.keys()
    place = paths.index("a")
    kernel = model.get_layer("a").get_weights()[0]
    output = X @ kernel + model.get_layer("a").get_weights()[1]
    assert last.figures["kernel"][place] == pytest.approx(np.sqrt(np.mean(kernel**2)), rel=1e-5)
    assert last.figures["variance"][place] == pytest.approx(output.var(), rel=1e-4)
    assert last.figures["mean"][place] == pytest.approx(output.mean(), rel=1e-3)
    dead = (output <= 0).all(0).mean()
    assert last.figures["dead"][paths.index("a/relu")] == pytest.approx(dead)
    assert last.figures["gradient"][place] > 0
    assert all(value >= 0.0 for value in run.column("saturated", paths.index("b/tanh")))


def test_an_update_is_what_one_step_changes():
    kernels = []

    class Kept(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kernels.append(self.model.get_layer("a").get_weights()[0])

    seen = monitor(gradients=False)
    fit(build(layers.Dense(4, name="a")), Kept(), seen, epochs=1)
    of_a = [layer.path for layer in seen.run.head.layers].index("a")
    found = [(s.step, s.figures["update"][of_a]) for s in seen.run.snapshots]
    assert [step for step, update in found if update is not None] == [1, 3, 5, 7]
    for step, update in found[2:-1]:
        before, after = kernels[step - 2], kernels[step - 1]
        size = np.sqrt(np.mean(before**2, dtype=float))
        assert update == pytest.approx(np.sqrt(np.mean((after - before) ** 2)) / size, rel=1e-3)


@pytest.mark.parametrize(
    ("optimizer", "fine", "large"),
    [(keras.optimizers.SGD, 0.1, 100.0), (keras.optimizers.Adam, 0.001, 3.0)],
)
def test_a_rate_that_is_too_large_is_named_at_its_layer_and_step(optimizer, fine, large, capsys):
    class Raise(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:  # after 8 steps
                self.model.optimizer.learning_rate = large

    hidden = [layers.Dense(16, "relu", name=f"d{place}") for place in range(4)]
    model = build(*hidden, optimizer=optimizer(fine))
    seen = monitor(gradients=False)
    fit(model, seen)
    assert not seen.run.findings
    seen = monitor(verbose=True, gradients=False)
    fit(model, Raise(), seen)
    step, found = seen.run.findings[0]
    assert (step, found.code) == (9, "updates_too_large")
    assert found.path in {"d0", "d1", "d2", "d3", "out"}
    told = capsys.readouterr().out
    assert f"Step 9: {found.message} (not at step 7)" in told


def test_units_that_die_are_named_where_and_when_they_do():
    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                layer = self.model.get_layer("b")
                kernel, bias = layer.get_weights()
                layer.set_weights([kernel, bias - 100.0])

    model = build(
        layers.Dense(16, "relu", name="a"),
        layers.Dense(16, "relu", name="b"),
        optimizer=keras.optimizers.SGD(0.01),
    )
    seen = monitor(gradients=False)
    fit(model, Kill(), seen, epochs=1)
    found = [(s, f.path) for s, f in seen.run.findings if f.code == "dead_channels"]
    assert found == [(5, "b")]


def test_units_that_few_inputs_reach_are_not_dead():
    """A unit that is zero for most of the inputs, and so perhaps for all that are measured."""
    x = np.random.default_rng(0).standard_normal((1024, 6)).astype("float32")
    model = build(layers.Dense(2, "relu", name="a"), optimizer=keras.optimizers.SGD(1e-6))
    kernel = np.zeros((6, 2), "float32")
    kernel[0] = 1.0
    model.get_layer("a").set_weights([kernel, np.full(2, -2.6, "float32")])
    seen = SignalMonitor(x, samples=8, check=False, verbose=False, overhead=None, gradients=False)
    model.fit(x, x[:, 0] > 0, batch_size=256, verbose=0, callbacks=[seen])
    place = [layer.path for layer in seen.run.head.layers].index("a/relu")
    assert seen.run.column("dead", place) == [1.0] * len(seen.run.snapshots)
    assert not seen.run.findings


def test_a_finding_ends_the_training_if_that_was_asked_for():
    model = build(layers.Dense(8, name="a"), optimizer=keras.optimizers.SGD(1e6))
    seen = monitor(stop_on=["updates_too_large"], gradients=False)
    fit(model, seen, epochs=5)
    # Keras takes the step that is about to begin.
    assert [snapshot.step for snapshot in seen.run.snapshots] == [0, 1, 2]
    with pytest.raises(ValueError, match="there is no finding 'boredom'"):
        SignalMonitor(stop_on=["boredom"])


def test_a_loss_that_is_no_number_is_seen_at_once():
    targets = Y.copy()
    targets[40] = np.nan  # in the third batch
    model = build(layers.Dense(8, name="a"))
    model.compile("sgd", "mse")  # PyTorch's cross-entropy refuses such a target itself
    seen = monitor(every=100, gradients=False)
    model.fit(X, targets, batch_size=16, epochs=1, shuffle=False, verbose=0, callbacks=[seen])
    step, found = seen.run.findings[0]
    assert found.code == "loss_not_finite"
    # JAX and PyTorch are already at a later one when they hand over the loss.
    late = step > 3 and keras.backend.backend() != "tensorflow"
    assert found.message == f"The loss is NaN or infinite{', since step 3' * late}."


class Late(SignalMonitor):
    """Its losses come from another thread, as on JAX and PyTorch, and later, in another order."""

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.threads, self.handed = ThreadPoolExecutor(4), []

    def on_train_batch_end(self, batch, logs=None):
        def late():
            time.sleep(0.02 * (batch % 3))
            super(Late, self).on_train_batch_end(batch, logs)

        self.handed.append(self.threads.submit(late))

    def on_epoch_end(self, epoch, logs=None):
        for each in self.handed:
            each.result()
        super().on_epoch_end(epoch, logs)


def test_losses_may_come_late():
    found = []
    for kind in (SignalMonitor, Late):
        seen = kind(X, check=False, verbose=False, overhead=None, gradients=False)
        fit(noisy(), seen)
        found.append([s.model_copy(update={"seconds": 0, "cost": 0}) for s in seen.run.snapshots])
    assert found[0] == found[1]


def test_a_late_loss_that_is_no_number_is_told_with_its_step():
    targets = Y.copy()
    targets[40] = np.nan  # in the third batch
    model = build(layers.Dense(8, name="a"))
    model.compile("sgd", "mse")
    seen = Late(X, every=100, check=False, verbose=False, overhead=None, gradients=False)
    model.fit(X, targets, batch_size=16, epochs=1, shuffle=False, verbose=0, callbacks=[seen])
    step, found = next((s, f) for s, f in seen.run.findings if f.code == "loss_not_finite")
    assert step > 3
    assert found.message == "The loss is NaN or infinite, since step 3."


@pytest.mark.parametrize(
    "compiled", [{"steps_per_execution": 4}, {"run_eagerly": True}, {"jit_compile": False}]
)
def test_however_steps_are_taken(compiled):
    seen, model = monitor(gradients=False), noisy(**compiled)
    if "steps_per_execution" in compiled and keras.backend.backend() == "torch":
        with pytest.raises(ValueError, match="must be 1 with the PyTorch backend"):
            fit(model)  # Keras itself
        return
    fit(model, seen)
    steps = [snapshot.step for snapshot in seen.run.snapshots]
    assert steps == (
        [0, 4, 12, 16] if "steps_per_execution" in compiled else [0, *range(1, 17, 2), 16]
    )


def test_half_precision_with_a_scaled_loss():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = noisy()
    finally:
        keras.config.set_dtype_policy("float32")
    seen = monitor()
    fit(model, seen)
    assert seen.run.column("variance", 1)[-1] > 0


def test_measurements_are_left_out_where_they_would_take_too_long(capsys):
    seen = monitor(overhead=1e-9, verbose=True, gradients=False)
    fit(noisy(), seen)
    assert [snapshot.step for snapshot in seen.run.snapshots] == [0, 1]
    told = capsys.readouterr().out
    assert "2 measurements of" in told
    assert "what is always measured asks for steps of" in told


def test_all_that_watching_takes_is_within_the_share(monkeypatch, capsys):
    """By a clock that only steps and what is measured move on."""
    from app.analysis.runs.watching import Watch

    now = 0.0

    def lasting(seconds, function):
        def run(*given, **options):
            nonlocal now
            now += seconds
            return function(*given, **options)

        return run

    class Steps(keras.callbacks.Callback):
        on_train_batch_begin = lasting(1.0, lambda self, batch, logs=None: None)

    monkeypatch.setattr("autoinit.callbacks.time.perf_counter", lambda: now)
    monkeypatch.setattr(Watch, "measure", lasting(0.4, Watch.measure))
    monkeypatch.setattr(Watch, "verdict", lasting(0.4, Watch.verdict))
    seen = monitor(overhead=0.05, verbose=True, check=True, gradients=False, samples=8)
    fit(build(), seen, Steps(), epochs=10)
    steps = [snapshot.step for snapshot in seen.run.snapshots]
    assert (*steps[:3], steps[-1]) == (0, 1, 42, 80)
    for count, step in enumerate(steps[2:], 3):
        assert 0.4 + 0.4 * count <= 0.05 * (step - 1) + 1e-9
    assert f"{len(steps)} measurements of" in capsys.readouterr().out


def test_a_model_without_a_graph_is_not_watched_and_trains(capsys):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1, "sigmoid")

        def call(self, x):
            return self.dense(x)

    model = Own()
    model.compile("sgd", "binary_crossentropy")
    seen = monitor()
    history = fit(model, seen)
    assert np.isfinite(history.history["loss"]).all()
    if keras.backend.backend() == "tensorflow":  # JAX's trainer makes a graph of it
        assert "this training is not watched" in capsys.readouterr().out
        assert seen.run is None


def test_a_training_on_several_devices_is_not_watched(monkeypatch, capsys):
    model = build(layers.Dense(4))
    several = SimpleNamespace(num_replicas_in_sync=2)  # as TensorFlow's strategies say it
    monkeypatch.setattr(type(model), "distribute_strategy", several, raising=False)
    seen = monitor()
    seen.set_model(model)
    seen.on_train_begin()
    seen.on_train_batch_end(0, {"loss": 1.0})
    seen.on_train_end()
    assert "not watched. It runs on 2 devices at once" in capsys.readouterr().out


def test_the_verdict_comes_first(capsys):
    seen = SignalMonitor(X, gradients=False, overhead=None)
    fit(build(layers.Dense(8, "relu", kernel_initializer="zeros", name="a")), seen, epochs=1)
    told = capsys.readouterr().out
    assert told.index("cannot train") < told.index("SignalMonitor: ")
    assert "cannot train" in seen.run.head.verdict[0]


def test_a_script_that_is_run_again_has_a_folder_of_its_own(tmp_path, capsys):
    seen = SignalMonitor(X, gradients=False, check=False, folder=tmp_path / "run")
    for _ in range(3):
        fit(build(layers.Dense(8, "relu", name="a")), seen, epochs=1)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["run", "run-2", "run-3"]
    assert read_run(tmp_path / "run-3") == seen.run
    told = capsys.readouterr().out
    assert told.count("has a training already") == 2
    assert f"this one is in {tmp_path / 'run-3'}." in told


def test_a_folder_a_table_and_tensorboard(tmp_path):
    seen = monitor(
        folder=tmp_path / "run", csv=tmp_path / "signals.csv", tensorboard=tmp_path / "log"
    )
    fit(build(layers.Dense(8, "relu", name="a")), seen, epochs=1)
    assert read_run(tmp_path / "run") == seen.run
    with (tmp_path / "signals.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(seen.run.snapshots) * len(seen.run.head.layers)
    assert float(rows[-1]["variance"]) == seen.run.snapshots[-1].figures["variance"][-1]
    summaries = list(read_summaries(tmp_path / "log"))
    written = {(tag, step) for tag, step, _ in summaries}
    for snapshot in seen.run.snapshots:
        assert ("variance/a", snapshot.step) in written
        assert ("output/a/relu", snapshot.step) in written
    values = [value for tag, _, value in summaries if tag == "variance/a"]
    assert values == pytest.approx(seen.run.column("variance", 1), rel=1e-6)
    assert any(tag.startswith("variance, layers by steps") for tag, _, _ in summaries)


def read_summaries(folder):
    """What TensorBoard reads: tags, steps and scalars."""
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), {"tensors": 0})
    found.Reload()
    for tag in found.Tags()["tensors"]:
        for event in found.Tensors(tag):
            content = tf.make_ndarray(event.tensor_proto)
            yield tag, event.step, float(content) if content.ndim == 0 else None


DEFINED = ["define signals/step by None", "define signals/* by signals/step"]


class Tracker(ModuleType):
    """What is called of Weights & Biases and of MLflow, with their own arguments."""

    run = None
    Histogram = namedtuple("Histogram", "np_histogram")

    def __init__(self):
        super().__init__("tracker")
        self.calls, self.logged = [], {}

    def init(self, *, name):
        self.calls.append(f"init {name}")

    def define_metric(self, name, *, step_metric=None):
        self.calls.append(f"define {name} by {step_metric}")

    def log(self, data):
        self.logged[data["signals/step"]] = data

    def finish(self):
        self.calls.append("finish")

    def active_run(self):
        return self.run

    def start_run(self, *, run_name):
        self.calls.append(f"start {run_name}")

    def log_metrics(self, metrics, *, step):
        self.logged[step] = metrics

    def end_run(self):
        self.calls.append("end")


@pytest.mark.parametrize("under_way", [False, True])
def test_trackers(under_way, monkeypatch):
    wandb, mlflow = trackers = Tracker(), Tracker()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    seen = monitor(gradients=False, wandb=True, mlflow=True)
    for tracker in trackers:  # a run that began after the monitor was made, or none
        tracker.run = "theirs" if under_way else None
    model = build(layers.Dense(8, "relu", name="a"))
    fit(model, seen, epochs=1)
    own = [] if under_way else [f"init {model.name}", "finish"]
    assert [*own[:1], *DEFINED, *own[1:]] == wandb.calls
    assert mlflow.calls == ([] if under_way else [f"start {model.name}", "end"])
    steps = [snapshot.step for snapshot in seen.run.snapshots]
    variances = dict(zip(steps, seen.run.column("variance", 1), strict=True))
    assert {step: each["signals/variance/a"] for step, each in wandb.logged.items()} == variances
    assert {step: each["variance/a"] for step, each in mlflow.logged.items()} == variances
    counts, edges = wandb.logged[8]["signals/output/a/relu"].np_histogram
    assert (len(edges), counts.sum()) == (len(counts) + 1, 32 * 8)
    names = {PurePosixPath(each) for each in mlflow.logged[8]}  # each may be a file
    assert PurePosixPath("variance/a.relu") in names
    assert not any(names & set(each.parents) for each in names)


def test_a_tracker_that_fails_ends_no_training(monkeypatch, capsys):
    tracker = Tracker()

    def log_metrics(metrics, *, step):
        if step:
            raise OSError("no route to host")

    tracker.log_metrics = log_metrics
    monkeypatch.setitem(sys.modules, "mlflow", tracker)
    seen = monitor(mlflow=True, gradients=False)
    fit(build(layers.Dense(8, name="a")), seen, epochs=1)
    assert seen.run.snapshots[-1].step == 8
    assert capsys.readouterr().out.count("goes on. no route to host") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [({"samples": 0}, "samples"), ({"every": 0.5}, "every"), ({"overhead": 0}, "overhead")],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        SignalMonitor(**options)
