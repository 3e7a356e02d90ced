"""The grid of a trial: initialisations × learning rates, filled cell by cell.

`run_grid` says what is done in which order; `_Grid` how each step is done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

import keras

from app.analysis.comparison.progress import OnProgress
from app.analysis.comparison.steps import Analysis
from app.analysis.diagnosis.diagnose import foreseen
from app.analysis.diagnosis.findings import verdicts_of
from app.analysis.diagnosis.linter.lint import Linted
from app.analysis.diagnosis.verdict import Verdict, Word
from app.analysis.result import Finding
from app.analysis.trials.answer import answer, bolder_than, score_text
from app.analysis.trials.result import Ending, Standing, Training, TrialResult
from app.analysis.trials.settings import DEFAULT, WORDS, TrialSettings
from autoinit.graph.changing import put_values_back, values_of
from autoinit.graph.frozen import frozen_variables
from autoinit.graph.model_graph import weights_of
from autoinit.initializers.schemes import SCHEMES
from autoinit.model_files.write.compiling import compile_as_recorded
from autoinit.propagation import Propagation
from autoinit.rules.registry import KernelScale
from probes.trials.training import Score, Trainer

OnPreview = Callable[[TrialResult], None]
# Of each initialisation the rates that go on after a quarter of the steps: the best two, since the
# first steps tell little, and the next smaller one.
_SURVIVORS, _SHORT = 2, 4
_LEAST_STEPS, _FEWEST = 25, 8
_CURVE = 60  # losses that are kept of a training
# Rates beside the one that is usual.
_USUAL = {"sgd": 0.03, "adam": 1e-3}
_AROUND = (1 / 30, 1 / 10, 1 / 3, 1.0, 10 / 3, 10.0, 100 / 3)
# Rates beyond the grid, at most, and how far they are apart.
_FURTHER, _STEP = 3, math.sqrt(10)
# Draws at most, where the error of the mean is so many times that of other samples.
MOST_DRAWS, _WIDE = 4, 1.5
_SEED_OF_DRAWS = 1000


def optimizer_of(
    model: Any, compiled: Any, settings: TrialSettings, is_given: bool = False
) -> tuple[Any, str, float]:
    """An optimizer, what to call it, and the rate to begin with.

    Args:
        model: as it was opened.
        compiled: the stored compile settings.
        settings: which optimizer is asked for.
        is_given: whether it is not of a file, and as its owner compiled it.
    """
    if settings.optimizer == "auto" and not compile_as_recorded(model, compiled):
        own = getattr(model, "optimizer", None) if compiled or is_given else None
        if own is not None:
            own = getattr(own, "inner_optimizer", own)
            rate = float(keras.ops.convert_to_numpy(own.learning_rate))
            config = own.get_config() | {"learning_rate": rate}
            found = type(own).from_config(config)
            return found, f"{type(own).__name__}, as the model was compiled", rate or _USUAL["adam"]
    if settings.optimizer == "adam":
        return keras.optimizers.Adam(), "Adam", _USUAL["adam"]
    return keras.optimizers.SGD(momentum=0.9), "SGD with momentum 0.9", _USUAL["sgd"]


def losses_of(model: Any) -> list[Any] | None:
    """The losses that a compiled model has, for each output in order; None where it has none."""
    loss = getattr(model, "loss", None)
    if loss is None:
        return None
    # A Sequential has one output and no names.
    names = list(getattr(model, "output_names", [""]))
    if isinstance(loss, dict):
        return [loss.get(name) for name in names]
    return list(loss) if isinstance(loss, list | tuple) else [loss] * len(names)


def rates_around(rate: float) -> tuple[float, ...]:
    """Seven rates, half a power of ten apart, of two digits."""
    return tuple(float(f"{rate * factor:.2g}") for factor in _AROUND)


def run_grid(
    analysis: Analysis,
    trainer: Trainer,
    first: TrialResult,
    trial: TrialSettings,
    linted: Linted,
    progress: OnProgress,
    preview: OnPreview,
) -> tuple[TrialResult, tuple[KernelScale, ...]]:
    """Train a model from each initialisation at each rate.

    Args:
        analysis: of the model, which draws its weights; the model ends with those that the answer
            names, of the first draw.
        trainer: of the model.
        first: what is known before.
        trial: the settings.
        linted: what the file shows by itself.
        progress: told the share done and what is being done.
        preview: given what is known so far, after every training.

    Returns:
        What was found, and how the kernels were drawn that the model has.
    """
    grid = _Grid(analysis, trainer, first, trial, linted, progress, preview)
    for scheme in first.schemes:
        grid.foresee(scheme)
    grid.plan()
    for place, scheme in enumerate(first.schemes):
        grid.fill(scheme, len(first.schemes) - place)
    for scheme in () if trial.rates else first.schemes:
        grid.extend(scheme)
    if len(first.schemes) > 1:
        for scheme in first.schemes:
            grid.try_again(scheme)
        grid.settle()
    return grid.conclude()


class _Grid:
    """The steps of a trial, and what they share."""

    def __init__(
        self,
        analysis: Analysis,
        trainer: Trainer,
        first: TrialResult,
        trial: TrialSettings,
        linted: Linted,
        progress: OnProgress,
        preview: OnPreview,
    ) -> None:
        self.analysis, self.trainer, self.result = analysis, trainer, first
        self.trial, self.linted, self.progress, self.preview = trial, linted, progress, preview
        frozen = frozen_variables(analysis.graph)
        # What is frozen stays as it came: nobody trains it.
        self.frozen = values_of(
            variable
            for layer in analysis.graph.layers()
            for variable in weights_of(layer)
            if id(variable) in frozen
        )
        self.rates = first.rates  # before any further ones
        self.expected: dict[str, Verdict] = {}
        self.scales: tuple[KernelScale, ...] = ()
        self.begun: dict[str, Sequence[Any]] = {}  # what trainings of the first draw begin with
        self.end = time.perf_counter() + trial.budget
        self.due = self.done = self.short = 0

    def draw(self, scheme: str, draw: int = 0) -> Propagation | None:
        """The weights of an initialisation take the place of those that are there.

        Returns:
            AutoInit's plan, which has been drawn by; None for the model's own initialisers.
        """
        analysis, planned = self.analysis, None
        analysis.set_own_or_configured_weights(scheme, draw)
        self.scales = ()
        if scheme in SCHEMES:
            planned, self.scales = analysis.draw_by_plan(draw, SCHEMES[scheme])
        put_values_back(self.frozen)
        return planned

    def foresee(self, scheme: str) -> None:
        """The first weights, and what the analysis says of them before a step is trained."""
        planned = self.draw(scheme)
        self.begun[scheme] = self.trainer.start()
        predicted = planned if planned and scheme == "autoinit" else self.analysis.predict()
        self.expected[scheme] = foreseen(
            self.analysis.graph, self.linted, predicted, scheme, self.analysis.settings.disable
        )
        self._update(expected=verdicts_of(self.expected))

    def plan(self) -> None:
        """Steps and samples a step, so that all of it fits into the time."""
        begun = self.trainer.start()
        self.progress(0.0, "Compiling a step of training")
        self.trainer.train(0.0, range(2))
        start = time.perf_counter()
        self.trainer.train(0.0, range(2, 4))
        second = (time.perf_counter() - start) / 2
        self.trainer.restore(begun)
        left = self.end - time.perf_counter()
        batch, steps = self.trainer.batch, self.trial.steps
        while self._needed(steps) * second > left and batch > _FEWEST and not self.trainer.fixed:
            batch, second = batch // 2, second / 2
        while self._needed(steps) * second > left and steps > _LEAST_STEPS:
            steps = max(steps // 2, _LEAST_STEPS)
        self.trainer.batch = batch
        self.short = max(steps // _SHORT, 1)
        self.due = self._needed(steps)
        self._update(steps=steps, batch=batch)

    def _needed(self, steps: int) -> int:
        """Steps of all trainings, and of judging what they came to."""
        schemes, rates = len(self.result.schemes), len(self.result.rates)
        survivors = min(rates, _SURVIVORS + 1)
        short, judging = steps // _SHORT, self.trainer.judging
        whole = rates * (short + judging) + survivors * (steps - short + judging)
        return schemes * (whole + (steps + judging if schemes > 1 else 0))

    def fill(self, scheme: str, left: int) -> None:
        """Each rate for a quarter of the steps, and the better ones for all of them.

        Args:
            scheme: the initialisation.
            left: as many initialisations share what time is left.
        """
        now = time.perf_counter()
        until = now + (self.end - now) / left
        reached: dict[float, tuple[Any, list[float], Score]] = {}
        for rate in self.result.rates:
            if time.perf_counter() > until:
                break
            self.trainer.restore(self.begun[scheme])
            losses, diverged = self._train(scheme, rate, range(self.short))
            score = self.trainer.judge()
            outcome: Ending = "diverged" if diverged else "stopped"
            self._keep(scheme, rate, 0, outcome, losses, score)
            if not diverged:
                reached[rate] = (self.trainer.state(), losses, score)
                reached = {each: reached[each] for each in _survivors(reached)}
        for rate, (state, losses, _) in reached.items():
            if time.perf_counter() > until:
                break
            self.trainer.restore(state)
            more, diverged = self._train(scheme, rate, range(self.short, self.result.steps))
            outcome = "diverged" if diverged else "finished"
            self._keep(scheme, rate, 0, outcome, [*losses, *more], self.trainer.judge())

    def extend(self, scheme: str) -> None:
        """Rates beyond the grid, as long as its end is the best, or all of it diverged."""
        for _ in range(_FURTHER):
            rates = self.result.rates
            found = self._standing(scheme)
            tried = [rate for rate in rates if self.result.of(scheme, rate) is not None]
            if found is not None and not (found.learns and found.at_end):
                return
            if not tried or time.perf_counter() > self.end:
                return
            smaller = found is None or found.at_end == "smallest"
            further = tried[0] / _STEP if smaller else tried[-1] * _STEP
            # One that another initialisation needed comes first.
            known = [rate for rate in rates if (rate < tried[0] if smaller else rate > tried[-1])]
            rate = (known[-1] if smaller else known[0]) if known else float(f"{further:.1g}")
            self._update(rates=tuple(sorted({*rates, rate})))
            self._train_whole(scheme, rate)

    def _standing(self, scheme: str) -> Standing | None:
        return next((s for s in self.result.answer.standings if s.scheme == scheme), None)

    def try_again(self, scheme: str, draw: int = 1) -> None:
        """The best rate from other weights, on samples in another order.

        Where little comes of it the rate was too bold for these weights: the next smaller one is
        tried from as many, and the better one of the two stands for the initialisation.
        """
        found = self._standing(scheme)
        if found is None or time.perf_counter() > self.end:
            return
        self._train_whole(scheme, found.rate, draw)
        smaller = bolder_than(self.result, scheme, found.rate, draw)
        if smaller is None:
            return
        for each in range(draw + 1):
            known = self.result.of(scheme, smaller, each)
            if time.perf_counter() < self.end and (known is None or known.outcome == "stopped"):
                self._train_whole(scheme, smaller, each)

    def _train_whole(self, scheme: str, rate: float, draw: int = 0) -> None:
        """All steps from the weights of a draw, which has an order of samples of its own."""
        if draw:
            self.draw(scheme, draw)
            self.trainer.start()
        else:
            self.trainer.restore(self.begun[scheme])
        seed = _SEED_OF_DRAWS + draw if draw else 0
        losses, diverged = self._train(scheme, rate, range(self.result.steps), seed)
        outcome: Ending = "diverged" if diverged else "finished"
        self._keep(scheme, rate, draw, outcome, losses, self.trainer.judge())

    def settle(self) -> None:
        """Further draws of what may be as good as the best only because draws differ so much."""
        for draw in range(2, MOST_DRAWS):
            alike = [
                s for s in self.result.answer.standings if s.scheme in self.result.answer.alike
            ]
            unsure = [each for each in alike if each.error > _WIDE * each.sampling]
            for each in unsure if len(alike) > 1 else ():
                self.try_again(each.scheme, draw)

    def conclude(self) -> tuple[TrialResult, tuple[KernelScale, ...]]:
        """The answer, what does not go together, and the weights to take home."""
        chosen = self.result.answer.scheme
        self.draw(chosen or DEFAULT)
        self._update(findings=(*self.result.findings, *self._findings()))
        return self.result, self.scales

    def _findings(self) -> Iterator[Finding]:
        result = self.result
        cells = [(scheme, rate) for scheme in result.schemes for rate in self.rates]
        waiting = sum(result.of(*cell) is None for cell in cells)
        if waiting:
            yield _told(
                "trial_time_over",
                f"Time was over before {waiting} of {len(cells)} trainings "
                f"began: give more than {self.trial.budget:g} seconds, or try fewer.",
            )
        if (self.result.steps, self.result.batch) != (self.trial.steps, self.trial.batch):
            yield _told(
                "trial_shortened",
                f"To fit into {self.trial.budget:g} seconds, or the data, trainings have "
                f"{self.result.steps} steps of {self.result.batch} samples.",
            )
        standings = result.answer.standings
        some_learn = any(each.learns for each in standings)
        for each in standings:
            said = self.expected[each.scheme]
            cannot = said.verdict is Word.CANNOT
            if (cannot and each.learns) or (
                some_learn and said.verdict is Word.TRAINS and not each.learns
            ):
                yield _told("trial_disagrees", self._disagreement(each, said))

    def _disagreement(self, standing: Any, said: Verdict) -> str:
        what = f"With {WORDS[standing.scheme]} the analysis "
        if standing.learns:
            return (
                f"{what}says that the network cannot train ({said.reason.rstrip('.')}), and it "
                f"learnt: {score_text(self.result, standing.score)}. The training counts."
            )
        return (
            f"{what}finds nothing in the way of training, and in {self.result.steps} steps nothing "
            "was learnt, as others did: it may need more of them, or rates between these."
        )

    def _train(
        self, scheme: str, rate: float, steps: range, seed: int = 0
    ) -> tuple[list[float], bool]:
        share = self.done / max(self.due, 1)
        self.progress(min(share, 0.99), f"Training {WORDS[scheme]} at a rate of {rate:g}")
        losses, diverged = self.trainer.train(rate, steps, seed)
        self.done += len(steps) + self.trainer.judging
        return losses, diverged

    def _keep(
        self,
        scheme: str,
        rate: float,
        draw: int,
        outcome: Ending,
        losses: Sequence[float],
        score: Score,
    ) -> None:
        """One training's end, in the place of what was known of it."""
        if not math.isfinite(score.loss):
            outcome = "diverged"
        known = {} if outcome == "diverged" else {"score": score.value, "error": score.error}
        new = Training(
            scheme=scheme,
            rate=rate,
            draw=draw,
            outcome=outcome,
            steps=len(losses),
            losses=_thinned(losses),
            **known,
        )
        others = [
            each
            for each in self.result.trainings
            if (each.scheme, each.rate, each.draw) != (scheme, rate, draw)
        ]
        self._update(trainings=(*others, new))
        self._update(answer=answer(self.result))
        self.preview(self.result)

    def _update(self, **changes: Any) -> None:
        self.result = self.result.model_copy(update=changes)


def _survivors(reached: Mapping[float, tuple[Any, Any, Score]]) -> list[float]:
    """The two best rates, and the next below the larger of them, in ascending order."""
    best = sorted(reached, key=lambda rate: reached[rate][2].loss)[:_SURVIVORS]
    below = [rate for rate in reached if rate < max(best) and rate not in best]
    return sorted([*best, *below[-1:]])


def _told(code: str, message: str) -> Finding:
    return Finding(code=code, path="", class_name="", message=message)


def _thinned(losses: Sequence[float]) -> tuple[float | None, ...]:
    """At most so many means over neighbours; None for what is not finite."""
    count = min(len(losses), _CURVE)
    edges = [round(place * len(losses) / count) for place in range(count + 1)] if count else []
    means = (fmean(losses[a:b]) for a, b in pairwise(edges))
    return tuple(float(f"{each:.4g}") if math.isfinite(each) else None for each in means)
