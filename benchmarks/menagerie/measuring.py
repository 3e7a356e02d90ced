"""One architecture: opened, replayed, analysed, calibrated; a row of what was found."""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from app.analysis.batch.row import BAND
from app.analysis.comparison import compare
from app.analysis.comparison.figures import calls_of
from app.analysis.comparison.found import Comparison
from app.analysis.result import Call
from app.analysis.settings import Settings
from autoinit.arrays import as_array
from autoinit.graph.model_graph import ModelGraph
from autoinit.initializers.calibration import Fed
from autoinit.initializers.schemes import SCHEMES, draw
from autoinit.randomness import derived
from autoinit.reading import read_model
from autoinit.running.inputs import draw_inputs
from benchmarks.menagerie.catalogue import Architecture
from probes import probe_model

CLOSE, SAMPLES, UNKNOWN_SIZE = 1.1, 16, 16
EQUAL = 1e-4  # of an output's standard deviation
SETTINGS = Settings(samples=SAMPLES, input_size=UNKNOWN_SIZE)
SERIES = "default", "autoinit"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was found.

    Attributes:
        status: `done`; `not built` by its own package; `does not run itself`, where a call of the
            model as Keras makes it raises; `not opened` by this program.
        reason: why not.
        unknown: calls without a rule, or which cannot be run.
        replay: the largest difference of an output, in the deviations of that output.
        compared, close, agree: of each series' calls, how many have a predicted and a measured
            variance, how many of these lie within 10 %, and how many within that or within two
            standard deviations of what a draw of weights and inputs is predicted to give.
        weighted, held: calls whose output is aimed at, and with AutoInit's weights 0.8 to 1.25 of
            it; `calibrated` likewise, of inputs that calibration has not seen.
        verdict, causes: on the initializers that the package chose.
        worst: the call that is farthest off, AutoInit's weights.
        seconds: of the processor.
    """

    key: str
    package: str
    family: str
    name: str
    status: str = "done"
    reason: str = ""
    parameters: int = 0
    calls: int = 0
    unknown: int = 0
    replay: float = math.nan
    default_compared: int = 0
    default_close: int = 0
    default_agree: int = 0
    autoinit_compared: int = 0
    autoinit_close: int = 0
    autoinit_agree: int = 0
    weighted: int = 0
    held: int = 0
    calibrated: int = 0
    verdict: str = ""
    causes: str = ""
    autoinit_verdict: str = ""
    worst: str = ""
    seconds: float = 0.0


def measured(architecture: Architecture) -> Row:
    """The row of one architecture; what goes wrong is its reason."""
    start = time.process_time()
    about: dict[str, Any] = {
        "key": architecture.key,
        "package": architecture.package,
        "family": architecture.family,
        "name": architecture.name,
    }
    status = "not built"
    keras.utils.set_random_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers that a package builds late
            model = architecture.build()
            about["parameters"] = model.count_params()
            status = "not opened"
            found = compare(model, SETTINGS, uploaded=False, brief=True)
            calls = calls_of(found)
            return Row(
                **about,
                **figures(found, calls),
                replay=_replay(found.graph, model),
                calibrated=calibrated(found, calls),
                seconds=round(time.process_time() - start, 1),
            )
    except Exception as error:
        if status == "not opened":
            own = error_of_its_own(model)
            status, error = ("does not run itself", own) if own else (status, error)
        reason = " ".join(str(error).split())[:300]
        seconds = round(time.process_time() - start, 1)
        return Row(
            **about, status=status, reason=f"{type(error).__name__}: {reason}", seconds=seconds
        )


def error_of_its_own(model: keras.Model) -> Exception | None:
    """What a call of the model on inputs like those of an analysis raises; None if it runs."""
    random = np.random.default_rng(0)

    def drawn(tensor: Any) -> Any:
        shape = tuple(size or UNKNOWN_SIZE for size in (2, *tensor.shape[1:]))
        if "int" in tensor.dtype or tensor.dtype == "bool":
            return random.integers(0, 2, shape).astype(tensor.dtype)
        return random.standard_normal(shape).astype(tensor.dtype)

    inputs = getattr(model, "input", None)  # a subclassed model has none
    try:
        if inputs is not None:
            model(keras.tree.map_structure(drawn, inputs), training=False)
    except Exception as error:  # the model's own code
        return error
    return None


def figures(comparison: Comparison, calls: Sequence[Call]) -> dict[str, Any]:
    """What a comparison comes to, as fields of a row."""
    found: dict[str, Any] = {"calls": len(calls), "unknown": sum(not c.has_rule for c in calls)}
    farthest = 0.0, ""
    for series in SERIES:
        rows = list(_distances(calls, series))
        found[f"{series}_compared"] = len(rows)
        found[f"{series}_close"] = sum(far < math.log(CLOSE) for _, far, _ in rows)
        found[f"{series}_agree"] = sum(far < max(math.log(CLOSE), by) for _, far, by in rows)
        farthest = max(((far, call.path) for call, far, _ in rows), default=(0.0, ""))
    found["worst"] = f"{farthest[1]} {math.exp(min(farthest[0], 100)):.3g}" if rows else ""
    aimed = list(filter(_is_aimed, calls))
    found["weighted"] = len(aimed)
    found["held"] = _held(_variance(call.measured("autoinit")) for call in aimed)
    verdicts = comparison.diagnosis.verdicts
    found["verdict"] = verdicts["default"].verdict
    found["causes"] = " ".join(verdicts["default"].causes)
    found["autoinit_verdict"] = verdicts["autoinit"].verdict
    return found


def calibrated(comparison: Comparison, calls: Sequence[Call]) -> int:
    """How many of the weighted calls are held once AutoInit's weights are calibrated."""
    graph, plan = comparison.graph, comparison.predictions["autoinit"][0]
    seed, training = SETTINGS.seed, SETTINGS.mode == "training"
    draw(
        SCHEMES["calibrated"],
        graph,
        plan.scales,
        comparison.distribution,
        seed,
        fed=Fed(seed=derived(seed, 1), training=training),
    )
    probe = probe_model(graph, SAMPLES, seed, training=training)
    moments = (
        moments
        for call, moments in zip(graph.calls, probe.moments, strict=True)
        if not call.is_internal
    )
    aimed = map(_is_aimed, calls)
    return _held(itertools.compress(map(_variance, moments), aimed))


def _is_aimed(call: Call) -> bool:
    return call.weighted and call.at_target and not call.frozen


def _held(variances: Iterable[float]) -> int:
    return sum(BAND[0] <= each <= BAND[1] for each in variances)


def _distances(calls: Iterable[Call], series: str) -> Iterator[tuple[Call, float, float]]:
    """Of calls with both variances: how far they lie apart, and how far one draw may be."""
    for call in calls:
        predicted, measured = call.predicted(series), call.measured(series)
        both = _variance(predicted), _variance(measured)
        if min(both) > 0 and call.inputs and predicted and measured:
            spread, error = predicted.spread or 0.0, measured.standard_error or 0.0
            yield call, abs(math.log(both[0] / both[1])), 2 * math.hypot(spread, error)


def _variance(moments: Any) -> float:
    return (moments.variance if moments else None) or 0.0


def _replay(graph: ModelGraph, model: Any) -> float:
    far = replayed(graph, model)
    # Opened for training, a layer may drop whole branches by operations of its own.
    return far if far <= EQUAL else replayed(read_model(model, UNKNOWN_SIZE, training=False), model)


def replayed(graph: ModelGraph, model: Any, samples: int = 2) -> float:
    """How far what the calls give, one by one, lies from what the model gives.

    Args:
        graph, model: the same.
        samples: that go through both.

    Returns:
        The largest difference of any entry of any output, in that output's standard deviations.
    """
    arrays = draw_inputs(graph, samples, 0)
    alive: dict[int, Any] = {}
    for call in graph.calls:
        tensors = [alive[value.index] for value in call.inputs]
        if call.is_input:
            value = call.outputs[0]
            results = [keras.ops.convert_to_tensor(arrays[value.index], dtype=value.dtype)]
        else:
            results = call.run(tensors, False, samples)
        alive |= {each.index: one for each, one in zip(call.outputs, results, strict=True)}
    given = [alive[call.outputs[0].index] for call in graph.inputs]
    expected = model(keras.tree.pack_sequence_as(model.input, given), training=False)
    farthest = 0.0
    for value, other in zip(graph.outputs, keras.tree.flatten(expected), strict=True):
        ours, theirs = (as_array(each).astype(float) for each in (alive[value.index], other))
        finite = np.isfinite(theirs)
        scale = float(theirs[finite].std()) or 1.0
        if not (np.isfinite(ours) == finite).all():
            return math.inf
        farthest = max(farthest, float(np.abs(ours - theirs)[finite].max(initial=0.0)) / scale)
    return farthest
