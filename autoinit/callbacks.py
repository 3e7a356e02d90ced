"""`SignalMonitor`: what becomes of signals, gradients and kernels while `fit` runs."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from autoinit.errors import GraphError, SettingsError

if TYPE_CHECKING:
    from app.analysis.diagnosis.fault import Fault
    from app.analysis.runs.record import Run, Snapshot
    from app.analysis.runs.sinks import Sink
    from app.analysis.runs.watching import Kernels, Observation, Watch

# At most one measurement in each such share of the steps so far: what long trainings leave stays
# small, and the beginning, where most happens, is seen closely.
_SHARE_OF_STEPS = 0.01
# Seconds to wait for a loss that Keras hands over from another thread: it may have failed there.
_PATIENCE = 5.0
# Faults that say something of every input.
_OF_EVERY_INPUT = {"dead_channels", "constant_output"}


class SignalMonitor(keras.callbacks.Callback):
    """Watch a model while it trains: signals, gradients, kernels, layer by layer.

    Before the first step the verdict on the weights is printed, as `autoinit.check` says it. Then
    the same samples are fed from time to time, apart from the training, and each layer's variance,
    mean, correlation between inputs, dead and saturated shares, gradient, kernel size and update
    are kept; what goes wrong is printed as it is seen. The model is never changed: its weights,
    moving statistics and seeds after a training are those of one that nobody watched, to the last
    bit.

    Args:
        x: some of the training data, which are fed: an array for a model with one input, or arrays
            by the inputs' names, the samples' axis first. Gaussian noise without it.
        samples: how many of them are fed.
        every: measure no more often than each so many steps.
        overhead: share of the steps' time that watching may take. The verdict and the measurements
            before and after the first step are always made; they count, and nothing else is
            measured before the steps have taken long enough for them, too, which is said at the
            end. The loss is looked at in each step, and what goes wrong there is measured at once.
            None for no limit.
        gradients: measure gradients, too.
        check: print the verdict before the first step: in one line by the first measurement where
            the weights train, as `autoinit.check` does where they do not.
        folder: a new folder for the figures, which `autoinit serve --runs` shows, while the model
            trains, too. Where it has a training already, the next of its name: `first-2`.
        csv: a file for the figures, a row for each layer at each step.
        tensorboard: a folder for summaries of TensorBoard; needs `tensorflow` and `tensorboard`.
        wandb, mlflow: send the figures to the run that is under way there when the training
            begins, or to a new one; need the packages of these names.
        stop_on: codes of findings that end the training, such as `loss_not_finite`,
            `updates_too_large`, `dead_channels`, `not_finite`: see `docs/findings.md`.
        verbose: print what is found, and a summary at the end.
        seed: of the choice of samples, and of the noise.

    Attributes:
        run: what was measured so far: a `Run` with a head and snapshots.

    Example:
        >>> import keras, numpy as np
        >>> import autoinit
        >>> layers = [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)]
        >>> model = keras.Sequential(layers)
        >>> model.compile("sgd", "mse")
        >>> monitor = autoinit.callbacks.SignalMonitor(check=False, verbose=False, overhead=None)
        >>> data = np.ones((64, 4)), np.ones((64, 1))
        >>> _ = model.fit(*data, epochs=2, verbose=0, callbacks=[monitor])
        >>> [snapshot.step for snapshot in monitor.run.snapshots]
        [0, 1, 3, 4]
    """

    # On JAX and PyTorch Keras hands losses over from other threads, instead of waiting for each,
    # where every callback allows it: this one reads the model in the training's own thread alone.
    async_safe = True

    def __init__(
        self,
        x: Any = None,
        *,
        samples: int = 32,
        every: int = 1,
        overhead: float | None = 0.05,
        gradients: bool = True,
        check: bool = True,
        folder: str | PathLike[str] | None = None,
        csv: str | PathLike[str] | None = None,
        tensorboard: str | PathLike[str] | None = None,
        wandb: bool = False,
        mlflow: bool = False,
        stop_on: Collection[str] = (),
        verbose: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _require(samples=samples, every=every)
        if overhead is not None and not overhead > 0.0:
            raise SettingsError(f"overhead must be above 0, or None. Received: {overhead!r}")
        self._x, self._samples, self._every, self._seed = x, samples, every, seed
        self._overhead = math.inf if overhead is None else overhead
        self._gradients, self._check, self._verbose = gradients, check, verbose
        self._stop_on = _known_codes(stop_on)
        self._sinks = _sinks(folder, csv, tensorboard, wandb, mlflow)
        self._watch: Watch | None = None
        self.run: Run | None = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """The verdict, and the figures before the first step."""
        begin = time.perf_counter()
        self._step = self._epoch = 0
        self._before_epoch = self._ended = 0  # steps before the epoch, and in it, with their losses
        self._arrival = threading.Condition()
        self._followed = self._arrived = 0  # executions that ended, and losses of them
        self._first_loss: tuple[float, float | None] = math.inf, None  # with their steps
        self._last_loss: tuple[float, float | None] = 0, None
        self._wrong: tuple[int, float | None] | None = None  # the first that went wrong a new way
        self._pending: tuple[int, Kernels] | None = None
        self._present: set[str] = set()  # what was told, and is not told again
        self._start = begin
        self._cost = self._latest_cost = 0.0
        self._ask_at: dict[str, int] = {}  # steps before which many samples are not fed again
        self._skipped = 0
        self.run = None
        reason = self._begin_watching()
        if reason:
            self._watch = None
            print(f"SignalMonitor: this training is not watched. {reason}")
            return
        assert self._watch is not None
        self._pending = 0, self._watch.kernels()  # the first step's update tells most
        self._cost = self._before = time.perf_counter() - begin

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keras counts batches anew in each."""
        self._epoch, self._before_epoch, self._ended = epoch, self._step, 0

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Measures what the steps before led to, where it is time to, or the loss goes wrong."""
        self._follow(batch)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Looks at the loss: perhaps in another thread, and when later steps are under way."""
        value = (logs or {}).get("loss")
        loss = None if value is None else float(value)
        with self._arrival:
            self._ended = max(self._ended, batch + 1)
            step = self._before_epoch + batch + 1
            self._first_loss = min(self._first_loss, (step, loss), key=itemgetter(0))
            self._last_loss = max(self._last_loss, (step, loss), key=itemgetter(0))
            earlier = self._wrong is None or step < self._wrong[0]
            if self._watch is not None and earlier and self._goes_wrong(loss):
                self._wrong = step, loss
            self._arrived += 1
            self._arrival.notify_all()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """The same after the last step of an epoch, the losses of which have all been seen."""
        self._follow(self._ended)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """A last measurement, and the summary."""
        if self._watch is None or self.run is None:
            return
        if self.run.snapshots[-1].step < self._step and self._has_time(1):
            self._pending = None
            self._measure()
        trained = self._trained()
        self._hand_on(lambda sink: sink.end())
        self._watch = None
        if self._verbose:
            print("\n".join(self._summary(trained)))

    def _begin_watching(self) -> str:
        """Reads the model; why it cannot be watched, if it cannot."""
        from app.analysis.runs.record import Head, Run
        from app.analysis.runs.watching import Watch
        from autoinit.reading import read_model
        from autoinit.running.inputs import by_name

        strategy = getattr(self.model, "distribute_strategy", None)  # TensorFlow has them alone
        replicas = getattr(strategy, "num_replicas_in_sync", 1)
        if replicas > 1:
            return (
                f"It runs on {replicas} devices at once, and measuring takes one. Watch a training "
                "on one of them."
            )
        try:
            data = None if self._x is None else by_name(read_model(self.model), self._x)
            self._watch = Watch(self.model, data, self._samples, self._seed, self._gradients)
            seen = self._watch.measure()
            self._spread = self._watch.spread_of_outputs()
            verdict = self._verdict() if self._check else ()
        except GraphError as error:
            return str(error)
        optimizer = getattr(self.model, "optimizer", None)
        head = Head(
            name=str(self.model.name),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            layers=self._watch.layers,
            samples=self._samples,
            data="Gaussian noise" if data is None else "training data",
            verdict=verdict,
            optimizer=type(optimizer).__name__ if optimizer is not None else "",
            rate=_rate_of(optimizer),
        )
        self.run = Run(head, ())
        self._taking = list(self._sinks)
        self._hand_on(lambda sink: sink.begin(head))
        for sink in self._sinks if self._verbose else ():
            if sink.note:
                print(f"SignalMonitor: {sink.note}")
        self._keep(seen, 0.0)
        return ""

    def _verdict(self) -> tuple[str, ...]:
        """In lines, also printed: what was measured is enough to tell that nothing is wrong."""
        from app.analysis.headline import CHECKUP
        from app.cli.terminal import verdict_lines
        from autoinit.verdict import check

        assert self._watch is not None
        found = self._watch.verdict()
        if found.verdict != "trains":
            # What helps is worth the time: other weights are measured, too.
            return tuple(verdict_lines(check(self.model, self._x, verbose=self._verbose)))
        kind = f"{CHECKUP}. " * found.trained
        line = f"uploaded   {found.verdict:<13}   {kind}{found.reason}"
        if self._verbose:
            print(line)
        return (line,)

    def _follow(self, in_epoch: int) -> None:
        """Goes on to a step of the epoch, in the thread that trains."""
        before, self._step = self._step, self._before_epoch + in_epoch
        steps = self._step - before
        if self._watch is None or not steps:
            return
        self._followed += 1
        if not before:
            self._start = time.perf_counter()  # the first step compiles: no measure of the others
        if self._pending is not None or self._wrong is not None:
            self._watch.wait()
            self._measure(steps)
        elif self._is_due(steps):
            self._watch.wait()
            self._remember()

    def _goes_wrong(self, loss: float | None) -> bool:
        """Whether the loss shows what was not told yet."""
        from app.analysis.runs.changes import faults_of_loss

        faults = faults_of_loss(loss, self._first_loss[1], self._spread)
        return any(fault.code not in self._present for fault in faults)

    def _trained(self) -> float:
        """Seconds of the steps after the first one."""
        return time.perf_counter() - self._start - (self._cost - self._before)

    def _has_time(self, measurements: int) -> bool:
        """Whether the steps so far have taken long enough for so many more measurements."""
        return self._cost + measurements * self._latest_cost <= self._overhead * self._trained()

    def _is_due(self, steps: int) -> bool:
        """Whether the next execution's update is to be measured: few enough were, and time is."""
        assert self.run is not None
        since = self._step + steps - self.run.snapshots[-1].step
        if "loss_not_finite" in self._present:
            return False  # nothing is to be seen any more
        if since < max(self._every, _SHARE_OF_STEPS * self._step):
            return False
        assert self._watch is not None
        # The last one at the end of the training is to have time, too.
        due = self._has_time(self._watch.next_cost + 1)
        if due:
            self._watch.trace_if_repaid()
        self._skipped += not due
        return due

    def _remember(self) -> None:
        """Keeps the kernels: the next step's update is what they change by."""
        assert self._watch is not None
        begin = time.perf_counter()
        self._pending = self._step, self._watch.kernels()
        self._cost += time.perf_counter() - begin

    def _measure(self, steps: int = 1) -> None:
        """Measures, and keeps it."""
        assert self._watch is not None
        begin, earlier = time.perf_counter(), self._cost
        before = None if self._pending is None else self._pending[1]
        self._pending = None
        with self._arrival:
            self._arrival.wait_for(lambda: self._arrived >= self._followed, _PATIENCE)
        self._keep(self._watch.measure(before, steps), begin - self._start)
        # Samples that were fed beside are no part of what a measurement takes.
        self._latest_cost = time.perf_counter() - begin - (self._cost - earlier)
        self._cost += self._latest_cost

    def _keep(self, seen: Observation, seconds: float) -> None:
        """Tells what is new of a measurement, and hands it on."""
        from app.analysis.runs.changes import faults_of_loss, faults_of_updates, new_findings
        from app.analysis.runs.record import Run, Snapshot

        assert self.run is not None
        head, loss = self.run.head, self._last_loss[1]
        step, suspect = self._wrong or (self._step, loss)
        self._wrong, since = None, step if step < self._step else None
        faults = [
            *faults_of_loss(suspect, self._first_loss[1], self._spread, since),
            *faults_of_updates(head.layers, seen.figures["update"]),
            *self._certain(seen.faults),
        ]
        findings = new_findings(faults, self._present, self._step)
        self._present |= {fault.code for fault in faults}
        snapshot = Snapshot(
            step=self._step,
            epoch=self._epoch,
            figures=seen.figures,
            findings=findings,
            loss=loss if loss is not None and math.isfinite(loss) else None,
            seconds=round(seconds, 3),
            cost=round(self._cost, 3),
        )
        previous = self.run.snapshots[-1].step if self.run.snapshots else None
        self.run = Run(head, (*self.run.snapshots, snapshot))
        self._hand_on(lambda sink: sink.write(snapshot, seen.histograms))
        self._tell(snapshot, previous)

    def _certain(self, faults: Sequence[Fault]) -> list[Fault]:
        """Without those that few samples show and many do not, which are fed again much later."""
        assert self._watch is not None
        doubtful = ({fault.code for fault in faults} & _OF_EVERY_INPUT) - self._present
        asked = {code for code in doubtful if self._step >= self._ask_at.get(code, 0)}
        if asked:
            begin = time.perf_counter()
            doubtful -= asked & {fault.code for fault in self._watch.faults_of_many()}
            self._ask_at |= dict.fromkeys(asked & doubtful, max(2 * self._step, 1))
            self._cost += time.perf_counter() - begin
        return [fault for fault in faults if fault.code not in doubtful]

    def _hand_on(self, hand: Callable[[Sink], None]) -> None:
        """To each sink; one that fails while the model trains takes nothing more."""
        for sink in tuple(self._taking):
            try:
                hand(sink)
            except Exception as error:  # a full disk, a server that is gone
                if not self._step:
                    raise
                self._taking.remove(sink)
                print(
                    f"SignalMonitor: {type(sink).__name__} takes no more figures, and the training "
                    f"goes on. {error}"
                )

    def _tell(self, snapshot: Snapshot, previous: int | None) -> None:
        """Prints what is new, and ends the training where that was asked for."""
        for found in snapshot.findings:
            if self._verbose:
                since = "" if previous is None else f" (not at step {previous:,})"
                print(f"\nStep {snapshot.step:,}: {found.message}{since}\n  → {found.advice}")
            if found.code in self._stop_on:
                self.model.stop_training = True

    def _summary(self, trained: float) -> list[str]:
        """How often was measured, what that took, and what was found when."""
        from app.text.formatting import duration, number, percentage

        assert self.run is not None
        snapshots = self.run.snapshots
        share = self._cost / max(trained, 1e-9)
        lines = [
            f"SignalMonitor: {len(snapshots):,} measurements of {len(self.run.head.layers):,} "
            f"layers in {self._step:,} steps; {percentage(share)} of the steps' time, "
            f"{duration(self._before)} before the first one included."
        ]
        if share > self._overhead:
            lines.append(
                f"  That is more than {percentage(self._overhead)}: what is always measured asks "
                f"for steps of {duration(self._cost / self._overhead)} in all."
            )
        elif self._skipped:
            lines.append(
                f"  Others were left out, to stay at {percentage(self._overhead)}: a larger "
                "overhead measures more often."
            )
        first, last = self._first_loss[1], self._last_loss[1]
        if first is not None and last is not None:
            lines.append(f"  loss {number(first)} → {number(last, 'not finite')}")
        found = [f"  step {step:,}: {each.message}" for step, each in self.run.findings]
        return [*lines, *(found or ["  Nothing went wrong in the layers that were watched."])]


def _require(**numbers: int) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SettingsError(f"{name} must be a whole number of at least 1. Received: {value!r}")


def _known_codes(codes: Collection[str]) -> frozenset[str]:
    from app.analysis.diagnosis.table import KINDS

    for code in codes:
        if code not in KINDS:
            raise SettingsError(f"stop_on: there is no finding {code!r}; see docs/findings.md")
    return frozenset(codes)


def _sinks(
    folder: str | PathLike[str] | None,
    csv: str | PathLike[str] | None,
    tensorboard: str | PathLike[str] | None,
    wandb: bool,
    mlflow: bool,
) -> list[Sink]:
    from app.analysis.runs import sinks

    found: list[Sink] = []
    if folder is not None:
        found.append(sinks.FolderSink(Path(folder)))
    if csv is not None:
        found.append(sinks.CsvSink(Path(csv)))
    if tensorboard is not None:
        found.append(sinks.TensorBoardSink(Path(tensorboard)))
    if wandb:
        found.append(sinks.WandbSink())
    if mlflow:
        found.append(sinks.MlflowSink())
    return found


def _rate_of(optimizer: Any) -> float | None:
    """The rate that training begins with, where it is one number."""
    try:
        return float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    except Exception:  # a schedule, no optimizer, or one of somebody's own
        return None
